//! CloudWatch speaks rpc-v2-cbor, of which moto knows nothing; it does know the same members as awsJson 1.0.

use async_trait::async_trait;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use serde_json::Value;

use super::wire::{Sent, bytes, read, refill};
use super::{Next, cbor};

const SERVICE: &str = "/service/GraniteServiceVersion20100801/operation/";

#[derive(Debug)]
pub(super) struct Mend;

#[async_trait]
impl super::Mend for Mend {
    async fn call(&self, mut request: HttpRequest, next: Next<'_>) -> Sent {
        let Some((base, operation)) = request.uri().split_once(SERVICE).map(|(b, o)| (b.to_owned(), o.to_owned())) else {
            return next.send(request).await;
        };
        let members = cbor::to_json(bytes(&request)).map_err(|e| ConnectorError::user(e.into()))?;
        refill(&mut request, members.to_string().into_bytes());
        request.set_uri(format!("{base}/")).map_err(|e| ConnectorError::user(e.into()))?;
        let headers = request.headers_mut();
        headers.remove("smithy-protocol");
        headers.remove("accept");
        headers.insert("content-type", "application/x-amz-json-1.0");
        headers.insert("x-amz-target", format!("GraniteServiceVersion20100801.{operation}"));
        let answer = read(next.send(request).await?).await?;
        let body = if answer.body.iter().all(u8::is_ascii_whitespace) { Value::Object(serde_json::Map::new()) } else { answer.json() };
        let mut response = answer.with(cbor::from_json(&body, is_time));
        response.headers_mut().insert("content-type", "application/cbor");
        response.headers_mut().insert("smithy-protocol", "rpc-v2-cbor");
        Ok(response)
    }
}

fn is_time(member: &str) -> bool {
    member.ends_with("Timestamp") || member.ends_with("Timestamps") || member.ends_with("Time") || member == "LastModified" || member == "StateUpdatedTimestamp"
}
