//! An ECS task definition for Fargate: the newest revision of a family.
//!
//! # Identity
//! Every RegisterTaskDefinition makes another revision, and a revision never changes. So each carries, in the call that makes it, the
//! ownership tags and a digest of what was asked for ([`CONTENT`]). Looking at the newest ACTIVE revision then tells for certain whether
//! it is ours and whether it is the one wanted, even when the reply was lost, and whatever defaults ECS has filled in. The id is the
//! ARN of that revision: it moves on with every update.
//!
//! # Deletion
//! Deregisters all ACTIVE revisions that are ours, then deletes all INACTIVE ones: they name the tenant's roles, secrets and log groups. So that
//! a deletion cut off between the two goes on, the revision on record is reported as long as it can be described, ACTIVE or not.

use std::collections::BTreeMap;

use aws_sdk_ecs::types::{
    Compatibility, ContainerDefinition, CpuArchitecture, HealthCheck as EcsHealthCheck, KeyValuePair, LinuxParameters, LogConfiguration, LogDriver,
    NetworkMode, OsFamily, PortMapping, RuntimePlatform, Secret as EcsSecret, Tag, TaskDefinition, TaskDefinitionField, TaskDefinitionStatus,
    TransportProtocol,
};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest, Sha256};

use super::Cx;
use crate::cloud::fault::{fault, is};
use crate::cloud::tags::{Ownership, list, ownership};
use crate::cloud::token::hex;
use crate::engine::fault::Fault;
use crate::engine::kind::{Change, Deletion, Diff, Identity, Kind, Limit, Observed, Outputs, Ready, Suspension, Tags, Target, Timing};

/// Tag with the digest of what a revision was registered with.
const CONTENT: &str = "labctl:content";

/// The kind.
pub struct EcsTaskDefinition;

/// What a template may say of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// 1–255 letters, digits, hyphens and underscores.
    family: String,
    /// CPU units of the task (1024 = one vCPU); one of Fargate's sizes.
    cpu: u32,
    /// MiB of the task; one of the sizes Fargate offers for that CPU.
    memory: u32,
    /// Role of the containers' own calls.
    task_role_arn: String,
    /// Role by which ECS pulls images, reads secrets and writes logs.
    execution_role_arn: String,
    /// `X86_64` or `ARM64`.
    #[serde(default)]
    architecture: Architecture,
    /// What runs in it.
    containers: Vec<Container>,
}

/// Processor architecture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Architecture {
    #[default]
    #[serde(rename = "X86_64")]
    X86,
    #[serde(rename = "ARM64")]
    Arm,
}

/// One container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Container {
    name: String,
    image: String,
    /// What to run instead of the image's own command.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    command: Vec<String>,
    /// TCP port it listens on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    /// Plain settings. What looks like a secret is refused.
    #[serde(default, deserialize_with = "plain_only")]
    environment: BTreeMap<String, String>,
    /// Secrets by ARN (`arn:…:secret:name:json-key::`), fetched by ECS when the task starts.
    #[serde(default, deserialize_with = "arns_only")]
    secrets: BTreeMap<String, String>,
    /// CloudWatch log group.
    log_group: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    health_check: Option<HealthCheck>,
    /// Whether the task ends when this container does.
    #[serde(default = "yes")]
    essential: bool,
    /// `uid`, `uid:gid` or a name, instead of the image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    /// Off by default: Fargate has no tmpfs, and most frameworks write to `/tmp`.
    #[serde(default)]
    readonly_root: bool,
    /// Seconds between SIGTERM and SIGKILL, 2–120: time for a worker to finish its task.
    #[serde(default = "half_a_minute")]
    stop_timeout: i32,
}

/// A container's health check. Times are in seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HealthCheck {
    /// `["CMD-SHELL", "curl -f http://localhost:8000/health || exit 1"]`.
    command: Vec<String>,
    #[serde(default = "half_a_minute")]
    interval: i32,
    #[serde(default = "five")]
    timeout: i32,
    #[serde(default = "three")]
    retries: i32,
    /// Failures during this time after the start do not count.
    #[serde(default = "a_minute")]
    start_period: i32,
}

fn yes() -> bool {
    true
}
fn three() -> i32 {
    3
}
fn five() -> i32 {
    5
}
fn half_a_minute() -> i32 {
    30
}
fn a_minute() -> i32 {
    60
}

