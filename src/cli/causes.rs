//! Each library's error becomes a [`CliError`] here: its kind, hence its exit code, is chosen once.

use std::collections::BTreeMap;

use super::error::{CliError, Kind};
use crate::engine::fault::{Class, Left};
use crate::engine::kind::Address;
use crate::engine::run::{End, Outcome};
use crate::ops::OpError;
use crate::ops::change::Report;
use crate::registry::{RegistryError, TenantStatus};
use crate::sandbox::SandboxError;
use crate::spec::Invalid;

impl From<Invalid> for CliError {
    fn from(invalid: Invalid) -> Self {
        Self::new(Kind::Usage, "invalid_spec", heading(&invalid)).diagnostics(invalid.errors)
    }
}

fn heading(invalid: &Invalid) -> String {
    match invalid.errors.len() {
        1 => "1 error in what was given; nothing was touched".to_owned(),
        n => format!("{n} errors in what was given; nothing was touched"),
    }
}

impl From<RegistryError> for CliError {
    fn from(error: RegistryError) -> Self {
        let kind = match &error {
            RegistryError::Locked(_) | RegistryError::Fenced { .. } => Kind::Locked,
            RegistryError::Database { code, .. } if code == "client" => Kind::Bug,
            _ => Kind::Failed,
        };
        Self::new(kind, error.code(), error.to_string()).hints(error.hint())
    }
}

impl From<SandboxError> for CliError {
    fn from(error: SandboxError) -> Self {
        let mut told = Self::failed(error.code(), error.to_string());
        let mut next = std::error::Error::source(&error);
        while let Some(cause) = next {
            told = told.cause(cause);
            next = cause.source();
        }
        told.hints(error.hint())
    }
}

