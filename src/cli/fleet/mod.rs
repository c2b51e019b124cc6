//! `labctl fleet`: all tenants at once.

mod verify;

use super::{Cli, CliError};

/// Work on all tenants at once
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Verify(verify::Args),
}

/// Runs one of them.
///
/// # Errors
/// The command's.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    match args.command {
        Command::Verify(args) => verify::run(args, cli).await,
    }
}
