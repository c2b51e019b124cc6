//! `labctl tier`: what each tier of each stack means.

mod diff;
mod list;
mod show;

use super::{Cli, CliError, place};
use crate::cli::error::Kind;
use crate::stack::Stacks;

/// List, show and compare tiers
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    List(list::Args),
    Show(show::Args),
    Diff(diff::Args),
}

/// Runs one of them.
///
/// # Errors
/// The command's.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    let stacks = place::stacks(cli.settings()?)?;
    match args.command {
        Command::List(args) => list::run(args, cli, &stacks).await,
        Command::Show(args) => show::run(args, cli, &stacks).await,
        Command::Diff(args) => diff::run(args, cli, &stacks).await,
    }
}

fn no_stack(stacks: &Stacks, name: &str) -> CliError {
    let known: Vec<_> = stacks.names().collect();
    CliError::new(Kind::Usage, "unknown_stack", format!("there is no stack `{name}`")).hint(format!("stacks are: {}", known.join(", ")))
}

fn no_tier(stack: &str) -> CliError {
    CliError::new(Kind::Usage, "unknown_tier", format!("stack `{stack}` does not have that tier"))
        .hint(format!("`labctl tier list --stack {stack}` lists them"))
}
