//! Where tenants' data is, as recorded: for whoever looks after databases.

use serde::Deserialize;
use serde_json::Value;
use sqlx::types::Json;

use super::error::Result;
use super::{Registry, Tenant, TenantFilter};

/// What one tenant has in PostgreSQL, and the servers of its own.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct TenantData {
    /// Its row.
    pub tenant: Tenant,
    /// The modules it has, as its file says.
    pub modules: Vec<String>,
    /// Its roles, schemas, databases and servers that are ready.
    pub resources: Vec<DataResource>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct DataResource {
    /// `postgres_role`, `postgres_rows`, `postgres_schema`, `postgres_database`, `rds_instance` or `rds_cluster`.
    pub kind: String,
    /// Its name within tenant and kind.
    pub name: String,
    /// With all references resolved.
    pub spec: Value,
}

impl Registry {
    /// What tenants have in PostgreSQL, by tenant, in one round trip.
    ///
    /// # Errors
    /// Only those of reaching the registry.
    pub async fn data(&self, filter: &TenantFilter) -> Result<Vec<TenantData>> {
        let found: Vec<Json<TenantData>> = sqlx::query_scalar(
            "SELECT jsonb_build_object('tenant', to_jsonb(t), 'modules', coalesce(v.spec -> 'modules', '[]'),
                'resources', coalesce((SELECT jsonb_agg(jsonb_build_object('kind', r.kind, 'name', r.name, 'spec', r.spec) ORDER BY r.position, r.address)
                                       FROM labctl.resources r
                                       WHERE r.tenant = t.id AND r.status = 'ready' AND r.kind IN ('postgres_role', 'postgres_rows', 'postgres_schema', 'postgres_database', 'rds_instance', 'rds_cluster')), '[]'))
             FROM labctl.tenants t JOIN labctl.revisions v ON v.tenant = t.id AND v.number = t.revision
             WHERE ($1::text IS NULL OR t.stack = $1) AND ($2::text IS NULL OR t.tier = $2)
               AND CASE WHEN $3::text IS NULL THEN t.status <> 'purged' ELSE t.status = $3 END
             ORDER BY t.id",
        )
        .bind(&filter.stack)
        .bind(&filter.tier)
        .bind(filter.status.map(|s| s.as_str()))
        .fetch_all(self.pool().await?)
        .await
        .map_err(|e| self.sql(e))?;
        Ok(found.into_iter().map(|Json(t)| t).collect())
    }
}
