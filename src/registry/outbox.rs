//! Lifecycle events, written in the transaction of what they tell of, and what has become of their deliveries.
//!
//! # Guarantees
//! No event without its operation, no operation without its event: both are in one transaction, with one delivery for each receiver. Events
//! of a tenant are numbered without gaps. A delivery is claimed before it is sent, so that two deliverers do not send it at once, and only
//! when everything before it has been delivered to that receiver, or given up. Whoever claimed it and died is waited for, then it is sent
//! again: at least once.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::error::Result;
use super::{HeldLease, OperationStatus, Registry};

/// How long a claimed delivery is left to its deliverer. Longer than any sending takes.
const CLAIM: Duration = Duration::from_secs(30);
/// Deliveries claimed at once.
const BATCH: i64 = 20;

/// What becomes of a tenant, as its events call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifecycle {
    /// It is made.
    Onboarding,
    /// It is removed for good.
    Offboarding,
    /// It comes back into use.
    Activate,
    /// It goes out of use.
    Deactivate,
    /// It changes its tier.
    TierChange,
    /// Anything else about it changes.
    Update,
}

impl Lifecycle {
    /// What a verb does to a tenant that is `new` on record, or whose tier changes with it.
    pub fn of(verb: &str, new: bool, other_tier: bool) -> Self {
        match verb {
            "purge" => Self::Offboarding,
            _ if new => Self::Onboarding,
            "create" => Self::Onboarding,
            "resume" | "undelete" => Self::Activate,
            "suspend" | "delete" => Self::Deactivate,
            _ if other_tier => Self::TierChange,
            _ => Self::Update,
        }
    }

    /// As it stands in an event's type.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Onboarding => "onboarding",
            Self::Offboarding => "offboarding",
            Self::Activate => "activate",
            Self::Deactivate => "deactivate",
            Self::TierChange => "tierChange",
            Self::Update => "update",
        }
    }
}

/// How far an operation has come, as its events call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// An attempt begins.
    Started,
    /// It is done.
    Succeeded,
    /// An attempt ended otherwise, whichever way.
    Failed,
}

impl Phase {
    /// The phase an operation is in with that status.
    pub(super) fn of(status: OperationStatus) -> Self {
        match status {
            OperationStatus::Running => Self::Started,
            OperationStatus::Done => Self::Succeeded,
            _ => Self::Failed,
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Started => "started",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        })
    }
}

/// How a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// To be sent, perhaps again.
    Pending,
    /// The receiver has it.
    Delivered,
    /// Given up after many attempts; sent again only when that is asked for.
    Dead,
}

impl DeliveryStatus {
    /// As the database and all outputs spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }
}

/// One receiver's part in an event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// `sns`, `webhook/crm`.
    pub receiver: String,
    /// How it stands.
    pub status: DeliveryStatus,
    /// How many times it was sent.
    pub attempts: i32,
    /// When it is due, while it is pending.
    pub next_at: DateTime<Utc>,
    /// When it was last sent.
    pub tried_at: Option<DateTime<Utc>>,
    /// When the receiver took it.
    pub delivered_at: Option<DateTime<Utc>>,
    /// Why the last attempt failed.
    pub error: Option<String>,
}

/// An event with its deliveries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventRow {
    /// UUID version 7; a receiver knows by it what it has had already.
    pub id: Uuid,
    /// Whose.
    pub tenant: String,
    /// From 1 for each tenant, without gaps.
    pub sequence: i64,
    /// `onboarding.succeeded`.
    pub r#type: String,
    /// When, by the database's clock.
    pub at: DateTime<Utc>,
    /// The operation it tells of.
    pub operation: i64,
    /// As receivers get it.
    pub body: Value,
    /// To whom it goes.
    pub deliveries: Vec<Delivery>,
}

/// Which events to list.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// Only of this tenant.
    pub tenant: Option<String>,
    /// Only those with a delivery that stands so.
    pub status: Option<DeliveryStatus>,
    /// At most so many, the newest first; 0 means all.
    pub limit: i64,
}

/// Which deliveries to claim.
#[derive(Debug, Clone)]
pub struct Claim<'a> {
    /// Only for these receivers.
    pub receivers: &'a [String],
    /// Also what is not due yet, and what was given up.
    pub all: bool,
    /// Only what was not sent since.
    pub since: DateTime<Utc>,
}

/// A claimed delivery.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claimed {
    /// The event.
    pub event: Uuid,
    /// To whom.
    pub receiver: String,
    /// Whose.
    pub tenant: String,
    /// The event's type.
    pub r#type: String,
    /// What to send.
    pub body: Value,
    /// How many times it is sent with this one.
    pub attempts: i32,
}

impl Registry {
    /// A handle whose operations are told to these receivers.
    #[must_use]
    pub fn telling(mut self, receivers: impl Into<std::sync::Arc<[String]>>) -> Self {
        self.receivers = receivers.into();
        self
    }

