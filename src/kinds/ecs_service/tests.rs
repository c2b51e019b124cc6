//! What the emulator cannot show: rollouts that go on, fail, or are rolled back; draining; refusals that mean "not now".

use serde_json::{Value, json};

use super::*;
use crate::cloud::scripted::{Script, json_error};
use crate::cloud::tags::owned;
use crate::engine::fault::Class;
use crate::engine::kind::Address;

fn address() -> Address {
    Address::new("hospital-a", "ecs_service", "django")
}

fn spec(over: &Value) -> Spec {
    let mut base = json!({
        "cluster": "mate", "name": "mate-a-django", "task_definition": "arn:td:2", "desired": 2, "subnets": ["subnet-1", "subnet-2"], "security_groups": ["sg-1"],
    });
    base.as_object_mut().unwrap().extend(over.as_object().unwrap().clone());
    serde_json::from_value(base).unwrap()
}

/// A service just as the base spec wants it, in ECS's words.
fn service(over: &Value, tags: &Tags) -> Value {
    let tags: Vec<Value> = tags.iter().map(|(k, v)| json!({"key": k, "value": v})).collect();
    let mut base = json!({
        "serviceArn": "arn:service", "serviceName": "mate-a-django", "status": "ACTIVE", "taskDefinition": "arn:td:2", "desiredCount": 2, "runningCount": 2,
        "launchType": "FARGATE", "propagateTags": "SERVICE", "enableECSManagedTags": true, "enableExecuteCommand": false, "tags": tags,
        "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-2", "subnet-1"], "securityGroups": ["sg-1"], "assignPublicIp": "DISABLED"}},
        "deploymentConfiguration": {"maximumPercent": 200, "minimumHealthyPercent": 100, "deploymentCircuitBreaker": {"enable": true, "rollback": true}},
        "deployments": [deployment("PRIMARY", "arn:td:2", "COMPLETED", 2)],
        "events": [],
    });
    base.as_object_mut().unwrap().extend(over.as_object().unwrap().clone());
    base
}

fn deployment(status: &str, task_definition: &str, rollout: &str, running: i32) -> Value {
    json!({"status": status, "taskDefinition": task_definition, "rolloutState": rollout, "rolloutStateReason": format!("{rollout} by ECS"), "runningCount": running})
}

fn rolling_back(to: &str) -> Value {
    let reason = "ECS deployment circuit breaker: rolling back to deploymentId ecs-svc/1.";
    json!({"status": "PRIMARY", "taskDefinition": to, "rolloutState": "IN_PROGRESS", "rolloutStateReason": reason, "runningCount": 1})
}

/// What `observe` makes of a service.
async fn observed(over: &Value) -> Observed<State> {
    let (address, spec) = (address(), spec(&json!({})));
    let tags = owned(&address, "r");
    let answer = json!({"services": [service(over, &tags)], "failures": []}).to_string();
    let script = Script::new().then("DescribeServices", 200, answer);
    EcsService.observe(&Cx::scripted(&script).await, &Target { address: &address, spec: &spec, tags: &tags }, None).await.unwrap()
}

