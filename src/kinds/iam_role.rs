//! An IAM role for an AWS service, with one inline policy. Its name is unique in the account.
//!
//! # What every role has, whatever the template says
//! A trust policy that names the one service and, against the confused deputy, this account (`aws:SourceAccount`); exactly the one
//! inline policy [`POLICY`] and the managed policies the template lists. Anything else attached to it by hand is a difference and is
//! taken off: who may read patients' records is decided in the template. A policy that allows everything on everything is refused.
//!
//! # While the tenant is suspended
//! A second inline policy, [`SUSPENDED`], denies what the level forbids. An explicit deny wins over every allow, and IAM judges each request
//! anew: it holds for sessions that were issued before, within the seconds IAM takes to spread it.

use std::collections::BTreeSet;

use aws_sdk_iam::types::Tag;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use super::Cx;
use crate::cloud::fault::{fault, is};
use crate::cloud::policy;
use crate::cloud::tags::{Ownership, list, ownership};
use crate::engine::fault::Fault;
use crate::engine::kind::{Change, Deletion, Diff, Identity, Kind, Limit, Observed, Outputs, Ready, Suspension, Tags, Target, Timing};

/// Name of the inline policy.
const POLICY: &str = "labctl";

/// Name of the inline policy a suspended tenant's role has besides.
const SUSPENDED: &str = "labctl-suspended";

/// What writes to S3. Copies and the parts of multipart uploads are `s3:PutObject` to IAM.
const S3_WRITES: &[&str] = &[
    "s3:PutObject*",
    "s3:DeleteObject*",
    "s3:AbortMultipartUpload",
    "s3:BypassGovernanceRetention",
    "s3:Replicate*",
    "s3:RestoreObject",
    "s3:PutBucket*",
    "s3:PutLifecycleConfiguration",
];

/// What is denied at a level.
fn denied(level: Suspension) -> Value {
    let actions = if level < Suspension::Full { json!(S3_WRITES) } else { json!("*") };
    json!({"Version": "2012-10-17", "Statement": [{"Sid": "Suspended", "Effect": "Deny", "Action": actions, "Resource": "*"}]})
}

/// The kind.
pub struct IamRole;

/// What a template may say of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// 1–64 letters, digits and `+=,.@-_`.
    name: String,
    /// Who may take the role (`ecs-tasks.amazonaws.com`).
    service: String,
    /// What it may do: a policy document.
    #[serde(deserialize_with = "least_privilege")]
    policy: Value,
    /// AWS-managed or own managed policies besides.
    #[serde(default)]
    managed_policy_arns: BTreeSet<String>,
    /// ARN of a permissions boundary: the most it may ever do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    permissions_boundary_arn: Option<String>,
    /// For people.
    #[serde(default)]
    description: String,
    /// Seconds a session may last, 3600–43200.
    #[serde(default = "an_hour")]
    max_session: i32,
    /// How far its tenant is suspended. Set by suspending; a template says nothing of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    suspended: Option<Suspension>,
}

fn an_hour() -> i32 {
    3600
}

fn least_privilege<'de, D: Deserializer<'de>>(from: D) -> Result<Value, D::Error> {
    let read = Value::deserialize(from)?;
    if !read["Statement"].is_array() && !read["Statement"].is_object() {
        return Err(serde::de::Error::custom("policy is not a policy document: it has no Statement"));
    }
    if policy::allows_everything(&read) {
        return Err(serde::de::Error::custom("policy allows every action on every resource: name what the tenant's tasks need"));
    }
    Ok(read)
}

/// What `observe` reports.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    arn: String,
    trust: Value,
    policy: Option<Value>,
    /// What is denied because its tenant is suspended.
    #[serde(default)]
    suspended: Option<Value>,
    /// Names of inline policies that are not ours.
    other_policies: BTreeSet<String>,
    managed_policy_arns: BTreeSet<String>,
    permissions_boundary_arn: Option<String>,
    description: String,
    max_session: Option<i32>,
    tags: Tags,
}

