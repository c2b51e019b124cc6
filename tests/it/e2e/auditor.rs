//! The auditor audited: a whole world is clean, and each fault planted in it is found. In a sandbox of its own, since secrets are planted in it.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_cognitoidentityprovider::Client as Cognito;
use aws_sdk_cognitoidentityprovider::types::AttributeType;
use aws_sdk_ecs::types::TaskDefinitionField;
use labctl::cloud::Cloud;
use serde_json::Value;
use sqlx::AssertSqlSafe;

use super::fixture::World;
use crate::audit::arguments::{self, Watch};
use crate::audit::{Scope, Verdict, Wrong, audit, audit_and_listen, templates};

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
    for (id, stack, tier) in [(LAB, "labcloud", "enterprise"), (CLINIC, "mate", "trial")] {
        it_has_all_its_templates_say(&world, id, stack, tier);
    }
    let faults = Box::pin(plant(&world)).await;
    let strays = Box::pin(plant_strays(&world)).await;
    let heard = format!("user app password {}!", faults.password);
    let watch = Watch::start();
    arguments::tell(&faults.password);
    let heard = [("the create's words", heard), ("the argument lists", watch.seen())];
    let heard: Vec<(&str, &str)> = heard.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let verdict = Box::pin(audit_and_listen(&world, Scope::Everything, &heard)).await;
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
    finds(&verdict, Wrong::Leaked, &["the argument lists"]);
    finds(&verdict, Wrong::Lost, &["ledger of tenant_audited_lab.tenant_audited_lab", "the central one {}"]);
    finds(&verdict, Wrong::Lost, &["audited-clinic/cognito_user/unsaid", "is of None"]);
    finds(&verdict, Wrong::Doubled, &["audited-lab: users admin@audited-lab.example", &faults.second_login]);
    for (sort, id) in &strays {
        finds(&verdict, Wrong::Orphaned, &[sort, id]);
    }
    assert!(!verdict.to_string().contains(&faults.password), "the verdict itself leaks");

    // The command finds, in other ways, what an operator can do something about.
    let doctor = world.run(&["doctor", "-o", "json"]);
    assert_eq!(doctor.code, 1, "{doctor}");
    let told: Vec<Value> = serde_json::from_str(&doctor.out).unwrap();
    let has = |check: &str, what: &str| told.iter().any(|f| f["check"] == check && f["what"].as_str().is_some_and(|w| w.contains(what)));
    let revision = format!("{CLINIC}/ecs_task_definition/");
    for (check, what) in [
        ("orphaned", "ledger of shared, row tenant_gone/tenant"),
        ("lost", "audited-lab/s3_bucket/data"),
        ("lost", "audited-lab/log_group/web"),
        ("lost", "audited-lab/postgres_schema_version/main"),
        ("lost", "audited-clinic/cognito_user/unsaid"),
        ("doubled", "audited-lab/cognito_user_pool/main"),
        ("doubled", "audited-lab/cognito_user_pool_client/web"),
        ("doubled", "audited-lab/cognito_user/admin"),
        ("doubled", &revision),
        ("doubled", "audited-lab/postgres_schema/main"),
        ("doubled", "audited-lab/log_group/twice"),
        ("secrets", "registry table resources, audited-clinic/secret/app"),
    ] {
        assert!(has(check, what), "no {check} {what}: {doctor}");
    }
    for (_, id) in &strays {
        assert!(has("orphaned", id), "no orphaned {id}: {doctor}");
    }
    assert!(!doctor.to_string().contains(&faults.password), "the doctor's words leak");
    // What docs/doctor.md says it does not look at: what bears no marks, what is another registry's, files.
    for other in [faults.nameless.as_str(), "tenant_x", "debug.log"] {
        assert!(!doctor.out.contains(other), "{other}: {doctor}");
    }
    // The group without tags, too: it is on record at two addresses.
    assert_eq!(told.iter().filter(|f| f["severity"] != "note").count(), 13 + strays.len(), "nothing else is wrong: {doctor}");

    // Who asks about one tenant hears nothing of the other.
    let other = audit(&world, Scope::Tenants(&[CLINIC])).await;
    assert!(other.findings.iter().all(|f| !f.what.contains(LAB) && !f.why.contains(LAB)), "{other}");
    let besides: Vec<_> = other.findings.iter().filter(|f| f.wrong != Wrong::Leaked).collect();
    assert_eq!(besides.len(), 5, "the ledger's row and the revision, each as an orphan and as a double, and the user who says nothing: {other}");
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

