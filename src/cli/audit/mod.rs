//! `labctl audit`: what was done, by whom, and the proof that nobody has changed the record of it.

mod list;
mod verify;

use super::{Cli, CliError};

/// List what was done, and verify that the record of it was not changed
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    List(list::Args),
    Verify(verify::Args),
}

/// Runs one of them.
///
/// # Errors
/// The command's.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    match args.command {
        Command::List(args) => list::run(args, cli).await,
        Command::Verify(args) => verify::run(args, cli).await,
    }
}
