//! `labctl fleet`: many tenants at once.

mod migrate;
mod outcome;
mod resume;

use super::{Cli, CliError};

/// Migrate many tenants at once
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Migrate(migrate::Args),
    Resume(resume::Args),
}

/// Runs one of them.
///
/// # Errors
/// The command's.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    match args.command {
        Command::Migrate(args) => migrate::run(args, cli).await,
        Command::Resume(args) => resume::run(args, cli).await,
    }
}

pub(super) use migrate::To;
pub(super) use outcome::{Told, tell};
