//! Schemas' own ledgers, read with none of their owners' code.
//!
//! A ledger is never queried: planning a query evaluates what is constant in the predicates of a table's indexes, with the rights of whoever asks, and a
//! view or a policy may take its place between a look and the query. It is locked, so that it stays what it is; looked at; and
//! copied, which plans nothing and calls the columns' output functions only, which are PostgreSQL's.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use serde::Deserialize;
use sqlx::types::chrono::{DateTime, Utc};

use super::{Step, ledger};
use crate::engine::fault::{Class, Fault};
use crate::tenantdb::connect::Connection;
use crate::tenantdb::quote::{Ident, Literal, list};

const CALL: &str = "postgres:labctl_migrations";
/// Ledgers read in one transaction: each takes a place in the lock table until it has ended.
const AT_ONCE: usize = 200;
/// How long one ledger is waited for.
const WAIT: Duration = Duration::from_secs(5);
/// How long one of many is: nobody holds up the others.
const NO_WAIT: Duration = Duration::from_millis(200);
/// A ledger with more bytes than this is none that labctl wrote: some ten thousand files.
const LARGEST: usize = 4 << 20;

/// A ledger as it is.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Its comment.
    pub comment: Option<String>,
    /// What was applied, in that order.
    pub applied: Vec<Step>,
    /// Those of them that were recorded and not run, because the schema held their work before.
    pub baseline: Vec<Step>,
    /// When the last was applied.
    pub last_at: Option<DateTime<Utc>>,
}

/// A schema's ledger; `None` where it has none. A view of that name, or a table with policies, is none.
///
/// # Errors
/// Refused when labctl may not read it, or it says what no ledger says; else as the statements' faults.
pub async fn find(db: &mut Connection, schema: &Ident) -> Result<Option<Found>, Fault> {
    let there =
        sqlx::query_as("SELECT true FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind = 'r'");
    let there: Option<(bool,)> = db.optional("postgres:pg_class", there.bind(schema.name()).bind(ledger::TABLE)).await?;
    if there.is_none() {
        return Ok(None);
    }
    match in_transaction(db, &[schema.name()], WAIT).await {
        // Gone since.
        Err(fault) if matches!(fault.code.as_str(), "42P01" | "3F000") => Ok(None),
        found => Ok(found?.remove(schema.name())),
    }
}

/// The ledgers of these schemas of this connection's database. One that is missing, is no plain table, is held exclusively or cannot be read is not in the
/// answer: it is opened and looked at, and tells why.
///
/// # Errors
/// As the statements' faults, but for those of a single ledger.
pub async fn read(db: &mut Connection, schemas: &[&str]) -> Result<BTreeMap<String, Found>, Fault> {
    let free = sqlx::query_as(
        "SELECT n.nspname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = ANY ($1) AND c.relname = $2 AND c.relkind = 'r' AND NOT EXISTS (SELECT FROM pg_locks l \
         WHERE l.relation = c.oid AND l.mode = 'AccessExclusiveLock' AND l.granted AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()))",
    );
    let free: Vec<(String,)> = db.all("postgres:pg_class", free.bind(schemas).bind(ledger::TABLE)).await?;
    let names: Vec<&str> = free.iter().map(|(name,)| name.as_str()).collect();
    let mut found = BTreeMap::new();
    for some in names.chunks(AT_ONCE) {
        match in_transaction(db, some, NO_WAIT).await {
            Ok(read) => found.extend(read),
            Err(fault) if fault.class == Class::Unknown || db.is_closed() => return Err(fault),
            // One of them is in the way of all, and that is its own matter.
            Err(_) => {
                for one in some.chunks(1) {
                    match in_transaction(db, one, NO_WAIT).await {
                        Ok(read) => found.extend(read),
                        Err(fault) if fault.class == Class::Unknown || db.is_closed() => return Err(fault),
                        Err(_) => {}
                    }
                }
            }
        }
    }
    Ok(found)
}

async fn in_transaction(db: &mut Connection, schemas: &[&str], wait: Duration) -> Result<BTreeMap<String, Found>, Fault> {
    db.begin().await?;
    db.execute("postgres:SET", format!("SET LOCAL lock_timeout = {}", wait.as_millis())).await?;
    let found = held(db, schemas).await;
    let ended = db.rollback().await;
    found.and_then(|found| ended.map(|()| found))
}

