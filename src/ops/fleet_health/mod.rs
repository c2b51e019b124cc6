//! The fleet's databases, as they are now: per tenant size, sessions, version and activity; per host how much of it is in use.
//!
//! Hosts are asked at once, each once for all its tenants, each database once for all its schemas. One that cannot be reached is told of,
//! and the rest is shown.

mod limits;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use chrono::{DateTime, Utc};
use futures_util::{StreamExt as _, stream};
use serde::Serialize;
use serde_json::Value;

use super::error::OpError;
use super::site::Site;
use crate::config::SANDBOX;
use crate::engine::fault::Fault;
use crate::registry::data::TenantData;
use crate::registry::{TenantFilter, TenantStatus};
use crate::stack::{SYSTEM_MIGRATIONS, TENANT_MIGRATIONS};
use crate::tenantdb::slow::{self, Slow, Statement};
use crate::tenantdb::transport::{self, Tls};
use crate::tenantdb::watch::{self, SchemaUse, Server};
use crate::tenantdb::{Host, MAINTENANCE};
use limits::Limits;

/// Hosts, and databases of a host, that are asked at once.
const AT_ONCE: usize = 8;
/// Use in percent from which on there is a warning.
pub const WARN: i64 = 80;

/// The fleet.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Fleet {
    /// By id.
    pub tenants: Vec<TenantHealth>,
    /// By endpoint.
    pub hosts: Vec<HostHealth>,
    /// What is nearly used up.
    pub warnings: Vec<Warning>,
}

/// One tenant's data. What could not be asked is none.
#[derive(Debug, Clone, Serialize)]
pub struct TenantHealth {
    /// Its id.
    pub id: String,
    /// Its stack.
    pub stack: String,
    /// Its tier.
    pub tier: String,
    /// Where it is in its life.
    pub status: TenantStatus,
    /// `name:port`; none for a tenant without a schema yet.
    pub host: Option<String>,
    /// The database.
    pub database: Option<String>,
    /// The schema.
    pub schema: Option<String>,
    /// Its schema with indexes and TOAST; its whole database where it has one of its own. None where it has rows in tables it shares: only
    /// the tenant itself sees which are its own.
    pub bytes: Option<i64>,
    /// Its logins and their sessions.
    pub connections: Vec<LoginUse>,
    /// The version of its schema, or of the tables it shares, as the ledger there says.
    pub version: Option<String>,
    /// How far its schema was when it was taken over; none for one that labctl made.
    pub baseline: Option<String>,
    /// Migrations of its stack that it does not have yet.
    pub pending: Option<usize>,
    /// The latest statement of its open sessions; from PostgreSQL 16 on also the latest scan of its tables. None: nothing is known.
    pub active_at: Option<DateTime<Utc>>,
    /// Statements with a mean of a second or more; none without pg_stat_statements.
    pub slow_statements: Option<i64>,
    /// The slowest of them.
    pub slowest: Option<Vec<Statement>>,
}

/// A login in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LoginUse {
    /// The role.
    pub login: String,
    /// Its sessions.
    pub connections: i64,
    /// Sessions there may be; none for no limit of its own.
    pub limit: Option<i64>,
}

/// One host. The numbers of one that could not be reached are none.
#[derive(Debug, Clone, Serialize)]
pub struct HostHealth {
    /// `name:port`.
    pub endpoint: String,
    /// Tenants whose data it has.
    pub tenants: usize,
    /// Tenants' schemas: those found, and of tenants that were not asked for those on record.
    pub schemas: Option<i64>,
    /// Schemas there may be; none for no limit that anybody has said.
    pub max_schemas: Option<i64>,
    /// Sessions of clients.
    pub connections: Option<i64>,
    /// Sessions there may be.
    pub max_connections: Option<i64>,
    /// Places taken in the lock table.
    pub locks: Option<i64>,
    /// Places there are.
    pub max_locks: Option<i64>,
    /// Of all databases.
    pub bytes: Option<i64>,
    /// Bytes there may be; none for no limit that anybody has said.
    pub max_bytes: Option<i64>,
    /// What becomes of logins without TLS.
    pub tls: Option<Tls>,
    /// What could not be asked, and why.
    pub faults: Vec<String>,
}

