//! Leases of many tenants at once: taken, renewed and let go of in one statement each. They are the same leases a single verb takes.

use std::collections::{BTreeMap, BTreeSet};

use super::error::Result;
use super::lease::LeaseInfo;
use super::{Holder, Registry};
use crate::engine::lease::TTL;

/// Leases taken for many, and those somebody else holds.
#[derive(Debug, Default)]
pub struct Leased {
    /// Tenant and epoch.
    pub taken: BTreeMap<String, i64>,
    /// Whose lease is another's.
    pub others: BTreeMap<String, LeaseInfo>,
}

impl Registry {
    /// Takes the leases of many tenants in one statement; those of dead processes of this machine in a second. With `again`, also those this
    /// very process holds for the same: an earlier try has taken them, and its reply was lost.
    ///
    /// # Errors
    /// Only those of reaching the registry. Whom somebody else holds is no error.
    pub async fn acquire_leases(&self, tenants: &[&str], holder: &Holder, what: &str, again: bool) -> Result<Leased> {
        let mut leased = Leased { taken: self.take_many(tenants, holder, what, &BTreeMap::new()).await?, others: BTreeMap::new() };
        let rest: Vec<&str> = tenants.iter().copied().filter(|t| !leased.taken.contains_key(*t)).collect();
        if rest.is_empty() {
            return Ok(leased);
        }
        leased.others = self.leases_of(&rest).await?;
        // Of this process by its number, its start and its machine.
        let ours = |l: &LeaseInfo| again && l.process == holder.process && l.process.is_local(l.host == holder.host) && l.what == what;
        let free = |l: &LeaseInfo| ours(l) || l.is_dead(holder);
        let epochs: BTreeMap<&str, i64> = leased.others.values().filter(|l| free(l)).map(|l| (l.tenant.as_str(), l.epoch)).collect();
        // Also those who have let go in between.
        let more: Vec<&str> = rest.iter().copied().filter(|t| epochs.contains_key(t) || !leased.others.contains_key(*t)).collect();
        if !more.is_empty() {
            let more = self.take_many(&more, holder, what, &epochs).await?;
            leased.others.retain(|tenant, _| !more.contains_key(tenant));
            leased.taken.extend(more);
        }
        Ok(leased)
    }

    async fn take_many(&self, tenants: &[&str], holder: &Holder, what: &str, dead: &BTreeMap<&str, i64>) -> Result<BTreeMap<String, i64>> {
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "INSERT INTO labctl.leases AS l (tenant, epoch, holder, host, pid, machine, started, what, acquired_at, heartbeat_at, expires_at)
             SELECT t, 1, $2, $3, $4, $5, $6, $7, clock_timestamp(), clock_timestamp(), clock_timestamp() + make_interval(secs => $8)
             FROM unnest($1::text[]) t
             WHERE NOT EXISTS (SELECT FROM labctl.leases h WHERE h.tenant = t AND h.holder IS NOT NULL AND h.expires_at > clock_timestamp()
                               AND (h.tenant, h.epoch) NOT IN (SELECT * FROM unnest($9::text[], $10::bigint[])))
             ORDER BY t
             ON CONFLICT (tenant) DO UPDATE SET epoch = l.epoch + 1, holder = $2, host = $3, pid = $4, machine = $5, started = $6, what = $7,
                    acquired_at = clock_timestamp(), heartbeat_at = clock_timestamp(), expires_at = clock_timestamp() + make_interval(secs => $8)
             WHERE l.holder IS NULL OR l.expires_at <= clock_timestamp() OR (l.tenant, l.epoch) IN (SELECT * FROM unnest($9::text[], $10::bigint[]))
             RETURNING tenant, epoch",
        )
        .bind(tenants)
        .bind(&holder.who)
        .bind(&holder.host)
        .bind(holder.process.pid)
        .bind(&holder.process.machine)
        .bind(&holder.process.started)
        .bind(what)
        .bind(TTL.as_secs_f64())
        .bind(dead.keys().copied().collect::<Vec<_>>())
        .bind(dead.values().copied().collect::<Vec<_>>())
        .fetch_all(self.pool().await?)
        .await
        .map_err(|e| self.sql(e))?;
        Ok(rows.into_iter().collect())
    }

    /// Renews many leases. Returns those that are no longer ours.
    ///
    /// # Errors
    /// Only those of reaching the registry.
    pub async fn renew_leases(&self, held: &BTreeMap<String, i64>) -> Result<BTreeSet<String>> {
        let (tenants, epochs): (Vec<&str>, Vec<i64>) = held.iter().map(|(t, e)| (t.as_str(), *e)).unzip();
        let renewed: Vec<String> = sqlx::query_scalar(
            "UPDATE labctl.leases l SET heartbeat_at = clock_timestamp(), expires_at = clock_timestamp() + make_interval(secs => $3)
             FROM unnest($1::text[], $2::bigint[]) h (tenant, epoch) WHERE l.tenant = h.tenant AND l.epoch = h.epoch AND l.holder IS NOT NULL
             RETURNING l.tenant",
        )
        .bind(tenants)
        .bind(epochs)
        .bind(TTL.as_secs_f64())
        .fetch_all(self.pool().await?)
        .await
        .map_err(|e| self.sql(e))?;
        let mut lost: BTreeSet<String> = held.keys().cloned().collect();
        renewed.iter().for_each(|tenant| _ = lost.remove(tenant));
        Ok(lost)
    }

    /// Lets go of many leases.
    ///
    /// # Errors
    /// Only those of reaching the registry.
    pub async fn release_leases(&self, held: &BTreeMap<String, i64>) -> Result<()> {
        let mut tx = self.begin().await?;
        let (tenants, epochs): (Vec<&str>, Vec<i64>) = held.iter().map(|(t, e)| (t.as_str(), *e)).unzip();
        free_many(&mut tx, &tenants, &epochs).await.map_err(|e| self.sql(e))?;
        self.commit(tx).await
    }

    async fn leases_of(&self, tenants: &[&str]) -> Result<BTreeMap<String, LeaseInfo>> {
        let found: Vec<LeaseInfo> = self.leases().await?;
        Ok(found.into_iter().filter(|l| tenants.contains(&l.tenant.as_str())).map(|l| (l.tenant.clone(), l)).collect())
    }
}

/// Lets go of these, within the caller's transaction.
pub(super) async fn free_many(tx: &mut sqlx::PgConnection, tenants: &[&str], epochs: &[i64]) -> std::result::Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE labctl.leases l SET holder = NULL, expires_at = clock_timestamp()
         FROM unnest($1::text[], $2::bigint[]) h (tenant, epoch) WHERE l.tenant = h.tenant AND l.epoch = h.epoch",
    )
    .bind(tenants)
    .bind(epochs)
    .execute(tx)
    .await
    .map(drop)
}
