//! The write-ahead record of a run: each entry changes the operation's step and the tenant's resource in one statement, one round trip.
//!
//! # Guarantees
//! An entry is written only while the lease's epoch is the newest; the lease row is held until the statement commits. An entry written
//! twice (the reply to its commit was lost) changes nothing more. A lost connection is waited out for [`PATIENCE`].
//!
//! # Assumptions
//! The engine's one loop is the only writer of an operation, and writes an address's entries in their order.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use sqlx::types::Json;
use tokio::time::{Instant, sleep, timeout};

use super::error::{RegistryError, Result};
use super::{HeldLease, Registry};
use crate::engine::journal::{Entry, Journal, JournalError};
use crate::engine::kind::Address;
use crate::engine::step::Action;

/// How long a registry that does not answer is waited for, before the run stops (resumable). Less than a lease lives.
pub const PATIENCE: Duration = Duration::from_secs(45);
/// Longest wait for one statement's answer.
const ANSWER: Duration = Duration::from_secs(15);

/// The journal of one operation, under one lease.
pub struct OperationJournal {
    registry: Registry,
    operation: i64,
    tenant: String,
    epoch: i64,
}

impl Registry {
    /// The journal of that operation. Fenced by the lease's epoch; does not keep the lease alive.
    pub fn journal(&self, operation: i64, lease: &HeldLease) -> OperationJournal {
        OperationJournal { registry: self.clone(), operation, tenant: lease.tenant().to_owned(), epoch: lease.epoch() }
    }
}

/// Every entry's statement: the fence, the step, the resource. It answers how many lease rows passed the fence: one, or none.
///
/// Parameters: $1 tenant, $2 epoch, $3 operation, $4 address, $5 kind, $6 name, $7 the entry's own values as JSON.
/// FOR SHARE waits for whoever is just taking the lease, and then looks at the row again.
macro_rules! fenced {
    ($step:expr, $resource:literal) => {
        concat!(
            "WITH mine AS (
                SELECT l.epoch, $4::text AS address, $5::text AS kind, $6::text AS name, $7::jsonb AS new FROM labctl.leases l
                JOIN labctl.operations o ON o.number = $3 AND o.tenant = l.tenant
                WHERE l.tenant = $1 AND l.epoch = $2 AND l.holder IS NOT NULL FOR SHARE OF l
            ), step AS (",
            $step,
            " RETURNING s.position, s.spec, s.tags
            ), resource AS (",
            $resource,
            ") SELECT count(*) FROM mine"
        )
    };
}

/// Begins the upsert of a step; a step that was not planned goes to the end.
macro_rules! step {
    ($status:literal, $action:literal, $then:literal) => {
        concat!(
            "INSERT INTO labctl.steps AS s (operation, address, action, status, position, token, attempt, id, epoch, intended_at, created_at, finished_at, fault, because)
            SELECT $3, address, ",
            $action,
            ", '",
            $status,
            "', (SELECT coalesce(max(position) + 1, 0) FROM labctl.steps WHERE operation = $3), new->>'token', coalesce((new->>'attempt')::int, 0), new->>'id', epoch,
                CASE WHEN '", $status, "' = 'intended' THEN clock_timestamp() END,
                CASE WHEN '", $status, "' = 'created' THEN clock_timestamp() END,
                CASE WHEN '", $status, "' IN ('intended', 'created') THEN NULL ELSE clock_timestamp() END,
                new->'fault', new->>'because'
            FROM mine ON CONFLICT (operation, address) DO UPDATE SET status = excluded.status, epoch = excluded.epoch, ",
            $then
        )
    };
}

