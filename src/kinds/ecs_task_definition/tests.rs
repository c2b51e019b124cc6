//! What the emulator cannot show, and what is pure: secrets kept out, digests, differences, lost replies.

use serde_json::{Value, json};

use super::*;
use crate::cloud::scripted::{Script, json_error};
use crate::cloud::tags::owned;
use crate::engine::fault::Class;
use crate::engine::kind::Address;

fn address() -> Address {
    Address::new("hospital-a", "ecs_task_definition", "django")
}

fn raw(container: &Value) -> Value {
    let mut base = json!({"name": "django", "image": "mate:1", "log_group": "/ecs/a", "environment": {"A": "1"}});
    base.as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
    json!({"family": "mate-a", "cpu": 512, "memory": 1024, "task_role_arn": "arn:task", "execution_role_arn": "arn:exec", "containers": [base]})
}

fn spec(container: &Value) -> Spec {
    serde_json::from_value(raw(container)).unwrap()
}

fn state(of: &Spec) -> State {
    State { arn: "arn:td:1".into(), content: of.clone(), digest: Some(digest(of).unwrap()), active: true, tags: Tags::new() }
}

#[test]
fn secrets_in_plain_settings_are_refused() {
    let rows = [
        ("DB_PASSWORD", "x", true),
        ("SECRET_KEY", "x", true),
        ("API_TOKEN", "x", true),
        ("django-secret", "x", true),
        ("DATABASE_URL", "postgres://mate:hunter2@db/mate", true),
        ("DATABASE_URL", "postgres://mate@db/mate", false),
        ("DB_PASSWORD", "", false),
        ("AWS_KMS_KEY_ID", "x", false),
        ("DB_SECRET_ARN", "arn:x", false),
        ("ACCESS_TOKEN_MINUTES", "60", false),
        ("MONKEY", "x", false),
        ("S3_KEY_PREFIX", "a/", false),
    ];
    for (name, value, refused) in rows {
        let read = serde_json::from_value::<Spec>(raw(&json!({"environment": {name: value}})));
        assert_eq!(read.is_err(), refused, "{name}={value}");
        if let Err(e) = read {
            assert!(e.to_string().contains("`secrets`") && !e.to_string().contains("hunter2"), "{e}");
        }
    }
    for (value, refused) in [("arn:aws:secretsmanager:x", false), ("${secret.db.arn}:password::", false), ("hunter2", true)] {
        let read = serde_json::from_value::<Spec>(raw(&json!({"secrets": {"DB_PASSWORD": value}})));
        assert_eq!(read.is_err(), refused, "{value}");
        assert!(!read.is_err_and(|e| e.to_string().contains("hunter2")), "the value is not repeated");
    }
}

#[test]
fn differences_are_named_without_the_values_of_variables() {
    let rows = [
        (json!({}), ""),
        (json!({"image": "mate:2"}), "containers.django.image: mate:1 → mate:2"),
        (json!({"environment": {"A": "2"}}), "containers.django.environment.A: (set) → (as wanted)"),
        (json!({"environment": {}}), "containers.django.environment.A: (set) → (none)"),
        (json!({"port": 8000, "stop_timeout": 120}), "containers.django.port: None → 8000; containers.django.stop_timeout: 30 → 120"),
        (json!({"name": "web"}), "containers.web: (none) → mate:1; containers.django: mate:1 → (none)"),
        (json!({"essential": false}), "revision: "),
    ];
    let (address, tags) = (address(), Tags::new());
    for (wanted, expected) in rows {
        let want = spec(&wanted);
        let said = match EcsTaskDefinition.diff(&Target { address: &address, spec: &want, tags: &tags }, &state(&spec(&json!({})))) {
            Diff::Update(changes) => changes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
            Diff::Same => String::new(),
            other => panic!("{other:?}"),
        };
        assert!(said == expected || (expected.ends_with(": ") && said.starts_with(expected)), "{wanted}: {said}");
    }
}

