//! A census: everything on a server, or in one of its databases, with what its comment says of its owner. Never writes.

use super::comment;
use super::connect::Connection;
use crate::engine::fault::Fault;
use crate::engine::kind::Tags;

/// One thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thing {
    /// `role`, `database`, `schema`, `relation`.
    pub what: String,
    /// Its name; of a relation, with its schema's.
    pub name: String,
    /// What its comment says; nothing where the comment is not labctl's.
    pub tags: Tags,
}

type Row = (String, String, Option<String>);

fn things(rows: Vec<Row>) -> Vec<Thing> {
    rows.into_iter().map(|(what, name, text)| Thing { what, name, tags: comment::read(text.as_deref()) }).collect()
}

/// Roles and databases of the server.
///
/// # Errors
/// As the statements' faults.
pub async fn on_server(db: &mut Connection) -> Result<Vec<Thing>, Fault> {
    let query = "SELECT 'role', rolname::text, shobj_description(oid, 'pg_authid') FROM pg_roles \
        UNION ALL SELECT 'database', datname::text, shobj_description(oid, 'pg_database') FROM pg_database";
    db.all::<Row>("postgres:pg_roles", sqlx::query_as(query)).await.map(things)
}

/// Schemas of this connection's database, and the relations in them that bear a comment.
///
/// # Errors
/// As the statements' faults.
pub async fn in_database(db: &mut Connection) -> Result<Vec<Thing>, Fault> {
    let query = "SELECT 'schema', nspname::text, obj_description(oid, 'pg_namespace') FROM pg_namespace \
        UNION ALL SELECT 'relation', format('%s.%s', n.nspname, c.relname), d.description FROM pg_class c \
        JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_description d ON d.classoid = 'pg_class'::regclass AND d.objoid = c.oid AND d.objsubid = 0";
    db.all::<Row>("postgres:pg_namespace", sqlx::query_as(query)).await.map(things)
}

/// A row of a database's central ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerRow {
    /// The schema's name.
    pub schema: String,
    /// The folder whose migrations it is about.
    pub folder: String,
    /// Whose the schema was when it was written.
    pub tenant: String,
    /// Whether the schema it was written for is there: one made anew under the same name is another.
    pub there: bool,
}

/// The central ledger of this connection's database; nothing where there is none.
///
/// # Errors
/// As the statements' faults.
pub async fn ledger(db: &mut Connection) -> Result<Vec<LedgerRow>, Fault> {
    let query = "SELECT l.schema, l.folder, l.tenant, EXISTS (SELECT FROM pg_namespace n WHERE n.nspname = l.schema::name AND n.oid = l.oid) \
        FROM labctl_ledger.schemas l ORDER BY 1, 2";
    match db.all::<(String, String, String, bool)>("postgres:labctl_ledger", sqlx::query_as(query)).await {
        Err(fault) if matches!(fault.code.as_str(), "42P01" | "3F000") => Ok(Vec::new()),
        rows => Ok(rows?.into_iter().map(|(schema, folder, tenant, there)| LedgerRow { schema, folder, tenant, there }).collect()),
    }
}
