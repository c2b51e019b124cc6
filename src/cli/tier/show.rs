//! `labctl tier show`

use serde::Serialize;

use super::{no_stack, no_tier};
use crate::cli::help::examples;
use crate::cli::output::{Row, Sheet, View};
use crate::cli::{Cli, CliError};
use crate::spec::Tier;
use crate::stack::Stacks;
use crate::stack::tiers::{ResourceLine, TierDetail};

/// Show a tier: its settings, what a spec may override, its resources
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("For people", "labctl tier show mate enterprise"),
    ("What may be overridden, for a script", "labctl tier show mate standard -o json | jq .overrides"),
]))]
pub struct Args {
    /// The stack
    stack: String,

    /// The tier
    tier: Tier,
}

impl Row for ResourceLine {
    const COLUMNS: &'static [&'static str] = &["kind", "name", "modules"];

    fn cells(&self) -> Vec<String> {
        vec![self.kind.clone(), self.name.clone(), self.modules.join(", ")]
    }
}

/// A setting, and how far a spec may override it.
#[derive(Serialize)]
struct Setting<'a> {
    name: &'a str,
    value: String,
    bound: Option<String>,
}

impl Row for Setting<'_> {
    const COLUMNS: &'static [&'static str] = &["setting", "value", "override"];

    fn cells(&self) -> Vec<String> {
        vec![self.name.to_owned(), self.value.clone(), self.bound.clone().unwrap_or_else(|| "-".to_owned())]
    }
}

impl View for TierDetail {
    fn view(&self) -> Sheet {
        let mut sheet = Sheet::new()
            .field("stack", &self.stack)
            .field("version", &self.version)
            .field("tier", self.tier)
            .field("isolation", self.isolation)
            .field("description", &self.description);
        // Some may be set although the tier itself does not (the image of a service).
        let names: std::collections::BTreeSet<&String> = self.settings.keys().chain(self.overrides.keys()).collect();
        let value = |name: &String| self.settings.get(name).map_or_else(|| "-".to_owned(), super::diff::plain);
        let settings: Vec<_> = names.into_iter().map(|name| Setting { name, value: value(name), bound: self.overrides.get(name).cloned() }).collect();
        sheet = sheet.rows("Settings, and what a spec may set them to", &settings);
        sheet.rows(format!("{} resources", self.resources.len()), &self.resources)
    }
}

/// Runs it.
///
/// # Errors
/// 64 when there is no such stack or tier.
pub async fn run(args: Args, cli: &Cli, stacks: &Stacks) -> Result<(), CliError> {
    let stack = stacks.get(&args.stack).ok_or_else(|| no_stack(stacks, &args.stack))?;
    cli.out.object(&stack.tier_show(args.tier).ok_or_else(|| no_tier(&args.stack))?)
}
