//! Leases: one writer per tenant. Taking one raises its epoch, and every write for the tenant holds the epoch against the row.
//!
//! A lease, not a session lock: a wait of fifteen minutes must not hang on one connection, nor on a pooler.
//!
//! # Caveats
//! A lease that ran out while its holder slept is still good until somebody else takes it: the epoch decides, not the clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::types::Json;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::error::{RegistryError, Result, ago};
use super::{Process, Registry};
use crate::engine::journal::JournalError;
use crate::engine::lease::{HEARTBEAT, Lease, TTL};

/// Somebody who works: the operator, the host and the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The operator's name.
    pub who: String,
    /// The host's name.
    pub host: String,
    /// The process.
    pub process: Process,
}

impl Holder {
    /// This process, for that operator on that host.
    pub fn this(who: impl Into<String>, host: impl Into<String>) -> Self {
        Self { who: who.into(), host: host.into(), process: Process::this() }
    }
}

/// A lease as others see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseInfo {
    /// What is locked.
    pub tenant: String,
    /// By whom.
    pub holder: String,
    /// From where.
    pub host: String,
    /// By which process.
    #[serde(flatten)]
    pub process: Process,
    /// What the holder is doing: `tenant create`.
    pub what: String,
    /// Raised at every taking.
    pub epoch: i64,
    /// Since when.
    pub acquired_at: DateTime<Utc>,
    /// The last sign of life.
    pub heartbeat_at: DateTime<Utc>,
    /// When it may be taken over, if no further sign comes.
    pub expires_at: DateTime<Utc>,
    /// Whether that time has come, by the database's clock.
    pub expired: bool,
    /// Since it was taken, by the database's clock.
    pub held_seconds: i64,
    /// Since the last sign of life, by the database's clock.
    pub heartbeat_seconds: i64,
}

impl LeaseInfo {
    /// Whether its holder is a dead process of this machine.
    pub(super) fn is_dead(&self, by: &Holder) -> bool {
        self.process.is_local(self.host == by.host) && !self.process.is_alive()
    }

    /// Who holds it, what for and how long already: "ana@build-3 (process 812), `labctl tenant create`, 4m".
    pub fn by(&self) -> String {
        format!("{}@{} (process {}), `{}`, {}", self.holder, self.host, self.process.pid, self.what, ago(self.held_seconds))
    }
}

/// A lease as a JSON object, as [`LeaseInfo`] reads it.
macro_rules! lease_row {
    () => {
        "to_jsonb(l) || jsonb_build_object('expired', l.expires_at <= clock_timestamp(),
            'held_seconds', extract(epoch FROM clock_timestamp() - l.acquired_at)::bigint,
            'heartbeat_seconds', extract(epoch FROM clock_timestamp() - l.heartbeat_at)::bigint)"
    };
}
pub(super) use lease_row;

/// A held lease. Release it with [`HeldLease::release`]; dropping it tries to, and a process that dies is found dead by the next one.
pub struct HeldLease {
    registry: Registry,
    tenant: String,
    epoch: i64,
    holder: Holder,
    /// Not to be released: it is another guard's in the same process, or it is gone already.
    spent: AtomicBool,
}

impl HeldLease {
    /// What is locked.
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// What every write is held against.
    pub fn epoch(&self) -> i64 {
        self.epoch
    }

    /// Who holds it.
    pub fn holder(&self) -> &Holder {
        &self.holder
    }

    /// Gives it back. A guard got by re-entry gives nothing back: the outer one does.
    ///
    /// # Errors
    /// Only those of reaching the registry. Whether somebody else has it by now does not matter.
    pub async fn release(&self) -> Result<()> {
        if self.spent.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        self.registry.free(&self.tenant, self.epoch).await
    }

    /// Renews the lease in the background until the returned guard is dropped: for the time before the engine does it, while a plan is
    /// made and an operator reads it.
    pub fn keep_alive(self: &Arc<Self>) -> KeepAlive {
        let lease = Arc::clone(self);
        KeepAlive(tokio::spawn(async move {
            loop {
                sleep(HEARTBEAT).await;
                // Fenced: nothing more to keep. Unreachable: try again next time; whoever writes will find out.
                if matches!(lease.heartbeat().await, Err(JournalError::Fenced { .. })) {
                    return;
                }
            }
        }))
    }
}

