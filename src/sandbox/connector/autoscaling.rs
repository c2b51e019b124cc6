//! Scalable targets carry tags, are listed in pages that end, and take their policies with them when they are deregistered.

use async_trait::async_trait;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use serde_json::{Map, Value, json};

use super::Next;
use super::wire::{Sent, Wire, json_error, members, page, read, refill, respond, target};

/// What operations are called in `X-Amz-Target`.
const SERVICE: &str = "AnyScaleFrontendService";
/// AWS's words for a second registration with tags.
const EXISTS: &str = "The scalable target that you tried to tag already exists. To update tags on an existing scalable target, use the TagResource API.";

/// AWS's page when none is asked for.
const PAGE: u64 = 50;
/// The emulator's pages overlap: it is asked for one page of all there can be.
const ALL: u64 = 10_000;

#[derive(Debug)]
pub(super) struct Mend;

#[async_trait]
impl super::Mend for Mend {
    async fn call(&self, request: HttpRequest, next: Next<'_>) -> Sent {
        let Some(operation) = target(&request).strip_prefix(SERVICE).map(|o| o.trim_start_matches('.').to_owned()) else {
            return next.send(request).await;
        };
        let asked = members(&request);
        let wire = next.wire;
        let id = asked["ResourceId"].as_str().unwrap_or_default().to_owned();
        match operation.as_str() {
            "RegisterScalableTarget" => {
                let is_new = find(wire, |t| t["ResourceId"] == *id).await?.is_null();
                if is_new {
                    // Kept before the call: a note about a target that is not there harms nothing.
                    let tags = asked["Tags"].as_object().cloned().unwrap_or_default();
                    keep(wire, &id, &tags).await?;
                } else if asked["Tags"].as_object().is_some_and(|tags| !tags.is_empty()) {
                    return json_error(400, "ValidationException", EXISTS);
                }
                next.send(request).await
            }
            "DeregisterScalableTarget" => {
                if find(wire, |t| t["ResourceId"] == *id).await?.is_null() {
                    return json_error(400, "ObjectNotFoundException", &format!("No scalable target found for resource ID: {id}"));
                }
                let of = json!({"ServiceNamespace": asked["ServiceNamespace"], "ResourceId": id});
                let policies = call(wire, "DescribeScalingPolicies", &of).await?;
                for policy in policies["ScalingPolicies"].as_array().into_iter().flatten().filter(|p| p["ResourceId"] == *id) {
                    let mut gone = of.clone();
                    gone["PolicyName"] = policy["PolicyName"].clone();
                    gone["ScalableDimension"] = policy["ScalableDimension"].clone();
                    call(wire, "DeleteScalingPolicy", &gone).await?;
                }
                next.send(request).await
            }
            "DescribeScalableTargets" => pages(request, asked, next).await,
            "ListTagsForResource" | "TagResource" | "UntagResource" => tags(wire, &operation, &asked).await,
            _ => next.send(request).await,
        }
    }
}

async fn pages(mut request: HttpRequest, mut asked: Value, next: Next<'_>) -> Sent {
    let size = asked["MaxResults"].as_u64().unwrap_or(PAGE);
    let start = asked["NextToken"].as_str().and_then(|t| t.parse().ok()).unwrap_or(0);
    asked["MaxResults"] = ALL.into();
    if let Some(map) = asked.as_object_mut() {
        map.remove("NextToken");
    }
    refill(&mut request, asked.to_string().into_bytes());
    let answer = read(next.send(request).await?).await?;
    if !answer.ok() {
        return Ok(answer.back());
    }
    let all = answer.json()["ScalableTargets"].as_array().cloned().unwrap_or_default();
    Ok(answer.with(page(all, start, size).members("ScalableTargets", "NextToken")))
}

async fn tags(wire: &Wire, operation: &str, asked: &Value) -> Sent {
    let arn = asked["ResourceARN"].as_str().unwrap_or_default();
    let found = find(wire, |t| t["ScalableTargetARN"] == *arn).await?;
    let Some(id) = found["ResourceId"].as_str() else {
        return json_error(400, "ResourceNotFoundException", &format!("The resource {arn} was not found."));
    };
    let mut tags = recall(wire, id).await;
    match operation {
        "ListTagsForResource" => return respond(200, "application/x-amz-json-1.1", json!({"Tags": tags}).to_string().into_bytes()),
        "TagResource" => tags.extend(asked["Tags"].as_object().cloned().unwrap_or_default()),
        _ => {
            for name in asked["TagKeys"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                tags.remove(name);
            }
        }
    }
    keep(wire, id, &tags).await?;
    respond(200, "application/x-amz-json-1.1", b"{}".to_vec())
}

/// The first target of an ECS service of which that is true; null when there is none.
async fn find(wire: &Wire, wanted: impl Fn(&Value) -> bool + Send) -> Result<Value, ConnectorError> {
    let found = call(wire, "DescribeScalableTargets", &json!({"ServiceNamespace": "ecs", "MaxResults": ALL})).await?;
    Ok(found["ScalableTargets"].as_array().into_iter().flatten().find(|t| wanted(t)).cloned().unwrap_or_default())
}

async fn call(wire: &Wire, operation: &str, asked: &Value) -> Result<Value, ConnectorError> {
    Ok(wire.json("application-autoscaling", &format!("{SERVICE}.{operation}"), asked).await?.json())
}

fn key(id: &str) -> String {
    format!("/labctl-sandbox/scalable-target/{id}")
}

async fn recall(wire: &Wire, id: &str) -> Map<String, Value> {
    wire.remembered(&key(id)).await.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

async fn keep(wire: &Wire, id: &str, tags: &Map<String, Value>) -> Result<(), ConnectorError> {
    wire.remember(&key(id), &Value::from(tags.clone()).to_string()).await
}
