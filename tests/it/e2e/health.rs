//! `labctl fleet health`: what it warns of and what not, on a PostgreSQL small enough to be filled; slow statements; logins without TLS.

use std::collections::BTreeMap;
use std::fs;

use labctl::ops::Site;
use labctl::ops::fleet_health::{self, Fleet};
use labctl::registry::TenantFilter;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use super::fixture::{Run, World, blocking, connect, ended};

/// Sessions and places in the lock table that the small PostgreSQL has.
const SESSIONS: i64 = 57;
const LOCKS: i64 = 60 * 30;

/// A sandbox whose PostgreSQL is small, keeps still, and counts statements if it can. One test at a time has it.
async fn small() -> (&'static World, MutexGuard<'static, ()>) {
    static WORLD: OnceCell<World> = OnceCell::const_new();
    static TURN: Mutex<()> = Mutex::const_new(());
    let turn = TURN.lock().await;
    let world = WORLD.get_or_init(|| async {
        let world = blocking(World::started).await.unwrap();
        let mut sup = world.superuser("postgres").await;
        let settings = ["max_connections = 60", "max_locks_per_transaction = 30", "max_prepared_transactions = 0", "autovacuum = off"];
        for setting in settings.into_iter().chain(counts_statements(&mut sup).await.then_some("shared_preload_libraries = 'pg_stat_statements'")) {
            says(&mut sup, &format!("ALTER SYSTEM SET {setting}")).await;
        }
        drop(sup);
        blocking(move || {
            world.ok(&["sandbox", "stop"]);
            world.ok(&["sandbox", "start"]);
            for (id, tier) in [("full-lab", "trial"), ("full-wide", "enterprise")] {
                world.ok(&["tenant", "create", &world.spec(id, "labcloud", tier)]);
            }
            world
        })
        .await
        .unwrap()
    });
    (world.await, turn)
}

async fn counts_statements(sup: &mut PgConnection) -> bool {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_stat_statements')").fetch_one(sup).await.unwrap()
}

async fn says(db: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(db).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
}

async fn look(site: &Site) -> Fleet {
    let fleet = fleet_health::look(site, &TenantFilter::default()).await.unwrap();
    assert!(fleet.hosts.len() == 1 && fleet.hosts[0].faults.is_empty(), "one host, and all was asked: {:?}", fleet.hosts);
    fleet
}

