//! `labctl fleet resume`

use super::outcome::{Told, tell};
use crate::cli::help::examples;
use crate::cli::{Cli, CliError, signals};
use crate::ops::fleet::resume;

/// Go on with a fleet run that was paused, stopped or cut off
///
/// Only tenants of the run that are not where they were to get are touched, in the waves they were in and with the options the run began
/// with. The count of failures begins anew.
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("The latest run that is not done", "labctl fleet resume --last"),
    ("A certain one", "labctl fleet resume 7"),
]))]
pub struct Args {
    /// The run's number
    #[arg(value_name = "RUN", required_unless_present = "last", conflicts_with = "last")]
    run: Option<i64>,

    /// The latest run that is not done
    #[arg(long)]
    last: bool,
}

/// Runs it.
///
/// # Errors
/// 3 when anybody is behind afterwards, 5 when another process is at it, 130 when it was paused.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    let site = cli.site().await?;
    let number = match args.run {
        Some(number) => number,
        None => site.registry.last_unfinished_fleet_run().await?,
    };
    let stop = signals::listen_without_progress(cli);
    let report = resume(&site, number, &Told::new(cli), stop).await?;
    tell(cli, &report)
}
