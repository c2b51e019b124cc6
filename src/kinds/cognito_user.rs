//! A person in a Cognito user pool: a tenant's administrator, invited by e-mail.
//!
//! Cognito makes the temporary password and mails it; labctl never sees one. AdminCreateUser is sent once and never repeated: had
//! its reply been lost, the person is found by address and not invited again. Whose a user is, `custom:tenant_id` says, which
//! nobody can change: in a shared pool the address of another tenant's user is refused, not taken over.
//!
//! Whether the person may sign in is not said here but by `cognito_access`, for all users alike. Only one invited while the tenant is
//! suspended is shut out here, as those before were there, and let in with them.
//!
//! With Cognito's own mailer an account sends 50 invitations a day; SES is the pool's setting.

use std::collections::BTreeMap;

use aws_sdk_cognitoidentityprovider::types::{AttributeType, DeliveryMediumType, UserStatusType};
use serde::{Deserialize, Deserializer, Serialize};

use super::Cx;
use crate::cloud::fault::{fault, is};
use crate::cloud::sign_in;
use crate::engine::fault::Fault;
use crate::engine::kind::{Change, Deletion, Diff, Identity, Kind, Limit, Observed, Outputs, Ready, Suspension, Target, Timing};

/// The kind.
pub struct CognitoUser;

/// What a template may say of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The pool.
    pool_id: String,
    /// Where the invitation goes, and what the person signs in with; case says nothing.
    #[serde(deserialize_with = "address")]
    email: String,
    /// Becomes `custom:tenant_id`, for ever.
    tenant_id: String,
    /// Becomes `custom:tenant_tier`.
    tenant_tier: String,
    /// A group of the pool to be in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    /// The group that holds users who were shut out: `cognito_access`'s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shut_out_group: Option<String>,
    /// Nobody may sign in. Set by suspending; a template says nothing of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    closed: bool,
}

fn address<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    let text = String::deserialize(d)?;
    if text.contains("${") {
        return Ok(text);
    }
    match text.split_once('@') {
        Some((name, host)) if !name.is_empty() && !host.is_empty() => Ok(text.to_lowercase()),
        _ => Err(serde::de::Error::custom(format!("`{text}` is not an e-mail address"))),
    }
}

/// What `observe` reports.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    pool_id: String,
    username: String,
    sub: String,
    email: String,
    email_verified: bool,
    tenant_tier: Option<String>,
    groups: Vec<String>,
    enabled: bool,
    status: String,
}

fn attribute(name: &str, value: &str) -> Result<AttributeType, Fault> {
    AttributeType::builder().name(name).value(value).build().map_err(|e| Fault::refused("cognito-idp:AdminCreateUser", "invalid_request", e.to_string()))
}

async fn look(cx: &Cx, pool: &str, name: &str, spec: &Spec) -> Result<Observed<State>, Fault> {
    let cognito = &cx.cloud.cognito;
    let user = match cognito.admin_get_user().user_pool_id(pool).username(name).send().await {
        Ok(found) => found,
        Err(e) if is(&e, &["UserNotFoundException", "ResourceNotFoundException"]) => return Ok(Observed::Absent),
        Err(e) => return Err(fault("cognito-idp:AdminGetUser", e)),
    };
    let mut attributes: BTreeMap<_, _> = user.user_attributes.unwrap_or_default().into_iter().map(|a| (a.name, a.value.unwrap_or_default())).collect();
    match attributes.remove("custom:tenant_id") {
        Some(tenant) if tenant == spec.tenant_id => {}
        Some(tenant) => return Ok(Observed::Foreign(format!("the user of that address belongs to tenant {tenant}"))),
        None => return Ok(Observed::Foreign("the user of that address belongs to no tenant".to_owned())),
    }
    let mut groups = Vec::new();
    let mut pages = cognito.admin_list_groups_for_user().user_pool_id(pool).username(&user.username).into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|e| fault("cognito-idp:AdminListGroupsForUser", e))?;
        groups.extend(page.groups.unwrap_or_default().into_iter().filter_map(|g| g.group_name));
    }
    let state = State {
        pool_id: pool.to_owned(),
        sub: attributes.remove("sub").unwrap_or_else(|| user.username.clone()),
        email: attributes.remove("email").unwrap_or_default().to_lowercase(),
        email_verified: attributes.get("email_verified").is_some_and(|v| v == "true"),
        tenant_tier: attributes.remove("custom:tenant_tier"),
        groups,
        enabled: user.enabled,
        status: user.user_status.as_ref().map_or("UNKNOWN", UserStatusType::as_str).to_owned(),
        username: user.username.clone(),
    };
    Ok(Observed::Mine { id: format!("{pool}/{}", user.username), state })
}

impl Kind for CognitoUser {
    type Cx = Cx;
    type Spec = Spec;
    type State = State;

