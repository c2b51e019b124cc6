//! The end of a tenant's life: deleted, brought back, held, purged; what other programs then find; and what the certificate says.

use std::time::Duration;

use aws_sdk_cognitoidentityprovider::types::AttributeType;
use labctl::sandbox::REGION;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sqlx::AssertSqlSafe;

use super::fixture::{Running, blocking, shared};
use super::sweep::{Found, sweep};

fn of_kind<'a>(shown: &'a Value, kind: &str) -> Vec<&'a str> {
    shown["resources"].as_array().unwrap().iter().filter(|r| r["kind"] == kind).map(|r| r["id"].as_str().unwrap()).collect()
}

/// Where a tenant's files lie: bucket and prefix.
fn place(shown: &Value) -> (String, String) {
    match of_kind(shown, "s3_prefix").first() {
        Some(uri) => uri.strip_prefix("s3://").and_then(|u| u.split_once('/')).map(|(b, p)| (b.to_owned(), p.to_owned())).unwrap(),
        None => (of_kind(shown, "s3_bucket")[0].to_owned(), String::new()),
    }
}

/// The database a tenant's schema is in.
fn database(shown: &Value) -> String {
    of_kind(shown, "postgres_database").first().map_or("shared", |d| d).to_owned()
}

/// What an application and its users leave: versions of objects and an unfinished upload, rows, people.
async fn live(id: &str, shown: &Value) {
    let (world, cloud) = (shared(), shared().cloud().await);
    let (bucket, prefix) = place(shown);
    let key = format!("{prefix}report.pdf");
    for body in ["one", "two"] {
        cloud.s3.put_object().bucket(&bucket).key(&key).body(body.as_bytes().to_vec().into()).send().await.unwrap();
    }
    cloud.s3.delete_object().bucket(&bucket).key(&key).send().await.unwrap();
    cloud.s3.create_multipart_upload().bucket(&bucket).key(format!("{prefix}scan.dcm")).send().await.unwrap();
    let role = format!("tenant_{}", id.replace('-', "_"));
    let sql = format!("SET ROLE {role}_migrate; CREATE TABLE {role}.visits AS SELECT 'patient' AS who; RESET ROLE");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut world.superuser(&database(shown)).await).await.unwrap();
    let (pool, group) = of_kind(shown, "cognito_group")[0].split_once('/').unwrap();
    let attribute = |name: &str, value: &str| AttributeType::builder().name(name).value(value).build().unwrap();
    for (who, grouped) in [("nurse", true), ("doctor", false)] {
        let email = format!("{who}@{id}.example");
        let call = cloud.cognito.admin_create_user().user_pool_id(pool).username(&email);
        call.user_attributes(attribute("email", &email)).user_attributes(attribute("custom:tenant_id", id)).send().await.unwrap();
        if grouped {
            cloud.cognito.admin_add_user_to_group().user_pool_id(pool).username(&email).group_name(group).send().await.unwrap();
        }
    }
    for instance in of_kind(shown, "rds_instance") {
        cloud.rds.create_db_snapshot().db_instance_identifier(instance).db_snapshot_identifier(format!("{id}-by-hand")).send().await.unwrap();
    }
}

