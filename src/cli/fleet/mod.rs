//! `labctl fleet`: many tenants at once.

mod drift;
mod health;
mod status;
mod verify;

use super::{Cli, CliError};

/// Look at many tenants at once, and work on them
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Status(status::Args),
    Health(health::Args),
    Drift(drift::Args),
    Verify(verify::Args),
}

/// Runs one of them.
///
/// # Errors
/// The command's.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    match args.command {
        Command::Status(args) => status::run(args, cli).await,
        Command::Health(args) => health::run(args, cli).await,
        Command::Drift(args) => drift::run(args, cli).await,
        Command::Verify(args) => verify::run(args, cli).await,
    }
}
