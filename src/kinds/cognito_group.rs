//! A group in a Cognito user pool: in a shared pool, the tenant's.
//!
//! A group's name is unique in its pool, but it carries no tags. Its description does: the words for people, then a last line with
//! the ownership as compact JSON.
//!
//! # Deletion
//! In a shared pool the tenant's people go with their group: all that bear its `custom:tenant_id`, and those in the group that bear none.
//! Somebody of another tenant who is in it only leaves it. A pool of the tenant's own takes its people along by itself.

use std::collections::BTreeSet;

use aws_sdk_cognitoidentityprovider::types::{GroupType, UserType};
use serde::{Deserialize, Serialize};

use super::Cx;
use crate::cloud::fault::{fault, is};
use crate::cloud::tags::{Ownership, TENANT, compose, ownership, take_apart};
use crate::engine::fault::Fault;
use crate::engine::kind::{Change, Deletion, Diff, Identity, Kind, Limit, Observed, Outputs, Ready, Suspension, Tags, Target, Timing};

/// The kind.
pub struct CognitoGroup;

/// What a template may say of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The pool it is in.
    pool_id: String,
    /// Unique there, at most 128 characters.
    name: String,
    /// For people; with the line of ownership at most 2,048 characters.
    description: String,
}

/// What `observe` reports.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    pool_id: String,
    name: String,
    description: String,
    /// Others' settings, sent back when the description changes.
    role_arn: Option<String>,
    precedence: Option<i32>,
}

fn id(pool: &str, name: &str) -> String {
    format!("{pool}/{name}")
}

async fn look(cx: &Cx, pool: &str, name: &str, want: &Tags) -> Result<Observed<State>, Fault> {
    let found = match cx.cloud.cognito.get_group().user_pool_id(pool).group_name(name).send().await {
        Ok(found) => found.group,
        Err(e) if is(&e, &["ResourceNotFoundException"]) => None,
        Err(e) => return Err(fault("cognito-idp:GetGroup", e)),
    };
    let Some(GroupType { description, role_arn, precedence, .. }) = found else { return Ok(Observed::Absent) };
    let text = description.unwrap_or_default();
    let (words, tags) = take_apart(&text);
    if let Ownership::Foreign(whose) = ownership(&tags, want) {
        return Ok(Observed::Foreign(whose));
    }
    let state = State { pool_id: pool.to_owned(), name: name.to_owned(), description: words.to_owned(), role_arn, precedence };
    Ok(Observed::Mine { id: id(pool, name), state })
}

/// Whether the pool is the tenant's own. One that is gone has nobody to remove.
async fn own_pool(cx: &Cx, pool: &str, tenant: &str) -> Result<bool, Fault> {
    match cx.cloud.cognito.describe_user_pool().user_pool_id(pool).send().await {
        Ok(found) => Ok(found.user_pool.and_then(|p| p.user_pool_tags?.remove(TENANT)).is_some_and(|of| of == tenant)),
        Err(e) if is(&e, &["ResourceNotFoundException"]) => Ok(true),
        Err(e) => Err(fault("cognito-idp:DescribeUserPool", e)),
    }
}

fn tenant_of(user: &UserType) -> Option<&str> {
    user.attributes().iter().find(|a| a.name == "custom:tenant_id")?.value()
}

async fn remove_people(cx: &Cx, pool: &str, group: &str, tenant: &str) -> Result<(), Fault> {
    if own_pool(cx, pool, tenant).await? {
        return Ok(());
    }
    let cognito = &cx.cloud.cognito;
    let mut doomed = BTreeSet::new();
    let mut pages = cognito.list_users_in_group().user_pool_id(pool).group_name(group).into_paginator().items().send();
    while let Some(user) = pages.next().await {
        match user {
            Ok(user) if tenant_of(&user).is_none_or(|of| of == tenant) => doomed.extend(user.username),
            Err(e) if !is(&e, &["ResourceNotFoundException"]) => return Err(fault("cognito-idp:ListUsersInGroup", e)),
            _ => {}
        }
    }
    // ListUsers cannot be asked for an attribute of a pool's own: everybody is looked at.
    let mut pages = cognito.list_users().user_pool_id(pool).into_paginator().items().send();
    while let Some(user) = pages.next().await {
        let user = user.map_err(|e| fault("cognito-idp:ListUsers", e))?;
        if tenant_of(&user) == Some(tenant) {
            doomed.extend(user.username);
        }
    }
    for name in doomed {
        match cognito.admin_delete_user().user_pool_id(pool).username(name).send().await {
            Err(e) if !is(&e, &["UserNotFoundException"]) => return Err(fault("cognito-idp:AdminDeleteUser", e)),
            _ => {}
        }
    }
    Ok(())
}

impl Kind for CognitoGroup {
    type Cx = Cx;
    type Spec = Spec;
    type State = State;

