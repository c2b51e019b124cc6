//! `labctl tenant purge`

use super::outcome::Choices;
use crate::cli::help::examples;
use crate::cli::{Cli, CliError};
use crate::ops::purge::Purge;

/// Remove a deleted tenant and all its data for good
///
/// Only a deleted tenant that nobody holds, and only from its purge date on, or with --now. Everything is deleted in the reverse of the order
/// it was made in; then every service is asked whether anything is left, and a certificate is written. A purge that was cut off is continued
/// by the same command.
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("Asks for the id to be typed", "labctl tenant purge city-lab"),
    ("What would be removed", "labctl tenant purge city-lab --now --dry-run"),
    ("Before its date, in a script", "labctl tenant purge city-lab --now --confirm city-lab"),
]))]
pub struct Args {
    /// The tenant's id
    id: String,

    /// Before its purge date; on a terminal, `purge now` is to be typed as well
    #[arg(long)]
    now: bool,

    /// The tenant's id once more, instead of typing it; --yes is not enough
    #[arg(long, value_name = "ID")]
    confirm: Option<String>,

    #[command(flatten)]
    only: Choices,
}

/// What is typed for `--now`.
const NOW: &str = "purge now";

/// Runs it.
///
/// # Errors
/// 64 when it is not confirmed; 1 when the tenant is not deleted, held, or it is too early; 3 when it stopped part-way, or something is left.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    if !args.only.dry_run {
        let question = format!("Tenant {} and all its data are removed for good.", args.id);
        cli.ask.confirm_by_typing("--confirm", &question, args.confirm.as_deref(), &args.id)?;
        if args.now && args.confirm.is_none() {
            cli.ask.confirm_by_typing("--confirm", "It is done before its date, and cannot be undone.", None, NOW)?;
        }
    }
    let site = cli.site().await?;
    super::carry_out(cli, &site, &Purge { tenant: args.id, now: args.now }, &args.only).await
}
