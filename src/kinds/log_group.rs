//! A CloudWatch Logs log group. Its name is unique in account and region; retention is a second call, so an update.
//!
//! A key is for what arrives from then on: CloudWatch does not encrypt earlier events again when the key changes.

use aws_sdk_cloudwatchlogs::operation::create_log_group::CreateLogGroupError;
use serde::{Deserialize, Deserializer, Serialize};

use super::Cx;
use crate::cloud::fault::{fault, is};
use crate::cloud::tags::{Ownership, ownership};
use crate::engine::fault::Fault;
use crate::engine::kind::{Change, Deletion, Diff, Identity, Kind, Limit, Observed, Outputs, Ready, Suspension, Tags, Target, Timing};

/// The kind.
pub struct LogGroup;

/// What a template may say of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Full name (`/ecs/mate-hospital-a-production/django`), 1–512 characters.
    name: String,
    /// Days until events expire; one of [`RETENTION`].
    #[serde(deserialize_with = "retention")]
    retention_days: i32,
    /// ARN of the KMS key to encrypt with; without one, CloudWatch's own key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kms_key_arn: Option<String>,
}

/// The values PutRetentionPolicy takes.
const RETENTION: &[i32] = &[1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653];

fn retention<'de, D: Deserializer<'de>>(from: D) -> Result<i32, D::Error> {
    let days = i32::deserialize(from)?;
    if RETENTION.contains(&days) {
        return Ok(days);
    }
    let next = RETENTION.iter().find(|d| **d > days).map_or_else(String::new, |d| format!("; the next longer one is {d}"));
    Err(serde::de::Error::custom(format!("retention_days is {days}, which CloudWatch Logs does not offer{next}")))
}

/// What `observe` reports.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    arn: String,
    retention_days: Option<i32>,
    kms_key_arn: Option<String>,
    tags: Tags,
}

impl Kind for LogGroup {
    type Cx = Cx;
    type Spec = Spec;
    type State = State;