// A second copy of an entry must not take the step back: hence the last line of INTENDED and of CREATED.
const INTENDED: &str = fenced!(
    step!(
        "intended",
        "'create'",
        "token = excluded.token, attempt = excluded.attempt, id = NULL, intended_at = excluded.intended_at, created_at = NULL, finished_at = NULL,
         fault = NULL, because = NULL
         WHERE (s.token, s.attempt) IS DISTINCT FROM (excluded.token, excluded.attempt) OR s.status NOT IN ('created', 'done')"
    ),
    "INSERT INTO labctl.resources AS r (address, tenant, kind, name, status, spec, tags, position, operation, token, attempt)
     SELECT address, $1, kind, mine.name, 'intended', new->'spec', step.tags, step.position, $3, new->>'token', (new->>'attempt')::int FROM mine, step
     ON CONFLICT (address) DO UPDATE SET id = NULL, status = 'intended', spec = excluded.spec, tags = excluded.tags, outputs = '{}',
         position = excluded.position, operation = $3, token = excluded.token, attempt = excluded.attempt, updated_at = clock_timestamp()"
);
const CREATED: &str = fenced!(
    step!(
        "created",
        "'create'",
        "id = excluded.id, created_at = CASE WHEN s.status = 'created' AND s.id = excluded.id THEN s.created_at ELSE excluded.created_at END,
         finished_at = NULL, fault = NULL, because = NULL
         WHERE s.status <> 'done' OR s.id IS DISTINCT FROM excluded.id"
    ),
    "INSERT INTO labctl.resources AS r (address, tenant, kind, name, id, status, spec, tags, position, operation)
     SELECT address, $1, kind, mine.name, new->>'id', 'created', step.spec, step.tags, step.position, $3 FROM mine, step
     ON CONFLICT (address) DO UPDATE SET id = excluded.id, status = 'created', position = excluded.position, operation = $3, updated_at = clock_timestamp()"
);
const DONE: &str = fenced!(
    step!("done", "new->>'action'", "action = excluded.action, id = excluded.id, finished_at = excluded.finished_at, fault = NULL, because = NULL"),
    "INSERT INTO labctl.resources AS r (address, tenant, kind, name, id, status, spec, outputs, tags, position, operation)
     SELECT address, $1, kind, mine.name, new->>'id', 'ready', new->'spec', new->'outputs', step.tags, step.position, $3 FROM mine, step
     ON CONFLICT (address) DO UPDATE SET id = excluded.id, status = 'ready', spec = excluded.spec, outputs = excluded.outputs, tags = excluded.tags,
         position = excluded.position, operation = $3, token = NULL, updated_at = clock_timestamp()"
);
const DELETED: &str = fenced!(
    step!("deleted", "'delete'", "finished_at = excluded.finished_at, fault = NULL, because = NULL"),
    "UPDATE labctl.resources r SET status = 'deleted', outputs = '{}', token = NULL, operation = $3, updated_at = clock_timestamp()
     FROM mine, step WHERE r.address = mine.address"
);
// A definite end: the engine writes it only when no intent is open, so the next attempt is an intent of its own.
const FAILED: &str = fenced!(
    step!("failed", "'create'", "finished_at = excluded.finished_at, fault = excluded.fault, because = NULL"),
    "UPDATE labctl.resources r SET status = 'failed', token = NULL, operation = $3, updated_at = clock_timestamp() FROM mine, step WHERE r.address = mine.address"
);
const IN_DOUBT: &str = fenced!(
    step!("in_doubt", "'create'", "finished_at = excluded.finished_at, fault = excluded.fault, because = NULL"),
    "INSERT INTO labctl.resources AS r (address, tenant, kind, name, status, spec, tags, position, operation)
     SELECT address, $1, kind, mine.name, 'in_doubt', step.spec, step.tags, step.position, $3 FROM mine, step
     ON CONFLICT (address) DO UPDATE SET status = 'in_doubt', operation = $3, updated_at = clock_timestamp()"
);
const SKIPPED: &str =
    fenced!(step!("skipped", "'keep'", "finished_at = excluded.finished_at, fault = NULL, because = excluded.because"), "SELECT FROM mine, step");

pub(super) fn statement(entry: &Entry) -> (&'static str, Value) {
    match entry {
        Entry::Intended { token, attempt, spec } => (INTENDED, json!({"token": token, "attempt": attempt, "spec": spec})),
        Entry::Created { id } => (CREATED, json!({"id": id})),
        Entry::Done { action, id, spec, outputs } => (DONE, json!({"action": word(*action), "id": id, "spec": spec, "outputs": outputs})),
        Entry::Deleted => (DELETED, json!({})),
        Entry::Failed { fault } => (FAILED, json!({"fault": fault})),
        Entry::InDoubt { fault } => (IN_DOUBT, json!({"fault": fault})),
        Entry::Skipped { because } => (SKIPPED, json!({"because": because})),
    }
}

fn word(action: Action) -> String {
    action.to_string()
}

impl OperationJournal {
    async fn once(&self, address: &Address, sql: &'static str, new: &Value) -> Result<()> {
        let asked = sqlx::query_scalar::<_, i64>(sql)
            .bind(&self.tenant)
            .bind(self.epoch)
            .bind(self.operation)
            .bind(address.to_string())
            .bind(&address.kind)
            .bind(&address.name)
            .bind(Json(new))
            .fetch_one(&self.registry.inner.pool);
        match timeout(ANSWER, asked).await {
            Ok(Ok(1)) => Ok(()),
            Ok(Ok(_)) => Err(RegistryError::Fenced { tenant: self.tenant.clone(), epoch: self.epoch }),
            Ok(Err(e)) => Err(self.registry.sql(e)),
            Err(_) => Err(RegistryError::Unreachable { at: self.registry.inner.at.clone(), why: format!("no answer within {} s", ANSWER.as_secs()) }),
        }
    }
}

#[async_trait]
impl Journal for OperationJournal {
    async fn write(&self, address: &Address, entry: &Entry) -> std::result::Result<(), JournalError> {
        if address.tenant != self.tenant {
            return Err(JournalError::Unavailable(format!("{address} is not of tenant `{}`, which the lease is for", self.tenant)));
        }
        let (sql, new) = statement(entry);
        let since = Instant::now();
        let mut pause = Duration::from_millis(100);
        loop {
            match self.once(address, sql, &new).await {
                Ok(()) => return Ok(()),
                Err(e) if e.away() && since.elapsed() + pause < PATIENCE => {
                    tracing::warn!(%address, error = %e, "the journal could not be written; trying again");
                    sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(5));
                }
                Err(e) => return Err(e.into()),
            }
        }
    }
}
