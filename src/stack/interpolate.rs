//! `${…}` in templates. What a stack, a spec and a platform know is put in its place here; references to other resources
//! (`${kind.name.output}`) stay, and are what the plan's edges are made of. `$${` stands for a literal `${` and stays, too: the engine
//! undoes it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::names::{self, Parts};
use super::template::{Key, ResourceTemplate, Stack, TierTemplate};
use crate::spec::TenantSpec;
use crate::spec::problem::{Place, Problem, did_you_mean};
use crate::spec::tree::{Data, Node};

/// What `${…}` may draw from.
pub(super) struct Scope<'a> {
    pub stack: &'a Stack,
    pub tier: &'a TierTemplate,
    pub spec: &'a TenantSpec,
    pub parts: Parts<'a>,
    pub platform: &'a Value,
    pub settings: &'a BTreeMap<String, Value>,
    pub migrations: &'a Value,
}

/// A reference to another resource's output, and where it stands.
pub(super) struct Reference {
    pub key: Key,
    pub output: String,
    pub place: Place,
}

/// What came up on the way.
#[derive(Default)]
pub(super) struct Found {
    pub problems: Vec<Problem>,
    pub references: Vec<Reference>,
    /// Variables being expanded, to notice one that is made of itself.
    open: Vec<String>,
}

enum Piece<'t> {
    Text(&'t str),
    Braced(&'t str),
}

/// `$${` stays within the text.
fn pieces(text: &str) -> Result<Vec<Piece<'_>>, &'static str> {
    let mut out = Vec::new();
    let (mut begin, mut at) = (0, 0);
    while let Some(found) = text[at..].find("${").map(|i| at + i) {
        if text[..found].ends_with('$') {
            at = found + 2;
            continue;
        }
        let Some(end) = text[found..].find('}').map(|i| found + i) else { return Err("a `${` without its `}`") };
        if found > begin {
            out.push(Piece::Text(&text[begin..found]));
        }
        out.push(Piece::Braced(&text[found + 2..end]));
        (begin, at) = (end + 1, end + 1);
    }
    if begin < text.len() {
        out.push(Piece::Text(&text[begin..]));
    }
    Ok(out)
}

/// What an expression stands for.
enum Meaning {
    Value(Value),
    /// An optional one (`${platform.x?}`) that nobody said.
    Absent,
    /// A reference to a resource's output, as a template writes it.
    Reference(String),
    /// It was wrong, and noted.
    Wrong,
}

/// A value in which `${` is nobody's syntax: what tenants and platforms say is never taken for a reference.
fn literal(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace("${", "$${")),
        Value::Array(items) => Value::Array(items.iter().map(literal).collect()),
        Value::Object(map) => Value::Object(map.iter().map(|(k, v)| (k.clone(), literal(v))).collect()),
        other => other.clone(),
    }
}

fn dig<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(value, |v, key| v.get(key)).filter(|v| !v.is_null())
}

