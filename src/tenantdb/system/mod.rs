//! What a database has once and its tenants share: a schema with tables of tenants' rows ([`rls`]) and tables that are the
//! same for all.
//!
//! * [`Shared`]: what a stack says of it. [`find`], [`prepare`], [`migrate`]: looked up, made where there is none, moved on.
//! * [`walls`]: what keeps tenants' rows apart there, what is wrong with it, and how that is mended.
//! * [`admission`]: one tenant let in, and taken out with its rows.
//!
//! | | owner | write | read | administrator | `PUBLIC` |
//! |---|---|---|---|---|---|
//! | schema | owns | USAGE | USAGE | USAGE | nothing |
//! | tables of rows | owns, sees no row | SELECT, INSERT, UPDATE, DELETE | SELECT | – | nothing |
//! | reference tables | owns | SELECT | SELECT | – | nothing |
//! | functions that run as their caller | owns | EXECUTE | EXECUTE | – | nothing |
//! | the table of roles | SELECT | SELECT | SELECT | owns | nothing |
//! | the ledger of migrations | owns | – | – | SELECT | nothing |
//!
//! None of the three roles logs in. A tenant's logins are members of *write* or *read*: a grant for each of them on every table would make
//! every look at a table's rights as long as there are tenants.

pub mod admission;
pub mod walls;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::connect::Connection;
use super::membership::borrow;
use super::migrations::apply::{self, Done, Job, Ledger};
use super::migrations::ledger::{self, To};
use super::migrations::own;
use super::migrations::{Library, Step};
use super::quote::{Ident, Literal};
use super::{comment, connect_group, rls};
use crate::engine::fault::Fault;
use crate::engine::kind::Tags;

const CALL: &str = "postgres:system schema";
/// Begins the name under which it stands; no tenant's id can.
const HOLDER: char = '@';
/// The function that says whose rows the session's role may see: the default of the columns that say whose a row is.
pub const TENANT: &str = "labctl_tenant";
/// The comments of the group roles have this key: a login's membership in one is its admission's matter, not the role's.
pub(super) const GROUP: &str = "labctl:group";

/// What a stack says of the tables its tenants share.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shared {
    /// The stack.
    pub stack: String,
    /// The schema.
    pub schema: String,
    /// Owns schema and tables, and makes them. Never logs in.
    pub owner: String,
    /// What a tenant that may write is a member of.
    pub write: String,
    /// What one that may only read is a member of.
    pub read: String,
    /// Tables of tenants' rows, and the column that says whose each is.
    pub rows: BTreeMap<String, String>,
    /// Tables that are the same for all.
    pub reference: BTreeSet<String>,
    /// What shall be applied, in order.
    pub migrations: Vec<Step>,
}

/// The names, checked.
pub(super) struct Names {
    pub(super) schema: Ident,
    pub(super) owner: Ident,
    pub(super) write: Ident,
    pub(super) read: Ident,
}

/// The stack whose tenants share what bears this name in place of a tenant's id.
pub fn stack(holder: &str) -> Option<&str> {
    holder.strip_prefix(HOLDER)
}

impl Shared {
    pub(super) fn names(&self) -> Result<Names, Fault> {
        Ok(Names { schema: Ident::new(&self.schema)?, owner: Ident::new(&self.owner)?, write: Ident::new(&self.write)?, read: Ident::new(&self.read)? })
    }

    /// Under whose name it stands in ledgers and comments: no tenant's.
    pub fn holder(&self) -> String {
        format!("{HOLDER}{}", self.stack)
    }

    fn address(&self) -> String {
        format!("{}/postgres_schema/system", self.holder())
    }

    fn comment(&self, registry: &str, extra: &[(&str, &str)]) -> String {
        let own = [("labctl:tenant", self.holder()), ("labctl:address", self.address()), ("labctl:registry", registry.to_owned())];
        comment::write(&own.map(|(k, v)| (k.to_owned(), v)).into(), extra)
    }

    fn is_its(&self, tags: &Tags) -> bool {
        tags.get("labctl:address") == Some(&self.address())
    }
}

/// The system schema as it is.
#[derive(Debug, Clone)]
pub struct Found {
    /// What was applied to it.
    pub applied: Vec<Step>,
    /// Whether there is a ledger: one without was being made when somebody was cut off.
    has_ledger: bool,
}

