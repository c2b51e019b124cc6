//! `fleet migrate`: many tenants' schemas brought to their stacks' newest version, wave by wave.
//!
//! A tenant's desired version is its stack's: no revision changes, and no plan is made. What a plan would find is kept true instead: the
//! schema's ledger, the database's central ledger and the registry's record of the resource come to what `tenant apply` wants, so that it
//! finds nothing to do. The tenant's lease is held meanwhile, as any verb holds it.
//!
//! * [`system`]: what tenants share goes first, or nobody goes.
//! * [`look`]: who is where, with one query per database.
//! * `nobody`: a filter that chooses nobody is a mistake, and is told so.
//! * [`target`]: where each is to get.
//! * [`waves`]: in which order, and how many may fail.
//! * `work`: the hands.

pub mod look;
pub mod system;
pub mod target;
pub mod waves;

mod nobody;
mod work;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::sleep;

use super::{OpError, Site};
use crate::engine::run::Stop;
use crate::registry::HeldLease;
use crate::registry::fleet::{FleetEnd, FleetFilter, FleetResult, FleetStatus, NewFleetRun};
use crate::tenantdb::migrations::ledger::To;
use look::{Ship, Targets};
use system::{Standing, SystemLine};
use target::Place;
use waves::{Budget, Waves, assign};
use work::Work;

/// How a run is to go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// Which tenants.
    pub filter: FleetFilter,
    /// Whether who is behind is asked of every schema's own ledger, and not only of the central one of its database.
    #[serde(default)]
    pub look: bool,
    /// How many go first, before the first wave; if one of them fails, the run stops.
    pub canary: usize,
    /// How much of the fleet is done after each wave.
    pub waves: Waves,
    /// How many may fail.
    pub max_failures: Budget,
    /// Schemas at once on each database host.
    pub parallel: usize,
    /// The wait after each wave but the last, in seconds.
    pub soak_seconds: u64,
    /// How long a statement waits for a lock.
    pub lock_timeout_millis: u64,
    /// How often a tenant that is only busy is tried.
    pub attempts: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            filter: FleetFilter::default(),
            look: false,
            canary: 0,
            waves: Waves::default(),
            max_failures: Budget::Count(0),
            parallel: 8,
            soak_seconds: 0,
            lock_timeout_millis: 2_000,
            attempts: 4,
        }
    }
}

impl Options {
    /// Whether a tenant is left as it is, being suspended.
    fn leaves_out(&self, ship: &Ship) -> bool {
        self.filter.skip_suspended && ship.member.suspended
    }
}

/// What goes on.
#[derive(Debug)]
pub enum Event<'a> {
    /// What tenants share is moved on.
    System {
        /// Which, and from where.
        line: &'a SystemLine,
    },
    /// A run was put on record, or goes on.
    Begun {
        /// Its number.
        run: i64,
        /// Tenants with something to do.
        todo: usize,
        /// Tenants chosen.
        all: usize,
    },
    /// A wave begins; 0 is the canary.
    Wave {
        /// Which.
        wave: u32,
        /// The last.
        of: u32,
        /// Tenants in it.
        tenants: usize,
    },
    /// A tenant's turn is over.
    Ended {
        /// Its id.
        tenant: &'a str,
        /// What became of it.
        end: FleetEnd,
        /// Why it did not get there.
        why: Option<&'a str>,
    },
    /// The wait between two waves begins.
    Soak {
        /// How long.
        seconds: u64,
    },
}

/// Who is told what goes on.
pub trait Watch: Sync {
    /// Is told.
    fn hear(&self, event: &Event<'_>);
}

/// How a fleet stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The run; none where nothing was to be done, or for a dry run.
    pub run: Option<i64>,
    /// How it ended.
    pub status: FleetStatus,
    /// Where each stack's tenants are to get.
    pub targets: BTreeMap<String, String>,
    /// How many tenants of each stack are at which version, by the databases' own ledgers.
    pub versions: BTreeMap<String, BTreeMap<String, usize>>,
    /// What tenants share, by database; it goes before all tenants.
    pub systems: Vec<SystemLine>,
    /// Tenants with schemas chosen.
    pub tenants: usize,
    /// Those who are not where they are to get, whether they were left out or not.
    pub behind: usize,
    /// Of this run: who was migrated.
    pub migrated: usize,
    /// Of this run: who was there already at their turn.
    pub found: usize,
    /// Of this run: who could not be migrated.
    pub failed: usize,
    /// Of this run: who was locked.
    pub locked: usize,
    /// Of this run: whose turn has not come.
    pub pending: usize,
    /// Those who are suspended and were left behind by choice.
    pub skipped: Vec<Skipped>,
    /// Every tenant that had something to do.
    pub results: Vec<FleetResult>,
}

