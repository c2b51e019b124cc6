//! Calls of the mends' own, straight to the emulator; and reading and writing HTTP messages as a whole.

use aws_smithy_http_client::Connector;
use aws_smithy_runtime_api::client::http::{HttpConnector as _, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use serde_json::{Value, json};

/// What a mend returns.
pub type Sent = Result<HttpResponse, ConnectorError>;

/// The way to one emulator, without mends.
#[derive(Debug, Clone)]
pub struct Wire {
    connector: SharedHttpConnector,
    base: String,
}

/// A response read to its end.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
    response: HttpResponse,
}

impl Answer {
    /// Whether the call went well.
    pub fn ok(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as JSON; `null` when it is not.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The response as it came.
    pub fn back(self) -> HttpResponse {
        let body = self.body.clone();
        self.with(body)
    }

    /// The response with another body.
    pub fn with(mut self, body: Vec<u8>) -> HttpResponse {
        self.response.headers_mut().remove("content-length");
        self.response.headers_mut().remove("x-amz-crc32");
        *self.response.body_mut() = SdkBody::from(body);
        self.response
    }
}

/// Reads a response to its end.
pub async fn read(mut response: HttpResponse) -> Result<Answer, ConnectorError> {
    let body = ByteStream::new(response.take_body()).collect().await.map_err(|e| ConnectorError::io(e.into()))?;
    Ok(Answer { status: response.status().as_u16(), body: body.to_vec(), response })
}

/// A response of our own. Header names and values are ours and valid.
pub fn respond(status: u16, content_type: &'static str, body: Vec<u8>) -> Sent {
    let status = status.try_into().map_err(|e: aws_smithy_runtime_api::http::HttpError| ConnectorError::other(e.into(), None))?;
    let mut response = HttpResponse::new(status, SdkBody::from(body));
    response.headers_mut().insert("content-type", content_type);
    Ok(response)
}

/// An AWS JSON service's error.
pub fn json_error(status: u16, code: &str, message: &str) -> Sent {
    respond(status, "application/x-amz-json-1.1", json!({"__type": code, "message": message}).to_string().into_bytes())
}

/// A query service's answer.
pub fn xml_answer(body: &str) -> Sent {
    respond(200, "text/xml", body.as_bytes().to_vec())
}

/// An AWS query service's error. `code` and `message` hold no markup.
pub fn query_error(status: u16, code: &str, message: &str) -> Sent {
    let body = format!(
        "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error><RequestId>sandbox</RequestId></ErrorResponse>"
    );
    respond(status, "text/xml", body.into_bytes())
}

/// The bytes of a request that is in memory; empty for a stream.
pub fn bytes(request: &HttpRequest) -> &[u8] {
    request.body().bytes().unwrap_or_default()
}

/// The request's JSON members; `null` when there are none.
pub fn members(request: &HttpRequest) -> Value {
    serde_json::from_slice(bytes(request)).unwrap_or_default()
}

/// `AmazonEC2ContainerServiceV20141113.CreateService`, of an AWS JSON call; else empty.
pub fn target(request: &HttpRequest) -> &str {
    request.headers().get("x-amz-target").unwrap_or_default()
}

/// The fields of an AWS query call of this API version; none when it is something else.
pub fn form(request: &HttpRequest, version: &str) -> Option<Form> {
    let form = request.headers().get("content-type")?.starts_with("application/x-www-form-urlencoded");
    let fields: Vec<_> = form.then(|| form_urlencoded::parse(bytes(request)).into_owned().collect())?;
    let form = Form(fields);
    (form.get("Version") == Some(version)).then_some(form)
}

/// The fields of an AWS query call.
pub struct Form(Vec<(String, String)>);

impl Form {
    /// One field.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The operation.
    pub fn action(&self) -> &str {
        self.get("Action").unwrap_or_default()
    }
}

fn encoded(action: &str, version: &str, fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).append_pair("Action", action).append_pair("Version", version).extend_pairs(fields).finish()
}

/// One page of a list, and where the next begins.
pub struct Page {
    items: Vec<Value>,
    next: Option<u64>,
}

/// The page of this size that begins there.
pub fn page(all: Vec<Value>, start: u64, size: u64) -> Page {
    let end = start.saturating_add(size);
    let next = (end < all.len() as u64).then_some(end);
    let items = all.into_iter().zip(0_u64..).filter(|(_, i)| (start..end).contains(i)).map(|(item, _)| item).collect();
    Page { items, next }
}

impl Page {
    /// The answer: what the list is called in it, and the token.
    pub fn members(self, list: &str, token: &str) -> Vec<u8> {
        let mut answer = json!({ list: self.items });
        if let Some(next) = self.next {
            answer[token] = next.to_string().into();
        }
        answer.to_string().into_bytes()
    }
}

/// Path and query of a request.
pub fn place(request: &HttpRequest) -> (&str, &str) {
    let uri = request.uri();
    let after = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    let path = after.find('/').map_or("/", |at| &after[at..]);
    path.split_once('?').unwrap_or((path, ""))
}

