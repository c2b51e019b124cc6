//! `tenant verify` and `fleet verify`: with the roles, passwords, policies and pools that create has made.

use serde_json::Value;
use sqlx::AssertSqlSafe;

use super::fixture::{Run, shared};

/// The attempts of one area, and of those how many were not refused.
fn area(report: &Value, area: &str) -> (usize, Vec<String>) {
    let all: Vec<&Value> = report["findings"].as_array().unwrap().iter().filter(|f| f["area"] == area).collect();
    (all.len(), all.iter().filter(|f| f["verdict"] != "refused").map(|f| f.to_string()).collect())
}

fn probes(report: &Value) -> std::collections::BTreeSet<&str> {
    report["findings"].as_array().unwrap().iter().map(|f| f["probe"].as_str().unwrap()).collect()
}

async fn superuser_says(database: &str, sql: String) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut shared().superuser(database).await).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_of_every_isolation_are_refused_more_than_forty_times_and_the_evidence_is_kept() {
    shared().six().await;
    for (a, b, least) in [
        ("lakeside-lab", "city-lab", 100),
        ("lakeside-lab", "st-marys-lab", 55),
        ("northside-clinic", "demo-clinic", 60),
        ("demo-clinic", "northside-clinic", 60),
        ("hospital-a", "northside-clinic", 80),
    ] {
        let report = shared().json(&["tenant", "verify", a, "--against", b]);
        assert_eq!(
            (report["verdict"].as_str(), report["breaches"].as_u64(), report["not_run"].as_u64()),
            (Some("refused"), Some(0), Some(0)),
            "{a} {b}: {report}"
        );
        assert!(probes(&report).len() >= least, "{a} {b}: {} probes", probes(&report).len());
        for name in ["database", "storage", "identity"] {
            let (tried, bad) = area(&report, name);
            assert!(tried > 0 && bad.is_empty(), "{a} {b} {name}: {bad:?}");
        }
        let number = report["evidence"].as_i64().unwrap();
        let kept = shared().json(&["tenant", "evidence", a, "--number", &number.to_string()]);
        assert_eq!(kept[0]["result"]["findings"], report["findings"], "{a}: what is kept is what was printed");
        let mut registry = shared().registry().await;
        let audited: i64 = sqlx::query_scalar("SELECT count(*) FROM labctl.audit a JOIN labctl.evidence e ON e.number = $1 WHERE a.detail ->> 'digest' = e.digest AND a.tenant = e.tenant AND e.digest = encode(sha256(convert_to(e.result::text, 'UTF8')), 'hex')")
            .bind(number)
            .fetch_one(&mut registry)
            .await
            .unwrap();
        assert_eq!(audited, 1, "{a}");
        sqlx::query("DELETE FROM labctl.evidence").execute(&mut registry).await.unwrap_err();
    }
}

