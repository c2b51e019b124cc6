//! The registry against AWS and the databases, both ways.
//!
//! Every service is listed once, for all tenants together. What is on record and was not in a list is then asked for by itself, by its
//! kind: lists lag, and some kinds are in none. What a list has and the registry has not is looked up in the registry once more: it may
//! have been made meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::stream::{self, StreamExt};
use serde::Deserialize;

use super::ledgers::{self, Ledger};
use super::logins::{self, Known};
use super::records::abandoned;
use super::{Check, Finding, Severity};
use crate::cloud::census::{Found, Login, Whose, logins, of_each};
use crate::cloud::tags::{ADDRESS, REGISTRY, TENANT};
use crate::engine::fault::Fault;
use crate::engine::kind::{Deletion, Observed, find};
use crate::engine::look::{Sight, look};
use crate::kinds::{Cx, KINDS};
use crate::ops::error::OpError;
use crate::ops::site::Site;
use crate::ops::survey::recorded;
use crate::registry::{Resource, ResourceStatus, TenantStatus};
use crate::tenantdb::census::{LedgerRow, Thing, in_database, ledger, on_server};
use crate::tenantdb::{Host, MAINTENANCE, system};

/// Looks at single things, and connections to databases, in flight at once.
const AT_ONCE: usize = 8;
/// What the census calls a user pool.
const POOL: &str = "user pool";

/// What came of it.
#[derive(Default)]
pub(super) struct Compared {
    pub(super) findings: Vec<Finding>,
    pub(super) resources: usize,
    pub(super) things: usize,
}

/// What was listed.
#[derive(Default)]
struct Lists {
    found: Vec<Found>,
    /// Database servers that could not be asked, by endpoint.
    silent: BTreeSet<String>,
    /// App clients and people of labctl's pools.
    logins: Vec<Login>,
    /// Central ledgers.
    ledgers: Vec<Ledger>,
}

/// Compares what is on record of all tenants, or of one, with what is there.
///
/// # Errors
/// [`OpError::Registry`].
pub(super) async fn compare(site: &Site, tenant: Option<&str>) -> Result<Compared, OpError> {
    let mut compared = Compared::default();
    let busy = busy(site, tenant).await?;
    for (id, who) in &busy {
        compared.findings.push(Finding::unseen(format!("tenant {id}"), format!("{who} works on it")).of(id).run("labctl lock list"));
    }
    let cx = Arc::new(site.cx.read_only());
    let rows = idle(site.registry.resources_of(tenant).await?, &busy);
    let lists = list(site, &cx, tenant, &rows, &mut compared).await;
    // Only what says itself that it is the very thing: what has lost its marks, or can bear none, is looked at by itself.
    let there: BTreeSet<(&str, &str)> = lists.found.iter().filter_map(|f| Some((f.id.as_str(), f.address.as_deref()?))).collect();
    let standing: Vec<&Resource> = rows.iter().filter(|r| r.id.is_some() && matches!(r.status, ResourceStatus::Created | ResourceStatus::Ready)).collect();
    compared.resources = standing.len();
    let listed = |r: &Resource| r.id.as_deref().is_some_and(|id| there.contains(&(id, r.address.to_string().as_str())));
    let silent = |r: &Resource| host(r).is_some_and(|h| lists.silent.contains(&h.endpoint));
    let missing: Vec<&Resource> = standing.iter().copied().filter(|r| !listed(r) && !silent(r)).collect();
    let looked: Vec<Vec<Finding>> = stream::iter(missing).map(|row| ask(site, &cx, row)).buffered(AT_ONCE).collect().await;
    compared.findings.extend(looked.into_iter().flatten());
    twice_on_record(&standing, &mut compared.findings);

    // Read again: what was made while the lists were read is on record by now, or its tenant is being worked on.
    let rows = site.registry.resources_of(tenant).await?;
    let busy: BTreeSet<String> = busy.into_keys().chain(self::busy(site, tenant).await?.into_keys()).collect();
    for found in lists.found.iter().filter(|f| f.until.is_none()) {
        let Some(address) = &found.address else { continue };
        let whose = address.split('/').next().unwrap_or_default();
        if !busy.contains(whose) {
            compared.findings.extend(stray(site, found, address, whose, &rows).await?);
        }
    }
    let mut live = BTreeMap::new();
    for id in logins::named(&lists.logins).into_iter().filter(|id| tenant.is_none_or(|t| t == id)) {
        let there = site.registry.find_tenant(&id).await?.is_some_and(|t| t.status != TenantStatus::Purged);
        live.insert(id, there);
    }
    let owners =
        lists.found.iter().filter(|f| f.what == POOL).filter_map(|f| Some((f.id.clone(), f.address.as_ref()?.split('/').next()?.to_owned()))).collect();
    compared.findings.extend(logins::compare(&lists.logins, &Known { owners: &owners, live: &live, rows: &rows }, tenant, &busy));
    compared.findings.extend(ledgers::compare(&lists.ledgers, &site.registry_id.to_string(), tenant, &rows, &busy));
    Ok(compared)
}

