//! No password stands anywhere but in Secrets Manager.

use std::fs;

use serde_json::Value;
use sqlx::AssertSqlSafe;

use super::fixture::{World, shared};
use crate::audit::arguments::{self, Watch};

/// What is secret in Secrets Manager: (whose, the value).
async fn secrets(world: &World) -> Vec<(String, String)> {
    let cloud = world.cloud().await;
    let mut found: Vec<(String, String)> = world.passwords().into_iter().collect();
    let mut pages = cloud.secrets.list_secrets().into_paginator().send();
    while let Some(page) = pages.next().await {
        for secret in page.unwrap().secret_list.unwrap_or_default() {
            let name = secret.name.unwrap();
            let text = cloud.secrets.get_secret_value().secret_id(secret.arn.unwrap()).send().await.unwrap().secret_string.unwrap();
            let Ok(Value::Object(values)) = serde_json::from_str::<Value>(&text) else { panic!("{name} is no object") };
            for key in ["password", "secret_key"] {
                found.extend(values.get(key).map(|v| (format!("{name} {key}"), v.as_str().unwrap().to_owned())));
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn no_password_is_in_registry_logs_words_or_process_list() {
    let world = shared();
    let mut admin = world.superuser("postgres").await;
    for sql in ["ALTER SYSTEM SET log_statement = 'all'", "ALTER SYSTEM SET log_min_duration_statement = 0", "SELECT pg_reload_conf()"] {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut admin).await.unwrap();
    }
    let watch = Watch::start();
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
    let mut passwords = secrets(world).await;
    let before = passwords.len();
    for line in
        [["credentials", "rotate", "hush-clinic", "--role=all", "--grace=0", "-vvv"].as_slice(), &["psql", "hush-clinic", "--", "-Atc", "SELECT pg_sleep(0.5)"]]
    {
        let run = world.ok(&[&["tenant"][..], line].concat());
        said += &(run.out + &run.err);
    }
    // The new ones; those of before stay worth looking for.
    passwords.extend(secrets(world).await.into_iter().filter(|new| !passwords.contains(new)).collect::<Vec<_>>());
    let new: Vec<&str> = passwords[before..].iter().map(|p| p.0.as_str()).filter(|name| name.contains("hush-clinic")).collect();
    assert_eq!(new.len(), 3, "the rotation made a new password for each part: {new:?}");
    arguments::tell("planted-in-an-argument");
    let processes = watch.seen();
    for seen in
        ["hush-lab.toml", "credentials rotate hush-clinic", "tenant psql hush-clinic", "--set=ON_ERROR_STOP=1 -Atc SELECT pg_sleep", "planted-in-an-argument"]
    {
        assert!(processes.contains(seen), "`{seen}` was not seen in the process list");
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
