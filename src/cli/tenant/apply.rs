//! `labctl tenant apply`

use std::path::PathBuf;

use super::outcome::Choices;
use super::plan_file;
use super::wish::{FLAGS, Wish};
use crate::cli::help::examples;
use crate::cli::{Cli, CliError};
use crate::ops::Site;
use crate::ops::apply::{Apply, Mend};
use crate::ops::approved::Approved;
use crate::ops::change::current;
use crate::ops::scale::hidden;
use crate::spec::TenantSpec;

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
    only: Choices,
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
