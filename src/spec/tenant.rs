//! The spec of one tenant, as the registry keeps it and the JSON Schema describes it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How much of its own a tenant gets. What a tier means in resources, limits and days is the stack's matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Shares what can be shared.
    #[serde(alias = "basic")]
    Trial,
    /// The usual.
    #[serde(alias = "premium", alias = "professional")]
    Standard,
    /// As separate as the stack can make it.
    Enterprise,
}

impl Tier {
    /// All tiers, the smallest first.
    pub const ALL: [Self; 3] = [Self::Trial, Self::Standard, Self::Enterprise];
    /// Names accepted for tiers in specs besides their own, and what they mean.
    pub const ALIASES: [(&'static str, Self); 3] = [("basic", Self::Trial), ("premium", Self::Standard), ("professional", Self::Standard)];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trial => "trial",
            Self::Standard => "standard",
            Self::Enterprise => "enterprise",
        }
    }

    /// The names of all tiers.
    pub fn names() -> impl Iterator<Item = &'static str> + Clone {
        Self::ALL.into_iter().map(Self::as_str)
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text names no tier.
#[derive(Debug, thiserror::Error)]
#[error("there is no tier `{0}`; tiers are trial, standard, enterprise (aliases: basic, premium, professional)")]
pub struct NoSuchTier(pub String);

impl FromStr for Tier {
    type Err = NoSuchTier;
    fn from_str(text: &str) -> Result<Self, NoSuchTier> {
        let own = Self::ALL.into_iter().find(|t| t.as_str() == text);
        own.or_else(|| Self::ALIASES.iter().find(|(name, _)| *name == text).map(|(_, tier)| *tier)).ok_or_else(|| NoSuchTier(text.to_owned()))
    }
}

/// One tenant, as its operator wants it. Kept in `tenants/<id>.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantSpec {
    /// The tenant's name for machines: a–z, 0–9 and `-`, 2 to 40 characters. It can never change: names of databases, buckets and roles are made of it.
    #[schemars(regex(pattern = r"^[a-z](-?[a-z0-9])+$"), length(min = 2, max = 40))]
    pub id: String,
    /// The name this tenant has in another system, such as `LAB001`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub external_id: Option<String>,
    /// The tenant's name for people.
    #[schemars(length(min = 1, max = 100))]
    pub display_name: String,
    /// The first label of the tenant's host name, and what its database schema is named after. The id, unless given.
    #[schemars(regex(pattern = r"^[a-z](-?[a-z0-9])+$"), length(min = 2, max = 63))]
    pub subdomain: String,
    /// How much of its own the tenant gets.
    pub tier: Tier,
    /// The product the tenant runs: the name of a folder in `templates/`.
    #[schemars(length(min = 1))]
    pub stack: String,
    /// The contact, who is also invited as the tenant's first administrator.
    #[schemars(email)]
    pub email: String,
    /// Parts of the product the tenant uses besides its core, as the stack names them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modules: Vec<String>,
    /// Settings of the tier this tenant has otherwise, as far as the tier allows. Keys are the setting's path: `django.max`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub overrides: BTreeMap<String, Value>,
    /// How the tenant comes by its database schema, where that is there already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<Database>,
    /// Sign-in through the tenant's own identity provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sso: Option<Sso>,
    /// Tags for everything made for this tenant, besides those labctl sets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

/// A schema that was there before labctl: made by hand, or by another tool.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// Take over the schema of the tenant's name, which nobody's labctl has marked: its owner, the owners of what is in it, and all rights
    /// become what the stack says. Rows stay as they are.
    #[serde(default)]
    pub adopt: bool,
    /// By folder of migrations, the last one whose work the schema holds already: up to it they are recorded and not run, once the schema
    /// was compared with what they make.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub baseline: BTreeMap<String, u32>,
}

/// The tenant's own identity provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Sso {
    /// SAML 2.0. Exactly one of the two says where the provider's metadata is.
    Saml {
        /// Where the metadata is fetched: `https://…`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        metadata_url: Option<String>,
        /// A file with the metadata, beside the spec.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        metadata_file: Option<String>,
    },
    /// OpenID Connect.
    Oidc {
        /// The issuer: `https://…`.
        issuer: String,
        /// The client's id at the issuer.
        client_id: String,
        /// ARN of the Secrets Manager secret that holds the client's secret, unless the client is a public one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client_secret_arn: Option<String>,
    },
}

impl Sso {
    /// `saml` or `oidc`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Saml { .. } => "saml",
            Self::Oidc { .. } => "oidc",
        }
    }
}
