//! Create and apply: a spec becomes the desired state. What verbs have changed since stays: a suspended tenant stays suspended.

use async_trait::async_trait;

use super::edit::{Current, Edit, Verb};
use super::error::OpError;
use super::site::Site;
use crate::plan::life::DesiredState;
use crate::spec::TenantSpec;

/// A tenant as its spec says. It must not exist yet, unless just so: whoever was killed after the end was on record, and comes again, finds
/// that it is done.
pub struct Create {
    /// The spec.
    pub spec: TenantSpec,
}

/// A tenant as its spec says, whether or not it exists.
pub struct Apply {
    /// The spec.
    pub spec: TenantSpec,
}

/// A known tenant as it is on record: whatever was changed behind labctl's back is made as it was.
pub struct Mend {
    /// Its id.
    pub tenant: String,
}

/// An unfinished operation's tenant, as that operation wanted it.
pub struct Continue {
    /// Its id.
    pub tenant: String,
}

#[async_trait]
impl Edit for Create {
    fn tenant(&self) -> &str {
        &self.spec.id
    }
    fn verb(&self) -> Verb {
        Verb::Create
    }
    async fn edit(&self, _site: &Site, current: Option<&Current>) -> Result<DesiredState, OpError> {
        let Some(current) = current else { return Ok(DesiredState::of(self.spec.clone())) };
        let half_made = current.tenant.provisioned_at.is_none() && current.unfinished.is_some() && current.state.spec == self.spec;
        let there = current.unfinished.is_none() && current.state == DesiredState::of(self.spec.clone());
        if half_made || there {
            return Ok(current.state.clone());
        }
        let tenant = &current.tenant;
        Err(OpError::Exists { tenant: tenant.id.clone(), status: tenant.status, revision: tenant.revision })
    }
}

#[async_trait]
impl Edit for Apply {
    fn tenant(&self) -> &str {
        &self.spec.id
    }
    fn verb(&self) -> Verb {
        Verb::Apply
    }
    async fn edit(&self, _site: &Site, current: Option<&Current>) -> Result<DesiredState, OpError> {
        let Some(current) = current else { return Ok(DesiredState::of(self.spec.clone())) };
        let mut life = current.state.life.clone();
        // Another subdomain in the file is a new name for people; what bears the old one physically goes on bearing it.
        let named_after = current.state.named_after().to_owned();
        life.named_after = (named_after != self.spec.subdomain).then_some(named_after);
        // Numbers remembered from before a suspension mean nothing under new bounds.
        let (before, after) = (&current.state.spec, &self.spec);
        life.counts.retain(|service, _| {
            let paths = ["min", "desired", "max"].map(|end| format!("{service}.{end}"));
            before.tier == after.tier && paths.iter().all(|path| before.overrides.get(path) == after.overrides.get(path))
        });
        Ok(DesiredState { spec: self.spec.clone(), life })
    }
}

#[async_trait]
impl Edit for Mend {
    fn tenant(&self) -> &str {
        &self.tenant
    }
    fn verb(&self) -> Verb {
        Verb::Apply
    }
    async fn edit(&self, _site: &Site, current: Option<&Current>) -> Result<DesiredState, OpError> {
        as_it_is(&self.tenant, current)
    }
}

#[async_trait]
impl Edit for Continue {
    fn tenant(&self) -> &str {
        &self.tenant
    }
    fn verb(&self) -> Verb {
        Verb::Continue
    }
    async fn edit(&self, _site: &Site, current: Option<&Current>) -> Result<DesiredState, OpError> {
        as_it_is(&self.tenant, current)
    }
}

fn as_it_is(tenant: &str, current: Option<&Current>) -> Result<DesiredState, OpError> {
    current.map(|c| c.state.clone()).ok_or_else(|| OpError::NoSuchTenant { tenant: tenant.to_owned() })
}
