//! The story of every verb: one tenant brought from what it is to what an edit of its desired state says.
//!
//! In order: take the lease, read the current state, edit it, look, plan ([`prepare`]); let whoever asked see the plan and agree; put the
//! desired state and the operation on record in one transaction, run, put the end on record, let go of the lease
//! ([`Prepared::carry_out`]).
//!
//! Going on with an operation is planning again: an unfinished operation of the same desired state is continued under its number, one of
//! another desired state is overtaken.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::deliver;
use super::edit::{Current, Edit, Verb};
use super::error::OpError;
use super::proof;
use super::site::Site;
use super::survey::{Survey, survey};
use super::undo::{self, OnFailure};
use super::wait::{Wait, written};
use crate::engine::event::Listener;
use crate::engine::fault::Fault;
use crate::engine::kind::Address;
use crate::engine::run::{Crew, End, Outcome, Stop, run};
use crate::kinds::{Cx, KINDS};
use crate::plan::Plan;
use crate::plan::life::DesiredState;
use crate::registry::operations::{self, NewOperation};
use crate::registry::{Facts, HeldLease, NewRevision, Operation, OperationJournal, OperationStatus, TenantStatus, TenantView};
use crate::spec::TenantSpec;
use crate::stack::Desired;

/// A plan, with the lease to carry it out.
pub struct Prepared<'s> {
    site: &'s Site,
    verb: Verb,
    command: String,
    note: Option<String>,
    lease: Arc<HeldLease>,
    current: Option<Current>,
    state: DesiredState,
    desired: Desired,
    unfinished: Option<Operation>,
    /// What is to be done.
    pub plan: Plan,
    /// What becomes of what was made when a later step fails.
    pub on_failure: OnFailure,
    began: Instant,
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
    /// What of a failed run was to be undone, and how that ended.
    pub undone: BTreeMap<Address, End>,
    /// Why a purge whose every step is done is not: something is left, or a service could not be asked.
    pub unproven: Option<Fault>,
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

/// What a run is carried out with: its journal, who hears of it, and what tells it to stop.
type With<'a> = (&'a OperationJournal, &'a dyn Listener, watch::Receiver<Stop>);

/// What comes of the end of a run: what was undone, why a purge is unproven, what to tell.
type After = (BTreeMap<Address, End>, Option<Fault>, Report);

/// What was found out before anything is written.
pub struct Preview {
    /// The tenant so far, if it is on record and not purged.
    pub current: Option<Current>,
    /// Its operation that can be gone on with.
    pub unfinished: Option<Operation>,
    /// What it is meant to be.
    pub state: DesiredState,
    /// What that means, and what is to be done.
    pub surveyed: Survey,
}

impl Preview {
    /// There is nothing to do, and nothing new to put on record.
    pub fn is_empty(&self) -> bool {
        self.surveyed.plan.is_empty() && self.current.as_ref().is_some_and(|c| c.state == self.state)
    }
}

/// Takes the lease, edits, looks and plans. Nothing is written but the lease.
///
/// # Errors
/// Any [`OpError`]; the lease is let go of.
pub async fn prepare<'s>(site: &'s Site, edit: &dyn Edit, command: &str) -> Result<Prepared<'s>, OpError> {
    let began = Instant::now();
    let lease = site.registry.acquire_lease(edit.tenant(), &site.holder, command, crate::registry::Process::is_alive).await?;
    let found = match preview(site, edit).await {
        Ok(Preview { state, surveyed, .. }) if !surveyed.plan.problems.is_empty() => {
            Err(OpError::Problems { tenant: state.spec.id, problems: surveyed.plan.problems })
        }
        other => other,
    };
    failpoint!("verb.planned", edit.tenant());
    match found {
        Ok(Preview { current, unfinished, state, surveyed }) => Ok(Prepared {
            site,
            verb: edit.verb(),
            command: command.to_owned(),
            note: edit.note().map(ToOwned::to_owned),
            lease: Arc::new(lease),
            current,
            state,
            desired: surveyed.desired,
            plan: surveyed.plan,
            on_failure: OnFailure::Keep,
            unfinished,
            began,
        }),
        Err(e) => {
            let_go(&lease).await;
            Err(e)
        }
    }
}

