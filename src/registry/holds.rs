//! Holds: why a tenant may not be purged, whatever its dates say. The database refuses to purge a tenant with a hold in force.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::error::Result;
use super::placed::Placed;
use super::{Holder, Registry};

/// A hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Whose.
    pub tenant: String,
    /// From 1, for each tenant.
    pub number: i32,
    /// The operator's words.
    pub reason: String,
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

impl Hold {
    /// Whether it keeps the tenant from being purged.
    pub fn in_force(&self) -> bool {
        self.removed_at.is_none()
    }
}

impl Placed for Hold {
    const NAME: &'static str = "hold";
    const IN_FORCE: &'static str = "removed_at IS NULL";
    const TOLD: &'static [&'static str] = &["reason"];
}

impl Registry {
    /// All holds a tenant ever had, in the order they were placed.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`](super::RegistryError::NotFound) for a tenant that is not on record.
    pub async fn holds(&self, tenant: &str) -> Result<Vec<Hold>> {
        self.all_placed(tenant).await
    }

    /// Places a hold. Where one with the same words is in force, that one is returned, and `false`: nothing was placed.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`](super::RegistryError::NotFound); [`RegistryError::Held`](super::RegistryError::Held) when the tenant is being
    /// purged, or is.
    pub async fn add_hold(&self, by: &Holder, tenant: &str, reason: &str) -> Result<(Hold, bool)> {
        self.place(by, tenant, &json!({"reason": reason})).await
    }

    /// Removes a hold. Where it was removed before, it is returned as it is, and `false`.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`](super::RegistryError::NotFound).
    pub async fn remove_hold(&self, by: &Holder, tenant: &str, number: i32) -> Result<(Hold, bool)> {
        self.take_away(by, tenant, number).await
    }
}
