//! `[profiles.<name>.events]`: who is told of what becomes of tenants.

use serde::{Deserialize, Serialize};

/// The receivers of a profile's lifecycle events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Events {
    /// A topic of SNS.
    #[serde(default)]
    pub sns_topic_arn: Option<String>,
    /// Receivers that are called.
    #[serde(default)]
    pub webhooks: Vec<Webhook>,
}

/// A receiver that is called with each event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// Its name, unique in the profile.
    pub name: String,
    /// Where it is. HTTPS; plain HTTP only on loopback.
    pub url: String,
    /// The secret in Secrets Manager whose key `secret` signs what is sent.
    pub secret_arn: String,
}

/// Whether an address may be called: an event names customers, and goes out encrypted or not at all.
pub(super) fn check_url(url: &str) -> Result<(), &'static str> {
    let plain = url.strip_prefix("http://").map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    match (url.strip_prefix("https://"), plain) {
        (Some(rest), _) if !rest.is_empty() && !rest.starts_with('/') && !rest.contains('@') => Ok(()),
        (None, Some(authority)) if is_loopback(authority) => Ok(()),
        (None, Some(_)) => Err("a webhook begins with https://; http:// is for loopback only"),
        _ => Err("a webhook begins with https:// and holds no password"),
    }
}

fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_loopback_only() {
        for url in ["https://crm.example.org/hook", "http://127.0.0.1:8080/hook", "http://localhost", "http://[::1]:9/x"] {
            assert_eq!(check_url(url), Ok(()), "{url}");
        }
        for url in [
            "http://crm.example.org",
            "http://localhost.example.org",
            "http://127.0.0.1@crm.example.org",
            "https://a:b@crm.example.org",
            "https://",
            "ftp://x",
            "crm",
        ] {
            assert!(check_url(url).is_err(), "{url}");
        }
    }
}
