//! What a difference in a pool is called, and what Cognito fixes for ever.

use super::*;
use crate::cloud::tags::owned;
use crate::engine::kind::Address;
use serde_json::json;

fn spec() -> Spec {
    let body = "Hello {username}, your password is {####}";
    serde_json::from_value(json!({"name": "tenant-a-pool", "mfa": "required", "password_min_length": 14, "deletion_protection": true, "invite_body": body}))
        .unwrap()
}

fn as_wanted(spec: &Spec, tags: &Tags) -> State {
    State {
        name: spec.name.clone(),
        arn: "arn:aws:cognito-idp:eu-central-1:1:userpool/eu-central-1_x".into(),
        mfa: "required".into(),
        password: password_text(&password(spec, None)),
        deletion_protection: true,
        verified: vec!["email".into()],
        verified_before_update: vec!["email".into()],
        recovery: vec!["verified_email".into()],
        invited_only: true,
        invite_subject: Some("Cognito's own".into()),
        invite_body: spec.invite_body.clone(),
        sign_in_with: vec!["email".into()],
        case_sensitive: false,
        tenant_id: Some(false),
        tenant_tier: Some(true),
        tags: tags.clone(),
    }
}

#[test]
fn each_difference_is_named_and_nothing_else_is() {
    let address = Address::new("a", "cognito_user_pool", "users");
    let tags = owned(&address, "r1");
    let spec = spec();
    let target = Target { address: &address, spec: &spec, tags: &tags };
    assert_eq!(CognitoUserPool.diff(&target, &as_wanted(&spec, &tags)), Diff::Same);
    type Spoil = fn(&mut State);
    let rows: [(&str, Spoil); 13] = [
        ("name", |s| s.name = "old".into()),
        ("mfa", |s| s.mfa = "off".into()),
        ("mfa", |s| s.mfa = "required, without authenticator apps".into()),
        ("password", |s| s.password = "8 characters".into()),
        ("deletion_protection", |s| s.deletion_protection = false),
        ("verified", |s| s.verified.clear()),
        ("verified_before_update", |s| s.verified_before_update.clear()),
        ("recovery", |s| s.recovery.push("verified_phone_number".into())),
        ("invited_only", |s| s.invited_only = false),
        ("invite_body", |s| s.invite_body = None),
        ("custom:tenant_id", |s| s.tenant_id = None),
        ("custom:tenant_tier", |s| s.tenant_tier = None),
        ("tags.labctl:tenant", |s| drop(s.tags.remove("labctl:tenant"))),
    ];
    for (field, spoil) in rows {
        let mut state = as_wanted(&spec, &tags);
        spoil(&mut state);
        let Diff::Update(changes) = CognitoUserPool.diff(&target, &state) else { panic!("{field}") };
        assert_eq!(changes.iter().map(|c| c.field.as_str()).collect::<Vec<_>>(), [field]);
    }
}

#[test]
fn what_cognito_fixes_for_ever_is_forbidden_and_explained() {
    let address = Address::new("a", "cognito_user_pool", "users");
    let (spec, tags) = (spec(), Tags::new());
    type Spoil = fn(&mut State);
    let rows: [(&str, Spoil); 4] = [
        ("custom:tenant_id", |s| s.tenant_id = Some(true)),
        ("custom:tenant_tier", |s| s.tenant_tier = Some(false)),
        ("a user name", |s| s.sign_in_with.clear()),
        ("upper and lower case", |s| s.case_sensitive = true),
    ];
    for (text, spoil) in rows {
        let mut state = as_wanted(&spec, &tags);
        spoil(&mut state);
        let Diff::Forbidden(why) = CognitoUserPool.diff(&Target { address: &address, spec: &spec, tags: &tags }, &state) else { panic!("{text}") };
        assert!(why.contains(text) && why.contains("make a new pool"), "{why}");
    }
}

#[test]
fn an_invitation_without_its_placeholders_is_refused_before_any_call() {
    let spec = json!({"name": "p", "mfa": "off", "password_min_length": 8, "deletion_protection": false, "invite_body": "Hello"});
    assert!(serde_json::from_value::<Spec>(spec).unwrap_err().to_string().contains("{####}"));
}
