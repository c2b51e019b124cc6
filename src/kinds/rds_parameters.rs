//! What both kinds of RDS parameter group have in common: what a template may say, what is seen, and how the two differ.
//!
//! A group always forces TLS. A dynamic parameter takes effect at once, a static one at the next restart of the databases that use the
//! group: labctl restarts nothing by itself.

use serde::{Deserialize, Serialize};

use crate::cloud::rds::{Group, Parameters};
use crate::engine::kind::{Change, Diff, Tags};

/// What a template may say of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// 1–255 lower-case letters, digits and hyphens, beginning with a letter.
    pub(super) name: String,
    /// Engine and major version (`postgres16`).
    pub(super) family: String,
    /// Parameters that differ from the engine's defaults; `rds.force_ssl` is always 1.
    #[serde(default)]
    pub(super) parameters: Parameters,
}

/// What `observe` reports.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    pub(super) arn: String,
    pub(super) family: String,
    pub(super) parameters: Group,
    pub(super) tags: Tags,
}

/// Compares.
pub(super) fn diff(spec: &Spec, tags: &Tags, state: &State) -> Diff {
    if state.family != spec.family {
        return Diff::Forbidden(format!(
            "the family cannot change ({} → {}), and a group in use cannot be replaced: give the new one another name and let the database move to it",
            state.family, spec.family
        ));
    }
    let mut changes = Change::tags(&state.tags, tags);
    changes.extend(
        spec.parameters
            .differing(&state.parameters)
            .into_iter()
            .map(|(name, from, to)| Change::new(format!("parameters.{name}"), from.unwrap_or("(default)"), to.unwrap_or("(default)"))),
    );
    Diff::of(changes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec(parameters: serde_json::Value) -> Spec {
        serde_json::from_value(json!({"name": "mate-a", "family": "postgres16", "parameters": parameters})).unwrap()
    }

    fn state(family: &str, parameters: serde_json::Value) -> State {
        serde_json::from_value(json!({"arn": "arn", "family": family, "parameters": parameters, "tags": {}})).unwrap()
    }

    #[test]
    fn differences_are_named_by_parameter() {
        let tls = json!({"value": "1", "user": true, "dynamic": true});
        let mine = json!({"value": "7", "user": true, "dynamic": true});
        let rows = [
            ("nothing set yet", json!({}), "postgres16", json!({}), "update rds.force_ssl: (default) → 1"),
            ("as wanted", json!({}), "postgres16", json!({"rds.force_ssl": tls}), "same"),
            (
                "switched off by hand",
                json!({}),
                "postgres16",
                json!({"rds.force_ssl": {"value": "0", "user": true, "dynamic": true}}),
                "update rds.force_ssl: 0 → 1",
            ),
            ("no longer wanted", json!({}), "postgres16", json!({"rds.force_ssl": tls, "work_mem": mine}), "update work_mem: 7 → (default)"),
            ("another major version", json!({}), "postgres15", json!({"rds.force_ssl": tls}), "forbidden"),
        ];
        for (why, wanted, family, found, expected) in rows {
            let said = match diff(&spec(wanted), &Tags::new(), &state(family, found)) {
                Diff::Same => "same".to_owned(),
                Diff::Update(changes) => format!("update {}", changes[0]).replace("parameters.", ""),
                Diff::Replace(change) => format!("replace {change}"),
                Diff::Forbidden(_) => "forbidden".to_owned(),
            };
            assert_eq!(said, expected, "{why}");
        }
    }
}
