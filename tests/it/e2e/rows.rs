//! Two tenants whose data is rows in the tables of one schema, from their creation to a purge, by the binary.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection};

use super::fixture::{Run, blocking, shared};
use super::isolation::login;

/// Templates of this test's own, in which a version more appears.
fn templates() -> PathBuf {
    let folder = shared().dir().join("rows-life");
    super::fleets::copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stacks"), &folder.join("templates"));
    fs::write(folder.join("labctl.toml"), "templates = \"templates\"\n").unwrap();
    folder
}

struct Stage {
    config: String,
}

impl Stage {
    async fn labctl(&self, words: &[&str]) -> Run {
        let all: Vec<String> = words.iter().map(|w| (*w).to_owned()).chain(["--config".to_owned(), self.config.clone()]).collect();
        blocking(move || shared().run(&all.iter().map(String::as_str).collect::<Vec<_>>())).await.unwrap()
    }

    async fn ok(&self, words: &[&str]) -> Run {
        let run = self.labctl(words).await;
        assert_eq!(run.code, 0, "{words:?}\n{run}");
        run
    }

    async fn json(&self, words: &[&str], code: i32) -> Value {
        let run = self.labctl(&[words, &["-o", "json"]].concat()).await;
        assert_eq!(run.code, code, "{words:?}\n{run}");
        serde_json::from_str(&run.out).unwrap_or_else(|e| panic!("{words:?}: {e}\n{run}"))
    }
}

async fn run(db: &mut PgConnection, sql: &str) -> Result<u64, String> {
    let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(db).await;
    done.map(|d| d.rows_affected()).map_err(|e| e.as_database_error().and_then(|d| d.code()).map(|c| c.into_owned()).unwrap_or_else(|| e.to_string()))
}

async fn texts(db: &mut PgConnection, sql: &str) -> Vec<String> {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_all(db).await.unwrap()
}

async fn furnish(id: &str) {
    let mut app = login(id, "app").await.unwrap();
    run(&mut app, &format!("INSERT INTO patients (name) VALUES ('{id} one'), ('{id} two')")).await.unwrap();
    run(&mut app, "INSERT INTO appointments (patient, fee) SELECT id, '99213' FROM patients").await.unwrap();
}

fn line<'v>(all: &'v Value, id: &str) -> &'v Value {
    all["tenants"].as_array().or(all.as_array()).unwrap().iter().find(|t| t["id"] == id).unwrap_or_else(|| panic!("{id}: {all}"))
}

const A: &str = "rows-anna";
const B: &str = "rows-bert";

