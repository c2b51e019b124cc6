//! `labctl tenant suspend`

use clap::builder::{PossibleValuesParser, TypedValueParser as _};

use super::outcome::Choices;
use crate::cli::help::examples;
use crate::cli::{Cli, CliError};
use crate::engine::kind::Suspension;
use crate::ops::suspend::Suspend;

/// Take a tenant out of use, and keep everything it has
///
/// It stays so, whatever is applied, until `labctl tenant resume`. Each level includes the one before: read-only lets its data be read and
/// not changed; login signs its users out and lets none in; full lets nothing of it run: no service, no database session, no use of
/// its storage. Suspending what is suspended changes the level.
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("Nothing runs, nobody gets in", "labctl tenant suspend city-lab --reason \"unpaid since June\""),
    ("Its data can still be read", "labctl tenant suspend city-lab --level read-only"),
    ("What that would do", "labctl tenant suspend city-lab --dry-run"),
]))]
pub struct Args {
    /// The tenant's id
    id: String,

    /// How far
    #[arg(long, default_value = Suspension::Full.as_str(), value_parser = level())]
    level: Suspension,

    /// Why: kept with the tenant and in its history
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,

    #[command(flatten)]
    only: Choices,
}

fn level() -> impl clap::builder::TypedValueParser<Value = Suspension> {
    PossibleValuesParser::new(Suspension::ALL.map(Suspension::as_str))
        .map(|text| Suspension::ALL.into_iter().find(|level| level.as_str() == text).unwrap_or(Suspension::Full))
}

/// Runs it.
///
/// # Errors
/// 1 for a tenant that was never ready, 3 when it stopped part-way.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    let site = cli.site().await?;
    super::carry_out(cli, &site, &Suspend { tenant: args.id, level: args.level, reason: args.reason }, &args.only).await
}
