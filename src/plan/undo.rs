//! What of a failed run may be undone. Pure.

use std::collections::BTreeSet;

use crate::engine::kind::{Address, Deletion, Kinds, find};
use crate::engine::step::Step;

/// Of what a run has made, what may be deleted again: nothing that holds data, and nothing that such a thing refers to, be it by others.
pub fn undoable<C>(steps: &[Step], made: &BTreeSet<Address>, kinds: Kinds<C>) -> BTreeSet<Address> {
    let holds_data = |a: &Address| find(kinds, &a.kind).is_none_or(|k| k.deletion() == Deletion::Retain);
    let mut kept: BTreeSet<&Address> = made.iter().filter(|a| holds_data(a)).collect();
    // Steps come in an order in which each follows what it needs: backwards, one pass is enough.
    for step in steps.iter().rev() {
        if kept.contains(&step.address) {
            kept.extend(&step.needs);
        }
    }
    made.iter().filter(|a| !kept.contains(a)).cloned().collect()
}
