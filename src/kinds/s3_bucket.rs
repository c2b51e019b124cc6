//! An S3 bucket for one tenant's data: never public, TLS only, encrypted, versioned, tidied by lifecycle.
//!
//! Ownership tags travel in CreateBucket itself (`CreateBucketConfiguration.Tags`, for general purpose buckets since November 2025;
//! the caller needs `s3:TagResource` besides `s3:CreateBucket`). So there is no moment at which a bucket of ours is untagged, and an
//! untagged one is never ours: none is adopted on the ground of being empty.
//!
//! In us-east-1 a second CreateBucket of a bucket one owns answers 200. That is harmless here: `observe` comes before and after,
//! and what counts is the tags it reads.

use aws_sdk_s3::types::{
    AbortIncompleteMultipartUpload, BucketLifecycleConfiguration, BucketLocationConstraint, BucketVersioningStatus, CreateBucketConfiguration,
    ExpirationStatus, LifecycleExpiration, LifecycleRule, LifecycleRuleFilter, NoncurrentVersionExpiration, ObjectOwnership, OwnershipControls,
    OwnershipControlsRule, PublicAccessBlockConfiguration, ServerSideEncryption, ServerSideEncryptionByDefault, ServerSideEncryptionConfiguration,
    ServerSideEncryptionRule, Tag, Tagging, Transition, TransitionStorageClass, VersioningConfiguration,
};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use super::Cx;
use crate::cloud::fault::{fault, is, status};
use crate::cloud::tags::{Ownership, list, ownership};
use crate::cloud::{objects, policy};
use crate::engine::fault::Fault;
use crate::engine::kind::{Change, Deletion, Diff, Identity, Kind, Limit, Observed, Outputs, Ready, Suspension, Tags, Target, Timing};

/// The kind.
pub struct S3Bucket;

/// What a template may say of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Unique among all buckets of all accounts, 3–63 characters.
    name: String,
    /// ARN of the KMS key objects are encrypted with; without one, S3's own (SSE-S3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kms_key_arn: Option<String>,
    /// Whether overwritten and deleted objects are kept as noncurrent versions.
    #[serde(default = "yes")]
    versioning: bool,
    /// Days such versions are kept.
    noncurrent_days: i32,
    /// Days after which objects move to infrequent access, at least 30 (S3's own bound); without it they never do.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "at_least_30")]
    transition_ia_days: Option<i32>,
    /// Days after which an upload never finished is thrown away.
    #[serde(default = "week")]
    abort_multipart_days: i32,
}

fn yes() -> bool {
    true
}

/// Nothing uploads for a week; S3 bills the parts until somebody removes them.
fn week() -> i32 {
    7
}

fn at_least_30<'de, D: Deserializer<'de>>(d: D) -> Result<Option<i32>, D::Error> {
    match Option::<i32>::deserialize(d)? {
        Some(days) if days < 30 => Err(serde::de::Error::custom("transition_ia_days must be at least 30")),
        days => Ok(days),
    }
}

/// One lifecycle rule, as far as we write them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Rule {
    id: String,
    whole_bucket: bool,
    noncurrent_days: Option<i32>,
    transition_ia_days: Option<i32>,
    abort_multipart_days: Option<i32>,
    drop_lone_markers: bool,
}

/// What `observe` reports.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    name: String,
    arn: String,
    public_access_blocked: bool,
    object_ownership: Option<String>,
    /// `AES256`, or `aws:kms` with key and whether a bucket key is used.
    encryption: Option<String>,
    versioning: bool,
    lifecycle: Vec<Rule>,
    policy: Option<Value>,
    tags: Tags,
}

fn encryption_wanted(spec: &Spec) -> String {
    encryption_text(if spec.kms_key_arn.is_some() { "aws:kms" } else { "AES256" }, spec.kms_key_arn.as_deref(), true)
}

