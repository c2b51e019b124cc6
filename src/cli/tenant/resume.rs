//! `labctl tenant resume`

use super::outcome::Choices;
use crate::cli::help::examples;
use crate::cli::{Cli, CliError};
use crate::ops::resume::Resume;

/// Bring a suspended tenant back into use
///
/// Everything is as it was: the numbers of tasks, the rights in the database, and the users who could sign in. One who had been
/// disabled before the suspension stays disabled.
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("Back in use", "labctl tenant resume city-lab"),
    ("What that would do", "labctl tenant resume city-lab --dry-run"),
]))]
pub struct Args {
    /// The tenant's id
    id: String,

    #[command(flatten)]
    only: Choices,
}

/// Runs it.
///
/// # Errors
/// 1 for a tenant that was never ready, 3 when it stopped part-way.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    let site = cli.site().await?;
    super::carry_out(cli, &site, &Resume { tenant: args.id }, &args.only).await
}
