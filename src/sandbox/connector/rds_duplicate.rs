//! What exists already is not made again over it.

use async_trait::async_trait;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;

use super::Next;
use super::wire::{Sent, form, query_error};

/// The API version of RDS.
pub(super) const RDS: &str = "2014-10-31";

struct Unique {
    create: &'static str,
    describe: &'static str,
    name: &'static str,
    code: &'static str,
    what: &'static str,
}

const UNIQUE: &[Unique] = &[
    Unique { create: "CreateDBCluster", describe: "DescribeDBClusters", name: "DBClusterIdentifier", code: "DBClusterAlreadyExistsFault", what: "DB Cluster" },
    Unique {
        create: "CreateDBSubnetGroup",
        describe: "DescribeDBSubnetGroups",
        name: "DBSubnetGroupName",
        code: "DBSubnetGroupAlreadyExists",
        what: "DB subnet group",
    },
];

#[derive(Debug)]
pub(super) struct Mend;

#[async_trait]
impl super::Mend for Mend {
    async fn call(&self, request: HttpRequest, next: Next<'_>) -> Sent {
        let asked = form(&request, RDS).and_then(|f| {
            let kind = UNIQUE.iter().find(|u| u.create == f.action())?;
            Some((kind, f.get(kind.name)?.to_owned()))
        });
        if let Some((kind, name)) = asked
            && next.wire.query("rds", RDS, kind.describe, &[(kind.name, &name)]).await?.ok()
        {
            return query_error(400, kind.code, &format!("{} already exists", kind.what));
        }
        next.send(request).await
    }
}
