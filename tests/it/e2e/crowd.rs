//! Many tenants made by several processes at once, killed at random moments and started again; then a fleet migration over them, killed too. What
//! is there in the end is asked of AWS and PostgreSQL themselves, by the auditor: everything once, and nothing that nobody has on record.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use sqlx::AssertSqlSafe;

use super::dice::Dice;
use super::fixture::{World, blocking, connect, long, pid};
use super::fleets::{Fleet, count, tagged};
use crate::audit::{Scope, audit};

/// Mostly the tiers that share, and of each dozen some with a pool, a bucket, a database or a server of their own.
const SORTS: [(&str, &str); 12] = [
    ("labcloud", "trial"),
    ("mate", "trial"),
    ("labcloud", "standard"),
    ("labcloud", "trial"),
    ("mate", "standard"),
    ("labcloud", "trial"),
    ("labcloud", "enterprise"),
    ("mate", "trial"),
    ("labcloud", "trial"),
    ("mate", "enterprise"),
    ("labcloud", "trial"),
    ("labcloud", "standard"),
];

/// When a command is killed.
#[derive(Clone, Copy)]
enum Killed {
    Never,
    /// So long after its start.
    After(Duration),
    /// So long after it has said this.
    Said(&'static str, Duration),
}

/// Starts a command, and kills it when this very attempt is to be: whether it was killed, its exit code, and what it said. One that hangs is
/// killed by the fixture's watch, which is not a kill of ours: its exit code is none that passes.
fn attempt(world: &World, args: &[&str], when: Killed) -> (bool, i32, String) {
    let mut running = world.spawn(args);
    let after = match when {
        Killed::Never => None,
        Killed::After(after) => Some(after),
        Killed::Said(word, after) => running.hear(word, 1).then_some(after),
    };
    if let Some(after) = after {
        std::thread::sleep(after);
        // It may have ended, and not been waited for: then there is nothing to kill.
        let _ = nix::sys::signal::kill(pid(&running.child), Signal::SIGKILL);
    }
    let run = running.end();
    (after.is_some() && run.code == -(Signal::SIGKILL as i32), run.code, run.to_string())
}

struct Crowd {
    fleet: Fleet,
    seed: u64,
    ids: Vec<String>,
    files: Vec<String>,
}

/// What one seed came to.
#[derive(Default)]
struct Sum {
    kills: usize,
    starts: usize,
}

impl Crowd {
    fn of(world: &'static World, seed: u64, size: usize) -> Self {
        let fleet = Fleet::empty(world, &format!("crowd{seed}"));
        let ids: Vec<String> = (0..size).map(|n| format!("crowd{seed}-{n:02}")).collect();
        let of = |(n, id): (usize, &String)| tagged(world, id, SORTS[n % SORTS.len()].0, SORTS[n % SORTS.len()].1, &fleet.tag);
        let files = ids.iter().enumerate().map(of).collect();
        Self { fleet, seed, ids, files }
    }

    /// One tenant: started again until it is there. Two of three attempts are killed, up to four.
    fn one(&self, n: usize) -> Sum {
        let mut dice = Dice::of(self.seed * 1_000 + u64::try_from(n).unwrap());
        let (mut sum, most) = (Sum::default(), if long() { 4 } else { 2 });
        loop {
            sum.starts += 1;
            let dies = sum.kills < most && dice.below(3) > 0;
            let when = if dies { Killed::After(Duration::from_millis(100 + dice.below(2_500))) } else { Killed::Never };
            // A process killed while the machine is slow may die before it has even begun: the draw is the same in every run all the same.
            match attempt(self.fleet.world, &["tenant", "create", &self.files[n]], when) {
                (true, ..) => sum.kills += 1,
                (false, 0, _) => return sum,
                (false, code, said) => panic!("seed {}, {}: exit {code}\n{said}", self.seed, self.ids[n]),
            }
        }
    }

