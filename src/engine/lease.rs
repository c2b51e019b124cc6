//! One writer per tenant. The registry implements [`Lease`]; the engine keeps it alive while it runs.

use std::time::Duration;

use async_trait::async_trait;

use super::journal::JournalError;

/// How long a lease lives without a heartbeat.
pub const TTL: Duration = Duration::from_secs(60);
/// How often it is renewed: three may be missed.
pub const HEARTBEAT: Duration = Duration::from_secs(15);

/// A held lease. Its epoch fences every journal write.
#[async_trait]
pub trait Lease: Send + Sync {
    /// Renews. [`JournalError::Fenced`] when somebody else has taken it.
    async fn heartbeat(&self) -> Result<(), JournalError>;
}
