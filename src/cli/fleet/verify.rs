//! `labctl fleet verify`

use serde::Serialize;

use crate::cli::error::Kind;
use crate::cli::help::examples;
use crate::cli::output::Row;
use crate::cli::{Cli, CliError};
use crate::ops::OpError;
use crate::ops::verify::probe::Verdict;
use crate::ops::verify::run::{Report, fleet};
use crate::registry::TenantFilter;
use crate::spec::Tier;

/// Prove the isolation of all active tenants, each against neighbours taken by chance
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("Every tenant against one neighbour", "labctl fleet verify"),
    ("Trials of one product, against five neighbours each", "labctl fleet verify --stack labcloud --tier trial --sample 5"),
]))]
pub struct Args {
    /// Only of this stack
    #[arg(long)]
    stack: Option<String>,

    /// Only of this tier
    #[arg(long)]
    tier: Option<Tier>,

    /// How many neighbours each, taken by chance
    #[arg(long, value_name = "N", default_value_t = 1)]
    sample: usize,
}

/// One tenant's result, in short.
#[derive(Debug, Serialize)]
struct Line {
    tenant: String,
    against: Vec<String>,
    refused: usize,
    breaches: usize,
    not_run: usize,
    /// Probes for which there was nothing to try.
    left_out: usize,
    verdict: Verdict,
    evidence: Option<i64>,
    /// Why there is no evidence.
    error: Option<String>,
}

impl Row for Line {
    const COLUMNS: &'static [&'static str] = &["tenant", "against", "refused", "breaches", "not_run", "left_out", "verdict", "evidence"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.tenant.clone(),
            self.against.join(", "),
            self.refused.to_string(),
            self.breaches.to_string(),
            self.not_run.to_string(),
            self.left_out.to_string(),
            self.verdict.to_string(),
            self.evidence.map_or_else(|| self.error.clone().unwrap_or_default(), |n| n.to_string()),
        ]
    }
}

fn line(tenant: String, run: Result<Report, OpError>) -> Line {
    match run {
        Ok(r) => Line {
            tenant,
            against: r.against,
            refused: r.refused,
            breaches: r.breaches,
            not_run: r.not_run,
            left_out: r.nothing_to_try,
            verdict: r.verdict,
            evidence: Some(r.evidence),
            error: None,
        },
        Err(e) => Line {
            tenant,
            against: Vec::new(),
            refused: 0,
            breaches: 0,
            not_run: 0,
            left_out: 0,
            verdict: Verdict::NotRun,
            evidence: None,
            error: Some(e.to_string()),
        },
    }
}

/// Runs it.
///
/// # Errors
/// 1 `breach` when something of anybody's went through; 3 `not_run` when something could not be tried.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    let site = cli.site().await?;
    let filter = TenantFilter { stack: args.stack, tier: args.tier.map(|t| t.to_string()), status: None };
    let runs = fleet(&site, &filter, args.sample, cli.command_line()).await?;
    let lines: Vec<Line> = runs.into_iter().map(|(tenant, run)| line(tenant, run)).collect();
    cli.out.list(&lines)?;
    let of = |verdict| lines.iter().filter(|l| l.verdict == verdict).map(|l| l.tenant.as_str()).collect::<Vec<_>>();
    let (breached, unproved) = (of(Verdict::Breach), of(Verdict::NotRun));
    if !breached.is_empty() {
        return Err(CliError::failed("breach", format!("{} of {} tenants got through a wall: {}", breached.len(), lines.len(), breached.join(", ")))
            .left("nothing: what went through was undone")
            .hint("`labctl tenant evidence ID` lists what was tried; `labctl tenant plan ID` shows rights that were granted by hand"));
    }
    if !unproved.is_empty() {
        return Err(CliError::new(Kind::Stopped, "not_run", format!("{} of {} tenants are not proved: {}", unproved.len(), lines.len(), unproved.join(", ")))
            .hint("`labctl tenant verify ID` says what could not be tried"));
    }
    Ok(())
}
