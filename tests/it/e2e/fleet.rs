//! A fleet migrated: in waves, stopped by failures, killed, paused and resumed; afterwards everybody is where they should be, once.
//!
//! Each test has a fleet of its own, chosen by its tag, and templates of its own, in which a version more appears.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Instant;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::fixture::{World, blocking, long, shared};
use super::fleets::{Fleet, NOTES, count, ends, report, says, who, why};
use super::killed::places;
use super::plant::{schema, tenant};

/// The whole way: the plan, a canary and waves, the three planted failures, mending, resuming, and a fleet that has nothing to do. The long
/// version has 300 tenants as `tenant create` makes them, in a sandbox of their own.
#[tokio::test(flavor = "multi_thread")]
async fn three_planted_failures_stop_a_fleet_and_after_mending_only_the_rest_is_touched() {
    let (fleet, began) = (Fleet::empty(if long() { Box::leak(Box::new(World::started())) } else { shared() }, "planted"), Instant::now());
    let fleet = if long() { fleet.create(300, 4).await } else { fleet.plant(None, 40).await };
    let made = began.elapsed();
    let size = fleet.size;
    // In the first half, which is done before the second begins.
    let (bad, changed, held) = ((size / 8) | 1, (size / 2 - 9) | 1, (size / 2 - 7) | 1);
    fleet.file("V3__add_notes.sql", &format!("{NOTES}ALTER TABLE lab_results ADD CHECK (patient_id <> 'bad');\n"));
    let mut db = fleet.world.superuser("shared").await;
    says(&mut db, &format!("INSERT INTO {}.lab_results (patient_id, test_code) VALUES ('bad', 'x')", fleet.schema(bad))).await;
    says(&mut db, &format!("UPDATE {}.labctl_migrations SET checksum = repeat('a', 64) WHERE version = 1", fleet.schema(changed))).await;
    let mut holder = fleet.world.superuser("shared").await;
    says(&mut holder, &format!("BEGIN; LOCK TABLE {}.lab_results IN ACCESS SHARE MODE", fleet.schema(held))).await;

    let dry = fleet.migrate(&["--dry-run", "--canary", "1", "--waves", "25%,100%"]).await;
    assert_eq!(dry.code, 2, "{dry}");
    let sketch = report(&dry);
    let waves: Vec<i64> = sketch["todo"].as_array().unwrap().iter().map(|t| t["wave"].as_i64().unwrap()).collect();
    let of = |wave| waves.iter().filter(|w| **w == wave).count();
    assert_eq!((of(0), of(1), of(2)), (1, size / 4 - 1, size - size / 4), "{sketch}");
    assert_eq!(fleet.having(&mut db, "notes").await, 0, "a dry run changes nothing");

    let slow = ["--lock-timeout", "100ms", "--attempts", "2", "--parallel", "2"];
    let stopped = fleet.migrate(&[&["--max-failures", "2", "--canary", "2", "--waves", "5%,50%,100%"], &slow[..]].concat()).await;
    assert_eq!(stopped.code, 3, "{stopped}");
    let first = report(&stopped);
    let run = first["run"].as_i64().unwrap().to_string();
    stopped_by_three(&fleet, &first, [bad, changed, held]).await;
    assert_eq!(stopped.error()["code"], "too_many_failures");
    assert_eq!(stopped.error()["message"], format!("the run was stopped, 3 tenants failed: {} tenants are behind", first["behind"]));
    let hints = stopped.error()["hint"].to_string();
    for hint in ["put the file back", "mend the file or the data", "somebody holds what it changes", &format!("`labctl fleet resume {run}`")] {
        assert!(hints.contains(hint), "{hints}");
    }
    // Nothing is mended yet: it stops again, and people read the same in a table.
    let told = fleet.labctl(&["fleet", "resume", &run]).await;
    assert_eq!(told.code, 3, "{told}");
    for (n, why) in [(bad, "is violated by some row"), (changed, "was changed after it was applied"), (held, "lock timeout")] {
        let line = told.out.lines().find(|l| l.starts_with(&tenant("planted", n))).unwrap_or_else(|| panic!("{n}\n{told}"));
        assert!(line.contains("failed") && line.contains(why), "{line}");
    }

    says(&mut holder, "ROLLBACK").await;
    says(&mut db, &format!("DELETE FROM {}.lab_results WHERE patient_id = 'bad'", fleet.schema(bad))).await;
    let mend = format!(
        "UPDATE {}.labctl_migrations SET checksum = (SELECT checksum FROM {}.labctl_migrations WHERE version = 1) WHERE version = 1",
        fleet.schema(changed),
        fleet.schema(0)
    );
    says(&mut db, &mend).await;
    let done = fleet.with(&mut db, "notes").await;
    assert!(!done.is_empty() && done.len() < size, "{} of {size}", done.len());
    let before = fleet.prints(&mut db, "notes").await;
    let resumed = fleet.labctl(&["fleet", "resume", &run, "-o", "json"]).await;
    assert_eq!(resumed.code, 0, "{resumed}");
    let second = report(&resumed);
    assert_eq!((second["status"].as_str(), second["behind"].as_u64()), (Some("done"), Some(0)));
    assert_eq!(ends(&second), BTreeMap::from([("migrated".to_owned(), size)]));
    let after = fleet.prints(&mut db, "notes").await;
    let untouched: BTreeSet<String> = before.iter().filter(|(t, print)| after[*t] == **print).map(|(t, _)| t.clone()).collect();
    assert_eq!(untouched, done, "exactly those are untouched who were there before");
    fleet.all_agree(3).await;

    let again = fleet.migrate(&[]).await;
    assert_eq!((again.code, report(&again)["run"].is_null()), (0, true), "nothing to do is no run: {again}");
    let nothing = fleet.labctl(&["fleet", "resume", &run, "-o", "json"]).await;
    assert_eq!((nothing.code, nothing.error()["code"].as_str()), (1, Some("nothing_to_resume")), "{nothing}");
    if long() {
        println!("{size} tenants made in {made:.0?} by 4 hands; three of them cannot be migrated:\n{told}");
        println!("stopped at {}, after the second stop {} are there; resumed when mended: {}", first["migrated"], done.len(), size - done.len());
        println!("{}", fleet.labctl(&["fleet", "migrate", "--tag", "fleet=planted"]).await);
    }
}

