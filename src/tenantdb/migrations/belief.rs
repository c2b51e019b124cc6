//! A migration in one round trip: what is believed of a schema is not looked up first but checked in the transaction itself, before the file is
//! run. Where it does not hold, the server ends the script, nothing has happened, and it is looked.

use super::job::{Job, Ledger, Seen, text};
use super::{Library, Step, ledger};
use crate::engine::fault::Fault;
use crate::tenantdb::connect::Connection;
use crate::tenantdb::quote::Literal;

/// The schema's lock is ours; role, schema, ledger and central ledger are there; the ledger is a plain table and belongs to this address (`$3`) of
/// this registry (`$4`), as its comment says in just these words; the schema has no guards, and we are no member of the role. The
/// transaction's number is kept for its end. (The text that cannot be a number is made of a column: a constant one would be found at once.)
const READY: &str = "(name, name, text, text) AS SELECT CASE WHEN pg_try_advisory_xact_lock(hashtext('labctl:migrate'), hashtext($1::text)) \
     AND c.relkind = 'r' AND NOT c.relrowsecurity AND strpos(cd.description, $3) > 0 AND strpos(cd.description, $4) > 0 \
     AND strpos(coalesce(nd.description, ''), '\"row_security\":') = 0 AND to_regclass('labctl_ledger.schemas') IS NOT NULL \
     AND NOT pg_has_role(current_user, r.oid, 'MEMBER') THEN set_config('labctl.transaction', pg_current_xact_id()::text, true) \
     ELSE concat('labctl: look closer at ', r.oid)::integer::text END \
     FROM pg_roles r LEFT JOIN pg_namespace n ON n.nspname = $1 LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = 'labctl_migrations' \
     LEFT JOIN pg_description nd ON nd.objoid = n.oid AND nd.classoid = 'pg_namespace'::regclass AND nd.objsubid = 0 \
     LEFT JOIN pg_description cd ON cd.objoid = c.oid AND cd.classoid = 'pg_class'::regclass AND cd.objsubid = 0 WHERE r.rolname = $2";

/// Stands in the error by which the server ends a script that finds it otherwise.
const OTHERWISE: &str = "labctl: look closer";

/// Whether a fault may come of what was believed. 26000: a migration took all prepared statements away. The others but the first: something that
/// must be there is not, or is not ours to use; should it be the file that says so, it says it again when it was looked.
pub(super) fn in_doubt(fault: &Fault) -> bool {
    fault.message.contains(OTHERWISE) || matches!(fault.code.as_str(), "26000" | "3F000" | "42501" | "42704" | "42P01")
}

/// What would be seen if it holds; none where the next file does not run in a transaction, or nothing is pending: then it is looked in fact.
pub(super) async fn seen(db: &mut Connection, job: &Job<'_>, applied: &[Step], library: &Library) -> Result<Option<Seen>, Fault> {
    let (Ledger::Of { address, registry }, None) = (job.ledger, job.shared) else { return Ok(None) };
    match ledger::pending(applied, job.wanted, job.to).ok().and_then(|todo| todo.first().copied()) {
        Some(step) if text(library, step)?.concurrent.is_none() => {}
        _ => return Ok(None),
    }
    db.prepare("labctl_ready", READY).await?;
    let tag = |key: &str, value: &str| Literal::new(serde_json::json!({ key: value }).to_string().trim_matches(['{', '}']));
    let opening = format!(
        "BEGIN; SET LOCAL lock_timeout = {}; SET LOCAL statement_timeout = '10min'; EXECUTE labctl_ready ({}, {}, {}, {})",
        job.lock_timeout.as_millis(),
        Literal::new(job.schema.name())?,
        Literal::new(job.role.name())?,
        tag("labctl:address", address)?,
        tag("labctl:registry", registry)?
    );
    let transaction = "pg_catalog.current_setting('labctl.transaction', true)".to_owned();
    Ok(Some(Seen { opening: Some(opening), transaction, member: false, guard: None, applied: applied.to_vec(), make: None }))
}

/// A statement that fails unless the ledger says just this. It is run as the migration role: whatever that has made of its ledger meanwhile runs
/// with its own rights.
pub(super) fn check(job: &Job<'_>, applied: &[Step]) -> Result<String, Fault> {
    let lines: Vec<String> = applied.iter().map(|s| format!("{} {} {} {}", s.folder, s.version, s.name, s.checksum)).collect();
    Ok(format!(
        "SELECT CASE WHEN pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(coalesce(pg_catalog.string_agg(\
         pg_catalog.concat_ws(' ', folder, version, name, checksum), E'\\n' ORDER BY position), ''), 'UTF8')), 'hex') OPERATOR(pg_catalog.=) {} \
         THEN 0 ELSE pg_catalog.concat('{OTHERWISE}', current_user)::integer END FROM {}.{};\n",
        Literal::new(&super::checksum(lines.join("\n").as_bytes()))?,
        job.schema,
        ledger::TABLE
    ))
}
