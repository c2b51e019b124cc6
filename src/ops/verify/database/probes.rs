//! The list of what a tenant's roles try in PostgreSQL. A new probe is one entry here, and its hole in `tests/it/verify/holes.rs`.
//!
//! `{…}` are names, filled in by [`Names`](super::Names): `{me}`, `{own}` (schema), `{own_owner}`, `{own_table}`, `{database}`, `{admin}`,
//! `{superuser}`, `{wrapper}` of the attacker and its server; `{schema}`, `{table}`, `{bare_table}`, `{column}`, `{ledger}`, `{sequence}`,
//! `{call}`, `{function}`, `{large_object}`, `{b_owner}`, `{b_migrate}`, `{b_app}`, `{b_database}`, `{victim}` (process of a session of
//! the neighbour's) of the neighbour; `{guarded}` (a table with rows), `{guarded_schema}` and `{guarded_ledger}` of one whose stack asks for row security. `{x'}` is the same as a literal. `{extension:x}` is there where that extension could be created.

use super::{About, Probe, To, Way, Who};

/// Not permitted.
const NO: &[&str] = &["42501"];
/// Not a login for this database.
const NO_ENTRY: &[&str] = &["42501", "28000", "28P01"];

pub(super) const fn probe(about: About, id: &'static str, what: &'static str, sql: &'static str) -> Probe {
    Probe { id, what, sql, about, way: Way::Statement, who: Who::All, refused: NO, passed: &[] }
}

/// About the server as a whole.
const fn own(id: &'static str, what: &'static str, sql: &'static str) -> Probe {
    probe(About::Place, id, what, sql)
}

/// About the neighbour's roles and sessions.
const fn role(id: &'static str, what: &'static str, sql: &'static str) -> Probe {
    probe(About::Roles, id, what, sql)
}

/// About the neighbour's schema.
const fn data(id: &'static str, what: &'static str, sql: &'static str) -> Probe {
    probe(About::Schema, id, what, sql)
}

const fn login(about: About, id: &'static str, what: &'static str, to: To) -> Probe {
    Probe { way: Way::Login(to), refused: NO_ENTRY, who: Who::Application, ..probe(about, id, what, "") }
}

impl Probe {
    /// Only the role that may create in its own schema can come that far.
    pub(super) const fn maker(self) -> Self {
        Self { who: Who::Maker, ..self }
    }

    /// A query that must find nothing.
    pub(super) const fn rows(self) -> Self {
        Self { way: Way::Rows, ..self }
    }

    /// It cannot be in a transaction.
    pub(super) const fn alone(self) -> Self {
        Self { way: Way::Alone, ..self }
    }

    /// The client's side of it is not a statement's.
    pub(super) const fn copy(self) -> Self {
        Self { way: Way::Copy, ..self }
    }

    /// What comes out of a COPY must be nothing.
    pub(super) const fn copy_rows(self) -> Self {
        Self { way: Way::CopyRows, ..self }
    }

    /// Errors that come only after the privilege was granted, by the beginning of their SQLSTATE.
    pub(super) const fn passed(self, codes: &'static [&'static str]) -> Self {
        Self { passed: codes, ..self }
    }

    pub(super) const fn refused_by(self, codes: &'static [&'static str]) -> Self {
        Self { refused: codes, ..self }
    }
}

