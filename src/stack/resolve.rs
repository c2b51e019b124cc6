//! A stack, a spec and a platform make the desired state of one tenant: every resource with its spec, in which only references to
//! other resources are left. Pure and deterministic.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Value, json};

use super::adoption;
use super::interpolate::{Found, Reference, Scope, uses};
use super::load::Stacks;
use super::migrations::SYSTEM;
use super::names::{self, Parts};
use super::overrides;
use super::template::{Isolation, Key, Migration, ResourceTemplate, Stack, TierTemplate};
use crate::spec::problem::{Place, Problem, did_you_mean};
use crate::spec::{Parsed, TenantSpec, Tier};

/// What shall exist for one tenant.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Desired {
    /// The tenant's id.
    pub tenant: String,
    /// The stack.
    pub stack: String,
    /// Its version, pinned per tenant.
    pub stack_version: String,
    /// The tier.
    pub tier: Tier,
    /// How the tenant's data is kept apart.
    pub isolation: Isolation,
    /// The platform's environment.
    pub environment: String,
    /// The physical names in use, by their keys.
    pub names: BTreeMap<String, String>,
    /// The tier's settings with the spec's overrides in their places.
    pub settings: BTreeMap<String, Value>,
    /// The operator's tags. Ownership tags are added per resource by the planner.
    pub tags: BTreeMap<String, String>,
    /// The resources, in the order of the templates.
    pub resources: Vec<Resource>,
    /// The migrations of this tenant, with their texts.
    pub migrations: Vec<Migration>,
}

/// One resource of a tenant.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Resource {
    /// The kind's name.
    pub kind: String,
    /// The name within tenant and kind.
    pub name: String,
    /// What is wanted, with `${kind.name.output}` left in it.
    pub spec: Value,
    /// What it comes after, besides what its spec refers to.
    pub after: Vec<Key>,
}

impl Resource {
    /// Kind and name.
    pub fn key(&self) -> Key {
        Key::new(&*self.kind, &*self.name)
    }
}

/// Says which outputs a kind has; `None` for a kind that does not exist.
pub type OutputsOf<'a> = &'a dyn Fn(&str) -> Option<&'static [&'static str]>;

