//! The one loop that starts steps, owns the journal and puts all events in order.
//!
//! Steps share no state: each runs as a task of its own (`perform`) and asks this loop to write its journal
//! entries; the loop answers once the entry is committed. A signal, a lost lease or an unreachable registry starts nothing new and
//! ends all waiting; calls in flight are awaited and recorded. The second signal cuts them off, and still records what has come in.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::{Future, pending};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinError, JoinSet};

use super::clock::{Instant, sleep, timeout_at};
use super::event::{Event, Listener};
use super::fault::{Fault, Left};
use super::journal::{Entry, Journal, JournalError};
use super::kind::{Address, Kinds, find};
use super::lease::Lease;
use super::line::{Line, Said};
use super::pace::{Pacer, Patience};
use super::perform::{Ended, Step1, perform};
use super::record;
use super::refs;
use super::step::{Action, Known, Step, lookup};

/// What a second signal still waits for: the entries of calls that have answered already.
const LEAVING: Duration = Duration::from_secs(2);

/// What signals ask of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// Nothing.
    No,
    /// First signal: start nothing new, let calls in flight be recorded.
    Drain,
    /// Second signal: stop now.
    Now,
}

/// What a run works with.
pub struct Crew<'a, C: 'static> {
    /// All kinds.
    pub kinds: Kinds<C>,
    /// What kinds reach the outside through.
    pub cx: Arc<C>,
    /// Where entries are committed.
    pub journal: &'a dyn Journal,
    /// Kept alive during the run.
    pub lease: &'a dyn Lease,
    /// Hears all events.
    pub listener: &'a dyn Listener,
    /// Signals.
    pub stop: watch::Receiver<Stop>,
    /// Rates, shared by all runs of the process.
    pub pacer: Arc<Pacer>,
    /// How long to wait for what.
    pub patience: Patience,
}

/// How one step ended.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// As wanted; what was done in the end.
    Done(Action),
    /// It failed; it may be tried again.
    Failed(Fault),
    /// The outcome is unknown and looking could not settle it: an operator must look.
    InDoubt(Fault),
    /// Not begun, or stopped on the way by a signal or a lost journal (what it has made is on record); the reason.
    Skipped(String),
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// By address, the steps that had something to do.
    pub ends: BTreeMap<Address, End>,
    /// How long each step took.
    pub took: BTreeMap<Address, Duration>,
    /// A signal stopped it.
    pub interrupted: bool,
    /// Why the journal could no longer be written, if so.
    pub journal: Option<String>,
    /// Another process has taken over.
    pub fenced: bool,
    /// All of it.
    pub total: Duration,
}

impl Outcome {
    /// Everything is as wanted.
    pub fn complete(&self) -> bool {
        !self.interrupted && self.journal.is_none() && self.ends.values().all(|e| matches!(e, End::Done(_)))
    }

    /// An operator must look.
    pub fn in_doubt(&self) -> bool {
        self.ends.values().any(|e| matches!(e, End::InDoubt(_)))
    }
}

/// Carries the steps out.
pub async fn run<C: Send + Sync + 'static>(crew: Crew<'_, C>, steps: Vec<Step>) -> Outcome {
    let (say_lost, lost) = watch::channel(None);
    let alive = record::keep_alive(crew.lease, crew.patience, say_lost);
    tokio::select! {
        biased;
        outcome = Loop::new(crew, steps, lost).turn() => outcome,
        never = alive => match never {},
    }
}

struct Loop<'a, C: 'static> {
    crew: Crew<'a, C>,
    begun: Instant,
    waiting: Vec<Step>,
    known: Known,
    done: BTreeSet<Address>,
    started: HashMap<Address, Instant>,
    flying: HashMap<String, usize>,
    outcome: Outcome,
    /// Set once: nothing new is started any more, for this reason.
    halted: Option<String>,
    /// Tells the steps so.
    halt: watch::Sender<bool>,
    /// Why the lease is lost, once it is.
    lost: watch::Receiver<Option<JournalError>>,
    /// The second signal has come.
    now: bool,
}

type Tasks = JoinSet<(Address, Ended)>;

