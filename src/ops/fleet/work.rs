//! One wave's work: each database host has its own hands, who take leases and migrate; what became of each tenant is recorded in batches.
//!
//! A lease is taken for many tenants at once, just before their turn, and let go of in the transaction that records what became of them. So
//! a process that dies leaves nothing but leases of a dead process, and schemas whose own ledgers say where they are.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use serde_json::{Value, json};
use tokio::sync::{Mutex as Queue, mpsc, watch};
use tokio::time::{sleep, timeout_at};

use super::look::{Ship, host};
use super::{Event, Options, Watch};
use crate::engine::fault::{Class, Fault};
use crate::engine::journal::JournalError;
use crate::engine::lease::{HEARTBEAT, Lease as _};
use crate::engine::run::Stop;
use crate::ops::wait::Wait;
use crate::ops::{OpError, Site};
use crate::registry::fleet::{FleetEnd, FleetEntry};
use crate::registry::{HeldLease, RegistryError};
use crate::tenantdb::migrations::apply::{Job, Ledger, migrate};
use crate::tenantdb::migrations::{central, ledger};
use crate::tenantdb::quote::Ident;

/// Tenants whose leases are taken at once, for each pair of hands; the next ones are taken when half of them are begun.
const AHEAD: usize = 16;
/// Results recorded at once.
const BATCH: usize = 128;
/// How long a result waits for others to be recorded with: many cost the registry little more than one.
const GATHER: Duration = Duration::from_millis(250);
/// The wait before the second attempt; it doubles.
const BACK_OFF: Duration = Duration::from_millis(250);
/// Schemas changed in one database after which its catalogs are analysed.
const BULK: usize = 100;

/// A run's work.
pub(super) struct Work<'a> {
    pub(super) site: &'a Site,
    pub(super) run: i64,
    /// The run's own lease: under its epoch what becomes of tenants is recorded.
    pub(super) claim: &'a Arc<HeldLease>,
    pub(super) options: &'a Options,
    pub(super) stop: watch::Receiver<Stop>,
    pub(super) watch: &'a dyn Watch,
    /// How many may fail.
    pub(super) budget: usize,
    pub(super) failed: AtomicUsize,
    /// Nobody new is begun.
    pub(super) halted: AtomicBool,
    /// The registry was waited for in vain.
    cut_off: AtomicBool,
    registry: String,
    held: Mutex<Held>,
}

/// Tenants' leases, and when the registry last said that they are ours.
struct Held {
    epochs: BTreeMap<String, i64>,
    known: Instant,
}

/// A tenant whose turn has come, and the epoch of its lease.
type Turn = (Ship, i64);

impl<'a> Work<'a> {
    pub(super) fn new(
        site: &'a Site,
        run: i64,
        claim: &'a Arc<HeldLease>,
        options: &'a Options,
        stop: watch::Receiver<Stop>,
        watch: &'a dyn Watch,
        budget: usize,
    ) -> Self {
        let (failed, halted) = (AtomicUsize::new(0), AtomicBool::new(false));
        let held = Mutex::new(Held { epochs: BTreeMap::new(), known: Instant::now() });
        let cut_off = AtomicBool::new(false);
        Self { site, run, claim, options, stop, watch, budget, failed, halted, cut_off, registry: site.registry_id.to_string(), held }
    }

    /// Does these, and records what became of each that was begun.
    ///
    /// # Errors
    /// When the registry cannot be reached, or says that the run is another's: what is done is done, and found when the run is resumed.
    pub(super) async fn wave(&self, ships: Vec<Ship>, canary: bool) -> Result<(), OpError> {
        let mut hosts: BTreeMap<String, VecDeque<Ship>> = BTreeMap::new();
        for ship in ships {
            hosts.entry(ship.member.endpoint.clone()).or_default().push_back(ship);
        }
        let (tell, told) = mpsc::channel::<FleetEntry>(BATCH);
        let hosts = join_all(hosts.into_values().map(|ships| self.host(ships, tell.clone(), canary)));
        drop(tell);
        let record = async {
            // Owned here: when recording fails, whoever still wants to tell is turned away rather than kept waiting.
            let mut told = told;
            let mut batch = Vec::with_capacity(BATCH);
            while told.recv_many(&mut batch, BATCH).await > 0 {
                gather(&mut told, &mut batch).await;
                // Where it cannot be put on record, nobody new is begun.
                let recorded = self.ask(|_| self.site.registry.record_fleet(self.claim, self.run, &batch)).await;
                recorded.inspect_err(|_| self.halted.store(true, Ordering::Relaxed))?;
                failpoint!("fleet.recorded");
                let mut held = self.held();
                batch.drain(..).for_each(|entry| _ = held.epochs.remove(&entry.tenant));
            }
            Ok::<(), OpError>(())
        };
        let ended = tokio::select! {
            // A registry that is gone ends the wave: who goes on would do what nobody knows of.
            (hosts, recorded) = async { tokio::join!(hosts, record) } => recorded.and(hosts.into_iter().collect::<Result<(), _>>()),
            taken = self.keep() => taken,
        };
        if ended.is_err() {
            self.halted.store(true, Ordering::Relaxed);
        }
        let left = std::mem::take(&mut self.held().epochs);
        let released = if left.is_empty() { Ok(()) } else { self.ask(|_| self.site.registry.release_leases(&left)).await };
        ended.and(released)
    }

