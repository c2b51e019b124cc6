//! Physical names, each claimed by one tenant: where `a-b` and `a_b` would share a schema, the second is refused, by name.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use sqlx::types::Json;

use super::error::{RegistryError, Result};
use super::{HeldLease, Registry};

/// A claimed name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// `schema`, `bucket`, `subdomain`, …
    pub name_kind: String,
    /// The name.
    pub name: String,
    /// Whose it is.
    pub tenant: String,
}

/// Claims names for a tenant; those it has already are no error. `wanted` must be sorted.
pub(super) async fn claim(registry: &Registry, tx: &mut PgConnection, tenant: &str, wanted: &[(String, String)]) -> Result<()> {
    let (kinds, names): (Vec<String>, Vec<String>) = wanted.iter().cloned().unzip();
    sqlx::query(
        "INSERT INTO labctl.names (name_kind, name, tenant)
         SELECT kind, name, $3 FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS w (kind, name, place) ORDER BY place
         ON CONFLICT DO NOTHING",
    )
    .bind(&kinds)
    .bind(&names)
    .bind(tenant)
    .execute(&mut *tx)
    .await
    .map_err(|e| registry.sql(e))?;
    match taken(&mut *tx, tenant, &kinds, &names).await.map_err(|e| registry.sql(e))?.into_iter().next() {
        Some(other) => Err(RegistryError::NameTaken { kind: other.name_kind, name: other.name, tenant: other.tenant }),
        None => Ok(()),
    }
}

async fn taken(conn: impl sqlx::PgExecutor<'_>, tenant: &str, kinds: &[String], names: &[String]) -> sqlx::Result<Vec<Claim>> {
    let found: Vec<Json<Claim>> = sqlx::query_scalar(
        "SELECT to_jsonb(n) FROM labctl.names n JOIN unnest($1::text[], $2::text[]) AS w (kind, name) ON n.name_kind = w.kind AND n.name = w.name
         WHERE n.tenant <> $3 ORDER BY n.name_kind, n.name",
    )
    .bind(kinds)
    .bind(names)
    .bind(tenant)
    .fetch_all(conn)
    .await?;
    Ok(found.into_iter().map(|Json(claim)| claim).collect())
}

impl Registry {
    /// Which of these names belong to other tenants: for a plan's preflight. Takes nothing.
    ///
    /// # Errors
    /// Only those of reaching the registry.
    pub async fn names_taken(&self, tenant: &str, wanted: &[(String, String)]) -> Result<Vec<Claim>> {
        let (kinds, names): (Vec<String>, Vec<String>) = wanted.iter().cloned().unzip();
        taken(self.pool().await?, tenant, &kinds, &names).await.map_err(|e| self.sql(e))
    }

    /// Frees the tenant's names that are not in `keep`: after a rename, once what bore the old ones is gone. Returns how many.
    ///
    /// # Errors
    /// [`RegistryError::Fenced`].
    pub async fn release_names(&self, lease: &HeldLease, keep: &[(String, String)]) -> Result<u64> {
        let (kinds, names): (Vec<String>, Vec<String>) = keep.iter().cloned().unzip();
        let mut tx = self.begin_fenced(lease).await?;
        let freed = sqlx::query(
            "DELETE FROM labctl.names n USING labctl.tenants t
             WHERE n.tenant = $1 AND t.id = $1
               AND (n.name_kind, n.name) NOT IN (('subdomain', t.subdomain), ('external_id', coalesce(t.external_id, '')))
               AND NOT EXISTS (SELECT FROM unnest($2::text[], $3::text[]) AS k (kind, name) WHERE k.kind = n.name_kind AND k.name = n.name)",
        )
        .bind(lease.tenant())
        .bind(&kinds)
        .bind(&names)
        .execute(&mut *tx)
        .await
        .map_err(|e| self.sql(e))?;
        self.commit(tx).await?;
        Ok(freed.rows_affected())
    }
}
