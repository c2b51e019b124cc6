//! `labctl sandbox stop`

use crate::cli::help::examples;
use crate::cli::{Cli, CliError, place};

/// Stop the sandbox
///
/// PostgreSQL keeps what it has. The AWS emulator keeps nothing: after the next start, `labctl tenant apply ID` makes a tenant's AWS
/// resources again.
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[("Stop it", "labctl sandbox stop")]))]
pub struct Args {}

/// Runs it.
///
/// # Errors
/// When a server does not stop.
pub async fn run(_: Args, cli: &Cli) -> Result<(), CliError> {
    let say = cli.say;
    let ran = place::sandbox(cli.settings()?).stop(&move |words: &str| say.status(words)).await?;
    cli.say.status(if ran { "the sandbox is stopped" } else { "the sandbox was not running" });
    Ok(())
}
