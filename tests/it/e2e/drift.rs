//! What was changed behind labctl's back is found, told apart from what others may change, and mended; looking writes nothing.

use std::fs;

use futures_util::StreamExt as _;
use labctl::plan::drift::Drifted;
use labctl::registry::TenantFilter;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use super::fixture::{Run, World, reads, shared};

async fn sql(world: &World, database: &str, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut world.superuser(database).await).await.unwrap();
}

/// The drift of a tenant as programs see it, and how the command ended.
fn drift(world: &World, id: &str) -> (i32, Value) {
    let run = world.run(&["tenant", "drift", id, "-o", "json"]);
    (run.code, serde_json::from_str(&run.out).unwrap_or_else(|e| panic!("{e}\n{run}")))
}

/// `kind/name: field: is → should be`, sorted.
fn lines(shown: &Value) -> Vec<String> {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let one = |d: &Value| {
        let address = text(&d["address"]);
        let resource = address.split_once('/').unwrap().1.to_owned();
        let fields: Vec<_> =
            d["fields"].as_array().unwrap().iter().map(|f| format!("{}: {} → {}", text(&f["field"]), text(&f["is"]), text(&f["should_be"]))).collect();
        format!("{} {resource} {}", text(&d["drift"]), fields.join(", ")).trim_end().to_owned()
    };
    let mut all: Vec<String> = shown["differences"].as_array().unwrap().iter().map(one).collect();
    all.sort();
    all
}