/// Makes the desired state. `named_after` is the subdomain physical names are made of: the spec's, unless the tenant was renamed.
///
/// # Errors
/// Everything that is wrong in the spec against this stack, in the templates, or missing in the platform.
pub fn resolve(stack: &Stack, spec: &TenantSpec, named_after: &str, platform: &Value, outputs: OutputsOf<'_>) -> Result<Desired, Vec<Problem>> {
    let of_spec = Place::File(format!("the spec of `{}`", spec.id));
    let (known, mut problems) = judge(stack, spec, &|_| of_spec.clone());
    let Some((tier, settings)) = known.filter(|_| problems.is_empty()) else { return Err(problems) };
    let platform = with_endpoints(platform);
    let Some(environment) = platform.get("environment").and_then(Value::as_str) else {
        problems.push(Problem::new("platform::missing", &Place::File("the platform".to_owned()), "does not say its `environment`"));
        return Err(problems);
    };
    let templates: Vec<&ResourceTemplate> = stack.resources.iter().filter(|r| r.applies(spec.tier, &spec.modules)).collect();
    let parts = parts(stack, &spec.id, named_after, environment);
    let (used, refused) = check_names(stack, tier, &parts, &templates);
    problems.extend(refused.into_iter().map(|r| name_problem(&r, &of_spec)));

    let migrations: Vec<Migration> = match tier.isolation {
        Isolation::Rows => stack.migrations.iter().filter(|m| m.folder == SYSTEM).cloned().collect(),
        _ => stack.migrations_of(&spec.modules).cloned().collect(),
    };
    let listed: Value = migrations.iter().map(|m| json!({"folder": m.folder, "version": m.version, "name": m.name, "checksum": m.checksum})).collect();
    let scope = Scope { stack, tier, spec, parts, platform: &platform, settings: &settings, migrations: &listed };
    let present: BTreeSet<&Key> = templates.iter().map(|t| &t.key).collect();
    let everywhere: BTreeSet<&Key> = stack.resources.iter().map(|t| &t.key).collect();
    let mut resources = Vec::new();
    let mut edges: BTreeMap<Key, BTreeSet<Key>> = BTreeMap::new();
    for template in &templates {
        let mut found = Found::default();
        let value = scope.value(&template.spec, &mut found).unwrap_or_else(|| json!({}));
        if outputs(&template.key.kind).is_none() {
            problems.push(Problem::new("stack::unknown_kind", &template.place, format!("there is no kind `{}`", template.key.kind)));
        }
        let mut targets: BTreeSet<Key> = BTreeSet::new();
        for reference in &found.references {
            match refused_reference(reference, &present, &everywhere, spec.tier, outputs) {
                Some(problem) => problems.push(problem),
                None => {
                    targets.insert(reference.key.clone());
                }
            }
        }
        problems.extend(found.problems);
        let after = after(template, &templates, &everywhere, &mut problems);
        edges.insert(template.key.clone(), targets.iter().chain(&after).cloned().collect());
        let Key { kind, name } = template.key.clone();
        resources.push(Resource { kind, name, spec: value, after: after.into_iter().filter(|key| !targets.contains(key)).collect() });
    }
    if let Some(ring) = ring(&edges) {
        let place = templates.iter().find(|t| t.key == ring[0]).map_or(&of_spec, |t| &t.place);
        let shown: Vec<String> = ring.iter().chain(ring.first()).map(ToString::to_string).collect();
        problems.push(Problem::new("stack::cycle", place, format!("these resources wait for each other: {}", shown.join(" → "))));
    }
    // Resources share variables: what is wrong in one is said once.
    let mut told = BTreeSet::new();
    problems.retain(|p| told.insert((p.place().to_string(), p.to_string())));
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Desired {
        tenant: spec.id.clone(),
        stack: stack.name.clone(),
        stack_version: stack.version.clone(),
        tier: spec.tier,
        isolation: tier.isolation,
        environment: environment.to_owned(),
        names: used,
        settings,
        tags: tags(stack, spec, environment),
        resources,
        migrations,
    })
}

impl Stacks {
    /// Holds a spec that was read against its stack: that there is one, that it has the tier and modules, that overrides are allowed and
    /// in bounds, and that all names fit their services in that environment. Needs nothing of the outside.
    pub fn check(&self, parsed: &mut Parsed, environment: &str) {
        let Some(place) = parsed.said("stack").cloned() else { return };
        let spec = parsed.draft().clone();
        let Some(stack) = self.get(&spec.stack) else {
            let hint = did_you_mean(&spec.stack, self.names());
            parsed.refuse(Problem::new("spec::unknown_stack", &place, format!("there is no stack `{}`", spec.stack)).label("not a stack").hint(hint));
            return;
        };
        if parsed.said("tier").is_none() {
            return;
        }
        let (known, mut problems) = judge(stack, &spec, &|path| parsed.place(path).clone());
        if let Some((tier, _)) = known
            && parsed.said("id").is_some()
        {
            let templates: Vec<_> = stack.resources.iter().filter(|r| r.applies(spec.tier, &spec.modules)).collect();
            let (_, refused) = check_names(stack, tier, &parts(stack, &spec.id, &spec.subdomain, environment), &templates);
            // A field whose own shape is wrong is wrong once, not once for every name made of it.
            let judged: Vec<String> = parsed.problems().iter().map(|p| p.place().to_string()).collect();
            problems
                .extend(refused.iter().filter(|r| !judged.contains(&parsed.place(r.follows).to_string())).map(|r| name_problem(r, parsed.place(r.follows))));
        }
        problems.into_iter().for_each(|p| parsed.refuse(p));
    }
}

impl Stack {
    /// The platform values a tier draws from, by path: those that must be there, and those that may.
    pub fn platform_uses(&self, tier: Tier) -> (BTreeSet<String>, BTreeSet<String>) {
        let Some(template) = self.tiers.get(&tier) else { return Default::default() };
        let uses = uses(self, template, self.resources.iter().filter(|r| r.tiers.contains(&tier)));
        (uses.platform, uses.platform_optional)
    }
}

