//! A KMS key with an alias.
//!
//! # How it is found
//! CreateKey makes a nameless key; the alias comes second. So a key is looked for by the recorded id, then by its alias, and only
//! when neither leads anywhere (never made, or cut off between CreateKey and CreateAlias) by its ownership tags through the tagging
//! API. The alternative, ListKeys and ListResourceTags of every key, is a call per key of the account at every first plan. The
//! tagging API lags by seconds: a key made in the very seconds before a resume may be missed, and a second one be made. The first
//! then holds nothing, costs a dollar a month, and is listed by its tags.
//!
//! # How it ends
//! A key cannot be deleted, only scheduled for it (7 to 30 days). Such a key counts as absent; when it is wanted again, `create`
//! calls the deletion off rather than making another, since only the old one reads the backups made under it.

use std::collections::BTreeMap;

use aws_sdk_kms::types::{KeyMetadata, KeyState, Tag};
use aws_sdk_resourcegroupstagging::types::TagFilter;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use super::Cx;
use crate::cloud::fault::{fault, is};
use crate::cloud::policy;
use crate::cloud::tags::{ADDRESS, Ownership, REGISTRY, list, ownership};
use crate::engine::fault::{Fault, Left};
use crate::engine::kind::{Change, Deletion, Diff, Identity, Kind, Limit, Observed, Outputs, Ready, Suspension, Tags, Target, Timing};

/// The kind.
pub struct KmsKey;

/// What a template may say of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// `alias/…`, unique in account and region.
    #[serde(deserialize_with = "alias")]
    alias: String,
    /// For people; at most 8,192 characters.
    description: String,
    /// Whether the key material is renewed every year.
    #[serde(default = "yes")]
    rotation: bool,
    /// Days between the order to delete and the deletion: 7 to 30.
    #[serde(default = "window", deserialize_with = "window_in_range")]
    deletion_window_days: i32,
    /// Names (or patterns with `*`) of the log groups CloudWatch Logs may encrypt with it. Without any, that service may not use it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    log_groups: Vec<String>,
}

fn yes() -> bool {
    true
}

/// The longest there is: a key gone too early is data gone.
fn window() -> i32 {
    30
}

fn alias<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    let text = String::deserialize(d)?;
    if text.contains("${") || text.starts_with("alias/") && !text.starts_with("alias/aws/") && text.len() > "alias/".len() {
        Ok(text)
    } else {
        Err(serde::de::Error::custom(format!("`{text}` is no alias; it starts with `alias/`, and not with `alias/aws/`, which is AWS's own")))
    }
}

fn window_in_range<'de, D: Deserializer<'de>>(d: D) -> Result<i32, D::Error> {
    let days = i32::deserialize(d)?;
    if (7..=30).contains(&days) { Ok(days) } else { Err(serde::de::Error::custom("deletion_window_days must be 7 to 30")) }
}

/// What `observe` reports.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    arn: String,
    key_state: String,
    description: String,
    rotation: bool,
    aliases: Vec<String>,
    policy: Value,
    tags: Tags,
}