    /// Writes the event of an attempt that begins. Names it after what it does, or as the operation's events are named already.
    pub(super) async fn tell_begun(&self, tx: &mut PgConnection, lease: &HeldLease, operation: i64, lifecycle: Lifecycle) -> Result<()> {
        let (_, named) = self.last_event(tx, operation).await?;
        let name = named.as_deref().and_then(|t| t.split('.').next()).unwrap_or(lifecycle.as_str());
        self.tell(tx, lease, operation, name, Phase::Started).await
    }

    /// Writes the event of an attempt that ended; does nothing where the end was told already.
    pub(super) async fn tell_ended(&self, tx: &mut PgConnection, lease: &HeldLease, operation: i64, status: OperationStatus) -> Result<()> {
        let (verb, named) = self.last_event(tx, operation).await?;
        match named.as_deref().and_then(|t| t.split_once('.')) {
            Some((name, "started")) => self.tell(tx, lease, operation, name, Phase::of(status)).await,
            Some(_) => Ok(()),
            // Begun by a labctl that told nothing yet.
            None => self.tell(tx, lease, operation, Lifecycle::of(&verb, false, false).as_str(), Phase::of(status)).await,
        }
    }

    /// The operation's verb, and the type of its last event.
    async fn last_event(&self, tx: &mut PgConnection, operation: i64) -> Result<(String, Option<String>)> {
        sqlx::query_as("SELECT o.verb, (SELECT type FROM labctl.events e WHERE e.operation = o.number ORDER BY sequence DESC LIMIT 1) FROM labctl.operations o WHERE number = $1")
            .bind(operation)
            .fetch_one(tx)
            .await
            .map_err(|e| self.sql(e))
    }

    /// A CloudEvent, version 1.0. The tenant's lease row is held by this transaction, so that no other one numbers events of that tenant.
    async fn tell(&self, tx: &mut PgConnection, lease: &HeldLease, operation: i64, name: &str, phase: Phase) -> Result<()> {
        sqlx::query(
            r#"WITH event AS (
                INSERT INTO labctl.events (id, tenant, sequence, type, at, operation, body)
                SELECT $2::text::uuid, t.id, n.sequence, $3::text, n.at, o.number, jsonb_build_object(
                    'specversion', '1.0', 'id', $2::text, 'source', '/labctl/registry/' || m.id, 'type', $3::text, 'subject', t.id,
                    'time', to_char(n.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'datacontenttype', 'application/json',
                    'data', jsonb_build_object(
                        'sequence', n.sequence, 'tenant', t.id, 'external_id', t.external_id, 'display_name', t.display_name, 'subdomain', t.subdomain,
                        'stack', t.stack, 'tier', t.tier, 'isolation', t.isolation, 'status', t.status, 'revision', o.revision,
                        'operation', o.number, 'verb', o.verb, 'operation_status', o.status, 'attempt', o.attempts, 'who', $5::text, 'host', $6::text))
                FROM labctl.operations o JOIN labctl.tenants t ON t.id = o.tenant CROSS JOIN labctl.registry_meta m
                CROSS JOIN LATERAL (SELECT coalesce(max(e.sequence), 0) + 1 AS sequence, clock_timestamp() AS at
                                    FROM labctl.events e WHERE e.tenant = t.id) n
                WHERE o.number = $1
                RETURNING id, tenant, sequence
             )
             INSERT INTO labctl.deliveries (event, receiver, tenant, sequence)
             SELECT e.id, r.name, e.tenant, e.sequence FROM event e CROSS JOIN unnest($4::text[]) AS r (name)"#,
        )
        .bind(operation)
        .bind(Uuid::now_v7().to_string())
        .bind(format!("{name}.{phase}"))
        .bind(&self.receivers[..])
        .bind(&lease.holder().who)
        .bind(&lease.holder().host)
        .execute(tx)
        .await
        .map(drop)
        .map_err(|e| self.sql(e))
    }

