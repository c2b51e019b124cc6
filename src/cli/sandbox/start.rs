//! `labctl sandbox start`

use crate::cli::help::examples;
use crate::cli::{Cli, CliError, place};

/// Start the sandbox, and keep it for the next commands
///
/// The first start on a machine installs the emulator into a virtual environment of the sandbox's own, which takes about a minute.
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("Start it", "labctl sandbox start"),
    ("A second one, in a folder of its own", "LABCTL_SANDBOX_DIR=/tmp/other labctl sandbox start"),
]))]
pub struct Args {}

/// Runs it.
///
/// # Errors
/// When something the machine must have is missing: the error names the command that installs it.
pub async fn run(_: Args, cli: &Cli) -> Result<(), CliError> {
    let settings = cli.settings()?;
    cli.start_sandbox(settings).await?;
    cli.out.object(&place::sandbox(settings).status().await?)
}
