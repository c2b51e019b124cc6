//! Looking after tenants' databases: psql with their own logins, rotation under load, and what the fleet's numbers say.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use sqlx::PgConnection;

use super::fixture::{Running, World, blocking, connect, shared};
use crate::tenant_databases::watch::{had, wanted};

/// What a tenant's secret says now.
async fn secret(arn: &str) -> BTreeMap<String, String> {
    let text = shared().cloud().await.secrets.get_secret_value().secret_id(arn).send().await.unwrap().secret_string.unwrap();
    serde_json::from_str(&text).unwrap()
}

fn arn(id: &str, part: &str) -> String {
    let shown = shared().json(&["tenant", "show", id]);
    let address = format!("{id}/secret/{part}");
    shown["resources"].as_array().unwrap().iter().find(|r| r["address"] == *address).unwrap()["id"].as_str().unwrap().to_owned()
}

async fn login(port: u16, secret: &BTreeMap<String, String>) -> Result<PgConnection, sqlx::Error> {
    connect(port, &secret["username"], &secret["password"], &secret["dbname"]).await
}

fn refusal(result: Result<PgConnection, sqlx::Error>) -> String {
    match result {
        Ok(_) => "none".to_owned(),
        Err(e) => e.as_database_error().and_then(|d| d.code()).map(|c| c.into_owned()).unwrap_or_else(|| e.to_string()),
    }
}

fn create(id: &'static str, stack: &'static str) -> tokio::task::JoinHandle<()> {
    create_in(id, stack, "trial")
}

fn create_in(id: &'static str, stack: &'static str, tier: &'static str) -> tokio::task::JoinHandle<()> {
    blocking(move || {
        let spec = shared().spec(id, stack, tier);
        shared().ok(&["tenant", "create", &spec]);
    })
}

