//! The ledger: a table in the schema that says which migrations were applied, written in the transaction that applies them.

use sqlx::types::chrono::{DateTime, Utc};

use super::{Library, Step};
use crate::engine::fault::{Class, Fault};
use crate::tenantdb::connect::Connection;
use crate::tenantdb::membership::borrow;
use crate::tenantdb::quote::{Ident, Literal};

/// The ledger's name, in every schema.
pub const TABLE: &str = "labctl_migrations";

/// A ledger as it is.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its comment.
    pub comment: Option<String>,
    /// What was applied, in that order.
    pub applied: Vec<Step>,
    /// When the last was applied.
    pub last_at: Option<DateTime<Utc>>,
}

/// Reads a schema's ledger; `None` where it has none.
///
/// # Errors
/// As the statements' faults.
pub async fn find(db: &mut Connection, schema: &Ident) -> Result<Option<Found>, Fault> {
    let row: Option<(Option<String>,)> = db
        .optional(
            "postgres:pg_class",
            sqlx::query_as("SELECT obj_description(c.oid, 'pg_class') FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2")
                .bind(schema.name())
                .bind(TABLE),
        )
        .await?;
    let Some((comment,)) = row else { return Ok(None) };
    let (applied, last_at) = read(db, schema).await?;
    Ok(Some(Found { comment, applied, last_at }))
}

/// The schemas with a ledger that bears exactly this comment.
///
/// # Errors
/// As the statements' faults.
pub async fn marked(db: &mut Connection, comment: &str) -> Result<Vec<String>, Fault> {
    let sql = "SELECT n.nspname::text FROM pg_description d JOIN pg_class c ON c.oid = d.objoid JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE d.classoid = 'pg_class'::regclass AND d.objsubid = 0 AND d.description = $1 AND c.relname = $2 ORDER BY 1";
    let rows: Vec<(String,)> = db.all("postgres:pg_description", sqlx::query_as(sql).bind(comment).bind(TABLE)).await?;
    Ok(rows.into_iter().map(|(name,)| name).collect())
}

async fn read(db: &mut Connection, schema: &Ident) -> Result<(Vec<Step>, Option<DateTime<Utc>>), Fault> {
    let sql = format!("SELECT folder, version::bigint, name, checksum, applied_at FROM {schema}.{TABLE} ORDER BY position");
    let rows: Vec<(String, i64, String, String, DateTime<Utc>)> = db.select("postgres:SELECT", sql).await?;
    let last_at = rows.last().map(|r| r.4);
    let step = |(folder, version, name, checksum, _)| Step { folder, version: u32::try_from(version).unwrap_or(u32::MAX), name, checksum };
    Ok((rows.into_iter().map(step).collect(), last_at))
}

/// What is to be applied to go from `applied` to `wanted`.
///
/// # Errors
/// The difference in words, when history cannot be continued: a file changed after it was applied, is missing, or came in before one that
/// was applied already.
pub fn pending<'a>(applied: &[Step], wanted: &'a [Step]) -> Result<Vec<&'a Step>, String> {
    let mut wrong = Vec::new();
    for done in applied {
        match wanted.iter().find(|w| w.folder == done.folder && w.version == done.version) {
            None => wrong.push(format!("{done} was applied and is missing now")),
            Some(w) if w.checksum != done.checksum => {
                wrong.push(format!("{done} was changed after it was applied (was {}, is {})", short(&done.checksum), short(&w.checksum)));
            }
            Some(_) => {}
        }
    }
    let mut todo = Vec::new();
    for step in wanted.iter().filter(|w| !applied.iter().any(|a| a.folder == w.folder && a.version == w.version)) {
        match applied.iter().filter(|a| a.folder == step.folder).max_by_key(|a| a.version) {
            Some(later) if later.version > step.version => wrong.push(format!("{step} comes in before {later}, which was applied already")),
            _ => todo.push(step),
        }
    }
    if wrong.is_empty() { Ok(todo) } else { Err(wrong.join("; ")) }
}

fn short(checksum: &str) -> &str {
    checksum.get(..12).unwrap_or(checksum)
}

