//! An ECS service on Fargate. Its name is unique in its cluster; CreateService also takes a client token.
//!
//! # What every service has, whatever the template says
//! A deployment circuit breaker that rolls back, no public address, its tags on every task, and ECS's own tags for cost reports.
//!
//! # How many tasks
//! Where `min` and `max` differ, the count within them belongs to auto-scaling. One below is set to `desired`, one above to `max`, as
//! auto-scaling itself would: a lower `max` must not take away more than it says.
//! Two things set `desired` all the same, each once: that it was asked for, and that the service comes back from a suspension (0 may lie
//! within, where `min` is 0). The service carries in a tag ([`ASKED`]) which of them was last done; what is not yet carried is still owed.
//! The count is set before the tag is written, so a run that dies between the two sets it again.
//!
//! # A failed rollout
//! A deployment that failed is [`Ready::Broken`] with ECS's reason, its last words, and what runs now. It is also a difference
//! (`rollout: FAILED → COMPLETED`), so that a later apply tries it again: the image may have been pushed meanwhile.
//!
//! # Deletion
//! A deleted service is DRAINING until its last task has stopped: it is reported, and waited for, until it is INACTIVE, which is absent.

use std::collections::BTreeSet;

use aws_sdk_ecs::types::{
    AssignPublicIp, AwsVpcConfiguration, Deployment, DeploymentCircuitBreaker, DeploymentConfiguration, DeploymentRolloutState, LaunchType,
    NetworkConfiguration, PropagateTags, Service, ServiceField, Tag,
};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use serde::{Deserialize, Serialize};

use super::Cx;
use crate::cloud::fault::{fault, is};
use crate::cloud::tags::{Ownership, list, ownership};
use crate::cloud::token::client_token;
use crate::engine::fault::Fault;
use crate::engine::kind::{Change, Deletion, Diff, Identity, Kind, Limit, Observed, Outputs, Ready, Suspension, Tags, Target, Timing};

/// The kind.
pub struct EcsService;

/// What a template may say of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Name or ARN of the cluster.
    cluster: String,
    /// 1–255 letters, digits, hyphens and underscores.
    name: String,
    /// ARN of a revision.
    task_definition: String,
    /// Tasks to run.
    desired: i32,
    /// Least tasks auto-scaling may run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    min: Option<i32>,
    /// Most tasks auto-scaling may run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max: Option<i32>,
    /// When `desired` was last asked for, as a word: where it is new, `desired` is set although the count belongs to auto-scaling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    asked: Option<String>,
    /// Private subnets.
    subnets: BTreeSet<String>,
    /// Security groups of the tasks.
    security_groups: BTreeSet<String>,
    /// Shells into running tasks: off where patients' records are.
    #[serde(default)]
    enable_execute_command: bool,
    /// Percent of `desired` that must stay healthy during a deployment.
    #[serde(default = "hundred")]
    min_healthy_percent: i32,
    /// Percent of `desired` that may run during a deployment. 100 with `min_healthy_percent` 0: never two at once.
    #[serde(default = "two_hundred")]
    max_percent: i32,
}

/// Tag with what the count was last set for: [`Spec::asked`], [`SUSPENDED`] or [`RESUMED`].
const ASKED: &str = "labctl:asked";
/// Carried while the tenant is out of use.
const SUSPENDED: &str = "suspension";
/// Carried after that, where nothing was asked for.
const RESUMED: &str = "resumption";

fn hundred() -> i32 {
    100
}
fn two_hundred() -> i32 {
    200
}

impl Spec {
    /// How many tasks there shall be, where there are so many.
    fn count(&self, is: i32, tags: &Tags) -> i32 {
        match (self.min, self.max) {
            (Some(min), Some(max)) if min < max && is >= min && self.owed(tags).is_none() => is.min(max),
            _ => self.desired,
        }
    }

    /// What the count is set for, if that is not carried yet.
    fn owed(&self, tags: &Tags) -> Option<&str> {
        let carried = tags.get(ASKED).map(String::as_str);
        match self.asked.as_deref() {
            None if carried == Some(SUSPENDED) => Some(RESUMED),
            asked => asked.filter(|a| carried != Some(a)),
        }
    }

    fn network(&self) -> Result<NetworkConfiguration, Fault> {
        let vpc = AwsVpcConfiguration::builder()
            .set_subnets(Some(self.subnets.iter().cloned().collect()))
            .set_security_groups(Some(self.security_groups.iter().cloned().collect()))
            .assign_public_ip(AssignPublicIp::Disabled)
            .build()
            .map_err(|e| Fault::refused("ecs:CreateService", "invalid_spec", e.to_string()))?;
        Ok(NetworkConfiguration::builder().awsvpc_configuration(vpc).build())
    }

