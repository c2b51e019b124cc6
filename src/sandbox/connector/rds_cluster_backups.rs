//! A cluster's automated backups: DescribeDBClusterAutomatedBackups answers (the emulator makes none), and the automated snapshots go with
//! the cluster unless they are to be kept.

use async_trait::async_trait;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;

use super::Next;
use super::rds_duplicate::RDS;
use super::wire::{Sent, form, read, xml_answer};
use super::xml::{each, text};

const LIST: &str = "DescribeDBClusterAutomatedBackups";

#[derive(Debug)]
pub(super) struct Mend;

#[async_trait]
impl super::Mend for Mend {
    async fn call(&self, request: HttpRequest, next: Next<'_>) -> Sent {
        let Some(asked) = form(&request, RDS) else { return next.send(request).await };
        if asked.action() == LIST {
            return xml_answer(&format!("<{LIST}Response><{LIST}Result><DBClusterAutomatedBackups/></{LIST}Result></{LIST}Response>"));
        }
        let doomed = asked.action() == "DeleteDBCluster" && asked.get("DeleteAutomatedBackups") != Some("false");
        let Some(cluster) = asked.get("DBClusterIdentifier").filter(|_| doomed) else { return next.send(request).await };
        let wire = next.wire;
        let answer = read(next.send(request).await?).await?;
        if answer.ok() {
            let listed = wire.query("rds", RDS, "DescribeDBClusterSnapshots", &[("DBClusterIdentifier", cluster), ("SnapshotType", "automated")]).await?;
            let mut snapshots = Vec::new();
            each(&listed.text(), "DBClusterSnapshot", |inside| {
                snapshots.extend(text(inside, "DBClusterSnapshotIdentifier").map(ToOwned::to_owned));
                String::new()
            });
            for snapshot in snapshots {
                wire.query("rds", RDS, "DeleteDBClusterSnapshot", &[("DBClusterSnapshotIdentifier", &snapshot)]).await?;
            }
        }
        Ok(answer.back())
    }
}
