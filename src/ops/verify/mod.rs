//! Isolation that is proved: a tenant tries, with everything it really has, what it must not be able to do to a neighbour.
//!
//! * [`subject`]: a tenant as attacker and as target.
//! * [`probe`]: verdicts, findings, and what is visible by design.
//! * [`database`], [`storage`], [`identity`]: one room per area, each with the list of its probes.
//! * [`run`]: one tenant or a fleet, and the evidence.

pub mod database;
pub mod identity;
pub mod probe;
pub mod run;
pub mod storage;
pub mod subject;
