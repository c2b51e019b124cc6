//! An Application Auto Scaling target: between how many tasks an ECS service may be scaled, with the one policy that does it (target
//! tracking on the service's average CPU). Its resource id is made of cluster and service, so it is its unique name.
//!
//! # Order
//! A target comes `after` its service: AWS refuses a target for a service that is not there. Going out of use follows the same order:
//! the service is set to 0, then scaling is suspended. Scaling that is suspended lifts nothing, and neither does its registration, for
//! its least is then 0; but until then an alarm may still lift the service. While the service drains, its own step sees that and sets it
//! to 0 again. What happens between its last look and the suspension is seen here: right after suspending, `update` looks at the count
//! once more and sets it to 0. If labctl dies between those two calls, the service differs, and the next run sets it to 0.
//!
//! Coming back, the same order is the right one: the service first gets its former number, then scaling may change it.
//!
//! # What belongs to others
//! Policies of other names and scheduled actions are left alone. Deregistering the target removes all of them with it.

use aws_sdk_applicationautoscaling::types::{
    MetricType, PolicyType, PredefinedMetricSpecification, ScalableDimension, ScalingPolicy, ServiceNamespace, SuspendedState,
    TargetTrackingScalingPolicyConfiguration,
};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use serde::{Deserialize, Serialize};

use super::Cx;
use crate::cloud::fault::{fault, is};
use crate::cloud::tags::{Ownership, ownership};
use crate::engine::fault::Fault;
use crate::engine::kind::{Change, Deletion, Diff, Identity, Kind, Limit, Observed, Outputs, Ready, Suspension, Tags, Target, Timing};

/// The kind.
pub struct ScalingTarget;

/// What a template may say of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Name or ARN of the cluster.
    cluster: String,
    /// Name of the service.
    service: String,
    /// Least tasks.
    min: i32,
    /// Most tasks.
    max: i32,
    /// Average CPU of the service's tasks to keep to, in percent of what they have reserved.
    target_cpu_percent: i32,
    /// Seconds after adding tasks before adding more.
    scale_out_cooldown_seconds: i32,
    /// Seconds after removing tasks before removing more.
    scale_in_cooldown_seconds: i32,
    /// Nothing changes the count: neither policies nor schedules.
    #[serde(default)]
    suspended: bool,
}

/// The name of our policy; names are unique within a target.
const POLICY: &str = "cpu";

impl Spec {
    fn resource_id(&self) -> String {
        format!("service/{}/{}", self.cluster.rsplit('/').next().unwrap_or_default(), self.service)
    }

    fn halted(&self) -> Halted {
        Halted { scale_in: self.suspended, scale_out: self.suspended, scheduled: self.suspended }
    }

    fn policy(&self) -> Policy {
        Policy {
            metric: Some(METRIC.as_str().to_owned()),
            target_percent: self.target_cpu_percent.into(),
            scale_out_cooldown_seconds: Some(self.scale_out_cooldown_seconds),
            scale_in_cooldown_seconds: Some(self.scale_in_cooldown_seconds),
            scales_in: true,
        }
    }
}

/// What `observe` reports.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    arn: String,
    min: i32,
    max: i32,
    halted: Halted,
    /// Our policy, if it is there.
    policy: Option<Policy>,
    tags: Tags,
}

/// What may not change the count at present.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Halted {
    scale_in: bool,
    scale_out: bool,
    scheduled: bool,
}

impl std::fmt::Display for Halted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all = [(self.scale_out, "scale-out"), (self.scale_in, "scale-in"), (self.scheduled, "schedules")];
        let said: Vec<_> = all.iter().filter(|(is, _)| *is).map(|(_, word)| *word).collect();
        f.write_str(if said.is_empty() { "nothing".to_owned() } else { said.join(", ") }.as_str())
    }
}

/// A target-tracking policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Policy {
    metric: Option<String>,
    target_percent: f64,
    scale_out_cooldown_seconds: Option<i32>,
    scale_in_cooldown_seconds: Option<i32>,
    scales_in: bool,
}

const METRIC: MetricType = MetricType::EcsServiceAverageCpuUtilization;
/// How Application Auto Scaling says that there is no such target.
const ABSENT: &[&str] = &["ObjectNotFoundException", "ResourceNotFoundException"];
const DIMENSION: ScalableDimension = ScalableDimension::EcsServiceDesiredCount;

fn read(is: &ScalingPolicy) -> Policy {
    let config = is.target_tracking_scaling_policy_configuration();
    Policy {
        metric: config.and_then(|c| c.predefined_metric_specification()).map(|m| m.predefined_metric_type().as_str().to_owned()),
        target_percent: config.map(|c| c.target_value()).unwrap_or_default(),
        scale_out_cooldown_seconds: config.and_then(|c| c.scale_out_cooldown()),
        scale_in_cooldown_seconds: config.and_then(|c| c.scale_in_cooldown()),
        scales_in: !config.and_then(|c| c.disable_scale_in()).unwrap_or(false),
    }
}

