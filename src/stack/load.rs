//! Reads `templates/`: from a folder, or from the copy built into the binary. Mistakes are found all at once, with file and line.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use include_dir::{Dir, include_dir};
use serde_json::Value;

use super::migrations::{self, SYSTEM, TENANT};
use super::system;
use super::template::{Bound, Isolation, Key, ResourceTemplate, Stack, TierTemplate};
use crate::spec::Tier;
use crate::spec::problem::{Invalid, Place, Problem, Source, did_you_mean};
use crate::spec::tree::{self, Data, Entry, Fields, Node, wrong_type};

static BUILTIN: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/templates");

/// All stacks there are.
#[derive(Debug, Clone)]
pub struct Stacks {
    stacks: BTreeMap<String, Stack>,
}

/// A folder's files: path within it, with `/`, and text.
type Files = BTreeMap<String, String>;

impl Stacks {
    /// The stacks built into this binary.
    ///
    /// # Errors
    /// None in a binary that passed its tests: the templates are part of it.
    pub fn builtin() -> Result<Self, Invalid> {
        let mut files = Files::new();
        let mut problems = Vec::new();
        embedded(&BUILTIN, &mut files, &mut problems);
        Self::from_files("templates", files, problems)
    }

    /// The stacks of a folder: each of its folders with a `stack.toml` is one.
    ///
    /// # Errors
    /// Everything that is wrong with them, or a file that cannot be read.
    pub fn load(dir: &Path) -> Result<Self, Invalid> {
        let mut files = Files::new();
        let mut problems = Vec::new();
        on_disk(dir, "", &mut files, &mut problems);
        Self::from_files(&dir.display().to_string(), files, problems)
    }

    /// The stack of that name.
    pub fn get(&self, name: &str) -> Option<&Stack> {
        self.stacks.get(name)
    }

    /// The names of all stacks.
    pub fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.stacks.keys().map(String::as_str)
    }

    /// All stacks, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Stack> {
        self.stacks.values()
    }

    /// Stacks from texts, as paths below `root` would hold them.
    pub(super) fn from_files(root: &str, files: Files, mut problems: Vec<Problem>) -> Result<Self, Invalid> {
        let mut folders: BTreeMap<String, Files> = BTreeMap::new();
        for (path, text) in files {
            if let Some((stack, rest)) = path.split_once('/') {
                folders.entry(stack.to_owned()).or_default().insert(rest.to_owned(), text);
            }
        }
        folders.retain(|_, files| files.contains_key("stack.toml"));
        if folders.is_empty() && problems.is_empty() {
            let place = Place::File(root.to_owned());
            problems.push(Problem::new("stack::none", &place, "no stack is in here").hint("a stack is a folder with a `stack.toml`"));
        }
        let mut stacks = BTreeMap::new();
        for (name, files) in &folders {
            stacks.insert(name.clone(), stack(root, name, files, &mut problems));
        }
        Invalid::unless_empty(Self { stacks }, problems)
    }
}

fn embedded(dir: &Dir<'_>, files: &mut Files, problems: &mut Vec<Problem>) {
    for file in dir.files().filter(|f| wanted(&f.path().to_string_lossy())) {
        let path = file.path().to_string_lossy().replace('\\', "/");
        match file.contents_utf8() {
            Some(text) => {
                files.insert(path, text.to_owned());
            }
            None => problems.push(not_text(&path)),
        }
    }
    dir.dirs().for_each(|d| embedded(d, files, problems));
}

fn on_disk(dir: &Path, below: &str, files: &mut Files, problems: &mut Vec<Problem>) {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries.flatten(),
        Err(e) => {
            problems.push(Problem::new("stack::unreadable", &Place::File(dir.display().to_string()), format!("cannot be read: {e}")));
            return;
        }
    };
    for entry in entries {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        let below = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
        if path.is_dir() {
            on_disk(&path, &below, files, problems);
        } else if wanted(&name) {
            match fs::read(&path).map(String::from_utf8) {
                Ok(Ok(text)) => {
                    files.insert(below, text);
                }
                Ok(Err(_)) => problems.push(not_text(&path.display().to_string())),
                Err(e) => problems.push(Problem::new("stack::unreadable", &Place::File(path.display().to_string()), format!("cannot be read: {e}"))),
            }
        }
    }
}

fn wanted(path: &str) -> bool {
    path.ends_with(".toml") || path.ends_with(".sql")
}

fn not_text(path: &str) -> Problem {
    Problem::new("stack::unreadable", &Place::File(path.to_owned()), "is not UTF-8 text")
}

