//! Applies what is pending to one schema, as its migration role: change, ledger and central ledger in one transaction.
//!
//! The usual case takes five round trips: lock; look; read; the file, and whether it kept to its transaction; the ledgers and the commit.
//! Two that migrate one schema never wait for each other (whoever waits holds up every `CREATE INDEX CONCURRENTLY` of the database): the
//! second is told to come again. The lock is the schema's own and the transaction's: it cannot be left behind, and neighbours do not queue.
//!
//! A file without a transaction is one index statement. It runs by itself, is looked at, and recorded after: cut off anywhere, what is
//! left of it (an INVALID index, or a finished one not yet on record) is dropped and made again.

use std::time::Duration;

use super::ledger::{self, To, short};
use super::{Concurrent, Library, Step, central};
use crate::engine::fault::{Class, Fault, Left};
use crate::tenantdb::comment;
use crate::tenantdb::connect::{Connection, Rows};
use crate::tenantdb::quote::{Ident, Literal};

const CALL: &str = "postgres:migrate";

/// How long a statement waits for a lock: as long, all who come after it wait behind it.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an index made concurrently waits for transactions that began before it. Nobody waits behind it.
const CONCURRENT_TIMEOUT: Duration = Duration::from_secs(300);

/// Whether the schema's ledger must be there.
#[derive(Debug, Clone, Copy)]
pub enum Ledger<'a> {
    /// It is made where there is none, with this comment.
    Make {
        /// Whose it is, as [`comment::write`] has it.
        comment: &'a str,
    },
    /// It must be there, and be this owner's.
    Of {
        /// The address of the tenant's schema version.
        address: &'a str,
        /// The registry's id.
        registry: &'a str,
    },
}

/// What is to be applied where.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// The schema.
    pub schema: &'a Ident,
    /// The migration role.
    pub role: &'a Ident,
    /// Whose schema it is, for the central ledger.
    pub tenant: &'a str,
    /// The stack's history for this tenant, in order.
    pub wanted: &'a [Step],
    /// How far to go.
    pub to: &'a To,
    /// Whether the schema's ledger must be there.
    pub ledger: Ledger<'a>,
    /// How long a statement waits for a lock.
    pub lock_timeout: Duration,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// What was applied before.
    pub before: Vec<Step>,
    /// What is applied now.
    pub after: Vec<Step>,
}

/// What one transaction came to.
enum Turn {
    /// Everything is applied.
    Done(Vec<Step>),
    /// All before this one is; it runs outside a transaction.
    Alone(Step),
}

/// What is known of the schema at the start of a transaction.
struct Seen {
    transaction: String,
    member: bool,
    oid: u32,
    applied: Vec<Step>,
}

/// Applies what is pending, all of it and the ledgers in one transaction, as the migration role. Files without a transaction come alone,
/// between transactions. Nothing is pending: only the central ledger is set right.
///
/// # Errors
/// Refused when history cannot be continued ([`ledger::pending`]), a text is not in the library, or a statement is refused; busy when a lock
/// was not to be had in time. What the transaction held is undone then. Unknown when the connection broke at the commit.
pub async fn migrate(db: &mut Connection, job: &Job<'_>, library: &Library) -> Result<Done, Fault> {
    let mut before = None;
    loop {
        match turn(db, job, library, &mut before).await {
            Ok(Turn::Done(after)) => return Ok(Done { before: before.unwrap_or_default(), after }),
            Ok(Turn::Alone(step)) => {
                // Its session is changed, whatever becomes of it.
                db.retire();
                alone(db, job, &step, library).await?;
            }
            Err(fault) if fault.code == NO_CENTRAL => central::open(db).await?,
            Err(fault) => return Err(fault),
        }
    }
}

/// Our own code: the central ledger is not there yet.
const NO_CENTRAL: &str = "no_central_ledger";

