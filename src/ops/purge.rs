//! Purge: nothing of a deleted tenant shall exist. The desired state is empty; the planner does the rest, and [`proof`](super::proof) shows
//! that it is done.

use async_trait::async_trait;

use super::edit::{Current, Edit, Verb};
use super::error::OpError;
use super::site::Site;
use crate::plan::life::DesiredState;
use crate::registry::Hold;

/// A deleted tenant is removed for good.
pub struct Purge {
    /// Its id.
    pub tenant: String,
    /// Before its purge date.
    pub now: bool,
}

#[async_trait]
impl Edit for Purge {
    fn tenant(&self) -> &str {
        &self.tenant
    }
    fn verb(&self) -> Verb {
        Verb::Purge
    }
    async fn edit(&self, site: &Site, current: Option<&Current>) -> Result<DesiredState, OpError> {
        let Some(current) = current else { return Err(OpError::NoSuchTenant { tenant: self.tenant.clone() }) };
        let mut state = current.state.clone();
        // Under way, or done: then it is looked for whether anything has turned up since.
        if state.life.purged {
            return Ok(state);
        }
        let Some(deleted) = &state.life.deleted else {
            return Err(OpError::Status { tenant: self.tenant.clone(), status: current.tenant.status, verb: self.verb() });
        };
        // The database refuses a held tenant as well; here the operator gets to read why before anything is looked at.
        let holds: Vec<Hold> = site.registry.holds(&self.tenant).await?.into_iter().filter(Hold::in_force).collect();
        if !holds.is_empty() {
            return Err(OpError::Held { tenant: self.tenant.clone(), holds });
        }
        if !self.now && site.registry.now().await? < deleted.purge_after {
            return Err(OpError::TooEarly { tenant: self.tenant.clone(), purge_after: deleted.purge_after });
        }
        state.life.purged = true;
        Ok(state)
    }
}
