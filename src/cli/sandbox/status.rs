//! `labctl sandbox status`

use crate::cli::help::examples;
use crate::cli::output::{Sheet, View};
use crate::cli::{Cli, CliError, place};
use crate::sandbox::Status;

/// Show what of the sandbox runs, and where
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[("Show it", "labctl sandbox status")]))]
pub struct Args {}

impl View for Status {
    fn view(&self) -> Sheet {
        let stopped = || "stopped".to_owned();
        Sheet::new()
            .field("folder", self.dir.display())
            .field("aws", self.aws.clone().unwrap_or_else(stopped))
            .field("postgresql", self.postgres.clone().unwrap_or_else(stopped))
            .maybe("postgresql_version", self.postgres_version.as_ref())
            .field("aws_log", self.aws_log.display())
            .field("postgresql_log", self.postgres_log.display())
    }
}

/// Runs it.
///
/// # Errors
/// When the sandbox's folder cannot be read.
pub async fn run(_: Args, cli: &Cli) -> Result<(), CliError> {
    cli.out.object(&place::sandbox(cli.settings()?).status().await?)
}
