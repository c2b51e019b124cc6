//! The protocol of one step: look, write the intent ahead, call, write the id, look until it is as wanted and ready.
//!
//! ```text
//!             observe                     before the call            reply                 observe until ready
//!  (none) ──────────────▶ Absent ──▶ INTENDED ───────────▶ CREATED(id) ──────────▶ DONE(id)
//!     ├──▶ Mine ─────▶ adopt, diff ──────┘  │  a definite refusal ─▶ FAILED (may be tried again)
//!     ├──▶ Foreign ──▶ stop: not ours       └  outcome unknown: stays INTENDED; look by identity, create only if Absent
//!     └──▶ Many ─────▶ in doubt
//! ```
//!
//! # Guarantees
//! Every `.await` here is a place where the process may die. Between INTENDED and CREATED lies exactly one call. Before a call that
//! changes the world the registry has just confirmed that the tenant is still ours (the commit of INTENDED does, for a create).
//! While an intent is open a step never ends as failed: [`Ended::Unsettled`] leaves the record as it is.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::clock::Instant;
use super::event::Event;
use super::fault::{Class, Fault, Left};
use super::journal::Entry;
use super::kind::{AnyKind, Diff, Identity, Observed, Outputs, Ready, Target};
use super::line::{Halt, Line};
use super::pace::{Pacer, Patience};
use super::refs::Ref;
use super::step::{Action, Step};

/// One step with all it needs.
pub(super) struct Step1<C: 'static> {
    pub kind: &'static dyn AnyKind<C>,
    pub cx: Arc<C>,
    pub step: Step,
    /// The spec with its references resolved from what is done so far, or those that could not be.
    pub spec: Result<Value, BTreeSet<Ref>>,
    pub pacer: Arc<Pacer>,
    pub patience: Patience,
}

/// How a step ended.
pub(super) enum Ended {
    /// As wanted.
    Done { action: Action, id: String, outputs: Outputs },
    /// A definite failure; no intent is open.
    Failed(Fault),
    /// It failed with the outcome of a create unknown: the intent stays on record.
    Unsettled(Fault),
    /// Only an operator can tell.
    InDoubt(Fault),
    /// The run is stopping.
    Halted,
}

/// Carries one step out.
pub(super) async fn perform<C: Send + Sync + 'static>(one: Step1<C>, line: Line) -> Ended {
    let target_spec = match &one.spec {
        Ok(spec) => spec.clone(),
        Err(missing) => {
            let names: Vec<_> = missing.iter().map(Ref::to_string).collect();
            return Ended::Failed(Fault::refused("plan", "unresolved_reference", format!("nothing provides {}", names.join(", "))));
        }
    };
    let mut work = Work {
        target_spec,
        line,
        token: one.step.intent.clone().unwrap_or_else(|| uuid::Uuid::now_v7().to_string()),
        open: one.step.intent.is_some(),
        recorded: one.step.recorded.clone(),
        begun: Instant::now(),
        since: Instant::now(),
        did: None,
        changed: None,
        seen: None,
        deleting: false,
        replaced: false,
        attempt: 0,
        bad_looks: 0,
        bad_calls: 0,
        looks: 0,
        rounds: 0,
        rested: false,
        told: None,
        one,
    };
    let ended = if work.one.step.action == Action::Delete { work.delete().await } else { work.ensure().await };
    ended.unwrap_or(Ended::Halted)
}

struct Work<C: 'static> {
    one: Step1<C>,
    target_spec: Value,
    line: Line,
    /// The token of this intent, perhaps that of an earlier run.
    token: String,
    /// A create of this intent may have left, and nobody knows yet what came of it.
    open: bool,
    /// The id on record, in the registry or written by this run.
    recorded: Option<String>,
    begun: Instant,
    /// What the deadline counts from.
    since: Instant,
    /// What this run has done in the end.
    did: Option<Action>,
    /// When this run last changed it.
    changed: Option<Instant>,
    /// When this run last knew it to be there.
    seen: Option<Instant>,
    /// A delete was called; until it is gone, what is seen is the old one.
    deleting: bool,
    /// This run has deleted the old one already.
    replaced: bool,
    /// Creates called.
    attempt: u32,
    /// Looks in a row that could not be made.
    bad_looks: u32,
    /// Throttled or unclear calls in a row.
    bad_calls: u32,
    /// Looks in a row that found it not ready.
    looks: u32,
    /// Updates made.
    rounds: u32,
    /// The last update has had its time to show.
    rested: bool,
    /// What was last told about waiting, and when.
    told: Option<(String, Instant)>,
}

