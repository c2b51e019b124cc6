//! The slow statements of a database, where pg_stat_statements is there: how many each role has, and the slowest of them.
//!
//! pg_stat_statements puts `$1` for constants, but not always: never in utility statements, nor where its entry was lost between the
//! parsing of a statement and its end. What is shown has been through `without_constants`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::connect::Connection;
use super::quote::Ident;
use super::tokens::{Kind, tokens};
use crate::engine::fault::{Class, Fault};

/// Mean time from which a statement counts as slow, in milliseconds.
const SLOW: i64 = 1000;
/// How many of a role's slow statements are shown.
pub const SHOWN: usize = 5;
/// How much of a statement is shown, in characters.
const LENGTH: usize = 500;

/// A role's slow statements.
#[derive(Debug, Clone, Default)]
pub struct Slow {
    /// All of them.
    pub count: i64,
    /// The slowest, [`SHOWN`] at most.
    pub slowest: Vec<Statement>,
}

/// One statement.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Statement {
    /// The role it ran as.
    pub role: String,
    /// Its text without constants, cut off after 500 characters. None where the administrator may not see it.
    pub text: Option<String>,
    /// How often it ran.
    pub calls: i64,
    /// Its mean time in milliseconds.
    pub mean_ms: i64,
}

/// The slow statements that each role has run in this connection's database since its statistics began; `None` where pg_stat_statements
/// is not there, or not to be read.
///
/// # Errors
/// As the statements' faults.
pub async fn read(db: &mut Connection) -> Result<Option<BTreeMap<String, Slow>>, Fault> {
    let found: Option<(String,)> = db
        .optional(
            "postgres:pg_extension",
            sqlx::query_as(
                "SELECT n.nspname::text FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace \
                 WHERE e.extname = 'pg_stat_statements' AND has_schema_privilege(n.oid, 'USAGE')",
            ),
        )
        .await?;
    let Some((schema,)) = found else { return Ok(None) };
    // A text that may not be seen has no number either.
    let sql = format!(
        "SELECT * FROM (SELECT r.rolname::text, count(*) OVER (PARTITION BY r.oid), row_number() OVER (PARTITION BY r.oid ORDER BY s.mean_exec_time DESC) AS place, \
                        CASE WHEN s.queryid IS NOT NULL THEN s.query END, s.calls, round(s.mean_exec_time)::bigint \
                        FROM {}.pg_stat_statements s JOIN pg_roles r ON r.oid = s.userid \
                        WHERE s.mean_exec_time >= {SLOW} AND s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())) slow \
         WHERE place <= {SHOWN} ORDER BY place",
        Ident::new(&schema)?
    );
    let rows = match db.select::<(String, i64, i64, Option<String>, i64, i64)>("postgres:pg_stat_statements", sql).await {
        Ok(rows) => rows,
        // The extension is made, but the server was not started with its library.
        Err(fault) if fault.class == Class::Refused => return Ok(None),
        Err(fault) => return Err(fault),
    };
    let mut by_role: BTreeMap<String, Slow> = BTreeMap::new();
    for (role, count, _, text, calls, mean_ms) in rows {
        let slow = by_role.entry(role.clone()).or_default();
        slow.count = count;
        slow.slowest.push(Statement { role, text: text.map(|text| without_constants(&text)), calls, mean_ms });
    }
    Ok(Some(by_role))
}

/// A statement's text with `?` for each text and number in it, without comments, in one line. Where it cannot be told for sure where a
/// text ends, the rest is left out.
fn without_constants(sql: &str) -> String {
    let mut out = String::new();
    for (kind, token) in tokens(sql) {
        match kind {
            Kind::Space | Kind::Comment => out.push(' '),
            Kind::Text { .. } | Kind::Dollar | Kind::Number => out.push('?'),
            Kind::Word | Kind::Name | Kind::Parameter | Kind::Other => out.push_str(token),
        }
        // A backslash in it is only a character, or is not, as `standard_conforming_strings` was.
        if kind == (Kind::Text { escapes: false }) && token.contains('\\') {
            break;
        }
    }
    let line = out.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LENGTH) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_constant_is_left_in_a_statement_and_all_else_is() {
        for (sql, shown) in [
            ("SELECT a1, $1 FROM t_2 WHERE b = $2", "SELECT a1, $1 FROM t_2 WHERE b = $2"),
            ("SELECT 1,-2.5e3, 0xff,  t.c1\n FROM x", "SELECT ?,-?, ?, t.c1 FROM x"),
            ("ALTER ROLE x PASSWORD 'it''s secret' VALID UNTIL 'now'", "ALTER ROLE x PASSWORD ? VALID UNTIL ?"),
            ("SELECT E'a\\'secret', b'01', name FROM t", "SELECT E?, b?, name FROM t"),
            (r"SELECT 'a\' || 'secret'", "SELECT ?"),
            ("DO $$ BEGIN secret; END $$; SELECT x", "DO ?; SELECT x"),
            ("DO $do$ $$ secret $$ $do$ LANGUAGE x", "DO ? LANGUAGE x"),
            ("SELECT a /* secret /* more */ secret */ FROM t -- secret\nWHERE b", "SELECT a FROM t WHERE b"),
            (r#"SELECT "it's 1" FROM "a""b" WHERE c = 'secret'"#, r#"SELECT "it's 1" FROM "a""b" WHERE c = ?"#),
            ("SELECT 'secret", "SELECT ?"),
            ("SELECT a -- 'secret", "SELECT a"),
            ("SELECT 'größe', ü FROM t", "SELECT ?, ü FROM t"),
        ] {
            assert_eq!(without_constants(sql), shown, "{sql}");
        }
        let long = without_constants(&format!("SELECT {}", "ä, ".repeat(1000)));
        assert_eq!((long.chars().count(), long.ends_with('…')), (LENGTH + 1, true));
    }
}
