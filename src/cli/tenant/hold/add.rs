//! `labctl tenant hold add`

use crate::cli::help::examples;
use crate::cli::place::holder;
use crate::cli::{Cli, CliError};

/// Place a hold: the tenant cannot be purged until it is removed
///
/// At any time before a purge begins, also while another operator works on the tenant. A hold with the same words that is in force is not
/// placed twice.
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("For a lawsuit", "labctl tenant hold add city-lab --reason 'case 4711'"),
]))]
pub struct Args {
    /// The tenant's id
    id: String,

    /// Why
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    reason: String,
}

/// Runs it.
///
/// # Errors
/// 1 when there is no such tenant, or it is being purged already.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    let (hold, new) = cli.registry().await?.add_hold(&holder(cli.settings()?), &args.id, &args.reason).await?;
    if !new {
        cli.say.status(format!("Tenant {} has that hold already: no changes.", args.id));
    }
    cli.out.object(&hold)
}
