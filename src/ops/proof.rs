//! The proof that nothing is left of a purged tenant, and the certificate written from it.
//!
//! Deleting is the plan's; this asks every service anew, by [`census`](crate::cloud::census), which knows nothing of plans. What remains
//! by design (a key until its deletion, a secret until the end of its recovery window) is told with its date. Databases that went with
//! their server need no look.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::OpError;
use super::site::Site;
use crate::cloud::census::{Found, Listing, Whose, census};
use crate::engine::fault::{Class, Fault, Left};
use crate::plan::life::DesiredState;
use crate::registry::{Resource, ResourceStatus};
use crate::tenantdb::census::{in_database, on_server};
use crate::tenantdb::{Host, MAINTENANCE};

/// How often what is still listed is looked at again, with the pauses of a retry between: lists lag behind.
const LOOKS: u32 = 6;

/// A database server that tenants share, as the platform names it.
#[derive(Deserialize)]
struct Shared {
    endpoint: String,
    admin_secret_arn: String,
    database: Option<String>,
}

/// Proves that nothing is left of a tenant, and writes the certificate of operation `number`. Changes nothing, neither there nor on record.
///
/// The inner error says what is left, or what could not be asked.
///
/// # Errors
/// Only those of reading the registry.
pub async fn certify(site: &Site, state: &DesiredState, number: i64) -> Result<Result<Value, Fault>, OpError> {
    let tenant = &state.spec.id;
    // What an earlier life of this id had is in that life's certificate.
    let before = site.registry.certificates(tenant).await?.first().map_or(0, |c| c.operation);
    let had: Vec<Resource> = site.registry.all_resources(tenant).await?.into_iter().filter(|r| r.operation > before).collect();
    let ids = had.iter().filter_map(|r| r.id.clone()).collect();
    let whose = Whose { tenant: Some(tenant.clone()), registry: site.registry_id.to_string(), ids, shared: BTreeSet::new(), leftovers: true };
    match prove(site, &whose).await {
        Err(fault) => Ok(Err(fault)),
        Ok(listings) => document(site, state, number, &had, &listings).await.map(Ok),
    }
}

/// Looks until nothing is found that should be gone, or patience ends.
async fn prove(site: &Site, whose: &Whose) -> Result<Vec<Listing>, Fault> {
    let mut looked = 0;
    loop {
        let seen = look(site, whose).await;
        looked += 1;
        let patient = looked < LOOKS;
        match seen {
            Ok(listings) => {
                let left = left(&listings);
                if left.is_empty() {
                    return Ok(listings);
                }
                if !patient {
                    return Err(not_empty(&left));
                }
            }
            Err(fault) if fault.class == Class::Refused || !patient => return Err(fault),
            Err(_) => {}
        }
        tokio::time::sleep(site.patience.retry(looked - 1)).await;
    }
}

/// What should be gone, as (service, thing).
fn left(listings: &[Listing]) -> Vec<(&str, &Found)> {
    listings.iter().flat_map(|l| l.found.iter().filter(|f| f.until.is_none()).map(|f| (l.service.as_str(), f))).collect()
}

fn not_empty(left: &[(&str, &Found)]) -> Fault {
    let names: Vec<String> = left.iter().map(|(service, f)| format!("{service} {} {}", f.what, f.id)).collect();
    let message = format!("after the last deletion there is still {}", names.join(", "));
    Fault::refused("census", "not_empty", message)
        .left(Left::Made(names.join(", ")))
        .hint("something made or changed it behind labctl's back: stop that, delete what is named, and give the same command again")
}

