//! `labctl tenant drift`

use serde::Serialize;

use crate::cli::drift_line::DriftLine;
use crate::cli::error::Kind;
use crate::cli::help::examples;
use crate::cli::output::{Row, Sheet, View};
use crate::cli::{Cli, CliError};
use crate::ops::drift::{TenantDrift, drift};
use crate::plan::drift::Bookkeeping;
use crate::plan::waiver::Waived;

/// Say how what a tenant has differs from what it should have, and change nothing
///
/// Looks at every resource, in AWS and in the databases. What auto-scaling or a suspension owns is no drift, and what a waiver allows (`labctl
/// tenant waiver`) is told apart. `labctl tenant apply ID` mends what is found. Exits with 2 when anything differs that is not allowed.
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("Does anything differ? (exit code 2)", "labctl tenant drift city-lab"),
    ("What, for a script", "labctl tenant drift city-lab -o json | jq -r '.differences[] | .address'"),
]))]
pub struct Args {
    /// The tenant's id
    id: String,
}

/// A tenant's drift, for output.
#[derive(Serialize)]
struct Shown<'a> {
    tenant: &'a str,
    status: String,
    revision: i32,
    /// An operation under way or stopped part-way.
    unfinished_operation: Option<i64>,
    drift: bool,
    /// How many were looked at.
    resources: usize,
    differences: Vec<DriftLine<'a>>,
    /// What differs and is allowed for a time.
    waived: &'a [Waived],
    bookkeeping: &'a [Bookkeeping],
}

impl Row for Bookkeeping {
    const COLUMNS: &'static [&'static str] = &["resource", "recorded", "is"];

    fn cells(&self) -> Vec<String> {
        vec![format!("{}/{}", self.address.kind, self.address.name), self.recorded.clone(), self.is.clone()]
    }
}

impl Row for Waived {
    const COLUMNS: &'static [&'static str] = &["waiver", "until", "drift", "resource", "how"];

    fn cells(&self) -> Vec<String> {
        let until = self.until.format("%Y-%m-%d %H:%M UTC").to_string();
        [self.waiver.to_string(), until].into_iter().chain(DriftLine::of(&self.difference).cells()).collect()
    }
}

impl View for Shown<'_> {
    fn view(&self) -> Sheet {
        let sheet = match self.differences.len() {
            0 => Sheet::new().text(format!("Tenant {} has no drift: {} resources are as they should be.", self.tenant, self.resources)),
            n => {
                let words = format!("{n} of {} resources differ. `labctl tenant apply {}` mends them.", self.resources, self.tenant);
                Sheet::new().rows(format!("Drift of tenant {}", self.tenant), &self.differences).text(words)
            }
        };
        sheet.rows("Allowed by waivers", self.waived).rows("Only the registry differs", self.bookkeeping)
    }
}

/// Runs it.
///
/// # Errors
/// 2 when anything differs, 1 when it cannot be looked at.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    let site = cli.site().await?;
    let found = drift(&site, &args.id).await?;
    if let Some(number) = found.unfinished {
        cli.say.warning(format!("operation {number} of tenant {} is not finished: what differs may be its doing", args.id));
    }
    cli.out.object(&Shown::of(&found))?;
    if found.drift.differences.is_empty() { Ok(()) } else { Err(CliError::told(Kind::Changes)) }
}

impl<'a> Shown<'a> {
    fn of(found: &'a TenantDrift) -> Self {
        let differences: Vec<DriftLine<'a>> = found.drift.differences.iter().map(DriftLine::of).collect();
        Self {
            tenant: &found.tenant.id,
            status: found.tenant.status.to_string(),
            revision: found.tenant.revision,
            unfinished_operation: found.unfinished,
            drift: !differences.is_empty(),
            resources: found.resources,
            differences,
            waived: &found.waived,
            bookkeeping: &found.drift.bookkeeping,
        }
    }
}