/// Something of which most is in use, or that is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// The host.
    pub host: String,
    /// `connections`, `locks`, `bytes`, `schemas`, `connections of database x`, `connections of role y`; [`PLAIN`].
    pub of: String,
    /// In use; none of what is no matter of numbers.
    pub used: Option<i64>,
    /// There is.
    pub limit: Option<i64>,
}

/// The warning of a host that does not insist on TLS.
pub const PLAIN: &str = "logins without TLS are not refused";

impl Warning {
    /// Of a limit that is nearly reached; none of one that is not, or that is no limit.
    fn of(host: &str, of: impl Into<String>, used: i64, limit: i64) -> Option<Self> {
        let warn = limit > 0 && used.saturating_mul(100) >= limit.saturating_mul(WARN);
        warn.then(|| Self { host: host.to_owned(), of: of.into(), used: Some(used), limit: Some(limit) })
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.used, self.limit) {
            (Some(used), Some(limit)) => write!(f, "{}: {used} of {limit} {} are in use", self.host, self.of),
            _ => write!(f, "{}: {}", self.host, self.of),
        }
    }
}

/// A tenant's place, read from its record.
struct Placed {
    host: Host,
    database: String,
    schema: String,
    own_database: bool,
    /// The schema is all its neighbours' too.
    rows: bool,
    logins: Vec<String>,
    /// All roles, logins or not: what a second login does, it does as the first, which may be closed.
    roles: Vec<String>,
    /// What the server holds, where it is the tenant's own.
    bytes: Option<i64>,
}

impl Placed {
    /// None where the record has no schema, or cannot be read.
    fn of(data: &TenantData) -> Option<Self> {
        let text = |spec: &Value, key: &str| spec[key].as_str().map(ToOwned::to_owned);
        let of_kind = |kind: &str| data.resources.iter().find(|r| r.kind == kind);
        let (place, schema, rows) = match (of_kind("postgres_schema"), of_kind("postgres_rows")) {
            (Some(own), _) => (own, &own.spec["name"], false),
            (None, shared) => (shared?, &shared?.spec["system"]["schema"], true),
        };
        let roles = || data.resources.iter().filter(|r| r.kind == "postgres_role");
        let host: Host = serde_json::from_value(place.spec["host"].clone()).ok()?;
        Some(Self {
            bytes: limits::of_own_server(data, &host.endpoint),
            host,
            database: text(&place.spec, "database")?,
            schema: schema.as_str()?.to_owned(),
            own_database: data.resources.iter().any(|r| r.kind == "postgres_database"),
            rows,
            logins: roles().filter(|r| r.spec["login"] == true).filter_map(|r| text(&r.spec, "name")).collect(),
            roles: roles().filter_map(|r| text(&r.spec, "name")).collect(),
        })
    }
}

/// What a host answered.
#[derive(Default)]
struct Answer {
    server: Option<Server>,
    tls: Option<Tls>,
    /// By database and name.
    schemas: BTreeMap<(String, String), SchemaUse>,
    /// By database and role; none where it is not counted.
    slow: BTreeMap<String, Option<BTreeMap<String, Slow>>>,
    faults: Vec<String>,
}

