//! `${kind.name.output}`: how one resource's spec names what another one will bring forth.
//!
//! A reference may stand alone or inside a longer text, anywhere in a spec, in a key's value or a list. It is the only source of the
//! edges of a plan. `$${` stands for a literal `${`.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

/// One reference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ref {
    /// Kind of the resource referred to.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Which of its outputs.
    pub output: String,
}

impl fmt::Display for Ref {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${{{}.{}.{}}}", self.kind, self.name, self.output)
    }
}

enum Piece<'a> {
    Text(&'a str),
    Dollar,
    Braced(&'a str),
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            out.push(Piece::Text(&rest[..at - 1]));
            out.push(Piece::Dollar);
            rest = &rest[at + 2..];
            continue;
        }
        let Some(end) = rest[at..].find('}') else { break };
        out.push(Piece::Text(&rest[..at]));
        out.push(Piece::Braced(&rest[at + 2..at + end]));
        rest = &rest[at + end + 1..];
    }
    out.push(Piece::Text(rest));
    out
}

fn parse(inner: &str) -> Option<Ref> {
    let mut parts = inner.split('.');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(kind), Some(name), Some(output), None) => Some(Ref { kind: kind.into(), name: name.into(), output: output.into() }),
        _ => None,
    }
}

/// All references in a value.
pub fn refs(value: &Value) -> BTreeSet<Ref> {
    let mut found = BTreeSet::new();
    walk(value, &mut |text| {
        found.extend(pieces(text).into_iter().filter_map(|p| match p {
            Piece::Braced(inner) => parse(inner),
            _ => None,
        }));
    });
    found
}

fn walk(value: &Value, see: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => see(text),
        Value::Array(items) => items.iter().for_each(|v| walk(v, see)),
        Value::Object(map) => map.values().for_each(|v| walk(v, see)),
        _ => {}
    }
}

/// The value with every reference replaced by what `lookup` says.
///
/// # Errors
/// The references `lookup` knows nothing of.
pub fn resolve(value: &Value, lookup: &impl Fn(&Ref) -> Option<String>) -> Result<Value, BTreeSet<Ref>> {
    let mut missing = BTreeSet::new();
    let out = map(value, &mut |text| {
        pieces(text)
            .into_iter()
            .map(|p| match p {
                Piece::Text(t) => t.to_owned(),
                Piece::Dollar => "${".to_owned(),
                Piece::Braced(inner) => match parse(inner) {
                    Some(r) => lookup(&r).unwrap_or_else(|| {
                        missing.insert(r);
                        String::new()
                    }),
                    None => format!("${{{inner}}}"),
                },
            })
            .collect()
    });
    if missing.is_empty() { Ok(out) } else { Err(missing) }
}

/// The value as text that refers to nothing: [`resolve`] gives it back as it was.
pub fn escape(value: &Value) -> Value {
    map(value, &mut |text| text.replace("${", "$${"))
}

fn map(value: &Value, f: &mut impl FnMut(&str) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(f(text)),
        Value::Array(items) => Value::Array(items.iter().map(|v| map(v, f)).collect()),
        Value::Object(entries) => Value::Object(entries.iter().map(|(k, v)| (k.clone(), map(v, f))).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn references_are_found_anywhere_and_replaced_in_place() {
        let spec = json!({"a": "x ${s3_bucket.data.arn}/*", "b": ["${kms_key.data.arn}"], "n": 3, "plain": "$${not.a.ref}"});
        let found: Vec<_> = refs(&spec).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["${kms_key.data.arn}", "${s3_bucket.data.arn}"]);
        let out = resolve(&spec, &|r| Some(format!("<{}>", r.name))).unwrap();
        assert_eq!(out, json!({"a": "x <data>/*", "b": ["<data>"], "n": 3, "plain": "${not.a.ref}"}));
    }

    #[test]
    fn what_is_escaped_refers_to_nothing_and_comes_back_as_it_was() {
        let text = json!({"a": ["${s3_bucket.data.arn}/${aws:username}"], "b": "plain $5"});
        let escaped = escape(&text);
        assert!(refs(&escaped).is_empty());
        assert_eq!(resolve(&escaped, &|_| None).unwrap(), text);
    }

    #[test]
    fn what_cannot_be_resolved_is_named() {
        let missing = resolve(&json!("${a.b.c}-${d.e.f}"), &|r| (r.kind == "a").then(|| "1".into())).unwrap_err();
        assert_eq!(missing.iter().map(ToString::to_string).collect::<Vec<_>>(), ["${d.e.f}"]);
    }
}
