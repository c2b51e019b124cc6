//! Whose a fleet run is: one process at a time is at a run, and no two runs at once are about the same tenants.
//!
//! A run has a lease of its own, `@fleet/<number>`, and what becomes of the run is written under its epoch.

use serde_json::json;
use sqlx::types::Json;
use sqlx::{Postgres, Transaction};

use super::error::{RegistryError, Result};
use super::fleet::NewFleetRun;
use super::lease::{LeaseInfo, lease_row};
use super::lease_many::free_many;
use super::{HeldLease, Holder, Process, Registry};

/// What a lease on a run is called, before the run's number.
pub(super) const PREFIX: &str = "@fleet/";

const WHAT: &str = "fleet migrate";

impl Registry {
    /// Puts a run on record, with a row for each tenant that has something to do, and claims it. Returns its number too.
    ///
    /// # Errors
    /// [`RegistryError::Locked`] when a run of somebody else is about to change one of these tenants: then nothing is on record.
    pub async fn begin_fleet_run(&self, new: &NewFleetRun<'_>) -> Result<(i64, HeldLease)> {
        let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        let mut tx = self.begin().await?;
        self.one_claimer(&mut tx).await?;
        let number: i64 = sqlx::query_scalar(
            "INSERT INTO labctl.fleet_runs (who, host, command, version, options, targets, tenants, current) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             RETURNING number",
        )
        .bind(&new.by.who)
        .bind(&new.by.host)
        .bind(new.command)
        .bind(env!("CARGO_PKG_VERSION"))
        .bind(Json(new.options))
        .bind(Json(new.targets))
        .bind(count(new.tenants))
        .bind(count(new.current))
        .fetch_one(&mut *tx)
        .await
        .map_err(|e| self.sql(e))?;
        let tenants: Vec<&str> = new.rows.iter().map(|r| r.0.as_str()).collect();
        let waves: Vec<i32> = new.rows.iter().map(|r| i32::try_from(r.1).unwrap_or(i32::MAX)).collect();
        let versions: Vec<&str> = new.rows.iter().map(|r| r.2.as_str()).collect();
        sqlx::query("INSERT INTO labctl.fleet_results (run, tenant, wave, from_version) SELECT $1, * FROM unnest($2::text[], $3::int[], $4::text[])")
            .bind(number)
            .bind(tenants)
            .bind(waves)
            .bind(versions)
            .execute(&mut *tx)
            .await
            .map_err(|e| self.sql(e))?;
        let claim = self.claim(&mut tx, number, new.by).await?;
        let detail = json!({"run": number, "tenants": new.tenants, "behind": new.rows.len(), "options": new.options});
        self.audit_in(&mut tx, new.by, "fleet.migrate", None, &detail).await?;
        self.commit(tx).await?;
        Ok((number, claim))
    }

    /// Claims a run that is to go on, and says that it does.
    ///
    /// # Errors
    /// [`RegistryError::Locked`] when another process is at it, or at another run about one of the tenants that are left of this one.
    pub async fn resume_fleet_run(&self, run: i64, by: &Holder) -> Result<HeldLease> {
        let mut tx = self.begin().await?;
        self.one_claimer(&mut tx).await?;
        let claim = self.claim(&mut tx, run, by).await?;
        sqlx::query("UPDATE labctl.fleet_runs SET status = 'running', attempts = attempts + 1, finished_at = NULL WHERE number = $1")
            .bind(run)
            .execute(&mut *tx)
            .await
            .map_err(|e| self.sql(e))?;
        self.audit_in(&mut tx, by, "fleet.resume", None, &json!({"run": run})).await?;
        self.commit(tx).await?;
        Ok(claim)
    }

    /// Ends the claims of processes of this machine that are dead.
    ///
    /// # Errors
    /// Only those of reaching the registry.
    pub async fn end_dead_fleet_claims(&self, by: &Holder) -> Result<()> {
        let claims: Vec<LeaseInfo> = self.leases().await?.into_iter().filter(|l| l.tenant.starts_with(PREFIX) && l.is_dead(by)).collect();
        if claims.is_empty() { Ok(()) } else { self.release_leases(&claims.into_iter().map(|l| (l.tenant, l.epoch)).collect()).await }
    }

    /// Claims are made one after the other, so that of two who want the same tenants exactly one is refused.
    async fn one_claimer(&self, tx: &mut Transaction<'static, Postgres>) -> Result<()> {
        sqlx::query("LOCK TABLE labctl.fleet_runs IN SHARE ROW EXCLUSIVE MODE").execute(&mut **tx).await.map(drop).map_err(|e| self.sql(e))
    }

    /// Claims a run, unless a living process is at one that has tenants in common with what is left of this one. Claims of processes that
    /// are dead, or were silent for too long, end here: should such a one wake, it finds that its run is no longer its own. A run about one
    /// tenant (`tenant migrate`) is in nobody's way but by that tenant's own lease.
    async fn claim(&self, tx: &mut Transaction<'static, Postgres>, run: i64, by: &Holder) -> Result<HeldLease> {
        let others: Vec<Json<LeaseInfo>> = sqlx::query_scalar(concat!(
            "SELECT ",
            lease_row!(),
            " FROM labctl.leases l JOIN labctl.fleet_runs other ON l.tenant = $2 || other.number
             WHERE l.holder IS NOT NULL AND other.number <> $1 AND other.options #> '{filter,tenant}' IS NULL
               AND (SELECT options #> '{filter,tenant}' IS NULL FROM labctl.fleet_runs WHERE number = $1)
               AND EXISTS (SELECT FROM labctl.fleet_results ours JOIN labctl.fleet_results theirs USING (tenant)
                           WHERE ours.run = $1 AND theirs.run = other.number AND ours.status NOT IN ('migrated', 'found')
                             AND theirs.status NOT IN ('migrated', 'found'))
             ORDER BY l.acquired_at",
        ))
        .bind(run)
        .bind(PREFIX)
        .fetch_all(&mut **tx)
        .await
        .map_err(|e| self.sql(e))?;
        let (over, living): (Vec<LeaseInfo>, Vec<LeaseInfo>) = others.into_iter().map(|Json(l)| l).partition(|l| l.expired || l.is_dead(by));
        if let Some(other) = living.into_iter().next() {
            return Err(RegistryError::Locked(Box::new(other)));
        }
        let (runs, epochs): (Vec<&str>, Vec<i64>) = over.iter().map(|l| (l.tenant.as_str(), l.epoch)).unzip();
        free_many(tx, &runs, &epochs).await.map_err(|e| self.sql(e))?;
        self.acquire_lease(&format!("{PREFIX}{run}"), by, WHAT, Process::is_alive).await
    }
}
