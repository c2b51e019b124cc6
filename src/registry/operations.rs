//! Operations: the durable runs of plans, and their steps. A tenant has one unfinished operation at most; the database sees to it. What
//! tells of one to the outside is written with it: an audit row, and a lifecycle event.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;
use sqlx::types::Json;

use super::error::{RegistryError, Result};
use super::outbox::Lifecycle;
use super::tenants::is_unique_violation;
use super::{Facts, HeldLease, NewRevision, Registry, TenantStatus};
use crate::engine::fault::Fault;
use crate::engine::kind::Address;
use crate::engine::step::{Action, Step};

/// How an operation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationStatus {
    /// A process works on it, or died doing so.
    Running,
    /// Finished.
    Done,
    /// Stopped part-way by a failure; resumable.
    Failed,
    /// Stopped part-way by a signal; resumable.
    Interrupted,
    /// Stopped at something only an operator can settle.
    InDoubt,
    /// Given up, or overtaken by another one.
    Aborted,
}

impl OperationStatus {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Running, Self::Done, Self::Failed, Self::Interrupted, Self::InDoubt, Self::Aborted];

    /// As the database and all outputs spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::InDoubt => "in_doubt",
            Self::Aborted => "aborted",
        }
    }

    /// Whether nothing is left to resume.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Aborted)
    }
}

impl fmt::Display for OperationStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for OperationStatus {
    type Err = String;
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|s| s.as_str() == text)
            .ok_or_else(|| format!("`{text}` is not an operation status; they are {}", Self::ALL.map(Self::as_str).join(", ")))
    }
}

/// An operation's row, without its plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// Its number.
    pub number: i64,
    /// Whose.
    pub tenant: String,
    /// `create`, `apply`, `delete`, …
    pub verb: String,
    /// The desired state it works towards.
    pub revision: i32,
    /// How it stands.
    pub status: OperationStatus,
    /// The operator of the last attempt.
    pub who: String,
    /// From where.
    pub host: String,
    /// By which process.
    pub pid: i32,
    /// The command line of the last attempt.
    pub command: String,
    /// When the first attempt began.
    pub started_at: DateTime<Utc>,
    /// When the last attempt ended, orderly.
    pub finished_at: Option<DateTime<Utc>>,
    /// 1, and one more for each resume.
    pub attempts: i32,
    /// The labctl of the last attempt.
    pub version: String,
    /// What came of it, as the caller of [`Registry::finish_operation`] put it.
    pub summary: Option<Value>,
    /// Calls made, by name.
    pub calls: Option<Value>,
}

/// How a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// Not begun.
    Planned,
    /// A create was about to be called.
    Intended,
    /// It has an id.
    Created,
    /// As wanted, and ready.
    Done,
    /// Failed; may be tried again.
    Failed,
    /// Not begun, because of another step.
    Skipped,
    /// An operator must look.
    InDoubt,
    /// Gone.
    Deleted,
}

/// A step's row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRow {
    /// Where.
    pub address: Address,
    /// What was planned, and in the end done.
    pub action: Action,
    /// How it stands.
    pub status: StepStatus,
    /// Place in the plan.
    pub position: i32,
    /// Token of its intent.
    pub token: Option<String>,
    /// How many times a create was tried.
    pub attempt: i32,
    /// What the service knows it by.
    pub id: Option<String>,
    /// The lease's epoch under which it was last written.
    pub epoch: Option<i64>,
    /// When it came into the plan of the last attempt.
    pub planned_at: Option<DateTime<Utc>>,
    /// When the last create was about to be called.
    pub intended_at: Option<DateTime<Utc>>,
    /// When its id was known.
    pub created_at: Option<DateTime<Utc>>,
    /// When it ended, well or not.
    pub finished_at: Option<DateTime<Utc>>,
    /// What went wrong.
    pub fault: Option<Fault>,
    /// Why it was skipped.
    pub because: Option<String>,
}

/// An operation with its plan and steps. Steps that kept what was there and were not looked at again are left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OperationDetail {
    /// The row.
    #[serde(flatten)]
    pub operation: Operation,
    /// The plan of the last attempt.
    pub plan: Value,
    /// In plan order.
    pub steps: Vec<StepRow>,
}

/// Which operations to list; what is `None` does not matter.
#[derive(Debug, Clone, Default)]
pub struct OperationFilter {
    /// Of that tenant.
    pub tenant: Option<String>,
    /// In that state.
    pub status: Option<OperationStatus>,
    /// Only those that can be resumed.
    pub unfinished: bool,
    /// At most so many, the newest first; 0 means all.
    pub limit: i64,
}

