//! `labctl operation show`

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;

use crate::cli::help::examples;
use crate::cli::output::{Row, Sheet, View};
use crate::cli::progress::short;
use crate::cli::{Cli, CliError};
use crate::registry::operations::StepRow;
use crate::registry::{Operation, OperationDetail};

/// Show an operation: every step with its times and how it ended, and the calls made
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("For people", "labctl operation show 12"),
    ("What failed, for a script", "labctl operation show 12 -o json | jq '.steps[] | select(.status == \"failed\")'"),
    ("The slowest steps", "labctl operation show 12 -o json | jq '.steps | sort_by(-.seconds)[:5][] | {address, seconds}'"),
]))]
pub struct Args {
    /// Its number
    number: i64,
}

/// An operation, for output.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    #[serde(flatten)]
    operation: Operation,
    plan: Value,
    steps: Vec<Timed>,
}

/// A step, and how long it took.
#[derive(Debug, Serialize)]
struct Timed {
    #[serde(flatten)]
    step: StepRow,
    /// As progress showed it. A step of an earlier attempt, or of one that died, is timed by its entries in the journal.
    seconds: Option<f64>,
}

/// How often a call was made.
#[derive(Serialize)]
struct Called<'a> {
    call: &'a str,
    times: u64,
}

impl Shown {
    pub(super) fn of(detail: OperationDetail) -> Self {
        let OperationDetail { operation, plan, steps } = detail;
        let summed = |step: &StepRow| operation.summary.as_ref()?.get("seconds")?.get(step.address.to_string())?.as_f64();
        let journaled = |step: &StepRow| {
            let spent = (step.finished_at? - step.intended_at?).to_std().ok()?;
            Some((spent.as_secs_f64() * 1000.0).round() / 1000.0)
        };
        let timed = steps.into_iter().map(|step| Timed { seconds: summed(&step).or_else(|| journaled(&step)), step }).collect();
        Self { steps: timed, operation, plan }
    }
}

impl Row for Timed {
    const COLUMNS: &'static [&'static str] = &["", "step", "status", "planned", "intended", "created", "finished", "took", "remark"];

    fn cells(&self) -> Vec<String> {
        let step = &self.step;
        let remark = step.fault.as_ref().map(ToString::to_string).or_else(|| step.because.clone());
        let at = |at: Option<DateTime<Utc>>| at.map_or_else(|| "-".to_owned(), |at| at.format("%H:%M:%S").to_string());
        vec![
            step.action.glyph().to_string(),
            format!("{}/{}", step.address.kind, step.address.name),
            serde_json::to_value(step.status).ok().and_then(|v| v.as_str().map(ToOwned::to_owned)).unwrap_or_default(),
            at(step.planned_at),
            at(step.intended_at),
            at(step.created_at),
            at(step.finished_at),
            self.seconds.and_then(|s| Duration::try_from_secs_f64(s).ok()).map(short).unwrap_or_default(),
            remark.or_else(|| step.id.clone()).unwrap_or_default(),
        ]
    }
}

impl Row for Called<'_> {
    const COLUMNS: &'static [&'static str] = &["call", "times"];

    fn cells(&self) -> Vec<String> {
        vec![self.call.to_owned(), self.times.to_string()]
    }
}

impl View for Shown {
    fn view(&self) -> Sheet {
        let o = &self.operation;
        let time = |at: DateTime<Utc>| at.format("%Y-%m-%d %H:%M:%S UTC").to_string();
        let made = o.calls.as_ref().and_then(Value::as_object).into_iter().flatten();
        let calls: Vec<Called<'_>> = made.filter_map(|(call, times)| Some(Called { call, times: times.as_u64()? })).collect();
        let given_up = o.summary.as_ref().and_then(|s| s.get("given_up"));
        let text = |key: &str| given_up.and_then(|g| g.get(key)).and_then(Value::as_str);
        Sheet::new()
            .field("number", o.number)
            .field("tenant", &o.tenant)
            .field("verb", &o.verb)
            .field("revision", o.revision)
            .field("status", o.status)
            .field("attempts", o.attempts)
            .field("by", format!("{}@{}", o.who, o.host))
            .field("command", &o.command)
            .field("started_at", time(o.started_at))
            .maybe("finished_at", o.finished_at.map(time))
            .maybe("given_up_by", text("by"))
            .maybe("reason", text("reason"))
            .maybe("aws_calls", o.calls.as_ref().map(|_| calls.iter().map(|c| c.times).sum::<u64>()))
            .rows("Steps", &self.steps)
            .rows("Calls", &calls)
    }
}

/// Runs it.
///
/// # Errors
/// 1 when there is no such operation.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    cli.out.object(&Shown::of(cli.registry().await?.operation(args.number).await?))
}
