//! SQL in tokens, as far as it takes to tell words from texts, quoted names and comments (PostgreSQL manual, 4.1 "Lexical Structure").
//!
//! A backslash in a text escapes where the text begins with `E`, as `standard_conforming_strings` has it by default.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// White space.
    Space,
    /// `-- …` to the end of its line, or `/* … */` with all that it holds.
    Comment,
    /// A key word, or a name without quotes.
    Word,
    /// A name in quotes.
    Name,
    /// `'…'`, without the letter before it.
    Text {
        /// Whether a backslash escapes what follows.
        escapes: bool,
    },
    /// `$tag$ … $tag$`.
    Dollar,
    /// A number, with all letters that stick to it.
    Number,
    /// `$1`.
    Parameter,
    /// Any other character.
    Other,
}

/// All tokens: put together they are the text again. What is not closed goes on to the end.
pub(super) fn tokens(sql: &str) -> impl Iterator<Item = (Kind, &str)> {
    let mut rest = sql;
    let mut before = Before::default();
    std::iter::from_fn(move || {
        let (kind, length) = first(rest, before)?;
        let (token, next) = rest.split_at(length);
        rest = next;
        before = before.and(kind, token);
        Some((kind, token))
    })
}

/// What a text depends on that stands before it.
#[derive(Clone, Copy, Default)]
struct Before {
    /// The word `E` stands right before.
    e: bool,
    /// A text in which backslashes escape was the last, but for white space and comments: one in a later line continues it.
    escapes: bool,
    /// There was the end of a line since.
    line: bool,
}

impl Before {
    fn and(self, kind: Kind, token: &str) -> Self {
        match kind {
            Kind::Space | Kind::Comment => Self { e: false, line: self.line || token.contains('\n'), ..self },
            Kind::Text { escapes } => Self { escapes, ..Self::default() },
            _ => Self { e: kind == Kind::Word && token.eq_ignore_ascii_case("e"), ..Self::default() },
        }
    }
}

/// The first token: its kind, and its length in bytes.
fn first(sql: &str, before: Before) -> Option<(Kind, usize)> {
    let c = sql.chars().next()?;
    let run = |of: fn(char) -> bool| sql.find(|c| !of(c)).unwrap_or(sql.len());
    Some(match c {
        _ if c.is_whitespace() => (Kind::Space, run(char::is_whitespace)),
        '-' if sql.starts_with("--") => (Kind::Comment, sql.find('\n').unwrap_or(sql.len())),
        '/' if sql.starts_with("/*") => (Kind::Comment, comment(sql)),
        '\'' => {
            let escapes = before.e || (before.escapes && before.line);
            (Kind::Text { escapes }, quoted(sql, '\'', escapes))
        }
        '"' => (Kind::Name, quoted(sql, '"', false)),
        '$' if sql[1..].starts_with(|c: char| c.is_ascii_digit()) => (Kind::Parameter, 1 + digits(&sql[1..])),
        '$' => dollar(sql).map_or((Kind::Other, 1), |length| (Kind::Dollar, length)),
        _ if c.is_ascii_digit() => (Kind::Number, run(|c| c.is_alphanumeric() || matches!(c, '_' | '.'))),
        _ if c.is_alphanumeric() || c == '_' => (Kind::Word, run(|c| c.is_alphanumeric() || matches!(c, '_' | '$'))),
        _ => (Kind::Other, c.len_utf8()),
    })
}

fn digits(text: &str) -> usize {
    text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len())
}

/// The length of a comment, which may hold others.
fn comment(sql: &str) -> usize {
    let (mut depth, mut at) = (0_u32, 0);
    while let Some(next) = sql[at..].find(['/', '*']) {
        at += next;
        if sql[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if sql[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    sql.len()
}

/// The length of a text or name in quotes; doubled quotes belong to it.
fn quoted(sql: &str, quote: char, escapes: bool) -> usize {
    let mut chars = sql.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        let passes = if c == quote { chars.peek().is_some_and(|(_, next)| *next == quote) } else { escapes && c == '\\' };
        if passes {
            chars.next();
        } else if c == quote {
            return at + c.len_utf8();
        }
    }
    sql.len()
}

/// The length of a text between `$tag$`; none where that `$` opens none.
fn dollar(sql: &str) -> Option<usize> {
    let tag = &sql[..sql[1..].find('$')? + 2];
    let name = &tag[1..tag.len() - 1];
    let opens = name.chars().all(|c| c.is_alphanumeric() || c == '_');
    opens.then(|| sql[tag.len()..].find(tag).map_or(sql.len(), |end| tag.len() + end + tag.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All but white space.
    fn told(sql: &str) -> Vec<(Kind, &str)> {
        tokens(sql).filter(|(kind, _)| *kind != Kind::Space).collect()
    }

    #[test]
    fn words_are_told_from_what_only_looks_like_them() {
        use Kind::{Comment, Dollar, Name, Number, Other, Parameter, Text, Word};
        let (plain, escaped) = (Text { escapes: false }, Text { escapes: true });
        for (sql, tokens) in [
            ("a1$b _c größe", vec![(Word, "a1$b"), (Word, "_c"), (Word, "größe")]),
            ("t.c 2.5e3 0xff", vec![(Word, "t"), (Other, "."), (Word, "c"), (Number, "2.5e3"), (Number, "0xff")]),
            ("'it''s' 'a\\' b", vec![(plain, "'it''s'"), (plain, "'a\\'"), (Word, "b")]),
            (r"E'a\'b' e'\\' se'\'", vec![(Word, "E"), (escaped, r"'a\'b'"), (Word, "e"), (escaped, r"'\\'"), (Word, "se"), (plain, r"'\'")]),
            ("E'a' -- b\n '\\'' c", vec![(Word, "E"), (escaped, "'a'"), (Comment, "-- b"), (escaped, "'\\''"), (Word, "c")]),
            (r"E'a' '\' c", vec![(Word, "E"), (escaped, "'a'"), (plain, r"'\'"), (Word, "c")]),
            (r#""it's" "a""b" c"#, vec![(Name, r#""it's""#), (Name, r#""a""b""#), (Word, "c")]),
            ("$1 $$a$$ $b$ $$ $b$ c", vec![(Parameter, "$1"), (Dollar, "$$a$$"), (Dollar, "$b$ $$ $b$"), (Word, "c")]),
            ("/* a /* b */ c */ d -- e\nf", vec![(Comment, "/* a /* b */ c */"), (Word, "d"), (Comment, "-- e"), (Word, "f")]),
            ("a-b", vec![(Word, "a"), (Other, "-"), (Word, "b")]),
            ("'a", vec![(plain, "'a")]),
            ("$a$ b", vec![(Dollar, "$a$ b")]),
            ("$ü", vec![(Other, "$"), (Word, "ü")]),
            ("/*/ a", vec![(Comment, "/*/ a")]),
        ] {
            assert_eq!(told(sql), tokens, "{sql}");
        }
    }

    proptest! {
        #[test]
        fn no_character_is_lost_nor_any_token_empty(sql in r#"([a-z0-9 _.;'"$\\/*\-\nEüß]|\$a\$|--|/\*|\*/){0,40}"#) {
            let tokens: Vec<&str> = tokens(&sql).map(|(_, token)| token).collect();
            prop_assert!(tokens.iter().all(|token| !token.is_empty()));
            prop_assert_eq!(tokens.concat(), sql);
        }
    }
}