/// Who may take the role: the service, on behalf of this account only.
fn trust(service: &str, account: &str) -> Value {
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": {"Service": service},
            "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"aws:SourceAccount": account}},
        }],
    })
}

/// The account in an ARN (`arn:aws:iam::123456789012:role/x`).
fn account(arn: &str) -> &str {
    arn.split(':').nth(4).unwrap_or_default()
}

const ABSENT: &[&str] = &["NoSuchEntity", "NoSuchEntityException"];

async fn inline_policies(cx: &Cx, role: &str) -> Result<BTreeSet<String>, Fault> {
    let mut pages = cx.cloud.iam.list_role_policies().role_name(role).into_paginator().items().send();
    let mut names = BTreeSet::new();
    while let Some(name) = pages.next().await {
        match name {
            Ok(name) => names.insert(name),
            Err(e) if is(&e, ABSENT) => break,
            Err(e) => return Err(fault("iam:ListRolePolicies", e)),
        };
    }
    Ok(names)
}

async fn attached_policies(cx: &Cx, role: &str) -> Result<BTreeSet<String>, Fault> {
    let mut pages = cx.cloud.iam.list_attached_role_policies().role_name(role).into_paginator().items().send();
    let mut arns = BTreeSet::new();
    while let Some(policy) = pages.next().await {
        match policy {
            Ok(policy) => arns.extend(policy.policy_arn),
            Err(e) if is(&e, ABSENT) => break,
            Err(e) => return Err(fault("iam:ListAttachedRolePolicies", e)),
        }
    }
    Ok(arns)
}

async fn inline_policy(cx: &Cx, role: &str, name: &str) -> Result<Option<Value>, Fault> {
    match cx.cloud.iam.get_role_policy().role_name(role).policy_name(name).send().await {
        Ok(found) => Ok(Some(policy::parse(found.policy_document()))),
        Err(e) if is(&e, ABSENT) => Ok(None),
        Err(e) => Err(fault("iam:GetRolePolicy", e)),
    }
}

async fn put_inline(cx: &Cx, role: &str, name: &str, document: &Value) -> Result<(), Fault> {
    let put = cx.cloud.iam.put_role_policy().role_name(role).policy_name(name).policy_document(document.to_string()).send().await;
    put.map(drop).map_err(|e| fault("iam:PutRolePolicy", e))
}

async fn remove_inline(cx: &Cx, role: &str, name: &str) -> Result<(), Fault> {
    match cx.cloud.iam.delete_role_policy().role_name(role).policy_name(name).send().await {
        Err(e) if !is(&e, ABSENT) => Err(fault("iam:DeleteRolePolicy", e)),
        _ => Ok(()),
    }
}

async fn detach(cx: &Cx, role: &str, arn: &str) -> Result<(), Fault> {
    match cx.cloud.iam.detach_role_policy().role_name(role).policy_arn(arn).send().await {
        Err(e) if !is(&e, ABSENT) => Err(fault("iam:DetachRolePolicy", e)),
        _ => Ok(()),
    }
}

fn iam_tags(tags: &Tags) -> Result<Vec<Tag>, Fault> {
    list(tags, |k, v| Tag::builder().key(k).value(v).build())
        .into_iter()
        .collect::<Result<_, _>>()
        .map_err(|e| Fault::refused("iam:TagRole", "invalid_tag", e.to_string()))
}

/// What differs, tags apart.
fn changes(spec: &Spec, state: &State) -> Vec<Change> {
    let none = BTreeSet::new();
    let documents = |field: &str, same: bool, from: &Value, to: &Value| (!same).then(|| Change::new(field, from, to));
    let wanted = trust(&spec.service, account(&state.arn));
    let is = state.policy.clone().unwrap_or(Value::Null);
    let (deny, to_deny) = (state.suspended.clone().unwrap_or(Value::Null), spec.suspended.map_or(Value::Null, denied));
    [
        documents("trust", policy::same(&state.trust, &wanted), &state.trust, &wanted),
        documents("policy", policy::same(&is, &spec.policy), &is, &spec.policy),
        documents("suspended", policy::same(&deny, &to_deny), &deny, &to_deny),
        Change::between("other_policies", &state.other_policies, &none),
        Change::between("managed_policy_arns", &state.managed_policy_arns, &spec.managed_policy_arns),
        Change::between("permissions_boundary_arn", &state.permissions_boundary_arn, &spec.permissions_boundary_arn),
        Change::between("description", &state.description, &spec.description),
        Change::between("max_session", &state.max_session.unwrap_or(3600), &spec.max_session),
    ]
    .into_iter()
    .flatten()
    .collect()
}