/// Words in a variable's name that promise a secret.
const SECRET_WORDS: &[&str] = &["PASSWORD", "PASSWD", "SECRET", "TOKEN", "KEY", "CREDENTIAL", "CREDENTIALS"];
/// Last words by which it only names one, or says something about it.
const HARMLESS_ENDS: &[&str] =
    &["ARN", "ID", "NAME", "PREFIX", "FILE", "PATH", "ALIAS", "SECONDS", "MINUTES", "HOURS", "DAYS", "TTL", "LENGTH", "ENABLED", "REQUIRED"];

/// Whether a variable of that name and value would put a secret where everybody who may describe a task definition can read it.
fn looks_secret(name: &str, value: &str) -> bool {
    let upper = name.to_uppercase();
    let words: Vec<&str> = upper.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    let named = words.iter().any(|w| SECRET_WORDS.contains(w)) && !words.last().is_some_and(|w| HARMLESS_ENDS.contains(w));
    // `postgres://user:password@host/…`
    let url = value.split_once("://").and_then(|(_, rest)| rest.split('/').next()?.rsplit_once('@')).is_some_and(|(user, _)| user.contains(':'));
    !value.is_empty() && (named || url)
}

fn plain_only<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    let read = BTreeMap::<String, String>::deserialize(from)?;
    match read.iter().find(|(name, value)| looks_secret(name, value)) {
        None => Ok(read),
        Some((name, _)) => Err(serde::de::Error::custom(format!(
            "environment variable {name} looks like a secret: put it under `secrets`, by the ARN it has in Secrets Manager"
        ))),
    }
}

fn arns_only<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    let read = BTreeMap::<String, String>::deserialize(from)?;
    match read.iter().find(|(_, value)| !value.starts_with("arn:") && !value.starts_with("${")) {
        None => Ok(read),
        // The value is not repeated: it may be the secret itself.
        Some((name, _)) => Err(serde::de::Error::custom(format!("secret {name} is not the ARN of a secret (`arn:…:secret:name:json-key::`)"))),
    }
}

/// What `observe` reports of the newest revision.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    arn: String,
    /// What it runs, in the words of a spec; only for telling people what differs.
    content: Spec,
    /// The digest it was registered with.
    digest: Option<String>,
    /// Whether it can be run: not once it was deregistered.
    active: bool,
    tags: Tags,
}

/// The digest of what RegisterTaskDefinition would be asked for. Changes when labctl itself changes what it asks for ([`SHAPE`]).
fn digest(spec: &Spec) -> Result<String, Fault> {
    let text = serde_json::to_string(spec).map_err(|e| Fault::refused("ecs:RegisterTaskDefinition", "invalid_spec", e.to_string()))?;
    Ok(hex(&Sha256::digest(format!("{SHAPE}{text}").as_bytes()))[..32].to_owned())
}

/// Raise this when [`EcsTaskDefinition::register`] sets anything else than before: existing families then get a new revision.
const SHAPE: u32 = 1;

fn container(spec: &Container, region: &str, family: &str) -> Result<ContainerDefinition, Fault> {
    let refused = |e: aws_smithy_types::error::operation::BuildError| Fault::refused("ecs:RegisterTaskDefinition", "invalid_spec", e.to_string());
    let secrets =
        spec.secrets.iter().map(|(name, arn)| EcsSecret::builder().name(name).value_from(arn).build().map_err(refused)).collect::<Result<Vec<_>, _>>()?;
    let health = spec
        .health_check
        .as_ref()
        .map(|h| {
            EcsHealthCheck::builder()
                .set_command(Some(h.command.clone()))
                .interval(h.interval)
                .timeout(h.timeout)
                .retries(h.retries)
                .start_period(h.start_period)
                .build()
                .map_err(refused)
        })
        .transpose()?;
    // Non-blocking: a CloudWatch that answers slowly must not stop the application's writes to stdout.
    let logs = LogConfiguration::builder()
        .log_driver(LogDriver::Awslogs)
        .options("awslogs-group", &spec.log_group)
        .options("awslogs-region", region)
        .options("awslogs-stream-prefix", family)
        .options("mode", "non-blocking")
        .options("max-buffer-size", "25m")
        .build()
        .map_err(refused)?;
    Ok(ContainerDefinition::builder()
        .name(&spec.name)
        .image(&spec.image)
        .essential(spec.essential)
        .set_command(Some(spec.command.clone()).filter(|c| !c.is_empty()))
        .set_port_mappings(spec.port.map(|p| vec![PortMapping::builder().container_port(p.into()).protocol(TransportProtocol::Tcp).build()]))
        .set_environment(Some(spec.environment.iter().map(|(k, v)| KeyValuePair::builder().name(k).value(v).build()).collect()))
        .set_secrets(Some(secrets))
        .log_configuration(logs)
        .set_health_check(health)
        .set_user(spec.user.clone())
        .readonly_root_filesystem(spec.readonly_root)
        // A process that reaps zombies and passes signals on: image entry points are often shells that do neither.
        .linux_parameters(LinuxParameters::builder().init_process_enabled(true).build())
        .stop_timeout(spec.stop_timeout)
        .build())
}

