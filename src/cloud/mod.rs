//! AWS: clients, one classification of SDK faults, ownership tags, the count of calls.
//!
//! * [`Cloud`]: the clients. Every call that *makes* something whose second making would be a second thing goes through
//!   [`Cloud::once`], whose clients never repeat a request: what a lost reply left behind is for the engine to look up, not for the
//!   SDK to double. All other calls go through the plain clients, which retry as the SDK's standard mode does.
//! * [`fault`]: `SdkError` → [`Fault`], decided here and nowhere else.
//! * [`sign_in`]: shutting users of a Cognito pool out, and letting them in again.
//! * [`tags`]: ownership tags, and their shape in each service.
//! * [`objects`]: emptying buckets and prefixes.
//! * [`policy`]: policy documents, compared by what they mean.
//! * [`permission`], [`principal`]: what a role may do, by its policies; [`pool`]: what a user pool lets its users do.
//! * [`rds`]: RDS's own words for statuses, versions, storage and parameters, the same for instances and clusters.
//! * [`token`]: client tokens in a shape every API takes.
//! * [`census`]: what there is of one tenant, asked of every service.
//! * [`webhook`]: events sent to SNS and to signed webhooks.
//! * [`calls`]: which operations were called how often, for `-v`, the journal and the closing figures.

pub mod calls;
pub mod census;
pub mod fault;
pub mod objects;
pub mod permission;
pub mod policy;
pub mod pool;
pub mod principal;
pub mod rds;
#[cfg(test)]
pub mod scripted;
pub mod sign_in;
pub mod tags;
pub mod token;
pub mod webhook;

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_smithy_http_client::tls;
use aws_smithy_runtime_api::client::http::SharedHttpClient;

use calls::Calls;
use secrecy::SecretString;

use crate::engine::fault::Fault;

/// How long one try of a call may take where nothing else is said.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// Where to find AWS, and as whom.
#[derive(Clone, Default)]
pub struct Reach {
    /// AWS region; without one, the SDK's own chain decides (environment, profile).
    pub region: Option<String>,
    /// Name of a profile in the AWS configuration files.
    pub aws_profile: Option<String>,
    /// One endpoint for every service (an emulator); without one, AWS itself or the SDK's own settings.
    pub endpoint_url: Option<String>,
    /// How long one try of a call may take before its outcome counts as unknown; without one, a minute.
    pub call_timeout: Option<Duration>,
    /// Fixed access key and secret (an emulator's); without them, the SDK's own chain.
    pub fixed_credentials: Option<(String, String)>,
    /// Another HTTP client (the sandbox's connector, a scripted one in tests); without one, rustls with the system's roots.
    pub http_client: Option<SharedHttpClient>,
}

