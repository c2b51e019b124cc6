//! `labctl tenant plan`

use super::sketch::Sketch;
use super::wish::{Wish, of_tenant};
use crate::cli::error::Kind;
use crate::cli::help::examples;
use crate::cli::{Cli, CliError};
use crate::ops::OpError;
use crate::ops::survey::survey;

/// Show what apply would do, and change nothing
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("Before creating", "labctl tenant plan tenants/hospital-a.toml"),
    ("Does a known tenant differ from its spec? (exit code 2)", "labctl tenant plan hospital-a --check"),
    ("The steps, for a script", "labctl tenant plan tenants/hospital-a.toml -o json | jq '.steps[] | {address, action}'"),
]))]
pub struct Args {
    #[command(flatten)]
    wish: Wish,

    /// Exit with 2 when there is anything to do
    #[arg(long)]
    check: bool,
}

/// Runs it.
///
/// # Errors
/// 64 for a spec that does not hold, 2 with --check when there are changes.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    let known = args.wish.known_tenant().map(ToOwned::to_owned);
    let (site, spec) = match known {
        Some(id) => {
            let site = cli.site().await?;
            let spec = of_tenant(&site, &id).await?;
            (site, spec)
        }
        None => {
            let spec = args.wish.spec(cli)?;
            (cli.site().await?, spec)
        }
    };
    let surveyed = survey(&site, &spec).await?;
    cli.out.object(&Sketch::of(&surveyed.plan))?;
    if !surveyed.plan.problems.is_empty() {
        return Err(OpError::Problems { tenant: spec.id, problems: surveyed.plan.problems }.into());
    }
    if args.check && !surveyed.plan.is_empty() { Err(CliError::told(Kind::Changes)) } else { Ok(()) }
}
