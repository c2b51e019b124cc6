//! Observes everything a plan is made from, along the dependency graph. Never writes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use futures_util::stream::{FuturesUnordered, StreamExt};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::clock::sleep;
use super::fault::{Class, Fault};
use super::kind::{Address, AnyKind, Kinds, Observed, Outputs, Ready, Target, find};
use super::pace::Patience;
use super::refs::{Ref, refs, resolve};
use super::step::{Known, Recorded, Wanted, lookup};

/// What is known of one address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sight {
    /// It was looked at.
    Seen {
        /// The spec it was looked at with, all references resolved.
        spec: Value,
        /// What was found.
        observed: Observed<Value>,
        /// Whether what was found can be used; none when nothing of ours is there.
        ready: Option<Ready>,
        /// What it offers to others; only of what is ready.
        outputs: Option<Outputs>,
        /// The id of what is still there under the spec on record, where nothing is there under this one: it was named otherwise.
        former: Option<String>,
    },
    /// Its spec refers to what is not there yet.
    Later(BTreeSet<String>),
}

/// Everything looked at, by address.
pub type World = BTreeMap<Address, Sight>;

/// Calls in flight at once while looking.
const AT_ONCE: usize = 16;

/// Looks at every wanted address (in dependency order, as far as references can be resolved), and at every recorded one that is
/// no longer wanted.
///
/// # Errors
/// The first look that could not be made, after patient tries: a plan is not made from guesses.
pub async fn look<C: Send + Sync + 'static>(
    cx: &Arc<C>,
    kinds: Kinds<C>,
    wanted: &[Wanted],
    recorded: &[Recorded],
    patience: Patience,
) -> Result<World, Fault> {
    let remembered: BTreeMap<&Address, &Recorded> = recorded.iter().map(|r| (&r.address, r)).collect();
    let given_up = recorded.iter().filter(|r| !r.spec.is_null() && !wanted.iter().any(|w| w.address == r.address));
    let leftovers: Vec<Wanted> =
        given_up.map(|r| Wanted { address: r.address.clone(), spec: r.spec.clone(), tags: r.tags.clone(), after: Vec::new() }).collect();

    let (mut world, mut known) = (World::new(), Known::new());
    // A spec on record is resolved already: a `${` in it is text.
    let mut queue: VecDeque<(&Wanted, Value)> = leftovers.iter().map(|w| (w, w.spec.clone())).collect();
    let mut waiting: Vec<&Wanted> = wanted.iter().collect();
    let mut flying = FuturesUnordered::new();
    loop {
        take_up(&mut waiting, &mut queue, &mut world, &known);
        while flying.len() < AT_ONCE
            && let Some((w, spec)) = queue.pop_front()
        {
            let recorded = remembered.get(&w.address).copied();
            let cx = Arc::clone(cx);
            flying.push(async move { (w, look_at(&*cx, kinds, w, spec, recorded, patience).await) });
        }
        let Some((w, sight)) = flying.next().await else { break };
        let sight = sight?;
        if let Sight::Seen { outputs: Some(outputs), .. } = &sight {
            known.insert(w.address.clone(), outputs.clone());
        }
        world.insert(w.address.clone(), sight);
    }
    // What is left refers to what is nowhere, or in a circle.
    for w in waiting {
        world.insert(w.address.clone(), Sight::Later(refs(&w.spec).iter().map(Ref::to_string).collect()));
    }
    Ok(world)
}

/// Moves what can be resolved by now from `waiting` to `queue`, and what never will be to `world`, until nothing moves.
fn take_up<'a>(waiting: &mut Vec<&'a Wanted>, queue: &mut VecDeque<(&'a Wanted, Value)>, world: &mut World, known: &Known) {
    loop {
        let (now, later): (Vec<_>, Vec<_>) = std::mem::take(waiting)
            .into_iter()
            .partition(|w| refs(&w.spec).iter().all(|r| world.contains_key(&Address::new(&w.address.tenant, &r.kind, &r.name))));
        *waiting = later;
        if now.is_empty() {
            return;
        }
        for w in now {
            match resolve(&w.spec, &lookup(&w.address.tenant, known)) {
                Ok(spec) => queue.push_back((w, spec)),
                Err(missing) => {
                    world.insert(w.address.clone(), Sight::Later(missing.iter().map(Ref::to_string).collect()));
                }
            }
        }
    }
}

async fn look_at<C: Send + Sync + 'static>(
    cx: &C,
    kinds: Kinds<C>,
    w: &Wanted,
    spec: Value,
    recorded: Option<&Recorded>,
    patience: Patience,
) -> Result<Sight, Fault> {
    // The planner makes a problem of it, together with all other problems.
    let Some(kind) = find(kinds, &w.address.kind) else { return Ok(Sight::Later(BTreeSet::new())) };
    let target = Target { address: &w.address, spec: &spec, tags: &w.tags };
    let id = recorded.and_then(|r| r.id.as_deref());
    let observed = patiently(cx, kind, &target, id, patience).await?;
    let mut former = None;
    if observed == Observed::Absent
        && let Some(r) = recorded.filter(|r| r.id.is_some() && !r.spec.is_null() && r.spec != spec)
        && let Observed::Mine { id, .. } = patiently(cx, kind, &Target { spec: &r.spec, ..target }, id, patience).await?
    {
        former = Some(id);
    }
    let (ready, outputs) = match &observed {
        Observed::Mine { id, state } => {
            let ready = kind.ready(&target, state)?;
            let outputs = if ready == Ready::Ready { Some(kind.outputs(&target, id, state)?) } else { None };
            (Some(ready), outputs)
        }
        _ => (None, None),
    };
    Ok(Sight::Seen { spec, observed, ready, outputs, former })
}

async fn patiently<C>(cx: &C, kind: &dyn AnyKind<C>, target: &Target<'_, Value>, id: Option<&str>, patience: Patience) -> Result<Observed<Value>, Fault> {
    let mut tries = 0;
    loop {
        match kind.observe(cx, target, id).await {
            Err(fault) if fault.class != Class::Refused && tries < 3 => sleep(patience.retry(tries)).await,
            answer => return answer,
        }
        tries += 1;
    }
}
