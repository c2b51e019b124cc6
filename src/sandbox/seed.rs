//! The shared things a platform has before it has tenants, made in an empty emulator through the same clients the kinds use.

use aws_sdk_cognitoidentityprovider::types as cognito;
use aws_sdk_s3::types as s3;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::connector::{Admin, Wire};
use super::error::SandboxError;
use super::roles::SHARED;
use super::{ACCOUNT, REGION};
use crate::cloud::Cloud;
use crate::cloud::fault::fault;

/// What every shared thing is tagged with.
const TAG: (&str, &str) = ("labctl:platform", "sandbox");
const CLUSTER: &str = "sandbox";
const BUCKET: &str = "labctl-sandbox-shared";
const SUBNET_GROUP: &str = "sandbox";
/// The shared database host as the platform names it; the profile's tunnels lead it to the sandbox's PostgreSQL.
pub const SHARED_HOST: &str = "shared.sandbox.internal:5432";

/// Makes them all in an empty emulator, and says what `${platform.…}` is.
pub async fn make(cloud: &Cloud, wire: &Wire, admin: &Admin) -> Result<Value, SandboxError> {
    let (key, value) = TAG;
    let network = network(wire).await?;
    let (cluster, role, bucket, pool, subnets, secret) =
        tokio::join!(cluster(cloud), execution_role(cloud), bucket(cloud), pool(cloud), subnet_group(cloud, &network.subnets), admin_secret(cloud, admin));
    cluster?;
    bucket?;
    subnets?;
    Ok(json!({
        "environment": value,
        "tag": key,
        "region": REGION,
        "account_id": ACCOUNT,
        "vpc_id": network.vpc,
        "subnets": network.subnets,
        "security_groups": network.groups,
        "db_security_groups": network.groups,
        "cluster": CLUSTER,
        "db_subnet_group": SUBNET_GROUP,
        "execution_role_arn": role?,
        "bucket": BUCKET,
        "user_pool_id": pool?,
        "image": format!("{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/mate:1.0"),
        "databases": {"shared": {"endpoint": SHARED_HOST, "database": SHARED, "admin_secret_arn": secret?}},
    }))
}

struct Network {
    vpc: String,
    subnets: Vec<String>,
    groups: Vec<String>,
}

/// The emulator's default VPC. One plain query call each: the SDK's EC2 crate costs minutes of build time.
async fn network(wire: &Wire) -> Result<Network, SandboxError> {
    let subnets = ec2(wire, "DescribeSubnets").await?;
    let groups = ec2(wire, "DescribeSecurityGroups").await?;
    let vpc = all(&subnets, "vpcId").into_iter().next().unwrap_or_default();
    Ok(Network { vpc, subnets: all(&subnets, "subnetId"), groups: all(&groups, "groupId") })
}

async fn ec2(wire: &Wire, action: &str) -> Result<String, SandboxError> {
    let failed = |why: String| SandboxError::Emulator { call: format!("ec2:{action}"), why };
    let answer = wire.query("ec2", "2016-11-15", action, &[]).await.map_err(|e| failed(e.to_string()))?;
    if answer.ok() { Ok(answer.text()) } else { Err(failed(answer.text())) }
}

/// The texts of all elements of this name, each once.
fn all(xml: &str, name: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for part in xml.split(&format!("<{name}>")).skip(1) {
        let text = part.split('<').next().unwrap_or_default().to_owned();
        if !found.contains(&text) {
            found.push(text);
        }
    }
    found
}

async fn cluster(cloud: &Cloud) -> Result<(), SandboxError> {
    let tag = aws_sdk_ecs::types::Tag::builder().key(TAG.0).value(TAG.1).build();
    cloud.ecs.create_cluster().cluster_name(CLUSTER).tags(tag).send().await.map_err(|e| fault("ecs:CreateCluster", e))?;
    Ok(())
}

async fn execution_role(cloud: &Cloud) -> Result<String, SandboxError> {
    let trust =
        json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}]});
    let tag = aws_sdk_iam::types::Tag::builder().key(TAG.0).value(TAG.1).build().ok();
    let name = "sandbox-ecs-execution";
    let made = cloud
        .iam
        .create_role()
        .role_name(name)
        .assume_role_policy_document(trust.to_string())
        .set_tags(tag.map(|t| vec![t]))
        .send()
        .await
        .map_err(|e| fault("iam:CreateRole", e))?;
    cloud
        .iam
        .attach_role_policy()
        .role_name(name)
        .policy_arn("arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy")
        .send()
        .await
        .map_err(|e| fault("iam:AttachRolePolicy", e))?;
    Ok(made.role.map(|r| r.arn).unwrap_or_default())
}

