//! The verbs, without a terminal: one file per use case. Arguments in, results and events out; nothing here prints or asks.
//!
//! * [`site`]: what a profile names, opened: AWS, databases, registry, stacks.
//! * [`survey`]: a desired state against the world: what is wanted, recorded, seen and planned. Never writes.
//! * [`edit`]: what every verb is: an edit of the desired state.
//! * [`change`]: the story every verb shares: lease, edit, look, plan, agree, run, record.
//! * [`apply`]: create and apply, the edits that come from a spec.
//! * [`deliver`]: lifecycle events, from the registry's outbox to their receivers.
//! * [`settle`]: what an operator settles of an operation that no run can: given up, or looked at.
//! * [`error`]: what can go wrong, one type for all verbs.

pub mod apply;
pub mod change;
pub mod deliver;
pub mod edit;
pub mod error;
pub mod settle;
pub mod site;
pub mod survey;

pub use error::OpError;
pub use site::Site;
