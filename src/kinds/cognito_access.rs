//! Whether a tenant's users may sign in: everybody in its own pool, or the members of its group in a shared one.
//!
//! In Cognito it is a group, made once and empty while the tenant is in use. Suspending puts every user who is enabled into it, signs them
//! out and disables them; resuming enables whom it holds and takes them out. So the pool itself remembers who had been disabled before,
//! and no list of people is ever kept in the registry, a plan or a state: these have numbers only.
//!
//! It is a kind of its own because neither the group of members nor the one user labctl invites can say it: who may sign in concerns
//! users that labctl has not made and does not know, and the group of members must stay as it is for the tenant to come back.
//!
//! # What may be cut off
//! The steps for one user are ordered ([`sign_in`]) so that the last one is what `observe` looks at: a user half shut out is still enabled,
//! one half let in is still in the group.
//!
//! # What it cannot do
//! Signing out revokes refresh tokens, and makes Cognito itself refuse access tokens. A resource server that checks a token's signature
//! alone takes access and ID tokens until they expire (AdminUserGlobalSignOut, Cognito API reference): `access_token_minutes` of the tier.

use std::future::Future;

use aws_sdk_cognitoidentityprovider::types::UserType;
use futures_util::stream::{self, TryStreamExt};
use serde::{Deserialize, Serialize};

use super::Cx;
use crate::cloud::fault::{fault, is};
use crate::cloud::sign_in;
use crate::cloud::tags::{Ownership, compose, ownership, take_apart};
use crate::engine::fault::Fault;
use crate::engine::kind::{Change, Deletion, Diff, Identity, Kind, Limit, Observed, Outputs, Ready, Suspension, Target, Timing};

/// Users worked on at once. Three calls each, one after the other, of some 40 ms: well below the 25 a second that Cognito allows for
/// UserUpdate and for UserResourceUpdate in the whole account (Cognito quotas).
const AT_ONCE: usize = 2;
/// Users on a page, the most there can be.
const PAGE: i32 = 60;

/// The kind.
pub struct CognitoAccess;

/// What a template may say of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The pool.
    pool_id: String,
    /// Name of the group that holds whom labctl has shut out; unique in the pool, at most 128 characters.
    name: String,
    /// The group whose members are the tenant's users; none where everybody in the pool is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    members: Option<String>,
    /// Nobody may sign in. Set by suspending; a template says nothing of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    closed: bool,
}

/// What `observe` reports.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    pool_id: String,
    name: String,
    /// Users in the group: shut out, and to be let in again.
    held: usize,
    /// Users who can sign in; not counted where they may.
    enabled: usize,
}

/// People on a page, and where the next begins.
type Page = (Vec<UserType>, Option<String>);

/// Reads pages to their end.
async fn pages<F: Future<Output = Result<Page, Fault>>>(read: impl Fn(Option<String>) -> F) -> Result<Vec<UserType>, Fault> {
    let (mut users, mut from) = (Vec::new(), None);
    loop {
        let (page, next) = read(from).await?;
        users.extend(page);
        if next.is_none() {
            return Ok(users);
        }
        from = next;
    }
}

async fn members(cx: &Cx, pool: &str, group: &str) -> Result<Vec<UserType>, Fault> {
    pages(|from| async move {
        let call = cx.cloud.cognito.list_users_in_group().user_pool_id(pool).group_name(group).limit(PAGE).set_next_token(from);
        match call.send().await {
            Ok(page) => Ok((page.users.unwrap_or_default(), page.next_token)),
            Err(e) if is(&e, &["ResourceNotFoundException"]) => Ok(Page::default()),
            Err(e) => Err(fault("cognito-idp:ListUsersInGroup", e)),
        }
    })
    .await
}

