//! The slow statements of a database, where pg_stat_statements is there: how many each role has, and the slowest of them.
//!
//! pg_stat_statements puts `$1` for constants, but not always: never in utility statements, nor where its entry was lost between the
//! parsing of a statement and its end. What is shown has been through `without_constants`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::connect::Connection;
use super::quote::Ident;
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
pub async fn slow(db: &mut Connection) -> Result<Option<BTreeMap<String, Slow>>, Fault> {
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
    let mut rest = sql;
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    while let Some(c) = rest.chars().next() {
        let after_word = out.ends_with(is_word);
        let skipped = if let Some(comment) = rest.strip_prefix("--") {
            Some((" ", comment.split_once('\n').map_or("", |(_, next)| next)))
        } else if rest.starts_with("/*") {
            Some((" ", after_comment(rest)))
        } else if c == '\'' {
            // `E'…'` and the like are constants as a whole.
            let escapes = out.ends_with(['e', 'E']) && !out.strip_suffix(['e', 'E']).is_some_and(|o| o.ends_with(is_word));
            Some(("?", after_text(rest, escapes)))
        } else if let Some(tag) = dollar_tag(rest).filter(|_| !after_word) {
            Some(("?", rest[tag.len()..].split_once(tag).map_or("", |(_, next)| next)))
        } else if c.is_ascii_digit() && !after_word {
            Some(("?", rest.trim_start_matches(|c: char| c.is_alphanumeric() || matches!(c, '.' | '_'))))
        } else {
            None
        };
        if let Some((instead, next)) = skipped {
            out.push_str(instead);
            rest = next;
        } else {
            // A quoted name is a name, whatever is in it.
            let length = if c == '"' { rest[1..].find('"').map_or(rest.len(), |end| end + 2) } else { c.len_utf8() };
            out.push_str(&rest[..length]);
            rest = &rest[length..];
        }
    }
    let line = out.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LENGTH) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// What follows a comment, which may hold others.
fn after_comment(sql: &str) -> &str {
    let (mut depth, mut rest) = (0_u32, sql);
    while !rest.is_empty() {
        if let Some(next) = rest.strip_prefix("/*") {
            (depth, rest) = (depth + 1, next);
        } else if let Some(next) = rest.strip_prefix("*/") {
            (depth, rest) = (depth - 1, next);
            if depth == 0 {
                return rest;
            }
        } else {
            rest = rest.get(rest.chars().next().map_or(1, char::len_utf8)..).unwrap_or_default();
        }
    }
    rest
}

/// What follows a text in quotes. A backslash in one without `E` is only a character, or is not, as `standard_conforming_strings` was.
fn after_text(sql: &str, escapes: bool) -> &str {
    let mut chars = sql.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' if !escapes => return "",
            '\'' if chars.peek().is_none_or(|(_, next)| *next != '\'') => return &sql[at + 1..],
            '\\' | '\'' => {
                chars.next();
            }
            _ => {}
        }
    }
    ""
}

/// `$tag$` at the beginning; none for `$1`.
fn dollar_tag(sql: &str) -> Option<&str> {
    let end = sql.strip_prefix('$')?.find('$')? + 2;
    let name = &sql[1..end - 1];
    (!name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(|c| c.is_alphanumeric() || c == '_')).then(|| &sql[..end])
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
