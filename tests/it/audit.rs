//! The auditor: what AWS and PostgreSQL hold against what the registry has on record, both ways.
//!
//! It is independent of the code it judges. AWS is listed with plain SDK clients, PostgreSQL and the registry's tables are read with SQL; no
//! kind, plan or registry code is used. Whatever it finds is a finding: nothing is lost, orphaned, doubled or leaked only where it says nothing.
//!
//! ```ignore
//! audit(world, Scope::Tenants(&["city-lab"])).await.assert_clean();
//! ```
//!
//! # Caveats
//! It takes a still picture: nobody may work on the tenants in scope meanwhile. With [`Scope::Tenants`] only things whose name holds the
//! tenant's id or subdomain, or that are on record, are read (all physical names hold one of them), so that it can be used in a sandbox
//! with hundreds of other tests' tenants. It takes it that nobody but labctl invites people: not for a tenant that plays the customer.

#[path = "audit/arguments.rs"]
pub mod arguments;
#[path = "audit/aws.rs"]
mod aws;
#[path = "audit/definitions.rs"]
pub mod definitions;
#[path = "audit/leaks.rs"]
mod leaks;
#[path = "audit/postgres.rs"]
mod postgres;
#[path = "audit/record.rs"]
mod record;
#[path = "audit/templates.rs"]
pub mod templates;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::e2e::fixture::World;
use record::{Record, Tenant};

/// Whose things are looked at.
#[derive(Debug, Clone, Copy)]
pub enum Scope<'a> {
    /// These tenants', in a sandbox shared with others.
    Tenants(&'a [&'a str]),
    /// Everything there is, in a sandbox of one's own.
    Everything,
}

/// What is wrong with a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wrong {
    /// On record, and not there, or not as its own.
    Lost,
    /// There, and not on record.
    Orphaned,
    /// There twice, or on record twice.
    Doubled,
    /// A secret where no secret may be.
    Leaked,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    pub wrong: Wrong,
    /// What it is and what it is called.
    pub what: String,
    pub why: String,
}

/// The end of an audit.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Sorted.
    pub findings: Vec<Finding>,
    /// How many things of each sort were looked at.
    pub looked: BTreeMap<String, usize>,
    /// Resources on record in scope.
    pub recorded: usize,
    /// Secrets that were looked for, and the places.
    pub secrets: usize,
    pub places: usize,
}

impl Verdict {
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    /// Fails the test with every finding.
    pub fn assert_clean(&self) {
        assert!(self.is_clean(), "{self}");
    }

    fn add(&mut self, wrong: Wrong, what: impl Into<String>, why: impl Into<String>) {
        self.findings.push(Finding { wrong, what: what.into(), why: why.into() });
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for found in &self.findings {
            writeln!(f, "{:8} {}: {}", format!("{:?}", found.wrong).to_lowercase(), found.what, found.why)?;
        }
        let looked: Vec<String> = self.looked.iter().map(|(what, n)| format!("{n} {what}")).collect();
        write!(f, "{} findings; {} resources on record against {}; ", self.findings.len(), self.recorded, looked.join(", "))?;
        write!(f, "{} secrets sought in {} places", self.secrets, self.places)
    }
}

/// Whose a thing says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Owner {
    tenant: String,
    address: String,
    registry: String,
}

impl Owner {
    fn of(tags: &BTreeMap<String, String>) -> Option<Self> {
        let of = |key: &str| tags.get(key).cloned().unwrap_or_default();
        let owner = Self { tenant: of("labctl:tenant"), address: of("labctl:address"), registry: of("labctl:registry") };
        tags.keys().any(|k| k.starts_with("labctl:") && k != "labctl:platform").then_some(owner)
    }
}

/// One thing there is.
#[derive(Debug, Clone)]
struct Thing {
    /// `bucket`, `role of the database`, …
    what: &'static str,
    /// As the registry would have it on record.
    id: String,
    /// What it is called, for things whose id says nothing.
    name: String,
    owner: Option<Owner>,
    /// Its kind carries no tags: whose it is follows from what it is in.
    of: Option<String>,
}

