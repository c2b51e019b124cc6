//! DeleteUserPool minds DeletionProtection.

use async_trait::async_trait;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use serde_json::json;

use super::Next;
use super::wire::{Sent, json_error, members, target};

#[derive(Debug)]
pub(super) struct Mend;

#[async_trait]
impl super::Mend for Mend {
    async fn call(&self, request: HttpRequest, next: Next<'_>) -> Sent {
        if target(&request) == "AWSCognitoIdentityProviderService.DeleteUserPool" {
            let pool = json!({"UserPoolId": members(&request)["UserPoolId"]});
            let found = next.wire.json("cognito-idp", "AWSCognitoIdentityProviderService.DescribeUserPool", &pool).await?.json();
            if found["UserPool"]["DeletionProtection"] == "ACTIVE" {
                return json_error(
                    400,
                    "InvalidParameterException",
                    "The user pool cannot be deleted because deletion protection is activated. Deletion protection must be inactivated first.",
                );
            }
        }
        next.send(request).await
    }
}
