//! `labctl operation resume`

use crate::cli::help::examples;
use crate::cli::{Cli, CliError, tenant};
use crate::ops::OpError;
use crate::ops::apply::Continue;

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
    tenant::carry_out(cli, &site, &Continue { tenant: operation.tenant }, &tenant::Choices::default()).await
}
