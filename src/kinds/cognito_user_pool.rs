//! A Cognito user pool: people sign in by e-mail, are invited by administrators only, and carry the tenant they belong to.
//!
//! # How it is found
//! Pool names are not unique and CreateUserPool takes no client token, so the ownership tags in the create call are the identity:
//! all pools are listed (60 a page), those of the wanted name described, and their tags read. A pool of the name with other tags
//! stops the run: AWS would allow a second one, but two pools that only an id tells apart are a trap for people.
//!
//! # Sending everything
//! UpdateUserPool resets every setting it is not sent. So an update begins by describing the pool, sends back all it found, and
//! changes only what is ours: triggers, SES, SMS, devices and the feature plan are the operator's. Threat protection (add-ons) is
//! among those: it needs the Plus plan, billed per monthly user, which is a decision on money and not on safety alone.
//!
//! # MFA
//! Only by authenticator app, never by SMS (SIM swapping, and a bill). CreateUserPool cannot switch that on: it takes MFA to mean
//! SMS. SetUserPoolMfaConfig does, as a follow-up; UpdateUserPool is sent the MFA setting the pool has.

use aws_sdk_cognitoidentityprovider::operation::update_user_pool::builders::UpdateUserPoolFluentBuilder;
use aws_sdk_cognitoidentityprovider::types::{
    AccountRecoverySettingType, AdminCreateUserConfigType, AttributeDataType, DeletionProtectionType, MessageTemplateType, PasswordPolicyType,
    RecoveryOptionNameType, RecoveryOptionType, SchemaAttributeType, SoftwareTokenMfaConfigType, StringAttributeConstraintsType,
    UserAttributeUpdateSettingsType, UserPoolMfaType, UserPoolPolicyType, UserPoolType, UsernameAttributeType, UsernameConfigurationType,
    VerifiedAttributeType,
};
use serde::{Deserialize, Deserializer, Serialize};

use super::Cx;
use crate::cloud::fault::{fault, is};
use crate::cloud::tags::{Ownership, ownership};
use crate::engine::fault::Fault;
use crate::engine::kind::{Change, Deletion, Diff, Identity, Kind, Limit, Observed, Outputs, Ready, Suspension, Tags, Target, Timing};

/// The kind.
pub struct CognitoUserPool;

/// Days a temporary password is good for: a week, Cognito's own default, since invitations are read after weekends.
const TEMPORARY_PASSWORD_DAYS: i32 = 7;

/// Whether people must show a second factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mfa {
    Off,
    Optional,
    Required,
}

/// What a template may say of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// At most 128 characters.
    name: String,
    mfa: Mfa,
    /// 8 to 99.
    #[serde(deserialize_with = "length")]
    password_min_length: i32,
    /// Whether AWS refuses to delete the pool until this is taken back.
    deletion_protection: bool,
    /// Subject of the invitation, at most 140 characters; without one, Cognito's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    invite_subject: Option<String>,
    /// Text of the invitation with `{username}` and `{####}` in it; without one, Cognito's.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "body")]
    invite_body: Option<String>,
}

fn length<'de, D: Deserializer<'de>>(d: D) -> Result<i32, D::Error> {
    let length = i32::deserialize(d)?;
    if (8..=99).contains(&length) { Ok(length) } else { Err(serde::de::Error::custom("password_min_length must be 8 to 99")) }
}

fn body<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(d)?;
    match &text {
        Some(t) if !(t.contains("{username}") && t.contains("{####}")) => {
            Err(serde::de::Error::custom("invite_body must contain {username} and {####}, for the name and the temporary password"))
        }
        _ => Ok(text),
    }
}

/// What `observe` reports.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    name: String,
    arn: String,
    mfa: String,
    password: String,
    deletion_protection: bool,
    verified: Vec<String>,
    verified_before_update: Vec<String>,
    recovery: Vec<String>,
    invited_only: bool,
    invite_subject: Option<String>,
    invite_body: Option<String>,
    sign_in_with: Vec<String>,
    case_sensitive: bool,
    /// Whether `custom:tenant_id` is there, and whether it can be changed.
    tenant_id: Option<bool>,
    /// The same of `custom:tenant_tier`.
    tenant_tier: Option<bool>,
    tags: Tags,
}

