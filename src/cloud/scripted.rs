//! For tests: an HTTP client that answers from a script, for what no emulator shows (a database in `creating`, a failed rollout, a
//! lost reply). The script names the operation it expects, so a test also says which calls a kind makes, and in which order.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use aws_smithy_runtime_api::client::http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;

use super::{Cloud, Reach};

/// One expected call and its answer.
#[derive(Debug)]
struct Line {
    operation: &'static str,
    status: u16,
    body: String,
}

#[derive(Debug, Default)]
struct Stage {
    lines: VecDeque<Line>,
    seen: Vec<(String, String)>,
}

/// The script. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Script(Arc<Mutex<Stage>>);

impl Script {
    /// An empty script: every call is a surprise.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next call is to be `operation`, and is answered with that status and body.
    #[must_use]
    pub fn then(self, operation: &'static str, status: u16, body: impl Into<String>) -> Self {
        self.0.lock().unwrap().lines.push_back(Line { operation, status, body: body.into() });
        self
    }

    /// The next call is to be `operation`; the connection breaks before its answer arrives.
    #[must_use]
    pub fn then_silence(self, operation: &'static str) -> Self {
        self.then(operation, 0, "")
    }

    /// The operations called so far, with their bodies.
    pub fn seen(&self) -> Vec<(String, String)> {
        self.0.lock().unwrap().seen.clone()
    }

    /// The names of the operations called so far.
    pub fn operations(&self) -> Vec<String> {
        self.seen().into_iter().map(|(operation, _)| operation).collect()
    }

    /// Clients that talk to this script.
    pub async fn cloud(&self) -> Cloud {
        Cloud::connect(Reach {
            region: Some("eu-central-1".into()),
            fixed_credentials: Some(("AKIDEXAMPLE".into(), "example".into())),
            http_client: Some(SharedHttpClient::new(self.clone())),
            ..Reach::default()
        })
        .await
    }

    fn answer(&self, request: &HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let body = request.body().bytes().map(|b| String::from_utf8_lossy(b).into_owned()).unwrap_or_default();
        let operation = match request.headers().get("x-amz-target") {
            Some(target) => target.rsplit('.').next().unwrap_or_default().to_owned(),
            None => body.split('&').find_map(|p| p.strip_prefix("Action=")).unwrap_or_default().to_owned(),
        };
        let mut stage = self.0.lock().unwrap();
        stage.seen.push((operation.clone(), body));
        let line = stage.lines.pop_front().unwrap_or_else(|| panic!("{operation} is called, but the script has ended"));
        assert_eq!(line.operation, operation, "the script expects another call");
        if line.status == 0 {
            return Err(ConnectorError::other("the connection was reset".into(), None));
        }
        Ok(HttpResponse::new(line.status.try_into().unwrap(), SdkBody::from(line.body)))
    }
}

impl HttpConnector for Script {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::ready(self.answer(&request))
    }
}

impl HttpClient for Script {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

/// An error as awsQuery services (RDS, IAM) write it.
pub fn query_error(code: &str, message: &str) -> String {
    format!("<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error><RequestId>1</RequestId></ErrorResponse>")
}

/// An error as awsJson services (ECS, Secrets Manager) write it.
pub fn json_error(code: &str, message: &str) -> String {
    serde_json::json!({"__type": code, "message": message}).to_string()
}