/// By its templates' own text, by what is on record, and by `tenant drift`.
fn it_has_all_its_templates_say(world: &World, id: &str, stack: &str, tier: &str) {
    let shown = world.json(&["tenant", "show", id]);
    let text = |r: &Value, key: &str| r[key].as_str().unwrap().to_owned();
    let has: BTreeSet<String> = shown["resources"].as_array().unwrap().iter().map(|r| text(r, "address").split_once('/').unwrap().1.to_owned()).collect();
    let wanted = templates::resources(stack, tier);
    assert!(wanted.len() > 15 && wanted.contains("postgres_schema_version/main"), "{wanted:?}");
    assert_eq!(has, wanted, "{id}");
    world.ok(&["tenant", "drift", id]);
}

/// What the faults can be known by.
struct Faults {
    nameless: String,
    pool: String,
    twin: String,
    client: String,
    revision: String,
    second_login: String,
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
    says(world, &id("postgres_database"), &format!("DELETE FROM labctl_ledger.schemas WHERE tenant = '{LAB}'")).await;
    // Two people: one who can sign in twice, and one on record who says nothing of a tenant.
    let shared_pool = resource(&clinic, "cognito_user").split('/').next().unwrap().to_owned();
    let second_login = person(&cloud.cognito, &shared_pool, &format!("admin@{LAB}.example"), Some(LAB)).await;
    let unsaid = person(&cloud.cognito, &shared_pool, "unsaid@nowhere.example", None).await;
    let row = "INSERT INTO labctl.resources SELECT tenant || '/cognito_user/unsaid', tenant, kind, 'unsaid', $id, status,
               jsonb_set(spec, '{email}', '\"unsaid@nowhere.example\"'), outputs, tags, position, operation FROM labctl.resources";
    let row = format!("{} WHERE address = '{CLINIC}/cognito_user/admin'", row.replace("$id", &format!("'{unsaid}'")));
    sqlx::raw_sql(AssertSqlSafe(row)).execute(&mut world.registry().await).await.unwrap();
    let twice = "INSERT INTO labctl.resources SELECT tenant || '/log_group/twice', tenant, kind, 'twice', id, status, spec, outputs, tags, position, operation FROM labctl.resources";
    sqlx::raw_sql(AssertSqlSafe(format!("{twice} WHERE address = '{LAB}/log_group/web'"))).execute(&mut world.registry().await).await.unwrap();
    // Leaked: into a row of the registry, and a log.
    let row = format!("UPDATE labctl.resources SET outputs = outputs || jsonb_build_object('oops', '{password}') WHERE address = '{CLINIC}/secret/app'");
    sqlx::raw_sql(AssertSqlSafe(row)).execute(&mut world.registry().await).await.unwrap();
    std::fs::write(world.dir().join("home/debug.log"), format!("connecting with {password}\n")).unwrap();
    Faults { nameless, pool: id("cognito_user_pool"), twin, client, revision, second_login, password }
}

/// Invites somebody; `pool/user`.
async fn person(cognito: &Cognito, pool: &str, email: &str, tenant: Option<&str>) -> String {
    let attribute = |name: &str, value: &str| AttributeType::builder().name(name).value(value).build().unwrap();
    let said = tenant.map(|t| attribute("custom:tenant_id", t));
    let attributes: Vec<AttributeType> = [attribute("email", email)].into_iter().chain(said).collect();
    let made = cognito.admin_create_user().user_pool_id(pool).username(email).set_user_attributes(Some(attributes)).send().await.unwrap();
    format!("{pool}/{}", made.user.unwrap().username.unwrap())
}