#[test]
fn defaults_filled_in_by_ecs_do_not_matter_but_a_revision_of_others_does() {
    let (address, want, tags) = (address(), spec(&json!({})), Tags::new());
    let target = Target { address: &address, spec: &want, tags: &tags };
    let mut found = state(&want);
    found.content.containers[0].user = Some("0".into());
    assert_eq!(EcsTaskDefinition.diff(&target, &found), Diff::Same);
    found.digest = None;
    assert!(matches!(EcsTaskDefinition.diff(&target, &found), Diff::Update(_)));
}

fn described(tags: &Tags) -> String {
    let tags: Vec<Value> = tags.iter().map(|(k, v)| json!({"key": k, "value": v})).collect();
    json!({"taskDefinition": {"taskDefinitionArn": "arn:td:7", "family": "mate-a", "revision": 7, "status": "ACTIVE", "containerDefinitions": []}, "tags": tags}).to_string()
}

#[tokio::test]
async fn a_lost_reply_is_found_by_the_digest_in_its_tags() {
    let (address, want) = (address(), spec(&json!({"port": 8000})));
    let tags = owned(&address, "r");
    let target = Target { address: &address, spec: &want, tags: &tags };
    let mut carried = tags.clone();
    carried.insert(CONTENT.into(), digest(&want).unwrap());
    let script = Script::new().then_silence("RegisterTaskDefinition").then("DescribeTaskDefinition", 200, described(&carried));
    let cx = Cx::scripted(&script).await;
    assert_eq!(EcsTaskDefinition.create(&cx, &target, "t").await.unwrap_err().class, Class::Unknown);
    assert_eq!(script.operations(), ["RegisterTaskDefinition"], "it is not sent twice: that would be two revisions");
    let Observed::Mine { id, state } = EcsTaskDefinition.observe(&cx, &target, Some("arn:td:6")).await.unwrap() else { panic!("ours") };
    assert_eq!((id.as_str(), EcsTaskDefinition.diff(&target, &state)), ("arn:td:7", Diff::Same));

    let body: Value = serde_json::from_str(&script.seen()[0].1).unwrap();
    assert_eq!((&body["networkMode"], &body["requiresCompatibilities"]), (&json!("awsvpc"), &json!(["FARGATE"])));
    let container = &body["containerDefinitions"][0];
    assert_eq!(container["logConfiguration"]["options"]["mode"], "non-blocking");
    assert_eq!(container["linuxParameters"]["initProcessEnabled"], true);
    assert!(body["tags"].as_array().unwrap().iter().any(|t| t["key"] == CONTENT));
}

#[tokio::test]
async fn refusals_say_whether_waiting_helps() {
    let (address, want, tags) = (address(), spec(&json!({})), Tags::new());
    let target = Target { address: &address, spec: &want, tags: &tags };
    let rows = [
        ("ClientException", "Role is not valid", Class::Busy),
        ("ClientException", "No Fargate configuration exists", Class::Refused),
        ("ThrottlingException", "slow down", Class::Busy),
    ];
    for (code, message, class) in rows {
        let script = Script::new().then("RegisterTaskDefinition", 400, json_error(code, message));
        assert_eq!(EcsTaskDefinition.create(&Cx::scripted(&script).await, &target, "t").await.unwrap_err().class, class, "{message}");
    }
    let script = Script::new().then("DescribeTaskDefinition", 400, json_error("ClientException", "Unable to describe task definition."));
    assert!(matches!(EcsTaskDefinition.observe(&Cx::scripted(&script).await, &target, None).await.unwrap(), Observed::Absent));
    let script = Script::new().then("DescribeTaskDefinition", 200, described(&Tags::new()));
    assert!(matches!(EcsTaskDefinition.observe(&Cx::scripted(&script).await, &target, None).await.unwrap(), Observed::Foreign(_)));
}
