//! `labctl fleet`: many tenants at once.

mod drift;
mod health;
mod migrate;
mod outcome;
mod resume;
mod status;
mod verify;

use super::{Cli, CliError};

/// Look at many tenants at once, migrate and verify them
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
    Migrate(migrate::Args),
    Resume(resume::Args),
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
        Command::Migrate(args) => migrate::run(args, cli).await,
        Command::Resume(args) => resume::run(args, cli).await,
        Command::Verify(args) => verify::run(args, cli).await,
    }
}

pub(super) use migrate::To;
pub(super) use outcome::{Told, tell};
