//! A registry that is away for a short time is waited for: what became of a run, or of a fleet, comes on record all the same, as the journal does.

use std::future::Future;
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use crate::engine::lease::HEARTBEAT;
use crate::engine::pace::Patience;
use crate::registry::{OperationStatus, Registry, RegistryError};

/// The longest pause between two tries: a registry that is back is not left waiting.
const PAUSE: Duration = Duration::from_secs(2);

/// How long a registry is waited for.
pub(super) struct Wait<'a> {
    /// Which.
    pub registry: &'a Registry,
    /// As the steps themselves wait for it.
    pub patience: Patience,
    /// The run has waited in vain already, or whoever asked for it does not want to wait: one try is all.
    pub over: &'a (dyn Fn() -> bool + Sync),
}

impl Wait<'_> {
    /// Asks until there is an answer, or the registry has been away for too long.
    pub async fn through<T, F: Future<Output = Result<T, RegistryError>>>(&self, mut ask: impl FnMut() -> F) -> Result<T, RegistryError> {
        let (begun, mut n) = (Instant::now(), 0);
        loop {
            let answer = timeout(HEARTBEAT, ask()).await.unwrap_or_else(|_| Err(self.registry.silent(HEARTBEAT)));
            match answer {
                Err(e) if e.passing() && !(self.over)() && begun.elapsed() < self.patience.journal => {
                    tracing::warn!(error = %e, "the registry is away; trying again");
                    sleep(self.patience.retry(n).min(PAUSE)).await;
                }
                answer => return answer,
            }
            n += 1;
        }
    }
}

/// An end that is on record already, as it was to be, is what a lost reply to the same write leaves.
pub(super) fn written(answer: Result<(), RegistryError>, end: OperationStatus) -> Result<(), RegistryError> {
    match answer {
        Err(RegistryError::Finished { status, .. }) if status == end => Ok(()),
        other => other,
    }
}
