//! What is to be done at each address, and why.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Input, Problem};
use crate::engine::kind::{Address, AnyKind, Change, Deletion, Diff, Kinds, Observed, Outputs, Ready, Target, find};
use crate::engine::look::Sight;
use crate::engine::refs::{Ref, refs};
use crate::engine::step::{Action, Recorded, Step, Wanted};

/// The step of a wanted resource.
pub(super) fn wanted<C>(input: &Input<'_>, kinds: Kinds<C>, w: &Wanted, problems: &mut Vec<Problem>) -> Step {
    let recorded = input.recorded.iter().find(|r| r.address == w.address);
    let mut step = Step {
        address: w.address.clone(),
        action: Action::Keep,
        changes: Vec::new(),
        spec: w.spec.clone(),
        tags: w.tags.clone(),
        needs: w.needs().into_iter().collect(),
        recorded: recorded.and_then(|r| r.id.clone()),
        certain: true,
        intent: recorded.and_then(|r| r.intent.clone()),
        unfinished: recorded.is_some_and(unfinished),
        outputs: Outputs::new(),
        seconds: find(kinds, &w.address.kind).map_or(0, |k| k.timing().typical.as_secs()),
    };
    let Some(kind) = find(kinds, &w.address.kind) else {
        problems.push(problem(&w.address, "unknown_kind", "there is no kind of that name", "mend the stack's template"));
        return step;
    };
    match input.world.get(&w.address) {
        None => {
            step.certain = false;
            step.action = if step.recorded.is_some() { Action::Update } else { Action::Create };
            if step.action == Action::Update {
                step.changes = vec![Change::new("world", "not looked at", "as wanted")];
            }
        }
        Some(Sight::Later(refs)) => {
            step.certain = false;
            if step.recorded.is_some() {
                step.action = Action::Update;
                step.changes = refs.iter().map(|r| Change::new("depends on", r, "(known after apply)")).collect();
            } else {
                step.action = Action::Create;
            }
        }
        Some(Sight::Seen { former: Some(id), .. }) => {
            let message = format!("it exists under its former name, as {id}; making another would leave that one behind, with all it holds");
            problems.push(problem(&w.address, "renamed", &message, "keep its name in the spec or the stack, or move what it holds and delete it first"));
        }
        Some(Sight::Seen { spec, observed, ready, outputs, former: None }) => {
            let target = Target { address: &w.address, spec, tags: &w.tags };
            seen(&mut step, kind, &target, recorded, (observed, ready.as_ref(), outputs.as_ref()), problems);
        }
    }
    if step.action == Action::Create {
        match kind.announced(&step.spec) {
            Ok(announced) => step.changes.extend(announced),
            Err(fault) => problems.push(problem(&w.address, "unreadable", &fault.to_string(), "mend the stack's template")),
        }
    }
    step
}

type Seen<'a> = (&'a Observed<Value>, Option<&'a Ready>, Option<&'a Outputs>);

fn seen<C>(step: &mut Step, kind: &dyn AnyKind<C>, target: &Target<'_, Value>, recorded: Option<&Recorded>, seen: Seen<'_>, problems: &mut Vec<Problem>) {
    let (observed, ready, outputs) = seen;
    let (id, state) = match observed {
        Observed::Absent => {
            step.action = Action::Create;
            if let Some(id) = &step.recorded {
                step.changes.push(Change::new("gone", id, "made again"));
            }
            if !step.unfinished {
                step.recorded = None;
            }
            return;
        }
        Observed::Foreign(whose) => {
            let hint = "choose another name, or remove what is in the way; labctl never takes over what is not its own";
            problems.push(problem(&step.address, "foreign", &format!("something of that name exists already: {whose}"), hint));
            return;
        }
        Observed::Many(ids) => {
            let hint = "look at them, keep the one in use, remove the others";
            problems.push(problem(&step.address, "many", &format!("several carry the ownership of this address: {}", ids.join(", ")), hint));
            return;
        }
        Observed::Mine { id, state } => (id, state),
    };
    match kind.diff(target, state) {
        Err(fault) => problems.push(problem(&step.address, "unreadable", &fault.to_string(), "this is a bug in labctl")),
        Ok(Diff::Forbidden(why)) => problems.push(problem(&step.address, "forbidden", &why, "change the spec, or move the data by hand")),
        Ok(Diff::Replace(change)) if kind.deletion() == Deletion::Retain => {
            let message = format!("only deleting and making it again would do ({change}), and it holds data");
            problems.push(problem(&step.address, "forbidden", &message, "change the spec back, or move the tenant"));
        }
        Ok(Diff::Replace(change)) => {
            step.action = Action::Replace;
            step.changes = vec![change];
        }
        Ok(Diff::Update(changes)) => {
            step.action = Action::Update;
            step.changes = changes;
        }
        Ok(Diff::Same) => match ready {
            Some(Ready::Waiting(why)) => {
                step.action = Action::Update;
                step.changes = vec![Change::new("status", why, "ready")];
            }
            Some(Ready::Broken(why)) => {
                step.action = Action::Update;
                step.changes = vec![Change::new("status", format!("broken: {why}"), "ready")];
            }
            // It is there and ours, but its making was never finished on record.
            _ if recorded.is_none_or(|r| !r.finished || r.id.is_none() || r.intent.is_some()) => {
                step.action = Action::Update;
                step.changes = vec![Change::new("registry", "not on record", "on record")];
            }
            _ if step.recorded.as_ref() != Some(id) => {
                step.action = Action::Update;
                step.changes = vec![Change::new("registry", step.recorded.as_deref().unwrap_or("(none)"), id)];
            }
            _ => {}
        },
    }
    step.outputs = outputs.cloned().unwrap_or_default();
}