/// The tenants in scope, and how to know what is theirs by its name.
struct Eye<'a> {
    scope: Scope<'a>,
    registry: String,
    tenants: BTreeMap<String, Tenant>,
    /// Everything on record in scope, by what the services know it by.
    ids: BTreeSet<String>,
    /// `city_lab` and `city-lab`, and the same of subdomains, of the tenants in scope.
    words: Vec<String>,
}

impl Eye<'_> {
    fn sees(&self, tenant: &str) -> bool {
        match self.scope {
            Scope::Everything => true,
            Scope::Tenants(ids) => ids.contains(&tenant),
        }
    }

    /// Whether a thing of that name is worth a closer look.
    fn near(&self, name: &str) -> bool {
        matches!(self.scope, Scope::Everything) || self.ids.contains(name) || self.words.iter().any(|w| name.contains(w.as_str()))
    }

    /// The tenant in scope whose name pattern this is. Of `city` and `city-lab`, `tenant_city_lab_app` is the latter's.
    fn named_after(&self, name: &str) -> Option<&str> {
        let by_name = self.tenants.values().filter(|t| t.bears(name)).max_by_key(|t| t.id.len())?;
        self.sees(&by_name.id).then_some(by_name.id.as_str())
    }
}

/// Compares the world with the registry.
pub async fn audit(world: &World, scope: Scope<'_>) -> Verdict {
    Box::pin(audit_and_listen(world, scope, &[])).await
}

/// The same, and looks for secrets in these texts too: (where it was heard, the text).
pub async fn audit_and_listen(world: &World, scope: Scope<'_>, heard: &[(&str, &str)]) -> Verdict {
    let mut registry = world.registry().await;
    let tenants = record::tenants(&mut registry).await;
    if let Scope::Tenants(ids) = scope {
        ids.iter().for_each(|id| assert!(tenants.contains_key(*id), "no tenant `{id}` is on record"));
    }
    let mut eye = Eye { scope, registry: record::identity(&mut registry).await, tenants, ids: BTreeSet::new(), words: Vec::new() };
    let records = record::resources(&mut registry, &eye).await;
    eye.ids = records.iter().filter_map(|r| r.id.clone()).collect();
    eye.words = eye.tenants.values().filter(|t| eye.sees(&t.id)).flat_map(Tenant::words).collect();

    let mut verdict = Verdict { recorded: records.len(), ..Verdict::default() };
    let cloud = Box::pin(world.cloud()).await;
    // Boxed: unoptimised, the SDK's calls are too large for a test's stack.
    let mut things = Box::pin(aws::list(&cloud, &eye, &records)).await;
    let in_postgres = Box::pin(postgres::list(world, &eye)).await;
    things.extend(in_postgres.things);
    for thing in &things {
        *verdict.looked.entry(thing.what.to_owned()).or_default() += 1;
    }
    lost(&eye, &records, &things, &mut verdict);
    orphaned(&eye, &records, &things, &mut verdict);
    doubled(&eye, &records, &things, &mut verdict);
    record::check(&mut registry, &eye, &records, &mut verdict).await;
    postgres::ledgers(&eye, &records, &in_postgres.ledgers, &mut verdict);
    Box::pin(leaks::seek(world, &cloud, &mut registry, &eye, heard, &mut verdict)).await;
    verdict.findings.sort();
    verdict.findings.dedup();
    verdict
}

/// Kinds whose things can carry no tags.
const UNTAGGED: [&str; 3] = ["cognito_user", "cognito_user_pool_client", "postgres_rows"];

/// What things of that kind are called here.
fn called(kind: &str) -> &'static str {
    aws::KNOWN.iter().find(|(known, _)| *known == kind).unwrap_or_else(|| panic!("the auditor lists nothing of kind `{kind}`")).1
}

#[test]
fn the_auditor_knows_every_kind_there_is_and_no_other() {
    let known: Vec<&str> = aws::KNOWN.iter().map(|(kind, _)| *kind).collect();
    let kinds: Vec<&str> = labctl::kinds::KINDS.iter().map(|k| k.name()).collect();
    assert_eq!(known, kinds, "both are in the order of the alphabet");
}

