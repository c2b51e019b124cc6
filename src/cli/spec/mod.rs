//! `labctl spec`: tenants' specs, offline.

mod new;
mod schema;
mod validate;

use super::{Cli, CliError};

/// Write and check specs, offline
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Validate(validate::Args),
    New(new::Args),
    Schema(schema::Args),
}

/// Runs one of them.
///
/// # Errors
/// The command's.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    match args.command {
        Command::Validate(args) => validate::run(args, cli).await,
        Command::New(args) => new::run(args, cli).await,
        Command::Schema(args) => schema::run(args, cli).await,
    }
}
