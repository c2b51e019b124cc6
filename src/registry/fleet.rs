//! Fleet runs: what was asked of many tenants at once, and what became of each. Leases, results and the resources they change are written
//! many tenants at a time.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{AssertSqlSafe, FromRow};

use super::error::{RegistryError, Result};
use super::lease_many::free_many;
use super::{HeldLease, Holder, Registry};

/// Which tenants of the fleet; what is `None` does not matter.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FleetFilter {
    /// This one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Of that product.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
    /// Of that tier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// On that database host: its endpoint, or the endpoint without the port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// With all these tags in their specs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Those that are suspended are left as they are; they are chosen and told of all the same.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub skip_suspended: bool,
}

/// A tenant with a schema version on record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FleetMember {
    /// Its id.
    pub tenant: String,
    /// Its product.
    pub stack: String,
    /// Its tier.
    pub tier: String,
    /// The address of its schema version.
    pub address: String,
    /// Whether the record is of something finished: else its names may still hold references.
    pub ready: bool,
    /// The server.
    pub endpoint: String,
    /// ARN of the secret with the administrator's login.
    pub admin_secret_arn: String,
    /// The database.
    pub database: String,
    /// The schema.
    pub schema: String,
    /// Its migration role.
    pub role: String,
    /// The version on record.
    pub version: Option<String>,
    /// The modules its spec names.
    pub modules: Vec<String>,
    /// Whether it is suspended.
    pub suspended: bool,
}

/// A tenant with a schema, or rows in shared tables, on record, by all that a filter may ask for.
#[derive(Debug, Clone, PartialEq)]
pub struct FleetChoice {
    /// Its id.
    pub tenant: String,
    /// Its product.
    pub stack: String,
    /// Its tier.
    pub tier: String,
    /// The server: `name:port`.
    pub endpoint: String,
    /// Its spec's tags.
    pub tags: BTreeMap<String, String>,
}

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FleetStatus {
    /// Under way, or cut off without a word.
    Running,
    /// Nobody is behind, but for those who were left out by choice.
    Done,
    /// It came to its end, and some are behind.
    Incomplete,
    /// Too many failed.
    Stopped,
    /// An operator paused it.
    Interrupted,
}

impl FleetStatus {
    /// As the database and all outputs spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Incomplete => "incomplete",
            Self::Stopped => "stopped",
            Self::Interrupted => "interrupted",
        }
    }
}

impl fmt::Display for FleetStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FleetRun {
    /// Its number.
    pub number: i64,
    /// How it stands.
    pub status: FleetStatus,
    /// Who asked for it.
    pub who: String,
    /// From where.
    pub host: String,
    /// The command line.
    pub command: String,
    /// How it is to go on.
    pub options: Value,
    /// By stack: the files of its history, and how far to go.
    pub targets: Value,
    /// Tenants that were chosen.
    pub tenants: i32,
    /// Those of them that had nothing to do when it began.
    pub current: i32,
    /// How often it was begun or resumed.
    pub attempts: i32,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it last ended.
    pub finished_at: Option<DateTime<Utc>>,
}

/// A run to be put on record.
#[derive(Debug, Clone)]
pub struct NewFleetRun<'a> {
    /// Who asks for it.
    pub by: &'a Holder,
    /// The command line.
    pub command: &'a str,
    /// How it is to go on.
    pub options: &'a Value,
    /// By stack: the files of its history, and how far to go.
    pub targets: &'a Value,
    /// Tenants that were chosen.
    pub tenants: usize,
    /// Those that have nothing to do.
    pub current: usize,
    /// The others: id, wave, and version now.
    pub rows: &'a [(String, u32, String)],
}

/// What became of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FleetEnd {
    /// Its turn has not come.
    Pending,
    /// It was migrated.
    Migrated,
    /// It was already there when its turn came.
    Found,
    /// It could not be.
    Failed,
    /// Somebody else is at work on it.
    Locked,
}

