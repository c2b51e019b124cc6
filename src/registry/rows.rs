//! Where tenants' rows are: the databases whose shared tables a fleet migration moves.

use sqlx::types::Json;

use super::Registry;
use super::error::Result;
use super::fleet::FleetFilter;

/// The shared tables of one stack in one database, and how many of the tenants chosen have rows in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowsPlace {
    /// The stack.
    pub stack: String,
    /// The server.
    pub endpoint: String,
    /// ARN of the secret with the administrator's login.
    pub admin_secret_arn: String,
    /// The database.
    pub database: String,
    /// Tenants.
    pub tenants: usize,
}

impl Registry {
    /// The places where the tenants chosen have rows in shared tables. Deleted tenants are not in it.
    ///
    /// # Errors
    /// Only those of reaching the registry.
    pub async fn rows_places(&self, filter: &FleetFilter) -> Result<Vec<RowsPlace>> {
        let rows: Vec<(String, String, String, String, i64)> = sqlx::query_as(
            "SELECT t.stack, r.spec->'host'->>'endpoint', r.spec->'host'->>'admin_secret_arn', r.spec->>'database', count(*)
             FROM labctl.tenants t
             JOIN labctl.resources r ON r.tenant = t.id AND r.kind = 'postgres_rows' AND r.status = 'ready' AND r.id IS NOT NULL
             JOIN labctl.revisions v ON v.tenant = t.id AND v.number = t.revision
             WHERE t.status NOT IN ('deleted', 'purging', 'purged') AND ($1::text IS NULL OR t.id = $1) AND ($2::text IS NULL OR t.stack = $2)
               AND ($3::text IS NULL OR t.tier = $3)
               AND ($4::text IS NULL OR $4 IN (r.spec->'host'->>'endpoint', split_part(r.spec->'host'->>'endpoint', ':', 1)))
               AND ($5::jsonb = '{}' OR coalesce(v.spec->'tags', '{}') @> $5) AND NOT ($6 AND t.status = 'suspended')
             GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 4",
        )
        .bind(&filter.tenant)
        .bind(&filter.stack)
        .bind(&filter.tier)
        .bind(&filter.host)
        .bind(Json(&filter.tags))
        .bind(filter.skip_suspended)
        .fetch_all(self.pool().await?)
        .await
        .map_err(|e| self.sql(e))?;
        let place = |(stack, endpoint, admin_secret_arn, database, tenants): (String, String, String, String, i64)| RowsPlace {
            stack,
            endpoint,
            admin_secret_arn,
            database,
            tenants: usize::try_from(tenants).unwrap_or(0),
        };
        Ok(rows.into_iter().map(place).collect())
    }
}