    fn deployment(&self) -> DeploymentConfiguration {
        DeploymentConfiguration::builder()
            .deployment_circuit_breaker(DeploymentCircuitBreaker::builder().enable(true).rollback(true).build())
            .minimum_healthy_percent(self.min_healthy_percent)
            .maximum_percent(self.max_percent)
            .build()
    }
}

/// What `observe` reports.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    arn: String,
    status: String,
    task_definition: String,
    desired: i32,
    running: i32,
    launch_type: Option<String>,
    subnets: BTreeSet<String>,
    security_groups: BTreeSet<String>,
    public_address: bool,
    enable_execute_command: bool,
    min_healthy_percent: Option<i32>,
    max_percent: Option<i32>,
    circuit_breaker: bool,
    propagate_tags: Option<String>,
    managed_tags: bool,
    deployments: Vec<Rollout>,
    /// ECS's last words, newest first.
    events: Vec<String>,
    tags: Tags,
}

/// One deployment of a service.
#[derive(Debug, Serialize, Deserialize)]
struct Rollout {
    primary: bool,
    task_definition: String,
    /// `IN_PROGRESS`, `COMPLETED` or `FAILED`.
    state: String,
    reason: String,
    running: i32,
}

impl State {
    fn primary(&self) -> Option<&Rollout> {
        self.deployments.iter().find(|d| d.primary)
    }

    /// How the rollout of that task definition failed, and what runs now: the present one, or one that was or is being rolled back.
    fn failed(&self, task_definition: &str) -> Option<String> {
        let replaced = self.task_definition != task_definition;
        let runs = || self.task_definition.rsplit('/').next().unwrap_or_default();
        if let Some(failed) = self.deployments.iter().find(|d| d.state == "FAILED" && d.task_definition == task_definition && (d.primary || replaced)) {
            let back = if failed.primary { String::new() } else { format!(" and was rolled back, `{}` runs again", runs()) };
            return Some(format!("the deployment failed{back}: {}", failed.reason));
        }
        // The failed one may be gone from the list before the former one is complete again.
        let back = self.primary().filter(|d| replaced && d.state == "IN_PROGRESS" && d.reason.contains("rolling back"))?;
        Some(format!("the deployment failed and is being rolled back to `{}`: {}", runs(), back.reason))
    }
}

fn rollout(is: &Deployment) -> Rollout {
    Rollout {
        primary: is.status() == Some("PRIMARY"),
        task_definition: is.task_definition().unwrap_or_default().to_owned(),
        // Services without a rollout state (none of ours) count as done.
        state: is.rollout_state().unwrap_or(&DeploymentRolloutState::Completed).as_str().to_owned(),
        reason: is.rollout_state_reason().unwrap_or_default().to_owned(),
        running: is.running_count(),
    }
}

fn read(is: &Service) -> State {
    let vpc = is.network_configuration().and_then(|n| n.awsvpc_configuration());
    let config = is.deployment_configuration();
    State {
        arn: is.service_arn().unwrap_or_default().to_owned(),
        status: is.status().unwrap_or_default().to_owned(),
        task_definition: is.task_definition().unwrap_or_default().to_owned(),
        desired: is.desired_count(),
        running: is.running_count(),
        launch_type: is.launch_type().map(|l| l.as_str().to_owned()),
        subnets: vpc.map(|v| v.subnets().iter().cloned().collect()).unwrap_or_default(),
        security_groups: vpc.map(|v| v.security_groups().iter().cloned().collect()).unwrap_or_default(),
        public_address: vpc.and_then(|v| v.assign_public_ip()) == Some(&AssignPublicIp::Enabled),
        enable_execute_command: is.enable_execute_command(),
        min_healthy_percent: config.and_then(|c| c.minimum_healthy_percent()),
        max_percent: config.and_then(|c| c.maximum_percent()),
        circuit_breaker: config.and_then(|c| c.deployment_circuit_breaker()).is_some_and(|b| b.enable() && b.rollback()),
        propagate_tags: is.propagate_tags().map(|p| p.as_str().to_owned()),
        managed_tags: is.enable_ecs_managed_tags(),
        deployments: is.deployments().iter().map(rollout).collect(),
        events: is.events().iter().take(3).filter_map(|e| e.message().map(ToOwned::to_owned)).collect(),
        tags: is.tags().iter().map(|t| (t.key().unwrap_or_default().to_owned(), t.value().unwrap_or_default().to_owned())).collect(),
    }
}

