//! Taking a schema over that was there before labctl: in one transaction it gets owner, comment, the owners of what is in it, grants and row
//! security; and is held against its baseline before that is committed. A schema that is not what its baseline makes stays wholly as it was.
//!
//! Tables, views, sequences, routines, types and extended statistics are given to the migration role, which later changes them. Rows are
//! never touched.

use super::connect::Connection;
use super::connect_group;
use super::grants::Parties;
use super::membership::borrow;
use super::migrations::{Library, Step, baseline, ledger};
use super::quote::{Ident, Literal};
use super::row_security::{self, Guard};
use super::schemas::{self, Found};
use crate::engine::fault::Fault;

const CALL: &str = "postgres:ALTER SCHEMA";

/// What a schema is taken over with.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// The database.
    pub database: &'a Ident,
    /// The roles it is to be for.
    pub parties: &'a Parties,
    /// Whose it is to be, as [`comment::write`](super::comment::write) has it.
    pub comment: &'a str,
    /// The migrations whose work it holds.
    pub baseline: &'a [Step],
}

/// Everything in the schema `n` that has an owner of its own: what it is, its owner, and how its owner is changed, but for the role.
/// What belongs to a table goes with that table; what belongs to an extension is the extension's.
const THINGS: &str = "
SELECT format('relation %s', c.relname) AS what, c.relowner AS owner,
       format('ALTER %s %I.%I', CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE' WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END, n.nspname, c.relname) AS change,
       'pg_class'::regclass AS class, c.oid
  FROM pg_class c JOIN n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
   AND NOT (c.relkind = 'S' AND EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')))
UNION ALL
SELECT format('function %s', p.proname), p.proowner, format('ALTER ROUTINE %s', p.oid::regprocedure), 'pg_proc'::regclass, p.oid FROM pg_proc p JOIN n ON n.oid = p.pronamespace
UNION ALL
SELECT format('type %s', t.typname), t.typowner, format('ALTER TYPE %I.%I', n.nspname, t.typname), 'pg_type'::regclass, t.oid
  FROM pg_type t JOIN n ON n.oid = t.typnamespace LEFT JOIN pg_class c ON c.oid = t.typrelid WHERE t.typtype IN ('e', 'd', 'r') OR c.relkind = 'c'
UNION ALL
SELECT format('statistics %s', s.stxname), s.stxowner, format('ALTER STATISTICS %I.%I', n.nspname, s.stxname), 'pg_statistic_ext'::regclass, s.oid
  FROM pg_statistic_ext s JOIN n ON n.oid = s.stxnamespace";

/// The things of a schema that are none of these roles', with their owners' names, in the order of what they are.
fn strange(schema: &Ident, roles: &[&Ident]) -> Result<String, Fault> {
    let names: Vec<Literal> = roles.iter().map(|r| Literal::new(r.name())).collect::<Result<_, _>>()?;
    Ok(format!(
        "WITH n AS (SELECT oid, nspname FROM pg_namespace WHERE nspname = {}), things AS ({THINGS}) \
         SELECT t.what, r.rolname AS owner, t.change FROM things t JOIN pg_roles r ON r.oid = t.owner \
         WHERE r.rolname <> ALL (ARRAY[{}]::name[]) AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = t.class AND d.objid = t.oid AND d.deptype = 'e') ORDER BY t.what",
        Literal::new(schema.name())?,
        super::quote::list(names)
    ))
}

/// What in a schema is neither its owner's nor the migration role's: what it is, and whose.
///
/// # Errors
/// As the statement's fault.
pub async fn strangers(db: &mut Connection, schema: &Ident, parties: &Parties) -> Result<Vec<(String, String)>, Fault> {
    let sql = strange(schema, &[&parties.owner, &parties.migration])?;
    db.select("postgres:pg_class", format!("SELECT what, owner::text FROM ({sql}) x")).await
}

/// Whether there is something of the ledger's name in a schema.
///
/// # Errors
/// As the statement's fault.
pub async fn has_ledger(db: &mut Connection, schema: &Ident) -> Result<bool, Fault> {
    let query = sqlx::query_as("SELECT true FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2");
    let row: Option<(bool,)> = db.optional("postgres:pg_class", query.bind(schema.name()).bind(ledger::TABLE)).await?;
    Ok(row.is_some())
}

/// Takes a schema over, all of it or nothing.
///
/// # Errors
/// Refused (`not_the_baseline`) with each difference when it is not what the baseline makes; refused (`42501`) when somebody owns of it what the
/// administrator cannot take; else as the statements' faults.
pub async fn take_over(db: &mut Connection, schema: &Ident, found: &Found, terms: &Terms<'_>, library: &Library) -> Result<(), Fault> {
    let Terms { database, parties, comment, baseline } = *terms;
    connect_group::look(db, database, &[&parties.owner]).await?.open(db, database).await?;
    db.begin().await?;
    db.execute("postgres:SET", "SET LOCAL statement_timeout = '10min'".to_owned()).await?;
    let owners: Vec<Ident> = std::iter::once(&found.owner)
        .chain(strangers(db, schema, parties).await?.iter().map(|(_, owner)| owner))
        .map(|name| Ident::new(name))
        .collect::<Result<_, _>>()?;
    let borrowed = borrow(db, &owners.iter().chain([&parties.owner, &parties.migration]).collect::<Vec<_>>()).await.map_err(|fault| {
        let names: std::collections::BTreeSet<&str> = owners.iter().map(Ident::name).collect();
        fault.hint(format!(
            "the administrator must be able to act as {}: have a superuser make it the owner of the schema and of what is in it",
            names.into_iter().collect::<Vec<_>>().join(", ")
        ))
    })?;
    let (owner, migration) = (&parties.owner, &parties.migration);
    db.execute(
        CALL,
        format!(
            "ALTER SCHEMA {schema} OWNER TO {owner}; COMMENT ON SCHEMA {schema} IS {}; GRANT USAGE, CREATE ON SCHEMA {schema} TO {migration}",
            Literal::new(comment)?
        ),
    )
    .await?;
    let each = format!(
        "DECLARE it record; BEGIN FOR it IN {} LOOP EXECUTE it.change || {}; END LOOP; END",
        strange(schema, &[migration])?,
        Literal::new(&format!(" OWNER TO {migration}"))?
    );
    db.execute("postgres:ALTER OWNER", format!("DO {}", Literal::new(&each)?)).await?;
    schemas::grant(db, schema, database, parties).await?;
    if let Some(guard) = Guard::of(parties)? {
        row_security::apply(db, schema, Some(&guard)).await?;
    }
    baseline::check(db, schema, migration, baseline, library).await?;
    borrowed.give_back(db).await?;
    db.commit(CALL).await
}