/// Puts another body into a request, without the checksums of the old one: the emulator checks no signature.
pub fn refill(request: &mut HttpRequest, body: Vec<u8>) {
    let stale: Vec<String> = request
        .headers()
        .iter()
        .map(|(name, _)| name.to_owned())
        .filter(|n| {
            n == "content-length" || n == "content-md5" || n == "x-amz-content-sha256" || n.starts_with("x-amz-checksum") || n.starts_with("x-amz-sdk-checksum")
        })
        .collect();
    for name in stale {
        request.headers_mut().remove(name);
    }
    request.headers_mut().insert("content-length", body.len().to_string());
    *request.body_mut() = SdkBody::from(body);
}

impl Wire {
    /// A way of its own, for calls outside any SDK client.
    pub fn to(port: u16) -> Self {
        Self { connector: SharedHttpConnector::new(Connector::builder().build_http()), base: format!("http://127.0.0.1:{port}") }
    }

    /// The same emulator as this connector reaches.
    pub(super) fn over(connector: SharedHttpConnector, base: String) -> Self {
        Self { connector, base }
    }

    /// Sends a request as it is.
    pub async fn send(&self, request: HttpRequest) -> Sent {
        self.connector.call(request).await
    }

    /// Whether an emulator answers here.
    pub async fn alive(&self) -> bool {
        match HttpRequest::get(format!("{}/moto-api/", self.base)) {
            Ok(request) => self.send(request).await.is_ok_and(|r| r.status().is_success()),
            Err(_) => false,
        }
    }

    /// An AWS JSON call. `service` is the name in the credential scope.
    pub async fn json(&self, service: &str, target: &str, members: &Value) -> Result<Answer, ConnectorError> {
        let mut request = self.post(service, "application/x-amz-json-1.1", members.to_string().into_bytes())?;
        request.headers_mut().insert("x-amz-target", target.to_owned());
        read(self.send(request).await?).await
    }

    /// An AWS query call.
    pub async fn query(&self, service: &str, version: &str, action: &str, fields: &[(&str, &str)]) -> Result<Answer, ConnectorError> {
        let request = self.post(service, "application/x-www-form-urlencoded; charset=utf-8", encoded(action, version, fields).into_bytes())?;
        read(self.send(request).await?).await
    }

    /// An S3 call on `path` (with its query).
    pub async fn s3(&self, method: &str, path: &str, body: Vec<u8>) -> Result<Answer, ConnectorError> {
        let mut request = self.post("s3", "application/xml", body)?;
        request.set_method(method).and_then(|()| request.set_uri(format!("{}{path}", self.base))).map_err(|e| ConnectorError::user(e.into()))?;
        read(self.send(request).await?).await
    }

    fn post(&self, service: &str, content_type: &'static str, body: Vec<u8>) -> Result<HttpRequest, ConnectorError> {
        let mut request = HttpRequest::get(format!("{}/", self.base)).map_err(|e| ConnectorError::user(e.into()))?;
        request.set_method("POST").map_err(|e| ConnectorError::user(e.into()))?;
        // The emulator reads the service and the region from the scope, and checks no signature.
        let scope = format!(
            "AWS4-HMAC-SHA256 Credential={}/20260101/{}/{service}/aws4_request, SignedHeaders=host, Signature=0",
            super::super::KEY,
            super::super::REGION
        );
        request.headers_mut().insert("authorization", scope);
        request.headers_mut().insert("content-type", content_type);
        request.headers_mut().insert("content-length", body.len().to_string());
        *request.body_mut() = SdkBody::from(body);
        Ok(request)
    }

    /// Keeps a text in the emulator itself (as an SSM parameter), where it lives exactly as long as what it is about, and where every
    /// later command of ours finds it.
    pub async fn remember(&self, name: &str, value: &str) -> Result<(), ConnectorError> {
        let members = json!({"Name": name, "Value": value, "Type": "String", "Overwrite": true});
        let answer = self.json("ssm", "AmazonSSM.PutParameter", &members).await?;
        if answer.ok() { Ok(()) } else { Err(ConnectorError::other(answer.text().into(), None)) }
    }

    /// Keeps it no longer.
    pub async fn forget(&self, name: &str) -> Result<(), ConnectorError> {
        self.json("ssm", "AmazonSSM.DeleteParameter", &json!({"Name": name})).await.map(drop)
    }

    /// What was kept under this name.
    pub async fn remembered(&self, name: &str) -> Option<String> {
        let answer = self.json("ssm", "AmazonSSM.GetParameter", &json!({"Name": name})).await.ok()?;
        answer.json()["Parameter"]["Value"].as_str().map(ToOwned::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_and_the_last_has_no_token() {
        let all: Vec<Value> = (0..5).map(Value::from).collect();
        let answer = |start, size| serde_json::from_slice::<Value>(&page(all.clone(), start, size).members("list", "token")).unwrap();
        assert_eq!(answer(0, 2), json!({"list": [0, 1], "token": "2"}));
        assert_eq!(answer(4, 2), json!({"list": [4]}));
        assert_eq!(answer(0, 5), json!({"list": [0, 1, 2, 3, 4]}));
    }
}
