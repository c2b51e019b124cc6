//! CreateBucket keeps the tags given with it.

use async_trait::async_trait;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;

use super::Next;
use super::wire::{Sent, bytes, place};
use super::xml::text;

#[derive(Debug)]
pub(super) struct Mend;

#[async_trait]
impl super::Mend for Mend {
    async fn call(&self, request: HttpRequest, next: Next<'_>) -> Sent {
        let tags = (request.method() == "PUT").then(|| String::from_utf8_lossy(bytes(&request)).into_owned()).and_then(|body| {
            let config = body.contains("<CreateBucketConfiguration").then_some(&body)?;
            Some(text(config, "Tags")?.to_owned())
        });
        let Some(tags) = tags else { return next.send(request).await };
        let bucket = place(&request).0.trim_end_matches('/').to_owned();
        let wire = next.wire;
        // What is there already keeps its own tags.
        let new = !wire.s3("HEAD", &bucket, Vec::new()).await?.ok();
        let response = next.send(request).await?;
        if new && response.status().is_success() {
            let body = format!("<Tagging xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><TagSet>{tags}</TagSet></Tagging>");
            let put = wire.s3("PUT", &format!("{bucket}?tagging"), body.into_bytes()).await?;
            if !put.ok() {
                return Err(ConnectorError::other(put.text().into(), None));
            }
        }
        Ok(response)
    }
}
