//! Tenant databases for real: the four PostgreSQL kinds on the sandbox's server, with an administrator like RDS's.

#[path = "tenant_databases/adoption.rs"]
mod adoption;
#[path = "tenant_databases/connecting.rs"]
mod connecting;
#[path = "tenant_databases/isolation.rs"]
mod isolation;
#[path = "tenant_databases/rows.rs"]
mod rows;
#[path = "tenant_databases/second_line.rs"]
mod second_line;
#[path = "tenant_databases/server.rs"]
pub mod server;
#[path = "tenant_databases/shared.rs"]
pub mod shared;
#[path = "tenant_databases/tenant.rs"]
pub mod tenant;
#[path = "tenant_databases/tls.rs"]
mod tls;

use std::time::Duration;

use futures_util::future::join_all;
use labctl::engine::fault::Class;
use labctl::engine::kind::{Change, Diff, Observed, Suspension};
use labctl::tenantdb::migrations::apply::{Job, Ledger, migrate};
use labctl::tenantdb::migrations::ledger::To;
use labctl::tenantdb::migrations::{File, Library};
use labctl::tenantdb::quote::Ident;
use labctl::tenantdb::{Databases, Login, Settings, Tls, Tunnels};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use server::{ADMIN_PASSWORD, ADMIN_SECRET, Secrets, Server, run, texts};
use tenant::{Resource, everything, password, role, schema, secret, shipped, version};

fn database(tenant: &str) -> Resource {
    Resource::new(tenant, "postgres_database", "main", json!({"name": format!("{tenant}_db"), "owner": format!("{tenant}_owner"), "connection_limit": 50}))
}

