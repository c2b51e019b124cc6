//! Scalable targets of the ECS services once on record.

use aws_sdk_applicationautoscaling::types::ServiceNamespace;

use super::{Listing, Whose};
use crate::cloud::Cloud;
use crate::cloud::fault::fault;
use crate::engine::fault::Fault;
use crate::engine::kind::Tags;

pub(super) async fn list(cloud: &Cloud, whose: &Whose) -> Result<Vec<Listing>, Fault> {
    let mut listing = Listing::new("application-autoscaling", "DescribeScalableTargets");
    let mut pages = cloud.autoscaling.describe_scalable_targets().service_namespace(ServiceNamespace::Ecs).into_paginator().items().send();
    while let Some(target) = pages.next().await {
        let target = target.map_err(|e| fault("application-autoscaling:DescribeScalableTargets", e))?;
        listing.listed += 1;
        // `service/cluster/name` is the end of the service's ARN.
        let resource = target.resource_id;
        if whose.ids.iter().any(|id| id.rsplit(':').next() == Some(resource.as_str())) {
            listing.note("scalable target", &resource, &Tags::new(), None);
        }
    }
    Ok(vec![listing])
}
