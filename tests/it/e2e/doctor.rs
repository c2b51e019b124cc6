//! `labctl doctor`: nothing to say of what is well, a finding for each thing that is not, and silence again once it is mended.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use nix::sys::signal::Signal;
use serde_json::Value;
use sqlx::AssertSqlSafe;

use super::fixture::{Run, World, blocking, shared};

/// What the doctor says of a tenant, notes on missing programs left out; the exit code must fit.
fn doctor(tenant: &str) -> Vec<Value> {
    of(&shared().run(&["doctor", "--tenant", tenant, "-o", "json"]))
}

fn of(run: &Run) -> Vec<Value> {
    let all: Vec<Value> = serde_json::from_str(&run.out).unwrap_or_else(|e| panic!("{e}\n{run}"));
    let findings: Vec<Value> = all.into_iter().filter(|f| f["severity"] != "note").collect();
    assert_eq!(run.code, i32::from(!findings.is_empty()), "{run}");
    assert!(findings.is_empty() || run.error()["code"] == "findings", "{run}");
    findings
}

/// Exactly one finding, of that check and about that; returns it.
fn only(findings: &[Value], check: &str, what: &str) -> Value {
    assert_eq!(findings.len(), 1, "{check} {what}: {findings:#?}");
    find(findings, check, what)
}

fn find(findings: &[Value], check: &str, what: &str) -> Value {
    let text = |f: &Value, key: &str| f[key].as_str().unwrap_or_default().to_owned();
    let found: Vec<_> = findings.iter().filter(|f| f["check"] == check && (text(f, "what") + &text(f, "found")).contains(what)).collect();
    assert_eq!(found.len(), 1, "{check} {what}: {findings:#?}");
    found[0].clone()
}

fn says(finding: &Value, key: &str, words: &str) {
    assert!(finding[key].as_str().is_some_and(|t| t.contains(words)), "{key} without `{words}`: {finding:#}");
}

async fn sql(database: Option<&str>, text: String) {
    let mut db = match database {
        Some(name) => shared().superuser(name).await,
        None => shared().registry().await,
    };
    sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut db).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_finds_what_is_lost_orphaned_or_doubled_until_it_is_mended() {
    let (world, id) = (shared(), "doctor-lab");
    world.ok(&["tenant", "create", &world.spec(id, "labcloud", "standard")]);
    assert_eq!(doctor(id), Vec::<Value>::new());
    Box::pin(lost(world, id)).await;
    Box::pin(stray(world, id)).await;
    // In the database: a role that says nothing of its owner, and a second schema with the first one's mark.
    let role = "tenant_doctor_lab_readonly";
    let comment: String =
        sqlx::query_scalar("SELECT shobj_description($1::regrole, 'pg_authid')").bind(role).fetch_one(&mut world.superuser("postgres").await).await.unwrap();
    sql(Some("postgres"), format!("COMMENT ON ROLE {role} IS NULL")).await;
    says(&only(&doctor(id), "lost", "doctor-lab/postgres_role/readonly"), "found", "is there, but");
    sql(Some("postgres"), format!("COMMENT ON ROLE {role} IS '{comment}'")).await;
    let twin = "DO $$ BEGIN EXECUTE format('COMMENT ON SCHEMA doctor_twin IS %L', obj_description('tenant_doctor_lab'::regnamespace)); END $$";
    sql(Some("shared"), format!("CREATE SCHEMA doctor_twin; {twin}")).await;
    says(&only(&doctor(id), "doubled", "doctor-lab/postgres_schema/main"), "found", "schema doctor_twin");
    sql(Some("shared"), "DROP SCHEMA doctor_twin".to_owned()).await;
    assert_eq!(doctor(id), Vec::<Value>::new());
}

async fn lost(world: &World, id: &str) {
    let cloud = world.cloud().await;
    let shown = world.json(&["tenant", "show", id]);
    let group = shown["resources"].as_array().unwrap().iter().find(|r| r["kind"] == "log_group").unwrap()["id"].as_str().unwrap().to_owned();
    cloud.logs.delete_log_group().log_group_name(&group).send().await.unwrap();
    let found = only(&doctor(id), "lost", "doctor-lab/log_group/web");
    says(&found, "found", "not there");
    says(&found, "run", "labctl tenant plan doctor-lab");
    world.ok(&["tenant", "apply", id]);
    assert_eq!(doctor(id), Vec::<Value>::new(), "after mending");
}

