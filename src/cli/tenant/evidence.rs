//! `labctl tenant evidence`

use crate::cli::help::examples;
use crate::cli::output::Row;
use crate::cli::{Cli, CliError};
use crate::registry::evidence::Evidence;

/// List what was proved of a tenant, the newest first, or print one piece of evidence
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("Of one tenant", "labctl tenant evidence city-lab"),
    ("Everything of number 12, for an auditor", "labctl tenant evidence city-lab --number 12 -o json"),
]))]
pub struct Args {
    /// The tenant's id
    id: String,

    /// Only this one, with every attempt
    #[arg(long, value_name = "N")]
    number: Option<i64>,

    /// At most so many; 0 for all
    #[arg(long, default_value_t = 20)]
    limit: i64,
}

impl Row for Evidence {
    const COLUMNS: &'static [&'static str] = &["number", "tenant", "what", "at", "who", "verdict", "summary"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.number.to_string(),
            self.tenant.clone(),
            self.what.clone(),
            self.at.format("%Y-%m-%d %H:%M UTC").to_string(),
            format!("{}@{}", self.who, self.host),
            self.verdict.clone(),
            format!("{} refused, {} breaches, {} not run", self.summary["refused"], self.summary["breaches"], self.summary["not_run"]),
        ]
    }
}

/// Runs it.
///
/// # Errors
/// 1 when there is no such tenant, or no such evidence of it.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    let registry = cli.registry().await?;
    registry.tenant(&args.id).await?;
    let found = match args.number {
        None => registry.evidence_of(&args.id, args.limit).await?,
        Some(number) => vec![registry.evidence(number).await?],
    };
    if found.iter().any(|e| e.tenant != args.id) {
        return Err(CliError::failed("not_found", format!("this evidence is not of tenant `{}`", args.id)));
    }
    cli.out.list(&found)
}
