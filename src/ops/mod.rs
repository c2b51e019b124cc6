//! The verbs, without a terminal: one file per use case. Arguments in, results and events out; nothing here prints or asks.
//!
//! * [`site`]: what a profile names, opened: AWS, databases, registry, stacks.
//! * [`survey`]: a desired state against the world: what is wanted, recorded, seen and planned. Never writes.
//! * [`edit`]: what every verb is: an edit of the desired state.
//! * [`change`]: the story every verb shares: lease, edit, look, plan, agree, run, record.
//! * [`apply`]: create and apply, the edits that come from a spec.
//! * [`approved`]: a plan in a file, carried out later as it is or refused.
//! * [`drift`]: where the world differs from what is wanted, of one tenant or all. Never writes.
//! * [`rename`]: another display name or subdomain.
//! * [`error`]: what can go wrong, one type for all verbs.

pub mod apply;
pub mod approved;
pub mod change;
pub mod drift;
pub mod edit;
pub mod error;
pub mod rename;
pub mod site;
pub mod survey;

pub use error::OpError;
pub use site::Site;