/// Keeps a lease alive until dropped.
pub struct KeepAlive(JoinHandle<()>);

impl Drop for KeepAlive {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Drop for HeldLease {
    fn drop(&mut self) {
        if self.spent.swap(true, Ordering::Relaxed) {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (registry, tenant, epoch) = (self.registry.clone(), std::mem::take(&mut self.tenant), self.epoch);
            runtime.spawn(async move {
                // Best effort: else it runs out by itself.
                let _ = registry.free(&tenant, epoch).await;
            });
        }
    }
}

#[async_trait]
impl Lease for HeldLease {
    async fn heartbeat(&self) -> std::result::Result<(), JournalError> {
        let beat = sqlx::query(
            "UPDATE labctl.leases SET heartbeat_at = clock_timestamp(), expires_at = clock_timestamp() + make_interval(secs => $3)
             WHERE tenant = $1 AND epoch = $2 AND holder IS NOT NULL",
        )
        .bind(&self.tenant)
        .bind(self.epoch)
        .bind(TTL.as_secs_f64())
        .execute(&self.registry.inner.pool);
        match timeout(HEARTBEAT, beat).await {
            Ok(Ok(done)) if done.rows_affected() == 1 => Ok(()),
            Ok(Ok(_)) => Err(JournalError::Fenced { epoch: self.epoch }),
            Ok(Err(e)) => Err(self.registry.sql(e).into()),
            Err(_) => Err(JournalError::Unavailable(format!("no answer within {} s", HEARTBEAT.as_secs()))),
        }
    }
}

impl Registry {
    /// Takes the tenant's lease: where nobody holds it, where it has run out, or where its holder is a dead process of this machine
    /// (`is_alive` says so: [`Process::is_alive`]). The process that holds it already gets it again, with the same epoch.
    ///
    /// # Errors
    /// [`RegistryError::Locked`], naming the holder.
    pub async fn acquire_lease(&self, tenant: &str, holder: &Holder, what: &str, is_alive: impl Fn(&Process) -> bool) -> Result<HeldLease> {
        let held = |epoch, again| HeldLease { registry: self.clone(), tenant: tenant.to_owned(), epoch, holder: holder.clone(), spent: AtomicBool::new(again) };
        let mut dead_epoch = None;
        loop {
            if let Some(epoch) = self.take(tenant, holder, what, dead_epoch).await? {
                failpoint!("lease.taken", tenant);
                return Ok(held(epoch, false));
            }
            let Some(other) = self.lease(tenant).await? else { continue };
            if other.process == holder.process && other.process.is_local(other.host == holder.host) {
                let again = held(other.epoch, true);
                match again.heartbeat().await {
                    Ok(()) => return Ok(again),
                    Err(JournalError::Fenced { .. }) => continue,
                    Err(JournalError::Unavailable(why)) => return Err(RegistryError::Unreachable { at: self.inner.at.clone(), why }),
                }
            }
            let dead = other.process.is_local(other.host == holder.host) && !is_alive(&other.process);
            if other.expired || (dead && dead_epoch != Some(other.epoch)) {
                // Only this very epoch: whoever was quicker than us has a newer one, and lives.
                dead_epoch = dead.then_some(other.epoch);
                continue;
            }
            return Err(RegistryError::Locked(Box::new(other)));
        }
    }

