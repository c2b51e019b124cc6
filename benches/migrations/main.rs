//! Migrations against the floor: the same SQL over bare connections to the same PostgreSQL, in the same run. Writes docs/benchmarks/.
//!
//! `cargo bench --bench migrations` takes a few minutes at most; `-- --large` migrates 5,000 schemas as well. On a small machine
//! `cargo bench --profile dev --bench migrations` spares the release build; the table says which it was.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement that cannot go on panics, and says what it has measured")]

mod floor;
mod plant;
mod report;
mod run;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use labctl::engine::fault::Fault;
use labctl::tenantdb::grants::{self, Parties};
use labctl::tenantdb::migrations::{File, Library, Step, central, own};
use labctl::tenantdb::quote::Ident;
use labctl::tenantdb::{connect_group, schemas};
use plant::Ground;
use report::{Line, Report};
use run::World;

/// One more migration, as a release brings it: a table with a key and an index.
fn more(table: &str) -> String {
    format!(
        "CREATE TABLE {table} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text NOT NULL, at timestamptz NOT NULL DEFAULT now());\n\
         CREATE INDEX {table}_by_time ON {table} (at);\n"
    )
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/labcloud")
}

fn steps(library: &mut Library) -> Vec<Step> {
    let files = std::fs::read_dir(folder().join("migrations/tenant")).unwrap().map(|entry| {
        let path = entry.unwrap().path();
        File::parse("tenant", path.file_name().unwrap().to_str().unwrap(), &std::fs::read_to_string(&path).unwrap()).unwrap()
    });
    library.add(files.collect()).unwrap()
}

async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let began = Instant::now();
    (work.await, began.elapsed())
}

/// One schema made and looked at again, as the engine does before it calls a thing made: all of it is as wanted.
async fn seen(ground: &Ground<'_>, n: usize, steps: &[Step], library: &Library) -> Result<(), Fault> {
    ground.schema("seen", n, steps, library).await?;
    let mut db = ground.databases.connect(ground.admin).await?;
    let name = Ident::new(&plant::schema("seen", n))?;
    let parties = Parties { connect: Some(connect_group::group(&Ident::new("shared")?)?), ..ground.parties("seen", n)? };
    assert!(schemas::find(&mut db, &name, &parties).await?.is_some_and(|f| f.shared && f.strangers.is_empty()));
    let differences = schemas::differences(&grants::find(&mut db, &name, &parties).await?, &grants::wanted(&parties));
    assert_eq!(differences, (Vec::new(), Vec::new()), "{name}");
    assert_eq!(own::find(&mut db, &name).await?.unwrap().applied, steps);
    Ok(())
}