/// Looks at all databases of these tenants.
///
/// # Errors
/// [`OpError::Registry`]. Hosts that cannot be reached are in the answer.
pub async fn look(site: &Site, filter: &TenantFilter) -> Result<Fleet, OpError> {
    let all = site.registry.data(filter).await?;
    let placed: Vec<Option<Placed>> = all.iter().map(Placed::of).collect();
    let mut hosts: BTreeMap<&str, (&Host, Vec<&Placed>)> = BTreeMap::new();
    for place in placed.iter().flatten() {
        hosts.entry(&place.host.endpoint).or_insert_with(|| (&place.host, Vec::new())).1.push(place);
    }
    let asked = hosts.iter().map(|(endpoint, (host, places))| async move { (*endpoint, ask(site, host, places).await) });
    let answers: BTreeMap<&str, Answer> = stream::iter(asked).buffer_unordered(AT_ONCE).collect().await;
    let others = others(site, filter, &all).await?;
    let platform = limits::of_platform(&site.platform);
    let mut fleet = Fleet::default();
    for (endpoint, (_, places)) in &hosts {
        let Some(answer) = answers.get(endpoint) else { continue };
        let mut limits = platform.get(*endpoint).copied().unwrap_or_default();
        limits.bytes = limits.bytes.or_else(|| places.iter().filter_map(|p| p.bytes).max());
        let server = answer.server.as_ref();
        let shared: BTreeSet<(String, String)> = places.iter().filter(|p| p.rows).map(|p| (p.database.clone(), p.schema.clone())).collect();
        let found = answer.schemas.keys().filter(|key| !shared.contains(key)).count() + others.get(*endpoint).copied().unwrap_or_default();
        let schemas = server.map(|_| i64::try_from(found).unwrap_or(i64::MAX));
        fleet.warnings.extend(warnings(endpoint, answer, places, limits, schemas.unwrap_or_default()));
        // The sandbox is on loopback: there nobody is warned of what is meant to be.
        if site.profile != SANDBOX && matches!(answer.tls, Some(Tls::Optional | Tls::None)) {
            fleet.warnings.push(Warning { host: (*endpoint).to_owned(), of: PLAIN.to_owned(), used: None, limit: None });
        }
        fleet.hosts.push(HostHealth {
            endpoint: (*endpoint).to_owned(),
            tenants: places.len(),
            schemas,
            max_schemas: limits.schemas,
            connections: server.map(|s| s.connections),
            max_connections: server.map(|s| s.max_connections),
            locks: server.map(|s| s.locks),
            max_locks: server.map(|s| s.max_locks),
            bytes: server.map(|s| s.bytes),
            max_bytes: limits.bytes,
            tls: if site.profile == SANDBOX { answer.tls.map(|_| Tls::None) } else { answer.tls },
            faults: answer.faults.clone(),
        });
    }
    fleet.tenants = all.iter().zip(&placed).map(|(data, place)| tenant(site, data, place.as_ref(), &answers)).collect();
    Ok(fleet)
}

/// The schemas on record of tenants that were not asked for, by host: how full a host is does not hang on who is looked at.
async fn others(site: &Site, filter: &TenantFilter, asked: &[TenantData]) -> Result<BTreeMap<String, usize>, OpError> {
    if filter.stack.is_none() && filter.tier.is_none() && filter.status.is_none() {
        return Ok(BTreeMap::new());
    }
    let asked: BTreeSet<&str> = asked.iter().map(|data| data.tenant.id.as_str()).collect();
    let mut by_host = BTreeMap::new();
    for data in site.registry.data(&TenantFilter::default()).await?.iter().filter(|data| !asked.contains(data.tenant.id.as_str())) {
        if let Some(place) = Placed::of(data).filter(|place| !place.rows) {
            *by_host.entry(place.host.endpoint).or_insert(0) += 1;
        }
    }
    Ok(by_host)
}

async fn ask(site: &Site, host: &Host, places: &[&Placed]) -> Answer {
    let mut answer = Answer::default();
    let logins: Vec<String> = places.iter().flat_map(|p| p.logins.clone()).collect();
    let server = async {
        let mut db = site.cx.admin(host, MAINTENANCE).await?;
        Ok::<_, Fault>((watch::server(&mut db, &logins).await?, transport::look(&mut db, &logins).await?))
    };
    let version = match server.await {
        Ok((server, tls)) => {
            answer.tls = Some(tls);
            answer.server.insert(server).version
        }
        Err(fault) => {
            answer.faults.push(fault.to_string());
            return answer;
        }
    };
    let mut databases: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for place in places {
        let names: &mut Vec<String> = databases.entry(&place.database).or_default();
        if !names.contains(&place.schema) {
            names.push(place.schema.clone());
        }
    }
    let asked = databases.iter().map(|(database, names)| async move {
        let asked = async {
            let mut db = site.cx.admin(host, database).await?;
            let schemas = watch::schemas(&mut db, version, names).await?;
            Ok::<_, Fault>((schemas, slow::read(&mut db).await?))
        };
        ((*database).to_owned(), asked.await)
    });
    let found: Vec<_> = stream::iter(asked).buffer_unordered(AT_ONCE).collect().await;
    for (database, found) in found {
        match found {
            Ok((schemas, slow)) => {
                answer.schemas.extend(schemas.into_iter().map(|(name, found)| ((database.clone(), name), found)));
                answer.slow.insert(database, slow);
            }
            Err(fault) => answer.faults.push(format!("database {database}: {fault}")),
        }
    }
    answer.faults.sort();
    answer
}

