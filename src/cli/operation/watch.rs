//! `labctl operation watch`

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::show::Shown;
use crate::cli::error::Kind;
use crate::cli::help::examples;
use crate::cli::lock::{Holds, holds};
use crate::cli::{Cli, CliError};
use crate::engine::event::{Event, Listener};
use crate::engine::kind::Address;
use crate::engine::step::Action;
use crate::registry::operations::{StepRow, StepStatus};
use crate::registry::{Operation, OperationDetail, OperationStatus, Registry};

/// How often the registry is read.
const PACE: Duration = Duration::from_millis(500);

/// Watch an operation that another process runs, until it ends
///
/// Reads the registry only: the run goes on whatever becomes of its watcher, and Ctrl-C just leaves. Ends with the exit code the operation
/// ends with: 0 done, 3 stopped part-way (or its process died), 4 in doubt, 1 given up.
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("Which run?", "labctl operation list --status running"),
    ("Watch one", "labctl operation watch 12"),
    ("Wait for it in a script", "labctl operation watch 12 --quiet > /dev/null && echo done"),
]))]
pub struct Args {
    /// Its number
    number: i64,
}

/// Runs it.
///
/// # Errors
/// 3, 4 or 1 for an operation that does not end well.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    let registry = cli.registry().await?;
    let mut seen = Seen::default();
    let progress = cli.progress();
    let (detail, died) = loop {
        let detail = registry.operation(args.number).await?;
        seen.tell(&detail, &progress);
        if detail.operation.status != OperationStatus::Running {
            break (detail, false);
        }
        if nobody_runs(&registry, &detail.operation, &cli.settings()?.operator.host).await? {
            // It may have ended between the two questions.
            let last = registry.operation(args.number).await?;
            let died = last.operation.status == OperationStatus::Running;
            seen.tell(&last, &progress);
            break (last, died);
        }
        tokio::time::sleep(PACE).await;
    };
    progress.hear(&Event::Finished { took: seen.since.elapsed() });
    drop(progress);
    match ended(&detail.operation, died) {
        Some(error) => Err(error),
        None => cli.out.object(&Shown::of(detail)),
    }
}

/// Whether the process that runs it is gone. One that takes the operation up again holds the lease before it says so.
async fn nobody_runs(registry: &Registry, operation: &Operation, host: &str) -> Result<bool, CliError> {
    let lease = registry.lease(&operation.tenant).await?;
    Ok(lease.is_none_or(|lease| matches!(holds(&lease, host), Holds::Dead | Holds::Expired)))
}

fn ended(operation: &Operation, died: bool) -> Option<CliError> {
    let (number, tenant) = (operation.number, &operation.tenant);
    let told = |kind, code: &str, how: &str| CliError::new(kind, code, format!("operation {number} of tenant `{tenant}` {how}"));
    let resume = format!("go on with `labctl operation resume {number}`; `labctl operation show {number}` has every step");
    Some(match operation.status {
        _ if died => {
            let how = format!("is run by nobody: its process ({}@{}, pid {}) is gone", operation.who, operation.host, operation.pid);
            told(Kind::Stopped, "holder_dead", &how).hint(resume)
        }
        OperationStatus::Done | OperationStatus::Running => return None,
        OperationStatus::Failed => told(Kind::Stopped, "stopped", "stopped part-way").hint(resume),
        OperationStatus::Interrupted => told(Kind::Stopped, "interrupted", "was interrupted").hint(resume),
        OperationStatus::InDoubt => {
            let hint = format!("look at what `labctl operation show {number}` says is in doubt, and say what is there: `labctl operation resolve`");
            told(Kind::InDoubt, "in_doubt", "is in doubt").hint(hint)
        }
        OperationStatus::Aborted => told(Kind::Failed, "aborted", "was given up"),
    })
}

/// What was told so far.
struct Seen {
    since: Instant,
    attempt: i32,
    steps: BTreeMap<Address, StepStatus>,
}

impl Default for Seen {
    fn default() -> Self {
        Self { since: Instant::now(), attempt: 0, steps: BTreeMap::new() }
    }
}

impl Seen {
    /// Tells what is new as the run itself would tell it. A further attempt is told from its start.
    fn tell(&mut self, detail: &OperationDetail, to: &dyn Listener) {
        let steps = || detail.steps.iter().filter(|s| s.action != Action::Keep || s.status != StepStatus::Planned);
        if self.attempt != detail.operation.attempts {
            (self.attempt, self.steps) = (detail.operation.attempts, BTreeMap::new());
            to.hear(&Event::Started { steps: steps().map(|s| (s.address.clone(), s.action)).collect() });
        }
        for step in steps() {
            let before = self.steps.insert(step.address.clone(), step.status);
            if before != Some(step.status) {
                event(step, before).into_iter().for_each(|event| to.hear(&event));
            }
        }
    }
}

fn event(step: &StepRow, before: Option<StepStatus>) -> Vec<Event> {
    let address = step.address.clone();
    let took = step.intended_at.zip(step.finished_at).and_then(|(from, to)| (to - from).to_std().ok()).unwrap_or_default();
    let id = step.id.clone().unwrap_or_default();
    let started = || Event::StepStarted { address: address.clone(), action: step.action };
    let fault = || step.fault.clone().unwrap_or_else(|| crate::engine::fault::Fault::unknown("labctl:Watch", "unknown", "its fault is not on record"));
    // What ended between two looks is told with its beginning, as progress expects.
    let begun = matches!(before, Some(StepStatus::Intended | StepStatus::Created));
    let ended = match step.status {
        StepStatus::Planned => return Vec::new(),
        StepStatus::Intended => return vec![started()],
        StepStatus::Created if begun => return vec![Event::StepCreated { address, id }],
        StepStatus::Created => return vec![started(), Event::StepCreated { address: address.clone(), id }],
        StepStatus::Skipped => return vec![Event::StepSkipped { address, because: step.because.clone().unwrap_or_default() }],
        StepStatus::Done => Event::StepDone { address: address.clone(), action: step.action, id, took },
        StepStatus::Deleted => Event::StepDone { address: address.clone(), action: Action::Delete, id, took },
        StepStatus::Failed => Event::StepFailed { address: address.clone(), fault: fault(), in_doubt: false, took },
        StepStatus::InDoubt => Event::StepFailed { address: address.clone(), fault: fault(), in_doubt: true, took },
    };
    if begun { vec![ended] } else { vec![started(), ended] }
}
