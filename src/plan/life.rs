//! What verbs have made of a tenant since its spec was written, and both together: the desired state that a revision keeps.
//!
//! A spec is the operator's file. What `scale`, `deploy`, `suspend`, `rename` and `delete` change is kept beside it, so that applying the
//! file again undoes none of them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::rotation::Rotation;
use crate::engine::kind::Suspension;
use crate::spec::TenantSpec;

/// One desired state of a tenant: what a revision is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DesiredState {
    /// What its file says.
    pub spec: TenantSpec,
    /// What verbs have changed since.
    #[serde(default)]
    pub life: Life,
}

/// What verbs have changed. The default is a tenant in use, just as its spec says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Life {
    /// Settings of the tier that `scale` and `deploy` have set, by path (`django.max`). They come over the spec's overrides, and have the
    /// same bounds.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, Value>,
    /// How many tasks each service ran when the tenant was suspended, by the service's name: what it comes back with.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<String, i64>,
    /// It is out of use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended: Option<Suspended>,
    /// It is deleted, and can be brought back until it is purged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<Deleted>,
    /// Nothing of it shall exist.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub purged: bool,
    /// The subdomain its physical names are made of, where that is no longer the spec's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub named_after: Option<String>,
    /// Rotations of credentials, by the part they are of (`app`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub credentials: BTreeMap<String, Rotation>,
}

/// Since when and why a tenant is out of use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspended {
    /// How far.
    pub level: Suspension,
    /// The operator's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When that was asked for.
    pub since: DateTime<Utc>,
}

/// Since when and until when a tenant is deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    /// When that was asked for.
    pub at: DateTime<Utc>,
    /// Not before this may it be purged.
    pub purge_after: DateTime<Utc>,
    /// The operator's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl DesiredState {
    /// The spec alone: a tenant in use, as its file says.
    pub fn of(spec: TenantSpec) -> Self {
        Self { spec, life: Life::default() }
    }

    /// The spec with all that verbs have set in its overrides: what the stack is asked to resolve.
    pub fn effective(&self) -> TenantSpec {
        let mut spec = self.spec.clone();
        spec.overrides.extend(self.life.settings.clone());
        spec.overrides.extend(self.life.counts.iter().map(|(service, n)| (format!("{service}.desired"), Value::from(*n))));
        spec
    }

    /// The subdomain physical names are made of.
    pub fn named_after(&self) -> &str {
        self.life.named_after.as_deref().unwrap_or(&self.spec.subdomain)
    }

    /// How far it is out of use: a deleted tenant is so entirely.
    pub fn suspension(&self) -> Option<Suspension> {
        if self.life.deleted.is_some() {
            return Some(Suspension::Full);
        }
        self.life.suspended.as_ref().map(|s| s.level)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn state(life: Value) -> DesiredState {
        let spec = json!({"id": "acme", "display_name": "Acme", "subdomain": "acme", "tier": "standard", "stack": "mate", "email": "a@acme.example",
            "overrides": {"django.max": 4, "celery.max": 3}});
        DesiredState { spec: serde_json::from_value(spec).unwrap(), life: serde_json::from_value(life).unwrap() }
    }

    #[test]
    fn what_verbs_set_comes_over_what_the_file_says() {
        let state = state(json!({"settings": {"django.max": 5}, "counts": {"django": 3}}));
        assert_eq!(json!(state.effective().overrides), json!({"django.max": 5, "django.desired": 3, "celery.max": 3}));
    }

    #[test]
    fn a_deleted_tenant_is_out_of_use_entirely_however_it_was_suspended() {
        assert_eq!(state(json!({})).suspension(), None);
        let suspended = json!({"level": "read-only", "since": "2026-01-01T00:00:00Z"});
        assert_eq!(state(json!({"suspended": suspended})).suspension(), Some(Suspension::ReadOnly));
        let deleted = json!({"at": "2026-01-01T00:00:00Z", "purge_after": "2026-02-01T00:00:00Z"});
        assert_eq!(state(json!({"suspended": suspended, "deleted": deleted})).suspension(), Some(Suspension::Full));
    }

    #[test]
    fn a_life_in_which_nothing_happened_is_kept_as_nothing() {
        assert_eq!(json!(Life::default()), json!({}));
    }
}
