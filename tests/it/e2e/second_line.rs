//! What stands behind the first line in a schema of a tenant's own, and schemas that were there before labctl.

use std::fs;
use std::path::Path;

use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection};

use super::fixture::{Run, shared};

async fn run(db: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(db).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
}

async fn texts(db: &mut PgConnection, sql: &str) -> Vec<String> {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_all(db).await.unwrap()
}

/// The verdicts of one probe, each role's.
fn verdicts<'r>(report: &'r Value, probe: &str) -> Vec<&'r str> {
    let findings = report["findings"].as_array().unwrap();
    findings.iter().filter(|f| f["probe"] == probe && f["by"] == "tenant_shield_b_app").map(|f| f["verdict"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn patients_stay_hidden_from_whom_they_were_granted_to_by_mistake_and_apply_mends_what_was_opened() {
    for id in ["shield-a", "shield-b"] {
        let spec = shared().spec(id, "mate", "trial");
        shared().ok(&["tenant", "create", &spec]);
    }
    let mut db = shared().superuser("shared").await;
    run(&mut db, "INSERT INTO tenant_shield_a.patients (medical_record_number, given_name, family_name, date_of_birth) VALUES ('1', 'Ada', 'Byron', '1985-12-10'); ANALYZE tenant_shield_a.patients").await;
    run(&mut db, "GRANT USAGE ON SCHEMA tenant_shield_a TO tenant_shield_b_app; GRANT SELECT ON ALL TABLES IN SCHEMA tenant_shield_a TO tenant_shield_b_app")
        .await;
    let verify = ["tenant", "verify", "shield-b", "--against", "shield-a", "-o", "json"];
    let report = |run: Run| -> Value { serde_json::from_str(&run.out).unwrap_or_else(|e| panic!("{e}\n{run}")) };
    let behind = report(shared().run(&verify));
    assert_eq!(
        (verdicts(&behind, "select"), verdicts(&behind, "guarded_rows"), verdicts(&behind, "unguarded_table")),
        (vec!["BREACH"], vec!["refused"], vec!["refused"])
    );
    run(&mut db, "ALTER TABLE tenant_shield_a.patients DISABLE ROW LEVEL SECURITY").await;
    let open = report(shared().run(&verify));
    assert_eq!((verdicts(&open, "guarded_rows"), verdicts(&open, "unguarded_table")), (vec!["BREACH"], vec!["BREACH"]));

    let drift = shared().run(&["tenant", "drift", "shield-a", "-o", "json"]);
    assert!(drift.out.contains("row_security.patients"), "{drift}");
    shared().ok(&["tenant", "apply", "shield-a"]);
    shared().ok(&verify);
    let guarded = "SELECT bool_and(relrowsecurity AND relforcerowsecurity)::text FROM pg_class WHERE relnamespace = 'tenant_shield_a'::regnamespace AND relkind = 'r' AND relname <> 'labctl_migrations'";
    assert_eq!(texts(&mut db, guarded).await, ["true"]);
}

/// A schema of the first migration's tables, made by hand, with two results in it.
async fn by_hand(db: &mut PgConnection, schema: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/labcloud/migrations/tenant/V1__create_lab_results.sql");
    run(
        db,
        &format!("CREATE ROLE {schema}_legacy; CREATE SCHEMA {schema} AUTHORIZATION {schema}_legacy; SET ROLE {schema}_legacy; SET search_path = {schema}"),
    )
    .await;
    run(db, &fs::read_to_string(file).unwrap()).await;
    run(db, "INSERT INTO lab_results (patient_id, test_code) VALUES ('P1', 'CBC'), ('P2', 'CBC'); RESET ROLE; RESET search_path").await;
}

fn adopting(id: &str) -> String {
    let spec = shared().spec(id, "labcloud", "trial");
    let path = shared().dir().join("specs").join(&spec);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(path, format!("{text}\n[database]\nadopt = true\nbaseline = {{ tenant = 1 }}\n")).unwrap();
    spec
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_made_by_hand_becomes_a_tenant_with_its_rows_and_gets_the_migrations_after_its_baseline() {
    let mut db = shared().superuser("shared").await;
    by_hand(&mut db, "tenant_formerly").await;
    let spec = adopting("formerly");
    let plan = shared().json(&["tenant", "create", &spec, "--dry-run"]);
    let reasons = |kind: &str| {
        let steps = plan["steps"].as_array().unwrap();
        steps.iter().find(|s| s["address"].as_str().unwrap().contains(&format!("/{kind}/"))).unwrap()["reasons"].to_string()
    };
    assert!(reasons("postgres_schema").contains("ownership: nobody's → taken over"), "{plan}");
    assert!(reasons("postgres_schema_version").contains("tenant/V1__create_lab_results: in the schema → recorded, not run"), "{plan}");
    shared().ok(&["tenant", "create", &spec]);
    assert_eq!(texts(&mut db, "SELECT patient_id FROM tenant_formerly.lab_results ORDER BY id").await, ["P1", "P2"]);
    let ledger = "SELECT concat_ws(' ', version, baseline) FROM tenant_formerly.labctl_migrations ORDER BY position";
    assert_eq!(texts(&mut db, ledger).await, ["1 t", "2 f"]);
    assert_eq!(
        texts(&mut db, "SELECT tableowner::text FROM pg_tables WHERE schemaname = 'tenant_formerly' AND tablename LIKE 'usage%' LIMIT 1").await,
        ["tenant_formerly_migrate"]
    );
    let fleet = shared().run(&["fleet", "status", "-o", "json"]);
    let lines: Value = serde_json::from_str(&fleet.out).unwrap();
    let ours = lines.as_array().unwrap().iter().find(|t| t["id"] == "formerly").unwrap();
    assert_eq!((ours["version"].as_str(), ours["baseline"].as_str(), ours["pending"].as_u64()), (Some("2"), Some("1"), Some(0)));
    assert!(shared().ok(&["tenant", "apply", &spec]).err.contains("no changes"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_is_otherwise_is_refused_line_by_line_and_taken_over_once_it_is_mended() {
    let mut db = shared().superuser("shared").await;
    by_hand(&mut db, "tenant_otherwise").await;
    run(&mut db, "CREATE TABLE tenant_otherwise.flyway (id int); ALTER TABLE tenant_otherwise.flyway OWNER TO tenant_otherwise_legacy; ALTER TABLE tenant_otherwise.lab_results ALTER status DROP NOT NULL").await;
    let spec = adopting("otherwise");
    let refused = shared().run(&["tenant", "create", &spec, "-o", "json"]);
    let error = refused.error();
    assert_eq!((refused.code, error["code"].as_str()), (3, Some("not_the_baseline")), "{refused}");
    let lines: Vec<&str> = error["causes"][0].as_str().unwrap().lines().skip(1).collect();
    assert_eq!(lines[0], "extra: table flyway");
    assert!(
        lines[1].starts_with("different: column lab_results.status: is `text DEFAULT 'final'::text`, the migrations make `text NOT NULL DEFAULT"),
        "{refused}"
    );
    assert_eq!(
        texts(&mut db, "SELECT nspowner::regrole || ' ' || coalesce(obj_description(oid), '-') FROM pg_namespace WHERE nspname = 'tenant_otherwise'").await,
        ["tenant_otherwise_legacy -"]
    );
    run(&mut db, "DROP TABLE tenant_otherwise.flyway; ALTER TABLE tenant_otherwise.lab_results ALTER status SET NOT NULL").await;
    shared().ok(&["tenant", "apply", &spec]);
    assert_eq!(texts(&mut db, "SELECT patient_id FROM tenant_otherwise.lab_results ORDER BY id").await, ["P1", "P2"]);
}
