//! What operators place on a tenant and somebody may remove once: [`super::Hold`] and [`super::Waiver`]. Both are numbered from 1 for each
//! tenant, both stay on record, and placing and removing them stands in the audit trail.
//!
//! Neither needs a lease: it must be possible to place one while an operation runs.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use sqlx::types::Json;

use super::error::{RegistryError, Result};
use super::{Holder, Registry};

/// A row of one of their tables.
pub(super) trait Placed: Serialize + DeserializeOwned + Send + Unpin + 'static {
    /// What it is called in messages and in the audit trail. Its table is the plural of it.
    const NAME: &'static str;
    /// Which of them are in force.
    const IN_FORCE: &'static str;
    /// The columns that the audit trail repeats when it is removed.
    const TOLD: &'static [&'static str];
}

/// What the audit trail says of one of them.
fn particulars<'a, P: Placed>(placed: &P, columns: impl Iterator<Item = &'a str>) -> Value {
    let row = json!(placed);
    let told = columns.map(|column| (column.to_owned(), row[column].clone()));
    Value::Object([(P::NAME.to_owned(), row["number"].clone())].into_iter().chain(told).collect())
}

impl Registry {
    /// All that a tenant ever had, in the order they were placed.
    pub(super) async fn all_placed<P: Placed>(&self, tenant: &str) -> Result<Vec<P>> {
        self.tenant(tenant).await?;
        let sql = format!("SELECT to_jsonb(p) FROM labctl.{}s p WHERE tenant = $1 ORDER BY number", P::NAME);
        let found: Vec<Json<P>> = sqlx::query_scalar(AssertSqlSafe(sql)).bind(tenant).fetch_all(self.pool().await?).await.map_err(|e| self.sql(e))?;
        Ok(found.into_iter().map(|Json(placed)| placed).collect())
    }

    /// Places one with these columns, an object. Where one is in force of which they are all so, that one is returned, and `false`.
    pub(super) async fn place<P: Placed>(&self, by: &Holder, tenant: &str, said: &Value) -> Result<(P, bool)> {
        let mut tx = self.begin().await?;
        // Two at once must not take the same number.
        let known: Option<i32> =
            sqlx::query_scalar("SELECT 1 FROM labctl.tenants WHERE id = $1 FOR UPDATE").bind(tenant).fetch_optional(&mut *tx).await.map_err(|e| self.sql(e))?;
        known.ok_or_else(|| RegistryError::not_found("tenant", tenant))?;
        let (name, in_force) = (P::NAME, P::IN_FORCE);
        // A row is as said when saying it once more changes nothing of it.
        let sql =
            format!("SELECT to_jsonb(p) FROM labctl.{name}s p WHERE tenant = $1 AND {in_force} AND jsonb_populate_record(p, $2) = p ORDER BY number LIMIT 1");
        let same: Option<Json<P>> =
            sqlx::query_scalar(AssertSqlSafe(sql)).bind(tenant).bind(Json(said)).fetch_optional(&mut *tx).await.map_err(|e| self.sql(e))?;
        if let Some(Json(placed)) = same {
            return Ok((placed, false));
        }
        let sql = format!(
            "INSERT INTO labctl.{name}s AS p
             SELECT r.* FROM (SELECT coalesce(max(number), 0) + 1 AS next FROM labctl.{name}s WHERE tenant = $1) n,
                    jsonb_populate_record(NULL::labctl.{name}s, $2 || jsonb_build_object('tenant', $1, 'number', n.next, 'who', $3::text, 'host', $4::text,
                                                                                       'placed_at', clock_timestamp())) r
             RETURNING to_jsonb(p)"
        );
        let Json(placed): Json<P> = sqlx::query_scalar(AssertSqlSafe(sql))
            .bind(tenant)
            .bind(Json(said))
            .bind(&by.who)
            .bind(&by.host)
            .fetch_one(&mut *tx)
            .await
            .map_err(|e| self.sql(e))?;
        let detail = particulars(&placed, said.as_object().into_iter().flatten().map(|(column, _)| column.as_str()));
        self.audit_in(&mut tx, by, &format!("{name}.add"), Some(tenant), &detail).await?;
        self.commit(tx).await?;
        Ok((placed, true))
    }

    /// Removes one. Where it was removed before, it is returned as it is, and `false`.
    pub(super) async fn take_away<P: Placed>(&self, by: &Holder, tenant: &str, number: i32) -> Result<(P, bool)> {
        let name = P::NAME;
        let mut tx = self.begin().await?;
        let sql = format!("SELECT to_jsonb(p) FROM labctl.{name}s p WHERE tenant = $1 AND number = $2 FOR UPDATE");
        let found: Option<Json<P>> =
            sqlx::query_scalar(AssertSqlSafe(sql)).bind(tenant).bind(number).fetch_optional(&mut *tx).await.map_err(|e| self.sql(e))?;
        let Json(found) = found.ok_or_else(|| RegistryError::not_found(name, format!("{tenant} {number}")))?;
        if !json!(found)["removed_at"].is_null() {
            return Ok((found, false));
        }
        let sql = format!(
            "UPDATE labctl.{name}s p SET removed_at = clock_timestamp(), removed_by = $3, removed_host = $4
             WHERE tenant = $1 AND number = $2 RETURNING to_jsonb(p)"
        );
        let Json(removed): Json<P> =
            sqlx::query_scalar(AssertSqlSafe(sql)).bind(tenant).bind(number).bind(&by.who).bind(&by.host).fetch_one(&mut *tx).await.map_err(|e| self.sql(e))?;
        self.audit_in(&mut tx, by, &format!("{name}.remove"), Some(tenant), &particulars(&removed, P::TOLD.iter().copied())).await?;
        self.commit(tx).await?;
        Ok((removed, true))
    }
}
