//! Services reach what was asked of them, and are described with all that was set.

use async_trait::async_trait;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use serde_json::{Value, json};

use super::Next;
use super::wire::{Sent, Wire, members, read, target};

/// What ECS operations are called in `X-Amz-Target`.
pub(super) const ECS: &str = "AmazonEC2ContainerServiceV20141113";

/// What moto forgets of a service.
const FORGOTTEN: &[&str] = &[
    "deploymentConfiguration",
    "enableECSManagedTags",
    "enableExecuteCommand",
    "healthCheckGracePeriodSeconds",
    "availabilityZoneRebalancing",
    "capacityProviderStrategy",
];

#[derive(Debug)]
pub(super) struct Mend;

#[async_trait]
impl super::Mend for Mend {
    async fn call(&self, request: HttpRequest, next: Next<'_>) -> Sent {
        let operation = target(&request).strip_prefix(ECS).and_then(|t| t.strip_prefix('.')).unwrap_or_default().to_owned();
        if !["CreateService", "DescribeServices", "UpdateService", "DeleteService"].contains(&operation.as_str()) {
            return next.send(request).await;
        }
        let asked = members(&request);
        let wire = next.wire;
        if operation == "UpdateService" {
            let (cluster, name) = place(&asked, "service");
            let mut kept = recall(wire, &cluster, &name).await;
            note(&mut kept, &asked);
            keep(wire, &cluster, &name, &kept).await?;
        }
        let answer = read(next.send(request).await?).await?;
        if !answer.ok() {
            return Ok(answer.back());
        }
        let mut body = answer.json();
        let cluster = place(&asked, "service").0;
        if operation == "DescribeServices" {
            for service in body["services"].as_array_mut().into_iter().flatten() {
                describe(wire, &cluster, service).await;
                settle(service);
            }
        } else {
            describe(wire, &cluster, &mut body["service"]).await;
        }
        Ok(answer.with(body.to_string().into_bytes()))
    }
}

/// Cluster and service of a request, by their names.
pub(super) fn place(asked: &Value, member: &str) -> (String, String) {
    let last = |v: &Value| v.as_str().map(|s| s.rsplit('/').next().unwrap_or(s).to_owned());
    (last(&asked["cluster"]).unwrap_or_else(|| "default".into()), last(&asked[member]).unwrap_or_default())
}

/// Takes over what moto would forget.
pub(super) fn note(kept: &mut Value, asked: &Value) {
    for name in FORGOTTEN {
        if !asked[name].is_null() {
            kept[name] = asked[name].clone();
        }
    }
}

fn key(cluster: &str, name: &str) -> String {
    format!("/labctl-sandbox/ecs/{cluster}/{name}")
}

/// What was kept of a service; an empty object when nothing was.
pub(super) async fn recall(wire: &Wire, cluster: &str, name: &str) -> Value {
    wire.remembered(&key(cluster, name)).await.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_else(|| json!({}))
}

/// Keeps it, for every later command.
pub(super) async fn keep(wire: &Wire, cluster: &str, name: &str, kept: &Value) -> Result<(), ConnectorError> {
    wire.remember(&key(cluster, name), &kept.to_string()).await
}

async fn describe(wire: &Wire, cluster: &str, service: &mut Value) {
    let kept = recall(wire, cluster, service["serviceName"].as_str().unwrap_or_default()).await;
    note(service, &kept);
    let arn = service["serviceArn"].as_str().unwrap_or_default();
    if let (Some(short), Some((before, _))) = (service["taskDefinition"].as_str(), arn.split_once(":service/"))
        && !short.starts_with("arn:")
    {
        service["taskDefinition"] = format!("{before}:task-definition/{short}").into();
    }
}

/// The world as it is a moment later: an active service runs as many tasks as it should, a deleted one none.
fn settle(service: &mut Value) {
    let active = service["status"] == "ACTIVE";
    let desired = if active { service["desiredCount"].clone() } else { json!(0) };
    service["desiredCount"] = desired.clone();
    service["runningCount"] = desired.clone();
    service["pendingCount"] = json!(0);
    let mut deployments = service["deployments"].as_array().cloned().unwrap_or_default();
    deployments.retain(|d| active && d["status"] == "PRIMARY");
    for deployment in &mut deployments {
        deployment["desiredCount"] = desired.clone();
        deployment["runningCount"] = desired.clone();
        deployment["pendingCount"] = json!(0);
        deployment["taskDefinition"] = service["taskDefinition"].clone();
        deployment["rolloutState"] = "COMPLETED".into();
        deployment["rolloutStateReason"] = format!("ECS deployment {} completed.", deployment["id"].as_str().unwrap_or_default()).into();
    }
    service["deployments"] = deployments.into();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_active_service_runs_what_it_should_and_a_deleted_one_nothing() {
        let deployment = json!({"id": "ecs-svc/1", "status": "PRIMARY", "desiredCount": 2, "runningCount": 0, "rolloutState": "IN_PROGRESS"});
        let mut service =
            json!({"status": "ACTIVE", "desiredCount": 3, "runningCount": 0, "pendingCount": 3, "taskDefinition": "arn:x", "deployments": [deployment]});
        settle(&mut service);
        assert_eq!((&service["runningCount"], &service["pendingCount"]), (&json!(3), &json!(0)));
        assert_eq!(service["deployments"][0]["rolloutState"], "COMPLETED");
        assert_eq!(service["deployments"][0]["desiredCount"], 3);
        service["status"] = "INACTIVE".into();
        settle(&mut service);
        assert_eq!((&service["runningCount"], &service["deployments"]), (&json!(0), &json!([])));
    }

    #[test]
    fn cluster_and_service_are_known_by_name_or_arn() {
        let arns = json!({"cluster": "arn:aws:ecs:us-east-1:1:cluster/c", "service": "arn:aws:ecs:us-east-1:1:service/c/s"});
        assert_eq!(place(&arns, "service"), ("c".into(), "s".into()));
        assert_eq!(place(&json!({"serviceName": "s"}), "serviceName"), ("default".into(), "s".into()));
    }
}
