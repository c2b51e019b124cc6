//! An IAM role as it is in AWS: its policies, boundary and tags; and what it may do, asked of IAM, or evaluated here where IAM cannot be asked.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_iam::types::{ContextEntry, ContextKeyTypeEnum, PolicyEvaluationDecisionType};
use serde_json::Value;

use super::Cloud;
use super::fault::{fault, is};
use super::permission::{Decision, Request, ResourcePolicy, decide};
use super::policy;
use crate::engine::fault::Fault;

/// A role, read from IAM.
#[derive(Debug)]
pub struct Principal {
    /// Its ARN.
    pub arn: String,
    /// Inline and attached policies.
    pub policies: Vec<Value>,
    /// Its permissions boundary.
    pub boundary: Option<Value>,
    /// Who may take it.
    pub trust: Value,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Whether IAM has refused to simulate.
    evaluates: AtomicBool,
}

/// How an answer was come by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// IAM's own simulator said so.
    Simulated,
    /// The policies were fetched and evaluated here.
    Evaluated,
}

impl Principal {
    /// Reads a role.
    ///
    /// # Errors
    /// What IAM answers.
    pub async fn read(cloud: &Cloud, name: &str) -> Result<Self, Fault> {
        let found = cloud.iam.get_role().role_name(name).send().await.map_err(|e| fault("iam:GetRole", e))?;
        let role = found.role.ok_or_else(|| Fault::refused("iam:GetRole", "unexpected_answer", format!("there is no role {name} in the answer")))?;
        let mut policies = Vec::new();
        let mut inline = cloud.iam.list_role_policies().role_name(name).into_paginator().items().send();
        while let Some(policy) = inline.next().await {
            let policy = policy.map_err(|e| fault("iam:ListRolePolicies", e))?;
            let text = cloud.iam.get_role_policy().role_name(name).policy_name(policy).send().await.map_err(|e| fault("iam:GetRolePolicy", e))?;
            policies.push(policy::parse(text.policy_document()));
        }
        let mut attached = cloud.iam.list_attached_role_policies().role_name(name).into_paginator().items().send();
        while let Some(policy) = attached.next().await {
            let policy = policy.map_err(|e| fault("iam:ListAttachedRolePolicies", e))?;
            policies.push(managed(cloud, policy.policy_arn().unwrap_or_default()).await?);
        }
        let boundary = match role.permissions_boundary().and_then(|b| b.permissions_boundary_arn()) {
            Some(arn) => Some(managed(cloud, arn).await?),
            None => None,
        };
        let tags = role.tags().iter().map(|t| (t.key().to_owned(), t.value().to_owned())).collect();
        let trust = policy::parse(role.assume_role_policy_document().unwrap_or_default());
        Ok(Self { arn: role.arn().to_owned(), policies, boundary, trust, tags, evaluates: AtomicBool::new(false) })
    }

    /// Whether the role may do this. `resource` is the resource's own policy, where it has one.
    pub async fn may(&self, cloud: &Cloud, request: &Request, resource: Option<&Value>) -> (Decision, Source) {
        let mut request = request.clone();
        request.context.extend(self.tags.iter().map(|(k, v)| (format!("aws:PrincipalTag/{k}"), v.clone())));
        request.context.insert("aws:SecureTransport".to_owned(), "true".to_owned());
        // Whoever attacks chooses. The simulator is not told: it knows no resource's policy, which is where this is asked.
        let mut evaluated = request.clone();
        evaluated.context.insert("s3:TlsVersion".to_owned(), "1.3".to_owned());
        let theirs = resource.map(|document| ResourcePolicy { document, principal: &self.arn });
        if !self.evaluates.load(Ordering::Relaxed) {
            match self.simulate(cloud, &request).await {
                // The simulator is not told of the resource's policy.
                Ok(Decision::Refused(why)) if theirs.is_some() => {
                    return match decide(&[], None, theirs, &evaluated) {
                        Decision::Refused(_) => (Decision::Refused(why), Source::Simulated),
                        other => (other, Source::Evaluated),
                    };
                }
                Ok(decision) => return (decision, Source::Simulated),
                Err(_) => self.evaluates.store(true, Ordering::Relaxed),
            }
        }
        (decide(&self.policies, self.boundary.as_ref(), theirs, &evaluated), Source::Evaluated)
    }