/// One thing of each sort that says it is the tenant's and is not on record: (what the auditor calls it, its id).
async fn plant_strays(world: &World) -> Vec<(&'static str, String)> {
    let cloud = world.cloud().await;
    let registry: String = sqlx::query_scalar("SELECT id::text FROM labctl.registry_meta").fetch_one(&mut world.registry().await).await.unwrap();
    let marks = |kind: &str| -> BTreeMap<String, String> {
        let all = [("tenant", LAB.to_owned()), ("address", format!("{LAB}/{kind}/stray")), ("registry", registry.clone())];
        all.into_iter().map(|(k, v)| (format!("labctl:{k}"), v)).collect()
    };
    let comment = |kind: &str| serde_json::to_string(&marks(kind)).unwrap();
    let clinic = world.json(&["tenant", "show", CLINIC]);
    let mut strays = Vec::new();

    // People and groups, in the pool that tenants share.
    let pool = resource(&clinic, "cognito_user").split('/').next().unwrap().to_owned();
    strays.push(("users", person(&cloud.cognito, &pool, "left@behind.example", Some("gone-lab")).await));
    cloud.cognito.create_group().user_pool_id(&pool).group_name("stray-group").description(comment("cognito_group")).send().await.unwrap();
    strays.push(("groups", format!("{pool}/stray-group")));
    let own_pool = resource(&world.json(&["tenant", "show", LAB]), "cognito_user_pool").to_owned();
    let made = cloud.cognito.create_user_pool_client().user_pool_id(&own_pool).client_name("stray-client").send().await.unwrap();
    strays.push(("clients", format!("{own_pool}/{}", made.user_pool_client.unwrap().client_id.unwrap())));

    let tags = marks("iam_role").into_iter().map(|(k, v)| aws_sdk_iam::types::Tag::builder().key(k).value(v).build().unwrap()).collect();
    let trust = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;
    cloud.iam.create_role().role_name("stray-role").assume_role_policy_document(trust).set_tags(Some(tags)).send().await.unwrap();
    strays.push(("roles", "stray-role".to_owned()));
    let tags = marks("secret").into_iter().map(|(k, v)| aws_sdk_secretsmanager::types::Tag::builder().key(k).value(v).build()).collect();
    let made = cloud.secrets.create_secret().name("stray-secret").secret_string("{}").set_tags(Some(tags)).send().await.unwrap();
    strays.push(("secrets", made.arn.unwrap()));
    let tags = marks("kms_key").into_iter().map(|(k, v)| aws_sdk_kms::types::Tag::builder().tag_key(k).tag_value(v).build().unwrap()).collect();
    let made = cloud.kms.create_key().set_tags(Some(tags)).send().await.unwrap();
    strays.push(("keys", made.key_metadata.unwrap().key_id));
    let tags = marks("ecs_service").into_iter().map(|(k, v)| aws_sdk_ecs::types::Tag::builder().key(k).value(v).build()).collect();
    let cluster = resource(&clinic, "ecs_service").split(":service/").nth(1).unwrap().split('/').next().unwrap().to_owned();
    let made = cloud.ecs.create_service().cluster(cluster).service_name("stray-service").task_definition(resource(&clinic, "ecs_task_definition"));
    let made = made.desired_count(0).set_tags(Some(tags)).send().await.unwrap();
    strays.push(("services", made.service.unwrap().service_arn.unwrap()));
    let tags = marks("rds_parameter_group").into_iter().map(|(k, v)| aws_sdk_rds::types::Tag::builder().key(k).value(v).build()).collect();
    let made = cloud.rds.create_db_parameter_group().db_parameter_group_name("stray-parameters").db_parameter_group_family("postgres16").description("x");
    made.set_tags(Some(tags)).send().await.unwrap();
    strays.push(("parameter groups", "stray-parameters".to_owned()));
    let web = resource(&world.json(&["tenant", "show", LAB]), "log_group").to_owned();
    let group = format!("{}/stray", web.rsplit_once('/').unwrap().0);
    cloud.logs.create_log_group().log_group_name(&group).set_tags(Some(marks("log_group").into_iter().collect())).send().await.unwrap();
    strays.push(("log groups", group));
    let (bucket, _) = resource(&clinic, "s3_prefix").strip_prefix("s3://").unwrap().split_once('/').unwrap();
    let tagging: Vec<String> = marks("s3_prefix").into_iter().map(|(k, v)| format!("{}={}", k.replace(':', "%3A"), v.replace('/', "%2F"))).collect();
    cloud.s3.put_object().bucket(bucket).key("stray-folder/.keep").tagging(tagging.join("&")).send().await.unwrap();
    strays.push(("prefixes", format!("s3://{bucket}/stray-folder/")));

    says(world, "postgres", "CREATE DATABASE stray_database").await;
    for (database, sort, made) in
        [("postgres", "database", "DATABASE stray_database"), ("shared", "schema", "SCHEMA stray_schema"), ("shared", "role", "ROLE stray_login")]
    {
        let create = if sort == "database" { String::new() } else { format!("CREATE {made};") };
        says(world, database, &format!("{create} COMMENT ON {made} IS '{}'", comment(&format!("postgres_{sort}")))).await;
    }
    strays.extend([("databases", "stray_database".to_owned()), ("schemas", "stray_schema".to_owned()), ("database roles", "stray_login".to_owned())]);
    strays
}