fn lost(eye: &Eye<'_>, records: &[Record], things: &[Thing], verdict: &mut Verdict) {
    for record in records.iter().filter(|r| r.is_there()) {
        let id = record.id.as_deref().unwrap_or_default();
        let own = |t: &Thing| t.owner.as_ref().is_some_and(|o| o.address == record.address && o.registry == eye.registry && o.tenant == record.tenant);
        // Of one id may be a schema and a database.
        let named: Vec<&Thing> = things.iter().filter(|t| t.id == id && t.what == called(&record.kind)).collect();
        let untagged = UNTAGGED.contains(&record.kind.as_str());
        if named.iter().any(|t| own(t) || (untagged && t.of.as_deref() == Some(&record.tenant))) {
            continue;
        }
        let elsewhere = things.iter().find(|t| own(t));
        let why = match (named.first(), elsewhere) {
            (_, Some(other)) => format!("on record as {id}, but it is {} that carries its address", other.id),
            (Some(there), None) if untagged => format!("{id} is there, but it is of {:?}", there.of),
            (Some(there), None) => format!("{id} is there, but marked as {:?}", there.owner),
            (None, None) => format!("{id} is not there"),
        };
        verdict.add(Wrong::Lost, &record.address, why);
    }
}

fn orphaned(eye: &Eye<'_>, records: &[Record], things: &[Thing], verdict: &mut Verdict) {
    for thing in things {
        let what = format!("{} {}", thing.what, thing.id);
        let on_record = |address: Option<&str>| {
            records.iter().any(|r| {
                r.may_be_there()
                    && called(&r.kind) == thing.what
                    && address.is_none_or(|a| a == r.address)
                    && r.id.as_deref().is_none_or(|id| id == thing.id)
                    && (address.is_some() || r.id.is_some())
            })
        };
        match (&thing.owner, &thing.of) {
            (Some(owner), _) if owner.registry != eye.registry => {
                if matches!(eye.scope, Scope::Everything) {
                    verdict.add(Wrong::Orphaned, what, format!("it says it is {} of registry {}, which is not this one", owner.address, owner.registry));
                }
            }
            (Some(owner), _) => {
                if eye.sees(&owner.tenant) && !on_record(Some(&owner.address)) {
                    verdict.add(Wrong::Orphaned, what, format!("it says it is {}, and that is not on record with this id", owner.address));
                }
            }
            (None, Some(tenant)) => {
                if eye.sees(tenant) && !on_record(None) {
                    verdict.add(Wrong::Orphaned, what, format!("it is of {tenant} and not on record"));
                }
            }
            (None, None) => {
                if let Some(tenant) = eye.named_after(&thing.name)
                    && !on_record(None)
                {
                    verdict.add(Wrong::Orphaned, what, format!("it is named after {tenant}, says nothing of an owner, and is not on record"));
                }
            }
        }
    }
}

fn doubled(eye: &Eye<'_>, records: &[Record], things: &[Thing], verdict: &mut Verdict) {
    let mut by_address: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for thing in things {
        if let Some(owner) = thing.owner.as_ref().filter(|o| o.registry == eye.registry && eye.sees(&o.tenant)) {
            by_address.entry(owner.address.clone()).or_default().push(&thing.id);
        } else if let Some(tenant) = thing.of.as_deref().filter(|t| eye.sees(t)) {
            // What carries no tags is doubled where two of one name are in one place; a person wherever they can sign in twice.
            let place = if thing.what == "users" { "all pools" } else { thing.id.split('/').next().unwrap_or_default() };
            by_address.entry(format!("{tenant}: {} {} in {place}", thing.what, thing.name)).or_default().push(&thing.id);
        }
    }
    for (address, ids) in by_address.into_iter().filter(|(_, ids)| ids.len() > 1) {
        verdict.add(Wrong::Doubled, address, format!("it is there {} times: {}", ids.len(), ids.join(", ")));
    }
    let mut by_id: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for record in records.iter().filter(|r| r.is_there()) {
        by_id.entry((&record.kind, record.id.as_deref().unwrap_or_default())).or_default().push(&record.address);
    }
    for ((kind, id), addresses) in by_id.iter().filter(|(_, addresses)| addresses.len() > 1) {
        verdict.add(Wrong::Doubled, format!("{kind} {id}"), format!("on record at {}", addresses.join(" and ")));
    }
}
