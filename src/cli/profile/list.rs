//! `labctl profile list`

use serde::Serialize;

use crate::cli::help::examples;
use crate::cli::output::Row;
use crate::cli::{Cli, CliError};
use crate::config::{Profile, Profiles};

/// List the profiles there are
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("List them", "labctl profile list"),
    ("Names only, for scripts", "labctl profile list -o jsonl | jq -r .name"),
]))]
pub struct Args {}

/// One profile.
#[derive(Debug, Serialize)]
struct Entry {
    name: String,
    current: bool,
    environment: Option<String>,
    region: Option<String>,
    account_id: Option<String>,
}

impl Row for Entry {
    const COLUMNS: &'static [&'static str] = &["current", "name", "environment", "region", "account"];

    fn cells(&self) -> Vec<String> {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
        let mark = if self.current { "*" } else { "" };
        vec![mark.to_owned(), self.name.clone(), text(&self.environment), text(&self.region), text(&self.account_id)]
    }
}

/// Runs it.
///
/// # Errors
/// When labctl.toml cannot be read or is wrong.
pub async fn run(_: Args, cli: &Cli) -> Result<(), CliError> {
    let profiles = Profiles::read(cli.flags(), cli.environment())?;
    let current = Profiles::chosen(cli.flags(), cli.environment());
    let entries = profiles.names().into_iter().map(|name| {
        let platform = match profiles.get(&name, cli.environment())? {
            Profile::Sandbox => None,
            Profile::Platform(platform) => Some(platform),
        };
        Ok(Entry {
            current: name == current,
            environment: platform.as_ref().map(|p| p.environment.clone()),
            region: platform.as_ref().map(|p| p.region.clone()),
            account_id: platform.and_then(|p| p.account_id),
            name,
        })
    });
    cli.out.list(&entries.collect::<Result<Vec<_>, CliError>>()?)
}
