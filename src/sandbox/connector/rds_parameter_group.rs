//! DescribeDBParameterGroups of a group that is not there says so.

use async_trait::async_trait;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;

use super::Next;
use super::rds_duplicate::RDS;
use super::wire::{Sent, form, query_error, read};

#[derive(Debug)]
pub(super) struct Mend;

#[async_trait]
impl super::Mend for Mend {
    async fn call(&self, request: HttpRequest, next: Next<'_>) -> Sent {
        let named =
            form(&request, RDS).filter(|f| f.action() == "DescribeDBParameterGroups").and_then(|f| f.get("DBParameterGroupName").map(ToOwned::to_owned));
        let Some(name) = named else { return next.send(request).await };
        let answer = read(next.send(request).await?).await?;
        if answer.ok() && !answer.text().contains("<DBParameterGroupName>") {
            return query_error(404, "DBParameterGroupNotFound", &format!("DBParameterGroup not found: {name}"));
        }
        Ok(answer.back())
    }
}
