//! `labctl operation`: the durable runs of plans.

mod abort;
mod list;
mod resolve;
mod resume;
mod show;
mod watch;

use super::{Cli, CliError};

/// List, show, watch, resume, settle and abort operations
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    List(list::Args),
    Show(show::Args),
    Watch(watch::Args),
    Resume(resume::Args),
    Resolve(resolve::Args),
    Abort(abort::Args),
}

/// Runs one of them.
///
/// # Errors
/// The command's.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    match args.command {
        Command::List(args) => list::run(args, cli).await,
        Command::Show(args) => show::run(args, cli).await,
        Command::Watch(args) => watch::run(args, cli).await,
        Command::Resume(args) => resume::run(args, cli).await,
        Command::Resolve(args) => resolve::run(args, cli).await,
        Command::Abort(args) => abort::run(args, cli).await,
    }
}
