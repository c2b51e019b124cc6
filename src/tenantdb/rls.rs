//! Row security for tables that tenants share: each row belongs to a tenant, and a role sees its own tenant's rows only.
//!
//! The policy goes by the role itself, not by a setting: a setting can be changed by whoever has a connection (`set_config`), stays
//! behind in a pool, and raises an error where it was never set. Which role is whose stands in a table that shows each role its own line
//! only. A role without a line, the owner of the table included (`FORCE`), sees nothing and can add nothing.

use super::connect::Connection;
use super::quote::{Ident, Literal};
use crate::engine::fault::Fault;

/// The table of roles, in the schema of the shared tables.
pub const ROLES: &str = "labctl_row_roles";
/// The policy's name, on every table.
pub(super) const POLICY: &str = "own_rows";

/// Makes the table of roles in a schema. Twice is harmless.
///
/// # Errors
/// As the statements' faults.
pub async fn prepare(db: &mut Connection, schema: &Ident) -> Result<(), Fault> {
    db.begin().await?;
    db.execute("postgres:CREATE TABLE", table(schema)).await?;
    db.commit("postgres:CREATE TABLE").await
}

/// The statements that make the table of roles. `registry` is whose line it is, where there may be several.
pub(super) fn table(schema: &Ident) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {schema}.{ROLES} (role name PRIMARY KEY, tenant text NOT NULL, registry text); \
         ALTER TABLE {schema}.{ROLES} ENABLE ROW LEVEL SECURITY; \
         DROP POLICY IF EXISTS own_line ON {schema}.{ROLES}; \
         CREATE POLICY own_line ON {schema}.{ROLES} FOR SELECT USING (role = current_user)"
    )
}

/// The statements that make a table's policy anew, and the only one that counts.
pub(super) fn policy(schema: &Ident, table: &Ident, column: &Ident) -> String {
    let own = format!("(SELECT r.tenant FROM {schema}.{ROLES} r WHERE r.role = current_user)");
    format!(
        "DROP POLICY IF EXISTS {POLICY} ON {schema}.{table}; \
         CREATE POLICY {POLICY} ON {schema}.{table} USING ({column} = {own}) WITH CHECK ({column} = {own})"
    )
}

/// Says whose a role is. It may read its own line, and no other.
///
/// # Errors
/// As the statements' faults.
pub async fn admit(db: &mut Connection, schema: &Ident, role: &Ident, tenant: &str) -> Result<(), Fault> {
    let (name, tenant) = (Literal::new(role.name())?, Literal::new(tenant)?);
    db.begin().await?;
    db.execute(
        "postgres:INSERT",
        format!(
            "INSERT INTO {schema}.{ROLES} AS r (role, tenant) VALUES ({name}, {tenant}) ON CONFLICT (role) DO UPDATE SET tenant = excluded.tenant; \
             GRANT SELECT ON {schema}.{ROLES} TO {role}"
        ),
    )
    .await?;
    db.commit("postgres:INSERT").await
}

/// Protects a table: rows are seen, added, changed and deleted by their tenant's roles alone, and belong to whoever adds them.
///
/// # Errors
/// Refused (`invalid_column`) unless the column is there, of type `text` and `NOT NULL`: compared with another type the policy would be an
/// error for everybody, and a row of nobody's would be seen by nobody. Refused (`foreign_policy`) when the table has a policy that is not
/// ours: policies add up, so that one more could open what this one closes. Else as the statements' faults.
pub async fn protect(db: &mut Connection, schema: &Ident, table: &Ident, column: &Ident) -> Result<(), Fault> {
    const CALL: &str = "postgres:CREATE POLICY";
    let rows: Vec<(String, bool, i64)> = db
        .all(
            "postgres:pg_attribute",
            sqlx::query_as(
                "SELECT format_type(a.atttypid, NULL), a.attnotnull, (SELECT count(*) FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname <> 'own_rows') \
                 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid \
                 WHERE n.nspname = $1 AND c.relname = $2 AND a.attname = $3 AND NOT a.attisdropped",
            )
            .bind(schema.name())
            .bind(table.name())
            .bind(column.name()),
        )
        .await?;
    match rows.first() {
        Some((kind, true, 0)) if kind == "text" => {}
        Some((_, _, others)) if *others > 0 => {
            return Err(Fault::refused(CALL, "foreign_policy", format!("{schema}.{table} has {others} other policies, and policies add up")));
        }
        found => {
            let is =
                found.map_or_else(|| "is not there".to_owned(), |(kind, not_null, _)| format!("is {kind}{}", if *not_null { "" } else { " and may be null" }));
            return Err(Fault::refused(CALL, "invalid_column", format!("column {column} of {schema}.{table} {is}: it must be text NOT NULL")));
        }
    }
    db.begin().await?;
    db.execute(
        CALL,
        format!(
            "ALTER TABLE {schema}.{table} ENABLE ROW LEVEL SECURITY; ALTER TABLE {schema}.{table} FORCE ROW LEVEL SECURITY; {}",
            policy(schema, table, column)
        ),
    )
    .await?;
    db.commit(CALL).await
}
