//! `labctl tenant create`

use super::outcome::Choices;
use super::wish::Wish;
use crate::cli::help::examples;
use crate::cli::{Cli, CliError};
use crate::ops::apply::Create;

/// Create a tenant and everything its tier calls for
///
/// The tenant must not exist yet. A create that was cut off is continued by the same command, and one that is done is answered with "no changes": nothing is made twice.
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("From a spec", "labctl tenant create tenants/city-lab.toml"),
    ("Without a file", "labctl tenant create --id north-lab --name 'North Lab' --stack labcloud --tier trial --email it@north-lab.example"),
    ("What exists in the end, for a script", "labctl tenant create tenants/city-lab.toml -o json | jq -r '.resources[].id'"),
]))]
pub struct Args {
    #[command(flatten)]
    wish: Wish,

    #[command(flatten)]
    only: Choices,
}

/// Runs it.
///
/// # Errors
/// 64 for a spec that does not hold, 1 for a tenant that exists, 3 when it stopped part-way.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    let spec = args.wish.spec(cli)?;
    let site = cli.site().await?;
    super::carry_out(cli, &site, &Create { spec }, &args.only).await
}
