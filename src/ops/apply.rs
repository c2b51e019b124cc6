//! Create, apply and resume: one tenant brought to what its spec says.
//!
//! The story in order: take the lease, look, plan ([`prepare`]); let whoever asked see the plan and agree; put the desired state and
//! the operation on record in one transaction, run, put the end on record, let go of the lease ([`Prepared::carry_out`]).
//!
//! Resuming is planning again: an unfinished operation of the same desired state is continued under its number, one of another desired
//! state is overtaken.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::error::OpError;
use super::site::Site;
use super::survey::{Survey, survey};
use crate::engine::event::Listener;
use crate::engine::fault::Fault;
use crate::engine::kind::Address;
use crate::engine::run::{Crew, End, Outcome, Stop, run};
use crate::kinds::KINDS;
use crate::plan::Plan;
use crate::registry::operations::{self, NewOperation};
use crate::registry::{Facts, HeldLease, NewRevision, Operation, OperationStatus, Tenant, TenantStatus, TenantView};
use crate::spec::TenantSpec;
use crate::stack::Desired;

/// Which verb was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// The tenant must not exist; a create of the same spec that was cut off is continued.
    Create,
    /// The tenant may exist.
    Apply,
    /// An unfinished operation is to be continued.
    Resume,
}

impl Verb {
    /// As the registry keeps it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Apply => "apply",
            Self::Resume => "resume",
        }
    }
}

/// A plan, with the lease to carry it out.
pub struct Prepared<'s> {
    site: &'s Site,
    verb: Verb,
    command: String,
    spec: Value,
    lease: Arc<HeldLease>,
    tenant: Option<Tenant>,
    desired: Desired,
    unfinished: Option<Operation>,
    same_spec: bool,
    /// The spec, for facts.
    facts: Owned,
    /// What is to be done.
    pub plan: Plan,
    began: Instant,
}

struct Owned {
    external_id: Option<String>,
    display_name: String,
    subdomain: String,
    stack: String,
    tier: String,
    isolation: String,
    names: Vec<(String, String)>,
}

impl Owned {
    fn facts(&self) -> Facts<'_> {
        Facts {
            external_id: self.external_id.as_deref(),
            display_name: &self.display_name,
            subdomain: &self.subdomain,
            stack: &self.stack,
            tier: &self.tier,
            isolation: &self.isolation,
            names: &self.names,
        }
    }
}

/// How a verb ended.
#[derive(Debug)]
pub struct Report {
    /// The operation, if there was anything to do.
    pub operation: Option<i64>,
    /// Which verb.
    pub verb: Verb,
    /// The tenant as it is on record now.
    pub tenant: TenantView,
    /// How the run ended; none when there was nothing to do.
    pub outcome: Option<Outcome>,
    /// The plan that was carried out.
    pub plan: Plan,
    /// AWS calls made, by `service:Operation`.
    pub calls: BTreeMap<String, u64>,
    /// From taking the lease to the last record.
    pub took: Duration,
}

/// How a step ended, for the operation's summary.
#[derive(Serialize)]
struct Ended<'a> {
    end: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<&'a Fault>,
}

/// Takes the lease, looks and plans. Nothing is written but the lease.
///
/// # Errors
/// Any [`OpError`]; the lease is let go of.
pub async fn prepare<'s>(site: &'s Site, spec: &TenantSpec, verb: Verb, command: &str) -> Result<Prepared<'s>, OpError> {
    let began = Instant::now();
    let lease = site.registry.acquire_lease(&spec.id, &site.holder, command, crate::registry::Process::is_alive).await?;
    match prepare_with(site, spec, verb).await {
        Ok((surveyed, unfinished, same_spec)) => Ok(Prepared {
            site,
            verb,
            command: command.to_owned(),
            spec: serde_json::to_value(spec).map_err(|e| OpError::Bug(e.to_string()))?,
            lease: Arc::new(lease),
            facts: Owned {
                external_id: spec.external_id.clone(),
                display_name: spec.display_name.clone(),
                subdomain: spec.subdomain.clone(),
                stack: spec.stack.clone(),
                tier: spec.tier.to_string(),
                isolation: surveyed.desired.isolation.to_string(),
                names: surveyed.desired.names.iter().map(|(kind, name)| (kind.clone(), name.clone())).collect(),
            },
            tenant: surveyed.tenant,
            desired: surveyed.desired,
            plan: surveyed.plan,
            unfinished,
            same_spec,
            began,
        }),
        Err(e) => {
            let_go(lease).await;
            Err(e)
        }
    }
}

