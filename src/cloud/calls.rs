//! Counts the calls: every request that leaves, retries included, by `service:Operation`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
#[cfg(feature = "failpoints")]
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextRef;
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;

/// The count.
#[derive(Debug, Default)]
pub struct Calls(Mutex<BTreeMap<String, u64>>);

impl Calls {
    fn add(&self, call: String) {
        tracing::debug!(target: "labctl::calls", "{call}");
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).entry(call).or_default() += 1;
    }

    /// By `service:Operation`.
    pub fn by_operation(&self) -> BTreeMap<String, u64> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.by_operation().values().sum()
    }
}

fn name(bag: &ConfigBag) -> String {
    bag.load::<Metadata>().map_or_else(|| "unknown".to_owned(), |m| format!("{}:{}", m.service().to_lowercase().replace(' ', "-"), m.name()))
}

/// The interceptor that does the counting, one per client.
#[derive(Debug, Clone)]
pub struct Counter(pub Arc<Calls>);

impl Intercept for Counter {
    fn name(&self) -> &'static str {
        "labctl::calls"
    }

    fn read_before_transmit(&self, _: &BeforeTransmitInterceptorContextRef<'_>, _: &RuntimeComponents, bag: &mut ConfigBag) -> Result<(), BoxError> {
        let call = name(bag);
        failpoint!("aws.before_call", call);
        self.0.add(call);
        Ok(())
    }

    #[cfg(feature = "failpoints")]
    fn read_after_transmit(&self, _: &BeforeDeserializationInterceptorContextRef<'_>, _: &RuntimeComponents, bag: &mut ConfigBag) -> Result<(), BoxError> {
        failpoint!("aws.called", name(bag));
        Ok(())
    }
}
