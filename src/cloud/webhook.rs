//! Webhooks: a signed POST to an address outside AWS, and the publishing of the same event to SNS.
//!
//! The signature is over the second it was made in and the body: `labctl-signature: t=<unix seconds>,v1=<hex of HMAC-SHA256(secret, "t.body")>`.
//! No redirect is followed: whoever can make a receiver redirect would choose where customers' names go.

use std::time::Duration;

use aws_sdk_sns::types::MessageAttributeValue;
use aws_smithy_http_client::{Connector, tls};
use aws_smithy_runtime_api::client::http::{HttpConnector as _, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;

use super::{Cloud, fault};
use crate::engine::fault::Fault;

const CALL: &str = "webhook:POST";

/// What goes out.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// The event's id: by it a receiver knows what it has had already.
    pub id: &'a str,
    /// `onboarding.succeeded`.
    pub kind: &'a str,
    /// Whose.
    pub tenant: &'a str,
    /// The event, as JSON.
    pub body: &'a str,
}

/// The way to webhooks. Cheap to clone; connections are kept.
#[derive(Debug, Clone)]
pub struct Caller(SharedHttpConnector);

impl Default for Caller {
    fn default() -> Self {
        let ring = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring);
        Self(SharedHttpConnector::new(Connector::builder().tls_provider(ring).build()))
    }
}

impl Caller {
    /// Sends a message. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// Unknown when no answer came in time, refused when the answer is no success. Never quotes the answer.
    pub async fn post(&self, url: &str, secret: &SecretString, message: &Message<'_>, now: i64, patience: Duration) -> Result<(), Fault> {
        let invalid = |e: String| Fault::refused(CALL, "invalid_webhook", e);
        let mut request = HttpRequest::new(SdkBody::from(message.body.to_owned()));
        request.set_method("POST").and_then(|()| request.set_uri(url)).map_err(|e| invalid(e.to_string()))?;
        let headers = [
            ("content-type", "application/cloudevents+json; charset=utf-8".to_owned()),
            ("content-length", message.body.len().to_string()),
            ("user-agent", concat!("labctl/", env!("CARGO_PKG_VERSION")).to_owned()),
            ("labctl-event-id", message.id.to_owned()),
            ("labctl-event-type", message.kind.to_owned()),
            ("labctl-signature", signature(secret, now, message.body)),
        ];
        for (name, value) in headers {
            request.headers_mut().try_insert(name, value).map_err(|e| invalid(e.to_string()))?;
        }
        match tokio::time::timeout(patience, self.0.call(request)).await {
            Err(_) => Err(Fault::unknown(CALL, "timeout", format!("no answer within {:.1} s", patience.as_secs_f64()))),
            Ok(Err(e)) => {
                let deepest = std::iter::successors(Some(&e as &dyn std::error::Error), |e| e.source()).last().map(ToString::to_string);
                Err(Fault::unknown(CALL, "no_answer", deepest.unwrap_or_default()))
            }
            Ok(Ok(answer)) if answer.status().is_success() => Ok(()),
            Ok(Ok(answer)) => {
                let status = answer.status().as_u16();
                let more = if (300..400).contains(&status) { "; redirects are not followed" } else { "" };
                Err(Fault::refused(CALL, status.to_string(), format!("the receiver answered {status}{more}")))
            }
        }
    }
}

/// `t=1760000000,v1=<hex>`.
pub fn signature(secret: &SecretString, now: i64, body: &str) -> String {
    let mac = hmac_sha256(secret.expose_secret().as_bytes(), format!("{now}.{body}").as_bytes());
    format!("t={now},v1={}", mac.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

fn hmac_sha256(key: &[u8], text: &[u8]) -> Vec<u8> {
    // HMAC takes keys of every length: the error cannot come up.
    Hmac::<Sha256>::new_from_slice(key).map(|mac| mac.chain_update(text).finalize().into_bytes().to_vec()).unwrap_or_default()
}

impl Cloud {
    /// Publishes a message to a topic of SNS, with its type and tenant as attributes to filter by. A FIFO topic keeps each tenant's order.
    ///
    /// # Errors
    /// What SNS answers.
    pub async fn publish(&self, topic: &str, message: &Message<'_>) -> Result<(), Fault> {
        let call = "sns:Publish";
        let text = |value: &str| {
            MessageAttributeValue::builder().data_type("String").string_value(value).build().map_err(|e| Fault::refused(call, "invalid", e.to_string()))
        };
        let mut publish = self.sns.publish().topic_arn(topic).message(message.body);
        for (name, value) in [("id", message.id), ("type", message.kind), ("tenant", message.tenant)] {
            publish = publish.message_attributes(name, text(value)?);
        }
        if topic.ends_with(".fifo") {
            publish = publish.message_group_id(message.tenant).message_deduplication_id(message.id);
        }
        publish.send().await.map(drop).map_err(|e| fault::fault(call, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn the_code_is_that_of_rfc_4231() {
        let mac = hmac_sha256(&[0x0b; 20], b"Hi There");
        assert_eq!(hex(&mac), "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
        let mac = hmac_sha256(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(hex(&mac), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    #[test]
    fn the_signature_covers_the_time_and_the_body() {
        let secret = SecretString::from("Jefe");
        let signed = signature(&secret, 1_760_000_000, "{}");
        assert!(signed.starts_with("t=1760000000,v1=") && signed.len() == "t=1760000000,v1=".len() + 64, "{signed}");
        assert_ne!(signed, signature(&secret, 1_760_000_001, "{}"));
        assert_ne!(signed, signature(&secret, 1_760_000_000, "{ }"));
    }
}
