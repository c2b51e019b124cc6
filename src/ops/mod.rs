//! The verbs, without a terminal: one file per use case. Arguments in, results and events out; nothing here prints or asks.
//!
//! * [`site`]: what a profile names, opened: AWS, databases, registry, stacks.
//! * [`survey`]: a desired state against the world: what is wanted, recorded, seen and planned. Never writes.
//! * [`edit`]: what every verb is: an edit of the desired state.
//! * [`verb`]: the verbs, and which of them a tenant has when.
//! * [`change`]: the story every verb shares: lease, edit, look, plan, agree, run, record.
//! * [`apply`]: create and apply, the edits that come from a spec.
//! * [`fleet_health`]: the databases of many tenants, as they are now.
//! * [`rotate`]: credentials, by two logins in turn; `rotated` is what that makes of resources.
//! * [`credentials`]: what a tenant logs in with.
//! * [`scale`]: numbers of tasks and the size of the database, within the tier's bounds.
//! * [`deploy`]: another image.
//! * [`suspend`], [`resume`]: out of use, and back.
//! * [`delete`], [`undelete`], [`purge`]: the end of a tenant's life, and [`proof`], that nothing is left of it.
//! * [`approved`]: a plan in a file, carried out later as it is or refused.
//! * [`drift`]: where the world differs from what is wanted, of one tenant or all. Never writes.
//! * [`rename`]: another display name or subdomain.
//! * [`deliver`]: lifecycle events, from the registry's outbox to their receivers.
//! * [`settle`]: what an operator settles of an operation that no run can: given up, or looked at.
//! * [`verify`]: isolation, proved by trying.
//! * [`fleet`]: the migrations of many tenants at once.
//! * [`doctor`]: is everything well, and what to do where it is not. Never writes.
//! * [`undo`]: what a failed run has made, deleted again where that was asked for.
//! * [`error`]: what can go wrong, one type for all verbs.

pub mod apply;
pub mod approved;
pub mod change;
pub mod credentials;
pub mod delete;
pub mod deliver;
pub mod deploy;
pub mod doctor;
pub mod drift;
pub mod edit;
pub mod error;
pub mod fleet;
pub mod fleet_health;
pub mod proof;
pub mod purge;
pub mod rename;
pub mod resume;
pub mod rotate;
mod rotated;
pub mod scale;
pub mod settle;
pub mod site;
pub mod survey;
pub mod suspend;
pub mod undelete;
pub mod undo;
pub mod verb;
pub mod verify;
mod wait;

pub use error::OpError;
pub use site::Site;
