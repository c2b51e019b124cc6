//! The central ledger: one table per database that says how far each schema is, folder by folder. A whole fleet is asked with one query.
//!
//! It is written in the transaction that writes the schema's own ledger, and belongs to the administrator: no tenant's role reads or
//! changes it. The schema's ledger stays the truth. A row counts only while the schema is the very one it was written for: it keeps the
//! schema's OID, so one that was dropped and restored is looked at. No catalog tells that rows of a ledger were changed in place:
//! [`own`](super::own) reads the schemas' own.

use std::collections::BTreeMap;

use super::{Step, runner};
use crate::engine::fault::Fault;
use crate::tenantdb::connect::Connection;
use crate::tenantdb::quote::{Ident, Literal};

/// The schema it lies in.
pub const SCHEMA: &str = "labctl_ledger";
/// The table.
pub const TABLE: &str = "labctl_ledger.schemas";

/// How far one folder of a schema is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    /// The newest version applied.
    pub version: u32,
    /// Digest of all that were applied.
    pub digest: String,
}

/// How far a schema is, by folder.
pub type Standing = BTreeMap<String, At>;

/// Of a history, by folder: where it stands.
pub fn standing(steps: &[Step]) -> Standing {
    let mut folders: BTreeMap<&str, Vec<&Step>> = BTreeMap::new();
    for step in steps {
        folders.entry(&step.folder).or_default().push(step);
    }
    folders.into_iter().map(|(folder, steps)| (folder.to_owned(), digest(steps))).collect()
}

/// Of one folder's files, each way its history can begin: after every version, where a schema then stands. In order.
pub fn beginnings(steps: &[&Step]) -> Vec<At> {
    (1..=steps.len()).map(|n| digest(steps[..n].to_vec())).collect()
}

/// Sha256 over `version checksum` of every step, by version.
fn digest(mut steps: Vec<&Step>) -> At {
    steps.sort_by_key(|s| s.version);
    let text: String = steps.iter().map(|s| format!("{} {}\n", s.version, s.checksum)).collect();
    At { version: steps.last().map_or(0, |s| s.version), digest: super::checksum(text.as_bytes()) }
}

/// Where these schemas of this connection's database stand: one query. A schema without a row is not in the answer.
///
/// # Errors
/// As the statements' faults.
pub async fn read(db: &mut Connection, schemas: &[&str]) -> Result<BTreeMap<String, Standing>, Fault> {
    let query = sqlx::query_as(
        "SELECT l.schema, l.folder, l.version, l.digest FROM labctl_ledger.schemas l JOIN pg_namespace n ON n.nspname = l.schema::name AND n.oid = l.oid \
         WHERE l.schema = ANY ($1)",
    );
    let rows: Vec<(String, String, i32, String)> = match db.all("postgres:labctl_ledger", query.bind(schemas)).await {
        Err(fault) if matches!(fault.code.as_str(), "42P01" | "3F000") => return Ok(BTreeMap::new()),
        other => other?,
    };
    let mut found: BTreeMap<String, Standing> = BTreeMap::new();
    for (schema, folder, version, digest) in rows {
        found.entry(schema).or_default().insert(folder, At { version: u32::try_from(version).unwrap_or(0), digest });
    }
    Ok(found)
}

/// Makes the table, unless it is there, and the function that runs what belongs to tenants.
///
/// # Errors
/// Refused (`foreign`) when a schema of that name is somebody else's; else as the statements' faults.
pub async fn open(db: &mut Connection) -> Result<(), Fault> {
    const CALL: &str = "postgres:CREATE SCHEMA";
    db.begin().await?;
    db.all::<(bool,)>("postgres:pg_advisory_xact_lock", sqlx::query_as("SELECT pg_advisory_xact_lock(hashtext('labctl'), 2) IS NULL")).await?;
    let look = sqlx::query_as(
        "SELECT pg_has_role(current_user, n.nspowner, 'USAGE'), c.oid IS NOT NULL FROM pg_namespace n \
         LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = 'schemas' WHERE n.nspname = $1",
    );
    let found: Option<(bool, bool)> = db.optional("postgres:pg_namespace", look.bind(SCHEMA)).await?;
    if let Some((false, _)) = found {
        return Err(Fault::refused(CALL, "foreign", format!("the schema {SCHEMA} is another role's"))
            .hint("labctl keeps its central ledger there: give the schema to labctl's administrator, or drop it"));
    }
    if found.is_none() {
        db.execute(
            CALL,
            format!(
                "CREATE SCHEMA {SCHEMA}; REVOKE ALL ON SCHEMA {SCHEMA} FROM PUBLIC;
                 COMMENT ON SCHEMA {SCHEMA} IS 'labctl: which schema of this database has which migrations'"
            ),
        )
        .await?;
    }
    if found.is_none_or(|(_, table)| !table) {
        db.execute(
            "postgres:CREATE TABLE",
            format!(
                "CREATE TABLE {TABLE} (
                     schema text NOT NULL,
                     folder text NOT NULL,
                     oid oid NOT NULL,
                     tenant text NOT NULL,
                     version integer NOT NULL CHECK (version > 0),
                     digest text NOT NULL CHECK (digest ~ '^[0-9a-f]{{64}}$'),
                     migrated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
                     PRIMARY KEY (schema, folder)
                 );
                 COMMENT ON COLUMN {TABLE}.oid IS 'The schema the row was written for: one made anew under the same name is another';
                 REVOKE ALL ON TABLE {TABLE} FROM PUBLIC"
            ),
        )
        .await?;
    }
    // For everybody who is let to it: the schemas' functions, as their owners, and nobody else.
    db.execute("postgres:CREATE FUNCTION", format!("{}; GRANT EXECUTE ON FUNCTION {} TO PUBLIC", runner::EXECUTING, runner::EXECUTE)).await?;
    db.commit(CALL).await
}