macro_rules! clients {
    ($($(#[$doc:meta])* $field:ident: $krate:ident),* $(,)?) => {
        /// One client per service.
        #[derive(Clone)]
        pub struct Clients {
            $($(#[$doc])* pub $field: $krate::Client,)*
        }

        impl Clients {
            fn new(config: &SdkConfig, calls: &Arc<Calls>) -> Self {
                Self { $($field: $krate::Client::from_conf(
                    $krate::config::Builder::from(config).interceptor(calls::Counter(calls.clone())).retry_classifier(fault::NotForQuotas).build(),
                ),)* }
            }
        }
    };
}

clients! {
    /// Application Auto Scaling.
    autoscaling: aws_sdk_applicationautoscaling,
    /// CloudWatch.
    cloudwatch: aws_sdk_cloudwatch,
    /// CloudWatch Logs.
    logs: aws_sdk_cloudwatchlogs,
    /// Cognito user pools.
    cognito: aws_sdk_cognitoidentityprovider,
    /// Elastic Container Service.
    ecs: aws_sdk_ecs,
    /// Identity and Access Management.
    iam: aws_sdk_iam,
    /// Key Management Service.
    kms: aws_sdk_kms,
    /// Relational Database Service.
    rds: aws_sdk_rds,
    /// Secrets Manager.
    secrets: aws_sdk_secretsmanager,
    /// Simple Notification Service.
    sns: aws_sdk_sns,
    /// Security Token Service.
    sts: aws_sdk_sts,
    /// Resource Groups Tagging API: finds things by their tags, whatever the service.
    tagging: aws_sdk_resourcegroupstagging,
}

/// The clients of one profile.
#[derive(Clone)]
pub struct Cloud {
    again: Clients,
    /// S3, kept apart because it alone needs path-style addressing against an emulator.
    pub s3: aws_sdk_s3::Client,
    once: Clients,
    once_s3: aws_sdk_s3::Client,
    calls: Arc<Calls>,
    region: String,
}

/// The clients that never repeat a request.
pub struct Once<'a> {
    clients: &'a Clients,
    /// S3 that never repeats a request.
    pub s3: &'a aws_sdk_s3::Client,
}

impl Deref for Once<'_> {
    type Target = Clients;
    fn deref(&self) -> &Clients {
        self.clients
    }
}

impl Deref for Cloud {
    type Target = Clients;
    fn deref(&self) -> &Clients {
        &self.again
    }
}

impl Cloud {
    /// Prepares the clients. Makes no call beyond what the SDK's credential chain needs.
    pub async fn connect(reach: Reach) -> Self {
        let custom_endpoint = reach.endpoint_url.is_some();
        let http = reach.http_client.unwrap_or_else(plain_http);
        let mut loader =
            aws_config::defaults(BehaviorVersion::latest()).http_client(http).retry_config(RetryConfig::standard().with_max_attempts(5)).timeout_config(
                TimeoutConfig::builder().connect_timeout(Duration::from_secs(5)).operation_attempt_timeout(reach.call_timeout.unwrap_or(CALL_TIMEOUT)).build(),
            );
        if let Ok(name) = AppName::new("labctl") {
            loader = loader.app_name(name);
        }
        if let Some(region) = reach.region {
            loader = loader.region(Region::new(region));
        }
        if let Some(profile) = reach.aws_profile {
            loader = loader.profile_name(profile);
        }
        if let Some(url) = reach.endpoint_url {
            loader = loader.endpoint_url(url);
        }
        if let Some((key, secret)) = reach.fixed_credentials {
            loader = loader.credentials_provider(Credentials::new(key, secret, None, None, "labctl"));
        }
        let config = loader.load().await;
        let calls = Arc::new(Calls::default());
        let once = config.clone().into_builder().retry_config(RetryConfig::disabled()).build();
        let s3 = |config: &SdkConfig| {
            aws_sdk_s3::Client::from_conf(
                aws_sdk_s3::config::Builder::from(config)
                    .interceptor(calls::Counter(calls.clone()))
                    .retry_classifier(fault::NotForQuotas)
                    .force_path_style(custom_endpoint)
                    .build(),
            )
        };
        Self {
            again: Clients::new(&config, &calls),
            s3: s3(&config),
            once: Clients::new(&once, &calls),
            once_s3: s3(&once),
            region: config.region().map(ToString::to_string).unwrap_or_default(),
            calls,
        }
    }

    /// Clients that never repeat a request: for creates that would double.
    pub fn once(&self) -> Once<'_> {
        Once { clients: &self.once, s3: &self.once_s3 }
    }

    /// One key of a secret that holds a JSON object of texts.
    ///
    /// # Errors
    /// What Secrets Manager answers, or refused when there is no such key. Never quotes the secret.
    pub async fn secret_key(&self, arn: &str, key: &str) -> Result<SecretString, Fault> {
        const CALL: &str = "secretsmanager:GetSecretValue";
        let found = self.secrets.get_secret_value().secret_id(arn).send().await.map_err(|e| fault::fault(CALL, e))?;
        let values: Option<HashMap<String, String>> = found.secret_string().and_then(|text| serde_json::from_str(text).ok());
        let value = values.and_then(|mut v| v.remove(key));
        value.map(SecretString::from).ok_or_else(|| Fault::refused(CALL, "invalid_secret", format!("{arn} holds no JSON object with the key `{key}`")))
    }

    /// The calls made so far.
    pub fn calls(&self) -> &Calls {
        &self.calls
    }

    /// The region in force; empty when none is configured.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The partition of the region in force, as ARNs spell it.
    pub fn partition(&self) -> &'static str {
        match self.region.split('-').next() {
            Some("cn") => "aws-cn",
            Some("us") if self.region.starts_with("us-gov-") => "aws-us-gov",
            _ => "aws",
        }
    }
}

/// The HTTP client for real endpoints: rustls (ring) with the system's root certificates.
pub fn plain_http() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new().tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring)).build_https()
}