async fn state(over: &Value) -> State {
    match observed(over).await {
        Observed::Mine { state, .. } => state,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_difference_is_named() {
    let other_vpc = json!({"awsvpcConfiguration": {"subnets": ["subnet-9"], "securityGroups": ["sg-1"], "assignPublicIp": "ENABLED"}});
    let rows = [
        (json!({}), json!({}), "same"),
        (json!({"task_definition": "arn:td:3"}), json!({}), "task_definition: arn:td:2 → arn:td:3"),
        (json!({"desired": 3}), json!({}), "desired: 2 → 3"),
        (json!({"desired": 3, "min": 1, "max": 5}), json!({}), "same"),
        (json!({"desired": 3, "min": 3, "max": 5}), json!({}), "desired: 2 → 3"),
        (json!({"desired": 2, "min": 1, "max": 5}), json!({"desiredCount": 0}), "desired: 0 → 2"),
        (json!({"desired": 2, "min": 1, "max": 5}), json!({"desiredCount": 9}), "desired: 9 → 5"),
        (json!({"desired": 3, "min": 0, "max": 5}), json!({"desiredCount": 0}), "same"),
        (json!({"desired": 1, "min": 1, "max": 1}), json!({}), "desired: 2 → 1"),
        (json!({}), json!({"networkConfiguration": other_vpc}), "subnets: {subnet-9} → {subnet-1, subnet-2}; public_address: true → false"),
        (json!({"min_healthy_percent": 0, "max_percent": 100}), json!({}), "min_healthy_percent: 100 → 0; max_percent: 200 → 100"),
        (json!({}), json!({"deploymentConfiguration": {"maximumPercent": 200, "minimumHealthyPercent": 100}}), "circuit_breaker: false → true"),
        (json!({}), json!({"propagateTags": "NONE"}), "propagate_tags: NONE → SERVICE"),
        (json!({}), json!({"enableECSManagedTags": false}), "managed_tags: false → true"),
        (json!({}), json!({"enableExecuteCommand": true}), "enable_execute_command: true → false"),
        (json!({}), json!({"launchType": "EC2"}), "replace: launch_type: EC2 → FARGATE"),
        (json!({}), json!({"deployments": [deployment("PRIMARY", "arn:td:2", "FAILED", 0)]}), "rollout: FAILED (FAILED by ECS) → COMPLETED"),
        (json!({"desired": 9}), json!({"status": "DRAINING"}), "same"),
    ];
    for (wanted, found, expected) in rows {
        let (address, spec, tags) = (address(), spec(&wanted), Tags::new());
        let said = match EcsService.diff(&Target { address: &address, spec: &spec, tags: &tags }, &state(&found).await) {
            Diff::Same => "same".to_owned(),
            Diff::Update(changes) => changes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
            Diff::Replace(change) => format!("replace: {change}"),
            Diff::Forbidden(why) => format!("forbidden: {why}"),
        };
        assert_eq!(said, expected, "{wanted} wanted, {found} found");
    }
}

/// What the diff says of a service that carries this of [`ASKED`] (nothing, where it is empty).
async fn asked(wanted: &Spec, carried: &str, count: i32) -> String {
    let address = address();
    let tags = owned(&address, "r");
    let mut found = tags.clone();
    if !carried.is_empty() {
        found.insert(ASKED.to_owned(), carried.to_owned());
    }
    let script =
        Script::new().then("DescribeServices", 200, json!({"services": [service(&json!({"desiredCount": count}), &found)], "failures": []}).to_string());
    let target = Target { address: &address, spec: wanted, tags: &tags };
    let Observed::Mine { state, .. } = EcsService.observe(&Cx::scripted(&script).await, &target, None).await.unwrap() else { panic!("not found") };
    match EcsService.diff(&target, &state) {
        Diff::Same => "same".to_owned(),
        Diff::Update(changes) => changes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_was_asked_for_is_set_once_and_then_left_to_auto_scaling() {
    let scaled = |asked: Value| spec(&json!({"desired": 4, "min": 0, "max": 5, "asked": asked}));
    let rows = [
        (json!("t1"), "", 2, "desired: 2 → 4; tags.labctl:asked: (none) → t1"),
        (json!("t1"), "", 4, "tags.labctl:asked: (none) → t1"),
        (json!("t1"), "t1", 2, "same"),
        (json!("t2"), "t1", 2, "desired: 2 → 4; tags.labctl:asked: t1 → t2"),
        (Value::Null, "t1", 2, "same"),
        (Value::Null, "suspension", 0, "desired: 0 → 4; tags.labctl:asked: suspension → resumption"),
        (json!("t1"), "suspension", 0, "desired: 0 → 4; tags.labctl:asked: suspension → t1"),
        (Value::Null, "resumption", 0, "same"),
    ];
    for (wanted, carried, count, expected) in rows {
        assert_eq!(asked(&scaled(wanted.clone()), carried, count).await, expected, "{wanted} asked, `{carried}` carried, {count} tasks");
    }
    let suspended = |level| EcsService.suspended(scaled(Value::Null), level);
    assert_eq!(asked(&suspended(Suspension::Full), "", 2).await, "desired: 2 → 0; tags.labctl:asked: (none) → suspension");
    assert_eq!(asked(&suspended(Suspension::Full), "suspension", 1).await, "desired: 1 → 0", "whoever raises it meanwhile");
    assert_eq!(asked(&suspended(Suspension::Login), "", 2).await, "same");
}

#[tokio::test]
async fn the_count_is_set_before_the_service_carries_for_what() {
    let (address, spec) = (address(), spec(&json!({"desired": 4, "min": 1, "max": 5, "asked": "t1"})));
    let tags = owned(&address, "r");
    let target = Target { address: &address, spec: &spec, tags: &tags };
    let script = Script::new().then("UpdateService", 200, "{}").then("TagResource", 200, "{}");
    EcsService.update(&Cx::scripted(&script).await, &target, "arn:service", &state(&json!({})).await).await.unwrap();
    let bodies: Vec<Value> = script.seen().iter().map(|(_, body)| serde_json::from_str(body).unwrap()).collect();
    assert_eq!(bodies[0], json!({"cluster": "mate", "service": "arn:service", "desiredCount": 4}));
    assert!(bodies[1]["tags"].as_array().unwrap().contains(&json!({"key": "labctl:asked", "value": "t1"})), "{}", bodies[1]);
}

#[tokio::test]
async fn ready_is_a_completed_rollout_with_all_tasks() {
    let event = json!([{"message": "(service mate-a-django) was unable to place a task."}]);
    let rows = [
        (json!({}), Ready::Ready),
        (json!({"deployments": [deployment("PRIMARY", "arn:td:2", "IN_PROGRESS", 1)]}), Ready::Waiting("1 of 2 tasks running".into())),
        (
            json!({"deployments": [deployment("PRIMARY", "arn:td:2", "IN_PROGRESS", 0)], "events": event}),
            Ready::Waiting("0 of 2 tasks running; (service mate-a-django) was unable to place a task.".into()),
        ),
        (json!({"deployments": []}), Ready::Waiting("no deployment yet".into())),
        (json!({"status": "DRAINING", "runningCount": 1}), Ready::Waiting("draining, 1 tasks still running".into())),
        (
            json!({"deployments": [deployment("PRIMARY", "arn:td:2", "FAILED", 0)], "events": event}),
            Ready::Broken("the deployment failed: FAILED by ECS; ECS says: (service mate-a-django) was unable to place a task.".into()),
        ),
        (
            json!({"taskDefinition": "arn:td:1", "deployments": [deployment("PRIMARY", "arn:td:1", "IN_PROGRESS", 2), deployment("ACTIVE", "arn:td:2", "FAILED", 0)]}),
            Ready::Broken("the deployment failed and was rolled back, `arn:td:1` runs again: FAILED by ECS".into()),
        ),
        (
            json!({"taskDefinition": "arn:td:1", "deployments": [rolling_back("arn:td:1")], "events": event}),
            Ready::Broken("the deployment failed and is being rolled back to `arn:td:1`: ECS deployment circuit breaker: rolling back to deploymentId ecs-svc/1.; ECS says: (service mate-a-django) was unable to place a task.".into()),
        ),
        (json!({"taskDefinition": "arn:td:1", "deployments": [deployment("PRIMARY", "arn:td:1", "COMPLETED", 2)]}), Ready::Ready),
        (json!({"deployments": [deployment("PRIMARY", "arn:td:2", "COMPLETED", 2), deployment("ACTIVE", "arn:td:2", "FAILED", 0)]}), Ready::Ready),
    ];
    let (address, spec, tags) = (address(), spec(&json!({})), Tags::new());
    for (found, expected) in rows {
        let said = EcsService.ready(&Target { address: &address, spec: &spec, tags: &tags }, &state(&found).await);
        assert_eq!(said, expected, "{found}");
    }
}

#[tokio::test]
async fn inactive_and_missing_are_absent_and_others_are_foreign() {
    assert!(matches!(observed(&json!({"status": "INACTIVE"})).await, Observed::Absent));
    assert!(matches!(observed(&json!({"tags": []})).await, Observed::Foreign(_)));
    let (address, spec, tags) = (address(), spec(&json!({})), Tags::new());
    let target = Target { address: &address, spec: &spec, tags: &tags };
    let missing = json!({"services": [], "failures": [{"reason": "MISSING"}]}).to_string();
    for (status, body) in [(200, missing), (400, json_error("ClusterNotFoundException", "Cluster not found."))] {
        let script = Script::new().then("DescribeServices", status, body);
        assert!(matches!(EcsService.observe(&Cx::scripted(&script).await, &target, None).await.unwrap(), Observed::Absent));
    }
}

#[tokio::test]
async fn a_refused_create_tells_whether_waiting_helps() {
    let (address, spec, tags) = (address(), spec(&json!({})), Tags::new());
    let target = Target { address: &address, spec: &spec, tags: &tags };
    let rows = [
        ("InvalidParameterException", "Creation of service was not idempotent.", Class::Unknown),
        ("InvalidParameterException", "Unable to Start a service that is still Draining.", Class::Busy),
        ("InvalidParameterException", "Unable to assume the service linked role.", Class::Busy),
        ("InvalidParameterException", "TaskDefinition is inactive", Class::Refused),
        ("ThrottlingException", "Rate exceeded", Class::Busy),
    ];
    for (code, message, class) in rows {
        let script = Script::new().then("CreateService", 400, json_error(code, message));
        assert_eq!(EcsService.create(&Cx::scripted(&script).await, &target, "t").await.unwrap_err().class, class, "{message}");
    }
    let script = Script::new().then_silence("CreateService");
    assert_eq!(EcsService.create(&Cx::scripted(&script).await, &target, "t").await.unwrap_err().class, Class::Unknown, "a lost reply");
    let body: Value = serde_json::from_str(&script.seen()[0].1).unwrap();
    assert_eq!(body["networkConfiguration"]["awsvpcConfiguration"]["assignPublicIp"], "DISABLED");
    assert_eq!(body["deploymentConfiguration"]["deploymentCircuitBreaker"], json!({"enable": true, "rollback": true}));
    assert_eq!((&body["propagateTags"], body["clientToken"].as_str().map(str::len)), (&json!("SERVICE"), Some(36)));
}

#[tokio::test]
async fn a_failed_rollout_is_tried_again_by_force_and_only_what_differs_is_sent() {
    let (address, spec) = (address(), spec(&json!({})));
    let tags = owned(&address, "r");
    let target = Target { address: &address, spec: &spec, tags: &tags };
    let failed = state(&json!({"deployments": [deployment("PRIMARY", "arn:td:2", "FAILED", 0)]})).await;
    let script = Script::new().then("UpdateService", 200, "{}");
    EcsService.update(&Cx::scripted(&script).await, &target, "arn:service", &failed).await.unwrap();
    let body: Value = serde_json::from_str(&script.seen()[0].1).unwrap();
    assert_eq!(body, json!({"cluster": "mate", "service": "arn:service", "forceNewDeployment": true}));
}

#[tokio::test]
async fn deleting_what_is_gone_is_success() {
    let (address, spec, tags) = (address(), spec(&json!({})), Tags::new());
    let script = Script::new().then("DeleteService", 400, json_error("ServiceNotFoundException", "no")).then(
        "DeleteService",
        400,
        json_error("ClusterNotFoundException", "no"),
    );
    let cx = Cx::scripted(&script).await;
    for _ in 0..2 {
        EcsService.delete(&cx, &Target { address: &address, spec: &spec, tags: &tags }, "arn:service").await.unwrap();
    }
}