impl Scope<'_> {
    /// The node's value; `None` where it is left out because nobody said it.
    pub fn value(&self, node: &Node, found: &mut Found) -> Option<Value> {
        Some(match &node.data {
            Data::Text(text) => return self.text(text, &node.place, found),
            Data::List(items) => Value::Array(items.iter().filter_map(|n| self.value(n, found)).collect()),
            Data::Table(entries) => Value::Object(entries.iter().filter_map(|e| self.value(&e.node, found).map(|v| (e.key.clone(), v))).collect::<Map<_, _>>()),
            _ => node.to_value(),
        })
    }

    fn text(&self, text: &str, place: &Place, found: &mut Found) -> Option<Value> {
        let pieces = match pieces(text) {
            Ok(pieces) => pieces,
            Err(why) => {
                found.problems.push(Problem::new("stack::expression", place, why).hint("write `$${` for a literal `${`"));
                return None;
            }
        };
        if let [Piece::Braced(inner)] = pieces.as_slice() {
            return match self.meaning(inner, place, found) {
                Meaning::Value(value) => Some(value),
                Meaning::Reference(path) => Some(Value::String(format!("${{{path}}}"))),
                Meaning::Absent | Meaning::Wrong => None,
            };
        }
        let mut out = String::new();
        for piece in pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Braced(inner) => match self.meaning(inner, place, found) {
                    Meaning::Value(Value::String(text)) => out.push_str(&text),
                    Meaning::Value(value @ (Value::Number(_) | Value::Bool(_))) => out.push_str(&value.to_string()),
                    Meaning::Value(_) => {
                        let message = format!("`${{{inner}}}` is a list or table and cannot stand inside a text");
                        found.problems.push(Problem::new("stack::expression", place, message));
                    }
                    Meaning::Reference(path) => out.push_str(&format!("${{{path}}}")),
                    Meaning::Absent | Meaning::Wrong => {}
                },
            }
        }
        Some(Value::String(out))
    }

    fn meaning(&self, inner: &str, place: &Place, found: &mut Found) -> Meaning {
        // `a?b`: where nobody said the one, the other.
        if let Some((first, other)) = inner.split_once('?').filter(|(_, other)| !other.is_empty()) {
            return match self.meaning(&format!("{first}?"), place, found) {
                Meaning::Absent => self.meaning(other, place, found),
                known => known,
            };
        }
        let (path, optional) = inner.strip_suffix('?').map_or((inner, false), |path| (path, true));
        let (head, rest) = path.split_once('.').unwrap_or((path, ""));
        let value = match head {
            "tenant" => self.tenant(rest),
            "names" => names::make(&self.parts, rest).map(Value::String),
            "platform" => dig(self.platform, rest).map(literal),
            "tier" => setting(self.settings, rest),
            "stack" => self.of_stack(rest),
            "var" => match self.variable(rest, place, found) {
                Some(meaning) => return meaning,
                None => None,
            },
            _ => return reference(path, place, found),
        };
        match value {
            Some(value) => Meaning::Value(value),
            None if optional => Meaning::Absent,
            None => {
                found.problems.push(self.unknown(head, rest, place));
                Meaning::Wrong
            }
        }
    }

    fn tenant(&self, field: &str) -> Option<Value> {
        let spec = self.spec;
        let database = spec.database.as_ref();
        match field {
            "adopt" => return database.filter(|d| d.adopt).map(|_| Value::Bool(true)),
            "baseline" => return self.baseline(&database?.baseline),
            _ => {}
        }
        let text = match field {
            "id" => spec.id.clone(),
            "slug_" => spec.id.replace('-', "_"),
            "display_name" => spec.display_name.clone(),
            "subdomain" => spec.subdomain.clone(),
            "email" => spec.email.clone(),
            "tier" => spec.tier.to_string(),
            "external_id" => spec.external_id.clone()?,
            _ => return None,
        };
        Some(literal(&Value::String(text)))
    }

    /// Of the tenant's migrations those whose work its schema held already.
    fn baseline(&self, until: &BTreeMap<String, u32>) -> Option<Value> {
        let held = |m: &&Value| m["folder"].as_str().and_then(|f| until.get(f)).is_some_and(|last| m["version"].as_u64() <= Some(u64::from(*last)));
        let held: Vec<Value> = self.migrations.as_array()?.iter().filter(held).cloned().collect();
        (!held.is_empty()).then_some(Value::Array(held))
    }

    fn of_stack(&self, field: &str) -> Option<Value> {
        match field {
            "name" => Some(Value::from(self.stack.name.as_str())),
            "product" => Some(Value::from(self.stack.product.as_str())),
            "version" => Some(Value::from(self.stack.version.as_str())),
            "migrations" => Some(self.migrations.clone()),
            "system" => self.stack.shared(),
            _ => None,
        }
    }

    /// `None` where there is no such variable.
    fn variable(&self, path: &str, place: &Place, found: &mut Found) -> Option<Meaning> {
        let (name, within) = path.split_once('.').map_or((path, None), |(name, within)| (name, Some(within)));
        let node = find_variable(self.stack, self.tier, name)?;
        if found.open.iter().any(|open| open == name) {
            let message = format!("the variable `{name}` is made of itself: {} → {name}", found.open.join(" → "));
            found.problems.push(Problem::new("stack::cycle", place, message));
            return Some(Meaning::Wrong);
        }
        found.open.push(name.to_owned());
        let before = found.problems.len();
        let value = self.value(node, found);
        found.open.pop();
        match (value, within) {
            (Some(value), None) => Some(Meaning::Value(value)),
            (Some(value), Some(within)) => dig(&value, within).map(|v| Meaning::Value(v.clone())),
            (None, _) if found.problems.len() > before => Some(Meaning::Wrong),
            (None, _) => Some(Meaning::Absent),
        }
    }

    fn unknown(&self, head: &str, rest: &str, place: &Place) -> Problem {
        let (message, hint) = match head {
            "tenant" => (
                format!("a tenant has no `{rest}`"),
                did_you_mean(rest, ["id", "slug_", "display_name", "subdomain", "email", "tier", "external_id", "adopt", "baseline"]),
            ),
            "names" => (format!("there is no name `{rest}`"), did_you_mean(rest, names::keys())),
            "platform" => (format!("the platform does not say `{rest}`"), format!("add `{rest}` to the platform of this profile")),
            "tier" => (format!("the tier {} has no setting `{rest}`", self.spec.tier), did_you_mean(rest, self.settings.keys().map(String::as_str))),
            "stack" => (format!("a stack has no `{rest}`"), did_you_mean(rest, ["name", "product", "version", "migrations", "system"])),
            _ => {
                let all: BTreeSet<&str> = self.stack.variables.keys().chain(self.tier.variables.keys()).map(String::as_str).collect();
                (format!("there is no variable `{rest}` in the tier {}", self.spec.tier), did_you_mean(rest, all.iter().copied()))
            }
        };
        Problem::new("stack::unknown_variable", place, message).hint(hint)
    }
}

