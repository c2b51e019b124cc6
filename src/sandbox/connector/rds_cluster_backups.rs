//! DescribeDBClusterAutomatedBackups answers. The emulator makes none.

use async_trait::async_trait;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;

use super::Next;
use super::rds_duplicate::RDS;
use super::wire::{Sent, form, xml_answer};

const CALL: &str = "DescribeDBClusterAutomatedBackups";

#[derive(Debug)]
pub(super) struct Mend;

#[async_trait]
impl super::Mend for Mend {
    async fn call(&self, request: HttpRequest, next: Next<'_>) -> Sent {
        if form(&request, RDS).is_some_and(|f| f.action() == CALL) {
            return xml_answer(&format!("<{CALL}Response><{CALL}Result><DBClusterAutomatedBackups/></{CALL}Result></{CALL}Response>"));
        }
        next.send(request).await
    }
}
