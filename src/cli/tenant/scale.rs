//! `labctl tenant scale`

use super::outcome::Choices;
use crate::cli::help::examples;
use crate::cli::{Cli, CliError};
use crate::ops::scale::Scale;

/// Change how many tasks a service runs, or the size of the database
///
/// The tier says how far (`labctl tier show STACK TIER`). What is set here stays when the spec is applied again; `--reset` gives it back
/// to the spec. Where the number of tasks follows the load, `--desired` sets it once, and scaling goes on from there.
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("Three to eight tasks, four of them now", "labctl tenant scale hospital-a --service django --min 3 --max 8 --desired 4"),
    ("A larger database", "labctl tenant scale northside-clinic --instance-class db.m7g.large"),
    ("As the spec says again", "labctl tenant scale hospital-a --service django --reset"),
]))]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true).args(["min", "max", "desired", "instance_class", "reset"]))]
pub struct Args {
    /// The tenant's id
    id: String,

    /// The service
    #[arg(long, value_name = "NAME")]
    service: Option<String>,

    /// Least tasks
    #[arg(long, value_name = "N", requires = "service")]
    min: Option<i64>,

    /// Most tasks
    #[arg(long, value_name = "N", requires = "service")]
    max: Option<i64>,

    /// Tasks now
    #[arg(long, value_name = "N", requires = "service")]
    desired: Option<i64>,

    /// Class of the database's instances
    #[arg(long, value_name = "CLASS")]
    instance_class: Option<String>,

    /// Give what was set here back to the spec: of the service, or everything
    #[arg(long, conflicts_with_all = ["min", "max", "desired", "instance_class"])]
    reset: bool,

    #[command(flatten)]
    only: Choices,
}

/// Runs it.
///
/// # Errors
/// 64 for a service there is not, or a number the tier does not allow; 1 for a suspended tenant; 3 when it stopped part-way.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    let Args { id, service, min, max, desired, instance_class, reset, only } = args;
    let site = cli.site().await?;
    super::carry_out(cli, &site, &Scale { tenant: id, service, min, desired, max, instance_class, reset }, &only).await
}
