//! `labctl sandbox reset`

use crate::cli::help::examples;
use crate::cli::{Cli, CliError, place};

/// Stop the sandbox and delete everything in it
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[("Without being asked", "labctl sandbox reset --yes")]))]
pub struct Args {}

/// Runs it.
///
/// # Errors
/// 64 without a terminal and without --yes.
pub async fn run(_: Args, cli: &Cli) -> Result<(), CliError> {
    let settings = cli.settings()?;
    cli.ask.confirm(&format!("This deletes all tenants of the sandbox in {}. Go on?", settings.sandbox_dir.display()))?;
    let say = cli.say;
    place::sandbox(settings).reset(&move |words: &str| say.status(words)).await?;
    cli.say.status("the sandbox is empty; the next command starts a new one");
    Ok(())
}
