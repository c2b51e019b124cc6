//! User pools by tag; in the pools that something of the tenant's was in, groups by the last line of their description and people by
//! `custom:tenant_id`.

use std::collections::BTreeSet;

use aws_sdk_cognitoidentityprovider::types::UserType;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::{AT_ONCE, Listing, Whose};
use crate::cloud::Cloud;
use crate::cloud::fault::{fault, is};
use crate::engine::fault::Fault;
use crate::engine::kind::Tags;

const GONE: &[&str] = &["ResourceNotFoundException"];

async fn tags(cloud: &Cloud, pool: &str) -> Result<Option<Tags>, Fault> {
    match cloud.cognito.describe_user_pool().user_pool_id(pool).send().await {
        Ok(found) => Ok(found.user_pool.map(|p| p.user_pool_tags.unwrap_or_default().into_iter().collect())),
        Err(e) if is(&e, GONE) => Ok(None),
        Err(e) => Err(fault("cognito-idp:DescribeUserPool", e)),
    }
}

pub(super) async fn list(cloud: &Cloud, whose: &Whose) -> Result<Vec<Listing>, Fault> {
    let mut ids = Vec::new();
    let mut pages = cloud.cognito.list_user_pools().max_results(60).into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|e| fault("cognito-idp:ListUserPools", e))?;
        ids.extend(page.user_pools.unwrap_or_default().into_iter().filter_map(|p| p.id));
    }
    let read = stream::iter(ids).map(|id| async move { tags(cloud, &id).await.map(|tags| (id, tags)) });
    let pools: Vec<(String, Option<Tags>)> = read.buffered(AT_ONCE).try_collect().await?;
    let (mut listed, mut groups, mut users) =
        (Listing::new("cognito-idp", "ListUserPools"), Listing::new("cognito-idp", "ListGroups"), Listing::new("cognito-idp", "ListUsers"));
    let entered: BTreeSet<&str> = whose.ids.iter().filter_map(|id| Some(id.split_once('/')?.0)).chain(whose.shared.iter().map(String::as_str)).collect();
    for (id, tags) in pools.iter().filter_map(|(id, tags)| Some((id, tags.as_ref()?))) {
        listed.take(whose, "user pool", id, tags);
        if entered.contains(id.as_str()) {
            in_pool(cloud, whose, id, &mut groups, &mut users).await?;
        }
    }
    Ok(vec![listed, groups, users])
}

async fn in_pool(cloud: &Cloud, whose: &Whose, pool: &str, groups: &mut Listing, users: &mut Listing) -> Result<(), Fault> {
    let mut pages = cloud.cognito.list_groups().user_pool_id(pool).into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = match page {
            Err(e) if is(&e, GONE) => return Ok(()),
            other => other.map_err(|e| fault("cognito-idp:ListGroups", e))?,
        };
        for group in page.groups.unwrap_or_default() {
            let tags: Tags = group.description().and_then(|text| serde_json::from_str(text.lines().last()?).ok()).unwrap_or_default();
            groups.take(whose, "group", &format!("{pool}/{}", group.group_name().unwrap_or_default()), &tags);
        }
    }
    if !whose.leftovers {
        return Ok(());
    }
    let mut pages = cloud.cognito.list_users().user_pool_id(pool).into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = match page {
            Err(e) if is(&e, GONE) => return Ok(()),
            other => other.map_err(|e| fault("cognito-idp:ListUsers", e))?,
        };
        for user in page.users.unwrap_or_default() {
            users.listed += 1;
            let id = format!("{pool}/{}", user.username().unwrap_or_default());
            if tenant(&user).is_some_and(|t| whose.tenant.as_deref() == Some(t)) || whose.ids.contains(&id) {
                users.note("user", &id, &Tags::new(), None);
            }
        }
    }
    Ok(())
}

fn tenant(user: &UserType) -> Option<&str> {
    user.attributes().iter().find(|a| a.name == "custom:tenant_id")?.value()
}