/// Nothing of the tenant by any name, in a service that lists by names, and nothing by tag but what the certificate says remains.
async fn nothing_is_left(id: &str, shown: &Value, certificate: &Value, found: &Found) {
    let (world, cloud) = (shared(), shared().cloud().await);
    let (bucket, prefix) = place(shown);
    match cloud.s3.list_object_versions().bucket(&bucket).prefix(&prefix).send().await {
        Ok(page) => assert!(prefix == format!("{id}/") && page.versions().is_empty() && page.delete_markers().is_empty(), "{id}: {page:?}"),
        Err(_) => assert!(prefix.is_empty(), "the shared bucket is gone"),
    }
    let (pool, _) = of_kind(shown, "cognito_group")[0].split_once('/').unwrap();
    if let Ok(users) = cloud.cognito.list_users().user_pool_id(pool).send().await {
        let emails: Vec<_> = users.users().iter().flat_map(|u| u.attributes()).filter(|a| a.name == "email").filter_map(|a| a.value.clone()).collect();
        assert!(emails.iter().all(|e| !e.ends_with(&format!("@{id}.example"))), "{id}: {emails:?}");
    }
    let name = format!("tenant_{}", id.replace('-', "_"));
    let like = "SELECT rolname::text FROM pg_roles WHERE rolname LIKE $1 UNION SELECT datname::text FROM pg_database WHERE datname = $2
                UNION SELECT nspname::text FROM pg_namespace WHERE nspname = $2";
    let named: Vec<String> = sqlx::query_scalar(like).bind(format!("{name}\\_%")).bind(&name).fetch_all(&mut world.superuser("shared").await).await.unwrap();
    assert!(named.is_empty(), "{id}: {named:?}");
    let snapshots = cloud.rds.describe_db_snapshots().send().await.unwrap();
    assert!(snapshots.db_snapshots().iter().all(|s| !s.db_snapshot_identifier().unwrap().contains(id)), "{id}: {snapshots:?}");
    let base = format!("-{id}-sandbox");
    let groups = cloud.logs.describe_log_groups().into_paginator().items().send().collect::<Result<Vec<_>, _>>().await.unwrap();
    assert!(groups.iter().all(|g| !g.log_group_name().unwrap().contains(&base)), "{id}");
    let families = cloud.ecs.list_task_definitions().status(aws_sdk_ecs::types::TaskDefinitionStatus::Inactive).send().await.unwrap();
    assert!(families.task_definition_arns().iter().all(|a| !a.contains(&base)), "{id}: {families:?}");
    only_what_remains(id, found, certificate);
}

/// The sweep lists keys on their way out, and no secrets in their recovery window.
fn only_what_remains(id: &str, found: &Found, certificate: &Value) {
    let remains = certificate["remains"].as_array().unwrap();
    let keys: Vec<&str> = remains.iter().filter(|r| r["what"] == "key").map(|r| r["id"].as_str().unwrap()).collect();
    let found: Vec<&str> = found.get(id).into_iter().flatten().map(|(_, id)| id.as_str()).collect();
    assert_eq!(found, keys, "{id}");
}

fn refused(run: &super::fixture::Run, code: i32, word: &str) {
    let error = run.error();
    assert_eq!((run.code, error["code"].as_str()), (code, Some(word)), "{run}");
    assert!(run.out.is_empty(), "{run}");
}

/// What is asked for without its confirmation, or in a status that does not have it, is refused and touches nothing.
#[test]
fn nothing_is_deleted_or_purged_without_its_name() {
    let (world, id) = (shared(), "staying-lab");
    let shown = world.json(&["tenant", "create", &world.spec(id, "labcloud", "trial")]);
    let unconfirmed = |verb: &[&str]| {
        for missing in [vec![], vec!["--yes"], vec!["--confirm", "another-one"]] {
            refused(&world.run(&[verb, &["-o", "json"], missing.as_slice()].concat()), 64, "usage");
        }
    };
    unconfirmed(&["tenant", "delete", id]);
    refused(&world.run(&["tenant", "purge", id, "--now", "--confirm", id, "-o", "json"]), 1, "wrong_status");
    assert!(world.ok(&["tenant", "undelete", id]).err.contains("no changes"));
    assert_eq!(world.json(&["tenant", "show", id]), shown, "nothing was touched");
    let deleted = world.json(&["tenant", "delete", id, "--confirm", id]);
    unconfirmed(&["tenant", "purge", id, "--now"]);
    let again = world.ok(&["tenant", "delete", id, "--reason", "another", "--confirm", id]);
    assert!(again.err.contains("no changes"), "{again}");
    let hold = world.json(&["tenant", "hold", "add", id, "--reason", "case 4711"]);
    assert_eq!(world.json(&["tenant", "hold", "add", id, "--reason", "case 4711"]), hold, "not placed twice");
    let held = world.run(&["tenant", "purge", id, "--now", "--confirm", id, "-o", "json"]);
    refused(&held, 1, "held");
    assert!(held.err.contains("case 4711"), "{held}");
    let mut shown = world.json(&["tenant", "show", id]);
    assert_eq!(shown["holds"].take(), 1);
    shown["holds"] = deleted["holds"].clone();
    assert_eq!(shown, deleted, "the first dates stay, and nothing was touched");
}

