//! Keys by tag, those pending deletion too.

use aws_sdk_kms::types::KeyState;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::{AT_ONCE, Listing, Whose, time};
use crate::cloud::Cloud;
use crate::cloud::fault::{fault, is};
use crate::engine::fault::Fault;
use crate::engine::kind::Tags;

enum Read {
    Tags(Tags),
    Gone,
    Closed,
}

async fn tags(cloud: &Cloud, key: &str) -> Result<Read, Fault> {
    let mut tags = Tags::new();
    let mut pages = cloud.kms.list_resource_tags().key_id(key).into_paginator().items().send();
    while let Some(tag) = pages.next().await {
        match tag {
            Ok(tag) => drop(tags.insert(tag.tag_key, tag.tag_value)),
            Err(e) if is(&e, &["NotFoundException"]) => return Ok(Read::Gone),
            Err(e) if is(&e, &["AccessDeniedException"]) => return Ok(Read::Closed),
            Err(e) => return Err(fault("kms:ListResourceTags", e)),
        }
    }
    Ok(Read::Tags(tags))
}

pub(super) async fn list(cloud: &Cloud, whose: &Whose) -> Result<Vec<Listing>, Fault> {
    let mut listing = Listing::new("kms", "ListKeys");
    let mut keys = Vec::new();
    let mut pages = cloud.kms.list_keys().into_paginator().items().send();
    while let Some(key) = pages.next().await {
        keys.extend(key.map_err(|e| fault("kms:ListKeys", e))?.key_id);
    }
    let read = stream::iter(keys).map(|id| async move { tags(cloud, &id).await.map(|read| (id, read)) });
    let read: Vec<_> = read.buffered(AT_ONCE).try_collect().await?;
    for (id, read) in read {
        let tags = match read {
            Read::Tags(tags) => tags,
            Read::Gone => continue,
            Read::Closed => {
                listing.closed += 1;
                Tags::new()
            }
        };
        listing.listed += 1;
        if whose.owns(&id, &tags) {
            let key = match cloud.kms.describe_key().key_id(&id).send().await {
                Err(e) if is(&e, &["NotFoundException"]) => continue,
                other => other.map_err(|e| fault("kms:DescribeKey", e))?.key_metadata,
            };
            let going = key.filter(|k| matches!(k.key_state(), Some(KeyState::PendingDeletion | KeyState::PendingReplicaDeletion)));
            listing.note("key", &id, &tags, going.and_then(|k| k.deletion_date.as_ref().and_then(time)));
        }
    }
    Ok(vec![listing])
}
