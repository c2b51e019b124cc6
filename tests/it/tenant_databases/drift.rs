//! What was changed in roles, grants and passwords is named and mended; what is a stranger's is left alone; what only looks cannot write.

use labctl::engine::fault::Class;
use labctl::engine::kind::{Diff, Observed};
use labctl::tenantdb::migrations::Library;
use serde_json::json;

use super::server::{ADMIN_SECRET, Secrets, Server, run};
use super::standing_memberships;
use super::tenant::{everything, password, role, schema, secret, shipped};

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
