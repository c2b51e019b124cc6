//! A tenant's folder in a shared bucket: the object `{prefix}.keep`, which carries the ownership tags.
//!
//! The marker is put with `If-None-Match: *`, so it overwrites nobody's. Where there is no marker but other objects are there, the
//! folder is somebody else's, unless our record says it was ours: then an application has swept the marker away and it is put back,
//! or a deletion was cut short and goes on. Objects take at most 10 tags, so the marker carries the three of ownership and none of the operator's: nobody bills by
//! an empty object.

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{MetadataDirective, ServerSideEncryption, TaggingDirective};
use serde::{Deserialize, Deserializer, Serialize};

use super::Cx;
use crate::cloud::fault::{fault, is, status};
use crate::cloud::objects;
use crate::cloud::tags::{ADDRESS, Ownership, REGISTRY, TENANT, ownership};
use crate::engine::fault::Fault;
use crate::engine::kind::{Change, Deletion, Diff, Identity, Kind, Limit, Observed, Outputs, Ready, Suspension, Tags, Target, Timing};

/// The kind.
pub struct S3Prefix;

/// What a template may say of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The shared bucket.
    bucket: String,
    /// `city-lab/`: not empty and ending in `/`, since deleting it deletes all that begins with it.
    #[serde(deserialize_with = "folder")]
    prefix: String,
    /// ARN of the KMS key the marker is encrypted with; without one, as the bucket says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kms_key_arn: Option<String>,
}

fn folder<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    let text = String::deserialize(d)?;
    if is_folder(&text) || text.contains("${") { Ok(text) } else { Err(serde::de::Error::custom(format!("prefix `{text}` must end in `/` and name a folder"))) }
}

fn is_folder(prefix: &str) -> bool {
    prefix.strip_suffix('/').is_some_and(|name| name.split('/').all(|part| !part.is_empty()))
}

/// What `observe` reports.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    bucket: String,
    prefix: String,
    arn: String,
    /// Whether the marker is there. False while a deletion cut short has only objects left, or after an application swept it away.
    marker: bool,
    /// Key the marker is encrypted with, if with KMS.
    kms_key_arn: Option<String>,
}

fn marker(prefix: &str) -> String {
    format!("{prefix}.keep")
}

fn uri(bucket: &str, prefix: &str) -> String {
    format!("s3://{bucket}/{prefix}")
}

fn parts(id: &str) -> Option<(&str, &str)> {
    id.strip_prefix("s3://")?.split_once('/').filter(|(_, prefix)| is_folder(prefix))
}

