//! `labctl operation list`

use crate::cli::help::examples;
use crate::cli::output::Row;
use crate::cli::{Cli, CliError};
use crate::registry::{Operation, OperationFilter, OperationStatus};

/// List operations, the newest first
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("The last twenty", "labctl operation list"),
    ("What can be resumed", "labctl operation list --unfinished"),
    ("Of one tenant", "labctl operation list --tenant city-lab"),
]))]
pub struct Args {
    /// Only of this tenant
    #[arg(long)]
    tenant: Option<String>,

    /// Only in this state: running, done, failed, interrupted, in_doubt, aborted
    #[arg(long)]
    status: Option<OperationStatus>,

    /// Only those that can be resumed
    #[arg(long)]
    unfinished: bool,

    /// At most so many; 0 for all
    #[arg(long, default_value_t = 20)]
    limit: i64,
}

impl Row for Operation {
    const COLUMNS: &'static [&'static str] = &["number", "tenant", "verb", "revision", "status", "attempts", "who", "started"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.number.to_string(),
            self.tenant.clone(),
            self.verb.clone(),
            self.revision.to_string(),
            self.status.to_string(),
            self.attempts.to_string(),
            format!("{}@{}", self.who, self.host),
            self.started_at.format("%Y-%m-%d %H:%M UTC").to_string(),
        ]
    }
}

/// Runs it.
///
/// # Errors
/// When the registry cannot be reached.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    let filter = OperationFilter { tenant: args.tenant, status: args.status, unfinished: args.unfinished, limit: args.limit };
    cli.out.list(&cli.registry().await?.operations(&filter).await?)
}
