//! What the emulator gets wrong, mended between the SDK and it: nothing outside the sandbox knows of moto.
//!
//! A `Mend` sees a request and passes it to the `Next` one, or answers by itself; the last passes it to the wire. They are layers:
//! whoever needs another (faults, delays) puts it in front by wrapping the client again. Seen with moto 5.2.1 and 5.2.5, by calling
//! each operation with boto3 and reading the answer:
//!
//! | service | what moto does | what AWS does, and so do we | file |
//! |---|---|---|---|
//! | Application Auto Scaling | no tags on scalable targets: TagResource and the like are 404 | they work | `autoscaling` |
//! | Application Auto Scaling | DeregisterScalableTarget leaves the target's policies and their alarms | removes them | `autoscaling` |
//! | Application Auto Scaling | DescribeScalableTargets has its second page again and again | 50 a page, or MaxResults | `autoscaling` |
//! | Application Auto Scaling | a target that is not there: ValidationException | ObjectNotFoundException | `autoscaling` |
//! | CloudWatch | 404 for rpc-v2-cbor, all that the SDK speaks | the calls work (passed on as awsJson 1.0) | `cloudwatch_cbor` |
//! | Cognito | DeleteUserPool ignores DeletionProtection | refuses | `cognito_delete_pool` |
//! | Cognito | 500 for ListTagsForResource, TagResource, UntagResource | they work | `cognito_tags` |
//! | Cognito | UpdateUserPool loses UsernameAttributes, AliasAttributes, UsernameConfiguration | keeps them | `cognito_update_pool` |
//! | Cognito | an immutable attribute can be changed | refuses | `cognito_immutable` |
//! | ECS | a second CreateService of one name replaces the first; clientToken is ignored | refuses, or answers as the first time | `ecs_create_service` |
//! | ECS | 500 for CreateService without security groups | takes the default group | `ecs_create_service` |
//! | ECS | services never run: 0 running, IN_PROGRESS, stale deployments | they reach what was asked, COMPLETED | `ecs_services` |
//! | ECS | every image can be pulled | one in another account's private registry cannot: its rollout fails and is rolled back | `ecs_services` |
//! | ECS | circuit breaker, percentages, managed tags, execute command are forgotten | described as they were set | `ecs_services` |
//! | ECS | UpdateService keeps a task definition's short name | describes its ARN | `ecs_services` |
//! | ECS | ListServices has one endless page | 10 a page, or maxResults | `ecs_list_services` |
//! | ECS | a family without active revision is described by an inactive one | refuses | `ecs_task_definition` |
//! | ECS | RegisterTaskDefinition does not answer with the tags | does | `ecs_task_definition` |
//! | RDS | does not know DescribeDBClusterAutomatedBackups | lists them (there are none) | `rds_cluster_backups` |
//! | RDS | automated snapshots outlive their cluster | go with it, unless they are to be kept | `rds_cluster_backups` |
//! | RDS | a second CreateDBCluster or CreateDBSubnetGroup of one name replaces the first | refuses | `rds_duplicate` |
//! | RDS | no such parameter group: an empty list | refuses with DBParameterGroupNotFound | `rds_parameter_group` |
//! | RDS | Performance Insights forgotten; Multi-AZ DB clusters are not MultiAZ | described as they are | `rds_settings` |
//! | RDS | the master user's secret holds a password that opens nothing | it opens the database | `rds_master_secret` |
//! | S3 | CreateBucket forgets the tags given with it | keeps them | `s3_create_tags` |
//! | S3 | a Deny whose condition does *not* hold denies all the same (every object call under a TLS-only policy: 403) | applies it when it holds | `s3_policy` |
//! | S3 | GetBucketVersioning answers in an element of its own | `VersioningConfiguration` | `s3_versioning` |
//!
//! Seen and left, since nothing of ours depends on them: UpdateUserPoolClient keeps what it is not given (AWS resets it); with
//! UsernameAttributes the user name stays the address (AWS makes an id); new buckets have neither public access block nor encryption
//! until they are set (AWS sets both); a bucket of a deleted one's name has that one's tags; no `DBClusterMembers` in a Multi-AZ cluster; a scalable target never
//! changes a count (AWS brings one outside the range into it); RDS and others are ready at once.

