//! Where tenants' rows are: the databases whose shared tables a fleet migration moves.

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
    /// Those of them that are suspended.
    pub suspended: usize,
}

impl Registry {
    /// The places where the tenants chosen have rows in shared tables. Deleted tenants are not in it.
    ///
    /// # Errors
    /// Only those of reaching the registry.
    pub async fn rows_places(&self, filter: &FleetFilter) -> Result<Vec<RowsPlace>> {
        let columns = "t.stack, r.spec->'host'->>'endpoint', r.spec->'host'->>'admin_secret_arn', r.spec->>'database', count(*), count(*) FILTER (WHERE t.status = 'suspended')";
        let resource = "r.kind = 'postgres_rows' AND r.status = 'ready'";
        type Row = (String, String, String, String, i64, i64);
        let rows: Vec<Row> = self.chosen(filter, columns, resource, "GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 4").await?;
        let count = |n: i64| usize::try_from(n).unwrap_or(0);
        let place = |(stack, endpoint, admin_secret_arn, database, tenants, suspended): Row| RowsPlace {
            stack,
            endpoint,
            admin_secret_arn,
            database,
            tenants: count(tenants),
            suspended: count(suspended),
        };
        Ok(rows.into_iter().map(place).collect())
    }
}
