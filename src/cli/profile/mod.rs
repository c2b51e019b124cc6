//! `labctl profile`: where commands act.

mod list;
mod show;

use super::{Cli, CliError};

/// See where commands act: the sandbox, or a platform of labctl.toml
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    List(list::Args),
    Show(show::Args),
}

/// Runs one of them.
///
/// # Errors
/// The command's.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    match args.command {
        Command::List(args) => list::run(args, cli).await,
        Command::Show(args) => show::run(args, cli).await,
    }
}
