//! Isolation in AWS: what the tenant's roles may do to a neighbour's bucket, prefix, keys, secrets and logs, by their policies as they are in
//! IAM today; and whether the neighbour's bucket is shut.
//!
//! Real IAM simulates (`simulated`); where it does not, its policies are fetched and evaluated here (`evaluated`). What neither can tell
//! is not run.

use std::collections::BTreeMap;

use serde_json::Value;

use super::probe::{Area, Finding, Findings, LeftOut, Verdict};
use super::subject::Subject;
use crate::cloud::Cloud;
use crate::cloud::permission::{Decision, Request};
use crate::cloud::principal::{Principal, Source, bucket_policy, bucket_walls, key_policy, secret_policy};
use crate::engine::fault::Fault;

/// What a probe aims at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// An object of the neighbour's.
    Object,
    /// The list of the neighbour's objects.
    Listing,
    /// The bucket the neighbour's objects are in, as a whole.
    Bucket,
    /// The neighbour's key.
    Key,
    /// The neighbour's secrets.
    Secret,
    /// The neighbour's roles.
    Role,
    /// The neighbour's logs.
    Logs,
    /// The tenant's own role: whoever changes it has every right.
    OwnRole,
}

/// A probe: an action that must be refused.
#[derive(Debug, Clone, Copy)]
pub struct Probe {
    /// Unique among all probes.
    pub id: &'static str,
    /// What an attacker would be after.
    pub what: &'static str,
    /// The action.
    pub action: &'static str,
    /// On what.
    pub target: Target,
}

const fn probe(id: &'static str, what: &'static str, action: &'static str, target: Target) -> Probe {
    Probe { id, what, action, target }
}

/// Every probe there is. A new one is one entry.
pub const PROBES: &[Probe] = &[
    probe("s3_get", "read the neighbour's files", "s3:GetObject", Target::Object),
    probe("s3_get_version", "read earlier versions of files", "s3:GetObjectVersion", Target::Object),
    probe("s3_put", "write the neighbour's files", "s3:PutObject", Target::Object),
    probe("s3_put_acl", "open the neighbour's files", "s3:PutObjectAcl", Target::Object),
    probe("s3_delete", "delete the neighbour's files", "s3:DeleteObject", Target::Object),
    probe("s3_delete_version", "delete versions of files", "s3:DeleteObjectVersion", Target::Object),
    probe("s3_list", "list the neighbour's files", "s3:ListBucket", Target::Listing),
    probe("s3_list_versions", "list versions of files", "s3:ListBucketVersions", Target::Listing),
    probe("s3_list_all", "list the bucket without a prefix", "s3:ListBucket", Target::Bucket),
    probe("s3_get_policy", "read the bucket's policy", "s3:GetBucketPolicy", Target::Bucket),
    probe("s3_put_policy", "change the bucket's policy", "s3:PutBucketPolicy", Target::Bucket),
    probe("s3_put_public_access", "open the bucket to the public", "s3:PutBucketPublicAccessBlock", Target::Bucket),
    probe("s3_delete_bucket", "delete the bucket", "s3:DeleteBucket", Target::Bucket),
    probe("kms_decrypt", "decrypt with the neighbour's key", "kms:Decrypt", Target::Key),
    probe("kms_data_key", "encrypt with the neighbour's key", "kms:GenerateDataKey", Target::Key),
    probe("kms_grant", "be granted the neighbour's key", "kms:CreateGrant", Target::Key),
    probe("kms_delete", "have the neighbour's key deleted", "kms:ScheduleKeyDeletion", Target::Key),
    probe("secret_read", "read the neighbour's secrets", "secretsmanager:GetSecretValue", Target::Secret),
    probe("secret_write", "write the neighbour's secrets", "secretsmanager:PutSecretValue", Target::Secret),
    probe("role_assume", "become the neighbour's role", "sts:AssumeRole", Target::Role),
    probe("role_pass", "have a task run as the neighbour", "iam:PassRole", Target::Role),
    probe("logs_read", "read the neighbour's logs", "logs:GetLogEvents", Target::Logs),
    probe("own_policy", "change its own policy", "iam:PutRolePolicy", Target::OwnRole),
    probe("own_attachment", "attach a policy to itself", "iam:AttachRolePolicy", Target::OwnRole),
    probe("own_tag", "change the tag its prefix follows", "iam:TagRole", Target::OwnRole),
];