    async fn make(self: &Arc<Self>, hands: usize) -> Sum {
        let next = Arc::new(AtomicUsize::new(0));
        let hand = |_| {
            let (crowd, next) = (Arc::clone(self), Arc::clone(&next));
            blocking(move || {
                let mut all = Sum::default();
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= crowd.ids.len() {
                        return all;
                    }
                    let one = crowd.one(n);
                    all = Sum { kills: all.kills + one.kills, starts: all.starts + one.starts };
                }
            })
        };
        let mut all = Sum::default();
        for hand in (0..hands).map(hand).collect::<Vec<_>>() {
            let one = hand.await.unwrap();
            all = Sum { kills: all.kills + one.kills, starts: all.starts + one.starts };
        }
        all
    }

    /// How many things an audit of the whole sandbox has looked at; it has found nothing lost, orphaned, doubled or leaked.
    async fn all_is_there_once(&self) -> usize {
        let mut registry = self.fleet.world.registry().await;
        let active = format!("SELECT count(*) FROM labctl.tenants WHERE id LIKE '{}-%' AND status = 'active'", self.fleet.tag);
        assert_eq!(count(&mut registry, &active).await, i64::try_from(self.ids.len()).unwrap(), "seed {}: all are active", self.seed);
        let more = format!("SELECT count(*) FROM labctl.operations WHERE tenant LIKE '{}-%' AND status <> 'done'", self.fleet.tag);
        assert_eq!(count(&mut registry, &more).await, 0, "seed {}", self.seed);
        let verdict = Box::pin(audit(self.fleet.world, Scope::Everything)).await;
        assert!(verdict.is_clean(), "seed {}\n{verdict}", self.seed);
        verdict.looked.values().sum()
    }

    /// A version more over everybody's schemas, killed so many times while it is at them. How often it was in fact.
    async fn migrate(&self, times: usize) -> usize {
        let mut dice = Dice::of(self.seed + 31);
        // Slow enough that what is killed soon after it has begun is not done with the last of them.
        let file = "CREATE TABLE notes (id int PRIMARY KEY);\nSELECT pg_sleep(0.2);\n";
        self.fleet.file("V3__add_notes.sql", file).file("../../../mate/migrations/tenant/V5__add_notes.sql", file);
        let tag = format!("fleet={}", self.fleet.tag);
        let args = self.fleet.args(&["fleet", "migrate", "--tag", &tag, "--parallel", "2"]);
        let mut kills = 0;
        for _ in 0..times {
            let when = Killed::Said("Wave 1", Duration::from_millis(dice.below(400)));
            let (world, args) = (self.fleet.world, args.clone());
            let (killed, code, said) = blocking(move || attempt(world, &args.iter().map(String::as_str).collect::<Vec<_>>(), when)).await.unwrap();
            assert!(killed || code == 0, "seed {}\n{said}", self.seed);
            kills += usize::from(killed);
        }
        assert!(kills > 0, "seed {}: the migration was not killed", self.seed);
        let last = self.fleet.labctl(&["fleet", "migrate", "--tag", &tag, "-o", "json"]).await;
        assert_eq!(last.code, 0, "seed {}\n{last}", self.seed);
        self.migrated_once().await;
        kills
    }

