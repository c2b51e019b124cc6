//! `labctl operation resolve`

use super::show::Shown;
use crate::cli::help::examples;
use crate::cli::{Cli, CliError};
use crate::engine::kind::Address;
use crate::ops::settle;
use crate::registry::resolve::Finding;

/// Say what is there, of a step in doubt
///
/// A step is in doubt when its outcome cannot be told from here. Look, in AWS or in the database, and say what you found: labctl looks
/// itself then, and puts it on record only if it finds the same, with the tenant's ownership on it. Then the operation can be resumed.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("finding").required(true).args(["id", "absent"])), after_long_help = examples(&[
    ("Which steps are in doubt?", "labctl operation show 12 -o json | jq '.steps[] | select(.status == \"in_doubt\")'"),
    ("It exists", "labctl operation resolve 12 cognito_user_pool/users --id eu-central-1_AbCdEfGhI"),
    ("It does not", "labctl operation resolve 12 cognito_user_pool/users --absent"),
]))]
pub struct Args {
    /// The operation's number
    number: i64,

    /// The step: KIND/NAME, or TENANT/KIND/NAME
    address: String,

    /// It exists, and this is its id
    #[arg(long)]
    id: Option<String>,

    /// It does not exist
    #[arg(long)]
    absent: bool,

    /// How you know; goes into the audit trail
    #[arg(long)]
    reason: Option<String>,
}

/// Runs it.
///
/// # Errors
/// 1 when the step is not in doubt or is not as said, 5 while somebody runs the operation.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    let site = cli.site().await?;
    let operation = site.registry.operation(args.number).await?.operation;
    let full = if args.address.matches('/').count() == 1 { format!("{}/{}", operation.tenant, args.address) } else { args.address.clone() };
    let address: Address = full.parse().map_err(|e: crate::engine::kind::NotAnAddress| CliError::usage(e.to_string()))?;
    if address.tenant != operation.tenant {
        return Err(CliError::usage(format!("operation {} is of tenant `{}`, not `{}`", operation.number, operation.tenant, address.tenant)));
    }
    let finding = args.id.map_or(Finding::Absent, Finding::There);
    let left = settle::resolve(&site, operation.number, &address, &finding, args.reason.as_deref(), cli.command_line()).await?;
    let (step, found) = (format!("{}/{}", address.kind, address.name), if finding == Finding::Absent { "does not exist" } else { "exists" });
    cli.say.status(format!("On record: {step} of tenant {} {found}", address.tenant));
    cli.say.hint(match left {
        0 => format!("go on with `labctl operation resume {}`", operation.number),
        n => format!("{n} more in doubt: `labctl operation show {}`", operation.number),
    });
    cli.out.object(&Shown::of(site.registry.operation(operation.number).await?))
}