/// Tenants that somebody works on, and who.
async fn busy(site: &Site, tenant: Option<&str>) -> Result<BTreeMap<String, String>, OpError> {
    let held = site.registry.leases().await?.into_iter().filter(|l| tenant.is_none_or(|t| t == l.tenant) && !abandoned(l, &site.holder.host));
    Ok(held.map(|l| (l.tenant, format!("`{}` of {}@{}", l.what, l.holder, l.host))).collect())
}

fn idle(rows: Vec<Resource>, busy: &BTreeMap<String, String>) -> Vec<Resource> {
    rows.into_iter().filter(|r| !busy.contains_key(&r.address.tenant)).collect()
}

/// The server a resource is on, for what is in a database.
fn host(row: &Resource) -> Option<Host> {
    if row.kind.starts_with("postgres_") { row.spec.get("host").and_then(|h| Host::deserialize(h).ok()) } else { None }
}

async fn list(site: &Site, cx: &Arc<Cx>, tenant: Option<&str>, rows: &[Resource], compared: &mut Compared) -> Lists {
    let mut lists = Lists::default();
    let platform = |key: &str| site.platform.get(key).and_then(|v| v.as_str()).map(ToOwned::to_owned);
    let whose = Whose {
        tenant: tenant.map(ToOwned::to_owned),
        registry: site.registry_id.to_string(),
        ids: rows.iter().filter_map(|r| r.id.clone()).collect(),
        shared: platform("bucket").into_iter().chain(platform("user_pool_id")).collect(),
        leftovers: false,
    };
    let (services, servers) = tokio::join!(of_each(&cx.cloud, &whose), databases(site, cx, rows));
    let of_users = rows.iter().filter(|r| r.kind.starts_with("cognito_")).filter_map(|r| Some(r.id.as_deref()?.split('/').next()?.to_owned()));
    let mut pools: BTreeSet<String> = of_users.chain(platform("user_pool_id")).collect();
    for (service, answer) in services {
        match answer {
            Err(fault) => compared.findings.push(unasked(service, &fault)),
            Ok(listings) => {
                for listing in listings {
                    compared.things += listing.listed;
                    if listing.closed > 0 {
                        let why = format!("{} of {} things are closed to labctl", listing.closed, listing.listed);
                        // Other teams' things are closed by design: what is ours among them was asked for by its id.
                        compared.findings.push(Finding { severity: Severity::Note, ..Finding::unseen(format!("{} {}", listing.service, listing.call), why) });
                    }
                    pools.extend(listing.found.iter().filter(|f| f.what == POOL).map(|f| f.id.clone()));
                    lists.found.extend(listing.found);
                }
            }
        }
    }
    match logins(&cx.cloud, &pools).await {
        Err(fault) => compared.findings.push(unasked("people and clients of user pools", &fault)),
        Ok(found) => {
            compared.things += found.len();
            lists.logins = found;
        }
    }
    for (host, database, answer) in servers {
        match answer {
            Err(fault) => {
                compared.findings.push(unasked(&format!("database {database} of {}", host.endpoint), &fault));
                lists.silent.insert(host.endpoint);
            }
            Ok((things, rows)) => {
                compared.things += things.len() + rows.len();
                lists.found.extend(things.iter().filter(|t| whose.owns("", &t.tags)).map(|t| found(t, &database)));
                let schemas = things.into_iter().filter(|t| t.what == "schema").map(|t| (t.name, t.tags)).collect();
                lists.ledgers.push(Ledger { endpoint: host.endpoint, database, rows, schemas });
            }
        }
    }
    // Tunnels may lead several names to one server: its things are listed under each.
    lists.found.sort_by(|a, b| (&a.what, &a.id, &a.address).cmp(&(&b.what, &b.id, &b.address)));
    lists.found.dedup();
    lists
}

