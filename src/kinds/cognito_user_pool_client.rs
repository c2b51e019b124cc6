//! An app client of a Cognito user pool, for a portal that runs in browsers.
//!
//! # Public
//! A browser cannot keep a secret, so the client has none: code flow with PKCE, or SRP, and refresh tokens that are replaced at each
//! use. Rotation excludes ALLOW_REFRESH_TOKEN_AUTH (Cognito refuses the pair): applications renew by GetTokensFromRefreshToken.
//! Confidential clients, for servers, would be another setting and another home for the secret; nothing asks for them yet.
//!
//! # What users may write
//! Without a list, Cognito lets a client write *every* mutable attribute (CVE-2026-6912 is of that class). So the list is always
//! sent: names and locale, plus what a pool marks as required, which Cognito insists on; never `custom:` anything, and never an
//! address where it is not required, since invitations and ownership go by it.
//!
//! # How it is found
//! Clients carry no tags and their names are not unique, but we make only one of a name in a pool: it is found by name, and two of
//! them stop the run. In a pool of the tenant's own every name is the tenant's; in a shared one only a name with the tenant's id in
//! it.

use std::collections::BTreeSet;

use aws_sdk_cognitoidentityprovider::types::{
    ExplicitAuthFlowsType, FeatureType, OAuthFlowType, PreventUserExistenceErrorTypes, RefreshTokenRotationType, TimeUnitsType, TokenValidityUnitsType,
    UserPoolClientType, UserPoolType,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Cx;
use crate::cloud::fault::{fault, is};
use crate::cloud::tags::{REGISTRY, TENANT};
use crate::engine::fault::Fault;
use crate::engine::kind::{Change, Deletion, Diff, Identity, Kind, Limit, Observed, Outputs, Ready, Suspension, Target, Timing};

/// The kind.
pub struct CognitoUserPoolClient;

/// What a template may say of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The pool.
    pool_id: String,
    /// At most 128 characters; in a shared pool it must contain the tenant's id.
    name: String,
    /// 5 to 1,440.
    #[serde(default = "hour")]
    access_token_minutes: i32,
    /// 5 to 1,440.
    #[serde(default = "hour")]
    id_token_minutes: i32,
    /// At most 3,650.
    #[serde(default = "month")]
    refresh_token_days: i32,
    /// Where managed login may send people back to; without any, managed login is off and the portal signs in by SRP.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    callback_urls: Vec<String>,
    /// Where it may send them after signing out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    logout_urls: Vec<String>,
}

fn hour() -> i32 {
    60
}

fn month() -> i32 {
    30
}

/// Seconds an old refresh token still works, for the browser that lost the reply.
const GRACE_SECONDS: i32 = 10;
/// What people may say of themselves.
const WRITABLE: [&str; 5] = ["family_name", "given_name", "locale", "name", "zoneinfo"];
/// What the portal may read besides.
const READABLE: [&str; 4] = ["custom:tenant_id", "custom:tenant_tier", "email", "email_verified"];

/// The settings that are ours, in one form for what is and what is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Settings {
    name: String,
    access_token_minutes: i64,
    id_token_minutes: i64,
    refresh_token_days: i64,
    refresh_rotation: bool,
    token_revocation: bool,
    hides_unknown_users: bool,
    sign_in: BTreeSet<String>,
    readable: BTreeSet<String>,
    writable: BTreeSet<String>,
    callback_urls: BTreeSet<String>,
    logout_urls: BTreeSet<String>,
    managed_login: bool,
    oauth_flows: BTreeSet<String>,
    oauth_scopes: BTreeSet<String>,
}

/// What `observe` reports.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    pool_id: String,
    client_id: String,
    /// Whether it has a secret; never the secret.
    has_secret: bool,
    settings: Settings,
    /// What the pool wants every client to be able to write.
    required: BTreeSet<String>,
    /// Whether people of the pool itself, and not only of other identity providers, may use it.
    own_people: bool,
}

fn set<T: AsRef<str>>(items: impl IntoIterator<Item = T>) -> BTreeSet<String> {
    items.into_iter().map(|i| i.as_ref().to_owned()).collect()
}