fn warnings(endpoint: &str, answer: &Answer, places: &[&Placed], limits: Limits, schemas: i64) -> Vec<Warning> {
    let Some(server) = &answer.server else { return Vec::new() };
    let mut all = vec![
        Warning::of(endpoint, "connections", server.connections, server.max_connections),
        Warning::of(endpoint, "locks", server.locks, server.max_locks),
        Warning::of(endpoint, "bytes", server.bytes, limits.bytes.unwrap_or_default()),
        Warning::of(endpoint, "schemas", schemas, limits.schemas.unwrap_or_default()),
    ];
    let ours = |name: &str| places.iter().any(|p| p.own_database && p.database == name);
    for (name, database) in server.databases.iter().filter(|(name, _)| ours(name)) {
        all.push(Warning::of(endpoint, format!("connections of database {name}"), database.connections, database.limit.unwrap_or_default()));
    }
    for (name, role) in &server.roles {
        all.push(Warning::of(endpoint, format!("connections of role {name}"), role.connections, role.limit.unwrap_or_default()));
    }
    all.into_iter().flatten().collect()
}

fn tenant(site: &Site, data: &TenantData, place: Option<&Placed>, answers: &BTreeMap<&str, Answer>) -> TenantHealth {
    let tenant = &data.tenant;
    let answer = place.and_then(|p| answers.get(p.host.endpoint.as_str()));
    let server = answer.and_then(|a| a.server.as_ref());
    let schema = place.zip(answer).and_then(|(p, a)| a.schemas.get(&(p.database.clone(), p.schema.clone())));
    let used: Vec<_> = place.zip(server).map(|(p, s)| p.logins.iter().filter_map(|l| s.roles.get_key_value(l)).collect()).unwrap_or_default();
    let slow = place.zip(answer).and_then(|(p, a)| {
        let by_role = a.slow.get(&p.database)?.as_ref()?;
        Some(p.roles.iter().filter_map(|role| by_role.get(role)).collect::<Vec<_>>())
    });
    let bytes = match (place, server) {
        (Some(p), Some(s)) if p.own_database => s.databases.get(&p.database).and_then(|d| d.bytes),
        // Nobody but the tenant sees which rows of a shared table are its own.
        (Some(p), _) if p.rows => None,
        _ => schema.and_then(|s| s.bytes),
    };
    let versions = schema.filter(|s| s.bytes.is_some()).map(|s| &s.versions);
    TenantHealth {
        id: tenant.id.clone(),
        stack: tenant.stack.clone(),
        tier: tenant.tier.clone(),
        status: tenant.status,
        host: place.map(|p| p.host.endpoint.clone()),
        database: place.map(|p| p.database.clone()),
        schema: place.map(|p| p.schema.clone()),
        bytes,
        connections: used.iter().map(|(login, u)| LoginUse { login: (*login).clone(), connections: u.connections, limit: u.limit }).collect(),
        version: versions.map(words),
        baseline: schema.filter(|s| !s.baseline.is_empty()).map(|s| words(&s.baseline)),
        pending: versions.and_then(|v| pending(site, data, v, place.is_some_and(|p| p.rows))),
        active_at: used.iter().filter_map(|(_, u)| u.active_at).chain(schema.filter(|_| place.is_some_and(|p| !p.rows)).and_then(|s| s.scanned_at)).max(),
        slow_statements: slow.as_ref().map(|slow| slow.iter().map(|s| s.count).sum()),
        slowest: slow.map(slowest),
    }
}

/// The slowest statements of all of a tenant's roles.
fn slowest(by_role: Vec<&Slow>) -> Vec<Statement> {
    let mut all: Vec<Statement> = by_role.into_iter().flat_map(|slow| slow.slowest.clone()).collect();
    all.sort_by_key(|s| std::cmp::Reverse(s.mean_ms));
    all.truncate(slow::SHOWN);
    all
}

/// `4`, or `dental 1, tenant 4` when there are several folders; `0` without any.
fn words(versions: &BTreeMap<String, u32>) -> String {
    match versions.iter().collect::<Vec<_>>().as_slice() {
        [] => "0".to_owned(),
        [(_, version)] => version.to_string(),
        many => many.iter().map(|(folder, version)| format!("{folder} {version}")).collect::<Vec<_>>().join(", "),
    }
}

