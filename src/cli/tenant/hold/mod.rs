//! `labctl tenant hold`: what keeps a tenant from being purged.

mod add;
mod list;
mod remove;

use crate::cli::output::{Row, Sheet, View};
use crate::cli::{Cli, CliError};
use crate::registry::Hold;

/// Place, remove and list holds: a held tenant cannot be purged
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Add(add::Args),
    Remove(remove::Args),
    List(list::Args),
}

/// Runs one of them.
///
/// # Errors
/// The command's.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    match args.command {
        Command::Add(args) => add::run(args, cli).await,
        Command::Remove(args) => remove::run(args, cli).await,
        Command::List(args) => list::run(args, cli).await,
    }
}

fn removed(hold: &Hold) -> String {
    match (&hold.removed_at, &hold.removed_by) {
        (Some(at), Some(by)) => format!("{} by {by}", at.format("%Y-%m-%d %H:%M UTC")),
        _ => "-".to_owned(),
    }
}

impl Row for Hold {
    const COLUMNS: &'static [&'static str] = &["number", "reason", "by", "placed", "removed"];

    fn cells(&self) -> Vec<String> {
        let placed = self.placed_at.format("%Y-%m-%d %H:%M UTC").to_string();
        vec![self.number.to_string(), self.reason.clone(), format!("{}@{}", self.who, self.host), placed, removed(self)]
    }
}

impl View for Hold {
    fn view(&self) -> Sheet {
        Sheet::new()
            .field("tenant", &self.tenant)
            .field("number", self.number)
            .field("reason", &self.reason)
            .field("by", format!("{}@{}", self.who, self.host))
            .field("placed", self.placed_at.format("%Y-%m-%d %H:%M UTC"))
            .field("removed", removed(self))
    }
}
