//! What an operator asks when something seems wrong: is everything well, and if not, what is it and what to do next? Changes nothing.
//!
//! * [`records`]: what the registry says of itself: locks, operations, runs, events, the audit trail, secrets, the clock.
//! * [`world`]: the registry against AWS and the databases, both ways, on the [`census`](crate::cloud::census) that a purge's proof uses.
//! * [`logins`]: people and app clients of user pools, which carry no tags. [`ledgers`]: the rows of databases' central ledgers.
//!
//! # Guarantees
//! Nothing is written anywhere: no lock is taken, databases are asked in read-only sessions. What could not be looked at is a finding of its
//! own: an empty list means that all of it was looked at.
//!
//! # Caveats
//! It finds what is lost, orphaned or doubled, not what differs in a setting: that is [`drift`](super::drift). A tenant that somebody works
//! on is not compared. What bears no marks of this registry and is not on record is somebody else's here; docs/doctor.md says what else is not
//! looked at.

pub mod ledgers;
pub mod logins;
pub mod records;
pub mod world;

use std::fmt;

use serde::Serialize;

use super::error::OpError;
use super::site::{Reachable, Site};
use crate::cloud::Cloud;
use crate::cloud::fault::fault;
use crate::engine::fault::Fault;
use crate::registry::Holder;
use crate::stack::Stacks;

/// How bad it is. In this order they are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Something is lost, or cannot be trusted, or nothing works.
    Error,
    /// Somebody has to do something, or something could not be looked at.
    Warning,
    /// Worth knowing; all may be well.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

/// What was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// Whether the sandbox runs.
    Sandbox,
    /// Programs that some commands need.
    Tools,
    /// Whether the registry answers and is of our version.
    Registry,
    /// Whether AWS answers, and as whom.
    Aws,
    /// This host's clock against the registry's.
    Clock,
    /// Locks whose holders are dead.
    Lock,
    /// Operations that are not finished and that nobody is at.
    Operation,
    /// Runs over the fleet that are not finished.
    FleetRun,
    /// Lifecycle events that their receivers have not got.
    Events,
    /// The chain of the audit trail.
    Audit,
    /// What looks like a password, in the registry.
    Secrets,
    /// What is on record and not there.
    Lost,
    /// What is there and not on record.
    Orphaned,
    /// What is there, or on record, twice.
    Doubled,
    /// What could not be looked at.
    NotLookedAt,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Sandbox => "sandbox",
            Self::Tools => "tools",
            Self::Registry => "registry",
            Self::Aws => "aws",
            Self::Clock => "clock",
            Self::Lock => "lock",
            Self::Operation => "operation",
            Self::FleetRun => "fleet_run",
            Self::Events => "events",
            Self::Audit => "audit",
            Self::Secrets => "secrets",
            Self::Lost => "lost",
            Self::Orphaned => "orphaned",
            Self::Doubled => "doubled",
            Self::NotLookedAt => "not_looked_at",
        })
    }
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Which check found it.
    pub check: Check,
    /// Whose, where it is a tenant's.
    pub tenant: Option<String>,
    /// What it is about: an address, an operation, a service.
    pub what: String,
    /// What is the case.
    pub found: String,
    /// What that means.
    pub means: String,
    /// The command to run next, where there is one.
    pub run: Option<String>,
}

impl Finding {
    /// A finding about nobody's in particular, without advice.
    pub fn new(severity: Severity, check: Check, what: impl Into<String>, found: impl Into<String>, means: impl Into<String>) -> Self {
        Self { severity, check, tenant: None, what: what.into(), found: found.into(), means: means.into(), run: None }
    }

    /// Something that could not be looked at, which is no pass.
    pub fn unseen(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(Severity::Warning, Check::NotLookedAt, what, why, "whether all is well there is not known")
    }

    /// Of this tenant.
    #[must_use]
    pub fn of(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// With the command to run next.
    #[must_use]
    pub fn run(mut self, command: impl Into<String>) -> Self {
        self.run = Some(command.into());
        self
    }
}

/// An examination's end.
#[derive(Debug, Default)]
pub struct Report {
    /// What is not as it should be, the worst first.
    pub findings: Vec<Finding>,
    /// Resources on record that were held against the world.
    pub resources: usize,
    /// Things in AWS and on database servers that were held against the registry.
    pub things: usize,
}

impl Report {
    /// Findings by severity: errors, warnings, notes.
    pub fn counts(&self) -> [usize; 3] {
        [Severity::Error, Severity::Warning, Severity::Note].map(|s| self.findings.iter().filter(|f| f.severity == s).count())
    }

