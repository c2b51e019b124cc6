//! TOML with the place of every key and value, and a reader of tables that collects all that is wrong instead of stopping at the first.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Place, Problem, Source, did_you_mean};

/// A value and where it was said.
#[derive(Debug, Clone)]
pub struct Node {
    /// The value.
    pub data: Data,
    /// Where.
    pub place: Place,
}

/// A TOML value.
#[derive(Debug, Clone)]
pub enum Data {
    /// A string.
    Text(String),
    /// An integer.
    Integer(i64),
    /// A float.
    Float(f64),
    /// `true` or `false`.
    Boolean(bool),
    /// A date or time, as written. Nothing labctl reads has one.
    Datetime(String),
    /// An array.
    List(Vec<Node>),
    /// A table, in the order of its keys.
    Table(Vec<Entry>),
}

/// One key of a table.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub place: Place,
    /// Its value.
    pub node: Node,
}

impl Node {
    /// Its type, as an operator would say it.
    pub fn type_name(&self) -> &'static str {
        match &self.data {
            Data::Text(_) => "a string",
            Data::Integer(_) => "an integer",
            Data::Float(_) => "a float",
            Data::Boolean(_) => "a boolean",
            Data::Datetime(_) => "a date",
            Data::List(_) => "a list",
            Data::Table(_) => "a table",
        }
    }

    /// The entries, if it is a table.
    pub fn entries(&self) -> Option<&[Entry]> {
        match &self.data {
            Data::Table(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value of a key, if it is a table and has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries()?.iter().find(|e| e.key == key).map(|e| &e.node)
    }

    /// The string, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match &self.data {
            Data::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The same without places.
    pub fn to_value(&self) -> Value {
        match &self.data {
            Data::Text(t) | Data::Datetime(t) => Value::String(t.clone()),
            Data::Integer(i) => Value::from(*i),
            Data::Float(f) => Value::from(*f),
            Data::Boolean(b) => Value::Bool(*b),
            Data::List(items) => Value::Array(items.iter().map(Node::to_value).collect()),
            Data::Table(entries) => Value::Object(entries.iter().map(|e| (e.key.clone(), e.node.to_value())).collect::<Map<_, _>>()),
        }
    }

    /// All that is not a table, with dotted paths: `django.max`.
    pub fn leaves(&self) -> Vec<(String, &Node)> {
        let mut out = Vec::new();
        collect_leaves(self, "", &mut out);
        out
    }
}

fn collect_leaves<'a>(node: &'a Node, path: &str, out: &mut Vec<(String, &'a Node)>) {
    match node.entries() {
        Some(entries) => {
            for entry in entries {
                let path = if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) };
                collect_leaves(&entry.node, &path, out);
            }
        }
        None => out.push((path.to_owned(), node)),
    }
}

/// Reads a whole document, and goes on after a mistake as well as it can.
pub fn parse(source: &Arc<Source>) -> (Node, Vec<Problem>) {
    let start = Place::start_of(source);
    let (table, errors) = DeTable::parse_recoverable(source.text());
    let mut problems: Vec<Problem> = Vec::new();
    let mut lines = BTreeSet::new();
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        // One mistake often makes the parser stumble several times in the same line: the first says it.
        if lines.insert(source.position(span.start).0) {
            let line = source.shown()[line_around(source.shown(), span.start)].trim();
            problems.push(Problem::new("toml::syntax", &start.at(span), error.message()).label("not TOML from here on").maybe_hint(syntax_hint(line)));
        }
    }
    let root = Node { data: table_data(table.get_ref(), &start, &mut problems), place: start };
    (root, problems)
}

fn line_around(text: &str, offset: usize) -> Range<usize> {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    let start = text[..offset].rfind('\n').map_or(0, |i| i + 1);
    let end = text[offset..].find('\n').map_or(text.len(), |i| offset + i);
    start..end
}

fn syntax_hint(line: &str) -> Option<String> {
    if let Some((key, value)) = line.split_once('=') {
        let value = value.trim();
        let bare = !value.is_empty() && value.chars().all(|c| c.is_alphanumeric() || "-_.@ ".contains(c));
        return bare.then(|| format!("text stands in quotes: `{} = \"{value}\"`", key.trim()));
    }
    line.split_once(':').map(|(key, value)| format!("TOML writes `{} = {}`", key.trim(), value.trim()))
}

fn table_data(table: &DeTable<'_>, whole: &Place, problems: &mut Vec<Problem>) -> Data {
    Data::Table(
        table.iter().map(|(key, value)| Entry { key: key.get_ref().to_string(), place: whole.at(key.span()), node: node(value, whole, problems) }).collect(),
    )
}

fn node(value: &Spanned<DeValue<'_>>, whole: &Place, problems: &mut Vec<Problem>) -> Node {
    let place = whole.at(value.span());
    let data = match value.get_ref() {
        DeValue::String(text) => Data::Text(text.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Data::Integer(number),
            Err(_) => {
                problems.push(Problem::new("toml::number", &place, "this integer does not fit 64 bits"));
                Data::Integer(0)
            }
        },
        DeValue::Float(number) => Data::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(yes) => Data::Boolean(*yes),
        DeValue::Datetime(when) => Data::Datetime(when.to_string()),
        DeValue::Array(items) => Data::List(items.iter().map(|item| node(item, whole, problems)).collect()),
        DeValue::Table(table) => table_data(table, whole, problems),
    };
    Node { data, place }
}

