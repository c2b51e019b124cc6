//! `kill -9` at every boundary of every verb: nothing is lost, nothing is orphaned, nothing is there twice (docs/reliability.md).

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;

use aws_sdk_s3::types::CreateBucketConfiguration;
use futures_util::FutureExt as _;
use labctl::failpoint::ALL;
use labctl::sandbox::REGION;

use super::events::{receiver, webhooks};
use super::fixture::{Run, World, blocking, shared};
use super::fleets::{Fleet, NOTES};
use super::killed::{Case, Neighbour, Point, Scene, Way, asleep, audit, kill, places, play_all, struck, unfinished};
use super::matrix::{CREATE, DELETE, LABCLOUD, MATE, PURGE, SERVICES, table};
use super::plant::tenant;
use crate::audit::{self, Scope, Verdict};

/// What one tenant goes through: at each command, the places it is killed at, one after the other, before it is let through.
const LIFE: &[(&str, &[&str])] = &[
    (
        CREATE,
        &[
            "lease.taken",
            "verb.planned",
            "verb.begun",
            "registry.before_commit",
            "registry.committed",
            "journal.before_entry",
            "journal.entry_written",
            "step.before_create",
            "aws.before_call",
            "aws.called",
            "step.created",
            "sql.before_statement",
            "sql.done",
            "migration.before_commit",
            "migration.committed",
            "verb.ran",
            "verb.names_released",
            "verb.finished",
        ],
    ),
    ("tenant suspend {id}", &["step.before_update", "step.updated", "verb.finished", "lease.released"]),
    ("tenant resume {id}", &[]),
    ("tenant credentials rotate {id} --grace 0", &["rotate.phase_done"]),
    (DELETE, &["verb.begun"]),
    (PURGE, &["step.before_delete", "step.deleted", "verb.proven", "verb.finished"]),
];

/// One tenant's life.
fn life(id: &str) -> Vec<String> {
    let world = shared();
    world.spec(id, "labcloud", "enterprise");
    let mut struck = Vec::new();
    for (line, points) in LIFE {
        let words: Vec<String> = line.split_whitespace().map(|w| w.replace("{id}", id)).collect();
        let args: Vec<&str> = words.iter().map(String::as_str).collect();
        for point in *points {
            kill(world, &args, point);
            struck.push((*point).to_owned());
        }
        world.ok(&args);
        assert_eq!(unfinished(world, id), None, "{line}");
    }
    struck
}

/// Killed between a failure and its undoing.
async fn undone(id: &'static str) -> Vec<String> {
    let (world, bucket) = (shared(), format!("labcloud-{id}-sandbox-data"));
    let cloud = world.cloud().await;
    let here = CreateBucketConfiguration::builder().location_constraint(REGION.into()).build();
    cloud.s3.create_bucket().bucket(&bucket).create_bucket_configuration(here).send().await.unwrap();
    let spec = world.spec(id, "labcloud", "enterprise");
    blocking(move || kill(world, &["tenant", "create", &spec, "--on-failure", "undo"], "verb.undo_planned")).await.unwrap();
    cloud.s3.delete_bucket().bucket(&bucket).send().await.unwrap();
    blocking(move || world.ok(&["operation", "resume", &unfinished(world, id).unwrap()])).await.unwrap();
    vec!["verb.undo_planned".to_owned()]
}

