//! ListTagsForResource, TagResource and UntagResource of user pools, which moto does not have.

use async_trait::async_trait;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use serde_json::{Map, Value, json};

use super::Next;
use super::cognito_update_pool::{pool, retag};
use super::wire::{Sent, json_error, members, respond, target};

#[derive(Debug)]
pub(super) struct Mend;

#[async_trait]
impl super::Mend for Mend {
    async fn call(&self, request: HttpRequest, next: Next<'_>) -> Sent {
        let operation = target(&request).strip_prefix("AWSCognitoIdentityProviderService.").unwrap_or_default().to_owned();
        if !["ListTagsForResource", "TagResource", "UntagResource"].contains(&operation.as_str()) {
            return next.send(request).await;
        }
        let asked = members(&request);
        let arn = asked["ResourceArn"].as_str().unwrap_or_default();
        let id = arn.rsplit_once("userpool/").map_or(arn, |(_, id)| id);
        let found = pool(next.wire, id).await?;
        if found.is_null() {
            return json_error(400, "ResourceNotFoundException", &format!("User pool {id} does not exist."));
        }
        let mut tags: Map<String, Value> = found["UserPoolTags"].as_object().cloned().unwrap_or_default();
        let answer = match operation.as_str() {
            "TagResource" => {
                tags.extend(asked["Tags"].as_object().cloned().unwrap_or_default());
                retag(next.wire, id, found, tags.into()).await?;
                json!({})
            }
            "UntagResource" => {
                for key in asked["TagKeys"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                    tags.remove(key);
                }
                retag(next.wire, id, found, tags.into()).await?;
                json!({})
            }
            _ => json!({"Tags": tags}),
        };
        respond(200, "application/x-amz-json-1.1", answer.to_string().into_bytes())
    }
}
