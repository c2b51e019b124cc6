//! IAM policy documents: read as AWS returns them, compared by what they mean.
//!
//! AWS gives policies back URL-encoded, and is free to write `"Action": "x"` as `"Action": ["x"]` or to change the order of a list.
//! Comparing text would show differences for ever, so documents are compared as sets.

use std::borrow::Cow;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::engine::fault::Fault;

/// A document as a service has given it.
///
/// # Errors
/// An unknown outcome of this call where it is no JSON: no service keeps such a document.
pub fn read(call: &str, text: &str) -> Result<Value, Fault> {
    serde_json::from_str(text).map_err(|_| Fault::unknown(call, "unreadable_response", "the policy in the answer cannot be read"))
}

/// A policy document as IAM returns it (URL-encoded by RFC 3986, or plain) as JSON. Anything unreadable becomes a JSON string of
/// itself, which differs from every policy.
pub fn parse(document: &str) -> Value {
    let text = unescape(document);
    serde_json::from_str(&text).unwrap_or_else(|_| Value::String(text.into_owned()))
}

/// Whether two documents mean the same: lists are sets, one value is a list of one, texts are texts whatever they look like.
pub fn same(a: &Value, b: &Value) -> bool {
    canonical(a, "") == canonical(b, "")
}

/// A policy in a line, for people: its statements' ids and a short digest, so that two that differ never read alike.
pub fn summary(policy: &Value) -> String {
    let policy = canonical(policy, "");
    let sids: Vec<_> = policy["Statement"].as_array().into_iter().flatten().map(|s| s["Sid"].as_str().unwrap_or("(unnamed)")).collect();
    let digest: String = Sha256::digest(policy.to_string()).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("{} #{digest}", sids.join(" + "))
}

/// Whether some statement allows every action on every resource: never least privilege.
pub fn allows_everything(policy: &Value) -> bool {
    let policy = canonical(policy, "");
    let has = |statement: &Value, key: &str| statement[key].as_array().is_some_and(|l| l.iter().any(|v| v == "*" || v == "*:*"));
    policy["Statement"].as_array().is_some_and(|l| l.iter().any(|s| s["Effect"] == "Allow" && has(s, "Action") && has(s, "Resource")))
}

/// Keys whose value is one text, not a set of them.
const SINGLE: &[&str] = &["Version", "Id", "Sid", "Effect"];

fn canonical(value: &Value, key: &str) -> Value {
    match value {
        Value::Object(entries) => {
            let object = Value::Object(entries.iter().map(|(k, v)| (k.clone(), canonical(v, k))).collect::<Map<_, _>>());
            if key == "Statement" { Value::Array(vec![object]) } else { object }
        }
        Value::Array(items) => {
            let mut items: Vec<Value> = items.iter().map(|v| canonical(v, "Version")).collect();
            items.sort_by_cached_key(ToString::to_string);
            items.dedup();
            Value::Array(items)
        }
        Value::String(_) => lone(value.clone(), key),
        // `"aws:SecureTransport": false` comes back as `"false"`.
        Value::Bool(_) | Value::Number(_) => lone(Value::String(value.to_string()), key),
        Value::Null => Value::Null,
    }
}

fn lone(value: Value, key: &str) -> Value {
    if key.is_empty() || SINGLE.contains(&key) { value } else { Value::Array(vec![value]) }
}

fn unescape(text: &str) -> Cow<'_, str> {
    if text.trim_start().starts_with(['{', '"']) || !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let (high, low) = (bytes.next(), bytes.next());
        match (high.and_then(nibble), low.and_then(nibble)) {
            (Some(h), Some(l)) => out.push(h << 4 | l),
            _ => {
                out.push(byte);
                out.extend(high.into_iter().chain(low));
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|d| u8::try_from(d).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn policies_are_compared_by_meaning() {
        let statement =
            |action: Value, resource: Value| json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": action, "Resource": resource}});
        let base = statement(json!(["s3:GetObject", "s3:PutObject"]), json!("arn:aws:s3:::b/*"));
        let rows = [
            (statement(json!(["s3:PutObject", "s3:GetObject"]), json!(["arn:aws:s3:::b/*"])), true, "order, and a list of one"),
            (json!({"Version": "2012-10-17", "Statement": [base["Statement"].clone()]}), true, "a statement in a list"),
            (statement(json!(["s3:GetObject"]), json!("arn:aws:s3:::b/*")), false, "an action less"),
            (statement(json!(["s3:GetObject", "s3:PutObject"]), json!("*")), false, "another resource"),
        ];
        for (other, equal, why) in rows {
            assert_eq!(same(&base, &other), equal, "{why}");
        }
        let condition = |v: Value| json!({"Statement": [{"Effect": "Deny", "Condition": {"Bool": {"aws:SecureTransport": v}}}]});
        assert!(same(&condition(json!(false)), &condition(json!("false"))));
        assert_eq!(summary(&condition(json!(false))), summary(&condition(json!("false"))));
        assert!(!same(&condition(json!(true)), &condition(json!("false"))));
    }

    #[test]
    fn what_iam_returns_is_url_encoded() {
        assert_eq!(parse("%7B%22Sid%22%3A%22%C3%BC%20+%22%7D"), json!({"Sid": "ü +"}));
        assert_eq!(parse(r#"{"Sid":"100%25"}"#), json!({"Sid": "100%25"}), "plain JSON is left as it is");
        assert_eq!(parse("%7"), json!("%7"));
    }

    #[test]
    fn everything_allowed_is_seen() {
        assert!(allows_everything(&json!({"Statement": {"Effect": "Allow", "Action": "*", "Resource": ["*"]}})));
        assert!(!allows_everything(&json!({"Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]})));
        assert!(!allows_everything(&json!({"Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]})));
    }
}
