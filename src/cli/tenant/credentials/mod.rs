//! `labctl tenant credentials`: what a tenant logs in to its database with.

mod list;
mod rotate;

use crate::cli::{Cli, CliError};
use crate::ops::rotate::Part;

/// List and rotate a tenant's database credentials
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    List(list::Args),
    Rotate(rotate::Args),
}

/// A part, as operators name its role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum PartName {
    /// The application's
    App,
    /// That for reports and support
    ReadOnly,
    /// That of migrations
    Migrate,
}

impl PartName {
    pub(super) fn part(self) -> Part {
        match self {
            Self::App => Part::App,
            Self::ReadOnly => Part::ReadOnly,
            Self::Migrate => Part::Migrate,
        }
    }
}

/// Runs one of them.
///
/// # Errors
/// The command's.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    match args.command {
        Command::List(args) => list::run(args, cli).await,
        Command::Rotate(args) => rotate::run(args, cli).await,
    }
}