impl FleetEnd {
    /// As the database and all outputs spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Migrated => "migrated",
            Self::Found => "found",
            Self::Failed => "failed",
            Self::Locked => "locked",
        }
    }

    /// Whether the tenant is where it should be.
    pub fn there(self) -> bool {
        matches!(self, Self::Migrated | Self::Found)
    }
}

/// A tenant's row in a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FleetResult {
    /// Its id.
    pub tenant: String,
    /// Its stack.
    pub stack: String,
    /// Its wave; 0 is the canary.
    pub wave: u32,
    /// What became of it.
    pub status: FleetEnd,
    /// Its version when the run began.
    pub from_version: String,
    /// Its version now, where it got there.
    pub to_version: Option<String>,
    /// Why it did not.
    pub fault: Option<Value>,
    /// How long it took.
    pub millis: Option<i32>,
}

/// What became of a tenant, to be put on record.
#[derive(Debug, Clone)]
pub struct FleetEntry {
    /// Its id.
    pub tenant: String,
    /// The address of its schema version.
    pub address: String,
    /// What became of it.
    pub end: FleetEnd,
    /// Its version now, where it got there.
    pub version: Option<String>,
    /// The history it has now, in the shape its spec keeps it, where it got there.
    pub migrations: Option<std::sync::Arc<Value>>,
    /// Why it did not get there.
    pub fault: Option<Value>,
    /// How long it took.
    pub millis: i32,
    /// The epoch of the lease it was done under; it is let go of.
    pub epoch: Option<i64>,
}

type MemberRow = (
    String,
    String,
    String,
    String,
    bool,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Json<Vec<String>>,
    bool,
);

impl Registry {
    /// The tenants that have a schema version on record, by tier (trial, standard, enterprise) and id. Deleted ones are not in it.
    ///
    /// # Errors
    /// Only those of reaching the registry.
    pub async fn fleet_members(&self, filter: &FleetFilter) -> Result<Vec<FleetMember>> {
        let columns = "t.id, t.stack, t.tier, r.address, r.status = 'ready', r.spec->'host'->>'endpoint', r.spec->'host'->>'admin_secret_arn',
             r.spec->>'database', r.spec->>'schema', r.spec->>'role', r.outputs->>'version', coalesce(v.spec->'modules', '[]'), t.status = 'suspended'";
        let order = "ORDER BY array_position(ARRAY['trial', 'standard', 'enterprise'], t.tier), t.id, r.address";
        let rows: Vec<MemberRow> = self.chosen(filter, columns, "r.kind = 'postgres_schema_version' AND r.status <> 'deleted'", order).await?;
        let member =
            |(tenant, stack, tier, address, ready, endpoint, secret, database, schema, role, version, Json(modules), suspended): MemberRow| FleetMember {
                tenant,
                stack,
                tier,
                address,
                ready: ready && endpoint.is_some() && secret.is_some() && database.is_some() && schema.is_some() && role.is_some(),
                endpoint: endpoint.unwrap_or_default(),
                admin_secret_arn: secret.unwrap_or_default(),
                database: database.unwrap_or_default(),
                schema: schema.unwrap_or_default(),
                role: role.unwrap_or_default(),
                version,
                modules,
                suspended,
            };
        Ok(rows.into_iter().map(member).collect())
    }

    /// Everybody a filter could choose, for who has chosen nobody.
    ///
    /// # Errors
    /// Only those of reaching the registry.
    pub async fn fleet_choices(&self) -> Result<Vec<FleetChoice>> {
        type Row = (String, String, String, Option<String>, Json<BTreeMap<String, String>>);
        let columns = "t.id, t.stack, t.tier, r.spec->'host'->>'endpoint', coalesce(v.spec->'tags', '{}')";
        let resource = "r.kind IN ('postgres_schema_version', 'postgres_rows') AND r.status <> 'deleted'";
        let rows: Vec<Row> = self.chosen(&FleetFilter::default(), columns, resource, "ORDER BY t.id").await?;
        let choice = |(tenant, stack, tier, endpoint, Json(tags)): Row| FleetChoice { tenant, stack, tier, endpoint: endpoint.unwrap_or_default(), tags };
        Ok(rows.into_iter().map(choice).collect())
    }