    /// Asks the registry, and waits for it where it is away, as verbs do; but not when it was waited for in vain just before, nor when there is nobody
    /// to wait for (`over`). The question is told whether it was asked before.
    async fn ask_unless<T, F: Future<Output = Result<T, RegistryError>>>(
        &self,
        over: impl Fn() -> bool + Sync,
        mut question: impl FnMut(bool) -> F,
    ) -> Result<T, OpError> {
        let over = || over() || self.cut_off.load(Ordering::Relaxed);
        let wait = Wait { registry: &self.site.registry, patience: self.site.patience, over: &over };
        let mut asked = false;
        let answer = wait.through(|| question(std::mem::replace(&mut asked, true))).await;
        let lost = answer.as_ref().is_err_and(RegistryError::passing);
        self.cut_off.store(lost, Ordering::Relaxed);
        answer.map_err(|registry| if lost { OpError::FleetUnrecorded { run: self.run, registry } } else { registry.into() })
    }

    /// The same, until the run is to stop at once.
    pub(super) async fn ask<T, F: Future<Output = Result<T, RegistryError>>>(&self, question: impl FnMut(bool) -> F) -> Result<T, OpError> {
        self.ask_unless(|| *self.stop.borrow() == Stop::Now, question).await
    }

    /// Whether the run is still this process's: it may have been asleep while another took it over.
    pub(super) async fn still_ours(&self) -> Result<(), OpError> {
        match self.claim.heartbeat().await {
            Err(JournalError::Fenced { epoch }) => Err(RegistryError::Fenced { tenant: self.claim.tenant().to_owned(), epoch }.into()),
            // Whoever writes next will find out.
            Ok(()) | Err(JournalError::Unavailable(_)) => Ok(()),
        }
    }

    /// Renews the leases held. Ends only when the run is another's.
    async fn keep(&self) -> Result<(), OpError> {
        loop {
            sleep(HEARTBEAT).await;
            self.still_ours().await?;
            // Asked again at the next beat: to wait for an answer here would let the leases run out.
            if let Err(e) = self.renew().await {
                tracing::warn!("the leases could not be renewed: {e}");
            }
        }
    }

    /// Renews the leases held, and forgets those that are another's by now.
    async fn renew(&self) -> Result<(), RegistryError> {
        let (now, epochs) = (Instant::now(), self.held().epochs.clone());
        let lost = if epochs.is_empty() { BTreeSet::new() } else { self.site.registry.renew_leases(&epochs).await? };
        let mut held = self.held();
        held.known = now;
        held.epochs.retain(|tenant, epoch| !lost.contains(tenant) || epochs.get(tenant) != Some(epoch));
        Ok(())
    }

    /// Whether the tenant's lease is still ours. The registry is asked only after a silence in which the lease may have run out: a process
    /// that was stopped, and wakes, changes nobody's schema.
    async fn ours(&self, tenant: &str) -> Result<bool, OpError> {
        if self.held().known.elapsed() > HEARTBEAT * 2 {
            self.still_ours().await?;
            self.ask(|_| self.renew()).await?;
        }
        Ok(self.held().epochs.contains_key(tenant))
    }