async fn prepare_with(site: &Site, spec: &TenantSpec, verb: Verb) -> Result<(Survey, Option<Operation>, bool), OpError> {
    // What a create would refuse is refused before anything is looked at.
    let unfinished = site.registry.unfinished_operation(&spec.id).await?;
    let mut same_spec = false;
    if let Some(tenant) = site.registry.find_tenant(&spec.id).await? {
        let on_record = site.registry.revision(&spec.id, tenant.revision).await?.spec;
        same_spec = serde_json::to_value(spec).is_ok_and(|s| s == on_record);
        let half_made = tenant.provisioned_at.is_none() && unfinished.is_some();
        let purged = tenant.status == TenantStatus::Purged;
        if verb == Verb::Create && !purged && !(half_made && same_spec) {
            return Err(OpError::Exists { tenant: tenant.id, status: tenant.status, revision: tenant.revision });
        }
        if matches!(tenant.status, TenantStatus::Deleted | TenantStatus::Purging) {
            return Err(OpError::Status { tenant: tenant.id, status: tenant.status });
        }
    }
    let surveyed = survey(site, spec).await?;
    if !surveyed.plan.problems.is_empty() {
        return Err(OpError::Problems { tenant: spec.id.clone(), problems: surveyed.plan.problems });
    }
    Ok((surveyed, unfinished, same_spec))
}

async fn let_go(lease: HeldLease) {
    if let Err(e) = lease.release().await {
        // It expires by itself.
        tracing::warn!("the lease could not be let go of: {e}");
    }
}

