//! `labctl tenant delete`

use super::outcome::Choices;
use crate::cli::help::examples;
use crate::cli::{Cli, CliError};
use crate::ops::delete::Delete;

/// Delete a tenant: out of use at once, brought back by undelete, removed for good by purge
///
/// Nothing is removed yet: the tenant is suspended in full and kept until it is purged, which may be done from a date on that its tier says
/// (`purge_after_days`). Deleting a tenant again changes nothing, and its first dates stay.
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("Asks for the id to be typed", "labctl tenant delete city-lab --reason 'contract ended'"),
    ("In a script", "labctl tenant delete city-lab --reason 'contract ended' --confirm city-lab"),
]))]
pub struct Args {
    /// The tenant's id
    id: String,

    /// Why; kept with the tenant's history
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,

    /// The tenant's id once more, instead of typing it; --yes is not enough
    #[arg(long, value_name = "ID")]
    confirm: Option<String>,

    #[command(flatten)]
    only: Choices,
}

/// Runs it.
///
/// # Errors
/// 64 when it is not confirmed, 1 when there is no such tenant, 3 when it stopped part-way.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    if !args.only.dry_run {
        let question = format!("Tenant {} goes out of use at once: nobody signs in, nothing runs.", args.id);
        cli.ask.confirm_by_typing("--confirm", &question, args.confirm.as_deref(), &args.id)?;
    }
    let site = cli.site().await?;
    let delete = Delete { tenant: args.id, reason: args.reason };
    super::carry_out(cli, &site, &delete, &args.only).await?;
    if args.only.dry_run {
        return Ok(());
    }
    let tenant = site.registry.tenant(&delete.tenant).await?;
    let state = site.registry.revision(&tenant.id, tenant.revision).await?.state()?;
    if let Some(deleted) = state.life.deleted {
        let date = deleted.purge_after.format("%Y-%m-%d %H:%M UTC");
        cli.say
            .hint(format!("`labctl tenant undelete {0}` brings it back until it is purged; `labctl tenant purge {0}` may be given from {date} on", tenant.id));
    }
    Ok(())
}
