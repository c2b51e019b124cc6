//! The ledger: a table in the schema that says which migrations were applied, written in the transaction that applies them.

use super::{Step, central, runner};
use crate::engine::fault::Fault;
use crate::tenantdb::connect::Connection;
use crate::tenantdb::membership::borrow;
use crate::tenantdb::quote::{Ident, Literal};

/// The ledger's name, in every schema.
pub const TABLE: &str = "labctl_migrations";

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

/// How far to go: the last version of each folder named. Folders that are not named go to their newest.
pub type To = std::collections::BTreeMap<String, u32>;

/// What is to be applied to go from `applied` to `wanted`, but not beyond `to`.
///
/// # Errors
/// The difference in words, when history cannot be continued: a file changed after it was applied, is missing, or came in before one that
/// was applied already. Of a folder of which nothing is wanted any more, as of a module taken away, the last file stands for all.
pub fn pending<'a>(applied: &[Step], wanted: &'a [Step], to: &To) -> Result<Vec<&'a Step>, String> {
    let mut wrong = Vec::new();
    for (at, done) in applied.iter().enumerate() {
        if !wanted.iter().any(|w| w.folder == done.folder) {
            if !applied[at + 1..].iter().any(|later| later.folder == done.folder) {
                wrong.push(format!("`{}` was applied up to V{}, and none of its files is wanted any more", done.folder, done.version));
            }
            continue;
        }
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
            _ if to.get(&step.folder).is_some_and(|last| step.version > *last) => {}
            _ => todo.push(step),
        }
    }
    if wrong.is_empty() { Ok(todo) } else { Err(wrong.join("; ")) }
}

/// As much of a checksum as people compare.
pub(super) fn short(checksum: &str) -> &str {
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

/// Statements that make the ledger, in a transaction in which the migration role is in force; only that role writes to it, and the
/// administrator reads it. `heirs`, roles' names as SQL has them, are those to whom the schema's default privileges give rights on what that role
/// makes: here they have none.
///
/// # Errors
/// Refused when the comment cannot be a text.
pub(super) fn making(schema: &Ident, admin: &Ident, comment: &str, heirs: Option<&str>) -> Result<String, Fault> {
    let table = format!("{schema}.{TABLE}");
    let revoke = heirs.map_or_else(String::new, |heirs| format!("REVOKE ALL ON {table} FROM {heirs};"));
    // `baseline`: its work was in the schema before labctl was; recorded, not run. The administrator reads, so that looking, later, needs no membership: looking never writes.
    Ok(format!(
        "CREATE TABLE {table} (
            position integer PRIMARY KEY,
            folder text NOT NULL,
            version integer NOT NULL CHECK (version > 0),
            name text NOT NULL,
            checksum text NOT NULL CHECK (checksum ~ '^[0-9a-f]{{64}}$'),
            applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
            baseline boolean NOT NULL DEFAULT false,
            UNIQUE (folder, version)
        );
        COMMENT ON TABLE {table} IS {};
        {revoke}
        GRANT SELECT ON {table} TO {admin}",
        Literal::new(comment)?
    ))
}

/// Drops the ledger and forgets the schema in the central one; what the migrations made stays, and goes with the schema. Absent is success.
///
/// # Errors
/// As the statements' faults.
pub async fn delete(db: &mut Connection, schema: &Ident, role: &Ident) -> Result<(), Fault> {
    db.begin().await?;
    let borrowed = borrow(db, &[role]).await?;
    db.execute("postgres:DROP TABLE", format!("DROP TABLE IF EXISTS {schema}.{TABLE}")).await?;
    borrowed.give_back(db).await?;
    let known: Option<(bool,)> =
        db.optional("postgres:to_regclass", sqlx::query_as("SELECT true WHERE to_regclass($1) IS NOT NULL").bind(central::TABLE)).await?;
    if known.is_some() {
        db.execute("postgres:DELETE", format!("{}; {}", central::forget(schema)?, runner::dropping(schema))).await?;
    }
    db.commit("postgres:DROP TABLE").await
}

#[cfg(test)]
mod tests {
    use super::*;

    type Listed<'a> = &'a [(&'a str, u32, &'a str)];

    fn steps(list: Listed<'_>) -> Vec<Step> {
        list.iter().map(|(folder, version, sum)| Step { folder: (*folder).into(), version: *version, name: "x".into(), checksum: (*sum).into() }).collect()
    }

    #[test]
    fn what_is_not_applied_yet_is_pending_in_the_order_wanted() {
        let wanted = steps(&[("core", 1, "a"), ("core", 2, "b"), ("dental", 1, "c")]);
        assert_eq!(pending(&[], &wanted, &To::new()).unwrap().len(), 3);
        assert_eq!(pending(&wanted[..1], &wanted, &To::new()).unwrap(), [&wanted[1], &wanted[2]]);
        assert!(pending(&wanted, &wanted, &To::new()).unwrap().is_empty());
    }

    #[test]
    fn nothing_goes_beyond_the_version_asked_for_and_what_is_there_already_is_no_mistake() {
        let wanted = steps(&[("core", 1, "a"), ("core", 2, "b"), ("core", 3, "c"), ("dental", 1, "d")]);
        let to = To::from([("core".to_owned(), 2)]);
        assert_eq!(pending(&wanted[..1], &wanted, &to).unwrap(), [&wanted[1], &wanted[3]]);
        assert_eq!(pending(&wanted[..3], &wanted, &to).unwrap(), [&wanted[3]]);
    }

    #[test]
    fn a_module_may_come_in_later_whatever_the_core_has_reached() {
        let applied = steps(&[("core", 1, "a"), ("core", 2, "b")]);
        let wanted = steps(&[("core", 1, "a"), ("dental", 1, "c"), ("core", 2, "b")]);
        assert_eq!(pending(&applied, &wanted, &To::new()).unwrap(), [&wanted[1]]);
    }

    #[test]
    fn a_rewritten_history_is_refused_with_the_difference() {
        let applied = steps(&[("core", 1, "a"), ("core", 3, "c")]);
        let rows: [(Listed<'_>, &str); 4] = [
            (&[("core", 1, "z"), ("core", 3, "c")], "core/V1__x was changed after it was applied (was a, is z)"),
            (&[("core", 1, "a")], "core/V3__x was applied and is missing now"),
            (&[("dental", 1, "a")], "`core` was applied up to V3, and none of its files is wanted any more"),
            (&[("core", 1, "a"), ("core", 2, "b"), ("core", 3, "c")], "core/V2__x comes in before core/V3__x, which was applied already"),
        ];
        for (wanted, text) in rows {
            assert_eq!(pending(&applied, &steps(wanted), &To::new()).unwrap_err(), text);
        }
    }

    #[test]
    fn a_version_names_its_folders_when_there_are_several() {
        assert_eq!(version(&[]), "0");
        assert_eq!(version(&steps(&[("core", 1, "a"), ("core", 2, "b")])), "2");
        assert_eq!(version(&steps(&[("core", 1, "a"), ("dental", 1, "c"), ("core", 4, "b")])), "core 4, dental 1");
    }
}
