//! Who comes in by labctl's user pools: app clients and people against the registry. They carry no tags; a tenant's own pool says whose they
//! are, and of people `custom:tenant_id`.
//!
//! # Caveats
//! People whom a customer has invited are the customer's: of a tenant that is in use, somebody is told only who has the same address as
//! the one on record, or is in a pool that is another tenant's. Clients of the pool that tenants share are the platform's.

use std::collections::{BTreeMap, BTreeSet};

use super::{Check, Finding, Severity};
use crate::cloud::census::{Login, Who};
use crate::registry::Resource;

/// What is known besides.
pub(super) struct Known<'a> {
    /// Whose a pool is, of those that are one tenant's.
    pub(super) owners: &'a BTreeMap<String, String>,
    /// Of the tenants that people say they are of: whether it is on record and not purged.
    pub(super) live: &'a BTreeMap<String, bool>,
    /// What is on record.
    pub(super) rows: &'a [Resource],
}

/// The tenants that people say they are of.
pub(super) fn named(logins: &[Login]) -> BTreeSet<String> {
    let said = logins.iter().filter_map(|l| match &l.who {
        Who::User { tenant, .. } => tenant.clone(),
        Who::Client { .. } => None,
    });
    said.collect()
}

/// What is not as it should be. Of one tenant, where one is named.
pub(super) fn compare(logins: &[Login], known: &Known<'_>, tenant: Option<&str>, busy: &BTreeSet<String>) -> Vec<Finding> {
    let ids: BTreeSet<&str> = known.rows.iter().filter_map(|r| r.id.as_deref()).collect();
    let unrecorded = logins.iter().filter(|l| !ids.contains(l.id.as_str()));
    let found = unrecorded.filter_map(|l| judge(l, known));
    found.filter(|f| f.tenant.as_deref().is_some_and(|of| tenant.is_none_or(|t| t == of) && !busy.contains(of))).collect()
}

fn judge(login: &Login, known: &Known<'_>) -> Option<Finding> {
    let owner = known.owners.get(&login.pool);
    let told = |severity, check, what: &str, of: &str, found: String, means: &str| Some(Finding::new(severity, check, what, found, means).of(of));
    let show = |of: &str| format!("labctl tenant show {of}");
    match &login.who {
        Who::Client { name } => {
            let (owner, thing) = (owner?, format!("client {}", login.id));
            let mut on_record = on_record(known, owner, "cognito_user_pool_client");
            let by_hand = "labctl works on the one on record; delete the other by hand, after a look at who uses it";
            match on_record.find(|r| in_pool(r, &login.pool) && text(r, "name") == Some(name.as_str())) {
                // Made, and not on record yet: the tenant's next run finds it by its name.
                Some(row) if row.id.is_none() => None,
                Some(row) => {
                    let found = format!("{thing} has the name of the one on record, {}", row.id.as_deref().unwrap_or_default());
                    told(Severity::Error, Check::Doubled, &row.address.to_string(), owner, found, by_hand).map(|f| f.run(show(owner)))
                }
                None => {
                    let means = "an application comes in by it that labctl knows nothing of: find out whose it is, or delete it by hand";
                    told(Severity::Warning, Check::Orphaned, &thing, owner, format!("it is in the pool of {owner} and not on record"), means)
                        .map(|f| f.run(show(owner)))
                }
            }
        }
        Who::User { email, tenant } => {
            let (said, thing) = (tenant.as_ref()?, format!("user {}", login.id));
            if let Some(owner) = owner.filter(|o| *o != said) {
                let found = format!("it is in the pool of {owner} and says it is of {said}");
                let means = "one tenant's pool vouches for somebody of another: find out who made it, and delete it by hand";
                return told(Severity::Error, Check::Orphaned, &thing, owner, found, means);
            }
            if known.live.get(said) == Some(&false) {
                let found = format!("it says it is of {said}, and no such tenant is on record, or it is purged");
                return told(Severity::Warning, Check::Orphaned, &thing, said, found, "somebody can still sign in: delete it by hand");
            }
            let row = on_record(known, said, "cognito_user").find(|r| text(r, "email").is_some_and(|e| e.to_lowercase() == *email))?;
            let id = row.id.as_deref()?;
            let found = format!("{thing} has the address of the one on record, {id}");
            let means = "one person has two logins, perhaps left behind in a former pool: delete the one that is not on record by hand";
            told(Severity::Error, Check::Doubled, &row.address.to_string(), said, found, means).map(|f| f.run(show(said)))
        }
    }
}

