//! Whether a schema that was there before labctl is what a stack's migrations make: asked before they are recorded as its baseline.
//!
//! In a subtransaction that is undone the migrations are run in a scratch schema, as the migration role, and both schemas are taken stock of.
//! Each is looked at with itself alone in the search path, so that names within it are written without it and equal things read equal; but what is
//! asked is planned before that, with PostgreSQL's own functions, so that none of the schema's is called. Rows are neither compared nor touched.
//!
//! Not compared: the order of columns, comments, owners and rights (those are mended by taking over), storage parameters, statistics.

use std::collections::BTreeMap;
use std::fmt;

use super::statements::without_concurrently;
use super::{Library, Step, ledger};
use crate::engine::fault::Fault;
use crate::tenantdb::connect::Connection;
use crate::tenantdb::quote::{Ident, Literal};
use crate::tenantdb::row_security::POLICY;

const CALL: &str = "postgres:baseline";
/// As many differences are told.
const TOLD: usize = 100;

/// A thing in a schema: its sort, the table it belongs to (empty for none), its name.
type Key = (String, String, String);

/// A difference between a schema and what the migrations make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// The migrations make it, and it is not there.
    Missing(String),
    /// It is there, and no migration makes it.
    Extra(String),
    /// It is there, and otherwise.
    Different {
        /// Which.
        thing: String,
        /// As it is.
        is: String,
        /// As the migrations make it.
        made: String,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(thing) => write!(f, "missing: {thing}"),
            Self::Extra(thing) => write!(f, "extra: {thing}"),
            Self::Different { thing, is, made } => write!(f, "different: {thing}: is `{is}`, the migrations make `{made}`"),
        }
    }
}

/// Holds a schema against these migrations, in the caller's transaction, which the administrator is a member of the role in.
///
/// # Errors
/// Refused (`not_the_baseline`) with every difference, a line each; or as the migrations' own faults.
pub(in crate::tenantdb) async fn check(db: &mut Connection, schema: &Ident, role: &Ident, steps: &[Step], library: &Library) -> Result<(), Fault> {
    if steps.is_empty() {
        return Ok(());
    }
    let found = compare(db, schema, role, steps, library).await?;
    if found.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = found.iter().take(TOLD).map(ToString::to_string).collect();
    let more = if found.len() > TOLD { format!("\nand {} more", found.len() - TOLD) } else { String::new() };
    let differ = if found.len() == 1 { "1 difference".to_owned() } else { format!("{} differences", found.len()) };
    let message = format!("the schema {schema} is not what its baseline ({}) makes: {differ}\n{}{more}", ledger::version(steps), lines.join("\n"));
    Err(Fault::refused(CALL, "not_the_baseline", message).hint(
        "nothing of the schema was changed: make it as the migrations do (move what is extra elsewhere), or name another version as `baseline` in the tenant's spec",
    ))
}

async fn compare(db: &mut Connection, schema: &Ident, role: &Ident, steps: &[Step], library: &Library) -> Result<Vec<Difference>, Fault> {
    // The transaction's own number makes the name unique; nobody else ever sees the schema.
    let start = "SAVEPOINT labctl_baseline; RESET ROLE; SELECT pg_current_xact_id()::text".to_owned();
    let started = db.script(CALL, start).await?;
    let transaction = started.last().and_then(|rows| rows.first()).and_then(|row| row.first().cloned().flatten()).unwrap_or_default();
    let scratch = Ident::new(&format!("labctl_baseline_{transaction}"))?;
    db.execute(CALL, format!("CREATE SCHEMA {scratch} AUTHORIZATION {role}; SET LOCAL ROLE {role}; SET LOCAL search_path = {scratch}")).await?;
    for step in steps {
        let file = library.file(&step.checksum).ok_or_else(|| {
            let short = ledger::short(&step.checksum);
            Fault::refused(CALL, "no_text", format!("the text of {step} ({short}) is not among this stack's migrations"))
        })?;
        let sql = if file.concurrent.is_some() { without_concurrently(&file.sql) } else { file.sql.clone() };
        // A last line may be a comment.
        let script = format!("{sql}\n;SELECT pg_catalog.pg_current_xact_id()::text, current_user::text");
        let kept = db.script(CALL, script).await.map_err(|mut fault| {
            fault.message = format!("{step}, tried in a scratch schema: {}", fault.message);
            fault
        })?;
        if kept.last().and_then(|rows| rows.last()).map(Vec::as_slice) != Some(&[Some(transaction.clone()), Some(role.name().to_owned())]) {
            return Err(Fault::unknown(CALL, "left_transaction", format!("{step} ended the transaction or changed the role it ran in")));
        }
    }
    let made = stock(db, &scratch).await?;
    let is = stock(db, schema).await?;
    db.execute(CALL, "ROLLBACK TO SAVEPOINT labctl_baseline; RELEASE SAVEPOINT labctl_baseline".to_owned()).await?;
    Ok(differences(&is, &made))
}

