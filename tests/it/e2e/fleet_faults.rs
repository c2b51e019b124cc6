//! What may come between a fleet and its newest version: a process killed anywhere, one that sleeps while another takes over, hosts of which one
//! is stuck, failures by the hundredth, indexes left INVALID. And who is chosen at all.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use sqlx::PgConnection;

use super::dice::Dice;
use super::fixture::{Run, Running, aside, blocking, long};
use super::fleets::{Fleet, NOTES, count, report, says, tagged, who, why};
use super::plant::tenant;

/// Waits until so many schemas have this table; false where the process has ended before.
async fn reached(fleet: &Fleet, db: &mut PgConnection, running: &mut Running, table: &str, many: i64) -> bool {
    while fleet.having(db, table).await < many {
        if running.child.try_wait().unwrap().is_some() {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    true
}

async fn last_run(fleet: &Fleet) -> i64 {
    count(&mut fleet.world.registry().await, &format!("SELECT max(run) FROM labctl.fleet_results WHERE tenant = '{}'", tenant(&fleet.tag, 0))).await
}

/// One fleet, a version more each round, and each run killed after a chosen number of tenants and a chosen moment more.
#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_a_fleet_is_finished_by_resume_or_by_the_same_command() {
    let (rounds, seed) = if long() { (20, 4_003) } else { (4, 4) };
    let fleet = Fleet::empty(aside(), "slain").plant(None, 12).await;
    let mut db = fleet.world.superuser("shared").await;
    let mut kills = 0;
    println!("round  hands  killed after  kills  finished by");
    for round in 0..rounds {
        let mut dice = Dice::of(seed + round);
        let (version, table, hands) = (round + 3, format!("made_{round}"), (1 + dice.below(4)).to_string());
        let sql = match round % 3 {
            // A unique index: a build that was cut off leaves an INVALID one.
            2 => format!("-- labctl: no-transaction\nCREATE UNIQUE INDEX CONCURRENTLY {table} ON lab_results (id, test_code);\n"),
            _ => format!("CREATE TABLE {table} (id int PRIMARY KEY);\nSELECT pg_sleep(0.02);\n"),
        };
        fleet.file(&format!("V{version}__round_{round}.sql"), &sql);
        let (many, twice, by_resume) = (dice.below(11), dice.below(3) == 0, dice.below(2) == 0);
        let mut killed = 0;
        for attempt in 0..=i64::from(twice) {
            let mut running = fleet.spawn(&["--parallel", &hands]);
            let until = (i64::try_from(many).unwrap() + attempt).min(11);
            if reached(&fleet, &mut db, &mut running, &table, until).await {
                tokio::time::sleep(Duration::from_millis(dice.below(30))).await;
                running.signal(Signal::SIGKILL);
            }
            killed += i64::from(running.end().code == -(Signal::SIGKILL as i32));
        }
        kills += killed;
        let again = match by_resume && killed > 0 {
            true => fleet.labctl(&["fleet", "resume", &last_run(&fleet).await.to_string(), "-o", "json"]).await,
            false => fleet.migrate(&[]).await,
        };
        let nothing_left = again.code == 1 && again.error()["code"] == "nothing_to_resume";
        assert!(again.code == 0 || nothing_left, "seed {seed}, round {round}\n{again}");
        fleet.all_agree(i64::try_from(version).unwrap()).await;
        assert_eq!(fleet.having(&mut db, &table).await, 12, "seed {seed}, round {round}: made once in each");
        let invalid = "SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE NOT i.indisvalid AND relnamespace::regnamespace::text LIKE 'tenant\\_slain%'";
        assert_eq!(count(&mut db, invalid).await, 0);
        assert_eq!(fleet.leases().await, 0, "seed {seed}, round {round}");
        println!("{round:>5}  {hands:>5}  {many:>12}  {killed:>5}  {}", if by_resume { "resume" } else { "the same command" });
    }
    assert!(kills >= i64::try_from(rounds / 2).unwrap(), "only {kills} of {rounds} were killed in time");
}

/// A stopped process holds its run as long as its lease lives. Then another may go on with it, and the first, awake again, begins nothing more.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_slept_while_another_took_its_run_over_does_nothing_more_and_says_so() {
    let fleet = Fleet::empty(aside(), "asleep").plant(None, 6).await;
    fleet.file("V3__add_notes.sql", NOTES);
    let mut running = fleet.spawn(&["--waves", "50%,100%", "--soak", "4s", "--parallel", "1"]);
    assert!(running.hear("Waiting 4 s", 1));
    running.signal(Signal::SIGSTOP);
    let run = last_run(&fleet).await.to_string();
    let mut registry = fleet.world.registry().await;
    let refused = fleet.labctl(&["fleet", "resume", &run, "-o", "json"]).await;
    assert_eq!(refused.code, 5, "its process lives: {refused}");
    let message = refused.error()["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with(&format!("fleet run {run} is locked by e2e@")), "{message}");
    assert!(message.contains(&format!("(process {}), `fleet migrate`", running.child.id())), "{message}");
    if long() {
        let stopped = Instant::now();
        while fleet.labctl(&["fleet", "resume", &run]).await.code == 5 {
            assert!(stopped.elapsed() < Duration::from_secs(75), "its lease never ran out");
        }
        println!("a stopped process's run was taken over after {:.0?}", stopped.elapsed());
        assert!(stopped.elapsed() > Duration::from_secs(30), "and not before its lease had run out");
    } else {
        let over = format!("UPDATE labctl.leases SET expires_at = clock_timestamp() WHERE tenant = '@fleet/{run}'");
        says(&mut registry, &over).await;
        let taken = fleet.labctl(&["fleet", "resume", &run]).await;
        assert_eq!(taken.code, 0, "{taken}");
    }
    fleet.file("V4__add_more.sql", "CREATE TABLE more (id int);\n");
    let all = "SELECT md5(string_agg(r::text, ',' ORDER BY r::text)) FROM (SELECT to_jsonb(f) FROM labctl.fleet_results f WHERE tenant LIKE 'asleep-%' UNION ALL
        SELECT to_jsonb(f) FROM labctl.fleet_runs f WHERE command LIKE '%fleet-asleep%' UNION ALL SELECT to_jsonb(x) FROM labctl.resources x WHERE tenant LIKE 'asleep-%') r";
    let before: String = sqlx::query_scalar(all).fetch_one(&mut registry).await.unwrap();
    let mut db = fleet.world.superuser("shared").await;
    let prints = fleet.prints(&mut db, "notes").await;
    running.signal(Signal::SIGCONT);
    let woken = running.end();
    assert_eq!(woken.code, 5, "{woken}");
    assert!(woken.err.contains(&format!("another process has taken over fleet run {run}")) && !woken.err.contains("Wave 2"), "{woken}");
    let after: String = sqlx::query_scalar(all).fetch_one(&mut registry).await.unwrap();
    assert_eq!((before, prints), (after, fleet.prints(&mut db, "notes").await), "it has written nothing");
    assert_eq!(fleet.leases().await, 0);
}