    const NAME: &'static str = "cognito_user";
    const IDENTITY: Identity = Identity::Name;
    /// A login, not data: it can be made again by inviting again.
    const DELETION: Deletion = Deletion::Delete;
    /// UserCreation category: 50 a second (Cognito quotas).
    const LIMIT: Limit = Limit { api: "cognito-idp:users", per_second: 50.0, burst: 50, concurrency: 8 };
    const TIMING: Timing = Timing::secs(2, 60);
    const OUTPUTS: &'static [&'static str] = &["sub", "username"];

    fn suspended(&self, spec: Spec, level: Suspension) -> Spec {
        Spec { closed: level >= Suspension::Login && spec.shut_out_group.is_some(), ..spec }
    }

    async fn observe(&self, cx: &Cx, target: &Target<'_, Spec>, recorded: Option<&str>) -> Result<Observed<State>, Fault> {
        if let Some((pool, name)) = recorded.and_then(|id| id.split_once('/'))
            && let Observed::Mine { id, state } = look(cx, pool, name, target.spec).await?
        {
            return Ok(Observed::Mine { id, state });
        }
        look(cx, &target.spec.pool_id, &target.spec.email, target.spec).await
    }

    fn diff(&self, target: &Target<'_, Spec>, state: &State) -> Diff {
        let spec = target.spec;
        // Another address is another person until proven otherwise: they get an invitation of their own, and the former one's
        // password and second factor end with the former login.
        let other = Change::between("pool_id", &state.pool_id, &spec.pool_id).or_else(|| Change::between("email", &state.email, &spec.email));
        if let Some(change) = other {
            return Diff::Replace(change);
        }
        let mut changes = Vec::new();
        changes.extend(Change::between("email_verified", &state.email_verified, &true));
        changes.extend(Change::between("tenant_tier", &state.tenant_tier, &Some(spec.tenant_tier.clone())));
        if let Some(group) = spec.group.as_ref().filter(|g| !state.groups.contains(g)) {
            changes.push(Change::new("group", if state.groups.is_empty() { "(none)".to_owned() } else { state.groups.join(", ") }, group));
        }
        // Not the other way round: who has been disabled is let in by whom shut them out.
        changes.extend((spec.closed && state.enabled).then(|| Change::new("enabled", true, false)));
        Diff::of(changes)
    }

    async fn create(&self, cx: &Cx, target: &Target<'_, Spec>, _token: &str) -> Result<String, Fault> {
        let spec = target.spec;
        let made = cx
            .cloud
            .once()
            .cognito
            .admin_create_user()
            .user_pool_id(&spec.pool_id)
            .username(&spec.email)
            .user_attributes(attribute("email", &spec.email)?)
            .user_attributes(attribute("email_verified", "true")?)
            .user_attributes(attribute("custom:tenant_id", &spec.tenant_id)?)
            .user_attributes(attribute("custom:tenant_tier", &spec.tenant_tier)?)
            .desired_delivery_mediums(DeliveryMediumType::Email)
            .send()
            .await;
        match made {
            Ok(made) => {
                let name = made.user.and_then(|u| u.username).unwrap_or_else(|| spec.email.clone());
                Ok(format!("{}/{name}", spec.pool_id))
            }
            // Perhaps invited by ourselves with a lost reply: the next look tells whose it is.
            Err(e) if is(&e, &["UsernameExistsException"]) => {
                Err(Fault::unknown("cognito-idp:AdminCreateUser", "UsernameExistsException", "a user of that address exists already"))
            }
            Err(e) => Err(fault("cognito-idp:AdminCreateUser", e)),
        }
    }

    async fn update(&self, cx: &Cx, target: &Target<'_, Spec>, _id: &str, state: &State) -> Result<(), Fault> {
        let (cognito, spec) = (&cx.cloud.cognito, target.spec);
        let mut attributes = Vec::new();
        if !state.email_verified {
            // Cognito takes this as said of the address sent with it.
            attributes.push(attribute("email", &spec.email)?);
            attributes.push(attribute("email_verified", "true")?);
        }
        if state.tenant_tier.as_ref() != Some(&spec.tenant_tier) {
            attributes.push(attribute("custom:tenant_tier", &spec.tenant_tier)?);
        }
        if !attributes.is_empty() {
            let call = cognito.admin_update_user_attributes().user_pool_id(&state.pool_id).username(&state.username);
            call.set_user_attributes(Some(attributes)).send().await.map_err(|e| fault("cognito-idp:AdminUpdateUserAttributes", e))?;
        }
        if let Some(group) = spec.group.as_ref().filter(|g| !state.groups.contains(g)) {
            let call = cognito.admin_add_user_to_group().user_pool_id(&state.pool_id).username(&state.username).group_name(group);
            call.send().await.map_err(|e| fault("cognito-idp:AdminAddUserToGroup", e))?;
        }
        match &spec.shut_out_group {
            Some(group) if spec.closed && state.enabled => sign_in::forbid(&cx.cloud, &state.pool_id, group, &state.username).await,
            _ => Ok(()),
        }
    }

    async fn delete(&self, cx: &Cx, _target: &Target<'_, Spec>, id: &str) -> Result<(), Fault> {
        let Some((pool, name)) = id.split_once('/') else {
            return Err(Fault::refused("cognito-idp:AdminDeleteUser", "invalid_id", format!("`{id}` is not pool/user; nothing was deleted")));
        };
        match cx.cloud.cognito.admin_delete_user().user_pool_id(pool).username(name).send().await {
            Err(e) if !is(&e, &["UserNotFoundException", "ResourceNotFoundException"]) => Err(fault("cognito-idp:AdminDeleteUser", e)),
            _ => Ok(()),
        }
    }

    fn ready(&self, _target: &Target<'_, Spec>, state: &State) -> Ready {
        match state.status.as_str() {
            "ARCHIVED" | "COMPROMISED" => Ready::Broken(format!("the user is {}", state.status)),
            // Invited is done: when the person will sign in is not ours to wait for.
            _ => Ready::Ready,
        }
    }

    fn outputs(&self, _target: &Target<'_, Spec>, _id: &str, state: &State) -> Outputs {
        Outputs::from([("sub".to_owned(), state.sub.clone()), ("username".to_owned(), state.username.clone())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::kind::{Address, Tags};
    use serde_json::json;

    fn state() -> State {
        State {
            pool_id: "p".into(),
            username: "u".into(),
            sub: "u".into(),
            email: "ana@a.example".into(),
            email_verified: true,
            tenant_tier: Some("trial".into()),
            groups: vec!["a".into()],
            enabled: true,
            status: "FORCE_CHANGE_PASSWORD".into(),
        }
    }

    fn diff(extra: serde_json::Value, state: &State) -> Diff {
        let mut spec = json!({"pool_id": "p", "email": "Ana@A.example", "tenant_id": "a", "tenant_tier": "trial", "group": "a"});
        spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let spec = serde_json::from_value(spec).unwrap();
        CognitoUser.diff(&Target { address: &Address::new("a", "cognito_user", "admin"), spec: &spec, tags: &Tags::new() }, state)
    }

    #[test]
    fn another_address_or_pool_is_another_login_and_the_rest_changes_in_place() {
        let rows = [
            (json!({}), Diff::Same),
            (json!({"group": null}), Diff::Same),
            (json!({"tenant_tier": "standard"}), Diff::Update(vec![Change::new("tenant_tier", "trial", "standard")])),
            (json!({"group": "b"}), Diff::Update(vec![Change::new("group", "a", "b")])),
            (json!({"email": "eva@a.example"}), Diff::Replace(Change::new("email", "ana@a.example", "eva@a.example"))),
            (json!({"pool_id": "q"}), Diff::Replace(Change::new("pool_id", "p", "q"))),
        ];
        for (extra, want) in rows {
            assert_eq!(diff(extra.clone(), &state()), want, "{extra}");
        }
        let unverified = State { email_verified: false, ..state() };
        assert_eq!(diff(json!({}), &unverified), Diff::Update(vec![Change::new("email_verified", false, true)]));
    }

    #[test]
    fn who_may_not_sign_in_is_shut_out_here_and_never_let_in() {
        let disabled = State { enabled: false, ..state() };
        assert_eq!(diff(json!({}), &disabled), Diff::Same, "somebody had a reason");
        let closed = |level| {
            let spec = json!({"pool_id": "p", "email": "ana@a.example", "tenant_id": "a", "tenant_tier": "trial", "shut_out_group": "suspended-a"});
            json!(CognitoUser.suspended(serde_json::from_value(spec).unwrap(), level))
        };
        assert_eq!(diff(closed(Suspension::ReadOnly), &state()), Diff::Same);
        assert_eq!(diff(closed(Suspension::Login), &state()), Diff::Update(vec![Change::new("enabled", true, false)]));
        assert_eq!(diff(closed(Suspension::Full), &disabled), Diff::Same);
    }

    #[test]
    fn an_invited_person_is_ready_and_a_compromised_one_is_not() {
        let spec = serde_json::from_value(json!({"pool_id": "p", "email": "a@b", "tenant_id": "a", "tenant_tier": "t"})).unwrap();
        let address = Address::new("a", "cognito_user", "admin");
        let target = Target { address: &address, spec: &spec, tags: &Tags::new() };
        assert_eq!(CognitoUser.ready(&target, &state()), Ready::Ready);
        assert!(matches!(CognitoUser.ready(&target, &State { status: "COMPROMISED".into(), ..state() }), Ready::Broken(_)));
    }
}