/// Everything in a schema but the ledger, with its definition. The path in which definitions are written is set by the query itself, when it is run:
/// what is in it was looked up before, in `pg_catalog`.
async fn stock(db: &mut Connection, schema: &Ident) -> Result<BTreeMap<Key, String>, Fault> {
    db.execute("postgres:SET", "RESET ROLE; SET LOCAL search_path = pg_catalog".to_owned()).await?;
    let (name, path) = (Literal::new(schema.name())?, Literal::new(&schema.to_string())?);
    let (ledger, policy) = (Literal::new(ledger::TABLE)?, Literal::new(POLICY)?);
    let with = format!(
        "WITH n AS MATERIALIZED (SELECT oid FROM pg_namespace WHERE nspname = {name} AND set_config('search_path', {path}, true) IS NOT NULL), \
         rel AS (SELECT c.* FROM pg_class c JOIN n ON n.oid = c.relnamespace WHERE c.relname <> {ledger}), own AS (SELECT {policy}::name AS policy)"
    );
    let rows: Vec<(String, String, String, String)> = db.select("postgres:catalogs", format!("{with} {STOCK}")).await?;
    Ok(rows.into_iter().map(|(sort, of, name, text)| ((sort, of, name), text)).collect())
}

/// After the CTEs `n` (the schema), `rel` (its relations but the ledger) and `own` (labctl's own policy): sort, table, name and definition.
const STOCK: &str = "
SELECT 'table', '', relname::text, concat_ws(' ', CASE relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned by ' || pg_get_partkeydef(oid) ELSE 'foreign table' END,
       CASE relpersistence WHEN 'u' THEN 'unlogged' END, pg_get_expr(relpartbound, oid),
       (SELECT 'of ' || string_agg(i.inhparent::regclass::text, ', ' ORDER BY i.inhseqno) FROM pg_inherits i WHERE i.inhrelid = rel.oid))
  FROM rel WHERE relkind IN ('r', 'p', 'f')
UNION ALL
SELECT 'column', relname::text, a.attname::text, concat_ws(' ', format_type(a.atttypid, a.atttypmod), CASE WHEN a.attcollation <> t.typcollation THEN 'COLLATE ' || a.attcollation::regcollation END,
       CASE WHEN a.attnotnull THEN 'NOT NULL' END, CASE a.attidentity WHEN 'a' THEN 'GENERATED ALWAYS AS IDENTITY' WHEN 'd' THEN 'GENERATED BY DEFAULT AS IDENTITY' END,
       CASE a.attgenerated WHEN 's' THEN 'GENERATED ALWAYS AS ' WHEN 'v' THEN 'GENERATED VIRTUAL AS ' ELSE 'DEFAULT ' END || pg_get_expr(d.adbin, d.adrelid))
  FROM rel JOIN pg_attribute a ON a.attrelid = rel.oid AND a.attnum > 0 AND NOT a.attisdropped JOIN pg_type t ON t.oid = a.atttypid
  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum WHERE relkind IN ('r', 'p', 'f', 'c')
UNION ALL
SELECT 'constraint', relname::text, c.conname::text, pg_get_constraintdef(c.oid) FROM pg_constraint c JOIN rel ON rel.oid = c.conrelid WHERE c.contype NOT IN ('n', 't')
UNION ALL
SELECT 'index', rel.relname::text, i.relname::text, pg_get_indexdef(i.oid, 0, true) || CASE WHEN x.indisvalid THEN '' ELSE ' INVALID' END
  FROM pg_index x JOIN rel ON rel.oid = x.indrelid JOIN pg_class i ON i.oid = x.indexrelid
 WHERE NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = x.indexrelid AND c.contype IN ('p', 'u', 'x'))
UNION ALL
SELECT 'sequence', '', relname::text, concat_ws(' ', format_type(s.seqtypid, NULL), 'START', s.seqstart, 'INCREMENT', s.seqincrement, 'FROM', s.seqmin, 'TO', s.seqmax, CASE WHEN s.seqcycle THEN 'CYCLE' END,
       (SELECT format('OWNED BY %s.%s', d.refobjid::regclass, a.attname) FROM pg_depend d JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
         WHERE d.classid = 'pg_class'::regclass AND d.objid = rel.oid AND d.deptype = 'a' AND d.refclassid = 'pg_class'::regclass))
  FROM rel JOIN pg_sequence s ON s.seqrelid = rel.oid
 WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = rel.oid AND d.deptype = 'i')
UNION ALL
SELECT CASE relkind WHEN 'v' THEN 'view' ELSE 'materialized view' END, '', relname::text, pg_get_viewdef(oid) FROM rel WHERE relkind IN ('v', 'm')
UNION ALL
SELECT CASE p.prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' ELSE 'function' END, '', format('%s(%s)', p.proname, pg_get_function_identity_arguments(p.oid)),
       concat_ws(' ', format('(%s)', pg_get_function_arguments(p.oid)), 'RETURNS ' || pg_get_function_result(p.oid), 'LANGUAGE', l.lanname, p.provolatile, p.proparallel,
       CASE WHEN p.proisstrict THEN 'STRICT' END, CASE WHEN p.prosecdef THEN 'SECURITY DEFINER' END, CASE WHEN p.proleakproof THEN 'LEAKPROOF' END, array_to_string(p.proconfig, ' '),
       p.prosrc, pg_get_function_sqlbody(p.oid))
  FROM pg_proc p JOIN n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