/// Known of a tier once its spec is judged: the tier, and its settings with the overrides in their places.
type Known<'s> = (&'s TierTemplate, BTreeMap<String, Value>);

/// The spec against the stack. `at` says where a field of the spec stands.
fn judge<'s>(stack: &'s Stack, spec: &TenantSpec, at: &dyn Fn(&str) -> Place) -> (Option<Known<'s>>, Vec<Problem>) {
    let mut problems = Vec::new();
    for (index, module) in spec.modules.iter().enumerate() {
        if !stack.modules.iter().any(|(name, _)| name == module) {
            let hint = if stack.modules.is_empty() {
                format!("the stack `{}` has no modules", stack.name)
            } else {
                did_you_mean(module, stack.modules.iter().map(|(name, _)| name.as_str()))
            };
            let message = format!("the stack `{}` has no module `{module}`", stack.name);
            problems.push(Problem::new("spec::unknown_module", &at(&format!("modules.{index}")), message).hint(hint));
        }
    }
    problems.extend(adoption::judge(stack, spec, at));
    let Some(tier) = stack.tiers.get(&spec.tier) else {
        let all: Vec<_> = stack.tiers.keys().map(|t| t.as_str()).collect();
        let message = format!("the stack `{}` has no tier `{}`", stack.name, spec.tier);
        problems.push(Problem::new("spec::unknown_tier", &at("tier"), message).hint(format!("it has: {}", all.join(", "))));
        return (None, problems);
    };
    if tier.isolation == Isolation::Rows {
        for (index, module) in spec.modules.iter().enumerate().filter(|(_, m)| stack.migrations.iter().any(|f| f.folder == **m)) {
            let message = format!("the tables of the module `{module}` are not among those that tenants of the tier {} share", spec.tier);
            problems.push(Problem::new("spec::module", &at(&format!("modules.{index}")), message).hint("choose a tier with a schema of its own"));
        }
    }
    match overrides::apply(tier, &spec.overrides) {
        Ok(settings) => (Some((tier, settings)), problems),
        Err(refused) => {
            for refusal in refused {
                let message = format!("{} (stack `{}`, tier {})", refusal.message, stack.name, spec.tier);
                problems.push(Problem::new("spec::override", &at(&format!("overrides.{}", refusal.path)), message).label("not allowed").hint(refusal.hint));
            }
            (Some((tier, tier.settings.clone())), problems)
        }
    }
}

fn parts<'a>(stack: &'a Stack, id: &'a str, subdomain: &'a str, environment: &'a str) -> Parts<'a> {
    Parts { product: &stack.product, environment, id, subdomain, logs: &stack.log_group_prefix }
}

/// The names the templates use, and those among them that their services would refuse.
fn check_names(stack: &Stack, tier: &TierTemplate, parts: &Parts<'_>, templates: &[&ResourceTemplate]) -> (BTreeMap<String, String>, Vec<names::Refused>) {
    let mut made = BTreeMap::new();
    let mut refused = Vec::new();
    for key in uses(stack, tier, templates.iter().copied()).names.into_keys() {
        match names::check(parts, &key) {
            // A name that tenants share is nobody's to claim.
            Some(Ok(_)) if names::is_shared(&key) => {}
            Some(Ok(name)) => {
                made.insert(key, name);
            }
            Some(Err(why)) => refused.push(why),
            // Said with its place when the template is evaluated.
            None => {}
        }
    }
    (made, refused)
}

fn name_problem(refused: &names::Refused, place: &Place) -> Problem {
    let hint = format!("the name is made with the tenant's {}, and labctl never cuts a name: choose a shorter {}", refused.follows, refused.follows);
    Problem::new("spec::name", place, refused.to_string()).label("makes a name its service refuses").hint(hint)
}

