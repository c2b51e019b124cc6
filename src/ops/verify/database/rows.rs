//! What a tenant's roles try where it shares tables with its neighbour: the same tables are open to both, and each must see its own rows
//! alone. A new probe is one entry here, and its hole in `tests/it/verify/rows.rs`.
//!
//! `{rows}` is a table in which the neighbour has rows, `{by}` its column that says whose a row is, `{a'}` and `{b'}` are both tenants as
//! they stand in it; `{shared}` is a table whether there are rows or not. `{roles}` says which role is whose, `{ledger}` what was migrated,
//! `{write}` is the group of all who may write, `{own_tenant}` the function behind the column's default.

use super::names::{Names, Why};
use super::probes::probe;
use super::{About, Probe};
use crate::engine::fault::Fault;
use crate::ops::verify::subject::Place;
use crate::tenantdb::migrations::ledger;
use crate::tenantdb::quote::{Ident, Literal};
use crate::tenantdb::system::{TENANT, seen};
use crate::tenantdb::{Connection, rls};

/// About the neighbour's rows.
const fn row(id: &'static str, what: &'static str, sql: &'static str) -> Probe {
    probe(About::Rows, id, what, sql)
}

/// Every probe of shared tables.
pub const ROWS: &[Probe] = &[
    row("rows_select", "read a neighbour's rows", "SELECT FROM {rows} WHERE {by} = {b'}").rows(),
    row("rows_select_others", "read anybody else's rows", "SELECT FROM {rows} WHERE {by} <> {a'}").rows(),
    row("rows_lock", "lock a neighbour's rows", "SELECT FROM {rows} WHERE {by} = {b'} FOR UPDATE").rows(),
    row("rows_insert", "add a row that is the neighbour's", "INSERT INTO {rows} ({by}) VALUES ({b'})").passed(&["22", "23"]),
    row("rows_update", "change a neighbour's rows", "UPDATE {rows} SET {by} = {by} WHERE {by} = {b'}").rows(),
    row("rows_take", "make a neighbour's rows its own", "UPDATE {rows} SET {by} = {a'} WHERE {by} = {b'}").rows().passed(&["23"]),
    row("rows_give", "make its own rows the neighbour's", "UPDATE {own_rows} SET {by_own} = {b'}").passed(&["23"]),
    row("rows_delete", "delete a neighbour's rows", "DELETE FROM {rows} WHERE {by} = {b'}").rows().passed(&["23"]),
    row("rows_truncate", "empty the table", "TRUNCATE {shared} CASCADE").passed(&["55P03"]),
    row("rows_copy_out", "COPY a neighbour's rows out", "COPY (SELECT * FROM {rows} WHERE {by} = {b'}) TO STDOUT").copy_rows(),
    row("rows_copy_table_out", "COPY the whole table out", "COPY (SELECT 1 FROM {rows} WHERE {by} IS DISTINCT FROM {a'}) TO STDOUT").copy_rows(),
    row("rows_copy_in", "COPY rows in", "COPY {shared} FROM STDIN").copy().refused_by(&["0A000", "42501"]),
    row("rows_security_off", "switch row security off for its session", "SET LOCAL row_security = off; SELECT FROM {rows} WHERE {by} = {b'}").rows(),
    row("rows_setting", "say that it is the neighbour, by settings",
        "SELECT set_config(s, {b'}, true) FROM unnest(ARRAY['app.tenant', 'app.tenant_id', 'app.current_tenant', 'app.current_tenant_id', 'labctl.tenant']) s; \
         SELECT FROM {rows} WHERE {by} = {b'}").rows(),
    row("rows_search_path", "put something else where the policy looks", "SET LOCAL search_path = pg_temp, {schema}; SELECT FROM {rows} WHERE {by} = {b'}").rows(),
    row("rows_by_group", "read as the group of all who may write", "SET LOCAL ROLE {write}; SELECT FROM {rows} WHERE {by} = {b'}").rows(),
    row("rows_by_owner", "read as the tables' owner", "SET LOCAL ROLE {b_owner}; SELECT FROM {rows} LIMIT 0"),
    row("rows_by_error", "have an error tell a neighbour's value",
        "SELECT FROM {rows} WHERE CASE WHEN {by} = {b'} THEN ({by} || '!')::int IS NOT NULL ELSE false END").rows().passed(&["22"]),
    row("rows_own_tenant", "be told it is the neighbour", "SELECT WHERE {own_tenant}() IS DISTINCT FROM {a'}").rows(),
    row("rows_read_roles", "read which roles are the neighbour's", "SELECT FROM {roles} WHERE tenant = {b'}").rows(),
    row("rows_change_roles", "make itself the neighbour's role", "UPDATE {roles} SET tenant = {b'} WHERE role = current_user"),
    row("rows_add_role", "let a role in", "INSERT INTO {roles} (role, tenant) VALUES ('labctl_probe', {b'})").passed(&["23"]),
    row("rows_statistics", "read statistics of the table's columns", "SELECT FROM pg_stats WHERE schemaname = {schema'} AND tablename = {analysed_rows'}").rows(),
    row("rows_extended_statistics", "read extended statistics", "SELECT FROM pg_stats_ext WHERE schemaname = {schema'}").rows(),
    row("rows_read_ledger", "read the ledger of the shared tables", "SELECT FROM {rows_ledger} LIMIT 0"),
    row("rows_write_ledger", "rewrite the ledger of the shared tables", "DELETE FROM {rows_ledger} WHERE false"),
    row("rows_disable", "switch row security off", "ALTER TABLE {shared} DISABLE ROW LEVEL SECURITY").passed(&["55P03"]),
    row("rows_no_force", "take the owner out of row security", "ALTER TABLE {shared} NO FORCE ROW LEVEL SECURITY").passed(&["55P03"]),
    row("rows_change_policy", "change the policy", "ALTER POLICY own_rows ON {shared} USING (true)").passed(&["55P03"]),
    row("rows_drop_policy", "drop the policy", "DROP POLICY own_rows ON {shared}").passed(&["55P03"]),
    row("rows_add_policy", "add a policy", "CREATE POLICY labctl_probe ON {shared} USING (true)").passed(&["55P03"]),
    row("rows_change_default", "have others' new rows be its own", "ALTER TABLE {shared} ALTER COLUMN {by_shared} SET DEFAULT {a'}").passed(&["55P03"]),
    row("rows_create_table", "make a table beside the shared ones", "CREATE TABLE {schema}.labctl_probe ()"),
    row("rows_create_view", "make a view beside the shared tables", "CREATE VIEW {schema}.labctl_probe AS SELECT 1"),
    row("rows_create_function", "make a function beside the shared tables", "CREATE FUNCTION {schema}.labctl_probe() RETURNS int LANGUAGE sql AS 'SELECT 1'"),
    row("rows_other_rights", "hold more than rights on rows",
        "SELECT FROM pg_class c WHERE c.relnamespace = {schema'}::regnamespace AND CASE WHEN c.relkind = 'S' THEN has_sequence_privilege(c.oid, 'USAGE, SELECT, UPDATE') \
         WHEN c.relkind IN ('r', 'p', 'v', 'm', 'f') THEN has_table_privilege(c.oid, 'TRUNCATE, REFERENCES, TRIGGER') END").rows(),
    row("rows_views", "read by a view or copy of shared tables",
        "SELECT FROM pg_class c WHERE c.relnamespace = {schema'}::regnamespace AND c.relkind IN ('v', 'm', 'f') AND has_any_column_privilege(c.oid, 'SELECT, INSERT, UPDATE')").rows(),
    row("rows_definers", "call a function that runs as somebody else",
        "SELECT FROM pg_proc p WHERE p.pronamespace = {schema'}::regnamespace AND p.prosecdef AND has_function_privilege(p.oid, 'EXECUTE')").rows(),
    row("rows_bypass", "pass over row security", "SELECT FROM pg_roles WHERE rolbypassrls AND pg_has_role(oid, 'MEMBER')").rows(),
];

