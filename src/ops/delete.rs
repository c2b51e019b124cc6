//! Delete: out of use in full from now on, and to be purged from a date on. Nothing is removed, and nothing is made.

use async_trait::async_trait;
use chrono::Duration;

use super::edit::{Current, Edit, Verb};
use super::error::OpError;
use super::site::Site;
use super::survey::desired;
use crate::plan::life::{Deleted, DesiredState};

/// The tier's setting that says how many days a deleted tenant can be brought back.
pub const PURGE_AFTER_DAYS: &str = "purge_after_days";
/// Where the tier does not say.
const DEFAULT_DAYS: i64 = 30;

/// A tenant is deleted; it can be brought back until it is purged. Deleted again, it keeps its first dates.
pub struct Delete {
    /// Its id.
    pub tenant: String,
    /// The operator's words.
    pub reason: Option<String>,
}

#[async_trait]
impl Edit for Delete {
    fn tenant(&self) -> &str {
        &self.tenant
    }
    fn verb(&self) -> Verb {
        Verb::Delete
    }
    fn note(&self) -> Option<&str> {
        self.reason.as_deref()
    }
    async fn edit(&self, site: &Site, current: Option<&Current>) -> Result<DesiredState, OpError> {
        let Some(current) = current else { return Err(OpError::NoSuchTenant { tenant: self.tenant.clone() }) };
        let mut state = current.state.clone();
        if state.life.deleted.is_none() {
            let days = desired(site, &state)?.settings.get(PURGE_AFTER_DAYS).and_then(serde_json::Value::as_i64);
            let days = days.filter(|d| *d >= 0).unwrap_or(DEFAULT_DAYS);
            let at = site.registry.now().await?;
            state.life.deleted = Some(Deleted { at, purge_after: at + Duration::days(days), reason: self.reason.clone() });
        }
        Ok(state)
    }
}
