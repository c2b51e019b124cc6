//! Runs a plan durably. Knows nothing of AWS, of PostgreSQL, or of any other module of this crate.
//!
//! * [`kind`]: the contract every kind of resource fulfils.
//! * [`fault`]: what can go wrong with a call, classified once, and what it may have left behind.
//! * [`refs`]: `${kind.name.output}`, how one resource's spec names what another one will bring forth.
//! * [`step`]: one line of a plan, as the engine sees it.
//! * [`journal`]: the write-ahead record of a run; the registry implements it.
//! * [`lease`]: one writer per tenant; the registry implements it.
//! * [`event`]: what a run tells whoever listens.
//! * [`clock`]: the time; tests may pause it.
//! * [`line`]: what a step and the loop say to each other.
//! * [`look`]: observes everything a plan is made from. Never writes.
//! * [`pace`]: rates, back-off and patience.
//! * `perform`: the protocol of one step.
//! * `record`: how a run keeps its journal and its lease through short failures of the registry.
//! * [`run`]: the one loop that starts steps, owns the journal and puts all events in order.

pub mod clock;
pub mod event;
pub mod fault;
pub mod journal;
pub mod kind;
pub mod lease;
mod line;
pub mod look;
pub mod pace;
mod perform;
mod record;
pub mod refs;
pub mod run;
pub mod step;