#[tokio::test(flavor = "multi_thread")]
async fn two_tenants_with_rows_in_shared_tables_live_apart_from_creation_to_purge() {
    let folder = templates();
    let stage = Stage { config: folder.join("labctl.toml").to_str().unwrap().to_owned() };
    let specs: Vec<String> = [A, B].iter().map(|id| shared().spec(id, "rowsx", "trial")).collect();
    // Both at once, and no shared table there yet.
    let create = |n: usize| stage.ok_owned(vec!["tenant".into(), "create".into(), specs[n].clone()]);
    let (_, _) = tokio::join!(create(0), create(1));
    for id in [A, B] {
        stage.json(&["tenant", "drift", id], 0).await;
        assert_eq!(stage.json(&["tenant", "show", id], 0).await["isolation"], "rows");
        furnish(id).await;
    }
    for id in [A, B] {
        for part in ["app", "readonly"] {
            let seen = texts(&mut login(id, part).await.unwrap(), "SELECT name FROM patients ORDER BY 1").await;
            assert_eq!(seen, [format!("{id} one"), format!("{id} two")], "{part}");
        }
    }
    // Suspended it reads and writes nothing; its neighbour goes on.
    stage.ok(&["tenant", "suspend", A, "--level", "read-only", "--reason", "unpaid"]).await;
    let mut a = login(A, "app").await.unwrap();
    assert_eq!(run(&mut a, "DELETE FROM appointments").await, Err("42501".into()));
    assert_eq!(texts(&mut a, "SELECT count(*)::text FROM appointments").await, ["2"]);
    run(&mut login(B, "app").await.unwrap(), "UPDATE patients SET name = name").await.unwrap();
    stage.ok(&["tenant", "resume", A]).await;
    assert_eq!(run(&mut a, "UPDATE patients SET name = name").await, Ok(2));

    // How it stands: the version is the shared tables', the size nobody's to know.
    let status = stage.json(&["fleet", "status", "--stack", "rowsx"], 0).await;
    let anna = line(&status, A);
    assert_eq!((anna["version"].as_str(), anna["pending"].as_u64(), anna["bytes"].is_null()), (Some("2"), Some(0), true), "{anna}");
    assert_eq!(anna["schema"], "system_rowsx");

    // What they share is no tenant's, and nobody's orphan.
    let doctor = stage.labctl(&["doctor", "-o", "json"]).await;
    let found: Vec<Value> = serde_json::from_str(&doctor.out).unwrap_or_else(|e| panic!("{e}: {doctor}"));
    assert!(found.iter().all(|f| !f.to_string().contains("system_rowsx")), "{doctor}");
    // A wall that somebody has taken down is drift, and is put up again.
    let mut sup = shared().superuser("shared").await;
    run(&mut sup, "DROP POLICY own_rows ON system_rowsx.patients").await.unwrap();
    assert_eq!(texts(&mut a, "SELECT count(*)::text FROM patients").await, ["0"], "without a policy nobody sees anything");
    let drift = stage.json(&["tenant", "drift", A], 2).await;
    assert!(drift.to_string().contains("walls.policy.patients"), "{drift}");
    stage.ok(&["tenant", "apply", &format!("{A}.toml"), "--yes"]).await;
    stage.json(&["tenant", "drift", A], 0).await;
    assert_eq!(texts(&mut a, "SELECT count(*)::text FROM patients").await, ["2"]);

    // Nothing goes through; a planted hole does, and is a breach.
    run(&mut sup, "ANALYZE system_rowsx.patients, system_rowsx.appointments").await.unwrap();
    let verify = ["tenant", "verify", A, "--against", B];
    let proof = stage.json(&verify, 0).await;
    assert_eq!((proof["verdict"].as_str(), proof["breaches"].as_u64(), proof["not_run"].as_u64()), (Some("refused"), Some(0), Some(0)), "{proof}");
    assert!(proof["findings"].as_array().unwrap().iter().filter(|f| f["probe"].as_str().unwrap().starts_with("rows_")).count() >= 60);
    run(&mut sup, "CREATE POLICY hole ON system_rowsx.appointments USING (true)").await.unwrap();
    let breach = stage.json(&verify, 1).await;
    assert!(breach["findings"].as_array().unwrap().iter().any(|f| f["probe"] == "rows_select" && f["verdict"] == "BREACH"), "{breach}");
    stage.ok(&["tenant", "apply", &format!("{B}.toml"), "--yes"]).await;
    assert_eq!(stage.json(&verify, 0).await["breaches"], 0);

    // The tables move on for all their tenants, before anybody; no tenant moves them.
    let more = folder.join("templates/rowsx/migrations/system/V3__add_phone.sql");
    fs::write(&more, "ALTER TABLE patients ADD COLUMN phone text;\nCREATE TABLE stray (id int);\n").unwrap();
    assert_eq!(stage.json(&["fleet", "migrate", "--stack", "rowsx", "--dry-run"], 2).await["systems"][0]["status"], "behind");
    let failed = stage.json(&["fleet", "migrate", "--stack", "rowsx"], 3).await;
    assert_eq!((failed["systems"][0]["status"].as_str(), failed["systems"][0]["version"].as_str(), failed["run"].is_null()), (Some("failed"), Some("2"), true));
    assert!(failed["systems"][0]["fault"]["message"].as_str().unwrap().contains("unlisted of stray"), "{failed}");
    fs::write(&more, "ALTER TABLE patients ADD COLUMN phone text;\n").unwrap();
    let refused = stage.labctl(&["tenant", "migrate", A, "-o", "json"]).await;
    assert!(refused.code == 1 && refused.error()["hint"].as_str().unwrap().contains("labctl fleet migrate --stack rowsx"), "{refused}");
    let late = shared().spec("rows-late", "rowsx", "trial");
    let behind = stage.labctl(&["tenant", "create", &late, "-o", "json"]).await;
    assert!(behind.code == 3 && behind.err.contains("system_behind"), "{behind}");
    let done = stage.json(&["fleet", "migrate", "--stack", "rowsx"], 0).await;
    assert_eq!((done["systems"][0]["status"].as_str(), done["systems"][0]["version"].as_str()), (Some("migrated"), Some("3")), "{done}");
    assert_eq!(stage.json(&["fleet", "migrate", "--stack", "rowsx"], 0).await["systems"][0]["status"], "current");
    stage.ok(&["tenant", "apply", &late, "--yes"]).await;
    assert_eq!(texts(&mut login("rows-late", "app").await.unwrap(), "SELECT count(phone)::text FROM patients").await, ["0"]);
    stage.json(&["tenant", "drift", A], 0).await;

    // What is purged takes nobody else's along.
    let rest = "SELECT concat_ws(' ', tenant_id, id, name) FROM system_rowsx.patients WHERE tenant_id <> 'rows-anna' \
                UNION ALL SELECT concat_ws(' ', clinic, id, patient) FROM system_rowsx.appointments WHERE clinic <> 'rows-anna' ORDER BY 1";
    let before = texts(&mut sup, rest).await;
    assert_eq!(before.len(), 4);
    stage.ok(&["tenant", "delete", A, "--confirm", A]).await;
    stage.ok(&["tenant", "purge", A, "--now", "--confirm", A]).await;
    assert_eq!(texts(&mut sup, rest).await, before);
    let left = "SELECT (SELECT count(*) FROM system_rowsx.patients WHERE tenant_id = 'rows-anna') + (SELECT count(*) FROM system_rowsx.appointments WHERE clinic = 'rows-anna') \
                + (SELECT count(*) FROM system_rowsx.labctl_row_roles WHERE tenant = 'rows-anna') + (SELECT count(*) FROM pg_roles WHERE rolname ~ '^tenant_rows_anna')";
    assert_eq!(texts(&mut sup, &format!("SELECT ({left})::text")).await, ["0"]);
    stage.json(&["tenant", "drift", B], 0).await;
}

impl Stage {
    async fn ok_owned(&self, words: Vec<String>) -> Run {
        self.ok(&words.iter().map(String::as_str).collect::<Vec<_>>()).await
    }
}
