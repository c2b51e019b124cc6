//! Another name: for people, in the address, and physically, with all data.

use std::fs;

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection};

use super::fixture::{World, shared};
use super::isolation::{login, secret};

async fn text(db: &mut PgConnection, sql: &str) -> String {
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(db).await.unwrap()
}

async fn schemas(world: &World, like: &str) -> Vec<String> {
    let sql = "SELECT nspname::text FROM pg_namespace WHERE nspname LIKE $1 ORDER BY 1";
    sqlx::query_scalar(sql).bind(like).fetch_all(&mut world.superuser("shared").await).await.unwrap()
}

/// As wanted, whoever asks.
fn settled(world: &World, id: &str) {
    for line in [["tenant", "plan", id, "--check"].as_slice(), &["tenant", "drift", id]] {
        world.ok(line);
    }
}

const PATIENT: &str = "INSERT INTO patients (medical_record_number, given_name, family_name, date_of_birth) VALUES ('1', 'Ada', 'L', '1990-01-01')";
const COUNT: &str = "SELECT count(*)::text FROM patients";

#[tokio::test(flavor = "multi_thread")]
async fn a_subdomain_changes_alone_and_then_physically_with_all_that_bears_it() {
    let world = shared();
    let spec = world.spec("former-clinic", "mate", "trial");
    world.json(&["tenant", "create", &spec]);
    sqlx::query(PATIENT).execute(&mut login("former-clinic", "app").await.unwrap()).await.unwrap();

    let run = world.ok(&["tenant", "rename", "former-clinic", "--subdomain", "latter-clinic", "--display-name", "Latter"]);
    assert!(run.err.contains("display_name = \"Latter\" and subdomain = \"latter-clinic\""), "{run}");
    let shown = world.json(&["tenant", "show", "former-clinic"]);
    assert_eq!((&shown["subdomain"], &shown["display_name"], &shown["revision"]), (&json!("latter-clinic"), &json!("Latter"), &json!(2)));
    assert_eq!(schemas(world, "tenant_%tter_clinic").await, [""; 0]);
    assert_eq!(schemas(world, "tenant_former_clinic").await, ["tenant_former_clinic"]);
    settled(world, "former-clinic");
    // The name is nobody else's as long as a schema bears it.
    let clash = world.spec("claimer-clinic", "mate", "trial");
    let path = world.dir().join("specs").join(&clash);
    fs::write(&path, fs::read_to_string(&path).unwrap() + "subdomain = \"former-clinic\"\n").unwrap();
    let refused = world.run(&["tenant", "create", &clash, "-o", "json"]);
    assert_eq!((refused.code, refused.error()["code"].as_str()), (1, Some("name_taken")), "{refused}");

    let rename = ["tenant", "rename", "former-clinic", "--physical"];
    let planned = world.json(&[&rename[..], &["--dry-run"]].concat());
    let schema = planned["steps"].as_array().unwrap().iter().find(|s| s["address"] == "former-clinic/postgres_schema/main").unwrap();
    assert_eq!((&schema["action"], &schema["reasons"]), (&json!("update"), &json!(["name: tenant_former_clinic → tenant_latter_clinic"])), "{planned}");
    assert_eq!((&planned["counts"]["create"], &planned["counts"]["delete"]), (&json!(0), &json!(0)), "{planned}");
    let shown = world.json(&rename);
    let id = |kind: &str| -> Value { shown["resources"].as_array().unwrap().iter().find(|r| r["kind"] == kind).unwrap()["id"].clone() };
    assert_eq!((id("postgres_schema"), id("postgres_schema_version")), (json!("tenant_latter_clinic"), json!("shared.tenant_latter_clinic")));
    assert_eq!(world.json(&["operation", "list", "--tenant", "former-clinic"])[0]["verb"], "rename");

    assert_eq!(
        schemas(world, "tenant_%r_clinic").await.iter().filter(|s| s.contains("former") || s.contains("latter")).collect::<Vec<_>>(),
        ["tenant_latter_clinic"]
    );
    assert_eq!(secret("former-clinic", "app").await["schema"], "tenant_latter_clinic");
    for part in ["app", "migrate", "readonly"] {
        let mut db = login("former-clinic", part).await.unwrap();
        assert_eq!((text(&mut db, "SHOW search_path").await.trim_matches('"'), text(&mut db, COUNT).await.as_str()), ("tenant_latter_clinic", "1"), "{part}");
    }
    // What the services run now was told the new name.
    let cloud = world.cloud().await;
    let cluster = cloud.ecs.list_clusters().send().await.unwrap().cluster_arns.unwrap().remove(0);
    let services = cloud.ecs.describe_services().cluster(cluster).services("mate-former-clinic-sandbox-django").send().await.unwrap().services.unwrap();
    let arn = services[0].task_definition.clone().unwrap();
    let definition = cloud.ecs.describe_task_definition().task_definition(arn).send().await.unwrap().task_definition.unwrap();
    let environment = definition.container_definitions.unwrap().remove(0).environment.unwrap();
    assert_eq!(environment.iter().find(|e| e.name() == Some("DATABASE_SCHEMA")).unwrap().value(), Some("tenant_latter_clinic"));
    settled(world, "former-clinic");

    // Now the former name is free.
    world.json(&["tenant", "create", &clash]);
    assert_eq!(schemas(world, "tenant_former_clinic").await, ["tenant_former_clinic"]);
    settled(world, "former-clinic");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_taken_is_refused_before_anything_is_touched() {
    let world = shared();
    for id in ["taken-lab", "wishful-lab"] {
        world.json(&["tenant", "create", &world.spec(id, "labcloud", "trial")]);
    }
    let (shown, operations) = (world.json(&["tenant", "show", "wishful-lab"]), world.json(&["operation", "list", "--tenant", "wishful-lab"]));
    for more in [["--physical"].as_slice(), &[], &["--physical", "--dry-run"]] {
        let run = world.run(&[&["tenant", "rename", "wishful-lab", "--subdomain", "taken-lab", "-o", "json"], more].concat());
        assert_eq!((run.code, run.error()["code"].as_str()), (1, Some("name_taken")), "{run}");
    }
    // A schema of that name that is in no registry.
    sqlx::query("CREATE SCHEMA tenant_occupied_lab").execute(&mut world.superuser("shared").await).await.unwrap();
    let run = world.run(&["tenant", "rename", "wishful-lab", "--subdomain", "occupied-lab", "--physical", "-o", "json"]);
    assert_eq!((run.code, run.error()["code"].as_str()), (1, Some("foreign")), "{run}");
    for (flag, value) in [("--subdomain", "No Slug"), ("--display-name", "")] {
        let run = world.run(&["tenant", "rename", "wishful-lab", flag, value, "-o", "json"]);
        assert_eq!((run.code, run.error()["code"].as_str()), (64, Some("invalid_spec")), "{run}");
    }
    let run = world.run(&["tenant", "rename", "wishful-lab", "-o", "json"]);
    assert_eq!((run.code, run.error()["code"].as_str()), (64, Some("usage")), "{run}");
    assert_eq!(world.json(&["tenant", "show", "wishful-lab"]), shown);
    assert_eq!(world.json(&["operation", "list", "--tenant", "wishful-lab"]), operations);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_renamed_by_somebody_or_by_a_run_that_died_is_found_by_its_comment() {
    let world = shared();
    world.json(&["tenant", "create", &world.spec("strayed-lab", "labcloud", "trial")]);
    let alter = "ALTER SCHEMA tenant_strayed_lab RENAME TO tenant_found_lab";
    sqlx::query(alter).execute(&mut world.superuser("shared").await).await.unwrap();
    let run = world.run(&["tenant", "drift", "strayed-lab"]);
    assert_eq!(run.code, 2, "{run}");
    assert!(run.out.contains("name: is tenant_found_lab, should be tenant_strayed_lab"), "{run}");
    // A run that was killed between the rename and its record leaves just this; going on with it converges.
    world.ok(&["tenant", "rename", "strayed-lab", "--subdomain", "found-lab", "--physical"]);
    assert_eq!(schemas(world, "tenant_strayed_lab").await, [""; 0]);
    settled(world, "strayed-lab");
    // And back, renamed by somebody again.
    let alter = "ALTER SCHEMA tenant_found_lab RENAME TO tenant_elsewhere";
    sqlx::query(alter).execute(&mut world.superuser("shared").await).await.unwrap();
    world.ok(&["tenant", "apply", "strayed-lab"]);
    assert_eq!(schemas(world, "tenant_found_lab").await, ["tenant_found_lab"]);
    settled(world, "strayed-lab");
}
