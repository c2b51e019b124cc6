//! A step's line to the loop: the only way a step is heard, and the only way it hears that the run is to stop.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::clock::sleep;
use super::event::Event;
use super::journal::Entry;
use super::kind::Address;

/// What a step tells the loop.
pub(super) enum Said {
    /// For the listener.
    Event(Event),
    /// Commit this, then answer whether it is committed.
    Write { address: Address, entry: Entry, ack: oneshot::Sender<bool> },
    /// Answer whether the tenant is still ours.
    StillOurs { ack: oneshot::Sender<bool> },
}

/// A step's line to the loop.
pub(super) struct Line {
    address: Address,
    say: mpsc::Sender<Said>,
    halt: watch::Receiver<bool>,
}

/// The run is to stop, or nothing can be written any more: the step ends where it is, and calls nothing any more.
pub(super) struct Halt;

impl Line {
    pub(super) fn new(address: Address, say: mpsc::Sender<Said>, halt: watch::Receiver<bool>) -> Self {
        Self { address, say, halt }
    }

    pub(super) async fn commit(&self, entry: Entry) -> Result<(), Halt> {
        let (ack, answer) = oneshot::channel();
        self.ask(Said::Write { address: self.address.clone(), entry, ack }, answer).await
    }

    /// Before a call that no entry precedes: a process that was asleep while another took over must not change anything.
    pub(super) async fn still_ours(&self) -> Result<(), Halt> {
        let (ack, answer) = oneshot::channel();
        self.ask(Said::StillOurs { ack }, answer).await
    }

    async fn ask(&self, what: Said, answer: oneshot::Receiver<bool>) -> Result<(), Halt> {
        let yes = self.say.send(what).await.is_ok() && answer.await.unwrap_or(false);
        if yes { Ok(()) } else { Err(Halt) }
    }

    pub(super) async fn tell(&self, event: Event) {
        // The loop is gone only when the run is over: then nobody listens.
        let _ = self.say.send(Said::Event(event)).await;
    }

    /// Lets time pass, unless the run is to stop: there is nothing to lose in a wait.
    pub(super) async fn pause(&self, long: Duration) -> Result<(), Halt> {
        self.unless_halted(sleep(long)).await
    }

    pub(super) async fn unless_halted<T>(&self, what: impl Future<Output = T>) -> Result<T, Halt> {
        let mut halt = self.halt.clone();
        tokio::select! {
            biased;
            _ = halt.wait_for(|h| *h) => Err(Halt),
            done = what => Ok(done),
        }
    }
}
