//! `labctl registry status`

use crate::cli::help::examples;
use crate::cli::output::{Sheet, View};
use crate::cli::{Cli, CliError};
use crate::registry::Status;

/// Show where the registry is, its version, and what it holds
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[("Of a platform", "labctl registry status --profile production")]))]
pub struct Args {}

impl View for Status {
    fn view(&self) -> Sheet {
        let version = if self.initialised { format!("{} (this labctl: {})", self.version, self.latest) } else { "not initialised".to_owned() };
        Sheet::new()
            .field("at", &self.at)
            .maybe("id", self.id)
            .field("version", version)
            .field("tenants", self.tenants)
            .field("operations", self.operations)
            .field("unfinished", self.unfinished)
            .field("leases", self.leases)
    }
}

/// Runs it.
///
/// # Errors
/// When the registry cannot be reached.
pub async fn run(_: Args, cli: &Cli) -> Result<(), CliError> {
    cli.out.object(&cli.registry().await?.status().await?)
}