/// The desired state an operation works towards.
#[derive(Debug, Clone, Copy)]
pub enum Desired<'a> {
    /// Of a tenant not on record yet, or purged.
    New(&'a Facts<'a>, &'a NewRevision<'a>),
    /// A new one, for a tenant at revision `parent`.
    Changed {
        /// The revision the caller read.
        parent: i32,
        /// What it says of the tenant.
        facts: &'a Facts<'a>,
        /// What it says of everything else.
        revision: &'a NewRevision<'a>,
    },
    /// The one the tenant has; it must still have it.
    AsIs {
        /// The revision the caller read.
        revision: i32,
    },
}

/// What an operation is about to do. Who, where and by which process come from the lease.
#[derive(Debug, Clone, Copy)]
pub struct NewOperation<'a> {
    /// `create`, `apply`, `delete`, …
    pub verb: &'a str,
    /// The command line.
    pub command: &'a str,
    /// The plan, as it was shown. No secrets.
    pub plan: &'a Value,
    /// Its steps, in plan order.
    pub steps: &'a [Step],
    /// The tenant's status from now on; `None` leaves it.
    pub status: Option<TenantStatus>,
    /// An unfinished operation that this one overtakes: it is closed as aborted.
    pub supersede: Option<i64>,
}

/// What [`Registry::begin_operation`] put on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Begun {
    /// The operation.
    pub operation: i64,
    /// The revision it works towards.
    pub revision: i32,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy)]
pub struct Outcome<'a> {
    /// How the operation stands now.
    pub status: OperationStatus,
    /// What came of it. No secrets.
    pub summary: &'a Value,
    /// Calls made, by name.
    pub calls: &'a Value,
    /// The tenant's status from now on; `None` leaves it. The first `Active` sets `provisioned_at`.
    pub tenant: Option<TenantStatus>,
}

impl Registry {
    /// Puts an operation with its steps on record, together with the revision it works towards and the tenant's new status, all in one
    /// transaction. From here on a crash leaves something to resume.
    ///
    /// # Errors
    /// [`RegistryError::Exists`], [`RegistryError::NotFound`], [`RegistryError::Conflict`], [`RegistryError::NameTaken`],
    /// [`RegistryError::Unfinished`], [`RegistryError::IllegalMove`], [`RegistryError::Fenced`].
    pub async fn begin_operation(&self, lease: &HeldLease, desired: Desired<'_>, new: &NewOperation<'_>) -> Result<Begun> {
        let tenant = lease.tenant();
        let mut tx = self.begin_fenced(lease).await?;
        let lifecycle = self.lifecycle(&mut tx, tenant, desired, new.verb).await?;
        let revision = match desired {
            Desired::New(facts, revision) => self.register(&mut tx, lease, facts, revision).await?,
            Desired::Changed { parent, facts, revision } => self.revise(&mut tx, lease, parent, facts, revision).await?,
            Desired::AsIs { revision } => self.expect_revision(&mut tx, tenant, revision).await?,
        };
        if let Some(status) = new.status {
            self.move_status(&mut tx, tenant, status).await?;
        }
        if let Some(old) = new.supersede {
            self.supersede(&mut tx, lease, old).await?;
        }
        let inserted: sqlx::Result<i64> = sqlx::query_scalar(
            "INSERT INTO labctl.operations (tenant, verb, revision, who, host, pid, command, version, plan)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING number",
        )
        .bind(tenant)
        .bind(new.verb)
        .bind(revision)
        .bind(&lease.holder().who)
        .bind(&lease.holder().host)
        .bind(lease.holder().process.pid)
        .bind(new.command)
        .bind(env!("CARGO_PKG_VERSION"))
        .bind(Json(new.plan))
        .fetch_one(&mut *tx)
        .await;
        let operation = match inserted {
            Ok(number) => number,
            Err(e) if is_unique_violation(&e) => return Err(self.explain_unfinished(tenant).await?),
            Err(e) => return Err(self.sql(e)),
        };
        self.put_steps(&mut tx, tenant, operation, new.steps).await?;
        self.tell_begun(&mut tx, lease, operation, lifecycle).await?;
        let detail = json!({"operation": operation, "verb": new.verb, "revision": revision, "status": new.status, "supersedes": new.supersede});
        self.audit_in(&mut tx, lease.holder(), "operation.begin", Some(tenant), &detail).await?;
        self.commit(tx).await?;
        Ok(Begun { operation, revision })
    }

