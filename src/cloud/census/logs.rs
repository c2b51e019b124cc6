//! Log groups by name, and by tag those in the same folder as one that was once on record.

use super::{Listing, Whose};
use crate::cloud::Cloud;
use crate::cloud::fault::{fault, is};
use crate::engine::fault::Fault;
use crate::engine::kind::Tags;

pub(super) async fn list(cloud: &Cloud, whose: &Whose) -> Result<Vec<Listing>, Fault> {
    let mut listing = Listing::new("logs", "DescribeLogGroups");
    let folders: Vec<&str> = whose.ids.iter().filter(|id| id.starts_with('/')).filter_map(|id| Some(id.rsplit_once('/')?.0)).collect();
    let mut pages = cloud.logs.describe_log_groups().into_paginator().items().send();
    while let Some(group) = pages.next().await {
        let group = group.map_err(|e| fault("logs:DescribeLogGroups", e))?;
        let (name, arn) = (group.log_group_name().unwrap_or_default(), group.arn().unwrap_or_default());
        let near = name.rsplit_once('/').is_some_and(|(folder, _)| folders.contains(&folder));
        let tags = if near {
            match cloud.logs.list_tags_for_resource().resource_arn(arn.trim_end_matches(":*")).send().await {
                Ok(found) => found.tags.unwrap_or_default().into_iter().collect(),
                Err(e) if is(&e, &["ResourceNotFoundException"]) => continue,
                Err(e) => return Err(fault("logs:ListTagsForResource", e)),
            }
        } else {
            Tags::new()
        };
        listing.take(whose, "log group", name, &tags);
    }
    Ok(vec![listing])
}