async fn turn(db: &mut Connection, job: &Job<'_>, library: &Library, before: &mut Option<Vec<Step>>) -> Result<Turn, Fault> {
    let seen = begin(db, job).await?;
    before.get_or_insert_with(|| seen.applied.clone());
    let todo = ledger::pending(&seen.applied, job.wanted, job.to).map_err(|wrong| Fault::refused(CALL, "history", wrong))?;
    let mut entries = Entries::after(job, &seen);
    let mut role = if seen.member { String::new() } else { format!("GRANT {} TO CURRENT_USER; ", job.role) };
    role.push_str(&format!("SET LOCAL ROLE {}; SET LOCAL search_path = {}; ", job.role, job.schema));
    let mut next = None;
    for step in todo {
        let file = text(library, step)?;
        if file.concurrent.is_some() {
            next = Some(step.clone());
            break;
        }
        // A last line may be a comment.
        let script = format!("{}{}\n;SELECT pg_current_xact_id()::text, current_user::text", std::mem::take(&mut role), file.sql);
        let kept = db.script(CALL, script).await.map_err(|fault| named(step, fault))?;
        // Files with COMMIT or SET ROLE are refused when they are read; what a procedure may do cannot be seen there.
        if last(&kept) != Some(&[Some(seen.transaction.clone()), Some(job.role.name().to_owned())]) {
            return Err(Fault::unknown(CALL, "left_transaction", format!("{step} ended the transaction or changed the role it ran in")));
        }
        entries.add(step)?;
    }
    let changed = entries.applied.len() > seen.applied.len();
    let mut end = String::new();
    if changed {
        end = format!("{}; RESET ROLE; ", entries.sql);
        if !seen.member {
            end.push_str(&format!("REVOKE {} FROM CURRENT_USER; ", job.role));
        }
    }
    if !changed && next.is_some() {
        db.script("postgres:ROLLBACK", "ROLLBACK".to_owned()).await?;
    } else {
        end.push_str(&central::write(job.schema, seen.oid, job.tenant, &entries.applied)?);
        failpoint!("migration.before_commit", job.tenant);
        db.script(CALL, format!("{end}; COMMIT")).await?;
        failpoint!("migration.committed", job.tenant);
    }
    db.in_transaction(false);
    Ok(next.map_or(Turn::Done(entries.applied), Turn::Alone))
}

/// Transaction, schema, whether there is a ledger and whose, whether there is a central one, whether the ledger is a plain table, and whether
/// we are a member of the role.
type Looked = (String, Option<i64>, bool, Option<String>, bool, bool, bool);

/// Opens the transaction, takes the schema's lock, and looks. Makes the ledger where that is what is asked for.
async fn begin(db: &mut Connection, job: &Job<'_>) -> Result<Seen, Fault> {
    let name = Literal::new(job.schema.name())?;
    let open = format!(
        "BEGIN; SET LOCAL lock_timeout = {}; SET LOCAL statement_timeout = '10min'; \
         SELECT pg_try_advisory_xact_lock(hashtext('labctl:migrate'), hashtext({name}))::text",
        job.lock_timeout.as_millis()
    );
    db.in_transaction(true);
    let answers = db.script("postgres:pg_try_advisory_xact_lock", open).await?;
    if answers.get(3).and_then(|rows| rows.first()).map(Vec::as_slice) != Some(&[Some("true".to_owned())]) {
        return Err(Fault::busy(CALL, "55P03", format!("another session is migrating the schema {}", job.schema)));
    }
    // The same text for every schema, so that the server plans it once per connection.
    let look = "SELECT pg_current_xact_id()::text, n.oid::bigint, c.oid IS NOT NULL, obj_description(c.oid, 'pg_class'), to_regclass($3) IS NOT NULL, \
         coalesce(c.relkind = 'r' AND NOT c.relrowsecurity, true), pg_has_role(current_user, r.oid, 'USAGE') AND CASE WHEN current_setting('server_version_num')::int >= 160000 \
         THEN pg_has_role(current_user, r.oid, 'SET') ELSE true END \
         FROM pg_roles r LEFT JOIN pg_namespace n ON n.nspname = $1 LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = $4 WHERE r.rolname = $2";
    let look = sqlx::query_as(look).bind(job.schema.name()).bind(job.role.name()).bind(central::TABLE).bind(ledger::TABLE);
    let Some((transaction, oid, has_ledger, owner, central, plain, member)) = db.optional::<Looked>("postgres:pg_class", look).await? else {
        return Err(Fault::refused(CALL, "42704", format!("the migration role {} does not exist", job.role)));
    };
    let Some(oid) = oid.and_then(|oid| u32::try_from(oid).ok()) else {
        return Err(Fault::refused(CALL, "3F000", format!("the schema {} does not exist", job.schema)).hint("`labctl tenant apply ID` makes it again"));
    };
    if !central {
        // Opened in a transaction of its own; ours begins anew.
        db.script("postgres:ROLLBACK", "ROLLBACK".to_owned()).await?;
        db.in_transaction(false);
        return Err(Fault::busy(CALL, NO_CENTRAL, "the central ledger is not there yet"));
    }
    if !plain {
        // Reading a view or a policy's table would run its owner's functions with the administrator's rights.
        return Err(Fault::refused(CALL, "not_a_ledger", format!("{}.{} is not a plain table, and is not read", job.schema, ledger::TABLE)));
    }
    let read = format!("SELECT folder, version, name, checksum FROM {}.{} ORDER BY position", job.schema, ledger::TABLE);
    let mut seen = Seen { transaction, member, oid, applied: Vec::new() };
    match job.ledger {
        Ledger::Of { .. } if !has_ledger => {
            return Err(Fault::refused(CALL, "42P01", format!("the schema {} has no ledger", job.schema))
                .hint(format!("`labctl tenant apply {}` looks at all the tenant has, and makes what is missing", job.tenant)));
        }
        Ledger::Of { address, registry } => {
            let tags = comment::read(owner.as_deref());
            let is = |key: &str, value: &str| tags.get(key).is_some_and(|v| v == value);
            if !is("labctl:address", address) || !is("labctl:registry", registry) {
                let whose = tags.get("labctl:address").map_or("nobody known", String::as_str);
                return Err(Fault::refused(CALL, "foreign", format!("the ledger in {} belongs to {whose}, not to {address} of this registry", job.schema)));
            }
        }
        Ledger::Make { comment } if !has_ledger => make(db, job, &mut seen, comment).await?,
        Ledger::Make { .. } => {}
    }
    seen.applied = steps(db.script("postgres:labctl_migrations", read).await?.first());
    Ok(seen)
}

