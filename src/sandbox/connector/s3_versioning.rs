//! GetBucketVersioning answers in the element that the API has for it; moto names it after the operation, which the SDK cannot read.

use async_trait::async_trait;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;

use super::Next;
use super::wire::{Sent, place, read};

#[derive(Debug)]
pub(super) struct Mend;

#[async_trait]
impl super::Mend for Mend {
    async fn call(&self, request: HttpRequest, next: Next<'_>) -> Sent {
        let (path, query) = place(&request);
        let asked = request.method() == "GET" && query.split('&').any(|p| p == "versioning" || p == "versioning=") && !path.trim_matches('/').contains('/');
        let response = next.send(request).await?;
        if !asked || !response.status().is_success() {
            return Ok(response);
        }
        let answer = read(response).await?;
        let body = answer.text().replace("GetBucketVersioningResponse", "VersioningConfiguration").into_bytes();
        Ok(answer.with(body))
    }
}