/// A tenant's life up to its purge.
fn up_to_the_purge(id: &str, shown: &Value) {
    let world = shared();
    let deleted = world.json(&["tenant", "delete", id, "--reason", "contract ended", "--confirm", id]);
    assert_eq!(deleted["status"], "deleted");
    assert_eq!(deleted["resources"], shown["resources"], "nothing is removed");
    refused(&world.run(&["tenant", "apply", id, "-o", "json"]), 1, "wrong_status");
    let back = world.json(&["tenant", "undelete", id]);
    assert_eq!((&back["status"], &back["resources"]), (&json!("active"), &shown["resources"]));
    world.ok(&["tenant", "delete", id, "--confirm", id]);
    refused(&world.run(&["tenant", "purge", id, "--confirm", id, "-o", "json"]), 1, "too_early");
    assert_eq!(world.json(&["tenant", "hold", "add", id, "--reason", "case 4711"])["number"], 1);
    refused(&world.run(&["tenant", "purge", id, "--now", "--confirm", id, "-o", "json"]), 1, "held");
    assert!(!world.json(&["tenant", "hold", "remove", id, "1"])["removed_at"].is_null());
}

/// Purges, and holds the certificate against what the tenant had and the audit trail.
fn purge(id: &str, shown: &Value) -> Value {
    let world = shared();
    let purged = world.json(&["tenant", "purge", id, "--now", "--confirm", id]);
    assert_eq!((&purged["status"], &purged["resources"]), (&json!("purged"), &json!([])));
    let certificate = world.json(&["tenant", "certificate", id]);
    let again = world.ok(&["tenant", "purge", id, "--now", "--confirm", id]);
    assert!(again.err.contains("no changes") && world.json(&["tenant", "certificate", id]) == certificate, "{again}");
    let removed = |of: &Value| of.as_array().unwrap().iter().map(|r| (r["address"].clone(), r["id"].clone())).collect::<Vec<_>>();
    assert_eq!(removed(&certificate["removed"]), removed(&shown["resources"]), "{certificate:#}");
    assert_eq!((&certificate["tenant"]["id"], &certificate["asked"]["by"]), (&json!(id), &json!("e2e")));
    assert!(certificate["asked"]["command"].as_str().unwrap().contains("tenant purge"), "{certificate:#}");
    let services: Vec<_> = certificate["census"].as_array().unwrap().iter().map(|l| l["service"].as_str().unwrap()).collect();
    for service in ["s3", "cognito-idp", "ecs", "application-autoscaling", "rds", "secretsmanager", "kms", "logs", "iam", "tagging", "postgres"] {
        assert!(services.contains(&service), "{service} was not asked: {services:?}");
    }
    let secrets = of_kind(shown, "secret").len() + of_kind(shown, "kms_key").len();
    assert_eq!(certificate["remains"].as_array().unwrap().len(), secrets, "{certificate:#}");
    assert!(certificate["remains"].as_array().unwrap().iter().all(|r| r["until"].as_str().unwrap() > certificate["issued_at"].as_str().unwrap()));
    certificate
}