fn password_text(policy: &PasswordPolicyType) -> String {
    let classes = [
        (policy.require_lowercase, "lower case"),
        (policy.require_uppercase, "upper case"),
        (policy.require_numbers, "digits"),
        (policy.require_symbols, "symbols"),
    ];
    let classes: Vec<_> = classes.into_iter().filter_map(|(on, name)| on.then_some(name)).collect();
    let length = policy.minimum_length.unwrap_or_default();
    format!("{length} characters, {}; temporary ones {} days", classes.join(" + "), policy.temporary_password_validity_days)
}

fn password(spec: &Spec, found: Option<&PasswordPolicyType>) -> PasswordPolicyType {
    PasswordPolicyType::builder()
        .minimum_length(spec.password_min_length)
        .require_lowercase(true)
        .require_uppercase(true)
        .require_numbers(true)
        .require_symbols(true)
        .temporary_password_validity_days(TEMPORARY_PASSWORD_DAYS)
        // Needs the Plus plan: the operator's.
        .set_password_history_size(found.and_then(PasswordPolicyType::password_history_size))
        .build()
}

fn policies(spec: &Spec, found: Option<UserPoolPolicyType>) -> UserPoolPolicyType {
    let new = password(spec, found.as_ref().and_then(UserPoolPolicyType::password_policy));
    UserPoolPolicyType::builder().password_policy(new).set_sign_in_policy(found.and_then(|p| p.sign_in_policy)).build()
}

fn protection(on: bool) -> DeletionProtectionType {
    if on { DeletionProtectionType::Active } else { DeletionProtectionType::Inactive }
}

/// By verified e-mail and nothing else: a phone number is a weaker proof, and one that administrators do not check.
fn recovery() -> Result<AccountRecoverySettingType, Fault> {
    let by_email = RecoveryOptionType::builder().name(RecoveryOptionNameType::VerifiedEmail).priority(1).build();
    let by_email = by_email.map_err(|e| Fault::refused("cognito-idp:UpdateUserPool", "invalid_request", e.to_string()))?;
    Ok(AccountRecoverySettingType::builder().recovery_mechanisms(by_email).build())
}

fn invitation(spec: &Spec, found: Option<AdminCreateUserConfigType>) -> AdminCreateUserConfigType {
    let found = found.and_then(|f| f.invite_message_template);
    let (subject, body, sms) = found.map_or((None, None, None), |f| (f.email_subject, f.email_message, f.sms_message));
    let template = MessageTemplateType::builder()
        .set_email_subject(spec.invite_subject.clone().or(subject))
        .set_email_message(spec.invite_body.clone().or(body))
        .set_sms_message(sms)
        .build();
    let some = template.email_subject.is_some() || template.email_message.is_some() || template.sms_message.is_some();
    AdminCreateUserConfigType::builder().allow_admin_create_user_only(true).set_invite_message_template(some.then_some(template)).build()
}

/// A new address counts only once it is confirmed; until then the old one stays.
fn verify_before_update() -> UserAttributeUpdateSettingsType {
    UserAttributeUpdateSettingsType::builder().attributes_require_verification_before_update(VerifiedAttributeType::Email).build()
}

/// `custom:tenant_id`: who could change it would be in another tenant. `custom:tenant_tier` changes with the contract.
fn attribute(name: &str, mutable: bool) -> SchemaAttributeType {
    SchemaAttributeType::builder()
        .name(name)
        .attribute_data_type(AttributeDataType::String)
        .developer_only_attribute(false)
        .mutable(mutable)
        .required(false)
        .string_attribute_constraints(StringAttributeConstraintsType::builder().min_length("1").max_length("63").build())
        .build()
}

