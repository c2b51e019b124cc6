//! The verbs, without a terminal: one file per use case. Arguments in, results and events out; nothing here prints or asks.
//!
//! * [`site`]: what a profile names, opened: AWS, databases, registry, stacks.
//! * [`survey`]: a desired state against the world: what is wanted, recorded, seen and planned. Never writes.
//! * [`edit`]: what every verb is: an edit of the desired state.
//! * [`change`]: the story every verb shares: lease, edit, look, plan, agree, run, record.
//! * [`apply`]: create and apply, the edits that come from a spec.
//! * [`fleet`]: the migrations of many tenants at once.
//! * [`error`]: what can go wrong, one type for all verbs.

pub mod apply;
pub mod change;
pub mod edit;
pub mod error;
pub mod fleet;
pub mod site;
pub mod survey;

pub use error::OpError;
pub use site::Site;
