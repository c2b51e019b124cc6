//! Applies what is pending to one schema, as its migration role: change, ledger and central ledger in one transaction.
//!
//! Where it is known what was applied, the usual case takes one round trip, in which all that is believed is checked: before the file is run, whose
//! the schema is, and that nobody else is at it; by the statement that writes the ledger, that it says what was believed. Where that does not hold,
//! nothing has happened, and it takes two: lock, look and read; the files, the ledgers and the commit. The server answers after each file, so that the one that fails can be named.
//! Two that migrate one schema never wait for each other (whoever waits holds up every `CREATE INDEX CONCURRENTLY` of the database): the
//! second is told to come again. The lock is the schema's own and the transaction's: it cannot be left behind, and neighbours do not queue.
//!
//! A file without a transaction is one index statement. It runs by itself, is looked at, and recorded after: cut off anywhere, what is
//! left of it (an INVALID index, or a finished one not yet on record) is dropped and made again.

use std::sync::LazyLock;
use std::time::Duration;

use super::job::{CALL, Seen, text};
pub use super::job::{Job, Ledger, Sealed};
use super::ledger;
use super::{Concurrent, Library, Step, baseline, belief, central, own, runner};
use crate::engine::fault::{Class, Fault, Left};
use crate::tenantdb::comment;
use crate::tenantdb::connect::{Connection, Told};
use crate::tenantdb::membership::borrow;
use crate::tenantdb::quote::{Ident, Literal};
use crate::tenantdb::row_security::Guard;

/// How long a statement waits for a lock: as long, all who come after it wait behind it.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an index made concurrently waits for transactions that began before it. Nobody waits behind it.
const CONCURRENT_TIMEOUT: Duration = Duration::from_secs(300);

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

