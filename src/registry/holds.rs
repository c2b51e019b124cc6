//! Holds: why a tenant may not be purged, whatever its dates say. The database refuses to purge a tenant with a hold in force.
//!
//! A hold needs no lease: it must be possible to place one while an operation runs.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::types::Json;

use super::error::{RegistryError, Result};
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

impl Registry {
    /// All holds a tenant ever had, in the order they were placed.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] for a tenant that is not on record.
    pub async fn holds(&self, tenant: &str) -> Result<Vec<Hold>> {
        self.tenant(tenant).await?;
        let found: Vec<Json<Hold>> = sqlx::query_scalar("SELECT to_jsonb(h) FROM labctl.holds h WHERE tenant = $1 ORDER BY number")
            .bind(tenant)
            .fetch_all(self.pool().await?)
            .await
            .map_err(|e| self.sql(e))?;
        Ok(found.into_iter().map(|Json(hold)| hold).collect())
    }

    /// Places a hold. Where one with the same words is in force, that one is returned, and `false`: nothing was placed.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`]; [`RegistryError::Held`] when the tenant is being purged, or is.
    pub async fn add_hold(&self, by: &Holder, tenant: &str, reason: &str) -> Result<(Hold, bool)> {
        let mut tx = self.begin().await?;
        // Two at once must not take the same number.
        let known: Option<i32> =
            sqlx::query_scalar("SELECT 1 FROM labctl.tenants WHERE id = $1 FOR UPDATE").bind(tenant).fetch_optional(&mut *tx).await.map_err(|e| self.sql(e))?;
        known.ok_or_else(|| RegistryError::not_found("tenant", tenant))?;
        let same: Option<Json<Hold>> =
            sqlx::query_scalar("SELECT to_jsonb(h) FROM labctl.holds h WHERE tenant = $1 AND reason = $2 AND removed_at IS NULL ORDER BY number LIMIT 1")
                .bind(tenant)
                .bind(reason)
                .fetch_optional(&mut *tx)
                .await
                .map_err(|e| self.sql(e))?;
        if let Some(Json(hold)) = same {
            return Ok((hold, false));
        }
        let Json(hold): Json<Hold> = sqlx::query_scalar(
            "INSERT INTO labctl.holds AS h (tenant, number, reason, who, host)
             SELECT $1, coalesce(max(number), 0) + 1, $2, $3, $4 FROM labctl.holds WHERE tenant = $1 RETURNING to_jsonb(h)",
        )
        .bind(tenant)
        .bind(reason)
        .bind(&by.who)
        .bind(&by.host)
        .fetch_one(&mut *tx)
        .await
        .map_err(|e| self.sql(e))?;
        self.audit_in(&mut tx, by, "hold.add", Some(tenant), &json!({"hold": hold.number, "reason": reason})).await?;
        self.commit(tx).await?;
        Ok((hold, true))
    }

    /// Removes a hold. Where it was removed before, it is returned as it is, and `false`.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    pub async fn remove_hold(&self, by: &Holder, tenant: &str, number: i32) -> Result<(Hold, bool)> {
        let mut tx = self.begin().await?;
        let found: Option<Json<Hold>> = sqlx::query_scalar("SELECT to_jsonb(h) FROM labctl.holds h WHERE tenant = $1 AND number = $2 FOR UPDATE")
            .bind(tenant)
            .bind(number)
            .fetch_optional(&mut *tx)
            .await
            .map_err(|e| self.sql(e))?;
        let Json(found) = found.ok_or_else(|| RegistryError::not_found("hold", format!("{tenant} {number}")))?;
        if !found.in_force() {
            return Ok((found, false));
        }
        let Json(removed): Json<Hold> = sqlx::query_scalar(
            "UPDATE labctl.holds h SET removed_at = clock_timestamp(), removed_by = $3, removed_host = $4
             WHERE tenant = $1 AND number = $2 RETURNING to_jsonb(h)",
        )
        .bind(tenant)
        .bind(number)
        .bind(&by.who)
        .bind(&by.host)
        .fetch_one(&mut *tx)
        .await
        .map_err(|e| self.sql(e))?;
        self.audit_in(&mut tx, by, "hold.remove", Some(tenant), &json!({"hold": number, "reason": removed.reason})).await?;
        self.commit(tx).await?;
        Ok((removed, true))
    }
}
