//! A spec from a command line, through the same checks as one from a file; errors then name the flag.

use super::problem::{Place, Problem, Source};
use super::read::{Parsed, from_tree};
use super::tree::{self, Data, Entry, Node};

/// What was given on the command line. Field names are those of the spec.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--id`
    pub id: Option<String>,
    /// `--external-id`
    pub external_id: Option<String>,
    /// `--name`
    pub display_name: Option<String>,
    /// `--subdomain`
    pub subdomain: Option<String>,
    /// `--tier`
    pub tier: Option<String>,
    /// `--stack`
    pub stack: Option<String>,
    /// `--email`
    pub email: Option<String>,
    /// `--module`, repeated
    pub modules: Vec<String>,
    /// `--set key=value`, repeated: overrides. A value is read as TOML, and as a string where it is none.
    pub overrides: Vec<String>,
    /// `--tag key=value`, repeated
    pub tags: Vec<String>,
}

/// The flag that says a field.
pub fn flag_of(field: &str) -> &'static str {
    match field.split('.').next().unwrap_or_default() {
        "id" => "--id",
        "external_id" => "--external-id",
        "display_name" => "--name",
        "subdomain" => "--subdomain",
        "tier" => "--tier",
        "stack" => "--stack",
        "email" => "--email",
        "modules" => "--module",
        "overrides" => "--set",
        "tags" => "--tag",
        _ => "the flags",
    }
}

/// Reads a spec from flags, keeping what is wrong beside it.
pub fn from_flags(flags: &Flags) -> Parsed {
    let place = |field: &str| Place::Flag(flag_of(field).to_owned());
    let text = |field: &str, value: &str| Node { data: Data::Text(value.to_owned()), place: place(field) };
    let entry = |key: &str, field: &str, node: Node| Entry { key: key.to_owned(), place: place(field), node };
    let mut problems = Vec::new();
    let mut root = Vec::new();
    let single = [
        ("id", &flags.id),
        ("external_id", &flags.external_id),
        ("display_name", &flags.display_name),
        ("subdomain", &flags.subdomain),
        ("tier", &flags.tier),
        ("stack", &flags.stack),
        ("email", &flags.email),
    ];
    root.extend(single.into_iter().filter_map(|(key, value)| value.as_ref().map(|v| entry(key, key, text(key, v)))));
    if !flags.modules.is_empty() {
        let items = flags.modules.iter().map(|m| text("modules", m)).collect();
        root.push(entry("modules", "modules", Node { data: Data::List(items), place: place("modules") }));
    }
    for (field, pairs) in [("tags", &flags.tags), ("overrides", &flags.overrides)] {
        let mut entries: Vec<Entry> = Vec::new();
        for pair in pairs {
            match pair.split_once('=') {
                Some((key, _)) if entries.iter().any(|e| e.key == key.trim()) => {
                    problems.push(Problem::new("spec::duplicate", &place(field), format!("`{}` is given twice", key.trim())));
                }
                Some((key, value)) => {
                    let node = if field == "tags" { text(field, value) } else { toml_value(value, &place(field)) };
                    entries.push(entry(key.trim(), field, node));
                }
                None => problems.push(Problem::new("spec::invalid", &place(field), format!("`{pair}` is not key=value"))),
            }
        }
        if !entries.is_empty() {
            root.push(entry(field, field, Node { data: Data::Table(entries), place: place(field) }));
        }
    }
    let mut parsed = from_tree(&Node { data: Data::Table(root), place: place("") }, &place);
    problems.into_iter().for_each(|p| parsed.refuse(p));
    parsed
}

/// `4`, `true`, `"text"` as TOML has them; anything else is text.
fn toml_value(value: &str, place: &Place) -> Node {
    let (root, problems) = tree::parse(&Source::new("", format!("v = {value}\n")));
    let data = match root.entries() {
        Some([one]) if problems.is_empty() => one.node.data.clone(),
        _ => Data::Text(value.to_owned()),
    };
    let data = match data {
        data @ (Data::Text(_) | Data::Integer(_) | Data::Float(_) | Data::Boolean(_)) => data,
        _ => Data::Text(value.to_owned()),
    };
    Node { data, place: place.clone() }
}
