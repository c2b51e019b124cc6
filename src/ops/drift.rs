//! Drift: a tenant's desired state against the world, read-only. No lease is taken, nothing is written anywhere: tenant databases are
//! asked in read-only transactions.
//!
//! What a resource refers to is taken from the registry, as it was when it was last as wanted: so every resource is looked at, also where
//! what it refers to is gone, and one difference is told once and not again for each resource that depends on it.

use std::sync::Arc;

use chrono::Utc;
use futures_util::stream::{self, Stream, StreamExt};

use super::change::current;
use super::error::{OpError, outside};
use super::site::Site;
use super::survey::{desired, recorded, wanted};
use crate::engine::look::look;
use crate::engine::refs::{escape, resolve};
use crate::engine::step::{Known, Wanted, lookup};
use crate::kinds::{Cx, KINDS};
use crate::plan::Input;
use crate::plan::drift::Drift;
use crate::plan::waiver::Waived;
use crate::registry::{Resource, Tenant, TenantFilter, Waiver};

/// Tenants looked at side by side. Each look makes up to sixteen calls at once.
const AT_ONCE: usize = 4;

/// How one tenant differs.
pub struct TenantDrift {
    /// As it is on record.
    pub tenant: Tenant,
    /// Resources looked at.
    pub resources: usize,
    /// An operation under way or stopped part-way, which may explain what differs.
    pub unfinished: Option<i64>,
    /// What differs and is not allowed.
    pub drift: Drift,
    /// What differs and is allowed, by waivers that are in force.
    pub waived: Vec<Waived>,
}

/// Looks at one tenant.
///
/// # Errors
/// [`OpError::NoSuchTenant`], [`OpError::Spec`], [`OpError::Outside`], [`OpError::Registry`].
pub async fn drift(site: &Site, tenant: &str) -> Result<TenantDrift, OpError> {
    one(site, &Arc::new(site.cx.read_only()), tenant).await
}

/// Looks at many tenants, a few at a time; they come in the order of their ids. One that cannot be looked at does not hold up the others.
///
/// # Errors
/// [`OpError::Registry`], when the tenants cannot be listed.
pub async fn fleet<'s>(site: &'s Site, filter: &TenantFilter) -> Result<impl Stream<Item = (String, Result<TenantDrift, OpError>)> + 's, OpError> {
    let tenants = site.registry.tenants(filter).await?;
    let cx = Arc::new(site.cx.read_only());
    let looks = stream::iter(tenants).map(move |tenant| {
        let cx = Arc::clone(&cx);
        async move {
            let found = one(site, &cx, &tenant.id).await;
            (tenant.id, found)
        }
    });
    Ok(looks.buffered(AT_ONCE))
}

async fn one(site: &Site, cx: &Arc<Cx>, id: &str) -> Result<TenantDrift, OpError> {
    let unfinished = site.registry.unfinished_operation(id).await?;
    let current = current(site, id, unfinished).await?.ok_or_else(|| OpError::NoSuchTenant { tenant: id.to_owned() })?;
    let resources = site.registry.resources(id).await?;
    let desired = desired(site, &current.state)?;
    let wanted = settled(wanted(site, &desired, &current.state)?, &resources);
    let recorded = recorded(resources);
    let world = look(cx, KINDS, &wanted, &recorded, site.patience).await.map_err(outside(format!("look at what tenant `{id}` has")))?;
    let input = Input { tenant: id, wanted: &wanted, recorded: &recorded, world: &world, may_delete_data: false, as_found: false };
    let now = Utc::now();
    let allowed: Vec<_> = site.registry.waivers(id).await?.iter().filter(|w| w.in_force(now)).map(Waiver::allowed).collect();
    let (drift, waived) = Drift::find(&input, KINDS).without(&allowed);
    Ok(TenantDrift { waived, resources: world.len(), unfinished: current.unfinished.map(|o| o.number), tenant: current.tenant, drift })
}

/// The wanted resources with their references replaced by what the registry has, wherever it has them all.
fn settled(wanted: Vec<Wanted>, resources: &[Resource]) -> Vec<Wanted> {
    let known: Known = resources.iter().filter(|r| !r.outputs.is_empty()).map(|r| (r.address.clone(), r.outputs.clone())).collect();
    let settle = |mut w: Wanted| {
        let settled = resolve(&w.spec, &lookup(&w.address.tenant, &known));
        if let Ok(spec) = settled {
            w.spec = escape(&spec);
        }
        w
    };
    wanted.into_iter().map(settle).collect()
}
