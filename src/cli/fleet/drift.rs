//! `labctl fleet drift`

use std::pin::pin;

use futures_util::StreamExt;
use serde::Serialize;

use crate::cli::drift_line::DriftLine;
use crate::cli::error::Kind;
use crate::cli::help::examples;
use crate::cli::output::Row;
use crate::cli::{Cli, CliError};
use crate::ops::drift::{TenantDrift, fleet};
use crate::registry::TenantFilter;
use crate::spec::Tier;

/// Say how what all tenants have differs from what they should have, and change nothing
///
/// Tenants are looked at side by side. One that cannot be looked at is told, and holds up no other. Exits with 2 when anything differs, and
/// with 1 when a tenant could not be looked at.
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("Everybody", "labctl fleet drift"),
    ("Enterprise tenants of one product", "labctl fleet drift --stack mate --tier enterprise"),
    ("Ids of the tenants that differ, for a script", "labctl fleet drift -o jsonl | jq -r .tenant | sort -u"),
]))]
pub struct Args {
    /// Only of this stack
    #[arg(long)]
    stack: Option<String>,

    /// Only of this tier
    #[arg(long)]
    tier: Option<Tier>,
}

/// One resource that differs, or one tenant that could not be looked at.
#[derive(Serialize)]
struct Line<'a> {
    tenant: &'a str,
    #[serde(flatten)]
    found: Found<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Found<'a> {
    Differs(DriftLine<'a>),
    /// In the same shape.
    Failed {
        address: Option<()>,
        drift: &'static str,
        fields: [(); 0],
        detail: String,
    },
}

impl Row for Line<'_> {
    const COLUMNS: &'static [&'static str] = &["tenant", "drift", "resource", "how"];

    fn cells(&self) -> Vec<String> {
        let (how, resource, ways) = match &self.found {
            Found::Differs(line) => (line.how(), line.resource(), line.ways().join("; ")),
            Found::Failed { drift, detail, .. } => (*drift, "-".to_owned(), detail.clone()),
        };
        vec![self.tenant.to_owned(), how.to_owned(), resource, ways]
    }
}

/// Runs it.
///
/// # Errors
/// 2 when anything differs, 1 when a tenant could not be looked at.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    let site = cli.site().await?;
    let filter = TenantFilter { stack: args.stack, tier: args.tier.map(|t| t.to_string()), status: None };
    let mut looks = pin!(fleet(&site, &filter).await?);
    let mut all: Vec<(String, Result<TenantDrift, CliError>)> = Vec::new();
    let busy = cli.say.busy("Looking at tenants");
    while let Some((tenant, found)) = looks.next().await {
        tracing::debug!(%tenant, "looked at");
        all.push((tenant, found.map_err(CliError::from)));
    }
    drop(busy);
    let lines: Vec<Line<'_>> = all.iter().flat_map(|(tenant, found)| lines(tenant, found)).collect();
    cli.out.list(&lines)?;
    let failed = all.iter().filter(|(_, found)| found.is_err()).count();
    let differ = all.iter().filter(|(_, found)| found.as_ref().is_ok_and(|f| !f.drift.differences.is_empty())).count();
    let differences = lines.len() - failed;
    let waived: usize = all.iter().filter_map(|(_, found)| found.as_ref().ok()).map(|f| f.waived.len()).sum();
    let allowed = if waived > 0 { format!("; {waived} differences are allowed by waivers") } else { String::new() };
    cli.say.status(format!("{} tenants looked at: {differ} differ, in {differences} resources; {failed} could not be looked at{allowed}", all.len()));
    if failed > 0 {
        let told = CliError::failed("not_looked_at", format!("{failed} of {} tenants could not be looked at", all.len()));
        return Err(told.hint("`labctl tenant drift ID` says more of one tenant"));
    }
    if differ > 0 { Err(CliError::told(Kind::Changes)) } else { Ok(()) }
}

fn lines<'a>(tenant: &'a str, found: &'a Result<TenantDrift, CliError>) -> Vec<Line<'a>> {
    match found {
        Ok(found) => found.drift.differences.iter().map(|d| Line { tenant, found: Found::Differs(DriftLine::of(d)) }).collect(),
        Err(error) => {
            let detail = std::iter::once(&error.message).chain(&error.causes).cloned().collect::<Vec<_>>().join(": ");
            vec![Line { tenant, found: Found::Failed { address: None, drift: "not_looked_at", fields: [], detail } }]
        }
    }
}
