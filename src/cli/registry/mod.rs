//! `labctl registry`: the database that remembers.

mod init;
mod status;

use super::{Cli, CliError};

/// Make and inspect the registry
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Init(init::Args),
    Status(status::Args),
}

/// Runs one of them.
///
/// # Errors
/// The command's.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    match args.command {
        Command::Init(args) => init::run(args, cli).await,
        Command::Status(args) => status::run(args, cli).await,
    }
}