fn encryption_text(algorithm: &str, key: Option<&str>, bucket_key: bool) -> String {
    match (algorithm, key) {
        ("aws:kms", key) => format!("aws:kms, {}, {}", key.unwrap_or("the account's default key"), if bucket_key { "bucket key" } else { "no bucket key" }),
        (other, _) => other.to_owned(),
    }
}

fn rules(spec: &Spec) -> Vec<Rule> {
    vec![Rule {
        id: "labctl".to_owned(),
        whole_bucket: true,
        noncurrent_days: Some(spec.noncurrent_days),
        transition_ia_days: spec.transition_ia_days,
        abort_multipart_days: Some(spec.abort_multipart_days),
        drop_lone_markers: true,
    }]
}

/// For people.
fn lifecycle_text(rules: &[Rule]) -> String {
    let days = |what: &str, days: Option<i32>| days.map(|days| format!("{what} {days} days"));
    let one = |rule: &Rule| {
        let parts = [
            days("noncurrent", rule.noncurrent_days),
            days("infrequent access after", rule.transition_ia_days),
            days("unfinished uploads", rule.abort_multipart_days),
            rule.drop_lone_markers.then(|| "lone delete markers removed".to_owned()),
            (!rule.whole_bucket).then(|| "not for the whole bucket".to_owned()),
        ];
        format!("{}: {}", rule.id, parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
    };
    if rules.is_empty() { "(none)".to_owned() } else { rules.iter().map(one).collect::<Vec<_>>().join("; ") }
}

fn read_rule(rule: &LifecycleRule) -> Rule {
    let filter = rule.filter();
    let unfiltered = filter.is_none_or(|f| {
        f.prefix().unwrap_or_default().is_empty()
            && f.tag().is_none()
            && f.and().is_none()
            && f.object_size_greater_than().is_none()
            && f.object_size_less_than().is_none()
    });
    Rule {
        id: rule.id().unwrap_or_default().to_owned(),
        whole_bucket: unfiltered && rule.status() == &ExpirationStatus::Enabled,
        noncurrent_days: rule.noncurrent_version_expiration().and_then(NoncurrentVersionExpiration::noncurrent_days),
        transition_ia_days: rule.transitions().iter().find(|t| t.storage_class() == Some(&TransitionStorageClass::StandardIa)).and_then(Transition::days),
        abort_multipart_days: rule.abort_incomplete_multipart_upload().and_then(AbortIncompleteMultipartUpload::days_after_initiation),
        drop_lone_markers: rule.expiration().and_then(LifecycleExpiration::expired_object_delete_marker) == Some(true),
    }
}

fn write_rule(rule: &Rule) -> Result<LifecycleRule, Fault> {
    LifecycleRule::builder()
        .id(&rule.id)
        .status(ExpirationStatus::Enabled)
        .filter(LifecycleRuleFilter::builder().prefix("").build())
        .expiration(LifecycleExpiration::builder().expired_object_delete_marker(rule.drop_lone_markers).build())
        .set_transitions(rule.transition_ia_days.map(|days| vec![Transition::builder().days(days).storage_class(TransitionStorageClass::StandardIa).build()]))
        .set_noncurrent_version_expiration(rule.noncurrent_days.map(|days| NoncurrentVersionExpiration::builder().noncurrent_days(days).build()))
        .set_abort_incomplete_multipart_upload(
            rule.abort_multipart_days.map(|days| AbortIncompleteMultipartUpload::builder().days_after_initiation(days).build()),
        )
        .build()
        .map_err(|e| Fault::refused("s3:PutBucketLifecycleConfiguration", "invalid_request", e.to_string()))
}

/// Denies everybody: without TLS, below TLS 1.2, and (with a key) writes that ask for another encryption than the bucket's. A write
/// that asks for none gets the bucket's, hence the `Null` conditions.
fn bucket_policy(arn: &str, kms_key_arn: Option<&str>) -> Value {
    let deny = |sid: &str, action: &str, condition: Value| {
        let resource = if action == "s3:*" { json!([arn, format!("{arn}/*")]) } else { json!(format!("{arn}/*")) };
        json!({"Sid": sid, "Effect": "Deny", "Principal": "*", "Action": action, "Resource": resource, "Condition": condition})
    };
    let mut statements = vec![
        deny("OnlyOverTls", "s3:*", json!({"Bool": {"aws:SecureTransport": "false"}})),
        deny("OnlyTls12OrNewer", "s3:*", json!({"NumericLessThan": {"s3:TlsVersion": "1.2"}})),
    ];
    if let Some(key) = kms_key_arn {
        for (sid, header, value) in
            [("OnlyKmsEncryption", "s3:x-amz-server-side-encryption", "aws:kms"), ("OnlyOwnKey", "s3:x-amz-server-side-encryption-aws-kms-key-id", key)]
        {
            statements.push(deny(sid, "s3:PutObject", json!({"StringNotEquals": {header: value}, "Null": {header: "false"}})));
        }
    }
    json!({"Version": "2012-10-17", "Statement": statements})
}

fn tag_list(tags: &Tags) -> Result<Vec<Tag>, Fault> {
    list(tags, |k, v| Tag::builder().key(k).value(v).build())
        .into_iter()
        .collect::<Result<_, _>>()
        .map_err(|e| Fault::refused("s3:TagResource", "invalid_tags", e.to_string()))
}

/// The answer of a getter, or nothing where the service says by one of `codes` that nothing is set.
macro_rules! got {
    ($call:literal, $sent:expr, $codes:expr) => {
        match $sent.send().await {
            Ok(found) => Ok(Some(found)),
            Err(e) if is(&e, $codes) => Ok(None),
            Err(e) => Err(fault($call, e)),
        }
    };
}

async fn look(cx: &Cx, name: &str, want: &Tags) -> Result<Observed<State>, Fault> {
    let s3 = &cx.cloud.s3;
    match s3.head_bucket().bucket(name).send().await {
        Ok(_) => {}
        Err(e) => match status(&e) {
            Some(404) => return Ok(Observed::Absent),
            Some(301) => return Ok(Observed::Foreign("it is in another region".to_owned())),
            Some(403) => return Ok(Observed::Foreign("it belongs to another account, or this role may not look at it".to_owned())),
            _ => return Err(fault("s3:HeadBucket", e)),
        },
    }
    let tags: Tags = match s3.get_bucket_tagging().bucket(name).send().await {
        Ok(found) => found.tag_set.into_iter().map(|t| (t.key, t.value)).collect(),
        Err(e) if is(&e, &["NoSuchTagSet"]) => Tags::new(),
        Err(e) if is(&e, &["NoSuchBucket"]) => return Ok(Observed::Absent),
        Err(e) => return Err(fault("s3:GetBucketTagging", e)),
    };
    if let Ownership::Foreign(whose) = ownership(&tags, want) {
        return Ok(Observed::Foreign(whose));
    }
    let (blocked, controls, encryption, versioning, lifecycle, text) = tokio::try_join!(
        async { got!("s3:GetPublicAccessBlock", s3.get_public_access_block().bucket(name), &["NoSuchPublicAccessBlockConfiguration"]) },
        async { got!("s3:GetBucketOwnershipControls", s3.get_bucket_ownership_controls().bucket(name), &["OwnershipControlsNotFoundError"]) },
        async { got!("s3:GetBucketEncryption", s3.get_bucket_encryption().bucket(name), &["ServerSideEncryptionConfigurationNotFoundError"]) },
        async { got!("s3:GetBucketVersioning", s3.get_bucket_versioning().bucket(name), &[]) },
        async { got!("s3:GetBucketLifecycleConfiguration", s3.get_bucket_lifecycle_configuration().bucket(name), &["NoSuchLifecycleConfiguration"]) },
        async { got!("s3:GetBucketPolicy", s3.get_bucket_policy().bucket(name), &["NoSuchBucketPolicy"]) },
    )?;
    let all_four = |b: &PublicAccessBlockConfiguration| {
        [b.block_public_acls, b.ignore_public_acls, b.block_public_policy, b.restrict_public_buckets].iter().all(|set| *set == Some(true))
    };
    let state = State {
        name: name.to_owned(),
        arn: format!("arn:{}:s3:::{name}", cx.cloud.partition()),
        public_access_blocked: blocked.and_then(|b| b.public_access_block_configuration).is_some_and(|b| all_four(&b)),
        object_ownership: controls
            .and_then(|c| c.ownership_controls)
            .and_then(|c| c.rules.into_iter().next())
            .map(|rule| rule.object_ownership.as_str().to_owned()),
        encryption: encryption.and_then(|e| e.server_side_encryption_configuration).and_then(|c| c.rules.into_iter().next()).and_then(|rule| {
            let by_default = rule.apply_server_side_encryption_by_default?;
            Some(encryption_text(by_default.sse_algorithm.as_str(), by_default.kms_master_key_id.as_deref(), rule.bucket_key_enabled == Some(true)))
        }),
        versioning: versioning.is_some_and(|v| v.status == Some(BucketVersioningStatus::Enabled)),
        lifecycle: lifecycle.map(|l| l.rules().iter().map(read_rule).collect()).unwrap_or_default(),
        policy: text.and_then(|p| p.policy).map(|text| policy::read("s3:GetBucketPolicy", &text)).transpose()?,
        tags,
    };
    Ok(Observed::Mine { id: name.to_owned(), state })
}

impl Kind for S3Bucket {
    type Cx = Cx;
    type Spec = Spec;
    type State = State;

    const NAME: &'static str = "s3_bucket";
    const IDENTITY: Identity = Identity::Name;
    const DELETION: Deletion = Deletion::Retain;
    /// No figure is published for CreateBucket; 10 a second is below what S3 was seen to throttle.
    const LIMIT: Limit = Limit { api: "s3:buckets", per_second: 10.0, burst: 10, concurrency: 8 };
    const TIMING: Timing = Timing::secs(3, 120);
    const OUTPUTS: &'static [&'static str] = &["name", "arn"];

    /// It stays: who may use it is the role's to lose. A bucket policy that denies would shut out backups and labctl as well.
    fn suspended(&self, spec: Spec, _level: Suspension) -> Spec {
        spec
    }

    async fn observe(&self, cx: &Cx, target: &Target<'_, Spec>, recorded: Option<&str>) -> Result<Observed<State>, Fault> {
        // A bucket cannot be renamed: were the recorded one not looked at first, a new name in a template would quietly begin an
        // empty bucket and forget the full one.
        if let Some(old) = recorded.filter(|old| *old != target.spec.name)
            && let Observed::Mine { id, state } = look(cx, old, target.tags).await?
        {
            return Ok(Observed::Mine { id, state });
        }
        look(cx, &target.spec.name, target.tags).await
    }

    fn diff(&self, target: &Target<'_, Spec>, state: &State) -> Diff {
        let spec = target.spec;
        if state.name != spec.name {
            return Diff::Forbidden(format!(
                "the bucket of this address is {}, and S3 cannot rename a bucket to {}; keep the old name, or copy the objects to a bucket at a new address first",
                state.name, spec.name
            ));
        }
        let mut changes = Change::tags(&state.tags, target.tags);
        changes.extend(Change::between("public_access_blocked", &state.public_access_blocked, &true));
        changes.extend(Change::between("object_ownership", &state.object_ownership.as_deref(), &Some(ObjectOwnership::BucketOwnerEnforced.as_str())));
        changes.extend(Change::between("encryption", &state.encryption, &Some(encryption_wanted(spec))));
        changes.extend(Change::between("versioning", &state.versioning, &spec.versioning));
        if state.lifecycle != rules(spec) {
            changes.push(Change::new("lifecycle", lifecycle_text(&state.lifecycle), lifecycle_text(&rules(spec))));
        }
        let wanted = bucket_policy(&state.arn, spec.kms_key_arn.as_deref());
        if !state.policy.as_ref().is_some_and(|p| policy::same(p, &wanted)) {
            let is = state.policy.as_ref().map_or_else(|| "(none)".to_owned(), policy::summary);
            changes.push(Change::new("policy", is, policy::summary(&wanted)));
        }
        Diff::of(changes)
    }

    async fn create(&self, cx: &Cx, target: &Target<'_, Spec>, _token: &str) -> Result<String, Fault> {
        let region = cx.cloud.region();
        // us-east-1 is the one region that must not be named.
        let place = (region != "us-east-1").then(|| BucketLocationConstraint::from(region));
        let configuration = CreateBucketConfiguration::builder().set_location_constraint(place).set_tags(Some(tag_list(target.tags)?)).build();
        let made = cx
            .cloud
            .once()
            .s3
            .create_bucket()
            .bucket(&target.spec.name)
            .object_ownership(ObjectOwnership::BucketOwnerEnforced)
            .create_bucket_configuration(configuration)
            .send()
            .await;
        match made {
            Ok(_) => Ok(target.spec.name.clone()),
            // Perhaps by ourselves with a lost reply: the next look tells whose it is.
            Err(e) if is(&e, &["BucketAlreadyOwnedByYou"]) => {
                Err(Fault::unknown("s3:CreateBucket", "BucketAlreadyOwnedByYou", "this account has a bucket of that name already"))
            }
            // Another account's: a definite no.
            Err(e) if is(&e, &["BucketAlreadyExists"]) => {
                Err(fault("s3:CreateBucket", e).hint("bucket names are shared by all AWS accounts: choose another name for it"))
            }
            Err(e) => Err(fault("s3:CreateBucket", e)),
        }
    }

    async fn update(&self, cx: &Cx, target: &Target<'_, Spec>, id: &str, state: &State) -> Result<(), Fault> {
        let (s3, spec) = (&cx.cloud.s3, target.spec);
        let invalid = |call: &'static str| move |e: aws_smithy_types::error::operation::BuildError| Fault::refused(call, "invalid_request", e.to_string());
        // Doors are closed before anything else is done.
        if !state.public_access_blocked {
            let all = PublicAccessBlockConfiguration::builder()
                .block_public_acls(true)
                .ignore_public_acls(true)
                .block_public_policy(true)
                .restrict_public_buckets(true)
                .build();
            let sent = s3.put_public_access_block().bucket(id).public_access_block_configuration(all).send().await;
            sent.map_err(|e| fault("s3:PutPublicAccessBlock", e))?;
        }
        if state.object_ownership.as_deref() != Some(ObjectOwnership::BucketOwnerEnforced.as_str()) {
            const CALL: &str = "s3:PutBucketOwnershipControls";
            let rule = OwnershipControlsRule::builder().object_ownership(ObjectOwnership::BucketOwnerEnforced).build().map_err(invalid(CALL))?;
            let controls = OwnershipControls::builder().rules(rule).build().map_err(invalid(CALL))?;
            s3.put_bucket_ownership_controls().bucket(id).ownership_controls(controls).send().await.map_err(|e| fault(CALL, e))?;
        }
        let wanted = bucket_policy(&state.arn, spec.kms_key_arn.as_deref());
        if !state.policy.as_ref().is_some_and(|p| policy::same(p, &wanted)) {
            s3.put_bucket_policy().bucket(id).policy(wanted.to_string()).send().await.map_err(|e| fault("s3:PutBucketPolicy", e))?;
        }
        if state.encryption.as_deref() != Some(encryption_wanted(spec).as_str()) {
            const CALL: &str = "s3:PutBucketEncryption";
            let algorithm = if spec.kms_key_arn.is_some() { ServerSideEncryption::AwsKms } else { ServerSideEncryption::Aes256 };
            let by_default = ServerSideEncryptionByDefault::builder()
                .sse_algorithm(algorithm)
                .set_kms_master_key_id(spec.kms_key_arn.clone())
                .build()
                .map_err(invalid(CALL))?;
            // A bucket key spares a call to KMS, and its price, per object.
            let rule =
                ServerSideEncryptionRule::builder().apply_server_side_encryption_by_default(by_default).bucket_key_enabled(spec.kms_key_arn.is_some()).build();
            let all = ServerSideEncryptionConfiguration::builder().rules(rule).build().map_err(invalid(CALL))?;
            s3.put_bucket_encryption().bucket(id).server_side_encryption_configuration(all).send().await.map_err(|e| fault(CALL, e))?;
        }
        if state.versioning != spec.versioning {
            let status = if spec.versioning { BucketVersioningStatus::Enabled } else { BucketVersioningStatus::Suspended };
            let sent = s3.put_bucket_versioning().bucket(id).versioning_configuration(VersioningConfiguration::builder().status(status).build());
            sent.send().await.map_err(|e| fault("s3:PutBucketVersioning", e))?;
        }
        if state.lifecycle != rules(spec) {
            const CALL: &str = "s3:PutBucketLifecycleConfiguration";
            let rules = rules(spec).iter().map(write_rule).collect::<Result<Vec<_>, _>>()?;
            let all = BucketLifecycleConfiguration::builder().set_rules(Some(rules)).build().map_err(invalid(CALL))?;
            s3.put_bucket_lifecycle_configuration().bucket(id).lifecycle_configuration(all).send().await.map_err(|e| fault(CALL, e))?;
        }
        if !Change::tags(&state.tags, target.tags).is_empty() {
            const CALL: &str = "s3:PutBucketTagging";
            // This call replaces them all, so what others have put on is sent along.
            let mut tags = state.tags.clone();
            tags.extend(target.tags.clone());
            let all = Tagging::builder().set_tag_set(Some(tag_list(&tags)?)).build().map_err(invalid(CALL))?;
            s3.put_bucket_tagging().bucket(id).tagging(all).send().await.map_err(|e| fault(CALL, e))?;
        }
        Ok(())
    }

    async fn delete(&self, cx: &Cx, _target: &Target<'_, Spec>, id: &str) -> Result<(), Fault> {
        let s3 = &cx.cloud.s3;
        objects::remove_all(s3, id, "").await?;
        match s3.delete_bucket().bucket(id).send().await {
            Err(e) if is(&e, &["NoSuchBucket"]) => Ok(()),
            Err(e) if is(&e, &["BucketNotEmpty"]) => Err(Fault::busy("s3:DeleteBucket", "BucketNotEmpty", "something was written while it was being emptied")),
            Err(e) => Err(fault("s3:DeleteBucket", e)),
            Ok(_) => Ok(()),
        }
    }

    fn ready(&self, _target: &Target<'_, Spec>, _state: &State) -> Ready {
        Ready::Ready
    }

    fn outputs(&self, _target: &Target<'_, Spec>, id: &str, state: &State) -> Outputs {
        Outputs::from([("name".to_owned(), id.to_owned()), ("arn".to_owned(), state.arn.clone())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::tags::owned;
    use crate::engine::kind::Address;

    const KEY: &str = "arn:aws:kms:eu-central-1:1:key/k";

    fn spec() -> Spec {
        serde_json::from_value(json!({"name": "a-data", "kms_key_arn": KEY, "noncurrent_days": 90, "transition_ia_days": 30})).unwrap()
    }

    fn as_wanted(spec: &Spec, tags: &Tags) -> State {
        let arn = format!("arn:aws:s3:::{}", spec.name);
        State {
            name: spec.name.clone(),
            public_access_blocked: true,
            object_ownership: Some("BucketOwnerEnforced".into()),
            encryption: Some(encryption_wanted(spec)),
            versioning: spec.versioning,
            lifecycle: rules(spec).iter().map(|r| read_rule(&write_rule(r).unwrap())).collect(),
            policy: Some(bucket_policy(&arn, spec.kms_key_arn.as_deref())),
            tags: tags.clone(),
            arn,
        }
    }

    #[test]
    fn each_difference_is_named_and_nothing_else_is() {
        let address = Address::new("a", "s3_bucket", "data");
        let tags = owned(&address, "r1");
        let spec = spec();
        let target = Target { address: &address, spec: &spec, tags: &tags };
        assert_eq!(S3Bucket.diff(&target, &as_wanted(&spec, &tags)), Diff::Same);
        type Spoil = fn(&mut State);
        let rows: [(&str, Spoil); 11] = [
            ("public_access_blocked", |s| s.public_access_blocked = false),
            ("object_ownership", |s| s.object_ownership = Some("ObjectWriter".into())),
            ("encryption", |s| s.encryption = Some("AES256".into())),
            ("encryption", |s| s.encryption = Some(encryption_text("aws:kms", Some(KEY), false))),
            ("versioning", |s| s.versioning = false),
            ("lifecycle", |s| s.lifecycle.clear()),
            ("lifecycle", |s| s.lifecycle[0].noncurrent_days = Some(1)),
            ("lifecycle", |s| s.lifecycle[0].whole_bucket = false),
            ("policy", |s| s.policy = None),
            ("policy", |s| s.policy = Some(bucket_policy(&s.arn, None))),
            ("tags.labctl:tenant", |s| drop(s.tags.remove("labctl:tenant"))),
        ];
        for (field, spoil) in rows {
            let mut state = as_wanted(&spec, &tags);
            spoil(&mut state);
            let Diff::Update(changes) = S3Bucket.diff(&target, &state) else { panic!("{field}") };
            assert_eq!(changes.iter().map(|c| c.field.as_str()).collect::<Vec<_>>(), [field]);
        }
    }

    #[test]
    fn a_new_name_is_forbidden_rather_than_a_new_empty_bucket() {
        let address = Address::new("a", "s3_bucket", "data");
        let (spec, tags) = (spec(), Tags::new());
        let mut state = as_wanted(&spec, &tags);
        state.name = "a-old".into();
        let Diff::Forbidden(why) = S3Bucket.diff(&Target { address: &address, spec: &spec, tags: &tags }, &state) else { panic!() };
        assert!(why.contains("a-old") && why.contains("a-data"), "{why}");
    }

    #[test]
    fn the_policy_only_ever_denies() {
        let policy = bucket_policy("arn:aws:s3:::a", Some(KEY));
        let statements = policy["Statement"].as_array().unwrap();
        assert_eq!(statements.len(), 4);
        assert!(statements.iter().all(|s| s["Effect"] == "Deny" && s["Principal"] == "*"));
        assert_eq!(statements[0]["Condition"]["Bool"]["aws:SecureTransport"], "false");
        assert_eq!(statements[1]["Condition"]["NumericLessThan"]["s3:TlsVersion"], "1.2");
        // Without the Null condition a write that leaves encryption to the bucket would be denied too.
        assert!(statements[2..].iter().all(|s| s["Condition"]["Null"].as_object().unwrap().values().all(|v| v == "false")));
        assert_eq!(bucket_policy("arn:aws:s3:::a", None)["Statement"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn infrequent_access_before_30_days_is_refused_before_any_call() {
        assert!(serde_json::from_value::<Spec>(json!({"name": "a", "noncurrent_days": 1, "transition_ia_days": 29})).is_err());
    }
}
