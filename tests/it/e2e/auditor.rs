//! The auditor audited: a whole world is clean, and each fault planted in it is found. In a sandbox of its own, since secrets are planted in it.

use aws_sdk_cognitoidentityprovider::Client as Cognito;
use aws_sdk_ecs::types::TaskDefinitionField;
use labctl::cloud::Cloud;
use serde_json::Value;
use sqlx::AssertSqlSafe;

use super::fixture::World;
use crate::audit::{Scope, Verdict, Wrong, audit, audit_and_listen};

const LAB: &str = "audited-lab";
const CLINIC: &str = "audited-clinic";

/// Exactly one finding holds all these words, and nothing else is wrong with what they are about.
fn finds(verdict: &Verdict, wrong: Wrong, words: &[&str]) {
    let found = verdict.findings.iter().filter(|f| f.wrong == wrong && words.iter().all(|w| f.what.contains(w) || f.why.contains(w))).count();
    assert_eq!(found, 1, "{wrong:?} {words:?}\n{verdict}");
}

async fn pool(cognito: &Cognito, tags: Option<std::collections::HashMap<String, String>>) -> String {
    let made = cognito.create_user_pool().pool_name(format!("tenant-{LAB}-pool")).set_user_pool_tags(tags).send().await.unwrap();
    made.user_pool.unwrap().id.unwrap()
}

async fn says(world: &World, database: &str, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut world.superuser(database).await).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_auditor_finds_nothing_in_a_whole_world_and_every_fault_planted_in_it() {
    let world = World::started();
    for (id, stack, tier) in [(LAB, "labcloud", "enterprise"), (CLINIC, "mate", "trial")] {
        world.ok(&["tenant", "create", &world.spec(id, stack, tier)]);
    }
    it_is_clean(&world).await;
    let well = world.ok(&["doctor"]);
    assert!(well.err.contains("All is well"), "{well}");
    let faults = Box::pin(plant(&world)).await;
    let heard = format!("user app password {}!", faults.password);
    let verdict = Box::pin(audit_and_listen(&world, Scope::Everything, &[("the create's words", &heard)])).await;
    finds(&verdict, Wrong::Orphaned, &[&faults.nameless, "says nothing of an owner"]);
    finds(&verdict, Wrong::Orphaned, &["tenant_x", "of registry r2"]);
    finds(&verdict, Wrong::Orphaned, &["shared.tenant_gone", "schema that is not there"]);
    finds(&verdict, Wrong::Lost, &["audited-lab/s3_bucket/data", "is not there"]);
    finds(&verdict, Wrong::Lost, &["audited-lab/log_group/web", "is there, but marked as None"]);
    finds(&verdict, Wrong::Doubled, &["audited-lab/cognito_user_pool/main", &faults.pool, &faults.twin]);
    finds(&verdict, Wrong::Doubled, &["clients", &faults.client]);
    finds(&verdict, Wrong::Doubled, &[&format!("{CLINIC}/ecs_task_definition/"), &faults.revision]);
    finds(&verdict, Wrong::Doubled, &["audited-lab/postgres_schema/main", "again"]);
    finds(&verdict, Wrong::Doubled, &["log_group", "audited-lab/log_group/twice and audited-lab/log_group/web"]);
    finds(&verdict, Wrong::Leaked, &["registry table resources", "audited-clinic", "password"]);
    finds(&verdict, Wrong::Leaked, &["home/debug.log", "password"]);
    finds(&verdict, Wrong::Leaked, &["the create's words"]);
    assert!(!verdict.to_string().contains(&faults.password), "the verdict itself leaks");

    // The command finds, in other ways, what an operator can do something about.
    let doctor = world.run(&["doctor", "-o", "json"]);
    assert_eq!(doctor.code, 1, "{doctor}");
    let told: Vec<Value> = serde_json::from_str(&doctor.out).unwrap();
    let has = |check: &str, what: &str| told.iter().any(|f| f["check"] == check && f["what"].as_str().is_some_and(|w| w.contains(what)));
    for (check, what) in [
        ("lost", "audited-lab/s3_bucket/data"),
        ("lost", "audited-lab/log_group/web"),
        ("doubled", "audited-lab/cognito_user_pool/main"),
        ("doubled", "audited-lab/postgres_schema/main"),
        ("doubled", "audited-lab/log_group/twice"),
    ] {
        assert!(has(check, what), "no {check} {what}: {doctor}");
    }

    // Who asks about one tenant hears nothing of the other.
    let other = audit(&world, Scope::Tenants(&[CLINIC])).await;
    assert!(other.findings.iter().all(|f| !f.what.contains(LAB) && !f.why.contains(LAB)), "{other}");
    let besides: Vec<_> = other.findings.iter().filter(|f| f.wrong != Wrong::Leaked).collect();
    assert_eq!(besides.len(), 4, "the ledger's row and the revision, each as an orphan and as a double: {other}");
    finds(&other, Wrong::Leaked, &["registry table resources"]);
    world.ok(&["sandbox", "stop"]);
}

async fn it_is_clean(world: &World) {
    let verdict = audit(world, Scope::Everything).await;
    verdict.assert_clean();
    let looked = |what: &str| verdict.looked.get(what).copied().unwrap_or(0);
    for what in ["buckets", "prefixes", "user pools", "clients", "groups", "users", "services", "task definitions", "secrets", "log groups", "keys", "roles"] {
        assert!(looked(what) > 0, "no {what}: {verdict}");
    }
    for what in ["database roles", "databases", "schemas", "ledgers", "ledger rows"] {
        assert!(looked(what) > 1, "no {what}: {verdict}");
    }
    assert!(verdict.secrets >= 7 && verdict.places > 20, "{verdict}");
}