/// What a bucket is read for: the probe, what an attacker would be after, and how it ought to be.
pub const WALLS: [(&str, &str, &str); 2] = [
    ("s3_public_access", "the neighbour's bucket is open to the public", "public access is blocked in all four ways"),
    ("s3_ownership", "objects in the neighbour's bucket belong to somebody else", "BucketOwnerEnforced"),
];

/// Something of the neighbour's that a request can be about.
struct Aim {
    resource: String,
    context: BTreeMap<String, String>,
    /// Its own policy, or why that could not be read.
    policy: Result<Option<Value>, Fault>,
}

impl Aim {
    /// Something that is on record, and cannot be told from the record.
    fn unknown(fault: Fault) -> Self {
        Self { resource: "what the record does not name".to_owned(), context: BTreeMap::new(), policy: Err(fault) }
    }
}

/// Tries everything on a neighbour.
pub async fn attack(cloud: &Cloud, a: &Subject, b: &Subject) -> Findings {
    let mut all = Findings::default();
    walls(cloud, b, &mut all).await;
    let roles: Vec<Result<&str, Fault>> = a.texts("iam_role", "name").collect();
    if roles.is_empty() {
        let why =
            format!("`{}` has no role in AWS: its stack makes none, and what reaches files for it does so with rights that are not the tenant's", a.tenant);
        all.left_out.extend(PROBES.iter().map(|p| LeftOut { probe: p.id.to_owned(), against: Some(b.tenant.clone()), why: why.clone() }));
        return all;
    }
    for name in roles {
        let (name, principal) = match name {
            Ok(name) => (name, Principal::read(cloud, name).await),
            Err(fault) => (a.tenant.as_str(), Err(fault)),
        };
        for probe in PROBES {
            let (against, aims) = match (probe.target, &principal) {
                (Target::OwnRole, me) => {
                    let resource = me.as_ref().map_or_else(|_| name.to_owned(), |me| me.arn.clone());
                    (None, vec![Aim { resource, context: BTreeMap::new(), policy: Ok(None) }])
                }
                _ => (Some(b.tenant.clone()), aims(cloud, b, probe.target).await),
            };
            if aims.is_empty() {
                all.left_out.push(LeftOut { probe: probe.id.to_owned(), against: against.clone(), why: format!("`{}` has nothing of the sort", b.tenant) });
            }
            for aim in aims {
                let request = Request { action: probe.action.to_owned(), resource: aim.resource, context: aim.context };
                let (verdict, got) = match (&principal, &aim.policy) {
                    (Err(fault), _) | (_, Err(fault)) => (Verdict::NotRun, fault.to_string()),
                    (Ok(me), Ok(policy)) => judged(me.may(cloud, &request, policy.as_ref()).await),
                };
                let prefix = request.context.get("s3:prefix").map(|p| format!(" with prefix {p}")).unwrap_or_default();
                all.findings.push(Finding {
                    probe: probe.id.to_owned(),
                    area: Area::Storage,
                    what: probe.what.to_owned(),
                    tried: format!("{} on {}{prefix}", probe.action, request.resource),
                    by: name.to_owned(),
                    against: against.clone(),
                    expected: "not allowed".to_owned(),
                    got,
                    verdict,
                });
            }
        }
    }
    all
}

fn judged((decision, source): (Decision, Source)) -> (Verdict, String) {
    let how = if source == Source::Simulated { "simulated" } else { "evaluated" };
    match decision {
        Decision::Refused(why) => (Verdict::Refused, format!("{how}: {why}")),
        Decision::Allowed(by) => (Verdict::Breach, format!("{how}: allowed by {by}")),
        Decision::Unknown(why) => (Verdict::NotRun, format!("{how}: {why}")),
    }
}

