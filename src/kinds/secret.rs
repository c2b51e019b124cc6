//! A secret in Secrets Manager: a JSON object of plain values (host, port, user) and generated ones (passwords). Its name is unique in
//! account and region.
//!
//! # What is secret stays here
//! Generated values are drawn from the operating system, go into one call, and are in memory as [`SecretString`] only. [`State`] holds
//! fingerprints of the plain values and the *names* of the others: not even a key that changes from generated to plain can leak.
//! A key that is there is never generated again; other keys of the secret are left as they are.
//!
//! # Deletion
//! Secrets Manager keeps a deleted secret for a recovery window, and its name with it. One of ours counts as absent then, and creating it
//! again restores it, passwords included. Somebody else's stays foreign.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_secretsmanager::operation::describe_secret::DescribeSecretOutput;
use aws_sdk_secretsmanager::types::Tag;
use rand::TryRng;
use rand::rngs::SysRng;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Cx;
use crate::cloud::fault::{fault, is};
use crate::cloud::tags::{Ownership, list, ownership};
use crate::cloud::token::{client_token, hex};
use crate::engine::fault::Fault;
use crate::engine::kind::{Change, Deletion, Diff, Identity, Kind, Limit, Observed, Outputs, Ready, Suspension, Tags, Target, Timing};

/// The kind.
pub struct Secret;

/// What a template may say of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// 1–512 letters, digits and `/_+=.@-`.
    name: String,
    /// Key to encrypt with; without one, Secrets Manager's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kms_key_arn: Option<String>,
    /// What is not secret (host, port, user), stored beside what is.
    #[serde(default, deserialize_with = "plain_only")]
    values: BTreeMap<String, String>,
    /// Keys for which a value is generated.
    #[serde(default)]
    generate: BTreeSet<String>,
    /// Keys that take the value of another key (`password` that of `next_password`), which is gone then. Where the other is not there,
    /// that has been done.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    promote: BTreeMap<String, String>,
    /// Days a deleted secret can be restored, 7–30.
    #[serde(default = "a_month", deserialize_with = "window")]
    recovery_window_days: i64,
    /// For people.
    #[serde(default)]
    description: String,
}

fn a_month() -> i64 {
    30
}

fn window<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
    let days = i64::deserialize(from)?;
    if (7..=30).contains(&days) { Ok(days) } else { Err(serde::de::Error::custom(format!("recovery_window_days is {days}; Secrets Manager takes 7 to 30"))) }
}

/// Specs are kept in the registry and shown to people: no place for a secret.
fn plain_only<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    let read = BTreeMap::<String, String>::deserialize(from)?;
    let words = ["password", "passwd", "secret", "token", "credential"];
    match read.keys().find(|k| words.iter().any(|w| k.to_lowercase().contains(w)) && !k.to_lowercase().ends_with("_arn")) {
        None => Ok(read),
        Some(key) => Err(serde::de::Error::custom(format!("value {key} looks like a secret, which has no place in a template: list it under `generate`"))),
    }
}

/// What `observe` reports. Nothing in it is secret.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    arn: String,
    kms_key_arn: Option<String>,
    description: String,
    /// Fingerprints of the values of those keys that the template gives plainly.
    fingerprints: BTreeMap<String, String>,
    /// Names of all keys that have a value.
    keys: BTreeSet<String>,
    /// Whether the secret is a JSON object (or has no value at all).
    object: bool,
    tags: Tags,
}

/// Length of a generated value: 62^32 is 190 bits.
const LENGTH: usize = 32;
/// Letters and digits only: fit for a URL, a DSN, a shell and a SQL literal without quoting.
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

fn generate() -> Result<SecretString, Fault> {
    let mut text = String::with_capacity(LENGTH);
    let mut bytes = [0_u8; 2 * LENGTH];
    while text.len() < LENGTH {
        SysRng.try_fill_bytes(&mut bytes).map_err(|e| Fault::refused("secretsmanager:CreateSecret", "no_random_numbers", e.to_string()))?;
        // 248 is the largest multiple of 62 in a byte: what lies above would favour the first letters.
        let letters = bytes.iter().filter(|b| **b < 248).map(|b| char::from(ALPHABET[usize::from(*b % 62)]));
        text.extend(letters.take(LENGTH - text.len()));
    }
    bytes.fill(0);
    Ok(SecretString::from(text))
}

