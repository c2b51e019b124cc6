//! Evidence: what was done to prove a promise (a verification of isolation), and what came of it. Written once, and audited.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::types::Json;

use super::error::{RegistryError, Result};
use super::{Holder, Registry};

/// One piece of evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// From 1.
    pub number: i64,
    /// Whose promise.
    pub tenant: String,
    /// Which promise: `isolation`.
    pub what: String,
    /// When, by the database's clock.
    pub at: DateTime<Utc>,
    /// The operator.
    pub who: String,
    /// From where.
    pub host: String,
    /// The command line.
    pub command: String,
    /// labctl's.
    pub version: String,
    /// In a word.
    pub verdict: String,
    /// In numbers.
    pub summary: Value,
    /// Everything. Left out of lists.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub result: Value,
    /// SHA-256 of the result as PostgreSQL writes it, in hexadecimal; the audit trail has it too.
    pub digest: String,
}

/// A piece of evidence to be put on record.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvidence<'a> {
    /// Whose promise.
    pub tenant: &'a str,
    /// Which promise.
    pub what: &'a str,
    /// The command line.
    pub command: &'a str,
    /// In a word.
    pub verdict: &'a str,
    /// In numbers.
    pub summary: &'a Value,
    /// Everything. No secrets.
    pub result: &'a Value,
}

impl Registry {
    /// Puts evidence on record, and into the audit trail. Returns its number.
    ///
    /// # Errors
    /// Only those of reaching the registry.
    pub async fn put_evidence(&self, by: &Holder, new: &NewEvidence<'_>) -> Result<i64> {
        let mut tx = self.begin().await?;
        let (number, digest): (i64, String) = sqlx::query_as(
            "INSERT INTO labctl.evidence (tenant, what, who, host, command, version, verdict, summary, result, digest)
             SELECT $1, $2, $3, $4, $5, $6, $7, $8, r, encode(sha256(convert_to(r::text, 'UTF8')), 'hex') FROM (VALUES ($9::jsonb)) v(r)
             RETURNING number, digest",
        )
        .bind(new.tenant)
        .bind(new.what)
        .bind(&by.who)
        .bind(&by.host)
        .bind(new.command)
        .bind(env!("CARGO_PKG_VERSION"))
        .bind(new.verdict)
        .bind(Json(new.summary))
        .bind(Json(new.result))
        .fetch_one(&mut *tx)
        .await
        .map_err(|e| self.sql(e))?;
        let detail = json!({"evidence": number, "what": new.what, "verdict": new.verdict, "summary": new.summary, "digest": digest});
        self.audit_in(&mut tx, by, "evidence.put", Some(new.tenant), &detail).await?;
        self.commit(tx).await?;
        Ok(number)
    }

    /// A tenant's evidence without the particulars, the newest first.
    ///
    /// # Errors
    /// Only those of reaching the registry.
    pub async fn evidence_of(&self, tenant: &str, limit: i64) -> Result<Vec<Evidence>> {
        let found: Vec<Json<Evidence>> =
            sqlx::query_scalar("SELECT to_jsonb(e) - 'result' FROM labctl.evidence e WHERE tenant = $1 ORDER BY number DESC LIMIT nullif($2, 0)")
                .bind(tenant)
                .bind(limit)
                .fetch_all(self.pool().await?)
                .await
                .map_err(|e| self.sql(e))?;
        Ok(found.into_iter().map(|Json(e)| e).collect())
    }

    /// One piece of evidence with all its particulars.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    pub async fn evidence(&self, number: i64) -> Result<Evidence> {
        let found: Option<Json<Evidence>> = sqlx::query_scalar("SELECT to_jsonb(e) FROM labctl.evidence e WHERE number = $1")
            .bind(number)
            .fetch_optional(self.pool().await?)
            .await
            .map_err(|e| self.sql(e))?;
        found.map(|Json(e)| e).ok_or_else(|| RegistryError::not_found("evidence", number))
    }
}