async fn everybody(cx: &Cx, pool: &str) -> Result<Vec<UserType>, Fault> {
    pages(|from| async move {
        // No attribute is asked for: who these people are is not needed here.
        let call = cx.cloud.cognito.list_users().user_pool_id(pool).attributes_to_get("sub").limit(PAGE).set_pagination_token(from);
        match call.send().await {
            Ok(page) => Ok((page.users.unwrap_or_default(), page.pagination_token)),
            Err(e) => Err(fault("cognito-idp:ListUsers", e)),
        }
    })
    .await
}

/// The tenant's users who can sign in.
async fn enabled(cx: &Cx, spec: &Spec) -> Result<Vec<UserType>, Fault> {
    let mut users = match &spec.members {
        Some(group) => members(cx, &spec.pool_id, group).await?,
        None => everybody(cx, &spec.pool_id).await?,
    };
    users.retain(|u| u.enabled);
    Ok(users)
}

fn names(users: Vec<UserType>) -> impl Iterator<Item = Result<String, Fault>> {
    users.into_iter().filter_map(|u| u.username).map(Ok)
}

async fn look(cx: &Cx, pool: &str, name: &str, target: &Target<'_, Spec>) -> Result<Observed<State>, Fault> {
    let found = match cx.cloud.cognito.get_group().user_pool_id(pool).group_name(name).send().await {
        Ok(found) => found.group,
        Err(e) if is(&e, &["ResourceNotFoundException"]) => None,
        Err(e) => return Err(fault("cognito-idp:GetGroup", e)),
    };
    let Some(group) = found else { return Ok(Observed::Absent) };
    let (_, tags) = take_apart(group.description().unwrap_or_default());
    if let Ownership::Foreign(whose) = ownership(&tags, target.tags) {
        return Ok(Observed::Foreign(whose));
    }
    let held = members(cx, pool, name).await?.len();
    let enabled = if target.spec.closed { enabled(cx, target.spec).await?.len() } else { 0 };
    Ok(Observed::Mine { id: format!("{pool}/{name}"), state: State { pool_id: pool.to_owned(), name: name.to_owned(), held, enabled } })
}

impl Kind for CognitoAccess {
    type Cx = Cx;
    type Spec = Spec;
    type State = State;