/// A suspended tenant that is left behind by choice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// Its id.
    pub tenant: String,
    /// Its stack.
    pub stack: String,
    /// Where it is.
    pub version: String,
    /// Where it would get.
    pub target: String,
}

/// What a run would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sketch {
    /// Where each stack's tenants are to get.
    pub targets: BTreeMap<String, String>,
    /// What tenants share, by database; it goes before all tenants.
    pub systems: Vec<SystemLine>,
    /// Tenants with schemas chosen.
    pub tenants: usize,
    /// Those who are where they are to get.
    pub current: usize,
    /// How many may fail.
    pub may_fail: usize,
    /// Those who are suspended and are left behind by choice.
    pub skipped: Vec<Skipped>,
    /// Everybody else, by wave.
    pub todo: Vec<Planned>,
}

/// One tenant of a run to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Planned {
    /// Its wave; 0 is the canary.
    pub wave: u32,
    /// Its id.
    pub tenant: String,
    /// Its stack.
    pub stack: String,
    /// Its tier.
    pub tier: String,
    /// Its database host.
    pub host: String,
    /// Where it is.
    pub version: String,
    /// Where it is to get.
    pub target: String,
}

fn refused(usage: bool, code: &'static str, why: String, hint: String) -> OpError {
    OpError::Fleet { usage, code, why, hint }
}

/// What [`migrate`] would do. Writes nothing.
///
/// # Errors
/// As [`look::choose`].
pub async fn sketch(site: &Site, options: &Options, to: &To) -> Result<Sketch, OpError> {
    let (ships, targets) = look::choose(site, options, to).await?;
    let systems = system::look(site, options, to).await?.into_iter().map(|found| found.line).collect();
    let (resting, awake): (Vec<&Ship>, Vec<&Ship>) = ships.iter().partition(|s| options.leaves_out(s));
    let skipped = skipped(&resting);
    let todo: Vec<&Ship> = awake.into_iter().filter(|s| s.has_something_to_do()).collect();
    let waves = assign(todo.len(), options.canary, &options.waves);
    let planned = todo.iter().zip(&waves).map(|(s, wave)| Planned {
        wave: *wave,
        tenant: s.member.tenant.clone(),
        stack: s.member.stack.clone(),
        tier: s.member.tier.clone(),
        host: s.member.endpoint.clone(),
        version: s.version.clone(),
        target: s.target.goal(),
    });
    let (tenants, current) = (ships.len(), ships.len() - todo.len() - skipped.len());
    Ok(Sketch { targets: goals(&targets), systems, tenants, current, may_fail: options.max_failures.of(todo.len()), skipped, todo: planned.collect() })
}

/// Brings the tenants chosen to their stacks' newest version, or to `to`. Nothing is put on record where nothing is to be done.
///
/// # Errors
/// As [`look::choose`]; when another run is about to change one of these tenants; when the registry cannot be reached, or says that this run is
/// another process's by now. What became of tenants is in the report.
pub async fn migrate(site: &Site, options: &Options, to: &To, command: &str, watch: &dyn Watch, stop: watch::Receiver<Stop>) -> Result<Report, OpError> {
    end_dead_claims(site).await;
    let (ships, targets) = look::choose(site, options, to).await?;
    if let (Some(tenant), true) = (&options.filter.tenant, ships.is_empty()) {
        return Err(nobody::on_record(site, tenant).await);
    }
    let all = ships.len();
    let found = system::look(site, options, to).await?;
    for found in found.iter().filter(|f| f.line.status == Standing::Behind) {
        watch.hear(&Event::System { line: &found.line });
    }
    let systems = system::migrate(site, found, options).await?;
    if systems.iter().any(|s| s.status == Standing::Failed) {
        return Ok(Report { systems, ..report(None, FleetStatus::Stopped, &targets, &ships, |s| options.leaves_out(s), Vec::new()) });
    }
    let (todo, current): (Vec<Ship>, Vec<Ship>) = ships.into_iter().partition(|s| s.has_something_to_do() && !options.leaves_out(s));
    if todo.is_empty() {
        return Ok(Report { systems, ..report(None, FleetStatus::Done, &targets, &current, |s| options.leaves_out(s), Vec::new()) });
    }
    let assigned = assign(todo.len(), options.canary, &options.waves);
    let rows: Vec<(String, u32, String)> = todo.iter().zip(&assigned).map(|(s, wave)| (s.member.tenant.clone(), *wave, s.version.clone())).collect();
    let recorded = serde_json::to_value(options).map_err(|e| OpError::Bug(e.to_string()))?;
    let new =
        NewFleetRun { by: &site.holder, command, options: &recorded, targets: &look::on_record(&targets), tenants: all, current: current.len(), rows: &rows };
    let (begun, ()) = tokio::join!(site.registry.begin_fleet_run(&new), work::connect(site, &todo, options.parallel));
    let (run, claim) = begun?;
    failpoint!("fleet.begun");
    let claim = Arc::new(claim);
    watch.hear(&Event::Begun { run, todo: todo.len(), all });
    let work = Work::new(site, run, &claim, options, stop, watch, options.max_failures.of(todo.len()));
    let report = to_the_end(&work, &targets, assigned.into_iter().zip(todo).collect()).await;
    release(&claim).await;
    Ok(Report { systems, ..report? })
}

