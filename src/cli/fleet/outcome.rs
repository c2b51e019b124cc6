//! A fleet run while it goes on, and how the fleet stands after it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::cli::error::Kind;
use crate::cli::messages::Messages;
use crate::cli::output::{Row, Sheet, View};
use crate::cli::{Cli, CliError};
use crate::ops::fleet::system::{Standing, SystemLine};
use crate::ops::fleet::{Event, Planned, Report, Sketch, Skipped, Watch};
use crate::registry::fleet::{FleetEnd, FleetResult, FleetStatus};

/// As many of those who are not there are told of one by one while a run goes on; the report has them all.
const FEW: usize = 20;
/// A line is said every so many tenants.
const EVERY: usize = 100;

/// Tells what goes on, on stderr.
pub(in crate::cli) struct Told {
    say: Messages,
    todo: AtomicUsize,
    ended: AtomicUsize,
    trouble: AtomicUsize,
}

impl Told {
    pub(in crate::cli) fn new(cli: &Cli) -> Self {
        Self { say: cli.say, todo: AtomicUsize::new(0), ended: AtomicUsize::new(0), trouble: AtomicUsize::new(0) }
    }
}

impl Watch for Told {
    fn hear(&self, event: &Event<'_>) {
        match event {
            Event::System { line } => {
                self.say.status(format!("What {} share in {} on {}: {} to {}", tenants(line.tenants), line.database, line.host, line.version, line.target));
            }
            Event::Begun { run, todo, all } => {
                self.todo.store(*todo, Ordering::Relaxed);
                self.say.status(format!("Fleet run {run}: {todo} of {all} tenants have something to do"));
            }
            Event::Wave { wave: 0, tenants, .. } => self.say.status(format!("Canary: {tenants}")),
            Event::Wave { wave, of, tenants } => self.say.status(format!("Wave {wave} of {of}: {tenants}")),
            Event::Soak { seconds } => self.say.status(format!("Waiting {seconds} s before the next wave; Ctrl-C pauses")),
            Event::Ended { tenant, end, why } => {
                let (ended, todo) = (self.ended.fetch_add(1, Ordering::Relaxed) + 1, self.todo.load(Ordering::Relaxed));
                if let Some(why) = why
                    && self.trouble.fetch_add(1, Ordering::Relaxed) < FEW
                {
                    self.say.warning(format!("{tenant} {}: {why}", end.as_str()));
                }
                if ended % EVERY == 0 {
                    self.say.status(format!("{ended} of {todo}"));
                }
            }
        }
    }
}

impl Row for FleetResult {
    const COLUMNS: &'static [&'static str] = &["tenant", "stack", "wave", "status", "version", "why"];

    fn cells(&self) -> Vec<String> {
        let why = self.fault.as_ref().map(|f| f["message"].as_str().unwrap_or_default().to_owned()).unwrap_or_default();
        let version = self.to_version.clone().unwrap_or_else(|| self.from_version.clone());
        vec![self.tenant.clone(), self.stack.clone(), self.wave.to_string(), self.status.as_str().to_owned(), version, why]
    }
}

impl Row for SystemLine {
    const COLUMNS: &'static [&'static str] = &["stack", "host", "database", "schema", "tenants", "status", "version", "target", "why"];

    fn cells(&self) -> Vec<String> {
        let why = self.fault.as_ref().map(|f| f.message.clone()).unwrap_or_default();
        let [stack, host, database, schema] = [&self.stack, &self.host, &self.database, &self.schema].map(Clone::clone);
        vec![stack, host, database, schema, self.tenants.to_string(), self.status.to_string(), self.version.clone(), self.target.clone(), why]
    }
}

impl View for Report {
    fn view(&self) -> Sheet {
        let mut sheet = Sheet::new().maybe("run", self.run).field("status", self.status).field("tenants", self.tenants).field("behind", self.behind);
        for (name, n) in [
            ("migrated", self.migrated),
            ("found", self.found),
            ("failed", self.failed),
            ("locked", self.locked),
            ("pending", self.pending),
            ("skipped", self.skipped.len()),
        ] {
            sheet = sheet.maybe(name, (n > 0).then_some(n));
        }
        for (stack, versions) in &self.versions {
            let target = self.targets.get(stack).map(String::as_str).unwrap_or_default();
            let counts: Vec<String> = versions.iter().map(|(version, n)| format!("{n} at {version}")).collect();
            sheet = sheet.field(format!("{stack} (to {target})"), counts.join(" · "));
        }
        let sheet = sheet.rows("Shared tables", &self.systems);
        let sheet = sheet.rows("Skipped", &self.skipped);
        // Who is there needs no line; those whose turn has not come are counted, and in JSON.
        sheet.rows("Not there", self.results.iter().filter(|r| matches!(r.status, FleetEnd::Failed | FleetEnd::Locked)))
    }
}