async fn look(site: &Site, whose: &Whose) -> Result<Vec<Listing>, Fault> {
    let mut listings = census(&site.cx.cloud, whose).await?;
    let shared: BTreeMap<String, Shared> = site.platform.get("databases").cloned().and_then(|v| serde_json::from_value(v).ok()).unwrap_or_default();
    for server in shared.into_values() {
        let host = Host { endpoint: server.endpoint, admin_secret_arn: server.admin_secret_arn };
        let things = on_server(&mut site.cx.admin(&host, MAINTENANCE).await?).await?;
        listings.push(sorted(whose, "roles and databases", &host.endpoint, things));
        if let Some(database) = &server.database {
            let things = in_database(&mut site.cx.admin(&host, database).await?).await?;
            listings.push(sorted(whose, "schemas and relations", &format!("{}/{database}", host.endpoint), things));
        }
    }
    Ok(listings)
}

fn sorted(whose: &Whose, what: &str, at: &str, things: Vec<crate::tenantdb::census::Thing>) -> Listing {
    let mut listing = Listing::new("postgres", &format!("{what} of {at}"));
    for thing in things {
        listing.take(whose, &thing.what, &thing.name, &thing.tags);
    }
    listing
}

fn written(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

async fn document(site: &Site, state: &DesiredState, number: i64, had: &[Resource], listings: &[Listing]) -> Result<Value, OpError> {
    let tenant = site.registry.tenant(&state.spec.id).await?;
    let operation = site.registry.operation(number).await?.operation;
    let asked = site.registry.revision(&tenant.id, operation.revision).await?;
    let removed: Vec<Value> = had
        .iter()
        .filter(|r| r.status == ResourceStatus::Deleted && r.id.is_some())
        .map(|r| json!({"address": r.address, "kind": r.kind, "id": r.id, "removed_at": written(r.updated_at), "operation": r.operation}))
        .collect();
    let remains: Vec<Value> = listings
        .iter()
        .flat_map(|l| l.found.iter().map(move |f| (l, f)))
        .filter_map(|(l, f)| Some(json!({"service": l.service, "what": f.what, "id": f.id, "address": f.address, "until": written(f.until?)})))
        .collect();
    let census: Vec<Value> = listings
        .iter()
        .map(|l| {
            let remaining = l.found.len();
            let result = if remaining == 0 { "nothing".to_owned() } else { format!("{remaining} on the way out") };
            json!({"service": l.service, "call": l.call, "listed": l.listed, "closed": l.closed, "result": result})
        })
        .collect();
    Ok(json!({
        "statement": format!("Everything labctl made for tenant {} is deleted, but for what remains until the dates named", tenant.id),
        "tenant": {
            "id": tenant.id, "external_id": tenant.external_id, "display_name": tenant.display_name, "subdomain": tenant.subdomain,
            "stack": tenant.stack, "tier": tenant.tier, "isolation": tenant.isolation, "provisioned_at": tenant.provisioned_at.map(written),
        },
        "place": {"profile": site.profile, "registry": site.registry_id, "region": site.cx.cloud.region()},
        "deleted": state.life.deleted.as_ref().map(|d| json!({"at": written(d.at), "purge_after": written(d.purge_after), "reason": d.reason})),
        "asked": {"by": asked.who, "from": asked.host, "command": asked.command, "at": written(asked.created_at)},
        "carried_out": {
            "operation": number, "by": operation.who, "from": operation.host, "command": operation.command,
            "began_at": written(operation.started_at), "attempts": operation.attempts, "labctl": operation.version,
        },
        "removed": removed,
        "census": census,
        "remains": remains,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_out_a_date_is_not_left_over_and_everything_else_is_named() {
        let mut keys = Listing::new("kms", "ListKeys");
        keys.note("key", "k-1", &BTreeMap::new(), DateTime::from_timestamp(2_000_000_000, 0));
        let mut buckets = Listing::new("s3", "ListBuckets");
        assert!(left(&[keys.clone(), buckets.clone()]).is_empty());
        buckets.note("bucket", "a-data", &BTreeMap::new(), None);
        let fault = not_empty(&left(&[keys, buckets]));
        assert_eq!(fault.message, "after the last deletion there is still s3 bucket a-data");
    }
}
