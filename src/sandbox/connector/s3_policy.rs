//! A bucket policy's conditional Deny does not deny what its condition spares.
//!
//! moto answers 403 to every object call on a bucket whose policy has a Deny whose condition does not hold: backwards, and fatal to
//! the policy every careful bucket has (deny what comes without TLS). It compares actions by case, which AWS does not, so such a
//! statement is handed to it as `S3:*` rather than `s3:*`, which it leaves alone, and handed back as it was.

use async_trait::async_trait;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use serde_json::Value;

use super::Next;
use super::wire::{Sent, bytes, place, read, refill};

#[derive(Debug)]
pub(super) struct Mend;

#[async_trait]
impl super::Mend for Mend {
    async fn call(&self, mut request: HttpRequest, next: Next<'_>) -> Sent {
        let (path, query) = place(&request);
        let policy = query.split('&').any(|p| p == "policy" || p == "policy=") && !path.trim_matches('/').contains('/');
        match (policy, request.method()) {
            (true, "PUT") => {
                if let Some(changed) = respell(bytes(&request), "s3:", "S3:") {
                    refill(&mut request, changed);
                }
                next.send(request).await
            }
            (true, "GET") => {
                let answer = read(next.send(request).await?).await?;
                match respell(&answer.body, "S3:", "s3:").filter(|_| answer.ok()) {
                    Some(changed) => Ok(answer.with(changed)),
                    None => Ok(answer.back()),
                }
            }
            _ => next.send(request).await,
        }
    }
}

/// The policy with the actions of every conditional Deny respelled; none when there is nothing to do.
fn respell(policy: &[u8], from: &str, to: &str) -> Option<Vec<u8>> {
    let mut policy: Value = serde_json::from_slice(policy).ok()?;
    let mut changed = false;
    let statements = match &mut policy["Statement"] {
        Value::Array(list) => list.iter_mut().collect::<Vec<_>>(),
        one => vec![one],
    };
    for statement in statements {
        if statement["Effect"] != "Deny" || statement["Condition"].is_null() {
            continue;
        }
        let actions = match &mut statement["Action"] {
            Value::Array(list) => list.iter_mut().collect::<Vec<_>>(),
            one => vec![one],
        };
        for action in actions {
            if let Some(rest) = action.as_str().and_then(|a| a.strip_prefix(from)) {
                *action = format!("{to}{rest}").into();
                changed = true;
            }
        }
    }
    changed.then(|| policy.to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_conditional_deny_is_respelled_and_it_comes_back_as_it_was() {
        let policy = json!({"Statement": [
            {"Effect": "Deny", "Action": "s3:*", "Condition": {"Bool": {"aws:SecureTransport": "false"}}},
            {"Effect": "Deny", "Action": ["s3:DeleteBucket"]},
            {"Effect": "Allow", "Action": "s3:GetObject", "Condition": {"Bool": {"aws:SecureTransport": "true"}}}
        ]});
        let stored = respell(policy.to_string().as_bytes(), "s3:", "S3:").unwrap();
        let text = String::from_utf8(stored.clone()).unwrap();
        assert!(text.contains("\"S3:*\"") && text.contains("\"s3:DeleteBucket\"") && text.contains("\"s3:GetObject\""));
        let back: Value = serde_json::from_slice(&respell(&stored, "S3:", "s3:").unwrap()).unwrap();
        assert_eq!(back, policy);
        assert_eq!(respell(b"not json", "s3:", "S3:"), None);
    }
}