fn read(pool: UserPoolType, mfa: String) -> State {
    let names = |list: Option<Vec<VerifiedAttributeType>>| list.unwrap_or_default().iter().map(|a| a.as_str().to_owned()).collect::<Vec<_>>();
    let mutable = |name: &str| pool.schema_attributes().iter().find(|a| a.name() == Some(name)).map(|a| a.mutable() == Some(true));
    let (tenant_id, tenant_tier) = (mutable("custom:tenant_id"), mutable("custom:tenant_tier"));
    let mut recovery: Vec<_> = pool.account_recovery_setting.map(|r| r.recovery_mechanisms.unwrap_or_default()).unwrap_or_default();
    recovery.sort_by_key(|r| r.priority);
    let invite = pool.admin_create_user_config;
    let template = invite.as_ref().and_then(|i| i.invite_message_template.clone());
    State {
        name: pool.name.unwrap_or_default(),
        arn: pool.arn.unwrap_or_default(),
        mfa,
        password: pool.policies.and_then(|p| p.password_policy).map(|p| password_text(&p)).unwrap_or_default(),
        deletion_protection: pool.deletion_protection == Some(DeletionProtectionType::Active),
        verified: names(pool.auto_verified_attributes),
        verified_before_update: names(pool.user_attribute_update_settings.and_then(|s| s.attributes_require_verification_before_update)),
        recovery: recovery.iter().map(|r| r.name.as_str().to_owned()).collect(),
        invited_only: invite.is_some_and(|i| i.allow_admin_create_user_only),
        invite_subject: template.as_ref().and_then(|t| t.email_subject.clone()),
        invite_body: template.and_then(|t| t.email_message),
        sign_in_with: pool.username_attributes.unwrap_or_default().iter().map(|a| a.as_str().to_owned()).collect(),
        case_sensitive: pool.username_configuration.is_none_or(|c| c.case_sensitive),
        tenant_id,
        tenant_tier,
        tags: pool.user_pool_tags.unwrap_or_default().into_iter().collect(),
    }
}

/// What UpdateUserPool is to change.
fn settings(target: &Target<'_, Spec>, state: &State) -> Vec<Change> {
    let spec = target.spec;
    let email = vec!["email".to_owned()];
    let mut changes = Change::tags(&state.tags, target.tags);
    changes.extend(Change::between("name", &state.name, &spec.name));
    changes.extend(Change::between("password", &state.password, &password_text(&password(spec, None))));
    changes.extend(Change::between("deletion_protection", &state.deletion_protection, &spec.deletion_protection));
    changes.extend(Change::between("verified", &state.verified, &email));
    changes.extend(Change::between("verified_before_update", &state.verified_before_update, &email));
    changes.extend(Change::between("recovery", &state.recovery, &vec!["verified_email".to_owned()]));
    changes.extend(Change::between("invited_only", &state.invited_only, &true));
    for (field, is, want) in [("invite_subject", &state.invite_subject, &spec.invite_subject), ("invite_body", &state.invite_body, &spec.invite_body)] {
        if want.is_some() {
            changes.extend(Change::between(field, is, want));
        }
    }
    changes
}

fn mfa_word(mfa: Mfa) -> &'static str {
    match mfa {
        Mfa::Off => "off",
        Mfa::Optional => "optional",
        Mfa::Required => "required",
    }
}

async fn describe(cx: &Cx, id: &str) -> Result<Option<UserPoolType>, Fault> {
    match cx.cloud.cognito.describe_user_pool().user_pool_id(id).send().await {
        Ok(found) => Ok(found.user_pool),
        Err(e) if is(&e, &["ResourceNotFoundException"]) => Ok(None),
        Err(e) => Err(fault("cognito-idp:DescribeUserPool", e)),
    }
}

async fn see(cx: &Cx, pool: UserPoolType) -> Result<Observed<State>, Fault> {
    let id = pool.id.clone().unwrap_or_default();
    let found = cx.cloud.cognito.get_user_pool_mfa_config().user_pool_id(&id).send().await.map_err(|e| fault("cognito-idp:GetUserPoolMfaConfig", e))?;
    let word = mfa_word(match found.mfa_configuration {
        Some(UserPoolMfaType::On) => Mfa::Required,
        Some(UserPoolMfaType::Optional) => Mfa::Optional,
        _ => Mfa::Off,
    });
    let by_app = found.software_token_mfa_configuration.is_some_and(|s| s.enabled);
    let mfa = if by_app || word == "off" { word.to_owned() } else { format!("{word}, without authenticator apps") };
    Ok(Observed::Mine { id, state: read(pool, mfa) })
}

