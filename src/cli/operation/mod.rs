//! `labctl operation`: the durable runs of plans.

mod list;
mod resume;
mod show;

use super::{Cli, CliError};

/// List, show and resume operations
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    List(list::Args),
    Show(show::Args),
    Resume(resume::Args),
}

/// Runs one of them.
///
/// # Errors
/// The command's.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    match args.command {
        Command::List(args) => list::run(args, cli).await,
        Command::Show(args) => show::run(args, cli).await,
        Command::Resume(args) => resume::run(args, cli).await,
    }
}
