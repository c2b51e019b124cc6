//! What tenant A's application tries on tenant B, and what it would take for each try to succeed.

use super::server::{Server, run};
use super::tenant::password;

/// A try: what it is, the statement, and what a superuser would have to do for it to work, and to undo that.
type Probe = (&'static str, &'static str, &'static str, &'static str);

const IN: &str = "GRANT USAGE ON SCHEMA b_schema TO a_app";
const OUT: &str = "REVOKE ALL ON SCHEMA b_schema FROM a_app";

const PROBES: &[Probe] = &[
    ("read rows", "SELECT * FROM b_schema.lab_results", "GRANT SELECT ON b_schema.lab_results TO a_app", "REVOKE ALL ON b_schema.lab_results FROM a_app"),
    (
        "count rows",
        "SELECT count(*) FROM b_schema.usage_events",
        "GRANT SELECT ON b_schema.usage_events TO a_app",
        "REVOKE ALL ON b_schema.usage_events FROM a_app",
    ),
    (
        "add rows",
        "INSERT INTO b_schema.lab_results (patient_id, test_code) VALUES ('p', 't')",
        "GRANT INSERT ON b_schema.lab_results TO a_app",
        "REVOKE ALL ON b_schema.lab_results FROM a_app",
    ),
    (
        "change rows",
        "UPDATE b_schema.lab_results SET status = 'cancelled'",
        "GRANT UPDATE ON b_schema.lab_results TO a_app",
        "REVOKE ALL ON b_schema.lab_results FROM a_app",
    ),
    ("delete rows", "DELETE FROM b_schema.lab_results", "GRANT DELETE ON b_schema.lab_results TO a_app", "REVOKE ALL ON b_schema.lab_results FROM a_app"),
    ("empty a table", "TRUNCATE b_schema.lab_results", "GRANT TRUNCATE ON b_schema.lab_results TO a_app", "REVOKE ALL ON b_schema.lab_results FROM a_app"),
    ("drop a table", "DROP TABLE b_schema.lab_results", "GRANT b_migrate TO a_app", "REVOKE b_migrate FROM a_app"),
    (
        "draw from a sequence",
        "SELECT nextval('b_schema.lab_results_id_seq')",
        "GRANT USAGE ON SEQUENCE b_schema.lab_results_id_seq TO a_app",
        "REVOKE ALL ON SEQUENCE b_schema.lab_results_id_seq FROM a_app",
    ),
    (
        "call a function",
        "SELECT b_schema.answer()",
        "GRANT EXECUTE ON FUNCTION b_schema.answer() TO a_app",
        "REVOKE ALL ON FUNCTION b_schema.answer() FROM a_app",
    ),
    (
        "read the ledger",
        "SELECT * FROM b_schema.labctl_migrations",
        "GRANT SELECT ON b_schema.labctl_migrations TO a_app",
        "REVOKE ALL ON b_schema.labctl_migrations FROM a_app",
    ),
    ("create in B's schema", "CREATE TABLE b_schema.mine (id int)", "GRANT CREATE ON SCHEMA b_schema TO a_app", "SELECT 1"),
    (
        "list tables",
        "SELECT 1 / count(*) FROM information_schema.tables WHERE table_schema = 'b_schema'",
        "GRANT SELECT ON b_schema.lab_results TO a_app",
        "REVOKE ALL ON b_schema.lab_results FROM a_app",
    ),
    (
        "list columns",
        "SELECT 1 / count(*) FROM information_schema.columns WHERE table_schema = 'b_schema'",
        "GRANT SELECT (id) ON b_schema.lab_results TO a_app",
        "REVOKE SELECT (id) ON b_schema.lab_results FROM a_app",
    ),
    (
        "list schemas",
        "SELECT 1 / count(*) FROM information_schema.schemata WHERE schema_name = 'b_schema'",
        "GRANT b_owner TO a_app",
        "REVOKE b_owner FROM a_app",
    ),
    (
        "read statistics of columns",
        "SELECT 1 / count(*) FROM pg_stats WHERE schemaname = 'b_schema'",
        "GRANT SELECT ON b_schema.lab_results TO a_app",
        "REVOKE ALL ON b_schema.lab_results FROM a_app",
    ),
    ("become B's application", "SET ROLE b_app", "GRANT b_app TO a_app", "REVOKE b_app FROM a_app"),
    ("become B's migration role", "SET ROLE b_migrate", "GRANT b_migrate TO a_app", "REVOKE b_migrate FROM a_app"),
    ("become B's owner", "SET ROLE b_owner", "GRANT b_owner TO a_app", "REVOKE b_owner FROM a_app"),
    ("become its own migration role", "SET ROLE a_migrate", "GRANT a_migrate TO a_app", "REVOKE a_migrate FROM a_app"),
    ("become its own owner", "SET ROLE a_owner", "GRANT a_owner TO a_app", "REVOKE a_owner FROM a_app"),
    ("become the superuser", "SET ROLE postgres", "GRANT postgres TO a_app", "REVOKE postgres FROM a_app"),
    ("read B's large object", "SELECT lo_get(4711)", "GRANT SELECT ON LARGE OBJECT 4711 TO a_app", "REVOKE ALL ON LARGE OBJECT 4711 FROM a_app"),
    (
        "see what B's session runs",
        "SELECT 1 / count(*) FROM pg_stat_activity WHERE usename = 'b_app' AND query LIKE '%secret of b%'",
        "GRANT pg_read_all_stats TO a_app",
        "REVOKE pg_read_all_stats FROM a_app",
    ),
    ("create in public", "CREATE TABLE public.mine (id int)", "GRANT CREATE ON SCHEMA public TO a_app", "REVOKE CREATE ON SCHEMA public FROM a_app"),
    ("create a schema", "CREATE SCHEMA mine", "GRANT CREATE ON DATABASE walls_shared TO a_app", "REVOKE CREATE ON DATABASE walls_shared FROM a_app"),
    (
        "make temporary tables",
        "CREATE TEMP TABLE t (id int)",
        "GRANT TEMPORARY ON DATABASE walls_shared TO a_app",
        "REVOKE TEMPORARY ON DATABASE walls_shared FROM a_app",
    ),
    ("change its own schema", "CREATE TABLE a_schema.mine (id int)", "GRANT CREATE ON SCHEMA a_schema TO a_app", "REVOKE CREATE ON SCHEMA a_schema FROM a_app"),
    (
        "rewrite its own ledger",
        "DELETE FROM a_schema.labctl_migrations",
        "GRANT SELECT, DELETE ON a_schema.labctl_migrations TO a_app",
        "REVOKE ALL ON a_schema.labctl_migrations FROM a_app",
    ),
    ("read passwords", "SELECT rolpassword FROM pg_authid", "GRANT SELECT ON pg_authid TO a_app", "REVOKE ALL ON pg_authid FROM a_app"),
    (
        "read files of the server",
        "SELECT pg_read_file('PG_VERSION')",
        "GRANT EXECUTE ON FUNCTION pg_read_file(text) TO a_app",
        "REVOKE EXECUTE ON FUNCTION pg_read_file(text) FROM a_app",
    ),
    (
        "run programs on the server",
        "COPY a_schema.lab_results FROM PROGRAM 'true'",
        "GRANT pg_execute_server_program TO a_app",
        "REVOKE pg_execute_server_program FROM a_app",
    ),
    (
        "end B's session",
        "SELECT 1 / count(*) FROM (SELECT pg_terminate_backend(pid) AS done FROM pg_stat_activity WHERE usename = 'b_app' AND application_name = 'victim') x WHERE done",
        "GRANT b_app TO a_app",
        "REVOKE b_app FROM a_app",
    ),
];

