//! A suspended tenant: first it may only read, then nobody is in, and resumed all is as before.

use labctl::engine::kind::{Diff, Suspension};
use labctl::tenantdb::migrations::{File, Library};
use serde_json::json;

use super::server::{Secrets, Server, run};
use super::standing_memberships;
use super::tenant::{Resource, everything, password, shipped};

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
