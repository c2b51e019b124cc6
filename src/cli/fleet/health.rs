//! `labctl fleet health`

use std::collections::BTreeMap;

use serde::Serialize;

use super::status::{Which, bytes, unreached};
use crate::cli::error::Kind;
use crate::cli::help::examples;
use crate::cli::output::{Row, Sheet, View};
use crate::cli::{Cli, CliError};
use crate::ops::fleet_health::{self, Fleet, HostHealth, Warning};
use crate::tenantdb::transport::Tls;

/// Show how much of each database host is in use, and warn of what is nearly used up
///
/// There is a warning for all of which 80 % or more is in use: a host's sessions and lock table, its bytes and schemas where a limit of them
/// is known, the sessions of a tenant's own database and of each tenant's logins; and for a host that does not refuse logins without TLS. The exit code is 1 when there is a warning, or a host could not be asked; the rest is shown in any case.
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("All hosts", "labctl fleet health"),
    ("For a monitor", "labctl fleet health -q -o json > health.json || alert health.json"),
]))]
pub struct Args {
    #[command(flatten)]
    which: Which,
}

/// The fleet in short.
#[derive(Serialize)]
struct Health<'a> {
    /// No warning, and all was asked.
    healthy: bool,
    tenants: Tenants<'a>,
    hosts: &'a [HostHealth],
    warnings: &'a [Warning],
}

#[derive(Serialize)]
struct Tenants<'a> {
    total: usize,
    by_status: BTreeMap<String, usize>,
    /// Those with migrations that they do not have yet.
    behind: Vec<&'a str>,
}

impl Row for HostHealth {
    const COLUMNS: &'static [&'static str] = &["host", "tenants", "schemas", "connections", "locks", "size", "tls"];

    fn cells(&self) -> Vec<String> {
        let none = || "-".to_owned();
        let of = |used: Option<i64>, limit: Option<i64>, words: fn(i64) -> String| match (used, limit) {
            (Some(used), Some(limit)) => format!("{}/{}", words(used), words(limit)),
            (used, _) => used.map_or_else(none, words),
        };
        let number = |n: i64| n.to_string();
        vec![
            self.endpoint.clone(),
            self.tenants.to_string(),
            of(self.schemas, self.max_schemas, number),
            of(self.connections, self.max_connections, number),
            of(self.locks, self.max_locks, number),
            of(self.bytes, self.max_bytes, bytes),
            self.tls.map_or_else(none, |tls| tls_words(tls).to_owned()),
        ]
    }
}

fn tls_words(tls: Tls) -> &'static str {
    match tls {
        Tls::Required => "required",
        Tls::Optional => "optional",
        Tls::None => "no TLS",
        Tls::Unknown => "unknown",
    }
}

impl Row for Warning {
    const COLUMNS: &'static [&'static str] = &["host", "used", "limit", "of"];

    fn cells(&self) -> Vec<String> {
        let words = |n: Option<i64>| n.map_or_else(|| "-".to_owned(), |n| if self.of == "bytes" { bytes(n) } else { n.to_string() });
        vec![self.host.clone(), words(self.used), words(self.limit), self.of.clone()]
    }
}

impl View for Health<'_> {
    fn view(&self) -> Sheet {
        let statuses: Vec<String> = self.tenants.by_status.iter().map(|(status, n)| format!("{n} {status}")).collect();
        let sheet = Sheet::new()
            .field("tenants", format!("{} ({})", self.tenants.total, statuses.join(", ")))
            .field("behind", self.tenants.behind.len())
            .rows(format!("{} hosts", self.hosts.len()), self.hosts);
        if self.warnings.is_empty() { sheet } else { sheet.rows(format!("{} warnings", self.warnings.len()), self.warnings) }
    }
}

fn health(fleet: &Fleet) -> Health<'_> {
    let mut by_status = BTreeMap::new();
    for tenant in &fleet.tenants {
        *by_status.entry(tenant.status.to_string()).or_insert(0) += 1;
    }
    let behind = fleet.tenants.iter().filter(|t| t.pending.is_some_and(|n| n > 0)).map(|t| t.id.as_str()).collect();
    Health {
        healthy: fleet.warnings.is_empty() && fleet.hosts.iter().all(|h| h.faults.is_empty()),
        tenants: Tenants { total: fleet.tenants.len(), by_status, behind },
        hosts: &fleet.hosts,
        warnings: &fleet.warnings,
    }
}

/// Runs it.
///
/// # Errors
/// 1 when there is a warning, or a host or database could not be asked.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    let fleet = fleet_health::look(&cli.site().await?, &args.which.filter()).await?;
    let health = health(&fleet);
    cli.out.object(&health)?;
    unreached(&fleet)?;
    for warning in &fleet.warnings {
        cli.say.warning(warning.to_string());
    }
    if health.healthy { Ok(()) } else { Err(CliError::told(Kind::Failed)) }
}
