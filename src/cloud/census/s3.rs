//! Buckets by tag and name; what lies under the prefixes once on record in other buckets, or which folders those buckets have.

use std::collections::BTreeSet;

use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::{AT_ONCE, Listing, Whose};
use crate::cloud::Cloud;
use crate::cloud::fault::{fault, is, status};
use crate::engine::fault::Fault;
use crate::engine::kind::Tags;

enum Read {
    Tags(Tags),
    Gone,
    Closed,
}

async fn tags(cloud: &Cloud, bucket: &str) -> Result<Read, Fault> {
    match cloud.s3.get_bucket_tagging().bucket(bucket).send().await {
        Ok(found) => Ok(Read::Tags(found.tag_set.into_iter().map(|t| (t.key, t.value)).collect())),
        Err(e) if is(&e, &["NoSuchTagSet"]) => Ok(Read::Tags(Tags::new())),
        Err(e) if is(&e, &["NoSuchBucket"]) => Ok(Read::Gone),
        Err(e) if status(&e) == Some(403) => Ok(Read::Closed),
        Err(e) => Err(fault("s3:GetBucketTagging", e)),
    }
}

pub(super) async fn list(cloud: &Cloud, whose: &Whose) -> Result<Vec<Listing>, Fault> {
    let mut buckets = Listing::new("s3", "ListBuckets");
    let mut names = Vec::new();
    let mut pages = cloud.s3.list_buckets().bucket_region(cloud.region()).into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|e| fault("s3:ListBuckets", e))?;
        names.extend(page.buckets.unwrap_or_default().into_iter().filter_map(|b| b.name));
    }
    let read = stream::iter(names).map(|name| async move { tags(cloud, &name).await.map(|read| (name, read)) });
    let read: Vec<_> = read.buffered(AT_ONCE).try_collect().await?;
    for (name, read) in read {
        match read {
            Read::Tags(tags) => buckets.take(whose, "bucket", &name, &tags),
            Read::Gone => {}
            Read::Closed => {
                buckets.closed += 1;
                buckets.take(whose, "bucket", &name, &Tags::new());
            }
        }
    }
    let mut listings = vec![buckets];
    let prefixes: Vec<_> = whose.ids.iter().filter_map(|id| id.strip_prefix("s3://")?.split_once('/')).collect();
    if !whose.leftovers {
        let mut folders = Listing::new("s3", "ListObjectsV2");
        let buckets: BTreeSet<&str> = prefixes.iter().map(|(bucket, _)| *bucket).chain(whose.shared.iter().map(String::as_str)).collect();
        for bucket in buckets {
            in_bucket(cloud, whose, bucket, &mut folders).await?;
        }
        listings.push(folders);
    } else if !prefixes.is_empty() {
        let (mut versions, mut uploads) = (Listing::new("s3", "ListObjectVersions"), Listing::new("s3", "ListMultipartUploads"));
        for (bucket, prefix) in prefixes {
            under(cloud, bucket, prefix, &mut versions, &mut uploads).await?;
        }
        listings.extend([versions, uploads]);
    }
    Ok(listings)
}

/// The folders of a bucket that tenants share. Whose one is, its marker says.
async fn in_bucket(cloud: &Cloud, whose: &Whose, bucket: &str, folders: &mut Listing) -> Result<(), Fault> {
    let own = whose.tenant.as_ref().map(|t| format!("{t}/"));
    let mut pages = cloud.s3.list_objects_v2().bucket(bucket).delimiter("/").set_prefix(own).into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = match page {
            Err(e) if is(&e, &["NoSuchBucket"]) => return Ok(()),
            other => other.map_err(|e| fault("s3:ListObjectsV2", e))?,
        };
        let found = page.common_prefixes.unwrap_or_default().into_iter().filter_map(|p| p.prefix);
        let read = stream::iter(found).map(|prefix| async move { marker(cloud, bucket, &prefix).await.map(|read| (prefix, read)) });
        let read: Vec<_> = read.buffered(AT_ONCE).try_collect().await?;
        for (prefix, read) in read {
            let id = format!("s3://{bucket}/{prefix}");
            match read {
                Read::Tags(tags) => folders.take(whose, "folder", &id, &tags),
                Read::Gone => folders.take(whose, "folder", &id, &Tags::new()),
                Read::Closed => {
                    folders.closed += 1;
                    folders.take(whose, "folder", &id, &Tags::new());
                }
            }
        }
    }
    Ok(())
}

async fn marker(cloud: &Cloud, bucket: &str, prefix: &str) -> Result<Read, Fault> {
    match cloud.s3.get_object_tagging().bucket(bucket).key(format!("{prefix}.keep")).send().await {
        Ok(found) => Ok(Read::Tags(found.tag_set.into_iter().map(|t| (t.key, t.value)).collect())),
        Err(e) if is(&e, &["NoSuchKey", "NoSuchBucket"]) => Ok(Read::Gone),
        Err(e) if status(&e) == Some(403) => Ok(Read::Closed),
        Err(e) => Err(fault("s3:GetObjectTagging", e)),
    }
}

/// The first page is enough: whatever is there is too much.
async fn under(cloud: &Cloud, bucket: &str, prefix: &str, versions: &mut Listing, uploads: &mut Listing) -> Result<(), Fault> {
    let id = |key: Option<&str>| format!("s3://{bucket}/{}", key.unwrap_or_default());
    match cloud.s3.list_object_versions().bucket(bucket).prefix(prefix).send().await {
        Ok(page) => {
            for key in page.versions().iter().map(|v| v.key()).chain(page.delete_markers().iter().map(|m| m.key())) {
                versions.listed += 1;
                versions.note("object", &id(key), &Tags::new(), None);
            }
        }
        Err(e) if is(&e, &["NoSuchBucket"]) => return Ok(()),
        Err(e) => return Err(fault("s3:ListObjectVersions", e)),
    }
    match cloud.s3.list_multipart_uploads().bucket(bucket).prefix(prefix).send().await {
        Ok(page) => {
            for upload in page.uploads().iter().filter(|u| u.key().is_some_and(|k| k.starts_with(prefix))) {
                uploads.listed += 1;
                uploads.note("upload", &id(upload.key()), &Tags::new(), None);
            }
        }
        Err(e) if is(&e, &["NoSuchBucket"]) => {}
        Err(e) => return Err(fault("s3:ListMultipartUploads", e)),
    }
    Ok(())
}
