//! `labctl tenant undelete`

use super::outcome::Choices;
use crate::cli::help::examples;
use crate::cli::{Cli, CliError};
use crate::ops::undelete::Undelete;

/// Bring a deleted tenant back as it was
///
/// A tenant that was suspended when it was deleted is suspended again.
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("Until it is purged", "labctl tenant undelete city-lab"),
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
/// 1 when the tenant is not deleted, or purged already; 3 when it stopped part-way.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    let site = cli.site().await?;
    super::carry_out(cli, &site, &Undelete { tenant: args.id }, &args.only).await
}
