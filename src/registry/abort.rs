//! Giving an unfinished operation up: what it made stays on record, and what it wanted stays the tenant's desired state.

use serde_json::json;

use super::error::{RegistryError, Result};
use super::operations::OperationStatus;
use super::{HeldLease, Registry, TenantStatus};

impl Registry {
    /// Closes an unfinished operation. A tenant that was being made or changed counts as failed from then on; what is out of use, or being
    /// purged, stays so. Returns how the tenant stands.
    ///
    /// # Errors
    /// [`RegistryError::Finished`], [`RegistryError::NotFound`] (also when it is another tenant's), [`RegistryError::Fenced`].
    pub async fn abort_operation(&self, lease: &HeldLease, operation: i64, reason: Option<&str>) -> Result<TenantStatus> {
        let tenant = lease.tenant();
        let mut tx = self.begin_fenced(lease).await?;
        let found: Option<(String, String, String)> = sqlx::query_as(
            "SELECT o.status, o.verb, t.status FROM labctl.operations o JOIN labctl.tenants t ON t.id = o.tenant
             WHERE o.number = $1 AND o.tenant = $2 FOR UPDATE OF o",
        )
        .bind(operation)
        .bind(tenant)
        .fetch_optional(&mut *tx)
        .await
        .map_err(|e| self.sql(e))?;
        let client = |message| RegistryError::Database { code: "client".into(), message };
        let (status, verb, stands) = found.ok_or_else(|| RegistryError::not_found("operation", operation))?;
        let (status, mut stands): (OperationStatus, TenantStatus) = (status.parse().map_err(client)?, stands.parse().map_err(client)?);
        if status.is_over() {
            return Err(RegistryError::Finished { operation, status });
        }
        sqlx::query(
            "WITH left_out AS (
                UPDATE labctl.steps SET status = 'skipped', finished_at = clock_timestamp(), because = 'the operation was given up'
                WHERE operation = $1 AND status = 'planned' AND action <> 'keep'
             )
             UPDATE labctl.operations SET status = 'aborted', finished_at = clock_timestamp(),
                    summary = CASE jsonb_typeof(summary) WHEN 'object' THEN summary ELSE '{}' END || $2
             WHERE number = $1",
        )
        .bind(operation)
        .bind(sqlx::types::Json(json!({"given_up": {"by": lease.holder().who, "host": lease.holder().host, "reason": reason, "was": status}})))
        .execute(&mut *tx)
        .await
        .map_err(|e| self.sql(e))?;
        if matches!(stands, TenantStatus::Provisioning | TenantStatus::Updating) {
            stands = TenantStatus::Failed;
            self.move_status(&mut tx, tenant, stands).await?;
        }
        self.tell_ended(&mut tx, lease, operation, OperationStatus::Aborted).await?;
        let detail = json!({"operation": operation, "verb": verb, "was": status, "tenant_status": stands, "reason": reason});
        self.audit_in(&mut tx, lease.holder(), "operation.abort", Some(tenant), &detail).await?;
        self.commit(tx).await?;
        Ok(stands)
    }
}
