//! `labctl operation show`

use std::time::Duration;

use serde::Serialize;

use crate::cli::help::examples;
use crate::cli::output::{Row, Sheet, View};
use crate::cli::progress::short;
use crate::cli::{Cli, CliError};
use crate::registry::OperationDetail;
use crate::registry::operations::StepRow;

/// Show an operation: every step, how it ended, and the calls made
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("For people", "labctl operation show 12"),
    ("What failed, for a script", "labctl operation show 12 -o json | jq '.steps[] | select(.status == \"failed\")'"),
]))]
pub struct Args {
    /// Its number
    number: i64,
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Shown(OperationDetail);

/// A step, and how long it took in the operation's last attempt.
#[derive(Serialize)]
struct Timed<'a> {
    step: &'a StepRow,
    seconds: Option<f64>,
}

impl Row for Timed<'_> {
    const COLUMNS: &'static [&'static str] = &["", "step", "status", "took", "remark"];

    fn cells(&self) -> Vec<String> {
        let step = self.step;
        let remark = step.fault.as_ref().map(ToString::to_string).or_else(|| step.because.clone());
        vec![
            step.action.glyph().to_string(),
            format!("{}/{}", step.address.kind, step.address.name),
            serde_json::to_value(step.status).ok().and_then(|v| v.as_str().map(ToOwned::to_owned)).unwrap_or_default(),
            self.took().map(short).unwrap_or_default(),
            remark.or_else(|| step.id.clone()).unwrap_or_default(),
        ]
    }
}

impl Timed<'_> {
    /// As progress showed it. Steps of an earlier attempt, and of one that died, are timed by their entries in the journal.
    fn took(&self) -> Option<Duration> {
        let summed = self.seconds.and_then(|s| Duration::try_from_secs_f64(s).ok());
        summed.or_else(|| self.step.intended_at.zip(self.step.finished_at).and_then(|(from, to)| (to - from).to_std().ok()))
    }
}

impl View for Shown {
    fn view(&self) -> Sheet {
        let o = &self.0.operation;
        let time = |at: chrono::DateTime<chrono::Utc>| at.format("%Y-%m-%d %H:%M:%S UTC").to_string();
        let calls = o.calls.as_ref().and_then(|c| c.as_object()).map(|c| c.values().filter_map(serde_json::Value::as_u64).sum::<u64>());
        let seconds = o.summary.as_ref().and_then(|s| s.get("seconds"));
        let took = |step: &StepRow| seconds.and_then(|all| all.get(step.address.to_string())).and_then(serde_json::Value::as_f64);
        let steps: Vec<_> = self.0.steps.iter().map(|step| Timed { step, seconds: took(step) }).collect();
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
            .maybe("aws_calls", calls)
            .rows("Steps", &steps)
    }
}

/// Runs it.
///
/// # Errors
/// 1 when there is no such operation.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    cli.out.object(&Shown(cli.registry().await?.operation(args.number).await?))
}
