//! `labctl tenant plan`

use std::path::PathBuf;

use super::outcome::Choices;
use super::wish::Wish;
use crate::cli::help::examples;
use crate::cli::{Cli, CliError};
use crate::ops::apply::{Apply, Mend};

/// Show what apply would do, and change nothing
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("Before creating", "labctl tenant plan tenants/hospital-a.toml"),
    ("Does a known tenant differ from its spec? (exit code 2)", "labctl tenant plan hospital-a --check"),
    ("To be carried out later, exactly so", "labctl tenant plan tenants/hospital-a.toml --out plan.json"),
    ("The steps, for a script", "labctl tenant plan tenants/hospital-a.toml -o json | jq '.steps[] | {address, action}'"),
]))]
pub struct Args {
    #[command(flatten)]
    wish: Wish,

    /// Exit with 2 when there is anything to do
    #[arg(long)]
    check: bool,

    /// Write the plan into this file, which must not exist, for `tenant apply --plan`
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Runs it.
///
/// # Errors
/// 64 for a spec that does not hold, 2 with --check when there are changes.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    let only = Choices { dry_run: true, check: args.check, out: args.out, ..Choices::default() };
    if let Some(id) = args.wish.known_tenant() {
        let mend = Mend { tenant: id.to_owned() };
        return super::carry_out(cli, &cli.site().await?, &mend, &only).await;
    }
    let spec = args.wish.spec(cli)?;
    super::carry_out(cli, &cli.site().await?, &Apply { spec }, &only).await
}
