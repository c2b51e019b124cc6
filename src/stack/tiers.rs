//! What `labctl tier list`, `show` and `diff` print, as data.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::load::Stacks;
use super::template::{Isolation, Key, Stack};
use crate::spec::Tier;
use crate::spec::tree::Node;

/// One line of `tier list`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TierLine {
    /// The stack.
    pub stack: String,
    /// Its version.
    pub version: String,
    /// The tier.
    pub tier: Tier,
    /// How its tenants' data is kept apart.
    pub isolation: Isolation,
    /// How many resources a tenant without modules has.
    pub resources: usize,
    /// For people.
    pub description: String,
}

/// One tier in full.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TierDetail {
    /// The stack.
    pub stack: String,
    /// Its version.
    pub version: String,
    /// The tier.
    pub tier: Tier,
    /// For people.
    pub description: String,
    /// How its tenants' data is kept apart.
    pub isolation: Isolation,
    /// The numbers, by path.
    pub settings: BTreeMap<String, Value>,
    /// What a spec may override, and how far, in words.
    pub overrides: BTreeMap<String, String>,
    /// The resources.
    pub resources: Vec<ResourceLine>,
}

/// One resource of a tier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ResourceLine {
    /// The kind.
    pub kind: String,
    /// The name.
    pub name: String,
    /// If not empty, only tenants with one of these modules have it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub modules: Vec<String>,
}

/// How two tiers of one stack differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TierDiff {
    /// The stack.
    pub stack: String,
    /// From this tier …
    pub from: Tier,
    /// … to this.
    pub to: Tier,
    /// Isolation of both; whoever moves between different ones moves data.
    pub isolation: (Isolation, Isolation),
    /// Settings that differ.
    pub settings: Vec<SettingDiff>,
    /// Resources that differ.
    pub resources: Vec<ResourceDiff>,
}

/// A setting that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SettingDiff {
    /// Its path.
    pub name: String,
    /// In the first tier.
    pub from: Option<Value>,
    /// In the second.
    pub to: Option<Value>,
}

/// A resource that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ResourceDiff {
    /// Kind and name.
    pub resource: Key,
    /// How.
    pub change: Changed,
}

/// How a resource differs between two tiers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Changed {
    /// Only the second tier has it.
    Added,
    /// Only the first tier has it.
    Removed,
    /// Both have it, from different templates or different variables of the tiers.
    Different,
}

impl Stacks {
    /// All tiers of all stacks, or of one.
    pub fn tier_list(&self, stack: Option<&str>) -> Vec<TierLine> {
        self.iter()
            .filter(|s| stack.is_none_or(|name| s.name == name))
            .flat_map(|s| {
                s.tiers.iter().map(|(tier, template)| TierLine {
                    stack: s.name.clone(),
                    version: s.version.clone(),
                    tier: *tier,
                    isolation: template.isolation,
                    resources: s.resources.iter().filter(|r| r.applies(*tier, &[])).count(),
                    description: template.description.clone(),
                })
            })
            .collect()
    }
}

impl Stack {
    /// One tier in full; `None` if the stack has no such tier.
    pub fn tier_show(&self, tier: Tier) -> Option<TierDetail> {
        let template = self.tiers.get(&tier)?;
        let resources = self.resources.iter().filter(|r| r.tiers.contains(&tier));
        Some(TierDetail {
            stack: self.name.clone(),
            version: self.version.clone(),
            tier,
            description: template.description.clone(),
            isolation: template.isolation,
            settings: template.settings.clone(),
            overrides: template.overrides.iter().map(|(path, bound)| (path.clone(), bound.to_string())).collect(),
            resources: resources.map(|r| ResourceLine { kind: r.key.kind.clone(), name: r.key.name.clone(), modules: r.modules.clone() }).collect(),
        })
    }

    /// How two tiers differ; `None` if the stack lacks one of them.
    pub fn tier_diff(&self, from: Tier, to: Tier) -> Option<TierDiff> {
        let (a, b) = (self.tiers.get(&from)?, self.tiers.get(&to)?);
        let paths: std::collections::BTreeSet<&String> = a.settings.keys().chain(b.settings.keys()).collect();
        let settings = paths
            .into_iter()
            .filter(|path| a.settings.get(*path) != b.settings.get(*path))
            .map(|path| SettingDiff { name: path.clone(), from: a.settings.get(path).cloned(), to: b.settings.get(path).cloned() })
            .collect();
        let mut resources = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        for resource in self.resources.iter().filter(|r| seen.insert(&r.key)) {
            let spec_in = |tier: Tier| self.resources.iter().find(|r| r.key == resource.key && r.tiers.contains(&tier)).map(|r| &r.spec);
            let change = match (spec_in(from), spec_in(to)) {
                (None, Some(_)) => Changed::Added,
                (Some(_), None) => Changed::Removed,
                (Some(x), Some(y)) if self.written_out(x, from, 0) != self.written_out(y, to, 0) => Changed::Different,
                _ => continue,
            };
            resources.push(ResourceDiff { resource: resource.key.clone(), change });
        }
        Some(TierDiff { stack: self.name.clone(), from, to, isolation: (a.isolation, b.isolation), settings, resources })
    }

    /// The spec as text, with the tier's variables and settings in their places, for comparison only.
    fn written_out(&self, node: &Node, tier: Tier, depth: usize) -> String {
        let mut text = node.to_value().to_string();
        let Some(template) = self.tiers.get(&tier).filter(|_| depth < 8) else { return text };
        for (name, variable) in self.variables.iter().filter(|(n, _)| !template.variables.contains_key(*n)).chain(&template.variables) {
            for (begin, mark) in [("", format!("${{var.{name}}}")), ("", format!("${{var.{name}?}}")), ("?", format!("?var.{name}}}"))] {
                if text.contains(&mark) {
                    text = text.replace(&mark, &format!("{begin}{}", self.written_out(variable, tier, depth + 1)));
                }
            }
        }
        for (path, value) in &template.settings {
            text = text.replace(&format!("${{tier.{path}}}"), &value.to_string());
        }
        text
    }
}
