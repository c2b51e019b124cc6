//! What the registry says of itself: locks of the dead, operations nobody is at, events nobody got, a broken trail, a secret that got in, a
//! wrong clock.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};

use super::{Check, Finding, Severity};
use crate::ops::error::OpError;
use crate::ops::site::Site;
use crate::registry::leaks::Leak;
use crate::registry::outbox::{DeliveryStatus, EventFilter};
use crate::registry::{LeaseInfo, OperationFilter, OperationStatus, RegistryError};

/// Clocks that differ by less are right.
const SKEW: TimeDelta = TimeDelta::seconds(5);
/// AWS refuses requests whose date is further off (its signature's limit is five minutes).
const REFUSED: TimeDelta = TimeDelta::seconds(240);
/// What is due for longer was forgotten: nobody runs `events deliver`.
const OVERDUE: TimeDelta = TimeDelta::hours(1);

/// Reads all of it.
///
/// # Errors
/// [`OpError::Registry`].
pub(super) async fn read(site: &Site, tenant: Option<&str>) -> Result<Vec<Finding>, OpError> {
    let before = Utc::now();
    let now = site.registry.now().await?;
    let mut findings: Vec<Finding> = clock(before, now, Utc::now()).into_iter().collect();
    let concerns = |id: &str| tenant.is_none_or(|t| t == id);
    let leases: Vec<LeaseInfo> = site.registry.leases().await?.into_iter().filter(|l| concerns(&l.tenant)).collect();
    findings.extend(leases.iter().filter(|l| abandoned(l, &site.holder.host)).map(lock));
    let working: BTreeSet<&str> = leases.iter().filter(|l| !abandoned(l, &site.holder.host)).map(|l| l.tenant.as_str()).collect();
    let filter = OperationFilter { tenant: tenant.map(ToOwned::to_owned), unfinished: true, ..OperationFilter::default() };
    for operation in site.registry.operations(&filter).await?.into_iter().filter(|o| !working.contains(o.tenant.as_str())) {
        findings.push(unfinished(operation.number, &operation.tenant, &operation.verb, operation.status));
    }
    if tenant.is_none() {
        findings.extend(fleet_run(site).await?);
    }
    for status in [DeliveryStatus::Dead, DeliveryStatus::Pending] {
        let filter = EventFilter { tenant: tenant.map(ToOwned::to_owned), status: Some(status), limit: 0 };
        findings.extend(events(&site.registry.events(&filter).await?, status, now));
    }
    if let Some(broken) = site.registry.verify_audit().await?.broken {
        let found = format!("row {}: {}", broken.seq, broken.why);
        let means = "somebody changed or removed what was written; rows before that one are as they were";
        findings.push(Finding::new(Severity::Error, Check::Audit, "audit trail", found, means).run("labctl audit verify"));
    }
    findings.extend(site.registry.leaks(tenant).await?.iter().map(secret));
    Ok(findings)
}

/// Told without a word of the text itself.
fn secret(leak: &Leak) -> Finding {
    let what = format!("registry table {}{}", leak.table, leak.row.as_ref().map(|row| format!(", {row}")).unwrap_or_default());
    let means = "whoever reads the registry, or a backup of it, has it: look at the row, change that secret, and find out who wrote it there";
    let finding = Finding::new(Severity::Error, Check::Secrets, what, "a word in it is like the passwords labctl makes", means);
    match &leak.tenant {
        Some(tenant) => finding.of(tenant).run(format!("labctl tenant credentials rotate {tenant} --role all")),
        None => finding,
    }
}

/// Whether nobody is behind a lock any more, as far as can be told from this host.
pub(super) fn abandoned(lease: &LeaseInfo, host: &str) -> bool {
    lease.expired || (lease.process.is_local(lease.host == host) && !lease.process.is_alive())
}

fn lock(lease: &LeaseInfo) -> Finding {
    let found = format!(
        "`{}` of {}@{}, process {}, holds it; last sign of life {} s ago",
        lease.what, lease.holder, lease.host, lease.process.pid, lease.heartbeat_seconds
    );
    let means = "the holder is dead: the next command for this tenant takes the lock over";
    Finding::new(Severity::Warning, Check::Lock, format!("lock of {}", lease.tenant), found, means)
        .of(&lease.tenant)
        .run(format!("labctl operation list --unfinished --tenant {}", lease.tenant))
}

fn unfinished(number: i64, tenant: &str, verb: &str, status: OperationStatus) -> Finding {
    let (severity, means, run) = match status {
        OperationStatus::InDoubt => {
            (Severity::Error, "whether something was made is not known: somebody must look, and say what is there", format!("labctl operation show {number}"))
        }
        OperationStatus::Running => (Severity::Warning, "its process is gone; what it has done is on record", format!("labctl operation resume {number}")),
        _ => (Severity::Warning, "it stopped part-way; what it has done is on record", format!("labctl operation resume {number}")),
    };
    Finding::new(severity, Check::Operation, format!("operation {number} ({verb} {tenant})"), format!("its status is {status}, and nobody is at it"), means)
        .of(tenant)
        .run(run)
}

async fn fleet_run(site: &Site) -> Result<Option<Finding>, OpError> {
    match site.registry.last_unfinished_fleet_run().await {
        Err(RegistryError::NotFound { .. }) => Ok(None),
        Err(e) => Err(e.into()),
        Ok(number) => {
            let run = site.registry.fleet_run(number).await?;
            let found = format!("its status is {}; begun {}", run.status, run.started_at.format("%Y-%m-%d %H:%M UTC"));
            let means = "tenants are behind, unless it is under way";
            Ok(Some(Finding::new(Severity::Warning, Check::FleetRun, format!("fleet run {number}"), found, means).run(format!("labctl fleet status {number}"))))
        }
    }
}

