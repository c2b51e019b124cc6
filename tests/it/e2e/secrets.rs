//! No password stands anywhere but in Secrets Manager.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use sqlx::AssertSqlSafe;

use super::fixture::{blocking, shared};

/// Command lines of all processes, as anybody on the machine sees them, until told to stop.
fn command_lines(stop: &AtomicBool) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    while !stop.load(Ordering::Relaxed) {
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            if let Ok(line) = fs::read(entry.path().join("cmdline")) {
                seen.insert(String::from_utf8_lossy(&line).replace('\0', " "));
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn no_password_is_in_registry_logs_words_or_process_list() {
    let world = shared();
    let mut admin = world.superuser("postgres").await;
    for sql in ["ALTER SYSTEM SET log_statement = 'all'", "ALTER SYSTEM SET log_min_duration_statement = 0", "SELECT pg_reload_conf()"] {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut admin).await.unwrap();
    }
    static STOP: AtomicBool = AtomicBool::new(false);
    let watcher = blocking(|| command_lines(&STOP));
    let mut said = String::new();
    for (id, stack, tier, verbose) in [("hush-lab", "labcloud", "enterprise", "-vv"), ("hush-clinic", "mate", "standard", "-vvv")] {
        let spec = world.spec(id, stack, tier);
        for verb in ["create", "apply"] {
            let run = world.ok(&["tenant", verb, &spec, verbose, "-o", "json"]);
            said += &(run.out + &run.err);
        }
        for line in [["tenant", "show", id], ["tenant", "plan", id]] {
            said += &world.ok(&line).out;
        }
        for operation in world.json(&["operation", "list", "--tenant", id]).as_array().unwrap() {
            said += &world.ok(&["operation", "show", &operation["number"].to_string(), "-o", "json"]).out;
        }
    }
    STOP.store(true, Ordering::Relaxed);
    let processes: String = watcher.await.unwrap().into_iter().collect::<Vec<_>>().join("\n");
    assert!(processes.contains("hush-lab.toml"), "the create itself was not seen in the process list");

    let cloud = world.cloud().await;
    let mut passwords: Vec<(String, String)> = world.passwords().into_iter().collect();
    let mut pages = cloud.secrets.list_secrets().into_paginator().send();
    while let Some(page) = pages.next().await {
        for secret in page.unwrap().secret_list.unwrap_or_default() {
            let name = secret.name.unwrap();
            let text = cloud.secrets.get_secret_value().secret_id(secret.arn.unwrap()).send().await.unwrap().secret_string.unwrap();
            let Ok(Value::Object(values)) = serde_json::from_str::<Value>(&text) else { panic!("{name} is no object") };
            for key in ["password", "secret_key"] {
                passwords.extend(values.get(key).map(|v| (format!("{name} {key}"), v.as_str().unwrap().to_owned())));
            }
        }
    }
    for wanted in ["hush-lab-sandbox/app", "hush-lab-sandbox/migrate", "hush-lab-sandbox/readonly", "hush-clinic-sandbox/django", "rds!"] {
        assert!(passwords.iter().any(|(name, _)| name.contains(wanted)), "{wanted} is not among {:?}", passwords.iter().map(|p| &p.0).collect::<Vec<_>>());
    }

    let mut places = vec![("what labctl said", said), ("the process list", processes)];
    let mut registry = world.registry().await;
    let tables: Vec<String> =
        sqlx::query_scalar("SELECT format('%I', tablename) FROM pg_tables WHERE schemaname = 'labctl'").fetch_all(&mut registry).await.unwrap();
    let mut dump = String::new();
    for table in tables {
        let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(format!("SELECT t::text FROM labctl.{table} t"))).fetch_all(&mut registry).await.unwrap();
        dump += &rows.join("\n");
    }
    assert!(dump.contains("hush-clinic/rds_instance/main"));
    places.push(("the registry", dump));
    let log = fs::read_to_string(world.sandbox_dir().join("postgres/postgres.log")).unwrap();
    assert!(log.contains("tenant_hush_lab_app"), "PostgreSQL did not log the statements");
    places.push(("PostgreSQL's log", log));
    places.push(("the emulator's log", fs::read_to_string(world.sandbox_dir().join("moto.log")).unwrap()));
    for (place, text) in places {
        for (name, password) in &passwords {
            assert!(password.len() >= 16, "{name} is too short to look for");
            assert!(!text.contains(password.as_str()), "{place} has the password of {name}");
        }
    }
}