fn stack(root: &str, name: &str, files: &Files, problems: &mut Vec<Problem>) -> Stack {
    let text = files.get("stack.toml").map(String::as_str).unwrap_or_default();
    let source = Source::new(format!("{root}/{name}/stack.toml"), text);
    let (tree, syntax) = tree::parse(&source);
    problems.extend(syntax);
    let mut fields = Fields::new(&tree, "a stack");
    let said_name = fields.text("name");
    if let Some(said) = said_name.filter(|said| said.value != name) {
        fields.refuse(Problem::new("stack::name", &said.place, format!("the stack in the folder `{name}` calls itself `{}`", said.value)));
    }
    let mut words = |key, default: &str| fields.text(key).map_or(default.to_owned(), |said| said.value.to_owned());
    let product = words("product", name);
    let version = words("version", "0");
    let description = words("description", "");
    let log_group_prefix = words("log_group_prefix", "/ecs");
    let variables = variables(&mut fields);
    let mut modules = Vec::new();
    for entry in fields.table("modules").map_or(&[] as &[Entry], |said| said.value) {
        let mut inner = Fields::new(&entry.node, "a module");
        let description = inner.text("description").map_or_else(String::new, |said| said.value.to_owned());
        problems.extend(inner.done(|_| None));
        if [SYSTEM, TENANT].contains(&entry.key.as_str()) {
            problems.push(Problem::new("stack::module", &entry.place, format!("`{}` is the name of another folder of migrations", entry.key)));
        }
        modules.push((entry.key.clone(), description));
    }
    let shared = system::read(&mut fields, problems);
    let mut tiers = BTreeMap::new();
    for entry in fields.table("tiers").map_or(&[] as &[Entry], |said| said.value) {
        match Tier::ALL.into_iter().find(|t| t.as_str() == entry.key) {
            Some(tier) => {
                tiers.insert(tier, tier_template(&entry.node, problems));
            }
            None => problems.push(no_such_tier(&entry.key, &entry.place)),
        }
    }
    problems.extend(fields.done(|_| None));
    let mut resources = Vec::new();
    for (path, text) in files.iter().filter(|(p, _)| *p == "resources.toml" || (p.starts_with("resources/") && p.ends_with(".toml"))) {
        let source = Source::new(format!("{root}/{name}/{path}"), text.as_str());
        resource_file(&source, &tiers, &modules, &mut resources, problems);
    }
    duplicates(&resources, problems);
    let migrations = migrations::list(&format!("{root}/{name}"), files, &modules, problems);
    let stack =
        Stack { name: name.to_owned(), product, version, description, log_group_prefix, variables, modules, tiers, resources, system: shared, migrations };
    system::judge(&stack, &Place::File(format!("{root}/{name}/stack.toml")), problems);
    stack
}

fn no_such_tier(name: &str, place: &Place) -> Problem {
    Problem::new("stack::unknown_tier", place, format!("there is no tier `{name}`")).hint(did_you_mean(name, Tier::names()))
}

fn variables(fields: &mut Fields<'_>) -> BTreeMap<String, Node> {
    fields.table("variables").map_or_else(BTreeMap::new, |said| said.value.iter().map(|e| (e.key.clone(), e.node.clone())).collect())
}

fn tier_template(node: &Node, problems: &mut Vec<Problem>) -> TierTemplate {
    let mut fields = Fields::new(node, "a tier");
    let description = fields.text("description").map_or_else(String::new, |said| said.value.to_owned());
    let isolation = match fields.text("isolation") {
        Some(said) => Isolation::ALL.into_iter().find(|i| i.as_str() == said.value).unwrap_or_else(|| {
            let hint = did_you_mean(said.value, Isolation::ALL.into_iter().map(Isolation::as_str));
            fields.refuse(Problem::new("stack::unknown_isolation", &said.place, format!("there is no isolation `{}`", said.value)).hint(hint));
            Isolation::Schema
        }),
        None => {
            fields.refuse(Problem::new("stack::missing", &node.place, "the tier's `isolation` is missing"));
            Isolation::Schema
        }
    };
    let settings: BTreeMap<String, Value> =
        fields.get("settings").map_or_else(BTreeMap::new, |n| n.leaves().into_iter().map(|(p, n)| (p, n.to_value())).collect());
    let variables = variables(&mut fields);
    let mut overrides = BTreeMap::new();
    for entry in fields.table("overrides").map_or(&[] as &[Entry], |said| said.value) {
        let Some(bound) = bound(&entry.node, problems) else { continue };
        match settings.get(&entry.key) {
            Some(setting) => {
                if let Err(why) = super::overrides::within(&bound, setting) {
                    problems.push(Problem::new("stack::bound", &entry.node.place, format!("the tier's own value {setting} is outside: {why}")));
                }
            }
            None if bound == Bound::Image => {}
            None => {
                let hint = did_you_mean(&entry.key, settings.keys().map(String::as_str));
                problems.push(Problem::new("stack::unknown_setting", &entry.place, format!("the tier has no setting `{}`", entry.key)).hint(hint));
            }
        }
        overrides.insert(entry.key.clone(), bound);
    }
    problems.extend(fields.done(|_| None));
    TierTemplate { description, isolation, settings, variables, overrides }
}

