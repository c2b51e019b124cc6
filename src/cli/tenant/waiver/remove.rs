//! `labctl tenant waiver remove`

use crate::cli::help::examples;
use crate::cli::place::holder;
use crate::cli::{Cli, CliError};

/// Remove a waiver before it runs out; it stays on record
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("By its number", "labctl tenant waiver remove city-lab 1"),
]))]
pub struct Args {
    /// The tenant's id
    id: String,

    /// The waiver's number
    waiver: i32,
}

/// Runs it.
///
/// # Errors
/// 1 when there is no such waiver.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    let (waiver, now) = cli.registry().await?.remove_waiver(&holder(cli.settings()?), &args.id, args.waiver).await?;
    if !now {
        cli.say.status(format!("Waiver {} of tenant {} was removed before: no changes.", waiver.number, args.id));
    }
    cli.out.object(&waiver)
}
