//! `SdkError` → [`Fault`]: whether an AWS call took effect, decided here and nowhere else.

use aws_smithy_runtime_api::client::interceptors::context::InterceptorContext;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::client::retries::classifiers::{ClassifyRetry, RetryAction};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::engine::fault::Fault;

/// Codes by which AWS services say "not now". The SDK's own list also has `LimitExceededException`, which for Cognito, IAM and ECS
/// is a hard quota: it is in [`QUOTA`] instead. `ServiceUnavailable`, `SlowDown`: S3's way of throttling.
const BUSY: &[&str] = &[
    "BandwidthLimitExceeded",
    "ConcurrentModification",
    "ConcurrentModificationException",
    "ConcurrentUpdateException",
    "EC2ThrottledException",
    "EntityTemporarilyUnmodifiable",
    "OperationAbortedException",
    "OperationAborted",
    "PriorRequestNotComplete",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottledException",
    "ThrottlingException",
    "TooManyRequestsException",
    "TransactionInProgressException",
];

/// Codes by which AWS services say "you have used up your quota": no waiting helps.
const QUOTA: &[&str] = &[
    "DBClusterQuotaExceededFault",
    "DBParameterGroupQuotaExceeded",
    "InstanceQuotaExceeded",
    "LimitExceeded",
    "LimitExceededException",
    "ServiceQuotaExceededException",
    "StorageQuotaExceeded",
    "TooManyBuckets",
];

/// Keeps the SDK from repeating a call that a quota refuses: it takes `LimitExceededException` for throttling.
#[derive(Debug)]
pub(super) struct NotForQuotas;

impl ClassifyRetry for NotForQuotas {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let refusal = context.response().filter(|r| r.status().as_u16() >= 400);
        let said = refusal.and_then(|r| r.body().bytes()).map(String::from_utf8_lossy).unwrap_or_default();
        // Every protocol has the code in the body, as a word of its own.
        let quota = said.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| QUOTA.contains(&word));
        if quota { RetryAction::RetryForbidden } else { RetryAction::NoActionIndicated }
    }

    fn name(&self) -> &'static str {
        "not for quotas"
    }
}

/// Turns a failed call into a [`Fault`]. `call` is `service:Operation`.
pub fn fault<E>(call: &str, error: SdkError<E, HttpResponse>) -> Fault
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match &error {
        SdkError::ConstructionFailure(_) => Fault::refused(call, "invalid_request", chain(&error)),
        SdkError::DispatchFailure(e) if e.is_user() => {
            Fault::refused(call, "no_credentials", chain(&error)).hint("check the credentials of this profile: `aws sts get-caller-identity` must work")
        }
        SdkError::DispatchFailure(_) if never_connected(&chain(&error)) => Fault::busy(call, "unreachable", chain(&error)),
        SdkError::DispatchFailure(_) if chain(&error).contains("credentials") => {
            Fault::refused(call, "no_credentials", chain(&error)).hint("check the credentials of this profile: `aws sts get-caller-identity` must work")
        }
        SdkError::DispatchFailure(_) => Fault::unknown(call, "broken_connection", chain(&error)),
        SdkError::TimeoutError(_) => Fault::unknown(call, "timeout", "no answer in time"),
        SdkError::ServiceError(e) => {
            let status = e.raw().status().as_u16();
            let body = e.raw().body().bytes().unwrap_or_default();
            match e.err().code() {
                // S3 answers HEAD without a body.
                None if status >= 400 && !body.is_empty() => unreadable(call, status),
                code => {
                    let message = e.err().message().map_or_else(|| format!("HTTP status {status}"), ToOwned::to_owned);
                    service(call, status, code.unwrap_or("Unknown"), message)
                }
            }
        }
        SdkError::ResponseError(e) => unreadable(call, e.raw().status().as_u16()),
        _ => Fault::unknown(call, "unknown", chain(&error)),
    }
}

fn service(call: &str, status: u16, code: &str, message: String) -> Fault {
    if status < 400 {
        // The SDK calls a reply to a call that went well, and cannot be read, an error of the service's.
        unreadable(call, status)
    } else if BUSY.contains(&code) || status == 429 {
        Fault::busy(call, code, message)
    } else if QUOTA.contains(&code) {
        let service = call.split(':').next().unwrap_or(call).to_owned();
        Fault::refused(call, code, message)
            .hint(format!("a quota of {service} is used up: raise it in Service Quotas, or remove what is not needed, then resume"))
    } else if status >= 500 {
        Fault::unknown(call, code, message)
    } else if code.starts_with("AccessDenied") || code.starts_with("UnauthorizedOperation") || code.starts_with("NotAuthorized") {
        Fault::refused(call, code, message).hint("grant this permission to the role labctl runs as, then resume")
    } else if code.starts_with("ExpiredToken") {
        Fault::refused(call, code, message).hint("the credentials have expired: renew them, then resume")
    } else {
        Fault::refused(call, code, message)
    }
}

/// A garbled answer says by its status alone what became of the call. A 4xx is a definite no, but whether for now (throttling is one) or
/// for good stood in the body: it is asked again.
fn unreadable(call: &str, status: u16) -> Fault {
    let words = format!("the answer (HTTP status {status}) cannot be read");
    if (400..500).contains(&status) { Fault::busy(call, "unreadable_response", words) } else { Fault::unknown(call, "unreadable_response", words) }
}

/// Whether the call failed with one of these codes: how a kind tells "there is no such thing" from a fault.
pub fn is<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>, codes: &[&str]) -> bool {
    matches!(error, SdkError::ServiceError(e) if e.err().code().is_some_and(|c| codes.contains(&c)))
}

/// The HTTP status of a service's refusal: for calls whose errors have no body (S3 `HEAD`).
pub fn status<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    error.raw_response().map(|r| r.status().as_u16())
}

/// Whether the connection was never made, so that nothing was sent. hyper tells this only by a word in its text; any other text, a
/// "connection reset" above all, may be of a request cut off half-way or answered in vain.
fn never_connected(chain: &str) -> bool {
    chain.contains("client error (Connect)") || chain.contains("HTTP connect timeout")
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(e) = next {
        let more = e.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        next = e.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fault::{Class, Left};

    #[test]
    fn a_code_decides_whether_waiting_helps() {
        let rows = [
            (400, "ThrottlingException", Class::Busy),
            (503, "SlowDown", Class::Busy),
            (429, "Whatever", Class::Busy),
            (400, "LimitExceededException", Class::Refused),
            (403, "AccessDenied", Class::Refused),
            (500, "InternalError", Class::Unknown),
            (503, "Strange", Class::Unknown),
            (200, "Unknown", Class::Unknown),
        ];
        for (status, code, class) in rows {
            let fault = service("cognito-idp:CreateUserPool", status, code, "words".into());
            assert_eq!(fault.class, class, "{status} {code}");
            assert_eq!(fault.left == Left::Nothing, class != Class::Unknown, "{status} {code}: only an unknown outcome leaves something");
        }
    }

    #[test]
    fn a_quota_is_named_with_what_to_do() {
        let fault = service("cognito-idp:CreateUserPool", 400, "LimitExceededException", "too many pools".into());
        assert!(fault.hint.unwrap().contains("quota of cognito-idp"));
    }
}
