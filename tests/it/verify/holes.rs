//! For every probe the hole it would find: what a superuser does to open it, and to close it again.
//!
//! `{a}` tries, `{b}` is its neighbour in the same database `{db}`, `{me}` is the role of A's that tries, `{admin}` administers the
//! server, `{lo}` is a large object of B's, `{apart}` is the database of a neighbour elsewhere.

use Open::{Member, Privilege, Superuser, With};

/// How a hole is opened.
pub enum Open {
    /// `GRANT … TO {me}`, and `USAGE` on B's schema: the privilege itself.
    Privilege(&'static str),
    /// Membership in a role.
    Member(&'static str),
    /// Only a superuser can do it: PostgreSQL has no smaller privilege for it.
    Superuser,
    /// By these statements, and closed by those.
    With(&'static str, &'static str),
}

const T: &str = "lab_results";

impl Open {
    /// The statements that open and close it.
    pub fn sql(&self) -> (String, String) {
        let usage = "GRANT USAGE ON SCHEMA {b}_schema TO {me}";
        match self {
            Privilege(on) => (format!("{usage}; GRANT {} TO {{me}}", on.replace("{t}", &format!("{{b}}_schema.{T}"))), {
                let plain = on.replace("{t}", &format!("{{b}}_schema.{T}"));
                format!("REVOKE {plain} FROM {{me}}; REVOKE USAGE ON SCHEMA {{b}}_schema FROM {{me}}")
            }),
            Member(role) => (format!("GRANT {role} TO {{me}} WITH ADMIN OPTION"), format!("REVOKE {role} FROM {{me}}")),
            Superuser => ("ALTER ROLE {me} SUPERUSER".into(), "ALTER ROLE {me} NOSUPERUSER".into()),
            With(open, close) => ((*open).into(), (*close).into()),
        }
    }
}

pub const HOLES: &[(&str, Open)] = &[
    ("create_in_public", Privilege("CREATE ON SCHEMA public")),
    ("create_schema", Privilege("CREATE ON DATABASE {db}")),
    ("temporary_table", Privilege("TEMPORARY ON DATABASE {db}")),
    ("temporary_view", Privilege("TEMPORARY ON DATABASE {db}")),
    ("temporary_function", Privilege("TEMPORARY ON DATABASE {db}")),
    ("create_role", With("ALTER ROLE {me} CREATEROLE", "ALTER ROLE {me} NOCREATEROLE")),
    ("create_database", With("ALTER ROLE {me} CREATEDB", "ALTER ROLE {me} NOCREATEDB")),
    ("create_publication", Privilege("CREATE ON DATABASE {db}")),
    ("create_subscription", Superuser),
    ("replication_slot", With("ALTER ROLE {me} REPLICATION", "ALTER ROLE {me} NOREPLICATION")),
    ("event_trigger", Superuser),
    ("create_language", Superuser),
    ("native_function", Superuser),
    ("become_superuser", Superuser),
    ("become_bypassrls", Superuser),
    ("become_replication", Superuser),
    ("become_createrole", Superuser),
    ("become_createdb", Superuser),
    ("connection_limit", Superuser),
    ("set_role_admin", Member("{admin}")),
    ("set_role_superuser", Member("postgres")),
    ("authorize_admin", Superuser),
    ("set_role_own_owner", Member("{a}_owner")),
    ("join_admin", Member("{admin}")),
    ("join_predefined", Member("pg_read_all_data")),
    ("member_of_strangers", Member("{b}_app")),
    ("alter_all_roles", Superuser),
    ("alter_database", Member("{admin}")),
    ("alter_system", With("GRANT ALTER SYSTEM ON PARAMETER work_mem TO {me}", "REVOKE ALL ON PARAMETER work_mem FROM {me}")),
    ("replica_session", With("GRANT SET ON PARAMETER session_replication_role TO {me}", "REVOKE ALL ON PARAMETER session_replication_role FROM {me}")),
    ("stop_logging", With("GRANT SET ON PARAMETER log_statement TO {me}", "REVOKE ALL ON PARAMETER log_statement FROM {me}")),
    ("large_object_compat", With("GRANT SET ON PARAMETER lo_compat_privileges TO {me}", "REVOKE ALL ON PARAMETER lo_compat_privileges FROM {me}")),
    ("load_library", Superuser),
    ("reload", Privilege("EXECUTE ON FUNCTION pg_reload_conf()")),
    ("reset_statistics", Privilege("EXECUTE ON FUNCTION pg_stat_reset_single_table_counters(oid)")),
    ("checkpoint", Member("pg_checkpoint")),
    ("read_file", Privilege("EXECUTE ON FUNCTION pg_read_file(text)")),
    ("read_binary_file", Privilege("EXECUTE ON FUNCTION pg_read_binary_file(text)")),
    ("list_folder", Privilege("EXECUTE ON FUNCTION pg_ls_dir(text)")),
    ("list_log", Privilege("EXECUTE ON FUNCTION pg_ls_logdir()")),
    ("stat_file", Privilege("EXECUTE ON FUNCTION pg_stat_file(text)")),
    ("import_file", Privilege("EXECUTE ON FUNCTION lo_import(text)")),
    ("export_file", Privilege("EXECUTE ON FUNCTION lo_export(oid, text)")),
    ("copy_from_file", Member("pg_read_server_files")),
    ("copy_to_file", Member("pg_write_server_files")),
    ("copy_from_program", Member("pg_execute_server_program")),
    ("copy_to_program", Member("pg_execute_server_program")),
    ("extension_dblink", Superuser),
    ("extension_postgres_fdw", Superuser),
    ("extension_file_fdw", Superuser),
    ("extension_trusted", Privilege("CREATE ON DATABASE {db}")),
    (
        "outward_functions",
        With("CREATE EXTENSION dblink SCHEMA public; GRANT USAGE ON SCHEMA public TO {me}", "DROP EXTENSION dblink; REVOKE USAGE ON SCHEMA public FROM {me}"),
    ),
    ("create_wrapper", Superuser),
    (
        "create_server",
        With("CREATE EXTENSION postgres_fdw SCHEMA public; GRANT USAGE ON FOREIGN DATA WRAPPER postgres_fdw TO {me}", "DROP EXTENSION postgres_fdw CASCADE"),
    ),
    (
        "use_server",
        With(
            "CREATE EXTENSION postgres_fdw SCHEMA public; CREATE SERVER hole FOREIGN DATA WRAPPER postgres_fdw; GRANT USAGE ON FOREIGN SERVER hole TO {me}",
            "DROP EXTENSION postgres_fdw CASCADE",
        ),
    ),
    ("read_passwords", Privilege("SELECT ON pg_authid")),
    ("read_shadow", Privilege("SELECT ON pg_shadow")),
    ("read_user_mappings", Privilege("SELECT ON pg_user_mapping")),
    ("read_subscriptions", Privilege("SELECT ON pg_subscription")),
    ("read_statistic", Privilege("SELECT ON pg_statistic")),
    ("read_statistic_data", Privilege("SELECT ON pg_statistic_ext_data")),
    ("read_large_objects", Privilege("SELECT ON pg_largeobject")),
    (
        "read_hba",
        With(
            "GRANT SELECT ON pg_hba_file_rules TO {me}; GRANT EXECUTE ON FUNCTION pg_hba_file_rules() TO {me}",
            "REVOKE SELECT ON pg_hba_file_rules FROM {me}; REVOKE EXECUTE ON FUNCTION pg_hba_file_rules() FROM {me}",
        ),
    ),
    (
        "read_settings_files",
        With(
            "GRANT SELECT ON pg_file_settings TO {me}; GRANT EXECUTE ON FUNCTION pg_show_all_file_settings() TO {me}",
            "REVOKE SELECT ON pg_file_settings FROM {me}; REVOKE EXECUTE ON FUNCTION pg_show_all_file_settings() FROM {me}",
        ),
    ),
    (
        "foreign_definers",
        With(
            "CREATE FUNCTION public.hole() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'; GRANT USAGE ON SCHEMA public TO {me}",
            "DROP FUNCTION public.hole(); REVOKE USAGE ON SCHEMA public FROM {me}",
        ),
    ),
    ("large_objects_of_others", Privilege("SELECT ON LARGE OBJECT {lo}")),
    ("log_in_maintenance", With("GRANT CONNECT ON DATABASE postgres TO {me}", "REVOKE CONNECT ON DATABASE postgres FROM {me}")),
    ("log_in_registry", With("GRANT CONNECT ON DATABASE {apart} TO {me}", "REVOKE CONNECT ON DATABASE {apart} FROM {me}")),
    ("log_in_as_neighbour", With("ALTER ROLE {b}_app PASSWORD 'pw-{a}-app'", "ALTER ROLE {b}_app PASSWORD 'pw-{b}-app'")),
    ("log_in_to_neighbour", With("GRANT CONNECT ON DATABASE {apart} TO {me}", "REVOKE CONNECT ON DATABASE {apart} FROM {me}")),
    ("set_role_owner", Member("{b}_owner")),
    ("set_role_migrate", Member("{b}_migrate")),
    ("set_role_app", Member("{b}_app")),
    ("set_role_readonly", Member("{b}_read")),
    ("authorize_owner", Superuser),
    ("authorize_app", Superuser),
    ("join_owner", Member("{b}_owner")),
    ("join_migrate", Member("{b}_migrate")),
    ("join_app", Member("{b}_app")),
    ("change_password", Superuser),
    ("lock_out", Superuser),
    ("change_settings", Superuser),
    ("rename_role", Superuser),
    ("drop_role", Superuser),
    ("drop_owned", Member("{b}_migrate")),
    // One of the things the neighbour owns is in the central ledger's schema: whoever takes it must be let in there, too.
    (
        "reassign_owned",
        With(
            "GRANT {b}_migrate TO {me}; GRANT CREATE ON SCHEMA labctl_ledger TO {me}",
            "REVOKE CREATE ON SCHEMA labctl_ledger FROM {me}; REVOKE {b}_migrate FROM {me}",
        ),
    ),
    ("default_privileges", Member("{b}_migrate")),
    ("comment_role", Superuser),
    ("terminate_session", Member("pg_signal_backend")),
    ("cancel_query", Member("pg_signal_backend")),
    ("read_query", Member("pg_read_all_stats")),
    ("read_address", Member("pg_read_all_stats")),
    (
        "hand_over_function",
        With(
            "GRANT {b}_migrate TO {me}; GRANT CREATE ON SCHEMA {a}_schema TO {b}_migrate",
            "REVOKE {b}_migrate FROM {me}; REVOKE CREATE ON SCHEMA {a}_schema FROM {b}_migrate",
        ),
    ),
    ("enter_database", With("GRANT CONNECT ON DATABASE {apart} TO {me} WITH GRANT OPTION", "REVOKE CONNECT ON DATABASE {apart} FROM {me}")),
    ("own_database", With("ALTER DATABASE {apart} OWNER TO {me}", "ALTER DATABASE {apart} OWNER TO postgres")),
    ("close_database", With("ALTER DATABASE {apart} OWNER TO {me}", "ALTER DATABASE {apart} OWNER TO postgres")),
    ("select", Privilege("SELECT ON {t}")),
    ("select_by_search_path", Privilege("SELECT ON {t}")),
    ("select_for_update", Privilege("SELECT, UPDATE ON {t}")),
    ("insert", Privilege("INSERT ON {t}")),
    ("update", Privilege("UPDATE ON {t}")),
    ("delete", Privilege("DELETE ON {t}")),
    ("truncate", Privilege("TRUNCATE ON {t}")),
    ("copy_out", Privilege("SELECT ON {t}")),
    ("copy_query_out", Privilege("SELECT ON {t}")),
    ("copy_in", Privilege("INSERT ON {t}")),
    ("lock_table", Privilege("SELECT ON {t}")),
    ("read_ledger", Privilege("SELECT ON {b}_schema.labctl_migrations")),
    ("write_ledger", Privilege("DELETE ON {b}_schema.labctl_migrations")),
    ("read_sequence", Privilege("SELECT ON ALL SEQUENCES IN SCHEMA {b}_schema")),
    ("draw_sequence", Privilege("USAGE ON ALL SEQUENCES IN SCHEMA {b}_schema")),
    ("set_sequence", Privilege("UPDATE ON ALL SEQUENCES IN SCHEMA {b}_schema")),
    ("call_function", Privilege("EXECUTE ON ALL FUNCTIONS IN SCHEMA {b}_schema")),
    ("read_large_object", Privilege("SELECT ON LARGE OBJECT {lo}")),
    ("write_large_object", Privilege("SELECT, UPDATE ON LARGE OBJECT {lo}")),
    ("drop_large_object", Member("{b}_app")),
    ("any_right", With("GRANT SELECT (id) ON {b}_schema.lab_results TO {me}", "REVOKE SELECT (id) ON {b}_schema.lab_results FROM {me}")),
    ("column_statistics", Privilege("SELECT ON {t}")),
    ("list_tables", Privilege("SELECT ON {t}")),
    ("list_columns", Privilege("SELECT ON {t}")),
    ("list_schema", Privilege("SELECT ON {t}")),
    ("sequence_values", Privilege("SELECT ON ALL SEQUENCES IN SCHEMA {b}_schema")),
    ("create_table", Privilege("CREATE ON SCHEMA {b}_schema")),
    ("create_function", Privilege("CREATE ON SCHEMA {b}_schema")),
    ("create_type", Privilege("CREATE ON SCHEMA {b}_schema")),
    ("drop_table", Member("{b}_migrate")),
    ("add_column", Member("{b}_migrate")),
    ("rename_table", Member("{b}_migrate")),
    (
        "own_table",
        With(
            "GRANT {b}_migrate TO {me}; GRANT CREATE ON SCHEMA {b}_schema TO {me}",
            "REVOKE {b}_migrate FROM {me}; REVOKE CREATE ON SCHEMA {b}_schema FROM {me}",
        ),
    ),
    ("row_security", Member("{b}_migrate")),
    ("create_policy", Member("{b}_migrate")),
    ("create_trigger", Privilege("TRIGGER ON {t}")),
    ("create_rule", Member("{b}_migrate")),
    ("create_index", Member("{b}_migrate")),
    ("reindex", Member("{b}_migrate")),
    ("comment_table", Member("{b}_migrate")),
    (
        "grant_table",
        With(
            "GRANT USAGE ON SCHEMA {b}_schema TO {me}; GRANT SELECT ON {b}_schema.lab_results TO {me} WITH GRANT OPTION",
            "REVOKE SELECT ON {b}_schema.lab_results FROM {me}; REVOKE USAGE ON SCHEMA {b}_schema FROM {me}",
        ),
    ),
    ("revoke_table", Member("{b}_migrate")),
    ("replace_function", Member("{b}_migrate")),
    ("drop_sequence", Member("{b}_migrate")),
    ("drop_schema", Member("{b}_owner")),
    (
        "rename_schema",
        With("GRANT {b}_owner TO {me}; GRANT CREATE ON DATABASE {db} TO {me}", "REVOKE {b}_owner FROM {me}; REVOKE CREATE ON DATABASE {db} FROM {me}"),
    ),
    (
        "own_schema",
        With("GRANT {b}_owner TO {me}; GRANT CREATE ON DATABASE {db} TO {me}", "REVOKE {b}_owner FROM {me}; REVOKE CREATE ON DATABASE {db} FROM {me}"),
    ),
    ("grant_schema", With("GRANT USAGE ON SCHEMA {b}_schema TO {me} WITH GRANT OPTION", "REVOKE USAGE ON SCHEMA {b}_schema FROM {me}")),
    ("view_on_table", Privilege("SELECT ON {t}")),
    ("copy_table", Privilege("SELECT ON {t}")),
    ("like_table", Privilege("SELECT ON {t}")),
    ("inherit_table", Member("{b}_migrate")),
    ("move_table", Privilege("CREATE ON SCHEMA {b}_schema")),
    ("definer_function", Privilege("SELECT ON {t}")),
    ("sequence_default", Privilege("USAGE ON ALL SEQUENCES IN SCHEMA {b}_schema")),
];
