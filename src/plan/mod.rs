//! Desired × observed → [`Plan`]. Pure, synchronous, deterministic: data in, data out; the list of kinds is an argument.
//!
//! * [`decide`]: what is to be done at each address, and why.
//! * [`life`]: what verbs have made of a tenant since its spec was written.
//! * [`rotation`]: how far the rotation of credentials has come.
//! * [`drift`]: where the world differs from what is wanted, apart from any plan.
//! * [`waiver`]: differences that are allowed for a time.
//! * [`difference`]: how two desired states differ.
//! * [`undo`]: what of a failed run may be undone.
//! * [`check`]: holds a finished plan to its invariants, apart from the code that made it.

pub mod check;
pub mod decide;
pub mod difference;
pub mod drift;
pub mod life;
pub mod rotation;
pub mod undo;
pub mod waiver;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::engine::kind::{Address, Deletion, Kinds};
use crate::engine::look::World;
use crate::engine::step::{Action, Recorded, Step, Wanted};

/// The version of the serialized form.
pub const VERSION: u32 = 1;

/// What is to be done for one tenant: every resource once, in an order in which it could be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Version of this serialized form.
    pub version: u32,
    /// The tenant's id.
    pub tenant: String,
    /// All steps, `Keep` ones included.
    pub steps: Vec<Step>,
    /// Why it may not be carried out. Empty for a plan that may.
    pub problems: Vec<Problem>,
}

/// A reason not to carry a plan out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Where.
    pub address: Address,
    /// `foreign`, `many`, `forbidden`, `renamed`, `retained`, `unknown_kind`, `unreadable`.
    pub code: String,
    /// What is in the way.
    pub message: String,
    /// What the operator can do.
    pub hint: String,
}

/// What a plan is made from.
pub struct Input<'a> {
    /// The tenant's id.
    pub tenant: &'a str,
    /// What is wanted, in the template's order.
    pub wanted: &'a [Wanted],
    /// What the registry remembers.
    pub recorded: &'a [Recorded],
    /// What was seen.
    pub world: &'a World,
    /// Whether what holds data may be deleted (`purge`).
    pub may_delete_data: bool,
    /// Whether only what is there is brought to its wanted state, nothing is made and nothing is removed (`delete`: a tenant on its way
    /// out gets nothing new, and keeps all it has until it is purged).
    pub as_found: bool,
}

/// How many steps of which action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// To make.
    pub create: usize,
    /// To change in place.
    pub update: usize,
    /// To delete and make again.
    pub replace: usize,
    /// To delete.
    pub delete: usize,
    /// To leave.
    pub keep: usize,
}

impl Plan {
    /// Makes the plan.
    pub fn make<C>(input: &Input<'_>, kinds: Kinds<C>) -> Self {
        let order = order(input.wanted);
        let mut problems = Vec::new();
        let on_record = |w: &&&Wanted| !input.as_found || input.recorded.iter().any(|r| r.address == w.address);
        let mut steps: Vec<Step> = order.iter().filter(on_record).map(|w| decide::wanted(input, kinds, w, &mut problems)).collect();
        if input.as_found {
            decide::leave_out_creates(&mut steps);
        }
        decide::unsettle(&mut steps, kinds);
        if !input.as_found {
            let leftovers = decide::leftovers(input, kinds, &steps, &mut problems);
            steps.extend(leftovers);
        }
        Self { version: VERSION, tenant: input.tenant.to_owned(), steps, problems }
    }

    /// Nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.steps.iter().all(|s| s.action == Action::Keep)
    }

    /// How many steps of which action.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for step in &self.steps {
            *match step.action {
                Action::Keep => &mut counts.keep,
                Action::Create => &mut counts.create,
                Action::Update => &mut counts.update,
                Action::Replace => &mut counts.replace,
                Action::Delete => &mut counts.delete,
            } += 1;
        }
        counts
    }

    /// The chain of steps that takes longest, usual times added up: addresses of steps with something to do, in order, and seconds in
    /// all. Of two equally long ones, the one that comes first in the plan.
    pub fn critical_path(&self) -> (Vec<Address>, u64) {
        let mut best: BTreeMap<&Address, (u64, Option<&Address>)> = BTreeMap::new();
        let mut end: Option<(&Address, u64)> = None;
        for step in self.steps.iter().filter(|s| s.action != Action::Keep) {
            let before = step.needs.iter().filter_map(|n| best.get(n).map(|(s, _)| (*s, n))).max_by_key(|(s, _)| *s);
            let total = before.map_or(0, |(s, _)| s) + step.seconds;
            best.insert(&step.address, (total, before.map(|(_, n)| n)));
            if end.is_none_or(|(_, most)| total > most) {
                end = Some((&step.address, total));
            }
        }
        let Some((mut at, total)) = end else { return (Vec::new(), 0) };
        let mut path = vec![at.clone()];
        while let Some((_, Some(before))) = best.get(at) {
            path.push((*before).clone());
            at = before;
        }
        path.reverse();
        (path, total)
    }

    /// Whether any step deletes what holds data.
    pub fn deletes_data<C>(&self, kinds: Kinds<C>) -> bool {
        self.steps.iter().any(|s| {
            matches!(s.action, Action::Delete | Action::Replace)
                && crate::engine::kind::find(kinds, &s.address.kind).is_none_or(|k| k.deletion() == Deletion::Retain)
        })
    }
}

/// The wanted resources in an order in which each comes after all it needs; otherwise the template's order. The stack has refused
/// circles long before; should one arrive here, its members keep the template's order and the check refuses the plan.
fn order(wanted: &[Wanted]) -> Vec<&Wanted> {
    let mut left: Vec<&Wanted> = wanted.iter().collect();
    let mut out: Vec<&Wanted> = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let (now, later): (Vec<_>, Vec<_>) =
            left.iter().partition(|w| w.needs().iter().all(|n| out.iter().any(|d| d.address == *n) || !wanted.iter().any(|x| x.address == *n)));
        if now.is_empty() {
            out.extend(later);
            break;
        }
        // One at a time: a resource follows what it needs as closely as the template's order allows.
        out.push(now[0]);
        left.retain(|w| w.address != now[0].address);
    }
    out
}
