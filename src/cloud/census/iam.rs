//! Roles by tag and name. Service-linked roles are AWS's own.

use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::{AT_ONCE, Listing, Whose};
use crate::cloud::Cloud;
use crate::cloud::fault::{fault, is};
use crate::engine::fault::Fault;
use crate::engine::kind::Tags;

enum Read {
    Tags(Tags),
    Gone,
    Closed,
}

async fn tags(cloud: &Cloud, role: &str) -> Result<Read, Fault> {
    match cloud.iam.list_role_tags().role_name(role).send().await {
        Ok(found) => Ok(Read::Tags(found.tags.into_iter().map(|t| (t.key, t.value)).collect())),
        Err(e) if is(&e, &["NoSuchEntity", "NoSuchEntityException"]) => Ok(Read::Gone),
        // labctl's own policy may name the products' roles only.
        Err(e) if is(&e, &["AccessDenied", "AccessDeniedException"]) => Ok(Read::Closed),
        Err(e) => Err(fault("iam:ListRoleTags", e)),
    }
}

pub(super) async fn list(cloud: &Cloud, whose: &Whose) -> Result<Vec<Listing>, Fault> {
    let mut listing = Listing::new("iam", "ListRoles");
    let mut names = Vec::new();
    let mut pages = cloud.iam.list_roles().into_paginator().items().send();
    while let Some(role) = pages.next().await {
        let role = role.map_err(|e| fault("iam:ListRoles", e))?;
        if !role.path.starts_with("/aws-service-role/") {
            names.push(role.role_name);
        }
    }
    let read = stream::iter(names).map(|name| async move { tags(cloud, &name).await.map(|read| (name, read)) });
    let read: Vec<_> = read.buffered(AT_ONCE).try_collect().await?;
    for (name, read) in read {
        match read {
            Read::Tags(tags) => listing.take(whose, "role", &name, &tags),
            Read::Gone => {}
            Read::Closed => {
                listing.closed += 1;
                listing.take(whose, "role", &name, &Tags::new());
            }
        }
    }
    Ok(vec![listing])
}