/// What is warned of, once it is as expected: sessions that have just ended count for a moment.
async fn warned(site: &Site, expected: &[&str]) {
    let mut seen = Vec::new();
    for _ in 0..20 {
        seen = look(site).await.warnings.into_iter().map(|w| w.to_string()).collect();
        if seen.len() == expected.len() && seen.iter().zip(expected).all(|(warning, part)| warning.contains(part)) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    panic!("{seen:?} instead of {expected:?}");
}

async fn sessions(world: &World, database: &str, number: usize) -> Vec<PgConnection> {
    let mut all = Vec::new();
    for _ in 0..number {
        all.push(world.superuser(database).await);
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_nearly_used_up_on_a_host_is_warned_of_and_nothing_before() {
    let (world, _turn) = small().await;
    let mut site = world.site().await;
    warned(&site, &[]).await;
    let host = look(&site).await.hosts.remove(0);
    assert_eq!((host.max_connections, host.max_locks, host.max_bytes, host.max_schemas), (Some(SESSIONS), Some(LOCKS), None, None));

    // The lock table: as full as three quarters, then as four fifths.
    let mut holder = world.superuser("postgres").await;
    let lock = |from: i64, to: i64| format!("SELECT count(pg_advisory_lock(n)) FROM generate_series({from}, {to} - 1) n");
    says(&mut holder, &lock(0, LOCKS * 3 / 4)).await;
    warned(&site, &[]).await;
    says(&mut holder, &lock(LOCKS * 3 / 4, LOCKS * 4 / 5)).await;
    warned(&site, &["of 1800 locks are in use"]).await;
    says(&mut holder, "SELECT pg_advisory_unlock_all()").await;
    warned(&site, &[]).await;

    // A tenant's own database, which may have ten sessions for now. One of them is labctl's own.
    says(&mut holder, "ALTER DATABASE tenant_full_wide CONNECTION LIMIT 10").await;
    let mut open = sessions(world, "tenant_full_wide", 6).await;
    warned(&site, &[]).await;
    open.extend(sessions(world, "tenant_full_wide", 2).await);
    warned(&site, &["of 10 connections of database tenant_full_wide are in use"]).await;
    drop(open);
    says(&mut holder, "ALTER DATABASE tenant_full_wide CONNECTION LIMIT 60").await;
    warned(&site, &[]).await;

    // All sessions of the host: 32 and labctl's own few are less than 80 %, 46 are more.
    let mut open = sessions(world, "postgres", 32).await;
    warned(&site, &[]).await;
    open.extend(sessions(world, "postgres", 14).await);
    warned(&site, &["of 57 connections are in use"]).await;
    drop(open);
    warned(&site, &[]).await;

    // Bytes and schemas, where the profile says a limit.
    let bytes = host.bytes.unwrap();
    let exactly = bytes * 100 / 80 / 1024;
    for (kilobytes, schemas, expected) in
        [(exactly + exactly / 50, 3, vec![]), (exactly - exactly / 50, 3, vec!["bytes are in use"]), (exactly * 2, 2, vec!["2 of 2 schemas are in use"])]
    {
        let shared = &mut site.platform["databases"]["shared"];
        (shared["max_bytes"], shared["max_schemas"]) = (json!(format!("{kilobytes}kB")), json!(schemas));
        warned(&site, &expected).await;
        let host = look(&site).await.hosts.remove(0);
        assert_eq!((host.max_bytes, host.max_schemas, host.schemas), (Some(kilobytes * 1024), Some(schemas), Some(2)));
    }
    let trials = fleet_health::look(&site, &TenantFilter { tier: Some("trial".to_owned()), ..TenantFilter::default() }).await.unwrap();
    assert_eq!((trials.tenants.len(), trials.hosts[0].schemas, trials.warnings.len()), (1, Some(2), 1), "how full a host is does not hang on who is looked at");
}

/// The same sandbox as a platform that somebody described: the binary with a profile of its own.
async fn profiled(world: &'static World, limits: &str, args: &'static [&'static str]) -> Run {
    let open = world.open().await;
    let env: BTreeMap<String, String> = serde_json::from_value(world.json(&["sandbox", "env"])).unwrap();
    let (r, shared) = (&open.registry, &open.platform["databases"]["shared"]);
    let file = world.dir().join("specs/real.toml");
    let text = format!(
        "[profiles.real]\nregion = \"{}\"\nendpoint_url = \"{}\"\n[profiles.real.registry]\nhost = \"{}\"\nport = {}\ndatabase = \"{}\"\nuser = \"{}\"\ntls = \"disable\"\n\
         [profiles.real.platform.databases.shared]\nendpoint = {}\ndatabase = \"shared\"\nadmin_secret_arn = {}\n{limits}\n[profiles.real.tunnels]\n{} = \"127.0.0.1:{}\"\n",
        open.region, open.endpoint_url, r.host, r.port, r.database, r.user, shared["endpoint"], shared["admin_secret_arn"], shared["endpoint"], r.port
    );
    fs::write(&file, text).unwrap();
    let password = r.password.expose_secret().to_owned();
    blocking(move || {
        let mut command = world.command(&[args, &["--profile", "real", "--config", file.to_str().unwrap()]].concat());
        command.env("LABCTL_REGISTRY_PASSWORD", password).envs(env.iter().filter(|(name, _)| name.starts_with("AWS_")));
        ended(&mut command)
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_in_the_profile_are_in_the_table_and_a_wrong_one_is_refused_where_it_stands() {
    let (world, _turn) = small().await;
    let run = profiled(world, "max_bytes = \"1 MB\"\nmax_schemas = 2", &["fleet", "health"]).await;
    assert_eq!(run.code, 1, "{run}");
    let host = run.out.lines().find(|l| l.trim_start().starts_with("shared.sandbox.internal:5432")).unwrap();
    assert!(host.contains("2/2") && host.contains("MiB/1.0 MiB"), "{run}");
    assert!(run.err.contains("2 of 2 schemas are in use") && run.err.contains("of 1048576 bytes are in use"), "{run}");
    let roomy = profiled(world, "max_bytes = \"1TB\"\nmax_schemas = 200", &["fleet", "health", "-o", "json"]).await;
    let health: Value = serde_json::from_str(&roomy.out).unwrap_or_else(|e| panic!("{e}\n{roomy}"));
    assert_eq!([&health["hosts"][0]["max_bytes"], &health["hosts"][0]["max_schemas"]].map(Value::as_i64), [Some(1 << 40), Some(200)], "{health}");
    let wrong = profiled(world, "max_bytes = \"plenty\"", &["fleet", "health", "-o", "json"]).await;
    let place = &wrong.error()["diagnostics"][0];
    assert_eq!((wrong.code, place["line"].as_i64(), place["message"].as_str()), (64, Some(14), Some("not a size")), "{wrong}");
}

/// What health says of logins without TLS: of the host, and whether it warns.
async fn tls(world: &'static World) -> (String, bool) {
    let run = profiled(world, "", &["fleet", "health", "-o", "json"]).await;
    let health: Value = serde_json::from_str(&run.out).unwrap_or_else(|e| panic!("{e}\n{run}"));
    let of = "logins without TLS are not refused";
    let warning = health["warnings"].as_array().unwrap().iter().find(|w| w["of"] == of);
    assert!(warning.is_none_or(|w| w["used"].is_null() && w["limit"].is_null() && run.code == 1 && run.err.contains(of)), "{run}");
    (health["hosts"][0]["tls"].as_str().unwrap().to_owned(), warning.is_some())
}

#[tokio::test(flavor = "multi_thread")]
async fn health_says_whether_a_host_refuses_logins_without_tls() {
    let (world, _turn) = small().await;
    let mut sup = world.superuser("postgres").await;
    let setting = async |db: &mut PgConnection, name: &str| sqlx::query_scalar::<_, String>(AssertSqlSafe(format!("SHOW {name}"))).fetch_one(db).await.unwrap();
    let sandbox = blocking(|| world.run(&["fleet", "health"])).await.unwrap();
    assert!(sandbox.code == 0 && sandbox.out.contains("no TLS"), "the sandbox is on loopback, and nobody is warned\n{sandbox}");
    if setting(&mut sup, "ssl").await == "off" {
        assert_eq!(tls(world).await, ("none".to_owned(), true));
        println!("the rest needs a PostgreSQL built with TLS");
        return;
    }
    assert_eq!(tls(world).await, ("unknown".to_owned(), false), "only a superuser reads pg_hba.conf");
    says(&mut sup, "GRANT EXECUTE ON FUNCTION pg_hba_file_rules() TO labctl_admin").await;
    let file = setting(&mut sup, "hba_file").await;
    let before = fs::read_to_string(&file).unwrap();
    // Over loopback no TLS is needed; from elsewhere these lines decide.
    for (line, expected) in [
        ("hostssl all all all scram-sha-256", ("required", false)),
        ("host all all all scram-sha-256", ("optional", true)),
        ("host all backup all scram-sha-256", ("required", false)),
        ("host all tenant_full_lab_app 10.0.0.0/8 scram-sha-256", ("optional", true)),
        ("hostnossl all all all reject\nhost all all all scram-sha-256", ("required", false)),
        ("host all all nonsense", ("unknown", false)),
    ] {
        fs::write(&file, format!("{before}\n{line}\n")).unwrap();
        assert_eq!(tls(world).await, (expected.0.to_owned(), expected.1), "{line}");
    }
    fs::write(&file, &before).unwrap();
    // RDS has a parameter of its own, which goes before what the file says.
    for (value, expected) in [("on", ("required", false)), ("off", ("optional", true))] {
        says(&mut sup, &format!("ALTER ROLE labctl_admin SET rds.force_ssl = '{value}'")).await;
        assert_eq!(tls(world).await, (expected.0.to_owned(), expected.1), "rds.force_ssl = {value}");
    }
    says(&mut sup, "ALTER ROLE labctl_admin RESET rds.force_ssl; REVOKE EXECUTE ON FUNCTION pg_hba_file_rules() FROM labctl_admin").await;
}

async fn app(world: &'static World) -> PgConnection {
    let shown = blocking(|| world.json(&["tenant", "show", "full-lab"])).await.unwrap();
    let arn = shown["resources"].as_array().unwrap().iter().find(|r| r["address"] == "full-lab/secret/app").unwrap()["id"].as_str().unwrap().to_owned();
    let text = world.cloud().await.secrets.get_secret_value().secret_id(arn).send().await.unwrap().secret_string.unwrap();
    let secret: BTreeMap<String, String> = serde_json::from_str(&text).unwrap();
    connect(world.open().await.registry.port, &secret["username"], &secret["password"], &secret["dbname"]).await.unwrap()
}

async fn status(world: &'static World, id: &str) -> Value {
    let fleet = blocking(|| world.json(&["fleet", "status"])).await.unwrap();
    fleet.as_array().unwrap().iter().find(|t| t["id"] == id).unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_statements_are_counted_and_shown_without_constants_also_of_a_rotated_login() {
    let (world, _turn) = small().await;
    let mut sup = world.superuser("shared").await;
    let without = status(world, "full-lab").await;
    assert!(without["slow_statements"].is_null() && without["slowest"].is_null(), "{without}");
    if !counts_statements(&mut sup).await {
        println!("left out: this PostgreSQL has no pg_stat_statements");
        return;
    }
    says(&mut sup, "CREATE EXTENSION pg_stat_statements SCHEMA public; SET pg_stat_statements.track = 'none'").await;
    let mut db = app(world).await;
    // Of another form: statements that differ in constants only are one.
    says(&mut db, "SELECT 'quick', pg_sleep(0.7)").await;
    says(&mut db, "SELECT pg_sleep(1.1), 'a patient''s name'").await;
    let slow = status(world, "full-lab").await;
    assert_eq!((slow["slow_statements"].as_i64(), slow["slowest"].as_array().unwrap().len()), (Some(1), 1), "{slow}");
    let one = &slow["slowest"][0];
    assert_eq!(
        (one["role"].as_str(), one["text"].as_str(), one["calls"].as_i64()),
        (Some("tenant_full_lab_app"), Some("SELECT pg_sleep($1), $2"), Some(1)),
        "{slow}"
    );
    assert!((1100..5000).contains(&one["mean_ms"].as_i64().unwrap()), "{slow}");
    assert_eq!(status(world, "full-wide").await["slow_statements"], Value::Null, "the extension is the other database's");

    blocking(|| world.ok(&["tenant", "credentials", "rotate", "full-lab", "--grace", "0"])).await.unwrap();
    let mut db = app(world).await;
    let who: (String,) = sqlx::query_as("SELECT session_user::text").fetch_one(&mut db).await.unwrap();
    assert_eq!(who.0, "tenant_full_lab_app_b", "the other login is in force");
    // pg_stat_statements leaves the constants of such a statement where they are.
    says(&mut db, "DO $$ BEGIN PERFORM pg_sleep(1.3), 'another patient'; END $$").await;
    let kept: String = sqlx::query_scalar("SELECT query FROM public.pg_stat_statements WHERE query LIKE 'DO %patient%'").fetch_one(&mut sup).await.unwrap();
    assert!(kept.contains("another patient"), "{kept}");
    let slow = status(world, "full-lab").await;
    let texts: Vec<&str> = slow["slowest"].as_array().unwrap().iter().map(|s| s["text"].as_str().unwrap()).collect();
    assert_eq!((slow["slow_statements"].as_i64(), texts), (Some(2), vec!["DO ?", "SELECT pg_sleep($1), $2"]), "{slow}");
    says(&mut sup, "DROP EXTENSION pg_stat_statements").await;
}