fn wanted(spec: &Spec, required: &BTreeSet<String>) -> Settings {
    let managed = !spec.callback_urls.is_empty();
    let only_if_managed = |items: &[&str]| if managed { set(items) } else { BTreeSet::new() };
    let mut writable = set(WRITABLE);
    writable.extend(required.iter().filter(|name| !name.starts_with("custom:")).cloned());
    Settings {
        name: spec.name.clone(),
        access_token_minutes: spec.access_token_minutes.into(),
        id_token_minutes: spec.id_token_minutes.into(),
        refresh_token_days: spec.refresh_token_days.into(),
        refresh_rotation: true,
        token_revocation: true,
        hides_unknown_users: true,
        sign_in: set([ExplicitAuthFlowsType::AllowUserSrpAuth.as_str()]),
        readable: writable.iter().cloned().chain(READABLE.map(str::to_owned)).collect(),
        writable,
        callback_urls: set(&spec.callback_urls),
        logout_urls: set(&spec.logout_urls),
        managed_login: managed,
        oauth_flows: only_if_managed(&["code"]),
        oauth_scopes: only_if_managed(&["openid", "email", "profile"]),
    }
}

/// A validity in seconds: Cognito counts in units of its own choosing, hours for access and ID tokens and days for refresh tokens
/// unless told.
fn seconds(count: Option<i32>, unit: Option<&TimeUnitsType>, default: i64) -> i64 {
    let unit = match unit {
        Some(TimeUnitsType::Seconds) => 1,
        Some(TimeUnitsType::Minutes) => 60,
        Some(TimeUnitsType::Hours) => 3_600,
        Some(TimeUnitsType::Days) => 86_400,
        _ => default,
    };
    i64::from(count.unwrap_or(1)) * unit
}

fn read(pool_id: &str, client: UserPoolClientType, required: BTreeSet<String>) -> State {
    let units = client.token_validity_units.as_ref();
    let access = seconds(client.access_token_validity, units.and_then(|u| u.access_token()), 3_600);
    let id = seconds(client.id_token_validity, units.and_then(|u| u.id_token()), 3_600);
    let refresh = seconds(Some(client.refresh_token_validity), units.and_then(|u| u.refresh_token()), 86_400);
    let rotation = client.refresh_token_rotation.as_ref();
    State {
        pool_id: pool_id.to_owned(),
        has_secret: client.client_secret.is_some(),
        own_people: client.supported_identity_providers().iter().any(|p| p == "COGNITO"),
        settings: Settings {
            access_token_minutes: access / 60,
            id_token_minutes: id / 60,
            refresh_token_days: refresh / 86_400,
            refresh_rotation: rotation.is_some_and(|r| r.feature == FeatureType::Enabled && r.retry_grace_period_seconds == Some(GRACE_SECONDS)),
            token_revocation: client.enable_token_revocation == Some(true),
            hides_unknown_users: client.prevent_user_existence_errors == Some(PreventUserExistenceErrorTypes::Enabled),
            sign_in: client.explicit_auth_flows().iter().map(|f| f.as_str().to_owned()).collect(),
            readable: set(client.read_attributes()),
            writable: set(client.write_attributes()),
            callback_urls: set(client.callback_urls()),
            logout_urls: set(client.logout_urls()),
            managed_login: client.allowed_o_auth_flows_user_pool_client == Some(true),
            oauth_flows: client.allowed_o_auth_flows().iter().map(|f| f.as_str().to_owned()).collect(),
            oauth_scopes: set(client.allowed_o_auth_scopes()),
            name: client.client_name.unwrap_or_default(),
        },
        client_id: client.client_id.unwrap_or_default(),
        required,
    }
}

/// Whether `id` stands in `name` as words of its own: `a` is in `portal-a`, not in `portal-ab`.
fn names_tenant(name: &str, id: &str) -> bool {
    let word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    name.match_indices(id).any(|(at, found)| !word(name[..at].chars().next_back()) && !word(name[at + found.len()..].chars().next()))
}

/// The pool, with what every client of it must be able to write.
async fn pool(cx: &Cx, id: &str) -> Result<Option<(UserPoolType, BTreeSet<String>)>, Fault> {
    let found = match cx.cloud.cognito.describe_user_pool().user_pool_id(id).send().await {
        Ok(found) => found.user_pool,
        Err(e) if is(&e, &["ResourceNotFoundException"]) => None,
        Err(e) => return Err(fault("cognito-idp:DescribeUserPool", e)),
    };
    Ok(found.map(|pool| {
        let required = pool.schema_attributes().iter().filter(|a| a.required() == Some(true) && a.mutable() == Some(true));
        let required = required.filter_map(|a| a.name().map(ToOwned::to_owned)).collect();
        (pool, required)
    }))
}

fn may_be_ours(pool: &UserPoolType, name: &str, target: &Target<'_, Spec>) -> bool {
    let tags = pool.user_pool_tags.as_ref();
    let same = |key: &str| target.tags.contains_key(key) && tags.and_then(|t| t.get(key)) == target.tags.get(key);
    same(TENANT) && same(REGISTRY) || names_tenant(name, &target.address.tenant)
}