/// Migrations of its stack, as it is today, that a tenant does not have.
fn pending(site: &Site, data: &TenantData, versions: &BTreeMap<String, u32>, rows: bool) -> Option<usize> {
    let stack = site.stacks.get(&data.tenant.stack)?;
    let wanted = stack
        .migrations
        .iter()
        .filter(|m| if rows { m.folder == SYSTEM_MIGRATIONS } else { m.folder == TENANT_MIGRATIONS || data.modules.contains(&m.folder) });
    Some(wanted.filter(|m| versions.get(&m.folder).is_none_or(|v| m.version > *v)).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(resources: Value) -> TenantData {
        serde_json::from_value(serde_json::json!({
            "tenant": {"id": "a", "external_id": null, "display_name": "A", "subdomain": "a", "stack": "s", "tier": "trial", "isolation": "schema",
                "status": "active", "revision": 1, "provisioned_at": null, "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z"},
            "modules": [], "resources": resources}))
        .unwrap()
    }

    #[test]
    fn a_warning_comes_at_eighty_percent_of_what_is_a_limit() {
        let percent = |used, limit| Warning::of("h", "connections", used, limit).map(|w| w.to_string());
        assert_eq!(percent(79, 100), None);
        assert_eq!(percent(80, 100).as_deref(), Some("h: 80 of 100 connections are in use"));
        assert_eq!(percent(4, 5).as_deref(), Some("h: 4 of 5 connections are in use"));
        assert_eq!(percent(3, 0), None, "no limit is none that could be reached");
    }

    #[test]
    fn each_thing_a_host_has_is_warned_of_at_eighty_percent_and_not_before() {
        let place = Placed::of(&data(serde_json::json!([
            {"kind": "postgres_database", "name": "main", "spec": {"name": "own"}},
            {"kind": "postgres_schema", "name": "main", "spec": {"host": {"endpoint": "h:5432", "admin_secret_arn": "arn"}, "database": "own", "name": "a"}},
        ])))
        .unwrap();
        let at = |used: [i64; 6]| {
            let databases = ["own", "theirs"].map(|name| (name.to_owned(), watch::DatabaseUse { bytes: None, connections: used[4], limit: Some(100) }));
            let roles = [("a_app".to_owned(), watch::RoleUse { connections: used[5], limit: Some(100), active_at: None })];
            let server = Server {
                connections: used[0],
                max_connections: 100,
                locks: used[1],
                max_locks: 100,
                bytes: used[2],
                databases: databases.into(),
                roles: roles.into(),
                ..Server::default()
            };
            let answer = Answer { server: Some(server), ..Answer::default() };
            let limits = Limits { bytes: Some(100), schemas: Some(100) };
            warnings("h:5432", &answer, &[&place], limits, used[3]).into_iter().map(|w| w.of).collect::<Vec<_>>()
        };
        assert_eq!(at([79; 6]), Vec::<String>::new());
        let things = ["connections", "locks", "bytes", "schemas", "connections of database own", "connections of role a_app"];
        for (n, thing) in things.into_iter().enumerate() {
            let mut used = [79; 6];
            used[n] = 80;
            assert_eq!(at(used), [thing]);
        }
    }

    #[test]
    fn a_tenants_place_is_read_from_its_record() {
        assert!(Placed::of(&data(serde_json::json!([]))).is_none());
        let host = serde_json::json!({"endpoint": "h:5432", "admin_secret_arn": "arn"});
        let place = Placed::of(&data(serde_json::json!([
            {"kind": "postgres_role", "name": "owner", "spec": {"name": "a_owner", "login": false}},
            {"kind": "postgres_role", "name": "app", "spec": {"name": "a_app", "login": true}},
            {"kind": "postgres_schema", "name": "main", "spec": {"host": host, "database": "shared", "name": "a"}},
        ])))
        .unwrap();
        assert_eq!((place.database.as_str(), place.schema.as_str(), place.own_database, place.logins), ("shared", "a", false, vec!["a_app".to_owned()]));
        assert_eq!(place.roles, ["a_owner", "a_app"]);
    }
}
