//! Waivers: differences that somebody has allowed for a time. Like holds they need no lease, and stay on record.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::types::Json;

use super::error::{RegistryError, Result};
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

impl Registry {
    /// All waivers a tenant ever had, in the order they were placed.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] for a tenant that is not on record.
    pub async fn waivers(&self, tenant: &str) -> Result<Vec<Waiver>> {
        self.tenant(tenant).await?;
        let found: Vec<Json<Waiver>> = sqlx::query_scalar("SELECT to_jsonb(w) FROM labctl.waivers w WHERE tenant = $1 ORDER BY number")
            .bind(tenant)
            .fetch_all(self.pool().await?)
            .await
            .map_err(|e| self.sql(e))?;
        Ok(found.into_iter().map(|Json(waiver)| waiver).collect())
    }

    /// Places a waiver. Where one of the same resource, field, end and words is in force, that one is returned, and `false`.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] for the tenant.
    pub async fn add_waiver(&self, by: &Holder, tenant: &str, allowed: (&str, Option<&str>), until: DateTime<Utc>, reason: &str) -> Result<(Waiver, bool)> {
        let (resource, field) = allowed;
        let mut tx = self.begin().await?;
        // Two at once must not take the same number.
        let known: Option<i32> =
            sqlx::query_scalar("SELECT 1 FROM labctl.tenants WHERE id = $1 FOR UPDATE").bind(tenant).fetch_optional(&mut *tx).await.map_err(|e| self.sql(e))?;
        known.ok_or_else(|| RegistryError::not_found("tenant", tenant))?;
        let same: Option<Json<Waiver>> = sqlx::query_scalar(
            "SELECT to_jsonb(w) FROM labctl.waivers w WHERE tenant = $1 AND resource = $2 AND field IS NOT DISTINCT FROM $3 AND until = $4 AND reason = $5
             AND removed_at IS NULL AND until > clock_timestamp() ORDER BY number LIMIT 1",
        )
        .bind(tenant)
        .bind(resource)
        .bind(field)
        .bind(until)
        .bind(reason)
        .fetch_optional(&mut *tx)
        .await
        .map_err(|e| self.sql(e))?;
        if let Some(Json(waiver)) = same {
            return Ok((waiver, false));
        }
        let Json(waiver): Json<Waiver> = sqlx::query_scalar(
            "INSERT INTO labctl.waivers AS w (tenant, number, resource, field, until, reason, who, host)
             SELECT $1, coalesce(max(number), 0) + 1, $2, $3, $4, $5, $6, $7 FROM labctl.waivers WHERE tenant = $1 RETURNING to_jsonb(w)",
        )
        .bind(tenant)
        .bind(resource)
        .bind(field)
        .bind(until)
        .bind(reason)
        .bind(&by.who)
        .bind(&by.host)
        .fetch_one(&mut *tx)
        .await
        .map_err(|e| self.sql(e))?;
        let particulars = json!({"waiver": waiver.number, "resource": resource, "field": field, "until": until, "reason": reason});
        self.audit_in(&mut tx, by, "waiver.add", Some(tenant), &particulars).await?;
        self.commit(tx).await?;
        Ok((waiver, true))
    }

    /// Removes a waiver. Where it was removed before, it is returned as it is, and `false`.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    pub async fn remove_waiver(&self, by: &Holder, tenant: &str, number: i32) -> Result<(Waiver, bool)> {
        let mut tx = self.begin().await?;
        let found: Option<Json<Waiver>> = sqlx::query_scalar("SELECT to_jsonb(w) FROM labctl.waivers w WHERE tenant = $1 AND number = $2 FOR UPDATE")
            .bind(tenant)
            .bind(number)
            .fetch_optional(&mut *tx)
            .await
            .map_err(|e| self.sql(e))?;
        let Json(found) = found.ok_or_else(|| RegistryError::not_found("waiver", format!("{tenant} {number}")))?;
        if found.removed_at.is_some() {
            return Ok((found, false));
        }
        let Json(removed): Json<Waiver> = sqlx::query_scalar(
            "UPDATE labctl.waivers w SET removed_at = clock_timestamp(), removed_by = $3, removed_host = $4
             WHERE tenant = $1 AND number = $2 RETURNING to_jsonb(w)",
        )
        .bind(tenant)
        .bind(number)
        .bind(&by.who)
        .bind(&by.host)
        .fetch_one(&mut *tx)
        .await
        .map_err(|e| self.sql(e))?;
        self.audit_in(&mut tx, by, "waiver.remove", Some(tenant), &json!({"waiver": number, "resource": removed.resource, "reason": removed.reason})).await?;
        self.commit(tx).await?;
        Ok((removed, true))
    }
}