async fn describe(cx: &Cx, pool: &str, client: &str) -> Result<Option<UserPoolClientType>, Fault> {
    match cx.cloud.cognito.describe_user_pool_client().user_pool_id(pool).client_id(client).send().await {
        Ok(found) => Ok(found.user_pool_client),
        Err(e) if is(&e, &["ResourceNotFoundException"]) => Ok(None),
        Err(e) => Err(fault("cognito-idp:DescribeUserPoolClient", e)),
    }
}

fn mine(pool_id: &str, client: UserPoolClientType, required: BTreeSet<String>) -> Observed<State> {
    let state = read(pool_id, client, required);
    Observed::Mine { id: format!("{pool_id}/{}", state.client_id), state }
}

/// The part of a create and an update that is the same, which their builders do not share a trait for.
macro_rules! send_all {
    ($call:expr, $spec:expr, $want:expr) => {{
        let some = |items: &BTreeSet<String>| (!items.is_empty()).then(|| items.iter().cloned().collect::<Vec<_>>());
        let want: &Settings = $want;
        $call
            .client_name(&want.name)
            .access_token_validity($spec.access_token_minutes)
            .id_token_validity($spec.id_token_minutes)
            .refresh_token_validity($spec.refresh_token_days)
            .token_validity_units(
                TokenValidityUnitsType::builder()
                    .access_token(TimeUnitsType::Minutes)
                    .id_token(TimeUnitsType::Minutes)
                    .refresh_token(TimeUnitsType::Days)
                    .build(),
            )
            .refresh_token_rotation(
                RefreshTokenRotationType::builder()
                    .feature(FeatureType::Enabled)
                    .retry_grace_period_seconds(GRACE_SECONDS)
                    .build()
                    .map_err(|e| Fault::refused("cognito-idp:UpdateUserPoolClient", "invalid_request", e.to_string()))?,
            )
            .enable_token_revocation(true)
            .prevent_user_existence_errors(PreventUserExistenceErrorTypes::Enabled)
            .explicit_auth_flows(ExplicitAuthFlowsType::AllowUserSrpAuth)
            .set_read_attributes(some(&want.readable))
            .set_write_attributes(some(&want.writable))
            .set_callback_urls(some(&want.callback_urls))
            .set_logout_urls(some(&want.logout_urls))
            .allowed_o_auth_flows_user_pool_client(want.managed_login)
            .set_allowed_o_auth_flows(want.managed_login.then(|| vec![OAuthFlowType::Code]))
            .set_allowed_o_auth_scopes(some(&want.oauth_scopes))
    }};
}

impl Kind for CognitoUserPoolClient {
    type Cx = Cx;
    type Spec = Spec;
    type State = State;