/// The three ownership tags as `x-amz-tagging` wants them: form-encoded.
fn tagging(tags: &Tags) -> String {
    let encode = |text: &str| -> String {
        text.bytes().map(|b| if b.is_ascii_alphanumeric() || b"-._~".contains(&b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
    };
    let pairs = [TENANT, ADDRESS, REGISTRY].into_iter().filter_map(|key| Some(format!("{}={}", encode(key), encode(tags.get(key)?))));
    pairs.collect::<Vec<_>>().join("&")
}

async fn look(cx: &Cx, bucket: &str, prefix: &str, want: &Tags, ours_once: bool) -> Result<Observed<State>, Fault> {
    let (s3, key) = (&cx.cloud.s3, marker(prefix));
    let state = |marker: bool, kms_key_arn: Option<String>| State {
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
        arn: format!("arn:{}:s3:::{bucket}/{prefix}*", cx.cloud.partition()),
        marker,
        kms_key_arn,
    };
    let head = match s3.head_object().bucket(bucket).key(&key).send().await {
        Ok(found) => found,
        Err(e) if status(&e) == Some(404) => {
            return Ok(match (is_empty(cx, bucket, prefix).await?, ours_once) {
                (true, _) => Observed::Absent,
                (false, true) => Observed::Mine { id: uri(bucket, prefix), state: state(false, None) },
                (false, false) => Observed::Foreign("objects, or old versions of some, are there, but no `.keep` that says whose".to_owned()),
            });
        }
        Err(e) => return Err(fault("s3:HeadObject", e)),
    };
    let tags: Tags = match s3.get_object_tagging().bucket(bucket).key(&key).send().await {
        Ok(found) => found.tag_set.into_iter().map(|t| (t.key, t.value)).collect(),
        Err(e) => return Err(fault("s3:GetObjectTagging", e)),
    };
    if let Ownership::Foreign(whose) = ownership(&tags, want) {
        return Ok(Observed::Foreign(whose));
    }
    Ok(Observed::Mine { id: uri(bucket, prefix), state: state(true, head.ssekms_key_id) })
}

/// Whether nothing is left under the prefix, not even a noncurrent version: only then is a deletion done.
async fn is_empty(cx: &Cx, bucket: &str, prefix: &str) -> Result<bool, Fault> {
    match cx.cloud.s3.list_object_versions().bucket(bucket).prefix(prefix).max_keys(1).send().await {
        Ok(page) => Ok(page.versions().is_empty() && page.delete_markers().is_empty()),
        Err(e) if is(&e, &["NoSuchBucket"]) => Ok(true),
        Err(e) => Err(fault("s3:ListObjectVersions", e)),
    }
}

/// Puts the marker where there is none.
async fn put_marker(cx: &Cx, target: &Target<'_, Spec>) -> Result<(), Fault> {
    let spec = target.spec;
    let put = cx
        .cloud
        .once()
        .s3
        .put_object()
        .bucket(&spec.bucket)
        .key(marker(&spec.prefix))
        .if_none_match("*")
        .tagging(tagging(target.tags))
        .set_server_side_encryption(spec.kms_key_arn.is_some().then_some(ServerSideEncryption::AwsKms))
        .set_ssekms_key_id(spec.kms_key_arn.clone())
        .body(ByteStream::from_static(b""));
    match put.send().await {
        Ok(_) => Ok(()),
        // Perhaps by ourselves with a lost reply: the next look tells whose it is.
        Err(e) if status(&e) == Some(412) => Err(Fault::unknown("s3:PutObject", "PreconditionFailed", "a marker of that name exists already")),
        // Two conditional writes at once: neither may know yet who won.
        Err(e) if is(&e, &["ConditionalRequestConflict"]) => {
            Err(Fault::busy("s3:PutObject", "ConditionalRequestConflict", "somebody is putting the same marker"))
        }
        Err(e) if is(&e, &["NoSuchBucket"]) => {
            Err(fault("s3:PutObject", e).hint(format!("make the shared bucket {} first, or name the right one in the platform file", spec.bucket)))
        }
        Err(e) => Err(fault("s3:PutObject", e)),
    }
}

impl Kind for S3Prefix {
    type Cx = Cx;
    type Spec = Spec;
    type State = State;

    const NAME: &'static str = "s3_prefix";
    const IDENTITY: Identity = Identity::Name;
    const DELETION: Deletion = Deletion::Retain;
    /// S3 takes 3,500 writes a second per prefix; what binds is our own number of connections.
    const LIMIT: Limit = Limit { api: "s3:PutObject", per_second: 100.0, burst: 100, concurrency: 16 };
    const TIMING: Timing = Timing::secs(1, 60);
    const OUTPUTS: &'static [&'static str] = &["bucket", "prefix", "uri", "arn"];

    /// It stays: who may use it is the role's to lose.
    fn suspended(&self, spec: Spec, _level: Suspension) -> Spec {
        spec
    }

    async fn observe(&self, cx: &Cx, target: &Target<'_, Spec>, recorded: Option<&str>) -> Result<Observed<State>, Fault> {
        let spec = target.spec;
        let here = uri(&spec.bucket, &spec.prefix);
        // As with buckets: a folder that moved in the template must not quietly begin anew.
        if let Some((bucket, prefix)) = recorded.filter(|id| *id != here).and_then(parts)
            && let Observed::Mine { id, state } = look(cx, bucket, prefix, target.tags, true).await?
        {
            return Ok(Observed::Mine { id, state });
        }
        look(cx, &spec.bucket, &spec.prefix, target.tags, recorded == Some(here.as_str())).await
    }

    fn diff(&self, target: &Target<'_, Spec>, state: &State) -> Diff {
        let spec = target.spec;
        let (is, wanted) = (uri(&state.bucket, &state.prefix), uri(&spec.bucket, &spec.prefix));
        if is != wanted {
            return Diff::Forbidden(format!("the folder of this address is {is}, and moving it to {wanted} would leave its objects behind; copy them first"));
        }
        if !state.marker {
            return Diff::of([Change::new(".keep", "(none)", "there")]);
        }
        let key = spec.kms_key_arn.as_ref().filter(|key| state.kms_key_arn.as_ref() != Some(key));
        Diff::of(key.map(|key| Change::new("kms_key_arn", state.kms_key_arn.as_deref().unwrap_or("(as the bucket says)"), key)))
    }

    async fn create(&self, cx: &Cx, target: &Target<'_, Spec>, _token: &str) -> Result<String, Fault> {
        put_marker(cx, target).await?;
        Ok(uri(&target.spec.bucket, &target.spec.prefix))
    }

    async fn update(&self, cx: &Cx, target: &Target<'_, Spec>, _id: &str, state: &State) -> Result<(), Fault> {
        if !state.marker {
            return match put_marker(cx, target).await {
                // There by now, from an update cut off; the next look reads whose it is.
                Err(taken) if taken.code == "PreconditionFailed" => Ok(()),
                other => other,
            };
        }
        let (spec, key) = (target.spec, marker(&target.spec.prefix));
        // An object is re-encrypted by copying it onto itself, which S3 allows only where something else changes too: the metadata.
        cx.cloud
            .s3
            .copy_object()
            .bucket(&spec.bucket)
            .key(&key)
            .copy_source(format!("{}/{key}", spec.bucket))
            .metadata_directive(MetadataDirective::Replace)
            .tagging_directive(TaggingDirective::Copy)
            .set_server_side_encryption(spec.kms_key_arn.is_some().then_some(ServerSideEncryption::AwsKms))
            .set_ssekms_key_id(spec.kms_key_arn.clone())
            .send()
            .await
            .map(drop)
            .map_err(|e| fault("s3:CopyObject", e))
    }

    async fn delete(&self, cx: &Cx, _target: &Target<'_, Spec>, id: &str) -> Result<(), Fault> {
        let Some((bucket, prefix)) = parts(id) else {
            return Err(Fault::refused("s3:DeleteObjects", "invalid_id", format!("`{id}` names no folder; nothing was deleted")));
        };
        objects::remove_all(&cx.cloud.s3, bucket, prefix).await
    }

    fn ready(&self, _target: &Target<'_, Spec>, _state: &State) -> Ready {
        Ready::Ready
    }

    fn outputs(&self, _target: &Target<'_, Spec>, id: &str, state: &State) -> Outputs {
        Outputs::from([
            ("bucket".to_owned(), state.bucket.clone()),
            ("prefix".to_owned(), state.prefix.clone()),
            ("uri".to_owned(), id.to_owned()),
            ("arn".to_owned(), state.arn.clone()),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::tags::owned;
    use crate::engine::kind::Address;
    use serde_json::json;

    fn diff(spec: serde_json::Value, state: serde_json::Value) -> Diff {
        let address = Address::new("a", "s3_prefix", "data");
        let (spec, state) = (serde_json::from_value(spec).unwrap(), serde_json::from_value(state).unwrap());
        S3Prefix.diff(&Target { address: &address, spec: &spec, tags: &Tags::new() }, &state)
    }

    #[test]
    fn a_key_is_compared_only_where_one_is_asked_for_and_a_move_is_forbidden() {
        let state = json!({"bucket": "b", "prefix": "a/", "arn": "", "marker": true, "kms_key_arn": "k1"});
        assert_eq!(diff(json!({"bucket": "b", "prefix": "a/"}), state.clone()), Diff::Same);
        assert_eq!(diff(json!({"bucket": "b", "prefix": "a/", "kms_key_arn": "k1"}), state.clone()), Diff::Same);
        let moved = Diff::Update(vec![Change::new("kms_key_arn", "k1", "k2")]);
        assert_eq!(diff(json!({"bucket": "b", "prefix": "a/", "kms_key_arn": "k2"}), state.clone()), moved);
        let mut swept = state.clone();
        swept["marker"] = json!(false);
        assert_eq!(diff(json!({"bucket": "b", "prefix": "a/"}), swept), Diff::Update(vec![Change::new(".keep", "(none)", "there")]));
        assert!(matches!(diff(json!({"bucket": "c", "prefix": "a/"}), state), Diff::Forbidden(why) if why.contains("s3://b/a/")));
    }

    #[test]
    fn a_prefix_that_would_sweep_more_than_a_folder_is_refused() {
        for bad in ["", "/", "a", "a//", "/a/"] {
            assert!(serde_json::from_value::<Spec>(json!({"bucket": "b", "prefix": bad})).is_err(), "{bad:?}");
            assert_eq!(parts(&format!("s3://b/{bad}")), None, "{bad:?}");
        }
        assert_eq!(parts("s3://b/x/a/"), Some(("b", "x/a/")));
    }

    #[test]
    fn the_marker_carries_the_ownership_tags_alone_form_encoded() {
        let mut tags = owned(&Address::new("a", "s3_prefix", "data"), "r 1");
        tags.insert("Environment".into(), "production".into());
        assert_eq!(tagging(&tags), "labctl%3Atenant=a&labctl%3Aaddress=a%2Fs3_prefix%2Fdata&labctl%3Aregistry=r%201");
    }
}