/// What the list's `{…}` mean for two tenants of the same tables. `own` is a session of the attacker's, `theirs` one of the neighbour's.
pub(super) async fn name(names: &mut Names, a: (&str, &Place), b: &str, own: Option<&mut Connection>, theirs: Option<Result<&mut Connection, String>>) {
    let Some(shared) = &a.1.shared else { return };
    let tables: Vec<(String, String)> = shared.rows.iter().map(|(t, c)| (t.clone(), c.clone())).collect();
    let within = |name: &str| -> Result<String, Fault> { Ok(format!("{}.{}", Ident::new(&shared.schema)?, Ident::new(name)?)) };
    names.literal("a'", a.0);
    names.literal("b'", b);
    names.ident("schema", &shared.schema);
    names.literal("schema'", &shared.schema);
    names.ident("write", &shared.write);
    for (name, table) in [("roles", rls::ROLES), ("rows_ledger", ledger::TABLE), ("own_tenant", TENANT)] {
        names.put(name, within(table).map_err(|e| Why::Unknown(e.to_string())));
    }
    let theirs = match theirs {
        Some(Ok(db)) => seen(db, shared).await.map_err(|e| Why::Unknown(format!("`{b}` could not look at its own rows: {e}"))),
        Some(Err(why)) => Err(Why::Unknown(format!("`{b}` could not log in: {why}"))),
        None => Err(Why::Unknown(format!("`{b}` is on another server"))),
    };
    let own = match own {
        Some(db) => seen(db, shared).await.map_err(|e| Why::Unknown(e.to_string())),
        None => Err(Why::Unknown("none of the tenant's roles could log in".to_owned())),
    };
    let column = |table: &str| tables.iter().find(|(t, _)| t == table).map_or("", |(_, c)| c.as_str());
    let none = |whose: &str| Why::NothingThere(format!("`{whose}` has no row in any shared table"));
    for (found, whose, table_name, column_name) in [(&theirs, b, "rows", "by"), (&own, a.0, "own_rows", "by_own")] {
        let table = found.as_ref().map_err(Clone::clone).and_then(|all| all.iter().find(|s| s.has_rows).ok_or_else(|| none(whose)));
        let put = |of: &dyn Fn(&str) -> Result<String, Fault>| table.clone().and_then(|s| of(&s.table).map_err(|e| Why::Unknown(e.to_string())));
        let (full, by) = (put(&|t| within(t)), put(&|t| Ident::new(column(t)).map(|i| i.to_string())));
        names.put(table_name, full);
        names.put(column_name, by);
    }
    let any = own
        .as_ref()
        .map_err(Clone::clone)
        .and_then(|all| all.first().ok_or_else(|| Why::NothingThere("the stack's shared tables hold no rows of tenants".to_owned())));
    names.put("shared", any.clone().and_then(|s| within(&s.table).map_err(|e| Why::Unknown(e.to_string()))));
    names.put("by_shared", any.and_then(|s| Ident::new(column(&s.table)).map(|i| i.to_string()).map_err(|e| Why::Unknown(e.to_string()))));
    let analysed = theirs
        .and_then(|all| all.into_iter().find(|s| s.has_rows && s.analysed).ok_or_else(|| Why::NothingThere("no shared table has statistics yet".to_owned())));
    names.put("analysed_rows'", analysed.and_then(|s| Literal::new(&s.table).map(|l| l.to_string()).map_err(|e| Why::Unknown(e.to_string()))));
}
