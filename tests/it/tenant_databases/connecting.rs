//! Logins connect to a shared database as members of its one role, which is the platform's and may do nothing else.

use futures_util::future::join_all;
use labctl::tenantdb::migrations::Library;
use labctl::tenantdb::{Databases, Login, Settings, Tls, Tunnels};
use serde_json::json;

use super::server::{ADMIN_PASSWORD, Secrets, Server, run, texts};
use super::tenant::{Resource, everything, password};

const MEMBERS: &str = "SELECT m.member::regrole::text FROM pg_auth_members m WHERE m.roleid = 'GROUP'::regrole ORDER BY 1";

#[tokio::test(flavor = "multi_thread")]
async fn a_login_connects_by_the_databases_role_which_can_do_nothing_but_connect_and_outlives_its_tenants() {
    let server = Server::new("door").await;
    let secrets = Secrets::default();
    let cx = server.cx(&secrets, Library::default()).await;
    let mut sup = server.superuser("door_shared").await;
    // Two first tenants at once make it once.
    let tenants: Vec<Vec<Resource>> = ["door_a", "door_b"].map(|t| everything(&secrets, t, "door_shared", &[])).into();
    let made = join_all(tenants.iter().map(async |all| {
        for resource in all {
            resource.converge(&cx).await?;
        }
        Ok::<_, labctl::engine::fault::Fault>(())
    }));
    made.await.into_iter().collect::<Result<Vec<_>, _>>().unwrap();

    let members = MEMBERS.replace("GROUP", "labctl_connect_door_shared");
    let logins = |t: &str| ["app", "migrate", "read"].map(|part| format!("{t}_{part}"));
    assert_eq!(texts(&mut sup, &members).await, [logins("door_a"), logins("door_b")].concat());
    let entries =
        "SELECT concat_ws(' ', grantee::regrole, privilege_type) FROM pg_database, aclexplode(datacl) WHERE datname = 'door_shared' AND grantee <> datdba";
    assert_eq!(texts(&mut sup, entries).await, ["labctl_connect_door_shared CONNECT"], "however many tenants there are");
    let powers = "SELECT concat_ws(' ', rolcanlogin, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls, shobj_description(oid, 'pg_authid')) \
                  FROM pg_roles WHERE rolname = 'labctl_connect_door_shared'";
    assert_eq!(texts(&mut sup, powers).await, ["f f f f f f labctl: its members may connect to the database door_shared, and it may do nothing else"]);

    let mut app = server.login("door_a_app", &password("door_a", "app"), "door_shared").await.unwrap();
    // A member can neither take others in, nor take the right from them.
    for sql in ["GRANT labctl_connect_door_shared TO door_a_owner", "DROP ROLE labctl_connect_door_shared", "ALTER ROLE labctl_connect_door_shared LOGIN"] {
        run(&mut app, sql).await.unwrap_err();
    }
    for sql in ["DROP OWNED BY labctl_connect_door_shared", "SET ROLE labctl_connect_door_shared; DROP OWNED BY labctl_connect_door_shared; RESET ROLE"] {
        let _ = run(&mut app, sql).await;
    }
    for sql in ["CREATE SCHEMA mine", "CREATE TEMPORARY TABLE mine (id int)", "SELECT * FROM door_b_schema.labctl_migrations", "CREATE ROLE mine"] {
        let error = run(&mut app, &format!("SET ROLE labctl_connect_door_shared; {sql}")).await.unwrap_err();
        assert_eq!(error.as_database_error().unwrap().code().unwrap(), "42501", "{sql}");
    }
    drop(app);
    server.login("door_b_app", &password("door_b", "app"), "door_shared").await.unwrap();
    run(&mut sup, "REVOKE labctl_connect_door_shared FROM door_a_app").await.unwrap();
    let error = server.login("door_a_app", &password("door_a", "app"), "door_shared").await.unwrap_err();
    assert_eq!(error.as_database_error().unwrap().code().unwrap(), "42501");
    assert_eq!(tenants[0][4].converge(&cx).await.unwrap(), 1);
    server.login("door_a_app", &password("door_a", "app"), "door_shared").await.unwrap();

    for resource in tenants[0].iter().rev() {
        resource.delete(&cx).await;
    }
    assert_eq!(texts(&mut sup, &members).await, logins("door_b"));
    for resource in tenants[1].iter().rev() {
        resource.delete(&cx).await;
    }
    assert_eq!(texts(&mut sup, &members).await, [""; 0]);
    assert_eq!(texts(&mut sup, entries).await, ["labctl_connect_door_shared CONNECT"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_of_that_name_that_is_not_labctls_and_a_database_whose_name_leaves_no_room_are_refused() {
    let server = Server::new("taken").await;
    let secrets = Secrets::default();
    let cx = server.cx(&secrets, Library::default()).await;
    let mut sup = server.superuser("postgres").await;
    run(&mut sup, "CREATE ROLE labctl_connect_taken_shared").await.unwrap();
    let all = everything(&secrets, "taken", "taken_shared", &[]);
    for resource in &all[..4] {
        resource.converge(&cx).await.unwrap();
    }
    assert_eq!(all[4].converge(&cx).await.unwrap_err().code, "foreign");
    let long = "l".repeat(49);
    run(&mut sup, &format!("CREATE DATABASE {long} OWNER {} TEMPLATE template0", server.admin)).await.unwrap();
    let mut schema = everything(&secrets, "taken", &long, &[]).remove(4);
    schema.spec["database"] = json!(long);
    assert_eq!(schema.converge(&cx).await.unwrap_err().code, "invalid_name");
    for resource in all[..4].iter().rev() {
        resource.delete(&cx).await;
    }
}

/// A backend grows with every schema it touches.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_used_again_and_renewed_after_five_hundred_uses() {
    let server = Server::new("renewed").await;
    let databases = Databases::new(Settings { tunnels: Tunnels::default(), tls: Tls::Prefer, root_cert: None });
    let endpoint = format!("127.0.0.1:{}", server.port());
    let login = Login { endpoint, database: server.shared.clone(), username: server.admin.clone(), password: ADMIN_PASSWORD.into() };
    let mut backends = Vec::new();
    for _ in 0..1_001 {
        let mut db = databases.connect(&login).await.unwrap();
        backends.extend(db.select::<(i32,)>("postgres:SELECT", "SELECT pg_backend_pid()".to_owned()).await.unwrap());
    }
    let uses: Vec<usize> = backends.chunk_by(|a, b| a == b).map(<[_]>::len).collect();
    assert_eq!(uses, [500, 500, 1]);
}
