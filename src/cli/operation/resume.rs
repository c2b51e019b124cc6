//! `labctl operation resume`

use crate::cli::help::examples;
use crate::cli::{Cli, CliError, tenant};
use crate::ops::OpError;
use crate::ops::apply::Verb;

/// Go on with an operation that stopped part-way
///
/// Resuming is planning again, with today's labctl: what is there is kept, what is missing is made, and nothing is made twice.
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("Which can be resumed?", "labctl operation list --unfinished"),
    ("Go on", "labctl operation resume 12"),
]))]
pub struct Args {
    /// Its number
    number: i64,
}

/// Runs it.
///
/// # Errors
/// 1 when it is over, 3 when it stopped part-way again.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    let site = cli.site().await?;
    let operation = site.registry.operation(args.number).await?.operation;
    if operation.status.is_over() {
        return Err(OpError::NothingToResume { operation: operation.number, status: operation.status }.into());
    }
    let revision = site.registry.revision(&operation.tenant, operation.revision).await?;
    let spec = serde_json::from_value(revision.spec)
        .map_err(|e| CliError::bug(format!("revision {} of tenant `{}` cannot be read", revision.number, operation.tenant)).because(&e))?;
    tenant::carry_out(cli, &site, &spec, Verb::Resume).await
}