UNION ALL
SELECT 'trigger', rel.relname::text, t.tgname::text, concat_ws(' ', pg_get_triggerdef(t.oid, true), NULLIF(t.tgenabled, 'O')) FROM pg_trigger t JOIN rel ON rel.oid = t.tgrelid WHERE NOT t.tgisinternal
UNION ALL
SELECT 'rule', rel.relname::text, r.rulename::text, pg_get_ruledef(r.oid, true) FROM pg_rewrite r JOIN rel ON rel.oid = r.ev_class WHERE r.rulename <> '_RETURN'
UNION ALL
SELECT 'policy', rel.relname::text, p.polname::text, concat_ws(' ', p.polcmd, p.polpermissive, 'USING', pg_get_expr(p.polqual, p.polrelid), 'CHECK', pg_get_expr(p.polwithcheck, p.polrelid))
  FROM pg_policy p JOIN rel ON rel.oid = p.polrelid CROSS JOIN own WHERE p.polname <> own.policy
UNION ALL
SELECT CASE t.typtype WHEN 'd' THEN 'domain' ELSE 'type' END, '', t.typname::text, CASE t.typtype
       WHEN 'e' THEN 'ENUM (' || coalesce((SELECT string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid), '') || ')'
       WHEN 'd' THEN concat_ws(' ', format_type(t.typbasetype, t.typtypmod), CASE WHEN t.typnotnull THEN 'NOT NULL' END, 'DEFAULT ' || t.typdefault,
            (SELECT string_agg(format('%s %s', c.conname, pg_get_constraintdef(c.oid)), ' ' ORDER BY c.conname) FROM pg_constraint c WHERE c.contypid = t.oid AND c.contype <> 'n'))
       WHEN 'r' THEN 'RANGE OF ' || (SELECT format_type(r.rngsubtype, NULL) FROM pg_range r WHERE r.rngtypid = t.oid) ELSE 'composite' END
  FROM pg_type t JOIN n ON n.oid = t.typnamespace LEFT JOIN pg_class c ON c.oid = t.typrelid
 WHERE t.typtype IN ('e', 'd', 'r') OR c.relkind = 'c'";

/// What differs, in the order of sorts and names. What belongs to a table that is missing or extra goes without saying.
fn differences(is: &BTreeMap<Key, String>, made: &BTreeMap<Key, String>) -> Vec<Difference> {
    let told = |(sort, of, name): &Key| if of.is_empty() { format!("{sort} {name}") } else { format!("{sort} {of}.{name}") };
    // A column may also be a composite type's.
    let there = |all: &BTreeMap<Key, String>, table: &str| {
        ["table", "view", "materialized view", "type"].iter().any(|sort| all.contains_key(&((*sort).to_owned(), String::new(), table.to_owned())))
    };
    let both = |(_, of, _): &Key| of.is_empty() || (there(is, of) && there(made, of));
    let mut keys: Vec<&Key> = is.keys().chain(made.keys()).filter(|key| both(key)).collect();
    keys.sort_unstable_by_key(|(sort, of, name)| (sort != "table", if of.is_empty() { name } else { of }, sort, name));
    keys.dedup();
    keys.into_iter()
        .filter_map(|key| match (is.get(key), made.get(key)) {
            (None, _) => Some(Difference::Missing(told(key))),
            (_, None) => Some(Difference::Extra(told(key))),
            (Some(is), Some(made)) => (is != made).then(|| Difference::Different { thing: told(key), is: is.clone(), made: made.clone() }),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stock(things: &[(&str, &str, &str, &str)]) -> BTreeMap<Key, String> {
        things.iter().map(|(sort, of, name, text)| (((*sort).into(), (*of).into(), (*name).into()), (*text).into())).collect()
    }

    #[test]
    fn a_table_that_is_missing_or_extra_is_told_once_and_a_column_with_both_its_shapes() {
        let is = stock(&[
            ("table", "", "a", "table"),
            ("column", "a", "id", "bigint"),
            ("table", "", "old", "table"),
            ("column", "old", "x", "text"),
            ("index", "a", "by_x", "…"),
        ]);
        let made = stock(&[
            ("table", "", "a", "table"),
            ("column", "a", "id", "bigint NOT NULL"),
            ("table", "", "b", "table"),
            ("column", "b", "id", "bigint"),
            ("column", "a", "y", "text"),
        ]);
        let told: Vec<String> = differences(&is, &made).iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "missing: table b",
                "extra: table old",
                "different: column a.id: is `bigint`, the migrations make `bigint NOT NULL`",
                "missing: column a.y",
                "extra: index a.by_x",
            ]
        );
        assert_eq!(differences(&is, &is), []);
    }
}
