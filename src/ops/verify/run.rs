//! One tenant, or a fleet, against its neighbours; what came of it is put on record as evidence.

use futures_util::stream::{self, StreamExt as _};
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::probe::{Findings, LeftOut, Verdict};
use super::subject::{Subject, Thing};
use super::{database, identity, storage};
use crate::ops::error::OpError;
use crate::ops::site::Site;
use crate::registry::evidence::NewEvidence;
use crate::registry::{Tenant, TenantFilter, TenantStatus};

/// Which neighbours are tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Against {
    /// This one.
    One(String),
    /// So many, by chance; first of all those of the same stack and isolation, which share the most.
    Sample(usize),
}

/// What came of one tenant's verification.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Who tried.
    pub tenant: String,
    /// On whom.
    pub against: Vec<String>,
    /// The worst of all verdicts.
    pub verdict: Verdict,
    /// Attempts that were refused.
    pub refused: usize,
    /// Attempts that went through.
    pub breaches: usize,
    /// Attempts that prove nothing.
    pub not_run: usize,
    /// How many probes there was nothing to try for.
    #[serde(skip)]
    pub nothing_to_try: usize,
    /// Its number on record.
    pub evidence: i64,
    /// The attempts, and those there was nothing to try for.
    #[serde(flatten)]
    pub found: Findings,
}

/// Verifies one tenant, and puts the result on record.
///
/// # Errors
/// [`OpError::Registry`]; [`OpError::NoNeighbour`].
pub async fn verify(site: &Site, id: &str, against: &Against, command: &str) -> Result<Report, OpError> {
    let tenant = site.registry.tenant(id).await?;
    let neighbours = match against {
        Against::One(other) if other == id => return Err(OpError::NoNeighbour { tenant: id.to_owned() }),
        Against::One(other) => vec![site.registry.tenant(other).await?],
        Against::Sample(count) => sample(site.registry.tenants(&active()).await?, &tenant, *count),
    };
    if neighbours.is_empty() {
        return Err(OpError::NoNeighbour { tenant: id.to_owned() });
    }
    let mut others = Vec::new();
    for neighbour in &neighbours {
        others.push(subject(site, &neighbour.id).await?);
    }
    let found = attack(site, &subject(site, id).await?, &others).await;
    record(site, id, &others, found, command).await
}

/// Verifies all active tenants that match, a few at once. The reports are without the attempts, which are on record. What could not be verified at all is an error of its tenant's.
///
/// # Errors
/// [`OpError::Registry`], where not even the tenants could be listed.
pub async fn fleet(site: &Site, filter: &TenantFilter, sample: usize, command: &str) -> Result<Vec<(String, Result<Report, OpError>)>, OpError> {
    const AT_ONCE: usize = 4;
    let tenants = site.registry.tenants(&TenantFilter { status: Some(TenantStatus::Active), ..filter.clone() }).await?;
    let against = &Against::Sample(sample);
    let runs = stream::iter(tenants).map(|t| async move {
        let report = verify(site, &t.id, against, command).await;
        // The attempts are on record: those of thousands of tenants need not be in memory, too.
        (t.id, report.map(|r| Report { found: Findings::default(), ..r }))
    });
    Ok(runs.buffered(AT_ONCE).collect().await)
}

fn active() -> TenantFilter {
    TenantFilter { status: Some(TenantStatus::Active), ..TenantFilter::default() }
}

fn sample(mut all: Vec<Tenant>, of: &Tenant, count: usize) -> Vec<Tenant> {
    all.retain(|t| t.id != of.id);
    all.sort_by_cached_key(|t| ((t.stack != of.stack, t.isolation != of.isolation), Uuid::new_v4()));
    all.truncate(count);
    all
}

async fn subject(site: &Site, id: &str) -> Result<Subject, OpError> {
    Ok(Subject::new(id, site.registry.resources(id).await?.into_iter().map(Thing::from).collect()))
}

async fn attack(site: &Site, a: &Subject, others: &[Subject]) -> Findings {
    let mut all = Findings::default();
    match (database::look(&site.cx, a, site.registry_at.as_ref()).await, &a.unreadable) {
        (Some(mut attacker), _) => {
            all.add(attacker.attack(None).await);
            for b in others {
                all.add(attacker.attack(Some(b)).await);
            }
        }
        (None, Some(why)) => all.add(database::not_run(a, others, why)),
        (None, None) => {
            all.left_out.push(LeftOut { probe: "database".to_owned(), against: None, why: format!("`{}` has nothing in PostgreSQL", a.tenant) });
        }
    }
    for b in others {
        let (stored, known) = tokio::join!(storage::attack(&site.cx.cloud, a, b), identity::attack(&site.cx.cloud, a, b));
        all.add(stored);
        all.add(known);
    }
    all
}

async fn record(site: &Site, id: &str, others: &[Subject], found: Findings, command: &str) -> Result<Report, OpError> {
    let against: Vec<String> = others.iter().map(|o| o.tenant.clone()).collect();
    let (refused, breaches, not_run) = (found.count(Verdict::Refused), found.count(Verdict::Breach), found.count(Verdict::NotRun));
    let verdict = found.verdict();
    let summary = json!({"against": against, "refused": refused, "breaches": breaches, "not_run": not_run, "left_out": found.left_out.len()});
    let result = serde_json::to_value(&found).map_err(|e| OpError::Bug(e.to_string()))?;
    let new = NewEvidence { tenant: id, what: "isolation", command, verdict: verdict.as_str(), summary: &summary, result: &result };
    let evidence = site.registry.put_evidence(&site.holder, &new).await?;
    Ok(Report { tenant: id.to_owned(), against, verdict, refused, breaches, not_run, nothing_to_try: found.left_out.len(), evidence, found })
}