/// The neighbour's bucket, and its prefix in it; an own bucket has the empty one.
fn place(b: &Subject) -> Option<Result<(&str, &str), Fault>> {
    let shared = b.texts("s3_prefix", "bucket").zip(b.texts("s3_prefix", "prefix")).map(|(bucket, prefix)| Ok((bucket?, prefix?)));
    shared.chain(b.texts("s3_bucket", "name").map(|name| Ok((name?, "")))).next()
}

async fn aims(cloud: &Cloud, b: &Subject, target: Target) -> Vec<Aim> {
    let partition = cloud.partition();
    let plain = |resource: String, policy| Aim { resource, context: BTreeMap::new(), policy };
    let mut found = Vec::new();
    match target {
        Target::Object | Target::Listing | Target::Bucket => {
            let (bucket, prefix) = match place(b) {
                Some(Ok(place)) => place,
                Some(Err(fault)) => return vec![Aim::unknown(fault)],
                None => return found,
            };
            let policy = bucket_policy(cloud, bucket).await;
            let arn = format!("arn:{partition}:s3:::{bucket}");
            match target {
                Target::Object => found.push(plain(format!("{arn}/{prefix}labctl-probe"), policy)),
                Target::Listing => found.push(Aim { resource: arn, context: BTreeMap::from([("s3:prefix".to_owned(), prefix.to_owned())]), policy }),
                _ => found.push(plain(arn, policy)),
            }
        }
        Target::Key | Target::Secret => {
            let is_key = target == Target::Key;
            for arn in b.arns(if is_key { "kms_key" } else { "secret" }) {
                found.push(match arn {
                    Ok(arn) => {
                        let policy = if is_key { key_policy(cloud, &arn).await } else { secret_policy(cloud, &arn).await };
                        plain(arn, policy)
                    }
                    Err(fault) => Aim::unknown(fault),
                });
            }
        }
        Target::Role => {
            for name in b.texts("iam_role", "name") {
                let role = match name {
                    Ok(name) => Principal::read(cloud, name).await,
                    Err(fault) => Err(fault),
                };
                found.push(role.map_or_else(Aim::unknown, |role| plain(role.arn, Ok(Some(role.trust)))));
            }
        }
        Target::Logs => {
            let arn = |n: &str| format!("arn:{partition}:logs:{}:*:log-group:{n}:log-stream:x", cloud.region());
            found.extend(b.texts("log_group", "name").map(|name| name.map_or_else(Aim::unknown, |n| plain(arn(n), Ok(None)))));
        }
        Target::OwnRole => {}
    }
    found
}

async fn walls(cloud: &Cloud, b: &Subject, all: &mut Findings) {
    let Some(place) = place(b) else {
        let left_out =
            |(id, ..): &(&str, &str, &str)| LeftOut { probe: (*id).to_owned(), against: Some(b.tenant.clone()), why: format!("`{}` has no files", b.tenant) };
        all.left_out.extend(WALLS.iter().map(left_out));
        return;
    };
    let (bucket, read) = match place {
        Ok((bucket, _)) => (bucket, bucket_walls(cloud, bucket).await),
        Err(fault) => ("what the record does not name", Err(fault)),
    };
    for (n, (id, what, expected)) in WALLS.iter().enumerate() {
        let (verdict, got) = match &read {
            Ok((block, enforced)) if [*block, *enforced][n] => (Verdict::Refused, "it is so".to_owned()),
            Ok(_) => (Verdict::Breach, "it is not so".to_owned()),
            Err(fault) => (Verdict::NotRun, fault.to_string()),
        };
        all.findings.push(Finding {
            probe: (*id).to_owned(),
            area: Area::Storage,
            what: (*what).to_owned(),
            tried: format!("the settings of {bucket}"),
            by: "anybody".to_owned(),
            against: Some(b.tenant.clone()),
            expected: (*expected).to_owned(),
            got,
            verdict,
        });
    }
}
