//! `labctl tenant show`

use serde::Serialize;

use crate::cli::help::examples;
use crate::cli::output::{Row, Sheet, View};
use crate::cli::{Cli, CliError};
use crate::plan::life::{Deleted, Suspended};
use crate::registry::TenantView;
use crate::registry::tenants::ResourceLine;

/// Show a tenant: how it stands, and everything it has
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("For people", "labctl tenant show city-lab"),
    ("The bucket's name, for a script", "labctl tenant show hospital-a -o json | jq -r '.resources[] | select(.kind == \"s3_bucket\").id'"),
]))]
pub struct Args {
    /// The tenant's id
    id: String,
}

/// A tenant, for output: the registry's own shape.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Shown(TenantView);

impl Row for ResourceLine {
    const COLUMNS: &'static [&'static str] = &["resource", "status", "id"];

    fn cells(&self) -> Vec<String> {
        let short = self.address.split_once('/').map_or(self.address.as_str(), |(_, rest)| rest);
        vec![short.to_owned(), self.status.to_string(), self.id.clone().unwrap_or_else(|| "-".to_owned())]
    }
}

impl View for Shown {
    fn view(&self) -> Sheet {
        let t = &self.0;
        Sheet::new()
            .field("id", &t.id)
            .maybe("external_id", t.external_id.as_ref())
            .field("display_name", &t.display_name)
            .field("subdomain", &t.subdomain)
            .field("stack", &t.stack)
            .field("tier", &t.tier)
            .field("isolation", &t.isolation)
            .field("status", t.status)
            .maybe("suspended", t.suspension.as_ref().map(suspended))
            .maybe("deleted", t.deletion.as_ref().map(deleted))
            .maybe("holds", (t.holds > 0).then_some(t.holds))
            .field("revision", t.revision)
            .field("provisioned_at", t.provisioned_at.map_or_else(|| "never".to_owned(), |at| at.format("%Y-%m-%d %H:%M:%S UTC").to_string()))
            .maybe("operation", t.operation)
            .rows(format!("{} resources", t.resources.len()), &t.resources)
    }
}

/// `full since 2026-01-01 00:00:00 UTC: unpaid`.
fn suspended(s: &Suspended) -> String {
    let reason = s.reason.as_ref().map(|r| format!(": {r}")).unwrap_or_default();
    format!("{} since {}{reason}", s.level, s.since.format("%Y-%m-%d %H:%M:%S UTC"))
}

/// `2026-01-01 00:00 UTC, may be purged from 2026-02-01 00:00 UTC on: contract ended`.
fn deleted(d: &Deleted) -> String {
    let reason = d.reason.as_ref().map(|r| format!(": {r}")).unwrap_or_default();
    format!("{}, may be purged from {} on{reason}", d.at.format("%Y-%m-%d %H:%M UTC"), d.purge_after.format("%Y-%m-%d %H:%M UTC"))
}

/// Runs it.
///
/// # Errors
/// 1 when there is no such tenant.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    cli.out.object(&Shown(cli.registry().await?.tenant_view(&args.id).await?))
}
