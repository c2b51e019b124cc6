//! `labctl lock break`

use super::list::{Holds, Lock, holds};
use crate::cli::help::examples;
use crate::cli::output::{Row, Sheet, View};
use crate::cli::{Cli, CliError, place};

/// Take a tenant's lock away from whoever holds it
///
/// From then on the former holder can write nothing for the tenant any more, even if it lives: it stops at its next step. What it has begun
/// is on record; `labctl operation resume` goes on with it.
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("Of a holder on a host that is lost", "labctl lock break city-lab --reason 'build-3 has lost its network'"),
    ("From a script", "labctl lock break city-lab --confirm city-lab"),
]))]
pub struct Args {
    /// The tenant's id
    tenant: String,

    /// Why; goes into the audit trail
    #[arg(long)]
    reason: Option<String>,

    /// The tenant's id once more, instead of typing it
    #[arg(long, value_name = "TENANT")]
    confirm: Option<String>,
}

impl View for Lock {
    fn view(&self) -> Sheet {
        Self::COLUMNS.iter().zip(self.cells()).fold(Sheet::new(), |sheet, (name, value)| sheet.field(*name, value))
    }
}

/// Runs it.
///
/// # Errors
/// 1 when nobody holds the lock, 64 without a confirmation.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    let settings = cli.settings()?;
    let registry = cli.registry().await?;
    let nobody = || {
        let told = CliError::failed("not_locked", format!("nobody holds the lock of tenant `{}`", args.tenant));
        told.hint("`labctl lock list` lists those that are held")
    };
    let lease = registry.lease(&args.tenant).await?.ok_or_else(nobody)?;
    let state = holds(&lease, &settings.operator.host);
    let who = format!("{}@{} (pid {}, `{}`)", lease.holder, lease.host, lease.process.pid, lease.what);
    if state == Holds::Alive {
        cli.say.warning(format!("{who} is alive; it will stop at its next step"));
    }
    let question = format!("This takes the lock of tenant {} from {who}.", args.tenant);
    cli.ask.confirm_by_typing("--confirm", &question, args.confirm.as_deref(), &args.tenant)?;
    let broken = registry.break_lease(&args.tenant, &place::holder(settings), args.reason.as_deref()).await?.ok_or_else(nobody)?;
    cli.say.status(format!("The lock of tenant {} is broken: {who} can write nothing for it any more", args.tenant));
    if let Some(operation) = registry.unfinished_operation(&args.tenant).await? {
        cli.say.hint(format!("operation {} is unfinished: `labctl operation resume {}` goes on with it", operation.number, operation.number));
    }
    cli.out.object(&Lock { lease: broken, state })
}
