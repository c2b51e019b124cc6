//! `labctl tenant apply`

use super::outcome::PlanOnly;
use super::wish::Wish;
use crate::cli::help::examples;
use crate::cli::{Cli, CliError};
use crate::ops::apply::{Apply, Mend};

/// Make a tenant as its spec says: create it, change it, or mend it
///
/// With the id of a known tenant instead of a file, its current spec is applied again: what was changed or removed behind labctl's back
/// is made as it was.
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("After an edit of the spec", "labctl tenant apply tenants/city-lab.toml"),
    ("Mend a known tenant", "labctl tenant apply city-lab"),
]))]
pub struct Args {
    #[command(flatten)]
    wish: Wish,

    #[command(flatten)]
    only: PlanOnly,
}

/// Runs it.
///
/// # Errors
/// 64 for a spec that does not hold, 3 when it stopped part-way.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    if let Some(id) = args.wish.known_tenant() {
        let site = cli.site().await?;
        return super::carry_out(cli, &site, &Mend { tenant: id.to_owned() }, &args.only).await;
    }
    let spec = args.wish.spec(cli)?;
    let site = cli.site().await?;
    super::carry_out(cli, &site, &Apply { spec }, &args.only).await
}
