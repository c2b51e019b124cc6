//! Databases, their parameter groups, and every copy of them: snapshots and automated backups.

use aws_sdk_rds::types::Tag;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::{AT_ONCE, Listing, Whose};
use crate::cloud::Cloud;
use crate::cloud::fault::{fault, is};
use crate::engine::fault::Fault;
use crate::engine::kind::Tags;

const GONE: &[&str] = &["DBParameterGroupNotFound", "DBParameterGroupNotFoundFault", "DBClusterParameterGroupNotFound", "DBClusterParameterGroupNotFoundFault"];

fn read(tags: &[Tag]) -> Tags {
    tags.iter().filter_map(|t| Some((t.key()?.to_owned(), t.value()?.to_owned()))).collect()
}

pub(super) async fn list(cloud: &Cloud, whose: &Whose) -> Result<Vec<Listing>, Fault> {
    let mut listings = databases(cloud, whose).await?;
    if whose.leftovers {
        listings.extend(copies(cloud, whose).await?);
    }
    listings.extend(groups(cloud, whose).await?);
    Ok(listings)
}

async fn databases(cloud: &Cloud, whose: &Whose) -> Result<Vec<Listing>, Fault> {
    let (mut instances, mut clusters) = (Listing::new("rds", "DescribeDBInstances"), Listing::new("rds", "DescribeDBClusters"));
    let mut pages = cloud.rds.describe_db_instances().into_paginator().items().send();
    while let Some(db) = pages.next().await {
        let db = db.map_err(|e| fault("rds:DescribeDBInstances", e))?;
        instances.take(whose, "instance", db.db_instance_identifier().unwrap_or_default(), &read(db.tag_list()));
    }
    let mut pages = cloud.rds.describe_db_clusters().into_paginator().items().send();
    while let Some(db) = pages.next().await {
        let db = db.map_err(|e| fault("rds:DescribeDBClusters", e))?;
        clusters.take(whose, "cluster", db.db_cluster_identifier().unwrap_or_default(), &read(db.tag_list()));
    }
    Ok(vec![instances, clusters])
}

/// A copy is theirs by its own tags, or by the database it is of.
fn copy(listing: &mut Listing, whose: &Whose, what: &str, id: &str, of: &str, tags: &Tags) {
    listing.listed += 1;
    if whose.owns(id, tags) || whose.ids.contains(of) {
        listing.note(what, id, tags, None);
    }
}

async fn copies(cloud: &Cloud, whose: &Whose) -> Result<Vec<Listing>, Fault> {
    let (mut snapshots, mut cluster_snapshots, mut backups, mut cluster_backups) = (
        Listing::new("rds", "DescribeDBSnapshots"),
        Listing::new("rds", "DescribeDBClusterSnapshots"),
        Listing::new("rds", "DescribeDBInstanceAutomatedBackups"),
        Listing::new("rds", "DescribeDBClusterAutomatedBackups"),
    );
    let mut pages = cloud.rds.describe_db_snapshots().into_paginator().items().send();
    while let Some(s) = pages.next().await {
        let s = s.map_err(|e| fault("rds:DescribeDBSnapshots", e))?;
        let (id, of) = (s.db_snapshot_identifier().unwrap_or_default(), s.db_instance_identifier().unwrap_or_default());
        copy(&mut snapshots, whose, "snapshot", id, of, &read(s.tag_list()));
    }
    let mut pages = cloud.rds.describe_db_cluster_snapshots().into_paginator().items().send();
    while let Some(s) = pages.next().await {
        let s = s.map_err(|e| fault("rds:DescribeDBClusterSnapshots", e))?;
        let (id, of) = (s.db_cluster_snapshot_identifier().unwrap_or_default(), s.db_cluster_identifier().unwrap_or_default());
        copy(&mut cluster_snapshots, whose, "cluster snapshot", id, of, &read(s.tag_list()));
    }
    let mut pages = cloud.rds.describe_db_instance_automated_backups().into_paginator().items().send();
    while let Some(b) = pages.next().await {
        let b = b.map_err(|e| fault("rds:DescribeDBInstanceAutomatedBackups", e))?;
        let (id, of) = (b.db_instance_automated_backups_arn().unwrap_or_default(), b.db_instance_identifier().unwrap_or_default());
        copy(&mut backups, whose, "automated backup", id, of, &Tags::new());
    }
    let mut pages = cloud.rds.describe_db_cluster_automated_backups().into_paginator().items().send();
    while let Some(b) = pages.next().await {
        let b = b.map_err(|e| fault("rds:DescribeDBClusterAutomatedBackups", e))?;
        let (id, of) = (b.db_cluster_automated_backups_arn().unwrap_or_default(), b.db_cluster_identifier().unwrap_or_default());
        copy(&mut cluster_backups, whose, "automated backup", id, of, &Tags::new());
    }
    Ok(vec![snapshots, cluster_snapshots, backups, cluster_backups])
}

async fn groups(cloud: &Cloud, whose: &Whose) -> Result<Vec<Listing>, Fault> {
    let (mut groups, mut cluster_groups) = (Listing::new("rds", "DescribeDBParameterGroups"), Listing::new("rds", "DescribeDBClusterParameterGroups"));
    let mut found = Vec::new();
    let mut pages = cloud.rds.describe_db_parameter_groups().into_paginator().items().send();
    while let Some(group) = pages.next().await {
        let group = group.map_err(|e| fault("rds:DescribeDBParameterGroups", e))?;
        found.push((false, group.db_parameter_group_name.unwrap_or_default(), group.db_parameter_group_arn.unwrap_or_default()));
    }
    let mut pages = cloud.rds.describe_db_cluster_parameter_groups().into_paginator().items().send();
    while let Some(group) = pages.next().await {
        let group = group.map_err(|e| fault("rds:DescribeDBClusterParameterGroups", e))?;
        found.push((true, group.db_cluster_parameter_group_name.unwrap_or_default(), group.db_cluster_parameter_group_arn.unwrap_or_default()));
    }
    let read = stream::iter(found).map(|(of_cluster, name, arn)| async move { Ok::<_, Fault>((of_cluster, tags(cloud, &name, &arn).await?, name)) });
    let read: Vec<_> = read.buffered(AT_ONCE).try_collect().await?;
    for (of_cluster, tags, name) in read {
        let Some(tags) = tags else { continue };
        if of_cluster {
            cluster_groups.take(whose, "cluster parameter group", &name, &tags);
        } else {
            groups.take(whose, "parameter group", &name, &tags);
        }
    }
    Ok(vec![groups, cluster_groups])
}

/// The tags of a parameter group; none where it is gone meanwhile. RDS's own have none.
async fn tags(cloud: &Cloud, name: &str, arn: &str) -> Result<Option<Tags>, Fault> {
    if name.starts_with("default.") {
        return Ok(Some(Tags::new()));
    }
    match cloud.rds.list_tags_for_resource().resource_name(arn).send().await {
        Ok(found) => Ok(Some(read(found.tag_list()))),
        Err(e) if is(&e, GONE) => Ok(None),
        Err(e) => Err(fault("rds:ListTagsForResource", e)),
    }
}
