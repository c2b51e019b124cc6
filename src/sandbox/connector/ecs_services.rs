//! Services reach what was asked of them, and are described with all that was set.
//!
//! # An image that cannot be pulled
//! Nothing runs in the sandbox, so nothing can fail there by itself. One failure can be told beforehand: an image in the private registry
//! (ECR) of another account, which that account has not opened. A rollout of it fails. If the service has a circuit breaker that rolls
//! back, and ran something that can be pulled, it goes back to that; else it stays failed, with no task running.

use async_trait::async_trait;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use serde_json::{Value, json};

use super::Next;
use super::wire::{Sent, Wire, members, read, refill, target};

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
    async fn call(&self, mut request: HttpRequest, next: Next<'_>) -> Sent {
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
            if asked["taskDefinition"].is_string() {
                // What will be rolled back is not rolled out in the first place: there is no moment at which being killed leaves half of it.
                if let Some(former) = roll_out(wire, &mut kept, &asked, &cluster, &name).await? {
                    let mut asked = asked.clone();
                    asked["taskDefinition"] = former;
                    refill(&mut request, asked.to_string().into_bytes());
                }
            }
            keep(wire, &cluster, &name, &kept).await?;
        }
        // Whether tags are in an answer, moto keeps in one place for all its threads: who asks without them takes them out of others' answers.
        let tags = operation != "DescribeServices" || asked["include"].as_array().is_some_and(|all| all.contains(&"TAGS".into()));
        if !tags {
            let mut asked = asked.clone();
            asked["include"] = json!(["TAGS"]);
            refill(&mut request, asked.to_string().into_bytes());
        }
        let answer = read(next.send(request).await?).await?;
        if !answer.ok() {
            return Ok(answer.back());
        }
        let mut body = answer.json();
        let cluster = place(&asked, "service").0;
        if operation == "DescribeServices" {
            for service in body["services"].as_array_mut().into_iter().flatten() {
                let kept = describe(wire, &cluster, service).await;
                settle(service, &kept);
                if !tags {
                    _ = service.as_object_mut().map(|members| members.remove("tags"));
                }
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

/// Notes what comes of this rollout: `unpullable`, the image that keeps its tasks from starting, or `failed`, what was tried and rolled
/// back. Returns the task definition to go back to.
async fn roll_out(wire: &Wire, kept: &mut Value, asked: &Value, cluster: &str, name: &str) -> Result<Option<Value>, ConnectorError> {
    let before = kept["unpullable"].take();
    kept["failed"] = Value::Null;
    let Some((arn, image)) = unpullable(wire, &asked["taskDefinition"]).await? else { return Ok(None) };
    let found = wire.json("ecs", &format!("{ECS}.DescribeServices"), &json!({"cluster": cluster, "services": [name]})).await?.json();
    let service = &found["services"][0];
    let tasks = asked["desiredCount"].as_i64().or(service["desiredCount"].as_i64()).unwrap_or(0);
    let breaker = &kept["deploymentConfiguration"]["deploymentCircuitBreaker"];
    if tasks == 0 || !before.is_null() || breaker["rollback"] != true {
        kept["unpullable"] = image.into();
        return Ok(None);
    }
    kept["failed"] = json!({"taskDefinition": arn, "image": image});
    Ok(Some(service["taskDefinition"].clone()))
}

/// The ARN of a task definition, and the image in it that cannot be pulled, if there is one.
pub(super) async fn unpullable(wire: &Wire, definition: &Value) -> Result<Option<(String, String)>, ConnectorError> {
    let found = wire.json("ecs", &format!("{ECS}.DescribeTaskDefinition"), &json!({"taskDefinition": definition})).await?.json();
    let definition = &found["taskDefinition"];
    let arn = definition["taskDefinitionArn"].as_str().unwrap_or_default();
    let account = arn.split(':').nth(4).unwrap_or_default();
    let images = definition["containerDefinitions"].as_array().into_iter().flatten().filter_map(|c| c["image"].as_str());
    Ok(images.filter(|image| is_strange(image, account)).map(|image| (arn.to_owned(), image.to_owned())).next())
}

/// Whether an image is in the private registry of another account.
fn is_strange(image: &str, account: &str) -> bool {
    let registry = image.split_once('/').and_then(|(host, _)| host.split_once(".dkr.ecr."));
    registry.is_some_and(|(owner, rest)| owner != account && rest.contains(".amazonaws.com"))
}

async fn describe(wire: &Wire, cluster: &str, service: &mut Value) -> Value {
    let kept = recall(wire, cluster, service["serviceName"].as_str().unwrap_or_default()).await;
    note(service, &kept);
    let arn = service["serviceArn"].as_str().unwrap_or_default();
    if let (Some(short), Some((before, _))) = (service["taskDefinition"].as_str(), arn.split_once(":service/"))
        && !short.starts_with("arn:")
    {
        service["taskDefinition"] = format!("{before}:task-definition/{short}").into();
    }
    kept
}

/// The world as it is a moment later: an active service runs as many tasks as it should, unless they cannot start; a deleted one none.
fn settle(service: &mut Value, kept: &Value) {
    let active = service["status"] == "ACTIVE";
    let desired = if active { service["desiredCount"].clone() } else { json!(0) };
    service["desiredCount"] = desired.clone();
    let stuck = kept["unpullable"].as_str().filter(|_| active && desired != json!(0));
    let running = if stuck.is_some() { json!(0) } else { desired.clone() };
    service["runningCount"] = running.clone();
    service["pendingCount"] = json!(0);
    let mut deployments = service["deployments"].as_array().cloned().unwrap_or_default();
    deployments.retain(|d| active && d["status"] == "PRIMARY");
    for deployment in &mut deployments {
        deployment["desiredCount"] = desired.clone();
        deployment["runningCount"] = running.clone();
        deployment["pendingCount"] = json!(0);
        deployment["taskDefinition"] = service["taskDefinition"].clone();
        deployment["rolloutState"] = if stuck.is_some() { "FAILED" } else { "COMPLETED" }.into();
        let how = if stuck.is_some() { "failed: tasks failed to start." } else { "completed." };
        deployment["rolloutStateReason"] = format!("ECS deployment {} {how}", deployment["id"].as_str().unwrap_or_default()).into();
    }
    let name = service["serviceName"].as_str().unwrap_or_default().to_owned();
    let mut events = Vec::new();
    if let Some(image) = stuck.or(kept["failed"]["image"].as_str()) {
        events.push(format!("(service {name}) was unable to start a task: CannotPullContainerError: {image}: pull access denied, 403 Forbidden."));
    }
    if let (true, Some(former)) = (active && kept["failed"].is_object(), deployments.first().cloned()) {
        let id = former["id"].as_str().unwrap_or_default().to_owned();
        events.insert(0, format!("(service {name}) rolling back to deployment {id}."));
        let mut failed = former;
        failed["status"] = "ACTIVE".into();
        failed["id"] = format!("{id}-failed").into();
        failed["taskDefinition"] = kept["failed"]["taskDefinition"].clone();
        failed["desiredCount"] = json!(0);
        failed["runningCount"] = json!(0);
        failed["rolloutState"] = "FAILED".into();
        failed["rolloutStateReason"] = "ECS deployment circuit breaker: tasks failed to start.".into();
        deployments.push(failed);
    }
    if !events.is_empty() {
        let told = events.iter().enumerate().map(|(n, message)| json!({"id": format!("{name}-{n}"), "message": message}));
        service["events"] = told.collect::<Vec<_>>().into();
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
        settle(&mut service, &json!({}));
        assert_eq!((&service["runningCount"], &service["pendingCount"]), (&json!(3), &json!(0)));
        assert_eq!(service["deployments"][0]["rolloutState"], "COMPLETED");
        assert_eq!(service["deployments"][0]["desiredCount"], 3);
        service["status"] = "INACTIVE".into();
        settle(&mut service, &json!({}));
        assert_eq!((&service["runningCount"], &service["deployments"]), (&json!(0), &json!([])));
    }

    #[test]
    fn what_cannot_be_pulled_runs_nowhere_and_what_was_rolled_back_is_told() {
        let deployment = json!({"id": "ecs-svc/1", "status": "PRIMARY"});
        let service = json!({"serviceName": "s", "status": "ACTIVE", "desiredCount": 2, "taskDefinition": "arn:1", "deployments": [deployment]});
        let mut stuck = service.clone();
        settle(&mut stuck, &json!({"unpullable": "x:1"}));
        assert_eq!((&stuck["runningCount"], &stuck["deployments"][0]["rolloutState"]), (&json!(0), &json!("FAILED")));
        assert!(stuck["events"][0]["message"].as_str().unwrap().contains("CannotPullContainerError: x:1"), "{stuck}");
        let mut back = service;
        settle(&mut back, &json!({"failed": {"taskDefinition": "arn:2", "image": "x:1"}}));
        let rollouts: Vec<_> = back["deployments"].as_array().unwrap().iter().map(|d| (&d["status"], &d["taskDefinition"], &d["rolloutState"])).collect();
        assert_eq!(rollouts, [(&json!("PRIMARY"), &json!("arn:1"), &json!("COMPLETED")), (&json!("ACTIVE"), &json!("arn:2"), &json!("FAILED"))]);
        assert_eq!(back["runningCount"], 2);
    }

    #[test]
    fn only_the_private_registry_of_another_account_is_closed() {
        let rows = [
            ("999999999999.dkr.ecr.us-east-1.amazonaws.com/mate:1", true),
            ("123456789012.dkr.ecr.us-east-1.amazonaws.com/mate:1", false),
            ("public.ecr.aws/nginx/nginx:1", false),
            ("mate:1", false),
        ];
        for (image, strange) in rows {
            assert_eq!(is_strange(image, "123456789012"), strange, "{image}");
        }
    }

    #[test]
    fn cluster_and_service_are_known_by_name_or_arn() {
        let arns = json!({"cluster": "arn:aws:ecs:us-east-1:1:cluster/c", "service": "arn:aws:ecs:us-east-1:1:service/c/s"});
        assert_eq!(place(&arns, "service"), ("c".into(), "s".into()));
        assert_eq!(place(&json!({"serviceName": "s"}), "serviceName"), ("default".into(), "s".into()));
    }
}
