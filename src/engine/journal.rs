//! The write-ahead record of a run. The registry implements [`Journal`]; the engine's one loop is its only writer.

use async_trait::async_trait;
use serde_json::Value;

use super::fault::Fault;
use super::kind::{Address, Outputs};
use super::step::Action;

/// What happened at one address. Written in this order: `Intended`, then `Created` as soon as there is an id, then `Done`.
///
/// What is found rather than made (adopted) has no `Intended`. A replacement is `Deleted`, then `Intended` and so on. An intent is
/// open until `Created`, `Done`, `Deleted` or `Failed` follows it; an outcome that is not known is never written as `Failed`.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// A create is about to be called; committed before the call leaves.
    Intended {
        /// Handed to APIs that take a client token; the same at every retry of this intent.
        token: String,
        /// 1 for the first of this run.
        attempt: u32,
        /// The spec with all references resolved: what looking for, or deleting, something half-made goes by. No secrets.
        spec: Value,
    },
    /// The id is known; committed before any follow-up call.
    Created {
        /// What the service knows it by.
        id: String,
    },
    /// As wanted, and ready.
    Done {
        /// What was done in the end (`Keep` where a second look found nothing to do).
        action: Action,
        /// What the service knows it by.
        id: String,
        /// The spec with all references resolved: what a later delete or drift check goes by. No secrets.
        spec: Value,
        /// For others' references.
        outputs: Outputs,
    },
    /// Gone.
    Deleted,
    /// A definite refusal, or a deadline: may be tried again. No intent is open any more; an id on record stays.
    Failed {
        /// What happened.
        fault: Fault,
    },
    /// An unknown outcome that looking could not settle: an operator must look.
    InDoubt {
        /// What happened.
        fault: Fault,
    },
    /// Not begun, because of another step (or a signal). What an earlier operation has on record stays as it is.
    Skipped {
        /// The reason, for people.
        because: String,
    },
}

impl Entry {
    /// Its name, for people.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Intended { .. } => "intended",
            Self::Created { .. } => "created",
            Self::Done { .. } => "done",
            Self::Deleted => "deleted",
            Self::Failed { .. } => "failed",
            Self::InDoubt { .. } => "in_doubt",
            Self::Skipped { .. } => "skipped",
        }
    }
}

/// Why an entry could not be written. Either way the run must start nothing new.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalError {
    /// Another process took the lease: this one is stale and may write nothing.
    #[error("another process has taken over this tenant (its lease has a newer epoch than ours, {epoch})")]
    Fenced {
        /// Ours.
        epoch: i64,
    },
    /// The registry cannot be reached.
    #[error("the registry cannot be written: {0}")]
    Unavailable(String),
}

/// The record of one operation of one tenant.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Commits one entry. When this returns `Ok`, the entry outlives a crash.
    ///
    /// # Errors
    /// Both kinds of [`JournalError`]. After `Unavailable` the entry may have been committed (the reply was lost); the engine writes it
    /// again, so the same entry twice in a row must do no more than once.
    async fn write(&self, address: &Address, entry: &Entry) -> Result<(), JournalError>;
}
