//! How a run keeps its journal and its lease through short failures of the registry, and knows when it has lost them.

use std::convert::Infallible;
use std::future::pending;

use tokio::sync::watch;

use super::clock::{Instant, sleep, timeout};
use super::journal::{Entry, Journal, JournalError};
use super::kind::Address;
use super::lease::Lease;
use super::pace::Patience;

/// Renews the lease for as long as it is polled; says so once when it is lost.
///
/// It runs beside the loop, not in it: a slow journal write must not cost the lease. A renewal that fails is no loss yet, several may
/// be missed; but once the lease may have run out, somebody else may work on this tenant, and calls to the outside have no fence.
pub(super) async fn keep_alive(lease: &dyn Lease, patience: Patience, lost: watch::Sender<Option<JournalError>>) -> Infallible {
    let mut held = Instant::now();
    loop {
        sleep(patience.beat).await;
        let asked = Instant::now();
        let gone = match timeout(patience.beat, lease.heartbeat()).await {
            Ok(Ok(())) => {
                held = asked;
                continue;
            }
            Ok(Err(fenced @ JournalError::Fenced { .. })) => fenced,
            Ok(Err(JournalError::Unavailable(why))) if held.elapsed() >= patience.lease => not_renewed(&why),
            Err(_) if held.elapsed() >= patience.lease => not_renewed("no answer"),
            _ => continue,
        };
        lost.send_replace(Some(gone));
        return pending().await;
    }
}

fn not_renewed(why: &str) -> JournalError {
    JournalError::Unavailable(format!("the lease could not be renewed in time: {why}"))
}

/// Commits one entry, trying again while the registry is away for a short time. A fence is never tried again.
pub(super) async fn write(journal: &dyn Journal, address: &Address, entry: &Entry, patience: &Patience) -> Result<(), JournalError> {
    let (begun, mut n) = (Instant::now(), 0);
    loop {
        match journal.write(address, entry).await {
            Err(JournalError::Unavailable(_)) if begun.elapsed() < patience.journal => sleep(patience.retry(n)).await,
            written => return written,
        }
        n += 1;
    }
}

/// Asks whether the lease is still ours, as patiently.
pub(super) async fn ask(lease: &dyn Lease, patience: &Patience) -> Result<(), JournalError> {
    let (begun, mut n) = (Instant::now(), 0);
    loop {
        match lease.heartbeat().await {
            Err(JournalError::Unavailable(_)) if begun.elapsed() < patience.journal => sleep(patience.retry(n)).await,
            answer => return answer,
        }
        n += 1;
    }
}