fn read_container(is: &ContainerDefinition) -> Container {
    let text = |v: Option<&str>| v.unwrap_or_default().to_owned();
    Container {
        name: text(is.name()),
        image: text(is.image()),
        command: is.command().to_vec(),
        port: is.port_mappings().first().and_then(|p| p.container_port()).and_then(|p| p.try_into().ok()),
        environment: is.environment().iter().map(|e| (text(e.name()), text(e.value()))).collect(),
        secrets: is.secrets().iter().map(|s| (s.name().to_owned(), s.value_from().to_owned())).collect(),
        log_group: is.log_configuration().and_then(|l| l.options()?.get("awslogs-group").cloned()).unwrap_or_default(),
        health_check: is.health_check().map(|h| HealthCheck {
            command: h.command().to_vec(),
            interval: h.interval().unwrap_or(30),
            timeout: h.timeout().unwrap_or(5),
            retries: h.retries().unwrap_or(3),
            start_period: h.start_period().unwrap_or(0),
        }),
        essential: is.essential().unwrap_or(true),
        user: is.user().map(ToOwned::to_owned),
        readonly_root: is.readonly_root_filesystem().unwrap_or_default(),
        stop_timeout: is.stop_timeout().unwrap_or(30),
    }
}

fn read(is: &TaskDefinition) -> Spec {
    let number = |v: Option<&str>| v.and_then(|v| v.parse().ok()).unwrap_or_default();
    let arm = is.runtime_platform().and_then(|p| p.cpu_architecture()) == Some(&CpuArchitecture::Arm64);
    Spec {
        family: is.family().unwrap_or_default().to_owned(),
        cpu: number(is.cpu()),
        memory: number(is.memory()),
        task_role_arn: is.task_role_arn().unwrap_or_default().to_owned(),
        execution_role_arn: is.execution_role_arn().unwrap_or_default().to_owned(),
        architecture: if arm { Architecture::Arm } else { Architecture::X86 },
        containers: is.container_definitions().iter().map(read_container).collect(),
    }
}

/// The differing fields, for people: `containers.web.image: a → b`. Values of variables are named, not shown.
fn differing(is: &Spec, want: &Spec) -> Vec<Change> {
    let mut changes: Vec<Change> = [
        Change::between("cpu", &is.cpu, &want.cpu),
        Change::between("memory", &is.memory, &want.memory),
        Change::between("task_role_arn", &is.task_role_arn, &want.task_role_arn),
        Change::between("execution_role_arn", &is.execution_role_arn, &want.execution_role_arn),
        Change::between("architecture", &is.architecture, &want.architecture),
    ]
    .into_iter()
    .flatten()
    .collect();
    for new in &want.containers {
        let at = |field: &str| format!("containers.{}.{field}", new.name);
        let Some(old) = is.containers.iter().find(|c| c.name == new.name) else {
            changes.push(Change::new(format!("containers.{}", new.name), "(none)", &new.image));
            continue;
        };
        changes.extend(Change::between(&at("image"), &old.image, &new.image));
        changes.extend(Change::between(&at("command"), &old.command, &new.command));
        changes.extend(Change::between(&at("port"), &old.port, &new.port));
        changes.extend(Change::between(&at("log_group"), &old.log_group, &new.log_group));
        changes.extend(Change::between(&at("health_check"), &old.health_check, &new.health_check));
        changes.extend(Change::between(&at("user"), &old.user, &new.user));
        changes.extend(Change::between(&at("readonly_root"), &old.readonly_root, &new.readonly_root));
        changes.extend(Change::between(&at("stop_timeout"), &old.stop_timeout, &new.stop_timeout));
        for (what, old, new) in [("environment", &old.environment, &new.environment), ("secrets", &old.secrets, &new.secrets)] {
            changes.extend(
                new.iter()
                    .filter(|(k, v)| old.get(*k) != Some(v))
                    .map(|(k, _)| Change::new(at(&format!("{what}.{k}")), if old.contains_key(k) { "(set)" } else { "(none)" }, "(as wanted)")),
            );
            changes.extend(old.keys().filter(|k| !new.contains_key(*k)).map(|k| Change::new(at(&format!("{what}.{k}")), "(set)", "(none)")));
        }
    }
    let gone = is.containers.iter().filter(|c| want.containers.iter().all(|w| w.name != c.name));
    changes.extend(gone.map(|c| Change::new(format!("containers.{}", c.name), &c.image, "(none)")));
    changes
}

fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build()
}

fn own(tags: &[Tag]) -> Tags {
    tags.iter().map(|t| (t.key().unwrap_or_default().to_owned(), t.value().unwrap_or_default().to_owned())).collect()
}

/// The newest ACTIVE revision of a family, or the very revision an ARN names, ACTIVE or INACTIVE. One that is being deleted is gone.
async fn describe(cx: &Cx, which: &str) -> Result<Option<(TaskDefinition, Tags)>, Fault> {
    match cx.cloud.ecs.describe_task_definition().task_definition(which).include(TaskDefinitionField::Tags).send().await {
        Ok(found) => {
            let tags = own(found.tags());
            Ok(found.task_definition.filter(|d| d.status() != Some(&TaskDefinitionStatus::DeleteInProgress)).map(|definition| (definition, tags)))
        }
        // ECS has no code of its own for this; other ClientExceptions are refusals.
        Err(e) if is(&e, &["ClientException"]) && e.message().is_some_and(|m| m.contains("Unable to describe task definition")) => Ok(None),
        Err(e) => Err(fault("ecs:DescribeTaskDefinition", e)),
    }
}

/// The revisions of the family in that status that are ours.
async fn ours(cx: &Cx, target: &Target<'_, Spec>, status: TaskDefinitionStatus) -> Result<Vec<String>, Fault> {
    let mut pages = cx.cloud.ecs.list_task_definitions().family_prefix(&target.spec.family).status(status).into_paginator().items().send();
    let mut ours = Vec::new();
    while let Some(arn) = pages.next().await {
        let arn = arn.map_err(|e| fault("ecs:ListTaskDefinitions", e))?;
        if let Some((_, tags)) = describe(cx, &arn).await?
            && ownership(&tags, target.tags) == Ownership::Mine
        {
            ours.push(arn);
        }
    }
    Ok(ours)
}

impl EcsTaskDefinition {
    async fn register(cx: &Cx, target: &Target<'_, Spec>) -> Result<String, Fault> {
        let spec = target.spec;
        let mut tags = target.tags.clone();
        tags.insert(CONTENT.to_owned(), digest(spec)?);
        let containers = spec.containers.iter().map(|c| container(c, cx.cloud.region(), &spec.family)).collect::<Result<Vec<_>, _>>()?;
        let platform = RuntimePlatform::builder().operating_system_family(OsFamily::Linux).cpu_architecture(match spec.architecture {
            Architecture::X86 => CpuArchitecture::X8664,
            Architecture::Arm => CpuArchitecture::Arm64,
        });
        let made = cx
            .cloud
            .once()
            .ecs
            .register_task_definition()
            .family(&spec.family)
            .requires_compatibilities(Compatibility::Fargate)
            .network_mode(NetworkMode::Awsvpc)
            .runtime_platform(platform.build())
            .cpu(spec.cpu.to_string())
            .memory(spec.memory.to_string())
            .task_role_arn(&spec.task_role_arn)
            .execution_role_arn(&spec.execution_role_arn)
            .set_container_definitions(Some(containers))
            .set_tags(Some(list(&tags, tag)))
            .send()
            .await;
        match made {
            Ok(made) => Ok(made.task_definition.and_then(|t| t.task_definition_arn).unwrap_or_else(|| spec.family.clone())),
            // IAM tells the rest of AWS of a new role with a delay of some seconds.
            Err(e) if is(&e, &["ClientException"]) && e.message().is_some_and(|m| m.contains("Role is not valid")) => {
                Err(Fault::busy("ecs:RegisterTaskDefinition", "ClientException", "ECS does not know the role yet (Role is not valid)")
                    .hint("if this goes on, check that task_role_arn and execution_role_arn exist and trust ecs-tasks.amazonaws.com"))
            }
            Err(e) => Err(fault("ecs:RegisterTaskDefinition", e)),
        }
    }
}

impl Kind for EcsTaskDefinition {
    type Cx = Cx;
    type Spec = Spec;
    type State = State;

