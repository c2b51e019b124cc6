//! Deletion certificates: what a purge removed and what remains, written once, in the transaction that ends the purge.
//!
//! Certificate and audit trail hold each other: the certificate names the end of the trail before it, and the trail's next row the
//! certificate's digest.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use sqlx::types::Json;

use super::audit::hex;
use super::error::{RegistryError, Result};
use super::operations::Outcome;
use super::{HeldLease, Registry};

/// A certificate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Certificate {
    /// Whose.
    pub tenant: String,
    /// From 1, for each tenant: an id can be made anew after its purge, and be purged again.
    pub number: i32,
    /// The purge.
    pub operation: i64,
    /// When.
    pub issued_at: DateTime<Utc>,
    /// What it says.
    pub document: Value,
    /// SHA-256 of the document as JSON without blanks, keys sorted, in hex.
    pub digest: String,
}

/// SHA-256 of a document as JSON without blanks, keys sorted: what `jq -cSj .` writes.
pub fn digest(document: &Value) -> String {
    hex(&Sha256::digest(document.to_string().as_bytes()))
}

impl Registry {
    /// [`Registry::finish_operation`] for a purge that has come to its end, with the certificate of what it removed in the same transaction.
    ///
    /// # Errors
    /// As [`Registry::finish_operation`].
    pub async fn finish_purge(&self, lease: &HeldLease, operation: i64, outcome: &Outcome<'_>, document: &Value) -> Result<()> {
        self.finish(lease, operation, outcome, Some(document)).await
    }

    /// Writes a certificate within the transaction that ends its operation. What only that transaction knows is added to the document:
    /// `certificate` (its number), `issued_at` and `audit` (the end of the trail before it).
    /// Returns number and digest, for the trail.
    pub(super) async fn issue(&self, tx: &mut PgConnection, lease: &HeldLease, operation: i64, document: &Value) -> Result<Value> {
        let tenant = lease.tenant();
        let (number, at, seq, hash): (i32, DateTime<Utc>, i64, String) = sqlx::query_as(
            "SELECT (SELECT coalesce(max(number), 0) + 1 FROM labctl.certificates WHERE tenant = $1), clock_timestamp(), seq, hash
             FROM labctl.audit_head FOR UPDATE",
        )
        .bind(tenant)
        .fetch_one(&mut *tx)
        .await
        .map_err(|e| self.sql(e))?;
        let mut document = document.clone();
        document["certificate"] = json!(number);
        document["issued_at"] = json!(at.to_rfc3339_opts(SecondsFormat::Micros, true));
        document["audit"] = json!({"seq": seq, "hash": hash});
        let digest = digest(&document);
        sqlx::query("INSERT INTO labctl.certificates (tenant, number, operation, issued_at, document, digest) VALUES ($1, $2, $3, $4, $5, $6)")
            .bind(tenant)
            .bind(number)
            .bind(operation)
            .bind(at)
            .bind(Json(&document))
            .bind(&digest)
            .execute(tx)
            .await
            .map_err(|e| self.sql(e))?;
        Ok(json!({"number": number, "digest": digest}))
    }

    /// A tenant's certificates, the newest first.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] for a tenant that is not on record.
    pub async fn certificates(&self, tenant: &str) -> Result<Vec<Certificate>> {
        self.tenant(tenant).await?;
        let found: Vec<Json<Certificate>> = sqlx::query_scalar("SELECT to_jsonb(c) FROM labctl.certificates c WHERE tenant = $1 ORDER BY number DESC")
            .bind(tenant)
            .fetch_all(self.pool().await?)
            .await
            .map_err(|e| self.sql(e))?;
        Ok(found.into_iter().map(|Json(certificate)| certificate).collect())
    }

    /// One certificate of a tenant; without a number, the newest.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    pub async fn certificate(&self, tenant: &str, number: Option<i32>) -> Result<Certificate> {
        let all = self.certificates(tenant).await?;
        let found = all.into_iter().find(|c| number.is_none_or(|n| n == c.number));
        found.ok_or_else(|| RegistryError::not_found("certificate", number.map_or_else(|| tenant.to_owned(), |n| format!("{tenant} {n}"))))
    }
}
