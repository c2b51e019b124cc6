//! ECS services of every cluster by tag, tasks of the families once on record, and task definitions: those families' revisions (of all
//! tenants: every family's), active or not where leftovers are asked for, and whatever the tagging API knows.

use std::collections::BTreeSet;

use aws_sdk_ecs::types::{ServiceField, Tag, TaskDefinitionField, TaskDefinitionStatus};
use aws_sdk_resourcegroupstagging::types::TagFilter;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::{AT_ONCE, Listing, Whose};
use crate::cloud::Cloud;
use crate::cloud::fault::{fault, is};
use crate::cloud::tags::{REGISTRY, TENANT};
use crate::engine::fault::Fault;
use crate::engine::kind::Tags;

const GONE: &[&str] = &["ClusterNotFoundException"];

fn read(tags: &[Tag]) -> Tags {
    tags.iter().filter_map(|t| Some((t.key()?.to_owned(), t.value()?.to_owned()))).collect()
}

pub(super) async fn list(cloud: &Cloud, whose: &Whose) -> Result<Vec<Listing>, Fault> {
    let families: BTreeSet<&str> = whose.ids.iter().filter_map(|id| family(id)).collect();
    let (mut services, mut tasks) = (Listing::new("ecs", "ListServices"), Listing::new("ecs", "ListTasks"));
    let mut clusters = Vec::new();
    let mut pages = cloud.ecs.list_clusters().into_paginator().items().send();
    while let Some(arn) = pages.next().await {
        clusters.push(arn.map_err(|e| fault("ecs:ListClusters", e))?);
    }
    for cluster in &clusters {
        in_cluster(cloud, whose, cluster, &families, &mut services, &mut tasks).await?;
    }
    Ok(vec![services, tasks, definitions(cloud, whose, &families).await?])
}

/// `arn:…:task-definition/family:7` → `family`.
fn family(id: &str) -> Option<&str> {
    Some(id.split_once(":task-definition/")?.1.split_once(':')?.0)
}

async fn in_cluster(cloud: &Cloud, whose: &Whose, cluster: &str, families: &BTreeSet<&str>, services: &mut Listing, tasks: &mut Listing) -> Result<(), Fault> {
    let mut arns = Vec::new();
    let mut pages = cloud.ecs.list_services().cluster(cluster).max_results(100).into_paginator().items().send();
    while let Some(arn) = pages.next().await {
        match arn {
            Err(e) if is(&e, GONE) => return Ok(()),
            other => arns.push(other.map_err(|e| fault("ecs:ListServices", e))?),
        }
    }
    for ten in arns.chunks(10) {
        let call = cloud.ecs.describe_services().cluster(cluster).set_services(Some(ten.to_vec())).include(ServiceField::Tags);
        let found = match call.send().await {
            Err(e) if is(&e, GONE) => return Ok(()),
            other => other.map_err(|e| fault("ecs:DescribeServices", e))?,
        };
        for service in found.services().iter().filter(|s| s.status() != Some("INACTIVE")) {
            services.take(whose, "service", service.service_arn().unwrap_or_default(), &read(service.tags()));
        }
    }
    for family in families.iter().filter(|_| whose.leftovers) {
        let mut pages = cloud.ecs.list_tasks().cluster(cluster).family(*family).into_paginator().items().send();
        while let Some(arn) = pages.next().await {
            match arn {
                Err(e) if is(&e, GONE) => return Ok(()),
                other => {
                    tasks.listed += 1;
                    tasks.note("task", &other.map_err(|e| fault("ecs:ListTasks", e))?, &Tags::new(), None);
                }
            }
        }
    }
    Ok(())
}

async fn definitions(cloud: &Cloud, whose: &Whose, families: &BTreeSet<&str>) -> Result<Listing, Fault> {
    let mut listing = Listing::new("ecs", "ListTaskDefinitions");
    let mut arns = BTreeSet::new();
    let inactive = whose.leftovers.then_some(TaskDefinitionStatus::Inactive);
    let statuses: Vec<_> = std::iter::once(TaskDefinitionStatus::Active).chain(inactive).collect();
    let families = if whose.tenant.is_some() { families.iter().map(|f| Some((*f).to_owned())).collect() } else { vec![None] };
    for family in families {
        for status in statuses.clone() {
            let mut pages = cloud.ecs.list_task_definitions().set_family_prefix(family.clone()).status(status).into_paginator().items().send();
            while let Some(arn) = pages.next().await {
                arns.insert(arn.map_err(|e| fault("ecs:ListTaskDefinitions", e))?);
            }
        }
    }
    let filter = |key: &str, value: &str| TagFilter::builder().key(key).values(value).build();
    let mut call = cloud.tagging.get_resources().resource_type_filters("ecs:task-definition").tag_filters(filter(REGISTRY, &whose.registry));
    if let Some(tenant) = &whose.tenant {
        call = call.tag_filters(filter(TENANT, tenant));
    }
    let mut pages = call.into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|e| fault("tagging:GetResources", e))?;
        arns.extend(page.resource_tag_mapping_list().iter().filter_map(|r| r.resource_arn().map(ToOwned::to_owned)));
    }
    let read = stream::iter(arns).map(|arn| async move { definition(cloud, whose, &arn).await.map(|tags| (arn, tags)) });
    let read: Vec<_> = read.buffered(AT_ONCE).try_collect().await?;
    for (arn, tags) in read.iter().filter_map(|(arn, tags)| Some((arn, tags.as_ref()?))) {
        listing.take(whose, "task definition", arn, tags);
    }
    Ok(listing)
}

/// The tags of a revision; none where it is gone, or on its way out, or out of use and not asked for.
async fn definition(cloud: &Cloud, whose: &Whose, arn: &str) -> Result<Option<Tags>, Fault> {
    match cloud.ecs.describe_task_definition().task_definition(arn).include(TaskDefinitionField::Tags).send().await {
        Ok(found) => {
            let going = match found.task_definition().and_then(|d| d.status()) {
                Some(TaskDefinitionStatus::DeleteInProgress) => true,
                Some(TaskDefinitionStatus::Inactive) => !whose.leftovers,
                _ => false,
            };
            Ok((!going).then(|| read(found.tags())))
        }
        Err(e) if e.message().is_some_and(|m| m.contains("Unable to describe task definition")) => Ok(None),
        Err(e) => Err(fault("ecs:DescribeTaskDefinition", e)),
    }
}