impl Row for Skipped {
    const COLUMNS: &'static [&'static str] = &["tenant", "stack", "version", "target"];

    fn cells(&self) -> Vec<String> {
        [&self.tenant, &self.stack, &self.version, &self.target].map(Clone::clone).to_vec()
    }
}

impl Row for Planned {
    const COLUMNS: &'static [&'static str] = &["wave", "tenant", "stack", "tier", "host", "version", "target"];

    fn cells(&self) -> Vec<String> {
        let wave = if self.wave == 0 { "canary".to_owned() } else { self.wave.to_string() };
        vec![wave, self.tenant.clone(), self.stack.clone(), self.tier.clone(), self.host.clone(), self.version.clone(), self.target.clone()]
    }
}

impl View for Sketch {
    fn view(&self) -> Sheet {
        let mut sheet =
            Sheet::new().field("tenants", self.tenants).field("current", self.current).field("to do", self.todo.len()).field("may fail", self.may_fail);
        for (stack, target) in &self.targets {
            sheet = sheet.field(format!("{stack} to"), target);
        }
        sheet.rows("Shared tables first", &self.systems).rows("In this order", &self.todo).rows("Skipped", &self.skipped)
    }
}

/// Says who was left behind by choice: where an exit code of 0 does not mean that everybody is there.
pub(super) fn left_behind(cli: &Cli, skipped: &[Skipped], systems: &[SystemLine]) {
    for line in systems.iter().filter(|s| s.status == Standing::Skipped) {
        let many = suspended(line.tenants);
        cli.say.warning(format!("what {many} share in {} on {} was left behind, at {}", line.database, line.host, line.version));
    }
    let mut versions: BTreeMap<&str, usize> = BTreeMap::new();
    for tenant in skipped {
        *versions.entry(&tenant.version).or_default() += 1;
    }
    let at = match versions.iter().next() {
        None => return,
        Some((version, _)) if versions.len() == 1 => format!(", at {version}"),
        Some(_) => format!(": {}", versions.iter().map(|(version, n)| format!("{n} at {version}")).collect::<Vec<_>>().join(", ")),
    };
    cli.say.warning(format!("{} left behind{at}", suspended(skipped.len())));
}

fn suspended(n: usize) -> String {
    format!("{n} suspended {}", if n == 1 { "tenant" } else { "tenants" })
}

/// Prints how the fleet stands.
///
/// # Errors
/// 3 when anybody is behind, 130 when the run was paused.
pub(in crate::cli) fn tell(cli: &Cli, report: &Report) -> Result<(), CliError> {
    cli.out.object(report)?;
    left_behind(cli, &report.skipped, &report.systems);
    if let Some(line) = report.systems.iter().find(|s| s.status == Standing::Failed) {
        let why = line.fault.as_ref().map(|f| f.message.clone()).unwrap_or_default();
        let hint = line.fault.as_ref().and_then(|f| f.hint.clone());
        let told = format!(
            "what tenants of stack `{}` share in the database `{}` could not be migrated, and nothing else was begun: {why}",
            line.stack, line.database
        );
        return Err(CliError::new(Kind::Stopped, "system_failed", told).hints(hint));
    }
    let resume = report.run.map(|run| format!("`labctl fleet resume {run}` goes on with the rest"));
    let error = match report.status {
        FleetStatus::Done => return Ok(()),
        FleetStatus::Interrupted => CliError::new(Kind::Interrupted, "interrupted", format!("the run was paused: {}", behind(report.behind))),
        FleetStatus::Stopped => {
            let why = format!("the run was stopped, {} failed: {}", tenants(report.failed), behind(report.behind));
            CliError::new(Kind::Stopped, "too_many_failures", why)
        }
        FleetStatus::Incomplete | FleetStatus::Running => CliError::new(Kind::Stopped, "behind", behind(report.behind)),
    };
    let failed = report.results.iter().filter(|r| r.status == FleetEnd::Failed);
    let mending: BTreeSet<&str> = failed.filter_map(|r| r.fault.as_ref()?["hint"].as_str()).collect();
    Err(mending.into_iter().fold(error, CliError::hint).hints(resume))
}

fn tenants(n: usize) -> String {
    if n == 1 { "1 tenant".to_owned() } else { format!("{n} tenants") }
}

fn behind(n: usize) -> String {
    format!("{} {} behind", tenants(n), if n == 1 { "is" } else { "are" })
}
