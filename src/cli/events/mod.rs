//! `labctl events`: what receivers are told of tenants' lives.

mod deliver;
mod list;

use super::{Cli, CliError};

/// List lifecycle events, and deliver those that wait
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    List(list::Args),
    Deliver(deliver::Args),
}

/// Runs one of them.
///
/// # Errors
/// The command's.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    match args.command {
        Command::List(args) => list::run(args, cli).await,
        Command::Deliver(args) => deliver::run(args, cli).await,
    }
}