/// An application that does nothing but log in with what Secrets Manager says, until it is told to stop: how often it did, and the failures.
async fn application(arn: String, port: u16, stop: Arc<AtomicBool>) -> (u32, Vec<String>) {
    let cloud = shared().cloud().await;
    let (mut logins, mut failures) = (0, Vec::new());
    while !stop.load(Ordering::Relaxed) {
        let text = cloud.secrets.get_secret_value().secret_id(&arn).send().await.unwrap().secret_string.unwrap();
        let secret: BTreeMap<String, String> = serde_json::from_str(&text).unwrap();
        match login(port, &secret).await {
            Ok(mut db) => {
                let read: Result<i64, _> = sqlx::query_scalar("SELECT count(*) FROM patients").fetch_one(&mut db).await;
                failures.extend(read.err().map(|e| e.to_string()));
            }
            Err(e) => failures.push(format!("{}: {e}", secret["username"])),
        }
        logins += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    (logins, failures)
}

fn task_definition(shown: &Value) -> String {
    shown["resources"].as_array().unwrap().iter().find(|r| r["address"] == "turn-clinic/ecs_task_definition/django").unwrap()["id"].to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_rotated_under_an_application_that_never_fails_to_log_in() {
    let world = shared();
    create("turn-clinic", "mate").await.unwrap();
    let (arn, port) = (arn("turn-clinic", "app"), world.open().await.registry.port);
    let first = secret(&arn).await;
    let before = task_definition(&world.json(&["tenant", "show", "turn-clinic"]));
    let mut session = login(port, &first).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let loops: Vec<_> = (0..3).map(|_| tokio::spawn(application(arn.clone(), port, Arc::clone(&stop)))).collect();
    let rotated = blocking(|| shared().json(&["tenant", "credentials", "rotate", "turn-clinic", "--grace", "1"])).await.unwrap();
    stop.store(true, Ordering::Relaxed);
    for one in loops {
        let (logins, failures) = one.await.unwrap();
        assert!(logins > 10, "the application logged in {logins} times only");
        assert_eq!(failures, Vec::<String>::new(), "of {logins} logins");
    }
    let app = rotated.as_array().unwrap().iter().find(|r| r["part"] == "app").unwrap();
    assert_eq!(
        [&app["login"], &app["generation"], &app["phase"], &app["other"]].map(ToString::to_string),
        ["\"tenant_turn_clinic_app_b\"", "1", "\"closed\"", "null"]
    );

    let second = secret(&arn).await;
    assert_eq!((second["username"].as_str(), second.len()), ("tenant_turn_clinic_app_b", first.len()), "nothing is left of the password to come");
    assert_ne!(second["password"], first["password"]);
    assert_eq!(refusal(login(port, &first).await), "28P01", "the old password is refused");
    let one: i32 = sqlx::query_scalar("SELECT 1").fetch_one(&mut session).await.unwrap();
    assert_eq!(one, 1, "a session that was open goes on");
    let mut db = login(port, &second).await.unwrap();
    let who: (String, String, String) =
        sqlx::query_as("SELECT session_user::text, current_user::text, current_schema()::text").fetch_one(&mut db).await.unwrap();
    assert_eq!(who, ("tenant_turn_clinic_app_b".into(), "tenant_turn_clinic_app".into(), "tenant_turn_clinic".into()));
    let limits: Vec<String> =
        sqlx::query_scalar("SELECT current_setting(s) FROM unnest(ARRAY['statement_timeout', 'lock_timeout']) s").fetch_all(&mut db).await.unwrap();
    assert_eq!(limits, ["15s", "5s"]);

    let shown = world.json(&["tenant", "show", "turn-clinic"]);
    assert_ne!(task_definition(&shown), before, "services were started anew");
    let applied = world.ok(&["tenant", "apply", "turn-clinic"]);
    assert!(applied.err.contains("no changes"), "{applied}");

    world.ok(&["tenant", "credentials", "rotate", "turn-clinic", "--grace", "0"]);
    let third = secret(&arn).await;
    assert_eq!(third["username"], first["username"], "the logins take turns");
    assert!(third["password"] != first["password"] && third["password"] != second["password"]);
    login(port, &third).await.unwrap();
    assert_eq!([refusal(login(port, &first).await), refusal(login(port, &second).await)], ["28P01", "28P01"]);
    let applied = world.ok(&["tenant", "apply", "turn-clinic"]);
    assert!(applied.err.contains("no changes"), "{applied}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_was_killed_is_finished_by_the_same_command_and_not_begun_again() {
    let world = shared();
    create("killed-turn", "labcloud").await.unwrap();
    let args = ["tenant", "credentials", "rotate", "killed-turn", "--role", "all", "--grace", "0"];
    for word in ["making the other login", "secret/app", "postgres_role/readonly_b", "putting it in force", "closing the login so far"] {
        let mut run = world.spawn(&args);
        let heard = run.hear(word, 1);
        let ended = killed(run);
        assert!(heard, "`{word}` was not heard\n{ended}");
        if ended != "killed" {
            break;
        }
        // Whatever was cut off, what the secrets say can log in.
        let port = world.open().await.registry.port;
        for part in ["app", "readonly", "migrate"] {
            let secret = secret(&arn("killed-turn", part)).await;
            login(port, &secret).await.unwrap_or_else(|e| panic!("after `{word}`: {}: {e}", secret["username"]));
        }
    }
    let under_way = world.json(&["tenant", "credentials", "list", "killed-turn"]);
    assert!(under_way.as_array().unwrap().iter().all(|r| r["generation"] == 1), "the fault struck, and no other rotation was begun: {under_way}");
    let rotated = world.json(&args);
    let rows: Vec<_> = rotated.as_array().unwrap().iter().map(|r| (r["generation"].as_u64().unwrap(), r["phase"].as_str().unwrap())).collect();
    assert_eq!(rows, [(1, "closed"); 3], "{rotated}");
    let applied = world.ok(&["tenant", "apply", "killed-turn"]);
    assert!(applied.err.contains("no changes"), "{applied}");
    // What the second migration login makes is the migration role's.
    let migrate = secret(&arn("killed-turn", "migrate")).await;
    let mut db = login(world.open().await.registry.port, &migrate).await.unwrap();
    sqlx::raw_sql("CREATE TABLE made_after (id int)").execute(&mut db).await.unwrap();
    let owner: String = sqlx::query_scalar("SELECT tableowner::text FROM pg_tables WHERE tablename = 'made_after'").fetch_one(&mut db).await.unwrap();
    assert_eq!((migrate["username"].as_str(), owner.as_str()), ("tenant_killed_turn_migrate_b", "tenant_killed_turn_migrate"));
}

fn killed(run: Running) -> String {
    run.signal(Signal::SIGKILL);
    let ended = run.end();
    if ended.code == -9 { "killed".to_owned() } else { ended.to_string() }
}

/// A labctl whose temporary files can be counted.
fn psql(world: &World, tmp: &Path, args: &[&str]) -> std::process::Command {
    let mut command = world.command(&[&["tenant", "psql", "looked-lab"], args].concat());
    command.env("TMPDIR", tmp);
    command
}

fn files(tmp: &Path) -> Vec<PathBuf> {
    fs::read_dir(tmp).unwrap().map(|e| e.unwrap().path()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_opens_as_the_role_asked_for_and_shows_nobody_the_password() {
    let world = shared();
    create("looked-lab", "labcloud").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let tmp = folder.path();
    let run = |args: &[&str]| super::fixture::ended(&mut psql(world, tmp, args));
    let who = "SELECT current_user, current_schema(), current_setting('default_transaction_read_only')";
    for (role, expected) in [
        (None, "tenant_looked_lab_readonly|tenant_looked_lab|on\n"),
        (Some("read-only"), "tenant_looked_lab_readonly|tenant_looked_lab|on\n"),
        (Some("app"), "tenant_looked_lab_app|tenant_looked_lab|off\n"),
        (Some("migrate"), "tenant_looked_lab_migrate|tenant_looked_lab|off\n"),
    ] {
        let options = role.map_or(vec![], |role| vec!["--role", role]);
        let ran = run(&[options.as_slice(), &["--", "-XAt", "-c", who]].concat());
        assert_eq!((ran.code, ran.out.as_str()), (0, expected), "{ran}");
    }
    assert_eq!(run(&["--", "-X", "-c", "SELECT 1/0"]).code, 1, "the exit code is psql's");
    fs::write(world.dir().join("specs/fails.sql"), "SELECT 1/0;").unwrap();
    let failed = run(&["--", "-X", "-v", "ON_ERROR_STOP=1", "-f", "fails.sql"]);
    assert!(failed.code == 3 && !failed.err.contains("error:") || failed.err.contains("division by zero"), "{failed}");
    assert_eq!(files(tmp), Vec::<PathBuf>::new());

    // While it runs: in nobody's arguments or variables, in a file of the operator's alone, and away with labctl.
    let arn = arn("looked-lab", "readonly");
    let password = secret(&arn).await["password"].clone();
    let mut child =
        psql(world, tmp, &["--", "-XAt", "-c", "SELECT pg_sleep(30)"]).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let running = wait_for(|| processes().into_iter().find(|(_, line, _)| line.contains("pg_sleep(30)") && line.contains("ON_ERROR_STOP=1\0-XAt"))).await;
    let (_, _, environment) = running;
    let file = environment.split('\0').find_map(|v| v.strip_prefix("PGPASSFILE=")).unwrap().to_owned();
    assert_eq!(files(tmp), [PathBuf::from(&file)]);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(fs::read_to_string(&file).unwrap().contains(&password), "the test knows the password");
    for (pid, line, environment) in processes() {
        assert!(!line.contains(&password) && !environment.contains(&password), "process {pid} shows it");
    }
    let pid = super::fixture::pid(&child);
    for _ in 0..4 {
        nix::sys::signal::kill(pid, Signal::SIGINT).unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(child.try_wait().unwrap().is_none(), "an interrupt is psql's: labctl waits for it");
    nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
    let status = blocking(move || child.wait().unwrap()).await.unwrap();
    assert_eq!((status.code(), files(tmp)), (Some(143), vec![]), "SIGTERM is handed on, and the file is gone");

    let mut registry = world.registry().await;
    let audited: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM labctl.audit WHERE action = 'tenant.psql' AND tenant = 'looked-lab' AND detail ->> 'role' = 'app' AND who = 'e2e'",
    )
    .fetch_one(&mut registry)
    .await
    .unwrap();
    assert_eq!(audited, 1);
}

#[test]
fn without_psql_the_error_says_what_to_install() {
    let run = super::fixture::ended(shared().command(&["tenant", "psql", "anyone", "-o", "json"]).env("PATH", "/nonexistent"));
    let error = run.error();
    assert_eq!((run.code, error["code"].as_str()), (1, Some("no_psql")), "{run}");
    assert!(error["hint"].as_str().unwrap().contains("apt install postgresql-client"), "{error}");
}

fn row<'a>(rows: &'a Value, field: &str, value: &str) -> &'a Value {
    rows.as_array().unwrap().iter().find(|r| r[field] == value).unwrap_or_else(|| panic!("no {field} {value} in {rows}"))
}

/// The fleet's numbers, whether or not other tests' hosts are well.
fn fleet(command: &str) -> (i32, Value) {
    let run = shared().run(&["fleet", command, "-o", "json"]);
    assert!([0, 1].contains(&run.code), "{run}");
    (run.code, serde_json::from_str(&run.out).unwrap_or_else(|e| panic!("{e}\n{run}")))
}

async fn number(db: &mut PgConnection, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(db).await.unwrap()
}

const SIZE: &str = "SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class c WHERE c.relnamespace = 'tenant_sized_lab'::regnamespace AND c.relkind IN ('r', 'm', 'S')";

#[tokio::test(flavor = "multi_thread")]
async fn the_fleets_numbers_are_those_that_sql_counts() {
    let world = shared();
    let (a, b) = tokio::join!(create("sized-lab", "labcloud"), create_in("wide-lab", "labcloud", "enterprise"));
    for made in [a, b] {
        made.unwrap();
    }
    let port = world.open().await.registry.port;
    let (mut sup, mut wide) = (world.superuser("shared").await, world.superuser("tenant_wide_lab").await);
    let app = secret(&arn("sized-lab", "app")).await;
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(login(port, &app).await.unwrap());
    }
    // What a size of the whole database, or of tables alone, would not see: rows out of line, and an index.
    for sql in [
        "CREATE TABLE tenant_sized_lab.filled (id int PRIMARY KEY, body text)",
        "ALTER TABLE tenant_sized_lab.filled ALTER body SET STORAGE EXTERNAL",
        "ALTER TABLE tenant_sized_lab.filled SET (autovacuum_enabled = off, toast.autovacuum_enabled = off)",
        "INSERT INTO tenant_sized_lab.filled SELECT n, repeat('x', 10000) FROM generate_series(1, 200) n",
    ] {
        sqlx::raw_sql(sql).execute(&mut sup).await.unwrap();
    }
    let before = number(&mut sup, SIZE).await;
    let wide_before = number(&mut wide, "SELECT pg_database_size('tenant_wide_lab')").await;
    let (_, status) = blocking(|| fleet("status")).await.unwrap();
    let (after, wide_after) = (number(&mut sup, SIZE).await, number(&mut wide, "SELECT pg_database_size('tenant_wide_lab')").await);
    let (sized, wide_row) = (row(&status, "id", "sized-lab"), row(&status, "id", "wide-lab"));
    let bytes = sized["bytes"].as_i64().unwrap();
    assert!(before > 2_000_000 && (bytes == before || bytes == after), "{bytes} is neither {before} nor {after}");
    let wide_bytes = wide_row["bytes"].as_i64().unwrap();
    // A database also grows and shrinks by itself, by its catalogs and their visibility maps.
    let near = wide_before.min(wide_after) * 9 / 10..=wide_before.max(wide_after) * 11 / 10;
    assert!(near.contains(&wide_bytes), "{wide_bytes} is not near {wide_before} and {wide_after}");
    let used = row(&sized["connections"], "login", "tenant_sized_lab_app");
    assert_eq!((used["connections"].as_i64(), used["limit"].as_i64()), (Some(3), Some(5)), "{sized}");
    assert_eq!([&sized["version"], &sized["pending"], &sized["slow_statements"]].map(ToString::to_string), ["\"2\"", "0", "null"], "{sized}");
    assert!(sized["active_at"].is_string() && sized["status"] == "active" && sized["database"] == "shared", "{sized}");

    // Nothing is near its end so far; at four of five it is.
    let (_, health) = blocking(|| fleet("health")).await.unwrap();
    let ours = |health: &Value| health["warnings"].as_array().unwrap().iter().any(|w| w["of"] == "connections of role tenant_sized_lab_app" && w["used"] == 4);
    assert!(!ours(&health), "{health}");
    let host = row(&health["hosts"], "endpoint", sized["host"].as_str().unwrap());
    let most = number(&mut sup, "SELECT current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint").await;
    let locks = number(&mut sup, "SELECT current_setting('max_locks_per_transaction')::bigint * (current_setting('max_connections')::bigint + current_setting('max_prepared_transactions')::bigint)").await;
    assert_eq!((host["max_connections"].as_i64(), host["max_locks"].as_i64()), (Some(most), Some(locks)), "{host}");
    assert!(
        host["connections"].as_i64().unwrap() >= 5 && host["bytes"].as_i64().unwrap() > wide_bytes + bytes && host["schemas"].as_i64().unwrap() >= 1,
        "{host}"
    );
    sessions.push(login(port, &app).await.unwrap());
    let (code, health) = blocking(|| fleet("health")).await.unwrap();
    assert!(code == 1 && ours(&health) && health["healthy"] == false, "exit {code}: {health}");
    drop(sessions);

    // Behind, as the ledger says; a table that is held is not waited for, and everybody else is measured.
    let mut locking = world.superuser("shared").await;
    sqlx::raw_sql("DELETE FROM tenant_sized_lab.labctl_migrations WHERE version = 2").execute(&mut sup).await.unwrap();
    let (_, status) = blocking(|| fleet("status")).await.unwrap();
    let sized = row(&status, "id", "sized-lab");
    assert_eq!([&sized["version"], &sized["pending"]].map(ToString::to_string), ["\"1\"", "1"], "{sized}");
    sqlx::raw_sql("BEGIN; LOCK TABLE tenant_sized_lab.filled IN ACCESS EXCLUSIVE MODE").execute(&mut locking).await.unwrap();
    let (_, status) = blocking(|| fleet("status")).await.unwrap();
    assert!(row(&status, "id", "sized-lab")["bytes"].is_null(), "{status}");
    assert!(row(&status, "id", "wide-lab")["bytes"].as_i64().unwrap() > 0, "{status}");
    sqlx::raw_sql("ROLLBACK").execute(&mut locking).await.unwrap();

    for (command, format) in ["status", "health"].into_iter().flat_map(|c| ["table", "json", "jsonl", "yaml", "csv"].map(|f| (c, f))) {
        let run = blocking(move || shared().run(&["fleet", command, "--tier", "enterprise", "--stack", "labcloud", "-o", format])).await.unwrap();
        assert!(run.out.contains(if command == "status" { "wide-lab" } else { "5432" }) && !run.out.contains("sized-lab"), "{command} {format}\n{run}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_cannot_be_reached_is_told_of_and_the_rest_is_shown() {
    let (a, b) = tokio::join!(create("lost-lab", "labcloud"), create("seen-lab", "labcloud"));
    for made in [a, b] {
        made.unwrap();
    }
    let mut registry = shared().registry().await;
    let endpoint = |to: &'static str| {
        sqlx::query("UPDATE labctl.resources SET spec = jsonb_set(spec, '{host,endpoint}', to_jsonb($1::text)) WHERE address = 'lost-lab/postgres_schema/main'")
            .bind(to)
    };
    endpoint("127.0.0.1:1").execute(&mut registry).await.unwrap();
    let run = blocking(|| shared().run(&["fleet", "status", "-o", "json"])).await.unwrap();
    let (code, health) = blocking(|| fleet("health")).await.unwrap();
    endpoint("shared.sandbox.internal:5432").execute(&mut registry).await.unwrap();
    let status: Value = serde_json::from_str(&run.out).unwrap();
    let error = run.error();
    assert_eq!((run.code, error["code"].as_str()), (1, Some("incomplete")), "{run}");
    assert!(error["causes"].as_array().unwrap().iter().any(|c| c.as_str().unwrap().starts_with("127.0.0.1:1: ")), "{error}");
    assert!(row(&status, "id", "lost-lab")["bytes"].is_null() && row(&status, "id", "seen-lab")["bytes"].as_i64().unwrap() > 0, "{status}");
    let host = row(&health["hosts"], "endpoint", "127.0.0.1:1");
    assert!(code == 1 && host["connections"].is_null() && host["faults"][0].is_string() && host["tenants"] == 1, "{health}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_login_has_its_limits_on_the_role_and_public_has_nothing() {
    let (a, b) = tokio::join!(create("bound-lab", "labcloud"), create_in("bound-wide", "labcloud", "enterprise"));
    for made in [a, b] {
        made.unwrap();
    }
    for (id, database, tier) in [("bound_lab", "shared", "trial"), ("bound_wide", "tenant_bound_wide", "enterprise")] {
        let mut sup = shared().superuser(database).await;
        let schema = format!("tenant_{id}");
        for part in ["app", "readonly", "migrate"] {
            let role = format!("{schema}_{part}");
            assert_eq!(had(&mut sup, &role).await, wanted("labcloud", tier, part, &schema), "{role}");
        }
        // What the migration role makes is nobody's but the tenant's, before anybody thinks of revoking.
        let migrate = secret(&arn(&id.replace('_', "-"), "migrate")).await;
        let mut db = login(shared().open().await.registry.port, &migrate).await.unwrap();
        sqlx::raw_sql("CREATE TABLE bound (id int); CREATE SEQUENCE bound_s; CREATE FUNCTION bound_f() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE TYPE bound_t AS (a int)")
            .execute(&mut db)
            .await
            .unwrap();
        let public: Vec<String> = sqlx::query_scalar(
            "SELECT what || ' ' || a.privilege_type FROM (
                SELECT 'database' AS what, coalesce(datacl, acldefault('d', datdba)) AS acl FROM pg_database WHERE datname = current_database()
                UNION ALL SELECT 'schema', coalesce(nspacl, acldefault('n', nspowner)) FROM pg_namespace WHERE nspname = $1
                UNION ALL SELECT relname::text, coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::\"char\", relowner)) FROM pg_class
                    WHERE relnamespace = $1::regnamespace AND relkind IN ('r', 'S')
                UNION ALL SELECT proname::text, coalesce(proacl, acldefault('f', proowner)) FROM pg_proc WHERE pronamespace = $1::regnamespace
                UNION ALL SELECT typname::text, coalesce(typacl, acldefault('T', typowner)) FROM pg_type WHERE typnamespace = $1::regnamespace AND typname = 'bound_t'
             ) all_of_it, aclexplode(acl) a WHERE a.grantee = 0",
        )
        .bind(&schema)
        .fetch_all(&mut sup)
        .await
        .unwrap();
        assert_eq!(public, Vec::<String>::new(), "{id}");
        let checked: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_proc WHERE pronamespace = $1::regnamespace AND proname = 'bound_f'")
            .bind(&schema)
            .fetch_one(&mut sup)
            .await
            .unwrap();
        assert_eq!(checked, 1, "the function that was looked at is there");
    }
}

/// Id, arguments and variables of every process that can be looked at.
fn processes() -> Vec<(String, String, String)> {
    let text = |path: PathBuf| fs::read(path).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default();
    let all = fs::read_dir("/proc").unwrap().map(|e| e.unwrap().path()).filter(|p| p.join("cmdline").exists());
    all.map(|p| (p.display().to_string(), text(p.join("cmdline")), text(p.join("environ")))).collect()
}

async fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "it never came");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
