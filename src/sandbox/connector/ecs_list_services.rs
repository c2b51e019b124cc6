//! ListServices in pages.

use async_trait::async_trait;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;

use super::Next;
use super::ecs_services::ECS;
use super::wire::{Sent, members, page, read, refill, target};

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
        let all = answer.json()["serviceArns"].as_array().cloned().unwrap_or_default();
        Ok(answer.with(page(all, start, size).members("serviceArns", "nextToken")))
    }
}
