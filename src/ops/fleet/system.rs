//! What tenants share, moved on before any of them: once for each database in which tenants chosen have rows.
//!
//! It is no tenant's, so no lease is held and no result is on record: the schema's own lock keeps two runs apart, its ledger says where it is,
//! and the audit trail says who moved it. Where one of them fails, nothing else is begun.

use std::time::Duration;

use serde::Serialize;
use serde_json::json;
use tokio::time::sleep;

use super::{Options, refused};
use crate::engine::fault::{Class, Fault};
use crate::ops::{OpError, Site};
use crate::registry::rows::RowsPlace;
use crate::stack::SYSTEM_MIGRATIONS;
use crate::tenantdb::Host;
use crate::tenantdb::migrations::ledger::{To, pending, version};
use crate::tenantdb::system::{self, Shared};

/// How the shared tables of one database stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// At their target, or beyond.
    Current,
    /// On their way.
    Behind,
    /// Just brought there.
    Migrated,
    /// They could not be brought there, or not even looked at.
    Failed,
    /// All who have rows in them are suspended, and they were left behind by choice.
    Skipped,
}

impl std::fmt::Display for Standing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Current => "current",
            Self::Behind => "behind",
            Self::Migrated => "migrated",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        })
    }
}

/// The shared tables of one stack in one database.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SystemLine {
    /// The stack.
    pub stack: String,
    /// The database host.
    pub host: String,
    /// The database.
    pub database: String,
    /// The schema they are in.
    pub schema: String,
    /// Tenants chosen that have rows in them.
    pub tenants: usize,
    /// How they stand.
    pub status: Standing,
    /// Their version.
    pub version: String,
    /// Where they are to get.
    pub target: String,
    /// Why they did not.
    pub fault: Option<Fault>,
}

/// Some shared tables, and how they stand.
pub(super) struct Found {
    place: RowsPlace,
    shared: Shared,
    to: To,
    pub(super) line: SystemLine,
}

fn host(place: &RowsPlace) -> Host {
    Host { endpoint: place.endpoint.clone(), admin_secret_arn: place.admin_secret_arn.clone() }
}

/// Looks at the shared tables of all tenants chosen. Never writes. None for a run of one tenant: they are not its own.
///
/// # Errors
/// [`OpError::Registry`]; a stack that is not among the templates; a version that is not there.
pub(super) async fn look(site: &Site, options: &Options, to: &To) -> Result<Vec<Found>, OpError> {
    let mut all = Vec::new();
    if options.filter.tenant.is_some() {
        return Ok(all);
    }
    let to: To = to.iter().filter(|(folder, _)| *folder == SYSTEM_MIGRATIONS).map(|(f, v)| (f.clone(), *v)).collect();
    for place in site.registry.rows_places(&options.filter).await? {
        let shared = site.stacks.get(&place.stack).and_then(crate::stack::Stack::shared);
        let shared: Shared = shared.and_then(|value| serde_json::from_value(value).ok()).ok_or_else(|| {
            let why = format!("there are tenants with rows of the stack `{}`, whose shared tables are not among the templates", place.stack);
            refused(false, "no_such_stack", why, "name the folder of its templates in labctl.toml, or leave its tenants out".to_owned())
        })?;
        let newest = shared.migrations.iter().map(|s| s.version).max().unwrap_or(0);
        let target = to.get(SYSTEM_MIGRATIONS).copied().unwrap_or(newest);
        if !shared.migrations.iter().any(|s| s.version == target) {
            let why = format!("the stack `{}` has no migration V{target} in `{SYSTEM_MIGRATIONS}`", place.stack);
            return Err(refused(true, "no_such_version", why, format!("its newest is V{newest}")));
        }
        let resting = if options.filter.skip_suspended { place.suspended } else { 0 };
        let left_out = resting == place.tenants;
        let mut line = SystemLine {
            stack: place.stack.clone(),
            host: place.endpoint.clone(),
            database: place.database.clone(),
            schema: shared.schema.clone(),
            tenants: if left_out { place.tenants } else { place.tenants - resting },
            status: Standing::Failed,
            version: "unknown".to_owned(),
            target: target.to_string(),
            fault: None,
        };
        match applied(site, &place, &shared).await {
            Ok(applied) => {
                line.version = version(&applied);
                match pending(&applied, &shared.migrations, &to) {
                    Ok(todo) => line.status = if todo.is_empty() { Standing::Current } else { Standing::Behind },
                    Err(wrong) => line.fault = Some(Fault::refused("postgres:migrate", "history", wrong)),
                }
            }
            Err(fault) => line.fault = Some(fault),
        }
        if left_out && line.status != Standing::Current {
            line.status = Standing::Skipped;
        }
        all.push(Found { place, shared, to: to.clone(), line });
    }
    Ok(all)
}

async fn applied(site: &Site, place: &RowsPlace, shared: &Shared) -> Result<Vec<crate::tenantdb::migrations::Step>, Fault> {
    let mut db = site.cx.admin(&host(place), &place.database).await?;
    let found = system::find(&mut db, shared).await?;
    found.map(|f| f.applied).ok_or_else(|| {
        Fault::refused(
            "postgres:pg_namespace",
            "3F000",
            format!("the schema {} is gone from the database {}, and tenants' rows with it", shared.schema, place.database),
        )
        .hint("restore the database")
    })
}

/// Brings them all where they are to get, one after the other, and answers with how they stand. The first that fails is the last.
///
/// # Errors
/// Only those of reaching the registry.
pub(super) async fn migrate(site: &Site, found: Vec<Found>, options: &Options) -> Result<Vec<SystemLine>, OpError> {
    let mut lines: Vec<SystemLine> = Vec::with_capacity(found.len());
    for Found { place, shared, to, mut line } in found {
        let failed = lines.iter().any(|l| l.status == Standing::Failed);
        if line.status == Standing::Behind && !failed {
            let done = moved(site, &place, &shared, &to, options).await;
            match done {
                Ok(after) => (line.status, line.version) = (Standing::Migrated, after),
                Err(fault) => (line.status, line.fault) = (Standing::Failed, Some(fault)),
            }
            let detail = json!({"stack": line.stack, "host": line.host, "database": line.database, "version": line.version, "status": line.status});
            site.registry.audit(&site.holder, "system.migrate", None, &detail).await?;
        }
        lines.push(line);
    }
    Ok(lines)
}

/// Again and again while it is only busy: all its tenants' sessions may hold locks.
async fn moved(site: &Site, place: &RowsPlace, shared: &Shared, to: &To, options: &Options) -> Result<String, Fault> {
    let (mut wait, mut attempt) = (Duration::from_millis(250), 1);
    let (registry, lock) = (site.registry_id.to_string(), Duration::from_millis(options.lock_timeout_millis));
    loop {
        let done = async {
            let mut db = site.cx.admin(&host(place), &place.database).await?;
            system::migrate(&mut db, shared, &registry, to, lock, &site.cx.migrations).await
        };
        match done.await {
            Ok(done) => return Ok(version(&done.after)),
            Err(fault) if fault.class == Class::Refused || attempt >= options.attempts => return Err(fault),
            Err(_) => sleep(wait).await,
        }
        (attempt, wait) = (attempt + 1, wait * 2);
    }
}
