//! Schemas: made with all their grants in one transaction, found, changed, dropped.

use std::collections::BTreeSet;

use super::connect::Connection;
use super::connect_group;
use super::fault::creating;
use super::grants::{self, Grant, On, Parties};
use super::membership::borrow;
use super::migrations::{central, runner};
use super::quote::{Ident, Literal, list};
use super::roles::end_sessions;
use super::row_security::{self, Guard};
use crate::engine::fault::Fault;

/// A schema as it is.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its comment.
    pub comment: Option<String>,
    /// Its owner.
    pub owner: String,
    /// Whether tenants share the database: it is not the owner's.
    pub shared: bool,
    /// Things in it that neither owner nor migration role owns, as `table x of y`.
    pub strangers: Vec<String>,
    /// How its relations differ from what row security asks for.
    pub guard: row_security::Found,
}

/// Looks a schema up in this connection's database.
///
/// # Errors
/// As the statements' faults.
pub async fn find(db: &mut Connection, schema: &Ident, parties: &Parties) -> Result<Option<Found>, Fault> {
    let row: Option<(Option<String>, String, bool)> = db
        .optional(
            "postgres:pg_namespace",
            sqlx::query_as(
                "SELECT obj_description(n.oid, 'pg_namespace'), r.rolname::text, \
                 (SELECT d.datdba FROM pg_database d WHERE d.datname = current_database()) <> coalesce((SELECT o.oid FROM pg_roles o WHERE o.rolname = $2), 0) \
                 FROM pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner WHERE n.nspname = $1",
            )
            .bind(schema.name())
            .bind(parties.owner.name()),
        )
        .await?;
    let Some((comment, owner, shared)) = row else { return Ok(None) };
    // By its dependencies: the catalogs of relations and functions hold those of all tenants.
    let strangers: Vec<(String,)> = db
        .all(
            "postgres:pg_class",
            sqlx::query_as(
                "WITH w AS (SELECT d.classid, d.objid FROM pg_namespace n JOIN pg_depend d ON d.refclassid = 'pg_namespace'::regclass AND d.refobjid = n.oid WHERE n.nspname = $1) \
                 SELECT * FROM (SELECT format('relation %s of %s', c.relname, r.rolname) FROM w JOIN pg_class c ON w.classid = 'pg_class'::regclass AND c.oid = w.objid \
                 JOIN pg_roles r ON r.oid = c.relowner WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND r.rolname <> ALL ($2) \
                 UNION ALL SELECT format('function %s of %s', p.proname, r.rolname) FROM w JOIN pg_proc p ON w.classid = 'pg_proc'::regclass AND p.oid = w.objid \
                 JOIN pg_roles r ON r.oid = p.proowner WHERE r.rolname <> ALL ($2)) x ORDER BY 1 LIMIT 20",
            )
            .bind(schema.name())
            .bind(vec![parties.owner.name(), parties.migration.name(), owner.as_str()]),
        )
        .await?;
    let guarded = parties.row_security || row_security::mark(comment.as_deref()).is_some();
    let guard = if guarded { row_security::find(db, schema, Guard::of(parties)?.as_ref()).await? } else { row_security::Found::default() };
    Ok(Some(Found { comment, owner, shared, strangers: strangers.into_iter().map(|(s,)| s).collect(), guard }))
}

/// The schemas that bear this comment, or this and more, whatever they are called.
///
/// # Errors
/// As the statements' faults.
pub async fn marked(db: &mut Connection, comment: &str) -> Result<Vec<String>, Fault> {
    // What stands in it besides whose it is comes after that: keys are in the order of the alphabet.
    let more = comment.strip_suffix('}').map(|whose| format!("{whose},"));
    let sql = "SELECT n.nspname::text FROM pg_description d JOIN pg_namespace n ON n.oid = d.objoid \
               WHERE d.classoid = 'pg_namespace'::regclass AND d.objsubid = 0 AND (d.description = $1 OR starts_with(d.description, $2)) ORDER BY 1";
    let rows: Vec<(String,)> = db.all("postgres:pg_description", sqlx::query_as(sql).bind(comment).bind(more)).await?;
    Ok(rows.into_iter().map(|(name,)| name).collect())
}