/// Whoever refers to what may change while the plan is carried out cannot be kept unseen: it is looked at again once that is known.
/// Steps come in an order in which each follows what it needs, so one pass is enough.
pub(super) fn unsettle<C>(steps: &mut [Step], kinds: Kinds<C>) {
    let mut moving: BTreeSet<(Address, &str)> = BTreeSet::new();
    for step in steps {
        let moved: Vec<Ref> =
            refs(&step.spec).into_iter().filter(|r| moving.contains(&(Address::new(&step.address.tenant, &r.kind, &r.name), r.output.as_str()))).collect();
        if !moved.is_empty() && matches!(step.action, Action::Keep | Action::Update) {
            step.action = Action::Update;
            step.certain = false;
            for reason in moved.iter().map(|r| Change::new("depends on", r, "(known after apply)")) {
                if !step.changes.contains(&reason) {
                    step.changes.push(reason);
                }
            }
        }
        let Some(kind) = find(kinds, &step.address.kind) else { continue };
        let may_change = match step.action {
            Action::Keep | Action::Delete => &[],
            Action::Update => kind.outputs_volatile(),
            Action::Create | Action::Replace => kind.outputs_declared(),
        };
        moving.extend(may_change.iter().map(|o| (step.address.clone(), *o)));
    }
}

/// Leaves out what is not there, and whatever refers to it. Steps come in an order in which each follows what it needs.
pub(super) fn leave_out_creates(steps: &mut Vec<Step>) {
    let mut there: BTreeSet<Address> = BTreeSet::new();
    steps.retain_mut(|step| {
        let all_there = refs(&step.spec).into_iter().all(|r| there.contains(&Address::new(&step.address.tenant, r.kind, r.name)));
        if step.action == Action::Create || !all_there {
            return false;
        }
        step.needs.retain(|need| there.contains(need));
        there.insert(step.address.clone())
    });
}

/// The steps of what is on record and no longer wanted: deleted once all that is wanted is done, in the reverse of the order it was
/// made in.
pub(super) fn leftovers<C>(input: &Input<'_>, kinds: Kinds<C>, before: &[Step], problems: &mut Vec<Problem>) -> Vec<Step> {
    let mut gone: Vec<&Recorded> = input.recorded.iter().filter(|r| !input.wanted.iter().any(|w| w.address == r.address)).collect();
    gone.sort_by_key(|r| std::cmp::Reverse((r.position, r.address.clone())));
    let mut steps: Vec<Step> = Vec::new();
    for r in gone {
        let Some(kind) = find(kinds, &r.address.kind) else {
            problems.push(problem(&r.address, "unknown_kind", "the registry has it, but this labctl knows no such kind", "use a newer labctl"));
            continue;
        };
        if kind.deletion() == Deletion::Retain && !input.may_delete_data {
            let hint = "put it back into the spec or the stack; only purge deletes data";
            problems.push(problem(&r.address, "retained", "it is no longer wanted, and it holds data", hint));
            continue;
        }
        if r.spec.is_null() && (r.id.is_some() || r.intent.is_some()) {
            let hint = "put it back into the spec or the stack and apply; then take it out again";
            problems.push(problem(&r.address, "unreadable", "it is no longer wanted, and what it was made from is not on record", hint));
            continue;
        }
        // The first deletion follows everything else, each further one the deletion before it: what is still in use goes last.
        let needs = match steps.last() {
            Some(previous) => vec![previous.address.clone()],
            None => before.iter().filter(|s| s.action != Action::Keep).map(|s| s.address.clone()).collect(),
        };
        steps.push(Step {
            address: r.address.clone(),
            action: Action::Delete,
            changes: Vec::new(),
            spec: r.spec.clone(),
            tags: r.tags.clone(),
            needs,
            recorded: r.id.clone(),
            certain: true,
            intent: r.intent.clone(),
            unfinished: unfinished(r),
            outputs: Outputs::new(),
            seconds: kind.timing().typical.as_secs(),
        });
    }
    steps
}

fn unfinished(r: &Recorded) -> bool {
    r.id.is_some() && !r.finished
}

fn problem(address: &Address, code: &str, message: &str, hint: &str) -> Problem {
    Problem { address: address.clone(), code: code.to_owned(), message: message.to_owned(), hint: hint.to_owned() }
}
