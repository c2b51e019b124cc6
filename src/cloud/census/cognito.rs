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
    attribute(user, "custom:tenant_id")
}

fn attribute<'u>(user: &'u UserType, name: &str) -> Option<&'u str> {
    user.attributes().iter().find(|a| a.name == name)?.value()
}

/// What comes in by a user pool, and carries no tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The pool.
    pub pool: String,
    /// `pool/name` or `pool/client`, as the registry has it on record.
    pub id: String,
    /// Who.
    pub who: Who,
}

/// An application, or a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// An app client.
    Client {
        /// Its name; other clients may have the same.
        name: String,
    },
    /// A person.
    User {
        /// Their address, in lower case.
        email: String,
        /// `custom:tenant_id`: whose they say they are.
        tenant: Option<String>,
    },
}

/// App clients and people of these pools, page by page. A pool that is gone has none.
///
/// # Errors
/// A pool that could not be asked.
pub async fn logins(cloud: &Cloud, pools: &BTreeSet<String>) -> Result<Vec<Login>, Fault> {
    let read = stream::iter(pools.clone()).map(|pool| async move { logins_of(cloud, &pool).await });
    let found: Vec<Vec<Login>> = read.buffered(AT_ONCE).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}

async fn logins_of(cloud: &Cloud, pool: &str) -> Result<Vec<Login>, Fault> {
    let mut found = Vec::new();
    let login = |name: &str, who| Login { pool: pool.to_owned(), id: format!("{pool}/{name}"), who };
    let mut pages = cloud.cognito.list_user_pool_clients().user_pool_id(pool).max_results(60).into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = match page {
            Err(e) if is(&e, GONE) => return Ok(Vec::new()),
            other => other.map_err(|e| fault("cognito-idp:ListUserPoolClients", e))?,
        };
        for client in page.user_pool_clients.unwrap_or_default() {
            found.push(login(client.client_id().unwrap_or_default(), Who::Client { name: client.client_name().unwrap_or_default().to_owned() }));
        }
    }
    let mut pages = cloud.cognito.list_users().user_pool_id(pool).into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = match page {
            Err(e) if is(&e, GONE) => return Ok(Vec::new()),
            other => other.map_err(|e| fault("cognito-idp:ListUsers", e))?,
        };
        for user in page.users.unwrap_or_default() {
            let who = Who::User { email: attribute(&user, "email").unwrap_or_default().to_lowercase(), tenant: tenant(&user).map(ToOwned::to_owned) };
            found.push(login(user.username().unwrap_or_default(), who));
        }
    }
    Ok(found)
}
