//! `labctl tenant list`

use crate::cli::help::examples;
use crate::cli::output::Row;
use crate::cli::{Cli, CliError};
use crate::registry::{Tenant, TenantFilter, TenantStatus};
use crate::spec::Tier;

/// List tenants
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("All but the purged", "labctl tenant list"),
    ("Trials of one product", "labctl tenant list --stack labcloud --tier trial"),
    ("Ids of what failed, for a script", "labctl tenant list --status failed -o jsonl | jq -r .id"),
]))]
pub struct Args {
    /// Only of this stack
    #[arg(long)]
    stack: Option<String>,

    /// Only of this tier
    #[arg(long)]
    tier: Option<Tier>,

    /// Only in this state: provisioning, active, updating, suspended, deleted, purging, purged, failed
    #[arg(long)]
    status: Option<TenantStatus>,
}

impl Row for Tenant {
    const COLUMNS: &'static [&'static str] = &["id", "display_name", "stack", "tier", "isolation", "status", "revision"];

    fn cells(&self) -> Vec<String> {
        let plain = [&self.id, &self.display_name, &self.stack, &self.tier, &self.isolation];
        plain.into_iter().cloned().chain([self.status.to_string(), self.revision.to_string()]).collect()
    }
}

/// Runs it.
///
/// # Errors
/// When the registry cannot be reached.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    let filter = TenantFilter { stack: args.stack, tier: args.tier.map(|t| t.to_string()), status: args.status };
    cli.out.list(&cli.registry().await?.tenants(&filter).await?)
}
