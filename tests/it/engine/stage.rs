//! A stage to run plans on: the world, a journal and a lease in memory, a listener, signals, and the way from wish to outcome.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use labctl::engine::clock;
use labctl::engine::event::{Event, Listener};
use labctl::engine::journal::{Entry, Journal, JournalError};
use labctl::engine::kind::{Address, Tags};
use labctl::engine::lease::Lease;
use labctl::engine::look::look;
use labctl::engine::pace::{Pacer, Patience};
use labctl::engine::run::{Crew, End, Outcome, Stop, run};
use labctl::engine::step::{Recorded, Step, Wanted};
use labctl::plan::check::check;
use labctl::plan::{Input, Plan};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};

use super::world::{KINDS, World};

pub const TENANT: &str = "acme";

pub fn at(short: &str) -> Address {
    format!("{TENANT}/{short}").parse().unwrap()
}

/// `want("bucket/a", json!({…}))`; the name in the spec is the resource's own unless given.
pub fn want(short: &str, mut spec: Value) -> Wanted {
    let address = at(short);
    spec.as_object_mut().unwrap().entry("name").or_insert_with(|| json!(address.name));
    Wanted { tags: Tags::new(), after: Vec::new(), spec, address }
}

/// In memory, in order. Everything that can go wrong with a registry can be asked for.
#[derive(Default)]
pub struct MemoryJournal {
    pub entries: Mutex<Vec<(Address, Entry)>>,
    /// Another process has taken over.
    pub fenced: AtomicBool,
    /// So many writes fail before one goes through.
    pub unavailable: AtomicU32,
    /// Milliseconds for each write.
    pub slow: AtomicU32,
    /// The process dies at this entry (counted from 0): before it is committed, or after.
    pub die_before: Mutex<Option<usize>>,
    pub die_after: Mutex<Option<usize>>,
    pub death: Notify,
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn write(&self, address: &Address, entry: &Entry) -> Result<(), JournalError> {
        let slow = self.slow.load(Ordering::SeqCst);
        if slow > 0 {
            clock::sleep(Duration::from_millis(slow.into())).await;
        } else {
            tokio::task::yield_now().await;
        }
        if self.fenced.load(Ordering::SeqCst) {
            return Err(JournalError::Fenced { epoch: 1 });
        }
        if self.unavailable.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok() {
            return Err(JournalError::Unavailable("connection refused".into()));
        }
        let n = self.entries.lock().unwrap().len();
        if *self.die_before.lock().unwrap() == Some(n) {
            self.death.notify_one();
            std::future::pending::<()>().await;
        }
        self.entries.lock().unwrap().push((address.clone(), entry.clone()));
        if *self.die_after.lock().unwrap() == Some(n) {
            self.death.notify_one();
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}

impl MemoryJournal {
    /// `bucket/a intended`, in order.
    pub fn lines(&self) -> Vec<String> {
        let word = |e: &Entry| match e {
            Entry::Intended { .. } => "intended".to_owned(),
            Entry::Created { .. } => "created".into(),
            Entry::Done { action, .. } => format!("done {action}"),
            Entry::Deleted => "deleted".into(),
            Entry::Failed { fault } => format!("failed {}", fault.code),
            Entry::InDoubt { fault } => format!("in doubt {}", fault.code),
            Entry::Skipped { .. } => "skipped".into(),
        };
        self.entries.lock().unwrap().iter().map(|(a, e)| format!("{}/{} {}", a.kind, a.name, word(e))).collect()
    }

    /// Lines of one address, its own words only.
    pub fn of(&self, short: &str) -> Vec<String> {
        let prefix = format!("{short} ");
        self.lines().iter().filter_map(|l| l.strip_prefix(&prefix)).map(ToOwned::to_owned).collect()
    }

    pub fn tokens(&self, short: &str) -> Vec<String> {
        let token = |(a, e): &(Address, Entry)| match e {
            Entry::Intended { token, .. } if *a == at(short) => Some(token.clone()),
            _ => None,
        };
        self.entries.lock().unwrap().iter().filter_map(token).collect()
    }

    /// What a registry makes of the entries.
    pub fn recorded(&self) -> Vec<Recorded> {
        let mut rows: BTreeMap<Address, Recorded> = BTreeMap::new();
        let mut next = 0;
        // What was only skipped is not on record: it would come before what it waits for.
        for (address, entry) in self.entries.lock().unwrap().iter().filter(|(_, e)| !matches!(e, Entry::Skipped { .. })) {
            let row = rows.entry(address.clone()).or_insert_with(|| {
                next += 1;
                Recorded { address: address.clone(), id: None, intent: None, spec: Value::Null, finished: false, tags: Tags::new(), position: next }
            });
            match entry {
                Entry::Intended { token, spec, .. } => (row.id, row.intent, row.spec, row.finished) = (None, Some(token.clone()), spec.clone(), false),
                Entry::Created { id } => (row.id, row.intent, row.finished) = (Some(id.clone()), None, false),
                Entry::Done { id, spec, .. } => (row.id, row.intent, row.spec, row.finished) = (Some(id.clone()), None, spec.clone(), true),
                Entry::Failed { .. } => row.intent = None,
                Entry::Deleted => drop(rows.remove(address)),
                Entry::InDoubt { .. } | Entry::Skipped { .. } => {}
            }
        }
        rows.into_values().filter(|r| r.id.is_some() || r.intent.is_some()).collect()
    }
}

#[derive(Default)]
pub struct MemoryLease {
    pub fenced: AtomicBool,
    pub unavailable: AtomicU32,
    pub beats: AtomicUsize,
}

#[async_trait]
impl Lease for MemoryLease {
    async fn heartbeat(&self) -> Result<(), JournalError> {
        self.beats.fetch_add(1, Ordering::SeqCst);
        if self.fenced.load(Ordering::SeqCst) {
            return Err(JournalError::Fenced { epoch: 1 });
        }
        if self.unavailable.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok() {
            return Err(JournalError::Unavailable("connection refused".into()));
        }
        Ok(())
    }
}

#[derive(Default)]
pub struct Heard {
    pub events: Mutex<Vec<Event>>,
    /// Sends the signal as soon as this thing's create has been heard of as waiting, created or retried.
    on: Mutex<Option<Trigger>>,
}

type Trigger = Box<dyn FnMut(&Event) + Send>;

impl Listener for Heard {
    fn hear(&self, event: &Event) {
        self.events.lock().unwrap().push(event.clone());
        if let Some(on) = self.on.lock().unwrap().as_mut() {
            on(event);
        }
    }
}

pub struct Stage {
    pub world: Arc<World>,
    pub journal: MemoryJournal,
    pub lease: MemoryLease,
    pub heard: Heard,
    pub stop: watch::Sender<Stop>,
    pub patience: Patience,
}

impl Default for Stage {
    fn default() -> Self {
        Self {
            world: Arc::default(),
            journal: MemoryJournal::default(),
            lease: MemoryLease::default(),
            heard: Heard::default(),
            stop: watch::Sender::new(Stop::No),
            // As an operator's: the clock is paused, and waiting costs nothing.
            patience: Patience::default(),
        }
    }
}

impl Stage {
    pub fn on_event(&self, on: impl FnMut(&Event) + Send + 'static) {
        *self.heard.on.lock().unwrap() = Some(Box::new(on));
    }

    pub async fn plan(&self, wanted: &[Wanted]) -> Plan {
        let recorded = self.journal.recorded();
        let world = look(&self.world, KINDS, wanted, &recorded, self.patience).await.expect("looking");
        let plan = Plan::make(&Input { tenant: TENANT, wanted, recorded: &recorded, world: &world, may_delete_data: true, as_found: false }, KINDS);
        assert_eq!(check(&plan, KINDS, true), Vec::<String>::new());
        plan
    }

    pub async fn run(&self, steps: Vec<Step>) -> Outcome {
        let crew = Crew {
            kinds: KINDS,
            cx: Arc::clone(&self.world),
            journal: &self.journal,
            lease: &self.lease,
            listener: &self.heard,
            stop: self.stop.subscribe(),
            pacer: Arc::new(Pacer::default()),
            patience: self.patience,
        };
        clock::timeout(Duration::from_secs(7 * 86_400), run(crew, steps)).await.expect("the run ends")
    }

    /// Looks, plans and runs.
    pub async fn apply(&self, wanted: &[Wanted]) -> Outcome {
        let plan = self.plan(wanted).await;
        assert_eq!(plan.problems, []);
        self.run(plan.steps).await
    }

    /// Applies, and dies when world or journal say so; true if it died. Nothing of the run survives but world and journal.
    pub async fn apply_and_die(&self, wanted: &[Wanted]) -> bool {
        let died = tokio::select! {
            biased;
            () = self.world.death.notified() => true,
            () = self.journal.death.notified() => true,
            _ = self.apply(wanted) => false,
        };
        (*self.journal.die_before.lock().unwrap(), *self.journal.die_after.lock().unwrap()) = (None, None);
        died
    }

    /// Every step began once and ended once, in what was heard.
    pub fn every_start_has_an_end(&self) {
        let mut open: BTreeMap<Address, i32> = BTreeMap::new();
        for event in self.heard.events.lock().unwrap().iter() {
            match event {
                Event::StepStarted { address, .. } => *open.entry(address.clone()).or_default() += 1,
                Event::StepDone { address, .. } | Event::StepFailed { address, .. } => *open.entry(address.clone()).or_default() -= 1,
                Event::StepSkipped { address, .. } if open.get(address) == Some(&1) => *open.entry(address.clone()).or_default() -= 1,
                _ => {}
            }
        }
        open.retain(|_, n| *n != 0);
        assert_eq!(open, BTreeMap::new());
    }
}

/// The code of the fault an address ended with.
pub fn code<'a>(outcome: &'a Outcome, short: &str) -> &'a str {
    match &outcome.ends[&at(short)] {
        End::Failed(fault) | End::InDoubt(fault) => &fault.code,
        End::Done(_) => "done",
        End::Skipped(_) => "skipped",
    }
}