/// The version of a schema in words: `4`, or `core 4, dental 1` when there are several folders.
pub fn version(steps: &[Step]) -> String {
    let mut folders: Vec<(&str, u32)> = Vec::new();
    for step in steps {
        match folders.iter_mut().find(|(f, _)| *f == step.folder) {
            Some((_, version)) => *version = (*version).max(step.version),
            None => folders.push((&step.folder, step.version)),
        }
    }
    match folders.as_slice() {
        [] => "0".to_owned(),
        [(_, version)] => version.to_string(),
        many => many.iter().map(|(f, v)| format!("{f} {v}")).collect::<Vec<_>>().join(", "),
    }
}

/// Applies what is pending, all of it and the ledger in one transaction, as the migration role. Makes the ledger where there is none.
///
/// # Errors
/// Refused when history cannot be continued ([`pending`]), a text is not in the library, or a statement is refused; busy when a lock was
/// not to be had in time. Nothing was changed then. Unknown when the connection broke at the commit.
pub async fn migrate(db: &mut Connection, schema: &Ident, role: &Ident, wanted: &[Step], library: &Library, comment: &str) -> Result<(), Fault> {
    const CALL: &str = "postgres:migrate";
    let table = format!("{schema}.{TABLE}");
    db.begin().await?;
    let borrowed = borrow(db, &[role]).await?;
    // Two that migrate one schema go one after the other; the second then finds nothing to do.
    let lock = sqlx::query_as("SELECT pg_advisory_xact_lock(hashtext('labctl:migrate'), hashtext($1)) IS NULL").bind(schema.name());
    db.all::<(bool,)>("postgres:pg_advisory_xact_lock", lock).await?;
    db.execute(
        "postgres:SET",
        format!("SET LOCAL ROLE {role}; SET LOCAL search_path = {schema}; SET LOCAL lock_timeout = '5s'; SET LOCAL statement_timeout = '10min'"),
    )
    .await?;
    let known: Option<(bool,)> = db.optional("postgres:to_regclass", sqlx::query_as("SELECT true WHERE to_regclass($1) IS NOT NULL").bind(&table)).await?;
    if known.is_none() {
        open(db, schema, comment).await?;
    }
    // Taken before looking, so that what is read is what is still true at the commit.
    db.execute("postgres:LOCK TABLE", format!("LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")).await?;
    let (applied, _) = read(db, schema).await?;
    let todo = pending(&applied, wanted).map_err(|wrong| Fault::refused(CALL, "history", wrong))?;
    for step in todo {
        let sql = library
            .sql(&step.checksum)
            .ok_or_else(|| Fault::refused(CALL, "no_text", format!("the text of {step} ({}) is not among this stack's migrations", short(&step.checksum))))?;
        apply(db, step, sql).await?;
        let insert = format!(
            "INSERT INTO {table} (position, folder, version, name, checksum) SELECT coalesce(max(position), 0) + 1, {}, {}, {}, {} FROM {table}",
            Literal::new(&step.folder)?,
            step.version,
            Literal::new(&step.name)?,
            Literal::new(&step.checksum)?
        );
        db.execute("postgres:INSERT", insert).await?;
    }
    db.execute("postgres:RESET ROLE", "RESET ROLE".to_owned()).await?;
    borrowed.give_back(db).await?;
    db.commit(CALL).await
}

async fn apply(db: &mut Connection, step: &Step, sql: &str) -> Result<(), Fault> {
    let before = transaction(db).await?;
    db.execute("postgres:migrate", sql.to_owned()).await.map_err(|mut fault| {
        fault.message = format!("{step}: {}", fault.message);
        if fault.class == Class::Refused {
            fault.hint.get_or_insert_with(|| "mend the file; nothing of it, nor of the others pending, was applied".to_owned());
        }
        fault
    })?;
    // Files with COMMIT or SET ROLE are refused when they are read; what a procedure may do cannot be seen there.
    if transaction(db).await? != before {
        return Err(Fault::unknown("postgres:migrate", "left_transaction", format!("{step} ended the transaction or changed the role it ran in")));
    }
    Ok(())
}

/// Transaction and role: what a migration must leave alone.
async fn transaction(db: &mut Connection) -> Result<Option<(String, String)>, Fault> {
    db.optional("postgres:pg_current_xact_id", sqlx::query_as("SELECT pg_current_xact_id()::text, current_user::text")).await
}