impl<'a, C: Send + Sync + 'static> Loop<'a, C> {
    fn new(crew: Crew<'a, C>, steps: Vec<Step>, lost: watch::Receiver<Option<JournalError>>) -> Self {
        let (kept, waiting): (Vec<_>, Vec<_>) = steps.into_iter().partition(|s| s.action == Action::Keep);
        let outcome = Outcome { ends: BTreeMap::new(), took: BTreeMap::new(), interrupted: false, journal: None, fenced: false, total: Duration::ZERO };
        Self {
            crew,
            begun: Instant::now(),
            waiting,
            known: kept.iter().map(|s| (s.address.clone(), s.outputs.clone())).collect(),
            done: kept.into_iter().map(|s| s.address).collect(),
            started: HashMap::new(),
            flying: HashMap::new(),
            outcome,
            halted: None,
            halt: watch::Sender::new(false),
            lost,
            now: false,
        }
    }

    async fn turn(mut self) -> Outcome {
        self.hear(Event::Started { steps: self.waiting.iter().map(|s| (s.address.clone(), s.action)).collect() });
        let (say, mut said) = mpsc::channel::<Said>(256);
        let (mut tasks, mut at) = (Tasks::new(), HashMap::new());
        let (mut stop, mut lost) = (self.crew.stop.clone(), self.lost.clone());
        loop {
            self.heed();
            if self.now {
                self.leave(&mut tasks, &mut said, &at).await;
                break;
            }
            self.start_what_can_be(&mut tasks, &mut at, &say).await;
            if tasks.is_empty() {
                break;
            }
            tokio::select! {
                biased;
                () = changed(&mut stop) => {}
                () = changed(&mut lost) => {}
                Some(word) = said.recv() => self.hear_step(word).await,
                Some(joined) = tasks.join_next_with_id() => {
                    // What the step said last lies in the channel: it comes before its end.
                    while let Ok(word) = said.try_recv() {
                        self.hear_step(word).await;
                    }
                    self.joined(joined, &at).await;
                }
            }
        }
        self.skip_the_rest().await;
        self.outcome.total = self.begun.elapsed();
        self.hear(Event::Finished { took: self.outcome.total });
        self.outcome
    }

    fn hear(&self, event: Event) {
        self.crew.listener.hear(&event);
    }

    /// Takes in what signals and the lease have to say.
    fn heed(&mut self) {
        let asked = *self.crew.stop.borrow();
        self.now = asked == Stop::Now;
        if asked >= Stop::Drain && !self.outcome.interrupted {
            self.outcome.interrupted = true;
            self.halt("a signal stopped the run".into());
            self.hear(Event::Draining);
        }
        let lost = self.lost.borrow().clone();
        if let Some(e) = lost {
            self.journal_lost(&e);
        }
    }

    fn halt(&mut self, why: String) {
        self.halted.get_or_insert(why);
        self.halt.send_replace(true);
    }

    /// Starts every step whose needs are done, as far as its kind's concurrency allows.
    async fn start_what_can_be(&mut self, tasks: &mut Tasks, at: &mut HashMap<Id, Address>, say: &mpsc::Sender<Said>) {
        if self.halted.is_some() {
            return;
        }
        let (mut left, mut unknown) = (Vec::new(), Vec::new());
        for step in std::mem::take(&mut self.waiting) {
            let Some(kind) = find(self.crew.kinds, &step.address.kind) else {
                unknown.push(step.address);
                continue;
            };
            let slots = self.flying.entry(step.address.kind.clone()).or_default();
            if *slots >= kind.limit().concurrency || !step.needs.iter().all(|n| self.done.contains(n)) {
                left.push(step);
                continue;
            }
            *slots += 1;
            self.started.insert(step.address.clone(), Instant::now());
            self.crew.listener.hear(&Event::StepStarted { address: step.address.clone(), action: step.action });
            let line = Line::new(step.address.clone(), say.clone(), self.halt.subscribe());
            // What is deleted goes by its spec on record, resolved long ago: a `${` in it is text.
            let spec = match step.action {
                Action::Delete => Ok(step.spec.clone()),
                _ => refs::resolve(&step.spec, &lookup(&step.address.tenant, &self.known)),
            };
            let address = step.address.clone();
            let one = Step1 { kind, cx: Arc::clone(&self.crew.cx), spec, step, pacer: Arc::clone(&self.crew.pacer), patience: self.crew.patience };
            let task = tasks.spawn({
                let address = address.clone();
                async move { (address, perform(one, line).await) }
            });
            at.insert(task.id(), address);
        }
        self.waiting = left;
        for address in unknown {
            let fault = Fault::refused("plan", "unknown_kind", format!("there is no kind `{}`", address.kind));
            self.ended(address, Ended::Failed(fault)).await;
        }
    }

    async fn hear_step(&mut self, said: Said) {
        match said {
            Said::Event(event) => self.hear(event),
            Said::Write { address, entry, ack } => {
                let written = self.write(&address, &entry).await;
                if written && let Entry::Created { id } = &entry {
                    self.hear(Event::StepCreated { address, id: id.clone() });
                }
                // The step may have been aborted meanwhile; then nobody needs the answer.
                let _ = ack.send(written);
            }
            Said::StillOurs { ack } => {
                let lease = self.crew.lease;
                let patience = self.crew.patience;
                let ours = self.registry(record::ask(lease, &patience)).await;
                let _ = ack.send(ours);
            }
        }
    }

    async fn write(&mut self, address: &Address, entry: &Entry) -> bool {
        let (journal, patience) = (self.crew.journal, self.crew.patience);
        failpoint!("journal.before_entry", format_args!("{} {address}", entry.word()));
        let written = self.registry(record::write(journal, address, entry, &patience)).await;
        failpoint!("journal.entry_written", format_args!("{} {address}", entry.word()));
        written
    }

    /// Awaits the registry, but no longer than the lease lasts, and only for a moment once the second signal has come.
    async fn registry(&mut self, call: impl Future<Output = Result<(), JournalError>>) -> bool {
        if self.outcome.journal.is_some() {
            return false;
        }
        let (mut stop, mut lost) = (self.crew.stop.clone(), self.lost.clone());
        let impatient = async {
            if stop.wait_for(|s| *s == Stop::Now).await.is_err() {
                pending::<()>().await;
            }
            sleep(LEAVING).await;
        };
        let gone = async {
            match lost.wait_for(Option::is_some).await.map(|e| e.clone()) {
                Ok(Some(e)) => e,
                _ => pending().await,
            }
        };
        let answer = tokio::select! {
            biased;
            answer = call => answer,
            e = gone => Err(e),
            () = impatient => Err(JournalError::Unavailable("it had not answered when the run was told to stop".into())),
        };
        if let Err(e) = &answer {
            self.journal_lost(e);
        }
        answer.is_ok()
    }

    fn journal_lost(&mut self, e: &JournalError) {
        self.outcome.fenced |= matches!(e, JournalError::Fenced { .. });
        self.outcome.journal.get_or_insert_with(|| e.to_string());
        self.halt(e.to_string());
    }

    async fn joined(&mut self, joined: Result<(Id, (Address, Ended)), JoinError>, at: &HashMap<Id, Address>) {
        match joined {
            Ok((_, (address, ended))) => self.ended(address, ended).await,
            Err(e) if e.is_panic() => {
                let Some(address) = at.get(&e.id()) else { return };
                // The panic's own words may hold anything, a secret even: they are on standard error, not on record.
                let fault = Fault::unknown(&address.kind, "panicked", "the step ended in a bug of labctl")
                    .left(Left::Unknown(format!("whatever {}/{} was about to make", address.kind, address.name)));
                self.ended(address.clone(), Ended::Unsettled(fault.hint("the record is sound: resume looks for what may have been made"))).await;
            }
            // Cut off by us: `skip_the_rest` names it.
            Err(_) => {}
        }
    }

    /// Cuts off what is in flight, and still commits what the steps have said already: an id that has come in is not thrown away.
    async fn leave(&mut self, tasks: &mut Tasks, said: &mut mpsc::Receiver<Said>, at: &HashMap<Id, Address>) {
        tasks.abort_all();
        let until = Instant::now() + LEAVING;
        while let Ok(Some(joined)) = timeout_at(until, tasks.join_next_with_id()).await {
            while let Ok(word) = said.try_recv() {
                self.hear_step(word).await;
            }
            self.joined(joined, at).await;
        }
        while let Ok(word) = said.try_recv() {
            self.hear_step(word).await;
        }
    }

    async fn ended(&mut self, address: Address, ended: Ended) {
        let took = self.started.get(&address).map(Instant::elapsed).unwrap_or_default();
        if let Some(slots) = self.flying.get_mut(&address.kind) {
            *slots = slots.saturating_sub(1);
        }
        self.outcome.took.insert(address.clone(), took);
        let end = match ended {
            Ended::Done { action, id, outputs } => {
                self.known.insert(address.clone(), outputs);
                self.done.insert(address.clone());
                self.hear(Event::StepDone { address: address.clone(), action, id, took });
                End::Done(action)
            }
            Ended::Failed(fault) => {
                self.write(&address, &Entry::Failed { fault: fault.clone() }).await;
                self.failed(&address, &fault, took, false).await;
                End::Failed(fault)
            }
            // The intent stays on record as it is: resume looks it up.
            Ended::Unsettled(fault) => {
                self.failed(&address, &fault, took, false).await;
                End::Failed(fault)
            }
            Ended::InDoubt(fault) => {
                self.write(&address, &Entry::InDoubt { fault: fault.clone() }).await;
                self.failed(&address, &fault, took, true).await;
                End::InDoubt(fault)
            }
            Ended::Halted => self.cut_short(&address, "stopped on the way"),
        };
        self.outcome.ends.insert(address, end);
    }

    /// A step that ends without an outcome: what is on record of it stays, and nothing is written over that.
    fn cut_short(&self, address: &Address, how: &str) -> End {
        let why = self.halted.as_deref().unwrap_or("the run was stopped");
        // The entry that could not be written may be the one with its id: then only the intent is there, and resume looks.
        let kept = if self.outcome.journal.is_some() { "that it was begun is on record" } else { "what it has made is on record" };
        let because = format!("{how}, {kept}: {why}");
        self.hear(Event::StepSkipped { address: address.clone(), because: because.clone() });
        End::Skipped(because)
    }

    /// Whatever needs the failed one, directly or not, is skipped with the cause named; other branches go on.
    async fn failed(&mut self, failed: &Address, fault: &Fault, took: Duration, in_doubt: bool) {
        self.hear(Event::StepFailed { address: failed.clone(), fault: fault.clone(), in_doubt, took });
        let because = format!("{}/{} {}", failed.kind, failed.name, if in_doubt { "is in doubt" } else { "failed" });
        let mut doomed = BTreeSet::from([failed.clone()]);
        loop {
            let (skip, left): (Vec<_>, Vec<_>) = std::mem::take(&mut self.waiting).into_iter().partition(|s| s.needs.iter().any(|n| doomed.contains(n)));
            self.waiting = left;
            if skip.is_empty() {
                return;
            }
            for step in skip {
                doomed.insert(step.address.clone());
                self.skip(step, because.clone()).await;
            }
        }
    }

    async fn skip(&mut self, step: Step, because: String) {
        self.write(&step.address, &Entry::Skipped { because: because.clone() }).await;
        self.hear(Event::StepSkipped { address: step.address.clone(), because: because.clone() });
        self.outcome.ends.insert(step.address, End::Skipped(because));
    }

    async fn skip_the_rest(&mut self) {
        let because = self.halted.clone().unwrap_or_else(|| "what it needs is not there".into());
        for step in std::mem::take(&mut self.waiting) {
            self.skip(step, because.clone()).await;
        }
        let mut cut_off: Vec<_> = self.started.keys().filter(|a| !self.outcome.ends.contains_key(*a)).cloned().collect();
        cut_off.sort();
        for address in cut_off {
            let end = self.cut_short(&address, "cut off in flight");
            self.outcome.ends.insert(address, end);
        }
    }
}

/// Waits for a new value; for ever when there will be none.
async fn changed<T>(watched: &mut watch::Receiver<T>) {
    if watched.changed().await.is_err() {
        pending().await
    }
}
