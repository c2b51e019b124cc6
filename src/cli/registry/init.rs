//! `labctl registry init`

use crate::cli::help::examples;
use crate::cli::output::{Sheet, View};
use crate::cli::{Cli, CliError};
use crate::registry::Initialised;

/// Make the registry, or bring it to this labctl's version
///
/// Safe to run again, also by two at once. The sandbox does it by itself.
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[("Once per platform", "labctl registry init --profile production")]))]
pub struct Args {}

impl View for Initialised {
    fn view(&self) -> Sheet {
        Sheet::new().field("id", self.id).field("version_before", self.from).field("version", self.version)
    }
}

/// Runs it.
///
/// # Errors
/// When the registry cannot be reached, or is newer than this labctl.
pub async fn run(_: Args, cli: &Cli) -> Result<(), CliError> {
    cli.out.object(&cli.registry().await?.init().await?)
}
