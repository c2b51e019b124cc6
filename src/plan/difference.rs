//! How two desired states differ, by the paths an operator knows: `django.max: 5 → 8`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::engine::kind::Change;

/// The differences between two revisions, each as its spec and its life. What a verb has set counts over what the file says.
pub fn difference(before: (&Value, &Value), after: (&Value, &Value)) -> Vec<Change> {
    let (before, after) = (paths(before), paths(after));
    let mut all: Vec<&String> = before.keys().chain(after.keys()).collect();
    all.sort();
    all.dedup();
    let said = |side: &BTreeMap<String, Value>, path: &String| side.get(path).map_or_else(|| "(none)".to_owned(), plain);
    all.into_iter().filter(|path| before.get(*path) != after.get(*path)).map(|path| Change::new(path, said(&before, path), said(&after, path))).collect()
}

fn paths((spec, life): (&Value, &Value)) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    flatten("", spec, &mut found);
    flatten("", life, &mut found);
    found
}

/// Settings stand under their own names: in the spec they are overrides, in the life what `scale` and `deploy` have set.
fn flatten(path: &str, value: &Value, found: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let inside = match (path, name.as_str()) {
                    ("", "overrides" | "settings") => String::new(),
                    ("", _) => name.clone(),
                    _ => format!("{path}.{name}"),
                };
                flatten(&inside, value, found);
            }
        }
        Value::Null => {}
        Value::Array(items) if items.is_empty() => {}
        _ => drop(found.insert(path.to_owned(), value.clone())),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(before: (Value, Value), after: (Value, Value)) -> Vec<String> {
        difference((&before.0, &before.1), (&after.0, &after.1)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_a_verb_sets_and_what_the_file_says_is_one_setting() {
        let spec = json!({"tier": "standard", "overrides": {"django.max": 5}});
        assert_eq!(told((spec.clone(), json!({})), (spec.clone(), json!({"settings": {"django.max": 8}}))), ["django.max: 5 → 8"]);
        assert_eq!(told((spec.clone(), json!({"settings": {"django.max": 5}})), (spec, json!({}))), [""; 0], "the same number, said elsewhere");
    }

    #[test]
    fn what_comes_and_what_goes_is_told_by_its_path() {
        let spec = |tier: &str, modules: Value| json!({"tier": tier, "modules": modules, "external_id": null});
        let suspended = json!({"suspended": {"level": "full", "reason": "unpaid"}, "counts": {"django": 3}});
        assert_eq!(
            told((spec("trial", json!([])), suspended), (spec("standard", json!(["a", "b"])), json!({"purged": true}))),
            [
                "counts.django: 3 → (none)",
                "modules: (none) → a, b",
                "purged: (none) → true",
                "suspended.level: full → (none)",
                "suspended.reason: unpaid → (none)",
                "tier: trial → standard"
            ]
        );
    }
}
