//! `tenant verify` and `fleet verify`: with the roles, passwords, policies and pools that create has made.

use std::collections::BTreeMap;

use aws_sdk_cognitoidentityprovider::types::AuthFlowType;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use labctl::cloud::Cloud;
use labctl::ops::verify::storage;
use serde_json::Value;
use sqlx::AssertSqlSafe;

use super::fixture::{Run, blocking, shared};

/// The attempts of one area, and of those how many were not refused.
fn area(report: &Value, area: &str) -> (usize, Vec<String>) {
    let all: Vec<&Value> = report["findings"].as_array().unwrap().iter().filter(|f| f["area"] == area).collect();
    (all.len(), all.iter().filter(|f| f["verdict"] != "refused").map(|f| f.to_string()).collect())
}

/// Probes of storage there was nothing to try for.
fn left_out_of_storage(report: &Value) -> usize {
    let ids: Vec<&str> = storage::PROBES.iter().map(|p| p.id).chain(storage::WALLS.iter().map(|w| w.0)).collect();
    report["left_out"].as_array().unwrap().iter().filter(|l| ids.contains(&l["probe"].as_str().unwrap())).count()
}

/// How often each probe was tried.
fn tried(report: &Value) -> BTreeMap<String, usize> {
    let mut tried = BTreeMap::new();
    for f in report["findings"].as_array().unwrap() {
        *tried.entry(f["probe"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    tried
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
    // With how many attempts at storage, and how many probes of storage left out: where there is no role in AWS, two walls are all there is to try;
    // where there is one, its 25 on 4 secrets and 3 groups of logs are 29, and 4 of them are of a key, which not every neighbour has.
    for (a, b, least, stored) in [
        ("lakeside-lab", "city-lab", 100, (2, 25)),
        ("lakeside-lab", "st-marys-lab", 55, (2, 25)),
        ("northside-clinic", "demo-clinic", 60, (31, 4)),
        ("demo-clinic", "northside-clinic", 60, (31, 4)),
        ("hospital-a", "northside-clinic", 80, (31, 4)),
        ("northside-clinic", "hospital-a", 60, (35, 0)),
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
        assert_eq!((area(&report, "storage").0, left_out_of_storage(&report)), stored, "{a} {b}: {}", report["left_out"]);
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
    let why = table.out.lines().find(|line| line.contains("`walls-a` has no role in AWS")).unwrap_or_else(|| panic!("{table}"));
    assert!(why.trim_start().starts_with("25 ") && why.contains("s3_"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_rotation_the_same_is_tried_and_a_record_that_cannot_be_read_proves_nothing() {
    for id in ["turned-a", "turned-b"] {
        let spec = shared().spec(id, "labcloud", "trial");
        shared().ok(&["tenant", "create", &spec]);
    }
    let verify = ["tenant", "verify", "turned-a", "--against", "turned-b", "-o", "json"];
    let before = shared().json(&verify[..5]);
    for login in ["tenant_turned_a_app_b", "tenant_turned_a_app"] {
        shared().ok(&["tenant", "credentials", "rotate", "turned-a", "--role", "all", "--grace", "0"]);
        let after = shared().json(&verify[..5]);
        assert_eq!(after["verdict"], "refused", "{after}");
        assert_eq!(tried(&after), tried(&before), "{login}");
        assert_eq!(after["left_out"], before["left_out"], "{login}");
        assert!(after["findings"].as_array().unwrap().iter().any(|f| f["by"] == login), "{login}");
    }
    let mut registry = shared().registry().await;
    for id in ["turned-a", "turned-b"] {
        let mut set = async |sql: &str| {
            sqlx::raw_sql(AssertSqlSafe(format!("UPDATE labctl.resources SET spec = {sql} WHERE address = '{id}/postgres_schema/main'")))
                .execute(&mut registry)
                .await
                .unwrap()
                .rows_affected()
        };
        assert_eq!(set("spec - 'database' || jsonb_build_object('kept', spec -> 'database')").await, 1, "{id}");
        let run = shared().run(&verify);
        assert_eq!(set("spec - 'kept' || jsonb_build_object('database', spec -> 'kept')").await, 1, "{id}");
        let told = error(&run, "not_run", 3);
        assert!(told["causes"].to_string().contains(&format!("{id}/postgres_schema/main cannot be read")), "{told}");
        let report: Value = serde_json::from_str(&run.out).unwrap();
        assert_eq!((report["verdict"].as_str(), report["breaches"].as_u64()), (Some("not run"), Some(0)));
    }
    shared().ok(&verify);
}

/// A tenant whose own administrator, invited by create, has signed in.
struct Badge {
    id: String,
    pool: String,
    group: String,
    client: String,
    /// The name the pool knows the user by.
    user: String,
}

const PASSWORD: &str = "Correct-horse-battery-9";

impl Badge {
    async fn new(cloud: &Cloud, id: &str) -> Self {
        let shown = shared().json(&["tenant", "show", id]);
        let of = |kind: &str| {
            let found = shown["resources"].as_array().unwrap().iter().find(|r| r["kind"] == kind).unwrap();
            found["id"].as_str().unwrap().split_once('/').map(|(pool, name)| (pool.to_owned(), name.to_owned())).unwrap()
        };
        let ((pool, group), (_, user)) = (of("cognito_group"), of("cognito_user"));
        let made = cloud.cognito.create_user_pool_client().user_pool_id(&pool).client_name(format!("test-of-{id}")).write_attributes("email");
        let made = made.read_attributes("email").read_attributes("custom:tenant_id").send().await.unwrap();
        cloud.cognito.admin_set_user_password().user_pool_id(&pool).username(&user).password(PASSWORD).permanent(true).send().await.unwrap();
        Self { id: id.to_owned(), pool, group, client: made.user_pool_client.unwrap().client_id.unwrap(), user }
    }

    /// Signs in at this tenant's pool, through its client: what the tokens say, and the one for more of them.
    async fn sign_in(&self, cloud: &Cloud, user: &str) -> Result<(Value, String), String> {
        let call = cloud.cognito.admin_initiate_auth().user_pool_id(&self.pool).client_id(&self.client).auth_flow(AuthFlowType::AdminUserPasswordAuth);
        let call = call.auth_parameters("USERNAME", user).auth_parameters("PASSWORD", PASSWORD);
        let answer = call.send().await.map_err(|e| e.into_service_error().to_string())?.authentication_result.unwrap();
        let claims = |token: Option<String>| -> Value {
            serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(token.unwrap().split('.').nth(1).unwrap()).unwrap()).unwrap()
        };
        let (mut said, access) = (claims(answer.id_token), claims(answer.access_token));
        assert_eq!(said["iss"], access["iss"]);
        said["cognito:groups"] = access["cognito:groups"].clone();
        Ok((said, answer.refresh_token.unwrap()))
    }

    /// Whether this tenant's application takes a token that says this: its own pool's, its own group in it, its own claim. Signatures are not
    /// looked at: the emulator has one key for all pools.
    fn takes(&self, said: &Value) -> [bool; 3] {
        let issuer = said["iss"].as_str().unwrap().rsplit_once('/').unwrap().1 == self.pool;
        let group = said["cognito:groups"].as_array().is_some_and(|all| all.iter().any(|g| *g == self.group));
        [issuer, group, said["custom:tenant_id"] == self.id]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_a_real_user_is_taken_by_its_own_tenant_and_refused_by_every_other() {
    let kinds = [("badge-a", "trial"), ("badge-b", "trial"), ("badge-c", "standard"), ("badge-d", "standard")];
    for pair in kinds.chunks(2) {
        let runs: Vec<_> =
            pair.iter().map(|(id, tier)| shared().spec(id, "labcloud", tier)).map(|spec| blocking(move || shared().ok(&["tenant", "create", &spec]))).collect();
        for run in runs {
            run.await.unwrap();
        }
    }
    let cloud = shared().cloud().await;
    let (mut badges, mut tokens) = (Vec::new(), Vec::new());
    for (id, _) in kinds {
        let badge = Badge::new(&cloud, id).await;
        tokens.push(badge.sign_in(&cloud, &badge.user).await.unwrap());
        badges.push(badge);
    }
    assert!(badges[0].pool == badges[1].pool && badges[2].pool != badges[3].pool && badges[2].pool != badges[0].pool);
    for (n, (said, refresh)) in tokens.iter().enumerate() {
        for (m, badge) in badges.iter().enumerate() {
            // In one pool the issuer tells nobody apart: there it is the group and the claim that do.
            let one_pool = badges[n].pool == badge.pool;
            assert_eq!(badge.takes(said), if n == m { [true; 3] } else { [one_pool, false, false] }, "{} at {}: {said}", badges[n].id, badge.id);
            if !one_pool {
                let refused = badge.sign_in(&cloud, &badges[n].user).await.unwrap_err();
                assert!(refused.contains("UserNotFound") || refused.contains("NotAuthorized"), "{} at {}: {refused}", badges[n].id, badge.id);
                let across =
                    Badge { id: badge.id.clone(), pool: badges[n].pool.clone(), group: String::new(), client: badge.client.clone(), user: String::new() };
                let refused = across.sign_in(&cloud, &badges[n].user).await.unwrap_err();
                assert!(refused.contains("ResourceNotFound"), "{} through the client of {}: {refused}", badges[n].id, badge.id);
                let call = cloud.cognito.initiate_auth().client_id(&badge.client).auth_flow(AuthFlowType::RefreshTokenAuth);
                let refused = call.auth_parameters("REFRESH_TOKEN", refresh).send().await.unwrap_err().into_service_error().to_string();
                assert!(refused.contains("NotAuthorized"), "{} at {}: {refused}", badges[n].id, badge.id);
            }
        }
    }
    // What verify calls a breach is one: the next token says that its bearer is of both.
    let verify = ["tenant", "verify", "badge-a", "--against", "badge-b", "-o", "json"];
    shared().ok(&verify);
    let (a, b) = (&badges[0], &badges[1]);
    cloud.cognito.admin_add_user_to_group().user_pool_id(&a.pool).group_name(&b.group).username(&a.user).send().await.unwrap();
    let (said, _) = a.sign_in(&cloud, &a.user).await.unwrap();
    let run = shared().run(&verify);
    cloud.cognito.admin_remove_user_from_group().user_pool_id(&a.pool).group_name(&b.group).username(&a.user).send().await.unwrap();
    assert_eq!(b.takes(&said), [true, true, false], "{said}");
    error(&run, "breach", 1);
    let report: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(breaches(&report), ["issuer_or_group", "group_members"]);
    shared().ok(&verify);
}

fn breaches(report: &Value) -> Vec<&str> {
    report["findings"].as_array().unwrap().iter().filter(|f| f["verdict"] == "BREACH").map(|f| f["probe"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_reaches_the_neighbour_and_a_bucket_that_is_open_are_breaches() {
    for (id, tier) in [("shelf-a", "trial"), ("shelf-b", "standard")] {
        let spec = shared().spec(id, "mate", tier);
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

    // The neighbour has a bucket of its own: anybody may read it, and nothing keeps that from counting.
    let shown = shared().json(&["tenant", "show", "shelf-b"]);
    let bucket = shown["resources"].as_array().unwrap().iter().find(|r| r["kind"] == "s3_bucket").unwrap()["id"].as_str().unwrap().to_owned();
    let before = cloud.s3.get_bucket_policy().bucket(&bucket).send().await.unwrap().policy.unwrap();
    let mut open: Value = serde_json::from_str(&before).unwrap();
    let anybody = format!(r#"{{"Sid": "Open", "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::{bucket}/*"}}"#);
    open["Statement"].as_array_mut().unwrap().push(serde_json::from_str(&anybody).unwrap());
    cloud.s3.delete_public_access_block().bucket(&bucket).send().await.unwrap();
    cloud.s3.put_bucket_policy().bucket(&bucket).policy(open.to_string()).send().await.unwrap();
    let run = shared().run(&verify);
    error(&run, "breach", 1);
    let report: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(breaches(&report), ["s3_public_access", "s3_get"]);
    shared().ok(&["tenant", "apply", "shelf-b"]);
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
        // Its stack makes no role in AWS: 25 probes of storage at the least.
        let left_out = line["left_out"].as_u64().unwrap();
        let kept = shared().json(&["tenant", "evidence", line["tenant"].as_str().unwrap(), "--number", &line["evidence"].to_string()]);
        assert_eq!(kept[0]["result"]["left_out"].as_array().unwrap().len() as u64, left_out, "{line}");
        assert!(left_out >= 25, "{line}");
    }
}
