//! The rows of central ledgers against the schemas they are of, and schemas on record against their rows.

use std::collections::{BTreeMap, BTreeSet};

use super::{Check, Finding, Severity};
use crate::cloud::tags::{REGISTRY, TENANT};
use crate::engine::kind::Tags;
use crate::registry::{Resource, ResourceStatus};
use crate::tenantdb::census::LedgerRow;
use crate::tenantdb::system;

/// A database's ledger.
#[derive(Debug)]
pub(super) struct Ledger {
    /// The server.
    pub(super) endpoint: String,
    /// The database.
    pub(super) database: String,
    /// Its rows.
    pub(super) rows: Vec<LedgerRow>,
    /// The database's schemas, and what they say of their owner.
    pub(super) schemas: BTreeMap<String, Tags>,
}

/// Rows that are of nothing, and schemas on record without a row. Of one tenant, where one is named.
pub(super) fn compare(ledgers: &[Ledger], registry: &str, tenant: Option<&str>, rows: &[Resource], busy: &BTreeSet<String>) -> Vec<Finding> {
    let concerns = |id: &str| tenant.is_none_or(|t| t == id) && !busy.contains(id);
    let mut findings = Vec::new();
    for ledger in ledgers {
        findings.extend(ledger.rows.iter().filter(|r| concerns(&r.tenant)).filter_map(|r| stray(ledger, r, registry)));
        let theirs = rows.iter().filter(|r| concerns(&r.address.tenant) && host(r) == Some(ledger.endpoint.as_str()));
        findings.extend(theirs.filter_map(|r| lost(ledger, r)));
    }
    findings
}

fn host(row: &Resource) -> Option<&str> {
    row.spec.get("host")?.get("endpoint")?.as_str()
}

fn stray(ledger: &Ledger, row: &LedgerRow, registry: &str) -> Option<Finding> {
    let LedgerRow { schema, folder, tenant, there } = row;
    let told = |severity, found: String, means: &str| {
        let what = format!("ledger of {}, row {schema}/{folder}", ledger.database);
        let finding = Finding::new(severity, Check::Orphaned, what, format!("it says it is of {tenant}, and {found}"), means);
        Some(if system::stack(tenant).is_some() { finding } else { finding.of(tenant) })
    };
    if !there {
        let found = format!("the schema it was written for is not there{}", if ledger.schemas.contains_key(schema) { ": another has its name" } else { "" });
        return told(Severity::Warning, found, "nothing goes by it: delete it from labctl_ledger.schemas by hand");
    }
    let tags = ledger.schemas.get(schema)?;
    match (tags.get(TENANT), tags.get(REGISTRY)) {
        // Another registry's may lie in the same database.
        (_, Some(whose)) if whose != registry => None,
        (Some(owner), Some(_)) if owner == tenant => None,
        (Some(owner), Some(_)) => told(
            Severity::Error,
            format!("the schema is marked as {owner}'s"),
            "a history of one tenant stands for another's schema: look at both before any migration",
        ),
        _ => told(
            Severity::Warning,
            "the schema says nothing of an owner".to_owned(),
            "somebody took the schema's marks away, or wrote the row: look whose it is",
        ),
    }
}

/// A schema whose migrations were applied has a row for each folder of them.
fn lost(ledger: &Ledger, row: &Resource) -> Option<Finding> {
    let schema = row.id.as_deref()?.strip_prefix(&format!("{}.", ledger.database))?;
    if row.kind != "postgres_schema_version" || row.status != ResourceStatus::Ready || !ledger.schemas.contains_key(schema) {
        return None;
    }
    let folders: BTreeSet<&str> = row.spec.get("migrations")?.as_array()?.iter().filter_map(|step| step.get("folder")?.as_str()).collect();
    let has = |folder: &str| ledger.rows.iter().any(|l| l.there && l.schema == schema && l.folder == folder && l.tenant == row.address.tenant);
    let missing: Vec<&str> = folders.into_iter().filter(|f| !has(f)).collect();
    if missing.is_empty() {
        return None;
    }
    let tenant = &row.address.tenant;
    let found = format!("labctl_ledger.schemas of {} has no row of {schema} for {}", ledger.database, missing.join(", "));
    let means = "fleet migrations go by these rows: `tenant apply` writes them again from the schema's own ledger";
    Some(Finding::new(Severity::Error, Check::Lost, row.address.to_string(), found, means).of(tenant).run(format!("labctl tenant plan {tenant}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(tenant: &str, registry: &str) -> Tags {
        Tags::from([(TENANT.to_owned(), tenant.to_owned()), (REGISTRY.to_owned(), registry.to_owned())])
    }

    fn row(schema: &str, tenant: &str, there: bool) -> LedgerRow {
        LedgerRow { schema: schema.into(), folder: "tenant".into(), tenant: tenant.into(), there }
    }

    #[test]
    fn a_row_is_right_when_its_schema_is_there_and_the_same_tenants() {
        let schemas = BTreeMap::from([("a".to_owned(), tags("a", "r1")), ("x".to_owned(), tags("x", "r2")), ("mute".to_owned(), Tags::new())]);
        let ledger = |rows| Ledger { endpoint: "e".into(), database: "shared".into(), rows, schemas: schemas.clone() };
        let cases = [
            (row("a", "a", true), None),
            (row("x", "x", true), None),
            (row("gone", "a", false), Some("written for is not there")),
            (row("a", "a", false), Some("another has its name")),
            (row("a", "b", true), Some("marked as a's")),
            (row("mute", "a", true), Some("says nothing of an owner")),
        ];
        for (row, words) in cases {
            let found = compare(&[ledger(vec![row.clone()])], "r1", None, &[], &BTreeSet::new());
            assert_eq!(found.len(), usize::from(words.is_some()), "{row:?}: {found:?}");
            assert!(found.iter().all(|f| f.check == Check::Orphaned && f.found.contains(words.unwrap_or_default())), "{row:?}: {found:?}");
        }
        let gone = || [ledger(vec![row("gone", "a", false)])];
        assert!(compare(&gone(), "r1", Some("b"), &[], &BTreeSet::new()).is_empty(), "who asks about another");
        assert!(compare(&gone(), "r1", None, &[], &BTreeSet::from(["a".to_owned()])).is_empty(), "somebody works on it");
    }
}
