//! The calls a target makes, and what the emulator cannot show: an alarm that is faster than a suspension.

use serde_json::{Value, json};

use super::*;
use crate::cloud::scripted::{Script, json_error};
use crate::cloud::tags::owned;
use crate::engine::kind::Address;

const ID: &str = "service/mate/mate-a-django";

fn address() -> Address {
    Address::new("hospital-a", "scaling_target", "django")
}

fn spec(over: &Value) -> Spec {
    let mut base = json!({
        "cluster": "arn:aws:ecs:eu-central-1:1:cluster/mate", "service": "mate-a-django", "min": 2, "max": 10, "target_cpu_percent": 60,
        "scale_out_cooldown_seconds": 60, "scale_in_cooldown_seconds": 300,
    });
    base.as_object_mut().unwrap().extend(over.as_object().unwrap().clone());
    serde_json::from_value(base).unwrap()
}

fn suspended() -> Spec {
    ScalingTarget.suspended(spec(&json!({})), Suspension::Full)
}

/// A target just as the base spec wants it, in AWS's words.
fn there(over: &Value) -> Value {
    let mut base = json!({"ServiceNamespace": "ecs", "ResourceId": ID, "ScalableDimension": "ecs:service:DesiredCount", "MinCapacity": 2, "MaxCapacity": 10,
        "RoleARN": "arn:role", "CreationTime": 0, "ScalableTargetARN": "arn:target"});
    base.as_object_mut().unwrap().extend(over.as_object().unwrap().clone());
    base
}

fn policy(over: &Value) -> Value {
    let mut config = json!({"TargetValue": 60.0, "ScaleOutCooldown": 60, "ScaleInCooldown": 300, "DisableScaleIn": false,
        "PredefinedMetricSpecification": {"PredefinedMetricType": "ECSServiceAverageCPUUtilization"}});
    config.as_object_mut().unwrap().extend(over.as_object().unwrap().clone());
    json!({"PolicyARN": "arn:policy", "PolicyName": "cpu", "ServiceNamespace": "ecs", "ResourceId": ID, "ScalableDimension": "ecs:service:DesiredCount",
        "PolicyType": "TargetTrackingScaling", "CreationTime": 0, "TargetTrackingScalingPolicyConfiguration": config})
}

async fn observed(target: &Value, tags: &Tags, policies: &Value) -> Observed<State> {
    let (address, spec) = (address(), spec(&json!({})));
    let script = Script::new()
        .then("DescribeScalableTargets", 200, json!({"ScalableTargets": [target]}).to_string())
        .then("ListTagsForResource", 200, json!({"Tags": tags}).to_string())
        .then("DescribeScalingPolicies", 200, json!({"ScalingPolicies": policies}).to_string());
    let wanted = owned(&address, "r");
    ScalingTarget.observe(&Cx::scripted(&script).await, &Target { address: &address, spec: &spec, tags: &wanted }, None).await.unwrap()
}

async fn state(target: &Value, policies: &Value) -> State {
    match observed(&there(target), &owned(&address(), "r"), policies).await {
        Observed::Mine { id, state } if id == ID => state,
        other => panic!("{other:?}"),
    }
}

fn halted() -> Value {
    json!({"DynamicScalingInSuspended": true, "DynamicScalingOutSuspended": true, "ScheduledScalingSuspended": true})
}

#[tokio::test]
async fn every_difference_is_named() {
    let partly = json!({"SuspendedState": {"DynamicScalingInSuspended": true, "DynamicScalingOutSuspended": false, "ScheduledScalingSuspended": false}});
    let rows = [
        (spec(&json!({})), json!({}), json!([policy(&json!({}))]), "same"),
        (spec(&json!({"min": 3, "max": 8})), json!({}), json!([policy(&json!({}))]), "min: 2 → 3; max: 10 → 8"),
        (spec(&json!({})), partly, json!([policy(&json!({}))]), "suspended: scale-in → nothing"),
        (suspended(), json!({}), json!([policy(&json!({}))]), "min: 2 → 0; suspended: nothing → scale-out, scale-in, schedules"),
        (suspended(), json!({"MinCapacity": 0, "SuspendedState": halted()}), json!([policy(&json!({}))]), "same"),
        (
            spec(&json!({})),
            json!({"MinCapacity": 0, "SuspendedState": halted()}),
            json!([policy(&json!({}))]),
            "min: 0 → 2; suspended: scale-out, scale-in, schedules → nothing",
        ),
        (spec(&json!({})), json!({}), json!([]), "policy: (none) → 60% CPU"),
        (spec(&json!({"target_cpu_percent": 70})), json!({}), json!([policy(&json!({}))]), "target_cpu_percent: 60 → 70"),
        (
            spec(&json!({})),
            json!({}),
            json!([policy(&json!({"ScaleInCooldown": 5, "DisableScaleIn": true}))]),
            "scale_in_cooldown_seconds: 5 → 300; scales_in: false → true",
        ),
    ];
    let (address, tags) = (address(), owned(&address(), "r"));
    for (wanted, found, policies, expected) in rows {
        let said = match ScalingTarget.diff(&Target { address: &address, spec: &wanted, tags: &tags }, &state(&found, &policies).await) {
            Diff::Same => "same".to_owned(),
            Diff::Update(changes) => changes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
            other => panic!("{other:?}"),
        };
        assert_eq!(said, expected, "{found} {policies} found");
    }
}

