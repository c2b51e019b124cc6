//! Migrations against the floor: the same SQL over bare connections to the same PostgreSQL, in the same run. Writes docs/benchmarks/.
//!
//! `cargo bench --bench migrations` takes a few minutes at most; `-- --large` migrates 5,000 schemas as well. On a small machine
//! `cargo bench --profile dev --bench migrations` spares the release build; the table says which it was.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement that cannot go on panics, and says what it has measured")]

mod floor;
mod plant;
mod report;
mod run;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use labctl::engine::fault::Fault;
use labctl::tenantdb::grants::{self, Parties};
use labctl::tenantdb::migrations::{File, Library, Step, central, ledger};
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
    assert_eq!(ledger::find(&mut db, &name).await?.unwrap().applied, steps);
    Ok(())
}

/// Schemas by labctl's own functions, in this process.
async fn create(ground: &Ground<'_>, tag: &str, range: Range<usize>, steps: &[Step], library: &Library, line: impl Fn(Duration) -> Line) -> Line {
    let cpu = run::own_cpu();
    let make = async |n| if tag == "seen" { seen(ground, n, steps, library).await } else { ground.schema(tag, n, steps, library).await };
    let (made, took) = timed(ground.many(range, 8, make)).await;
    made.unwrap();
    line(took).burning(run::own_cpu() - cpu)
}

fn best(rates: &[f64]) -> f64 {
    rates.iter().copied().fold(0.0, f64::max)
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
    let mut rates = Vec::new();
    for (tag, hands) in [("flooring", 4), ("floored", 8)] {
        let ((), took) = timed(floor::create(&world, &ground, tag, 0..200, hands, &steps, &library)).await;
        rates.push(report.line(Line::floor("create 200 schemas", 200, hands, took)));
    }
    for (tag, who) in [("bench", "labctl, 8 connections"), ("seen", "labctl, 8, and looked at again")] {
        let ours = create(&ground, tag, 0..200, &steps, &library, |took| Line::by_name("create 200 schemas", 200, who, took)).await;
        report.line(ours.against(best(&rates)));
    }
    let mut rates = Vec::new();
    for (tag, hands) in [("flooring", 4), ("floored", 8)] {
        let ((), took) = timed(floor::create(&world, &ground, tag, 200..1000, hands, &steps, &library)).await;
        rates.push(report.line(Line::floor("create 800 more, to 1,000", 800, hands, took)));
    }
    for (tag, who) in [("bench", "labctl, 8 connections"), ("seen", "labctl, 8, and looked at again")] {
        let ours = create(&ground, tag, 200..1000, &steps, &library, |took| Line::by_name("create 800 more, to 1,000", 800, who, took)).await;
        report.line(ours.against(best(&rates)));
    }
    ground.record(&mut world.registry().await, "bench", 0..1000, "labcloud", &steps).await.unwrap();

    // One more migration over 1,000 schemas.
    floor::ledgers(&world, "bench", 0..1000).await;
    let mut rates = Vec::new();
    for (table, hands) in [("floor_four", 4), ("floor_eight", 8)] {
        let ((), took) = timed(floor::migrate(&world, "bench", 0..1000, hands, &more(table))).await;
        rates.push(report.line(Line::floor("one migration over 1,000", 1000, hands, took)));
    }
    let eight = rates[1];
    world.file("V3__one_more.sql", &more("ours"));
    let ours = world.labctl(&["fleet", "migrate", "--tag", "fleet=bench", "-q"]).await;
    assert_eq!(ours.code, 0, "the fleet was not migrated");
    let migrating = world.last_run().await;
    report.line(Line::ours("one migration over 1,000", 1000, 8, migrating).against(eight).by(&ours));

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
        let ((), took) = timed(floor::migrate(&world, "bench", 0..5000, 8, &more("floor_large"))).await;
        let rate = report.line(Line::floor("one migration over 5,000", 5000, 8, took));
        world.ledgers("bench", 1000..5000, &newest).await;
        world.file("V4__large.sql", &more("large"));
        let ours = world.labctl(&["fleet", "migrate", "--tag", "fleet=bench", "-q"]).await;
        assert_eq!(ours.code, 0, "the fleet was not migrated");
        let migrating = world.last_run().await;
        report.line(Line::ours("one migration over 5,000", 5000, 8, migrating).against(rate).by(&ours));
    }
    report.write(&Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/benchmarks"));
}