impl Kind for IamRole {
    type Cx = Cx;
    type Spec = Spec;
    type State = State;

    const NAME: &'static str = "iam_role";
    const IDENTITY: Identity = Identity::Name;
    const DELETION: Deletion = Deletion::Delete;
    /// IAM documents no rate; its one global control plane throttles accounts that burst.
    const LIMIT: Limit = Limit { api: "iam", per_second: 5.0, burst: 15, concurrency: 4 };
    const TIMING: Timing = Timing::secs(3, 120);
    const OUTPUTS: &'static [&'static str] = &["arn", "name"];

    fn suspended(&self, spec: Spec, level: Suspension) -> Spec {
        Spec { suspended: Some(level), ..spec }
    }

    async fn observe(&self, cx: &Cx, target: &Target<'_, Spec>, _recorded: Option<&str>) -> Result<Observed<State>, Fault> {
        let (iam, name) = (&cx.cloud.iam, &target.spec.name);
        let role = match iam.get_role().role_name(name).send().await {
            Ok(found) => found.role,
            Err(e) if is(&e, ABSENT) => return Ok(Observed::Absent),
            Err(e) => return Err(fault("iam:GetRole", e)),
        };
        let Some(role) = role else { return Ok(Observed::Absent) };
        let tags: Tags = role.tags().iter().map(|t| (t.key().to_owned(), t.value().to_owned())).collect();
        if let Ownership::Foreign(whose) = ownership(&tags, target.tags) {
            return Ok(Observed::Foreign(whose));
        }
        let mut inline = inline_policies(cx, name).await?;
        let policy = if inline.remove(POLICY) { inline_policy(cx, name, POLICY).await? } else { None };
        let suspended = if inline.remove(SUSPENDED) { inline_policy(cx, name, SUSPENDED).await? } else { None };
        let state = State {
            arn: role.arn().to_owned(),
            trust: policy::parse(role.assume_role_policy_document().unwrap_or_default()),
            policy,
            suspended,
            other_policies: inline,
            managed_policy_arns: attached_policies(cx, name).await?,
            permissions_boundary_arn: role.permissions_boundary().and_then(|b| b.permissions_boundary_arn()).map(ToOwned::to_owned),
            description: role.description().unwrap_or_default().to_owned(),
            max_session: role.max_session_duration(),
            tags,
        };
        Ok(Observed::Mine { id: name.clone(), state })
    }

    fn diff(&self, target: &Target<'_, Spec>, state: &State) -> Diff {
        Diff::of(changes(target.spec, state).into_iter().chain(Change::tags(&state.tags, target.tags)))
    }

    async fn create(&self, cx: &Cx, target: &Target<'_, Spec>, _token: &str) -> Result<String, Fault> {
        let spec = target.spec;
        let caller = cx.cloud.sts.get_caller_identity().send().await.map_err(|e| fault("sts:GetCallerIdentity", e))?;
        let made = cx
            .cloud
            .once()
            .iam
            .create_role()
            .role_name(&spec.name)
            .assume_role_policy_document(trust(&spec.service, caller.account().unwrap_or_default()).to_string())
            .set_permissions_boundary(spec.permissions_boundary_arn.clone())
            .set_description(Some(spec.description.clone()).filter(|d| !d.is_empty()))
            .max_session_duration(spec.max_session)
            .set_tags(Some(iam_tags(target.tags)?))
            .send()
            .await;
        match made {
            Ok(_) => Ok(spec.name.clone()),
            // Perhaps made by ourselves with a lost reply: the next look tells whose it is.
            Err(e) if is(&e, &["EntityAlreadyExists", "EntityAlreadyExistsException"]) => {
                Err(Fault::unknown("iam:CreateRole", "EntityAlreadyExists", "a role of that name exists already"))
            }
            Err(e) => Err(fault("iam:CreateRole", e)),
        }
    }

    async fn update(&self, cx: &Cx, target: &Target<'_, Spec>, id: &str, state: &State) -> Result<(), Fault> {
        let (iam, spec) = (&cx.cloud.iam, target.spec);
        let fields: BTreeSet<String> = changes(spec, state).into_iter().map(|c| c.field).collect();
        let differs = |field: &str| fields.contains(field);
        // What narrows comes before what widens, so that no moment has more rights than the old and the new state.
        if let Some(level) = spec.suspended.filter(|_| differs("suspended")) {
            put_inline(cx, id, SUSPENDED, &denied(level)).await?;
        }
        if differs("permissions_boundary_arn") {
            match &spec.permissions_boundary_arn {
                Some(arn) => {
                    let put = iam.put_role_permissions_boundary().role_name(id).permissions_boundary(arn).send().await;
                    put.map_err(|e| fault("iam:PutRolePermissionsBoundary", e))?;
                }
                None => {
                    let deleted = iam.delete_role_permissions_boundary().role_name(id).send().await;
                    deleted.map_err(|e| fault("iam:DeleteRolePermissionsBoundary", e))?;
                }
            }
        }
        for name in &state.other_policies {
            remove_inline(cx, id, name).await?;
        }
        for arn in state.managed_policy_arns.difference(&spec.managed_policy_arns) {
            detach(cx, id, arn).await?;
        }
        if differs("trust") {
            let document = trust(&spec.service, account(&state.arn)).to_string();
            let updated = iam.update_assume_role_policy().role_name(id).policy_document(document).send().await;
            updated.map_err(|e| fault("iam:UpdateAssumeRolePolicy", e))?;
        }
        if differs("policy") {
            put_inline(cx, id, POLICY, &spec.policy).await?;
        }
        for arn in spec.managed_policy_arns.difference(&state.managed_policy_arns) {
            iam.attach_role_policy().role_name(id).policy_arn(arn).send().await.map_err(|e| fault("iam:AttachRolePolicy", e))?;
        }
        if differs("description") || differs("max_session") {
            let updated = iam.update_role().role_name(id).description(&spec.description).max_session_duration(spec.max_session).send().await;
            updated.map_err(|e| fault("iam:UpdateRole", e))?;
        }
        if !Change::tags(&state.tags, target.tags).is_empty() {
            iam.tag_role().role_name(id).set_tags(Some(iam_tags(target.tags)?)).send().await.map_err(|e| fault("iam:TagRole", e))?;
        }
        if spec.suspended.is_none() && differs("suspended") {
            remove_inline(cx, id, SUSPENDED).await?;
        }
        Ok(())
    }

    async fn delete(&self, cx: &Cx, _target: &Target<'_, Spec>, id: &str) -> Result<(), Fault> {
        for name in inline_policies(cx, id).await? {
            remove_inline(cx, id, &name).await?;
        }
        for arn in attached_policies(cx, id).await? {
            detach(cx, id, &arn).await?;
        }
        match cx.cloud.iam.delete_role().role_name(id).send().await {
            // IAM's copies still show what was just taken off.
            Err(e) if is(&e, &["DeleteConflict", "DeleteConflictException"]) => {
                Err(Fault::busy("iam:DeleteRole", "DeleteConflict", "something is still attached to the role"))
            }
            Err(e) if !is(&e, ABSENT) => Err(fault("iam:DeleteRole", e)),
            _ => Ok(()),
        }
    }

    fn ready(&self, _target: &Target<'_, Spec>, _state: &State) -> Ready {
        Ready::Ready
    }

    fn outputs(&self, _target: &Target<'_, Spec>, id: &str, state: &State) -> Outputs {
        Outputs::from([("arn".to_owned(), state.arn.clone()), ("name".to_owned(), id.to_owned())])
    }
}

#[cfg(test)]
mod tests;
