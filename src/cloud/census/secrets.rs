//! Secrets by tag, those in their recovery window too.

use aws_sdk_secretsmanager::types::{Filter, FilterNameStringType};

use super::{Listing, Whose, time};
use crate::cloud::Cloud;
use crate::cloud::fault::{fault, is};
use crate::engine::fault::Fault;
use crate::engine::kind::Tags;

pub(super) async fn list(cloud: &Cloud, whose: &Whose) -> Result<Vec<Listing>, Fault> {
    let mut listing = Listing::new("secretsmanager", "ListSecrets");
    let theirs = Filter::builder().key(FilterNameStringType::TagValue).values(whose.tenant.as_ref().unwrap_or(&whose.registry)).build();
    let mut secrets = Vec::new();
    let mut pages = cloud.secrets.list_secrets().include_planned_deletion(true).filters(theirs).into_paginator().send();
    while let Some(page) = pages.next().await {
        secrets.extend(page.map_err(|e| fault("secretsmanager:ListSecrets", e))?.secret_list.unwrap_or_default());
    }
    for secret in secrets {
        let arn = secret.arn().unwrap_or_default();
        let tags: Tags = secret.tags().iter().filter_map(|t| Some((t.key()?.to_owned(), t.value()?.to_owned()))).collect();
        if secret.deleted_date().is_none() || !whose.owns(arn, &tags) {
            listing.take(whose, "secret", arn, &tags);
            continue;
        }
        // The list says since when; the secret itself says until when.
        match cloud.secrets.describe_secret().secret_id(arn).send().await {
            Ok(found) => {
                listing.listed += 1;
                listing.note("secret", arn, &tags, found.deleted_date().and_then(time));
            }
            Err(e) if is(&e, &["ResourceNotFoundException"]) => {}
            Err(e) => return Err(fault("secretsmanager:DescribeSecret", e)),
        }
    }
    Ok(vec![listing])
}