/// `Some`: the step is over. `None`: look again.
type Turn = Result<Option<Ended>, Halt>;

/// Updates after which a diff that does not come out `Same` is reported.
const MOST_ROUNDS: u32 = 6;
/// Refusals in a row that may still mean "what was just made is not visible everywhere yet".
const YOUNG_REFUSALS: u32 = 3;

impl<C: Send + Sync + 'static> Work<C> {
    fn target(&self) -> Target<'_, Value> {
        Target { address: &self.one.step.address, spec: &self.target_spec, tags: &self.one.step.tags }
    }

    async fn look(&self) -> Result<Observed<Value>, Fault> {
        self.one.kind.observe(&self.one.cx, &self.target(), self.recorded.as_deref()).await
    }

    async fn ensure(&mut self) -> Result<Ended, Halt> {
        loop {
            let turn = match self.look().await {
                Err(fault) => self.after_look(fault).await?,
                Ok(observed) => {
                    self.bad_looks = 0;
                    match observed {
                        Observed::Foreign(whose) => Some(Ended::Failed(self.foreign(&whose))),
                        Observed::Many(ids) => Some(Ended::InDoubt(self.many(&ids))),
                        Observed::Absent => self.absent().await?,
                        Observed::Mine { id, .. } if self.deleting => self.wait("deleting", &id).await?,
                        Observed::Mine { id, state } => self.mine(id, &state).await?,
                    }
                }
            };
            if let Some(ended) = turn {
                return Ok(ended);
            }
        }
    }

    async fn mine(&mut self, id: String, state: &Value) -> Turn {
        if self.recorded.as_deref() != Some(&id) {
            self.line.commit(Entry::Created { id: id.clone() }).await?;
            self.recorded = Some(id.clone());
        }
        if std::mem::take(&mut self.open) {
            // The create whose reply was lost has made it.
            self.did = Some(Action::Create);
        }
        self.seen = Some(Instant::now());
        self.settle(&id, state).await
    }

    /// Nothing is there: create it, unless this run (or the plan) counts on it.
    async fn absent(&mut self) -> Turn {
        let invisible = self.one.patience.invisible;
        if self.deleting {
            self.line.commit(Entry::Deleted).await?;
            (self.deleting, self.replaced, self.recorded, self.seen) = (false, true, None, None);
            self.since = Instant::now();
        } else if self.did.is_some() {
            if self.seen.is_some_and(|at| at.elapsed() < invisible) {
                return self.pause_looking("made, not visible yet").await.map(|()| None);
            }
            let fault = self.fault("not_visible", "it was there, and can no longer be found").left(self.left());
            return Ok(Some(Ended::Failed(fault.hint("somebody may have removed it: plan again"))));
        } else if self.one.step.action == Action::Update && self.one.step.certain && !self.open {
            let fault = self.fault("stale_plan", "it was there when the plan was made and is gone");
            return Ok(Some(Ended::Failed(fault.hint("the world has moved: plan again"))));
        } else if let Some(ended) = self.may_be_hidden().await? {
            return Ok(ended);
        }
        self.create().await
    }

    /// Nothing is seen of what an earlier call may have made, of what an earlier run has made and never saw finished, or of what was seen
    /// a moment ago. Only where names are not unique would believing that too early make a second one; where nothing at all can find
    /// it, an operator must look.
    async fn may_be_hidden(&mut self) -> Result<Option<Option<Ended>>, Halt> {
        if self.open && self.one.kind.identity() == Identity::RecordedOnly {
            let left = Left::Unknown(format!("{}/{} may have been made", self.one.step.address.kind, self.one.step.address.name));
            let fault = self.fault("unknown_outcome", "an earlier create has no outcome on record, and this kind cannot be found again");
            return Ok(Some(Some(Ended::InDoubt(fault.left(left).hint("look for it by hand, then say what you found")))));
        }
        let doubtful = self.open || self.seen.is_some() || self.one.step.unfinished;
        let doubles = matches!(self.one.kind.identity(), Identity::Tag | Identity::RecordedOnly);
        if doubtful && doubles && self.seen.unwrap_or(self.begun).elapsed() < self.one.patience.invisible {
            self.pause_looking("looking for what an earlier call may have made").await?;
            return Ok(Some(None));
        }
        Ok(None)
    }

    async fn create(&mut self) -> Turn {
        self.line.unless_halted(self.one.pacer.take(&self.one.kind.limit())).await?;
        self.attempt += 1;
        self.line.commit(Entry::Intended { token: self.token.clone(), attempt: self.attempt, spec: self.target_spec.clone() }).await?;
        // What was unclear before has been looked for and not found; from here on it is this call that counts.
        self.open = true;
        failpoint!("step.before_create", self.one.step.address);
        let made = self.one.kind.create(&self.one.cx, &self.target(), &self.token).await;
        failpoint!("step.created", self.one.step.address);
        match made {
            Ok(id) => {
                self.open = false;
                self.acted(Action::Create);
                self.line.commit(Entry::Created { id: id.clone() }).await?;
                self.recorded = Some(id);
                Ok(None)
            }
            Err(fault) if fault.class == Class::Unknown => {
                self.seen = Some(Instant::now());
                if self.one.kind.identity() == Identity::RecordedOnly {
                    return Ok(Some(Ended::InDoubt(fault)));
                }
                self.again(fault, Ended::Unsettled).await
            }
            Err(fault) => {
                self.open = false;
                if fault.class == Class::Refused {
                    return Ok(Some(Ended::Failed(fault)));
                }
                self.again(fault, Ended::Failed).await
            }
        }
    }

    /// One turn with something that is there: done, wait, update, replace, or fail.
    async fn settle(&mut self, id: &str, state: &Value) -> Turn {
        let judged = self.one.kind.diff(&self.target(), state).and_then(|d| Ok((d, self.one.kind.ready(&self.target(), state)?)));
        let (diff, ready) = match judged {
            Ok(both) => both,
            Err(fault) => return Ok(Some(Ended::Failed(fault.left(self.left())))),
        };
        match (diff, ready) {
            (Diff::Forbidden(why), _) => Ok(Some(Ended::Failed(self.fault("forbidden_change", &why).left(self.left())))),
            (Diff::Replace(change), _) => {
                if self.one.step.action != Action::Replace || self.replaced || self.did.is_some() {
                    let fault = self.fault("stale_plan", &format!("it would have to be made again ({change}), which the plan does not say"));
                    return Ok(Some(Ended::Failed(fault.hint("the world has moved: plan again").left(self.left()))));
                }
                self.call_delete(id).await
            }
            (_, Ready::Waiting(why)) => self.wait(&why, id).await,
            (Diff::Update(_), Ready::Broken(_)) if self.rounds == 0 => self.update(id, state).await,
            (_, Ready::Broken(why)) => Ok(Some(Ended::Failed(self.fault("broken", &why).left(self.left())))),
            (Diff::Update(_), Ready::Ready) if self.rounds > 0 && !self.rested => {
                // The update may only not show yet.
                self.rested = true;
                self.looks = self.rounds * 2;
                self.pause_looking("changed, not visible yet").await.map(|()| None)
            }
            (Diff::Update(changes), Ready::Ready) => {
                if self.rounds >= MOST_ROUNDS {
                    let what: Vec<_> = changes.iter().map(ToString::to_string).collect();
                    let fault = self.fault("does_not_settle", &format!("still differs after {MOST_ROUNDS} updates: {}", what.join("; ")));
                    return Ok(Some(Ended::Failed(fault.left(self.left()))));
                }
                self.update(id, state).await
            }
            (Diff::Same, Ready::Ready) => self.finish(id, state).await.map(Some),
        }
    }

    async fn finish(&mut self, id: &str, state: &Value) -> Result<Ended, Halt> {
        let outputs = match self.one.kind.outputs(&self.target(), id, state) {
            Ok(outputs) => outputs,
            Err(fault) => return Ok(Ended::Failed(fault.left(self.left()))),
        };
        let action = match self.did {
            Some(Action::Create) if self.one.step.action == Action::Replace => Action::Replace,
            Some(done) => done,
            None => Action::Keep,
        };
        self.line.commit(Entry::Done { action, id: id.to_owned(), spec: self.target_spec.clone(), outputs: outputs.clone() }).await?;
        Ok(Ended::Done { action, id: id.to_owned(), outputs })
    }

    async fn update(&mut self, id: &str, state: &Value) -> Turn {
        self.before_a_call().await?;
        failpoint!("step.before_update", self.one.step.address);
        let changed = self.one.kind.update(&self.one.cx, &self.target(), id, state).await;
        failpoint!("step.updated", self.one.step.address);
        match changed {
            Ok(()) => {
                self.rounds += 1;
                self.rested = false;
                self.acted(self.did.unwrap_or(Action::Update));
                Ok(None)
            }
            Err(fault) => self.after_change(fault).await,
        }
    }

    async fn delete(&mut self) -> Result<Ended, Halt> {
        if self.recorded.is_none() && !self.open && self.target_spec.is_null() {
            // Refused before anything was made: there is nothing to look for, nor anything to look by.
            return self.deleted().await;
        }
        loop {
            let turn = match self.look().await {
                Err(fault) => self.after_look(fault).await?,
                Ok(observed) => {
                    self.bad_looks = 0;
                    match observed {
                        Observed::Absent if self.deleting => return self.deleted().await,
                        Observed::Absent => match self.may_be_hidden().await? {
                            None => return self.deleted().await,
                            Some(turn) => turn,
                        },
                        Observed::Foreign(whose) => Some(Ended::Failed(self.foreign(&whose))),
                        Observed::Many(ids) => Some(Ended::InDoubt(self.many(&ids))),
                        Observed::Mine { id, .. } if self.deleting => self.wait("deleting", &id).await?,
                        Observed::Mine { id, .. } => self.call_delete(&id).await?,
                    }
                }
            };
            if let Some(ended) = turn {
                return Ok(ended);
            }
        }
    }

    async fn deleted(&mut self) -> Result<Ended, Halt> {
        self.line.commit(Entry::Deleted).await?;
        Ok(Ended::Done { action: Action::Delete, id: self.recorded.clone().unwrap_or_default(), outputs: Outputs::new() })
    }

    async fn call_delete(&mut self, id: &str) -> Turn {
        if self.recorded.is_none() {
            self.recorded = Some(id.to_owned());
        }
        self.before_a_call().await?;
        failpoint!("step.before_delete", self.one.step.address);
        let deleted = self.one.kind.delete(&self.one.cx, &self.target(), id).await;
        failpoint!("step.deleted", self.one.step.address);
        match deleted {
            Ok(()) => {
                (self.deleting, self.bad_calls, self.looks) = (true, 0, 0);
                Ok(None)
            }
            Err(fault) => self.after_change(fault).await,
        }
    }

    async fn before_a_call(&mut self) -> Result<(), Halt> {
        self.line.unless_halted(self.one.pacer.take(&self.one.kind.limit())).await?;
        self.line.still_ours().await
    }

    fn acted(&mut self, what: Action) {
        let now = Some(Instant::now());
        (self.did, self.changed, self.seen) = (Some(what), now, now);
        (self.bad_calls, self.looks) = (0, 0);
    }

    /// A look could not be made: nothing is learned from that, and least of all that an open intent came to nothing.
    async fn after_look(&mut self, fault: Fault) -> Turn {
        self.bad_looks += 1;
        let fault = if self.open {
            let what = format!("{}/{} may have been made", self.one.step.address.kind, self.one.step.address.name);
            fault.left(Left::Unknown(what))
        } else {
            let left = self.left();
            fault.left(left)
        };
        if self.bad_looks >= self.most(&fault) {
            return Ok(Some(if self.open { Ended::Unsettled(fault) } else { Ended::Failed(fault) }));
        }
        self.pause_trying(fault, self.bad_looks).await
    }

    async fn after_change(&mut self, fault: Fault) -> Turn {
        let left = self.left();
        self.again(fault.left(left), Ended::Failed).await
    }

    async fn again(&mut self, fault: Fault, give_up: fn(Fault) -> Ended) -> Turn {
        self.bad_calls += 1;
        if self.bad_calls >= self.most(&fault) {
            return Ok(Some(give_up(fault)));
        }
        self.pause_trying(fault, self.bad_calls).await
    }

    /// How often in a row such a fault may come.
    fn most(&self, fault: &Fault) -> u32 {
        let young = self.changed.is_some_and(|at| at.elapsed() < self.one.patience.invisible);
        match fault.class {
            Class::Refused if young => YOUNG_REFUSALS.min(self.one.patience.tries),
            Class::Refused => 1,
            Class::Busy | Class::Unknown => self.one.patience.tries,
        }
    }

    async fn pause_trying(&mut self, fault: Fault, nth: u32) -> Turn {
        let pause = self.one.patience.retry(nth - 1);
        self.line.tell(Event::StepRetried { address: self.one.step.address.clone(), fault, pause }).await;
        self.line.pause(pause).await.map(|()| None)
    }

    /// Waits for what is not ready, or not gone, up to the kind's deadline.
    async fn wait(&mut self, why: &str, id: &str) -> Turn {
        let deadline = self.one.kind.timing().deadline;
        if self.since.elapsed() > deadline {
            let (what, hint) = if self.deleting {
                ("not gone", "its deletion goes on by itself: resume the operation later")
            } else {
                ("not ready", "it goes on becoming ready by itself: resume the operation later")
            };
            let fault = self.fault("deadline", &format!("{what} after {}: {why}", seconds(deadline)));
            return Ok(Some(Ended::Failed(fault.left(Left::Made(id.to_owned())).hint(hint))));
        }
        self.pause_looking(why).await.map(|()| None)
    }

    async fn pause_looking(&mut self, why: &str) -> Result<(), Halt> {
        let due = self.told.as_ref().is_none_or(|(said, at)| said != why || at.elapsed() >= self.one.patience.heartbeat);
        if due {
            self.told = Some((why.to_owned(), Instant::now()));
            let event = Event::StepWaiting { address: self.one.step.address.clone(), why: why.to_owned(), elapsed: self.begun.elapsed() };
            self.line.tell(event).await;
        }
        let pause = self.one.patience.poll(self.looks);
        self.looks += 1;
        self.line.pause(pause).await
    }

    fn fault(&self, code: &str, message: &str) -> Fault {
        Fault::refused(self.one.kind.name(), code, message)
    }

    fn left(&self) -> Left {
        self.recorded.clone().map_or(Left::Nothing, Left::Made)
    }

    fn foreign(&self, whose: &str) -> Fault {
        self.fault("not_ours", &format!("something of that name exists already, and it is not this tenant's: {whose}"))
            .hint("choose another name, or remove what is in the way; labctl never takes over what is not its own")
    }

    fn many(&self, ids: &[String]) -> Fault {
        self.fault("many", &format!("several carry the ownership of this address: {}", ids.join(", ")))
            .left(Left::Made(ids.join(", ")))
            .hint("look at them, keep the one in use, remove the others, then resume")
    }
}

fn seconds(d: Duration) -> String {
    if d.as_secs() >= 120 { format!("{} min", d.as_secs() / 60) } else { format!("{} s", d.as_secs()) }
}
