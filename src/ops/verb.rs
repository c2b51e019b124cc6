//! The verbs of a tenant's life, and which of them a tenant has at which point of it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::registry::TenantStatus;

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
    /// Other logins.
    Rotate,
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
            Self::Rotate => "rotate",
            Self::Delete => "delete",
            Self::Undelete => "undelete",
            Self::Purge => "purge",
        }
    }

    /// Whether a tenant in that state has this verb. What is deleted can only be brought back, purged, or deleted again; what is being
    /// purged, or was, can only be purged; after that the name is free.
    pub fn fits(self, status: TenantStatus) -> bool {
        match status {
            TenantStatus::Deleted => matches!(self, Self::Continue | Self::Delete | Self::Undelete | Self::Purge),
            TenantStatus::Purging => matches!(self, Self::Continue | Self::Purge),
            TenantStatus::Purged => matches!(self, Self::Create | Self::Apply | Self::Purge),
            // An undelete that stopped part-way has left `deleted` behind already.
            _ => self != Self::Purge,
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_deleted_can_only_come_back_or_go_and_what_is_going_only_go() {
        let all = [
            Verb::Create,
            Verb::Apply,
            Verb::Suspend,
            Verb::Resume,
            Verb::Scale,
            Verb::Deploy,
            Verb::Rename,
            Verb::Rotate,
            Verb::Delete,
            Verb::Undelete,
            Verb::Purge,
        ];
        let fits = |status| all.into_iter().filter(|v| v.fits(status)).map(Verb::as_str).collect::<Vec<_>>().join(" ");
        assert_eq!(fits(TenantStatus::Deleted), "delete undelete purge");
        assert_eq!(fits(TenantStatus::Purging), "purge");
        assert_eq!(fits(TenantStatus::Purged), "create apply purge");
        assert_eq!(fits(TenantStatus::Active), "create apply suspend resume scale deploy rename rotate delete undelete");
        assert_eq!(fits(TenantStatus::Suspended), fits(TenantStatus::Failed));
        assert!([TenantStatus::Deleted, TenantStatus::Purging].into_iter().all(|s| Verb::Continue.fits(s)));
    }
}