/// Goes on with a run: whoever of it is not where it is to get, in the waves they were in.
///
/// # Errors
/// As [`migrate`]; [`OpError::Fleet`] when it is done, when the files it is about have changed, or when another process is at it.
pub async fn resume(site: &Site, run: i64, watch: &dyn Watch, stop: watch::Receiver<Stop>) -> Result<Report, OpError> {
    let unreadable = |e: serde_json::Error| OpError::Bug(format!("run {run} cannot be read: {e}"));
    end_dead_claims(site).await;
    let on_record = site.registry.fleet_run(run).await?;
    if on_record.status == FleetStatus::Done {
        let why = format!("fleet run {run} is done: there is nothing to resume");
        return Err(refused(false, "nothing_to_resume", why, "`labctl fleet migrate` begins a new one".to_owned()));
    }
    let options: Options = serde_json::from_value(on_record.options).map_err(unreadable)?;
    let mut targets: Targets = serde_json::from_value(on_record.targets).map_err(unreadable)?;
    for (name, target) in &mut targets {
        *target = target.today(name, &site.stacks, run)?;
    }
    let claim = Arc::new(site.registry.resume_fleet_run(run, &site.holder).await?);
    failpoint!("fleet.claimed");
    let work = async {
        let rows = site.registry.fleet_results(run).await?;
        let waves: HashMap<&str, u32> = rows.iter().filter(|r| !r.status.there()).map(|r| (r.tenant.as_str(), r.wave)).collect();
        // Each tenant by itself: it may have changed its tier or tags since, and is still this run's.
        let members = site.registry.fleet_members(&FleetFilter::default()).await?;
        let members = members.into_iter().filter(|m| waves.contains_key(m.tenant.as_str())).collect();
        let wave = |s: &Ship| waves.get(s.member.tenant.as_str()).copied().unwrap_or(1);
        let mut todo: Vec<(u32, Ship)> = look::look(site, members, &targets, options.look).await?.into_iter().map(|s| (wave(&s), s)).collect();
        todo.sort_by_key(|(wave, _)| *wave);
        watch.hear(&Event::Begun { run, todo: todo.len(), all: usize::try_from(on_record.tenants).unwrap_or(0) });
        let work = Work::new(site, run, &claim, &options, stop, watch, options.max_failures.of(rows.len()));
        to_the_end(&work, &targets, todo).await
    };
    let report = work.await;
    release(&claim).await;
    report
}

/// Those of runs that were killed. It is no reason not to go on where that cannot be done.
async fn end_dead_claims(site: &Site) {
    if let Err(e) = site.registry.end_dead_fleet_claims(&site.holder).await {
        tracing::warn!("the leases of dead fleet runs could not be let go of: {e}");
    }
}

async fn release(claim: &HeldLease) {
    if let Err(e) = claim.release().await {
        // It expires by itself.
        tracing::warn!("the run's lease could not be let go of: {e}");
    }
}

async fn to_the_end(work: &Work<'_>, targets: &Targets, todo: Vec<(u32, Ship)>) -> Result<Report, OpError> {
    // For as long as the run takes, the waits between waves and the look at the end included.
    let _alive = work.claim.keep_alive();
    let ended = carry_out(work, todo).await;
    conclude(work, targets, ended).await
}