/// The same within the caller's transaction, which holds them until it ends. Those that are no plain tables are not in the answer.
///
/// # Errors
/// As [`find`]; also when there is nothing of a ledger's name in one of them.
pub(super) async fn held(db: &mut Connection, schemas: &[&str]) -> Result<BTreeMap<String, Found>, Fault> {
    let names: Vec<Ident> = schemas.iter().map(|name| Ident::new(name)).collect::<Result<_, _>>()?;
    let texts: Vec<Literal> = schemas.iter().map(|name| Literal::new(name)).collect::<Result<_, _>>()?;
    if names.is_empty() {
        return Ok(BTreeMap::new());
    }
    let tables = names.iter().map(|name| format!("ONLY {name}.{}", ledger::TABLE));
    // Whoever would make something else of them waits from here on.
    let script = format!(
        "LOCK TABLE {} IN ACCESS SHARE MODE; \
         SELECT n.nspname, has_table_privilege(c.oid, 'SELECT'), pg_relation_size(c.oid) > {LARGEST} OR coalesce(pg_relation_size(nullif(c.reltoastrelid, 0)), 0) > 0, \
         6 = (SELECT count(*) FROM pg_attribute a WHERE a.attrelid = c.oid AND NOT a.attisdropped AND a.attgenerated = '' AND (a.attname, a.atttypid) IN \
         (('position', 'int4'::regtype), ('folder', 'text'::regtype), ('version', 'int4'::regtype), ('name', 'text'::regtype), ('checksum', 'text'::regtype), ('applied_at', 'timestamptz'::regtype))), \
         (SELECT description FROM pg_description WHERE objoid = c.oid AND classoid = 'pg_class'::regclass AND objsubid = 0), \
         EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'baseline' AND a.atttypid = 'bool'::regtype AND a.attgenerated = '' AND NOT a.attisdropped) \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = ANY (ARRAY[{}]::name[]) AND c.relname = {} AND c.relkind = 'r' AND NOT c.relrowsecurity",
        list(tables),
        list(&texts),
        Literal::new(ledger::TABLE)?
    );
    let answers = db.script(CALL, script).await?;
    let mut found = BTreeMap::new();
    for row in answers.into_iter().nth(1).unwrap_or_default() {
        let [Some(name), may, large, shaped, comment, marks] = row.as_slice() else { continue };
        let (schema, holds) = (Ident::new(name)?, |value: &Option<String>| value.as_deref() == Some("t"));
        if !holds(may) {
            return Err(Fault::refused(CALL, "42501", format!("labctl may not read {schema}.{}", ledger::TABLE)));
        }
        if !holds(shaped) {
            return Err(no_ledger(&schema, "its columns are others"));
        }
        if holds(large) {
            return Err(no_ledger(&schema, TOO_LARGE));
        }
        // A ledger made by an older labctl has no column `baseline`.
        let marks = if holds(marks) { ", baseline" } else { "" };
        let sql = format!("COPY {schema}.{} (position, folder, version, name, checksum, applied_at{marks}) TO STDOUT (FORMAT csv)", ledger::TABLE);
        let Some(text) = copy(db, &sql).await? else { return Err(no_ledger(&schema, TOO_LARGE)) };
        let rows = rows(&text).map_err(|wrong| no_ledger(&schema, wrong))?;
        found.insert(name.clone(), with(comment.clone(), &rows));
    }
    Ok(found)
}

const TOO_LARGE: &str = "it has more in it than files would bring";

fn no_ledger(schema: &Ident, wrong: impl Display) -> Fault {
    Fault::refused(CALL, "not_a_ledger", format!("{schema}.{} is not as labctl makes a ledger: {wrong}", ledger::TABLE))
}

/// What a `COPY … TO STDOUT` answers; none where that is too large. The connection is closed when it fails: sqlx leaves it in the middle of the answer.
async fn copy(db: &mut Connection, sql: &str) -> Result<Option<Vec<u8>>, Fault> {
    let link = db.link(CALL)?;
    let read = async {
        let (mut all, mut size, mut parts) = (Vec::new(), 0, link.copy_out_raw(sql).await?);
        while let Some(part) = parts.try_next().await? {
            size += part.len();
            // What is compressed in the table is not here. The answer is read to its end.
            if size <= LARGEST {
                all.extend_from_slice(&part);
            }
        }
        Ok((size <= LARGEST).then_some(all))
    };
    let done = read.await;
    if done.is_err() {
        db.close();
    }
    db.ended(CALL, done)
}

/// A row as `COPY` writes it.
#[derive(Deserialize)]
struct Row {
    position: i64,
    folder: String,
    version: u32,
    name: String,
    checksum: String,
    applied_at: String,
    /// `t` or `f`.
    #[serde(default)]
    baseline: Option<String>,
}

/// The rows in their order.
fn rows(text: &[u8]) -> Result<Vec<Row>, csv::Error> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text);
    let mut rows: Vec<Row> = reader.deserialize().collect::<Result<_, _>>()?;
    rows.sort_by_key(|row| row.position);
    Ok(rows)
}

fn with(comment: Option<String>, rows: &[Row]) -> Found {
    let step = |row: &Row| Step { folder: row.folder.clone(), version: row.version, name: row.name.clone(), checksum: row.checksum.clone() };
    // As every session of ours has it: UTC, ISO.
    let at = |row: &Row| DateTime::parse_from_str(&row.applied_at, "%Y-%m-%d %H:%M:%S%.f%#z").ok().map(|at| at.to_utc());
    Found {
        comment,
        applied: rows.iter().map(step).collect(),
        baseline: rows.iter().filter(|row| row.baseline.as_deref() == Some("t")).map(step).collect(),
        last_at: rows.last().and_then(at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_in_their_order_with_and_without_the_mark_of_a_baseline() {
        let sum = "0".repeat(64);
        let read = |text: &str| with(None, &rows(text.as_bytes()).unwrap());
        let found = read(&format!("2,tenant,2,\"a,\"\"b\"\"\nc\",{sum},2026-11-22 08:00:00.25+00,f\n1,tenant,1,x,{sum},2026-11-21 08:00:00+00,t\n"));
        assert_eq!(found.applied.iter().map(|s| (s.version, s.name.as_str())).collect::<Vec<_>>(), [(1, "x"), (2, "a,\"b\"\nc")]);
        assert_eq!(found.baseline, found.applied[..1]);
        assert_eq!(found.last_at.unwrap().to_rfc3339(), "2026-11-22T08:00:00.250+00:00");
        let old = read(&format!("1,tenant,1,x,{sum},infinity\n"));
        assert_eq!((old.applied.len(), old.baseline.len(), old.last_at), (1, 0, None));
        assert_eq!(read("").applied, []);
    }

    #[test]
    fn what_no_ledger_says_is_an_error_and_not_a_version() {
        for text in ["1,tenant,-1,x,0,now\n", "1,tenant,,x,0,now\n", "one,tenant,1,x,0,now\n", "1,tenant,1\n"] {
            assert!(rows(text.as_bytes()).is_err(), "{text}");
        }
    }
}
