//! What the statements of a migration begin with: which may not stand there, and which run outside a transaction.

use crate::tenantdb::tokens::{Kind, tokens};

/// Words a statement of a migration may not begin with: they would end the transaction in which change and ledger are one, leave the
/// migration role, or need a client that feeds data.
const FORBIDDEN: &[&[&str]] = &[
    &["BEGIN"],
    &["START", "TRANSACTION"],
    &["COMMIT"],
    &["END"],
    &["ROLLBACK"],
    &["ABORT"],
    &["PREPARE", "TRANSACTION"],
    &["SET", "ROLE"],
    &["SET", "LOCAL", "ROLE"],
    &["SET", "SESSION", "ROLE"],
    &["SET", "SESSION", "AUTHORIZATION"],
    &["RESET", "ROLE"],
    &["RESET", "SESSION", "AUTHORIZATION"],
    &["RESET", "ALL"],
    &["SAVEPOINT"],
    &["RELEASE"],
    &["DISCARD"],
    &["DEALLOCATE", "ALL"],
    &["DEALLOCATE", "PREPARE", "ALL"],
    &["COPY"],
];

/// The most words of a statement's beginning that anything here looks at.
const WORDS: usize = 8;

/// The first forbidden statement: its line, from 1, and its first words.
pub(super) fn forbidden(sql: &str) -> Option<(usize, String)> {
    beginnings(sql).into_iter().find_map(|(line, words)| {
        let matched = FORBIDDEN.iter().find(|f| words.len() >= f.len() && f.iter().zip(&words).all(|(f, w)| f == w))?;
        Some((line, matched.join(" ")))
    })
}

/// What a file without a transaction does, being one statement that may run again after it was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Concurrent {
    /// `CREATE [UNIQUE] INDEX CONCURRENTLY <name> ON …`
    Create(String),
    /// `DROP INDEX CONCURRENTLY IF EXISTS <name>`
    Drop(String),
}

/// The header by which a file asks to be run outside a transaction.
const HEADER: &str = "labctl: no-transaction";

/// Whether the file's first lines, all comments, hold the header.
pub(super) fn without_transaction(sql: &str) -> bool {
    let comments = sql.lines().map(str::trim).take_while(|l| l.is_empty() || l.starts_with("--"));
    comments.into_iter().any(|l| l.trim_start_matches('-').trim() == HEADER)
}