async fn open(db: &mut Connection, schema: &Ident, comment: &str) -> Result<(), Fault> {
    let table = format!("{schema}.{TABLE}");
    db.execute(
        "postgres:CREATE TABLE",
        format!(
            "CREATE TABLE {table} (
                position integer PRIMARY KEY,
                folder text NOT NULL,
                version integer NOT NULL CHECK (version > 0),
                name text NOT NULL,
                checksum text NOT NULL CHECK (checksum ~ '^[0-9a-f]{{64}}$'),
                applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
                UNIQUE (folder, version)
            );
            COMMENT ON TABLE {table} IS {}",
            Literal::new(comment)?
        ),
    )
    .await?;
    // The schema's default privileges have just let the application write to it.
    let rights = "SELECT DISTINCT r.rolname::text FROM pg_class c, aclexplode(c.relacl) a JOIN pg_roles r ON r.oid = a.grantee \
                  WHERE c.oid = $1::regclass AND a.grantee <> c.relowner";
    for (role,) in db.all::<(String,)>("postgres:aclexplode", sqlx::query_as(rights).bind(&table)).await? {
        db.execute("postgres:REVOKE", format!("REVOKE ALL ON {table} FROM {}", Ident::new(&role)?)).await?;
    }
    // So that looking, later, needs no membership: looking never writes.
    let admin = Ident::new(db.user())?;
    db.execute("postgres:GRANT", format!("GRANT SELECT ON {table} TO {admin}")).await
}

/// Drops the ledger; what the migrations made stays, and goes with the schema. Absent is success.
///
/// # Errors
/// As the statements' faults.
pub async fn delete(db: &mut Connection, schema: &Ident, role: &Ident) -> Result<(), Fault> {
    db.begin().await?;
    let borrowed = borrow(db, &[role]).await?;
    db.execute("postgres:DROP TABLE", format!("DROP TABLE IF EXISTS {schema}.{TABLE}")).await?;
    borrowed.give_back(db).await?;
    db.commit("postgres:DROP TABLE").await
}

#[cfg(test)]
mod tests {
    use super::*;

    type Rows<'a> = &'a [(&'a str, u32, &'a str)];

    fn steps(list: Rows<'_>) -> Vec<Step> {
        list.iter().map(|(folder, version, sum)| Step { folder: (*folder).into(), version: *version, name: "x".into(), checksum: (*sum).into() }).collect()
    }

    #[test]
    fn what_is_not_applied_yet_is_pending_in_the_order_wanted() {
        let wanted = steps(&[("core", 1, "a"), ("core", 2, "b"), ("dental", 1, "c")]);
        assert_eq!(pending(&[], &wanted).unwrap().len(), 3);
        assert_eq!(pending(&wanted[..1], &wanted).unwrap(), [&wanted[1], &wanted[2]]);
        assert!(pending(&wanted, &wanted).unwrap().is_empty());
    }

    #[test]
    fn a_module_may_come_in_later_whatever_the_core_has_reached() {
        let applied = steps(&[("core", 1, "a"), ("core", 2, "b")]);
        let wanted = steps(&[("core", 1, "a"), ("dental", 1, "c"), ("core", 2, "b")]);
        assert_eq!(pending(&applied, &wanted).unwrap(), [&wanted[1]]);
    }

    #[test]
    fn a_rewritten_history_is_refused_with_the_difference() {
        let applied = steps(&[("core", 1, "a"), ("core", 3, "c")]);
        let rows: [(Rows<'_>, &str); 3] = [
            (&[("core", 1, "z"), ("core", 3, "c")], "core/V1__x was changed after it was applied (was a, is z)"),
            (&[("core", 1, "a")], "core/V3__x was applied and is missing now"),
            (&[("core", 1, "a"), ("core", 2, "b"), ("core", 3, "c")], "core/V2__x comes in before core/V3__x, which was applied already"),
        ];
        for (wanted, text) in rows {
            assert_eq!(pending(&applied, &steps(wanted)).unwrap_err(), text);
        }
    }

    #[test]
    fn a_version_names_its_folders_when_there_are_several() {
        assert_eq!(version(&[]), "0");
        assert_eq!(version(&steps(&[("core", 1, "a"), ("core", 2, "b")])), "2");
        assert_eq!(version(&steps(&[("core", 1, "a"), ("dental", 1, "c"), ("core", 4, "b")])), "core 4, dental 1");
    }
}
