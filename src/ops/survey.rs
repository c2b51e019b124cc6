//! A desired state against the world: what is wanted, recorded, seen and planned. Never writes.

use std::collections::BTreeMap;

use super::error::{OpError, outside};
use super::site::Site;
use crate::cloud::tags::owned;
use crate::engine::kind::{Address, find};
use crate::engine::look::{World, look};
use crate::engine::step::{Recorded, Wanted};
use crate::kinds::KINDS;
use crate::plan::life::DesiredState;
use crate::plan::{self, Plan};
use crate::registry::{Resource, ResourceStatus, Tenant};
use crate::spec::Invalid;
use crate::stack::{Desired, resolve};

/// A desired state against the world.
pub struct Survey {
    /// The tenant as recorded, if it is.
    pub tenant: Option<Tenant>,
    /// What is wanted, resource by resource.
    pub desired: Desired,
    /// What is to be done.
    pub plan: Plan,
}

/// All there is to make a plan from.
struct Sights {
    tenant: Option<Tenant>,
    desired: Desired,
    wanted: Vec<Wanted>,
    recorded: Vec<Recorded>,
    world: World,
}

/// Looks at everything a plan for this state is made from, and makes the plan.
///
/// # Errors
/// [`OpError::Spec`], [`OpError::OtherStack`], [`OpError::OtherIsolation`], [`OpError::Outside`], [`OpError::Registry`].
pub async fn survey(site: &Site, state: &DesiredState) -> Result<Survey, OpError> {
    let Sights { tenant, desired, wanted, recorded, world } = sights(site, state).await?;
    let input = plan::Input {
        tenant: &state.spec.id,
        wanted: &wanted,
        recorded: &recorded,
        world: &world,
        may_delete_data: state.life.purged,
        as_found: is_deleted(state),
    };
    let plan = Plan::make(&input, KINDS);
    let wrong = plan::check::check(&plan, KINDS, state.life.purged);
    if plan.problems.is_empty() && !wrong.is_empty() {
        return Err(OpError::Bug(format!("the plan does not hold together: {}", wrong.join("; "))));
    }
    Ok(Survey { tenant, desired, plan })
}

/// What there is of a tenant in this state, address by address.
///
/// # Errors
/// As [`survey`].
pub async fn world(site: &Site, state: &DesiredState) -> Result<World, OpError> {
    Ok(sights(site, state).await?.world)
}

async fn sights(site: &Site, state: &DesiredState) -> Result<Sights, OpError> {
    let spec = &state.spec;
    let desired = desired(site, state)?;
    let (tenant, resources) = tokio::try_join!(site.registry.find_tenant(&spec.id), site.registry.resources(&spec.id))?;
    if let Some(tenant) = &tenant
        && tenant.stack != spec.stack
    {
        return Err(OpError::OtherStack { tenant: spec.id.clone(), is: tenant.stack.clone(), wanted: spec.stack.clone() });
    }
    // The resources of another isolation are others, and would be made empty beside those that hold the data.
    if let Some(tenant) = &tenant
        && tenant.provisioned_at.is_some()
        && state.life.deleted.is_none()
        && !state.life.purged
        && tenant.isolation != desired.isolation.as_str()
    {
        return Err(OpError::OtherIsolation { tenant: spec.id.clone(), is: tenant.isolation.clone(), wanted: desired.isolation });
    }
    let wanted = wanted(site, &desired, state)?;
    let recorded = recorded(resources);
    let world = look(&site.cx, KINDS, &wanted, &recorded, site.patience).await.map_err(outside(format!("look at what tenant `{}` has", spec.id)))?;
    Ok(Sights { tenant, desired, wanted, recorded, world })
}

/// Deleted and not purged: it is put out of use as it is found.
fn is_deleted(state: &DesiredState) -> bool {
    state.life.deleted.is_some() && !state.life.purged
}

/// What planner and engine need to know of what the registry has.
pub(super) fn recorded(resources: Vec<Resource>) -> Vec<Recorded> {
    let there = resources.into_iter().filter(|r| r.status != ResourceStatus::Deleted);
    let row = |r: Resource| Recorded {
        id: r.recorded().map(ToOwned::to_owned),
        intent: r.intent().map(ToOwned::to_owned),
        finished: r.status == ResourceStatus::Ready,
        spec: r.spec,
        address: r.address,
        tags: r.tags,
        position: r.position,
    };
    there.map(row).collect()
}

/// What the state means in this place, for a tenant in use. Touches nothing.
///
/// # Errors
/// [`OpError::Spec`].
pub fn desired(site: &Site, state: &DesiredState) -> Result<Desired, OpError> {
    let spec = &state.effective();
    let invalid = |errors| OpError::Spec { tenant: spec.id.clone(), invalid: Invalid { errors } };
    let Some(stack) = site.stacks.get(&spec.stack) else {
        let place = crate::spec::Place::File(format!("the spec of `{}`", spec.id));
        let known: Vec<_> = site.stacks.names().collect();
        let problem = crate::spec::Problem::new("spec::unknown_stack", &place, format!("there is no stack `{}`", spec.stack));
        return Err(invalid(vec![problem.hint(format!("stacks are: {}", known.join(", ")))]));
    };
    let mut desired = resolve(stack, spec, state.named_after(), &site.platform, &|kind| find(KINDS, kind).map(|k| k.outputs_declared())).map_err(invalid)?;
    super::rotated::rotated(&mut desired, &state.life.credentials);
    // What the templates say must be what the kinds read: a misspelt field is found before anything is touched.
    for resource in &desired.resources {
        if let Some(Err(why)) = find(KINDS, &resource.kind).map(|k| k.check(&resource.spec)) {
            return Err(OpError::Bug(format!("stack `{}`, {}.{}: {why}", desired.stack, resource.kind, resource.name)));
        }
    }
    Ok(desired)
}

/// Every resource with its tags, as it shall be: as the stack says, or as far out of use as the state says, or not at all.
pub(super) fn wanted(site: &Site, desired: &Desired, state: &DesiredState) -> Result<Vec<Wanted>, OpError> {
    if state.life.purged {
        return Ok(Vec::new());
    }
    let registry = site.registry_id.to_string();
    let wanted = desired.resources.iter().map(|r| {
        let address = Address::new(&desired.tenant, &r.kind, &r.name);
        let spec = match (state.suspension(), find(KINDS, &r.kind)) {
            (Some(level), Some(kind)) => kind.suspended(&r.spec, level).map_err(|e| OpError::Bug(e.to_string()))?,
            _ => r.spec.clone(),
        };
        let mut tags: BTreeMap<String, String> = desired.tags.clone();
        tags.extend(owned(&address, &registry));
        let after = r.after.iter().map(|key| Address::new(&desired.tenant, &key.kind, &key.name)).collect();
        Ok(Wanted { address, spec, tags, after })
    });
    wanted.collect()
}
