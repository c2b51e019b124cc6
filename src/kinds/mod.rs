//! One file per kind of resource, and [`KINDS`], the one list of them.
//!
//! To add a kind: write its file, its `mod` line and its entry in `KINDS` (CONTRIBUTING.md has the recipe). A kind talks to AWS
//! through [`Cx::cloud`] and to PostgreSQL through `Cx::admin` and `tenantdb`; it knows no other kind, and nothing of plans, registry
//! or sandbox. What two kinds share has a file of its own (`rds_parameters`).

mod cognito_access;
mod cognito_group;
mod cognito_user;
mod cognito_user_pool;
mod cognito_user_pool_client;
mod cx;
mod ecs_service;
mod ecs_task_definition;
mod iam_role;
mod kms_key;
mod log_group;
mod postgres_database;
mod postgres_role;
mod postgres_rows;
mod postgres_schema;
mod postgres_schema_version;
mod rds_cluster;
mod rds_cluster_parameter_group;
mod rds_instance;
mod rds_parameter_group;
mod rds_parameters;
mod s3_bucket;
mod s3_prefix;
mod scaling_target;
mod secret;

pub mod rotation;

pub use cx::Cx;

use crate::engine::kind::Kinds;

/// Every kind there is, in the order of the alphabet.
pub static KINDS: Kinds<Cx> = &[
    &cognito_access::CognitoAccess,
    &cognito_group::CognitoGroup,
    &cognito_user::CognitoUser,
    &cognito_user_pool::CognitoUserPool,
    &cognito_user_pool_client::CognitoUserPoolClient,
    &ecs_service::EcsService,
    &ecs_task_definition::EcsTaskDefinition,
    &iam_role::IamRole,
    &kms_key::KmsKey,
    &log_group::LogGroup,
    &postgres_database::PostgresDatabase,
    &postgres_role::PostgresRole,
    &postgres_rows::PostgresRows,
    &postgres_schema::PostgresSchema,
    &postgres_schema_version::PostgresSchemaVersion,
    &rds_cluster::RdsCluster,
    &rds_cluster_parameter_group::RdsClusterParameterGroup,
    &rds_instance::RdsInstance,
    &rds_parameter_group::RdsParameterGroup,
    &s3_bucket::S3Bucket,
    &s3_prefix::S3Prefix,
    &scaling_target::ScalingTarget,
    &secret::Secret,
];
