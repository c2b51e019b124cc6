//! Settling a step whose outcome only an operator can tell.

use serde_json::json;
use sqlx::types::Json;

use super::error::{RegistryError, Result};
use super::{HeldLease, Registry};
use crate::engine::fault::Fault;
use crate::engine::journal::Entry;
use crate::engine::kind::Address;

/// What an operator found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// It exists, and this is its id.
    There(String),
    /// It does not exist.
    Absent,
}

impl Registry {
    /// Puts a finding on record for a step in doubt: what exists has its id from then on, what does not may be made again. Once no step of
    /// it is in doubt, the operation counts as failed, and can be resumed. Returns how many steps still are.
    ///
    /// # Errors
    /// [`RegistryError::NotInDoubt`], [`RegistryError::NotFound`], [`RegistryError::Fenced`].
    pub async fn resolve_step(&self, lease: &HeldLease, operation: i64, address: &Address, finding: &Finding, reason: Option<&str>) -> Result<i64> {
        let tenant = lease.tenant();
        let mut tx = self.begin_fenced(lease).await?;
        let found: Option<String> = sqlx::query_scalar(
            "SELECT s.status FROM labctl.steps s JOIN labctl.operations o ON o.number = s.operation
             WHERE o.number = $1 AND o.tenant = $2 AND s.address = $3 AND o.status NOT IN ('done', 'aborted') FOR UPDATE",
        )
        .bind(operation)
        .bind(tenant)
        .bind(address.to_string())
        .fetch_optional(&mut *tx)
        .await
        .map_err(|e| self.sql(e))?;
        match found.as_deref() {
            Some("in_doubt") => {}
            Some(status) => return Err(RegistryError::NotInDoubt { operation, address: address.to_string(), status: status.to_owned() }),
            None => return Err(RegistryError::not_found("unfinished step", address)),
        }
        let entry = match finding {
            Finding::There(id) => Entry::Created { id: id.clone() },
            Finding::Absent => Entry::Failed { fault: Fault::refused("labctl:Resolve", "absent", "an operator found that it does not exist") },
        };
        let (sql, new) = super::journal::statement(&entry);
        sqlx::query_scalar::<_, i64>(sql)
            .bind(tenant)
            .bind(lease.epoch())
            .bind(operation)
            .bind(address.to_string())
            .bind(&address.kind)
            .bind(&address.name)
            .bind(Json(new))
            .fetch_one(&mut *tx)
            .await
            .map_err(|e| self.sql(e))?;
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM labctl.steps WHERE operation = $1 AND status = 'in_doubt'")
            .bind(operation)
            .fetch_one(&mut *tx)
            .await
            .map_err(|e| self.sql(e))?;
        if left == 0 {
            sqlx::query("UPDATE labctl.operations SET status = 'failed' WHERE number = $1 AND status = 'in_doubt'")
                .bind(operation)
                .execute(&mut *tx)
                .await
                .map_err(|e| self.sql(e))?;
        }
        let id = match finding {
            Finding::There(id) => Some(id),
            Finding::Absent => None,
        };
        let detail = json!({"operation": operation, "address": address, "id": id, "reason": reason});
        self.audit_in(&mut tx, lease.holder(), "operation.resolve", Some(tenant), &detail).await?;
        self.commit(tx).await?;
        Ok(left)
    }
}
