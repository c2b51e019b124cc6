//! ListServices in pages.

use async_trait::async_trait;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use serde_json::{Value, json};

use super::Next;
use super::ecs_services::ECS;
use super::wire::{Sent, members, read, refill, target};

/// ECS's own page when none is asked for.
const PAGE: u64 = 10;

#[derive(Debug)]
pub(super) struct Mend;

#[async_trait]
impl super::Mend for Mend {
    async fn call(&self, mut request: HttpRequest, next: Next<'_>) -> Sent {
        if target(&request) != format!("{ECS}.ListServices") {
            return next.send(request).await;
        }
        let mut asked = members(&request);
        let size = asked["maxResults"].as_u64().unwrap_or(PAGE);
        let start = asked["nextToken"].as_str().and_then(|t| t.parse().ok()).unwrap_or(0);
        if let Some(map) = asked.as_object_mut() {
            map.remove("maxResults");
            map.remove("nextToken");
        }
        refill(&mut request, asked.to_string().into_bytes());
        let answer = read(next.send(request).await?).await?;
        if !answer.ok() {
            return Ok(answer.back());
        }
        let page = page(answer.json()["serviceArns"].as_array().cloned().unwrap_or_default(), start, size);
        Ok(answer.with(page.to_string().into_bytes()))
    }
}

fn page(all: Vec<Value>, start: u64, size: u64) -> Value {
    let end = start.saturating_add(size);
    let more = end < all.len() as u64;
    let page: Vec<Value> = all.into_iter().zip(0_u64..).filter(|(_, i)| (start..end).contains(i)).map(|(arn, _)| arn).collect();
    if more { json!({"serviceArns": page, "nextToken": end.to_string()}) } else { json!({"serviceArns": page}) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_and_the_last_has_no_token() {
        let all: Vec<Value> = (0..5).map(Value::from).collect();
        assert_eq!(page(all.clone(), 0, 2), json!({"serviceArns": [0, 1], "nextToken": "2"}));
        assert_eq!(page(all.clone(), 4, 2), json!({"serviceArns": [4]}));
        assert_eq!(page(all, 0, 5), json!({"serviceArns": [0, 1, 2, 3, 4]}));
    }
}