fn find_variable<'s>(stack: &'s Stack, tier: &'s TierTemplate, name: &str) -> Option<&'s Node> {
    tier.variables.get(name).or_else(|| stack.variables.get(name))
}

/// A setting by its path, or all below it as a table.
fn setting(settings: &BTreeMap<String, Value>, path: &str) -> Option<Value> {
    if let Some(value) = settings.get(path) {
        return Some(literal(value));
    }
    let below: Map<String, Value> = settings
        .iter()
        .filter_map(|(k, v)| k.strip_prefix(path)?.strip_prefix('.').filter(|rest| !rest.contains('.')).map(|rest| (rest.to_owned(), literal(v))))
        .collect();
    (!below.is_empty()).then_some(Value::Object(below))
}

fn reference(path: &str, place: &Place, found: &mut Found) -> Meaning {
    let parts: Vec<&str> = path.split('.').collect();
    let word = |w: &&str| !w.is_empty() && w.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    match parts.as_slice() {
        [kind, name, output] if parts.iter().all(word) => {
            found.references.push(Reference { key: Key::new(*kind, *name), output: (*output).to_owned(), place: place.clone() });
            Meaning::Reference(path.to_owned())
        }
        _ => {
            let message = format!("`${{{path}}}` means nothing here");
            let hint = "possible: tenant., names., platform., tier., var., stack., or kind.name.output; `$${` is a literal `${`";
            found.problems.push(Problem::new("stack::expression", place, message).hint(hint));
            Meaning::Wrong
        }
    }
}

/// What a tier's resources draw from: names and platform values, with the place of their first use.
#[derive(Debug, Default)]
pub struct Uses {
    /// Keys of names.
    pub names: BTreeMap<String, Place>,
    /// Paths in the platform that must be there.
    pub platform: BTreeSet<String>,
    /// Paths in the platform that may be there.
    pub platform_optional: BTreeSet<String>,
}

/// Whether this stands in a template, by itself or in a longer text.
pub(super) fn mentions(node: &Node, expression: &str) -> bool {
    match &node.data {
        Data::Text(text) => text.contains(expression),
        Data::List(items) => items.iter().any(|n| mentions(n, expression)),
        Data::Table(entries) => entries.iter().any(|e| mentions(&e.node, expression)),
        _ => false,
    }
}

/// Walks templates without evaluating them.
pub(super) fn uses<'a>(stack: &Stack, tier: &TierTemplate, resources: impl Iterator<Item = &'a ResourceTemplate>) -> Uses {
    let mut uses = Uses::default();
    let mut seen = BTreeSet::new();
    resources.for_each(|r| walk(stack, tier, &r.spec, &mut uses, &mut seen));
    uses
}

fn walk(stack: &Stack, tier: &TierTemplate, node: &Node, uses: &mut Uses, seen: &mut BTreeSet<String>) {
    match &node.data {
        Data::List(items) => items.iter().for_each(|n| walk(stack, tier, n, uses, seen)),
        Data::Table(entries) => entries.iter().for_each(|e| walk(stack, tier, &e.node, uses, seen)),
        Data::Text(text) => {
            for piece in pieces(text).unwrap_or_default() {
                let Piece::Braced(inner) = piece else { continue };
                let paths: Vec<&str> = inner.split('?').collect();
                for (at, path) in paths.iter().enumerate() {
                    let optional = at + 1 < paths.len();
                    match path.split_once('.') {
                        Some(("names", key)) => {
                            uses.names.entry(key.to_owned()).or_insert_with(|| node.place.clone());
                        }
                        Some(("platform", path)) => {
                            if optional { &mut uses.platform_optional } else { &mut uses.platform }.insert(path.to_owned());
                        }
                        Some(("var", path)) => {
                            let name = path.split('.').next().unwrap_or_default();
                            if let Some(variable) = find_variable(stack, tier, name)
                                && seen.insert(name.to_owned())
                            {
                                walk(stack, tier, variable, uses, seen);
                            }
                        }
                        _ => {}
                    }
                }
            }
        }
        _ => {}
    }
}