/// Killed while telling others: each event comes once at least, and none is forgotten.
async fn told(id: &'static str) -> Vec<String> {
    let world = shared();
    let (port, came) = receiver(&[]);
    let config = webhooks(&[(id, port)]).await;
    world.spec(id, "labcloud", "trial");
    let points = ["events.claimed", "events.sent", "events.recorded"];
    let commands = [format!("tenant create {id}.toml"), format!("tenant suspend {id}"), format!("tenant resume {id}")];
    blocking(move || {
        for (point, line) in points.iter().zip(&commands) {
            let args: Vec<&str> = line.split_whitespace().chain(["--config", &config]).collect();
            kill(world, &args, point);
            assert_eq!(unfinished(world, id), None, "what is told is over");
            // The dead process's claim runs out by itself, in a minute.
            let out = "UPDATE labctl.deliveries SET claimed_until = clock_timestamp() WHERE tenant = $1 AND claimed_until IS NOT NULL";
            let run_out = async { sqlx::query(out).bind(id).execute(&mut world.registry().await).await.unwrap() };
            tokio::runtime::Handle::current().block_on(run_out);
        }
        world.ok(&["events", "deliver", "--all", "--config", &config]);
    })
    .await
    .unwrap();
    let types: BTreeSet<String> = came.try_iter().map(|c| c.header("labctl-event-type").to_owned()).collect();
    let told: Vec<_> = ["activate", "deactivate", "onboarding"].iter().flat_map(|v| [format!("{v}.started"), format!("{v}.succeeded")]).collect();
    assert_eq!(types.into_iter().collect::<Vec<_>>(), told);
    points.map(ToOwned::to_owned).to_vec()
}

fn migration(fleet: &Fleet, tag: &str) -> Vec<String> {
    fleet.args(&["fleet", "migrate", "--tag", &format!("fleet={tag}"), "--parallel", "2", "--waves", "50%,100%"])
}

async fn killed(args: &[String], point: &str) {
    let (args, point) = (args.to_vec(), point.to_owned());
    blocking(move || kill(shared(), &args.iter().map(String::as_str).collect::<Vec<_>>(), &point)).await.unwrap();
}

async fn answered(args: &[String]) -> Run {
    let args = args.to_vec();
    blocking(move || shared().run(&args.iter().map(String::as_str).collect::<Vec<_>>())).await.unwrap()
}

/// The number of this fleet's last run.
async fn last_run(tag: &str) -> String {
    let last = "SELECT max(run)::text FROM labctl.fleet_results WHERE tenant LIKE $1 || '-%'";
    sqlx::query_scalar(last).bind(tag).fetch_one(&mut shared().registry().await).await.unwrap()
}

/// A fleet killed again and again.
async fn fleet(tag: &'static str) -> Vec<String> {
    let fleet = Fleet::new(tag, 12).await;
    fleet.file("V3__add_notes.sql", NOTES).file("V4__by_body.sql", "-- labctl: no-transaction\nCREATE INDEX CONCURRENTLY by_body ON notes (body);\n");
    let points = [
        "fleet.begun",
        "fleet.leases_taken",
        "fleet.before_migrate",
        "fleet.migrated",
        "migration.index_made",
        "migration.index_recorded",
        "fleet.recorded",
        "fleet.wave_done",
    ];
    let migrate = migration(&fleet, tag);
    for point in points {
        killed(&migrate, point).await;
    }
    let resume = fleet.args(&["fleet", "resume", &last_run(tag).await]);
    killed(&resume, "fleet.claimed").await;
    killed(&resume, "fleet.ended").await;
    assert_eq!(answered(&migrate).await.code, 0);
    fleet.all_agree(4).await;
    assert_eq!(fleet.leases().await, 0);
    points.iter().chain(&["fleet.claimed", "fleet.ended"]).map(|p| (*p).to_owned()).collect()
}

