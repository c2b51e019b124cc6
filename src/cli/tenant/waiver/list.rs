//! `labctl tenant waiver list`

use crate::cli::help::examples;
use crate::cli::{Cli, CliError};

/// List a tenant's waivers, those that have run out or were removed too
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("For people", "labctl tenant waiver list city-lab"),
    ("What ends this week, for a script", "labctl tenant waiver list city-lab -o json | jq --arg day \"$(date -I -d +7days)\" '.[] | select(.removed_at == null and .until < $day)'"),
]))]
pub struct Args {
    /// The tenant's id
    id: String,
}

/// Runs it.
///
/// # Errors
/// 1 when there is no such tenant.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    cli.out.list(&cli.registry().await?.waivers(&args.id).await?)
}
