//! The registry lost in the middle of a create, or of a fleet's migration: its sessions ended, its server killed and started again, read-only, without a connection to
//! spare, its disk full. The run goes on or stops with words an operator can act upon, the same command ends well, and nothing is lost,
//! orphaned or doubled. In sandboxes of their own, since servers are stopped in them.
#![expect(clippy::print_stdout, reason = "the table of cases and results")]

use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::Value;
use sqlx::PgConnection;

use super::fixture::{Run, World, blocking, long};
use super::fleets::{Fleet, count, says};
use super::killed::asleep;
use super::pooler::in_ci;
use super::sweep::sweep;
use crate::audit::{Scope, audit};

/// Sessions that labctl has with its registry.
const SESSIONS: &str = "FROM pg_stat_activity WHERE application_name = 'labctl' AND datname = 'labctl_registry'";
/// A registry that stays away is waited for, for the better part of a minute.
const PATIENCE: Duration = Duration::from_secs(240);

/// What is done to the registry while labctl is halted, and undone when it is awake again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    /// Its sessions are ended by the server.
    Terminated,
    /// The server is killed (immediate shutdown), and started again after so many seconds.
    Down(u64),
    /// The server takes no writes for so many seconds.
    ReadOnly(u64),
    /// The sessions are ended, and what answers then is a replica; so many seconds later the name leads to the primary again.
    FailedOver(u64),
}

/// A create that loses its registry at a place.
struct Case {
    at: &'static str,
    loss: Loss,
    /// With which of these it may end.
    ends: &'static [i32],
}

async fn end_sessions(db: &mut PgConnection) -> i64 {
    count(db, &format!("SELECT count(pg_terminate_backend(pid)) {SESSIONS}")).await
}

/// PostgreSQL's own process of a sandbox.
fn postmaster(world: &World) -> Pid {
    let file = std::fs::read_to_string(world.sandbox_dir().join("postgres/data/postmaster.pid")).unwrap();
    Pid::from_raw(file.lines().next().unwrap().trim().parse().unwrap())
}