    async fn take(&self, tenant: &str, holder: &Holder, what: &str, dead_epoch: Option<i64>) -> Result<Option<i64>> {
        // What is plainly held is not even tried for: its holder may be in a transaction that has the row, and a refusal does not wait for that.
        // clock_timestamp, not now: this statement may have waited for another taker's commit.
        sqlx::query_scalar(
            "INSERT INTO labctl.leases AS l (tenant, epoch, holder, host, pid, machine, started, what, acquired_at, heartbeat_at, expires_at)
             SELECT $1, 1, $2, $3, $4, $5, $6, $7, clock_timestamp(), clock_timestamp(), clock_timestamp() + make_interval(secs => $8)
             WHERE NOT EXISTS (SELECT FROM labctl.leases h WHERE h.tenant = $1 AND h.holder IS NOT NULL AND h.expires_at > clock_timestamp()
                               AND h.epoch IS DISTINCT FROM $9)
             ON CONFLICT (tenant) DO UPDATE SET epoch = l.epoch + 1, holder = $2, host = $3, pid = $4, machine = $5, started = $6, what = $7,
                    acquired_at = clock_timestamp(), heartbeat_at = clock_timestamp(), expires_at = clock_timestamp() + make_interval(secs => $8)
             WHERE l.holder IS NULL OR l.expires_at <= clock_timestamp() OR l.epoch = $9
             RETURNING epoch",
        )
        .bind(tenant)
        .bind(&holder.who)
        .bind(&holder.host)
        .bind(holder.process.pid)
        .bind(&holder.process.machine)
        .bind(&holder.process.started)
        .bind(what)
        .bind(TTL.as_secs_f64())
        .bind(dead_epoch)
        .fetch_optional(self.pool().await?)
        .await
        .map_err(|e| self.sql(e))
    }

    async fn free(&self, tenant: &str, epoch: i64) -> Result<()> {
        sqlx::query("UPDATE labctl.leases SET holder = NULL, expires_at = clock_timestamp() WHERE tenant = $1 AND epoch = $2")
            .bind(tenant)
            .bind(epoch)
            .execute(self.pool().await?)
            .await
            .map_err(|e| self.sql(e))?;
        failpoint!("lease.released", tenant);
        Ok(())
    }

    /// The tenant's lease, if somebody holds it (or held it until it ran out).
    ///
    /// # Errors
    /// Only those of reaching the registry.
    pub async fn lease(&self, tenant: &str) -> Result<Option<LeaseInfo>> {
        let row: Option<Json<LeaseInfo>> =
            sqlx::query_scalar(concat!("SELECT ", lease_row!(), " FROM labctl.leases l WHERE tenant = $1 AND holder IS NOT NULL"))
                .bind(tenant)
                .fetch_optional(self.pool().await?)
                .await
                .map_err(|e| self.sql(e))?;
        Ok(row.map(|Json(l)| l))
    }

    /// All leases that somebody holds, expired ones included, the oldest first.
    ///
    /// # Errors
    /// Only those of reaching the registry.
    pub async fn leases(&self) -> Result<Vec<LeaseInfo>> {
        let found: Vec<Json<LeaseInfo>> =
            sqlx::query_scalar(concat!("SELECT ", lease_row!(), " FROM labctl.leases l WHERE holder IS NOT NULL ORDER BY acquired_at"))
                .fetch_all(self.pool().await?)
                .await
                .map_err(|e| self.sql(e))?;
        Ok(found.into_iter().map(|Json(l)| l).collect())
    }

    /// Takes the lease away from whoever holds it: from now on that process can write nothing for the tenant. Returns the one broken.
    ///
    /// # Errors
    /// Only those of reaching the registry.
    pub async fn break_lease(&self, tenant: &str, by: &Holder, reason: Option<&str>) -> Result<Option<LeaseInfo>> {
        let mut tx = self.begin().await?;
        let row: Option<Json<LeaseInfo>> =
            sqlx::query_scalar(concat!("SELECT ", lease_row!(), " FROM labctl.leases l WHERE tenant = $1 AND holder IS NOT NULL FOR UPDATE"))
                .bind(tenant)
                .fetch_optional(&mut *tx)
                .await
                .map_err(|e| self.sql(e))?;
        let Some(Json(broken)) = row else { return Ok(None) };
        sqlx::query("UPDATE labctl.leases SET epoch = epoch + 1, holder = NULL, expires_at = clock_timestamp() WHERE tenant = $1")
            .bind(tenant)
            .execute(&mut *tx)
            .await
            .map_err(|e| self.sql(e))?;
        let (process, what) = (&broken.process, &broken.what);
        let detail = json!({"holder": broken.holder, "host": broken.host, "pid": process.pid, "what": what, "epoch": broken.epoch, "reason": reason});
        self.audit_in(&mut tx, by, "lock.break", Some(tenant), &detail).await?;
        self.commit(tx).await?;
        Ok(Some(broken))
    }
}
