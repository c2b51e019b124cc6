//! Just enough of SQL's grammar to find where statements begin: quotes, dollar quotes and comments are skipped.

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
    &["DISCARD"],
    &["COPY"],
];

/// The first forbidden statement: its line, from 1, and its first words.
pub(super) fn forbidden(sql: &str) -> Option<(usize, String)> {
    beginnings(sql).into_iter().find_map(|(line, words)| {
        // `ROLLBACK TO` and `SAVEPOINT` stay inside the transaction; a forbidden beginning is one whatever follows.
        let matched = FORBIDDEN.iter().find(|f| words.len() >= f.len() && f.iter().zip(&words).all(|(f, w)| f == w))?;
        let within = matched[0] == "ROLLBACK" && words.get(1).is_some_and(|w| w == "TO");
        (!within).then(|| (line, matched.join(" ")))
    })
}

/// Of every statement: the line it begins in, and its first three words in upper case.
fn beginnings(sql: &str) -> Vec<(usize, Vec<String>)> {
    let chars: Vec<char> = sql.chars().collect();
    let mut found: Vec<(usize, Vec<String>)> = Vec::new();
    let (mut at, mut fresh) = (0, true);
    // Inside `BEGIN ATOMIC … END` (the body of an SQL function) a semicolon ends no statement of ours.
    let mut atomic = 0_usize;
    let mut last_word = String::new();
    while at < chars.len() {
        let c = chars[at];
        let next = chars.get(at + 1).copied();
        match c {
            '-' if next == Some('-') => at = chars[at..].iter().position(|c| *c == '\n').map_or(chars.len(), |n| at + n),
            '/' if next == Some('*') => at = comment(&chars, at),
            '\'' => {
                let escapes = at > 0 && matches!(chars[at - 1], 'e' | 'E') && !(at > 1 && word(chars[at - 2]));
                at = quoted(&chars, at, '\'', escapes);
            }
            '"' => at = quoted(&chars, at, '"', false),
            '$' if at == 0 || !word(chars[at - 1]) => at = dollar(&chars, at),
            ';' => {
                fresh |= atomic == 0;
                at += 1;
            }
            c if word(c) => {
                let start = at;
                while at < chars.len() && word(chars[at]) {
                    at += 1;
                }
                let text: String = chars[start..at].iter().collect::<String>().to_uppercase();
                if fresh {
                    let line = 1 + chars[..start].iter().filter(|c| **c == '\n').count();
                    found.push((line, Vec::new()));
                    fresh = false;
                }
                match text.as_str() {
                    "ATOMIC" if last_word == "BEGIN" => atomic += 1,
                    "CASE" if atomic > 0 => atomic += 1,
                    "END" if atomic > 0 => atomic -= 1,
                    _ => {}
                }
                if let Some((_, words)) = found.last_mut()
                    && words.len() < 3
                {
                    words.push(text.clone());
                }
                last_word = text;
            }
            _ => at += 1,
        }
    }
    found
}

fn word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Past a comment, which may hold others.
fn comment(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// Past a quoted text; doubled quotes belong to it, and after a backslash, where those escape, so does the next character.
fn quoted(chars: &[char], mut at: usize, quote: char, escapes: bool) -> usize {
    at += 1;
    while at < chars.len() {
        match chars[at] {
            '\\' if escapes => at += 2,
            c if c == quote && chars.get(at + 1) == Some(&quote) => at += 2,
            c if c == quote => return at + 1,
            _ => at += 1,
        }
    }
    at
}

/// Past `$tag$ … $tag$`; a `$` that opens none is passed by itself.
fn dollar(chars: &[char], at: usize) -> usize {
    let Some(length) = chars[at + 1..].iter().position(|c| *c == '$') else { return at + 1 };
    let tag = &chars[at..=at + 1 + length];
    let inner = &tag[1..tag.len() - 1];
    if !inner.iter().all(|c| word(*c)) || inner.first().is_some_and(char::is_ascii_digit) {
        return at + 1;
    }
    let body = at + tag.len();
    chars[body..].windows(tag.len()).position(|w| w == tag).map_or(chars.len(), |n| body + n + tag.len())
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
            "savepoint a; rollback to a",
            "set local lock_timeout = '1s'",
            "select $1; select a$b",
            "create table commit_log (id int)",
        ];
        for sql in rows {
            assert_eq!(forbidden(sql), None, "{sql}");
        }
    }

    #[test]
    fn the_line_is_that_of_the_statement() {
        assert_eq!(forbidden("select 1;\n\n  commit;"), Some((3, "COMMIT".into())));
    }
}
