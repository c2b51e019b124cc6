//! What a spec may have otherwise than its tier, and how far.

use std::collections::BTreeMap;

use serde_json::Value;

use super::template::{Bound, TierTemplate};
use crate::spec::problem::closest;

/// An override that is refused.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its path.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

/// The tier's settings with the overrides in their places.
///
/// # Errors
/// Every override that the tier does not allow or that is out of bounds.
pub fn apply(tier: &TierTemplate, overrides: &BTreeMap<String, Value>) -> Result<BTreeMap<String, Value>, Vec<Refusal>> {
    let mut settings = tier.settings.clone();
    let mut refused = Vec::new();
    for (path, value) in overrides {
        let Some(bound) = tier.overrides.get(path) else {
            refused.push(Refusal { path: path.clone(), message: not_allowed(tier, path), hint: allowed_instead(tier, path) });
            continue;
        };
        match within(bound, value) {
            Ok(()) => {
                settings.insert(path.clone(), value.clone());
            }
            Err(why) => {
                refused.push(Refusal { path: path.clone(), message: format!("the override `{path}` is {why}"), hint: format!("allowed here: {bound}") })
            }
        }
    }
    if refused.is_empty() {
        refused.extend(crossed(&settings, overrides));
    }
    if refused.is_empty() { Ok(settings) } else { Err(refused) }
}

fn not_allowed(tier: &TierTemplate, path: &str) -> String {
    if tier.settings.contains_key(path) {
        format!("this tier does not allow its `{path}` to be overridden")
    } else {
        format!("this tier has no setting `{path}`")
    }
}

fn allowed_instead(tier: &TierTemplate, path: &str) -> String {
    if let Some(best) = closest(path, tier.overrides.keys().map(String::as_str)) {
        return format!("did you mean `{best}`?");
    }
    let all: Vec<_> = tier.overrides.iter().map(|(path, bound)| format!("{path} ({bound})")).collect();
    if all.is_empty() { "this tier allows no overrides".to_owned() } else { format!("it allows: {}", all.join("; ")) }
}

/// Whether a value keeps a bound.
///
/// # Errors
/// How it does not.
pub fn within(bound: &Bound, value: &Value) -> Result<(), String> {
    let ok = match bound {
        Bound::Range { min, max } => match value.as_i64() {
            Some(n) => (*min..=*max).contains(&n),
            None => return Err(format!("{value}, which is no integer")),
        },
        Bound::OneOf(values) => values.contains(value),
        Bound::Word { max_bytes } => match value.as_str() {
            Some(text) => !text.is_empty() && text.len() <= *max_bytes && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)),
            None => return Err(format!("{value}, which is no string")),
        },
        Bound::Either => value.is_boolean(),
    };
    if ok { Ok(()) } else { Err(format!("{value}, out of bounds")) }
}

/// Where a group of settings has `min`, `desired` and `max`, they must stand in that order.
fn crossed(settings: &BTreeMap<String, Value>, overrides: &BTreeMap<String, Value>) -> Vec<Refusal> {
    let number = |path: &str| settings.get(path).and_then(Value::as_i64);
    let mut out = Vec::new();
    for group in settings.keys().filter_map(|k| k.strip_suffix(".desired")) {
        let paths = ["min", "desired", "max"].map(|end| format!("{group}.{end}"));
        let (Some(min), Some(desired), Some(max)) = (number(&paths[0]), number(&paths[1]), number(&paths[2])) else { continue };
        if min <= desired && desired <= max {
            continue;
        }
        let Some(path) = paths.iter().find(|p| overrides.contains_key(*p)) else { continue };
        out.push(Refusal {
            path: path.clone(),
            message: format!("`{group}` would have min {min}, desired {desired}, max {max}: these must not cross"),
            hint: format!("override the others too: {}", paths.join(", ")),
        });
    }
    out
}