/// Looks it up. Never writes.
///
/// # Errors
/// Refused (`foreign`) when a schema of that name is not this stack's system; else as the statements' faults.
pub async fn find(db: &mut Connection, shared: &Shared) -> Result<Option<Found>, Fault> {
    let names = shared.names()?;
    let sql = "SELECT obj_description(n.oid, 'pg_namespace') FROM pg_namespace n WHERE n.nspname = $1";
    let row: Option<(Option<String>,)> = db.optional("postgres:pg_namespace", sqlx::query_as(sql).bind(&shared.schema)).await?;
    let Some((owner,)) = row else { return Ok(None) };
    let tags = comment::read(owner.as_deref());
    if !shared.is_its(&tags) {
        let whose = tags.get("labctl:address").map_or("it carries no labctl ownership", String::as_str);
        let message = format!("there is a schema {} already, and it is not the system of the stack `{}`: {whose}", names.schema, shared.stack);
        return Err(Fault::refused(CALL, "foreign", message).hint("rename or drop that schema, or give the stack another `product`"));
    }
    let ledger = own::find(db, &names.schema).await?;
    Ok(Some(Found { has_ledger: ledger.is_some(), applied: ledger.map(|l| l.applied).unwrap_or_default() }))
}

/// Sees to it that there is a system for a tenant to be admitted to. One that is there is not touched, however far behind it is: that would
/// be every tenant's matter. Several may ask for the first one at once.
///
/// # Errors
/// Refused (`system_behind`) when it is not where the stack's files are; (`history`) when they differ from what was applied; busy while another session
/// makes it; else as [`find`] and [`migrate`].
pub async fn prepare(db: &mut Connection, shared: &Shared, registry: &str, library: &Library) -> Result<(), Fault> {
    match find(db, shared).await? {
        Some(found) if !found.applied.is_empty() => {
            let pending = ledger::pending(&found.applied, &shared.migrations, &To::new()).map_err(|wrong| Fault::refused(CALL, "history", wrong))?;
            let Some(first) = pending.first() else { return Ok(()) };
            let message = format!(
                "the tables that tenants of stack `{}` share here are at version {}, and {first} is pending",
                shared.stack,
                ledger::version(&found.applied)
            );
            Err(Fault::refused(CALL, "system_behind", message)
                .hint(format!("`labctl fleet migrate --stack {}` brings them there, for all its tenants; then go on", shared.stack)))
        }
        _ => {
            make(db, shared, registry).await?;
            migrate(db, shared, registry, &To::new(), apply::LOCK_TIMEOUT, library).await.map(drop)
        }
    }
}

/// Brings it to the newest of the stack's versions, or to `to`, and its walls with it, in one transaction.
///
/// # Errors
/// As [`apply::migrate`]; refused (`walls`) when what the files have made would not keep tenants apart.
pub async fn migrate(db: &mut Connection, shared: &Shared, registry: &str, to: &To, lock_timeout: Duration, library: &Library) -> Result<Done, Fault> {
    let names = shared.names()?;
    let (address, mark) = (shared.address(), shared.comment(registry, &[]));
    let fresh = find(db, shared).await?.is_some_and(|found| !found.has_ledger);
    let ledger = if fresh { Ledger::Make { comment: &mark, baseline: &[] } } else { Ledger::Of { address: &address, registry } };
    let tenant = shared.holder();
    let job = Job {
        schema: &names.schema,
        role: &names.owner,
        tenant: &tenant,
        wanted: &shared.migrations,
        to,
        ledger,
        believed: None,
        lock_timeout,
        shared: Some(shared),
    };
    apply::migrate(db, &job, library).await
}

