//! Whether a secret is anywhere but in Secrets Manager: the real values are read from there and sought in every row of the registry, in every log
//! and file of the sandbox, and in what was heard: what commands said, and what [`Watch`](super::arguments::Watch) saw in argument lists.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use labctl::cloud::Cloud;
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection};

use super::{Eye, Scope, Verdict, Wrong, aws};
use crate::e2e::fixture::World;

/// What a secret says besides what is secret.
const KNOWN: [&str; 8] = ["host", "port", "dbname", "username", "schema", "engine", "dbInstanceIdentifier", "dbClusterIdentifier"];

/// Value → whose it is.
async fn values(world: &World, cloud: &Cloud, eye: &Eye<'_>) -> BTreeMap<String, String> {
    let mut found: BTreeMap<String, String> = world.passwords().into_iter().map(|(role, value)| (value, format!("the sandbox's {role}"))).collect();
    let mut pages = cloud.secrets.list_secrets().into_paginator().send();
    while let Some(page) = pages.next().await {
        for secret in page.unwrap().secret_list.unwrap_or_default() {
            let name = secret.name().unwrap_or_default().to_owned();
            let tags = aws::pairs(secret.tags().iter().map(|t| (t.key(), t.value())));
            let theirs = tags.get("labctl:tenant").is_some_and(|t| eye.sees(t)) || tags.values().any(|v| v.contains(":rds:") && eye.near(v));
            if !theirs && !matches!(eye.scope, Scope::Everything) {
                continue;
            }
            // Gone meanwhile, or on its way out: nobody can read it any more.
            let value = cloud.secrets.get_secret_value().secret_id(secret.arn().unwrap_or_default()).send().await;
            let Some(value) = aws::unless_gone(value) else { continue };
            let text = value.secret_string.unwrap_or_default();
            match serde_json::from_str::<Value>(&text) {
                Ok(Value::Object(fields)) => {
                    for (key, value) in fields.iter().filter(|(key, _)| !KNOWN.contains(&key.as_str())) {
                        found.extend(value.as_str().map(|v| (v.to_owned(), format!("{name}, {key}"))));
                    }
                }
                _ => drop(found.insert(text, name)),
            }
        }
    }
    found.retain(|value, _| value.len() >= 12);
    found
}

/// Every file of the sandbox that somebody may read but the server's own data, and the two files whose purpose it is to hold passwords.
fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() && !path.join("PG_VERSION").exists() {
            files(&path, found);
        } else if kind.is_file() && name != "passwords.json" && name != "pgpass" {
            found.push(path);
        }
    }
}

pub(super) async fn seek(world: &World, cloud: &Cloud, registry: &mut PgConnection, eye: &Eye<'_>, heard: &[(&str, &str)], verdict: &mut Verdict) {
    let secrets = values(world, cloud, eye).await;
    let folder = tempfile::tempdir().unwrap();
    let mut places: Vec<(PathBuf, String)> = Vec::new();
    let mut write = |name: String, text: &str| {
        let path = folder.path().join(places.len().to_string());
        fs::write(&path, text).unwrap();
        places.push((path, name));
    };
    let tables: Vec<String> =
        sqlx::query_scalar("SELECT format('%I', tablename) FROM pg_tables WHERE schemaname = 'labctl' ORDER BY 1").fetch_all(&mut *registry).await.unwrap();
    for table in tables {
        let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(format!("SELECT t::text FROM labctl.{table} t"))).fetch_all(&mut *registry).await.unwrap();
        write(format!("registry table {table}"), &rows.join("\n"));
    }
    for (name, text) in heard {
        write((*name).to_owned(), text);
    }
    let mut found = Vec::new();
    files(world.dir(), &mut found);
    places.extend(found.into_iter().map(|path| (path.clone(), format!("the file {}", path.strip_prefix(world.dir()).unwrap_or(&path).display()))));
    (verdict.secrets, verdict.places) = (secrets.len(), places.len());
    for (path, value) in grep(secrets.keys(), places.iter().map(|(path, _)| path.as_path()).collect()) {
        let place = places.iter().find(|(p, _)| *p == path).map_or("somewhere", |(_, name)| name);
        let whose = secrets.get(&value).map_or("?", String::as_str);
        verdict.add(Wrong::Leaked, place, format!("it holds the secret value of {whose}"));
    }
}

/// Which of these texts stand in which of these files. The texts go in by a pipe, so that they are in no argument list; in a row of the registry
/// JSON may have escaped a character, which those of generated passwords never need.
fn grep<'a>(texts: impl Iterator<Item = &'a String>, mut files: Vec<&Path>) -> Vec<(PathBuf, String)> {
    let lines: String = texts.map(|t| format!("{t}\n")).collect();
    assert!(!lines.is_empty(), "nothing to look for");
    // A file that goes away while it is looked at is looked at no more; whatever else cannot be read might hold a secret.
    for _ in 0..5 {
        let mut child = Command::new("grep")
            .args(["-a", "-o", "-H", "--null", "-F", "-f", "-", "--"])
            .args(&files)
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let before = files.len();
        files.retain(|file| file.exists());
        match output.status.code() {
            Some(0 | 1) => {
                let text = String::from_utf8(output.stdout).unwrap();
                return text.lines().filter_map(|line| line.split_once('\0')).map(|(path, value)| (PathBuf::from(path), value.to_owned())).collect();
            }
            _ => assert!(files.len() < before, "grep could not look everywhere: {}", String::from_utf8_lossy(&output.stderr)),
        }
    }
    panic!("files go away faster than they can be looked at");
}

#[test]
fn grep_finds_what_is_there_and_an_error_is_no_pass() {
    let folder = tempfile::tempdir().unwrap();
    let (file, text) = (folder.path().join("log"), "a-secret-text".to_owned());
    fs::write(&file, "with a-secret-text in it\n").unwrap();
    let gone = folder.path().join("gone");
    assert_eq!(grep([&text].into_iter(), vec![gone.as_path(), file.as_path()]), [(file.clone(), text.clone())]);
    assert!(grep([&"another text".to_owned()].into_iter(), vec![file.as_path()]).is_empty());
    // A folder is there and is no text: grep says 2.
    let unreadable = std::panic::catch_unwind(|| grep([&text].into_iter(), vec![folder.path()]));
    assert!(unreadable.is_err());
}
