//! Waivers: differences that somebody has allowed for a time. Those that have run out stay on record.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::error::Result;
use super::placed::Placed;
use super::{Holder, Registry};
use crate::plan::waiver::Allowed;

/// A waiver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiver {
    /// Whose.
    pub tenant: String,
    /// From 1, for each tenant.
    pub number: i32,
    /// `kind/name`.
    pub resource: String,
    /// The one field that may differ; none for all of the resource.
    pub field: Option<String>,
    /// The operator's words.
    pub reason: String,
    /// How long it is in force.
    pub until: DateTime<Utc>,
    /// Who placed it.
    pub who: String,
    /// From where.
    pub host: String,
    /// When.
    pub placed_at: DateTime<Utc>,
    /// When it was removed, if it was.
    pub removed_at: Option<DateTime<Utc>>,
    /// By whom.
    pub removed_by: Option<String>,
    /// From where.
    pub removed_host: Option<String>,
}

impl Waiver {
    /// Whether it allows anything at that time.
    pub fn in_force(&self, now: DateTime<Utc>) -> bool {
        self.removed_at.is_none() && now < self.until
    }

    /// What it allows.
    pub fn allowed(&self) -> Allowed {
        Allowed { waiver: self.number, resource: self.resource.clone(), field: self.field.clone(), until: self.until }
    }
}

impl Placed for Waiver {
    const NAME: &'static str = "waiver";
    const IN_FORCE: &'static str = "removed_at IS NULL AND until > clock_timestamp()";
    const TOLD: &'static [&'static str] = &["resource", "reason"];
}

impl Registry {
    /// All waivers a tenant ever had, in the order they were placed.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`](super::RegistryError::NotFound) for a tenant that is not on record.
    pub async fn waivers(&self, tenant: &str) -> Result<Vec<Waiver>> {
        self.all_placed(tenant).await
    }

    /// Places a waiver. Where one of the same resource, field, end and words is in force, that one is returned, and `false`.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`](super::RegistryError::NotFound) for the tenant.
    pub async fn add_waiver(&self, by: &Holder, tenant: &str, allowed: (&str, Option<&str>), until: DateTime<Utc>, reason: &str) -> Result<(Waiver, bool)> {
        let (resource, field) = allowed;
        let said = json!({"resource": resource, "field": field, "until": until, "reason": reason});
        self.place(by, tenant, &said).await
    }

    /// Removes a waiver. Where it was removed before, it is returned as it is, and `false`.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`](super::RegistryError::NotFound).
    pub async fn remove_waiver(&self, by: &Holder, tenant: &str, number: i32) -> Result<(Waiver, bool)> {
        self.take_away(by, tenant, number).await
    }
}
