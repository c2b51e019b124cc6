//! The registry's side, read from its tables with SQL.

use std::collections::BTreeMap;

use sqlx::PgConnection;

use super::{Eye, Scope, Verdict, Wrong};

/// A tenant as recorded.
#[derive(Debug, Clone)]
pub(super) struct Tenant {
    pub id: String,
    pub status: String,
    pub subdomain: String,
    /// The physical names it has claimed.
    pub names: Vec<String>,
}

impl Tenant {
    /// What the names of its things hold.
    pub fn words(&self) -> Vec<String> {
        let mut words: Vec<String> = [&self.id, &self.subdomain].into_iter().flat_map(|w| [w.clone(), w.replace('-', "_")]).collect();
        words.sort();
        words.dedup();
        words
    }

    /// Whether a thing of that name follows this tenant's pattern: `mate-ID-sandbox…`, `/ecs/mate-ID-sandbox/…`, `tenant_ID…`, `tenant-ID`,
    /// `suspended-ID`, or a name it has claimed.
    pub fn bears(&self, name: &str) -> bool {
        let snake = self.id.replace('-', "_");
        let ends = |rest: Option<&str>, marks: &[char]| rest.is_some_and(|r| r.is_empty() || r.starts_with(marks));
        let product = |part: &str| {
            let rest = part.split_once('-').filter(|(product, _)| !product.is_empty()).and_then(|(_, rest)| rest.strip_prefix(self.id.as_str()));
            ends(rest.and_then(|r| r.strip_prefix("-sandbox")), &['-'])
        };
        name.split(['/', ':']).any(product)
            || ends(name.strip_prefix("tenant_").and_then(|r| r.strip_prefix(snake.as_str())), &['_'])
            || name == format!("tenant-{}", self.id)
            || name == format!("tenant-{}-pool", self.id)
            || name == format!("suspended-{}", self.id)
            || self.names.iter().any(|n| n == name)
    }
}

/// A resource as recorded.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub address: String,
    pub tenant: String,
    pub kind: String,
    pub id: Option<String>,
    pub status: String,
}

impl Record {
    /// It must be there.
    pub fn is_there(&self) -> bool {
        self.id.is_some() && matches!(self.status.as_str(), "created" | "ready")
    }

    /// It may be there: somebody will look.
    pub fn may_be_there(&self) -> bool {
        self.status != "deleted"
    }
}

pub(super) async fn identity(registry: &mut PgConnection) -> String {
    sqlx::query_scalar("SELECT id::text FROM labctl.registry_meta").fetch_one(registry).await.unwrap()
}

pub(super) async fn tenants(registry: &mut PgConnection) -> BTreeMap<String, Tenant> {
    let rows: Vec<(String, String, String, Vec<String>)> = sqlx::query_as(
        "SELECT id, status, subdomain, ARRAY(SELECT n.name FROM labctl.names n WHERE n.tenant = t.id AND n.name_kind NOT IN ('subdomain', 'external_id'))
         FROM labctl.tenants t",
    )
    .fetch_all(registry)
    .await
    .unwrap();
    rows.into_iter().map(|(id, status, subdomain, names)| (id.clone(), Tenant { id, status, subdomain, names })).collect()
}

pub(super) async fn resources(registry: &mut PgConnection, eye: &Eye<'_>) -> Vec<Record> {
    let rows: Vec<(String, String, String, Option<String>, String)> =
        sqlx::query_as("SELECT address, tenant, kind, id, status FROM labctl.resources ORDER BY address").fetch_all(registry).await.unwrap();
    let seen = rows.into_iter().filter(|row| eye.sees(&row.1));
    seen.map(|(address, tenant, kind, id, status)| Record { address, tenant, kind, id, status }).collect()
}

/// What the registry says against itself.
pub(super) async fn check(registry: &mut PgConnection, eye: &Eye<'_>, records: &[Record], verdict: &mut Verdict) {
    for tenant in eye.tenants.values().filter(|t| eye.sees(&t.id)) {
        let own: Vec<&Record> = records.iter().filter(|r| r.tenant == tenant.id && r.may_be_there()).collect();
        match tenant.status.as_str() {
            "active" => {
                if own.is_empty() {
                    verdict.add(Wrong::Lost, &tenant.id, "it is active, and nothing of it is on record");
                }
                for record in own.iter().filter(|r| r.status != "ready") {
                    verdict.add(Wrong::Lost, &record.address, format!("its tenant is active, and it is on record as {}", record.status));
                }
            }
            "purged" => {
                for record in own {
                    verdict.add(Wrong::Orphaned, &record.address, format!("its tenant is purged, and it is on record as {}", record.status));
                }
                if !tenant.names.is_empty() {
                    verdict.add(Wrong::Orphaned, &tenant.id, format!("it is purged and still claims {}", tenant.names.join(", ")));
                }
            }
            _ => {}
        }
    }
    // What the last operation to end well has made or kept is on record.
    let done: Vec<(String, String)> = sqlx::query_as(
        "SELECT s.address, o.tenant FROM labctl.steps s JOIN labctl.operations o ON o.number = s.operation
         WHERE o.number = (SELECT max(number) FROM labctl.operations l WHERE l.tenant = o.tenant AND l.status = 'done')
         AND NOT EXISTS (SELECT FROM labctl.operations u WHERE u.tenant = o.tenant AND u.number > o.number)
         AND s.action <> 'delete' AND s.status = 'done'
         AND NOT EXISTS (SELECT FROM labctl.resources r WHERE r.address = s.address AND r.status <> 'deleted')",
    )
    .fetch_all(&mut *registry)
    .await
    .unwrap();
    for (address, _) in done.iter().filter(|(_, tenant)| eye.sees(tenant)) {
        verdict.add(Wrong::Lost, address, "the last operation made it, and it is not on record");
    }
    let unfinished: Vec<(String, i64)> =
        sqlx::query_as("SELECT tenant, count(*) FROM labctl.operations WHERE status NOT IN ('done', 'aborted') GROUP BY 1 HAVING count(*) > 1")
            .fetch_all(&mut *registry)
            .await
            .unwrap();
    for (tenant, count) in unfinished.iter().filter(|(tenant, _)| eye.sees(tenant)) {
        verdict.add(Wrong::Doubled, tenant, format!("{count} of its operations are unfinished"));
    }
    if matches!(eye.scope, Scope::Everything) {
        let strays: Vec<String> = sqlx::query_scalar(
            "SELECT DISTINCT tenant FROM labctl.leases l WHERE holder IS NOT NULL AND NOT EXISTS (SELECT FROM labctl.tenants t WHERE t.id = l.tenant)",
        )
        .fetch_all(registry)
        .await
        .unwrap();
        strays.iter().for_each(|t| verdict.add(Wrong::Orphaned, format!("the lease of {t}"), "no such tenant is on record"));
    }
}