    /// What a filter chooses of the fleet: `columns` of tenants `t`, their resources `r` of that sort, and their revisions `v`. Deleted tenants
    /// are not in it.
    pub(super) async fn chosen<R>(&self, filter: &FleetFilter, columns: &str, resource: &str, rest: &str) -> Result<Vec<R>>
    where
        R: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        let sql = format!(
            "SELECT {columns} FROM labctl.tenants t
             JOIN labctl.resources r ON r.tenant = t.id AND {resource} AND r.id IS NOT NULL
             JOIN labctl.revisions v ON v.tenant = t.id AND v.number = t.revision
             WHERE t.status NOT IN ('deleted', 'purging', 'purged') AND ($1::text IS NULL OR t.id = $1) AND ($2::text IS NULL OR t.stack = $2)
               AND ($3::text IS NULL OR t.tier = $3)
               AND ($4::text IS NULL OR $4 IN (r.spec->'host'->>'endpoint', split_part(r.spec->'host'->>'endpoint', ':', 1)))
               AND ($5::jsonb = '{{}}' OR coalesce(v.spec->'tags', '{{}}') @> $5)
             {rest}"
        );
        sqlx::query_as(AssertSqlSafe(sql))
            .bind(&filter.tenant)
            .bind(&filter.stack)
            .bind(&filter.tier)
            .bind(&filter.host)
            .bind(Json(&filter.tags))
            .fetch_all(self.pool().await?)
            .await
            .map_err(|e| self.sql(e))
    }

    /// A run.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    pub async fn fleet_run(&self, number: i64) -> Result<FleetRun> {
        let row: Option<Json<FleetRun>> = sqlx::query_scalar("SELECT to_jsonb(r) FROM labctl.fleet_runs r WHERE number = $1")
            .bind(number)
            .fetch_optional(self.pool().await?)
            .await
            .map_err(|e| self.sql(e))?;
        row.map(|Json(r)| r).ok_or_else(|| RegistryError::not_found("fleet run", number.to_string()))
    }

    /// The latest run that is not done.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    pub async fn last_unfinished_fleet_run(&self) -> Result<i64> {
        sqlx::query_scalar("SELECT number FROM labctl.fleet_runs WHERE status <> 'done' ORDER BY number DESC LIMIT 1")
            .fetch_optional(self.pool().await?)
            .await
            .map_err(|e| self.sql(e))?
            .ok_or_else(|| RegistryError::not_found("fleet run", "that is not done"))
    }

    /// The tenants of a run that had something to do, by wave and id.
    ///
    /// # Errors
    /// Only those of reaching the registry.
    pub async fn fleet_results(&self, run: i64) -> Result<Vec<FleetResult>> {
        let found: Vec<Json<FleetResult>> = sqlx::query_scalar(
            "SELECT to_jsonb(r) || jsonb_build_object('stack', t.stack) FROM labctl.fleet_results r JOIN labctl.tenants t ON t.id = r.tenant
             WHERE run = $1 ORDER BY wave, tenant",
        )
        .bind(run)
        .fetch_all(self.pool().await?)
        .await
        .map_err(|e| self.sql(e))?;
        Ok(found.into_iter().map(|Json(r)| r).collect())
    }

    /// Says how a run ended.
    ///
    /// # Errors
    /// [`RegistryError::Fenced`] when the run is another process's by now.
    pub async fn end_fleet_run(&self, claim: &HeldLease, run: i64, status: FleetStatus) -> Result<()> {
        let mut tx = self.begin_fenced(claim).await?;
        // Nothing where the end is on record already, and only the reply was lost.
        let ended = sqlx::query("UPDATE labctl.fleet_runs SET status = $2, finished_at = clock_timestamp() WHERE number = $1 AND status = 'running'")
            .bind(run)
            .bind(status.as_str())
            .execute(&mut *tx)
            .await
            .map_err(|e| self.sql(e))?;
        if ended.rows_affected() > 0 {
            self.audit_in(&mut tx, claim.holder(), "fleet.end", None, &json!({"run": run, "status": status})).await?;
        }
        self.commit(tx).await
    }

    /// Puts what became of many tenants on record: their rows in the run, the versions their resources are at, and the end of their leases;
    /// all in one transaction. A resource changes only under the lease its tenant was migrated under.
    ///
    /// # Errors
    /// [`RegistryError::Fenced`] when the run is another process's by now: then nothing is written.
    pub async fn record_fleet(&self, claim: &HeldLease, run: i64, entries: &[FleetEntry]) -> Result<()> {
        let mut tx = self.begin_fenced(claim).await?;
        let mut rows: Vec<&FleetEntry> = entries.iter().collect();
        // In one order always, so that two who record wait for each other rather than deadlock.
        rows.sort_by(|a, b| a.tenant.cmp(&b.tenant));
        let tenants: Vec<&str> = rows.iter().map(|e| e.tenant.as_str()).collect();
        let epochs: Vec<Option<i64>> = rows.iter().map(|e| e.epoch).collect();
        sqlx::query(
            "UPDATE labctl.fleet_results r SET status = e.status, to_version = e.version, fault = e.fault, millis = e.millis, attempts = attempts + 1,
                    finished_at = clock_timestamp()
             FROM unnest($2::text[], $3::text[], $4::text[], $5::jsonb[], $6::int[]) e (tenant, status, version, fault, millis)
             WHERE r.run = $1 AND r.tenant = e.tenant",
        )
        .bind(run)
        .bind(&tenants)
        .bind(rows.iter().map(|e| e.end.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|e| e.version.as_deref()).collect::<Vec<_>>())
        .bind(rows.iter().map(|e| e.fault.as_ref().map(Json)).collect::<Vec<_>>())
        .bind(rows.iter().map(|e| e.millis).collect::<Vec<_>>())
        .execute(&mut *tx)
        .await
        .map_err(|e| self.sql(e))?;
        // Tenants of one stack share their history: it is sent once.
        let mut histories: Vec<&std::sync::Arc<Value>> = Vec::new();
        let mut which = Vec::new();
        for entry in &rows {
            which.push(entry.migrations.as_ref().map(|m| {
                let at = histories.iter().position(|h| std::sync::Arc::ptr_eq(h, m)).unwrap_or_else(|| {
                    histories.push(m);
                    histories.len() - 1
                });
                i32::try_from(at + 1).unwrap_or(i32::MAX)
            }));
        }
        sqlx::query(
            "UPDATE labctl.resources x SET spec = jsonb_set(x.spec, '{migrations}', ($6::jsonb[])[e.which]),
                    outputs = x.outputs || jsonb_build_object('version', e.version), updated_at = clock_timestamp()
             FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::int[]) e (tenant, epoch, address, version, which)
             JOIN labctl.leases l ON l.tenant = e.tenant AND l.epoch = e.epoch AND l.holder IS NOT NULL
             WHERE x.address = e.address AND x.status = 'ready' AND e.which IS NOT NULL AND e.version IS NOT NULL",
        )
        .bind(&tenants)
        .bind(&epochs)
        .bind(rows.iter().map(|e| e.address.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|e| e.version.as_deref()).collect::<Vec<_>>())
        .bind(which)
        .bind(histories.iter().map(|h| Json(h.as_ref())).collect::<Vec<_>>())
        .execute(&mut *tx)
        .await
        .map_err(|e| self.sql(e))?;
        let (held, epochs): (Vec<&str>, Vec<i64>) = rows.iter().filter_map(|e| e.epoch.map(|epoch| (e.tenant.as_str(), epoch))).unzip();
        free_many(&mut tx, &held, &epochs).await.map_err(|e| self.sql(e))?;
        self.commit(tx).await
    }
}
