//! `labctl tenant waiver`: differences that are allowed for a time.

mod add;
mod list;
mod remove;

use chrono::Utc;

use crate::cli::output::{Row, Sheet, View};
use crate::cli::{Cli, CliError};
use crate::registry::Waiver;

/// Allow a difference for a time: `drift` tells it and does not count it
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

/// What has become of it.
fn state(waiver: &Waiver) -> String {
    match (&waiver.removed_at, &waiver.removed_by) {
        (Some(at), Some(by)) => format!("removed {} by {by}", at.format("%Y-%m-%d %H:%M UTC")),
        _ if waiver.in_force(Utc::now()) => "in force".to_owned(),
        _ => "run out".to_owned(),
    }
}

fn until(waiver: &Waiver) -> String {
    waiver.until.format("%Y-%m-%d %H:%M UTC").to_string()
}

impl Row for Waiver {
    const COLUMNS: &'static [&'static str] = &["number", "resource", "field", "until", "reason", "by", "state"];

    fn cells(&self) -> Vec<String> {
        let field = self.field.clone().unwrap_or_else(|| "all".to_owned());
        let by = format!("{}@{}", self.who, self.host);
        vec![self.number.to_string(), self.resource.clone(), field, until(self), self.reason.clone(), by, state(self)]
    }
}

impl View for Waiver {
    fn view(&self) -> Sheet {
        Sheet::new()
            .field("tenant", &self.tenant)
            .field("number", self.number)
            .field("resource", &self.resource)
            .field("field", self.field.as_deref().unwrap_or("all"))
            .field("until", until(self))
            .field("reason", &self.reason)
            .field("by", format!("{}@{}", self.who, self.host))
            .field("state", state(self))
    }
}