/// Makes a schema with comment, grants and default privileges, in one transaction: in a shared database in two round trips. What is granted on a new
/// schema is granted or fails; whether that is all there is, is for the next look to say. Whether the database is shared is found out here:
/// `parties.connect` is not asked.
///
/// # Errors
/// Unknown when a schema of that name exists (the next look tells whose); else as the statements' faults.
pub async fn create(db: &mut Connection, schema: &Ident, database: &Ident, parties: &Parties, comment: &str) -> Result<(), Fault> {
    const CALL: &str = "postgres:CREATE SCHEMA";
    let look = connect_group::look(db, database, &[&parties.owner, &parties.migration]).await?;
    look.open(db, database).await?;
    let parties = Parties { connect: look.shared.then(|| connect_group::group(database)).transpose()?, ..parties.clone() };
    let mut script = vec!["BEGIN".to_owned()];
    if !look.lacking.is_empty() {
        script.push(format!("GRANT {} TO CURRENT_USER", list(&look.lacking)));
    }
    script.push(format!("CREATE SCHEMA {schema} AUTHORIZATION {}", parties.owner));
    script.push(format!("COMMENT ON SCHEMA {schema} IS {}", Literal::new(comment)?));
    script.extend(grants::first(&parties, schema, database, db.version())?);
    db.in_transaction(true);
    if !look.shared {
        // The logins' own rights to connect, which are the database's.
        db.execute(CALL, std::mem::take(&mut script).join("; ")).await.map_err(creating)?;
        let granted = grants::find(db, schema, &parties).await?;
        apply(db, schema, database, &parties, granted).await?;
    }
    if look.runs {
        // While the administrator is a member of the role: the first migration would find none, and become one for it.
        script.push(runner::making(schema, &parties.migration, &Ident::new(db.user())?));
    }
    if !look.lacking.is_empty() {
        script.push(format!("REVOKE {} FROM CURRENT_USER", list(&look.lacking)));
    }
    script.push("COMMIT".to_owned());
    db.execute(CALL, script.join("; ")).await.map_err(creating)?;
    db.in_transaction(false);
    Ok(())
}

/// Makes a schema as wanted: name, owner, comment, grants, row security, in one transaction. Everything in it stays as it is.
///
/// # Errors
/// Refused (`42P06`) when another schema has the name; refused when something that ought not to be granted stays so, because another role granted it; else as the statements' faults.
pub async fn alter(db: &mut Connection, is: &Ident, schema: &Ident, database: &Ident, parties: &Parties, found: &Found, comment: &str) -> Result<(), Fault> {
    connect_group::look(db, database, &[&parties.owner]).await?.open(db, database).await?;
    db.begin().await?;
    let former = Ident::new(&found.owner)?;
    let borrowed = borrow(db, &[&parties.owner, &parties.migration, &former]).await?;
    if is != schema {
        db.execute("postgres:ALTER SCHEMA", format!("ALTER SCHEMA {is} RENAME TO {schema}")).await?;
        central::rename(db, is, schema).await?;
        // Made again under the new name when it is needed.
        db.execute("postgres:DROP FUNCTION", [is, schema].map(runner::dropping).join("; ")).await?;
    }
    if found.owner != parties.owner.name() {
        db.execute("postgres:ALTER SCHEMA", format!("ALTER SCHEMA {schema} OWNER TO {}", parties.owner)).await?;
    }
    if found.comment.as_deref() != Some(comment) {
        db.execute("postgres:COMMENT", format!("COMMENT ON SCHEMA {schema} IS {}", Literal::new(comment)?)).await?;
    }
    grant(db, schema, database, parties).await?;
    if parties.row_security || row_security::mark(found.comment.as_deref()).is_some() {
        row_security::apply(db, schema, Guard::of(parties)?.as_ref()).await?;
    }
    borrowed.give_back(db).await?;
    db.commit("postgres:GRANT").await
}

/// Brings what is granted to what shall be.
pub(super) async fn grant(db: &mut Connection, schema: &Ident, database: &Ident, parties: &Parties) -> Result<(), Fault> {
    let granted = grants::find(db, schema, parties).await?;
    apply(db, schema, database, parties, granted).await
}