/// The report of a stopped run says of every tenant what is true of it, and of the three why, where and what to do.
async fn stopped_by_three(fleet: &Fleet, found: &Value, [bad, changed, held]: [usize; 3]) {
    let mut db = fleet.world.superuser("shared").await;
    let (migrated, failed, pending) = (who(found, "migrated"), who(found, "failed"), who(found, "pending"));
    assert_eq!((found["status"].as_str(), found["failed"].as_u64(), found["locked"].as_u64()), (Some("stopped"), Some(3), Some(0)), "{found}");
    assert_eq!(failed, [bad, changed, held].map(|n| tenant("planted", n)).into(), "{found}");
    assert_eq!(migrated.len() + failed.len() + pending.len(), fleet.size, "everybody is named: {found}");
    assert!(!migrated.is_empty() && !pending.is_empty(), "it stopped on the way: {found}");
    assert_eq!(fleet.with(&mut db, "notes").await, migrated, "who is said to be there is there, and nobody else has anything of it");
    let behind = fleet.size - migrated.len();
    assert_eq!(found["behind"].as_u64(), u64::try_from(behind).ok());
    assert_eq!(found["versions"]["labcloud"], json!({"2": behind, "3": migrated.len()}));
    for result in found["results"].as_array().unwrap() {
        let there = migrated.contains(result["tenant"].as_str().unwrap());
        assert_eq!((result["from_version"].as_str(), result["to_version"].as_str()), (Some("2"), there.then_some("3")), "{result}");
        assert_eq!(result["fault"].is_object(), failed.contains(result["tenant"].as_str().unwrap()), "{result}");
    }
    let fault = |n: usize| found["results"].as_array().unwrap().iter().find(|r| r["tenant"] == tenant("planted", n)).unwrap()["fault"].clone();
    let says = |n: usize| (fault(n)["code"].as_str().unwrap().to_owned(), fault(n)["message"].as_str().unwrap().to_owned(), fault(n)["hint"].to_string());
    let (code, message, hint) = says(bad);
    assert!(code == "23514" && message.starts_with("tenant/V3__add_notes: check constraint") && hint.contains("mend the file or the data"), "{}", fault(bad));
    let (code, message, hint) = says(changed);
    let expected = "tenant/V1__create_lab_results was changed after it was applied (was aaaaaaaaaaaa, is ";
    assert!(code == "history" && message.starts_with(expected) && hint.contains("put the file back"), "{}", fault(changed));
    let (code, message, hint) = says(held);
    assert!(code == "55P03" && message == "tenant/V3__add_notes: canceling statement due to lock timeout" && hint.contains("pg_locks"), "{}", fault(held));
    let at_three = "SELECT count(*) FROM labctl.resources WHERE tenant LIKE 'planted-%' AND outputs->>'version' = '3'";
    assert_eq!(count(&mut fleet.world.registry().await, at_three).await, i64::try_from(migrated.len()).unwrap(), "the registry says the same");
    assert_eq!(fleet.leases().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_pauses_a_fleet_and_a_tenant_in_other_hands_is_skipped_and_counted() {
    let fleet = Fleet::new("paused", 12).await;
    fleet.file("V3__add_notes.sql", &format!("{NOTES}SELECT pg_sleep(0.1);\n"));
    let mut running = fleet.spawn(&["--parallel", "1"]);
    assert!(running.hear("Wave 1", 1));
    running.signal(Signal::SIGINT);
    let run = running.end();
    assert_eq!(run.code, 130, "{run}");
    let mut registry = shared().registry().await;
    let lock = "INSERT INTO labctl.leases (tenant, epoch, holder, host, pid, what, acquired_at, heartbeat_at, expires_at)
        SELECT 'paused-0011', 90, 'carla', 'elsewhere', 1, 'tenant scale', now(), now(), now() + interval '1 hour'
        ON CONFLICT (tenant) DO UPDATE SET epoch = 90, holder = 'carla', host = 'elsewhere', pid = 1, what = 'tenant scale', machine = NULL, expires_at = now() + interval '1 hour'";
    says(&mut registry, lock).await;
    let number: i64 = count(&mut registry, "SELECT run FROM labctl.fleet_results WHERE tenant = 'paused-0000'").await;
    let resumed = fleet.labctl(&["fleet", "resume", &number.to_string(), "-o", "json"]).await;
    assert_eq!(resumed.code, 3, "{resumed}");
    let found = report(&resumed);
    assert_eq!((found["status"].as_str(), found["behind"].as_u64(), found["locked"].as_u64()), (Some("incomplete"), Some(1), Some(1)), "{resumed}");
    assert!(why(&found, "paused-0011").starts_with("locked by carla@elsewhere (process 1), `tenant scale`, "), "{resumed}");
    let alone = fleet.labctl(&["tenant", "migrate", "paused-0011"]).await;
    assert!(alone.code == 5 && alone.err.contains("tenant `paused-0011` is locked by carla@elsewhere"), "{alone}");
    says(&mut registry, "UPDATE labctl.leases SET holder = NULL WHERE tenant = 'paused-0011'").await;
    let alone = fleet.labctl(&["tenant", "migrate", "paused-0011"]).await;
    assert_eq!(alone.code, 0, "{alone}");
    fleet.all_agree(3).await;
    let unknown = fleet.labctl(&["tenant", "migrate", "no-such-tenant"]).await;
    assert_eq!(unknown.code, 1, "{unknown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_made_concurrently_survives_an_invalid_leftover() {
    let fleet = Fleet::new("indexed", 6).await;
    fleet.file("V3__index_by_status.sql", "-- labctl: no-transaction\nCREATE UNIQUE INDEX CONCURRENTLY by_status ON lab_results (status);\n");
    let mut db = shared().superuser("shared").await;
    for code in ["a", "b"] {
        says(&mut db, &format!("INSERT INTO {}.lab_results (patient_id, test_code) VALUES ('p', '{code}')", fleet.schema(2))).await;
    }
    let first = fleet.migrate(&["--max-failures", "1"]).await;
    assert_eq!(first.code, 3, "{first}");
    assert!(why(&report(&first), &tenant("indexed", 2)).contains("could not create unique index"), "{first}");
    let valid = |n: usize| format!("SELECT count(*) FROM pg_index WHERE indexrelid = '{}.by_status'::regclass AND indisvalid", schema("indexed", n));
    assert_eq!((count(&mut db, &valid(2)).await, count(&mut db, &valid(3)).await), (0, 1), "an INVALID index is left over");
    // One that was finished, but not put on record, as a crash in between leaves it; and one of that name which is another.
    says(
        &mut db,
        &format!("SET ROLE indexed_0004_migrate; DROP INDEX {0}.by_status; CREATE INDEX by_status ON {0}.lab_results (test_code); RESET ROLE", fleet.schema(4)),
    )
    .await;
    says(
        &mut db,
        &format!("DELETE FROM {}.labctl_migrations WHERE version = 3; DELETE FROM labctl_ledger.schemas WHERE schema = '{0}'", fleet.schema(4))
            .replace("{0}", &fleet.schema(4)),
    )
    .await;
    says(&mut db, &format!("DELETE FROM {}.lab_results", fleet.schema(2))).await;
    let again = fleet.migrate(&[]).await;
    assert_eq!(again.code, 0, "{again}");
    assert_eq!(count(&mut db, &valid(2)).await, 1, "the leftover was dropped and made again");
    let unique = format!("SELECT count(*) FROM pg_index WHERE indexrelid = '{}.by_status'::regclass AND indisvalid AND indisunique", fleet.schema(4));
    assert_eq!(count(&mut db, &unique).await, 1, "what the file says, not what bears its name");
    fleet.all_agree(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_changed_after_it_was_applied_is_refused_and_versions_stop_where_they_are_told_to() {
    let fleet = Fleet::new("changed", 4).await;
    fleet.file("V3__add_notes.sql", NOTES).file("V4__add_more.sql", "CREATE TABLE more (id int);\n");
    let mut registry = shared().registry().await;
    says(&mut registry, "UPDATE labctl.tenants SET status = 'suspended' WHERE id = 'changed-0003'").await;
    let awake = fleet.migrate(&["--to", "3", "--skip-suspended"]).await;
    assert_eq!((awake.code, report(&awake)["behind"].as_i64(), report(&awake)["migrated"].as_i64()), (0, Some(1), Some(3)), "{awake}");
    let to = fleet.migrate(&["--to", "3"]).await;
    assert_eq!((to.code, report(&to)["tenants"].as_i64(), report(&to)["migrated"].as_i64()), (0, Some(4), Some(1)), "the suspended one too: {to}");
    fleet.all_agree(3).await;
    assert_eq!(fleet.migrate(&["--to", "9"]).await.code, 64);
    assert_eq!(report(&fleet.migrate(&["--to", "3"]).await)["behind"], 0);

    fleet.file("V3__add_notes.sql", "CREATE TABLE notes (id int);\n");
    let changed = fleet.migrate(&[]).await;
    assert_eq!(changed.code, 3, "{changed}");
    assert!(changed.out.contains("tenant/V3__add_notes was changed after it was applied"), "whoever comes first: {changed}");
    let run = report(&changed)["run"].to_string();
    fleet.file("V3__add_notes.sql", NOTES);
    let resumed = fleet.labctl(&["fleet", "resume", &run, "-o", "json"]).await;
    assert_eq!((resumed.code, resumed.error()["code"].as_str()), (1, Some("history_changed")), "that run was about another file: {resumed}");
    // A tenant that puts something of its own in its ledger's place would have the administrator run it.
    let mut db = shared().superuser("shared").await;
    let name = fleet.schema(1);
    says(&mut db, &format!("ALTER TABLE {name}.labctl_migrations RENAME TO kept; CREATE VIEW {name}.labctl_migrations AS SELECT * FROM {name}.kept")).await;
    let odd = fleet.migrate(&["--max-failures", "1"]).await;
    assert_eq!((odd.code, report(&odd)["behind"].as_i64()), (3, Some(1)), "{odd}");
    assert!(why(&report(&odd), &tenant("changed", 1)).contains("is not a plain table"), "{odd}");
    says(&mut db, &format!("DROP VIEW {name}.labctl_migrations; ALTER TABLE {name}.kept RENAME TO labctl_migrations")).await;
    assert_eq!(fleet.migrate(&[]).await.code, 0);
    fleet.all_agree(4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_fleet_migration_tenant_apply_finds_nothing_to_do() {
    let fleet = Fleet::empty(shared(), "agreed");
    let spec = shared().spec("agreed-lab", "labcloud", "trial");
    let created = fleet.labctl(&["tenant", "create", &spec]).await;
    assert_eq!(created.code, 0, "{created}");
    fleet.file("V3__add_notes.sql", NOTES);
    let behind = fleet.labctl(&["tenant", "apply", "agreed-lab", "--dry-run", "--check"]).await;
    assert_eq!(behind.code, 2, "{behind}");
    let migrated = fleet.labctl(&["tenant", "migrate", "agreed-lab"]).await;
    assert_eq!(migrated.code, 0, "{migrated}");
    let apply = fleet.labctl(&["tenant", "apply", "agreed-lab"]).await;
    assert!(apply.code == 0 && apply.err.contains("no changes"), "{apply}");
    let apart = fleet.labctl(&["tenant", "migrate", "agreed-lab", "--to", "2"]).await;
    assert_eq!(apart.code, 0, "who is further than asked for is not behind: {apart}");
    // A module's files come only to who has the module, and count for themselves.
    let modules = fleet.folder().parent().unwrap().join("modules/core");
    fs::create_dir_all(&modules).unwrap();
    fs::write(modules.join("V1__core_things.sql"), "CREATE TABLE core_things (id int);\n").unwrap();
    let none = fleet.labctl(&["tenant", "migrate", "agreed-lab", "-o", "json"]).await;
    assert_eq!((none.code, report(&none)["targets"]["labcloud"].as_str()), (0, Some("tenant 3, core 1")), "{none}");
    assert!(report(&none)["run"].is_null(), "it has no module, so it has nothing to do: {none}");
    let file = shared().dir().join("specs").join(&spec);
    fs::write(&file, format!("{}modules = [\"core\"]\n", fs::read_to_string(&file).unwrap())).unwrap();
    let apply = fleet.labctl(&["tenant", "apply", &spec]).await;
    assert_eq!(apply.code, 0, "{apply}");
    fs::write(modules.join("V2__core_more.sql"), "CREATE TABLE core_more (id int);\n").unwrap();
    let module = fleet.labctl(&["tenant", "migrate", "agreed-lab", "-o", "json"]).await;
    assert_eq!((module.code, report(&module)["results"][0]["to_version"].as_str()), (0, Some("tenant 3, core 2")), "{module}");
    let apply = fleet.labctl(&["tenant", "apply", "agreed-lab"]).await;
    assert!(apply.code == 0 && apply.err.contains("no changes"), "{apply}");
    // A central ledger that says something else than the schema's own is found and mended.
    let mut db = shared().superuser("shared").await;
    says(&mut db, "UPDATE labctl_ledger.schemas SET version = 2 WHERE schema = 'tenant_agreed_lab' AND folder = 'tenant'").await;
    let drifted = fleet.labctl(&["tenant", "apply", "agreed-lab", "--dry-run"]).await;
    assert!(drifted.out.contains("central_ledger"), "{drifted}");
    let mended = fleet.labctl(&["tenant", "migrate", "agreed-lab"]).await;
    assert_eq!(mended.code, 0, "{mended}");
    let apply = fleet.labctl(&["tenant", "apply", "agreed-lab"]).await;
    assert!(apply.code == 0 && apply.err.contains("no changes"), "{apply}");
}

/// What the central ledger says is believed: a schema takes one message, in which it is checked.
#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_is_where_it_is_believed_to_be_takes_one_round_trip() {
    let fleet = Fleet::new("onetrip", 5).await;
    fleet.file("V3__add_notes.sql", NOTES);
    let migrate = fleet.args(&["fleet", "migrate", "--tag", "fleet=onetrip"]);
    let points = blocking(move || places(shared(), &migrate.iter().map(String::as_str).collect::<Vec<_>>())).await.unwrap();
    let sent = |call: &str| points.iter().filter(|p| p.name == "sql.before_statement" && p.what == call).count();
    assert_eq!((sent("postgres:migrate"), sent("postgres:labctl_migrations")), (5, 0));
    fleet.all_agree(3).await;
}
