//! What every verb is: an edit of a tenant's desired state. One file per verb implements [`Edit`]; [`change`](super::change) does the rest.

use async_trait::async_trait;

use super::error::OpError;
use super::site::Site;
pub use super::verb::Verb;
use crate::plan::Plan;
use crate::plan::life::DesiredState;
use crate::registry::{Operation, Tenant};

/// A tenant on record, read under its lease.
#[derive(Debug, Clone)]
pub struct Current {
    /// Its row.
    pub tenant: Tenant,
    /// What it is meant to be.
    pub state: DesiredState,
    /// Its operation that can be gone on with.
    pub unfinished: Option<Operation>,
}

/// One verb's edit of one tenant.
#[async_trait]
pub trait Edit: Send + Sync {
    /// Whose desired state is edited.
    fn tenant(&self) -> &str;

    /// Which verb it is.
    fn verb(&self) -> Verb;

    /// The operator's words, kept with the revision.
    fn note(&self) -> Option<&str> {
        None
    }

    /// The new desired state, made of the current one. Called under the tenant's lease, for a tenant whose status has the verb
    /// ([`Verb::fits`]); `None` is a tenant that is not on record, or purged (but to a purge). Writes nothing.
    ///
    /// # Errors
    /// Why this tenant cannot be edited so.
    async fn edit(&self, site: &Site, current: Option<&Current>) -> Result<DesiredState, OpError>;

    /// Whether the plan that was made of it is the one that was meant. Only a plan from a file has been seen before.
    ///
    /// # Errors
    /// [`OpError::StalePlan`].
    fn agree(&self, _plan: &Plan) -> Result<(), OpError> {
        Ok(())
    }
}