/// The one statement of a file without a transaction.
///
/// # Errors
/// The line, and what is wrong there.
pub(super) fn concurrent(sql: &str) -> Result<Concurrent, (usize, &'static str)> {
    let all = beginnings(sql);
    let [(line, words)] = all.as_slice() else {
        return Err((all.get(1).map_or(1, |(line, _)| *line), "a file without a transaction holds exactly one statement"));
    };
    // `U&'\007B'`.
    if tokens(sql).any(|(kind, token)| is_composed(kind, token)) || sql.to_ascii_lowercase().contains("u&'") {
        return Err((
            *line,
            "a text that begins with `{`, `[` or `(`, or has escapes, may be read as an array, a range or a row, by checks that are the schema's own, before PostgreSQL forbids them to change the role: make the index in a transaction",
        ));
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let name = |name: &str| name.to_lowercase();
    match words.as_slice() {
        // It would take an INVALID index of that name for a good one.
        ["CREATE", "INDEX", "CONCURRENTLY", "IF", ..] | ["CREATE", "UNIQUE", "INDEX", "CONCURRENTLY", "IF", ..] => {
            Err((*line, "`IF NOT EXISTS` would take what an interrupted run left for a finished index: leave it out"))
        }
        ["CREATE", "INDEX", "CONCURRENTLY", "ON", ..] | ["CREATE", "UNIQUE", "INDEX", "CONCURRENTLY", "ON", ..] => {
            Err((*line, "an index made concurrently needs a name without quotes, so that what an interrupted run left is found again"))
        }
        ["CREATE", "INDEX", "CONCURRENTLY", index, "ON", ..] | ["CREATE", "UNIQUE", "INDEX", "CONCURRENTLY", index, "ON", ..] => {
            Ok(Concurrent::Create(name(index)))
        }
        ["DROP", "INDEX", "CONCURRENTLY", "IF", "EXISTS", index] => Ok(Concurrent::Drop(name(index))),
        _ => Err((
            *line,
            "without a transaction labctl runs only `CREATE [UNIQUE] INDEX CONCURRENTLY name ON …` and `DROP INDEX CONCURRENTLY IF EXISTS name`, which it can do again after a crash",
        )),
    }
}

/// Whether a text could be one of several values, whose types' checks would run when it is read: or whether that cannot be told.
fn is_composed(kind: Kind, token: &str) -> bool {
    let inner = match kind {
        Kind::Text { escapes: true } => return true,
        Kind::Text { .. } => token.trim_start_matches('\''),
        Kind::Dollar => token.splitn(3, '$').last().unwrap_or_default(),
        _ => return false,
    };
    inner.trim_start().starts_with(['{', '[', '('])
}

/// The line of the first statement that cannot run in a transaction.
pub(super) fn needs_no_transaction(sql: &str) -> Option<usize> {
    let concurrently = |words: &[String]| {
        let index = words.iter().take(3).any(|w| w == "INDEX") && matches!(words[0].as_str(), "CREATE" | "DROP" | "REINDEX");
        index && words.iter().take(4).any(|w| w == "CONCURRENTLY")
    };
    beginnings(sql).into_iter().find(|(_, words)| concurrently(words)).map(|(line, _)| line)
}

/// A file without a transaction as one that may run in one: the same without the word `CONCURRENTLY`.
pub(super) fn without_concurrently(sql: &str) -> String {
    let mut first = true;
    let kept = tokens(sql).filter(|(kind, token)| !(*kind == Kind::Word && token.eq_ignore_ascii_case("concurrently") && std::mem::take(&mut first)));
    kept.map(|(_, token)| token).collect()
}

/// Of every statement: the line it begins in, and its first [`WORDS`] words in upper case. What stands in quotes is no word.
fn beginnings(sql: &str) -> Vec<(usize, Vec<String>)> {
    let mut found: Vec<(usize, Vec<String>)> = Vec::new();
    let (mut line, mut fresh) = (1, true);
    // Inside `BEGIN ATOMIC … END` (the body of an SQL function) a semicolon ends no statement of ours.
    let mut atomic = 0_usize;
    let mut last_word = String::new();
    for (kind, token) in tokens(sql) {
        match kind {
            Kind::Word | Kind::Number => {
                let text = token.to_uppercase();
                if std::mem::take(&mut fresh) {
                    found.push((line, Vec::new()));
                }
                match text.as_str() {
                    "ATOMIC" if last_word == "BEGIN" => atomic += 1,
                    "CASE" if atomic > 0 => atomic += 1,
                    "END" if atomic > 0 => atomic -= 1,
                    _ => {}
                }
                if let Some((_, words)) = found.last_mut()
                    && words.len() < WORDS
                {
                    words.push(text.clone());
                }
                last_word = text;
            }
            Kind::Other if token == ";" => fresh |= atomic == 0,
            _ => line += token.matches('\n').count(),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_break_out_is_found() {
        let rows = [
            ("commit", "COMMIT"),
            ("select 1; RollBack;", "ROLLBACK"),
            ("-- x\n/* y /* z */ */ begin;", "BEGIN"),
            ("set local role other", "SET LOCAL ROLE"),
            ("reset\n role", "RESET ROLE"),
            ("select 'a''b;'; end", "END"),
            ("savepoint a; rollback to a", "SAVEPOINT"),
            ("deallocate all", "DEALLOCATE ALL"),
            ("select $$ x $$; copy a from stdin", "COPY"),
            (r"select E'\''; abort", "ABORT"),
            ("create function f() returns int begin atomic select case when true then 1 else 2 end; select 2; end; commit", "COMMIT"),
        ];
        for (sql, word) in rows {
            assert_eq!(forbidden(sql).map(|f| f.1).as_deref(), Some(word), "{sql}");
        }
    }

    #[test]
    fn what_only_looks_like_it_is_let_through() {
        let rows = [
            "select 'x; commit;'",
            "select \"a; commit\" from t",
            "create function f() returns void language plpgsql as $body$ begin perform 1; end; $body$",
            "do $$ begin null; end $$",
            "create function f() returns int begin atomic select 1; select 2; end; select 3",
            "-- commit;\nselect 1",
            "prepare a as select 1; execute a; deallocate a",
            "set local lock_timeout = '1s'",
            "select $1; select a$b",
            "create table commit_log (id int)",
        ];
        for sql in rows {
            assert_eq!(forbidden(sql), None, "{sql}");
        }
    }

    #[test]
    fn a_file_without_a_transaction_holds_one_index_statement_that_may_run_again() {
        let name = |n: &str| n.to_owned();
        assert_eq!(concurrent("-- x\nCREATE INDEX CONCURRENTLY By_Day ON a (day);"), Ok(Concurrent::Create(name("by_day"))));
        assert_eq!(concurrent("create unique index concurrently u on a (b) where c"), Ok(Concurrent::Create(name("u"))));
        assert_eq!(concurrent("create index concurrently u on a (b) where c = 'open' and d <> '' and e > $$2$$"), Ok(Concurrent::Create(name("u"))));
        assert_eq!(concurrent("drop index concurrently if exists u"), Ok(Concurrent::Drop(name("u"))));
        for (sql, line) in [
            ("create index concurrently if not exists a on b (c)", 1),
            ("create index concurrently on b (c)", 1),
            ("create index concurrently \"A\" on b (c)", 1),
            ("\ncreate index a on b (c)", 2),
            ("drop index concurrently a", 1),
            ("create index concurrently a on b (c) where tags @> ' [\"a\"]'", 1),
            ("create index concurrently a on b (c) where d = $q${x}$q$", 1),
            ("create index concurrently a on b (c) where d = E'\\x7bx}'", 1),
            ("create index concurrently a on b (c) where d = u&'\\007bx}'", 1),
            ("vacuum a", 1),
            ("create index concurrently a on b (c);\nselect 1", 2),
            ("", 1),
        ] {
            assert_eq!(concurrent(sql).unwrap_err().0, line, "{sql}");
        }
    }

    #[test]
    fn an_index_can_be_made_in_a_transaction_as_well() {
        let sql = "-- concurrently, /* but\n/* concurrently */ CREATE INDEX Concurrently a ON b (concurrently_made);";
        assert_eq!(without_concurrently(sql), "-- concurrently, /* but\n/* concurrently */ CREATE INDEX  a ON b (concurrently_made);");
    }

    #[test]
    fn only_the_leading_comment_is_the_header() {
        assert!(without_transaction("-- a\n\n--labctl: no-transaction\nselect 1"));
        assert!(!without_transaction("select 1;\n-- labctl: no-transaction"));
        assert!(!without_transaction("-- not labctl: no-transaction\nselect 1"));
    }

    #[test]
    fn what_cannot_run_in_a_transaction_is_found() {
        for sql in
            ["create index concurrently a on b (c)", "create unique index concurrently a on b (c)", "reindex index concurrently a", "drop index concurrently a"]
        {
            assert_eq!(needs_no_transaction(&format!("select 1;\n{sql}")), Some(2), "{sql}");
        }
        assert_eq!(needs_no_transaction("create index concurrently_made on b (c); create table concurrently (a int)"), None);
    }

    #[test]
    fn the_line_is_that_of_the_statement() {
        assert_eq!(forbidden("select 1;\n\n  commit;"), Some((3, "COMMIT".into())));
    }
}