    const NAME: &'static str = "cognito_group";
    const IDENTITY: Identity = Identity::Name;
    const DELETION: Deletion = Deletion::Delete;
    /// Group changes: 15 a second, and 5 a second in any one pool, which is what binds where a pool is shared (Cognito quotas).
    const LIMIT: Limit = Limit { api: "cognito-idp:groups", per_second: 5.0, burst: 5, concurrency: 4 };
    const TIMING: Timing = Timing::secs(1, 60);
    const OUTPUTS: &'static [&'static str] = &["name"];

    /// Its members stay members: who of them may sign in is `cognito_access`'s to say.
    fn suspended(&self, spec: Spec, _level: Suspension) -> Spec {
        spec
    }

    async fn observe(&self, cx: &Cx, target: &Target<'_, Spec>, recorded: Option<&str>) -> Result<Observed<State>, Fault> {
        let spec = target.spec;
        let here = id(&spec.pool_id, &spec.name);
        if let Some((pool, name)) = recorded.filter(|id| *id != here).and_then(|id| id.split_once('/'))
            && let Observed::Mine { id, state } = look(cx, pool, name, target.tags).await?
        {
            return Ok(Observed::Mine { id, state });
        }
        look(cx, &spec.pool_id, &spec.name, target.tags).await
    }

    fn diff(&self, target: &Target<'_, Spec>, state: &State) -> Diff {
        let spec = target.spec;
        let moved = Change::between("pool_id", &state.pool_id, &spec.pool_id).or_else(|| Change::between("name", &state.name, &spec.name));
        match moved {
            Some(change) => Diff::Replace(change),
            None => Diff::of(Change::between("description", &state.description, &spec.description)),
        }
    }

    async fn create(&self, cx: &Cx, target: &Target<'_, Spec>, _token: &str) -> Result<String, Fault> {
        let spec = target.spec;
        let call = cx.cloud.once().cognito.create_group().user_pool_id(&spec.pool_id).group_name(&spec.name);
        match call.description(compose(&spec.description, target.tags)).send().await {
            Ok(_) => Ok(id(&spec.pool_id, &spec.name)),
            // Perhaps by ourselves with a lost reply: the next look tells whose it is.
            Err(e) if is(&e, &["GroupExistsException"]) => {
                Err(Fault::unknown("cognito-idp:CreateGroup", "GroupExistsException", "a group of that name exists already"))
            }
            Err(e) => Err(fault("cognito-idp:CreateGroup", e)),
        }
    }

    async fn update(&self, cx: &Cx, target: &Target<'_, Spec>, _id: &str, state: &State) -> Result<(), Fault> {
        cx.cloud
            .cognito
            .update_group()
            .user_pool_id(&state.pool_id)
            .group_name(&state.name)
            .description(compose(&target.spec.description, target.tags))
            .set_role_arn(state.role_arn.clone())
            .set_precedence(state.precedence)
            .send()
            .await
            .map(drop)
            .map_err(|e| fault("cognito-idp:UpdateGroup", e))
    }

    async fn delete(&self, cx: &Cx, target: &Target<'_, Spec>, id: &str) -> Result<(), Fault> {
        let Some((pool, name)) = id.split_once('/') else {
            return Err(Fault::refused("cognito-idp:DeleteGroup", "invalid_id", format!("`{id}` is not pool/group; nothing was deleted")));
        };
        remove_people(cx, pool, name, &target.address.tenant).await?;
        match cx.cloud.cognito.delete_group().user_pool_id(pool).group_name(name).send().await {
            Err(e) if !is(&e, &["ResourceNotFoundException"]) => Err(fault("cognito-idp:DeleteGroup", e)),
            _ => Ok(()),
        }
    }

    fn ready(&self, _target: &Target<'_, Spec>, _state: &State) -> Ready {
        Ready::Ready
    }

    fn outputs(&self, _target: &Target<'_, Spec>, _id: &str, state: &State) -> Outputs {
        Outputs::from([("name".to_owned(), state.name.clone())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::kind::Address;
    use serde_json::json;

    #[test]
    fn words_change_in_place_and_a_move_replaces() {
        let address = Address::new("a", "cognito_group", "members");
        let state: State = serde_json::from_value(json!({"pool_id": "p1", "name": "a", "description": "old", "role_arn": null, "precedence": null})).unwrap();
        let rows = [
            (("p1", "a", "old"), Diff::Same),
            (("p1", "a", "new"), Diff::Update(vec![Change::new("description", "old", "new")])),
            (("p2", "a", "old"), Diff::Replace(Change::new("pool_id", "p1", "p2"))),
            (("p1", "b", "old"), Diff::Replace(Change::new("name", "a", "b"))),
        ];
        for ((pool, name, words), want) in rows {
            let spec = Spec { pool_id: pool.into(), name: name.into(), description: words.into() };
            assert_eq!(CognitoGroup.diff(&Target { address: &address, spec: &spec, tags: &Tags::new() }, &state), want);
        }
    }
}