/// The auditor's word on these, in a sandbox where others are at work: a listing that met something on its way out is made again.
async fn audited(ids: &[&str]) -> Verdict {
    for _ in 0..3 {
        if let Ok(verdict) = AssertUnwindSafe(Box::pin(audit::audit(shared(), Scope::Tenants(ids)))).catch_unwind().await {
            return verdict;
        }
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    Box::pin(audit::audit(shared(), Scope::Tenants(ids))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_every_boundary_there_is_the_same_command_goes_on() {
    let (lived, undone, told, fleet) = tokio::join!(blocking(|| life("struck-lab")), undone("stricken-lab"), told("telling-lab"), fleet("felled"));
    let struck: BTreeSet<String> = [lived.unwrap(), undone, told, fleet].concat().into_iter().collect();
    let all: BTreeSet<String> = ALL.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(struck, all, "left: struck here, right: what there is");
    let ids = ["struck-lab", "stricken-lab", "telling-lab"];
    assert_eq!(audit(shared(), &ids.map(ToOwned::to_owned)).await, BTreeMap::new());
    let verdict = audited(&ids).await;
    assert!(verdict.recorded > 0 && verdict.is_clean(), "{verdict}");
}

/// Of the long version's cases: at least one of every verb, and each way on. Those of one line are one tenant's, one after the other.
const SAMPLE: &[&[(&Scene, &str, Way)]] = &[
    &[(&MATE[0][8], "step.deleted#3", Way::Resume)],
    &[(&SERVICES[0], "aws.called#1", Way::Again), (&SERVICES[1], "aws.called#2", Way::Purge)],
    &[(&LABCLOUD[2][0], "aws.called#9", Way::Purge)],
    &[(&LABCLOUD[2][0], "journal.entry_written#20", Way::Again)],
    &[(&MATE[0][0], "aws.called#17", Way::Again)],
    &[(&LABCLOUD[0][0], "step.created#3", Way::Purge)],
    &[(&LABCLOUD[1][0], "aws.called#4", Way::Resume)],
    &[(&LABCLOUD[0][1], "sql.done#2", Way::Resume)],
    &[(&LABCLOUD[0][2], "step.updated#1", Way::Purge)],
    &[(&LABCLOUD[0][3], "verb.begun#1", Way::Resume)],
    &[(&LABCLOUD[0][4], "sql.done#3", Way::Again)],
    &[(&LABCLOUD[0][5], "step.updated#2", Way::Resume)],
    &[(&LABCLOUD[1][6], "verb.begun#1", Way::Purge)],
    &[(&LABCLOUD[0][7], "verb.ran#1", Way::Again)],
    &[(&LABCLOUD[0][8], "aws.called#2", Way::Resume)],
    &[(&LABCLOUD[0][9], "migration.index_made#1", Way::Again)],
];

fn sampled() -> Vec<Vec<Case>> {
    let case = |id: String, (scene, place, way): &(&'static Scene, &str, Way)| {
        let (name, nth) = place.split_once('#').unwrap();
        let point = Point { name: name.to_owned(), nth: nth.parse().unwrap(), what: String::new() };
        Case { scene, point, way: *way, id }
    };
    SAMPLE.iter().enumerate().map(|(n, chain)| chain.iter().map(|one| case(format!("sampled-{n}"), one)).collect()).collect()
}

/// In a sandbox of its own, so that the auditor can look at everything there is.
#[tokio::test(flavor = "multi_thread")]
async fn a_sample_of_kills_at_every_verb_ends_clean_by_each_way_on() {
    let verbs: BTreeSet<&str> = LABCLOUD[0].iter().chain(&SERVICES).map(|scene| scene.name).collect();
    let cases = || SAMPLE.iter().copied().flatten();
    assert_eq!(cases().map(|(scene, ..)| scene.name).collect::<BTreeSet<_>>(), verbs, "left: sampled, right: what there is");
    let world: &'static World = Box::leak(Box::new(blocking(World::started).await.unwrap()));
    let neighbour = Neighbour::new(world, "beside-lab", "labcloud", "trial").await;
    let played = play_all(world, sampled(), 3).await;
    assert_eq!(played.len(), cases().count());
    let ids: Vec<String> = played.iter().map(|(case, _)| case.id.clone()).collect();
    let wrong = audit(world, &ids).await;
    let failed: Vec<String> = played.iter().filter_map(|(case, answer)| answer.as_ref().err().map(|why| format!("{case}\n{why}"))).collect();
    assert!(failed.is_empty() && wrong.is_empty(), "{}\n{wrong:#?}\n{}", table(&played, &wrong), failed.join("\n\n"));
    neighbour.is_untouched().await;
    Box::pin(audit::audit(world, Scope::Everything)).await.assert_clean();
    blocking(|| world.ok(&["sandbox", "stop", "-q"])).await.unwrap();
}

#[expect(clippy::print_stdout, reason = "the long version's table is for people")]
fn tell_migrations(command: &str, rows: &BTreeMap<(String, Way), usize>) {
    for ((place, way), cases) in rows {
        println!("{:<38} {place:<24} {:<7} {cases:>5} {cases:>5}", format!("{command} migrate"), format!("{way:?}").to_lowercase());
    }
}

/// The same for migrations: a fleet of six, for each place and way on two versions more, one of them an index made concurrently.
#[tokio::test(flavor = "multi_thread")]
async fn a_migration_killed_anywhere_is_finished_by_resume_and_by_the_same_command() {
    if std::env::var_os("LABCTL_TEST_LONG").is_none() {
        return;
    }
    for (command, ways) in [("fleet", &[Way::Again, Way::Resume][..]), ("tenant", &[Way::Again])] {
        let tag = if command == "fleet" { "cutdown" } else { "cutoff" };
        let fleet = Fleet::new(tag, if command == "fleet" { 6 } else { 1 }).await;
        let line = match command {
            "fleet" => migration(&fleet, tag),
            _ => fleet.args(&["tenant", "migrate", &tenant(tag, 0)]),
        };
        let mut version = 2;
        let mut more = || {
            fleet.file(&format!("V{}__t{version}.sql", version + 1), &format!("CREATE TABLE t{version} (id int);\n"));
            let index = format!("-- labctl: no-transaction\nCREATE INDEX CONCURRENTLY i{version} ON t{version} (id);\n");
            fleet.file(&format!("V{}__i{version}.sql", version + 2), &index);
            version += 2;
            version
        };
        let mut agreed = more();
        let args = line.clone();
        let points = blocking(move || places(shared(), &args.iter().map(String::as_str).collect::<Vec<_>>())).await.unwrap();
        let mut rows: BTreeMap<(String, Way), usize> = BTreeMap::new();
        for point in &points {
            for way in ways {
                fleet.all_agree(agreed).await;
                agreed = more();
                killed(&line, &point.to_string()).await;
                let resume = match way {
                    Way::Resume => fleet.args(&["fleet", "resume", &last_run(tag).await]),
                    _ => line.clone(),
                };
                let run = answered(&resume).await;
                let over = *way == Way::Resume && run.err.contains("there is nothing to resume");
                // Before its run was on record there is another one's end to resume.
                assert!(run.code == 0 || over, "{command}, {point} ({}), {way:?}\n{run}", point.what);
                assert_eq!(answered(&line).await.code, 0);
                *rows.entry((point.name.clone(), *way)).or_default() += 1;
            }
        }
        fleet.all_agree(agreed).await;
        assert_eq!(fleet.leases().await, 0);
        tell_migrations(command, &rows);
    }
}

/// It sleeps between a create and its record, and wakes when another has finished its work. What was on its way to AWS then still gets there:
/// of this tier everything bears a name that only one can bear (docs/reliability.md tells of the others).
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_slept_through_its_lease_writes_nothing_and_makes_nothing() {
    let work = || {
        let (world, id) = (shared(), "asleep-lab");
        let spec = world.spec(id, "labcloud", "trial");
        let sleeper = asleep(world, &["tenant", "create", &spec], "step.created#3");
        world.ok(&["lock", "break", id, "--confirm", id]);
        world.ok(&["tenant", "create", &spec]);
        let before = world.json(&["tenant", "show", id]);
        sleeper.wake();
        let run = sleeper.end();
        assert_eq!((run.code, world.json(&["tenant", "show", id])), (5, before), "{run}");
        assert!(run.err.contains("taken over by another process"), "{run}");
        world.ok(&["tenant", "drift", id]);
    };
    blocking(work).await.unwrap();
    assert_eq!(audit(shared(), &["asleep-lab".to_owned()]).await, BTreeMap::new());
}

/// A misspelt name must not make a test that strikes nothing.
#[test]
fn a_place_there_is_not_is_refused() {
    for wrong in ["step.nowhere", "step.created#0"] {
        let (run, proof) = struck(shared(), &["tenant", "list"], wrong, "kill");
        assert_eq!((run.code, proof.as_str()), (64, ""), "{run}");
    }
}
