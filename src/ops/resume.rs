//! Resume: a suspended tenant back in use, just as it was. The numbers of tasks from before stay with it: they are what its services come
//! back with.

use async_trait::async_trait;

use super::edit::{Current, Edit, Verb};
use super::error::OpError;
use super::site::Site;
use super::suspend::provisioned;
use crate::plan::life::DesiredState;

/// A known tenant back in use; one that is in use stays so.
pub struct Resume {
    /// Its id.
    pub tenant: String,
}

#[async_trait]
impl Edit for Resume {
    fn tenant(&self) -> &str {
        &self.tenant
    }
    fn verb(&self) -> Verb {
        Verb::Resume
    }
    async fn edit(&self, _site: &Site, current: Option<&Current>) -> Result<DesiredState, OpError> {
        let mut state = provisioned(&self.tenant, self.verb(), current)?;
        state.life.suspended = None;
        Ok(state)
    }
}