    /// One host's tenants: whoever takes leases goes ahead of the hands, so that they need not wait for the registry.
    async fn host(&self, ships: VecDeque<Ship>, tell: mpsc::Sender<FleetEntry>, canary: bool) -> Result<(), OpError> {
        let hands = self.options.parallel;
        let (give, take) = mpsc::channel(AHEAD * hands / 2);
        let work = async {
            // Owned here: when all hands have put down their work, no more leases are taken.
            let take = Queue::new(take);
            let hands: FuturesUnordered<_> = (0..hands).map(|_| self.hand(&take, tell.clone(), canary)).collect();
            hands.collect::<Vec<_>>().await.into_iter().collect::<Result<(), _>>()
        };
        let (leased, worked) = tokio::join!(self.lease(ships, give, tell.clone()), work);
        leased.and(worked)
    }

    async fn hand(&self, take: &Queue<mpsc::Receiver<Turn>>, tell: mpsc::Sender<FleetEntry>, canary: bool) -> Result<(), OpError> {
        loop {
            let next = async { take.lock().await.recv().await };
            let Some((ship, epoch)) = next.await.filter(|_| !self.over()) else { return Ok(()) };
            let mut stop = self.stop.clone();
            let now = async {
                // A sender that is gone will never say stop.
                if stop.wait_for(|s| *s == Stop::Now).await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            let entry = tokio::select! {
                entry = self.one(&ship, epoch) => entry?,
                () = now => return Ok(()),
            };
            if entry.end == FleetEnd::Failed && (self.failed.fetch_add(1, Ordering::Relaxed) >= self.budget || canary) {
                self.halted.store(true, Ordering::Relaxed);
            }
            self.watch.hear(&Event::Ended { tenant: &entry.tenant, end: entry.end, why: entry.fault.as_ref().and_then(|f| f["message"].as_str()) });
            if tell.send(entry).await.is_err() {
                return Ok(());
            }
        }
    }

    /// Whether nobody new is begun.
    pub(super) fn over(&self) -> bool {
        self.halted.load(Ordering::Relaxed) || *self.stop.borrow() != Stop::No
    }

    /// Takes leases, many at a time, and gives those whose lease is ours to the hands; who is locked is done with.
    async fn lease(&self, mut ships: VecDeque<Ship>, give: mpsc::Sender<Turn>, tell: mpsc::Sender<FleetEntry>) -> Result<(), OpError> {
        let what = if self.options.filter.tenant.is_some() { "tenant migrate" } else { "fleet migrate" };
        while !ships.is_empty() && !self.over() {
            let many: Vec<Ship> = ships.drain(..ships.len().min(AHEAD * self.options.parallel)).collect();
            let tenants: Vec<&str> = many.iter().map(|s| s.member.tenant.as_str()).collect();
            let leased = self.ask_unless(|| self.over(), |again| self.site.registry.acquire_leases(&tenants, &self.site.holder, what, again)).await;
            let leased = leased.inspect_err(|_| self.halted.store(true, Ordering::Relaxed))?;
            failpoint!("fleet.leases_taken");
            self.held().epochs.extend(leased.taken.iter().map(|(t, e)| (t.clone(), *e)));
            for ship in many {
                let tenant = &ship.member.tenant;
                if let Some(epoch) = leased.taken.get(tenant) {
                    let epoch = *epoch;
                    if give.send((ship, epoch)).await.is_err() {
                        return Ok(());
                    }
                    continue;
                }
                let by = leased.others.get(tenant).map_or("locked by another process".to_owned(), |l| format!("locked by {}", l.by()));
                let entry = end(&ship, None, FleetEnd::Locked, Duration::ZERO).with(&json!({"code": "locked", "message": by}));
                self.watch.hear(&Event::Ended { tenant, end: FleetEnd::Locked, why: Some(&by) });
                if tell.send(entry).await.is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// One tenant: again and again while it is only busy.
    async fn one(&self, ship: &Ship, epoch: i64) -> Result<FleetEntry, OpError> {
        let began = Instant::now();
        if !ship.member.ready {
            let message = format!("its last operation is not finished: `labctl operation list --tenant {}`", ship.member.tenant);
            return Ok(end(ship, Some(epoch), FleetEnd::Locked, began.elapsed()).with(&json!({"code": "unfinished", "message": message})));
        }
        let mut wait = BACK_OFF;
        let mut attempt = 1;
        loop {
            if !self.ours(&ship.member.tenant).await? {
                let fault = json!({"code": "fenced", "message": "another process has taken over"});
                return Ok(end(ship, None, FleetEnd::Locked, began.elapsed()).with(&fault));
            }
            let fault = match self.attempt(ship, epoch, began).await {
                Ok(entry) => return Ok(entry),
                Err(fault) => fault,
            };
            // An unknown outcome is asked about by trying again: what is on the ledger is not done twice.
            if fault.class == Class::Refused || attempt >= self.options.attempts || self.over() {
                let fault = serde_json::to_value(&fault).unwrap_or_default();
                return Ok(end(ship, Some(epoch), FleetEnd::Failed, began.elapsed()).with(&fault));
            }
            sleep(wait).await;
            (attempt, wait) = (attempt + 1, wait * 2);
        }
    }

    async fn attempt(&self, ship: &Ship, epoch: i64, began: Instant) -> Result<FleetEntry, Fault> {
        let m = &ship.member;
        let (schema, role) = (Ident::new(&m.schema)?, Ident::new(&m.role)?);
        let job = Job {
            schema: &schema,
            role: &role,
            tenant: &m.tenant,
            wanted: &ship.target.steps,
            to: &ship.target.to,
            ledger: Ledger::Of { address: &m.address, registry: &self.registry },
            believed: ship.believed.as_deref(),
            lock_timeout: Duration::from_millis(self.options.lock_timeout_millis),
            shared: None,
        };
        let mut db = self.site.cx.admin(&host(m), &m.database).await?;
        failpoint!("fleet.before_migrate", m.tenant);
        let done = migrate(&mut db, &job, &self.site.cx.migrations).await?;
        failpoint!("fleet.migrated", m.tenant);
        let status = if done.after == done.before { FleetEnd::Found } else { FleetEnd::Migrated };
        let mut entry = end(ship, Some(epoch), status, began.elapsed());
        entry.version = Some(ledger::version(&done.after));
        entry.migrations = Some(ship.target.history(&done.after));
        Ok(entry)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits a moment for more to record at once; not when there is nobody left to tell.
async fn gather(told: &mut mpsc::Receiver<FleetEntry>, batch: &mut Vec<FleetEntry>) {
    let until = tokio::time::Instant::now() + GATHER;
    while batch.len() < BATCH {
        match timeout_at(until, told.recv_many(batch, BATCH - batch.len())).await {
            Ok(more) if more > 0 => {}
            _ => return,
        }
    }
}

fn end(ship: &Ship, epoch: Option<i64>, end: FleetEnd, took: Duration) -> FleetEntry {
    FleetEntry {
        tenant: ship.member.tenant.clone(),
        address: ship.member.address.clone(),
        end,
        version: None,
        migrations: None,
        fault: None,
        millis: i32::try_from(took.as_millis()).unwrap_or(i32::MAX),
        epoch,
    }
}

impl FleetEntry {
    fn with(mut self, fault: &Value) -> Self {
        self.fault = Some(fault.clone());
        self
    }
}

/// Opens the connections that the hands will work with, where there are enough schemas for all of them: until eight are open, a fleet could be dozens
/// of schemas on. A server that cannot be reached is met again.
pub(super) async fn connect(site: &Site, ships: &[Ship], hands: usize) {
    let mut databases: BTreeMap<(&str, &str), Vec<&Ship>> = BTreeMap::new();
    for ship in ships {
        databases.entry((&ship.member.endpoint, &ship.member.database)).or_default().push(ship);
    }
    let many = databases.into_values().filter_map(|ships| ships.get(hands).copied());
    let open = many.flat_map(|ship| (0..hands).map(async |_| site.cx.admin(&host(&ship.member), &ship.member.database).await.map(drop)));
    join_all(open).await;
}

/// Fresh statistics of the catalogs of every database in which many schemas were changed. What is not permitted is left.
pub(super) async fn analyse(site: &Site, changed: &[&Ship]) {
    let mut databases: BTreeMap<(&str, &str), Vec<&Ship>> = BTreeMap::new();
    for ship in changed {
        databases.entry((&ship.member.endpoint, &ship.member.database)).or_default().push(ship);
    }
    for ((endpoint, database), ships) in databases {
        let Some(first) = ships.first().filter(|_| ships.len() >= BULK) else { continue };
        let done = async { central::analyse(&mut site.cx.admin(&host(&first.member), database).await?).await };
        if let Err(fault) = done.await {
            tracing::warn!("the catalogs of `{database}` on {endpoint} could not be analysed: {fault}");
        }
    }
}