    /// Puts the findings in order: the worst first, then by check and what they are about.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        self.findings.sort_by(|a, b| (a.severity, a.check, &a.tenant, &a.what, &a.found).cmp(&(b.severity, b.check, &b.tenant, &b.what, &b.found)));
        self.findings.dedup();
        self
    }
}

/// Examines a place: all of it, or what concerns one tenant.
///
/// What stands in the way of looking (no registry, no AWS) is a finding and no error.
///
/// # Errors
/// [`OpError::NoSuchTenant`]; templates that cannot be read.
pub async fn examine(mut place: Reachable, stacks: Stacks, holder: Holder, tenant: Option<&str>) -> Result<Report, OpError> {
    let mut report = Report::default();
    // Only looked at: a registry that is not there is told, and not made.
    place.init_registry = false;
    let cloud = Cloud::connect(place.reach.clone()).await;
    let expected = place.account_id.clone();
    let (identity, site) = tokio::join!(identity(&cloud, expected.as_deref()), Site::open(place, stacks, holder));
    let aws = identity.is_none();
    report.findings.extend(identity);
    let site = match site {
        Ok(site) => site,
        Err(OpError::Registry(e)) => {
            let mut found =
                Finding::new(Severity::Error, Check::Registry, "registry", e.to_string(), "labctl remembers nothing without it: no other command works");
            found.run = e.hint().and_then(|hint| hint.split('`').nth(1).map(ToOwned::to_owned));
            report.findings.push(found);
            report.findings.push(Finding::unseen("locks, operations, events, audit trail, tenants", "the registry could not be asked"));
            return Ok(report.sorted());
        }
        // AWS's refusal is told already.
        Err(OpError::Outside { .. } | OpError::WrongAccount { .. }) if !aws => {
            report.findings.push(Finding::unseen("registry, locks, operations, events, audit trail, tenants", "AWS did not let labctl in"));
            return Ok(report.sorted());
        }
        Err(other) => return Err(other),
    };
    if let Some(id) = tenant
        && site.registry.find_tenant(id).await?.is_none()
    {
        return Err(OpError::NoSuchTenant { tenant: id.to_owned() });
    }
    let (records, world) = tokio::join!(records::read(&site, tenant), async { if aws { Some(world::compare(&site, tenant).await) } else { None } });
    report.findings.extend(records?);
    match world {
        Some(compared) => {
            let compared = compared?;
            report.findings.extend(compared.findings);
            (report.resources, report.things) = (compared.resources, compared.things);
        }
        None => report.findings.push(Finding::unseen("what tenants have in AWS and in databases", "AWS did not let labctl in")),
    }
    Ok(report.sorted())
}

/// Whether AWS knows us, and as whom the profile says.
async fn identity(cloud: &Cloud, expected: Option<&str>) -> Option<Finding> {
    let refused = |found: String, means: &str| Some(Finding::new(Severity::Error, Check::Aws, "credentials", found, means).run("aws sts get-caller-identity"));
    let answer: Result<_, Fault> = cloud.sts.get_caller_identity().send().await.map_err(|e| fault("sts:GetCallerIdentity", e));
    match (answer, expected) {
        (Err(fault), _) => refused(fault.to_string(), "AWS does not answer, or does not know these credentials: nothing can be made or looked at"),
        (Ok(found), Some(expected)) if found.account() != Some(expected) => {
            let account = found.account().unwrap_or("an unknown account");
            refused(format!("they are of account {account}, and the profile is of {expected}"), "this is another account: labctl touches nothing there")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_comes_first_and_nothing_twice() {
        let finding = |severity, what: &str| Finding::new(severity, Check::Lock, what, "f", "m");
        let findings = vec![finding(Severity::Note, "a"), finding(Severity::Error, "z"), finding(Severity::Warning, "b"), finding(Severity::Error, "z")];
        let report = Report { findings, ..Report::default() };
        assert_eq!(report.counts(), [2, 1, 1]);
        let sorted: Vec<String> = report.sorted().findings.into_iter().map(|f| f.what).collect();
        assert_eq!(sorted, ["z", "b", "a"]);
    }
}
