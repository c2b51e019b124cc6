//! An attribute that was declared immutable cannot be changed once the user has it.

use async_trait::async_trait;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use serde_json::{Value, json};

use super::Next;
use super::wire::{Sent, json_error, members, target};

#[derive(Debug)]
pub(super) struct Mend;

#[async_trait]
impl super::Mend for Mend {
    async fn call(&self, request: HttpRequest, next: Next<'_>) -> Sent {
        if target(&request) == "AWSCognitoIdentityProviderService.AdminUpdateUserAttributes" {
            let asked = members(&request);
            let pool = json!({"UserPoolId": asked["UserPoolId"]});
            let found = next.wire.json("cognito-idp", "AWSCognitoIdentityProviderService.DescribeUserPool", &pool).await?.json();
            if let Some(name) = immutable(&found["UserPool"]["SchemaAttributes"], &asked["UserAttributes"]) {
                return json_error(400, "InvalidParameterException", &format!("user.{name}: Attribute cannot be updated."));
            }
        }
        next.send(request).await
    }
}

fn immutable<'a>(schema: &Value, asked: &'a Value) -> Option<&'a str> {
    let fixed = |name: &str| schema.as_array().is_some_and(|s| s.iter().any(|a| a["Name"] == name && a["Mutable"] == false));
    asked.as_array()?.iter().filter_map(|a| a["Name"].as_str()).find(|name| fixed(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_schema_calls_immutable_is_refused() {
        let schema = json!([{"Name": "custom:tenant_id", "Mutable": false}, {"Name": "email", "Mutable": true}]);
        assert_eq!(immutable(&schema, &json!([{"Name": "email"}, {"Name": "custom:tenant_id"}])), Some("custom:tenant_id"));
        assert_eq!(immutable(&schema, &json!([{"Name": "email"}])), None);
    }
}