fn error(run: &Run, code: &str, exit: i32) -> Value {
    assert_eq!(run.code, exit, "{run}");
    let error = run.error();
    assert_eq!(error["code"], code, "{run}");
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hole_is_a_breach_with_exit_1_and_a_role_that_cannot_log_in_proves_nothing_with_exit_3() {
    for id in ["walls-a", "walls-b"] {
        let spec = shared().spec(id, "labcloud", "trial");
        shared().ok(&["tenant", "create", &spec]);
    }
    let verify = ["tenant", "verify", "walls-a", "--against", "walls-b", "-o", "json"];
    shared().ok(&verify);
    superuser_says(
        "shared",
        "GRANT USAGE ON SCHEMA tenant_walls_b TO tenant_walls_a_readonly; GRANT SELECT ON ALL TABLES IN SCHEMA tenant_walls_b TO tenant_walls_a_readonly"
            .into(),
    )
    .await;
    let run = shared().run(&verify);
    let told = error(&run, "breach", 1);
    assert!(told["causes"].to_string().contains("tenant_walls_a_readonly"), "{told}");
    let report: Value = serde_json::from_str(&run.out).unwrap();
    let bad: std::collections::BTreeSet<&str> =
        report["findings"].as_array().unwrap().iter().filter(|f| f["verdict"] == "BREACH").map(|f| f["probe"].as_str().unwrap()).collect();
    assert!(bad.contains("select") && bad.contains("copy_out") && !bad.contains("insert"), "{bad:?}");
    superuser_says(
        "shared",
        "REVOKE USAGE ON SCHEMA tenant_walls_b FROM tenant_walls_a_readonly; REVOKE ALL ON ALL TABLES IN SCHEMA tenant_walls_b FROM tenant_walls_a_readonly"
            .into(),
    )
    .await;
    superuser_says("shared", "ALTER ROLE tenant_walls_a_app NOLOGIN".into()).await;
    error(&shared().run(&verify), "not_run", 3);
    superuser_says("shared", "ALTER ROLE tenant_walls_a_app LOGIN".into()).await;
    shared().ok(&verify);
    let verdicts = shared().json(&["tenant", "evidence", "walls-a"]);
    // `fleet verify` of another test keeps evidence of this tenant, too.
    let by_this_test = verdicts.as_array().unwrap().iter().filter(|e| e["command"].as_str().unwrap().starts_with("labctl tenant verify"));
    let verdicts: Vec<&str> = by_this_test.map(|e| e["verdict"].as_str().unwrap()).collect();
    assert_eq!(verdicts, ["refused", "not run", "BREACH", "refused"]);
    error(&shared().run(&["tenant", "verify", "walls-a", "--against", "walls-a", "-o", "json"]), "no_neighbour", 1);
    let table = shared().ok(&["tenant", "verify", "walls-a", "--against", "walls-b"]);
    assert!(table.out.contains("select_by_search_path") && table.out.contains("refused"), "{table}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_reaches_the_neighbour_and_a_bucket_that_is_open_are_breaches() {
    for id in ["shelf-a", "shelf-b"] {
        let spec = shared().spec(id, "mate", "trial");
        shared().ok(&["tenant", "create", &spec]);
    }
    let verify = ["tenant", "verify", "shelf-a", "--against", "shelf-b", "-o", "json"];
    shared().ok(&verify);
    let cloud = shared().cloud().await;
    let roles = shared().json(&["tenant", "show", "shelf-a"]);
    let role =
        roles["resources"].as_array().unwrap().iter().find(|r| r["kind"] == "iam_role").unwrap()["id"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let hole = r#"{"Version":"2012-10-17","Statement":[{"Sid":"Hole","Effect":"Allow","Action":"s3:Get*","Resource":"*"}]}"#;
    cloud.iam.put_role_policy().role_name(&role).policy_name("hole").policy_document(hole).send().await.unwrap();
    let run = shared().run(&verify);
    error(&run, "breach", 1);
    let report: Value = serde_json::from_str(&run.out).unwrap();
    let bad: Vec<String> =
        report["findings"].as_array().unwrap().iter().filter(|f| f["verdict"] == "BREACH").map(|f| format!("{} {}", f["probe"], f["got"])).collect();
    assert_eq!(
        bad,
        ["\"s3_get\" \"evaluated: allowed by Hole\"", "\"s3_get_version\" \"evaluated: allowed by Hole\"", "\"s3_get_policy\" \"evaluated: allowed by Hole\""]
    );
    cloud.iam.delete_role_policy().role_name(&role).policy_name("hole").send().await.unwrap();
    shared().ok(&verify);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_is_verified_tenant_by_tenant() {
    for id in ["herd-a", "herd-b"] {
        let spec = shared().spec(id, "labcloud", "trial");
        shared().ok(&["tenant", "create", &spec]);
    }
    // Others' tests plant holes and suspend tenants in the same sandbox: only our own lines are looked at.
    let run = shared().run(&["fleet", "verify", "--stack", "labcloud", "--tier", "trial", "-o", "json"]);
    let lines: Value = serde_json::from_str(&run.out).unwrap_or_else(|e| panic!("{e}\n{run}"));
    let ours: Vec<&Value> = lines.as_array().unwrap().iter().filter(|l| l["tenant"].as_str().unwrap().starts_with("herd-")).collect();
    assert_eq!(ours.len(), 2, "{run}");
    for line in ours {
        assert_eq!(line["against"].as_array().unwrap().len(), 1, "{line}");
        assert!(line["refused"].as_u64().unwrap() > 100 && line["evidence"].is_number(), "{line}");
    }
}