/// What RegisterScalableTarget can mend.
fn bounds(spec: &Spec, state: &State) -> Vec<Change> {
    let halted = (state.halted != spec.halted()).then(|| Change::new("suspended", state.halted, spec.halted()));
    [Change::between("min", &state.min, &spec.min), Change::between("max", &state.max, &spec.max), halted].into_iter().flatten().collect()
}

/// What PutScalingPolicy can mend.
fn tracking(spec: &Spec, state: &State) -> Vec<Change> {
    let want = spec.policy();
    let Some(is) = &state.policy else { return vec![Change::new("policy", "(none)", format!("{}% CPU", spec.target_cpu_percent))] };
    [
        Change::between("metric", &is.metric, &want.metric),
        (is.target_percent != want.target_percent).then(|| Change::new("target_cpu_percent", is.target_percent, want.target_percent)),
        Change::between("scale_out_cooldown_seconds", &is.scale_out_cooldown_seconds, &want.scale_out_cooldown_seconds),
        Change::between("scale_in_cooldown_seconds", &is.scale_in_cooldown_seconds, &want.scale_in_cooldown_seconds),
        Change::between("scales_in", &is.scales_in, &want.scales_in),
    ]
    .into_iter()
    .flatten()
    .collect()
}

impl ScalingTarget {
    async fn policy(cx: &Cx, id: &str) -> Result<Option<Policy>, Fault> {
        let call = cx.cloud.autoscaling.describe_scaling_policies().service_namespace(ServiceNamespace::Ecs).scalable_dimension(DIMENSION);
        let mut pages = call.resource_id(id).policy_names(POLICY).into_paginator().items().send();
        while let Some(policy) = pages.next().await {
            let policy = policy.map_err(|e| fault("application-autoscaling:DescribeScalingPolicies", e))?;
            if policy.policy_name() == POLICY && policy.resource_id() == id {
                return Ok(Some(read(&policy)));
            }
        }
        Ok(None)
    }

    /// What an alarm did between the service's step and the suspension is undone.
    async fn back_to_none(cx: &Cx, spec: &Spec) -> Result<(), Fault> {
        let ecs = &cx.cloud.ecs;
        let found = ecs.describe_services().cluster(&spec.cluster).services(&spec.service).send().await.map_err(|e| fault("ecs:DescribeServices", e))?;
        if found.services().iter().any(|s| s.status() == Some("ACTIVE") && s.desired_count() > 0) {
            let update = ecs.update_service().cluster(&spec.cluster).service(&spec.service).desired_count(0);
            update.send().await.map_err(|e| fault("ecs:UpdateService", e))?;
        }
        Ok(())
    }
}

impl Kind for ScalingTarget {
    type Cx = Cx;
    type Spec = Spec;
    type State = State;

