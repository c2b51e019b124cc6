//! A family none of whose revisions is active cannot be described; what is registered is answered with its tags.

use async_trait::async_trait;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;

use super::Next;
use super::ecs_services::ECS;
use super::wire::{Sent, json_error, members, read, target};

#[derive(Debug)]
pub(super) struct Mend;

#[async_trait]
impl super::Mend for Mend {
    async fn call(&self, request: HttpRequest, next: Next<'_>) -> Sent {
        let operation = target(&request).strip_prefix(ECS).unwrap_or_default().to_owned();
        let asked = members(&request);
        match operation.as_str() {
            ".DescribeTaskDefinition" => {
                let answer = read(next.send(request).await?).await?;
                let family = asked["taskDefinition"].as_str().is_some_and(|t| !t.contains(':'));
                if family && answer.ok() && answer.json()["taskDefinition"]["status"] != "ACTIVE" {
                    return json_error(400, "ClientException", "Unable to describe task definition.");
                }
                Ok(answer.back())
            }
            ".RegisterTaskDefinition" => {
                let answer = read(next.send(request).await?).await?;
                let mut body = answer.json();
                if !answer.ok() || asked["tags"].is_null() {
                    return Ok(answer.back());
                }
                body["tags"] = asked["tags"].clone();
                Ok(answer.with(body.to_string().into_bytes()))
            }
            _ => next.send(request).await,
        }
    }
}