fn unasked(what: &str, fault: &Fault) -> Finding {
    Finding::unseen(what, fault.to_string())
}

/// A thing of a server as the registry would have it on record.
fn found(thing: &Thing, database: &str) -> Found {
    let id = match (thing.what.as_str(), thing.name.rsplit_once('.')) {
        ("relation", Some((schema, _))) => format!("{database}.{schema}"),
        _ => thing.name.clone(),
    };
    Found {
        what: thing.what.clone(),
        id,
        address: thing.tags.get(ADDRESS).filter(|_| thing.tags.contains_key(TENANT) && thing.tags.contains_key(REGISTRY)).cloned(),
        until: None,
    }
}

/// A database server that tenants share, as the platform names it.
#[derive(Deserialize)]
struct Shared {
    endpoint: String,
    admin_secret_arn: String,
    database: Option<String>,
}

/// What is in a database, and its central ledger.
type Asked = (Vec<Thing>, Vec<LedgerRow>);

/// Every server and database on record, and those that tenants share.
async fn databases(site: &Site, cx: &Arc<Cx>, rows: &[Resource]) -> Vec<(Host, String, Result<Asked, Fault>)> {
    let mut places: BTreeMap<(String, String), (Host, bool)> = BTreeMap::new();
    let mut add = |host: &Host, database: &str, whole: bool| {
        places.entry((host.endpoint.clone(), database.to_owned())).or_insert_with(|| (host.clone(), whole));
    };
    let shared: BTreeMap<String, Shared> = site.platform.get("databases").cloned().and_then(|v| serde_json::from_value(v).ok()).unwrap_or_default();
    for server in shared.into_values() {
        let host = Host { endpoint: server.endpoint, admin_secret_arn: server.admin_secret_arn };
        add(&host, MAINTENANCE, true);
        if let Some(database) = &server.database {
            add(&host, database, false);
        }
    }
    for row in rows.iter().filter(|r| r.status == ResourceStatus::Ready) {
        let Some(host) = host(row) else { continue };
        add(&host, MAINTENANCE, true);
        if let Some(database) = row.spec.get("database").and_then(|d| d.as_str()) {
            add(&host, database, false);
        }
    }
    let ask = |((_, database), (host, whole)): ((String, String), (Host, bool))| {
        let cx = Arc::clone(cx);
        async move {
            let answer = async {
                let mut db = cx.admin(&host, &database).await?;
                if whole { Ok((on_server(&mut db).await?, Vec::new())) } else { Ok((in_database(&mut db).await?, ledger(&mut db).await?)) }
            };
            let answer = answer.await;
            (host, database, answer)
        }
    };
    stream::iter(places).map(ask).buffered(AT_ONCE).collect().await
}

/// Looks for a resource that was in no list by itself.
async fn ask(site: &Site, cx: &Arc<Cx>, row: &Resource) -> Vec<Finding> {
    let (address, id) = (row.address.to_string(), row.id.clone().unwrap_or_default());
    let tenant = &row.address.tenant;
    let recorded = recorded(vec![row.clone()]);
    let world = match look(cx, KINDS, &[], &recorded, site.patience).await {
        Err(fault) => return vec![unasked(&address, &fault).of(tenant)],
        Ok(world) => world,
    };
    let lost = |found: String, means: &str| {
        vec![Finding::new(Severity::Error, Check::Lost, &address, found, means).of(tenant).run(format!("labctl tenant plan {tenant}"))]
    };
    match world.get(&row.address) {
        Some(Sight::Seen { observed: Observed::Mine { .. }, .. }) => Vec::new(),
        Some(Sight::Seen { observed: Observed::Absent, .. }) => {
            let holds_data = find(KINDS, &row.kind).is_some_and(|k| k.deletion() == Deletion::Retain);
            let means = if holds_data {
                "somebody deleted it, with the data in it: restore it from a backup first, or let `tenant apply` make it anew, empty"
            } else {
                "somebody deleted it: `tenant apply` makes it again"
            };
            lost(format!("{id} is on record and not there"), means)
        }
        Some(Sight::Seen { observed: Observed::Foreign(whose), .. }) => lost(
            format!("{id} is there, but {whose}"),
            "somebody took its ownership tags away, or made another thing of that name: labctl leaves it alone until it is marked again",
        ),
        Some(Sight::Seen { observed: Observed::Many(ids), .. }) => vec![doubled(&address, tenant, &format!("several carry its address: {}", ids.join(", ")))],
        _ => vec![Finding::unseen(&address, format!("this labctl knows no kind `{}`", row.kind)).of(tenant)],
    }
}

