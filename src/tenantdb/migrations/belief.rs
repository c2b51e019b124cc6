//! A migration in one round trip: what is believed of a schema is not looked up first but checked in the transaction itself. Where it does not
//! hold, the server ends the script, nothing has happened, and it is looked.

use super::job::{Job, Ledger, Seen, text};
use super::{Library, Step, central, ledger};
use crate::engine::fault::Fault;
use crate::tenantdb::connect::Connection;
use crate::tenantdb::quote::{Ident, Literal};

/// The schema's lock (`$1`) is ours; role (`$2`), ledger (`$3`) and schema (`$4`) are there; the ledger is a plain table and belongs to this address (`$5`) of
/// this registry (`$6`), as its comment says in just these words; the schema has no guards, and the role was not granted to us.
/// Looked up by OID, since joining by name costs twice as much; `pg_has_role` would walk through all memberships. (The text that cannot be a number is made of who is
/// asking: a constant one would be found at once.)
const READY: &str = "(text, regrole, regclass, regnamespace, text, text) AS SELECT CASE WHEN \
     pg_try_advisory_xact_lock(hashtext('labctl:migrate'), hashtext($1)) \
     AND (SELECT relkind = 'r' AND NOT relrowsecurity FROM pg_class WHERE oid = $3) \
     AND (SELECT count(*) FILTER (WHERE classoid = 'pg_class'::regclass AND strpos(description, $5) > 0 AND strpos(description, $6) > 0) = 1 \
          AND count(*) FILTER (WHERE classoid = 'pg_namespace'::regclass AND strpos(description, '\"row_security\":') > 0) = 0 \
          FROM pg_description WHERE objoid IN ($3, $4) AND objsubid = 0) \
     AND NOT EXISTS (SELECT FROM pg_auth_members WHERE roleid = $2 AND member = to_regrole(quote_ident(current_user))) THEN 0 \
     ELSE concat('labctl: look closer, ', current_user)::integer END";

/// Stands in the error by which the server ends a script that finds it otherwise.
const OTHERWISE: &str = "labctl: look closer";

/// Whether a fault may come of what was believed. The codes: something that must be there is not, or is not ours to use; should it be the file that says so, it says it again when it was looked.
pub(super) fn in_doubt(fault: &Fault) -> bool {
    fault.message.contains(OTHERWISE) || matches!(fault.code.as_str(), "3F000" | "42501" | "42704" | "42883" | "42P01")
}

/// What would be seen if it holds; none where the next file does not run in a transaction, or nothing is pending: then it is looked in fact.
pub(super) async fn seen(db: &mut Connection, job: &Job<'_>, applied: &[Step], library: &Library) -> Result<Option<Seen>, Fault> {
    let (Ledger::Of { address, registry }, None) = (job.ledger, job.shared) else { return Ok(None) };
    match ledger::pending(applied, job.wanted, job.to).ok().and_then(|todo| todo.first().copied()) {
        Some(step) if text(library, step)?.concurrent.is_none() => {}
        _ => return Ok(None),
    }
    db.prepare("labctl_ready", READY).await?;
    central::prepare(db).await?;
    let tag = |key: &str, value: &str| Literal::new(serde_json::json!({ key: value }).to_string().trim_matches(['{', '}']));
    let opening = format!(
        "BEGIN; SET LOCAL lock_timeout = {}; SET LOCAL statement_timeout = '10min'; EXECUTE labctl_ready ({}, {}, {}, {}, {}, {})",
        job.lock_timeout.as_millis(),
        Literal::new(job.schema.name())?,
        Literal::new(&job.role.to_string())?,
        Literal::new(&format!("{}.{}", job.schema, ledger::TABLE))?,
        Literal::new(&job.schema.to_string())?,
        tag("labctl:address", address)?,
        tag("labctl:registry", registry)?
    );
    Ok(Some(Seen {
        opening: Some(opening),
        transaction: String::new(),
        member: false,
        left: false,
        guard: None,
        applied: applied.to_vec(),
        make: None,
        runner: true,
        heirs: None,
    }))
}

/// An expression for this position, which fails unless the ledger says just this. It stands in the statement that writes the ledger's next row, and is
/// evaluated as the migration role: whatever that has made of its ledger meanwhile runs with its own rights.
pub(super) fn position(schema: &Ident, applied: &[Step]) -> Result<String, Fault> {
    let lines: Vec<String> = applied.iter().map(|s| format!("{} {} {} {}", s.folder, s.version, s.name, s.checksum)).collect();
    Ok(format!(
        "(SELECT CASE WHEN coalesce(pg_catalog.string_agg(pg_catalog.concat_ws(' ', folder, version, name, checksum), E'\\n' ORDER BY position), '') \
         OPERATOR(pg_catalog.=) {} THEN {} ELSE pg_catalog.concat('{OTHERWISE}', current_user)::integer END FROM {schema}.{})",
        Literal::new(&lines.join("\n"))?,
        applied.len() + 1,
        ledger::TABLE
    ))
}
