//! `labctl tenant migrate`

use crate::cli::error::Kind;
use crate::cli::fleet::{To, Told, tell};
use crate::cli::help::examples;
use crate::cli::{Cli, CliError, signals};
use crate::ops::fleet::{Options, migrate};
use crate::registry::fleet::{FleetEnd, FleetFilter};

/// Bring one tenant's schema to its stack's newest version
///
/// Nothing else of the tenant is looked at, but its schema's own ledger always: this is a fleet run of one. `labctl tenant apply` does the same among all else.
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("To the newest", "labctl tenant migrate city-lab"),
    ("To version 3 and no further", "labctl tenant migrate city-lab --to 3"),
]))]
pub struct Args {
    /// The tenant's id
    #[arg(value_name = "ID")]
    tenant: String,

    /// How far to go instead of to the newest: a version, or module=version; may be repeated
    #[arg(long, value_name = "VERSION")]
    to: Vec<To>,
}

/// Runs it.
///
/// # Errors
/// 1 when the migration failed, 5 when somebody else is at work on the tenant.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    let site = cli.site().await?;
    let options = Options { filter: FleetFilter { tenant: Some(args.tenant), ..FleetFilter::default() }, look: true, ..Options::default() };
    let to = args.to.into_iter().map(|t| (t.folder, t.version)).collect();
    let stop = signals::listen_without_progress(cli);
    let report = migrate(&site, &options, &to, cli.command_line(), &Told::new(cli), stop).await?;
    let told = tell(cli, &report);
    let Some(result) = report.results.first() else { return told };
    match (result.status, &result.fault) {
        (FleetEnd::Failed, _) => told.map_err(|e| CliError { kind: Kind::Failed, ..e }),
        (FleetEnd::Locked, Some(fault)) => {
            let (code, message) = (fault["code"].as_str().unwrap_or("locked"), fault["message"].as_str().unwrap_or_default());
            let is = if code == "locked" { " is" } else { ":" };
            Err(CliError::new(Kind::Locked, code, format!("tenant `{}`{is} {message}", result.tenant)).hint("wait for it and try again"))
        }
        _ => told,
    }
}
