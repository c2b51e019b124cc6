//! How services speak: which operation a request is for, and what an error looks like in its protocol.

use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use serde_json::json;

use super::respond;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Json,
    Cbor,
    Query,
    S3,
}

/// What a request is for, and how its service answers.
#[derive(Debug, Clone)]
pub struct Speech {
    /// `service:Operation`. S3's operations are named after method and subresource (`s3:PutBucketLifecycle`).
    pub call: String,
    /// What the request says of the thing: the headers that matter, and the body, undone of its URL encoding.
    pub said: String,
    protocol: Protocol,
}

/// Whether a call only reads.
pub fn reads(call: &str) -> bool {
    let verb = call.split(':').nth(1).unwrap_or(call).trim_start_matches("Admin");
    ["Describe", "List", "Get", "Head"].iter().any(|r| verb.starts_with(r))
}

impl Speech {
    /// Of a request as the SDK has signed it.
    pub fn of(request: &HttpRequest) -> Self {
        let header = |name: &str| request.headers().get(name).unwrap_or_default();
        // `AWS4-HMAC-SHA256 Credential=KEY/20260101/eu-central-1/cognito-idp/aws4_request, …`
        let service = header("authorization").split('/').nth(3).unwrap_or("unsigned");
        let body = String::from_utf8_lossy(request.body().bytes().unwrap_or_default()).into_owned();
        let uri = request.uri().split_once("://").map_or(request.uri(), |(_, rest)| rest);
        let (path, query) = uri.find('/').map_or("/", |at| &uri[at..]).split_once('?').unwrap_or((uri.find('/').map_or("/", |at| &uri[at..]), ""));
        let form = |name: &str| form_urlencoded::parse(body.as_bytes()).find(|(n, _)| n == name).map(|(_, v)| v.into_owned());
        let (protocol, operation) = if service == "s3" {
            (Protocol::S3, s3(request.method(), path, query))
        } else if let Some((_, operation)) = path.rsplit_once("/operation/") {
            (Protocol::Cbor, operation.to_owned())
        } else if let Some((_, operation)) = header("x-amz-target").rsplit_once('.') {
            (Protocol::Json, operation.to_owned())
        } else {
            (Protocol::Query, form("Action").unwrap_or_else(|| format!("{} {path}", request.method())))
        };
        let plain = match protocol {
            Protocol::Query => form_urlencoded::parse(body.as_bytes()).map(|(n, v)| format!("{n}={v}\n")).collect(),
            _ => body.clone(),
        };
        let tagging: String = form_urlencoded::parse(header("x-amz-tagging").as_bytes()).map(|(n, v)| format!("{n}={v}\n")).collect();
        Self { call: format!("{service}:{operation}"), said: format!("{tagging}{plain}"), protocol }
    }

    /// "Not now", as this service says it.
    pub fn throttle(&self) -> HttpResponse {
        match self.protocol {
            Protocol::S3 => self.error(503, "SlowDown"),
            Protocol::Query => self.error(400, "Throttling"),
            _ if self.call.starts_with("cognito-idp:") => self.error(400, "TooManyRequestsException"),
            _ => self.error(400, "ThrottlingException"),
        }
    }

    /// An error of the service's own.
    pub fn internal(&self) -> HttpResponse {
        self.error(500, if self.protocol == Protocol::S3 { "InternalError" } else { "InternalFailure" })
    }

    /// A refusal with this code.
    pub fn refusal(&self, code: &str) -> HttpResponse {
        self.error(400, code)
    }

    /// The SDK honours the header, so that its own repeats cost a test no seconds; how long it pauses otherwise is its own matter.
    fn error(&self, status: u16, code: &str) -> HttpResponse {
        let soon = ("x-amz-retry-after", "1".to_owned());
        let kind = |text: &str| ("content-type", text.to_owned());
        let words = "by a test";
        match self.protocol {
            Protocol::Json => respond(status, &[soon, kind("application/x-amz-json-1.1")], json!({"__type": code, "message": words}).to_string().into_bytes()),
            Protocol::Cbor => {
                let text = |text: &str| [&[0x78, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
                let body = [vec![0xa2], text("__type"), text(code), text("message"), text(words)].concat();
                respond(status, &[soon, kind("application/cbor"), ("smithy-protocol", "rpc-v2-cbor".to_owned())], body)
            }
            Protocol::Query => {
                let body = format!(
                    "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{words}</Message></Error><RequestId>1</RequestId></ErrorResponse>"
                );
                respond(status, &[soon, kind("text/xml")], body.into_bytes())
            }
            Protocol::S3 => {
                let body = format!("<Error><Code>{code}</Code><Message>{words}</Message></Error>");
                respond(status, &[soon, kind("application/xml")], body.into_bytes())
            }
        }
    }
}

/// S3's operations have no name on the wire.
fn s3(method: &str, path: &str, query: &str) -> String {
    let object = path.trim_start_matches('/').split_once('/').is_some_and(|(_, key)| !key.is_empty());
    let keys: Vec<_> = form_urlencoded::parse(query.as_bytes()).map(|(name, _)| name.into_owned()).collect();
    let has = |key: &str| keys.iter().any(|k| k == key);
    let plain = ["x-id", "prefix", "max-keys", "delimiter", "key-marker", "version-id-marker", "versionId", "continuation-token", "encoding-type"];
    let sub = keys.iter().find(|k| !plain.contains(&k.as_str())).map(String::as_str).unwrap_or_default();
    match (method, object, sub) {
        ("GET", false, _) if has("list-type") => "ListObjectsV2".to_owned(),
        ("GET", false, "versions") => "ListObjectVersions".to_owned(),
        ("GET", false, "uploads") => "ListMultipartUploads".to_owned(),
        ("POST", false, "delete") => "DeleteObjects".to_owned(),
        ("PUT", false, "") => "CreateBucket".to_owned(),
        _ => {
            let capital = |word: &str| word.chars().next().map_or(String::new(), |c| c.to_uppercase().chain(word.chars().skip(1)).collect());
            let verb = capital(&method.to_lowercase());
            format!("{verb}{}{}", if object { "Object" } else { "Bucket" }, capital(sub))
        }
    }
}

/// A response read to its end, and its body beside it.
pub async fn read(mut response: HttpResponse) -> Result<(HttpResponse, Vec<u8>), ConnectorError> {
    let body = ByteStream::new(response.take_body()).collect().await.map_err(|e| ConnectorError::io(e.into()))?.to_vec();
    *response.body_mut() = SdkBody::from(body.clone());
    Ok((response, body))
}

/// The response with a body that is nothing in any protocol.
pub fn spoilt(mut response: HttpResponse) -> HttpResponse {
    response.headers_mut().remove("content-length");
    response.headers_mut().remove("x-amz-crc32");
    *response.body_mut() = SdkBody::from("\u{1}<{ by a test");
    response
}
