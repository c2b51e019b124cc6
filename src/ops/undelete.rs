//! Undelete: not deleted after all. What was suspended before stays suspended, and what is not deleted stays as it is.

use async_trait::async_trait;

use super::edit::{Current, Edit, Verb};
use super::error::OpError;
use super::site::Site;
use crate::plan::life::DesiredState;

/// A deleted tenant is brought back.
pub struct Undelete {
    /// Its id.
    pub tenant: String,
}

#[async_trait]
impl Edit for Undelete {
    fn tenant(&self) -> &str {
        &self.tenant
    }
    fn verb(&self) -> Verb {
        Verb::Undelete
    }
    async fn edit(&self, _site: &Site, current: Option<&Current>) -> Result<DesiredState, OpError> {
        let Some(current) = current else { return Err(OpError::NoSuchTenant { tenant: self.tenant.clone() }) };
        let mut state = current.state.clone();
        state.life.deleted = None;
        Ok(state)
    }
}