impl From<OpError> for CliError {
    fn from(error: OpError) -> Self {
        let words = error.to_string();
        match error {
            OpError::Registry(e) => e.into(),
            OpError::Unbegun { registry, .. } => Self::failed(registry.code(), words)
                .cause(&registry)
                .left("nothing in AWS or in a database: no step was begun; perhaps the operation, on record")
                .hints(registry.hint())
                .hint("run the same command again: it goes on with what is on record"),
            OpError::Unrecorded { tenant, operation, outcome, registry } => {
                let mut told = ended_otherwise(&tenant, operation, &outcome, &BTreeMap::new()).unwrap_or_else(|| {
                    Self::new(Kind::Stopped, "stopped", words)
                        .left(format!("what its {} steps have made, all of them done and on record", outcome.ends.len()))
                        .hint(format!("`labctl operation resume {operation}` puts the end on record, too"))
                });
                if told.kind == Kind::Stopped {
                    registry.code().clone_into(&mut told.code);
                }
                if outcome.journal.is_none() {
                    told = told.cause(&registry);
                }
                // The registry comes first: nothing goes on without it.
                told.hints.splice(..0, registry.hint());
                told
            }
            OpError::FleetUnrecorded { run, registry } => Self::new(Kind::Stopped, registry.code(), words)
                .cause(&registry)
                .left("what was migrated, as the schemas' own ledgers and their databases say; the rest is as it was")
                .hints(registry.hint())
                .hint(format!("`labctl fleet resume {run}` goes on: it asks the databases who is where, and does nothing twice")),
            OpError::Spec { invalid, .. } => invalid.into(),
            OpError::Templates(invalid) => Self::new(Kind::Usage, "invalid_templates", words).diagnostics(invalid.errors),
            OpError::Migration { bad, .. } => Self::new(Kind::Usage, "invalid_migration", words).cause(bad),
            OpError::Exists { tenant, .. } => Self::failed("exists", words)
                .hint(format!("`labctl tenant apply {tenant}` makes it as its spec says; `labctl tenant show {tenant}` shows what it has")),
            OpError::OtherStack { .. } => Self::failed("other_stack", words).hint("a tenant stays in its stack: make a new tenant and move the data"),
            OpError::OtherIsolation { .. } => Self::failed("other_isolation", words)
                .left("everything as it was: nothing was touched")
                .hint("labctl moves no data: keep the tier, or make a new tenant of the other tier and move the data while nobody writes"),
            OpError::Status { tenant, status: TenantStatus::Deleted, .. } => {
                Self::failed("wrong_status", words).hint(format!("`labctl tenant undelete {tenant}` brings it back"))
            }
            OpError::Status { tenant, .. } => Self::failed("wrong_status", words).hint(format!("`labctl tenant show {tenant}` shows how it stands")),
            OpError::Suspended { tenant, .. } => {
                Self::failed("suspended", words).hint(format!("`labctl tenant resume {tenant}` takes it back into use; nothing was touched"))
            }
            OpError::OutOfBounds { refused, .. } => {
                let told = Self::new(Kind::Usage, "out_of_bounds", words);
                refused.into_iter().fold(told, |told, r| told.cause(r.message).hint(r.hint))
            }
            OpError::NoSuchService { known, .. } => Self::new(Kind::Usage, "unknown_service", words).hint(match known.as_slice() {
                [] => "it has none".to_owned(),
                some => format!("it has: {}", some.join(", ")),
            }),
            OpError::NeverReady { tenant, .. } => Self::failed("never_ready", words)
                .left("everything as it was: nothing was touched")
                .hint(format!("finish it first: `labctl tenant apply {tenant}`; `labctl tenant show {tenant}` shows what it has")),
            OpError::WrongAccount { .. } => {
                Self::failed("wrong_account", words).hint("check --profile, and the AWS profile or credentials in your environment; nothing was touched")
            }
            OpError::Outside { fault, .. } => {
                let told = Self::failed(fault.code.clone(), words).cause(&fault);
                let told = match &fault.left {
                    Left::Nothing => told.left("everything as it was: this call changed nothing"),
                    Left::Made(what) => told.left(what),
                    Left::Unknown(what) => told.left(format!("perhaps {what}")),
                };
                let passing = (fault.hint.is_none() && fault.class != Class::Refused).then(|| "it may pass by itself: run the same command again".to_owned());
                told.hints(fault.hint.or(passing))
            }
            OpError::Profile { .. } => Self::new(Kind::Usage, "invalid_profile", words),
            OpError::Problems { problems, .. } => {
                let mut told = Self::failed(problems.first().map_or("problems", |p| &p.code), words).left("nothing: the plan was not begun");
                for problem in problems {
                    told = told.cause(format!("{}/{}: {}", problem.address.kind, problem.address.name, problem.message));
                    if !told.hints.contains(&problem.hint) {
                        told = told.hint(problem.hint);
                    }
                }
                told
            }
            OpError::TooEarly { tenant, .. } => Self::failed("too_early", words)
                .left("everything: nothing was changed")
                .hint(format!("wait for the date; or, if it must be now: `labctl tenant purge {tenant} --now --confirm {tenant}`")),
            OpError::Held { tenant, holds } => {
                let told = Self::failed("held", words).left("everything: nothing was changed");
                let told = holds
                    .iter()
                    .fold(told, |told, h| told.cause(format!("hold {} of {}, by {}: {}", h.number, h.placed_at.format("%Y-%m-%d"), h.who, h.reason)));
                told.hint(format!("when a hold has served its purpose: `labctl tenant hold remove {tenant} NUMBER`"))
            }
            OpError::StalePlan { moved, .. } => moved
                .iter()
                .fold(Self::failed("stale_plan", words).left("nothing: the plan was not begun"), Self::cause)
                .hint("make the plan again, and look at it"),
            OpError::NoPlan { .. } => Self::new(Kind::Usage, "invalid_plan", words).hint("`--dry-run --out FILE` of any verb writes one"),
            OpError::NoNeighbour { .. } => Self::failed("no_neighbour", words).hint("a neighbour is another active tenant of the same registry"),
            OpError::NoSuchTenant { .. } => Self::failed("not_found", words).hint("`labctl tenant list` shows those there are"),
            OpError::NothingToResume { .. } => Self::failed("nothing_to_resume", words).hint("`labctl operation list --unfinished` lists what can be resumed"),
            OpError::Finding { .. } => {
                Self::failed("not_as_said", words).left("the step in doubt, as it was").hint("look again: `labctl operation show` has what is on record")
            }
            OpError::Fleet { usage: true, hint, .. } => Self::usage(words).hint(hint),
            OpError::Fleet { code, hint, .. } => Self::failed(code, words).hint(hint),
            OpError::Bug(_) => Self::bug(words),
        }
    }
}