async fn stray(world: &World, id: &str) {
    let cognito = world.cloud().await.cognito.clone();
    let registry: String = sqlx::query_scalar("SELECT id::text FROM labctl.registry_meta").fetch_one(&mut world.registry().await).await.unwrap();
    let mut pools = Vec::new();
    for name in ["main", "other"] {
        let tags = [("tenant", id.to_owned()), ("address", format!("{id}/cognito_user_pool/{name}")), ("registry", registry.clone())];
        let tags: HashMap<String, String> = tags.into_iter().map(|(k, v)| (format!("labctl:{k}"), v)).collect();
        let made = cognito.create_user_pool().pool_name(format!("tenant-{id}-pool")).set_user_pool_tags(Some(tags)).send().await.unwrap();
        pools.push(made.user_pool.unwrap().id.unwrap());
    }
    let found = doctor(id);
    assert_eq!(found.len(), 2, "{found:#?}");
    says(&find(&found, "doubled", "doctor-lab/cognito_user_pool/main"), "found", &pools[0]);
    let orphan = find(&found, "orphaned", &pools[1]);
    says(&orphan, "found", "doctor-lab/cognito_user_pool/other, which is not on record");
    says(&orphan, "run", "labctl tenant plan doctor-lab");
    for pool in &pools {
        cognito.delete_user_pool().user_pool_id(pool).send().await.unwrap();
    }
    assert_eq!(doctor(id), Vec::<Value>::new(), "after mending");
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_tells_of_the_dead_of_the_busy_and_of_what_nobody_got_and_its_advice_mends_it() {
    let (world, id) = (shared(), "doctor-clinic");
    let spec = world.spec(id, "mate", "trial");
    let killed = blocking(move || {
        let mut running = world.spawn(&["tenant", "create", &spec]);
        assert!(running.hear(" created ", 2));
        running.signal(Signal::SIGKILL);
        running.end()
    });
    assert_ne!(killed.await.unwrap().code, 0);
    let found = doctor(id);
    assert_eq!(found.len(), 2, "{found:#?}");
    says(&find(&found, "lock", "lock of doctor-clinic"), "means", "dead");
    let stopped = find(&found, "operation", "create doctor-clinic");
    let run = stopped["run"].as_str().unwrap().to_owned();
    world.ok(&run.split(' ').skip(1).collect::<Vec<_>>());
    assert_eq!(doctor(id), Vec::<Value>::new(), "after `{run}`");
    let family = || async {
        let cloud = world.cloud().await;
        let all = cloud.ecs.list_task_definitions().into_paginator().items().send().collect::<Result<Vec<_>, _>>().await.unwrap();
        all.into_iter().filter(|arn| arn.contains("doctor-clinic") && arn.contains("django")).count()
    };
    let (before, image) = (family().await, format!("123456789012.dkr.ecr.us-east-1.amazonaws.com/mate@sha256:{}", "a".repeat(64)));
    world.ok(&["tenant", "deploy", id, "--service", "django", "--image", &image]);
    assert_eq!(family().await, before + 1, "the former revision is kept");
    assert_eq!(doctor(id), Vec::<Value>::new(), "what a service may be rolled back to is no double");

    let event = "INSERT INTO labctl.deliveries (event, receiver, tenant, sequence, status, attempts, error)
                 SELECT id, 'webhook/crm', tenant, sequence, 'dead', 12, 'HTTP 503' FROM labctl.events WHERE tenant = 'doctor-clinic'";
    sql(None, event.to_owned()).await;
    let dead = only(&doctor(id), "events", "receiver webhook/crm");
    says(&dead, "found", "last error: HTTP 503");
    says(&dead, "run", "labctl events deliver --all");
    for format in ["table", "json", "jsonl", "yaml", "csv"] {
        let run = world.run(&["doctor", "--tenant", id, "-o", format]);
        assert!(run.code == 1 && run.out.contains("HTTP 503") && run.err.contains("not all is well"), "{format}: {run}");
    }
    sql(None, "UPDATE labctl.deliveries SET status = 'delivered', delivered_at = now() WHERE tenant = 'doctor-clinic'".to_owned()).await;

    // Somebody far away works on it: it cannot be compared, and that is no pass.
    let held = "UPDATE labctl.leases SET holder = 'ana', host = 'build-3', machine = 'far', what = 'tenant apply', acquired_at = now(),
                heartbeat_at = now(), expires_at = now() + interval '1 hour' WHERE tenant = 'doctor-clinic'";
    sql(None, held.to_owned()).await;
    says(&only(&doctor(id), "not_looked_at", "tenant doctor-clinic"), "found", "`tenant apply` of ana@build-3");
    sql(None, "UPDATE labctl.leases SET holder = NULL WHERE tenant = 'doctor-clinic'".to_owned()).await;
    assert_eq!(doctor(id), Vec::<Value>::new());

    let words = world.ok(&["doctor", "--tenant", id]);
    assert!(words.err.contains("All is well"), "{words}");
    let nobody = world.run(&["doctor", "--tenant", "doctor-nobody", "-o", "json"]);
    assert_eq!((nobody.code, nobody.error()["code"].as_str()), (1, Some("not_found")), "{nobody}");
}

#[test]
fn doctor_says_what_stands_in_the_way_of_looking_and_starts_nothing() {
    let world = World::unstarted();
    let found = of(&world.run(&["doctor", "-o", "json"]));
    assert_eq!(found.len(), 2, "{found:#?}");
    says(&find(&found, "sandbox", "does not run"), "run", "labctl sandbox start");
    find(&found, "not_looked_at", "tenants");
    assert!(!world.sandbox_dir().exists(), "it was made");

    // A place where nothing answers.
    let platform = "[profiles.far]\nenvironment = \"far\"\nregion = \"eu-central-1\"\nendpoint_url = \"http://127.0.0.1:1\"\n\
                    [profiles.far.registry]\nhost = \"127.0.0.1\"\nport = 1\ndatabase = \"labctl\"\nuser = \"labctl\"\npgpass = \"pass\"\ntls = \"disable\"\n";
    fs::write(world.dir().join("specs/labctl.toml"), platform).unwrap();
    fs::write(world.dir().join("specs/pass"), "*:*:*:*:nothing\n").unwrap();
    fs::set_permissions(world.dir().join("specs/pass"), fs::Permissions::from_mode(0o600)).unwrap();
    let mut command = world.command(&["doctor", "--profile", "far", "-o", "json"]);
    command.env("AWS_ACCESS_KEY_ID", "x").env("AWS_SECRET_ACCESS_KEY", "x").env("AWS_MAX_ATTEMPTS", "1");
    let found = of(&super::fixture::ended(&mut command));
    assert_eq!(find(&found, "registry", "127.0.0.1:1")["severity"], "error");
    assert_eq!(find(&found, "aws", "credentials")["severity"], "error");
    find(&found, "not_looked_at", "operations");
}
