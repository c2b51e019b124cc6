//! `labctl operation abort`

use super::show::Shown;
use crate::cli::help::examples;
use crate::cli::{Cli, CliError};
use crate::ops::{deliver, settle};
use crate::registry::{RegistryError, TenantStatus};

/// Give an unfinished operation up, which nobody runs
///
/// Nothing is undone: what it has made stays, and is on record. What it was to bring about stays the tenant's desired state, until it is
/// changed.
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("Which can be given up?", "labctl operation list --unfinished"),
    ("Give one up", "labctl operation abort 12 --reason 'the customer has cancelled' --yes"),
]))]
pub struct Args {
    /// Its number
    number: i64,

    /// Why; goes into the audit trail
    #[arg(long)]
    reason: Option<String>,
}

/// Runs it.
///
/// # Errors
/// 1 when it is over, 5 while somebody runs it, 64 without a confirmation.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    let site = cli.site().await?;
    let operation = site.registry.operation(args.number).await?.operation;
    if operation.status.is_over() {
        return Err(RegistryError::Finished { operation: operation.number, status: operation.status }.into());
    }
    let tenant = &operation.tenant;
    cli.ask.confirm(&format!("This gives up operation {} (`{}` of tenant {tenant}, {}). Go on?", operation.number, operation.verb, operation.status))?;
    let stands = settle::abort(&site, operation.number, args.reason.as_deref(), cli.command_line()).await?;
    deliver::shortly(&site).await;
    cli.say.status(format!("Operation {} is given up; what it made stays, and tenant {tenant} is {stands}", operation.number));
    cli.say.hint(match stands {
        TenantStatus::Purging => format!("a purge can only go on: `labctl tenant purge {tenant}`"),
        TenantStatus::Deleted => format!("`labctl tenant undelete {tenant}` brings it back"),
        _ => format!("`labctl tenant apply {tenant}` makes it as it is meant to be, `labctl tenant history {tenant}` tells what that is, `labctl tenant delete {tenant}` takes it out of use"),
    });
    cli.out.object(&Shown::of(site.registry.operation(operation.number).await?))
}