    const NAME: &'static str = "scaling_target";
    const IDENTITY: Identity = Identity::Name;
    const DELETION: Deletion = Deletion::Delete;
    /// AWS publishes no rate for Application Auto Scaling; this is a modest one.
    const LIMIT: Limit = Limit { api: "application-autoscaling", per_second: 5.0, burst: 10, concurrency: 8 };
    const TIMING: Timing = Timing::secs(2, 120);
    const OUTPUTS: &'static [&'static str] = &["arn", "resource_id"];

    fn suspended(&self, spec: Spec, level: Suspension) -> Spec {
        if level < Suspension::Full {
            return spec;
        }
        Spec { min: 0, suspended: true, ..spec }
    }

    async fn observe(&self, cx: &Cx, target: &Target<'_, Spec>, _recorded: Option<&str>) -> Result<Observed<State>, Fault> {
        let id = target.spec.resource_id();
        let scaling = &cx.cloud.autoscaling;
        let found = scaling
            .describe_scalable_targets()
            .service_namespace(ServiceNamespace::Ecs)
            .resource_ids(&id)
            .scalable_dimension(DIMENSION)
            .send()
            .await
            .map_err(|e| fault("application-autoscaling:DescribeScalableTargets", e))?;
        let Some(there) = found.scalable_targets().iter().find(|t| t.resource_id() == id) else { return Ok(Observed::Absent) };
        let arn = there.scalable_target_arn().unwrap_or_default().to_owned();
        let tags: Tags = match scaling.list_tags_for_resource().resource_arn(&arn).send().await {
            Ok(found) => found.tags.unwrap_or_default().into_iter().collect(),
            Err(e) if is(&e, ABSENT) => return Ok(Observed::Absent),
            Err(e) => return Err(fault("application-autoscaling:ListTagsForResource", e)),
        };
        if let Ownership::Foreign(whose) = ownership(&tags, target.tags) {
            return Ok(Observed::Foreign(whose));
        }
        let halted = there.suspended_state().map_or_else(Halted::default, |s| Halted {
            scale_in: s.dynamic_scaling_in_suspended().unwrap_or(false),
            scale_out: s.dynamic_scaling_out_suspended().unwrap_or(false),
            scheduled: s.scheduled_scaling_suspended().unwrap_or(false),
        });
        let state = State { arn, min: there.min_capacity(), max: there.max_capacity(), halted, policy: Self::policy(cx, &id).await?, tags };
        Ok(Observed::Mine { id, state })
    }

    fn diff(&self, target: &Target<'_, Spec>, state: &State) -> Diff {
        Diff::of(bounds(target.spec, state).into_iter().chain(tracking(target.spec, state)).chain(Change::tags(&state.tags, target.tags)))
    }

    async fn create(&self, cx: &Cx, target: &Target<'_, Spec>, _token: &str) -> Result<String, Fault> {
        let id = target.spec.resource_id();
        let once = cx.cloud.once();
        let register = once.autoscaling.register_scalable_target().service_namespace(ServiceNamespace::Ecs).scalable_dimension(DIMENSION);
        register
            .resource_id(&id)
            .min_capacity(target.spec.min)
            .max_capacity(target.spec.max)
            .suspended_state(halt(target.spec.halted()))
            .set_tags(Some(target.tags.clone().into_iter().collect()))
            .send()
            .await
            .map_err(|e| match e.message() {
                // Perhaps made by ourselves with a lost reply: the next look tells whose it is.
                Some(words) if words.contains("already exists") => {
                    Fault::unknown("application-autoscaling:RegisterScalableTarget", "ValidationException", "a target of that service exists already")
                }
                _ => fault("application-autoscaling:RegisterScalableTarget", e),
            })?;
        Ok(id)
    }

    async fn update(&self, cx: &Cx, target: &Target<'_, Spec>, id: &str, state: &State) -> Result<(), Fault> {
        let (spec, scaling) = (target.spec, &cx.cloud.autoscaling);
        if !bounds(spec, state).is_empty() {
            // Tags are for the first registration only; later ones go by TagResource.
            let register = scaling.register_scalable_target().service_namespace(ServiceNamespace::Ecs).scalable_dimension(DIMENSION).resource_id(id);
            register
                .min_capacity(spec.min)
                .max_capacity(spec.max)
                .suspended_state(halt(spec.halted()))
                .send()
                .await
                .map_err(|e| fault("application-autoscaling:RegisterScalableTarget", e))?;
            if spec.suspended {
                Self::back_to_none(cx, spec).await?;
            }
        }
        if !tracking(spec, state).is_empty() {
            let invalid =
                |e: aws_smithy_types::error::operation::BuildError| Fault::refused("application-autoscaling:PutScalingPolicy", "invalid_spec", e.to_string());
            let metric = PredefinedMetricSpecification::builder().predefined_metric_type(METRIC).build().map_err(invalid)?;
            let config = TargetTrackingScalingPolicyConfiguration::builder()
                .target_value(spec.target_cpu_percent.into())
                .predefined_metric_specification(metric)
                .scale_out_cooldown(spec.scale_out_cooldown_seconds)
                .scale_in_cooldown(spec.scale_in_cooldown_seconds)
                .disable_scale_in(false)
                .build()
                .map_err(invalid)?;
            let put = scaling.put_scaling_policy().service_namespace(ServiceNamespace::Ecs).scalable_dimension(DIMENSION).resource_id(id);
            put.policy_name(POLICY)
                .policy_type(PolicyType::TargetTrackingScaling)
                .target_tracking_scaling_policy_configuration(config)
                .send()
                .await
                .map_err(|e| fault("application-autoscaling:PutScalingPolicy", e))?;
        }
        if !Change::tags(&state.tags, target.tags).is_empty() {
            scaling
                .tag_resource()
                .resource_arn(&state.arn)
                .set_tags(Some(target.tags.clone().into_iter().collect()))
                .send()
                .await
                .map_err(|e| fault("application-autoscaling:TagResource", e))?;
        }
        Ok(())
    }

    async fn delete(&self, cx: &Cx, _target: &Target<'_, Spec>, id: &str) -> Result<(), Fault> {
        let call = cx.cloud.autoscaling.deregister_scalable_target().service_namespace(ServiceNamespace::Ecs).scalable_dimension(DIMENSION);
        match call.resource_id(id).send().await {
            Err(e) if !is(&e, ABSENT) => Err(fault("application-autoscaling:DeregisterScalableTarget", e)),
            _ => Ok(()),
        }
    }

    fn ready(&self, _target: &Target<'_, Spec>, _state: &State) -> Ready {
        Ready::Ready
    }

    fn outputs(&self, _target: &Target<'_, Spec>, id: &str, state: &State) -> Outputs {
        Outputs::from([("arn".to_owned(), state.arn.clone()), ("resource_id".to_owned(), id.to_owned())])
    }
}

fn halt(what: Halted) -> SuspendedState {
    SuspendedState::builder()
        .dynamic_scaling_in_suspended(what.scale_in)
        .dynamic_scaling_out_suspended(what.scale_out)
        .scheduled_scaling_suspended(what.scheduled)
        .build()
}

#[cfg(test)]
mod tests;
