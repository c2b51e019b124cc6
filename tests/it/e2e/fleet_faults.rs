//! What may come between a fleet and its newest version: a process killed anywhere, one that sleeps while another takes over, hosts of which one
//! is stuck, failures by the hundredth, indexes left INVALID. And who is chosen at all.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::dice::Dice;
use super::fixture::{Run, Running, World, aside, blocking, long};
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
    assert_eq!(chosen(&dry(&["--tier", "premium"]).await), these("hosts", [0, 2, 4, 6]), "another name of standard");
    // Who chooses nobody has made a mistake, and is told what there is.
    for (none, hint) in [
        (&["--tag", "ring=inner"][..], "values of the tag `ring` there are: `outer`"),
        (&["--tag", "rink=outer"], "values of the tag `rink` there are: nothing"),
        (&["--host", "second.abc.us-west-2.rds.amazonaws.com:5433"], "database hosts there are: `second.abc.us-west-2.rds.amazonaws.com:5432`, "),
        (&["--tag", "ring=outer", "--tier", "enterprise"], "tiers there are: `"),
    ] {
        for more in [&["--dry-run"][..], &[]] {
            let run = fleet.migrate(&[none, more].concat()).await;
            assert_eq!((run.code, run.error()["code"].as_str()), (1, Some("nobody_chosen")), "{none:?}: {run}");
            assert!(run.error()["hint"].to_string().contains(hint), "{none:?}: {run}");
        }
    }
    for wrong in [&["--tier", "entreprise"][..], &["--stack", "labclod"]] {
        let run = fleet.migrate(wrong).await;
        assert!(run.code == 64 && run.err.contains(wrong[1]), "{wrong:?}: {run}");
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
    let members = "SELECT count(*) FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid WHERE r.rolname LIKE '%invalid\\_%\\_migrate'";
    assert_eq!(count(&mut db, members).await, 0, "the administrator stays nobody's where an index could not be made");
    for n in 0..5 {
        says(&mut db, &format!("DELETE FROM {}.lab_results WHERE test_code = 'b'", fleet.schema(n))).await;
    }
    let again = fleet.labctl(&["fleet", "resume", &last_run(&fleet).await.to_string(), "-o", "json"]).await;
    assert_eq!(again.code, 0, "{again}");
    assert_eq!((count(&mut db, &state(false)).await, count(&mut db, &state(true)).await), (0, 5));
    fleet.all_agree(3).await;
}

/// A tenant really suspended: by choice it is left, counted and told of, or migrated like the others; taken back into use it has nothing to catch up.
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
    let skipped = json!([{"tenant": "resting-asleep", "stack": "labcloud", "version": "2", "target": "3"}]);
    let left = "1 suspended tenant left behind, at 2";
    let dry = fleet.migrate(&["--skip-suspended", "--dry-run"]).await;
    assert_eq!((dry.code, &report(&dry)["skipped"], &report(&dry)["current"], &report(&dry)["tenants"]), (2, &skipped, &json!(0), &json!(2)), "{dry}");
    assert_eq!(chosen(&dry), BTreeSet::from(["resting-awake".to_owned()]));
    // With something to do, and with nothing: the exit code is the operator's choice, the words are not.
    for migrated in [&["resting-awake"][..], &[]] {
        let awake = fleet.migrate(&["--skip-suspended"]).await;
        let found = report(&awake);
        assert_eq!((awake.code, found["tenants"].as_u64(), found["behind"].as_u64()), (0, Some(2), Some(1)), "{awake}");
        assert_eq!((&found["skipped"], &found["versions"]), (&skipped, &json!({"labcloud": {"2": 1, "3": 1}})), "{awake}");
        assert_eq!(who(&found, "migrated"), migrated.iter().map(|t| (*t).to_owned()).collect());
        assert!(awake.err.contains(left), "{awake}");
    }
    let told = fleet.labctl(&["fleet", "migrate", "--tag", "fleet=resting", "--skip-suspended"]).await;
    assert!(told.code == 0 && told.out.contains("resting-asleep") && told.err.contains(left), "{told}");
    let all = fleet.migrate(&[]).await;
    let found = report(&all);
    assert_eq!((all.code, found["tenants"].as_u64(), who(&found, "migrated")), (0, Some(2), BTreeSet::from(["resting-asleep".to_owned()])), "{all}");
    let none = fleet.migrate(&["--skip-suspended"]).await;
    assert_eq!((&report(&none)["skipped"], &report(&none)["behind"]), (&json!([]), &json!(0)), "suspended, and there: {none}");
    assert!(!none.err.contains("left behind"), "{none}");
    assert_eq!(fleet.labctl(&["tenant", "resume", "resting-asleep"]).await.code, 0);
    let apply = fleet.labctl(&["tenant", "apply", "resting-asleep"]).await;
    assert!(apply.code == 0 && apply.err.contains("no changes"), "{apply}");
}

/// More may fail, but not the canary.
#[tokio::test(flavor = "multi_thread")]
async fn one_failure_in_the_canary_stops_a_fleet_that_would_bear_five() {
    let fleet = Fleet::empty(aside(), "canary").plant(None, 6).await;
    let mut db = fleet.world.superuser("shared").await;
    says(&mut db, &format!("INSERT INTO {}.lab_results (patient_id, test_code) VALUES ('bad', 'x')", fleet.schema(1))).await;
    fleet.file("V3__add_notes.sql", &format!("{NOTES}ALTER TABLE lab_results ADD CHECK (patient_id <> 'bad');\n"));
    let run = fleet.migrate(&["--canary", "1", "--max-failures", "5"]).await;
    let found = report(&run);
    assert_eq!((run.code, found["status"].as_str(), found["behind"].as_u64()), (3, Some("stopped"), Some(6)), "{run}");
    assert_eq!((who(&found, "failed"), who(&found, "pending")), (these("canary", [1]), these("canary", [0, 2, 3, 4, 5])), "{run}");
    assert_eq!(fleet.having(&mut db, "notes").await, 0);
    let short = fleet.migrate(&["--soak", "500ms"]).await;
    assert!(short.code == 64 && short.err.contains("whole seconds"), "a wait that would be none: {short}");
}

