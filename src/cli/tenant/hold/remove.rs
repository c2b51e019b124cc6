//! `labctl tenant hold remove`

use crate::cli::help::examples;
use crate::cli::place::holder;
use crate::cli::{Cli, CliError};

/// Remove a hold; it stays on record
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("By its number", "labctl tenant hold remove city-lab 1"),
]))]
pub struct Args {
    /// The tenant's id
    id: String,

    /// The hold's number
    hold: i32,
}

/// Runs it.
///
/// # Errors
/// 1 when there is no such hold.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    let (hold, now) = cli.registry().await?.remove_hold(&holder(cli.settings()?), &args.id, args.hold).await?;
    if !now {
        cli.say.status(format!("Hold {} of tenant {} was removed before: no changes.", hold.number, args.id));
    }
    cli.out.object(&hold)
}