/// As many unfinished steps are named in an error; progress has shown each of them, and the operation lists them all.
const FEW: usize = 6;

/// How a run that did not complete is told; `None` for one that did.
pub(super) fn incomplete(report: &Report) -> Option<CliError> {
    if let Some(fault) = &report.unproven {
        return Some(unproven(report, fault));
    }
    ended_otherwise(&report.tenant.id, report.operation.unwrap_or_default(), report.outcome.as_ref()?, &report.undone)
}

fn ended_otherwise(tenant: &str, number: i64, outcome: &Outcome, undone: &BTreeMap<Address, End>) -> Option<CliError> {
    if outcome.complete() {
        return None;
    }
    let done = outcome.ends.values().filter(|e| matches!(e, End::Done(_))).count();
    let kind = match outcome {
        o if o.in_doubt() => Kind::InDoubt,
        o if o.fenced => Kind::Locked,
        o if o.interrupted => Kind::Interrupted,
        _ => Kind::Stopped,
    };
    let (code, how) = match kind {
        Kind::InDoubt => ("in_doubt", "is in doubt"),
        Kind::Locked => ("fenced", "was taken over by another process"),
        Kind::Interrupted => ("interrupted", "was interrupted"),
        _ => ("stopped", "stopped part-way"),
    };
    let mut told = CliError::new(kind, code, format!("operation {number} of tenant `{tenant}` {how}: {done} of {} steps are done", outcome.ends.len()));
    let name = |a: &Address| format!("{}/{}", a.kind, a.name);
    for (address, end) in &outcome.ends {
        let (End::Failed(fault) | End::InDoubt(fault)) = end else { continue };
        if kind == Kind::Stopped && told.code == "stopped" {
            told.code.clone_from(&fault.code);
        }
        told = told.cause(format!("{}: {fault}", name(address)));
        told = match &fault.left {
            Left::Nothing => told,
            Left::Made(what) => told.left(format!("{}: {what}", name(address))),
            Left::Unknown(what) => told.left(format!("{}: perhaps {what}; resuming looks for it first", name(address))),
        };
        told = told.hints(fault.hint.clone());
    }
    if let Some(why) = &outcome.journal {
        told = told.cause(why).left("what the steps under way were making: that they were begun is on record, and resuming looks for it first");
    }
    let because = |(address, end): (&_, &_)| match end {
        End::Skipped(why) => Some(format!("{} ({why})", name(address))),
        _ => None,
    };
    let skipped: Vec<_> = outcome.ends.iter().filter_map(because).collect();
    if !skipped.is_empty() {
        told = told.cause(match skipped.len() {
            ..=FEW => format!("not finished: {}", skipped.join(", ")),
            n => format!("not finished: {n} steps; `labctl operation show {number}` lists them"),
        });
    }
    for (address, end) in undone {
        if let End::Failed(fault) | End::InDoubt(fault) = end {
            told = told.left(format!("{}: it could not be undone: {fault}", name(address)));
        }
    }
    let undone = undone.values().filter(|e| matches!(e, End::Done(_))).count();
    if undone > 0 {
        let kept = "what holds data, with what that needs, is kept and on record";
        told = told.left(format!("what this run has made is deleted again ({undone} resources); {kept}: `labctl tenant show {tenant}`"));
    } else if done > 0 {
        told = told.left(format!("what the {done} finished steps have made, kept and on record: `labctl tenant show {tenant}`"));
    }
    let when = if kind == Kind::Interrupted { "" } else { "once mended, " };
    Some(told.hint(format!("{when}go on with `labctl operation resume {number}`")))
}

/// Every step of a purge is done, but that nothing is left could not be shown.
fn unproven(report: &Report, fault: &crate::engine::fault::Fault) -> CliError {
    let (tenant, number) = (&report.tenant.id, report.operation.unwrap_or_default());
    let told = CliError::new(Kind::Stopped, fault.code.clone(), format!("operation {number}: tenant `{tenant}` is not proved to be gone")).cause(fault);
    let told = match &fault.left {
        Left::Nothing => told,
        Left::Made(what) => told.left(what),
        Left::Unknown(what) => told.left(format!("perhaps {what}")),
    };
    told.hints(fault.hint.clone()).hint(format!("`labctl operation resume {number}` looks again"))
}