fn whose(pool: &UserPoolType, want: &Tags) -> Ownership {
    ownership(&pool.user_pool_tags.clone().unwrap_or_default().into_iter().collect(), want)
}

/// An UpdateUserPool that changes nothing: everything it would otherwise reset, as found.
fn unchanged(cx: &Cx, pool: &UserPoolType) -> UpdateUserPoolFluentBuilder {
    let pool = pool.clone();
    let call = cx
        .cloud
        .cognito
        .update_user_pool()
        .set_user_pool_id(pool.id)
        .set_pool_name(pool.name)
        .set_policies(pool.policies)
        .set_deletion_protection(pool.deletion_protection)
        .set_lambda_config(pool.lambda_config)
        .set_auto_verified_attributes(pool.auto_verified_attributes)
        .set_sms_authentication_message(pool.sms_authentication_message)
        .set_user_attribute_update_settings(pool.user_attribute_update_settings)
        .set_mfa_configuration(pool.mfa_configuration)
        .set_device_configuration(pool.device_configuration)
        .set_email_configuration(pool.email_configuration)
        .set_sms_configuration(pool.sms_configuration)
        .set_user_pool_tags(pool.user_pool_tags)
        // Without the retired UnusedAccountValidityDays, which Cognito reports, but refuses (0 excepted) beside the password policy's own.
        .set_admin_create_user_config(pool.admin_create_user_config.map(|c| {
            let kept = AdminCreateUserConfigType::builder().allow_admin_create_user_only(c.allow_admin_create_user_only);
            kept.set_invite_message_template(c.invite_message_template).build()
        }))
        .set_user_pool_add_ons(pool.user_pool_add_ons)
        .set_account_recovery_setting(pool.account_recovery_setting)
        .set_user_pool_tier(pool.user_pool_tier)
        .set_key_configuration(pool.key_configuration)
        .set_issuer_configuration(pool.issuer_configuration)
        .set_acr_configuration(pool.acr_configuration);
    // The template and the older single texts are two views of one setting.
    match pool.verification_message_template {
        Some(template) => call.verification_message_template(template),
        None => call
            .set_sms_verification_message(pool.sms_verification_message)
            .set_email_verification_message(pool.email_verification_message)
            .set_email_verification_subject(pool.email_verification_subject),
    }
}

impl Kind for CognitoUserPool {
    type Cx = Cx;
    type Spec = Spec;
    type State = State;