/// Edits, looks and plans, and writes nothing at all: no lease is needed. The plan may have problems.
///
/// # Errors
/// Any [`OpError`].
pub async fn preview(site: &Site, edit: &dyn Edit) -> Result<Preview, OpError> {
    let unfinished = site.registry.unfinished_operation(edit.tenant()).await?;
    let current = current(site, edit.tenant(), unfinished.clone()).await?;
    if let Some(Current { tenant, .. }) = &current
        && !edit.verb().fits(tenant.status)
    {
        return Err(OpError::Status { tenant: tenant.id.clone(), status: tenant.status, verb: edit.verb() });
    }
    let current = current.filter(|c| c.tenant.status != TenantStatus::Purged || edit.verb() == Verb::Purge);
    // What the verb refuses is refused before anything is looked at.
    let state = edit.edit(site, current.as_ref()).await?;
    let surveyed = survey(site, &state).await?;
    edit.agree(&surveyed.plan)?;
    Ok(Preview { current, unfinished, state, surveyed })
}

/// The tenant as it is on record.
///
/// # Errors
/// [`OpError::Registry`].
pub async fn current(site: &Site, tenant: &str, unfinished: Option<Operation>) -> Result<Option<Current>, OpError> {
    let Some(tenant) = site.registry.find_tenant(tenant).await? else { return Ok(None) };
    let state = site.registry.revision(&tenant.id, tenant.revision).await?.state()?;
    Ok(Some(Current { tenant, state, unfinished }))
}

