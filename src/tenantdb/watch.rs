//! What a server and its databases report of themselves: sizes, sessions, locks, versions. Never writes.
//!
//! One statement per server or database, whatever the number of tenants. The size of a schema is the sum over its relations, indexes and
//! TOAST included; that of a shared database would be everybody's.
//!
//! # What cannot be seen
//! A relation that somebody holds exclusively (a migration, a REINDEX) cannot be measured without waiting for it: its schema has no size
//! just then. An administrator who is no member of `pg_monitor` is not told what kind of session another's is, nor when it was active: all
//! are counted as clients' then. When a table was last read is known from PostgreSQL 16 on; before, only sessions that are open tell of activity.

use std::collections::BTreeMap;

use sqlx::types::chrono::{DateTime, Utc};

use super::connect::Connection;
use super::migrations::{Step, own};
use super::quote::{Literal, list};
use crate::engine::fault::Fault;

/// A server as it is.
#[derive(Debug, Clone, Default)]
pub struct Server {
    /// `server_version_num`.
    pub version: i32,
    /// Sessions of clients.
    pub connections: i64,
    /// Sessions of clients there may be, those kept for superusers not counted.
    pub max_connections: i64,
    /// Places taken in the shared lock table.
    pub locks: i64,
    /// Places there are for sure: `max_locks_per_transaction` for each session and prepared transaction there may be.
    pub max_locks: i64,
    /// Of all databases the administrator may measure.
    pub bytes: i64,
    /// Its databases.
    pub databases: BTreeMap<String, DatabaseUse>,
    /// The roles asked for, as far as there are any.
    pub roles: BTreeMap<String, RoleUse>,
}

/// A database in use.
#[derive(Debug, Clone, Copy)]
pub struct DatabaseUse {
    /// Its size; none where the administrator may not connect.
    pub bytes: Option<i64>,
    /// Its sessions.
    pub connections: i64,
    /// Sessions there may be; none for no limit of its own.
    pub limit: Option<i64>,
}

/// A role in use.
#[derive(Debug, Clone, Copy)]
pub struct RoleUse {
    /// Its sessions.
    pub connections: i64,
    /// Sessions there may be; none for no limit of its own.
    pub limit: Option<i64>,
    /// When one of them last began or ended a statement.
    pub active_at: Option<DateTime<Utc>>,
}

/// A schema as it is.
#[derive(Debug, Clone, Default)]
pub struct SchemaUse {
    /// Tables with indexes and TOAST, materialized views, sequences; none while one of them is held exclusively.
    pub bytes: Option<i64>,
    /// When one of its tables was last scanned, the ledger apart. From PostgreSQL 16 on.
    pub scanned_at: Option<DateTime<Utc>>,
    /// The last version applied, by folder. Empty without a ledger.
    pub versions: BTreeMap<String, u32>,
    /// By folder the last version of those that were recorded and not run. Empty for a schema that began with labctl.
    pub baseline: BTreeMap<String, u32>,
}

