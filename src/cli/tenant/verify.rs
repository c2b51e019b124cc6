//! `labctl tenant verify`

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cli::error::Kind;
use crate::cli::help::examples;
use crate::cli::output::{Row, Sheet, View};
use crate::cli::{Cli, CliError};
use crate::ops::verify::probe::{Finding, LeftOut, VISIBLE, Verdict, Visible};
use crate::ops::verify::run::{Against, Report, verify};

/// Prove a tenant's isolation: try, with its real credentials, what must be refused
///
/// Logs in as each of the tenant's roles with the passwords its applications have, and tries to reach a neighbour's data in the
/// database, in storage and by identity. Every attempt is undone, also one that goes through. The result is kept as evidence. An attempt
/// that could not be made proves nothing, and is no pass.
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("Against three neighbours, by chance", "labctl tenant verify city-lab"),
    ("Against one", "labctl tenant verify city-lab --against lakeside-lab"),
    ("What went through, for a script", "labctl tenant verify city-lab -o json | jq '.findings[] | select(.verdict == \"BREACH\")'"),
]))]
pub struct Args {
    /// The tenant that tries
    id: String,

    /// The neighbour it tries on
    #[arg(long, value_name = "ID", conflicts_with = "sample")]
    against: Option<String>,

    /// How many neighbours, taken by chance
    #[arg(long, value_name = "N", default_value_t = 3)]
    sample: usize,
}

/// A report, for output.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    report: &'a Report,
    visible_by_design: &'static [Visible],
}

/// All attempts of one probe, for people.
#[derive(Debug, Serialize)]
struct Line {
    area: String,
    probe: String,
    what: String,
    attempts: usize,
    verdict: Verdict,
}

impl Row for Line {
    const COLUMNS: &'static [&'static str] = &["area", "probe", "what", "attempts", "verdict"];

    fn cells(&self) -> Vec<String> {
        vec![self.area.clone(), self.probe.clone(), self.what.clone(), self.attempts.to_string(), self.verdict.to_string()]
    }
}

fn lines(findings: &[Finding]) -> Vec<Line> {
    let mut place = BTreeMap::new();
    let mut lines: Vec<Line> = Vec::new();
    for f in findings {
        let at = *place.entry((f.area, f.probe.as_str())).or_insert(lines.len());
        if at == lines.len() {
            lines.push(Line { area: f.area.to_string(), probe: f.probe.clone(), what: f.what.clone(), attempts: 0, verdict: f.verdict });
        }
        let line = &mut lines[at];
        line.attempts += 1;
        line.verdict = line.verdict.max(f.verdict);
    }
    lines
}

/// All probes that there was nothing to try for, for one reason: for people.
#[derive(Debug, Serialize)]
struct Reason {
    probes: usize,
    why: String,
    such_as: String,
}

impl Row for Reason {
    const COLUMNS: &'static [&'static str] = &["probes", "why", "such_as"];

    fn cells(&self) -> Vec<String> {
        vec![self.probes.to_string(), self.why.clone(), self.such_as.clone()]
    }
}

fn reasons(left_out: &[LeftOut]) -> Vec<Reason> {
    let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for l in left_out {
        by_reason.entry(&l.why).or_default().push(&l.probe);
    }
    let mut reasons: Vec<Reason> =
        by_reason.into_iter().map(|(why, all)| Reason { probes: all.len(), why: why.to_owned(), such_as: all[..all.len().min(2)].join(", ") }).collect();
    reasons.sort_by_key(|r| std::cmp::Reverse(r.probes));
    reasons
}

impl View for Shown<'_> {
    fn view(&self) -> Sheet {
        let r = self.report;
        let (lines, reasons) = (lines(&r.found.findings), reasons(&r.found.left_out));
        Sheet::new()
            .field("tenant", &r.tenant)
            .field("against", r.against.join(", "))
            .field("verdict", r.verdict)
            .field("attempts", format!("{} refused, {} breaches, {} not run", r.refused, r.breaches, r.not_run))
            .field("left_out", format!("{} for which there was nothing to try", r.found.left_out.len()))
            .field("evidence", r.evidence)
            .rows(format!("{} probes", lines.len()), &lines)
            .rows(format!("{} left out", r.found.left_out.len()), &reasons)
    }
}

/// Runs it.
///
/// # Errors
/// 1 `breach` when something went through; 3 `not_run` when something could not be tried.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    let site = cli.site().await?;
    let against = args.against.map_or(Against::Sample(args.sample), Against::One);
    let report = verify(&site, &args.id, &against, cli.command_line()).await?;
    cli.out.object(&Shown { report: &report, visible_by_design: VISIBLE })?;
    ended(&report)
}

/// How a report ends the command.
///
/// # Errors
/// As the command's.
fn ended(report: &Report) -> Result<(), CliError> {
    const FEW: usize = 6;
    let told = match report.verdict {
        Verdict::Refused => return Ok(()),
        Verdict::Breach => CliError::failed("breach", format!("tenant `{}` got through {} of the walls it tried", report.tenant, report.breaches))
            .left("nothing: what went through was undone")
            .hint(format!("`labctl tenant plan {}` shows rights that were granted by hand, and `tenant apply` revokes them", report.tenant)),
        Verdict::NotRun => {
            CliError::new(Kind::Stopped, "not_run", format!("{} attempts of tenant `{}` could not be made: they prove nothing", report.not_run, report.tenant))
                .hint("see to what kept them from being made, then verify again")
        }
    };
    let worst = report.found.findings.iter().filter(|f| f.verdict == report.verdict);
    Err(worst.take(FEW).fold(told, |told, f| told.cause(format!("{} as {}: {} → {}", f.probe, f.by, f.tried, f.got))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_out_is_told_by_reason_the_commonest_first() {
        let left_out = [("server", "no wrapper"), ("kms_decrypt", "no role"), ("s3_get", "no role"), ("s3_put", "no role")].map(|(probe, why)| LeftOut {
            probe: probe.into(),
            against: Some("b".into()),
            why: why.into(),
        });
        let told: Vec<Vec<String>> = reasons(&left_out).iter().map(Row::cells).collect();
        assert_eq!(told, [["3", "no role", "kms_decrypt, s3_get"], ["1", "no wrapper", "server"]]);
        assert!(reasons(&[]).is_empty());
    }
}
