//! Suspend: a tenant out of use, as far as its level says, until it is resumed. What that means for each thing is the kind's to say
//! ([`Kind::suspended`](crate::engine::kind::Kind::suspended)); here only the desired state changes.

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::Utc;
use serde_json::Value;

use super::edit::{Current, Edit, Verb};
use super::error::OpError;
use super::site::Site;
use super::survey::world;
use crate::engine::kind::{Observed, Suspension};
use crate::engine::look::Sight;
use crate::plan::life::{DesiredState, Suspended};
use crate::stack::overrides::{self, within};

/// The kind whose tasks are counted.
const SERVICE: &str = "ecs_service";

/// A known tenant out of use.
pub struct Suspend {
    /// Its id.
    pub tenant: String,
    /// How far.
    pub level: Suspension,
    /// Why, in the operator's words.
    pub reason: Option<String>,
}

#[async_trait]
impl Edit for Suspend {
    fn tenant(&self) -> &str {
        &self.tenant
    }
    fn verb(&self) -> Verb {
        Verb::Suspend
    }
    fn note(&self) -> Option<&str> {
        self.reason.as_deref()
    }
    async fn edit(&self, site: &Site, current: Option<&Current>) -> Result<DesiredState, OpError> {
        let mut state = provisioned(&self.tenant, self.verb(), current)?;
        // What runs is counted while it runs: at the level at which everything stops, and not again once it has.
        if self.level == Suspension::Full && state.suspension() != Some(Suspension::Full) {
            state.life.counts.extend(running(site, &state).await?);
        }
        let before = state.life.suspended.take();
        state.life.suspended = Some(Suspended {
            level: self.level,
            reason: self.reason.clone().or_else(|| before.as_ref().and_then(|b| b.reason.clone())),
            since: before.map_or_else(Utc::now, |b| b.since),
        });
        Ok(state)
    }
}

/// The desired state of a tenant that has been ready once.
///
/// # Errors
/// [`OpError::NoSuchTenant`], [`OpError::NeverReady`].
pub(super) fn provisioned(tenant: &str, verb: Verb, current: Option<&Current>) -> Result<DesiredState, OpError> {
    let Some(current) = current else { return Err(OpError::NoSuchTenant { tenant: tenant.to_owned() }) };
    if current.tenant.provisioned_at.is_none() {
        return Err(OpError::NeverReady { tenant: tenant.to_owned(), status: current.tenant.status, verb });
    }
    Ok(current.state.clone())
}

/// How many tasks each service is to run at this moment, whoever chose that; only of services whose number the tier lets be set, and only
/// where it lies within the service's own bounds. (A service that a run cut off has not brought back yet is outside of them.)
pub(super) async fn running(site: &Site, state: &DesiredState) -> Result<BTreeMap<String, i64>, OpError> {
    let spec = state.effective();
    let Some(tier) = site.stacks.get(&spec.stack).and_then(|s| s.tiers.get(&spec.tier)) else { return Ok(BTreeMap::new()) };
    let settings = overrides::apply(tier, &spec.overrides).unwrap_or_else(|_| tier.settings.clone());
    let mut counts = BTreeMap::new();
    for (address, sight) in world(site, state).await? {
        let Sight::Seen { observed: Observed::Mine { state, .. }, .. } = sight else { continue };
        let Some(count) = state["desired"].as_i64().filter(|_| address.kind == SERVICE) else { continue };
        let setting = |end: &str| settings.get(&format!("{}.{end}", address.name)).and_then(Value::as_i64);
        let bounded = setting("min").is_none_or(|min| min <= count) && setting("max").is_none_or(|max| count <= max);
        let allowed = tier.overrides.get(&format!("{}.desired", address.name)).is_some_and(|bound| within(bound, &Value::from(count)).is_ok());
        if bounded && allowed {
            counts.insert(address.name, count);
        }
    }
    Ok(counts)
}
