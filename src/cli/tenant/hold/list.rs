//! `labctl tenant hold list`

use crate::cli::help::examples;
use crate::cli::{Cli, CliError};

/// List a tenant's holds, the removed ones too
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("For people", "labctl tenant hold list city-lab"),
    ("Those in force, for a script", "labctl tenant hold list city-lab -o json | jq '.[] | select(.removed_at == null)'"),
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
    cli.out.list(&cli.registry().await?.holds(&args.id).await?)
}