/// Applies what is pending, all of it and the ledgers in one transaction, as the migration role. Files without a transaction come alone,
/// between transactions. Nothing is pending: only the central ledger is set right.
///
/// # Errors
/// Refused when history cannot be continued ([`ledger::pending`]), a text is not in the library, or a statement is refused; busy when a lock
/// was not to be had in time. What the transaction held is undone then. Unknown when the connection broke at the commit.
pub async fn migrate(db: &mut Connection, job: &Job<'_>, library: &Library) -> Result<Done, Fault> {
    let (mut before, mut believed, mut found) = (None, job.believed, None);
    loop {
        let seen = match (found.take(), believed.take()) {
            (None, Some(applied)) => belief::seen(db, job, applied, library).await?,
            (found, _) => found,
        };
        let unseen = seen.as_ref().is_some_and(|seen| seen.opening.is_some());
        let turn = turn(db, job, seen, library, &mut before).await;
        let is_clean = match turn {
            Ok(_) => true,
            // What a tenant's code has prepared is not undone with its transaction.
            Err(_) => db.cleanse().await.is_ok(),
        };
        match turn {
            Err(fault) if !is_clean => return Err(fault),
            Err(fault) if unseen && (fault.class == Class::Refused || belief::in_doubt(&fault)) => {
                if !belief::in_doubt(&fault) {
                    let looked = begin(db, job).await?;
                    // The file is to blame, and not what was believed of what it found.
                    if job.believed == Some(looked.applied.as_slice()) {
                        return Err(fault);
                    }
                    found = Some(looked);
                }
                before = None;
            }
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

const UNCHANGED: &str = "what was applied stays as it was: put the file back, and bring the change in a file with the next number";

/// Our own code: the central ledger is not there yet.
const NO_CENTRAL: &str = "no_central_ledger";

async fn turn(db: &mut Connection, job: &Job<'_>, seen: Option<Seen>, library: &Library, before: &mut Option<Vec<Step>>) -> Result<Turn, Fault> {
    let mut seen = match seen {
        Some(seen) => seen,
        None => begin(db, job).await?,
    };
    before.get_or_insert_with(|| seen.applied.clone());
    let mut entries = Entries::after(&seen);
    // What is sent at the end, or when it has to be looked in between.
    let (mut head, mut script) = (String::new(), String::new());
    let mut opened = false;
    if let Some(opening) = seen.opening.take() {
        opened = true;
        db.in_transaction(true);
        head = format!("{opening}; ");
        script = format!("SET LOCAL search_path = {}; ", job.schema);
        entries.position = Some(belief::position(job.schema, &seen.applied)?);
    }
    if let Some(make) = seen.make.take() {
        opened = true;
        script = format!("{}{}", act(db, job, &seen)?, besides(job, &make)?);
        if let Ledger::Make { baseline: held @ [_, ..], .. } = job.ledger {
            send(db, job, &[], std::mem::take(&mut script)).await?;
            compare(db, job, held, library).await?;
            held.iter().try_for_each(|step| entries.add(step, true))?;
            script = format!("SET LOCAL search_path = {}; ", job.schema);
        }
    }
    let so_far = entries.applied.clone();
    let todo = ledger::pending(&so_far, job.wanted, job.to).map_err(|wrong| Fault::refused(CALL, "history", wrong).hint(UNCHANGED))?;
    let (mut sent, mut next): (Vec<(usize, &Step)>, Option<Step>) = (Vec::new(), None);
    // The last file, to which what is ours to say in the tenant's name is added.
    let mut last = String::new();
    for step in todo {
        let file = text(library, step)?;
        if file.concurrent.is_some() {
            next = Some(step.clone());
            break;
        }
        if !std::mem::replace(&mut opened, true) {
            script = act(db, job, &seen)?;
        }
        if !last.is_empty() {
            script.push_str(&ran(job, &last)?);
        }
        sent.push((script.chars().count() + 1, step));
        if job.shared.is_some() {
            // A last line may be a comment.
            script.push_str(&file.sql);
            script.push_str(&kept(job, &seen)?);
        } else {
            last = format!("{}\n;", file.sql);
        }
        entries.add(step, false)?;
    }
    if !opened && next.is_some() {
        db.rollback().await?;
        return Ok(next.map_or(Turn::Done(entries.applied), Turn::Alone));
    }
    let some = !sent.is_empty();
    if let Some(shared) = job.shared.filter(|_| some) {
        send(db, job, &std::mem::take(&mut sent), std::mem::take(&mut script)).await?;
        shared.seal(db).await?;
    }
    if opened {
        // What these files have made is guarded before anybody sees it.
        if let Some(guard) = seen.guard.as_ref().filter(|_| some) {
            last.push_str(&guard.close(job.schema, true)?);
            last.push_str("; ");
        }
        last.push_str(&entries.sql(job.schema));
        if job.shared.is_none() {
            if db.version() >= runner::KEEPS {
                db.wear(1);
            }
            if !last.is_empty() {
                last.push_str(runner::ALL_IMMEDIATE);
                script.push_str(&ran(job, &last)?);
            }
            script.push_str(&runner::after(job.schema, db.prepared())?);
        } else {
            let back = if seen.member { String::new() } else { format!("REVOKE {} FROM CURRENT_USER; ", job.role) };
            script.push_str(&format!("{last}; RESET ROLE; {}; {back}", runner::RESTORE));
        }
    }
    let central = central::write(job.schema, job.tenant, &entries.applied, db.prepared())?;
    if job.shared.is_some() {
        script = format!("{script}{central}; ");
    } else {
        // Before anything that is a tenant's: nothing that was prepared is executed after that.
        head = format!("{head}{central}; ");
    }
    sent.iter_mut().for_each(|(begin, _)| *begin += head.chars().count());
    let script = format!("{head}{script}COMMIT");
    failpoint!("migration.before_commit", job.tenant);
    send(db, job, &sent, script).await?;
    failpoint!("migration.committed", job.tenant);
    db.in_transaction(false);
    Ok(next.map_or(Turn::Done(entries.applied), Turn::Alone))
}

/// What comes before the first statement as the migration role where it was looked: the schema is the one that names without one are looked up
/// in; the runner is made where there is none. What tenants share is nobody's who can log in: there the role is simply put in force.
fn act(db: &Connection, job: &Job<'_>, seen: &Seen) -> Result<String, Fault> {
    let role = job.role;
    if job.shared.is_some() {
        let grant = if seen.member { String::new() } else { format!("GRANT {role} TO CURRENT_USER; ") };
        // A file that would change rows that tenants share sees none of them, and is to be told so.
        return Ok(format!("{grant}SET LOCAL ROLE {role}; SET LOCAL search_path = {}; SET LOCAL row_security = off; ", job.schema));
    }
    let before = match (seen.runner, seen.member) {
        (false, true) => format!("{}; ", runner::making(job.schema, role, &Ident::new(db.user())?)),
        (false, false) => {
            format!("GRANT {role} TO CURRENT_USER; {}; REVOKE {role} FROM CURRENT_USER; ", runner::making(job.schema, role, &Ident::new(db.user())?))
        }
        (true, _) if seen.left => format!("REVOKE {role} FROM CURRENT_USER; "),
        (true, _) => String::new(),
    };
    Ok(format!("{before}SET LOCAL search_path = {}; ", job.schema))
}

/// A file that the migration role runs.
fn ran(job: &Job<'_>, sql: &str) -> Result<String, Fault> {
    Ok(format!("SELECT {};\n", runner::call(job.schema, sql)?))
}

/// Statements of ours that the migration role runs. Their end is not counted.
fn besides(job: &Job<'_>, sql: &str) -> Result<String, Fault> {
    Ok(if job.shared.is_some() { format!("{sql};\n") } else { format!("SELECT {} IS NULL;\n", runner::call(job.schema, sql)?) })
}

/// Holds the schema against its baseline, for which the administrator is a member of the role.
async fn compare(db: &mut Connection, job: &Job<'_>, held: &[Step], library: &Library) -> Result<(), Fault> {
    let borrowed = borrow(db, &[job.role]).await?;
    baseline::check(db, job.schema, job.role, held, library).await?;
    borrowed.give_back(db).await
}

/// Stands in the error by which the server ends a script whose file did not keep to its transaction and its role. Files with `COMMIT` or
/// `SET ROLE` are refused when they are read; what a procedure may do cannot be seen there.
const LEFT: &str = "labctl: left the transaction or the role";

/// What [`kept`] answers.
const KEPT: &str = "labctl: kept";

/// A statement after a file about what tenants share that fails if the file has ended the transaction or changed the role: what comes after it is not
/// run then. Names are qualified, because the schema's own come first where they fit better.
fn kept(job: &Job<'_>, seen: &Seen) -> Result<String, Fault> {
    Ok(format!(
        "\n;SELECT CASE WHEN pg_catalog.pg_current_xact_id()::text OPERATOR(pg_catalog.=) {} AND current_user::text OPERATOR(pg_catalog.=) {} \
         THEN '{KEPT}' ELSE pg_catalog.concat('{LEFT}', current_user)::integer::text END;\n",
        seen.transaction,
        Literal::new(job.role.name())?
    ))
}

/// Sends what holds these files, each answered when it has ended, and with the character it begins at. A fault names the file it is about: the one
/// in whose text the server sees it (it reads all of a message before it runs any of it), else the one after the last that has ended. What
/// fails after all of them, as a constraint that waits for the commit, is the last one's.
async fn send(db: &mut Connection, job: &Job<'_>, files: &[(usize, &Step)], script: String) -> Result<(), Fault> {
    let mark = job.shared.map(|_| KEPT);
    let Err(Told { fault, marks, at }) = db.counting(CALL, script, mark).await else { return Ok(()) };
    let seen = at.and_then(|at| files.iter().rfind(|(begin, _)| *begin <= at));
    Err(match (seen.or(files.get(marks)).or(files.last()), files) {
        (Some((_, step)), _) if fault.message.contains(LEFT) => {
            Fault::unknown(CALL, "left_transaction", format!("{step} ended the transaction or changed the role it ran in"))
        }
        (Some((_, step)), _) if fault.code == "42501" && fault.message.contains("security-definer") => {
            let why = format!("{step}, or something it set going, would leave the migration role: {}", fault.message);
            Fault::refused(CALL, "left_role", why).hint("look which triggers and defaults of the schema are not yours")
        }
        (Some((_, step)), _) if fault.message.contains(runner::PREPARED) => {
            let why = format!("{step}, or something it set going, has left a prepared statement in the session, or taken one away");
            Fault::refused(CALL, "left_prepared", why).hint("`DEALLOCATE` it in the same file; look which triggers of the schema are not yours")
        }
        (Some((_, step)), _) if fault.code == "25006" => {
            let why = format!("{step}, or something it set going, has put off to the commit what writes: {}", fault.message);
            Fault::refused(CALL, "deferred", why).hint("look which triggers of the schema are not yours: one sets constraints deferred again when it is called")
        }
        // What the server had still to say is lost.
        (_, [(_, first), .., (_, last)]) if fault.class == Class::Unknown => Fault { message: format!("{first} to {last}: {}", fault.message), ..fault },
        (Some((_, step)), _) => named(step, fault),
        (None, _) => fault,
    })
}

/// Of the schema `$1` and the role `$2`: transaction, schema, whether there is a ledger, whose it is, whether there is a central one, whether the ledger
/// is a plain table, whether we are a member of the role, and whether by what we granted ourselves: that was left by a run that was killed, and is given back;
/// what the schema's comment says, who by default has rights on the tables the role makes, and whether the runner is there. By
/// OID, and without functions written in SQL: whenever anybody makes a schema, the server plans it anew.
static LOOK: LazyLock<String> = LazyLock::new(|| {
    let (runner, execute) = (runner::is_right("$1::name", "x.role"), runner::EXECUTE);
    format!(
        "(text, text) AS SELECT pg_current_xact_id(), x.space, c.oid IS NOT NULL, \
         (SELECT description FROM pg_description WHERE objoid = c.oid AND classoid = 'pg_class'::regclass AND objsubid = 0), \
         to_regclass('labctl_ledger.schemas') IS NOT NULL AND to_regprocedure('{execute}') IS NOT NULL, \
         coalesce(c.relkind = 'r' AND NOT c.relrowsecurity, true), \
         pg_has_role(current_user, x.role, 'USAGE') AND CASE WHEN current_setting('server_version_num')::int >= 160000 \
         THEN pg_has_role(current_user, x.role, 'SET') ELSE true END \
         AND m.roleid IS NULL, m.roleid IS NOT NULL, \
         (SELECT description FROM pg_description WHERE objoid = x.space AND classoid = 'pg_namespace'::regclass AND objsubid = 0), \
         (SELECT string_agg(DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END, ', ') FROM pg_default_acl d, aclexplode(d.defaclacl) a \
         WHERE d.defaclrole = x.role AND d.defaclnamespace IN (0, x.space) AND d.defaclobjtype = 'r' AND a.grantee <> d.defaclrole), \
         EXISTS (SELECT FROM pg_proc p WHERE {runner}) \
         FROM (SELECT to_regrole(quote_ident($2))::oid AS role, to_regnamespace(quote_ident($1))::oid AS space) x \
         LEFT JOIN pg_class c ON c.relnamespace = x.space AND c.relname = 'labctl_migrations' \
         LEFT JOIN pg_auth_members m ON m.roleid = x.role AND m.member = to_regrole(quote_ident(current_user)) AND m.grantor = m.member \
         WHERE x.role IS NOT NULL"
    )
});

/// Opens the transaction, takes the schema's lock, looks, and reads the ledger.
async fn begin(db: &mut Connection, job: &Job<'_>) -> Result<Seen, Fault> {
    db.prepare("labctl_look", &LOOK).await?;
    let (name, role) = (Literal::new(job.schema.name())?, Literal::new(job.role.name())?);
    let script = format!(
        "BEGIN; SET LOCAL lock_timeout = {}; SET LOCAL statement_timeout = '10min'; \
         SELECT pg_try_advisory_xact_lock(hashtext('labctl:migrate'), hashtext({name})); EXECUTE labctl_look ({name}, {role})",
        job.lock_timeout.as_millis()
    );
    db.in_transaction(true);
    let answers = db.script("postgres:labctl_migrations", script).await?;
    let first = |n: usize| answers.get(n).and_then(|rows| rows.first()).map(Vec::as_slice);
    if first(3) != Some(&[Some("t".to_owned())]) {
        return Err(Fault::busy(CALL, "55P03", format!("another session is migrating the schema {}", job.schema)));
    }
    let Some([Some(transaction), oid, has_ledger, owner, central, plain, member, left, words, heirs, runner]) = first(4) else {
        return Err(Fault::refused(CALL, "42704", format!("the migration role {} does not exist", job.role)));
    };
    if oid.is_none() {
        return Err(Fault::refused(CALL, "3F000", format!("the schema {} does not exist", job.schema)).hint("`labctl tenant apply ID` makes it again"));
    }
    let holds = |value: &Option<String>| value.as_deref() == Some("t");
    if !holds(central) {
        // Opened in a transaction of its own; ours begins anew.
        db.rollback().await?;
        return Err(Fault::busy(CALL, NO_CENTRAL, "the central ledger is not there yet"));
    }
    let not_plain = || Fault::refused(CALL, "not_a_ledger", format!("{}.{} is not a plain table, and is not read", job.schema, ledger::TABLE));
    if !holds(plain) {
        return Err(not_plain());
    }
    let guard = Guard::read(words.as_deref())?;
    let transaction = Literal::new(transaction)?.to_string();
    let (member, left, runner) = (holds(member), holds(left), holds(runner));
    let mut seen = Seen { opening: None, transaction, member, left, guard, applied: Vec::new(), make: None, runner, heirs: heirs.clone() };
    match job.ledger {
        Ledger::Of { .. } if !holds(has_ledger) => {
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
        Ledger::Make { comment, .. } if !holds(has_ledger) => {
            seen.make = Some(ledger::making(job.schema, &Ident::new(db.user())?, comment, seen.heirs.as_deref())?);
            return Ok(seen);
        }
        Ledger::Make { .. } => {}
    }
    seen.applied = own::held(db, &[job.schema.name()]).await?.remove(job.schema.name()).ok_or_else(not_plain)?.applied;
    Ok(seen)
}

fn named(step: &Step, mut fault: Fault) -> Fault {
    fault.message = format!("{step}: {}", fault.message);
    let hint = match fault.class {
        Class::Refused => "mend the file or the data it stumbles over; nothing of it, nor of the others pending, was applied",
        Class::Busy if fault.code == "55P03" => "somebody holds what it changes: `SELECT * FROM pg_locks` tells who; end that, or try again at a quieter time",
        Class::Busy | Class::Unknown => return fault,
    };
    fault.hint.get_or_insert_with(|| hint.to_owned());
    fault
}

/// What the schema's ledger is to say, and the statements that make it say so.
struct Entries {
    /// The rows to be added: those whose work was there before, and those that are run.
    rows: [Vec<String>; 2],
    applied: Vec<Step>,
    /// An expression for the position of the next row, where more is asked of it than that number.
    position: Option<String>,
}

impl Entries {
    fn after(seen: &Seen) -> Self {
        Self { rows: [Vec::new(), Vec::new()], applied: seen.applied.clone(), position: None }
    }

    /// With `held`, as one whose work was there before: it was not run.
    fn add(&mut self, step: &Step, held: bool) -> Result<(), Fault> {
        let (folder, name, checksum) = (Literal::new(&step.folder)?, Literal::new(&step.name)?, Literal::new(&step.checksum)?);
        let position = self.position.take().unwrap_or_else(|| (self.applied.len() + 1).to_string());
        self.rows[usize::from(!held)].push(format!("({position}, {folder}, {}, {name}, {checksum}{})", step.version, if held { ", true" } else { "" }));
        self.applied.push(step.clone());
        Ok(())
    }

    /// The statements, each with its end.
    fn sql(&self, schema: &Ident) -> String {
        // A ledger made by an older labctl has no column `baseline`.
        let insert = |(column, rows): (&str, &Vec<String>)| {
            let into = format!("INSERT INTO {schema}.{} (position, folder, version, name, checksum{column}) VALUES ", ledger::TABLE);
            if rows.is_empty() { String::new() } else { format!("{into}{}; ", rows.join(", ")) }
        };
        [", baseline", ""].into_iter().zip(&self.rows).map(insert).collect()
    }
}

/// Stands in the error by which the server refuses a session to which the schema's lock is not given.
const BUSY: &str = "labctl: another session";

/// Runs a file without a transaction, and records it. The administrator is a member of the migration role meanwhile, and is no more when it
/// is recorded, nor when it failed; cut off in between, the next run that changes the schema sees to that.
async fn alone(db: &mut Connection, job: &Job<'_>, step: &Step, library: &Library) -> Result<(), Fault> {
    let role = job.role;
    let lock = |call: &str| Ok::<_, Fault>(format!("{call}(hashtext('labctl:migrate'), hashtext({}))", Literal::new(job.schema.name())?));
    // Nothing is granted, nor taken back at the end, in a session that is not the only one.
    let only = format!("SELECT CASE WHEN {} THEN true ELSE concat('{BUSY}', current_user)::boolean END", lock("pg_try_advisory_lock")?);
    let session = format!("SET search_path = {}; SET lock_timeout = {}; SET statement_timeout = 0", job.schema, CONCURRENT_TIMEOUT.as_millis());
    db.execute(CALL, format!("{only}; GRANT {role} TO CURRENT_USER; SET ROLE {role}; {session}")).await.map_err(|fault| {
        let busy = fault.message.contains(BUSY);
        if busy { Fault::busy(CALL, "55P03", format!("another session is migrating the schema {}", job.schema)) } else { fault }
    })?;
    let unlock = format!("SELECT {}", lock("pg_advisory_unlock")?);
    let done = made(db, job, step, library, &unlock).await;
    if done.is_err() {
        let back = format!("ROLLBACK; RESET ROLE; SET search_path = pg_catalog; REVOKE {role} FROM CURRENT_USER; {unlock}");
        if let Err(fault) = db.execute("postgres:REVOKE", back).await {
            tracing::warn!("the administrator is still a member of {role}, until {} is migrated: {fault}", job.schema);
        }
    }
    done
}

/// Makes or drops the index, as the migration role, looks at it, and records it with the end of the membership.
async fn made(db: &mut Connection, job: &Job<'_>, step: &Step, library: &Library, unlock: &str) -> Result<(), Fault> {
    let file = text(library, step)?;
    let (index, makes) = match &file.concurrent {
        Some(Concurrent::Create(index)) => (index, true),
        Some(Concurrent::Drop(index)) => (index, false),
        None => return Err(Fault::refused(CALL, "transaction", format!("{step} runs in a transaction"))),
    };
    let role = job.role;
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
    // Membership ends in the transaction that records. Nothing of the schema's is called with the administrator's rights.
    db.execute("postgres:RESET ROLE", "RESET ROLE; SET search_path = pg_catalog".to_owned()).await?;
    let mut seen = begin(db, job).await?;
    seen.member = false;
    let mut entries = Entries::after(&seen);
    if !seen.applied.iter().any(|a| a.folder == step.folder && a.version == step.version) {
        entries.add(step, false)?;
    }
    let central = central::write(job.schema, job.tenant, &entries.applied, db.prepared())?;
    let sql = entries.sql(job.schema);
    let script = if job.shared.is_some() {
        format!("SET LOCAL ROLE {role}; {sql}RESET ROLE; REVOKE {role} FROM CURRENT_USER; {central}; ")
    } else {
        let acts = if seen.runner { format!("REVOKE {role} FROM CURRENT_USER; ") } else { act(db, job, &seen)? };
        let sql = besides(job, &format!("{sql}{}", runner::ALL_IMMEDIATE))?;
        format!("{central}; {acts}{sql}{}", runner::after(job.schema, db.prepared())?)
    };
    send(db, job, &[(1, step)], format!("{script}COMMIT; {unlock}")).await?;
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
