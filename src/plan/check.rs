//! Holds a finished plan to its invariants, apart from the code that made it: a plan leaves no choice for execution.

use std::collections::BTreeSet;

use super::Plan;
use crate::engine::kind::{Address, Deletion, Kinds, find};
use crate::engine::refs::refs;
use crate::engine::step::Action;

/// The invariants that do not hold, in words; empty for a sound plan.
pub fn check<C>(plan: &Plan, kinds: Kinds<C>, may_delete_data: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    let all: BTreeSet<&Address> = plan.steps.iter().map(|s| &s.address).collect();
    if all.len() != plan.steps.len() {
        wrong.push("an address stands twice".to_owned());
    }
    // An address with a problem holds the plan up anyway; what else is wrong with it follows from that.
    let sound = |at: &Address| plan.problems.iter().all(|p| p.address != *at);
    let mut before: BTreeSet<&Address> = BTreeSet::new();
    for step in &plan.steps {
        let at = &step.address;
        if at.tenant != plan.tenant {
            wrong.push(format!("{at} is another tenant's"));
        }
        for need in &step.needs {
            if !all.contains(need) {
                wrong.push(format!("{at} needs {need}, which the plan does not have"));
            } else if !before.contains(need) {
                wrong.push(format!("{at} stands before {need}, which it needs"));
            }
        }
        if step.action != Action::Delete {
            for r in refs(&step.spec) {
                let to = Address::new(&at.tenant, &r.kind, &r.name);
                if !step.needs.contains(&to) {
                    wrong.push(format!("{at} refers to {to} without needing it"));
                }
                match plan.steps.iter().find(|s| s.address == to) {
                    Some(s) if s.action == Action::Delete => wrong.push(format!("{at} refers to {to}, which is to be deleted")),
                    Some(s) if s.action == Action::Keep && step.action != Action::Keep && !s.outputs.contains_key(&r.output) && sound(&to) => {
                        wrong.push(format!("{at} refers to {r}, which is kept and does not offer that"));
                    }
                    _ if find(kinds, &r.kind).is_some_and(|k| !k.outputs_declared().contains(&r.output.as_str())) => {
                        wrong.push(format!("{at} refers to {r}, which no {} offers", r.kind));
                    }
                    _ => {}
                }
            }
        }
        if matches!(step.action, Action::Update | Action::Replace) && step.changes.is_empty() {
            wrong.push(format!("{at} would be changed without a reason"));
        }
        if find(kinds, &at.kind).is_none() && sound(at) {
            wrong.push(format!("{at} is of no known kind"));
        }
        let holds_data = find(kinds, &at.kind).is_none_or(|k| k.deletion() == Deletion::Retain);
        if holds_data && matches!(step.action, Action::Delete | Action::Replace) && !may_delete_data {
            wrong.push(format!("{at} holds data and would be deleted"));
        }
        if step.action == Action::Keep && step.recorded.is_none() && sound(at) {
            wrong.push(format!("{at} is kept but not on record"));
        }
        before.insert(at);
    }
    wrong
}
