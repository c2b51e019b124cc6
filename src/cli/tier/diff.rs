//! `labctl tier diff`

use super::{no_stack, no_tier};
use crate::cli::help::examples;
use crate::cli::output::{Row, Sheet, View};
use crate::cli::{Cli, CliError};
use crate::spec::Tier;
use crate::stack::Stacks;
use crate::stack::tiers::{Changed, ResourceDiff, SettingDiff, TierDiff};

/// Compare two tiers of a stack
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[("What more is enterprise?", "labctl tier diff mate standard enterprise")]))]
pub struct Args {
    /// The stack
    stack: String,

    /// From this tier
    from: Tier,

    /// To this tier
    to: Tier,
}

/// A setting's value for people.
pub(super) fn plain(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

impl Row for SettingDiff {
    const COLUMNS: &'static [&'static str] = &["setting", "from", "to"];

    fn cells(&self) -> Vec<String> {
        let side = |value: &Option<serde_json::Value>| value.as_ref().map_or_else(|| "-".to_owned(), plain);
        vec![self.name.clone(), side(&self.from), side(&self.to)]
    }
}

impl Row for ResourceDiff {
    const COLUMNS: &'static [&'static str] = &["", "resource"];

    fn cells(&self) -> Vec<String> {
        let glyph = match self.change {
            Changed::Added => "+",
            Changed::Removed => "-",
            Changed::Different => "~",
        };
        vec![glyph.to_owned(), self.resource.to_string()]
    }
}

impl View for TierDiff {
    fn view(&self) -> Sheet {
        let isolation = if self.isolation.0 == self.isolation.1 {
            self.isolation.0.to_string()
        } else {
            format!("{} → {} (moves data)", self.isolation.0, self.isolation.1)
        };
        Sheet::new()
            .field("stack", &self.stack)
            .field("tiers", format!("{} → {}", self.from, self.to))
            .field("isolation", isolation)
            .rows("Settings", &self.settings)
            .rows("Resources", &self.resources)
    }
}

/// Runs it.
///
/// # Errors
/// 64 when there is no such stack or tier.
pub async fn run(args: Args, cli: &Cli, stacks: &Stacks) -> Result<(), CliError> {
    let stack = stacks.get(&args.stack).ok_or_else(|| no_stack(stacks, &args.stack))?;
    cli.out.object(&stack.tier_diff(args.from, args.to).ok_or_else(|| no_tier(&args.stack))?)
}