    const NAME: &'static str = "cognito_user_pool_client";
    const IDENTITY: Identity = Identity::Name;
    const DELETION: Deletion = Deletion::Delete;
    /// Client changes: 15 a second, and 5 a second in any one pool, which is what binds where a pool is shared (Cognito quotas).
    const LIMIT: Limit = Limit { api: "cognito-idp:clients", per_second: 5.0, burst: 5, concurrency: 4 };
    const TIMING: Timing = Timing::secs(1, 60);
    const OUTPUTS: &'static [&'static str] = &["client_id"];

    /// It stays: without it nobody could come back, and disabled users cannot use it.
    fn suspended(&self, spec: Spec, _level: Suspension) -> Spec {
        spec
    }

    async fn observe(&self, cx: &Cx, target: &Target<'_, Spec>, recorded: Option<&str>) -> Result<Observed<State>, Fault> {
        if let Some((pool_id, client)) = recorded.and_then(|id| id.split_once('/'))
            && let Some(found) = describe(cx, pool_id, client).await?
            && let Some((pool, required)) = pool(cx, pool_id).await?
            && may_be_ours(&pool, found.client_name().unwrap_or_default(), target)
        {
            return Ok(mine(pool_id, found, required));
        }
        let spec = target.spec;
        let Some((pool, required)) = pool(cx, &spec.pool_id).await? else { return Ok(Observed::Absent) };
        let mut ids = Vec::new();
        let mut pages = cx.cloud.cognito.list_user_pool_clients().user_pool_id(&spec.pool_id).max_results(60).into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|e| fault("cognito-idp:ListUserPoolClients", e))?;
            let named = page.user_pool_clients.unwrap_or_default().into_iter().filter(|c| c.client_name.as_ref() == Some(&spec.name));
            ids.extend(named.filter_map(|c| c.client_id));
        }
        match ids.as_slice() {
            [] => Ok(Observed::Absent),
            _ if !may_be_ours(&pool, &spec.name, target) => {
                Ok(Observed::Foreign(format!("the pool is shared, and the name {} does not say it is of tenant {}", spec.name, target.address.tenant)))
            }
            [only] => Ok(describe(cx, &spec.pool_id, only).await?.map_or(Observed::Absent, |client| mine(&spec.pool_id, client, required))),
            _ => Ok(Observed::Many(ids.iter().map(|id| format!("{}/{id}", spec.pool_id)).collect())),
        }
    }

    fn diff(&self, target: &Target<'_, Spec>, state: &State) -> Diff {
        if let Some(change) = Change::between("pool_id", &state.pool_id, &target.spec.pool_id) {
            return Diff::Replace(change);
        }
        // A secret given at creation stays for good, and a browser's client must have none.
        if state.has_secret {
            return Diff::Replace(Change::new("secret", "one", "none"));
        }
        let values = |settings: &Settings| match serde_json::to_value(settings) {
            Ok(Value::Object(entries)) => entries,
            _ => serde_json::Map::new(),
        };
        let is = values(&state.settings);
        let mut changes: Vec<_> = values(&wanted(target.spec, &state.required))
            .into_iter()
            .filter(|(field, want)| is.get(field) != Some(want))
            .map(|(field, want)| Change::new(field.as_str(), is.get(&field).unwrap_or(&Value::Null), want))
            .collect();
        if !state.own_people {
            changes.push(Change::new("identity_providers", "without COGNITO", "with COGNITO"));
        }
        Diff::of(changes)
    }

    async fn create(&self, cx: &Cx, target: &Target<'_, Spec>, _token: &str) -> Result<String, Fault> {
        const CALL: &str = "cognito-idp:CreateUserPoolClient";
        let spec = target.spec;
        let Some((pool, required)) = pool(cx, &spec.pool_id).await? else {
            return Err(Fault::refused(CALL, "ResourceNotFoundException", format!("there is no pool {}", spec.pool_id)));
        };
        // Made under a name that could be anybody's, it could never be found again as ours.
        if !may_be_ours(&pool, &spec.name, target) {
            return Err(Fault::refused(CALL, "ambiguous_name", format!("pool {} is shared, and {} does not contain the tenant's id", spec.pool_id, spec.name))
                .hint("let the template's name of this client contain ${tenant.id}"));
        }
        let call = cx.cloud.once().cognito.create_user_pool_client().user_pool_id(&spec.pool_id).generate_secret(false);
        let call = send_all!(call, spec, &wanted(spec, &required)).supported_identity_providers("COGNITO");
        let made = call.send().await.map_err(|e| fault(CALL, e))?;
        let id = made.user_pool_client.and_then(|c| c.client_id).ok_or_else(|| Fault::unknown(CALL, "no_id", "the answer names no client"))?;
        Ok(format!("{}/{id}", spec.pool_id))
    }

    async fn update(&self, cx: &Cx, target: &Target<'_, Spec>, _id: &str, state: &State) -> Result<(), Fault> {
        let (cognito, spec) = (&cx.cloud.cognito, target.spec);
        let Some(found) = describe(cx, &state.pool_id, &state.client_id).await? else {
            return Err(Fault::busy("cognito-idp:DescribeUserPoolClient", "ResourceNotFoundException", "the client is gone; look again"));
        };
        // As with pools, what is not sent is reset: others' settings go back as found.
        let mut providers = set(found.supported_identity_providers());
        providers.insert("COGNITO".to_owned());
        let call = cognito.update_user_pool_client().user_pool_id(&state.pool_id).client_id(&state.client_id);
        send_all!(call, spec, &wanted(spec, &state.required))
            .set_supported_identity_providers(Some(providers.into_iter().collect()))
            .set_default_redirect_uri(found.default_redirect_uri.filter(|uri| spec.callback_urls.contains(uri)))
            .set_analytics_configuration(found.analytics_configuration)
            .set_enable_propagate_additional_user_context_data(found.enable_propagate_additional_user_context_data)
            .set_auth_session_validity(found.auth_session_validity)
            .send()
            .await
            .map(drop)
            .map_err(|e| fault("cognito-idp:UpdateUserPoolClient", e))
    }

    async fn delete(&self, cx: &Cx, _target: &Target<'_, Spec>, id: &str) -> Result<(), Fault> {
        let Some((pool, client)) = id.split_once('/') else {
            return Err(Fault::refused("cognito-idp:DeleteUserPoolClient", "invalid_id", format!("`{id}` is not pool/client; nothing was deleted")));
        };
        match cx.cloud.cognito.delete_user_pool_client().user_pool_id(pool).client_id(client).send().await {
            Err(e) if !is(&e, &["ResourceNotFoundException"]) => Err(fault("cognito-idp:DeleteUserPoolClient", e)),
            _ => Ok(()),
        }
    }

    fn ready(&self, _target: &Target<'_, Spec>, _state: &State) -> Ready {
        Ready::Ready
    }

    fn outputs(&self, _target: &Target<'_, Spec>, _id: &str, state: &State) -> Outputs {
        Outputs::from([("client_id".to_owned(), state.client_id.clone())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::kind::{Address, Tags};
    use serde_json::json;

    fn spec() -> Spec {
        serde_json::from_value(json!({"pool_id": "p", "name": "portal-a", "callback_urls": ["https://a.example/back"]})).unwrap()
    }

    fn as_wanted(spec: &Spec) -> State {
        let required = set(["email", "custom:odd"]);
        let settings = wanted(spec, &required);
        State { pool_id: "p".into(), client_id: "c".into(), has_secret: false, settings, required, own_people: true }
    }

    fn diff(spec: &Spec, state: &State) -> Diff {
        CognitoUserPoolClient.diff(&Target { address: &Address::new("a", "cognito_user_pool_client", "portal"), spec, tags: &Tags::new() }, state)
    }

    #[test]
    fn each_difference_is_named_and_nothing_else_is() {
        let spec = spec();
        assert_eq!(diff(&spec, &as_wanted(&spec)), Diff::Same);
        type Spoil = fn(&mut State);
        let rows: [(&str, Spoil); 13] = [
            ("name", |s| s.settings.name = "old".into()),
            ("access_token_minutes", |s| s.settings.access_token_minutes = 5),
            ("id_token_minutes", |s| s.settings.id_token_minutes = 5),
            ("refresh_token_days", |s| s.settings.refresh_token_days = 5),
            ("refresh_rotation", |s| s.settings.refresh_rotation = false),
            ("token_revocation", |s| s.settings.token_revocation = false),
            ("hides_unknown_users", |s| s.settings.hides_unknown_users = false),
            ("sign_in", |s| {
                s.settings.sign_in.insert("ALLOW_USER_PASSWORD_AUTH".into());
            }),
            ("readable", |s| s.settings.readable.clear()),
            ("writable", |s| {
                s.settings.writable.insert("custom:tenant_id".into());
            }),
            ("callback_urls", |s| s.settings.callback_urls.clear()),
            ("oauth_flows", |s| {
                s.settings.oauth_flows.insert("implicit".into());
            }),
            ("identity_providers", |s| s.own_people = false),
        ];
        for (field, spoil) in rows {
            let mut state = as_wanted(&spec);
            spoil(&mut state);
            let Diff::Update(changes) = diff(&spec, &state) else { panic!("{field}") };
            assert_eq!(changes.iter().map(|c| c.field.as_str()).collect::<Vec<_>>(), [field]);
        }
        assert!(matches!(diff(&spec, &State { has_secret: true, ..as_wanted(&spec) }), Diff::Replace(c) if c.field == "secret"));
        assert!(matches!(diff(&spec, &State { pool_id: "q".into(), ..as_wanted(&spec) }), Diff::Replace(c) if c.field == "pool_id"));
    }

    #[test]
    fn nobody_can_write_the_attributes_that_say_whose_they_are() {
        let settings = wanted(&spec(), &set(["email", "custom:tenant_id"]));
        assert!(settings.writable.iter().all(|name| !name.starts_with("custom:")));
        assert!(settings.writable.contains("email") && settings.readable.contains("custom:tenant_id"));
        assert!(!wanted(&spec(), &BTreeSet::new()).writable.contains("email"));
    }

    #[test]
    fn a_tenants_id_counts_only_as_a_word() {
        for (name, id, is) in [("portal-a", "a", true), ("a", "a", true), ("portal-ab", "a", false), ("mate hospital-a", "hospital-a", true), ("x", "a", false)]
        {
            assert_eq!(names_tenant(name, id), is, "{name} {id}");
        }
    }

    #[test]
    fn units_of_validity_are_read_whatever_cognito_counts_in() {
        assert_eq!(seconds(Some(1), None, 3_600), 3_600);
        assert_eq!(seconds(Some(60), Some(&TimeUnitsType::Minutes), 3_600), 3_600);
        assert_eq!(seconds(Some(30), Some(&TimeUnitsType::Days), 1), 30 * 86_400);
    }
}
