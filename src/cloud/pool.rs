//! A Cognito user pool, as far as isolation goes: attributes, clients, users, and whether a client takes a pool's users.

use std::collections::BTreeSet;

use aws_sdk_cognitoidentityprovider::types::{AttributeType, AuthFlowType, UserPoolType, UserType};

use super::Cloud;
use super::fault::{fault, is};
use crate::engine::fault::Fault;

/// The attribute that says whose a user is.
pub const TENANT_ID: &str = "custom:tenant_id";

/// What a pool says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Whether `custom:tenant_id` is there and can never change.
    pub tenant_id_is_fixed: bool,
    /// Whether people cannot sign up by themselves.
    pub only_admins_create: bool,
}

async fn describe(cloud: &Cloud, pool: &str) -> Result<UserPoolType, Fault> {
    let found = cloud.cognito.describe_user_pool().user_pool_id(pool).send().await.map_err(|e| fault("cognito-idp:DescribeUserPool", e))?;
    found.user_pool.ok_or_else(|| Fault::refused("cognito-idp:DescribeUserPool", "unexpected_answer", "there is no pool in the answer"))
}

/// Reads a pool.
///
/// # Errors
/// What Cognito answers.
pub async fn rules(cloud: &Cloud, pool: &str) -> Result<Rules, Fault> {
    let pool = describe(cloud, pool).await?;
    let fixed = pool.schema_attributes().iter().any(|a| a.name() == Some(TENANT_ID) && a.mutable() == Some(false));
    let admins = pool.admin_create_user_config().is_some_and(|c| c.allow_admin_create_user_only());
    Ok(Rules { tenant_id_is_fixed: fixed, only_admins_create: admins })
}

/// The clients of a pool through which a user might write this attribute. A client without a list may write more than was thought of: it
/// counts.
///
/// # Errors
/// What Cognito answers.
pub async fn clients_that_write(cloud: &Cloud, pool: &str, attribute: &str) -> Result<(usize, Vec<String>), Fault> {
    let mut pages = cloud.cognito.list_user_pool_clients().user_pool_id(pool).into_paginator().items().send();
    let (mut count, mut writing) = (0, Vec::new());
    while let Some(client) = pages.next().await {
        let client = client.map_err(|e| fault("cognito-idp:ListUserPoolClients", e))?;
        let id = client.client_id().unwrap_or_default();
        let found = cloud.cognito.describe_user_pool_client().user_pool_id(pool).client_id(id).send().await;
        let found = found.map_err(|e| fault("cognito-idp:DescribeUserPoolClient", e))?;
        let names = found.user_pool_client().map(|c| c.write_attributes().to_vec()).unwrap_or_default();
        count += 1;
        if names.is_empty() || names.iter().any(|n| n == attribute) {
            writing.push(id.to_owned());
        }
    }
    Ok((count, writing))
}

fn tenant_of(attributes: &[AttributeType]) -> Option<String> {
    attributes.iter().find(|a| a.name() == TENANT_ID).and_then(|a| a.value()).map(ToOwned::to_owned)
}

/// Whose a user is; `None` where the pool has no such user.
///
/// # Errors
/// What Cognito answers.
pub async fn tenant_of_user(cloud: &Cloud, pool: &str, user: &str) -> Result<Option<Option<String>>, Fault> {
    match cloud.cognito.admin_get_user().user_pool_id(pool).username(user).send().await {
        Ok(found) => Ok(Some(tenant_of(found.user_attributes()))),
        Err(e) if is(&e, &["UserNotFoundException"]) => Ok(None),
        Err(e) => Err(fault("cognito-idp:AdminGetUser", e)),
    }
}

async fn members(cloud: &Cloud, pool: &str, group: &str) -> Result<Vec<UserType>, Fault> {
    let mut pages = cloud.cognito.list_users_in_group().user_pool_id(pool).group_name(group).into_paginator().items().send();
    let mut users = Vec::new();
    while let Some(user) = pages.next().await {
        users.push(user.map_err(|e| fault("cognito-idp:ListUsersInGroup", e))?);
    }
    Ok(users)
}

/// Whose the users in a group are.
///
/// # Errors
/// What Cognito answers.
pub async fn tenants_in_group(cloud: &Cloud, pool: &str, group: &str) -> Result<Vec<Option<String>>, Fault> {
    Ok(members(cloud, pool, group).await?.iter().map(|user| tenant_of(user.attributes())).collect())
}

/// The users in a group, as the pool names them.
///
/// # Errors
/// What Cognito answers.
pub async fn users_in_group(cloud: &Cloud, pool: &str, group: &str) -> Result<BTreeSet<String>, Fault> {
    Ok(members(cloud, pool, group).await?.into_iter().filter_map(|user| user.username).collect())
}

/// What a pool's tokens have as `iss`, by the id the pool answers with.
///
/// # Errors
/// What Cognito answers.
pub async fn issuer(cloud: &Cloud, pool: &str) -> Result<String, Fault> {
    let id = describe(cloud, pool).await?.id.unwrap_or_default();
    Ok(format!("https://cognito-idp.{}.amazonaws.com/{id}", cloud.region()))
}

/// What came of signing in to a pool through a client, as a user there is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignIn {
    /// The client is not the pool's.
    NoSuchClient,
    /// The client was taken, and the user was looked for.
    ClientTaken(String),
}

/// Tries to sign in.
///
/// # Errors
/// What Cognito answers otherwise.
pub async fn sign_in(cloud: &Cloud, pool: &str, client: &str) -> Result<SignIn, Fault> {
    let asked = cloud.cognito.admin_initiate_auth().user_pool_id(pool).client_id(client).auth_flow(AuthFlowType::AdminUserPasswordAuth);
    match asked.auth_parameters("USERNAME", "labctl-probe").auth_parameters("PASSWORD", "there is no such user").send().await {
        Ok(_) => Ok(SignIn::ClientTaken("signed in".to_owned())),
        Err(e) if is(&e, &["ResourceNotFoundException"]) => Ok(SignIn::NoSuchClient),
        // A client that is the pool's, but takes no passwords from servers, has been found, too.
        Err(e) if is(&e, &["UserNotFoundException", "NotAuthorizedException", "InvalidParameterException", "UserNotConfirmedException"]) => {
            Ok(SignIn::ClientTaken(fault("cognito-idp:AdminInitiateAuth", e).message))
        }
        Err(e) => Err(fault("cognito-idp:AdminInitiateAuth", e)),
    }
}