/// Schemas restored in place, and ledgers changed by hand: the central ledger says that they are there.
#[tokio::test(flavor = "multi_thread")]
async fn a_central_ledger_that_is_ahead_is_believed_only_where_nobody_asks_the_schemas() {
    let fleet = Fleet::empty(aside(), "ahead").plant(None, 5).await;
    fleet.file("V3__add_notes.sql", NOTES);
    assert_eq!(fleet.migrate(&[]).await.code, 0);
    fleet.all_agree(3).await;
    let mut db = fleet.world.superuser("shared").await;
    let restore = |n: usize| format!("DROP TABLE {0}.notes; DELETE FROM {0}.labctl_migrations WHERE version = 3", fleet.schema(n));
    for n in [1, 2] {
        says(&mut db, &restore(n)).await;
    }
    // One question for each database does not see it, as docs/migrations.md says.
    let trusting = fleet.migrate(&[]).await;
    assert_eq!((trusting.code, report(&trusting)["run"].is_null()), (0, true), "{trusting}");
    let one = fleet.labctl(&["tenant", "migrate", &tenant("ahead", 1), "-o", "json"]).await;
    assert_eq!((one.code, who(&report(&one), "migrated")), (0, these("ahead", [1])), "{one}");
    assert_eq!(fleet.with(&mut db, "notes").await, these("ahead", [0, 1, 3, 4]));

    says(&mut db, &format!("UPDATE labctl_ledger.schemas SET version = 2 WHERE schema = '{}'", fleet.schema(3))).await;
    let dry = fleet.migrate(&["--look", "--dry-run"]).await;
    assert_eq!((dry.code, chosen(&dry)), (2, these("ahead", [2, 3])), "{dry}");
    let looked = fleet.migrate(&["--look"]).await;
    let found = report(&looked);
    assert_eq!((looked.code, who(&found, "migrated"), who(&found, "found")), (0, these("ahead", [2]), these("ahead", [3])), "{looked}");
    fleet.all_agree(3).await;
    let again = fleet.migrate(&["--look"]).await;
    assert_eq!((again.code, report(&again)["run"].is_null()), (0, true), "{again}");

    // A ledger that cannot be read is its tenant's matter, and keeps nobody from being looked at.
    says(&mut db, &restore(1)).await;
    says(&mut db, &format!("ALTER TABLE {}.labctl_migrations RENAME checksum TO sum", fleet.schema(0))).await;
    let odd = fleet.migrate(&["--look", "--max-failures", "1"]).await;
    let found = report(&odd);
    assert_eq!((odd.code, found["behind"].as_u64()), (3, Some(1)), "{odd}");
    assert_eq!((who(&found, "failed"), who(&found, "migrated")), (these("ahead", [0]), these("ahead", [1])), "{odd}");
    says(&mut db, &format!("ALTER TABLE {}.labctl_migrations RENAME sum TO checksum", fleet.schema(0))).await;
    assert_eq!(fleet.migrate(&["--look"]).await.code, 0);
    fleet.all_agree(3).await;
}

/// In a sandbox of its own: nobody else's run is to change the statistics, and there is a fleet of nobody.
#[tokio::test(flavor = "multi_thread")]
async fn catalogs_are_analysed_after_a_hundred_changes_and_a_fleet_of_nobody_has_nothing_to_do() {
    let fleet = Fleet::empty(Box::leak(Box::new(World::started())), "bulk");
    let nobody = fleet.labctl(&["fleet", "migrate", "-o", "json"]).await;
    assert_eq!((nobody.code, report(&nobody)["status"].as_str(), report(&nobody)["tenants"].as_u64()), (0, Some("done"), Some(0)), "{nobody}");
    let filtered = fleet.labctl(&["fleet", "migrate", "--stack", "labcloud", "-o", "json"]).await;
    assert_eq!((filtered.code, filtered.error()["code"].as_str()), (1, Some("nobody_chosen")), "{filtered}");

    let fleet = fleet.plant(None, 100).await;
    fleet.file("V3__add_notes.sql", NOTES);
    let mut db = fleet.world.superuser("shared").await;
    let analysed =
        "SELECT count(last_analyze) FROM pg_stat_sys_tables WHERE schemaname = 'pg_catalog' AND relname IN ('pg_class', 'pg_attribute', 'pg_depend')";
    assert_eq!(fleet.labctl(&["tenant", "migrate", &tenant("bulk", 0)]).await.code, 0);
    let few = fleet.migrate(&[]).await;
    assert_eq!((few.code, who(&report(&few), "migrated").len(), count(&mut db, analysed).await), (0, 99, 0), "{few}");
    fleet.file("V4__add_more.sql", "CREATE TABLE more (id int);\n");
    let many = fleet.migrate(&[]).await;
    assert_eq!((many.code, who(&report(&many), "migrated").len()), (0, 100), "{many}");
    // What a session did is in the statistics a moment after it.
    let until = Instant::now() + Duration::from_secs(20);
    while count(&mut db, analysed).await < 3 {
        assert!(Instant::now() < until, "the catalogs were not analysed");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    fleet.all_agree(4).await;
}
