//! A value as JSON has it, its keys in the order the type declares them. Every other format is made from this one shape.

use std::fmt::{self, Write as _};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, de};

/// A JSON value that keeps the order of its keys.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Tree {
    Null,
    Bool(bool),
    /// As JSON writes it.
    Number(String),
    Text(String),
    List(Vec<Tree>),
    Map(Vec<(String, Tree)>),
}

impl Tree {
    /// The shape of any value.
    pub(super) fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        serde_json::from_str(&serde_json::to_string(value)?)
    }

    /// One cell: what a table or a CSV field shows.
    pub(super) fn cell(&self) -> String {
        match self {
            Self::Null => String::new(),
            Self::Bool(b) => b.to_string(),
            Self::Number(n) => n.clone(),
            Self::Text(t) => t.clone(),
            Self::List(_) | Self::Map(_) => self.json(),
        }
    }

    /// Nested keys joined by dots (`profile.region`); lists stay one field, as JSON.
    pub(super) fn flat(&self) -> Vec<(String, String)> {
        let mut out = Vec::new();
        self.flatten("", &mut out);
        out
    }

    fn flatten(&self, path: &str, out: &mut Vec<(String, String)>) {
        match self {
            Self::Map(entries) if !entries.is_empty() || path.is_empty() => {
                for (key, value) in entries {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    value.flatten(&path, out);
                }
            }
            other => out.push((if path.is_empty() { "value".to_owned() } else { path.to_owned() }, other.cell())),
        }
    }

    /// Compact JSON.
    pub(super) fn json(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Text(text) => quoted(text),
            Self::List(items) => format!("[{}]", items.iter().map(Self::json).collect::<Vec<_>>().join(",")),
            Self::Map(entries) => format!("{{{}}}", entries.iter().map(|(k, v)| format!("{}:{}", quoted(k), v.json())).collect::<Vec<_>>().join(",")),
            scalar => scalar.cell(),
        }
    }

    /// YAML 1.2 that YAML 1.1 readers read alike.
    ///
    /// Written here because the libraries that descend from libyaml leave `no`, `on`, `12:30:45` and dates bare, which PyYAML and Ruby
    /// take for booleans, numbers and dates. Whatever is not plainly a word stands in JSON's quotes, which are YAML's too.
    pub(super) fn yaml(&self) -> String {
        let mut out = String::new();
        match self {
            Self::List(items) if !items.is_empty() => list(items, 0, &mut out),
            Self::Map(entries) if !entries.is_empty() => map(entries, 0, &mut out),
            scalar => {
                out.push_str(&scalar.yaml_scalar());
                out.push('\n');
            }
        }
        out
    }

    fn yaml_scalar(&self) -> String {
        match self {
            Self::Text(text) => yaml_text(text),
            other => other.json(),
        }
    }
}

fn list(items: &[Tree], depth: usize, out: &mut String) {
    for item in items {
        out.extend(std::iter::repeat_n("  ", depth));
        out.push_str("- ");
        let mut inner = String::new();
        match item {
            Tree::List(nested) if !nested.is_empty() => list(nested, depth + 1, &mut inner),
            Tree::Map(entries) if !entries.is_empty() => map(entries, depth + 1, &mut inner),
            scalar => inner = scalar.yaml_scalar() + "\n",
        }
        // The first line of what is nested stands behind the dash.
        out.push_str(inner.trim_start_matches(' '));
    }
}

fn map(entries: &[(String, Tree)], depth: usize, out: &mut String) {
    for (key, value) in entries {
        out.extend(std::iter::repeat_n("  ", depth));
        out.push_str(&yaml_text(key));
        match value {
            Tree::List(items) if !items.is_empty() => {
                out.push_str(":\n");
                list(items, depth + 1, out);
            }
            Tree::Map(nested) if !nested.is_empty() => {
                out.push_str(":\n");
                map(nested, depth + 1, out);
            }
            // Writing to a String cannot fail.
            scalar => drop(writeln!(out, ": {}", scalar.yaml_scalar())),
        }
    }
}

fn yaml_text(text: &str) -> String {
    const WORDS: [&str; 10] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan"];
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./@ ()".contains(c))
        && !WORDS.contains(&text.to_ascii_lowercase().as_str());
    if plain { text.to_owned() } else { quoted(text) }
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            // Beyond JSON's own list: line ends and marks that YAML readers stumble over.
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => drop(write!(out, "\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Reading;

        impl<'de> Visitor<'de> for Reading {
            type Value = Tree;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }
            fn visit_unit<E: de::Error>(self) -> Result<Tree, E> {
                Ok(Tree::Null)
            }
            fn visit_bool<E: de::Error>(self, v: bool) -> Result<Tree, E> {
                Ok(Tree::Bool(v))
            }
            fn visit_i64<E: de::Error>(self, v: i64) -> Result<Tree, E> {
                Ok(Tree::Number(v.to_string()))
            }
            fn visit_u64<E: de::Error>(self, v: u64) -> Result<Tree, E> {
                Ok(Tree::Number(v.to_string()))
            }
            fn visit_f64<E: de::Error>(self, v: f64) -> Result<Tree, E> {
                // As serde_json writes it, so that every format shows the same digits.
                Ok(serde_json::Number::from_f64(v).map_or(Tree::Null, |n| Tree::Number(n.to_string())))
            }
            fn visit_str<E: de::Error>(self, v: &str) -> Result<Tree, E> {
                Ok(Tree::Text(v.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Tree::List(list))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Tree, A::Error> {
                let mut map = Vec::new();
                while let Some(entry) = entries.next_entry()? {
                    map.push(entry);
                }
                Ok(Tree::Map(map))
            }
        }

        d.deserialize_any(Reading)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(json: &str) -> Tree {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn keys_keep_their_order_and_nesting_becomes_dots() {
        let flat = tree(r#"{"z":1,"a":{"y":{"x":true}},"l":[1,{"k":"v"}],"e":{},"n":null}"#).flat();
        let flat: Vec<_> = flat.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(flat, ["z=1", "a.y.x=true", r#"l=[1,{"k":"v"}]"#, "e={}", "n="]);
    }

    #[test]
    fn yaml_quotes_whatever_a_reader_could_take_for_something_else() {
        let text = tree(
            r##"{"b":["no","On","~","012","1e3","12:30:45","2025-01-01T00:00:00Z","","x: y","- a","#c","a #b","city lab","a\nb","\u001b[0m","é","arn:aws:s3:::x","=","<<","nan",".5","eu-central-1","t3.micro","x:"],
            "empty":[],"none":{},"deep":{"l":[{"a":1,"b":[{"c":2.5}]},[1,[2]]],"no":true}}"##,
        )
        .yaml();
        insta::assert_snapshot!(text);
    }

    #[test]
    fn scalars_alone_are_yaml_too() {
        assert_eq!(tree("3").yaml(), "3\n");
        assert_eq!(tree("[]").yaml(), "[]\n");
    }
}
