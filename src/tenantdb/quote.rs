//! Names and texts on their way into SQL. A statement is put together from fixed text, [`Ident`] and [`Literal`], and nothing else.

use std::fmt;

use crate::engine::fault::Fault;

/// The longest identifier PostgreSQL keeps, in bytes (`NAMEDATALEN - 1`). It cuts longer ones off without an error, and the rest may be
/// another tenant's name.
pub const MAX_IDENTIFIER: usize = 63;

/// An identifier that PostgreSQL will take as it is. Displays in double quotes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ident(String);

impl Ident {
    /// Checks a name.
    ///
    /// # Errors
    /// Refused (`invalid_name`) when empty, longer than [`MAX_IDENTIFIER`] bytes, holding a control character, or beginning with `pg_`,
    /// which PostgreSQL keeps for itself.
    pub fn new(name: &str) -> Result<Self, Fault> {
        let wrong = if name.is_empty() {
            "it is empty".to_owned()
        } else if name.len() > MAX_IDENTIFIER {
            format!("it has {} bytes, and PostgreSQL would cut it off after {MAX_IDENTIFIER}", name.len())
        } else if name.chars().any(char::is_control) {
            "it holds a control character".to_owned()
        } else if name.starts_with("pg_") {
            "PostgreSQL keeps names that begin with `pg_` for itself".to_owned()
        } else {
            return Ok(Self(name.to_owned()));
        };
        Err(Fault::refused("postgres:quote", "invalid_name", format!("`{}` cannot be a name in PostgreSQL: {wrong}", name.escape_debug())))
    }

    /// The name as it is, without quotes: for comparing, and for parameters.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Ident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.replace('"', "\"\""))
    }
}

/// A text constant. Displays as a literal that reads the same whatever `standard_conforming_strings` says.
#[derive(Clone, PartialEq, Eq)]
pub struct Literal(String);

impl Literal {
    /// Takes a text.
    ///
    /// # Errors
    /// Refused (`invalid_text`) when it holds a zero byte, which PostgreSQL cannot store.
    pub fn new(text: &str) -> Result<Self, Fault> {
        if text.contains('\0') {
            return Err(Fault::refused("postgres:quote", "invalid_text", "a text holds a zero byte, which PostgreSQL cannot store"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = self.0.replace('\'', "''");
        if quoted.contains('\\') { write!(f, "E'{}'", quoted.replace('\\', "\\\\")) } else { write!(f, "'{quoted}'") }
    }
}

/// Several, with commas between.
pub fn list<T: fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|i| i.to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_is_counted_in_bytes_and_refused_rather_than_cut() {
        assert_eq!(Ident::new(&"a".repeat(63)).unwrap().to_string().len(), 65);
        Ident::new(&"a".repeat(64)).unwrap_err();
        Ident::new(&"ä".repeat(32)).unwrap_err();
        let long = Ident::new(&"x".repeat(70)).unwrap_err();
        assert!(long.message.contains("70 bytes"), "{}", long.message);
    }

    #[test]
    fn names_that_would_do_harm_are_refused_or_quoted() {
        for name in ["", "a\0b", "a\nb", "pg_catalog"] {
            Ident::new(name).unwrap_err();
        }
        assert_eq!(Ident::new("a\"; drop schema b; --").unwrap().to_string(), "\"a\"\"; drop schema b; --\"");
    }

    #[test]
    fn a_backslash_does_not_depend_on_a_setting() {
        assert_eq!(Literal::new(r"it's \' here").unwrap().to_string(), r"E'it''s \\'' here'");
        assert_eq!(Literal::new("it's").unwrap().to_string(), "'it''s'");
    }

    proptest! {
        #[test]
        fn quotes_never_end_early(name in "[^\\x00-\\x1f\\x7f-\\x9f]{1,15}") {
            prop_assume!(name.len() <= 63 && !name.starts_with("pg_"));
            let quoted = Ident::new(&name).unwrap().to_string();
            let inner = &quoted[1..quoted.len() - 1];
            prop_assert_eq!(inner.replace("\"\"", "\""), name);
            prop_assert_eq!(inner.matches('"').count() % 2, 0);
        }
    }
}
