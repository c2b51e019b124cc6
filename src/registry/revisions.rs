//! Revisions: every desired state a tenant ever had. Written once; the database refuses to change or delete one.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;
use sqlx::types::Json;

use super::error::{RegistryError, Result};
use super::tenants::is_unique_violation;
use super::{Facts, HeldLease, Registry, names};
use crate::plan::life::DesiredState;

/// One desired state of a tenant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Revision {
    /// Whose.
    pub tenant: String,
    /// From 1, without gaps.
    pub number: i32,
    /// The one it was made from.
    pub parent: Option<i32>,
    /// The normalised spec. No secrets.
    pub spec: Value,
    /// What verbs have changed since that was written.
    pub life: Value,
    /// Version of the stack it was made for.
    pub stack_version: Option<String>,
    /// Version of the tier it was made for.
    pub tier_version: Option<String>,
    /// The operator.
    pub who: String,
    /// From where.
    pub host: String,
    /// The command line.
    pub command: String,
    /// The operator's reason, if given.
    pub note: Option<String>,
    /// When.
    pub created_at: DateTime<Utc>,
}

/// A desired state to be put on record; who and where come from the lease.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRevision<'a> {
    /// The normalised spec. No secrets.
    pub spec: &'a Value,
    /// What verbs have changed since that was written.
    pub life: &'a Value,
    /// Version of the stack.
    pub stack_version: Option<&'a str>,
    /// Version of the tier.
    pub tier_version: Option<&'a str>,
    /// The command line.
    pub command: &'a str,
    /// The operator's reason.
    pub note: Option<&'a str>,
}

/// Writes revision `number`, whose parent is the one before.
pub(super) async fn insert(registry: &Registry, tx: &mut PgConnection, lease: &HeldLease, number: i32, new: &NewRevision<'_>) -> Result<()> {
    sqlx::query(
        "INSERT INTO labctl.revisions (tenant, number, parent, spec, stack_version, tier_version, who, host, command, note, life)
         VALUES ($1, $2, nullif($2 - 1, 0), $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(lease.tenant())
    .bind(number)
    .bind(Json(new.spec))
    .bind(new.stack_version)
    .bind(new.tier_version)
    .bind(&lease.holder().who)
    .bind(&lease.holder().host)
    .bind(new.command)
    .bind(new.note)
    .bind(Json(new.life))
    .execute(tx)
    .await
    .map(drop)
    .map_err(|e| registry.sql(e))
}

impl Revision {
    /// The desired state it keeps.
    ///
    /// # Errors
    /// When a newer labctl wrote it.
    pub fn state(&self) -> Result<DesiredState> {
        let read = |e: serde_json::Error| RegistryError::Database {
            code: "client".into(),
            message: format!("revision {} of tenant `{}` cannot be read: {e}", self.number, self.tenant),
        };
        let spec = serde_json::from_value(self.spec.clone()).map_err(read)?;
        Ok(DesiredState { spec, life: serde_json::from_value(self.life.clone()).map_err(read)? })
    }
}

impl Registry {
    /// Gives a known tenant a new desired state, in one transaction with its facts and names. Returns the revision's number.
    ///
    /// # Errors
    /// [`RegistryError::Conflict`] when the tenant is no longer at `parent`; [`RegistryError::NotFound`], [`RegistryError::NameTaken`],
    /// [`RegistryError::Fenced`].
    pub async fn new_revision(&self, lease: &HeldLease, parent: i32, facts: &Facts<'_>, revision: &NewRevision<'_>) -> Result<i32> {
        let mut tx = self.begin_fenced(lease).await?;
        let number = self.revise(&mut tx, lease, parent, facts, revision).await?;
        self.audit_in(&mut tx, lease.holder(), "tenant.revise", Some(lease.tenant()), &json!({"revision": number})).await?;
        self.commit(tx).await?;
        Ok(number)
    }

    pub(super) async fn revise(&self, tx: &mut PgConnection, lease: &HeldLease, parent: i32, facts: &Facts<'_>, revision: &NewRevision<'_>) -> Result<i32> {
        let tenant = lease.tenant();
        let found: i32 = sqlx::query_scalar("SELECT revision FROM labctl.tenants WHERE id = $1 FOR UPDATE")
            .bind(tenant)
            .fetch_optional(&mut *tx)
            .await
            .map_err(|e| self.sql(e))?
            .ok_or_else(|| RegistryError::not_found("tenant", tenant))?;
        if found != parent {
            return Err(RegistryError::Conflict { tenant: tenant.to_owned(), expected: parent, found });
        }
        names::claim(self, tx, tenant, &facts.claims()).await?;
        let updated = sqlx::query(
            "UPDATE labctl.tenants SET external_id = $2, display_name = $3, subdomain = $4, stack = $5, tier = $6, isolation = $7, revision = $8
             WHERE id = $1",
        )
        .bind(tenant)
        .bind(facts.external_id)
        .bind(facts.display_name)
        .bind(facts.subdomain)
        .bind(facts.stack)
        .bind(facts.tier)
        .bind(facts.isolation)
        .bind(parent + 1)
        .execute(&mut *tx)
        .await;
        match updated {
            Err(e) if is_unique_violation(&e) => return Err(self.explain_clash(tenant, facts).await?),
            other => other.map_err(|e| self.sql(e))?,
        };
        insert(self, tx, lease, parent + 1, revision).await?;
        Ok(parent + 1)
    }

    /// One revision of a tenant.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    pub async fn revision(&self, tenant: &str, number: i32) -> Result<Revision> {
        let row: Option<Json<Revision>> = sqlx::query_scalar("SELECT to_jsonb(r) FROM labctl.revisions r WHERE tenant = $1 AND number = $2")
            .bind(tenant)
            .bind(number)
            .fetch_optional(self.pool().await?)
            .await
            .map_err(|e| self.sql(e))?;
        row.map(|Json(r)| r).ok_or_else(|| RegistryError::not_found("revision", format!("{tenant} {number}")))
    }

    /// All revisions of a tenant, the newest first.
    ///
    /// # Errors
    /// Only those of reaching the registry.
    pub async fn revisions(&self, tenant: &str) -> Result<Vec<Revision>> {
        let found: Vec<Json<Revision>> = sqlx::query_scalar("SELECT to_jsonb(r) FROM labctl.revisions r WHERE tenant = $1 ORDER BY number DESC")
            .bind(tenant)
            .fetch_all(self.pool().await?)
            .await
            .map_err(|e| self.sql(e))?;
        Ok(found.into_iter().map(|Json(r)| r).collect())
    }
}
