//! `labctl tenant credentials list`

use crate::cli::help::examples;
use crate::cli::output::Row;
use crate::cli::{Cli, CliError};
use crate::ops::credentials::{self, Credentials};
use crate::plan::rotation::Phase;

/// List a tenant's credentials: which login is in force, since when, and where its secret is
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("For people", "labctl tenant credentials list city-lab"),
    ("The application's secret, for a script", "labctl tenant credentials list city-lab -o jsonl | jq -r 'select(.part == \"app\").secret_arn'"),
]))]
pub struct Args {
    /// The tenant's id
    id: String,
}

impl Row for Credentials {
    const COLUMNS: &'static [&'static str] = &["part", "login", "generation", "changed", "rotation", "secret"];

    fn cells(&self) -> Vec<String> {
        let rotation = match (self.phase, &self.other) {
            (Phase::Closed, _) => "-".to_owned(),
            (Phase::Made, other) => format!("under way: {} is ready", other.as_deref().unwrap_or_default()),
            (Phase::Switched, other) => format!("under way: {} is still open", other.as_deref().unwrap_or_default()),
        };
        vec![
            self.part.as_str().to_owned(),
            self.login.clone(),
            self.generation.to_string(),
            self.changed_at.map_or_else(|| "-".to_owned(), |at| at.format("%Y-%m-%d %H:%M:%S UTC").to_string()),
            rotation,
            self.secret_arn.clone(),
        ]
    }
}

/// Runs it.
///
/// # Errors
/// 1 when there is no such tenant.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    let site = cli.site().await?;
    cli.out.list(&credentials::list(&site, &args.id).await?)
}
