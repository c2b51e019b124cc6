//! The verbs, without a terminal: one file per use case. Arguments in, results and events out; nothing here prints or asks.
//!
//! * [`site`]: what a profile names, opened: AWS, databases, registry, stacks.
//! * [`survey`]: a spec against the world: what is wanted, recorded, seen and planned. Never writes.
//! * [`apply`]: create, apply and resume: one tenant brought to what its spec says.
//! * [`error`]: what can go wrong, one type for all verbs.

pub mod apply;
pub mod error;
pub mod site;
pub mod survey;

pub use error::OpError;
pub use site::Site;
