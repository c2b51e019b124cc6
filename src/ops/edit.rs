//! What every verb is: an edit of a tenant's desired state. One file per verb implements [`Edit`]; [`change`](super::change) does the rest.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::error::OpError;
use super::site::Site;
use crate::plan::Plan;
use crate::plan::life::DesiredState;
use crate::registry::{Operation, Tenant, TenantStatus};

/// Which verb was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// The tenant must not exist; a create of the same spec that was cut off is continued.
    Create,
    /// The tenant may exist.
    Apply,
    /// An unfinished operation is to be continued.
    Continue,
    /// Out of use.
    Suspend,
    /// Back in use.
    Resume,
    /// More or fewer, larger or smaller.
    Scale,
    /// Another image.
    Deploy,
    /// Another name.
    Rename,
    /// Out of use, and on the way out.
    Delete,
    /// Not deleted after all.
    Undelete,
    /// Gone for good.
    Purge,
}

impl Verb {
    /// As the registry keeps it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Apply => "apply",
            Self::Continue => "continue",
            Self::Suspend => "suspend",
            Self::Resume => "resume",
            Self::Scale => "scale",
            Self::Deploy => "deploy",
            Self::Rename => "rename",
            Self::Delete => "delete",
            Self::Undelete => "undelete",
            Self::Purge => "purge",
        }
    }

    /// Whether a tenant in that state has this verb. What is deleted can only be brought back, purged, or deleted again; what is being
    /// purged can only be purged.
    pub fn fits(self, status: TenantStatus) -> bool {
        match status {
            TenantStatus::Deleted => matches!(self, Self::Continue | Self::Delete | Self::Undelete | Self::Purge),
            TenantStatus::Purging => matches!(self, Self::Continue | Self::Purge),
            TenantStatus::Purged => matches!(self, Self::Create | Self::Apply),
            _ => !matches!(self, Self::Undelete | Self::Purge),
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

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
    /// ([`Verb::fits`]); `None` is a tenant that is not on record, or purged. Writes nothing.
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
