//! `labctl tenant rename`

use super::outcome::Choices;
use crate::cli::help::examples;
use crate::cli::{Cli, CliError};
use crate::ops::rename::Rename;

/// Give a tenant another display name or subdomain
///
/// The id never changes. What was named after the former subdomain (the schema) keeps its name, unless --physical is given: then it is
/// renamed in place, with all its data, and the roles' search_path, the secrets and the services follow. While that goes on, the
/// application finds its tables only once its services run anew.
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("For people", "labctl tenant rename city-lab --display-name 'City Diagnostics'"),
    ("Another address", "labctl tenant rename city-lab --subdomain city-diagnostics"),
    ("With its schema; first to look at", "labctl tenant rename city-lab --subdomain city-diagnostics --physical --dry-run"),
]))]
pub struct Args {
    /// The tenant's id
    id: String,

    /// What people call it
    #[arg(long, value_name = "NAME")]
    display_name: Option<String>,

    /// First label of its host name
    #[arg(long, value_name = "SUBDOMAIN", required_unless_present_any = ["display_name", "physical"])]
    subdomain: Option<String>,

    /// Rename what is named after the subdomain, too
    #[arg(long)]
    physical: bool,

    #[command(flatten)]
    only: Choices,
}

/// Runs it.
///
/// # Errors
/// 64 for a name that does not hold, 1 for one that is another tenant's, 3 when it stopped part-way.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    let Args { id, display_name, subdomain, physical, only } = args;
    let site = cli.site().await?;
    let rename = Rename { tenant: id.clone(), display_name, subdomain, physical };
    super::carry_out(cli, &site, &rename, &only).await?;
    let lines = [("display_name", &rename.display_name), ("subdomain", &rename.subdomain)];
    let lines: Vec<String> = lines.iter().filter_map(|(field, value)| value.as_ref().map(|v| format!("{field} = {v:?}"))).collect();
    if !lines.is_empty() && !only.dry_run {
        cli.say.hint(format!("its spec still has the former name, and applying that would bring it back: write {} there", lines.join(" and ")));
    }
    Ok(())
}
