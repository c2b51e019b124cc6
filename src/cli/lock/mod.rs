//! `labctl lock`: who works on which tenant.

mod break_lock;
mod list;

use super::{Cli, CliError};

/// List locks on tenants, and break one whose holder is lost
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    List(list::Args),
    Break(break_lock::Args),
}

/// Runs one of them.
///
/// # Errors
/// The command's.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    match args.command {
        Command::List(args) => list::run(args, cli).await,
        Command::Break(args) => break_lock::run(args, cli).await,
    }
}

pub(super) use list::{Holds, holds};