async fn make(db: &mut Connection, job: &Job<'_>, seen: &mut Seen, comment: &str) -> Result<(), Fault> {
    let grant = if seen.member { String::new() } else { format!("GRANT {} TO CURRENT_USER; ", job.role) };
    db.execute("postgres:SET", format!("{grant}SET LOCAL ROLE {}; SET LOCAL search_path = {}", job.role, job.schema)).await?;
    ledger::open(db, job.schema, comment).await?;
    let revoke = if seen.member { String::new() } else { format!("; REVOKE {} FROM CURRENT_USER", job.role) };
    db.execute("postgres:RESET ROLE", format!("RESET ROLE{revoke}")).await
}

fn named(step: &Step, mut fault: Fault) -> Fault {
    fault.message = format!("{step}: {}", fault.message);
    if fault.class == Class::Refused {
        fault.hint.get_or_insert_with(|| "mend the file or the data it stumbles over; nothing of it, nor of the others pending, was applied".to_owned());
    }
    fault
}

fn text<'l>(library: &'l Library, step: &Step) -> Result<&'l super::File, Fault> {
    library
        .file(&step.checksum)
        .ok_or_else(|| Fault::refused(CALL, "no_text", format!("the text of {step} ({}) is not among this stack's migrations", short(&step.checksum))))
}

/// The last row of the last statement.
fn last(answers: &[Rows]) -> Option<&[Option<String>]> {
    answers.last().and_then(|rows| rows.last()).map(Vec::as_slice)
}

fn steps(rows: Option<&Rows>) -> Vec<Step> {
    let mut found = Vec::new();
    for row in rows.into_iter().flatten() {
        if let [Some(folder), Some(version), Some(name), Some(checksum)] = row.as_slice() {
            let version = version.parse().unwrap_or(u32::MAX);
            found.push(Step { folder: folder.clone(), version, name: name.clone(), checksum: checksum.clone() });
        }
    }
    found
}

/// What the schema's ledger is to say, and the statement that makes it say so.
struct Entries {
    table: String,
    sql: String,
    applied: Vec<Step>,
}

impl Entries {
    fn after(job: &Job<'_>, seen: &Seen) -> Self {
        Self { table: format!("{}.{}", job.schema, ledger::TABLE), sql: String::new(), applied: seen.applied.clone() }
    }

