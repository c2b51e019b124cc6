//! Whether the registry holds what looks like a password that labctl has made. None belongs there.
//!
//! No secret is read for it: the database itself looks for the shape of one, and says the row's key and not the text. A generated
//! secret is a word of 32 letters and digits, of capital and small ones and digits all three (but for four in a thousand); labctl writes no
//! other such words: its digests and ids are lower-case hexadecimal.

use serde::Deserialize;
use sqlx::AssertSqlSafe;
use sqlx::types::Json;

use super::Registry;
use super::error::Result;

/// The word alone, within anything else.
const WORD: &str = "(?<![A-Za-z0-9])[A-Za-z0-9]{32}(?![A-Za-z0-9])";

/// A row with such a word in it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Leak {
    /// The table.
    pub table: String,
    /// Whose row, where it is a tenant's.
    pub tenant: Option<String>,
    /// What the row is known by there; none where the word may stand in that.
    pub row: Option<String>,
}

impl Registry {
    /// Rows of all tenants, or of one, that hold what looks like a secret.
    ///
    /// # Errors
    /// Only those of reaching the registry.
    pub async fn leaks(&self, tenant: Option<&str>) -> Result<Vec<Leak>> {
        let pool = self.pool().await?;
        let tables: Vec<(String, String)> =
            sqlx::query_as("SELECT tablename::text, format('%I', tablename) FROM pg_tables WHERE schemaname = 'labctl' ORDER BY 1")
                .fetch_all(pool)
                .await
                .map_err(|e| self.sql(e))?;
        let mut found = Vec::new();
        for (table, quoted) in tables {
            let sql = format!(
                "SELECT jsonb_build_object('table', $1::text, 'tenant', r.tenant, 'row', CASE WHEN r.key !~ '[A-Za-z0-9]{{32}}' THEN r.key END)
                 FROM (SELECT j, CASE WHEN $1 = 'tenants' THEN j ->> 'id' ELSE j ->> 'tenant' END AS tenant,
                              coalesce(j ->> 'address', j ->> 'number', j ->> 'seq', j ->> 'id') AS key
                       FROM (SELECT to_jsonb(t) AS j FROM labctl.{quoted} t) x) r
                 WHERE ($2::text IS NULL OR r.tenant = $2)
                   AND EXISTS (SELECT FROM regexp_matches(r.j::text, $3, 'g') m WHERE m[1] ~ '[A-Z]' AND m[1] ~ '[a-z]' AND m[1] ~ '[0-9]')
                 ORDER BY r.tenant, r.key"
            );
            let query = sqlx::query_scalar(AssertSqlSafe(sql)).bind(table).bind(tenant).bind(WORD);
            let rows: Vec<Json<Leak>> = query.fetch_all(pool).await.map_err(|e| self.sql(e))?;
            found.extend(rows.into_iter().map(|Json(leak)| leak));
        }
        Ok(found)
    }
}
