//! What is pure: policies that are refused, differences; and the order in which a role is taken apart.

use serde_json::{Value, json};

use super::*;
use crate::cloud::scripted::{Script, query_error};
use crate::engine::fault::Class;
use crate::engine::kind::Address;

fn policy_of(action: Value) -> Value {
    json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": action, "Resource": "arn:aws:s3:::a/*"}]})
}

fn spec(over: &Value) -> Spec {
    let mut base = json!({"name": "mate-a-task", "service": "ecs-tasks.amazonaws.com", "policy": policy_of(json!(["s3:GetObject", "s3:PutObject"]))});
    base.as_object_mut().unwrap().extend(over.as_object().unwrap().clone());
    serde_json::from_value(base).unwrap()
}

fn state(over: &Value) -> State {
    let mut base = json!({
        "arn": "arn:aws:iam::111122223333:role/mate-a-task", "trust": trust("ecs-tasks.amazonaws.com", "111122223333"),
        "policy": policy_of(json!(["s3:PutObject", "s3:GetObject"])), "other_policies": [], "managed_policy_arns": [],
        "permissions_boundary_arn": null, "description": "", "max_session": null, "tags": {},
    });
    base.as_object_mut().unwrap().extend(over.as_object().unwrap().clone());
    serde_json::from_value(base).unwrap()
}

#[test]
fn every_difference_is_named() {
    let open =
        json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}]});
    let rows = [
        (json!({}), json!({}), ""),
        (json!({}), json!({"policy": null}), "policy"),
        (json!({"policy": policy_of(json!("s3:GetObject"))}), json!({}), "policy"),
        (json!({}), json!({"trust": open}), "trust"),
        (json!({}), json!({"arn": "arn:aws:iam::999988887777:role/x"}), "trust"),
        (json!({}), json!({"other_policies": ["oops"]}), "other_policies"),
        (json!({}), json!({"managed_policy_arns": ["arn:aws:iam::aws:policy/AdministratorAccess"]}), "managed_policy_arns"),
        (json!({"permissions_boundary_arn": "arn:b"}), json!({}), "permissions_boundary_arn"),
        (json!({"suspended": "full"}), json!({}), "suspended"),
        (json!({}), json!({"suspended": denied(Suspension::Full)}), "suspended"),
        (json!({"suspended": "full"}), json!({"suspended": denied(Suspension::ReadOnly)}), "suspended"),
        (json!({"suspended": "login"}), json!({"suspended": denied(Suspension::ReadOnly)}), ""),
        (json!({"description": "x", "max_session": 7200}), json!({}), "description max_session"),
    ];
    for (wanted, found, expected) in rows {
        let fields: Vec<String> = changes(&spec(&wanted), &state(&found)).into_iter().map(|c| c.field).collect();
        assert_eq!(fields.join(" "), expected, "{wanted} wanted, {found} found");
    }
}

#[test]
fn reading_stays_until_everything_is_denied() {
    let actions = |level| denied(level)["Statement"][0]["Action"].clone();
    for level in [Suspension::ReadOnly, Suspension::Login] {
        let text = actions(level).to_string();
        assert!(text.contains("s3:PutObject*") && text.contains("s3:DeleteObject*") && !text.contains("Get") && !text.contains("List"), "{text}");
    }
    assert_eq!(actions(Suspension::Full), "*");
}

#[test]
fn a_policy_must_be_one_and_must_not_allow_everything() {
    for bad in [json!({"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}), json!({}), json!("x")] {
        assert!(serde_json::from_value::<Spec>(json!({"name": "x", "service": "y", "policy": bad})).is_err());
    }
}

#[tokio::test]
async fn a_role_is_taken_apart_before_it_is_deleted() {
    let ok = |operation: &str| format!("<{operation}Response><{operation}Result/></{operation}Response>");
    let inline = "<ListRolePoliciesResponse><ListRolePoliciesResult><PolicyNames><member>labctl</member></PolicyNames></ListRolePoliciesResult></ListRolePoliciesResponse>";
    let attached = "<ListAttachedRolePoliciesResponse><ListAttachedRolePoliciesResult><AttachedPolicies><member><PolicyArn>arn:p</PolicyArn></member>\
        </AttachedPolicies></ListAttachedRolePoliciesResult></ListAttachedRolePoliciesResponse>";
    let script = Script::new()
        .then("ListRolePolicies", 200, inline)
        .then("DeleteRolePolicy", 200, ok("DeleteRolePolicy"))
        .then("ListAttachedRolePolicies", 200, attached)
        .then("DetachRolePolicy", 404, query_error("NoSuchEntity", "gone"))
        .then("DeleteRole", 409, query_error("DeleteConflict", "must detach all policies first"))
        .then("ListRolePolicies", 404, query_error("NoSuchEntity", "gone"))
        .then("ListAttachedRolePolicies", 404, query_error("NoSuchEntity", "gone"))
        .then("DeleteRole", 404, query_error("NoSuchEntity", "gone"));
    let (address, spec, tags, cx) = (Address::new("a", "iam_role", "task"), spec(&json!({})), Tags::new(), Cx::scripted(&script).await);
    let target = Target { address: &address, spec: &spec, tags: &tags };
    assert_eq!(IamRole.delete(&cx, &target, "mate-a-task").await.unwrap_err().class, Class::Busy, "IAM's copies lag behind");
    IamRole.delete(&cx, &target, "mate-a-task").await.unwrap();
}