async fn bucket(cloud: &Cloud) -> Result<(), SandboxError> {
    let tag = s3::Tag::builder().key(TAG.0).value(TAG.1).build().ok();
    let config = s3::CreateBucketConfiguration::builder().location_constraint(REGION.into()).set_tags(tag.map(|t| vec![t])).build();
    let enforced = s3::ObjectOwnership::BucketOwnerEnforced;
    cloud
        .s3
        .create_bucket()
        .bucket(BUCKET)
        .object_ownership(enforced)
        .create_bucket_configuration(config)
        .send()
        .await
        .map_err(|e| fault("s3:CreateBucket", e))?;
    let block = s3::PublicAccessBlockConfiguration::builder()
        .block_public_acls(true)
        .ignore_public_acls(true)
        .block_public_policy(true)
        .restrict_public_buckets(true)
        .build();
    cloud.s3.put_public_access_block().bucket(BUCKET).public_access_block_configuration(block).send().await.map_err(|e| fault("s3:PutPublicAccessBlock", e))?;
    let versioning = s3::VersioningConfiguration::builder().status(s3::BucketVersioningStatus::Enabled).build();
    cloud.s3.put_bucket_versioning().bucket(BUCKET).versioning_configuration(versioning).send().await.map_err(|e| fault("s3:PutBucketVersioning", e))?;
    let arn = format!("arn:aws:s3:::{BUCKET}");
    let policy = json!({"Version": "2012-10-17", "Statement": [{
        "Sid": "OnlyTls", "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": [arn, format!("{arn}/*")],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}}
    }]});
    cloud.s3.put_bucket_policy().bucket(BUCKET).policy(policy.to_string()).send().await.map_err(|e| fault("s3:PutBucketPolicy", e))?;
    Ok(())
}

async fn pool(cloud: &Cloud) -> Result<String, SandboxError> {
    let attribute = |name: &str, mutable: bool| {
        cognito::SchemaAttributeType::builder().name(name).attribute_data_type(cognito::AttributeDataType::String).mutable(mutable).build()
    };
    let made = cloud
        .cognito
        .create_user_pool()
        .pool_name("sandbox-shared")
        .user_pool_tags(TAG.0, TAG.1)
        .deletion_protection(cognito::DeletionProtectionType::Active)
        .username_attributes(cognito::UsernameAttributeType::Email)
        .auto_verified_attributes(cognito::VerifiedAttributeType::Email)
        .admin_create_user_config(cognito::AdminCreateUserConfigType::builder().allow_admin_create_user_only(true).build())
        .schema(attribute("tenant_id", false))
        .schema(attribute("tenant_tier", true))
        .send()
        .await
        .map_err(|e| fault("cognito-idp:CreateUserPool", e))?;
    Ok(made.user_pool.and_then(|p| p.id).unwrap_or_default())
}

async fn subnet_group(cloud: &Cloud, subnets: &[String]) -> Result<(), SandboxError> {
    let tag = aws_sdk_rds::types::Tag::builder().key(TAG.0).value(TAG.1).build();
    cloud
        .rds
        .create_db_subnet_group()
        .db_subnet_group_name(SUBNET_GROUP)
        .db_subnet_group_description("Private subnets of the sandbox")
        .set_subnet_ids(Some(subnets.to_vec()))
        .tags(tag)
        .send()
        .await
        .map_err(|e| fault("rds:CreateDBSubnetGroup", e))?;
    Ok(())
}

async fn admin_secret(cloud: &Cloud, admin: &Admin) -> Result<String, SandboxError> {
    let (host, port) = SHARED_HOST.split_once(':').unwrap_or((SHARED_HOST, "5432"));
    let value = json!({"username": admin.user, "password": admin.password.expose_secret(), "host": host, "port": port.parse::<u16>().unwrap_or(5432)});
    let tag = aws_sdk_secretsmanager::types::Tag::builder().key(TAG.0).value(TAG.1).build();
    let made = cloud
        .secrets
        .create_secret()
        .name("sandbox/shared-database/admin")
        .secret_string(value.to_string())
        .tags(tag)
        .send()
        .await
        .map_err(|e| fault("secretsmanager:CreateSecret", e))?;
    Ok(made.arn.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_element_is_named_once() {
        assert_eq!(all("<a><id>x</id></a><a><id>y</id><id>x</id></a>", "id"), ["x", "y"]);
    }
}