async fn set_count(world: &World, name: &str, count: i32) {
    let ecs = &world.cloud().await.ecs.clone();
    let cluster = ecs.list_clusters().send().await.unwrap().cluster_arns.unwrap().remove(0);
    ecs.update_service().cluster(cluster).service(name).desired_count(count).send().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_behind_its_back_is_found_and_mended_and_what_auto_scaling_owns_is_not() {
    let world = shared();
    world.json(&["tenant", "create", &world.spec("drift-clinic", "mate", "standard")]);
    let (code, shown) = drift(world, "drift-clinic");
    assert_eq!((code, &shown["drift"], lines(&shown)), (0, &json!(false), vec![]), "{shown}");
    assert_eq!(shown["bookkeeping"], json!([]), "{shown}");

    let cloud = world.cloud().await;
    let group = "/ecs/mate-drift-clinic-sandbox/django";
    cloud.logs.put_retention_policy().log_group_name(group).retention_in_days(7).send().await.unwrap();
    let tag = aws_sdk_iam::types::Tag::builder().key("Tier").value("gold").build().unwrap();
    cloud.iam.tag_role().role_name("mate-drift-clinic-sandbox-task").tags(tag).send().await.unwrap();
    sql(world, "tenant_drift_clinic", "GRANT CREATE ON SCHEMA tenant_drift_clinic TO tenant_drift_clinic_app").await;
    set_count(world, "mate-drift-clinic-sandbox-django", 3).await;
    let three = [
        "changed iam_role/task tags.Tier: gold → standard",
        "changed log_group/django retention_days: 7 → 90",
        "changed postgres_schema/main grants.tenant_drift_clinic_app.the schema: CREATE → (none)",
    ];
    let (code, shown) = drift(world, "drift-clinic");
    assert_eq!((code, lines(&shown)), (2, three.map(str::to_owned).to_vec()));

    // There is to be one beat, and nobody scales it.
    set_count(world, "mate-drift-clinic-sandbox-beat", 2).await;
    let people = world.run(&["tenant", "drift", "drift-clinic"]);
    assert_eq!(people.code, 2, "{people}");
    for part in ["desired: is 2, should be 1", "4 of ", "labctl tenant apply drift-clinic"] {
        assert!(people.out.contains(part), "{part}: {people}");
    }

    world.ok(&["tenant", "apply", "drift-clinic"]);
    let (code, shown) = drift(world, "drift-clinic");
    assert_eq!((code, lines(&shown)), (0, vec![]), "{shown}");
    let ecs = cloud.ecs.describe_services().cluster("labctl-sandbox").services("mate-drift-clinic-sandbox-django").send().await;
    if let Some(service) = ecs.ok().and_then(|found| found.services.unwrap_or_default().pop()) {
        assert_eq!(service.desired_count, 3, "what auto-scaling owns was left alone");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_is_told_once_and_not_again_for_all_that_depends_on_it() {
    let world = shared();
    world.json(&["tenant", "create", &world.spec("gone-clinic", "mate", "trial")]);
    let cloud = world.cloud().await;
    cloud.logs.delete_log_group().log_group_name("/ecs/mate-gone-clinic-sandbox/celery").send().await.unwrap();
    let secret = "mate-gone-clinic-sandbox/django";
    cloud.secrets.delete_secret().secret_id(secret).force_delete_without_recovery(true).send().await.unwrap();
    let (code, shown) = drift(world, "gone-clinic");
    assert_eq!((code, lines(&shown)), (2, vec!["missing log_group/celery".to_owned(), "missing secret/django".to_owned()]), "{shown}");
    let all = world.json(&["tenant", "show", "gone-clinic"])["resources"].as_array().unwrap().len();
    assert_eq!(shown["resources"], all, "every resource was looked at");
    world.ok(&["tenant", "apply", "gone-clinic"]);
    assert_eq!(drift(world, "gone-clinic").0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_for_drift_writes_nothing_anywhere() {
    let world = shared();
    world.json(&["tenant", "create", &world.spec("unmoved-clinic", "mate", "standard")]);
    // From now on the server logs every statement of sessions in this database alone.
    sql(world, "postgres", "ALTER DATABASE tenant_unmoved_clinic SET log_statement = 'all'").await;
    let log = world.json(&["sandbox", "status"])["postgres_log"].as_str().unwrap().to_owned();
    let before = fs::read_to_string(&log).unwrap().len();
    let on_record =
        "SELECT (SELECT count(*) FROM labctl.audit WHERE tenant = 'unmoved-clinic') + (SELECT max(epoch) FROM labctl.leases WHERE tenant = 'unmoved-clinic')
                     + (SELECT count(*) FROM labctl.operations WHERE tenant = 'unmoved-clinic')";
    let mut registry = world.registry().await;
    let recorded: i64 = sqlx::query_scalar(on_record).fetch_one(&mut registry).await.unwrap();

    let site = world.site().await;
    let found = labctl::ops::drift::drift(&site, "unmoved-clinic").await.unwrap();
    assert_eq!(found.drift.differences, [], "all was looked at, and nothing differs");
    let calls = site.cx.cloud.calls().by_operation();
    let writes: Vec<_> = calls.keys().filter(|call| !reads(call)).collect();
    assert!(calls.len() > 10 && writes.is_empty(), "{writes:?} of {calls:?}");
    let now: i64 = sqlx::query_scalar(on_record).fetch_one(&mut registry).await.unwrap();
    assert_eq!(now, recorded, "no audit row, no lease, no operation");

    // A statement of several lines goes on in lines that begin with a tab.
    let logged = fs::read_to_string(&log).unwrap()[before..].replace("\n\t", " ");
    let statements: Vec<&str> = logged
        .lines()
        .filter_map(|l| l.split_once("LOG:  ").map(|(_, rest)| rest))
        .filter(|l| l.starts_with("statement: ") || l.starts_with("execute "))
        .filter_map(|l| l.split_once(": ").map(|(_, sql)| sql.trim_start()))
        .collect();
    // `WITH` could write, were the sessions not read-only: see `tenant_databases::drift::what_only_looks_cannot_write`.
    let verbs = ["SET", "SELECT", "WITH", "BEGIN", "ROLLBACK"];
    // A ledger is read so: nobody who reads or writes waits for it.
    let reads = |s: &str| (s.starts_with("LOCK TABLE") && s.contains("IN ACCESS SHARE MODE; SELECT")) || (s.starts_with("COPY") && s.contains("TO STDOUT"));
    let writing: Vec<_> = statements.iter().filter(|s| !verbs.iter().any(|v| s.starts_with(v)) && !reads(s)).collect();
    assert!(statements.len() > 5 && writing.is_empty(), "{writing:?} of {statements:?}");
}

/// The rows of `fleet drift` that are about one of these tenants.
fn rows(run: &Run, tenants: &[&str]) -> Vec<Value> {
    let all: Vec<Value> = serde_json::from_str(&run.out).unwrap_or_else(|e| panic!("{e}\n{run}"));
    all.into_iter().filter(|row| tenants.iter().any(|t| row["tenant"] == *t)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_cannot_be_looked_at_is_told_and_holds_up_no_other() {
    let world = shared();
    let tenants = ["fleet-one", "fleet-two"];
    for id in tenants {
        world.json(&["tenant", "create", &world.spec(id, "labcloud", "enterprise")]);
    }
    let of = |run: &Run| rows(run, &tenants);
    sql(world, "tenant_fleet_two", "GRANT CREATE ON SCHEMA tenant_fleet_two TO tenant_fleet_two_app").await;
    let run = world.run(&["fleet", "drift", "--stack", "labcloud", "--tier", "enterprise", "-o", "json"]);
    let found = of(&run);
    assert_ne!(run.code, 0, "{run}");
    assert_eq!(found.len(), 1, "{run}");
    assert_eq!((&found[0]["tenant"], &found[0]["drift"]), (&json!("fleet-two"), &json!("changed")), "{run}");
    assert!(run.err.contains("tenants looked at: "), "{run}");

    sql(world, "postgres", "ALTER DATABASE tenant_fleet_one ALLOW_CONNECTIONS false").await;
    let run = world.run(&["fleet", "drift", "--stack", "labcloud", "--tier", "enterprise", "-o", "json"]);
    sql(world, "postgres", "ALTER DATABASE tenant_fleet_one ALLOW_CONNECTIONS true").await;
    let found = of(&run);
    assert_eq!((run.code, run.error()["code"].as_str()), (1, Some("not_looked_at")), "{run}");
    let told: Vec<_> = found.iter().map(|row| (row["tenant"].as_str().unwrap(), row["drift"].as_str().unwrap())).collect();
    assert_eq!(told, [("fleet-one", "not_looked_at"), ("fleet-two", "changed")], "{run}");
    assert!(found[0]["detail"].as_str().unwrap().contains("fleet-one"), "{run}");
    for format in ["table", "csv"] {
        let run = world.run(&["fleet", "drift", "--stack", "labcloud", "--tier", "enterprise", "-o", format]);
        assert!(run.out.contains("fleet-two") && !run.out.contains("fleet-one"), "{run}");
    }
    // One that is not of the tier asked for is not looked at.
    let other = world.run(&["fleet", "drift", "--stack", "labcloud", "--tier", "trial", "-o", "json"]);
    assert_eq!(of(&other), Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_the_registry_has_otherwise_is_no_drift() {
    let world = shared();
    world.json(&["tenant", "create", &world.spec("booked-lab", "labcloud", "trial")]);
    let mut registry = world.registry().await;
    sqlx::query("UPDATE labctl.resources SET status = 'created' WHERE address = 'booked-lab/postgres_schema/main'").execute(&mut registry).await.unwrap();
    let (code, shown) = drift(world, "booked-lab");
    assert_eq!((code, lines(&shown)), (0, vec![]), "{shown}");
    assert_eq!(
        shown["bookkeeping"],
        json!([{"address": "booked-lab/postgres_schema/main", "recorded": "tenant_booked_lab, not finished", "is": "tenant_booked_lab"}])
    );
    let site = world.site().await;
    let filter = TenantFilter { stack: Some("labcloud".into()), tier: Some("trial".into()), status: None };
    let mut fleet = std::pin::pin!(labctl::ops::drift::fleet(&site, &filter).await.unwrap());
    while let Some((tenant, found)) = fleet.next().await {
        if tenant == "booked-lab" {
            let found = found.unwrap_or_else(|e| panic!("{e}"));
            assert!(found.drift.differences.iter().all(|d| d.drift != Drifted::Changed), "{:?}", found.drift);
            return;
        }
    }
    panic!("booked-lab is not in the fleet");
}

/// The waivers that took differences out, with the resource and the fields.
fn waived(shown: &Value) -> Vec<String> {
    let fields = |w: &Value| w["fields"].as_array().unwrap().iter().map(|f| f["field"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join(",");
    shown["waived"].as_array().unwrap().iter().map(|w| format!("{} {} {}", w["waiver"], w["address"].as_str().unwrap(), fields(w))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_waiver_allows_is_told_and_no_drift_until_it_ends() {
    let world = shared();
    let id = "waived-lab";
    world.json(&["tenant", "create", &world.spec(id, "labcloud", "trial")]);
    let cloud = world.cloud().await;
    let group = world.json(&["tenant", "show", id])["resources"]
        .as_array()
        .unwrap()
        .iter()
        .find(|r| r["address"].as_str().unwrap().contains("/log_group/"))
        .unwrap()
        .clone();
    let resource = group["address"].as_str().unwrap().split_once('/').unwrap().1.to_owned();
    cloud.logs.put_retention_policy().log_group_name(group["id"].as_str().unwrap()).retention_in_days(7).send().await.unwrap();
    sql(world, "shared", "GRANT CREATE ON SCHEMA tenant_waived_lab TO tenant_waived_lab_app").await;
    let grant = "grants.tenant_waived_lab_app.the schema";
    assert_eq!(drift(world, id).1["differences"].as_array().unwrap().len(), 2);

    let add = ["tenant", "waiver", "add", id, &resource, "--field", "retention_days", "--until", "14d", "--reason", "an audit", "-o", "json"];
    let added: Value = world.json(&add[..add.len() - 2]);
    assert_eq!((&added["number"], &added["removed_at"]), (&json!(1), &json!(null)), "{added}");
    let (code, shown) = drift(world, id);
    let address = format!("{id}/{resource}");
    assert_eq!((code, lines(&shown).len(), waived(&shown)), (2, 1, vec![format!("1 {address} retention_days")]), "{shown}");

    world.json(&["tenant", "waiver", "add", id, "postgres_schema/main", "--until", "2d", "--reason", "x"]);
    let (code, shown) = drift(world, id);
    assert_eq!((code, &shown["drift"], lines(&shown)), (0, &json!(false), vec![]), "{shown}");
    assert!(waived(&shown).contains(&format!("2 {id}/postgres_schema/main {grant}")), "{shown}");
    let people = world.run(&["tenant", "drift", id]);
    assert!(people.code == 0 && people.out.contains("Allowed by waivers") && people.out.contains("retention_days: is 7, should be 30"), "{people}");

    // One that has run out allows nothing any more. Nobody can lengthen or rewrite one.
    let mut registry = world.registry().await;
    let rewritten = sqlx::query("UPDATE labctl.waivers SET until = until + interval '1 day' WHERE tenant = 'waived-lab'").execute(&mut registry).await;
    assert!(rewritten.unwrap_err().to_string().contains("can only be removed"));
    world.json(&["tenant", "waiver", "remove", id, "2"]);
    let (code, shown) = drift(world, id);
    assert_eq!((code, waived(&shown).len()), (2, 1), "{shown}");
    let short = "INSERT INTO labctl.waivers (tenant, number, resource, reason, until, who, host, placed_at)
                 VALUES ('waived-lab', 3, 'postgres_schema/main', 'x', now() - interval '1 hour', 'a', 'b', now() - interval '2 hours')";
    sqlx::query(short).execute(&mut registry).await.unwrap();
    assert_eq!(drift(world, id).0, 2);
    let listed = world.run(&["tenant", "waiver", "list", id, "-o", "table"]);
    for part in ["in force", "removed", "run out"] {
        assert!(listed.out.contains(part), "{part}: {listed}");
    }
    // What is wanted did not change.
    world.ok(&["tenant", "apply", id]);
    let (code, shown) = drift(world, id);
    assert_eq!((code, waived(&shown)), (0, vec![]), "{shown}");

    let refused = |args: &[&str]| {
        let run = world.run(args);
        (run.code, run.error()["message"].as_str().unwrap().to_owned())
    };
    let (code, message) = refused(&["tenant", "waiver", "add", id, "log_group/none", "--until", "14d", "--reason", "x", "-o", "json"]);
    assert_eq!((code, message.as_str()), (1, "tenant `waived-lab` has no resource `log_group/none`"));
    assert_eq!(refused(&["tenant", "waiver", "add", id, &resource, "--until", "2y", "--reason", "x", "-o", "json"]).0, 64);
    let audited = world.json(&["audit", "list", "--tenant", id, "--limit", "0"]);
    let actions: Vec<_> = audited.as_array().unwrap().iter().map(|r| r["action"].as_str().unwrap()).collect();
    assert!(actions.contains(&"waiver.add") && actions.contains(&"waiver.remove"), "{actions:?}");

    // The next tenant of that id is another one.
    world.ok(&["tenant", "delete", id, "--confirm", id]);
    world.ok(&["tenant", "purge", id, "--now", "--confirm", id]);
    let left = world.json(&["tenant", "waiver", "list", id]);
    assert!(left.as_array().unwrap().iter().all(|w| !w["removed_at"].is_null()), "{left}");
}

#[test]
fn a_tenant_that_is_not_there_is_an_error() {
    let run = shared().run(&["tenant", "drift", "nobody-at-all", "-o", "json"]);
    assert_eq!((run.code, run.error()["code"].as_str()), (1, Some("not_found")), "{run}");
}