    async fn expect_revision(&self, tx: &mut PgConnection, tenant: &str, expected: i32) -> Result<i32> {
        let found: Option<i32> = sqlx::query_scalar("SELECT revision FROM labctl.tenants WHERE id = $1 FOR UPDATE")
            .bind(tenant)
            .fetch_optional(tx)
            .await
            .map_err(|e| self.sql(e))?;
        match found {
            None => Err(RegistryError::not_found("tenant", tenant)),
            Some(found) if found != expected => Err(RegistryError::Conflict { tenant: tenant.to_owned(), expected, found }),
            Some(found) => Ok(found),
        }
    }

    /// What the operation does to the tenant, told before the tenant is changed: its tier is compared with the one it has.
    async fn lifecycle(&self, tx: &mut PgConnection, tenant: &str, desired: Desired<'_>, verb: &str) -> Result<Lifecycle> {
        let Desired::Changed { facts, .. } = desired else { return Ok(Lifecycle::of(verb, matches!(desired, Desired::New(..)), false)) };
        let tier: Option<String> =
            sqlx::query_scalar("SELECT tier FROM labctl.tenants WHERE id = $1").bind(tenant).fetch_optional(tx).await.map_err(|e| self.sql(e))?;
        Ok(Lifecycle::of(verb, false, tier.is_some_and(|tier| tier != facts.tier)))
    }

    async fn supersede(&self, tx: &mut PgConnection, lease: &HeldLease, operation: i64) -> Result<()> {
        let closed = sqlx::query(
            "UPDATE labctl.operations SET status = 'aborted', finished_at = clock_timestamp(),
                    summary = coalesce(summary, '{}') || jsonb_build_object('superseded', true)
             WHERE number = $1 AND tenant = $2 AND status NOT IN ('done', 'aborted')",
        )
        .bind(operation)
        .bind(lease.tenant())
        .execute(&mut *tx)
        .await
        .map_err(|e| self.sql(e))?;
        if closed.rows_affected() > 0 { self.tell_ended(tx, lease, operation, OperationStatus::Aborted).await } else { Ok(()) }
    }

    async fn explain_unfinished(&self, tenant: &str) -> Result<RegistryError> {
        Ok(match self.unfinished_operation(tenant).await? {
            Some(o) => RegistryError::Unfinished { tenant: o.tenant, operation: o.number, verb: o.verb, status: o.status },
            None => RegistryError::Database { code: "23505".into(), message: "an operation was unfinished a moment ago; try again".into() },
        })
    }

