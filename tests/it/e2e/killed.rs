//! One labctl killed where a test wants it, what an operator does then, and what is to be true afterwards.
//!
//! A [`Scene`] is a command and what comes before it; a [`Point`] a place and the how manieth time it is reached; a [`Way`] what the operator
//! does next. [`play`] plays one case; [`audit`] holds, after many of them, everything AWS and PostgreSQL list against the registry.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use sqlx::PgConnection;
use tokio::runtime::Handle;

use super::fixture::{Run, World, blocking, ended, finished, finished_within, pid};
use super::fleets::Fleet;
use super::sweep::{Found, shown, sweep};

/// A command that is killed. `{id}` stands for the tenant.
#[derive(Debug)]
pub struct Scene {
    pub name: &'static str,
    pub stack: &'static str,
    pub tier: &'static str,
    /// What comes before it.
    pub before: &'static [&'static str],
    pub line: &'static str,
    /// The tenant's status once it is carried out.
    pub ends: &'static str,
    /// What brings the tenant back to before, so that the next case can have it; none where nothing does.
    pub back: Option<&'static str>,
    /// Its templates are its own, and have more to migrate each time.
    pub migrates: bool,
}

/// A place, and the how manieth time it is reached.
#[derive(Debug, Clone)]
pub struct Point {
    pub name: String,
    pub nth: u64,
    /// Which of many it is.
    pub what: String,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.name, self.nth)
    }
}

/// What the operator does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// The same command again.
    Again,
    /// `operation resume`, where there is an operation; else the same command.
    Resume,
    /// `tenant delete` and `tenant purge`.
    Purge,
}

pub const WAYS: [Way; 3] = [Way::Again, Way::Resume, Way::Purge];

/// One case.
#[derive(Debug, Clone)]
pub struct Case {
    pub scene: &'static Scene,
    pub point: Point,
    pub way: Way,
    pub id: String,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scene, point, way, id } = self;
        write!(f, "{} {} {}, killed at {point} ({}), then {way:?} [{id}]", scene.stack, scene.tier, scene.name, point.what)
    }
}

/// How a case ended: what the operator was answered in the end, or what is wrong.
pub type Played = Result<String, String>;

fn words(line: &str, id: &str) -> Vec<String> {
    line.split_whitespace().map(|w| w.replace("{id}", id)).collect()
}

impl Scene {
    fn words(&self, line: &str, id: &str) -> Vec<String> {
        let config = format!(" --config ../fleet-{id}/labctl.toml");
        words(&format!("{line}{}", if self.migrates { &config } else { "" }), id)
    }