/// Between waves no tenant is locked, but the run is, and stays so.
#[tokio::test(flavor = "multi_thread")]
async fn a_soak_lasts_as_long_as_it_says_can_be_paused_and_keeps_the_run() {
    let fleet = Fleet::empty(aside(), "soaked").plant(None, 6).await;
    fleet.file("V3__add_notes.sql", NOTES);
    let run = fleet.migrate(&["--waves", "50%,100%", "--soak", "1s"]).await;
    assert_eq!(run.code, 0, "{run}");
    let apart = "SELECT (min(migrated_at) FILTER (WHERE wave = 2) - max(migrated_at) FILTER (WHERE wave = 1) >= interval '1 s')::int::bigint
        FROM (SELECT migrated_at, row_number() OVER (ORDER BY migrated_at) > 3 AS late FROM labctl_ledger.schemas WHERE schema LIKE 'tenant\\_soaked\\_%') s,
        LATERAL (SELECT 1 + late::int AS wave) w";
    let mut db = fleet.world.superuser("shared").await;
    assert_eq!(count(&mut db, apart).await, 1, "a second lies between the waves");
    fleet.file("V4__add_more.sql", "CREATE TABLE more (id int);\n");
    let mut running = fleet.spawn(&["--waves", "50%,100%", "--soak", "10m"]);
    assert!(running.hear("Waiting 600 s", 1));
    if long() {
        tokio::time::sleep(Duration::from_secs(75)).await;
    }
    let number = last_run(&fleet).await.to_string();
    let other = fleet.labctl(&["fleet", "resume", &number]).await;
    assert_eq!(other.code, 5, "a run is not anybody's while it waits: {other}");
    running.signal(Signal::SIGINT);
    let paused = running.end();
    assert_eq!(paused.code, 130, "{paused}");
    assert_eq!(fleet.having(&mut db, "more").await, 3);
    assert_eq!(fleet.labctl(&["fleet", "resume", &number]).await.code, 0);
    fleet.all_agree(4).await;
}

