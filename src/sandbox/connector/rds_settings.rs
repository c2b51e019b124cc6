//! Performance Insights are described as they were set, and a Multi-AZ DB cluster as one.

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;

use super::Next;
use super::rds_duplicate::RDS;
use super::wire::{Form, Sent, form, read};
use super::xml::{each, set, text};

/// (element, its identifier, the request member that switches Performance Insights)
const DATABASES: &[(&str, &str)] = &[("DBInstance", "DBInstanceIdentifier"), ("DBCluster", "DBClusterIdentifier")];

#[derive(Debug)]
pub(super) struct Mend;

fn key(element: &str, identifier: &str) -> String {
    format!("/labctl-sandbox/rds/{element}/{identifier}/performance-insights")
}

#[async_trait]
impl super::Mend for Mend {
    async fn call(&self, request: HttpRequest, next: Next<'_>) -> Sent {
        let asked: Option<(&(&str, &str), Form)> = form(&request, RDS)
            .and_then(|f| Some((DATABASES.iter().find(|(element, _)| f.action().ends_with(element) || f.action().ends_with(&format!("{element}s")))?, f)));
        let Some(((element, identifier), asked)) = asked else { return next.send(request).await };
        let wire = next.wire;
        if let (Some(name), Some(on)) = (asked.get(identifier), asked.get("EnablePerformanceInsights"))
            && (asked.action().starts_with("Create") || asked.action().starts_with("Modify"))
        {
            wire.remember(&key(element, name), on).await?;
        }
        let answer = read(next.send(request).await?).await?;
        if !answer.ok() {
            return Ok(answer.back());
        }
        let xml = answer.text();
        let mut names = Vec::new();
        each(&xml, element, |inside| {
            names.extend(text(inside, identifier).map(ToOwned::to_owned));
            String::new()
        });
        let mut on = BTreeMap::new();
        for name in names {
            let value = wire.remembered(&key(element, &name)).await.unwrap_or_else(|| "false".into());
            on.insert(name, value);
        }
        let mended = each(&xml, element, |inside| {
            let mut inside = inside.to_owned();
            if let Some(on) = text(&inside, identifier).and_then(|name| on.get(name)) {
                inside = set(&inside, "PerformanceInsightsEnabled", on);
            }
            // The class of its instances is what makes a cluster a Multi-AZ DB cluster (Aurora's have none).
            if text(&inside, "DBClusterInstanceClass").is_some_and(|class| !class.is_empty()) {
                inside = set(&inside, "MultiAZ", "true");
            }
            inside
        });
        Ok(answer.with(mended.into_bytes()))
    }
}
