//! Shutting users of a Cognito pool out, and letting them in again.
//!
//! Cognito has no room to note why a user is disabled. So whoever is shut out is first put into a group made for that, and leaves it only
//! when enabled again: the group says who was shut out by labctl, and who had been disabled before and stays so.

use super::Cloud;
use super::fault::{fault, is};
use crate::engine::fault::Fault;

/// A user who is gone needs nothing more.
const GONE: &[&str] = &["UserNotFoundException"];

/// A user is put into the group, signed out everywhere, and disabled, in this order: as long as they are enabled there is something left
/// to do, and whoever looks can see it.
///
/// # Errors
/// As the calls' faults. Those made so far stay, and all of them may be made again.
pub async fn forbid(cloud: &Cloud, pool: &str, group: &str, user: &str) -> Result<(), Fault> {
    match cloud.cognito.admin_add_user_to_group().user_pool_id(pool).group_name(group).username(user).send().await {
        Err(e) if is(&e, GONE) => return Ok(()),
        Err(e) => return Err(fault("cognito-idp:AdminAddUserToGroup", e)),
        Ok(_) => {}
    }
    match cloud.cognito.admin_user_global_sign_out().user_pool_id(pool).username(user).send().await {
        Err(e) if is(&e, GONE) => return Ok(()),
        Err(e) => return Err(fault("cognito-idp:AdminUserGlobalSignOut", e)),
        Ok(_) => {}
    }
    match cloud.cognito.admin_disable_user().user_pool_id(pool).username(user).send().await {
        Err(e) if !is(&e, GONE) => Err(fault("cognito-idp:AdminDisableUser", e)),
        _ => Ok(()),
    }
}

/// A user is enabled, and then taken out of the group: the other way round, one who was forgotten half-way would stay disabled for ever.
///
/// # Errors
/// As the calls' faults. Those made so far stay, and all of them may be made again.
pub async fn allow(cloud: &Cloud, pool: &str, group: &str, user: &str) -> Result<(), Fault> {
    match cloud.cognito.admin_enable_user().user_pool_id(pool).username(user).send().await {
        Err(e) if is(&e, GONE) => return Ok(()),
        Err(e) => return Err(fault("cognito-idp:AdminEnableUser", e)),
        Ok(_) => {}
    }
    match cloud.cognito.admin_remove_user_from_group().user_pool_id(pool).group_name(group).username(user).send().await {
        Err(e) if !is(&e, GONE) => Err(fault("cognito-idp:AdminRemoveUserFromGroup", e)),
        _ => Ok(()),
    }
}