/// Makes roles, schema and table of roles, as far as they are not there.
async fn make(db: &mut Connection, shared: &Shared, registry: &str) -> Result<(), Fault> {
    let names = shared.names()?;
    let Names { schema, owner, write, read } = &names;
    db.begin().await?;
    // Who comes second waits here, and finds it made.
    db.all::<(bool,)>("postgres:pg_advisory_xact_lock", sqlx::query_as("SELECT pg_advisory_xact_lock(hashtext('labctl'), 3) IS NULL")).await?;
    for (role, group) in [(owner, "owner"), (write, "write"), (read, "read")] {
        // Roles are the server's: another database of it may have them, or be making them just now.
        let text = Literal::new(&shared.comment(registry, &[(GROUP, group)]))?;
        let body = format!(
            "BEGIN CREATE ROLE {role} NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS; COMMENT ON ROLE {role} IS {text}; \
             EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END"
        );
        db.execute("postgres:CREATE ROLE", format!("DO {}", Literal::new(&body)?)).await?;
        let sql = "SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = $1";
        let found: Option<(Option<String>,)> = db.optional("postgres:pg_roles", sqlx::query_as(sql).bind(role.name())).await?;
        if !found.is_some_and(|(text,)| shared.is_its(&comment::read(text.as_deref()))) {
            return Err(Fault::refused(
                "postgres:CREATE ROLE",
                "foreign",
                format!("there is a role {role} already, and it is not the system's of the stack `{}`", shared.stack),
            )
            .hint("rename or drop that role, or give the stack another `product`"));
        }
    }
    let borrowed = borrow(db, &[owner]).await?;
    let admin = Ident::new(db.user())?;
    let mark = Literal::new(&shared.comment(registry, &[]))?;
    db.execute(
        "postgres:CREATE SCHEMA",
        format!(
            "CREATE SCHEMA IF NOT EXISTS {schema} AUTHORIZATION {owner}; COMMENT ON SCHEMA {schema} IS {mark}; \
             GRANT USAGE ON SCHEMA {schema} TO {write}, {read}, {admin}; \
             ALTER DEFAULT PRIVILEGES FOR ROLE {owner} REVOKE EXECUTE ON ROUTINES FROM PUBLIC; \
             ALTER DEFAULT PRIVILEGES FOR ROLE {owner} REVOKE USAGE ON TYPES FROM PUBLIC; {}; \
             CREATE INDEX IF NOT EXISTS {roles}_tenant ON {schema}.{roles} (tenant); \
             GRANT SELECT ON {schema}.{roles} TO {owner}, {write}, {read}; \
             CREATE OR REPLACE FUNCTION {schema}.{TENANT}() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog \
             AS 'SELECT r.tenant FROM {quoted}.{roles} r WHERE r.role = current_user'; \
             REVOKE ALL ON FUNCTION {schema}.{TENANT}() FROM PUBLIC; GRANT EXECUTE ON FUNCTION {schema}.{TENANT}() TO {owner}, {write}, {read}",
            rls::table(schema),
            roles = rls::ROLES,
            quoted = schema.to_string().replace('\'', "''"),
        ),
    )
    .await?;
    borrowed.give_back(db).await?;
    close(db).await?;
    db.commit("postgres:CREATE SCHEMA").await
}

/// `PUBLIC` may neither connect to this connection's database nor create anything in it: otherwise no wall within it would stand.
async fn close(db: &mut Connection) -> Result<(), Fault> {
    let sql = "SELECT current_database()::text, EXISTS (SELECT FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a \
               WHERE d.datname = current_database() AND a.grantee = 0), EXISTS (SELECT FROM pg_namespace n, aclexplode(n.nspacl) a \
               WHERE n.nspname = 'public' AND a.grantee = 0 AND a.privilege_type = 'CREATE')";
    let Some((database, open, public)) = db.optional::<(String, bool, bool)>("postgres:pg_database", sqlx::query_as(sql)).await? else { return Ok(()) };
    if public {
        db.execute("postgres:REVOKE", "REVOKE CREATE ON SCHEMA public FROM PUBLIC".to_owned()).await?;
    }
    if open {
        connect_group::lock(db).await?;
        db.execute("postgres:REVOKE", format!("REVOKE ALL ON DATABASE {} FROM PUBLIC", Ident::new(&database)?)).await?;
    }
    Ok(())
}

/// A table of tenants' rows, as one of them sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The table.
    pub table: String,
    /// Whether there are rows that this session sees.
    pub has_rows: bool,
    /// Whether the server has counted the table's rows, everybody's.
    pub analysed: bool,
}

/// The tables of tenants' rows that are there, as this session sees them. Those with rows come first.
///
/// # Errors
/// As the statements' faults.
pub async fn seen(db: &mut Connection, shared: &Shared) -> Result<Vec<Seen>, Fault> {
    let sql = "SELECT c.relname::text, c.reltuples > 0 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND c.relname = ANY ($2) ORDER BY 1";
    let tables: Vec<&str> = shared.rows.keys().map(String::as_str).collect();
    let tables: Vec<(String, bool)> = db.all("postgres:pg_class", sqlx::query_as(sql).bind(&shared.schema).bind(tables)).await?;
    let schema = Ident::new(&shared.schema)?;
    let mut all = Vec::new();
    for (table, analysed) in tables {
        let rows: Vec<(bool,)> = db.select("postgres:SELECT", format!("SELECT EXISTS (SELECT FROM {schema}.{})", Ident::new(&table)?)).await?;
        all.push(Seen { has_rows: rows.first().is_some_and(|(yes,)| *yes), table, analysed });
    }
    all.sort_by_key(|s| !s.has_rows);
    Ok(all)
}
