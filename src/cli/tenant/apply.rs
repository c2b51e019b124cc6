//! `labctl tenant apply`

use std::path::PathBuf;

use super::outcome::PlanOnly;
use super::plan_file;
use super::wish::{FLAGS, Wish};
use crate::cli::help::examples;
use crate::cli::{Cli, CliError};
use crate::ops::apply::{Apply, Mend};
use crate::ops::approved::Approved;

/// Make a tenant as its spec says: create it, change it, or mend it
///
/// With the id of a known tenant instead of a file, its current spec is applied again: what was changed or removed behind labctl's back
/// is made as it was. With a plan, exactly that plan is carried out; it is refused when the tenant, or what it has, has changed since.
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("After an edit of the spec", "labctl tenant apply tenants/city-lab.toml"),
    ("Mend a known tenant", "labctl tenant apply city-lab"),
    ("Exactly what a plan says, whatever verb it is of", "labctl tenant apply --plan plan.json"),
]))]
pub struct Args {
    #[command(flatten)]
    wish: Wish,

    /// Carry out the plan in this file (`tenant plan --out`), if it still holds
    #[arg(long, value_name = "FILE", conflicts_with = "spec", conflicts_with_all = FLAGS)]
    plan: Option<PathBuf>,

    #[command(flatten)]
    only: PlanOnly,
}

/// Runs it.
///
/// # Errors
/// 64 for a spec or a plan that does not hold, 1 for a plan that is stale, 3 when it stopped part-way.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    if let Some(path) = &args.plan {
        let file = plan_file::read(path)?;
        return super::carry_out(cli, &cli.site().await?, &Approved { file }, &args.only).await;
    }
    if let Some(id) = args.wish.known_tenant() {
        let site = cli.site().await?;
        return super::carry_out(cli, &site, &Mend { tenant: id.to_owned() }, &args.only).await;
    }
    let spec = args.wish.spec(cli)?;
    let site = cli.site().await?;
    super::carry_out(cli, &site, &Apply { spec }, &args.only).await
}
