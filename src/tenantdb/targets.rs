//! What a tenant's neighbour has in a database, by name: what an attack would aim at. Names are in the catalogs, which every role reads.

use serde::Deserialize;
use sqlx::types::Json;

use super::connect::Connection;
use super::migrations::ledger::TABLE;
use super::quote::Ident;
use crate::engine::fault::Fault;

/// Names, quoted where they stand in SQL. `None` where there is no such thing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Targets {
    /// Whether the neighbour's schema is in this database.
    pub schema: bool,
    /// A table of the neighbour's, with its schema. The ledger where there is no other.
    pub table: Option<String>,
    /// The same without its schema.
    pub bare_table: Option<String>,
    /// A column of that table that may be written.
    pub column: Option<String>,
    /// Whether the server has counted that table's rows and kept statistics of its columns.
    pub analysed: bool,
    /// The neighbour's ledger of migrations.
    pub ledger: Option<String>,
    /// A sequence of the neighbour's.
    pub sequence: Option<String>,
    /// A call of a function of the neighbour's, with nulls for arguments.
    pub call: Option<String>,
    /// That function, with the types of its arguments.
    pub function: Option<String>,
    /// A large object of the neighbour's.
    pub large_object: Option<String>,
    /// A table of one's own.
    pub own_table: Option<String>,
    /// The role labctl administers the server with: one that may create roles, first of all the database's owner.
    pub admin: Option<String>,
    /// A superuser.
    pub superuser: Option<String>,
    /// A wrapper for foreign data.
    pub wrapper: Option<String>,
    /// Extensions that could be created.
    pub extensions: Vec<String>,
}

/// $1 the neighbour's schema, $2 its roles, $3 one's own schema, $4 the ledger's name.
const FIND: &str = "
WITH b AS (SELECT oid, nspname FROM pg_namespace WHERE nspname = $1),
tables AS (SELECT c.oid, c.relname, b.nspname, c.reltuples FROM pg_class c JOIN b ON b.oid = c.relnamespace WHERE c.relkind IN ('r', 'p')),
chosen AS (SELECT * FROM tables ORDER BY relname = $4, reltuples > 0 DESC, relname LIMIT 1),
called AS (
    SELECT format('%I.%I(%s)', b.nspname, p.proname, (SELECT string_agg('NULL::' || format_type(t.type, NULL), ', ' ORDER BY t.n) FROM unnest(p.proargtypes) WITH ORDINALITY t(type, n))) AS call,
           format('%I.%I(%s)', b.nspname, p.proname, (SELECT string_agg(format_type(t.type, NULL), ', ' ORDER BY t.n) FROM unnest(p.proargtypes) WITH ORDINALITY t(type, n))) AS function
      FROM pg_proc p JOIN b ON b.oid = p.pronamespace
     WHERE p.prokind = 'f' AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype) ORDER BY p.proname, p.oid LIMIT 1
)
SELECT jsonb_build_object(
    'schema', EXISTS (SELECT FROM b),
    'table', (SELECT format('%I.%I', nspname, relname) FROM chosen),
    'bare_table', (SELECT format('%I', relname) FROM chosen),
    'column', (SELECT format('%I', a.attname) FROM pg_attribute a JOIN chosen ON chosen.oid = a.attrelid
                WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' AND a.attidentity = '' ORDER BY a.attnum LIMIT 1),
    'analysed', coalesce((SELECT reltuples > 0 FROM chosen), false),
    'ledger', (SELECT format('%I.%I', nspname, relname) FROM tables WHERE relname = $4),
    'sequence', (SELECT format('%I.%I', b.nspname, c.relname) FROM pg_class c JOIN b ON b.oid = c.relnamespace WHERE c.relkind = 'S' ORDER BY c.relname LIMIT 1),
    'call', (SELECT call FROM called), 'function', (SELECT function FROM called),
    'large_object', (SELECT l.oid::text FROM pg_largeobject_metadata l JOIN pg_roles r ON r.oid = l.lomowner WHERE r.rolname = ANY ($2) ORDER BY l.oid LIMIT 1),
    'own_table', (SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                   WHERE n.nspname = $3 AND c.relkind IN ('r', 'p') ORDER BY c.relname = $4, c.relname LIMIT 1),
    'admin', (SELECT format('%I', r.rolname) FROM pg_roles r, pg_database d WHERE d.datname = current_database() AND r.rolcreaterole AND NOT r.rolsuper
               ORDER BY r.oid = d.datdba DESC, r.oid LIMIT 1),
    'superuser', (SELECT format('%I', rolname) FROM pg_roles WHERE rolsuper ORDER BY oid LIMIT 1),
    'wrapper', (SELECT format('%I', fdwname) FROM pg_foreign_data_wrapper ORDER BY oid LIMIT 1),
    'extensions', (SELECT coalesce(jsonb_agg(name), '[]') FROM pg_available_extensions WHERE installed_version IS NULL))";

/// Looks them up, as whoever is logged in.
///
/// # Errors
/// As the statement's fault.
pub async fn find(db: &mut Connection, neighbour: Option<&Ident>, roles: &[String], own: &Ident) -> Result<Targets, Fault> {
    let query = sqlx::query_as(FIND).bind(neighbour.map(Ident::name)).bind(roles).bind(own.name()).bind(TABLE);
    let row: Option<(Json<Targets>,)> = db.optional("postgres:catalogs", query).await?;
    row.map(|(Json(targets),)| targets).ok_or_else(|| Fault::refused("postgres:catalogs", "unexpected_answer", "the catalogs gave no row"))
}

/// The number of this session's process.
///
/// # Errors
/// As the statement's fault.
pub async fn own_process(db: &mut Connection) -> Result<i32, Fault> {
    let row: Option<(i32,)> = db.optional("postgres:pg_backend_pid", sqlx::query_as("SELECT pg_backend_pid() /* a neighbour's own words */")).await?;
    row.map(|(pid,)| pid).ok_or_else(|| Fault::refused("postgres:pg_backend_pid", "unexpected_answer", "no row"))
}