/// Every probe there is, but for those of tables that tenants share ([`rows`](super::rows)).
pub const PROBES: &[Probe] = &[
    // Making things where nothing is the tenant's.
    own("create_in_public", "create a table in public", "CREATE TABLE public.labctl_probe ()"),
    own("create_schema", "create a schema", "CREATE SCHEMA labctl_probe"),
    own("temporary_table", "create a temporary table", "CREATE TEMPORARY TABLE labctl_probe ()"),
    own("temporary_view", "put a view before others' tables by pg_temp", "CREATE TEMPORARY VIEW pg_class AS SELECT 1"),
    own("temporary_function", "create a function in pg_temp", "CREATE FUNCTION pg_temp.labctl_probe() RETURNS int LANGUAGE sql AS 'SELECT 1'"),
    own("create_role", "create a role", "CREATE ROLE labctl_probe"),
    own("create_database", "create a database", "CREATE DATABASE labctl_probe TEMPLATE \"labctl: there is none\"").alone().passed(&["3D000"]),
    own("create_publication", "publish tables", "CREATE PUBLICATION labctl_probe"),
    own("create_subscription", "subscribe to tables elsewhere", "CREATE SUBSCRIPTION labctl_probe CONNECTION 'host=127.0.0.1' PUBLICATION p WITH (connect = false)"),
    own("replication_slot", "read the write-ahead log", "SELECT pg_create_logical_replication_slot('Not A Slot', 'pgoutput')").passed(&["55000", "42602"]),
    own("event_trigger", "run code at others' DDL", "CREATE EVENT TRIGGER labctl_probe ON ddl_command_end EXECUTE FUNCTION pg_catalog.now()").passed(&["42P17"]),
    own("create_language", "create a language", "CREATE LANGUAGE labctl_probe HANDLER plpgsql_call_handler"),
    own("native_function", "create a function in native code", "CREATE FUNCTION {own}.labctl_probe() RETURNS int LANGUAGE internal AS 'pg_backend_pid'").maker(),
    // Becoming more than one is.
    own("become_superuser", "become a superuser", "ALTER ROLE {me} SUPERUSER"),
    own("become_bypassrls", "pass over row security", "ALTER ROLE {me} BYPASSRLS"),
    own("become_replication", "get REPLICATION", "ALTER ROLE {me} REPLICATION"),
    own("become_createrole", "get CREATEROLE", "ALTER ROLE {me} CREATEROLE"),
    own("become_createdb", "get CREATEDB", "ALTER ROLE {me} CREATEDB"),
    own("connection_limit", "lift its own connection limit", "ALTER ROLE {me} CONNECTION LIMIT -1"),
    own("set_role_admin", "become the administrator", "SET ROLE {admin}"),
    own("set_role_superuser", "become the server's superuser", "SET ROLE {superuser}"),
    own("authorize_admin", "be the administrator's session", "SET SESSION AUTHORIZATION {admin}"),
    own("set_role_own_owner", "become its own schema's owner", "SET ROLE {own_owner}"),
    own("join_admin", "join the administrator", "GRANT {admin} TO {me}"),
    own("join_predefined", "join pg_read_all_data", "GRANT pg_read_all_data TO {me}"),
    own(
        "member_of_strangers",
        "be a member of a role that is neither its own nor the one it connects by",
        "SELECT FROM pg_roles WHERE pg_has_role(oid, 'MEMBER') AND rolname <> ALL ({own_roles}) AND rolname <> 'labctl_connect_' || current_database()",
    )
    .rows(),
    own("alter_all_roles", "change settings of all roles", "ALTER ROLE ALL SET work_mem = '1MB'"),
    own("alter_database", "change settings of the database", "ALTER DATABASE {database} SET work_mem = '1MB'"),
    own("alter_system", "change settings of the server", "ALTER SYSTEM SET work_mem = 'labctl: no number'").alone().passed(&["22023"]),
    own("replica_session", "switch triggers and foreign keys off", "SET session_replication_role = replica"),
    own("stop_logging", "keep its statements out of the log", "SET log_statement = 'none'"),
    own("large_object_compat", "switch privileges of large objects off", "SET lo_compat_privileges = on"),
    own("load_library", "load a library", "LOAD '/labctl_probe'").passed(&["58P01"]),
    own("reload", "have the server read its settings", "SELECT pg_reload_conf()"),
    own("reset_statistics", "reset statistics", "SELECT pg_stat_reset_single_table_counters(0)"),
    own("checkpoint", "have the server write a checkpoint", "CHECKPOINT"),
    // Files, programs, networks.
    own("read_file", "read a file of the server", "SELECT pg_read_file('PG_VERSION')"),
    own("read_binary_file", "read a binary file of the server", "SELECT pg_read_binary_file('PG_VERSION')"),
    own("list_folder", "list a folder of the server", "SELECT pg_ls_dir('.')"),
    own("list_log", "list the server's log", "SELECT pg_ls_logdir()").passed(&["58P01"]),
    own("stat_file", "see whether a file is there", "SELECT pg_stat_file('PG_VERSION')"),
    own("import_file", "read a file as a large object", "SELECT lo_import('PG_VERSION')"),
    own("export_file", "write a file from a large object", "SELECT lo_export(0, '/nonexistent/labctl_probe')").passed(&["42704"]),
    own("copy_from_file", "COPY from a file", "COPY {own_table} FROM '/dev/null'"),
    own("copy_to_file", "COPY to a file", "COPY (SELECT 1) TO '/dev/null'"),
    own("copy_from_program", "COPY from a program", "COPY {own_table} FROM PROGRAM 'true'"),
    own("copy_to_program", "COPY to a program", "COPY (SELECT 1) TO PROGRAM 'cat > /dev/null'"),
    own("extension_dblink", "install dblink", "CREATE EXTENSION {extension:dblink} SCHEMA public"),
    own("extension_postgres_fdw", "install postgres_fdw", "CREATE EXTENSION {extension:postgres_fdw} SCHEMA public"),
    own("extension_file_fdw", "install file_fdw", "CREATE EXTENSION {extension:file_fdw} SCHEMA public"),
    own("extension_trusted", "install an extension that is trusted", "CREATE EXTENSION {extension:pgcrypto} SCHEMA public"),
    own("outward_functions", "call functions that reach out of the database",
        "SELECT FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e' JOIN pg_extension e ON e.oid = d.refobjid \
         WHERE e.extname IN ('dblink', 'adminpack', 'file_fdw', 'lo', 'pageinspect', 'pg_surgery', 'aws_s3', 'aws_lambda') AND p.prolang <> 14 \
         AND has_function_privilege(p.oid, 'EXECUTE') AND has_schema_privilege(p.pronamespace, 'USAGE')").rows(),
    own("create_wrapper", "create a wrapper for foreign data", "CREATE FOREIGN DATA WRAPPER labctl_probe"),
    own("create_server", "create a server of foreign data", "CREATE SERVER labctl_probe FOREIGN DATA WRAPPER {wrapper}"),
    own("use_server", "use a server of foreign data", "SELECT FROM pg_foreign_server WHERE has_server_privilege(oid, 'USAGE')").rows(),
    // What the server keeps to itself.
    own("read_passwords", "read password hashes", "SELECT rolpassword FROM pg_authid LIMIT 0"),
    own("read_shadow", "read password hashes by pg_shadow", "SELECT passwd FROM pg_shadow LIMIT 0"),
    own("read_user_mappings", "read passwords of foreign servers", "SELECT umoptions FROM pg_user_mapping LIMIT 0"),
    own("read_subscriptions", "read passwords of subscriptions", "SELECT subconninfo FROM pg_subscription LIMIT 0"),
    own("read_statistic", "read statistics of columns unfiltered", "SELECT stavalues1 FROM pg_statistic LIMIT 0"),
    own("read_statistic_data", "read extended statistics unfiltered", "SELECT stxdmcv FROM pg_statistic_ext_data LIMIT 0"),
    own("read_large_objects", "read all large objects", "SELECT data FROM pg_largeobject LIMIT 0"),
    own("read_hba", "read the server's rules of entry", "SELECT FROM pg_hba_file_rules LIMIT 0"),
    own("read_settings_files", "read the server's settings files", "SELECT FROM pg_file_settings LIMIT 0"),
    own("foreign_definers", "call somebody else's SECURITY DEFINER function",
        "SELECT FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE p.prosecdef AND n.nspname NOT IN ('pg_catalog', 'information_schema') \
         AND p.proowner NOT IN (SELECT oid FROM pg_roles WHERE rolname = ANY ({own_roles})) AND has_schema_privilege(n.oid, 'USAGE') AND has_function_privilege(p.oid, 'EXECUTE')").rows(),
    own("large_objects_of_others", "hold a right on somebody else's large object",
        "SELECT FROM pg_largeobject_metadata l, aclexplode(l.lomacl) a WHERE l.lomowner NOT IN (SELECT oid FROM pg_roles WHERE rolname = ANY ({own_roles})) \
         AND (a.grantee = 0 OR pg_has_role(a.grantee, 'USAGE'))").rows(),
    login(About::Place, "log_in_maintenance", "log in to the maintenance database", To::Maintenance),
    login(About::Place, "log_in_registry", "log in to labctl's registry", To::Registry),
    // The neighbour's roles and sessions.
    login(About::Roles, "log_in_as_neighbour", "log in as the neighbour's application with its own password", To::AsNeighbour),
    login(About::Apart, "log_in_to_neighbour", "log in to the neighbour's database", To::Neighbour),
    role("set_role_owner", "become the neighbour's owner", "SET ROLE {b_owner}"),
    role("set_role_migrate", "become the neighbour's migration role", "SET ROLE {b_migrate}"),
    role("set_role_app", "become the neighbour's application", "SET ROLE {b_app}"),
    role("set_role_readonly", "become the neighbour's read-only role", "SET ROLE {b_readonly}"),
    role("authorize_owner", "be a session of the neighbour's owner", "SET SESSION AUTHORIZATION {b_owner}"),
    role("authorize_app", "be a session of the neighbour's application", "SET SESSION AUTHORIZATION {b_app}"),
    role("join_owner", "grant itself the neighbour's owner", "GRANT {b_owner} TO {me}"),
    role("join_migrate", "grant itself the neighbour's migration role", "GRANT {b_migrate} TO {me}"),
    role("join_app", "grant itself the neighbour's application role", "GRANT {b_app} TO {me}"),
    role("change_password", "give the neighbour's application another password", "ALTER ROLE {b_app} PASSWORD NULL"),
    role("lock_out", "forbid the neighbour's application to log in", "ALTER ROLE {b_app} NOLOGIN"),
    role("change_settings", "change the neighbour's search_path", "ALTER ROLE {b_app} SET search_path = {own}"),
    role("rename_role", "rename the neighbour's application role", "ALTER ROLE {b_app} RENAME TO labctl_probe"),
    role("drop_role", "drop the neighbour's application role", "DROP ROLE {b_app}").passed(&["2BP01"]),
    role("drop_owned", "drop all the neighbour owns", "DROP OWNED BY {b_migrate}").passed(&["2BP01", "55P03"]),
    role("reassign_owned", "take over all the neighbour owns", "REASSIGN OWNED BY {b_migrate} TO {me}"),
    role("default_privileges", "be granted what the neighbour will make", "ALTER DEFAULT PRIVILEGES FOR ROLE {b_migrate} GRANT SELECT ON TABLES TO {me}"),
    role("comment_role", "comment on the neighbour's role", "COMMENT ON ROLE {b_app} IS NULL"),
    role("terminate_session", "end a session of the neighbour's", "SELECT pg_terminate_backend({victim})"),
    role("cancel_query", "cancel a query of the neighbour's", "SELECT pg_cancel_backend({victim})"),
    role("read_query", "read what the neighbour's session runs", "SELECT FROM pg_stat_activity WHERE pid = {victim} AND query LIKE '%neighbour%'").rows(),
    role("read_address", "see where the neighbour's session comes from", "SELECT FROM pg_stat_activity WHERE pid = {victim} AND (client_addr IS NOT NULL OR backend_start IS NOT NULL)").rows(),
    role("hand_over_function", "make a function that runs as the neighbour",
        "CREATE FUNCTION {own}.labctl_probe() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'; ALTER FUNCTION {own}.labctl_probe() OWNER TO {b_migrate}").maker(),
    probe(About::Apart, "enter_database", "open the neighbour's database to itself", "GRANT CONNECT ON DATABASE {b_database} TO {me}"),
    probe(About::Apart, "own_database", "take over the neighbour's database", "ALTER DATABASE {b_database} OWNER TO {me}"),
    probe(About::Apart, "close_database", "close the neighbour's database", "ALTER DATABASE {b_database} CONNECTION LIMIT 0"),
    // The neighbour's rows.
    data("select", "read rows", "SELECT * FROM {table} LIMIT 0"),
    data("select_by_search_path", "read rows by search_path", "SET search_path = {schema}; SELECT * FROM {bare_table} LIMIT 0").refused_by(&["42501", "42P01"]),
    data("select_for_update", "lock rows", "SELECT * FROM {table} LIMIT 0 FOR UPDATE"),
    data("insert", "add rows", "INSERT INTO {table} DEFAULT VALUES").passed(&["23", "22"]),
    data("update", "change rows", "UPDATE {table} SET {column} = DEFAULT WHERE false"),
    data("delete", "delete rows", "DELETE FROM {table} WHERE false"),
    data("truncate", "empty a table", "TRUNCATE {table} CASCADE").passed(&["55P03"]),
    data("copy_out", "COPY a table out", "COPY {table} TO STDOUT").copy(),
    data("copy_query_out", "COPY a query out", "COPY (SELECT * FROM {table}) TO STDOUT").copy(),
    data("copy_in", "COPY rows in", "COPY {table} FROM STDIN").copy().refused_by(&["42501", "0A000"]),
    data("lock_table", "lock a table", "LOCK TABLE {table} IN ACCESS SHARE MODE"),
    data("read_ledger", "read the ledger of migrations", "SELECT * FROM {ledger} LIMIT 0"),
    data("write_ledger", "rewrite the ledger of migrations", "DELETE FROM {ledger} WHERE false"),
    data("read_sequence", "read a sequence", "SELECT last_value FROM {sequence}"),
    data("draw_sequence", "draw from a sequence", "SELECT currval({sequence'})").passed(&["55000"]),
    data("set_sequence", "set a sequence", "SELECT setval({sequence'}, -9223372036854775808)").passed(&["22003"]),
    data("call_function", "call a function", "SELECT {call} WHERE false"),
    data("read_large_object", "read a large object", "SELECT lo_get({large_object})"),
    data("write_large_object", "write a large object", "SELECT lo_put({large_object}, 0, '')"),
    data("drop_large_object", "drop a large object", "SELECT lo_unlink({large_object})"),
    data("any_right", "hold any right on anything in the schema",
        "SELECT FROM pg_class c WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = {schema'}) AND (CASE WHEN c.relkind = 'S' THEN has_sequence_privilege(c.oid, 'SELECT, USAGE, UPDATE') \
         WHEN c.relkind IN ('r', 'p', 'v', 'm', 'f') THEN has_table_privilege(c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER') \
         OR has_any_column_privilege(c.oid, 'SELECT, INSERT, UPDATE, REFERENCES') END) \
         UNION ALL SELECT FROM pg_proc p WHERE p.pronamespace = (SELECT oid FROM pg_namespace WHERE nspname = {schema'}) AND has_function_privilege(p.oid, 'EXECUTE') \
         UNION ALL SELECT FROM pg_namespace n WHERE n.oid = (SELECT oid FROM pg_namespace WHERE nspname = {schema'}) AND has_schema_privilege(n.oid, 'USAGE, CREATE')").rows(),
    data("guarded_rows", "read rows that row security hides, whatever is granted", "SELECT FROM {guarded} LIMIT 1").rows(),
    data("unguarded_table", "find what would show its rows, were it granted",
        "SELECT FROM pg_class c WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = {guarded_schema'}) AND c.relname <> {guarded_ledger'} AND CASE \
         WHEN c.relkind IN ('r', 'p') THEN NOT row_security_active(c.oid) OR EXISTS (SELECT FROM pg_policy p, unnest(p.polroles) r WHERE p.polrelid = c.oid AND p.polpermissive \
              AND CASE WHEN r = 0 THEN true ELSE pg_has_role(r, 'USAGE') END) \
         WHEN c.relkind = 'v' THEN NOT EXISTS (SELECT FROM pg_options_to_table(c.reloptions) o WHERE o.option_name = 'security_invoker' AND o.option_value::boolean) \
         ELSE c.relkind IN ('m', 'f') END").rows(),
    data("column_statistics", "read statistics of columns", "SELECT FROM pg_stats WHERE schemaname = {analysed'}").rows(),
    data("list_tables", "list tables by the standard's views", "SELECT FROM information_schema.tables WHERE table_schema = {schema'}").rows(),
    data("list_columns", "list columns by the standard's views", "SELECT FROM information_schema.columns WHERE table_schema = {schema'}").rows(),
    data("list_schema", "list the schema by the standard's views", "SELECT FROM information_schema.schemata WHERE schema_name = {schema'}").rows(),
    data("sequence_values", "read values of sequences by pg_sequences", "SELECT FROM pg_sequences WHERE schemaname = {schema'} AND last_value IS NOT NULL").rows(),
    // The neighbour's tables and schema.
    data("create_table", "create a table in the schema", "CREATE TABLE {schema}.labctl_probe ()"),
    data("create_function", "create a function in the schema", "CREATE FUNCTION {schema}.labctl_probe() RETURNS int LANGUAGE sql AS 'SELECT 1'"),
    data("create_type", "create a type in the schema", "CREATE TYPE {schema}.labctl_probe AS ENUM ()"),
    data("drop_table", "drop a table", "DROP TABLE {table} CASCADE").passed(&["55P03"]),
    data("add_column", "add a column", "ALTER TABLE {table} ADD COLUMN labctl_probe int").passed(&["55P03"]),
    data("rename_table", "rename a table", "ALTER TABLE {table} RENAME TO labctl_probe").passed(&["55P03"]),
    data("own_table", "take a table over", "ALTER TABLE {table} OWNER TO {me}").passed(&["55P03"]),
    data("row_security", "switch row security", "ALTER TABLE {table} DISABLE ROW LEVEL SECURITY").passed(&["55P03"]),
    data("create_policy", "create a policy", "CREATE POLICY labctl_probe ON {table} USING (true)").passed(&["55P03"]),
    data("create_trigger", "run code at the neighbour's writes", "CREATE TRIGGER labctl_probe BEFORE UPDATE ON {table} EXECUTE FUNCTION pg_catalog.suppress_redundant_updates_trigger()").passed(&["55P03"]),
    data("create_rule", "rewrite the neighbour's statements", "CREATE RULE labctl_probe AS ON UPDATE TO {table} DO INSTEAD NOTHING").passed(&["55P03"]),
    data("create_index", "create an index", "CREATE INDEX ON {table} ((1))").passed(&["55P03"]),
    data("reindex", "rebuild indexes", "REINDEX TABLE {table}").passed(&["55P03"]),
    data("comment_table", "comment on a table", "COMMENT ON TABLE {table} IS NULL"),
    data("grant_table", "be granted a table", "GRANT SELECT ON {table} TO {me}"),
    data("revoke_table", "take the neighbour's own rights away", "REVOKE ALL ON {table} FROM {b_app}"),
    data("replace_function", "replace a function", "ALTER FUNCTION {function} SECURITY DEFINER"),
    data("drop_sequence", "drop a sequence", "DROP SEQUENCE {sequence} CASCADE").passed(&["2BP01", "55P03"]),
    data("drop_schema", "drop the schema", "DROP SCHEMA {schema} CASCADE").passed(&["55P03"]),
    data("rename_schema", "rename the schema", "ALTER SCHEMA {schema} RENAME TO labctl_probe"),
    data("own_schema", "take the schema over", "ALTER SCHEMA {schema} OWNER TO {me}"),
    data("grant_schema", "be granted the schema", "GRANT USAGE ON SCHEMA {schema} TO {me}"),
    // What only a role that may create could try.
    data("view_on_table", "make a view of the neighbour's rows", "CREATE VIEW {own}.labctl_probe AS SELECT * FROM {table}; SELECT * FROM {own}.labctl_probe LIMIT 0").maker(),
    data("copy_table", "make a table of the neighbour's rows", "CREATE TABLE {own}.labctl_probe AS SELECT * FROM {table} LIMIT 0").maker(),
    data("like_table", "make a table like the neighbour's", "CREATE TABLE {own}.labctl_probe (LIKE {table})").maker(),
    data("inherit_table", "inherit from the neighbour's table", "CREATE TABLE {own}.labctl_probe () INHERITS ({table})").maker(),
    data("move_table", "move a table into the schema", "CREATE TABLE {own}.labctl_probe (); ALTER TABLE {own}.labctl_probe SET SCHEMA {schema}").maker(),
    data("definer_function", "read rows by a function of its own",
        "CREATE FUNCTION {own}.labctl_probe() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER AS $labctl$BEGIN RETURN (SELECT count(*) FROM (SELECT FROM {table} LIMIT 0) x); END$labctl$; \
         SELECT {own}.labctl_probe()").maker(),
    data("sequence_default", "tie a table to the neighbour's sequence", "CREATE TABLE {own}.labctl_probe (n bigint DEFAULT nextval({sequence'}))").maker(),
];