/// Something read, and where it was said.
#[derive(Debug, Clone)]
pub struct Said<T> {
    /// The value.
    pub value: T,
    /// Where.
    pub place: Place,
}

/// Reads the fields of one table: remembers which keys are known, notes wrong types, and in the end refuses the unknown ones.
pub struct Fields<'a> {
    node: &'a Node,
    /// What the table is, for messages: `a tenant's spec`.
    what: &'a str,
    known: Vec<&'static str>,
    problems: Vec<Problem>,
}

impl<'a> Fields<'a> {
    /// Begins. A node that is no table is noted and reads as an empty one.
    pub fn new(node: &'a Node, what: &'a str) -> Self {
        let mut problems = Vec::new();
        if node.entries().is_none() {
            problems.push(wrong_type(node, what, "a table"));
        }
        Self { node, what, known: Vec::new(), problems }
    }

    /// The value of a key, whatever its type.
    pub fn get(&mut self, key: &'static str) -> Option<&'a Node> {
        self.known.push(key);
        self.node.get(key)
    }

    /// A string.
    pub fn text(&mut self, key: &'static str) -> Option<Said<&'a str>> {
        self.typed(key, "a string", |data| match data {
            Data::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// An integer.
    pub fn integer(&mut self, key: &'static str) -> Option<Said<i64>> {
        self.typed(key, "an integer", |data| match data {
            Data::Integer(number) => Some(*number),
            _ => None,
        })
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, key: &'static str) -> Option<Said<bool>> {
        self.typed(key, "a boolean", |data| match data {
            Data::Boolean(yes) => Some(*yes),
            _ => None,
        })
    }

    /// A table's entries.
    pub fn table(&mut self, key: &'static str) -> Option<Said<&'a [Entry]>> {
        self.typed(key, "a table", |data| match data {
            Data::Table(entries) => Some(entries.as_slice()),
            _ => None,
        })
    }

    /// A list's items.
    pub fn list(&mut self, key: &'static str) -> Option<Said<&'a [Node]>> {
        self.typed(key, "a list", |data| match data {
            Data::List(items) => Some(items.as_slice()),
            _ => None,
        })
    }

    /// A list of strings. Items of another type are noted and left out.
    pub fn texts(&mut self, key: &'static str) -> Option<Vec<Said<&'a str>>> {
        let items = self.list(key)?;
        let mut out = Vec::new();
        for item in items.value {
            match item.as_text() {
                Some(text) => out.push(Said { value: text, place: item.place.clone() }),
                None => self.problems.push(wrong_type(item, &format!("an item of `{key}`"), "a string")),
            }
        }
        Some(out)
    }

    fn typed<T>(&mut self, key: &'static str, wanted: &str, pick: impl FnOnce(&'a Data) -> Option<T>) -> Option<Said<T>> {
        let node = self.get(key)?;
        match pick(&node.data) {
            Some(value) => Some(Said { value, place: node.place.clone() }),
            None => {
                self.problems.push(wrong_type(node, &format!("`{key}`"), wanted));
                None
            }
        }
    }

    /// Notes something that is wrong.
    pub fn refuse(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Refuses the keys nobody asked for. `better` may know what a certain key should have been.
    pub fn done(mut self, better: impl Fn(&str) -> Option<String>) -> Vec<Problem> {
        for entry in self.node.entries().unwrap_or_default() {
            if !self.known.contains(&entry.key.as_str()) {
                let hint = better(&entry.key).unwrap_or_else(|| did_you_mean(&entry.key, self.known.iter().copied()));
                self.problems
                    .push(Problem::new("spec::unknown_key", &entry.place, format!("{} has no key `{}`", self.what, entry.key)).label("unknown").hint(hint));
            }
        }
        self.problems
    }
}

/// `what` should be `wanted`, but is of the node's type.
pub fn wrong_type(node: &Node, what: &str, wanted: &str) -> Problem {
    let hint = match (&node.data, wanted) {
        (Data::Integer(n), "a string") => Some(format!("put it in quotes: \"{n}\"")),
        (Data::Boolean(b), "a string") => Some(format!("put it in quotes: \"{b}\"")),
        (Data::Text(t), "a list") => Some(format!("put it in brackets: [\"{t}\"]")),
        (Data::Text(t), "an integer") if t.parse::<i64>().is_ok() => Some(format!("without the quotes: {t}")),
        _ => None,
    };
    Problem::new("spec::wrong_type", &node.place, format!("{what} must be {wanted}, but is {}", node.type_name()))
        .label(format!("expected {wanted}"))
        .maybe_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_read_on_after_a_mistake() {
        let source = Source::new("t.toml", "a = x-y\nb = 2\n[c]\nd = [1, 'two']\n");
        let (root, problems) = parse(&source);
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].plain().hint.as_deref(), Some("text stands in quotes: `a = \"x-y\"`"));
        assert_eq!(root.get("b").map(Node::to_value), Some(Value::from(2)));
        assert_eq!(root.get("c").and_then(|c| c.get("d")).map(|d| d.place.to_string()), Some("t.toml:4:5".to_owned()));
    }
}