/// What stands in the audit trail of the certificate.
async fn digest_on_record(id: &str) -> Value {
    let sql = "SELECT detail->'certificate'->>'digest' FROM labctl.audit WHERE tenant = $1 AND detail ? 'certificate' ORDER BY seq DESC LIMIT 1";
    json!(sqlx::query_scalar::<_, String>(sql).bind(id).fetch_one(&mut shared().registry().await).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_tier_is_deleted_brought_back_and_purged_without_a_trace() {
    let tenants = [
        ("leaving-one", "labcloud", "trial"),
        ("leaving-two", "labcloud", "standard"),
        ("leaving-three", "labcloud", "enterprise"),
        ("leaving-four", "mate", "trial"),
        ("leaving-five", "mate", "standard"),
        ("leaving-six", "mate", "enterprise"),
    ];
    let lives = tenants.map(|(id, stack, tier)| {
        tokio::spawn(async move {
            let shown = blocking(move || shared().json(&["tenant", "create", &shared().spec(id, stack, tier)])).await.unwrap();
            Box::pin(live(id, &shown)).await;
            let the_end = move || {
                up_to_the_purge(id, &shown);
                let certificate = purge(id, &shown);
                (id, shown, certificate)
            };
            blocking(the_end).await.unwrap()
        })
    });
    let ended: Vec<_> = futures_util::future::join_all(lives).await.into_iter().map(Result::unwrap).collect();
    let found = Box::pin(sweep(shared())).await;
    for (id, shown, certificate) in ended {
        Box::pin(nothing_is_left(id, &shown, &certificate, &found)).await;
        let text = certificate.to_string();
        let digest: String = Sha256::digest(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(digest_on_record(id).await, json!(digest), "{id}");
    }
    blocking(|| made_anew("leaving-three", "labcloud", "enterprise")).await.unwrap();
}

/// The id and its names are free again; key and secrets that wait for their end are taken up again.
fn made_anew(id: &str, stack: &str, tier: &str) {
    let world = shared();
    let first = world.json(&["tenant", "certificate", id]);
    let shown = world.json(&["tenant", "create", &world.spec(id, stack, tier)]);
    assert_eq!((&shown["status"], &shown["revision"]), (&json!("active"), &json!(6)));
    assert!(world.ok(&["tenant", "apply", id]).err.contains("no changes"));
    assert_eq!(world.json(&["tenant", "certificate", id]), first, "it stays");
    world.ok(&["tenant", "delete", id, "--confirm", id]);
    let second = purge(id, &shown);
    assert_eq!((&first["certificate"], &second["certificate"]), (&json!(1), &json!(2)));
    assert_eq!(world.json(&["tenant", "certificate", id, "--number", "1"]), first);
}

#[test]
fn a_certificate_is_for_people_for_programs_and_for_a_file() {
    let world = shared();
    world.ok(&["tenant", "create", &world.spec("certified-lab", "labcloud", "trial")]);
    assert_eq!(world.run(&["tenant", "certificate", "certified-lab"]).code, 1, "there is none yet");
    world.ok(&["tenant", "delete", "certified-lab", "--confirm", "certified-lab"]);
    let purged = world.ok(&["tenant", "purge", "certified-lab", "--now", "--confirm", "certified-lab"]);
    assert!(purged.err.contains("labctl tenant certificate certified-lab"), "{purged}");
    let table = world.ok(&["tenant", "certificate", "certified-lab"]).out;
    for word in ["s3_prefix", "DescribeDBSnapshots", "remain until their date", "sha256"] {
        assert!(table.contains(word), "{word} is missing\n{table}");
    }
    for format in ["json", "jsonl", "yaml", "csv"] {
        assert!(world.ok(&["tenant", "certificate", "certified-lab", "-o", format]).out.contains("certified-lab"), "{format}");
        world.ok(&["tenant", "hold", "list", "certified-lab", "-o", format]);
    }
    world.ok(&["tenant", "certificate", "certified-lab", "--out", "certificate.json"]);
    let written: Value = serde_json::from_str(&std::fs::read_to_string(world.dir().join("specs/certificate.json")).unwrap()).unwrap();
    assert_eq!(written, world.json(&["tenant", "certificate", "certified-lab"]));
    assert_eq!(world.run(&["tenant", "certificate", "certified-lab", "--out", "certificate.json"]).code, 1, "it is not overwritten");
    refused(&world.run(&["tenant", "hold", "add", "certified-lab", "--reason", "too late", "-o", "json"]), 1, "held");
}

fn kill_after(args: &[&str], lines: usize, millis: u64) -> Option<super::fixture::Run> {
    let mut running: Running = shared().spawn(args);
    running.hear(" deleted ", lines);
    std::thread::sleep(Duration::from_millis(millis));
    let _ = nix::sys::signal::kill(super::fixture::pid(&running.child), Signal::SIGKILL);
    let run = running.end();
    if run.code == 0 {
        return Some(run);
    }
    assert_eq!(run.code, -(Signal::SIGKILL as i32), "{run}");
    None
}

/// Killed after every single deletion, a little later each time, until none is left to be killed after.
fn killed_at_each_step(id: &'static str, stack: &str, tier: &str) -> usize {
    let world = shared();
    world.ok(&["tenant", "create", &world.spec(id, stack, tier)]);
    world.ok(&["tenant", "delete", id, "--confirm", id]);
    let purge = ["tenant", "purge", id, "--now", "--confirm", id];
    let mut killed = 0;
    while kill_after(&purge, 1, [0, 3, 8, 20][killed % 4]).is_none() {
        killed += 1;
        let status = world.json(&["tenant", "show", id])["status"].clone();
        assert!(status == "purging" || killed == 1, "{id}: {status}");
        assert!(killed < 80, "{id} comes to no end");
    }
    killed
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_killed_at_each_step_is_finished_by_the_same_command() {
    let tenants = [("cut-off-one", "mate", "enterprise", 15), ("cut-off-two", "labcloud", "trial", 5)];
    let runs = tenants.map(|(id, stack, tier, least)| blocking(move || (id, killed_at_each_step(id, stack, tier), least)));
    let ended: Vec<_> = futures_util::future::join_all(runs).await.into_iter().map(Result::unwrap).collect();
    let found = Box::pin(sweep(shared())).await;
    for (id, killed, least) in ended {
        assert!(killed >= least, "{id} was killed only {killed} times");
        let certificate = shared().json(&["tenant", "certificate", id]);
        assert_eq!(certificate["carried_out"]["attempts"], json!(killed + 1), "it is one operation all along");
        only_what_remains(id, &found, &certificate);
        assert_eq!(shared().json(&["tenant", "show", id])["status"], "purged");
        let unfinished = shared().json(&["operation", "list", "--tenant", id, "--unfinished"]);
        assert_eq!(unfinished, json!([]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_back_or_was_made_beside_labctl_keeps_a_purge_from_ending() {
    let (world, id) = (shared(), "haunted-lab");
    let cloud = world.cloud().await;
    world.ok(&["tenant", "create", &world.spec(id, "labcloud", "trial")]);
    world.ok(&["tenant", "delete", id, "--confirm", id]);
    let registry = world.json(&["registry", "status"])["id"].as_str().unwrap().to_owned();
    let tag = |key: &str, value: &str| aws_sdk_iam::types::Tag::builder().key(key).value(value).build().unwrap();
    let role = cloud.iam.create_role().role_name("beside-haunted-lab").assume_role_policy_document("{}");
    role.tags(tag("labctl:tenant", id)).tags(tag("labctl:registry", &registry)).tags(tag("labctl:address", "-")).send().await.unwrap();
    let run = blocking(move || world.run(&["tenant", "purge", id, "--now", "--confirm", id, "-o", "json"])).await.unwrap();
    let error = run.error();
    assert_eq!((run.code, error["code"].as_str()), (3, Some("not_empty")), "{run}");
    assert!(error["left"].to_string().contains("iam role beside-haunted-lab"), "{error}");
    assert_eq!(world.json(&["tenant", "show", id])["status"], "purging");
    assert_eq!(world.run(&["tenant", "certificate", id]).code, 1, "nothing is certified");
    cloud.iam.delete_role().role_name("beside-haunted-lab").send().await.unwrap();
    let number = world.json(&["operation", "list", "--tenant", id, "--unfinished"])[0]["number"].to_string();
    world.ok(&["operation", "resume", &number]);
    assert_eq!(world.json(&["tenant", "show", id])["status"], "purged");
    world.ok(&["tenant", "certificate", id]);
}

/// A create that was stopped: its deletion makes nothing more, it can be taken back (and is then finished), and purged.
#[tokio::test(flavor = "multi_thread")]
async fn a_half_made_tenant_is_deleted_as_it_is() {
    let (world, id) = (shared(), "half-made-lab");
    let spec = world.spec(id, "mate", "trial");
    let mut running = world.spawn(&["tenant", "create", &spec]);
    assert!(running.hear(" created ", 3));
    running.signal(Signal::SIGKILL);
    running.end();
    let before = Box::pin(sweep(world)).await.remove(id).unwrap();
    assert_eq!(world.json(&["tenant", "delete", id, "--confirm", id])["status"], "deleted");
    assert_eq!(Box::pin(sweep(world)).await.remove(id).unwrap(), before, "nothing is made, nothing is removed");
    let back = world.json(&["tenant", "undelete", id]);
    assert_eq!(back["status"], "active");
    assert!(back["resources"].as_array().unwrap().iter().all(|r| r["status"] == "ready"), "{back}");

    let (id, spec) = ("hardly-made-lab", world.spec("hardly-made-lab", "mate", "trial"));
    let mut running = world.spawn(&["tenant", "create", &spec]);
    assert!(running.hear(" created ", 1));
    running.signal(Signal::SIGKILL);
    running.end();
    world.ok(&["tenant", "delete", id, "--confirm", id]);
    world.ok(&["tenant", "purge", id, "--now", "--confirm", id]);
    let certificate = world.json(&["tenant", "certificate", id]);
    assert_eq!((&certificate["place"]["region"], &certificate["tenant"]["provisioned_at"]), (&json!(REGION), &Value::Null));
    only_what_remains(id, &Box::pin(sweep(world)).await, &certificate);
}
