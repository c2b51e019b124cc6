//! CreateBucket keeps the tags given with it.
//!
//! They are put on in a call of their own, where AWS knows no moment between the two. So they are noted before: should we be killed in between,
//! whoever reads the tags puts them on.

use async_trait::async_trait;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;

use super::Next;
use super::wire::{Sent, Wire, bytes, place, read};
use super::xml::text;

#[derive(Debug)]
pub(super) struct Mend;

#[async_trait]
impl super::Mend for Mend {
    async fn call(&self, request: HttpRequest, next: Next<'_>) -> Sent {
        let (path, query) = place(&request);
        let bucket = path.trim_matches('/').to_owned();
        let reads = request.method() == "GET" && query.split('&').any(|p| p == "tagging" || p == "tagging=") && !bucket.contains('/');
        let tags = (request.method() == "PUT").then(|| String::from_utf8_lossy(bytes(&request)).into_owned()).and_then(|body| {
            let config = body.contains("<CreateBucketConfiguration").then_some(&body)?;
            Some(text(config, "Tags")?.to_owned())
        });
        let wire = next.wire;
        let note = format!("/labctl-sandbox/half-made-buckets/{bucket}");
        if let Some(tags) = tags {
            // What is there already keeps its own tags.
            let new = !wire.s3("HEAD", &format!("/{bucket}"), Vec::new()).await?.ok();
            if new {
                wire.remember(&note, &tags).await?;
            }
            let response = next.send(request).await?;
            if new && response.status().is_success() {
                put_on(wire, &bucket, &tags, &note).await?;
            }
            return Ok(response);
        }
        if !reads {
            return next.send(request).await;
        }
        let answer = read(next.send(request).await?).await?;
        if answer.ok() || !answer.text().contains("NoSuchTagSet") {
            return Ok(answer.back());
        }
        let Some(tags) = wire.remembered(&note).await else { return Ok(answer.back()) };
        put_on(wire, &bucket, &tags, &note).await?;
        Ok(wire.s3("GET", &format!("/{bucket}?tagging"), Vec::new()).await?.back())
    }
}

async fn put_on(wire: &Wire, bucket: &str, tags: &str, note: &str) -> Result<(), ConnectorError> {
    let body = format!("<Tagging xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><TagSet>{tags}</TagSet></Tagging>");
    let put = wire.s3("PUT", &format!("/{bucket}?tagging"), body.into_bytes()).await?;
    if !put.ok() {
        return Err(ConnectorError::other(put.text().into(), None));
    }
    wire.forget(note).await
}