    const NAME: &'static str = "cognito_user_pool";
    const IDENTITY: Identity = Identity::Tag;
    const DELETION: Deletion = Deletion::Retain;
    /// UserPoolUpdate category: 15 a second (Cognito quotas).
    const LIMIT: Limit = Limit { api: "cognito-idp:pools", per_second: 15.0, burst: 15, concurrency: 4 };
    const TIMING: Timing = Timing::secs(3, 120);
    const OUTPUTS: &'static [&'static str] = &["id", "arn", "issuer"];

    /// It stays: changing a pool shuts nobody out, and who may sign in is `cognito_access`'s to say.
    fn suspended(&self, spec: Spec, _level: Suspension) -> Spec {
        spec
    }

    async fn observe(&self, cx: &Cx, target: &Target<'_, Spec>, recorded: Option<&str>) -> Result<Observed<State>, Fault> {
        if let Some(id) = recorded
            && let Some(pool) = describe(cx, id).await?
        {
            return match whose(&pool, target.tags) {
                Ownership::Mine => see(cx, pool).await,
                Ownership::Foreign(whose) => Ok(Observed::Foreign(whose)),
            };
        }
        let (mut mine, mut foreign) = (Vec::new(), None);
        let mut pages = cx.cloud.cognito.list_user_pools().max_results(60).into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|e| fault("cognito-idp:ListUserPools", e))?;
            for id in page.user_pools().iter().filter(|p| p.name() == Some(&target.spec.name)).filter_map(|p| p.id()) {
                let Some(pool) = describe(cx, id).await? else { continue };
                match whose(&pool, target.tags) {
                    Ownership::Mine => mine.push(pool),
                    Ownership::Foreign(whose) => foreign = Some(format!("pool {id} has that name, and {whose}")),
                }
            }
        }
        match (mine.pop(), mine.is_empty(), foreign) {
            (Some(pool), true, _) => see(cx, pool).await,
            (Some(last), false, _) => Ok(Observed::Many(mine.into_iter().chain([last]).filter_map(|p| p.id).collect())),
            (None, _, Some(whose)) => Ok(Observed::Foreign(whose)),
            (None, _, None) => Ok(Observed::Absent),
        }
    }

    fn diff(&self, target: &Target<'_, Spec>, state: &State) -> Diff {
        if state.tenant_id == Some(true) {
            return Diff::Forbidden(
                "custom:tenant_id of this pool can be changed, so whoever may write it can move a user to another tenant; Cognito cannot make an attribute \
                 immutable afterwards: make a new pool and move the users"
                    .to_owned(),
            );
        }
        if state.tenant_tier == Some(false) {
            return Diff::Forbidden(
                "custom:tenant_tier of this pool cannot be changed, so a tenant's tier could not either; Cognito cannot change an attribute's definition: make a \
                 new pool and move the users"
                    .to_owned(),
            );
        }
        if state.sign_in_with != ["email"] || state.case_sensitive {
            let with = if state.sign_in_with.is_empty() { "a user name".to_owned() } else { state.sign_in_with.join(", ") };
            return Diff::Forbidden(format!(
                "people sign in to this pool with {with}{}; it should be by e-mail, whatever its case, and Cognito fixes that when a pool is made: make a new pool \
                 and move the users",
                if state.case_sensitive { ", upper and lower case told apart" } else { "" }
            ));
        }
        let mut changes = settings(target, state);
        changes.extend(Change::between("mfa", &state.mfa.as_str(), &mfa_word(target.spec.mfa)));
        for (field, is) in [("custom:tenant_id", state.tenant_id), ("custom:tenant_tier", state.tenant_tier)] {
            if is.is_none() {
                changes.push(Change::new(field, "(none)", "there"));
            }
        }
        Diff::of(changes)
    }

    async fn create(&self, cx: &Cx, target: &Target<'_, Spec>, _token: &str) -> Result<String, Fault> {
        let spec = target.spec;
        let made = cx
            .cloud
            .once()
            .cognito
            .create_user_pool()
            .pool_name(&spec.name)
            .policies(policies(spec, None))
            .deletion_protection(protection(spec.deletion_protection))
            .auto_verified_attributes(VerifiedAttributeType::Email)
            .username_attributes(UsernameAttributeType::Email)
            .username_configuration(
                UsernameConfigurationType::builder()
                    .case_sensitive(false)
                    .build()
                    .map_err(|e| Fault::refused("cognito-idp:CreateUserPool", "invalid_request", e.to_string()))?,
            )
            .schema(attribute("tenant_id", false))
            .schema(attribute("tenant_tier", true))
            .user_attribute_update_settings(verify_before_update())
            .account_recovery_setting(recovery()?)
            .admin_create_user_config(invitation(spec, None))
            .set_user_pool_tags(Some(target.tags.clone().into_iter().collect()))
            .send()
            .await
            .map_err(|e| fault("cognito-idp:CreateUserPool", e))?;
        made.user_pool.and_then(|p| p.id).ok_or_else(|| Fault::unknown("cognito-idp:CreateUserPool", "no_id", "the answer names no pool"))
    }

    async fn update(&self, cx: &Cx, target: &Target<'_, Spec>, id: &str, state: &State) -> Result<(), Fault> {
        let (cognito, spec) = (&cx.cloud.cognito, target.spec);
        let missing: Vec<_> = [("tenant_id", false, state.tenant_id), ("tenant_tier", true, state.tenant_tier)]
            .into_iter()
            .filter(|(.., is)| is.is_none())
            .map(|(name, mutable, _)| attribute(name, mutable))
            .collect();
        if !missing.is_empty() {
            let sent = cognito.add_custom_attributes().user_pool_id(id).set_custom_attributes(Some(missing)).send().await;
            sent.map_err(|e| fault("cognito-idp:AddCustomAttributes", e))?;
        }
        if !settings(target, state).is_empty() {
            let Some(pool) = describe(cx, id).await? else {
                return Err(Fault::busy("cognito-idp:DescribeUserPool", "ResourceNotFoundException", "the pool is gone; look again"));
            };
            let mut tags = pool.user_pool_tags.clone().unwrap_or_default();
            tags.extend(target.tags.clone());
            unchanged(cx, &pool)
                .pool_name(&spec.name)
                .policies(policies(spec, pool.policies))
                .deletion_protection(protection(spec.deletion_protection))
                .set_auto_verified_attributes(Some(vec![VerifiedAttributeType::Email]))
                .user_attribute_update_settings(verify_before_update())
                .account_recovery_setting(recovery()?)
                .admin_create_user_config(invitation(spec, pool.admin_create_user_config))
                .set_user_pool_tags(Some(tags))
                .send()
                .await
                .map_err(|e| fault("cognito-idp:UpdateUserPool", e))?;
        }
        if state.mfa != mfa_word(spec.mfa) {
            // This call, too, resets what it is not sent.
            let found = cognito.get_user_pool_mfa_config().user_pool_id(id).send().await.map_err(|e| fault("cognito-idp:GetUserPoolMfaConfig", e))?;
            let by_app = (spec.mfa != Mfa::Off).then(|| SoftwareTokenMfaConfigType::builder().enabled(true).build());
            cognito
                .set_user_pool_mfa_config()
                .user_pool_id(id)
                .mfa_configuration(match spec.mfa {
                    Mfa::Off => UserPoolMfaType::Off,
                    Mfa::Optional => UserPoolMfaType::Optional,
                    Mfa::Required => UserPoolMfaType::On,
                })
                .set_software_token_mfa_configuration(by_app)
                .set_sms_mfa_configuration(found.sms_mfa_configuration)
                .set_email_mfa_configuration(found.email_mfa_configuration)
                .set_web_authn_configuration(found.web_authn_configuration)
                .send()
                .await
                .map_err(|e| fault("cognito-idp:SetUserPoolMfaConfig", e))?;
        }
        Ok(())
    }

    async fn delete(&self, cx: &Cx, _target: &Target<'_, Spec>, id: &str) -> Result<(), Fault> {
        let Some(pool) = describe(cx, id).await? else { return Ok(()) };
        // Only a purge comes here, which the operator has confirmed: that is what the protection waits for.
        if pool.deletion_protection == Some(DeletionProtectionType::Active) {
            let sent = unchanged(cx, &pool).deletion_protection(DeletionProtectionType::Inactive).send().await;
            sent.map_err(|e| fault("cognito-idp:UpdateUserPool", e))?;
        }
        match cx.cloud.cognito.delete_user_pool().user_pool_id(id).send().await {
            Err(e) if is(&e, &["ResourceNotFoundException"]) => Ok(()),
            Err(e) if pool.domain.is_some() => {
                Err(fault("cognito-idp:DeleteUserPool", e).hint("the pool has a sign-in domain: delete that first (`aws cognito-idp delete-user-pool-domain`)"))
            }
            Err(e) => Err(fault("cognito-idp:DeleteUserPool", e)),
            Ok(_) => Ok(()),
        }
    }

    fn ready(&self, _target: &Target<'_, Spec>, _state: &State) -> Ready {
        Ready::Ready
    }

    fn outputs(&self, _target: &Target<'_, Spec>, id: &str, state: &State) -> Outputs {
        let region = id.split('_').next().unwrap_or_default();
        let suffix = if state.arn.starts_with("arn:aws-cn:") { "amazonaws.com.cn" } else { "amazonaws.com" };
        Outputs::from([
            ("id".to_owned(), id.to_owned()),
            ("arn".to_owned(), state.arn.clone()),
            ("issuer".to_owned(), format!("https://cognito-idp.{region}.{suffix}/{id}")),
        ])
    }
}

#[cfg(test)]
mod tests;