    const NAME: &'static str = "ecs_task_definition";
    const IDENTITY: Identity = Identity::Name;
    const DELETION: Deletion = Deletion::Delete;
    /// RegisterTaskDefinition: 1 a second, burst 20 (ECS API throttling, account and region).
    const LIMIT: Limit = Limit { api: "ecs:RegisterTaskDefinition", per_second: 1.0, burst: 20, concurrency: 4 };
    const TIMING: Timing = Timing::secs(1, 120);
    const OUTPUTS: &'static [&'static str] = &["arn", "family"];
    /// An update registers a new revision: whoever runs the old one must follow.
    const VOLATILE: &'static [&'static str] = &["arn"];

    fn suspended(&self, spec: Spec, _level: Suspension) -> Spec {
        spec
    }

    async fn observe(&self, cx: &Cx, target: &Target<'_, Spec>, recorded: Option<&str>) -> Result<Observed<State>, Fault> {
        let found = match (describe(cx, &target.spec.family).await?, recorded) {
            (None, Some(arn)) => describe(cx, arn).await?,
            (found, _) => found,
        };
        let Some((found, tags)) = found else { return Ok(Observed::Absent) };
        let active = found.status() == Some(&TaskDefinitionStatus::Active);
        let arn = found.task_definition_arn().unwrap_or_default().to_owned();
        if let Ownership::Foreign(whose) = ownership(&tags, target.tags) {
            return Ok(Observed::Foreign(format!("{whose} (revision {} of the family; deregister it if it does not belong here)", found.revision())));
        }
        let state = State { arn: arn.clone(), content: read(&found), digest: tags.get(CONTENT).cloned(), active, tags };
        Ok(Observed::Mine { id: arn, state })
    }

    fn diff(&self, target: &Target<'_, Spec>, state: &State) -> Diff {
        if !state.active {
            return Diff::of([Change::new("status", "INACTIVE", "ACTIVE")]);
        }
        let mut changes = Change::tags(&state.tags, target.tags);
        let wanted = digest(target.spec).ok();
        if state.digest.is_none() || state.digest != wanted {
            let content = differing(&state.content, target.spec);
            let unseen =
                content.is_empty().then(|| Change::new("revision", state.digest.as_deref().unwrap_or("(none)"), wanted.as_deref().unwrap_or("(none)")));
            changes.extend(content.into_iter().chain(unseen));
        }
        Diff::of(changes)
    }

    async fn create(&self, cx: &Cx, target: &Target<'_, Spec>, _token: &str) -> Result<String, Fault> {
        Self::register(cx, target).await
    }

    async fn update(&self, cx: &Cx, target: &Target<'_, Spec>, _id: &str, state: &State) -> Result<(), Fault> {
        if !state.active || state.digest.as_deref() != Some(digest(target.spec)?.as_str()) {
            return Self::register(cx, target).await.map(drop);
        }
        cx.cloud.ecs.tag_resource().resource_arn(&state.arn).set_tags(Some(list(target.tags, tag))).send().await.map_err(|e| fault("ecs:TagResource", e))?;
        Ok(())
    }

    async fn delete(&self, cx: &Cx, target: &Target<'_, Spec>, _id: &str) -> Result<(), Fault> {
        let ecs = &cx.cloud.ecs;
        for arn in ours(cx, target, TaskDefinitionStatus::Active).await? {
            match ecs.deregister_task_definition().task_definition(&arn).send().await {
                Err(e) if e.message().is_some_and(|m| m.contains("does not exist") || m.contains("Unable to describe")) => {}
                other => other.map(drop).map_err(|e| fault("ecs:DeregisterTaskDefinition", e))?,
            }
        }
        // At most 10 in a call.
        for ten in ours(cx, target, TaskDefinitionStatus::Inactive).await?.chunks(10) {
            let sent = ecs.delete_task_definitions().set_task_definitions(Some(ten.to_vec())).send().await;
            let sent = sent.map_err(|e| fault("ecs:DeleteTaskDefinitions", e))?;
            if let Some(failed) = sent.failures().iter().find(|f| !f.reason().is_some_and(|r| r.contains("does not exist"))) {
                let why = format!("{}: {}", failed.arn().unwrap_or_default(), failed.reason().unwrap_or_default());
                return Err(Fault::busy("ecs:DeleteTaskDefinitions", "failure", why));
            }
        }
        Ok(())
    }

    fn ready(&self, _target: &Target<'_, Spec>, _state: &State) -> Ready {
        Ready::Ready
    }

    fn outputs(&self, _target: &Target<'_, Spec>, _id: &str, state: &State) -> Outputs {
        Outputs::from([("arn".to_owned(), state.arn.clone()), ("family".to_owned(), state.content.family.clone())])
    }
}

#[cfg(test)]
mod tests;
