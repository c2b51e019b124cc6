//! UpdateUserPool keeps what cannot be updated: how users are named.

use async_trait::async_trait;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use serde_json::{Value, json};

use super::Next;
use super::wire::{Sent, Wire, members, refill, target};

/// Settings of a pool that are chosen at its creation, for ever.
const FIXED: &[&str] = &["UsernameAttributes", "AliasAttributes", "UsernameConfiguration"];

/// What UpdateUserPool takes; all of it that is not given is reset, by AWS and by moto.
const UPDATABLE: &[&str] = &[
    "AccountRecoverySetting",
    "AdminCreateUserConfig",
    "AutoVerifiedAttributes",
    "DeletionProtection",
    "DeviceConfiguration",
    "EmailConfiguration",
    "EmailVerificationMessage",
    "EmailVerificationSubject",
    "LambdaConfig",
    "MfaConfiguration",
    "Policies",
    "SmsAuthenticationMessage",
    "SmsConfiguration",
    "SmsVerificationMessage",
    "UserAttributeUpdateSettings",
    "UserPoolAddOns",
    "UserPoolTags",
    "UserPoolTier",
    "VerificationMessageTemplate",
];

#[derive(Debug)]
pub(super) struct Mend;

#[async_trait]
impl super::Mend for Mend {
    async fn call(&self, mut request: HttpRequest, next: Next<'_>) -> Sent {
        if target(&request) == "AWSCognitoIdentityProviderService.UpdateUserPool" {
            let mut asked = members(&request);
            let found = pool(next.wire, asked["UserPoolId"].as_str().unwrap_or_default()).await?;
            keep(&mut asked, &found, FIXED);
            refill(&mut request, asked.to_string().into_bytes());
        }
        next.send(request).await
    }
}

fn keep(asked: &mut Value, found: &Value, names: &[&str]) {
    for name in names {
        if !found[name].is_null() && asked[name].is_null() {
            asked[name] = found[name].clone();
        }
    }
}

/// The pool as it is described; `null` when there is none.
pub(super) async fn pool(wire: &Wire, id: &str) -> Result<Value, aws_smithy_runtime_api::client::result::ConnectorError> {
    let answer = wire.json("cognito-idp", "AWSCognitoIdentityProviderService.DescribeUserPool", &json!({"UserPoolId": id})).await?;
    Ok(answer.json()["UserPool"].take())
}

/// Changes a pool's tags and nothing else.
pub(super) async fn retag(wire: &Wire, id: &str, mut found: Value, tags: Value) -> Result<(), aws_smithy_runtime_api::client::result::ConnectorError> {
    found["UserPoolTags"] = tags;
    let mut asked = json!({"UserPoolId": id});
    keep(&mut asked, &found, UPDATABLE);
    keep(&mut asked, &found, FIXED);
    wire.json("cognito-idp", "AWSCognitoIdentityProviderService.UpdateUserPool", &asked).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_is_never_overwritten_by_what_is_kept() {
        let mut asked = json!({"UserPoolId": "p", "UsernameAttributes": ["phone_number"]});
        keep(&mut asked, &json!({"UsernameAttributes": ["email"], "UsernameConfiguration": {"CaseSensitive": false}}), FIXED);
        assert_eq!(asked, json!({"UserPoolId": "p", "UsernameAttributes": ["phone_number"], "UsernameConfiguration": {"CaseSensitive": false}}));
    }
}