    fn add(&mut self, step: &Step) -> Result<(), Fault> {
        let (folder, name, checksum) = (Literal::new(&step.folder)?, Literal::new(&step.name)?, Literal::new(&step.checksum)?);
        let table = &self.table;
        let between = if self.sql.is_empty() { "" } else { "; " };
        self.sql.push_str(&format!(
            "{between}INSERT INTO {table} (position, folder, version, name, checksum) \
             SELECT coalesce(max(position), 0) + 1, {folder}, {}, {name}, {checksum} FROM {table}",
            step.version
        ));
        self.applied.push(step.clone());
        Ok(())
    }
}

/// Runs a file without a transaction, and records it. The administrator is a member of the migration role meanwhile, and is no more when it
/// is recorded; cut off in between, the run that records it sees to that.
async fn alone(db: &mut Connection, job: &Job<'_>, step: &Step, library: &Library) -> Result<(), Fault> {
    let file = text(library, step)?;
    let (index, makes) = match &file.concurrent {
        Some(Concurrent::Create(index)) => (index, true),
        Some(Concurrent::Drop(index)) => (index, false),
        None => return Err(Fault::refused(CALL, "transaction", format!("{step} runs in a transaction"))),
    };
    let role = job.role;
    let lock = format!("SELECT pg_try_advisory_lock(hashtext('labctl:migrate'), hashtext({}))::text", Literal::new(job.schema.name())?);
    let session = format!("SET search_path = {}; SET lock_timeout = {}; SET statement_timeout = 0", job.schema, CONCURRENT_TIMEOUT.as_millis());
    let answers = db.script(CALL, format!("{lock}; GRANT {role} TO CURRENT_USER; SET ROLE {role}; {session}")).await?;
    if answers.first().and_then(|rows| rows.first()).map(Vec::as_slice) != Some(&[Some("true".to_owned())]) {
        db.script(CALL, format!("RESET ROLE; REVOKE {role} FROM CURRENT_USER")).await?;
        return Err(Fault::busy(CALL, "55P03", format!("another session is migrating the schema {}", job.schema)));
    }
    if makes && state(db, job, index).await?.is_some() {
        db.execute("postgres:DROP INDEX CONCURRENTLY", format!("DROP INDEX CONCURRENTLY {}.{}", job.schema, Ident::new(index)?))
            .await
            .map_err(|fault| named(step, fault))?;
    }
    db.execute(CALL, file.sql.clone()).await.map_err(|fault| {
        let mut fault = named(step, fault);
        if makes {
            fault.left = Left::Made(format!("the INVALID index {}.{index}, perhaps, which the next run drops and makes again", job.schema));
        }
        fault
    })?;
    failpoint!("migration.index_made", job.tenant);
    let there = state(db, job, index).await?;
    if there != makes.then_some(true) {
        return Err(Fault::refused(CALL, "invalid_index", format!("{step}: the index {index} is not {}", if makes { "valid" } else { "gone" })));
    }
    // Membership ends in the transaction that records.
    db.execute("postgres:RESET ROLE", "RESET ROLE".to_owned()).await?;
    let mut seen = begin(db, job).await?;
    seen.member = false;
    let mut entries = Entries::after(job, &seen);
    if !seen.applied.iter().any(|a| a.folder == step.folder && a.version == step.version) {
        entries.add(step)?;
    }
    let central = central::write(job.schema, seen.oid, job.tenant, &entries.applied)?;
    let insert = if entries.sql.is_empty() { String::new() } else { format!("SET LOCAL ROLE {role}; {}; RESET ROLE; ", entries.sql) };
    let unlock = lock.replace("pg_try_advisory_lock", "pg_advisory_unlock");
    db.script(CALL, format!("{insert}REVOKE {role} FROM CURRENT_USER; {central}; COMMIT; {unlock}")).await?;
    failpoint!("migration.index_recorded", job.tenant);
    db.in_transaction(false);
    Ok(())
}

/// Whether the schema's index of that name is valid; none where there is no such index.
async fn state(db: &mut Connection, job: &Job<'_>, index: &str) -> Result<Option<bool>, Fault> {
    let query = "SELECT i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
                 WHERE n.nspname = $1 AND c.relname = $2";
    let row: Option<(bool,)> = db.optional("postgres:pg_index", sqlx::query_as(query).bind(job.schema.name()).bind(index)).await?;
    Ok(row.map(|(valid,)| valid))
}