    async fn simulate(&self, cloud: &Cloud, request: &Request) -> Result<Decision, Fault> {
        const CALL: &str = "iam:SimulatePrincipalPolicy";
        let entry = |(key, value): (&String, &String)| {
            ContextEntry::builder().context_key_name(key).context_key_values(value).context_key_type(ContextKeyTypeEnum::String).build()
        };
        let asked = cloud.once().iam.simulate_principal_policy().policy_source_arn(&self.arn).action_names(&request.action).resource_arns(&request.resource);
        let answer = asked.set_context_entries(Some(request.context.iter().map(entry).collect())).send().await.map_err(|e| fault(CALL, e))?;
        let result = answer.evaluation_results().first().ok_or_else(|| Fault::refused(CALL, "unexpected_answer", "IAM evaluated nothing"))?;
        let missing = result.missing_context_values();
        Ok(match result.eval_decision() {
            PolicyEvaluationDecisionType::Allowed => Decision::Allowed("IAM's simulator".to_owned()),
            PolicyEvaluationDecisionType::ImplicitDeny if !missing.is_empty() => Decision::Unknown(format!("IAM's simulator lacks {}", missing.join(", "))),
            other => Decision::Refused(other.as_str().to_owned()),
        })
    }
}

async fn managed(cloud: &Cloud, arn: &str) -> Result<Value, Fault> {
    let found = cloud.iam.get_policy().policy_arn(arn).send().await.map_err(|e| fault("iam:GetPolicy", e))?;
    let version = found.policy().and_then(|p| p.default_version_id()).unwrap_or("v1").to_owned();
    let text = cloud.iam.get_policy_version().policy_arn(arn).version_id(version).send().await.map_err(|e| fault("iam:GetPolicyVersion", e))?;
    Ok(policy::parse(text.policy_version().and_then(|v| v.document()).unwrap_or_default()))
}

/// A bucket's policy; `None` where it has none.
///
/// # Errors
/// What S3 answers.
pub async fn bucket_policy(cloud: &Cloud, bucket: &str) -> Result<Option<Value>, Fault> {
    match cloud.s3.get_bucket_policy().bucket(bucket).send().await {
        Ok(found) => Ok(found.policy().map(policy::parse)),
        Err(e) if is(&e, &["NoSuchBucketPolicy"]) => Ok(None),
        Err(e) => Err(fault("s3:GetBucketPolicy", e)),
    }
}

/// A key's policy.
///
/// # Errors
/// What KMS answers.
pub async fn key_policy(cloud: &Cloud, arn: &str) -> Result<Option<Value>, Fault> {
    let found = cloud.kms.get_key_policy().key_id(arn).policy_name("default").send().await.map_err(|e| fault("kms:GetKeyPolicy", e))?;
    Ok(found.policy().map(policy::parse))
}

/// A secret's policy; `None` where it has none.
///
/// # Errors
/// What Secrets Manager answers.
pub async fn secret_policy(cloud: &Cloud, arn: &str) -> Result<Option<Value>, Fault> {
    let found = cloud.secrets.get_resource_policy().secret_id(arn).send().await.map_err(|e| fault("secretsmanager:GetResourcePolicy", e))?;
    Ok(found.resource_policy().map(policy::parse))
}

/// What a bucket says of itself, and ought to: public access blocked in all four ways, its owner owns everything in it.
///
/// # Errors
/// What S3 answers.
pub async fn bucket_walls(cloud: &Cloud, bucket: &str) -> Result<(bool, bool), Fault> {
    let block = match cloud.s3.get_public_access_block().bucket(bucket).send().await {
        Ok(found) => found
            .public_access_block_configuration
            .is_some_and(|c| [c.block_public_acls, c.ignore_public_acls, c.block_public_policy, c.restrict_public_buckets].iter().all(|b| *b == Some(true))),
        Err(e) if is(&e, &["NoSuchPublicAccessBlockConfiguration"]) => false,
        Err(e) => return Err(fault("s3:GetPublicAccessBlock", e)),
    };
    let enforced = match cloud.s3.get_bucket_ownership_controls().bucket(bucket).send().await {
        Ok(found) => found.ownership_controls().is_some_and(|c| c.rules().iter().any(|r| r.object_ownership().as_str() == "BucketOwnerEnforced")),
        Err(e) if is(&e, &["OwnershipControlsNotFoundError"]) => false,
        Err(e) => return Err(fault("s3:GetBucketOwnershipControls", e)),
    };
    Ok((block, enforced))
}