    const NAME: &'static str = "log_group";
    const IDENTITY: Identity = Identity::Name;
    const DELETION: Deletion = Deletion::Delete;
    /// CreateLogGroup: 10 a second (CloudWatch Logs quotas).
    const LIMIT: Limit = Limit { api: "logs:CreateLogGroup", per_second: 10.0, burst: 10, concurrency: 8 };
    const TIMING: Timing = Timing::secs(1, 60);
    const OUTPUTS: &'static [&'static str] = &["arn", "name"];

    /// It stays: what happened before and during a suspension is what people will want to read.
    fn suspended(&self, spec: Spec, _level: Suspension) -> Spec {
        spec
    }

    async fn observe(&self, cx: &Cx, target: &Target<'_, Spec>, _recorded: Option<&str>) -> Result<Observed<State>, Fault> {
        // The search is by prefix, and AWS promises no order: the one meant may be on any page.
        let mut pages = cx.cloud.logs.describe_log_groups().log_group_name_prefix(&target.spec.name).into_paginator().items().send();
        let group = loop {
            match pages.next().await {
                None => return Ok(Observed::Absent),
                Some(Err(e)) => return Err(fault("logs:DescribeLogGroups", e)),
                Some(Ok(group)) if group.log_group_name() == Some(&target.spec.name) => break group,
                Some(Ok(_)) => {}
            }
        };
        // `arn` ends in `:*`, which ListTagsForResource refuses.
        let arn = group.arn().unwrap_or_default().trim_end_matches(":*").to_owned();
        let tags: Tags = match cx.cloud.logs.list_tags_for_resource().resource_arn(&arn).send().await {
            Ok(found) => found.tags.unwrap_or_default().into_iter().collect(),
            Err(e) if is(&e, &["ResourceNotFoundException"]) => return Ok(Observed::Absent),
            Err(e) => return Err(fault("logs:ListTagsForResource", e)),
        };
        if let Ownership::Foreign(whose) = ownership(&tags, target.tags) {
            return Ok(Observed::Foreign(whose));
        }
        let state = State { arn, retention_days: group.retention_in_days(), kms_key_arn: group.kms_key_id().map(ToOwned::to_owned), tags };
        Ok(Observed::Mine { id: target.spec.name.clone(), state })
    }

    fn diff(&self, target: &Target<'_, Spec>, state: &State) -> Diff {
        let mut changes = Change::tags(&state.tags, target.tags);
        changes.extend(Change::between("retention_days", &state.retention_days, &Some(target.spec.retention_days)));
        changes.extend(Change::between("kms_key_arn", &state.kms_key_arn, &target.spec.kms_key_arn));
        Diff::of(changes)
    }

    async fn create(&self, cx: &Cx, target: &Target<'_, Spec>, _token: &str) -> Result<String, Fault> {
        let made = cx
            .cloud
            .once()
            .logs
            .create_log_group()
            .log_group_name(&target.spec.name)
            .set_kms_key_id(target.spec.kms_key_arn.clone())
            .set_tags(Some(target.tags.clone().into_iter().collect()))
            .send()
            .await;
        match made {
            Ok(_) => Ok(target.spec.name.clone()),
            // Somebody was faster, perhaps we ourselves with a lost reply: the next look tells whose it is.
            Err(e) if e.as_service_error().is_some_and(CreateLogGroupError::is_resource_already_exists_exception) => {
                Err(Fault::unknown("logs:CreateLogGroup", "ResourceAlreadyExistsException", "a log group of that name exists already"))
            }
            Err(e) => Err(fault("logs:CreateLogGroup", e)),
        }
    }

    async fn update(&self, cx: &Cx, target: &Target<'_, Spec>, id: &str, state: &State) -> Result<(), Fault> {
        let logs = &cx.cloud.logs;
        if state.retention_days != Some(target.spec.retention_days) {
            logs.put_retention_policy()
                .log_group_name(id)
                .retention_in_days(target.spec.retention_days)
                .send()
                .await
                .map_err(|e| fault("logs:PutRetentionPolicy", e))?;
        }
        match &target.spec.kms_key_arn {
            want if *want == state.kms_key_arn => {}
            Some(key) => {
                logs.associate_kms_key().log_group_name(id).kms_key_id(key).send().await.map_err(|e| fault("logs:AssociateKmsKey", e))?;
            }
            None => {
                logs.disassociate_kms_key().log_group_name(id).send().await.map_err(|e| fault("logs:DisassociateKmsKey", e))?;
            }
        }
        if !Change::tags(&state.tags, target.tags).is_empty() {
            logs.tag_resource()
                .resource_arn(&state.arn)
                .set_tags(Some(target.tags.clone().into_iter().collect()))
                .send()
                .await
                .map_err(|e| fault("logs:TagResource", e))?;
        }
        Ok(())
    }

    async fn delete(&self, cx: &Cx, _target: &Target<'_, Spec>, id: &str) -> Result<(), Fault> {
        match cx.cloud.logs.delete_log_group().log_group_name(id).send().await {
            Err(e) if !is(&e, &["ResourceNotFoundException"]) => Err(fault("logs:DeleteLogGroup", e)),
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
mod tests {
    use super::*;
    use crate::cloud::scripted::Script;
    use crate::cloud::tags::owned;
    use crate::engine::kind::Address;
    use serde_json::json;

    fn spec(name: &str) -> Spec {
        serde_json::from_value(json!({"name": name, "retention_days": 30})).unwrap()
    }

    #[tokio::test]
    async fn a_group_on_the_second_page_is_found() {
        let other = json!({"logGroups": [{"logGroupName": "/ecs/a-b", "arn": "arn:other:*"}], "nextToken": "more"});
        let mine = json!({"logGroups": [{"logGroupName": "/ecs/a", "arn": "arn:mine:*", "retentionInDays": 30}]});
        let (address, spec) = (Address::new("t", "log_group", "web"), spec("/ecs/a"));
        let tags = owned(&address, "r");
        let script = Script::new().then("DescribeLogGroups", 200, other.to_string()).then("DescribeLogGroups", 200, mine.to_string()).then(
            "ListTagsForResource",
            200,
            json!({"tags": tags}).to_string(),
        );
        let target = Target { address: &address, spec: &spec, tags: &tags };
        let Observed::Mine { id, state } = LogGroup.observe(&Cx::scripted(&script).await, &target, None).await.unwrap() else { panic!("not found") };
        assert_eq!((id.as_str(), state.arn.as_str()), ("/ecs/a", "arn:mine"));
        assert_eq!(LogGroup.diff(&target, &state), Diff::Same);
    }

    #[test]
    fn a_retention_cloudwatch_does_not_offer_is_refused_with_the_next_longer_one() {
        let error = serde_json::from_value::<Spec>(json!({"name": "x", "retention_days": 2190})).unwrap_err().to_string();
        assert!(error.contains("the next longer one is 2192"), "{error}");
    }
}