impl Prepared<'_> {
    /// What the spec means.
    pub fn desired(&self) -> &Desired {
        &self.desired
    }

    /// The unfinished operation this one goes on with.
    pub fn continues(&self) -> Option<i64> {
        self.unfinished.as_ref().filter(|_| self.same_spec).map(|o| o.number)
    }

    /// There is nothing to do, and nothing to put on record.
    pub fn is_empty(&self) -> bool {
        self.plan.is_empty() && self.same_spec && self.unfinished.is_none()
    }

    /// Does nothing, and lets go of the lease.
    pub async fn abandon(self) {
        if let Ok(lease) = Arc::try_unwrap(self.lease).map_err(drop) {
            let_go(lease).await;
        }
    }

    /// Keeps the lease alive while somebody makes up their mind.
    pub fn keep_alive(&self) -> crate::registry::lease::KeepAlive {
        self.lease.keep_alive()
    }

    /// Puts the operation on record, runs the plan, puts the end on record, lets go of the lease.
    ///
    /// # Errors
    /// Only what keeps the run from beginning, or its end from being recorded. How the run ended is in the report.
    pub async fn carry_out(self, listener: &dyn Listener, stop: watch::Receiver<Stop>) -> Result<Report, OpError> {
        let report = self.run(listener, stop).await;
        self.abandon().await;
        report
    }

    async fn run(&self, listener: &dyn Listener, stop: watch::Receiver<Stop>) -> Result<Report, OpError> {
        let tenant = &self.plan.tenant;
        if self.is_empty() {
            return self.report(None, None, BTreeMap::new()).await;
        }
        let before = self.site.cx.cloud.calls().by_operation();
        let operation = self.begin().await?;
        let crew = Crew {
            kinds: KINDS,
            cx: Arc::clone(&self.site.cx),
            journal: &self.site.registry.journal(operation, &self.lease),
            lease: &*self.lease,
            listener,
            stop,
            pacer: Arc::clone(&self.site.pacer),
            patience: self.site.patience,
        };
        let outcome = run(crew, self.plan.steps.clone()).await;
        let calls = since(&before, &self.site.cx.cloud.calls().by_operation());
        let (status, tenant_status) = self.ends_as(&outcome);
        let summary = summary(&outcome);
        let end = operations::Outcome { status, summary: &summary, calls: &json!(calls), tenant: tenant_status };
        if outcome.fenced {
            // Whoever has taken over writes the end.
            tracing::warn!("another process has taken over tenant {tenant}");
        } else {
            self.site.registry.finish_operation(&self.lease, operation, &end).await?;
        }
        self.report(Some(operation), Some(outcome), calls).await
    }

    async fn begin(&self) -> Result<i64, OpError> {
        let facts = self.facts.facts();
        let version = self.desired.stack_version.as_str();
        let revision = NewRevision { spec: &self.spec, stack_version: Some(version), tier_version: Some(version), command: &self.command, note: None };
        let plan = serde_json::to_value(&self.plan).map_err(|e| OpError::Bug(e.to_string()))?;
        let known = self.tenant.as_ref().filter(|t| t.status != TenantStatus::Purged);
        let status = match known {
            None => None,
            Some(t) if t.provisioned_at.is_none() => Some(TenantStatus::Provisioning),
            Some(t) if t.status == TenantStatus::Suspended => None,
            Some(_) => Some(TenantStatus::Updating),
        };
        let new = NewOperation {
            verb: self.verb.as_str(),
            command: &self.command,
            plan: &plan,
            steps: &self.plan.steps,
            status,
            supersede: self.unfinished.as_ref().filter(|_| !self.same_spec).map(|o| o.number),
        };
        if let Some(number) = self.continues() {
            return Ok(self.site.registry.continue_operation(&self.lease, number, &new).await?.operation);
        }
        let desired = match known {
            None => operations::Desired::New(&facts, &revision),
            Some(t) if self.same_spec => operations::Desired::AsIs { revision: t.revision },
            Some(t) => operations::Desired::Changed { parent: t.revision, facts: &facts, revision: &revision },
        };
        Ok(self.site.registry.begin_operation(&self.lease, desired, &new).await?.operation)
    }

    fn ends_as(&self, outcome: &Outcome) -> (OperationStatus, Option<TenantStatus>) {
        let suspended = self.tenant.as_ref().is_some_and(|t| t.status == TenantStatus::Suspended);
        let never_ready = self.tenant.as_ref().is_none_or(|t| t.provisioned_at.is_none());
        if outcome.complete() {
            return (OperationStatus::Done, (!suspended).then_some(TenantStatus::Active));
        }
        let status = match outcome {
            o if o.in_doubt() => OperationStatus::InDoubt,
            o if o.interrupted => OperationStatus::Interrupted,
            _ => OperationStatus::Failed,
        };
        (status, never_ready.then_some(if status == OperationStatus::Interrupted { TenantStatus::Provisioning } else { TenantStatus::Failed }))
    }

    async fn report(&self, operation: Option<i64>, outcome: Option<Outcome>, calls: BTreeMap<String, u64>) -> Result<Report, OpError> {
        let tenant = self.site.registry.tenant_view(&self.plan.tenant).await?;
        Ok(Report { operation, verb: self.verb, tenant, outcome, plan: self.plan.clone(), calls, took: self.began.elapsed() })
    }
}

fn since(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    after.iter().map(|(call, n)| (call.clone(), n - before.get(call).copied().unwrap_or(0))).filter(|(_, n)| *n > 0).collect()
}

fn summary(outcome: &Outcome) -> Value {
    let ended = |end: &End| match end {
        End::Done(action) => json!({ "end": action }),
        End::Failed(fault) => json!(Ended { end: "failed", fault: Some(fault) }),
        End::InDoubt(fault) => json!(Ended { end: "in_doubt", fault: Some(fault) }),
        End::Skipped(because) => json!({"end": "skipped", "because": because}),
    };
    let seconds = |d: &Duration| (d.as_secs_f64() * 1000.0).round() / 1000.0;
    json!({
        "steps": outcome.ends.iter().map(|(address, end)| (address.to_string(), ended(end))).collect::<BTreeMap<_, _>>(),
        "seconds": outcome.took.iter().map(|(address, took): (&Address, &Duration)| (address.to_string(), seconds(took))).collect::<BTreeMap<_, _>>(),
        "total_seconds": seconds(&outcome.total),
        "interrupted": outcome.interrupted,
    })
}