/// The account's administrators rule the key by IAM; CloudWatch Logs may use it for the named log groups of this account only.
/// Everybody else who uses it (S3, RDS, Secrets Manager on a caller's behalf) does so by the caller's own IAM rights.
fn key_policy(arn: &str, log_groups: &[String]) -> Value {
    let mut parts = arn.split(':').skip(1);
    let partition = parts.next().unwrap_or_default();
    let (region, account) = (parts.nth(1).unwrap_or_default(), parts.next().unwrap_or_default());
    // Without this statement a key can become one that nobody may administer, and only AWS Support can help.
    let mut statements = vec![json!({
        "Sid": "AccountAdministersByIam",
        "Effect": "Allow",
        "Principal": {"AWS": format!("arn:{partition}:iam::{account}:root")},
        "Action": "kms:*",
        "Resource": "*"
    })];
    if !log_groups.is_empty() {
        let suffix = if partition == "aws-cn" { "amazonaws.com.cn" } else { "amazonaws.com" };
        let groups: Vec<_> = log_groups.iter().map(|g| format!("arn:{partition}:logs:{region}:{account}:log-group:{g}")).collect();
        statements.push(json!({
            "Sid": "LogGroupsEncrypt",
            "Effect": "Allow",
            "Principal": {"Service": format!("logs.{region}.{suffix}")},
            "Action": ["kms:Encrypt*", "kms:Decrypt*", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:Describe*"],
            "Resource": "*",
            "Condition": {"ArnLike": {"kms:EncryptionContext:aws:logs:arn": groups}}
        }));
    }
    json!({"Version": "2012-10-17", "Statement": statements})
}

/// The keys of ours, pending deletion or not; or why the alias cannot be had.
enum Found {
    Ours(BTreeMap<String, (KeyMetadata, Tags)>),
    Foreign(String),
}

fn going(key: &KeyMetadata) -> bool {
    matches!(key.key_state(), Some(KeyState::PendingDeletion | KeyState::PendingReplicaDeletion))
}

async fn describe(cx: &Cx, id: &str) -> Result<Option<(KeyMetadata, Tags)>, Fault> {
    let key = match cx.cloud.kms.describe_key().key_id(id).send().await {
        Ok(found) => found.key_metadata,
        Err(e) if is(&e, &["NotFoundException", "InvalidArnException"]) => None,
        Err(e) => return Err(fault("kms:DescribeKey", e)),
    };
    let Some(key) = key else { return Ok(None) };
    let mut tags = Tags::new();
    let mut pages = cx.cloud.kms.list_resource_tags().key_id(&key.key_id).into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|e| fault("kms:ListResourceTags", e))?;
        tags.extend(page.tags.unwrap_or_default().into_iter().map(|t| (t.tag_key, t.tag_value)));
    }
    Ok(Some((key, tags)))
}

async fn find(cx: &Cx, target: &Target<'_, Spec>, recorded: Option<&str>) -> Result<Found, Fault> {
    let mut ours = BTreeMap::new();
    for id in recorded.into_iter().chain([target.spec.alias.as_str()]) {
        let Some((key, tags)) = describe(cx, id).await? else { continue };
        if let Ownership::Foreign(whose) = ownership(&tags, target.tags) {
            return Ok(Found::Foreign(whose));
        }
        let live = !going(&key);
        ours.insert(key.key_id.clone(), (key, tags));
        if live {
            return Ok(Found::Ours(ours));
        }
    }
    if !ours.is_empty() {
        return Ok(Found::Ours(ours));
    }
    let filter = |key: &str| TagFilter::builder().key(key).set_values(target.tags.get(key).map(|v| vec![v.clone()])).build();
    let mut pages =
        cx.cloud.tagging.get_resources().resource_type_filters("kms:key").tag_filters(filter(ADDRESS)).tag_filters(filter(REGISTRY)).into_paginator().send();
    while let Some(page) = pages.next().await {
        for arn in page.map_err(|e| fault("tagging:GetResources", e))?.resource_tag_mapping_list().iter().filter_map(|r| r.resource_arn()) {
            // The tagging API may tell of yesterday; the key itself is asked before it is believed.
            if let Some((key, tags)) = describe(cx, arn).await?
                && ownership(&tags, target.tags) == Ownership::Mine
            {
                ours.insert(key.key_id.clone(), (key, tags));
            }
        }
    }
    Ok(Found::Ours(ours))
}

