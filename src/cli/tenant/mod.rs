//! `labctl tenant`: one tenant's life.

mod apply;
mod create;
mod list;
mod migrate;
mod outcome;
mod plan;
mod show;
mod sketch;
mod wish;

use super::{Cli, CliError};

/// Create, plan, apply, migrate, show and list tenants
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Create(create::Args),
    Plan(plan::Args),
    Apply(apply::Args),
    Migrate(migrate::Args),
    Show(show::Args),
    List(list::Args),
}

/// Runs one of them.
///
/// # Errors
/// The command's.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    match args.command {
        Command::Create(args) => create::run(args, cli).await,
        Command::Plan(args) => plan::run(args, cli).await,
        Command::Apply(args) => apply::run(args, cli).await,
        Command::Migrate(args) => migrate::run(args, cli).await,
        Command::Show(args) => show::run(args, cli).await,
        Command::List(args) => list::run(args, cli).await,
    }
}

pub(super) use outcome::{PlanOnly, carry_out};
