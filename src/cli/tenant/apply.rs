//! `labctl tenant apply`

use super::outcome::PlanOnly;
use super::wish::Wish;
use crate::cli::help::examples;
use crate::cli::{Cli, CliError};
use crate::ops::Site;
use crate::ops::apply::{Apply, Mend};
use crate::ops::change::current;
use crate::ops::scale::hidden;
use crate::spec::TenantSpec;

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
    tell_hidden(cli, &site, &spec).await?;
    super::carry_out(cli, &site, &Apply { spec }, &args.only).await
}

/// What of the file has no effect is said, lest somebody edit it in vain.
async fn tell_hidden(cli: &Cli, site: &Site, spec: &TenantSpec) -> Result<(), CliError> {
    let Some(known) = current(site, &spec.id, None).await? else { return Ok(()) };
    for setting in hidden(spec, &known.state.life.settings) {
        let (group, last) = setting.path.rsplit_once('.').unwrap_or(("", &setting.path));
        let back = match last {
            "image" => format!("labctl tenant deploy {} --service {group} --reset", spec.id),
            "min" | "desired" | "max" => format!("labctl tenant scale {} --service {group} --reset", spec.id),
            _ => format!("labctl tenant scale {} --reset", spec.id),
        };
        cli.say.hint(format!("`{}` stays {}, set since; the spec's {} has no effect until `{back}`", setting.path, setting.holds, setting.said));
    }
    Ok(())
}