async fn read(cx: &Cx, key: KeyMetadata, tags: Tags) -> Result<State, Fault> {
    let kms = &cx.cloud.kms;
    let id = key.key_id.as_str();
    let rotation = kms.get_key_rotation_status().key_id(id).send().await.map_err(|e| fault("kms:GetKeyRotationStatus", e))?;
    let text = kms.get_key_policy().key_id(id).policy_name("default").send().await.map_err(|e| fault("kms:GetKeyPolicy", e))?;
    let mut aliases = Vec::new();
    let mut pages = kms.list_aliases().key_id(id).into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|e| fault("kms:ListAliases", e))?;
        aliases.extend(page.aliases.unwrap_or_default().into_iter().filter_map(|a| a.alias_name));
    }
    Ok(State {
        arn: key.arn.clone().unwrap_or_default(),
        key_state: key.key_state().map_or("Unknown", KeyState::as_str).to_owned(),
        description: key.description.unwrap_or_default(),
        rotation: rotation.key_rotation_enabled,
        aliases,
        policy: text.policy.and_then(|p| serde_json::from_str(&p).ok()).unwrap_or_default(),
        tags,
    })
}

impl Kind for KmsKey {
    type Cx = Cx;
    type Spec = Spec;
    type State = State;

    const NAME: &'static str = "kms_key";
    const IDENTITY: Identity = Identity::Tag;
    /// What it encrypted cannot be read without it.
    const DELETION: Deletion = Deletion::Retain;
    /// CreateKey and CreateAlias: 5 a second each (KMS request quotas).
    const LIMIT: Limit = Limit { api: "kms:CreateKey", per_second: 5.0, burst: 5, concurrency: 4 };
    const TIMING: Timing = Timing::secs(3, 120);
    const OUTPUTS: &'static [&'static str] = &["arn", "key_id", "alias"];

    /// It stays enabled: a disabled key would make what it encrypts unreadable for backups and for labctl too. The tenant's own role is denied
    /// its use.
    fn suspended(&self, spec: Spec, _level: Suspension) -> Spec {
        spec
    }

    async fn observe(&self, cx: &Cx, target: &Target<'_, Spec>, recorded: Option<&str>) -> Result<Observed<State>, Fault> {
        let mut live: Vec<_> = match find(cx, target, recorded).await? {
            Found::Foreign(whose) => return Ok(Observed::Foreign(whose)),
            Found::Ours(keys) => keys.into_values().filter(|(key, _)| !going(key)).collect(),
        };
        match (live.pop(), live.is_empty()) {
            (None, _) => Ok(Observed::Absent),
            (Some((key, tags)), true) => Ok(Observed::Mine { id: key.key_id.clone(), state: read(cx, key, tags).await? }),
            (Some(last), false) => Ok(Observed::Many(live.into_iter().chain([last]).map(|(key, _)| key.key_id).collect())),
        }
    }

    fn diff(&self, target: &Target<'_, Spec>, state: &State) -> Diff {
        let spec = target.spec;
        let mut changes = Change::tags(&state.tags, target.tags);
        if state.key_state == KeyState::Disabled.as_str() {
            changes.push(Change::new("enabled", false, true));
        }
        if !state.aliases.contains(&spec.alias) {
            let is = if state.aliases.is_empty() { "(none)".to_owned() } else { state.aliases.join(", ") };
            changes.push(Change::new("alias", is, &spec.alias));
        }
        changes.extend(Change::between("description", &state.description, &spec.description));
        changes.extend(Change::between("rotation", &state.rotation, &spec.rotation));
        let wanted = key_policy(&state.arn, &spec.log_groups);
        if !policy::same(&state.policy, &wanted) {
            changes.push(Change::new("policy", policy::summary(&state.policy), policy::summary(&wanted)));
        }
        Diff::of(changes)
    }

    async fn create(&self, cx: &Cx, target: &Target<'_, Spec>, _token: &str) -> Result<String, Fault> {
        // `observe` said absent: then all that may be left of it is a key on its way out.
        if let Found::Ours(keys) = find(cx, target, None).await?
            && let Some((key, _)) = keys.into_values().find(|(key, _)| going(key))
        {
            // Leaves it disabled, which `diff` sees and `update` mends.
            cx.cloud.kms.cancel_key_deletion().key_id(&key.key_id).send().await.map_err(|e| fault("kms:CancelKeyDeletion", e))?;
            return Ok(key.key_id);
        }
        let tags = list(target.tags, |k, v| Tag::builder().tag_key(k).tag_value(v).build()).into_iter().collect::<Result<Vec<_>, _>>();
        let made = cx
            .cloud
            .once()
            .kms
            .create_key()
            .description(&target.spec.description)
            .set_tags(Some(tags.map_err(|e| Fault::refused("kms:CreateKey", "invalid_tags", e.to_string()))?))
            .send()
            .await
            .map_err(|e| fault("kms:CreateKey", e))?;
        made.key_metadata.map(|key| key.key_id).ok_or_else(|| Fault::unknown("kms:CreateKey", "no_id", "the answer names no key"))
    }

    async fn update(&self, cx: &Cx, target: &Target<'_, Spec>, id: &str, state: &State) -> Result<(), Fault> {
        let (kms, spec) = (&cx.cloud.kms, target.spec);
        if state.key_state == KeyState::Disabled.as_str() {
            kms.enable_key().key_id(id).send().await.map_err(|e| fault("kms:EnableKey", e))?;
        }
        // First of all the name, since it is by this that the key is found again without the tagging API.
        if !state.aliases.contains(&spec.alias) {
            match kms.create_alias().alias_name(&spec.alias).target_key_id(id).send().await {
                Ok(_) => {}
                // Ours already, where an earlier update was cut off.
                Err(e) if is(&e, &["AlreadyExistsException"]) => {
                    if describe(cx, &spec.alias).await?.is_none_or(|(key, _)| key.key_id != id) {
                        let hint = format!("{} points to another key: delete that alias or choose another name", spec.alias);
                        return Err(fault("kms:CreateAlias", e).left(Left::Made(id.to_owned())).hint(hint));
                    }
                }
                Err(e) => return Err(fault("kms:CreateAlias", e)),
            }
        }
        if state.description != spec.description {
            kms.update_key_description().key_id(id).description(&spec.description).send().await.map_err(|e| fault("kms:UpdateKeyDescription", e))?;
        }
        match (state.rotation, spec.rotation) {
            (false, true) => drop(kms.enable_key_rotation().key_id(id).send().await.map_err(|e| fault("kms:EnableKeyRotation", e))?),
            (true, false) => drop(kms.disable_key_rotation().key_id(id).send().await.map_err(|e| fault("kms:DisableKeyRotation", e))?),
            _ => {}
        }
        let wanted = key_policy(&state.arn, &spec.log_groups);
        if !policy::same(&state.policy, &wanted) {
            kms.put_key_policy().key_id(id).policy_name("default").policy(wanted.to_string()).send().await.map_err(|e| fault("kms:PutKeyPolicy", e))?;
        }
        if !Change::tags(&state.tags, target.tags).is_empty() {
            let tags = list(target.tags, |k, v| Tag::builder().tag_key(k).tag_value(v).build()).into_iter().collect::<Result<Vec<_>, _>>();
            kms.tag_resource()
                .key_id(id)
                .set_tags(Some(tags.map_err(|e| Fault::refused("kms:TagResource", "invalid_tags", e.to_string()))?))
                .send()
                .await
                .map_err(|e| fault("kms:TagResource", e))?;
        }
        Ok(())
    }

    async fn delete(&self, cx: &Cx, target: &Target<'_, Spec>, id: &str) -> Result<(), Fault> {
        // The alias stays, so that the key is found if it is wanted again; KMS drops it together with the key.
        match cx.cloud.kms.schedule_key_deletion().key_id(id).pending_window_in_days(target.spec.deletion_window_days).send().await {
            Ok(_) => Ok(()),
            Err(e) if is(&e, &["NotFoundException"]) => Ok(()),
            // Of all the states in which this call is refused, only "pending deletion already" is what was asked for.
            Err(e) if is(&e, &["KMSInvalidStateException"]) => match describe(cx, id).await? {
                Some((key, _)) if !going(&key) => Err(fault("kms:ScheduleKeyDeletion", e)),
                _ => Ok(()),
            },
            Err(e) => Err(fault("kms:ScheduleKeyDeletion", e)),
        }
    }

    fn ready(&self, _target: &Target<'_, Spec>, state: &State) -> Ready {
        match state.key_state.as_str() {
            "Enabled" => Ready::Ready,
            "Creating" | "Updating" | "Disabled" => Ready::Waiting(state.key_state.clone()),
            other => Ready::Broken(format!("the key is in state {other}")),
        }
    }

    fn outputs(&self, target: &Target<'_, Spec>, id: &str, state: &State) -> Outputs {
        Outputs::from([("arn".to_owned(), state.arn.clone()), ("key_id".to_owned(), id.to_owned()), ("alias".to_owned(), target.spec.alias.clone())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::tags::owned;
    use crate::engine::kind::Address;

    const ARN: &str = "arn:aws:kms:eu-central-1:111122223333:key/1234";

    fn spec(extra: Value) -> Spec {
        let mut spec = json!({"alias": "alias/a-data", "description": "data of a"});
        spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        serde_json::from_value(spec).unwrap()
    }

    fn as_wanted(spec: &Spec, tags: &Tags) -> State {
        State {
            arn: ARN.into(),
            key_state: "Enabled".into(),
            description: spec.description.clone(),
            rotation: spec.rotation,
            aliases: vec![spec.alias.clone()],
            policy: key_policy(ARN, &spec.log_groups),
            tags: tags.clone(),
        }
    }

    #[test]
    fn each_difference_is_named_and_nothing_else_is() {
        let address = Address::new("a", "kms_key", "data");
        let tags = owned(&address, "r1");
        let spec = spec(json!({"log_groups": ["/ecs/a-*"]}));
        let target = Target { address: &address, spec: &spec, tags: &tags };
        assert_eq!(KmsKey.diff(&target, &as_wanted(&spec, &tags)), Diff::Same);
        type Spoil = fn(&mut State);
        let rows: [(&str, Spoil); 6] = [
            ("enabled", |s| s.key_state = "Disabled".into()),
            ("alias", |s| s.aliases = vec!["alias/old".into()]),
            ("description", |s| s.description = "other".into()),
            ("rotation", |s| s.rotation = false),
            ("policy", |s| s.policy = key_policy(ARN, &[])),
            ("tags.labctl:tenant", |s| drop(s.tags.remove("labctl:tenant"))),
        ];
        for (field, spoil) in rows {
            let mut state = as_wanted(&spec, &tags);
            spoil(&mut state);
            let Diff::Update(changes) = KmsKey.diff(&target, &state) else { panic!("{field}") };
            assert_eq!(changes.iter().map(|c| c.field.as_str()).collect::<Vec<_>>(), [field]);
        }
    }

    #[test]
    fn cloudwatch_logs_may_use_the_key_for_the_named_groups_only() {
        let policy = key_policy("arn:aws-cn:kms:cn-north-1:1:key/k", &["/ecs/a-*".into()]);
        let logs = &policy["Statement"][1];
        assert_eq!(logs["Principal"]["Service"], "logs.cn-north-1.amazonaws.com.cn");
        assert_eq!(logs["Condition"]["ArnLike"]["kms:EncryptionContext:aws:logs:arn"], json!(["arn:aws-cn:logs:cn-north-1:1:log-group:/ecs/a-*"]));
        assert_eq!(policy["Statement"][0]["Principal"]["AWS"], "arn:aws-cn:iam::1:root");
        assert_eq!(key_policy(ARN, &[])["Statement"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn a_bad_alias_or_window_is_refused_before_any_call() {
        for bad in [json!({"alias": "a"}), json!({"alias": "alias/aws/s3"}), json!({"alias": "alias/"}), json!({"deletion_window_days": 6})] {
            let mut spec = json!({"alias": "alias/a", "description": ""});
            spec.as_object_mut().unwrap().extend(bad.as_object().unwrap().clone());
            assert!(serde_json::from_value::<Spec>(spec).is_err(), "{bad}");
        }
    }
}