fn doubled(address: &str, tenant: &str, found: &str) -> Finding {
    let means = "labctl works on the one on record; delete the other by hand, after a look at what is in it";
    Finding::new(Severity::Error, Check::Doubled, address, found, means).of(tenant).run(format!("labctl tenant show {tenant}"))
}

fn twice_on_record(rows: &[&Resource], findings: &mut Vec<Finding>) {
    let mut by: BTreeMap<(String, &str, &str), Vec<&Resource>> = BTreeMap::new();
    for row in rows {
        let at = host(row).map(|h| h.endpoint).unwrap_or_default();
        by.entry((at, &row.kind, row.id.as_deref().unwrap_or_default())).or_default().push(row);
    }
    for ((_, _, id), rows) in by.iter().filter(|(_, rows)| rows.len() > 1) {
        let addresses: Vec<String> = rows.iter().map(|r| r.address.to_string()).collect();
        findings.push(doubled(&addresses[0], &rows[0].address.tenant, &format!("{id} is on record as {}", addresses.join(" and as "))));
    }
}

/// Whether it is an earlier revision of the same task definition.
fn is_before(revision: &str, recorded: &str) -> bool {
    let parts = |arn: &str| {
        arn.rsplit_once(':').filter(|(family, _)| family.contains(":task-definition/")).and_then(|(f, n)| Some((f.to_owned(), n.parse::<u64>().ok()?)))
    };
    matches!((parts(revision), parts(recorded)), (Some((a, n)), Some((b, m))) if a == b && n < m)
}

/// A thing that carries our marks and is not on record as what it says it is.
async fn stray(site: &Site, found: &Found, address: &str, whose: &str, rows: &[Resource]) -> Result<Option<Finding>, OpError> {
    let on_record = rows.iter().find(|r| r.address.to_string() == address);
    let thing = format!("{} {}", found.what, found.id);
    if let Some(stack) = system::stack(whose) {
        // It is on no tenant's record, and no tenant's to miss.
        let means = "the stack is not among these templates: leave it to those who have them";
        let shared = format!("tenants of the stack `{stack}` share it");
        return Ok(site.stacks.get(stack).is_none().then(|| Finding::new(Severity::Note, Check::Orphaned, &thing, shared, means)));
    }
    match on_record.map(|r| r.id.as_deref()) {
        Some(None) => Ok(None),
        Some(Some(id)) if id == found.id || found.id.ends_with(id) => Ok(None),
        // Revisions before the one on record are its history, which a service may be rolled back to.
        Some(Some(id)) if is_before(&found.id, id) => Ok(None),
        Some(Some(id)) => Ok(Some(doubled(address, whose, &format!("{thing} carries its address, and on record is {id}")))),
        None => {
            let tenant = site.registry.find_tenant(whose).await?;
            let found = Finding::new(Severity::Warning, Check::Orphaned, &thing, format!("it says it is {address}, which is not on record"), "");
            Ok(Some(match tenant {
                Some(t) if t.status != TenantStatus::Purged => {
                    let means = "an earlier labctl, or a restored registry, has forgotten it: `tenant apply` takes it in if the tenant shall have it; else delete it by hand";
                    Finding { means: means.to_owned(), ..found }.of(whose).run(format!("labctl tenant plan {whose}"))
                }
                Some(_) => Finding { means: "its tenant is purged: delete it by hand".to_owned(), ..found }.of(whose),
                None => Finding {
                    means: "no such tenant is on record: delete it by hand, or look whether the registry was restored from a backup".to_owned(),
                    ..found
                },
            }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_earlier_revision_of_the_same_family_is_history() {
        let arn = |family: &str, n: u32| format!("arn:aws:ecs:eu-central-1:1:task-definition/{family}:{n}");
        assert!(is_before(&arn("a", 9), &arn("a", 10)));
        assert!(!is_before(&arn("a", 10), &arn("a", 9)), "a later one was registered behind labctl's back");
        assert!(!is_before(&arn("b", 9), &arn("a", 10)));
        assert!(!is_before("arn:aws:x:1", "arn:aws:x:2"));
    }
}