/// What the faults can be known by.
struct Faults {
    nameless: String,
    pool: String,
    twin: String,
    client: String,
    revision: String,
    password: String,
}

fn resource<'t>(tenant: &'t Value, kind: &str) -> &'t str {
    let all = tenant["resources"].as_array().unwrap();
    all.iter().find(|r| r["kind"] == kind).unwrap_or_else(|| panic!("no {kind}"))["id"].as_str().unwrap()
}

/// The same revision once more, as by a call that was made again although it had taken effect.
async fn registered_twice(cloud: &Cloud, arn: &str) -> String {
    let ecs = &cloud.ecs;
    let found = ecs.describe_task_definition().task_definition(arn).include(TaskDefinitionField::Tags).send().await.unwrap();
    let is = found.task_definition().unwrap();
    let again = ecs.register_task_definition().family(is.family().unwrap()).set_tags(Some(found.tags().to_vec()));
    let again = again.set_cpu(is.cpu.clone()).set_memory(is.memory.clone()).set_requires_compatibilities(is.requires_compatibilities.clone());
    let again = again.set_container_definitions(Some(is.container_definitions().to_vec())).send().await.unwrap();
    again.task_definition.unwrap().task_definition_arn.unwrap()
}

async fn plant(world: &World) -> Faults {
    let cloud = world.cloud().await;
    let shown = world.json(&["tenant", "show", LAB]);
    let id = |kind: &str| resource(&shown, kind).to_owned();
    let clinic = world.json(&["tenant", "show", CLINIC]);
    let secret =
        clinic["resources"].as_array().unwrap().iter().find(|r| r["address"] == format!("{CLINIC}/secret/app")).unwrap()["id"].as_str().unwrap().to_owned();
    let secret = cloud.secrets.get_secret_value().secret_id(secret).send().await.unwrap().secret_string.unwrap();
    let password = serde_json::from_str::<Value>(&secret).unwrap()["password"].as_str().unwrap().to_owned();

    // Orphaned: a pool that says nothing, a role of another registry, a row of the ledger whose schema is gone.
    let nameless = pool(&cloud.cognito, None).await;
    let role = r#"CREATE ROLE tenant_x; COMMENT ON ROLE tenant_x IS '{"labctl:tenant":"x","labctl:address":"x/postgres_role/app","labctl:registry":"r2"}'"#;
    says(world, "shared", role).await;
    let copy = "INSERT INTO labctl_ledger.schemas SELECT 'tenant_gone', folder, 1, tenant, version, digest FROM labctl_ledger.schemas";
    says(world, "shared", &format!("{copy} WHERE tenant = '{CLINIC}' AND folder = 'tenant'")).await;
    // Lost: a bucket, and the mark of a log group.
    for object in cloud.s3.list_object_versions().bucket(id("s3_bucket")).send().await.unwrap().versions() {
        cloud.s3.delete_object().bucket(id("s3_bucket")).key(object.key().unwrap()).set_version_id(object.version_id.clone()).send().await.unwrap();
    }
    cloud.s3.delete_bucket().bucket(id("s3_bucket")).send().await.unwrap();
    let arn = format!("arn:aws:logs:{}:123456789012:log-group:{}", cloud.region(), id("log_group"));
    cloud.logs.untag_resource().resource_arn(arn).tag_keys("labctl:address").tag_keys("labctl:tenant").tag_keys("labctl:registry").send().await.unwrap();
    // Doubled: a pool and a schema with the marks of another, a client of the same name, an id on record twice.
    let tags = cloud.cognito.describe_user_pool().user_pool_id(id("cognito_user_pool")).send().await.unwrap().user_pool.unwrap().user_pool_tags;
    let twin = pool(&cloud.cognito, tags).await;
    let clients = cloud.cognito.list_user_pool_clients().user_pool_id(id("cognito_user_pool")).send().await.unwrap();
    let client = clients.user_pool_clients()[0].client_name().unwrap().to_owned();
    cloud.cognito.create_user_pool_client().user_pool_id(id("cognito_user_pool")).client_name(&client).send().await.unwrap();
    let revision = registered_twice(&cloud, resource(&clinic, "ecs_task_definition")).await;
    let schema =
        "DO $$ BEGIN CREATE SCHEMA again; EXECUTE format('COMMENT ON SCHEMA again IS %L', obj_description('tenant_audited_lab'::regnamespace)); END $$";
    says(world, &id("postgres_database"), schema).await;
    let twice = "INSERT INTO labctl.resources SELECT tenant || '/log_group/twice', tenant, kind, 'twice', id, status, spec, outputs, tags, position, operation FROM labctl.resources";
    sqlx::raw_sql(AssertSqlSafe(format!("{twice} WHERE address = '{LAB}/log_group/web'"))).execute(&mut world.registry().await).await.unwrap();
    // Leaked: into a row of the registry, and a log.
    let row = format!("UPDATE labctl.resources SET outputs = outputs || jsonb_build_object('oops', '{password}') WHERE address = '{CLINIC}/secret/app'");
    sqlx::raw_sql(AssertSqlSafe(row)).execute(&mut world.registry().await).await.unwrap();
    std::fs::write(world.dir().join("home/debug.log"), format!("connecting with {password}\n")).unwrap();
    Faults { nameless, pool: id("cognito_user_pool"), twin, client, revision, password }
}
