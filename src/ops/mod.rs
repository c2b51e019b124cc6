//! The verbs, without a terminal: one file per use case. Arguments in, results and events out; nothing here prints or asks.
//!
//! * [`site`]: what a profile names, opened: AWS, databases, registry, stacks.
//! * [`survey`]: a desired state against the world: what is wanted, recorded, seen and planned. Never writes.
//! * [`edit`]: what every verb is: an edit of the desired state.
//! * [`verb`]: the verbs, and which of them a tenant has when.
//! * [`change`]: the story every verb shares: lease, edit, look, plan, agree, run, record.
//! * [`apply`]: create and apply, the edits that come from a spec.
//! * [`verify`]: isolation, proved by trying.
//! * [`error`]: what can go wrong, one type for all verbs.

pub mod apply;
pub mod change;
pub mod edit;
pub mod error;
pub mod site;
pub mod survey;
pub mod verb;
pub mod verify;

pub use error::OpError;
pub use site::Site;