    /// Every tenant's schema, wherever it is, has each file once, made the table once, and everybody's records say so.
    async fn migrated_once(&self) {
        let world = self.fleet.world;
        let (port, password) = (world.open().await.registry.port, world.passwords()["postgres"].clone());
        let rows: Vec<(String, String, Value, Value)> = sqlx::query_as(
            "SELECT r.tenant, t.stack, r.spec, r.outputs FROM labctl.resources r JOIN labctl.tenants t ON t.id = r.tenant
             WHERE r.kind = 'postgres_schema_version' AND t.id = ANY ($1)",
        )
        .bind(&self.ids)
        .fetch_all(&mut world.registry().await)
        .await
        .unwrap();
        assert_eq!(rows.len(), self.ids.len());
        let mut connections = BTreeMap::new();
        for (tenant, stack, spec, outputs) in rows {
            let (last, all) = if stack == "mate" { (5, "tenant1 tenant2 tenant3 tenant4 tenant5") } else { (3, "tenant1 tenant2 tenant3") };
            let (database, schema) = (spec["database"].as_str().unwrap().to_owned(), spec["schema"].as_str().unwrap().to_owned());
            if !connections.contains_key(&database) {
                connections.insert(database.clone(), connect(port, "postgres", &password, &database).await.unwrap());
            }
            let db = connections.get_mut(&database).unwrap();
            let own = format!("SELECT string_agg(concat(folder, version), ' ' ORDER BY position) FROM {schema}.labctl_migrations WHERE folder = 'tenant'");
            let own: Option<String> = sqlx::query_scalar(AssertSqlSafe(own)).fetch_one(&mut *db).await.unwrap();
            assert_eq!(own.as_deref(), Some(all), "{tenant}");
            let central = format!("SELECT max(version) FROM labctl_ledger.schemas WHERE schema = '{schema}' AND folder = 'tenant' HAVING count(*) = 1");
            let central: Option<i32> = sqlx::query_scalar(AssertSqlSafe(central)).fetch_optional(&mut *db).await.unwrap();
            assert_eq!((central, outputs["version"].as_str()), (Some(last), Some(last.to_string().as_str())), "{tenant}");
            assert_eq!(count(db, &format!("SELECT count(to_regclass('{schema}.notes'))")).await, 1, "{tenant}");
        }
        let held = format!("SELECT count(*) FROM labctl.leases WHERE tenant LIKE '{}-%' AND holder IS NOT NULL", self.fleet.tag);
        assert_eq!(count(&mut world.registry().await, &held).await, 0);
    }
}

/// `LABCTL_TEST_LONG=1`: four sandboxes at a time, since most of a killed create is a wait for what an unclear call may have made; and
/// `LABCTL_TEST_SEEDS=7-20` for others than all twenty.
#[tokio::test(flavor = "multi_thread")]
async fn many_tenants_made_by_many_processes_that_are_killed_are_all_there_once() {
    let given = std::env::var("LABCTL_TEST_SEEDS").ok();
    let given = given.as_deref().and_then(|s| s.split_once('-')).map(|(from, to)| from.parse().unwrap()..=to.parse().unwrap());
    let seeds = Arc::new(Mutex::new(given.filter(|_| long()).unwrap_or(if long() { 1..=20 } else { 1..=1 })));
    println!("seed  tenants  processes  kills  restarts  seconds  active  audited  lost, orphaned, doubled  kills of the fleet migration");
    let lane = || {
        let seeds = Arc::clone(&seeds);
        tokio::spawn(async move {
            loop {
                let next = seeds.lock().unwrap().next();
                let Some(seed) = next else { return };
                Box::pin(play(seed)).await;
            }
        })
    };
    let lanes: Vec<_> = (0..if long() { 4 } else { 1 }).map(|_| lane()).collect();
    for lane in futures_util::future::join_all(lanes).await {
        lane.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()));
    }
}

#[expect(clippy::print_stdout, reason = "a row of the table")]
async fn play(seed: u64) {
    let (size, hands) = if long() { (50, 8) } else { (12, 4) };
    let world: &'static World = Box::leak(Box::new(blocking(World::started).await.unwrap()));
    let (crowd, began) = (Arc::new(Crowd::of(world, seed, size)), Instant::now());
    let made = crowd.make(hands).await;
    let took = began.elapsed().as_secs();
    let (restarts, kills) = (made.starts - size, made.kills);
    assert!(kills > size / 4, "seed {seed}: only {kills} kills");
    let audited = crowd.all_is_there_once().await;
    let migrations = crowd.migrate(if long() { 4 } else { 2 }).await;
    crowd.all_is_there_once().await;
    println!("{seed:>4}  {size:>7}  {hands:>9}  {kills:>5}  {restarts:>8}  {took:>7}  {size:>6}  {audited:>7}  {:>23}  {migrations:>5}", 0);
    blocking(|| world.ok(&["sandbox", "stop", "-q"])).await.unwrap();
}