    fn run(&self, world: &World, line: &str, id: &str) -> Run {
        world.run(&self.words(line, id).iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// There is something to migrate: two versions more than those, one of them an index made concurrently.
    fn more(&self, world: &'static World, id: &str) {
        if self.migrates {
            let fleet = Fleet::at(world, id);
            let version = std::fs::read_dir(fleet.folder()).unwrap().count();
            fleet.file(&format!("V{}__t{version}.sql", version + 1), &format!("CREATE TABLE t{version} (id int);\n"));
            let index = format!("-- labctl: no-transaction\nCREATE INDEX CONCURRENTLY i{version} ON t{version} (id);\n");
            fleet.file(&format!("V{}__i{version}.sql", version + 2), &index);
        }
    }
}

/// Runs a command that is struck at a place; the proof that it was.
pub fn struck(world: &World, args: &[&str], point: &str, how: &str) -> (Run, String) {
    let log = log(world);
    let run = ended(world.command(args).env("LABCTL_FAILPOINT", format!("{point}={how}")).env("LABCTL_FAILPOINT_LOG", &log));
    (run, std::fs::read_to_string(&log).unwrap_or_default())
}

fn log(world: &World) -> PathBuf {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    world.dir().join(format!("failpoints-{}.log", NEXT.fetch_add(1, Ordering::Relaxed)))
}

/// Kills a command at a place, and asserts that it was reached.
pub fn kill(world: &World, args: &[&str], point: &str) {
    let (run, proof) = struck(world, args, point, "kill");
    let place = if point.contains('#') { point.to_owned() } else { format!("{point}#1") };
    assert!(run.code == -(Signal::SIGKILL as i32) && proof.starts_with(&place), "{args:?} was not killed at {point}: it reached {proof:?}\n{run}");
}

/// A labctl halted at a place, which is reached when this returns.
pub struct Asleep(Child);

pub fn asleep(world: &World, args: &[&str], point: &str) -> Asleep {
    let log = log(world);
    let mut command = world.command(args);
    command.env("LABCTL_FAILPOINT", format!("{point}=stop")).env("LABCTL_FAILPOINT_LOG", &log);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(240);
    while std::fs::read_to_string(&log).unwrap_or_default().is_empty() {
        assert!(Instant::now() < until, "{args:?} did not come to {point}");
        std::thread::sleep(Duration::from_millis(20));
    }
    Asleep(child)
}

impl Asleep {
    pub fn wake(&self) {
        nix::sys::signal::kill(pid(&self.0), Signal::SIGCONT).unwrap();
    }

    pub fn end(self) -> Run {
        finished(self.0)
    }

    pub fn end_within(self, patience: Duration) -> Run {
        finished_within(patience, self.0)
    }
}

/// Plays the scene to its end once, and notes every place it comes by.
pub fn scout(world: &'static World, scene: &Scene, id: &str) -> Vec<Point> {
    prepare(world, scene, id);
    places(world, &scene.words(scene.line, id).iter().map(String::as_str).collect::<Vec<_>>())
}

/// Runs a command, and notes every place it comes by.
pub fn places(world: &World, args: &[&str]) -> Vec<Point> {
    let log = log(world);
    let run = ended(world.command(args).env("LABCTL_FAILPOINT_LOG", &log));
    assert_eq!(run.code, 0, "{args:?}\n{run}");
    let text = std::fs::read_to_string(log).unwrap();
    text.lines().filter_map(point).collect()
}

fn point(line: &str) -> Option<Point> {
    let (place, what) = line.split_once(' ')?;
    let (name, nth) = place.split_once('#')?;
    Some(Point { name: name.to_owned(), nth: nth.parse().ok()?, what: what.to_owned() })
}

fn prepare(world: &'static World, scene: &Scene, id: &str) {
    world.spec(id, scene.stack, scene.tier);
    if scene.migrates {
        Fleet::empty(world, id);
    }
    for line in scene.before {
        let run = scene.run(world, line, id);
        assert_eq!(run.code, 0, "{line} of {id}\n{run}");
    }
    scene.more(world, id);
}

/// As [`prepare`] has left it, after another case.
fn bring_back(world: &'static World, scene: &Scene, id: &str) {
    if let Some(line) = scene.back.filter(|line| !line.is_empty()) {
        let run = scene.run(world, line, id);
        assert_eq!(run.code, 0, "{line} of {id}\n{run}");
    }
    scene.more(world, id);
}

/// The tenant's operation that is not over.
pub fn unfinished(world: &World, id: &str) -> Option<String> {
    let found = world.json(&["operation", "list", "--tenant", id, "--unfinished"]);
    found.as_array().unwrap().first().map(|o| o["number"].to_string())
}

/// The same, without a process for each of thousands of cases.
fn open_operation(registry: &mut PgConnection, id: &str) -> Option<i64> {
    let open = "SELECT number FROM labctl.operations WHERE tenant = $1 AND status NOT IN ('done', 'aborted')";
    Handle::current().block_on(sqlx::query_scalar(open).bind(id).fetch_optional(registry)).unwrap()
}

/// Plays one case. What is wrong is an error, so that the other cases are still played.
fn play(world: &'static World, registry: &mut PgConnection, case: &Case) -> Played {
    let Case { scene, id, .. } = case;
    let args = scene.words(scene.line, id);
    let (killed, proof) = struck(world, &args.iter().map(String::as_str).collect::<Vec<_>>(), &case.point.to_string(), "kill");
    if killed.code != -(Signal::SIGKILL as i32) || !proof.starts_with(&format!("{} ", case.point)) {
        return Err(format!("the failpoint was not hit: {proof:?}\n{killed}"));
    }
    let answer = match case.way {
        Way::Again => again(world, case)?,
        Way::Resume => match open_operation(registry, id) {
            Some(number) => zero(&scene.run(world, &format!("operation resume {number}"), id))?,
            None => again(world, case)?,
        },
        Way::Purge => return purge(world, case),
    };
    let status = "SELECT status FROM labctl.tenants WHERE id = $1";
    let status: String = Handle::current().block_on(sqlx::query_scalar(status).bind(id).fetch_one(&mut *registry)).unwrap();
    if status != scene.ends {
        return Err(format!("it is {status}, not {}", scene.ends));
    }
    if let Some(number) = open_operation(registry, id) {
        return Err(format!("operation {number} is not finished"));
    }
    if scene.ends != "purged" {
        let settled = scene.run(world, "tenant drift {id}", id);
        if settled.code != 0 {
            return Err(format!("it is not as wanted\n{settled}"));
        }
    }
    Ok(answer)
}

fn status(shown: &Run) -> String {
    serde_json::from_str::<Value>(&shown.out).unwrap()["status"].as_str().unwrap().to_owned()
}

fn zero(run: &Run) -> Result<String, String> {
    if run.code == 0 { Ok("0".to_owned()) } else { Err(run.to_string()) }
}

fn again(world: &World, case: &Case) -> Played {
    zero(&case.scene.run(world, &format!("{} -o json", case.scene.line), &case.id))
}

/// Deletes and purges whatever there is.
fn purge(world: &World, case: &Case) -> Played {
    let Case { scene, id, .. } = case;
    let shown = world.run(&["tenant", "show", id, "-o", "json"]);
    if shown.code == 1 {
        return Ok("nothing on record".to_owned());
    }
    let status = status(&shown);
    if !["purging", "purged"].contains(&status.as_str()) {
        zero(&scene.run(world, "tenant delete {id} --confirm {id}", id))?;
    }
    // Of what is purged it says so, and takes the dead process's lease away.
    zero(&scene.run(world, "tenant purge {id} --now --confirm {id}", id))
}

/// What is still to be played, and what was.
struct Plays {
    rest: Mutex<std::vec::IntoIter<Vec<Case>>>,
    done: Mutex<Vec<(Case, Played)>>,
}

/// Plays all chains of cases, some at a time. The cases of a chain are one tenant's, one after the other, until one goes wrong.
#[expect(clippy::print_stderr, reason = "a long run says at once what went wrong")]
pub async fn play_all(world: &'static World, chains: Vec<Vec<Case>>, at_once: usize) -> Vec<(Case, Played)> {
    let plays = Arc::new(Plays { rest: Mutex::new(chains.into_iter()), done: Mutex::default() });
    let hands = (0..at_once).map(|_| {
        let plays = Arc::clone(&plays);
        blocking(move || {
            let mut registry = Handle::current().block_on(world.registry());
            loop {
                let Some(chain) = plays.rest.lock().unwrap_or_else(PoisonError::into_inner).next() else { return };
                let mut wrong = None;
                for (n, case) in chain.into_iter().enumerate() {
                    let mut one = || {
                        let before = if n == 0 { prepare } else { bring_back };
                        before(world, case.scene, &case.id);
                        play(world, &mut registry, &case)
                    };
                    let played = match &wrong {
                        None => std::panic::catch_unwind(AssertUnwindSafe(&mut one)).unwrap_or_else(|_| Err("a panic: see above".to_owned())),
                        Some(before) => Err(format!("not played, after {before}")),
                    };
                    if let Err(why) = &played {
                        eprintln!("{case}\n{why}\n");
                        wrong.get_or_insert(case.to_string());
                    }
                    plays.done.lock().unwrap_or_else(PoisonError::into_inner).push((case, played));
                }
            }
        })
    });
    futures_util::future::join_all(hands).await.into_iter().for_each(|hand| hand.unwrap());
    std::mem::take(&mut *plays.done.lock().unwrap_or_else(PoisonError::into_inner))
}

/// What a tenant is to look like: what the registry shows of it is there, once and marked; of what was purged there is nothing, by mark or by
/// name, but keys that wait for their date; nobody holds its lease.
pub async fn audit(world: &World, ids: &[String]) -> BTreeMap<String, String> {
    let found = Box::pin(sweep(world)).await;
    let names = names(world).await;
    let leases = world.json(&["lock", "list"]);
    let mut wrong = BTreeMap::new();
    for id in ids {
        if let Err(why) = clean(world, id, &found, &names, &leases) {
            wrong.insert(id.clone(), why);
        }
    }
    wrong
}

fn clean(world: &World, id: &str, found: &Found, names: &[String], leases: &Value) -> Result<(), String> {
    let run = world.run(&["tenant", "show", id, "-o", "json"]);
    let there = found.get(id).cloned().unwrap_or_default();
    let tenant: Value = if run.code == 0 { serde_json::from_str(&run.out).unwrap() } else { Value::Null };
    // Of a tenant that never came on record the dead process's lease may be left: whoever comes takes it.
    if !tenant.is_null() && leases.as_array().unwrap().iter().any(|l| l["tenant"] == *id) {
        return Err(format!("its lease is held: {leases}"));
    }
    if !tenant.is_null() && tenant["status"] != "purged" {
        let shown = shown(&tenant);
        return if there == shown { Ok(()) } else { Err(format!("there is {there:?}\nthe registry has {shown:?}")) };
    }
    let remains: Vec<String> = match tenant {
        Value::Null => Vec::new(),
        _ => {
            let certificate = world.json(&["tenant", "certificate", id]);
            certificate["remains"].as_array().unwrap().iter().filter(|r| r["what"] == "key").map(|r| r["id"].as_str().unwrap().to_owned()).collect()
        }
    };
    let left: Vec<_> = there.iter().map(|(_, id)| id.clone()).collect();
    if left != remains {
        return Err(format!("left behind: {there:?}"));
    }
    let mark = format!("tenant_{}", id.replace('-', "_"));
    match names.iter().find(|n| **n == mark || n.starts_with(&format!("{mark}_"))) {
        Some(name) => Err(format!("left behind: {name}")),
        None => Ok(()),
    }
}

/// Roles, databases, and schemas of the shared database.
async fn names(world: &World) -> Vec<String> {
    let sql = "SELECT rolname::text FROM pg_roles UNION SELECT datname::text FROM pg_database UNION SELECT nspname::text FROM pg_namespace
               UNION SELECT schema::text FROM labctl_ledger.schemas";
    sqlx::query_scalar(sql).fetch_all(&mut world.superuser("shared").await).await.unwrap()
}

/// A tenant that nothing is done to, and what there is of it.
pub struct Neighbour {
    world: &'static World,
    id: &'static str,
    was: (Value, Option<Vec<(String, String)>>),
}

impl Neighbour {
    pub async fn new(world: &'static World, id: &'static str, stack: &str, tier: &str) -> Self {
        let spec = world.spec(id, stack, tier);
        blocking(move || world.ok(&["tenant", "create", &spec])).await.unwrap();
        Self { world, id, was: Self::is(world, id).await }
    }

    async fn is(world: &'static World, id: &str) -> (Value, Option<Vec<(String, String)>>) {
        (world.json(&["tenant", "show", id]), Box::pin(sweep(world)).await.remove(id))
    }

    pub async fn is_untouched(&self) {
        assert_eq!(Self::is(self.world, self.id).await, self.was, "the neighbour was touched");
    }
}