fn chosen(run: &Run) -> BTreeSet<String> {
    report(run)["todo"].as_array().unwrap().iter().map(|t| t["tenant"].as_str().unwrap().to_owned()).collect()
}

fn these(tag: &str, which: impl IntoIterator<Item = usize>) -> BTreeSet<String> {
    which.into_iter().map(|n| tenant(tag, n)).collect()
}

/// Four tenants on one host, four on another: a name of its own for the same server, and another database.
#[tokio::test(flavor = "multi_thread")]
async fn hosts_are_chosen_and_worked_at_side_by_side() {
    const SECOND: &str = "second.abc.us-west-2.rds.amazonaws.com";
    let world = aside();
    blocking(move || world.ok(&["tenant", "list"])).await.unwrap();
    says(&mut world.superuser("postgres").await, "CREATE DATABASE second OWNER labctl_admin TEMPLATE template0").await;
    let fleet = Fleet::empty(world, "hosts").plant(None, 4).await.plant(Some((&format!("{SECOND}:5432"), "second")), 4).await;
    fleet.file("V3__add_notes.sql", &format!("{NOTES}ALTER TABLE lab_results ADD sort int;\n"));
    let mut registry = world.registry().await;
    // Whoever is even has a tag more, and revisions never change by themselves.
    let ring = "SET session_replication_role = replica; UPDATE labctl.revisions SET spec = jsonb_set(spec, '{tags,ring}', '\"outer\"') WHERE tenant ~ '^hosts-.*[02468]$'";
    let database = world.open().await.registry.database;
    says(&mut world.superuser(&database).await, ring).await;
    let dry = |more: &'static [&'static str]| fleet.migrate([&["--dry-run"], more].concat().leak());
    assert_eq!(chosen(&dry(&[]).await), these("hosts", 0..8));
    assert_eq!(chosen(&dry(&["--host", SECOND]).await), these("hosts", 4..8));
    assert_eq!(chosen(&dry(&["--host", "second.abc.us-west-2.rds.amazonaws.com:5432"]).await), these("hosts", 4..8));
    assert_eq!(chosen(&dry(&["--host", "shared.sandbox.internal:5432"]).await), these("hosts", 0..4));
    assert_eq!(chosen(&dry(&["--tag", "ring=outer"]).await), these("hosts", [0, 2, 4, 6]));
    assert_eq!(chosen(&dry(&["--tag", "ring=outer", "--host", SECOND, "--tier", "standard"]).await), these("hosts", [4, 6]));
    assert_eq!(chosen(&dry(&["--tier", "trial"]).await), these("hosts", [1, 3, 5, 7]));
    for none in [&["--tag", "ring=inner"][..], &["--host", "elsewhere"], &["--tag", "ring=outer", "--tier", "enterprise"]] {
        let run = dry(none).await;
        assert_eq!((run.code, report(&run)["tenants"].as_u64()), (0, Some(0)), "{none:?}: {run}");
    }
    let outer = fleet.migrate(&["--tag", "ring=outer", "--host", SECOND]).await;
    assert_eq!((outer.code, who(&report(&outer), "migrated")), (0, these("hosts", [4, 6])), "{outer}");

    // Each host in turn is stuck at its first tenant; the other is done meanwhile.
    let (mut shared, mut second) = (world.superuser("shared").await, world.superuser("second").await);
    assert_eq!((fleet.having(&mut shared, "notes").await, fleet.having(&mut second, "notes").await), (0, 2));
    for (version, stuck) in [(4, 0), (5, 1)] {
        let table = format!("step_{version}");
        fleet.file(&format!("V{version}__more.sql"), &format!("CREATE TABLE {table} (id int);\nALTER TABLE lab_results ADD sort_{version} int;\n"));
        let mut holder = world.superuser(["shared", "second"][stuck]).await;
        // The first by tier and id is the one with the lowest odd number.
        says(&mut holder, &format!("BEGIN; LOCK TABLE {}.lab_results IN ACCESS SHARE MODE", fleet.schema([1, 5][stuck]))).await;
        let running = fleet.spawn(&["--parallel", "1", "--lock-timeout", "1m"]);
        let (going, standing) = if stuck == 0 { (&mut second, &mut shared) } else { (&mut shared, &mut second) };
        let until = Instant::now() + Duration::from_secs(60);
        while fleet.having(going, &table).await < 4 {
            assert!(Instant::now() < until, "one host waits for the other");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(fleet.having(standing, &table).await, 0);
        says(&mut holder, "ROLLBACK").await;
        let run = running.end();
        assert_eq!(run.code, 0, "{run}");
        assert_eq!((fleet.having(&mut shared, &table).await, fleet.having(&mut second, &table).await), (4, 4));
    }
    let at_five = "SELECT count(*) FROM labctl.resources WHERE tenant LIKE 'hosts-%' AND outputs->>'version' = '5'";
    assert_eq!(count(&mut registry, at_five).await, 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_counted_by_the_hundredth_too() {
    let fleet = Fleet::empty(aside(), "percent").plant(None, 10).await;
    let mut db = fleet.world.superuser("shared").await;
    let spoil = |n: usize| format!("INSERT INTO {}.lab_results (patient_id, test_code) VALUES ('bad', 'x')", fleet.schema(n));
    says(&mut db, &spoil(1)).await;
    says(&mut db, &spoil(3)).await;
    fleet.file("V3__add_notes.sql", &format!("{NOTES}ALTER TABLE lab_results ADD CHECK (patient_id <> 'bad');\n"));
    // Of ten, two tenths and a bit are two.
    let sketch = report(&fleet.migrate(&["--max-failures", "29%", "--dry-run"]).await);
    assert_eq!(sketch["may_fail"], 2);
    let ended = fleet.migrate(&["--max-failures", "29%", "--parallel", "1"]).await;
    let found = report(&ended);
    assert_eq!((ended.code, found["status"].as_str(), found["behind"].as_u64()), (3, Some("incomplete"), Some(2)), "it came to its end: {ended}");
    assert_eq!((who(&found, "failed"), who(&found, "migrated").len()), (these("percent", [1, 3]), 8));
    assert_eq!(ended.error()["code"], "behind");
    // Of the two that are left one may fail, and the second stops it; it comes last, so nobody is pending.
    let stopped = fleet.migrate(&["--max-failures", "50%", "--parallel", "1"]).await;
    let found = report(&stopped);
    assert_eq!(
        (stopped.code, found["status"].as_str(), found["failed"].as_u64(), found["behind"].as_u64()),
        (3, Some("stopped"), Some(2), Some(2)),
        "{stopped}"
    );
    let first = fleet.migrate(&["--max-failures", "49%", "--parallel", "1"]).await;
    let found = report(&first);
    assert_eq!((who(&found, "failed"), who(&found, "pending")), (these("percent", [1]), these("percent", [3])), "less than one is none: {first}");
    says(&mut db, &format!("DELETE FROM {0}.lab_results; DELETE FROM {1}.lab_results", fleet.schema(1), fleet.schema(3))).await;
    assert_eq!(fleet.migrate(&[]).await.code, 0);
    fleet.all_agree(3).await;
}

/// Every schema has an INVALID index of the file's name: a run that failed everywhere left it.
#[tokio::test(flavor = "multi_thread")]
async fn indexes_left_invalid_all_over_a_fleet_are_built_again() {
    let fleet = Fleet::empty(aside(), "invalid").plant(None, 5).await;
    let mut db = fleet.world.superuser("shared").await;
    for n in 0..5 {
        for code in ["a", "b"] {
            says(&mut db, &format!("INSERT INTO {}.lab_results (patient_id, test_code) VALUES ('p', '{code}')", fleet.schema(n))).await;
        }
    }
    fleet.file("V3__one_each.sql", "-- labctl: no-transaction\nCREATE UNIQUE INDEX CONCURRENTLY one_each ON lab_results (patient_id);\n");
    let state = |valid: bool| {
        format!(
            "SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE relname = 'one_each' AND indisvalid = {valid}
             AND relnamespace::regnamespace::text LIKE 'tenant\\_invalid\\_%'"
        )
    };
    let failed = fleet.migrate(&["--max-failures", "100%"]).await;
    assert_eq!((failed.code, who(&report(&failed), "failed")), (3, these("invalid", 0..5)), "{failed}");
    assert!(why(&report(&failed), &tenant("invalid", 2)).contains("could not create unique index"), "{failed}");
    let left: &Value = &report(&failed)["results"][0]["fault"]["left"];
    assert!(left.to_string().contains("INVALID index"), "{left}");
    assert_eq!((count(&mut db, &state(false)).await, count(&mut db, &state(true)).await), (5, 0));
    for n in 0..5 {
        says(&mut db, &format!("DELETE FROM {}.lab_results WHERE test_code = 'b'", fleet.schema(n))).await;
    }
    let again = fleet.labctl(&["fleet", "resume", &last_run(&fleet).await.to_string(), "-o", "json"]).await;
    assert_eq!(again.code, 0, "{again}");
    assert_eq!((count(&mut db, &state(false)).await, count(&mut db, &state(true)).await), (0, 5));
    fleet.all_agree(3).await;
}

/// A tenant really suspended: by choice it is left and not counted, or migrated like the others; taken back into use it has nothing to catch up.
#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_tenant_is_left_out_or_migrated_as_one_chooses() {
    let fleet = Fleet::empty(aside(), "resting");
    for id in ["resting-awake", "resting-asleep"] {
        let spec = tagged(fleet.world, id, "labcloud", "trial", "resting");
        let made = fleet.labctl(&["tenant", "create", &spec]).await;
        assert_eq!(made.code, 0, "{made}");
    }
    assert_eq!(fleet.labctl(&["tenant", "suspend", "resting-asleep", "--reason", "unpaid", "--yes"]).await.code, 0);
    fleet.file("V3__add_notes.sql", NOTES);
    let awake = fleet.migrate(&["--skip-suspended"]).await;
    let found = report(&awake);
    assert_eq!((awake.code, found["tenants"].as_u64(), found["behind"].as_u64()), (0, Some(1), Some(0)), "{awake}");
    assert_eq!(who(&found, "migrated"), BTreeSet::from(["resting-awake".to_owned()]));
    let all = fleet.migrate(&[]).await;
    let found = report(&all);
    assert_eq!((all.code, found["tenants"].as_u64(), who(&found, "migrated")), (0, Some(2), BTreeSet::from(["resting-asleep".to_owned()])), "{all}");
    assert_eq!(fleet.labctl(&["tenant", "resume", "resting-asleep"]).await.code, 0);
    let apply = fleet.labctl(&["tenant", "apply", "resting-asleep"]).await;
    assert!(apply.code == 0 && apply.err.contains("no changes"), "{apply}");
}
