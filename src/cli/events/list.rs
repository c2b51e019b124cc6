//! `labctl events list`

use crate::cli::help::examples;
use crate::cli::output::Row;
use crate::cli::{Cli, CliError};
use crate::registry::outbox::{Delivery, DeliveryStatus, EventFilter, EventRow};

/// List lifecycle events, the newest first, and how their deliveries stand
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("The last fifty", "labctl events list"),
    ("What waits to be delivered", "labctl events list --pending"),
    ("What was given up, and why", "labctl events list --dead -o json | jq '.[].deliveries[] | select(.status == \"dead\")'"),
]))]
pub struct Args {
    /// Only of this tenant
    #[arg(long)]
    tenant: Option<String>,

    /// Only those that wait to be delivered
    #[arg(long)]
    pending: bool,

    /// Only those whose delivery was given up
    #[arg(long, conflicts_with = "pending")]
    dead: bool,

    /// At most so many; 0 for all
    #[arg(long, default_value_t = 50)]
    limit: i64,
}

impl Row for EventRow {
    const COLUMNS: &'static [&'static str] = &["at", "tenant", "sequence", "type", "operation", "deliveries"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.at.format("%Y-%m-%d %H:%M:%S UTC").to_string(),
            self.tenant.clone(),
            self.sequence.to_string(),
            self.r#type.clone(),
            self.operation.to_string(),
            if self.deliveries.is_empty() { "no receivers".to_owned() } else { self.deliveries.iter().map(told).collect::<Vec<_>>().join("; ") },
        ]
    }
}

fn told(delivery: &Delivery) -> String {
    let Delivery { receiver, attempts, .. } = delivery;
    let why = delivery.error.as_deref().map(|e| format!(": {e}")).unwrap_or_default();
    match delivery.status {
        DeliveryStatus::Delivered => format!("{receiver} delivered"),
        DeliveryStatus::Pending if *attempts == 0 => format!("{receiver} pending"),
        DeliveryStatus::Pending => format!("{receiver} pending, tried {attempts}×, next {}{why}", delivery.next_at.format("%H:%M:%S")),
        DeliveryStatus::Dead => format!("{receiver} dead after {attempts}×{why}"),
    }
}

/// Runs it.
///
/// # Errors
/// When the registry cannot be reached.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    let status = match (args.pending, args.dead) {
        (true, _) => Some(DeliveryStatus::Pending),
        (_, true) => Some(DeliveryStatus::Dead),
        _ => None,
    };
    cli.out.list(&cli.registry().await?.events(&EventFilter { tenant: args.tenant, status, limit: args.limit }).await?)
}