async fn let_go(lease: &HeldLease) {
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

    /// What the tenant is meant to be.
    pub fn state(&self) -> &DesiredState {
        &self.state
    }

    /// What it was meant to be so far.
    pub fn current(&self) -> Option<&Current> {
        self.current.as_ref()
    }

    fn same_state(&self) -> bool {
        self.current.as_ref().is_some_and(|c| c.state == self.state)
    }

    /// The unfinished operation this one goes on with.
    pub fn continues(&self) -> Option<i64> {
        self.unfinished.as_ref().filter(|_| self.same_state()).map(|o| o.number)
    }

    /// There is nothing to do, and nothing to put on record.
    pub fn is_empty(&self) -> bool {
        self.plan.is_empty() && self.same_state() && self.unfinished.is_none()
    }

    /// Does nothing, and lets go of the lease.
    pub async fn abandon(self) {
        let_go(&self.lease).await;
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
        let (site, report) = (self.site, self.run(listener, stop).await);
        self.abandon().await;
        // Whoever was interrupted does not want to wait; the next command sends what is left.
        if report.as_ref().is_ok_and(|r| r.outcome.as_ref().is_some_and(|o| !o.interrupted)) {
            deliver::shortly(site).await;
        }
        report
    }

    async fn run(&self, listener: &dyn Listener, stop: watch::Receiver<Stop>) -> Result<Report, OpError> {
        let tenant = &self.plan.tenant;
        if self.is_empty() {
            let shown = self.site.registry.tenant_view(tenant).await?;
            return Ok(self.report(None, shown, BTreeMap::new()));
        }
        let before = self.site.cx.cloud.calls().by_operation();
        let operation = match self.begin().await {
            Err(OpError::Registry(registry)) if registry.passing() => return Err(OpError::Unbegun { tenant: tenant.clone(), registry }),
            begun => begun?,
        };
        failpoint!("verb.begun", tenant);
        let journal = self.site.registry.journal(operation, &self.lease);
        let outcome = run(self.crew(&journal, listener, stop.clone()), self.plan.steps.clone()).await;
        failpoint!("verb.ran", tenant);
        let ended = self.end(&outcome, operation, &before, (&journal, listener, stop)).await;
        match ended {
            Ok((undone, unproven, report)) => Ok(Report { outcome: Some(outcome), unproven, undone, ..report }),
            Err(OpError::Registry(registry)) if registry.passing() => {
                Err(OpError::Unrecorded { tenant: tenant.clone(), operation, outcome: Box::new(outcome), registry })
            }
            Err(e) => Err(e),
        }
    }

    /// What comes after the steps: undoing, proving, the end on record. A registry that is away for a short time is waited for, unless the
    /// run has done so already.
    async fn end(&self, outcome: &Outcome, operation: i64, before: &BTreeMap<String, u64>, with: With<'_>) -> Result<After, OpError> {
        let (tenant, (journal, listener, stop)) = (&self.plan.tenant, with);
        let over = || outcome.journal.is_some() || outcome.interrupted;
        let wait = Wait { registry: &self.site.registry, patience: self.site.patience, over: &over };
        let undone = match self.on_failure {
            OnFailure::Undo if !outcome.complete() && !outcome.interrupted && !outcome.fenced && outcome.journal.is_none() => {
                let steps = undo::steps(self.site, tenant, &self.plan.steps).await?;
                failpoint!("verb.undo_planned", tenant);
                run(self.crew(journal, listener, stop), steps).await.ends
            }
            _ => BTreeMap::new(),
        };
        let proof = self.prove(outcome, operation).await?;
        let calls = since(before, &self.site.cx.cloud.calls().by_operation());
        let (certificate, unproven) = match proof {
            None => (None, None),
            Some(Ok(document)) => (Some(document), None),
            Some(Err(fault)) => (None, Some(fault)),
        };
        let (status, tenant_status) = self.ends_as(outcome, unproven.is_none());
        let summary = summary(outcome, unproven.as_ref());
        let end = operations::Outcome { status, summary: &summary, calls: &json!(calls), tenant: tenant_status };
        let registry = &self.site.registry;
        match certificate {
            // Whoever has taken over writes the end.
            _ if outcome.fenced => tracing::warn!("another process has taken over tenant {tenant}"),
            Some(document) => {
                failpoint!("verb.proven", tenant);
                wait.through(|| async { written(registry.finish_purge(&self.lease, operation, &end, &document).await, status) }).await?;
            }
            None => {
                if outcome.complete() {
                    let names = self.names();
                    wait.through(|| registry.release_names(&self.lease, &names)).await?;
                    failpoint!("verb.names_released", tenant);
                }
                wait.through(|| async { written(registry.finish_operation(&self.lease, operation, &end).await, status) }).await?;
            }
        }
        failpoint!("verb.finished", tenant);
        let shown = wait.through(|| registry.tenant_view(tenant)).await?;
        Ok((undone, unproven, self.report(Some(operation), shown, calls)))
    }

    fn crew<'a>(&'a self, journal: &'a OperationJournal, listener: &'a dyn Listener, stop: watch::Receiver<Stop>) -> Crew<'a, Cx> {
        Crew {
            kinds: KINDS,
            cx: Arc::clone(&self.site.cx),
            journal,
            lease: &*self.lease,
            listener,
            stop,
            pacer: Arc::clone(&self.site.pacer),
            patience: self.site.patience,
        }
    }

    /// After the last deletion of a purge: is there really nothing left? None where that is not the question.
    async fn prove(&self, outcome: &Outcome, operation: i64) -> Result<Option<Result<Value, Fault>>, OpError> {
        if !outcome.complete() || !self.state.life.purged {
            return Ok(None);
        }
        let _alive = self.lease.keep_alive();
        proof::certify(self.site, &self.state, operation).await.map(Some)
    }

    async fn begin(&self) -> Result<i64, OpError> {
        let bug = |e: serde_json::Error| OpError::Bug(e.to_string());
        let (spec, life) = (serde_json::to_value(&self.state.spec).map_err(bug)?, serde_json::to_value(&self.state.life).map_err(bug)?);
        let plan = serde_json::to_value(&self.plan).map_err(bug)?;
        let names = self.names();
        let facts = facts(&self.state.spec, self.desired.isolation.as_str(), &names);
        let version = self.desired.stack_version.as_str();
        let revision = NewRevision {
            spec: &spec,
            life: &life,
            stack_version: Some(version),
            tier_version: Some(version),
            command: &self.command,
            note: self.note.as_deref(),
        };
        let new = NewOperation {
            verb: self.verb.as_str(),
            command: &self.command,
            plan: &plan,
            steps: &self.plan.steps,
            status: self.begins_as(),
            supersede: self.unfinished.as_ref().filter(|_| !self.same_state()).map(|o| o.number),
        };
        if let Some(number) = self.continues() {
            return Ok(self.site.registry.continue_operation(&self.lease, number, &new).await?.operation);
        }
        let desired = match &self.current {
            None => operations::Desired::New(&facts, &revision),
            Some(c) if self.same_state() => operations::Desired::AsIs { revision: c.tenant.revision },
            Some(c) => operations::Desired::Changed { parent: c.tenant.revision, facts: &facts, revision: &revision },
        };
        Ok(self.site.registry.begin_operation(&self.lease, desired, &new).await?.operation)
    }

    /// The physical names it needs: claimed before the run, and once it is done the only ones kept.
    fn names(&self) -> Vec<(String, String)> {
        self.desired.names.iter().map(|(kind, name)| (kind.clone(), name.clone())).collect()
    }

    /// The tenant's status while the run goes on; none leaves it as it is.
    fn begins_as(&self) -> Option<TenantStatus> {
        let Current { tenant, .. } = self.current.as_ref()?;
        let life = &self.state.life;
        match tenant.status {
            _ if life.purged => Some(TenantStatus::Purging),
            // At once: from here on it can be brought back, however far the run comes.
            _ if life.deleted.is_some() => Some(TenantStatus::Deleted),
            // What is out of use stays so while it is changed.
            TenantStatus::Suspended if self.state.suspension().is_some() => None,
            _ if tenant.provisioned_at.is_some() => Some(TenantStatus::Updating),
            _ => Some(TenantStatus::Provisioning),
        }
    }

    /// What the desired state makes of a tenant that has come to it.
    fn completes_as(&self) -> TenantStatus {
        match &self.state.life {
            life if life.purged => TenantStatus::Purged,
            life if life.deleted.is_some() => TenantStatus::Deleted,
            life if life.suspended.is_some() => TenantStatus::Suspended,
            _ => TenantStatus::Active,
        }
    }

    fn ends_as(&self, outcome: &Outcome, proven: bool) -> (OperationStatus, Option<TenantStatus>) {
        if outcome.complete() && proven {
            return (OperationStatus::Done, Some(self.completes_as()));
        }
        let status = match outcome {
            o if o.in_doubt() => OperationStatus::InDoubt,
            o if o.interrupted => OperationStatus::Interrupted,
            _ => OperationStatus::Failed,
        };
        let on_the_way_out = self.state.life.purged || self.state.life.deleted.is_some();
        let never_ready = self.current.as_ref().is_none_or(|c| c.tenant.provisioned_at.is_none()) && !on_the_way_out;
        (status, never_ready.then_some(if status == OperationStatus::Interrupted { TenantStatus::Provisioning } else { TenantStatus::Failed }))
    }

    fn report(&self, operation: Option<i64>, tenant: TenantView, calls: BTreeMap<String, u64>) -> Report {
        Report {
            operation,
            verb: self.verb,
            tenant,
            outcome: None,
            undone: BTreeMap::new(),
            unproven: None,
            plan: self.plan.clone(),
            calls,
            took: self.began.elapsed(),
        }
    }
}