/// Tries each: refused; then with the grant planted, done (and rolled back); then refused again.
pub async fn try_everything(server: &Server) {
    let mut sup = server.superuser("walls_shared").await;
    run(&mut sup, "SET ROLE b_migrate; CREATE FUNCTION b_schema.answer() RETURNS int LANGUAGE sql AS 'SELECT 42'; RESET ROLE").await.unwrap();
    run(&mut sup, "SELECT lo_create(4711); ALTER LARGE OBJECT 4711 OWNER TO b_app").await.unwrap();
    run(&mut sup, "INSERT INTO b_schema.lab_results (patient_id, test_code) SELECT 'p' || n, 't' FROM generate_series(1, 100) n; ANALYZE b_schema.lab_results")
        .await
        .unwrap();
    let mut victim = server.login("b_app", &password("b", "app"), "walls_shared").await.unwrap();
    run(&mut victim, "SET application_name = 'victim'").await.unwrap();
    run(&mut victim, "SELECT 'the secret of b' WHERE true").await.unwrap();
    assert!(PROBES.len() >= 15);
    for (what, sql, plant, unplant) in PROBES {
        refused(server, what, sql).await;
        run(&mut sup, &format!("{IN}; {plant}")).await.unwrap_or_else(|e| panic!("{what}: plant: {e}"));
        attempt(server, sql).await.unwrap_or_else(|e| panic!("{what}: this probe cannot succeed, so it proves nothing: {e}"));
        run(&mut sup, &format!("{unplant}; {OUT}")).await.unwrap_or_else(|e| panic!("{what}: unplant: {e}"));
        refused(server, what, sql).await;
    }
}

async fn refused(server: &Server, what: &str, sql: &str) {
    let error = attempt(server, sql).await.err().unwrap_or_else(|| panic!("A's application can {what}: {sql}"));
    let code = error.as_database_error().and_then(|e| e.code()).map(|c| c.into_owned()).unwrap_or_default();
    // 22012: the listings divide by the number of rows they see. 42501: not permitted.
    assert!(code == "42501" || (code == "22012" && sql.contains("1 / count")), "{what}: refused for another reason: {error}");
}

async fn attempt(server: &Server, sql: &str) -> Result<(), sqlx::Error> {
    let mut app = server.login("a_app", &password("a", "app"), "walls_shared").await?;
    run(&mut app, "BEGIN").await?;
    run(&mut app, sql).await?;
    run(&mut app, "ROLLBACK").await
}
