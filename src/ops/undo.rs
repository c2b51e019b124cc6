//! `--on-failure undo`: what a failed run has made is deleted again, in reverse. What holds data stays, and so does what that needs.

use std::collections::{BTreeMap, BTreeSet};

use super::error::OpError;
use super::site::Site;
use super::survey::recorded;
use crate::engine::kind::Address;
use crate::engine::step::{Action, Step};
use crate::kinds::KINDS;
use crate::plan::undo::undoable;
use crate::plan::{Input, Plan};

/// What becomes of what was made when a later step fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// It is kept and on record, for whoever goes on.
    #[default]
    Keep,
    /// What this run has made is deleted again, but for what holds data.
    Undo,
}

/// The steps that undo what these steps have made and the registry has on record.
///
/// # Errors
/// [`OpError::Registry`].
pub(super) async fn steps(site: &Site, tenant: &str, taken: &[Step]) -> Result<Vec<Step>, OpError> {
    let created: BTreeSet<&Address> = taken.iter().filter(|s| s.action == Action::Create).map(|s| &s.address).collect();
    let there: Vec<_> = recorded(site.registry.resources(tenant).await?).into_iter().filter(|r| r.id.is_some() && created.contains(&r.address)).collect();
    let made: BTreeSet<Address> = there.iter().map(|r| r.address.clone()).collect();
    let undoable = undoable(taken, &made, KINDS);
    let gone: Vec<_> = there.into_iter().filter(|r| undoable.contains(&r.address)).collect();
    let input = Input { tenant, wanted: &[], recorded: &gone, world: &BTreeMap::new(), may_delete_data: false, as_found: false };
    Ok(Plan::make(&input, KINDS).steps)
}