    /// Writes a plan's steps. Of an attempt before this one, what was done stays, what is planned again is planned again, and what is not
    /// planned any more is marked so. Tokens stay: an intent whose outcome is open keeps its own. What is to be deleted keeps the place of
    /// its creation: a purge taken up again must not turn its order round.
    async fn put_steps(&self, tx: &mut PgConnection, tenant: &str, operation: i64, steps: &[Step]) -> Result<()> {
        let lines: Vec<Value> = steps
            .iter()
            .enumerate()
            .map(|(position, s)| json!({"address": s.address, "action": s.action, "position": position, "spec": s.spec, "tags": s.tags}))
            .collect();
        sqlx::query(
            "WITH planned AS (
                SELECT * FROM jsonb_to_recordset($2) AS p (address text, action text, position int, spec jsonb, tags jsonb)
             ), put AS (
                INSERT INTO labctl.steps AS s (operation, address, action, position, spec, tags)
                SELECT $1, address, action, position, spec, tags FROM planned
                ON CONFLICT (operation, address) DO UPDATE SET position = excluded.position, spec = excluded.spec, tags = excluded.tags,
                    action = CASE WHEN excluded.action = 'keep' THEN s.action ELSE excluded.action END,
                    status = CASE WHEN excluded.action = 'keep' THEN s.status ELSE 'planned' END,
                    finished_at = CASE WHEN excluded.action = 'keep' THEN s.finished_at END,
                    fault = CASE WHEN excluded.action = 'keep' THEN s.fault END,
                    because = CASE WHEN excluded.action = 'keep' THEN s.because END,
                    planned_at = CASE WHEN excluded.action = 'keep' THEN s.planned_at ELSE excluded.planned_at END
             ), left_out AS (
                UPDATE labctl.steps s SET status = 'skipped', finished_at = clock_timestamp(), because = 'no longer in the plan'
                WHERE s.operation = $1 AND s.status IN ('planned', 'intended', 'created', 'failed', 'skipped', 'in_doubt')
                  AND NOT EXISTS (SELECT FROM planned p WHERE p.address = s.address)
             )
             UPDATE labctl.resources r SET position = p.position FROM planned p
             WHERE r.tenant = $3 AND r.address = p.address AND r.position <> p.position AND p.action <> 'delete'",
        )
        .bind(operation)
        .bind(Json(lines))
        .bind(tenant)
        .execute(tx)
        .await
        .map(drop)
        .map_err(|e| self.sql(e))
    }

    /// Takes an unfinished operation up again, with today's plan: one attempt more, `running`, by the lease's holder.
    ///
    /// # Errors
    /// [`RegistryError::Finished`], [`RegistryError::NotFound`] (also when it is another tenant's), [`RegistryError::IllegalMove`],
    /// [`RegistryError::Fenced`].
    pub async fn continue_operation(&self, lease: &HeldLease, operation: i64, new: &NewOperation<'_>) -> Result<Begun> {
        let tenant = lease.tenant();
        let mut tx = self.begin_fenced(lease).await?;
        let found: Option<String> = sqlx::query_scalar("SELECT status FROM labctl.operations WHERE number = $1 AND tenant = $2 FOR UPDATE")
            .bind(operation)
            .bind(tenant)
            .fetch_optional(&mut *tx)
            .await
            .map_err(|e| self.sql(e))?;
        let found = found.ok_or_else(|| RegistryError::not_found("operation", operation))?;
        let status: OperationStatus = found.parse().map_err(|message| RegistryError::Database { code: "client".into(), message })?;
        if status.is_over() {
            return Err(RegistryError::Finished { operation, status });
        }
        if let Some(status) = new.status {
            self.move_status(&mut tx, tenant, status).await?;
        }
        let (verb, revision, attempts): (String, i32, i32) = sqlx::query_as(
            "UPDATE labctl.operations o SET attempts = attempts + 1, status = 'running', finished_at = NULL, who = $2, host = $3, pid = $4, command = $5,
                    version = $6, plan = $7, revision = t.revision
             FROM labctl.tenants t WHERE o.number = $1 AND t.id = o.tenant RETURNING o.verb, o.revision, o.attempts",
        )
        .bind(operation)
        .bind(&lease.holder().who)
        .bind(&lease.holder().host)
        .bind(lease.holder().process.pid)
        .bind(new.command)
        .bind(env!("CARGO_PKG_VERSION"))
        .bind(Json(new.plan))
        .fetch_one(&mut *tx)
        .await
        .map_err(|e| self.sql(e))?;
        self.put_steps(&mut tx, tenant, operation, new.steps).await?;
        self.tell_begun(&mut tx, lease, operation, Lifecycle::of(&verb, false, false)).await?;
        let detail = json!({"operation": operation, "verb": verb, "attempt": attempts, "revision": revision, "status": new.status});
        self.audit_in(&mut tx, lease.holder(), "operation.continue", Some(tenant), &detail).await?;
        self.commit(tx).await?;
        Ok(Begun { operation, revision })
    }

    /// Ends an attempt: how the operation stands and the tenant's status, in one transaction.
    ///
    /// # Errors
    /// [`RegistryError::Finished`], [`RegistryError::NotFound`], [`RegistryError::IllegalMove`], [`RegistryError::Fenced`].
    pub async fn finish_operation(&self, lease: &HeldLease, operation: i64, outcome: &Outcome<'_>) -> Result<()> {
        self.finish(lease, operation, outcome, None).await
    }

    pub(super) async fn finish(&self, lease: &HeldLease, operation: i64, outcome: &Outcome<'_>, certificate: Option<&Value>) -> Result<()> {
        let tenant = lease.tenant();
        let mut tx = self.begin_fenced(lease).await?;
        let ended: Option<String> = sqlx::query_scalar(
            "UPDATE labctl.operations SET status = $3, finished_at = clock_timestamp(), summary = $4, calls = $5
             WHERE number = $1 AND tenant = $2 AND status NOT IN ('done', 'aborted') RETURNING verb",
        )
        .bind(operation)
        .bind(tenant)
        .bind(outcome.status.as_str())
        .bind(Json(outcome.summary))
        .bind(Json(outcome.calls))
        .fetch_optional(&mut *tx)
        .await
        .map_err(|e| self.sql(e))?;
        let Some(verb) = ended else {
            let found = self.operation(operation).await?.operation;
            return Err(if found.tenant == tenant {
                RegistryError::Finished { operation, status: found.status }
            } else {
                RegistryError::not_found("operation", operation)
            });
        };
        if let Some(status) = outcome.tenant {
            self.move_status(&mut tx, tenant, status).await?;
        }
        let mut detail = json!({"operation": operation, "verb": verb, "status": outcome.status, "tenant_status": outcome.tenant});
        if let Some(document) = certificate {
            detail["certificate"] = self.issue(&mut tx, lease, operation, document).await?;
        }
        self.tell_ended(&mut tx, lease, operation, outcome.status).await?;
        self.audit_in(&mut tx, lease.holder(), "operation.finish", Some(tenant), &detail).await?;
        self.commit(tx).await
    }
}