/// Who makes schemas, and what for: the floor by so many connections, labctl, or labctl that looks again.
#[derive(Clone, Copy)]
enum Maker {
    Floor(&'static str, usize),
    Labctl,
    Seen,
}

const MAKERS: [Maker; 4] = [Maker::Floor("flooring", 4), Maker::Floor("floored", 8), Maker::Labctl, Maker::Seen];

/// What is used up by all rounds of one party.
#[derive(Clone, Default)]
struct Used {
    /// By each round.
    took: Vec<Duration>,
    cpu: Duration,
    server: Duration,
}

/// Creating is measured in rounds of so many schemas each, and every other round in the opposite order: what the growing catalogs cost, and what
/// the server does beside, falls on all alike. As many for each of 8 connections.
const ROUND: usize = 40;

/// Schemas of this range by everybody in turn: the floor by bare connections, labctl by its own functions in this process.
async fn creating(world: &World, what: &'static str, range: Range<usize>, steps: &[Step], library: &Library, report: &mut Report) {
    let ground = world.ground();
    // A backend grows slower with every schema it has touched: each party has its own.
    let apart = World::databases();
    let looking = Ground { databases: &apart, ..world.ground() };
    let mut hands = [floor::Hands::open(world, 4).await, floor::Hands::open(world, 8).await];
    let mut used = vec![Used::default(); MAKERS.len()];
    // All have their connections from the beginning.
    for databases in [ground.databases, &apart] {
        try_join_all((0..8).map(|_| databases.connect(ground.admin))).await.unwrap();
    }
    for (round, from) in range.clone().step_by(ROUND).enumerate() {
        let part = from..from + ROUND;
        let mut order: Vec<usize> = (0..MAKERS.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for n in order {
            let (began, cpu, server) = (Instant::now(), run::own_cpu(), world.server_cpu());
            match MAKERS[n] {
                Maker::Floor(tag, _) => floor::create(&mut hands[n], &ground, tag, part.clone(), steps, library).await,
                Maker::Labctl => ground.many(part.clone(), 8, async |n| ground.schema("bench", n, steps, library).await).await.unwrap(),
                Maker::Seen => looking.many(part.clone(), 8, async |n| seen(&looking, n, steps, library).await).await.unwrap(),
            }
            used[n].took.push(began.elapsed());
            used[n].cpu += run::own_cpu() - cpu;
            used[n].server += world.server_cpu() - server;
        }
    }
    let mut best = 0.0_f64;
    for (maker, Used { took, cpu, server }) in MAKERS.into_iter().zip(used) {
        let rounds = u32::try_from(took.len()).unwrap();
        let took = median(took) * rounds;
        let line = match maker {
            Maker::Floor(_, hands) => Line::floor(what, range.len(), hands, took),
            Maker::Labctl => Line::by_name(what, range.len(), "labctl, 8 connections", took).against(best).burning(cpu),
            Maker::Seen => Line::by_name(what, range.len(), "labctl, 8, and looked at again", took).against(best).burning(cpu),
        };
        let rate = report.line(line.serving(server));
        if matches!(maker, Maker::Floor(..)) {
            best = best.max(rate);
        }
    }
}

/// The middle one: a turn in which the machine was busy with something else does not count for more than others.
fn median(mut took: Vec<Duration>) -> Duration {
    took.sort();
    let half = took.len() / 2;
    if took.len().is_multiple_of(2) { (took[half - 1] + took[half]) / 2 } else { took[half] }
}

/// One more migration over the fleet by floor, labctl, labctl, floor, and so on, each with a table of its own, so that a later turn, and what the
/// server does beside, costs nobody more than the others. Also by the floor with 4 connections.
async fn migrating(world: &World, what: &'static str, size: usize, turns: &str, first: usize, report: &mut Report) {
    let (mut times, mut version, mut burnt, mut peak) = (BTreeMap::<char, Vec<Duration>>::new(), first, Duration::ZERO, 0);
    let mut served = BTreeMap::<char, Duration>::new();
    for (turn, who) in turns.chars().enumerate() {
        let (table, began, server) = (format!("t{size}_{turn}"), Instant::now(), world.server_cpu());
        let took = if who == 'o' {
            world.file(&format!("V{version}__{table}.sql"), &more(&table));
            let ran = world.labctl(&["fleet", "migrate", "--tag", "fleet=bench", "-q"]).await;
            assert_eq!(ran.code, 0, "the fleet was not migrated");
            version += 1;
            burnt += ran.cpu;
            peak = peak.max(ran.peak);
            world.last_run().await
        } else {
            floor::migrate(world, "bench", 0..size, if who == '4' { 4 } else { 8 }, &more(&table)).await;
            began.elapsed()
        };
        times.entry(who).or_default().push(took);
        *served.entry(who).or_default() += world.server_cpu() - server;
    }
    let mut of = |who: char| {
        let times = times.remove(&who).unwrap();
        let turns = u32::try_from(times.len()).unwrap();
        (median(times), served[&who] / turns, turns)
    };
    let (took, server, _) = of('4');
    report.line(Line::floor(what, size, 4, took).serving(server));
    let (took, server, _) = of('f');
    let eight = report.line(Line::floor(what, size, 8, took).serving(server));
    let (took, server, turns) = of('o');
    report.line(Line::ours(what, size, 8, took).against(eight).burning(burnt / turns).serving(server).with_peak(peak));
}

fn main() {
    let large = std::env::args().any(|a| a == "--large");
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(measure(large));
}

async fn measure(large: bool) {
    let world = World::start(&folder()).await;
    let mut library = Library::default();
    let steps = steps(&mut library);
    let mut report = Report::new(world.version().await);
    let ground = world.ground();

    // Creating. Roles are made beforehand: they are the server's, and cost the same either way. So is what a database's first tenant brings:
    // the role that connects, and the central ledger.
    ground.roles("first", 0..1).await.unwrap();
    ground.schemas("first", 0..1, 1, &steps, &library).await.unwrap();
    for tag in ["flooring", "floored", "bench", "seen"] {
        ground.roles(tag, 0..1000).await.unwrap();
    }
    creating(&world, "create 200 schemas", 0..200, &steps, &library, &mut report).await;
    creating(&world, "create 800 more, to 1,000", 200..1000, &steps, &library, &mut report).await;
    ground.record(&mut world.registry().await, "bench", 0..1000, "labcloud", &steps).await.unwrap();

    // One more migration over 1,000 schemas.
    floor::ledgers(&world, "bench", 0..1000).await;
    migrating(&world, "one migration over 1,000", 1000, "foof4foof4foof", 3, &mut report).await;

    // Nothing to do, over 1,000 and over 5,000: the others are schemas without tables, which the question does not look at.
    let still = world.labctl(&["fleet", "migrate", "--tag", "fleet=bench", "-q"]).await;
    report.line(Line::ours("nothing to do over 1,000", 1000, 1, still.took).by(&still));
    let newest = world.steps(&mut library);
    world.pretend("bench", 1000..5000, &newest).await;
    ground.roles("bench", 1000..5000).await.unwrap();
    ground.record(&mut world.registry().await, "bench", 1000..5000, "labcloud", &newest).await.unwrap();
    let names: Vec<String> = (0..5000).map(|n| plant::schema("bench", n)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut db = ground.databases.connect(ground.admin).await.unwrap();
    assert_eq!(central::read(&mut db, &names).await.unwrap().len(), 5000);
    let (found, asked) = timed(central::read(&mut db, &names)).await;
    assert_eq!(found.unwrap().len(), 5000);
    drop(db);
    report.line(Line::ours("the one query, 5,000 schemas", 5000, 1, asked));
    let idle = world.labctl(&["fleet", "migrate", "--tag", "fleet=bench", "-q"]).await;
    assert_eq!(idle.code, 0, "there was something to do");
    report.line(Line::ours("nothing to do over 5,000", 5000, 1, idle.took).by(&idle));

    if large {
        floor::more_ledgers(&world, "bench", 1000..5000).await;
        world.ledgers("bench", 1000..5000, &newest).await;
        migrating(&world, "one migration over 5,000", 5000, "foof4foof", 9, &mut report).await;
    }
    report.write(&Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/benchmarks"));
}
