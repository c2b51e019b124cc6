//! The verbs, without a terminal: one file per use case. Arguments in, results and events out; nothing here prints or asks.
//!
//! * [`site`]: what a profile names, opened: AWS, databases, registry, stacks.
//! * [`survey`]: a desired state against the world: what is wanted, recorded, seen and planned. Never writes.
//! * [`edit`]: what every verb is: an edit of the desired state.
//! * [`verb`]: the verbs, and which of them a tenant has when.
//! * [`change`]: the story every verb shares: lease, edit, look, plan, agree, run, record.
//! * [`apply`]: create and apply, the edits that come from a spec.
//! * [`fleet_health`]: the databases of many tenants, as they are now.
//! * [`rotate`]: credentials, by two logins in turn.
//! * [`credentials`]: what a tenant logs in with.
//! * [`error`]: what can go wrong, one type for all verbs.

pub mod apply;
pub mod change;
pub mod credentials;
pub mod edit;
pub mod error;
pub mod fleet_health;
pub mod rotate;
pub mod site;
pub mod survey;
pub mod verb;

pub use error::OpError;
pub use site::Site;
