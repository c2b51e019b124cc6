//! What is on record of tenants and operations, and what an operator settles: watch, abort, resolve, locks, history, audit.

use std::fs;

use nix::sys::signal::Signal;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection};

use super::fixture::{Run, Running, blocking, connect, ended, shared};

/// A create under way that has made something; and the number of its operation.
fn under_way(id: &str) -> (Running, String) {
    let world = shared();
    let spec = world.spec(id, "labcloud", "standard");
    let mut running = world.spawn(&["tenant", "create", &spec]);
    assert!(running.hear(" created ", 1), "{}", running.end());
    let found = world.json(&["operation", "list", "--tenant", id]);
    (running, found[0]["number"].to_string())
}

fn error(run: &Run, code: i32) -> Value {
    assert_eq!((run.code, run.out.as_str()), (code, ""), "{run}");
    run.error()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_operation_is_watched_from_another_process_to_its_end() {
    blocking(|| {
        let world = shared();
        let (running, number) = under_way("watched-lab");
        let watched = world.ok(&["operation", "watch", &number, "-o", "json"]);
        assert_eq!(running.end().code, 0);
        let shown: Value = serde_json::from_str(&watched.out).unwrap();
        assert_eq!(shown["status"], "done");
        let steps = shown["steps"].as_array().unwrap();
        for step in steps {
            let told = step["address"].as_str().unwrap().split_once('/').unwrap().1;
            assert!(watched.err.lines().any(|l| l.contains(told) && l.contains(" created ")), "{told}\n{watched}");
            for field in ["planned_at", "intended_at", "created_at", "finished_at", "seconds"] {
                assert!(!step[field].is_null(), "{field}: {step}");
            }
        }
        assert!(shown["calls"]["secrets-manager:CreateSecret"].as_u64().unwrap() > 0, "{shown}");
        let table = world.ok(&["operation", "show", &number]).out;
        assert!(table.contains("Calls") && table.contains("secrets-manager:CreateSecret") && table.contains("INTENDED"), "{table}");
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_holder_is_noticed_and_its_operation_given_up() {
    blocking(|| {
        let world = shared();
        let (running, number) = under_way("abandoned-lab");
        running.signal(Signal::SIGKILL);
        running.end();
        let gone = error(&world.run(&["operation", "watch", &number, "-o", "json"]), 3);
        assert_eq!(gone["code"], "holder_dead", "{gone}");
        let locks = world.json(&["lock", "list"]);
        assert!(locks.as_array().unwrap().iter().any(|l| l["tenant"] == "abandoned-lab" && l["state"] == "dead"), "{locks}");

        assert_eq!(error(&world.run(&["operation", "abort", &number, "-o", "json"]), 64)["code"], "usage");
        let aborted = world.run(&["operation", "abort", &number, "--reason", "a test", "--yes", "-o", "json"]);
        assert_eq!(aborted.code, 0, "{aborted}");
        let shown: Value = serde_json::from_str(&aborted.out).unwrap();
        assert_eq!((&shown["status"], &shown["summary"]["given_up"]["reason"]), (&json!("aborted"), &json!("a test")));
        assert!(aborted.err.contains("tenant abandoned-lab is failed") && aborted.err.contains("labctl tenant apply abandoned-lab"), "{aborted}");
        assert_eq!(error(&world.run(&["operation", "watch", &number, "-o", "json"]), 1)["code"], "aborted");
        assert_eq!(error(&world.run(&["operation", "abort", &number, "--yes", "-o", "json"]), 1)["code"], "finished_operation");
        let tenant = world.json(&["tenant", "show", "abandoned-lab"]);
        assert!(tenant["status"] == "failed" && !tenant["resources"].as_array().unwrap().is_empty(), "{tenant}");
        world.ok(&["tenant", "apply", "abandoned-lab"]);
        assert_eq!(world.json(&["tenant", "show", "abandoned-lab"])["status"], "active");
        let audited = world.json(&["audit", "list", "--tenant", "abandoned-lab", "--limit", "0"]);
        let abort = audited.as_array().unwrap().iter().find(|r| r["action"] == "operation.abort").unwrap();
        assert_eq!((&abort["detail"]["reason"], &abort["detail"]["was"]), (&json!("a test"), &json!("running")));
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_is_broken_only_on_purpose_and_its_holder_is_fenced() {
    blocking(|| {
        let world = shared();
        let (running, number) = under_way("stuck-lab");
        running.signal(Signal::SIGSTOP);
        assert_eq!(error(&world.run(&["operation", "abort", &number, "--yes", "-o", "json"]), 5)["code"], "locked");
        let locks = world.json(&["lock", "list"]);
        let lock = locks.as_array().unwrap().iter().find(|l| l["tenant"] == "stuck-lab").unwrap();
        assert!(lock["state"] == "alive" && lock["pid"] == running.child.id() && lock["heartbeat_seconds"].is_number(), "{lock}");
        assert!(lock["what"].as_str().unwrap().contains("tenant create"), "{lock}");

        assert_eq!(error(&world.run(&["lock", "break", "stuck-lab", "--yes", "-o", "json"]), 64)["code"], "usage");
        assert_eq!(error(&world.run(&["lock", "break", "stuck-lab", "--confirm", "stuck", "-o", "json"]), 64)["code"], "usage");
        assert_eq!(error(&world.run(&["lock", "break", "nobody-lab", "--confirm", "nobody-lab", "-o", "json"]), 1)["code"], "not_locked");
        world.ok(&["lock", "break", "stuck-lab", "--confirm", "stuck-lab", "--reason", "it hangs"]);
        assert_eq!(error(&world.run(&["lock", "break", "stuck-lab", "--confirm", "stuck-lab", "-o", "json"]), 1)["code"], "not_locked");
        running.signal(Signal::SIGCONT);
        let fenced = running.end();
        assert_eq!(fenced.code, 5, "{fenced}");
        let audited = world.json(&["audit", "list", "--tenant", "stuck-lab", "--since", "1h"]);
        assert!(audited.as_array().unwrap().iter().any(|r| r["action"] == "lock.break" && r["detail"]["reason"] == "it hangs"), "{audited}");
        world.ok(&["operation", "resume", &number]);
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_in_doubt_is_settled_only_as_the_world_is() {
    let world = shared();
    let spec = world.spec("doubtful-lab", "labcloud", "trial");
    world.ok(&["tenant", "create", &spec]);
    let shown = world.json(&["tenant", "show", "doubtful-lab"]);
    let number = shown["operation"].to_string();
    let secret = shown["resources"].as_array().unwrap().iter().find(|r| r["kind"] == "secret").unwrap().clone();
    let (address, id) = (secret["address"].as_str().unwrap(), secret["id"].as_str().unwrap());
    let short = address.split_once('/').unwrap().1;
    let not_in_doubt = error(&world.run(&["operation", "resolve", &number, short, "--absent", "-o", "json"]), 1);
    assert_eq!(not_in_doubt["code"], "finished_operation", "{not_in_doubt}");

    // As a lost reply leaves it that no looking could settle.
    let sql = format!(
        "UPDATE labctl.operations SET status = 'in_doubt' WHERE number = {number};
         UPDATE labctl.steps SET status = 'in_doubt', id = NULL WHERE operation = {number} AND address = '{address}';
         UPDATE labctl.resources SET status = 'in_doubt', id = NULL, token = 'lost' WHERE address = '{address}'"
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut world.registry().await).await.unwrap();
    assert_eq!(error(&world.run(&["operation", "watch", &number, "-o", "json"]), 4)["code"], "in_doubt");
    let resolve = |more: &[&str]| world.run(&[&["operation", "resolve", &number, short, "-o", "json"], more].concat());
    assert_eq!(error(&resolve(&[]), 64)["code"], "usage");
    assert_eq!(error(&resolve(&["--id", "x", "--absent"]), 64)["code"], "usage");
    let there = error(&resolve(&["--absent"]), 1);
    assert!(there["code"] == "not_as_said" && there["message"].as_str().unwrap().contains(id), "{there}");
    let other = id.replace("doubtful", "other");
    assert_eq!(error(&resolve(&["--id", &other]), 1)["code"], "not_as_said");
    let settled = resolve(&["--id", id, "--reason", "seen in the console"]);
    assert_eq!(settled.code, 0, "{settled}");
    assert_eq!(serde_json::from_str::<Value>(&settled.out).unwrap()["status"], "failed");
    assert_eq!(error(&resolve(&["--id", id]), 1)["code"], "not_in_doubt");
    world.ok(&["operation", "resume", &number]);
    let after = world.json(&["tenant", "show", "doubtful-lab"]);
    assert_eq!((&after["status"], &after["resources"]), (&shown["status"], &shown["resources"]));
    let audited = world.json(&["audit", "list", "--tenant", "doubtful-lab"]);
    assert!(audited.as_array().unwrap().iter().any(|r| r["action"] == "operation.resolve" && r["detail"]["id"] == id), "{audited}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_history_tells_who_changed_what_and_the_audit_trail_holds() {
    let world = shared();
    let spec = world.spec("storied-lab", "labcloud", "trial");
    world.ok(&["tenant", "create", &spec]);
    let file = world.dir().join("specs").join(&spec);
    fs::write(&file, fs::read_to_string(&file).unwrap().replace("Tenant storied-lab", "Storied Lab")).unwrap();
    world.ok(&["tenant", "apply", &spec]);
    let history = world.json(&["tenant", "history", "storied-lab"]);
    let newest = &history[0];
    assert_eq!((&newest["revision"], &newest["parent"], &newest["who"]), (&json!(2), &json!(1), &json!("e2e")));
    assert_eq!(newest["changes"], json!([{"field": "display_name", "from": "Tenant storied-lab", "to": "Storied Lab"}]));
    assert!(newest["command"].as_str().unwrap().contains("tenant apply") && newest["host"].is_string(), "{newest}");
    assert_eq!((history.as_array().unwrap().len(), &history[1]["changes"]), (2, &json!([])));
    assert_eq!(world.json(&["tenant", "history", "storied-lab", "--limit", "1"]).as_array().unwrap().len(), 1);
    assert!(world.ok(&["tenant", "history", "storied-lab"]).out.contains("display_name: Tenant storied-lab → Storied Lab"));
    assert_eq!(error(&world.run(&["tenant", "history", "nobody", "-o", "json"]), 1)["code"], "not_found");

    let report = world.json(&["audit", "verify"]);
    let head = report["head"].as_str().unwrap();
    assert!(report["rows"].as_i64().unwrap() >= 4 && report["broken"].is_null() && report["from"].is_string() && report["to"].is_string(), "{report}");
    let kept = world.json(&["audit", "verify", "--head", head]);
    assert_eq!(kept["kept"], report["rows"]);
    let run = world.run(&["audit", "verify", "--head", &"ab".repeat(32), "-o", "json"]);
    assert_eq!((run.code, run.error()["code"].as_str()), (1, Some("audit_head_missing")), "{run}");
    assert_eq!(error(&world.run(&["audit", "verify", "--head", "xyz", "-o", "json"]), 64)["code"], "usage");

    for line in
        ["tenant history storied-lab", "audit list --tenant storied-lab", "audit verify", "lock list", "events list --tenant storied-lab", "events deliver"]
    {
        for format in ["table", "json", "jsonl", "yaml", "csv"] {
            let run = world.ok(&line.split(' ').chain(["-o", format]).collect::<Vec<_>>());
            assert!(!run.out.is_empty() || line == "lock list", "{line} -o {format}");
        }
    }
}

async fn says(db: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(db).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
}

/// In a registry of its own: nobody else's trail is tampered with.
#[tokio::test(flavor = "multi_thread")]
async fn an_audit_trail_that_was_tampered_with_fails_its_verification_with_the_row_and_the_reason() {
    const DATABASE: &str = "tampered_registry";
    let (world, sandbox) = (shared(), shared().open().await);
    let (port, user, password) = (sandbox.registry.port, &sandbox.registry.user, sandbox.registry.password.expose_secret());
    says(&mut world.superuser("postgres").await, &format!("CREATE DATABASE {DATABASE} OWNER {user} TEMPLATE template0")).await;
    let folder = world.dir().join("tampered");
    fs::create_dir(&folder).unwrap();
    let registry = json!({"host": "127.0.0.1", "port": port, "database": DATABASE, "user": user, "tls": "disable"});
    let profile = json!({"region": sandbox.region, "account_id": sandbox.account_id, "registry": registry, "platform": {}});
    fs::write(folder.join("labctl.toml"), toml::to_string(&json!({"profiles": {"tampered": profile}})).unwrap()).unwrap();
    let labctl = |args: &[&str]| {
        let mut command = world.command(args);
        ended(command.current_dir(&folder).env("LABCTL_PROFILE", "tampered").env("LABCTL_REGISTRY_PASSWORD", password))
    };
    assert_eq!(labctl(&["registry", "init"]).code, 0);
    let mut owner = connect(port, user, password, DATABASE).await.unwrap();
    let rows = "INSERT INTO labctl.audit (who, host, action, detail) SELECT 'ana', 'here', 'test', jsonb_build_object('n', n) FROM generate_series(1, 5) n";
    says(&mut owner, rows).await;
    let verify = |more: &[&str]| labctl(&[&["audit", "verify", "-o", "json"], more].concat());
    let report = |run: &Run| -> Value { serde_json::from_str(&run.out).unwrap_or_else(|e| panic!("{e}\n{run}")) };
    let whole = verify(&[]);
    assert_eq!(whole.code, 0, "{whole}");
    let (last, head) = (report(&whole)["rows"].as_i64().unwrap(), report(&whole)["head"].as_str().unwrap().to_owned());
    assert!(last >= 5, "{whole}");

    // Not even the registry's owner may: whoever could, took the guards away first.
    says(&mut owner, "CREATE TABLE public.kept AS SELECT * FROM labctl.audit; CREATE TABLE public.kept_head AS SELECT * FROM labctl.audit_head").await;
    let mut tamperer = world.superuser(DATABASE).await;
    says(&mut tamperer, "SET session_replication_role = replica").await;
    let broken = [
        (format!("UPDATE labctl.audit SET who = 'bob' WHERE seq = {last} - 2"), last - 2, "it was changed after it was written".to_owned()),
        (format!("DELETE FROM labctl.audit WHERE seq = {last} - 2"), last - 1, format!("rows {0} to {0} are missing", last - 2)),
        (format!("DELETE FROM labctl.audit WHERE seq > {last} - 2"), last - 1, format!("rows {} to {last} are missing", last - 1)),
    ];
    let mend = "DELETE FROM labctl.audit; INSERT INTO labctl.audit SELECT * FROM public.kept; UPDATE labctl.audit_head h SET seq = k.seq, hash = k.hash FROM public.kept_head k";
    for (tampering, row, why) in broken {
        says(&mut tamperer, &tampering).await;
        let told = verify(&[]);
        let words = format!("the audit trail is broken at row {row}: {why}");
        assert_eq!(told.code, 1, "{tampering}: {told}");
        assert_eq!((told.error()["code"].as_str(), told.error()["message"].as_str()), (Some("audit_broken"), Some(words.as_str())), "{told}");
        assert!(told.error()["hint"].as_str().unwrap().contains("backup of the registry"), "{told}");
        assert_eq!(report(&told)["broken"], json!({"seq": row, "why": why}), "what is right is told, too: {told}");
        let people = labctl(&["audit", "verify"]);
        assert!(people.code == 1 && people.err.contains(&words), "{people}");
        says(&mut tamperer, mend).await;
        let mended = verify(&["--head", &head]);
        assert_eq!((mended.code, report(&mended)["kept"].as_i64()), (0, Some(last)), "{mended}");
    }
    // Whoever writes the registry's own note of the end, too, is found by a hash kept elsewhere, and by that alone.
    let cut = format!(
        "DELETE FROM labctl.audit WHERE seq = {last}; UPDATE labctl.audit_head h SET seq = a.seq, hash = a.hash FROM labctl.audit a WHERE a.seq = {last} - 1"
    );
    says(&mut tamperer, &cut).await;
    assert_eq!(verify(&[]).code, 0);
    let told = verify(&["--head", &head]);
    assert_eq!((told.code, told.error()["code"].as_str(), report(&told)["kept"].is_null()), (1, Some("audit_head_missing"), true), "{told}");
}