async fn pause(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

async fn read_only(db: &mut PgConnection, is: bool) {
    says(db, &format!("ALTER SYSTEM SET default_transaction_read_only = {is}")).await;
    says(db, "SELECT pg_reload_conf()").await;
    // The server reads it in its own time. It tells all sessions at once: what ours has heard, labctl's hears before its next statement.
    let until = Instant::now() + Duration::from_secs(20);
    while count(db, "SELECT (current_setting('default_transaction_read_only') = 'on')::int::bigint").await != i64::from(is) {
        assert!(Instant::now() < until, "the server did not read its settings again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// How often the server has refused a write because it takes none.
fn refused_writes(world: &World) -> usize {
    let log = std::fs::read_to_string(world.sandbox_dir().join("postgres/postgres.log")).unwrap();
    log.lines().filter(|line| line.contains("ERROR:") && line.contains("in a read-only transaction")).count()
}

impl Loss {
    /// `wake` lets labctl go on.
    async fn happen(self, world: &'static World, wake: impl FnOnce()) {
        let mut db = world.superuser("postgres").await;
        match self {
            Self::Terminated => {
                assert!(end_sessions(&mut db).await > 0, "there was no session to end");
                wake();
            }
            Self::Down(seconds) => {
                nix::sys::signal::kill(postmaster(world), Signal::SIGQUIT).unwrap();
                wake();
                pause(seconds).await;
                blocking(|| world.ok(&["sandbox", "start", "-q"])).await.unwrap();
            }
            Self::ReadOnly(seconds) => {
                let before = refused_writes(world);
                read_only(&mut db, true).await;
                wake();
                let until = Instant::now() + PATIENCE;
                while refused_writes(world) == before {
                    assert!(Instant::now() < until, "labctl wrote nothing that could be refused");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                pause(seconds).await;
                read_only(&mut db, false).await;
            }
            Self::FailedOver(seconds) => {
                says(&mut db, "ALTER ROLE labctl_registry SET default_transaction_read_only = on").await;
                assert!(end_sessions(&mut db).await > 0, "there was no session to end");
                wake();
                let until = Instant::now() + PATIENCE;
                while count(&mut db, &format!("SELECT count(*) {SESSIONS}")).await == 0 {
                    assert!(Instant::now() < until, "it did not connect again");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                pause(seconds).await;
                says(&mut db, "ALTER ROLE labctl_registry RESET default_transaction_read_only").await;
            }
        }
    }
}

/// What an operator is told must be enough to go on by.
fn is_told(run: &Run) {
    let error = run.error();
    assert!(error["code"].as_str().is_some_and(|c| !c.is_empty()), "{run}");
    assert!(run.code == 1 || error["left"].as_array().is_some_and(|l| !l.is_empty()), "what is left is not told\n{run}");
    assert!(error["hint"].as_str().is_some_and(|h| !h.is_empty()), "what to do is not told\n{run}");
    assert!(!run.err.contains("panicked"), "{run}");
}

impl Case {
    async fn play(&self, world: &'static World, id: &str) -> Run {
        let (spec, at) = (world.spec(id, "labcloud", "trial"), self.at);
        let halted = blocking(move || asleep(world, &["tenant", "create", &spec, "-o", "json"], at)).await.unwrap();
        self.loss.happen(world, || halted.wake()).await;
        let run = blocking(move || halted.end_within(PATIENCE)).await.unwrap();
        assert!(self.ends.contains(&run.code), "{:?} at {at}\n{run}", self.loss);
        if run.code != 0 {
            is_told(&run);
            let again = format!("{id}.toml");
            let done = blocking(move || world.run(&["tenant", "create", &again])).await.unwrap();
            assert_eq!(done.code, 0, "{:?} at {at}, then the same command\n{run}\n{done}", self.loss);
        }
        run
    }
}

async fn all_play(world: &'static World, name: &str, cases: &[Case]) {
    println!("{name}: lost at                          how              exit  seconds");
    for (n, case) in cases.iter().enumerate() {
        let began = Instant::now();
        let run = case.play(world, &format!("{name}-{n}")).await;
        println!("{:<40}  {:<15}  {:>4}  {:>7}", case.at, format!("{:?}", case.loss), run.code, began.elapsed().as_secs());
    }
    Box::pin(audit(world, Scope::Everything)).await.assert_clean();
    assert_eq!(world.json(&["lock", "list"]), serde_json::json!([]), "a lease is stuck");
    let mut registry = world.registry().await;
    assert_eq!(count(&mut registry, "SELECT count(*) FROM labctl.operations WHERE status <> 'done'").await, 0);
    assert_eq!(count(&mut registry, "SELECT count(*) FROM labctl.tenants WHERE status <> 'active'").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_whose_registry_is_lost_for_a_short_time_goes_on_or_says_what_to_do_and_the_same_command_ends_well() {
    let world: &'static World = Box::leak(Box::new(World::started()));
    world.ok(&["registry", "init"]);
    use Loss::{Down, FailedOver, ReadOnly, Terminated};
    let case = |at, loss, ends| Case { at, loss, ends };
    let (done, unbegun, either): (&[i32], &[i32], &[i32]) = (&[0], &[1], &[0, 3]);
    let mut cases = vec![
        case("registry.before_commit", Terminated, unbegun),
        case("journal.before_entry", Terminated, done),
        case("step.created", Terminated, done),
        case("registry.before_commit#3", Terminated, done),
        case("step.created", Down(1), either),
        case("registry.before_commit#2", Down(1), either),
        case("verb.ran", ReadOnly(1), done),
        case("step.created#2", FailedOver(1), done),
    ];
    if long() {
        let points = ["lease.taken", "verb.planned", "registry.committed", "verb.begun", "step.before_create#3", "journal.entry_written#4"];
        cases.extend(points.map(|at| case(at, Terminated, &[0, 1, 3])));
        let points = ["verb.ran", "registry.before_commit#2", "verb.names_released", "verb.finished", "lease.released"];
        cases.extend(points.map(|at| case(at, Terminated, done)));
        for at in ["registry.before_commit", "journal.before_entry#2", "sql.done#2", "verb.ran", "verb.finished"] {
            cases.extend([Down(2), ReadOnly(2), FailedOver(2)].map(|loss| case(at, loss, &[0, 1, 3])));
        }
        for at in ["step.created", "verb.ran"] {
            cases.extend([Down(70), ReadOnly(70)].map(|loss| case(at, loss, &[3])));
        }
    }
    all_play(world, "lost", &cases).await;
    is_read_only_from_the_start(world).await;
    world.ok(&["sandbox", "stop", "-q"]);
}

/// The same for a fleet's migration.
#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_whose_registry_is_lost_for_a_short_time_goes_on_and_where_it_stays_away_the_run_is_resumed() {
    let world: &'static World = Box::leak(Box::new(World::started()));
    let fleet = Fleet::empty(world, "lossy").plant(None, 150).await;
    use Loss::{FailedOver, Terminated};
    let mut cases: Vec<(&str, Loss, i32)> = vec![
        ("fleet.leases_taken", Terminated, 0),
        ("fleet.migrated#20", Terminated, 0),
        // The second commit is that of the first results.
        ("registry.before_commit#2", Terminated, 0),
        ("registry.committed#2", Terminated, 0),
        ("fleet.wave_done", Terminated, 0),
        ("fleet.migrated#20", FailedOver(1), 0),
    ];
    if long() {
        cases.extend([("fleet.leases_taken", FailedOver(70), 3), ("fleet.migrated#20", FailedOver(70), 3), ("fleet.wave_done", FailedOver(70), 3)]);
    }
    for (version, (at, loss, code)) in (3..).zip(cases) {
        fleet.file(&format!("V{version}__more.sql"), &format!("CREATE TABLE more_{version} (id int);"));
        let line = ["fleet", "migrate", "--tag", "fleet=lossy", "-o", "json"];
        let args = fleet.args(&line);
        let halted = blocking(move || asleep(world, &args.iter().map(String::as_str).collect::<Vec<_>>(), at)).await.unwrap();
        loss.happen(world, || halted.wake()).await;
        let run = blocking(move || halted.end_within(PATIENCE)).await.unwrap();
        println!("fleet, at {at}: {loss:?}: exit {}", run.code);
        assert_eq!(run.code, code, "{loss:?} at {at}\n{run}");
        if code != 0 {
            is_told(&run);
            assert!(run.error()["hint"].as_str().unwrap().contains("labctl fleet resume"), "{run}");
            let resumed = fleet.labctl(&["fleet", "resume", "--last"]).await;
            assert_eq!(resumed.code, 0, "{run}\n{resumed}");
        }
        fleet.all_agree(version).await;
        assert_eq!(fleet.leases().await, 0, "{loss:?} at {at}");
    }
    world.ok(&["sandbox", "stop", "-q"]);
}

/// What writes is refused by name, and what reads still works.
async fn is_read_only_from_the_start(world: &'static World) {
    let mut db = world.superuser("postgres").await;
    read_only(&mut db, true).await;
    let spec = world.spec("lost-late", "labcloud", "trial");
    let refused = world.run(&["tenant", "create", &spec, "-o", "json"]);
    assert_eq!((refused.code, refused.error()["code"].as_str()), (1, Some("registry_read_only")), "{refused}");
    assert!(refused.error()["hint"].as_str().unwrap().contains("replica"), "{refused}");
    for line in ["tenant list", "tenant show lost-0", "operation list", "fleet status", "lock list", "registry status", "tenant history lost-0"] {
        let run = world.run(&line.split(' ').collect::<Vec<_>>());
        assert_eq!(run.code, 0, "{line}\n{run}");
    }
    read_only(&mut db, false).await;
    world.ok(&["tenant", "create", &spec]);
}

/// Each thing of a tenant that is there is on record, if only as intended.
async fn nothing_is_off_the_record(world: &'static World, id: &str) {
    let sql = format!("SELECT address FROM labctl.resources WHERE tenant = '{id}' AND status IN ('intended', 'created', 'ready')");
    let on_record: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_all(&mut world.registry().await).await.unwrap();
    let there = Box::pin(sweep(world)).await.remove(id).unwrap_or_default();
    let off: Vec<_> = there.iter().filter(|(address, _)| !on_record.contains(address)).collect();
    assert!(off.is_empty(), "{off:?} is not on record: {on_record:?}");
    assert!(!there.is_empty(), "nothing was made before");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_whose_disk_is_full_stops_the_run_before_the_next_call_and_with_space_the_same_command_ends_well() {
    let world: &'static World = Box::leak(Box::new(World::started()));
    let spec = world.spec("full-lab", "labcloud", "standard");
    let file = spec.clone();
    let halted = blocking(move || asleep(world, &["tenant", "create", &file, "-o", "json"], "step.created#2")).await.unwrap();
    let mut registry = world.registry().await;
    says(&mut registry, "CREATE FUNCTION disk_full() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$").await;
    for table in ["steps", "resources", "operations"] {
        says(&mut registry, &format!("CREATE TRIGGER disk_full BEFORE INSERT OR UPDATE ON labctl.{table} FOR EACH ROW EXECUTE FUNCTION disk_full()")).await;
    }
    let begun = "SELECT count(*) FROM labctl.resources WHERE tenant = 'full-lab'";
    let before = count(&mut registry, begun).await;
    halted.wake();
    no_connection_to_spare(world).await;
    let run = blocking(move || halted.end_within(PATIENCE)).await.unwrap();
    assert_eq!((run.code, run.error()["code"].as_str()), (3, Some("registry_full")), "{run}");
    is_told(&run);
    nothing_is_off_the_record(world, "full-lab").await;
    assert_eq!(count(&mut registry, begun).await, before, "it went on");
    let refused = world.run(&["tenant", "create", &spec, "-o", "json"]);
    assert_eq!((refused.code, refused.error()["code"].as_str()), (1, Some("registry_full")), "{refused}");
    is_told(&refused);
    says(&mut registry, "DROP FUNCTION disk_full CASCADE").await;
    world.ok(&["tenant", "create", &spec]);
    Box::pin(audit(world, Scope::Everything)).await.assert_clean();
    world.ok(&["sandbox", "stop", "-q"]);
}

/// Too many connections from the start.
async fn no_connection_to_spare(world: &'static World) {
    let mut db = world.superuser("postgres").await;
    says(&mut db, "ALTER ROLE labctl_registry CONNECTION LIMIT 0").await;
    let refused = blocking(|| world.run(&["tenant", "list", "-o", "json"])).await.unwrap();
    says(&mut db, "ALTER ROLE labctl_registry CONNECTION LIMIT -1").await;
    let error: Value = refused.error();
    assert_eq!((refused.code, error["code"].as_str()), (1, Some("registry_too_many_connections")), "{refused}");
    assert!(error["hint"].as_str().unwrap().contains("max_connections"), "{refused}");
}

/// A small file system in memory, until dropped.
struct Small(PathBuf);

impl Small {
    fn mounted(at: PathBuf) -> Self {
        std::fs::create_dir_all(&at).unwrap();
        let small = Self(at);
        assert!(small.run("mount", &["-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs"]), "it cannot be mounted");
        // As whom the sandbox's PostgreSQL runs for root.
        assert!(small.run("chown", &["nobody"]));
        small
    }

    fn run(&self, program: &str, args: &[&str]) -> bool {
        std::process::Command::new(program).args(args).arg(&self.0).status().is_ok_and(|s| s.success())
    }

    /// Takes all space there is, and says where.
    fn fill(&self) -> PathBuf {
        let file = self.0.join("filler");
        let mut to = std::fs::File::create(&file).unwrap();
        for size in [1 << 20, 1 << 12] {
            while to.write_all(&vec![1; size]).is_ok() {}
        }
        file
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        self.run("umount", &["-l"]);
    }
}

/// A real one. Only root may mount, and it is the long version's.
#[tokio::test(flavor = "multi_thread")]
async fn a_registry_on_a_file_system_that_is_really_full_stops_the_run_and_with_space_the_same_command_ends_well() {
    if !long() {
        return;
    }
    if !nix::unistd::geteuid().is_root() {
        assert!(!in_ci(), "only root may mount a file system, and a CI leaves nothing out");
        println!("left out: only root may mount a file system");
        return;
    }
    let world: &'static World = Box::leak(Box::new(World::started()));
    world.ok(&["registry", "init"]);
    let small = Small::mounted(world.dir().join("small"));
    let mut db = world.superuser("labctl_registry").await;
    says(&mut db, &format!("CREATE TABLESPACE small LOCATION '{}'", small.0.display())).await;
    // A page holds one row: whoever writes must have another page soon.
    for table in ["steps", "resources", "operations"] {
        says(&mut db, &format!("ALTER TABLE labctl.{table} SET (fillfactor = 10)")).await;
        says(&mut db, &format!("ALTER TABLE labctl.{table} SET TABLESPACE small")).await;
    }
    drop(db);
    let spec = world.spec("full-lab", "labcloud", "standard");
    let file = spec.clone();
    let halted = blocking(move || asleep(world, &["tenant", "create", &file, "-o", "json"], "step.created#2")).await.unwrap();
    let filler = small.fill();
    halted.wake();
    let run = blocking(move || halted.end_within(PATIENCE)).await.unwrap();
    println!("on a full file system: exit {}, {}", run.code, run.error());
    assert_eq!((run.code, run.error()["code"].as_str()), (3, Some("registry_full")), "{run}");
    is_told(&run);
    std::fs::remove_file(filler).unwrap();
    nothing_is_off_the_record(world, "full-lab").await;
    world.ok(&["tenant", "create", &spec]);
    Box::pin(audit(world, Scope::Everything)).await.assert_clean();
    world.ok(&["sandbox", "stop", "-q"]);
}