/// Memberships that were lent to the administrator and not given back.
async fn standing_memberships(server: &Server) -> Vec<String> {
    let sql = "SELECT r.rolname::text FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid JOIN pg_roles u ON u.oid = m.member WHERE u.rolname = 'ADMIN' \
               AND coalesce((to_jsonb(m) ->> 'set_option')::bool, true)";
    texts(&mut server.superuser("postgres").await, &sql.replace("ADMIN", &server.admin)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tenants_on_one_database_are_walled_off_and_leave_nothing_behind() {
    let server = Server::new("walls").await;
    let secrets = Secrets::default();
    let mut library = Library::default();
    let steps = shipped(&mut library, "labcloud");
    let cx = server.cx(&secrets, library).await;
    let (a, b) = (everything(&secrets, "a", "walls_shared", &steps), everything(&secrets, "b", "walls_shared", &steps));
    for resource in a.iter().chain(&b) {
        let writes = resource.converge(&cx).await.unwrap();
        assert!((1..=2).contains(&writes), "{} took {writes} writes", resource.address);
        assert_eq!(resource.converge(&cx).await.unwrap(), 0, "{}: the second time there is nothing to do", resource.address);
    }
    assert_eq!(standing_memberships(&server).await, [""; 0]);
    works_for_its_own_application(&server).await;
    isolation::try_everything(&server).await;
    for resource in a.iter().chain(&b) {
        assert_eq!(resource.diff(&cx).await, Diff::Same, "{}: what the probes planted is gone", resource.address);
    }
    covers_what_is_made_later(&server).await;
    let log = server.log();
    for part in ["migrate", "app", "read"] {
        assert!(!log.contains(&password("a", part)) && !log.contains(&password("b", part)), "a password of {part} is in the server's log");
    }
    assert!(log.contains("SCRAM-SHA-256$4096:"), "the log would have shown it");

    for resource in a.iter().rev() {
        resource.delete(&cx).await;
    }
    nothing_left(&server, "a").await;
    for resource in &b {
        assert_eq!(resource.diff(&cx).await, Diff::Same, "{}: A's end is nothing to B", resource.address);
    }
    for resource in b.iter().rev() {
        resource.delete(&cx).await;
    }
    nothing_left(&server, "b").await;
}

async fn works_for_its_own_application(server: &Server) {
    let mut app = server.login("a_app", &password("a", "app"), "walls_shared").await.unwrap();
    run(&mut app, "INSERT INTO lab_results (patient_id, test_code, test_data) VALUES ('P123', 'CBC', '{\"hb\": 14}')").await.unwrap();
    let event = "SELECT record_usage('018f0000-0000-7000-8000-000000000001', 'api_calls', 3, '2025-11-30 23:59:59Z')::text";
    assert_eq!(texts(&mut app, event).await, ["true"], "a month's first event is counted");
    assert_eq!(texts(&mut app, event).await, ["false"], "and once only");
    run(&mut app, "SELECT record_usage(gen_random_uuid(), 'api_calls', 4, '2025-11-01 00:00:00Z')").await.unwrap();
    assert_eq!(texts(&mut app, "SELECT concat_ws(' ', month, api_calls, results_processed) FROM usage_by_month").await, ["2025-11-01 7 0"]);
    assert_eq!(
        texts(&mut app, "SELECT concat_ws(' ', current_setting('search_path'), current_setting('statement_timeout'), current_setting('lock_timeout'))").await,
        ["a_schema 30s 5s"]
    );
    let mut read = server.login("a_read", &password("a", "read"), "walls_shared").await.unwrap();
    assert_eq!(texts(&mut read, "SELECT patient_id FROM lab_results").await, ["P123"]);
    run(&mut read, "DELETE FROM lab_results").await.unwrap_err();
    server.login("a_owner", "", "walls_shared").await.unwrap_err();
}

async fn covers_what_is_made_later(server: &Server) {
    let mut migrate = server.login("a_migrate", &password("a", "migrate"), "walls_shared").await.unwrap();
    run(&mut migrate, "CREATE TABLE later (id int GENERATED ALWAYS AS IDENTITY, t text); CREATE SEQUENCE later_seq; CREATE FUNCTION later_f() RETURNS int LANGUAGE sql AS 'SELECT 1'").await.unwrap();
    run(&mut migrate, "CREATE TABLE public.later (id int)").await.unwrap_err();
    let mut sup = server.superuser("walls_shared").await;
    run(&mut sup, "SET ROLE a_owner; CREATE TABLE a_schema.by_owner (t text); RESET ROLE").await.unwrap();
    let mut app = server.login("a_app", &password("a", "app"), "walls_shared").await.unwrap();
    run(&mut app, "INSERT INTO later (t) VALUES ('x'); UPDATE later SET t = 'y'; SELECT nextval('later_seq'), later_f(); INSERT INTO by_owner VALUES ('z'); DELETE FROM by_owner").await.unwrap();
    let mut read = server.login("a_read", &password("a", "read"), "walls_shared").await.unwrap();
    assert_eq!(texts(&mut read, "SELECT t FROM later").await, ["y"]);
    run(&mut read, "INSERT INTO later (t) VALUES ('x')").await.unwrap_err();
    run(&mut read, "SELECT later_f()").await.unwrap_err();
}

async fn nothing_left(server: &Server, tenant: &str) {
    for database in [server.shared.as_str(), "postgres"] {
        let mut sup = server.superuser(database).await;
        for sql in [
            "SELECT rolname::text FROM pg_roles WHERE rolname ~ '^T_'",
            "SELECT nspname::text FROM pg_namespace WHERE nspname ~ '^T_'",
            "SELECT datname::text FROM pg_database WHERE datname ~ '^T_'",
            "SELECT datname::text FROM pg_database, aclexplode(datacl) x WHERE x.grantee <> 0 AND x.grantee NOT IN (SELECT oid FROM pg_roles)",
            "SELECT defaclacl::text FROM pg_default_acl WHERE defaclacl::text ~ '\\mT_' OR defaclrole NOT IN (SELECT oid FROM pg_roles)",
            "SELECT refobjid::text FROM pg_shdepend WHERE refclassid = 'pg_authid'::regclass AND refobjid NOT IN (SELECT oid FROM pg_roles)",
            "SELECT setconfig::text FROM pg_db_role_setting WHERE setconfig::text ~ '\\mT_schema'",
            "SELECT usename::text FROM pg_stat_activity WHERE usename ~ '^T_'",
        ] {
            assert_eq!(texts(&mut sup, &sql.replace("T_", &format!("{tenant}_"))).await, [""; 0], "{database}: {sql}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_in_roles_and_grants_is_named_and_mended() {
    let server = Server::new("drift").await;
    let secrets = Secrets::default();
    let mut library = Library::default();
    let steps = shipped(&mut library, "mate");
    let cx = server.cx(&secrets, library).await;
    let all = everything(&secrets, "drift", "drift_shared", &steps);
    for resource in &all {
        resource.converge(&cx).await.unwrap();
    }
    let (app, walls) = (&all[2], &all[4]);
    let mut sup = server.superuser("drift_shared").await;
    run(&mut sup, "SET ROLE drift_admin; CREATE ROLE stranger; RESET ROLE").await.unwrap();
    let rows = [
        (app, "ALTER ROLE drift_app CREATEDB", "powers: CREATEDB → (none)"),
        (app, "ALTER ROLE drift_app NOLOGIN", "login: false → true"),
        (app, "ALTER ROLE drift_app CONNECTION LIMIT -1", "connection_limit: -1 → 20"),
        (app, "ALTER ROLE drift_app SET statement_timeout = 0", "settings.statement_timeout: 0 → 30s"),
        (app, "ALTER ROLE drift_app SET work_mem = '1GB'", "settings.work_mem: 1GB → (none)"),
        (app, "ALTER ROLE drift_app IN DATABASE drift_shared SET search_path = other", "settings: others in database drift_shared → (none)"),
        (app, "SET ROLE drift_admin; GRANT stranger TO drift_app; RESET ROLE", "member_of: {stranger} → {}"),
        (walls, "GRANT SELECT ON drift_schema.patients TO stranger", "grants.stranger.tables: SELECT → (none)"),
        (walls, "GRANT SELECT (id) ON drift_schema.patients TO stranger", "grants.stranger.tables: SELECT → (none)"),
        (walls, "GRANT USAGE ON SCHEMA drift_schema TO PUBLIC", "grants.PUBLIC.the schema: USAGE → (none)"),
        (walls, "GRANT CREATE ON SCHEMA public TO PUBLIC", "grants.PUBLIC.the schema public: CREATE → (none)"),
        (walls, "GRANT CONNECT ON DATABASE drift_shared TO PUBLIC", "grants.PUBLIC.the database: CONNECT → (none)"),
        (walls, "GRANT TRUNCATE ON drift_schema.patients TO drift_app", "grants.drift_app.tables: TRUNCATE → (none)"),
        (walls, "GRANT SELECT ON drift_schema.labctl_migrations TO drift_app", "grants.drift_app.labctl_migrations: SELECT → (none)"),
        (walls, "REVOKE INSERT ON drift_schema.patients FROM drift_app", "grants.drift_app.tables: on some → INSERT"),
        (walls, "REVOKE USAGE ON SCHEMA drift_schema FROM drift_app", "grants.drift_app.the schema: (none) → USAGE"),
        (walls, "REVOKE labctl_connect_drift_shared FROM drift_app", "grants.drift_app.the role labctl_connect_drift_shared: (none) → MEMBER"),
        (walls, "GRANT CONNECT ON DATABASE drift_shared TO drift_app", "grants.drift_app.the database: CONNECT → (none)"),
        (
            walls,
            "REVOKE CONNECT ON DATABASE drift_shared FROM labctl_connect_drift_shared",
            "grants.labctl_connect_drift_shared.the database: (none) → CONNECT",
        ),
        (
            walls,
            "GRANT TEMPORARY ON DATABASE drift_shared TO labctl_connect_drift_shared",
            "grants.labctl_connect_drift_shared.the database: TEMPORARY → (none)",
        ),
        (
            walls,
            "GRANT labctl_connect_drift_shared TO drift_app WITH ADMIN OPTION",
            "grants.drift_app.the role labctl_connect_drift_shared: ADMIN OPTION → (none)",
        ),
        (walls, "ALTER ROLE labctl_connect_drift_shared CREATEROLE", "grants.labctl_connect_drift_shared.the role itself: CREATEROLE → (none)"),
        (
            walls,
            "SET ROLE drift_admin; GRANT stranger TO labctl_connect_drift_shared; RESET ROLE",
            "grants.labctl_connect_drift_shared.the role stranger: MEMBER → (none)",
        ),
        (walls, "GRANT SELECT ON drift_schema.patients TO labctl_connect_drift_shared", "grants.labctl_connect_drift_shared.tables: SELECT → (none)"),
        (walls, "GRANT EXECUTE ON FUNCTION drift_schema.refuse_change() TO PUBLIC", "grants.PUBLIC.functions: EXECUTE → (none)"),
        (
            walls,
            "ALTER DEFAULT PRIVILEGES FOR ROLE drift_migrate IN SCHEMA drift_schema REVOKE SELECT ON TABLES FROM drift_app",
            "grants.drift_app.tables made by drift_migrate: (none) → SELECT",
        ),
        (
            walls,
            "ALTER DEFAULT PRIVILEGES FOR ROLE drift_migrate GRANT EXECUTE ON FUNCTIONS TO PUBLIC",
            "grants.PUBLIC.functions made anywhere by drift_migrate: EXECUTE → (none)",
        ),
        (walls, "ALTER SCHEMA drift_schema OWNER TO drift_migrate", "owner: drift_migrate → drift_owner"),
    ];
    for (resource, sql, named) in rows {
        run(&mut sup, sql).await.unwrap();
        let Diff::Update(changes) = resource.diff(&cx).await else { panic!("{sql}: not seen: {:?}", resource.diff(&cx).await) };
        assert!(changes.iter().any(|c| c.to_string() == named), "{sql}: {changes:?}");
        assert_eq!(resource.converge(&cx).await.unwrap(), 1, "{sql}");
    }
    // What that role has elsewhere is seen too, and not taken without asking.
    run(&mut sup, "CREATE SCHEMA elsewhere; GRANT USAGE ON SCHEMA elsewhere TO labctl_connect_drift_shared").await.unwrap();
    let Diff::Update(changes) = walls.diff(&cx).await else { panic!() };
    assert_eq!(changes[0].to_string(), "grants.labctl_connect_drift_shared.the role itself: MORE RIGHTS OR OBJECTS → (none)");
    assert_eq!(walls.converge(&cx).await.unwrap_err().code, "foreign");
    run(&mut sup, "DROP SCHEMA elsewhere; ALTER ROLE drift_app BYPASSRLS").await.unwrap();
    assert!(matches!(app.diff(&cx).await, Diff::Forbidden(why) if why.contains("NOBYPASSRLS")));
    run(&mut sup, "ALTER ROLE drift_app NOBYPASSRLS; CREATE TABLE drift_schema.alien (id int)").await.unwrap();
    assert!(matches!(walls.diff(&cx).await, Diff::Forbidden(why) if why.contains("relation alien of postgres")));
    assert_eq!(standing_memberships(&server).await, [""; 0]);

    // A role that still owns data is not dropped with it.
    let fault = all[1].kind().delete(&cx, &all[1].target(), "drift_migrate").await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (Class::Refused, "2BP01"));
    server.login("drift_migrate", &password("drift", "migrate"), "drift_shared").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_tenant_reads_then_nobody_is_in_and_resumed_all_is_as_before() {
    let server = Server::new("paused").await;
    let secrets = Secrets::default();
    let mut library = Library::default();
    let steps = shipped(&mut library, "mate");
    let cx = server.cx(&secrets, library).await;
    let mut all = everything(&secrets, "paused", "paused_shared", &steps);
    all[1].spec["shut_out_from"] = json!("read-only");
    for resource in &all {
        resource.converge(&cx).await.unwrap();
    }
    let as_before: Vec<_> = all.iter().map(|r| r.spec.clone()).collect();
    let suspended = |all: &mut Vec<Resource>, level| {
        for (resource, spec) in all.iter_mut().zip(&as_before) {
            resource.spec = resource.kind().suspended(spec, level).unwrap();
        }
    };
    let login = async |part: &str| server.login(&format!("paused_{part}"), &password("paused", part), "paused_shared").await;
    let (mut migrate, mut app) = (login("migrate").await.unwrap(), login("app").await.unwrap());

    suspended(&mut all, Suspension::ReadOnly);
    for resource in &all {
        resource.converge(&cx).await.unwrap();
    }
    run(&mut migrate, "SELECT 1").await.unwrap_err();
    login("migrate").await.unwrap_err();
    run(&mut app, "SELECT * FROM patients").await.unwrap();
    run(&mut app, "DELETE FROM patients").await.unwrap_err();

    // Migrations go on although their role may not log in, and what they make can be read only.
    let mut library = Library::default();
    let mut more = shipped(&mut library, "mate");
    more.extend(library.add(vec![File::parse("tenant", "V99__later.sql", "CREATE TABLE later (id int);").unwrap()]).unwrap());
    let cx = server.cx(&secrets, library).await;
    all[5].spec["migrations"] = json!(more);
    assert_eq!(all[5].converge(&cx).await.unwrap(), 1);
    assert_eq!(all[4].diff(&cx).await, Diff::Same);
    run(&mut app, "SELECT * FROM later").await.unwrap();
    run(&mut app, "INSERT INTO later VALUES (1)").await.unwrap_err();

    // A run cut off between taking the login and ending the sessions is mended.
    suspended(&mut all, Suspension::Full);
    let mut sup = server.superuser("postgres").await;
    run(&mut sup, "ALTER ROLE paused_app NOLOGIN").await.unwrap();
    run(&mut app, "SELECT 1").await.unwrap();
    let Diff::Update(changes) = all[2].diff(&cx).await else { panic!() };
    assert_eq!(changes.iter().map(ToString::to_string).collect::<Vec<_>>(), ["sessions: 1 → 0"]);
    for resource in &all[..5] {
        resource.converge(&cx).await.unwrap();
    }
    run(&mut app, "SELECT 1").await.unwrap_err();
    for part in ["migrate", "app", "read"] {
        login(part).await.unwrap_err();
    }
    run(&mut sup, "ALTER ROLE paused_app LOGIN").await.unwrap();
    let mut app = login("app").await.unwrap();
    assert_eq!(all[2].converge(&cx).await.unwrap(), 1);
    run(&mut app, "SELECT 1").await.unwrap_err();

    for (resource, spec) in all.iter_mut().zip(&as_before).take(5) {
        resource.spec = spec.clone();
        resource.converge(&cx).await.unwrap();
    }
    login("migrate").await.unwrap();
    run(&mut login("app").await.unwrap(), "INSERT INTO later VALUES (1); DELETE FROM patients").await.unwrap();
    assert_eq!(standing_memberships(&server).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_follow_their_secrets_and_strangers_are_left_alone() {
    let server = Server::new("secrets").await;
    let secrets = Secrets::default();
    let cx = server.cx(&secrets, Library::default()).await;
    let all = everything(&secrets, "secrets_a", "secrets_shared", &[]);
    for resource in &all[..4] {
        resource.converge(&cx).await.unwrap();
    }
    server.login("secrets_a_app", &password("secrets_a", "app"), "secrets_shared").await.unwrap();
    secrets.set(&secret("secrets_a", "app"), json!({"password": "quite-another"}));
    let Diff::Update(changes) = all[2].diff(&cx).await else { panic!() };
    assert_eq!(changes[0].to_string(), "password_version: version-1 → version-2");
    assert_eq!(all[2].converge(&cx).await.unwrap(), 1);
    server.login("secrets_a_app", "quite-another", "secrets_shared").await.unwrap();
    server.login("secrets_a_app", &password("secrets_a", "app"), "secrets_shared").await.unwrap_err();

    // The administrator's own password changes under way: the cache is dropped and asked for once more.
    let mut sup = server.superuser("postgres").await;
    run(&mut sup, "ALTER ROLE secrets_admin PASSWORD 'rotated'").await.unwrap();
    secrets.set(ADMIN_SECRET, json!({"username": "secrets_admin", "password": "rotated"}));
    all[4].converge(&cx).await.unwrap();

    run(&mut sup, "CREATE ROLE secrets_c_app LOGIN").await.unwrap();
    let foreign = role("secrets_c", "app", None, json!({}));
    assert_eq!(foreign.observe(&cx).await, Observed::Foreign("it carries no labctl ownership tags".into()));
    assert_eq!(foreign.kind().create(&cx, &foreign.target(), "t").await.unwrap_err().class, Class::Unknown);
    let mut other = schema("secrets_c", "secrets_shared");
    other.spec["name"] = json!("secrets_a_schema");
    assert_eq!(other.observe(&cx).await, Observed::Foreign("it belongs to secrets_a/postgres_schema/main".into()));
    let long = role("secrets_d", &"x".repeat(70), None, json!({}));
    assert_eq!(long.kind().observe(&cx, &long.target(), None).await.unwrap_err().code, "invalid_name");
    assert_eq!(schema("secrets_a", "no_such_database").observe(&cx).await, Observed::Absent);
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_are_all_or_nothing_and_history_is_only_continued() {
    let server = Server::new("history").await;
    let secrets = Secrets::default();
    let mut library = Library::default();
    let file = |name: &str, sql: &str| File::parse("tenant", name, sql).unwrap();
    let good = library.add(vec![file("V1__a.sql", "CREATE TABLE a (id int);"), file("V3__c.sql", "ALTER TABLE a ADD x int;")]).unwrap();
    let bad = library.add(vec![file("V4__d.sql", "CREATE TABLE d (id int);"), file("V5__e.sql", "CREATE TABLE e (id nonsense);")]).unwrap();
    let early = library.add(vec![file("V2__b.sql", "CREATE TABLE b (id int);")]).unwrap();
    let changed = library.add(vec![file("V1__a.sql", "CREATE TABLE a (id bigint);")]).unwrap();
    let sly = library.add(vec![file("V6__f.sql", "CREATE TABLE f (id int); DO $$ BEGIN EXECUTE 'RESET ROLE'; END $$;")]).unwrap();
    let texts_of_all = library.clone();
    let cx = server.cx(&secrets, library).await;
    for resource in everything(&secrets, "history", "history_shared", &good) {
        resource.converge(&cx).await.unwrap();
    }
    let mut sup = server.superuser("history_shared").await;
    let tables = "SELECT relname || ' ' || relowner::regrole FROM pg_class WHERE relnamespace = 'history_schema'::regnamespace AND relkind = 'r' ORDER BY 1";
    assert_eq!(texts(&mut sup, tables).await, ["a history_migrate", "labctl_migrations history_migrate"]);

    let failing = version("history", "history_shared", &[good.clone(), bad].concat());
    assert!(matches!(failing.diff(&cx).await, Diff::Update(c) if c.len() == 2 && c[0].to_string() == "tenant/V4__d: pending → applied"));
    let fault = failing.converge(&cx).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (Class::Refused, "42704"));
    assert!(fault.message.contains("tenant/V5__e") && fault.message.contains("nonsense"), "{fault}");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(texts(&mut sup, tables).await.len(), 2, "V4 was undone with V5");

    // A file that sheds the role it runs in is found out before anything of it is committed.
    let fault = version("history", "history_shared", &[good.clone(), sly].concat()).converge(&cx).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (Class::Unknown, "left_transaction"));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(texts(&mut sup, tables).await.len(), 2, "V6 was undone");

    let rows = [
        (vec![good[0].clone(), early[0].clone(), good[1].clone()], "V2__b comes in before tenant/V3__c"),
        (vec![changed[0].clone(), good[1].clone()], "V1__a was changed after it was applied"),
        (vec![good[0].clone()], "V3__c was applied and is missing now"),
    ];
    for (steps, why) in rows {
        let rewritten = version("history", "history_shared", &steps);
        assert!(matches!(rewritten.diff(&cx).await, Diff::Forbidden(text) if text.contains(why)), "{why}");
        let Observed::Mine { id, state } = rewritten.observe(&cx).await else { panic!() };
        let fault = rewritten.kind().update(&cx, &rewritten.target(), &id, &state).await.unwrap_err();
        assert_eq!(fault.code, "history", "the update looks for itself");
    }

    // Somebody holds a lock: busy, nothing changed, and no waiting for ever.
    let more = version("history", "history_shared", &good);
    run(&mut sup, "BEGIN; LOCK TABLE history_schema.labctl_migrations").await.unwrap();
    let Err(fault) = more.kind().update(&cx, &more.target(), "x", &json!({"schema": "h_schema", "applied": []})).await else { panic!() };
    assert_eq!((fault.class, fault.code.as_str()), (Class::Busy, "55P03"));
    run(&mut sup, "ROLLBACK").await.unwrap();

    // A view in the ledger's place is not read: what it calls would run with the administrator's rights.
    let trap = "SET search_path = history_schema; CREATE SEQUENCE reads; GRANT ALL ON reads TO PUBLIC; ALTER TABLE labctl_migrations RENAME TO kept; \
                CREATE VIEW labctl_migrations AS SELECT *, nextval('history_schema.reads') FROM kept; GRANT SELECT ON labctl_migrations TO history_admin; RESET search_path";
    run(&mut sup, trap).await.unwrap();
    let databases = Databases::new(Settings { tunnels: Tunnels::default(), tls: Tls::Prefer, root_cert: None });
    let login = Login {
        endpoint: format!("127.0.0.1:{}", server.port()),
        database: server.shared.clone(),
        username: server.admin.clone(),
        password: ADMIN_PASSWORD.into(),
    };
    let (schema, role) = (Ident::new("history_schema").unwrap(), Ident::new("history_migrate").unwrap());
    let job = Job {
        shared: None,
        schema: &schema,
        role: &role,
        tenant: "history",
        wanted: &good,
        to: &To::new(),
        ledger: Ledger::Of { address: "history/postgres_schema_version/main", registry: "r1" },
        believed: None,
        lock_timeout: Duration::from_secs(1),
    };
    let fault = migrate(&mut databases.connect(&login).await.unwrap(), &job, &texts_of_all).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (Class::Refused, "not_a_ledger"));
    assert_eq!(texts(&mut sup, "SELECT is_called::text FROM history_schema.reads").await, ["false"]);
    run(&mut sup, "SET search_path = history_schema; DROP VIEW labctl_migrations; ALTER TABLE kept RENAME TO labctl_migrations; RESET search_path")
        .await
        .unwrap();
    let done = migrate(&mut databases.connect(&login).await.unwrap(), &job, &texts_of_all).await.unwrap();
    assert_eq!(done.before, done.after);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_its_own_is_found_again_after_a_crash_and_dropped_under_its_users() {
    let server = Server::new("apart").await;
    let secrets = Secrets::default();
    let mut library = Library::default();
    let steps = shipped(&mut library, "mate");
    let cx = server.cx(&secrets, library).await;
    let mut all = everything(&secrets, "own", "own_db", &steps);
    all.insert(4, database("own"));
    for resource in &all {
        resource.converge(&cx).await.unwrap();
        assert_eq!(resource.converge(&cx).await.unwrap(), 0, "{}", resource.address);
    }
    let mut sup = server.superuser("own_db").await;
    // As a crash between CREATE DATABASE and its comment leaves it.
    run(&mut sup, "COMMENT ON DATABASE own_db IS NULL; GRANT CONNECT, TEMPORARY ON DATABASE own_db TO PUBLIC; GRANT USAGE ON SCHEMA public TO PUBLIC")
        .await
        .unwrap();
    let Diff::Update(changes) = all[4].diff(&cx).await else { panic!() };
    let named: Vec<String> = changes.iter().map(ToString::to_string).collect();
    assert_eq!(named, ["comment: false → true", "public: CONNECT, TEMPORARY → (none)", "public_schema: USAGE → (none)"]);
    assert_eq!(all[4].converge(&cx).await.unwrap(), 1);

    let mut thief = database("other");
    thief.spec["name"] = json!("own_db");
    assert_eq!(thief.observe(&cx).await, Observed::Foreign("it belongs to own/postgres_database/main".into()));
    run(&mut sup, "COMMENT ON DATABASE own_db IS NULL").await.unwrap();
    thief.spec["owner"] = json!("own_owner");
    assert!(matches!(thief.observe(&cx).await, Observed::Foreign(_)), "an owner of another tenant's proves nothing");
    let plain = Resource::new("own", "postgres_database", "main", json!({"name": "apart_shared", "owner": "own_owner"}));
    assert!(matches!(plain.observe(&cx).await, Observed::Foreign(_)), "nor does a database of another owner");

    // The neighbour on the shared database may not even connect here.
    let neighbour = everything(&secrets, "other", "apart_shared", &[]);
    for resource in &neighbour {
        resource.converge(&cx).await.unwrap();
    }
    let error = server.login("other_app", &password("other", "app"), "own_db").await.unwrap_err();
    assert_eq!(error.as_database_error().unwrap().code().unwrap(), "42501");
    run(&mut sup, "GRANT CONNECT ON DATABASE own_db TO other_app").await.unwrap();
    server.login("other_app", &password("other", "app"), "own_db").await.unwrap();
    run(&mut sup, "REVOKE CONNECT ON DATABASE own_db FROM other_app").await.unwrap();
    drop(sup);

    let mut user = server.login("own_app", &password("own", "app"), "own_db").await.unwrap();
    all[4].delete(&cx).await;
    run(&mut user, "SELECT 1").await.unwrap_err();
    for resource in all.iter().rev() {
        resource.delete(&cx).await;
    }
    nothing_left(&server, "own").await;
    assert_eq!(standing_memberships(&server).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_tenants_come_and_go_at_once_on_one_database() {
    let server = Server::new("many").await;
    let secrets = Secrets::default();
    let mut library = Library::default();
    let steps = shipped(&mut library, "labcloud");
    let cx = server.cx(&secrets, library).await;
    let tenants: Vec<Vec<Resource>> = (0..16).map(|n| everything(&secrets, &format!("t{n}"), "many_shared", &steps)).collect();
    let made = join_all(tenants.iter().map(async |all| {
        for resource in all {
            resource.converge(&cx).await?;
        }
        Ok::<_, labctl::engine::fault::Fault>(())
    }));
    made.await.into_iter().collect::<Result<Vec<_>, _>>().unwrap();
    join_all(tenants.iter().map(async |all| {
        for resource in all.iter().rev() {
            resource.delete(&cx).await;
        }
    }))
    .await;
    for n in 0..16 {
        nothing_left(&server, &format!("t{n}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_is_renamed_in_place_and_its_ledger_goes_with_it() {
    let server = Server::new("renamed").await;
    let secrets = Secrets::default();
    let mut library = Library::default();
    let steps = shipped(&mut library, "labcloud");
    let cx = server.cx(&secrets, library).await;
    let mut all = everything(&secrets, "r", "renamed_shared", &steps);
    for resource in &all {
        resource.converge(&cx).await.unwrap();
    }
    run(&mut server.superuser("renamed_shared").await, "CREATE TABLE r_schema.kept (); ALTER TABLE r_schema.kept OWNER TO r_migrate").await.unwrap();
    let [.., schema, version] = all.as_mut_slice() else { panic!() };
    schema.converge(&cx).await.unwrap();
    (schema.spec["name"], version.spec["schema"]) = (json!("r_renamed"), json!("r_renamed"));
    // Before the schema is renamed, both are seen where they are.
    assert_eq!(schema.diff(&cx).await, Diff::Update(vec![Change::new("name", "r_schema", "r_renamed")]));
    assert_eq!(version.diff(&cx).await, Diff::Update(vec![Change::new("schema", "r_schema", "r_renamed")]));
    assert_eq!((schema.converge(&cx).await.unwrap(), version.converge(&cx).await.unwrap()), (1, 0), "one statement renames both");
    assert!(matches!(version.observe(&cx).await, Observed::Mine { id, .. } if id == "renamed_shared.r_renamed"));
    let tables = texts(&mut server.superuser("renamed_shared").await, "SELECT tablename::text FROM pg_tables WHERE schemaname = 'r_renamed' ORDER BY 1").await;
    assert!(tables.contains(&"kept".to_owned()) && tables.contains(&"labctl_migrations".to_owned()), "{tables:?}");
    assert_eq!(standing_memberships(&server).await, [""; 0]);

    // A copy of its comment makes it two; a name that is somebody else's is theirs.
    let mut db = server.superuser("renamed_shared").await;
    let copy = "DO $$ BEGIN CREATE SCHEMA r_copy; EXECUTE format('COMMENT ON SCHEMA r_copy IS %L', obj_description('r_renamed'::regnamespace)); END $$";
    run(&mut db, copy).await.unwrap();
    schema.spec["name"] = json!("r_third");
    assert_eq!(schema.observe(&cx).await, Observed::Many(vec!["r_copy".into(), "r_renamed".into()]));
    run(&mut db, "DROP SCHEMA r_copy; CREATE SCHEMA r_third").await.unwrap();
    assert!(matches!(schema.observe(&cx).await, Observed::Foreign(_)));
    run(&mut db, "DROP SCHEMA r_third").await.unwrap();

    // What a rename that was never put on record has left is deleted by its former spec.
    (schema.spec["name"], version.spec["schema"]) = (json!("r_schema"), json!("r_schema"));
    for resource in all.iter().rev() {
        resource.delete(&cx).await;
    }
    nothing_left(&server, "r").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_looks_cannot_write() {
    let server = Server::new("looking").await;
    let secrets = Secrets::default();
    let mut library = Library::default();
    let steps = shipped(&mut library, "labcloud");
    let cx = server.cx(&secrets, library).await;
    let looking = cx.read_only();
    let all = everything(&secrets, "l", "looking_shared", &steps);
    for resource in &all {
        assert_eq!(resource.observe(&looking).await, Observed::Absent);
        let refused = resource.converge(&looking).await.unwrap_err();
        assert_eq!(refused.code, "25006", "{}: {refused}", resource.address);
        resource.converge(&cx).await.unwrap();
        assert_eq!(resource.diff(&looking).await, Diff::Same, "{}", resource.address);
    }
}
