//! Operations as they are read: listed, looked up, shown with their steps.

use sqlx::types::Json;

use super::error::{RegistryError, Result};
use super::{Operation, OperationDetail, OperationFilter, OperationStatus, Registry};

impl Registry {
    /// The tenant's operation that can be resumed, if there is one.
    ///
    /// # Errors
    /// Only those of reaching the registry.
    pub async fn unfinished_operation(&self, tenant: &str) -> Result<Option<Operation>> {
        let filter = OperationFilter { tenant: Some(tenant.to_owned()), unfinished: true, limit: 1, ..OperationFilter::default() };
        Ok(self.operations(&filter).await?.pop())
    }

    /// Operations, the newest first.
    ///
    /// # Errors
    /// Only those of reaching the registry.
    pub async fn operations(&self, filter: &OperationFilter) -> Result<Vec<Operation>> {
        let found: Vec<Json<Operation>> = sqlx::query_scalar(
            "SELECT to_jsonb(o) - 'plan' FROM labctl.operations o
             WHERE ($1::text IS NULL OR tenant = $1) AND ($2::text IS NULL OR status = $2) AND (NOT $3 OR status NOT IN ('done', 'aborted'))
             ORDER BY number DESC LIMIT nullif($4, 0)",
        )
        .bind(&filter.tenant)
        .bind(filter.status.map(OperationStatus::as_str))
        .bind(filter.unfinished)
        .bind(filter.limit)
        .fetch_all(self.pool().await?)
        .await
        .map_err(|e| self.sql(e))?;
        Ok(found.into_iter().map(|Json(o)| o).collect())
    }

    /// One operation with its plan and steps, in one round trip.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    pub async fn operation(&self, number: i64) -> Result<OperationDetail> {
        let row: Option<Json<OperationDetail>> = sqlx::query_scalar(
            "SELECT to_jsonb(o) || jsonb_build_object('steps', coalesce((
                SELECT jsonb_agg(to_jsonb(s) - 'spec' - 'tags' - 'operation' ORDER BY s.position, s.address) FROM labctl.steps s
                WHERE s.operation = o.number AND NOT (s.action = 'keep' AND s.status = 'planned')), '[]'))
             FROM labctl.operations o WHERE number = $1",
        )
        .bind(number)
        .fetch_optional(self.pool().await?)
        .await
        .map_err(|e| self.sql(e))?;
        row.map(|Json(o)| o).ok_or_else(|| RegistryError::not_found("operation", number))
    }
}
