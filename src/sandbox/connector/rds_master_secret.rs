//! The secret RDS manages for a master user opens the sandbox's one PostgreSQL.
//!
//! moto makes the secret (with a password that opens nothing) together with the instance or cluster. Its value is put right when it
//! is made, so that any program can read it, and again when it is read, should we have been killed in between.

use async_trait::async_trait;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::rds_duplicate::RDS;
use super::wire::{Sent, Wire, form, read, target};
use super::xml::text;
use super::{Admin, Next};

#[derive(Debug)]
pub(super) struct Mend(pub(super) Admin);

#[async_trait]
impl super::Mend for Mend {
    async fn call(&self, request: HttpRequest, next: Next<'_>) -> Sent {
        let makes = form(&request, RDS).is_some_and(|f| {
            let action = f.action();
            ["CreateDBInstance", "CreateDBCluster", "ModifyDBInstance", "ModifyDBCluster"].contains(&action)
                && f.get("ManageMasterUserPassword") == Some("true")
        });
        let reads = target(&request) == "secretsmanager.GetSecretValue";
        if !makes && !reads {
            return next.send(request).await;
        }
        let wire = next.wire;
        let answer = read(next.send(request).await?).await?;
        if !answer.ok() {
            return Ok(answer.back());
        }
        if makes {
            if let Some(arn) = text(&answer.text(), "SecretArn") {
                self.fill(wire, arn).await?;
            }
            return Ok(answer.back());
        }
        let mut body = answer.json();
        let managed = body["Name"].as_str().is_some_and(|name| name.starts_with("rds!"));
        if !managed || body["SecretString"].as_str().is_some_and(|now| now == self.value()) {
            return Ok(answer.back());
        }
        body["VersionId"] = self.fill(wire, body["ARN"].as_str().unwrap_or_default()).await?;
        body["SecretString"] = self.value().into();
        Ok(answer.with(body.to_string().into_bytes()))
    }
}

impl Mend {
    fn value(&self) -> String {
        json!({"username": self.0.user, "password": self.0.password.expose_secret()}).to_string()
    }

    /// The id of the new version.
    async fn fill(&self, wire: &Wire, arn: &str) -> Result<Value, ConnectorError> {
        let members = json!({"SecretId": arn, "SecretString": self.value(), "ClientRequestToken": uuid::Uuid::new_v4().to_string()});
        let answer = wire.json("secretsmanager", "secretsmanager.PutSecretValue", &members).await?;
        if answer.ok() { Ok(answer.json()["VersionId"].take()) } else { Err(ConnectorError::other(answer.text().into(), None)) }
    }
}
