//! `labctl fleet status`

use crate::cli::help::examples;
use crate::cli::output::Row;
use crate::cli::{Cli, CliError};
use crate::ops::fleet_health::{self, Fleet, TenantHealth};
use crate::registry::TenantFilter;
use crate::spec::Tier;

/// Show how each tenant's data stands: size, sessions, version, activity
///
/// Sizes and versions are read from the databases now, each asked once for all its tenants. A tenant whose host cannot be reached is
/// shown without them, and the command fails with 1 after having shown the rest.
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("All", "labctl fleet status"),
    ("Who is behind, for a script", "labctl fleet status --stack labcloud -o jsonl | jq -r 'select(.pending > 0).id'"),
    ("The ten largest", "labctl fleet status -o jsonl | jq -s 'sort_by(-.bytes)[:10][] | {id, bytes}'"),
]))]
pub struct Args {
    #[command(flatten)]
    which: Which,
}

/// Which tenants.
#[derive(Debug, clap::Args)]
pub(super) struct Which {
    /// Only of this stack
    #[arg(long)]
    stack: Option<String>,

    /// Only of this tier
    #[arg(long)]
    tier: Option<Tier>,
}

impl Which {
    pub(super) fn filter(self) -> TenantFilter {
        TenantFilter { stack: self.stack, tier: self.tier.map(|t| t.to_string()), status: None }
    }
}

impl Row for TenantHealth {
    const COLUMNS: &'static [&'static str] = &["id", "tier", "status", "host", "size", "connections", "version", "active", "slow"];

    fn cells(&self) -> Vec<String> {
        let none = || "-".to_owned();
        let limits: Option<i64> = self.connections.iter().map(|c| c.limit).sum();
        let used: i64 = self.connections.iter().map(|c| c.connections).sum();
        let connections = match (self.connections.as_slice(), limits) {
            ([], _) => none(),
            (_, Some(limits)) => format!("{used}/{limits}"),
            (_, None) => used.to_string(),
        };
        let version = match (&self.version, self.pending) {
            (Some(version), Some(behind)) if behind > 0 => format!("{version} ({behind} behind)"),
            (version, _) => version.clone().unwrap_or_else(none),
        };
        let version = self.baseline.as_ref().map_or(version.clone(), |held| format!("{version} (baseline {held})"));
        vec![
            self.id.clone(),
            self.tier.clone(),
            self.status.to_string(),
            self.host.clone().unwrap_or_else(none),
            self.bytes.map_or_else(none, bytes),
            connections,
            version,
            self.active_at.map_or_else(none, |at| at.format("%Y-%m-%d %H:%M").to_string()),
            self.slow_statements.map_or_else(none, |n| n.to_string()),
        ]
    }
}

/// Bytes for people: `1.5 MiB`.
pub(super) fn bytes(n: i64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = n as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit < UNITS.len() - 1 {
        value /= 1024.0;
        unit += 1;
    }
    if n < 1024 { format!("{n} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// What could not be asked, told once the rest has been shown.
///
/// # Errors
/// 1 when there is any.
pub(super) fn unreached(fleet: &Fleet) -> Result<(), CliError> {
    let faults: Vec<String> = fleet.hosts.iter().flat_map(|h| h.faults.iter().map(|f| format!("{}: {f}", h.endpoint))).collect();
    if faults.is_empty() {
        return Ok(());
    }
    let error = CliError::failed("incomplete", "not all databases could be asked; what could be is shown");
    Err(faults.into_iter().fold(error, CliError::cause))
}

/// Runs it.
///
/// # Errors
/// 1 when a host or database could not be asked.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    let fleet = fleet_health::look(&cli.site().await?, &args.which.filter()).await?;
    cli.out.list(&fleet.tenants)?;
    unreached(&fleet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_told_in_the_unit_that_fits() {
        assert_eq!([0, 1023, 1024, 1_572_864, 5 << 40].map(bytes), ["0 B", "1023 B", "1.0 KiB", "1.5 MiB", "5.0 TiB"]);
    }
}