fn refused_reference(reference: &Reference, present: &BTreeSet<&Key>, everywhere: &BTreeSet<&Key>, tier: Tier, outputs: OutputsOf<'_>) -> Option<Problem> {
    let Reference { key, output, place } = reference;
    if !present.contains(key) {
        let message = if everywhere.contains(key) {
            format!("`{key}` is not a resource of the tier {tier} (or of a module this tenant has)")
        } else {
            format!("there is no resource `{key}`")
        };
        let names: Vec<String> = present.iter().map(ToString::to_string).collect();
        let hint = did_you_mean(&key.to_string(), names.iter().map(String::as_str));
        return Some(Problem::new("stack::unknown_reference", place, message).hint(hint));
    }
    let known = outputs(&key.kind)?;
    if known.contains(&output.as_str()) {
        return None;
    }
    let message = format!("the kind `{}` has no output `{output}`", key.kind);
    Some(Problem::new("stack::unknown_output", place, message).hint(did_you_mean(output, known.iter().copied())))
}

/// What the template comes after, as keys of this tenant. `*` is everything that is not itself after everything.
fn after(template: &ResourceTemplate, all: &[&ResourceTemplate], everywhere: &BTreeSet<&Key>, problems: &mut Vec<Problem>) -> BTreeSet<Key> {
    let mut out = BTreeSet::new();
    for (text, place) in &template.after {
        if text == "*" {
            out.extend(all.iter().filter(|t| !t.after.iter().any(|(a, _)| a == "*")).map(|t| t.key.clone()));
            continue;
        }
        match Key::read(text) {
            // In a tier without it there is nothing to come after.
            Some(key) if everywhere.contains(&key) => {
                if all.iter().any(|t| t.key == key) {
                    out.insert(key);
                }
            }
            _ => {
                let names: Vec<String> = everywhere.iter().map(ToString::to_string).collect();
                let hint = did_you_mean(text, names.iter().map(String::as_str));
                problems.push(Problem::new("stack::unknown_reference", place, format!("there is no resource `{text}` to come after")).hint(hint));
            }
        }
    }
    out
}

/// A ring of resources that wait for each other, if there is one.
fn ring(edges: &BTreeMap<Key, BTreeSet<Key>>) -> Option<Vec<Key>> {
    let mut left: BTreeMap<&Key, BTreeSet<&Key>> = edges.iter().map(|(k, v)| (k, v.iter().filter(|t| edges.contains_key(*t)).collect())).collect();
    while let Some(free) = left.iter().find(|(_, waits)| waits.is_empty()).map(|(key, _)| *key) {
        left.remove(free);
        left.values_mut().for_each(|waits| {
            waits.remove(free);
        });
    }
    // Everything left waits for something left: following it must come back.
    let mut path: Vec<&Key> = vec![left.keys().next().copied()?];
    loop {
        let next = *left.get(path.last()?)?.iter().next()?;
        if let Some(begin) = path.iter().position(|key| *key == next) {
            return Some(path[begin..].iter().map(|key| (*key).clone()).collect());
        }
        path.push(next);
    }
}

fn tags(stack: &Stack, spec: &TenantSpec, environment: &str) -> BTreeMap<String, String> {
    let mut tags = spec.tags.clone();
    for (key, value) in
        [("Tenant", spec.id.as_str()), ("Product", &stack.product), ("Environment", environment), ("Tier", spec.tier.as_str()), ("ManagedBy", "labctl")]
    {
        tags.insert(key.to_owned(), value.to_owned());
    }
    tags
}

/// A platform may say a server by its `endpoint` ("name:port") or by its `host` and `port`: templates may use all three, each a string.
fn with_endpoints(platform: &Value) -> Value {
    let Value::Object(map) = platform else { return platform.clone() };
    let mut map: serde_json::Map<String, Value> = map.iter().map(|(k, v)| (k.clone(), with_endpoints(v))).collect();
    let text = |key: &str| map.get(key).map(|v| v.as_str().map_or_else(|| v.to_string(), ToOwned::to_owned));
    let server = match (text("endpoint"), text("host"), text("port")) {
        (Some(endpoint), _, _) => endpoint.rsplit_once(':').map(|(host, port)| (host.to_owned(), port.to_owned())),
        (None, Some(host), Some(port)) => Some((host, port)),
        _ => None,
    };
    if let Some((host, port)) = server {
        map.insert("endpoint".to_owned(), Value::from(format!("{host}:{port}")));
        map.insert("host".to_owned(), Value::from(host));
        map.insert("port".to_owned(), Value::from(port));
    }
    Value::Object(map)
}