    const NAME: &'static str = "cognito_access";
    const IDENTITY: Identity = Identity::Name;
    const DELETION: Deletion = Deletion::Delete;
    /// One at a time: each makes many calls, and the rate is the account's.
    const LIMIT: Limit = Limit { api: "cognito-idp:access", per_second: 5.0, burst: 5, concurrency: 1 };
    const TIMING: Timing = Timing::secs(2, 300);
    const OUTPUTS: &'static [&'static str] = &["name"];

    fn suspended(&self, spec: Spec, level: Suspension) -> Spec {
        Spec { closed: level >= Suspension::Login, ..spec }
    }

    async fn observe(&self, cx: &Cx, target: &Target<'_, Spec>, recorded: Option<&str>) -> Result<Observed<State>, Fault> {
        let spec = target.spec;
        if let Some((pool, name)) = recorded.and_then(|id| id.split_once('/')).filter(|(pool, name)| (*pool, *name) != (&spec.pool_id, &spec.name))
            && let Observed::Mine { id, state } = look(cx, pool, name, target).await?
        {
            return Ok(Observed::Mine { id, state });
        }
        look(cx, &spec.pool_id, &spec.name, target).await
    }

    fn diff(&self, target: &Target<'_, Spec>, state: &State) -> Diff {
        let spec = target.spec;
        let moved = Change::between("pool_id", &state.pool_id, &spec.pool_id).or_else(|| Change::between("name", &state.name, &spec.name));
        match moved {
            Some(change) if state.held > 0 => Diff::Forbidden(format!(
                "it cannot be moved ({change}) while it holds {} users who are to be let in again: resume the tenant first",
                state.held
            )),
            Some(change) => Diff::Replace(change),
            None if spec.closed => Diff::of((state.enabled > 0).then(|| Change::new("users_who_can_sign_in", state.enabled, 0))),
            None => Diff::of((state.held > 0).then(|| Change::new("users_shut_out", state.held, 0))),
        }
    }

    async fn create(&self, cx: &Cx, target: &Target<'_, Spec>, _token: &str) -> Result<String, Fault> {
        let spec = target.spec;
        let words = format!("Users of the tenant {} who were shut out when it was suspended", target.address.tenant);
        let call = cx.cloud.once().cognito.create_group().user_pool_id(&spec.pool_id).group_name(&spec.name);
        match call.description(compose(&words, target.tags)).send().await {
            Ok(_) => Ok(format!("{}/{}", spec.pool_id, spec.name)),
            // Perhaps by ourselves with a lost reply: the next look tells whose it is.
            Err(e) if is(&e, &["GroupExistsException"]) => {
                Err(Fault::unknown("cognito-idp:CreateGroup", "GroupExistsException", "a group of that name exists already"))
            }
            Err(e) => Err(fault("cognito-idp:CreateGroup", e)),
        }
    }

    async fn update(&self, cx: &Cx, target: &Target<'_, Spec>, _id: &str, _state: &State) -> Result<(), Fault> {
        let Spec { pool_id, name, closed, .. } = target.spec;
        if *closed {
            let users = stream::iter(names(enabled(cx, target.spec).await?));
            users.try_for_each_concurrent(AT_ONCE, |user| async move { sign_in::forbid(&cx.cloud, pool_id, name, &user).await }).await
        } else {
            let users = stream::iter(names(members(cx, pool_id, name).await?));
            users.try_for_each_concurrent(AT_ONCE, |user| async move { sign_in::allow(&cx.cloud, pool_id, name, &user).await }).await
        }
    }

    /// Only the group goes: whom it holds stays disabled, and nobody remembers that they were not. It goes with its tenant.
    async fn delete(&self, cx: &Cx, _target: &Target<'_, Spec>, id: &str) -> Result<(), Fault> {
        let Some((pool, name)) = id.split_once('/') else {
            return Err(Fault::refused("cognito-idp:DeleteGroup", "invalid_id", format!("`{id}` is not pool/group; nothing was deleted")));
        };
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
    use serde_json::json;

    use super::*;
    use crate::cloud::scripted::Script;
    use crate::cloud::tags::owned;
    use crate::engine::kind::{Address, Tags};

    fn spec(over: serde_json::Value) -> Spec {
        let mut base = json!({"pool_id": "p", "name": "suspended-a", "members": "tenant-a"});
        base.as_object_mut().unwrap().extend(over.as_object().unwrap().clone());
        serde_json::from_value(base).unwrap()
    }

    fn state(held: usize, enabled: usize) -> State {
        State { pool_id: "p".into(), name: "suspended-a".into(), held, enabled }
    }

    #[test]
    fn signing_in_is_closed_from_the_level_login_on() {
        let closed: Vec<bool> = Suspension::ALL.map(|level| CognitoAccess.suspended(spec(json!({})), level).closed).into();
        assert_eq!(closed, [false, true, true]);
    }

    #[test]
    fn closed_is_when_nobody_is_enabled_and_open_is_when_nobody_is_held() {
        let address = Address::new("a", "cognito_access", "users");
        let can = |n: usize| Diff::Update(vec![Change::new("users_who_can_sign_in", n, 0)]);
        let out = |n: usize| Diff::Update(vec![Change::new("users_shut_out", n, 0)]);
        let moved = "it cannot be moved (name: suspended-a → b) while it holds 2 users who are to be let in again: resume the tenant first";
        let rows = [
            (json!({}), state(0, 0), Diff::Same),
            (json!({}), state(2, 0), out(2)),
            (json!({"closed": true}), state(0, 3), can(3)),
            (json!({"closed": true}), state(3, 1), can(1)),
            (json!({"closed": true}), state(3, 0), Diff::Same),
            (json!({"name": "b"}), state(0, 0), Diff::Replace(Change::new("name", "suspended-a", "b"))),
            (json!({"name": "b"}), state(2, 0), Diff::Forbidden(moved.into())),
        ];
        for (over, found, want) in rows {
            let spec = spec(over.clone());
            assert_eq!(CognitoAccess.diff(&Target { address: &address, spec: &spec, tags: &Tags::new() }, &found), want, "{over}");
        }
    }

    /// The operations called, and of those that name a user, whom.
    fn calls(script: &Script) -> Vec<String> {
        let told = |(operation, body): (String, String)| {
            let body: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
            format!("{operation} {}", body["Username"].as_str().or(body["NextToken"].as_str()).unwrap_or_default()).trim_end().to_owned()
        };
        script.seen().into_iter().map(told).collect()
    }

    fn page(users: &[(&str, bool)], next: Option<&str>) -> String {
        let users: Vec<_> = users.iter().map(|(name, enabled)| json!({"Username": name, "Enabled": enabled})).collect();
        json!({"Users": users, "NextToken": next}).to_string()
    }

    #[tokio::test]
    async fn of_all_pages_only_the_enabled_are_shut_out_and_disabled_last() {
        let script = Script::new()
            .then("ListUsersInGroup", 200, page(&[("was-off", false)], Some("more")))
            .then("ListUsersInGroup", 200, page(&[("ana", true)], None))
            .then("AdminAddUserToGroup", 200, "{}")
            .then("AdminUserGlobalSignOut", 200, "{}")
            .then("AdminDisableUser", 200, "{}");
        let (address, spec) = (Address::new("a", "cognito_access", "users"), spec(json!({"closed": true})));
        let target = Target { address: &address, spec: &spec, tags: &Tags::new() };
        CognitoAccess.update(&Cx::scripted(&script).await, &target, "p/suspended-a", &state(0, 1)).await.unwrap();
        assert_eq!(
            calls(&script),
            ["ListUsersInGroup", "ListUsersInGroup more", "AdminAddUserToGroup ana", "AdminUserGlobalSignOut ana", "AdminDisableUser ana"]
        );
    }

    #[tokio::test]
    async fn a_user_is_enabled_before_the_group_forgets_them_and_one_who_is_gone_is_passed_over() {
        let gone = r#"{"__type": "UserNotFoundException", "message": "User does not exist."}"#;
        let script = Script::new()
            .then("ListUsersInGroup", 200, page(&[("gone", false)], Some("more")))
            .then("ListUsersInGroup", 200, page(&[], None))
            .then("AdminEnableUser", 400, gone)
            .then("ListUsersInGroup", 200, page(&[("ana", false)], None))
            .then("AdminEnableUser", 200, "{}")
            .then("AdminRemoveUserFromGroup", 200, "{}");
        let (address, spec) = (Address::new("a", "cognito_access", "users"), spec(json!({})));
        let target = Target { address: &address, spec: &spec, tags: &Tags::new() };
        let cx = Cx::scripted(&script).await;
        for _ in 0..2 {
            CognitoAccess.update(&cx, &target, "p/suspended-a", &state(1, 0)).await.unwrap();
        }
        let wanted =
            ["ListUsersInGroup", "ListUsersInGroup more", "AdminEnableUser gone", "ListUsersInGroup", "AdminEnableUser ana", "AdminRemoveUserFromGroup ana"];
        assert_eq!(calls(&script), wanted);
    }

    #[tokio::test]
    async fn while_everybody_may_sign_in_nobody_is_listed_but_whom_the_group_holds() {
        let address = Address::new("a", "cognito_access", "users");
        let tags = owned(&address, "r1");
        let group = json!({"Group": {"GroupName": "suspended-a", "Description": compose("words", &tags)}}).to_string();
        let script = Script::new().then("GetGroup", 200, group).then("ListUsersInGroup", 200, page(&[("ana", false)], None));
        let spec = spec(json!({"members": null}));
        let seen = CognitoAccess.observe(&Cx::scripted(&script).await, &Target { address: &address, spec: &spec, tags: &tags }, None).await.unwrap();
        assert!(matches!(seen, Observed::Mine { state: State { held: 1, enabled: 0, .. }, .. }));
    }
}
