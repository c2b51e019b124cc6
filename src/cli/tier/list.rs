//! `labctl tier list`

use super::no_stack;
use crate::cli::help::examples;
use crate::cli::output::Row;
use crate::cli::{Cli, CliError};
use crate::stack::Stacks;
use crate::stack::tiers::TierLine;

/// List the tiers of all stacks
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[("Of one stack", "labctl tier list --stack mate")]))]
pub struct Args {
    /// Only of this stack
    #[arg(long)]
    stack: Option<String>,
}

impl Row for TierLine {
    const COLUMNS: &'static [&'static str] = &["stack", "tier", "isolation", "resources", "description"];

    fn cells(&self) -> Vec<String> {
        vec![self.stack.clone(), self.tier.to_string(), self.isolation.to_string(), self.resources.to_string(), self.description.clone()]
    }
}

/// Runs it.
///
/// # Errors
/// 64 when there is no such stack.
pub async fn run(args: Args, cli: &Cli, stacks: &Stacks) -> Result<(), CliError> {
    if let Some(name) = args.stack.as_deref().filter(|name| stacks.get(name).is_none()) {
        return Err(no_stack(stacks, name));
    }
    cli.out.list(&stacks.tier_list(args.stack.as_deref()))
}