#[tokio::test]
async fn it_is_only_ours_with_our_tags_and_a_milder_suspension_leaves_it() {
    assert!(matches!(observed(&there(&json!({})), &Tags::new(), &json!([])).await, Observed::Foreign(_)));
    for level in [Suspension::ReadOnly, Suspension::Login] {
        assert!(!ScalingTarget.suspended(spec(&json!({})), level).suspended);
    }
    let (address, spec) = (address(), spec(&json!({})));
    let tags = owned(&address, "r");
    let target = Target { address: &address, spec: &spec, tags: &tags };
    let script = Script::new().then("DescribeScalableTargets", 200, json!({"ScalableTargets": []}).to_string());
    assert!(matches!(ScalingTarget.observe(&Cx::scripted(&script).await, &target, None).await.unwrap(), Observed::Absent));
}

#[tokio::test]
async fn its_tags_go_in_the_call_that_makes_it_and_in_no_later_registration() {
    let (address, spec) = (address(), spec(&json!({})));
    let tags = owned(&address, "r");
    let target = Target { address: &address, spec: &spec, tags: &tags };
    let script = Script::new().then("RegisterScalableTarget", 200, "{}").then("RegisterScalableTarget", 200, "{}").then("PutScalingPolicy", 200, "{}");
    let cx = Cx::scripted(&script).await;
    assert_eq!(ScalingTarget.create(&cx, &target, "t").await.unwrap(), ID);
    ScalingTarget.update(&cx, &target, ID, &state(&json!({"MaxCapacity": 4}), &json!([])).await).await.unwrap();
    let bodies: Vec<Value> = script.seen().iter().map(|(_, body)| serde_json::from_str(body).unwrap()).collect();
    assert_eq!(bodies[0]["Tags"], json!(tags));
    assert_eq!((&bodies[1]["Tags"], &bodies[1]["MinCapacity"], &bodies[1]["MaxCapacity"]), (&Value::Null, &json!(2), &json!(10)));
    assert_eq!(bodies[2]["TargetTrackingScalingPolicyConfiguration"]["TargetValue"], json!(60.0));
}

#[tokio::test]
async fn what_an_alarm_did_just_before_the_suspension_is_undone() {
    let (address, spec) = (address(), suspended());
    let tags = owned(&address, "r");
    let target = Target { address: &address, spec: &spec, tags: &tags };
    let service = |count: i32| json!({"services": [{"status": "ACTIVE", "desiredCount": count}]}).to_string();
    let before = state(&json!({}), &json!([policy(&json!({}))])).await;
    let script = Script::new().then("RegisterScalableTarget", 200, "{}").then("DescribeServices", 200, service(2)).then("UpdateService", 200, "{}");
    ScalingTarget.update(&Cx::scripted(&script).await, &target, ID, &before).await.unwrap();
    let bodies: Vec<Value> = script.seen().iter().map(|(_, body)| serde_json::from_str(body).unwrap()).collect();
    assert_eq!((&bodies[0]["SuspendedState"], &bodies[0]["MinCapacity"]), (&halted(), &json!(0)));
    assert_eq!(bodies[2], json!({"cluster": "arn:aws:ecs:eu-central-1:1:cluster/mate", "service": "mate-a-django", "desiredCount": 0}));
    let script = Script::new().then("RegisterScalableTarget", 200, "{}").then("DescribeServices", 200, service(0));
    ScalingTarget.update(&Cx::scripted(&script).await, &target, ID, &before).await.unwrap();
    assert_eq!(script.operations(), ["RegisterScalableTarget", "DescribeServices"]);
}

#[tokio::test]
async fn deleting_what_is_gone_is_success() {
    let (address, spec, tags) = (address(), spec(&json!({})), Tags::new());
    let target = Target { address: &address, spec: &spec, tags: &tags };
    let script = Script::new().then("DeregisterScalableTarget", 400, json_error("ObjectNotFoundException", "No scalable target found"));
    ScalingTarget.delete(&Cx::scripted(&script).await, &target, ID).await.unwrap();
}
