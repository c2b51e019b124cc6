//! Resources: what exists for a tenant, and what was about to. Written only by the journal, together with the step that changed it.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::types::Json;

use super::Registry;
use super::error::Result;
use crate::engine::kind::{Address, Outputs, Tags};

/// How a resource stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResourceStatus {
    /// Its create was about to be called; whether it was made is not on record.
    Intended,
    /// It has an id, but is not known to be as wanted and ready.
    Created,
    /// As wanted, and ready.
    Ready,
    /// The last attempt at it failed.
    Failed,
    /// Nobody can tell whether it exists: an operator must look.
    InDoubt,
    /// Gone.
    Deleted,
}

impl fmt::Display for ResourceStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Intended => "intended",
            Self::Created => "created",
            Self::Ready => "ready",
            Self::Failed => "failed",
            Self::InDoubt => "in_doubt",
            Self::Deleted => "deleted",
        })
    }
}

/// A resource's row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resource {
    /// Where, in labctl's map.
    pub address: Address,
    /// Its kind.
    pub kind: String,
    /// Its name within tenant and kind.
    pub name: String,
    /// What the service knows it by.
    pub id: Option<String>,
    /// How it stands.
    pub status: ResourceStatus,
    /// From `ready` on with all references resolved; before that as planned. No secrets.
    pub spec: Value,
    /// For others' references.
    pub outputs: Outputs,
    /// The tags it carries.
    pub tags: Tags,
    /// Place in the order of creation; deletion goes in reverse.
    pub position: i32,
    /// The operation that last touched it.
    pub operation: i64,
    /// Token of the last intent to create it that is not settled.
    pub token: Option<String>,
    /// How many times that was tried.
    pub attempt: u32,
    /// When its row was made.
    pub created_at: DateTime<Utc>,
    /// When its row last changed.
    pub updated_at: DateTime<Utc>,
}

impl Resource {
    /// The id to look it up by; none for what is gone.
    pub fn recorded(&self) -> Option<&str> {
        self.id.as_deref().filter(|_| self.status != ResourceStatus::Deleted)
    }

    /// The token of an intent whose outcome is not on record: what was made with it, if anything, must be found again, and a further
    /// create must carry it.
    pub fn intent(&self) -> Option<&str> {
        let open = matches!(self.status, ResourceStatus::Intended | ResourceStatus::Failed | ResourceStatus::InDoubt) && self.id.is_none();
        self.token.as_deref().filter(|_| open)
    }
}

impl Registry {
    /// What the tenant has, or may have, in the order of creation. What is gone is left out.
    ///
    /// # Errors
    /// Only those of reaching the registry.
    pub async fn resources(&self, tenant: &str) -> Result<Vec<Resource>> {
        self.list_resources(tenant, false).await
    }

    /// What the tenant has and had, in the order of creation: what a deletion certificate is written from.
    ///
    /// # Errors
    /// Only those of reaching the registry.
    pub async fn all_resources(&self, tenant: &str) -> Result<Vec<Resource>> {
        self.list_resources(tenant, true).await
    }

    /// What all tenants (or one) have, or may have, by address. What is gone is left out.
    ///
    /// # Errors
    /// Only those of reaching the registry.
    pub async fn resources_of(&self, tenant: Option<&str>) -> Result<Vec<Resource>> {
        let found: Vec<Json<Resource>> =
            sqlx::query_scalar("SELECT to_jsonb(r) FROM labctl.resources r WHERE ($1::text IS NULL OR tenant = $1) AND status <> 'deleted' ORDER BY address")
                .bind(tenant)
                .fetch_all(self.pool().await?)
                .await
                .map_err(|e| self.sql(e))?;
        Ok(found.into_iter().map(|Json(r)| r).collect())
    }

    async fn list_resources(&self, tenant: &str, gone_too: bool) -> Result<Vec<Resource>> {
        let found: Vec<Json<Resource>> =
            sqlx::query_scalar("SELECT to_jsonb(r) FROM labctl.resources r WHERE tenant = $1 AND ($2 OR status <> 'deleted') ORDER BY position, address")
                .bind(tenant)
                .bind(gone_too)
                .fetch_all(self.pool().await?)
                .await
                .map_err(|e| self.sql(e))?;
        Ok(found.into_iter().map(|Json(r)| r).collect())
    }
}