/// The JSON text of a secret: what is in it (`old`) with what is promoted, the plain values put over it, and what is still missing
/// generated.
fn compose(spec: &Spec, old: BTreeMap<String, SecretString>) -> Result<SecretString, Fault> {
    let mut all = old;
    for (key, from) in &spec.promote {
        if let Some(value) = all.remove(from) {
            all.insert(key.clone(), value);
        }
    }
    for (key, value) in &spec.values {
        all.insert(key.clone(), SecretString::from(value.clone()));
    }
    for key in &spec.generate {
        if !all.contains_key(key) {
            all.insert(key.clone(), generate()?);
        }
    }
    let exposed: BTreeMap<&str, &str> = all.iter().map(|(k, v)| (k.as_str(), v.expose_secret())).collect();
    let text = serde_json::to_string(&exposed)
        .map_err(|_| Fault::refused("secretsmanager:PutSecretValue", "invalid_value", "the values cannot be written as JSON"))?;
    Ok(SecretString::from(text))
}

/// The values of a secret by key. `None` when it is not a JSON object; the parser's own words are not repeated, they may quote it.
fn parse(text: &SecretString) -> Option<BTreeMap<String, SecretString>> {
    let Ok(Value::Object(entries)) = serde_json::from_str(text.expose_secret()) else { return None };
    Some(
        entries
            .into_iter()
            .map(|(k, v)| match v {
                Value::String(text) => (k, SecretString::from(text)),
                other => (k, SecretString::from(other.to_string())),
            })
            .collect(),
    )
}

/// Enough to tell whether a plain value is still the wanted one, and too little to tell what it is.
fn fingerprint(arn: &str, key: &str, value: &str) -> String {
    hex(&Sha256::digest(format!("{arn}\n{key}\n{value}").as_bytes()))[..16].to_owned()
}

fn own(tags: &[Tag]) -> Tags {
    tags.iter().map(|t| (t.key().unwrap_or_default().to_owned(), t.value().unwrap_or_default().to_owned())).collect()
}

fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build()
}

/// Secrets Manager leaves its own key out, or names it by its alias.
fn own_key(key: Option<&str>) -> Option<String> {
    key.filter(|k| !k.ends_with("alias/aws/secretsmanager")).map(ToOwned::to_owned)
}

const ABSENT: &[&str] = &["ResourceNotFoundException"];

async fn describe(cx: &Cx, id: &str) -> Result<Option<DescribeSecretOutput>, Fault> {
    match cx.cloud.secrets.describe_secret().secret_id(id).send().await {
        Ok(found) => Ok(Some(found)),
        Err(e) if is(&e, ABSENT) => Ok(None),
        Err(e) => Err(fault("secretsmanager:DescribeSecret", e)),
    }
}

/// The current value. `None` when there is none.
async fn current(cx: &Cx, arn: &str) -> Result<Option<SecretString>, Fault> {
    match cx.cloud.secrets.get_secret_value().secret_id(arn).send().await {
        Ok(found) => Ok(found.secret_string.map(SecretString::from)),
        Err(e) if is(&e, ABSENT) => Ok(None),
        Err(e) => Err(fault("secretsmanager:GetSecretValue", e)),
    }
}

/// What differs, tags apart.
fn changes(spec: &Spec, state: &State) -> Vec<Change> {
    let values = spec.values.iter().filter(|(key, value)| state.fingerprints.get(*key) != Some(&fingerprint(&state.arn, key, value)));
    let values = values.map(|(key, value)| Change::new(format!("values.{key}"), if state.keys.contains(key) { "(another value)" } else { "(none)" }, value));
    let generated = spec.generate.iter().filter(|k| !state.keys.contains(*k)).map(|k| Change::new(format!("generate.{k}"), "(none)", "(generated)"));
    let promoted = spec.promote.iter().filter(|(_, from)| state.keys.contains(*from));
    let promoted = promoted.map(|(key, from)| Change::new(format!("promote.{key}"), "(the value so far)", format!("(that of {from})")));
    let description = Change::between("description", &state.description, &spec.description);
    let key = Change::between("kms_key_arn", &state.kms_key_arn, &spec.kms_key_arn);
    values.chain(generated).chain(promoted).chain(description).chain(key).collect()
}