async fn carry_out(work: &Work<'_>, todo: Vec<(u32, Ship)>) -> Result<Vec<Ship>, OpError> {
    let of = todo.last().map_or(0, |(wave, _)| *wave);
    let all: Vec<Ship> = todo.iter().map(|(_, s)| s.clone()).collect();
    let mut waves: BTreeMap<u32, Vec<Ship>> = BTreeMap::new();
    for (wave, ship) in todo {
        waves.entry(wave).or_default().push(ship);
    }
    for (wave, ships) in waves {
        work.still_ours().await?;
        work.watch.hear(&Event::Wave { wave, of, tenants: ships.len() });
        work.wave(ships, wave == 0).await?;
        failpoint!("fleet.wave_done", wave);
        if work.over() {
            break;
        }
        let seconds = work.options.soak_seconds;
        if wave < of && seconds > 0 {
            work.watch.hear(&Event::Soak { seconds });
            let mut stop = work.stop.clone();
            tokio::select! {
                () = sleep(Duration::from_secs(seconds)) => {}
                Ok(_) = stop.wait_for(|s| *s != Stop::No) => {}
            }
            if work.over() {
                break;
            }
        }
    }
    Ok(all)
}

/// How the fleet stands after a run: asked of the databases once more, and put on record.
async fn conclude(work: &Work<'_>, targets: &Targets, ended: Result<Vec<Ship>, OpError>) -> Result<Report, OpError> {
    let (site, run) = (work.site, work.run);
    let ships = ended?;
    let rows = work.ask(|_| site.registry.fleet_results(run)).await?;
    let migrated: HashSet<&str> = rows.iter().filter(|r| r.status == FleetEnd::Migrated).map(|r| r.tenant.as_str()).collect();
    let changed: Vec<&Ship> = ships.iter().filter(|s| migrated.contains(s.member.tenant.as_str())).collect();
    work::analyse(site, &changed).await;
    // Who was suspended since the run began is still of it.
    let of_run: HashSet<String> = rows.iter().map(|r| r.tenant.clone()).collect();
    let mut chosen = of_run.clone();
    chosen.extend(work.ask(|_| site.registry.fleet_members(&work.options.filter)).await?.into_iter().map(|m| m.tenant));
    let everybody = FleetFilter::default();
    let mut members = work.ask(|_| site.registry.fleet_members(&everybody)).await?;
    members.retain(|m| chosen.contains(&m.tenant));
    let fleet = look::look(site, members, targets, work.options.look).await?;
    let left_out = |s: &Ship| work.options.leaves_out(s) && !of_run.contains(&s.member.tenant);
    let behind = fleet.iter().any(|s| s.place != Place::There && !left_out(s));
    let status = match () {
        () if work.halted.load(Ordering::Relaxed) => FleetStatus::Stopped,
        () if *work.stop.borrow() != Stop::No => FleetStatus::Interrupted,
        () if behind => FleetStatus::Incomplete,
        () => FleetStatus::Done,
    };
    work.ask(|_| site.registry.end_fleet_run(work.claim, run, status)).await?;
    failpoint!("fleet.ended");
    Ok(report(Some(run), status, targets, &fleet, left_out, rows))
}

fn goals(targets: &Targets) -> BTreeMap<String, String> {
    targets.iter().map(|(name, target)| (name.clone(), target.goal())).collect()
}

fn skipped(resting: &[&Ship]) -> Vec<Skipped> {
    let line = |s: &&Ship| Skipped { tenant: s.member.tenant.clone(), stack: s.member.stack.clone(), version: s.version.clone(), target: s.target.goal() };
    resting.iter().filter(|s| s.place != Place::There).map(line).collect()
}

fn report(run: Option<i64>, status: FleetStatus, targets: &Targets, fleet: &[Ship], left_out: impl Fn(&Ship) -> bool, results: Vec<FleetResult>) -> Report {
    let mut versions: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
    for ship in fleet {
        *versions.entry(ship.member.stack.clone()).or_default().entry(ship.version.clone()).or_default() += 1;
    }
    let count = |end: FleetEnd| results.iter().filter(|r| r.status == end).count();
    Report {
        run,
        status,
        targets: goals(targets),
        systems: Vec::new(),
        versions,
        tenants: fleet.len(),
        behind: fleet.iter().filter(|s| s.place != Place::There).count(),
        migrated: count(FleetEnd::Migrated),
        found: count(FleetEnd::Found),
        failed: count(FleetEnd::Failed),
        locked: count(FleetEnd::Locked),
        pending: count(FleetEnd::Pending),
        skipped: skipped(&fleet.iter().filter(|s| left_out(s)).collect::<Vec<_>>()),
        results,
    }
}
