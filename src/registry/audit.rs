//! The audit trail: a chain of rows, each holding the hash of the one before. The database appends and refuses change; verification
//! here computes every hash anew and trusts nothing it reads.
//!
//! # Caveats
//! Whoever owns the database can rewrite the whole chain from some row on. [`AuditReport::head`] noted down elsewhere shows even that.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use sqlx::types::Json;

use super::error::Result;
use super::{Holder, Registry};

/// Rows read at a time while verifying.
const PAGE: i64 = 5_000;

/// One thing somebody did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditRow {
    /// From 1, without gaps.
    pub seq: i64,
    /// When, by the database's clock.
    pub at: DateTime<Utc>,
    /// The operator.
    pub who: String,
    /// From where.
    pub host: String,
    /// `tenant.register`, `operation.begin`, `lock.break`, …
    pub action: String,
    /// To which tenant.
    pub tenant: Option<String>,
    /// The particulars. No secrets.
    pub detail: Value,
    /// Hash of the row before; 64 zeros for the first.
    pub prev_hash: String,
    /// SHA-256 over this row's canonical text, in hex.
    pub hash: String,
}

/// What the verification found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditReport {
    /// Rows that are right.
    pub rows: i64,
    /// When the first of them was written.
    pub from: Option<DateTime<Utc>>,
    /// When the last of them was written.
    pub to: Option<DateTime<Utc>>,
    /// The hash of the last of them.
    pub head: String,
    /// Which of them has the hash that was kept from earlier; none where none was asked for, or none has it.
    pub kept: Option<i64>,
    /// The first thing wrong, if any.
    pub broken: Option<Broken>,
}

/// The first row of which something is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// Its place.
    pub seq: i64,
    /// What is wrong.
    pub why: String,
}

/// A row with every field as the text that was hashed.
type Raw = (i64, String, String, String, String, Option<String>, String, String, String);

impl Registry {
    /// Adds a row of its own; what the registry's other functions do, they note themselves.
    ///
    /// # Errors
    /// Only those of reaching the registry.
    pub async fn audit(&self, by: &Holder, action: &str, tenant: Option<&str>, detail: &Value) -> Result<()> {
        let mut tx = self.begin().await?;
        self.audit_in(&mut tx, by, action, tenant, detail).await?;
        self.commit(tx).await
    }

    /// Adds a row within a transaction. Best as its last statement: the chain's end is locked from here to the commit.
    pub(super) async fn audit_in(&self, tx: &mut PgConnection, by: &Holder, action: &str, tenant: Option<&str>, detail: &Value) -> Result<()> {
        sqlx::query("INSERT INTO labctl.audit (who, host, action, tenant, detail) VALUES ($1, $2, $3, $4, $5)")
            .bind(&by.who)
            .bind(&by.host)
            .bind(action)
            .bind(tenant)
            .bind(Json(detail))
            .execute(tx)
            .await
            .map(drop)
            .map_err(|e| self.sql(e))
    }

    /// The latest rows, newest first.
    ///
    /// # Errors
    /// Only those of reaching the registry.
    pub async fn audit_rows(&self, tenant: Option<&str>, limit: i64) -> Result<Vec<AuditRow>> {
        self.audit_since(tenant, None, limit).await
    }

    /// The latest rows not older than that, newest first; a limit of 0 means all of them.
    ///
    /// # Errors
    /// Only those of reaching the registry.
    pub async fn audit_since(&self, tenant: Option<&str>, since: Option<DateTime<Utc>>, limit: i64) -> Result<Vec<AuditRow>> {
        let found: Vec<Json<AuditRow>> = sqlx::query_scalar(
            "SELECT to_jsonb(a) FROM labctl.audit a
             WHERE ($1::text IS NULL OR tenant = $1) AND ($2::timestamptz IS NULL OR at >= $2) ORDER BY seq DESC LIMIT nullif($3, 0)",
        )
        .bind(tenant)
        .bind(since)
        .bind(limit)
        .fetch_all(self.pool().await?)
        .await
        .map_err(|e| self.sql(e))?;
        Ok(found.into_iter().map(|Json(row)| row).collect())
    }

    /// Walks the chain: every hash, every link, no gap, and an end where the registry says it is.
    ///
    /// # Errors
    /// Only those of reaching the registry; a broken chain is a finding, not an error.
    pub async fn verify_audit(&self) -> Result<AuditReport> {
        self.verify_audit_with(None).await
    }

