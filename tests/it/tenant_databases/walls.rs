//! Two tenants on one database: walled off from each other, at work, and gone without a trace; and many at once.

use futures_util::future::join_all;
use labctl::engine::fault::Fault;
use labctl::engine::kind::Diff;
use labctl::tenantdb::migrations::Library;

use super::server::{Secrets, Server, run, texts};
use super::tenant::{Resource, everything, password, shipped};
use super::{isolation, nothing_left, standing_memberships};

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
        Ok::<_, Fault>(())
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