mod autoscaling;
mod cbor;
mod cloudwatch_cbor;
mod cognito_delete_pool;
mod cognito_immutable;
mod cognito_tags;
mod cognito_update_pool;
mod ecs_create_service;
mod ecs_list_services;
mod ecs_services;
mod ecs_task_definition;
mod rds_cluster_backups;
mod rds_duplicate;
mod rds_master_secret;
mod rds_parameter_group;
mod rds_settings;
mod s3_create_tags;
mod s3_policy;
mod s3_versioning;
mod wire;
mod xml;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use aws_smithy_runtime_api::client::http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use secrecy::SecretString;

use wire::Sent;
pub use wire::Wire;

/// One flaw of the emulator, mended.
#[async_trait]
trait Mend: fmt::Debug + Send + Sync {
    /// Passes the request on, changed or not, and the answer back, changed or not.
    async fn call(&self, request: HttpRequest, next: Next<'_>) -> Sent;
}

/// The rest of the way to the emulator.
struct Next<'a> {
    rest: &'a [Arc<dyn Mend>],
    /// For calls of a mend's own, which no other mend touches.
    wire: &'a Wire,
}

impl Next<'_> {
    async fn send(self, request: HttpRequest) -> Sent {
        match self.rest.split_first() {
            Some((mend, rest)) => mend.call(request, Next { rest, wire: self.wire }).await,
            None => self.wire.send(request).await,
        }
    }
}

/// Who RDS masters are in truth: the admin of the sandbox's one PostgreSQL.
#[derive(Debug, Clone)]
pub struct Admin {
    /// Its name.
    pub user: String,
    /// Its password.
    pub password: SecretString,
}

/// An HTTP client for the emulator at `base` (`http://127.0.0.1:5000`), with every mend in front of `plain`.
pub fn mended(plain: SharedHttpClient, base: String, admin: Admin) -> SharedHttpClient {
    SharedHttpClient::new(Client { plain, base, mends: mends(admin) })
}

/// The same without an SDK around it, for who passes requests of another's on: no TLS, no proxy.
pub fn mended_connector(base: String, admin: Admin) -> SharedHttpConnector {
    let plain = SharedHttpConnector::new(aws_smithy_http_client::Connector::builder().build_http());
    SharedHttpConnector::new(Connector { wire: Wire::over(plain, base), mends: mends(admin) })
}

fn mends(admin: Admin) -> Arc<[Arc<dyn Mend>]> {
    Arc::new([
        Arc::new(autoscaling::Mend) as Arc<dyn Mend>,
        Arc::new(cloudwatch_cbor::Mend),
        Arc::new(cognito_delete_pool::Mend),
        Arc::new(cognito_immutable::Mend),
        Arc::new(cognito_tags::Mend),
        Arc::new(cognito_update_pool::Mend),
        Arc::new(ecs_services::Mend),
        Arc::new(ecs_create_service::Mend::default()),
        Arc::new(ecs_list_services::Mend),
        Arc::new(ecs_task_definition::Mend),
        Arc::new(rds_cluster_backups::Mend),
        Arc::new(rds_duplicate::Mend),
        Arc::new(rds_parameter_group::Mend),
        Arc::new(rds_settings::Mend),
        Arc::new(rds_master_secret::Mend(admin)),
        Arc::new(s3_create_tags::Mend),
        Arc::new(s3_policy::Mend),
        Arc::new(s3_versioning::Mend),
    ])
}

/// The HTTP client under the mends: no TLS, no proxy.
pub fn loopback() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new().build_http()
}

#[derive(Debug)]
struct Client {
    plain: SharedHttpClient,
    base: String,
    mends: Arc<[Arc<dyn Mend>]>,
}

impl HttpClient for Client {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let wire = Wire::over(self.plain.http_connector(settings, components), self.base.clone());
        SharedHttpConnector::new(Connector { wire, mends: self.mends.clone() })
    }
}

#[derive(Debug, Clone)]
struct Connector {
    wire: Wire,
    mends: Arc<[Arc<dyn Mend>]>,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let this = self.clone();
        HttpConnectorFuture::new(async move { Next { rest: &this.mends, wire: &this.wire }.send(request).await })
    }
}