/// From what is found granted: grants what is missing, revokes what is too much, and looks whether it worked: PostgreSQL only warns when it did not. In two rounds,
/// because what is granted on "all tables" has to be taken from the ledger again. What is on the database comes last before the commit: it is
/// one row that all tenants share.
async fn apply(db: &mut Connection, schema: &Ident, database: &Ident, parties: &Parties, mut found: BTreeSet<Grant>) -> Result<(), Fault> {
    let wanted = grants::wanted(parties);
    for late in [false, false, true] {
        let (missing, excess) = differences(&found, &wanted);
        let now = |g: &&Grant| (g.on == On::Database) == late && !g.beyond();
        let mut sql = grants::statements(excess.iter().filter(now), true, schema, database, db.version())?;
        sql.extend(grants::statements(missing.iter().filter(now), false, schema, database, db.version())?);
        if sql.is_empty() {
            continue;
        }
        if late {
            connect_group::lock(db).await?;
        }
        db.execute("postgres:GRANT", sql.join("; ")).await?;
        found = grants::find(db, schema, parties).await?;
    }
    let (missing, excess) = differences(&found, &wanted);
    match (excess.first(), missing.first()) {
        (None, None) => Ok(()),
        (Some(grant), _) if grant.beyond() => grants::statements([grant], true, schema, database, db.version()).map(drop),
        (Some(grant), _) => Err(Fault::refused("postgres:REVOKE", "42501", format!("{grant} cannot be taken away by the administrator"))
            .hint("have the role that granted it, or a superuser, revoke it")),
        (None, Some(grant)) => Err(Fault::refused("postgres:GRANT", "42501", format!("{grant} cannot be granted by the administrator"))
            .hint("have the owner of the database or of those objects grant it, or make the administrator a member of that owner")),
    }
}

/// What is wanted and lacking (in part or whole), and what there is and ought not to be.
pub fn differences(found: &BTreeSet<Grant>, wanted: &BTreeSet<Grant>) -> (Vec<Grant>, Vec<Grant>) {
    let is: BTreeSet<_> = found.iter().filter(|f| f.on_all).map(Grant::right).collect();
    let ought: BTreeSet<_> = wanted.iter().map(Grant::right).collect();
    let missing = wanted.iter().filter(|w| !is.contains(&w.right())).cloned().collect();
    let excess = found.iter().filter(|f| !ought.contains(&f.right())).cloned().collect();
    (missing, excess)
}

/// Drops a schema with everything in it and the large objects of its roles, ends the sessions of its roles in this database and takes their right to connect. Absent is success.
///
/// # Errors
/// As the statements' faults.
pub async fn delete(db: &mut Connection, schema: &Ident, database: &Ident, parties: &Parties, found: &Found) -> Result<(), Fault> {
    let logins = grants::existing(db, &parties.logins()).await?;
    let logins: Vec<&Ident> = logins.iter().collect();
    db.begin().await?;
    let borrowed = borrow(db, &logins).await?;
    end_sessions(db, &logins, Some(database.name())).await?;
    borrowed.give_back(db).await?;
    db.commit("postgres:pg_terminate_backend").await?;

    db.begin().await?;
    let owner = Ident::new(&found.owner)?;
    let mut roles = logins.clone();
    roles.push(&owner);
    let borrowed = borrow(db, &roles).await?;
    db.execute("postgres:SET", "SET LOCAL statement_timeout = '10min'".to_owned()).await?;
    // Large objects live in no schema, and any role that may connect can make them.
    let names: Vec<&str> = roles.iter().map(|r| r.name()).collect();
    let unlink = "SELECT lo_unlink(o.oid) FROM pg_largeobject_metadata o JOIN pg_roles r ON r.oid = o.lomowner WHERE r.rolname = ANY ($1)";
    db.all::<(i32,)>("postgres:lo_unlink", sqlx::query_as(unlink).bind(names)).await?;
    db.execute("postgres:DROP SCHEMA", format!("DROP SCHEMA IF EXISTS {schema} CASCADE")).await?;
    connect_group::leave(db, database, &logins).await?;
    borrowed.give_back(db).await?;
    db.commit("postgres:DROP SCHEMA").await
}