/// Takes what is on record of a schema along to its new name, in the transaction that renames it. Where there is no ledger there is nothing to take.
///
/// # Errors
/// As the statements' faults.
pub(in crate::tenantdb) async fn rename(db: &mut Connection, from: &Ident, to: &Ident) -> Result<(), Fault> {
    let there: Option<(bool,)> = db.optional("postgres:to_regclass", sqlx::query_as("SELECT true WHERE to_regclass($1) IS NOT NULL").bind(TABLE)).await?;
    if there.is_none() {
        return Ok(());
    }
    let (from, to) = (Literal::new(from.name())?, Literal::new(to.name())?);
    // Whatever stands under the new name is of a schema that is gone.
    let sql = format!(
        "DELETE FROM {TABLE} WHERE schema = {to}; UPDATE {TABLE} l SET schema = {to} FROM pg_namespace n WHERE l.schema = {from} AND n.nspname = {to} AND n.oid = l.oid"
    );
    db.script("postgres:labctl_ledger", sql).await.map(drop)
}

/// The name by which [`WRITING`] is prepared.
const WRITE: &str = "labctl_central";

/// Writes where a schema stands in one folder: schema, folder, the schema's name as SQL has it, tenant, version, digest.
const WRITING: &str = "(text, text, regnamespace, text, integer, text) AS \
     INSERT INTO labctl_ledger.schemas (schema, folder, oid, tenant, version, digest) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (schema, folder) DO UPDATE SET \
     oid = excluded.oid, tenant = excluded.tenant, version = excluded.version, digest = excluded.digest, migrated_at = pg_catalog.clock_timestamp()";

/// Prepares what [`write`] executes.
///
/// # Errors
/// As the statement's fault.
pub(super) async fn prepare(db: &mut Connection) -> Result<(), Fault> {
    db.prepare(WRITE, WRITING).await
}

/// Statements that write where a schema stands, for the end of the transaction that brought it there.
///
/// # Errors
/// Refused when a name cannot be a text.
pub(super) fn write(schema: &Ident, tenant: &str, steps: &[Step], prepared: &[&str]) -> Result<String, Fault> {
    let (name, space) = (Literal::new(schema.name())?, Literal::new(&schema.to_string())?);
    let mut rows = Vec::new();
    for (folder, at) in standing(steps) {
        let (folder, tenant, digest) = (Literal::new(&folder)?, Literal::new(tenant)?, Literal::new(&at.digest)?);
        rows.push(format!("({name}, {folder}, {space}::pg_catalog.regnamespace, {tenant}, {}, {digest})", at.version));
    }
    if rows.is_empty() {
        return forget(schema);
    }
    if prepared.contains(&WRITE) {
        return Ok(rows.iter().map(|row| format!("EXECUTE {WRITE} {row}")).collect::<Vec<_>>().join("; "));
    }
    let (_, insert) = WRITING.split_once("INSERT").unwrap_or_default();
    Ok(format!("INSERT{}", insert.replacen("($1, $2, $3, $4, $5, $6)", &rows.join(", "), 1)))
}

/// The statement that forgets a schema.
pub(super) fn forget(schema: &Ident) -> Result<String, Fault> {
    Ok(format!("DELETE FROM {TABLE} WHERE schema = {}", Literal::new(schema.name())?))
}

/// Fresh statistics of the catalogs, after many schemas were changed: of a third of the rows that PostgreSQL would take by default, since how many
/// there are is what matters, and a fleet waits for it. A server that does not let us only warns.
///
/// # Errors
/// As the statement's faults.
pub async fn analyse(db: &mut Connection) -> Result<(), Fault> {
    const CATALOGS: &str = "pg_class, pg_attribute, pg_index, pg_constraint, pg_depend, pg_type, pg_namespace, pg_description";
    db.execute(
        "postgres:ANALYZE",
        format!("SET client_min_messages = error; SET default_statistics_target = 30; ANALYZE {CATALOGS}, {TABLE}; {}", runner::RESTORE),
    )
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(folder: &str, version: u32, checksum: &str) -> Step {
        Step { folder: folder.into(), version, name: "x".into(), checksum: checksum.into() }
    }

    #[test]
    fn a_standing_depends_on_what_was_applied_and_not_on_the_order_of_folders() {
        let (a, b, c) = (step("tenant", 1, "a"), step("tenant", 2, "b"), step("dental", 1, "c"));
        let one = standing(&[a.clone(), b.clone(), c.clone()]);
        assert_eq!(one, standing(&[c, a.clone(), b.clone()]));
        assert_eq!(one["tenant"], beginnings(&[&a, &b])[1]);
        assert_eq!((one["tenant"].version, one["dental"].version), (2, 1));
        assert_ne!(one["tenant"].digest, standing(&[a, step("tenant", 2, "z")])["tenant"].digest, "another text is another history");
    }
}
