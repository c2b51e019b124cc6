//! Emptying: every version, delete marker and unfinished upload under a prefix, a page at a time.

use aws_sdk_s3::types::{Delete, ObjectIdentifier};

use super::fault::{fault, is};
use crate::engine::fault::Fault;

/// Removes for good everything under `prefix` (all of the bucket when it is empty): unfinished uploads, all versions, all delete
/// markers. Nothing there, or no such bucket, is success. May be cut off anywhere and run again.
///
/// # Errors
/// The first object S3 would not delete (a lock, a missing permission) ends it; what was deleted before stays deleted.
pub async fn remove_all(s3: &aws_sdk_s3::Client, bucket: &str, prefix: &str) -> Result<(), Fault> {
    remove_uploads(s3, bucket, prefix).await?;
    // Each round takes what is then the first page (at most 1,000, the limit of DeleteObjects), so no marker can go stale.
    loop {
        let page = match s3.list_object_versions().bucket(bucket).prefix(prefix).max_keys(1000).send().await {
            Ok(page) => page,
            Err(e) if is(&e, &["NoSuchBucket"]) => return Ok(()),
            Err(e) => return Err(fault("s3:ListObjectVersions", e)),
        };
        let versions = page.versions().iter().map(|v| (v.key(), v.version_id()));
        let markers = page.delete_markers().iter().map(|m| (m.key(), m.version_id()));
        let doomed: Vec<_> = versions
            .chain(markers)
            .filter_map(|(key, version)| ObjectIdentifier::builder().key(key?).set_version_id(version.map(ToOwned::to_owned)).build().ok())
            .collect();
        if doomed.is_empty() {
            return Ok(());
        }
        let delete = Delete::builder()
            .set_objects(Some(doomed))
            .quiet(true)
            .build()
            .map_err(|e| Fault::refused("s3:DeleteObjects", "invalid_request", e.to_string()))?;
        let done = s3.delete_objects().bucket(bucket).delete(delete).send().await.map_err(|e| fault("s3:DeleteObjects", e))?;
        if let Some(failed) = done.errors().first() {
            return Err(Fault::refused(
                "s3:DeleteObjects",
                failed.code().unwrap_or("Unknown"),
                format!("{}: {}", failed.key().unwrap_or_default(), failed.message().unwrap_or("not deleted")),
            ));
        }
    }
}

async fn remove_uploads(s3: &aws_sdk_s3::Client, bucket: &str, prefix: &str) -> Result<(), Fault> {
    let mut pages = s3.list_multipart_uploads().bucket(bucket).prefix(prefix);
    loop {
        let page = match pages.clone().send().await {
            Ok(page) => page,
            Err(e) if is(&e, &["NoSuchBucket"]) => return Ok(()),
            Err(e) => return Err(fault("s3:ListMultipartUploads", e)),
        };
        // The prefix is asked for; that nothing else is aborted does not hang on it.
        for upload in page.uploads().iter().filter(|u| u.key().is_some_and(|k| k.starts_with(prefix))) {
            let sent = s3.abort_multipart_upload().bucket(bucket).set_key(upload.key.clone()).set_upload_id(upload.upload_id.clone()).send().await;
            match sent {
                Err(e) if !is(&e, &["NoSuchUpload"]) => return Err(fault("s3:AbortMultipartUpload", e)),
                _ => {}
            }
        }
        if page.is_truncated() != Some(true) {
            return Ok(());
        }
        pages = pages.set_key_marker(page.next_key_marker).set_upload_id_marker(page.next_upload_id_marker);
    }
}