/// Undelivered events, one finding for each receiver.
fn events(rows: &[crate::registry::outbox::EventRow], status: DeliveryStatus, now: DateTime<Utc>) -> Vec<Finding> {
    let mut by: BTreeMap<&str, (usize, BTreeSet<&str>, Option<&str>)> = BTreeMap::new();
    for row in rows {
        let waits = |d: &&crate::registry::outbox::Delivery| d.status == status && (status == DeliveryStatus::Dead || now - d.next_at > OVERDUE);
        for delivery in row.deliveries.iter().filter(waits) {
            let (count, tenants, error) = by.entry(&delivery.receiver).or_default();
            *count += 1;
            tenants.insert(&row.tenant);
            // The newest comes first.
            *error = error.or(delivery.error.as_deref());
        }
    }
    let one = |(receiver, (count, tenants, error)): (&str, (usize, BTreeSet<&str>, Option<&str>))| {
        let names: Vec<&str> = tenants.iter().copied().take(5).collect();
        let more = if tenants.len() > 5 { ", …" } else { "" };
        let last = error.map(|e| format!("; last error: {e}")).unwrap_or_default();
        let (found, means, run) = match status {
            DeliveryStatus::Dead => {
                ("given up", "the receiver does not know what became of these tenants; mend it, then send them again", "labctl events deliver --all")
            }
            _ => ("due for over an hour", "nobody delivers them: `labctl events deliver` should be run every few minutes", "labctl events deliver"),
        };
        let found = format!("{count} events of {}{more} are {found}{last}", names.join(", "));
        let finding = Finding::new(Severity::Warning, Check::Events, format!("receiver {receiver}"), found, means).run(run);
        match tenants.iter().next() {
            Some(only) if tenants.len() == 1 => finding.of(*only),
            _ => finding,
        }
    };
    by.into_iter().map(one).collect()
}

/// The registry's clock, read between two looks at this host's.
fn clock(before: DateTime<Utc>, registry: DateTime<Utc>, after: DateTime<Utc>) -> Option<Finding> {
    let ahead = if registry < before {
        before - registry
    } else if registry > after {
        after - registry
    } else {
        TimeDelta::zero()
    };
    if ahead.abs() <= SKEW {
        return None;
    }
    let found =
        format!("this host's clock is {} s {} the registry's", ahead.abs().num_seconds(), if ahead > TimeDelta::zero() { "ahead of" } else { "behind" });
    let (severity, means) = if ahead.abs() > REFUSED {
        (Severity::Error, "one of the two is wrong; AWS refuses requests that are five minutes off")
    } else {
        (Severity::Warning, "locks and dates on record go by the registry's clock and are right among themselves; compare with logs carefully")
    };
    Some(Finding::new(severity, Check::Clock, "clock", found, means).run("timedatectl status"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Process;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_000_000 + second, 0).unwrap_or_default()
    }

    #[test]
    fn a_clock_is_wrong_by_what_the_round_trip_cannot_explain() {
        // (before, registry, after) → severity and words
        let rows = [
            ((0, 0, 0), None),
            ((0, 5, 0), None),
            ((0, 20, 30), None),
            ((0, 40, 30), Some((Severity::Warning, "10 s behind"))),
            ((60, 0, 61), Some((Severity::Warning, "60 s ahead of"))),
            ((3600, 0, 3600), Some((Severity::Error, "3600 s ahead of"))),
            ((0, 3600, 1), Some((Severity::Error, "3599 s behind"))),
        ];
        for ((before, registry, after), expected) in rows {
            let found = clock(at(before), at(registry), at(after));
            assert_eq!(found.as_ref().map(|f| f.severity), expected.map(|e| e.0), "{before} {registry} {after}");
            assert!(found.is_none_or(|f| f.found.contains(expected.map_or("", |e| e.1))), "{before} {registry} {after}");
        }
    }

    #[test]
    fn a_lock_is_abandoned_when_it_ran_out_or_its_process_here_is_dead() {
        let lease = |process: Process, expired| LeaseInfo {
            tenant: "a".into(),
            holder: "ana".into(),
            host: "build-3".into(),
            process,
            what: "tenant create".into(),
            epoch: 1,
            acquired_at: at(0),
            heartbeat_at: at(0),
            expires_at: at(60),
            expired,
            held_seconds: 1,
            heartbeat_seconds: 1,
        };
        let elsewhere = Process { machine: Some("another".into()), ..Process::this() };
        let dead = Process { started: Some("0".into()), ..Process::this() };
        assert!(!abandoned(&lease(Process::this(), false), "build-3"));
        assert!(abandoned(&lease(Process::this(), true), "build-3"));
        assert!(abandoned(&lease(dead, false), "build-3"));
        assert!(!abandoned(&lease(elsewhere, false), "build-3"), "it cannot be judged from here");
    }

    #[test]
    fn what_is_in_doubt_is_worse_than_what_can_be_resumed() {
        assert_eq!(unfinished(7, "a", "create", OperationStatus::InDoubt).severity, Severity::Error);
        let stopped = unfinished(7, "a", "create", OperationStatus::Interrupted);
        assert_eq!((stopped.severity, stopped.run.as_deref()), (Severity::Warning, Some("labctl operation resume 7")));
    }
}