fn on_record<'a>(known: &'a Known<'_>, tenant: &'a str, kind: &'a str) -> impl Iterator<Item = &'a Resource> {
    known.rows.iter().filter(move |r| r.address.tenant == tenant && r.kind == kind)
}

fn text<'r>(row: &'r Resource, key: &str) -> Option<&'r str> {
    row.spec.get(key)?.as_str()
}

/// What has no id yet may not know its pool either.
fn in_pool(row: &Resource, pool: &str) -> bool {
    row.id.as_deref().is_none_or(|id| id.split('/').next() == Some(pool))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(kind: &str, id: Option<&str>, spec: serde_json::Value) -> Resource {
        let at = "2026-01-01T00:00:00Z";
        let row = json!({
            "address": format!("a/{kind}/main"), "kind": kind, "name": "main", "id": id, "status": "ready", "spec": spec, "outputs": {}, "tags": {},
            "position": 1, "operation": 1, "token": null, "attempt": 0, "created_at": at, "updated_at": at
        });
        serde_json::from_value(row).unwrap()
    }

    fn user(pool: &str, name: &str, email: &str, tenant: Option<&str>) -> Login {
        Login { pool: pool.into(), id: format!("{pool}/{name}"), who: Who::User { email: email.into(), tenant: tenant.map(Into::into) } }
    }

    fn client(pool: &str, id: &str, name: &str) -> Login {
        Login { pool: pool.into(), id: format!("{pool}/{id}"), who: Who::Client { name: name.into() } }
    }

    #[test]
    fn what_is_not_on_record_is_judged_by_its_pool_its_name_and_what_it_says() {
        let rows = [
            row("cognito_user", Some("pool-a/u1"), json!({"email": "Ana@a.example"})),
            row("cognito_user_pool_client", Some("pool-a/c1"), json!({"name": "web"})),
        ];
        let owners = BTreeMap::from([("pool-a".to_owned(), "a".to_owned())]);
        let live = BTreeMap::from([("a".to_owned(), true), ("b".to_owned(), true), ("gone".to_owned(), false)]);
        let known = Known { owners: &owners, live: &live, rows: &rows };
        let cases = [
            (user("pool-a", "u1", "ana@a.example", Some("a")), None),
            (user("pool-a", "u2", "nurse@a.example", Some("a")), None),
            (user("pool-a", "u3", "nobody@a.example", None), None),
            (user("shared", "u4", "nurse@b.example", Some("b")), None),
            (user("shared", "u5", "ana@a.example", Some("a")), Some((Check::Doubled, "a"))),
            (user("pool-a", "u6", "eve@b.example", Some("b")), Some((Check::Orphaned, "a"))),
            (user("shared", "u7", "old@gone.example", Some("gone")), Some((Check::Orphaned, "gone"))),
            (client("pool-a", "c1", "web"), None),
            (client("pool-a", "c2", "web"), Some((Check::Doubled, "a"))),
            (client("pool-a", "c3", "other"), Some((Check::Orphaned, "a"))),
            (client("shared", "c4", "platform"), None),
        ];
        for (login, want) in cases {
            let found = compare(std::slice::from_ref(&login), &known, None, &BTreeSet::new());
            let told = found.first().map(|f| (f.check, f.tenant.as_deref().unwrap_or_default()));
            assert_eq!((found.len(), told), (usize::from(want.is_some()), want), "{login:?}: {found:?}");
        }
        let doubled = [client("pool-a", "c2", "web")];
        assert!(compare(&doubled, &known, Some("b"), &BTreeSet::new()).is_empty(), "who asks about another");
        assert!(compare(&doubled, &known, None, &BTreeSet::from(["a".to_owned()])).is_empty(), "somebody works on it");
        let begun = [row("cognito_user_pool_client", None, json!({"name": "web"}))];
        assert!(compare(&doubled, &Known { rows: &begun, ..known }, None, &BTreeSet::new()).is_empty(), "it may be the one that was begun");
    }
}