impl Secret {
    /// Restores a secret of ours that waits for its deletion. `None` when there is none such.
    async fn restore(cx: &Cx, target: &Target<'_, Spec>) -> Result<Option<String>, Fault> {
        let Some(found) = describe(cx, &target.spec.name).await? else { return Ok(None) };
        if found.deleted_date().is_none() || ownership(&own(found.tags()), target.tags) != Ownership::Mine {
            return Ok(None);
        }
        cx.cloud.secrets.restore_secret().secret_id(&target.spec.name).send().await.map_err(|e| fault("secretsmanager:RestoreSecret", e))?;
        Ok(found.arn)
    }
}

impl Kind for Secret {
    type Cx = Cx;
    type Spec = Spec;
    type State = State;

    const NAME: &'static str = "secret";
    const IDENTITY: Identity = Identity::Name;
    /// A lost password can be set anew, and the recovery window gives it back: it is not data of the tenant's.
    const DELETION: Deletion = Deletion::Delete;
    /// CreateSecret, PutSecretValue and the like: 50 a second (Secrets Manager quotas).
    const LIMIT: Limit = Limit { api: "secretsmanager", per_second: 50.0, burst: 50, concurrency: 8 };
    const TIMING: Timing = Timing::secs(1, 60);
    const OUTPUTS: &'static [&'static str] = &["arn", "name"];
    /// The ARN stays, but what is read by it does not: roles take their passwords anew from a secret that was updated.
    const VOLATILE: &'static [&'static str] = &["arn"];

    /// It stays: its value lets nobody in whose role may not log in, and what is to be resumed must find it unchanged.
    fn suspended(&self, spec: Spec, _level: Suspension) -> Spec {
        spec
    }

    async fn observe(&self, cx: &Cx, target: &Target<'_, Spec>, _recorded: Option<&str>) -> Result<Observed<State>, Fault> {
        let Some(found) = describe(cx, &target.spec.name).await? else { return Ok(Observed::Absent) };
        let tags = own(found.tags());
        if let Ownership::Foreign(whose) = ownership(&tags, target.tags) {
            let leaving = if found.deleted_date().is_some() { ", and waits for its deletion" } else { "" };
            return Ok(Observed::Foreign(format!("{whose}{leaving}")));
        }
        if found.deleted_date().is_some() {
            return Ok(Observed::Absent);
        }
        let arn = found.arn().unwrap_or_default().to_owned();
        let value = current(cx, &arn).await?;
        let values = value.as_ref().map_or_else(|| Some(BTreeMap::new()), parse);
        let object = values.is_some();
        let values = values.unwrap_or_default();
        let plain = values.iter().filter(|(k, _)| target.spec.values.contains_key(*k));
        let state = State {
            kms_key_arn: own_key(found.kms_key_id()),
            description: found.description().unwrap_or_default().to_owned(),
            fingerprints: plain.map(|(k, v)| (k.clone(), fingerprint(&arn, k, v.expose_secret()))).collect(),
            keys: values.iter().filter(|(_, v)| !v.expose_secret().is_empty()).map(|(k, _)| k.clone()).collect(),
            object,
            tags,
            arn: arn.clone(),
        };
        Ok(Observed::Mine { id: arn, state })
    }

    fn diff(&self, target: &Target<'_, Spec>, state: &State) -> Diff {
        if !state.object {
            return Diff::Forbidden(
                "its value is not a JSON object, so it was written by something else: make it one, or give this secret another name".to_owned(),
            );
        }
        Diff::of(changes(target.spec, state).into_iter().chain(Change::tags(&state.tags, target.tags)))
    }

    async fn create(&self, cx: &Cx, target: &Target<'_, Spec>, token: &str) -> Result<String, Fault> {
        let spec = target.spec;
        let value = compose(spec, BTreeMap::new())?;
        let made = cx
            .cloud
            .once()
            .secrets
            .create_secret()
            .name(&spec.name)
            .client_request_token(client_token(token))
            .set_description(Some(spec.description.clone()).filter(|d| !d.is_empty()))
            .set_kms_key_id(spec.kms_key_arn.clone())
            .secret_string(value.expose_secret())
            .set_tags(Some(list(target.tags, tag)))
            .send()
            .await;
        match made {
            Ok(made) => Ok(made.arn.unwrap_or_else(|| spec.name.clone())),
            // It waits for its deletion; or it was made with another password by an earlier try whose reply was lost. The next look
            // tells whose it is, and an earlier password is as good as this one.
            Err(e) if is(&e, &["InvalidRequestException", "ResourceExistsException"]) => match Self::restore(cx, target).await? {
                Some(arn) => Ok(arn),
                None => {
                    Err(Fault::unknown("secretsmanager:CreateSecret", "ResourceExistsException", "a secret of that name exists already, or is being deleted"))
                }
            },
            Err(e) => Err(fault("secretsmanager:CreateSecret", e)),
        }
    }

    async fn update(&self, cx: &Cx, target: &Target<'_, Spec>, id: &str, state: &State) -> Result<(), Fault> {
        let (secrets, spec) = (&cx.cloud.secrets, target.spec);
        let fields: BTreeSet<String> = changes(spec, state).into_iter().map(|c| c.field).collect();
        if fields.contains("kms_key_arn") || fields.contains("description") {
            // Secrets Manager's own key has to be named to go back to it.
            let key = spec.kms_key_arn.clone().unwrap_or_else(|| "alias/aws/secretsmanager".to_owned());
            let updated = secrets.update_secret().secret_id(id).kms_key_id(key).description(&spec.description).send().await;
            updated.map_err(|e| fault("secretsmanager:UpdateSecret", e))?;
        }
        if fields.iter().any(|f| ["values.", "generate.", "promote."].iter().any(|part| f.starts_with(part))) {
            let old = current(cx, id).await?.as_ref().map_or_else(|| Some(BTreeMap::new()), parse);
            let Some(old) = old else {
                return Err(Fault::refused("secretsmanager:PutSecretValue", "not_an_object", "the secret's value is not a JSON object"));
            };
            let kept = old.into_iter().filter(|(_, v)| !v.expose_secret().is_empty()).collect();
            let value = compose(spec, kept)?;
            let put = secrets.put_secret_value().secret_id(id).secret_string(value.expose_secret()).send().await;
            put.map_err(|e| fault("secretsmanager:PutSecretValue", e))?;
        }
        if !Change::tags(&state.tags, target.tags).is_empty() {
            let tagged = secrets.tag_resource().secret_id(id).set_tags(Some(list(target.tags, tag))).send().await;
            tagged.map_err(|e| fault("secretsmanager:TagResource", e))?;
        }
        Ok(())
    }

    async fn delete(&self, cx: &Cx, target: &Target<'_, Spec>, id: &str) -> Result<(), Fault> {
        match cx.cloud.secrets.delete_secret().secret_id(id).recovery_window_in_days(target.spec.recovery_window_days).send().await {
            Err(e) if is(&e, ABSENT) => Ok(()),
            Err(e) if is(&e, &["InvalidRequestException"]) => match describe(cx, id).await? {
                Some(found) if found.deleted_date().is_none() => Err(fault("secretsmanager:DeleteSecret", e)),
                _ => Ok(()),
            },
            Err(e) => Err(fault("secretsmanager:DeleteSecret", e)),
            Ok(_) => Ok(()),
        }
    }

    fn ready(&self, _target: &Target<'_, Spec>, _state: &State) -> Ready {
        Ready::Ready
    }

    fn outputs(&self, target: &Target<'_, Spec>, _id: &str, state: &State) -> Outputs {
        Outputs::from([("arn".to_owned(), state.arn.clone()), ("name".to_owned(), target.spec.name.clone())])
    }
}

#[cfg(test)]
mod tests;
