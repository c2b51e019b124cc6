//! What a run tells whoever listens. The reporter (progress bars, plain lines, JSON lines) only listens; it can stop nothing.

use std::time::Duration;

use serde::Serialize;

use super::fault::Fault;
use super::kind::Address;
use super::step::Action;

/// One event, in the order of the loop that owns the journal.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The run begins; these are the steps with something to do, in plan order.
    Started {
        /// Address and what is planned there.
        steps: Vec<(Address, Action)>,
    },
    /// A step begins.
    StepStarted {
        /// Where.
        address: Address,
        /// What is planned.
        action: Action,
    },
    /// The step has an id now.
    StepCreated {
        /// Where.
        address: Address,
        /// What the service knows it by.
        id: String,
    },
    /// The step waits; sent at each look whose reason is new, and as a heartbeat.
    StepWaiting {
        /// Where.
        address: Address,
        /// The service's word for it.
        why: String,
        /// Since the step began.
        #[serde(serialize_with = "seconds")]
        elapsed: Duration,
    },
    /// A call was throttled or its outcome was unclear; it will be tried again.
    StepRetried {
        /// Where.
        address: Address,
        /// What happened.
        fault: Fault,
        /// Until the next try.
        #[serde(serialize_with = "seconds")]
        pause: Duration,
    },
    /// The step is done.
    StepDone {
        /// Where.
        address: Address,
        /// What was done in the end.
        action: Action,
        /// What the service knows it by.
        id: String,
        /// Since the step began.
        #[serde(serialize_with = "seconds")]
        took: Duration,
    },
    /// The step failed.
    StepFailed {
        /// Where.
        address: Address,
        /// What happened.
        fault: Fault,
        /// True when the outcome is unknown and an operator must look.
        in_doubt: bool,
        /// Since the step began.
        #[serde(serialize_with = "seconds")]
        took: Duration,
    },
    /// The step was not begun.
    StepSkipped {
        /// Where.
        address: Address,
        /// Why.
        because: String,
    },
    /// A signal arrived: nothing new is started, what is in flight is awaited.
    Draining,
    /// The run is over.
    Finished {
        /// Since it began.
        #[serde(serialize_with = "seconds")]
        took: Duration,
    },
}

fn seconds<S: serde::Serializer>(d: &Duration, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_f64((d.as_secs_f64() * 1000.0).round() / 1000.0)
}

/// Whoever listens. Must return at once.
pub trait Listener: Send + Sync {
    /// Hears one event.
    fn hear(&self, event: &Event);
}

/// Nobody listens.
pub struct Silent;

impl Listener for Silent {
    fn hear(&self, _: &Event) {}
}