fn bound(node: &Node, problems: &mut Vec<Problem>) -> Option<Bound> {
    let mut fields = Fields::new(node, "a bound");
    let (min, max) = (fields.integer("min"), fields.integer("max"));
    let values = fields.list("values");
    let max_bytes = fields.integer("max_bytes");
    let (either, image) = (fields.get("either").is_some(), fields.get("image").is_some());
    problems.extend(fields.done(|_| None));
    Some(match (min, max, values, max_bytes, either, image) {
        (Some(min), Some(max), None, None, false, false) => Bound::Range { min: min.value, max: max.value },
        (None, None, Some(values), None, false, false) => Bound::OneOf(values.value.iter().map(Node::to_value).collect()),
        (None, None, None, Some(most), false, false) => Bound::Word { max_bytes: usize::try_from(most.value).unwrap_or(0) },
        (None, None, None, None, true, false) => Bound::Either,
        (None, None, None, None, false, true) => Bound::Image,
        _ => {
            let hint = "write { min = …, max = … }, { values = […] }, { max_bytes = … }, { either = true } or { image = true }";
            problems.push(Problem::new("stack::bound", &node.place, "this says no bound").hint(hint));
            return None;
        }
    })
}

fn resource_file(
    source: &std::sync::Arc<Source>,
    tiers: &BTreeMap<Tier, TierTemplate>,
    modules: &[(String, String)],
    out: &mut Vec<ResourceTemplate>,
    problems: &mut Vec<Problem>,
) {
    let (root, syntax) = tree::parse(source);
    problems.extend(syntax);
    let mut fields = Fields::new(&root, "a file of resources");
    for node in fields.list("resource").map_or(&[] as &[Node], |said| said.value) {
        let mut inner = Fields::new(node, "a resource");
        let mut word = |key: &'static str| match inner.text(key) {
            Some(said) => Some(said.value.to_owned()),
            None => {
                problems.push(Problem::new("stack::missing", &node.place, format!("a resource without `{key}`")));
                None
            }
        };
        let (kind, name) = (word("kind"), word("name"));
        let in_tiers = match inner.texts("tiers") {
            Some(said) => said
                .into_iter()
                .filter_map(|said| {
                    let tier = tiers.keys().copied().find(|t| t.as_str() == said.value);
                    if tier.is_none() {
                        problems.push(no_such_tier(said.value, &said.place));
                    }
                    tier
                })
                .collect(),
            None => tiers.keys().copied().collect(),
        };
        let mut in_modules = Vec::new();
        for said in inner.texts("modules").unwrap_or_default() {
            if !modules.iter().any(|(m, _)| m == said.value) {
                let hint = did_you_mean(said.value, modules.iter().map(|(m, _)| m.as_str()));
                problems.push(Problem::new("stack::unknown_module", &said.place, format!("the stack has no module `{}`", said.value)).hint(hint));
            }
            in_modules.push(said.value.to_owned());
        }
        let after = inner.texts("after").unwrap_or_default().into_iter().map(|said| (said.value.to_owned(), said.place)).collect();
        let spec = match inner.get("spec") {
            Some(spec) => {
                if spec.entries().is_none() {
                    problems.push(wrong_type(spec, "`spec`", "a table"));
                }
                spec.clone()
            }
            None => Node { data: Data::Table(Vec::new()), place: node.place.clone() },
        };
        problems.extend(inner.done(|_| None));
        if let (Some(kind), Some(name)) = (kind, name) {
            out.push(ResourceTemplate { key: Key { kind, name }, tiers: in_tiers, modules: in_modules, after, spec, place: node.place.clone() });
        }
    }
    problems.extend(fields.done(|_| None));
}

/// The same kind and name may be said once for each tier, with another spec; twice for one tier it may not.
fn duplicates(resources: &[ResourceTemplate], problems: &mut Vec<Problem>) {
    let mut seen: BTreeMap<(&Key, Tier), &Place> = BTreeMap::new();
    let mut told = BTreeSet::new();
    for resource in resources {
        for tier in &resource.tiers {
            if let Some(first) = seen.insert((&resource.key, *tier), &resource.place)
                && told.insert(&resource.key)
            {
                let message = format!("the resource `{}` is there twice in the tier {tier}, first at {first}", resource.key);
                problems.push(Problem::new("stack::duplicate", &resource.place, message).also(first, "first here"));
            }
        }
    }
}