    /// [`Registry::verify_audit`], and looks for a hash that was kept from earlier: while it is in the chain, nothing up to it was changed,
    /// whatever the registry itself says of its end.
    ///
    /// # Errors
    /// Only those of reaching the registry.
    pub async fn verify_audit_with(&self, kept: Option<&str>) -> Result<AuditReport> {
        // The end first: rows appended while we walk must not look like rows it does not know of.
        let (end, end_hash): (i64, String) =
            sqlx::query_as("SELECT seq, hash FROM labctl.audit_head").fetch_one(self.pool().await?).await.map_err(|e| self.sql(e))?;
        let mut walk = Walk::from_the_start(kept);
        loop {
            let page: Vec<Raw> = sqlx::query_as(
                r#"SELECT seq, to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), who, host, action, tenant, detail::text, prev_hash, hash
                   FROM labctl.audit WHERE seq > $1 ORDER BY seq LIMIT $2"#,
            )
            .bind(walk.seq)
            .bind(PAGE)
            .fetch_all(self.pool().await?)
            .await
            .map_err(|e| self.sql(e))?;
            let read = page.len();
            for row in page {
                let seq = row.0;
                if let Err(why) = walk.step(row) {
                    return Ok(walk.report(Some(Broken { seq, why })));
                }
                if seq == end && walk.head != end_hash {
                    let why = "it is not the row the registry noted as the end".to_owned();
                    return Ok(walk.report(Some(Broken { seq, why })));
                }
            }
            if read == 0 {
                break;
            }
        }
        let broken = (walk.seq < end).then(|| Broken { seq: walk.seq + 1, why: format!("rows {} to {end} are missing", walk.seq + 1) });
        Ok(walk.report(broken))
    }
}

struct Walk<'a> {
    seq: i64,
    head: String,
    from: Option<String>,
    to: Option<String>,
    kept: Option<&'a str>,
    found: Option<i64>,
}

impl<'a> Walk<'a> {
    fn from_the_start(kept: Option<&'a str>) -> Self {
        Self { seq: 0, head: "0".repeat(64), from: None, to: None, kept, found: None }
    }

    fn report(self, broken: Option<Broken>) -> AuditReport {
        let time = |text: Option<String>| text.and_then(|t| DateTime::parse_from_rfc3339(&t).ok()).map(|t| t.to_utc());
        AuditReport { rows: self.seq, from: time(self.from), to: time(self.to), head: self.head, kept: self.found, broken }
    }

    fn step(&mut self, (seq, at, who, host, action, tenant, detail, prev, hash): Raw) -> std::result::Result<(), String> {
        if seq != self.seq + 1 {
            return Err(format!("rows {} to {} are missing", self.seq + 1, seq - 1));
        }
        if prev != self.head {
            return Err("it does not follow from the row before".into());
        }
        if hash != hash_of(&[&seq.to_string(), &at, &who, &host, &action, tenant.as_deref().unwrap_or(""), &detail, &prev]) {
            return Err("it was changed after it was written".into());
        }
        self.seq = seq;
        if self.kept == Some(hash.as_str()) {
            self.found = Some(seq);
        }
        self.head = hash;
        self.from.get_or_insert_with(|| at.clone());
        self.to = Some(at);
        Ok(())
    }
}

/// Each field with its length in bytes before it, so that no two rows can have the same text.
fn hash_of(fields: &[&str]) -> String {
    let text: String = fields.iter().map(|f| format!("{}:{f},", f.len())).collect();
    hex(&Sha256::digest(text.as_bytes()))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moving_a_byte_from_one_field_to_the_next_changes_the_hash() {
        assert_ne!(hash_of(&["ab", "c"]), hash_of(&["a", "bc"]));
    }

    #[test]
    fn a_gap_and_a_wrong_link_are_named() {
        let row = |seq, prev: &str| (seq, "t".into(), "w".into(), "h".into(), "a".into(), None, "{}".into(), prev.into(), "x".into());
        let mut walk = Walk { seq: 4, head: "h4".into(), ..Walk::from_the_start(None) };
        assert_eq!(walk.step(row(7, "h4")), Err("rows 5 to 6 are missing".into()));
        assert_eq!(walk.step(row(5, "other")), Err("it does not follow from the row before".into()));
        assert_eq!(walk.step(row(5, "h4")), Err("it was changed after it was written".into()));
    }
}