/// Asks a server about itself and these roles, from any of its databases.
///
/// # Errors
/// As the statements' faults.
pub async fn server(db: &mut Connection, roles: &[String]) -> Result<Server, Fault> {
    type Row = (i32, i64, i64, i64, i64, i64);
    let row: Option<Row> = db
        .optional(
            "postgres:pg_stat_activity",
            sqlx::query_as(
                "SELECT current_setting('server_version_num')::int, \
                 (SELECT count(*) FROM pg_stat_activity WHERE datid IS NOT NULL AND coalesce(backend_type, 'client backend') = 'client backend'), \
                 current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint, \
                 (SELECT count(*) FROM pg_locks WHERE NOT fastpath AND locktype <> 'virtualxid'), \
                 current_setting('max_locks_per_transaction')::bigint \
                   * (current_setting('max_connections')::bigint + current_setting('max_prepared_transactions')::bigint), \
                 (SELECT coalesce(sum(pg_database_size(oid)), 0)::bigint FROM pg_database WHERE has_database_privilege(oid, 'CONNECT'))",
            ),
        )
        .await?;
    let (version, connections, max_connections, locks, max_locks, bytes) = row.unwrap_or_default();
    let databases: Vec<(String, Option<i64>, i64, Option<i64>)> = db
        .all(
            "postgres:pg_database",
            sqlx::query_as(
                "SELECT d.datname::text, CASE WHEN has_database_privilege(d.oid, 'CONNECT') THEN pg_database_size(d.oid) END, \
                 coalesce(s.numbackends, 0)::bigint, CASE WHEN d.datconnlimit >= 0 THEN d.datconnlimit::bigint END \
                 FROM pg_database d LEFT JOIN pg_stat_database s ON s.datid = d.oid WHERE d.datallowconn",
            ),
        )
        .await?;
    type Used = (String, Option<i64>, i64, Option<DateTime<Utc>>);
    let used: Vec<Used> = db
        .all(
            "postgres:pg_roles",
            sqlx::query_as(
                "SELECT r.rolname::text, CASE WHEN r.rolconnlimit >= 0 THEN r.rolconnlimit::bigint END, coalesce(a.sessions, 0), a.active_at \
                 FROM pg_roles r LEFT JOIN (SELECT usesysid, count(*) AS sessions, max(coalesce(state_change, backend_start)) AS active_at \
                                            FROM pg_stat_activity WHERE coalesce(backend_type, 'client backend') = 'client backend' GROUP BY usesysid) a ON a.usesysid = r.oid \
                 WHERE r.rolname = ANY ($1)",
            )
            .bind(roles),
        )
        .await?;
    Ok(Server {
        version,
        connections,
        max_connections,
        locks,
        max_locks,
        bytes,
        databases: databases.into_iter().map(|(name, bytes, connections, limit)| (name, DatabaseUse { bytes, connections, limit })).collect(),
        roles: used.into_iter().map(|(name, limit, connections, active_at)| (name, RoleUse { connections, limit, active_at })).collect(),
    })
}

/// Asks a database about these schemas. `version` is the server's.
///
/// # Errors
/// As the statements' faults.
pub async fn schemas(db: &mut Connection, version: i32, names: &[String]) -> Result<BTreeMap<String, SchemaUse>, Fault> {
    let scanned = if version >= 160_000 {
        "max(greatest(pg_stat_get_lastscan(c.oid), (SELECT max(pg_stat_get_lastscan(i.indexrelid)) FROM pg_index i WHERE i.indrelid = c.oid))) \
         FILTER (WHERE c.relkind IN ('r', 'm') AND c.relname <> 'labctl_migrations')"
    } else {
        "NULL::timestamptz"
    };
    if names.is_empty() {
        return Ok(BTreeMap::new());
    }
    let names: Vec<Literal> = names.iter().map(|name| Literal::new(name)).collect::<Result<_, _>>()?;
    let sql = format!(
        "WITH held AS (SELECT relation FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted AND relation IS NOT NULL \
                       AND database = (SELECT oid FROM pg_database WHERE datname = current_database())), \
         direct AS (SELECT relation FROM held UNION SELECT indrelid FROM pg_index JOIN held ON relation = indexrelid), \
         closed AS (SELECT relation FROM direct UNION SELECT oid FROM pg_class JOIN direct ON relation = reltoastrelid) \
         SELECT n.nspname::text, \
                CASE WHEN bool_or(h.relation IS NOT NULL) THEN NULL \
                     ELSE coalesce(sum(CASE WHEN h.relation IS NULL THEN pg_total_relation_size(c.oid) END), 0)::bigint END, \
                {scanned} \
         FROM pg_namespace n LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relkind IN ('r', 'm', 'S') LEFT JOIN closed h ON h.relation = c.oid \
         WHERE n.nspname = ANY (ARRAY[{names}]) GROUP BY n.nspname",
        names = list(&names),
    );
    type Row = (String, Option<i64>, Option<DateTime<Utc>>);
    let rows: Vec<Row> = db.select("postgres:pg_total_relation_size", sql).await?;
    let ledgers: Vec<&str> = rows.iter().filter(|(_, bytes, _)| bytes.is_some()).map(|(name, ..)| name.as_str()).collect();
    let mut ledgers = own::read(db, &ledgers).await?;
    let at = |(name, bytes, scanned_at): Row| {
        let ledger = ledgers.remove(&name).unwrap_or_default();
        (name, SchemaUse { bytes, scanned_at, versions: last(&ledger.applied), baseline: last(&ledger.baseline) })
    };
    Ok(rows.into_iter().map(at).collect())
}

/// The last version of each folder.
fn last(steps: &[Step]) -> BTreeMap<String, u32> {
    let mut folders = BTreeMap::new();
    for step in steps {
        let version = folders.entry(step.folder.clone()).or_default();
        *version = step.version.max(*version);
    }
    folders
}