fn facts<'a>(spec: &'a TenantSpec, isolation: &'a str, names: &'a [(String, String)]) -> Facts<'a> {
    Facts {
        external_id: spec.external_id.as_deref(),
        display_name: &spec.display_name,
        subdomain: &spec.subdomain,
        stack: &spec.stack,
        tier: spec.tier.as_str(),
        isolation,
        names,
    }
}

fn since(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    after.iter().map(|(call, n)| (call.clone(), n - before.get(call).copied().unwrap_or(0))).filter(|(_, n)| *n > 0).collect()
}

fn summary(outcome: &Outcome, unproven: Option<&Fault>) -> Value {
    let ended = |end: &End| match end {
        End::Done(action) => json!({ "end": action }),
        End::Failed(fault) => json!(Ended { end: "failed", fault: Some(fault) }),
        End::InDoubt(fault) => json!(Ended { end: "in_doubt", fault: Some(fault) }),
        End::Skipped(because) => json!({"end": "skipped", "because": because}),
    };
    let seconds = |d: &Duration| (d.as_secs_f64() * 1000.0).round() / 1000.0;
    let mut summary = json!({
        "steps": outcome.ends.iter().map(|(address, end)| (address.to_string(), ended(end))).collect::<BTreeMap<_, _>>(),
        "seconds": outcome.took.iter().map(|(address, took): (&Address, &Duration)| (address.to_string(), seconds(took))).collect::<BTreeMap<_, _>>(),
        "total_seconds": seconds(&outcome.total),
        "interrupted": outcome.interrupted,
    });
    if let Some(fault) = unproven {
        summary["unproven"] = json!(fault);
    }
    summary
}
