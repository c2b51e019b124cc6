//! What an operator settles of an operation that no run can: it is given up, or a step of it is looked at by somebody who knows.

use std::collections::BTreeMap;

use crate::engine::kind::{Address, Observed, Target, find};
use crate::engine::refs;
use crate::engine::step::{Known, lookup};
use crate::kinds::KINDS;
use crate::registry::resolve::Finding;
use crate::registry::{HeldLease, Operation, Process, RegistryError, TenantStatus};

use super::error::{OpError, outside};
use super::site::Site;

/// Gives an unfinished operation up. Returns how its tenant stands then.
///
/// # Errors
/// [`OpError::Registry`]: `Locked` while a live process holds the tenant's lease, `Finished` for what is over.
pub async fn abort(site: &Site, operation: i64, reason: Option<&str>, command: &str) -> Result<TenantStatus, OpError> {
    let (_, lease) = taken(site, operation, command).await?;
    let aborted = site.registry.abort_operation(&lease, operation, reason).await;
    lease.release().await?;
    Ok(aborted?)
}

/// Puts on record what an operator found of a step in doubt, once the kind has found the same: a thing of that id that carries our
/// ownership, or none at all. Returns how many steps of the operation are still in doubt.
///
/// # Errors
/// [`OpError::Finding`] when the world is not as the operator says; [`OpError::Registry`], [`OpError::Outside`].
pub async fn resolve(site: &Site, operation: i64, address: &Address, finding: &Finding, reason: Option<&str>, command: &str) -> Result<i64, OpError> {
    let (_, lease) = taken(site, operation, command).await?;
    let resolved = async {
        check(site, address, finding).await?;
        Ok(site.registry.resolve_step(&lease, operation, address, finding, reason).await?)
    };
    let resolved = resolved.await;
    lease.release().await?;
    resolved
}

/// The operation, which is not over, and its tenant's lease.
async fn taken(site: &Site, operation: i64, command: &str) -> Result<(Operation, HeldLease), OpError> {
    let found = site.registry.operation(operation).await?.operation;
    if found.status.is_over() {
        return Err(RegistryError::Finished { operation, status: found.status }.into());
    }
    let lease = site.registry.acquire_lease(&found.tenant, &site.holder, command, Process::is_alive).await?;
    Ok((found, lease))
}

/// Holds the finding against the world.
async fn check(site: &Site, address: &Address, finding: &Finding) -> Result<(), OpError> {
    let resources = site.registry.all_resources(&address.tenant).await?;
    let unlike = |why: String| OpError::Finding { address: address.clone(), why };
    let resource = resources.iter().find(|r| r.address == *address).ok_or_else(|| unlike("nothing of it is on record".to_owned()))?;
    let kind = find(KINDS, &address.kind).ok_or_else(|| unlike("this labctl knows no such kind".to_owned()))?;
    // What was never begun has its spec as planned; what it refers to is on record by now, or it would not have been tried.
    let known: Known = resources.iter().map(|r| (r.address.clone(), r.outputs.clone())).collect::<BTreeMap<_, _>>();
    let spec = refs::resolve(&resource.spec, &lookup(&address.tenant, &known)).unwrap_or_else(|_| resource.spec.clone());
    let target = Target { address, spec: &spec, tags: &resource.tags };
    let id = match finding {
        Finding::There(id) => Some(id.as_str()),
        Finding::Absent => resource.recorded(),
    };
    let observed = kind.observe(&*site.cx, &target, id).await.map_err(outside(format!("look at {address}")))?;
    match (finding, observed) {
        (Finding::There(said), Observed::Mine { id, .. }) if id == *said => Ok(()),
        (Finding::There(said), Observed::Mine { id, .. }) => Err(unlike(format!("what is there is `{id}`, not `{said}`"))),
        (Finding::There(_), Observed::Absent) => Err(unlike("there is no such thing".to_owned())),
        (Finding::There(_), Observed::Many(ids)) => Err(unlike(format!("several carry its ownership: {}", ids.join(", ")))),
        (Finding::Absent, Observed::Absent) => Ok(()),
        (Finding::Absent, Observed::Mine { id, .. }) => Err(unlike(format!("it is there, as `{id}`"))),
        (Finding::Absent, Observed::Many(ids)) => Err(unlike(format!("several carry its ownership: {}", ids.join(", ")))),
        (_, Observed::Foreign(whose)) => Err(unlike(format!("what is there is not this tenant's: {whose}"))),
    }
}