    /// Claims what may be sent now: of each tenant, to each receiver, the first that was not delivered.
    ///
    /// # Errors
    /// Only those of reaching the registry.
    pub async fn claim_deliveries(&self, claim: &Claim<'_>) -> Result<Vec<Claimed>> {
        let found: Vec<Json<Claimed>> = sqlx::query_scalar(
            "WITH due AS (
                SELECT d.event, d.receiver FROM labctl.deliveries d
                WHERE d.receiver = ANY ($1) AND (d.status = 'pending' OR ($2 AND d.status = 'dead')) AND ($2 OR d.next_at <= clock_timestamp())
                  AND (d.claimed_until IS NULL OR d.claimed_until <= clock_timestamp()) AND (d.tried_at IS NULL OR d.tried_at < $3)
                  AND NOT EXISTS (SELECT FROM labctl.deliveries b WHERE b.receiver = d.receiver AND b.tenant = d.tenant
                                  AND b.sequence < d.sequence AND b.status = 'pending')
                ORDER BY d.tenant, d.receiver, d.sequence LIMIT $4 FOR UPDATE SKIP LOCKED
             ), claimed AS (
                UPDATE labctl.deliveries d SET attempts = d.attempts + 1, tried_at = clock_timestamp(),
                       claimed_until = clock_timestamp() + make_interval(secs => $5)
                FROM due WHERE d.event = due.event AND d.receiver = due.receiver RETURNING d.event, d.receiver, d.attempts, d.sequence
             )
             SELECT jsonb_build_object('event', c.event, 'receiver', c.receiver, 'tenant', e.tenant, 'type', e.type, 'body', e.body, 'attempts', c.attempts)
             FROM claimed c JOIN labctl.events e ON e.id = c.event ORDER BY e.tenant, c.sequence",
        )
        .bind(claim.receivers)
        .bind(claim.all)
        .bind(claim.since)
        .bind(BATCH)
        .bind(CLAIM.as_secs_f64())
        .fetch_all(self.pool().await?)
        .await
        .map_err(|e| self.sql(e))?;
        Ok(found.into_iter().map(|Json(c)| c).collect())
    }

    /// Notes that the receiver has it.
    ///
    /// # Errors
    /// Only those of reaching the registry; it will be sent again then.
    pub async fn delivered(&self, claimed: &Claimed) -> Result<()> {
        self.settle(claimed, DeliveryStatus::Delivered, None, Duration::ZERO).await
    }

    /// Notes that the receiver has not got it, and why: to be sent again after a pause, or given up.
    ///
    /// # Errors
    /// Only those of reaching the registry.
    pub async fn undelivered(&self, claimed: &Claimed, error: &str, pause: Option<Duration>) -> Result<()> {
        let status = if pause.is_some() { DeliveryStatus::Pending } else { DeliveryStatus::Dead };
        self.settle(claimed, status, Some(error), pause.unwrap_or_default()).await
    }

    async fn settle(&self, claimed: &Claimed, status: DeliveryStatus, error: Option<&str>, pause: Duration) -> Result<()> {
        // Only the newest attempt: one that was overtaken says nothing any more, but that the receiver has it counts whoever says it.
        sqlx::query(
            "UPDATE labctl.deliveries SET status = $4, error = $5, claimed_until = NULL, next_at = clock_timestamp() + make_interval(secs => $6),
                    delivered_at = CASE WHEN $4 = 'delivered' THEN clock_timestamp() END
             WHERE event = $1 AND receiver = $2 AND status <> 'delivered' AND (attempts = $3 OR $4 = 'delivered')",
        )
        .bind(claimed.event)
        .bind(&claimed.receiver)
        .bind(claimed.attempts)
        .bind(status.as_str())
        .bind(error)
        .bind(pause.as_secs_f64())
        .execute(self.pool().await?)
        .await
        .map(drop)
        .map_err(|e| self.sql(e))
    }

    /// Events with their deliveries, the newest first.
    ///
    /// # Errors
    /// Only those of reaching the registry.
    pub async fn events(&self, filter: &EventFilter) -> Result<Vec<EventRow>> {
        let found: Vec<Json<EventRow>> = sqlx::query_scalar(
            "SELECT to_jsonb(e) || jsonb_build_object('deliveries', coalesce((
                SELECT jsonb_agg(to_jsonb(d) - 'event' - 'tenant' - 'sequence' - 'claimed_until' ORDER BY d.receiver)
                FROM labctl.deliveries d WHERE d.event = e.id), '[]'))
             FROM labctl.events e
             WHERE ($1::text IS NULL OR e.tenant = $1)
               AND ($2::text IS NULL OR EXISTS (SELECT FROM labctl.deliveries d WHERE d.event = e.id AND d.status = $2))
             ORDER BY e.at DESC, e.tenant, e.sequence DESC LIMIT nullif($3, 0)",
        )
        .bind(&filter.tenant)
        .bind(filter.status.map(DeliveryStatus::as_str))
        .bind(filter.limit)
        .fetch_all(self.pool().await?)
        .await
        .map_err(|e| self.sql(e))?;
        Ok(found.into_iter().map(|Json(e)| e).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_has_its_word() {
        let words = ["create", "purge", "resume", "undelete", "suspend", "delete", "scale", "deploy", "rename", "apply", "continue"];
        let told = words.map(|verb| Lifecycle::of(verb, false, false).as_str());
        let expected = ["onboarding", "offboarding", "activate", "activate", "deactivate", "deactivate", "update", "update", "update", "update", "update"];
        assert_eq!(told, expected);
        assert_eq!(Lifecycle::of("apply", true, false), Lifecycle::Onboarding, "an apply may make a tenant");
        assert_eq!(Lifecycle::of("apply", false, true), Lifecycle::TierChange);
    }
}