/// What UpdateService can mend.
fn changes(spec: &Spec, state: &State) -> Vec<Change> {
    let failed = state.primary().filter(|d| d.state == "FAILED" && d.task_definition == spec.task_definition);
    [
        Change::between("task_definition", &state.task_definition, &spec.task_definition),
        failed.map(|d| Change::new("rollout", format!("FAILED ({})", d.reason), "COMPLETED")),
        Change::between("desired", &state.desired, &spec.count(state.desired, &state.tags)),
        Change::between("subnets", &state.subnets, &spec.subnets),
        Change::between("security_groups", &state.security_groups, &spec.security_groups),
        Change::between("public_address", &state.public_address, &false),
        Change::between("enable_execute_command", &state.enable_execute_command, &spec.enable_execute_command),
        Change::between("min_healthy_percent", &state.min_healthy_percent, &Some(spec.min_healthy_percent)),
        Change::between("max_percent", &state.max_percent, &Some(spec.max_percent)),
        Change::between("circuit_breaker", &state.circuit_breaker, &true),
        Change::between("propagate_tags", &state.propagate_tags.as_deref(), &Some("SERVICE")),
        Change::between("managed_tags", &state.managed_tags, &true),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The tags it shall carry: the given ones, and what its count was last set for.
fn carried(target: &Target<'_, Spec>, is: &Tags) -> Tags {
    let mut tags = target.tags.clone();
    tags.extend(target.spec.owed(is).map(|word| (ASKED.to_owned(), word.to_owned())));
    tags
}

fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build()
}

const ABSENT: &[&str] = &["ClusterNotFoundException", "ServiceNotActiveException", "ServiceNotFoundException"];

impl Kind for EcsService {
    type Cx = Cx;
    type Spec = Spec;
    type State = State;

    const NAME: &'static str = "ecs_service";
    const IDENTITY: Identity = Identity::Name;
    const DELETION: Deletion = Deletion::Delete;
    /// Create, update and delete service: 5 a second, burst 50 (ECS API throttling, account and region).
    const LIMIT: Limit = Limit { api: "ecs:services", per_second: 5.0, burst: 50, concurrency: 8 };
    /// Pulling an image and passing health checks takes 1–3 minutes; the circuit breaker gives up after 3–200 failed tasks.
    const TIMING: Timing = Timing::secs(120, 1800);
    const OUTPUTS: &'static [&'static str] = &["arn", "name"];

    fn suspended(&self, spec: Spec, level: Suspension) -> Spec {
        if level < Suspension::Full {
            return spec;
        }
        // None, and nobody else's matter how many.
        Spec { desired: 0, min: None, max: None, asked: Some(SUSPENDED.to_owned()), ..spec }
    }

    async fn observe(&self, cx: &Cx, target: &Target<'_, Spec>, _recorded: Option<&str>) -> Result<Observed<State>, Fault> {
        let spec = target.spec;
        let found = match cx.cloud.ecs.describe_services().cluster(&spec.cluster).services(&spec.name).include(ServiceField::Tags).send().await {
            Ok(found) => found,
            Err(e) if is(&e, &["ClusterNotFoundException"]) => return Ok(Observed::Absent),
            Err(e) => return Err(fault("ecs:DescribeServices", e)),
        };
        if let Some(failure) = found.failures().iter().find(|f| f.reason() != Some("MISSING")) {
            return Err(Fault::refused(
                "ecs:DescribeServices",
                failure.reason().unwrap_or("failure"),
                failure.detail().unwrap_or("the service cannot be described"),
            ));
        }
        let Some(service) = found.services().iter().find(|s| s.status() != Some("INACTIVE")) else { return Ok(Observed::Absent) };
        let state = read(service);
        Ok(match ownership(&state.tags, target.tags) {
            Ownership::Foreign(whose) => Observed::Foreign(whose),
            Ownership::Mine => Observed::Mine { id: state.arn.clone(), state },
        })
    }

    fn diff(&self, target: &Target<'_, Spec>, state: &State) -> Diff {
        if state.status == "DRAINING" {
            return Diff::Same;
        }
        if let Some(launch) = state.launch_type.as_deref().filter(|l| *l != "FARGATE") {
            return Diff::Replace(Change::new("launch_type", launch, "FARGATE"));
        }
        Diff::of(changes(target.spec, state).into_iter().chain(Change::tags(&state.tags, &carried(target, &state.tags))))
    }

    async fn create(&self, cx: &Cx, target: &Target<'_, Spec>, token: &str) -> Result<String, Fault> {
        let spec = target.spec;
        let made = cx
            .cloud
            .once()
            .ecs
            .create_service()
            .cluster(&spec.cluster)
            .service_name(&spec.name)
            .task_definition(&spec.task_definition)
            .desired_count(spec.desired)
            .client_token(client_token(token))
            .launch_type(LaunchType::Fargate)
            .platform_version("LATEST")
            .deployment_configuration(spec.deployment())
            .network_configuration(spec.network()?)
            .propagate_tags(PropagateTags::Service)
            .enable_ecs_managed_tags(true)
            .enable_execute_command(spec.enable_execute_command)
            .set_tags(Some(list(&carried(target, &Tags::new()), tag)))
            .send()
            .await;
        let error = match made {
            Ok(made) => return Ok(made.service.and_then(|s| s.service_arn).unwrap_or_else(|| spec.name.clone())),
            Err(e) => e,
        };
        let says = |words: &str| error.message().is_some_and(|m| m.contains(words));
        if says("not idempotent") {
            // One of that name is there: the next look tells whose it is.
            return Err(Fault::unknown("ecs:CreateService", "InvalidParameterException", "a service of that name exists already"));
        }
        if says("still Draining") {
            return Err(Fault::busy("ecs:CreateService", "InvalidParameterException", "a service of that name is still draining"));
        }
        if says("assume the service linked role") || says("assume role") {
            return Err(Fault::busy("ecs:CreateService", "InvalidParameterException", "ECS cannot assume its role yet").hint(
                "if this goes on, check that the role AWSServiceRoleForECS exists (`aws iam create-service-linked-role --aws-service-name ecs.amazonaws.com`)",
            ));
        }
        Err(fault("ecs:CreateService", error))
    }

    async fn update(&self, cx: &Cx, target: &Target<'_, Spec>, _id: &str, state: &State) -> Result<(), Fault> {
        let spec = target.spec;
        let fields: BTreeSet<String> = changes(spec, state).into_iter().map(|c| c.field).collect();
        let differs = |field: &str| fields.contains(field);
        if !fields.is_empty() {
            let network = ["subnets", "security_groups", "public_address"].into_iter().any(differs);
            let deployment = ["min_healthy_percent", "max_percent", "circuit_breaker"].into_iter().any(differs);
            let force = differs("rollout");
            // A forced deployment made twice would start over, so that call is not repeated.
            let once = cx.cloud.once();
            let ecs = if force { &once.ecs } else { &cx.cloud.ecs };
            ecs.update_service()
                .cluster(&spec.cluster)
                .service(&state.arn)
                .set_task_definition(differs("task_definition").then(|| spec.task_definition.clone()))
                .set_force_new_deployment(force.then_some(true))
                .set_desired_count(differs("desired").then(|| spec.count(state.desired, &state.tags)))
                .set_network_configuration(if network { Some(spec.network()?) } else { None })
                .set_deployment_configuration(deployment.then(|| spec.deployment()))
                .set_enable_execute_command(differs("enable_execute_command").then_some(spec.enable_execute_command))
                .set_propagate_tags(differs("propagate_tags").then_some(PropagateTags::Service))
                .set_enable_ecs_managed_tags(differs("managed_tags").then_some(true))
                .send()
                .await
                .map_err(|e| fault("ecs:UpdateService", e))?;
        }
        let tags = carried(target, &state.tags);
        if !Change::tags(&state.tags, &tags).is_empty() {
            cx.cloud.ecs.tag_resource().resource_arn(&state.arn).set_tags(Some(list(&tags, tag))).send().await.map_err(|e| fault("ecs:TagResource", e))?;
        }
        Ok(())
    }

    async fn delete(&self, cx: &Cx, target: &Target<'_, Spec>, id: &str) -> Result<(), Fault> {
        match cx.cloud.ecs.delete_service().cluster(&target.spec.cluster).service(id).force(true).send().await {
            Err(e) if !is(&e, ABSENT) => Err(fault("ecs:DeleteService", e)),
            _ => Ok(()),
        }
    }

    fn ready(&self, target: &Target<'_, Spec>, state: &State) -> Ready {
        if state.status == "DRAINING" {
            return Ready::Waiting(format!("draining, {} tasks still running", state.running));
        }
        if let Some(failed) = state.failed(&target.spec.task_definition) {
            return Ready::Broken(if state.events.is_empty() { failed } else { format!("{failed}; ECS says: {}", state.events.join(" | ")) });
        }
        // A rollout that will never succeed must not hold up what mends it: ECS takes an update at any time.
        if matches!(Kind::diff(self, target, state), Diff::Update(_)) {
            return Ready::Ready;
        }
        match state.primary() {
            Some(now) if now.state == "COMPLETED" && now.running == state.desired => Ready::Ready,
            Some(now) => {
                let said = state.events.first().map(|e| format!("; {e}")).unwrap_or_default();
                Ready::Waiting(format!("{} of {} tasks running{said}", now.running, state.desired))
            }
            None => Ready::Waiting("no deployment yet".to_owned()),
        }
    }

    fn outputs(&self, target: &Target<'_, Spec>, _id: &str, state: &State) -> Outputs {
        Outputs::from([("arn".to_owned(), state.arn.clone()), ("name".to_owned(), target.spec.name.clone())])
    }
}

#[cfg(test)]
mod tests;
