//! Whatever bears the tenant's tags in services that are not asked themselves. Those that are answer better: the tagging API lags.

use aws_sdk_resourcegroupstagging::types::TagFilter;

use super::{Listing, Whose};
use crate::cloud::Cloud;
use crate::cloud::fault::fault;
use crate::cloud::tags::{REGISTRY, TENANT};
use crate::engine::fault::Fault;

/// As ARNs spell them.
const ASKED_THEMSELVES: &[&str] = &["application-autoscaling", "cognito-idp", "ecs", "iam", "kms", "logs", "rds", "s3", "secretsmanager"];

pub(super) async fn list(cloud: &Cloud, whose: &Whose) -> Result<Vec<Listing>, Fault> {
    let mut listing = Listing::new("tagging", "GetResources");
    let filter = |key: &str, value: &str| TagFilter::builder().key(key).values(value).build();
    let mut call = cloud.tagging.get_resources().tag_filters(filter(REGISTRY, &whose.registry));
    if let Some(tenant) = &whose.tenant {
        call = call.tag_filters(filter(TENANT, tenant));
    }
    let mut pages = call.into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|e| fault("tagging:GetResources", e))?;
        for resource in page.resource_tag_mapping_list() {
            let arn = resource.resource_arn().unwrap_or_default();
            if ASKED_THEMSELVES.contains(&arn.split(':').nth(2).unwrap_or_default()) {
                continue;
            }
            let tags = resource.tags().iter().map(|t| (t.key.clone(), t.value.clone())).collect();
            listing.take(whose, "resource", arn, &tags);
        }
    }
    Ok(vec![listing])
}
