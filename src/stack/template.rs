//! What a stack's templates say, as data.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::spec::Tier;
use crate::spec::problem::Place;
use crate::spec::tree::Node;

/// How far a tenant's data is from its neighbours'. From the least to the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// Rows in shared tables.
    Rows,
    /// A schema in a shared database.
    Schema,
    /// A database on a shared host.
    Database,
    /// A database instance.
    Instance,
    /// A database cluster over several availability zones.
    Cluster,
}

impl Isolation {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Rows, Self::Schema, Self::Database, Self::Instance, Self::Cluster];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Schema => "schema",
            Self::Database => "database",
            Self::Instance => "instance",
            Self::Cluster => "cluster",
        }
    }
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One product: `templates/<name>/`.
#[derive(Debug, Clone)]
pub struct Stack {
    /// The folder's name.
    pub name: String,
    /// What stands in physical names; the stack's name, unless its file says otherwise.
    pub product: String,
    /// Pinned per tenant.
    pub version: String,
    /// For people.
    pub description: String,
    /// What log groups begin with.
    pub log_group_prefix: String,
    /// `${var.…}` of every tier.
    pub variables: BTreeMap<String, Node>,
    /// Parts of the product a tenant may have, by name, with their descriptions, in the order they are migrated.
    pub modules: Vec<(String, String)>,
    /// The tiers it has.
    pub tiers: BTreeMap<Tier, TierTemplate>,
    /// The resources of all tiers, in the order of files and lines.
    pub resources: Vec<ResourceTemplate>,
    /// What its tenants of one database share.
    pub system: System,
    /// All migrations, in the order of folders and versions.
    pub migrations: Vec<Migration>,
}

/// The shared tables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct System {
    /// Tables of tenants' rows, with the column that says whose each is.
    pub rows: BTreeMap<String, String>,
    /// Tables that are the same for all, and nobody's to write.
    pub reference: BTreeSet<String>,
}

/// What one tier means.
#[derive(Debug, Clone)]
pub struct TierTemplate {
    /// For people.
    pub description: String,
    /// How its tenants' data is kept apart.
    pub isolation: Isolation,
    /// `${tier.…}`: the numbers, by dotted path.
    pub settings: BTreeMap<String, Value>,
    /// `${var.…}` of this tier; they hide the stack's.
    pub variables: BTreeMap<String, Node>,
    /// Which settings a spec may override, and how far.
    pub overrides: BTreeMap<String, Bound>,
}

/// How far a setting may be overridden.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Integers from the first to the last.
    Range {
        /// The least.
        min: i64,
        /// The most.
        max: i64,
    },
    /// One of these.
    OneOf(Vec<Value>),
    /// Text of letters, digits and `. _ -` up to so many bytes (an image's tag).
    Word {
        /// The most bytes.
        max_bytes: usize,
    },
    /// `true` or `false`.
    Either,
    /// A container image, with its tag or its digest. The one bound that may stand without a setting of the tier: what image runs then
    /// is the template's matter until somebody says one.
    Image,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range { min, max } => write!(f, "{min} to {max}"),
            Self::OneOf(values) => {
                let all: Vec<_> = values.iter().map(|v| v.as_str().map_or_else(|| v.to_string(), ToOwned::to_owned)).collect();
                write!(f, "one of {}", all.join(", "))
            }
            Self::Word { max_bytes } => write!(f, "letters, digits, `.`, `_`, `-`, at most {max_bytes} bytes"),
            Self::Either => f.write_str("true or false"),
            Self::Image => f.write_str("an image with its tag or digest, at most 512 bytes"),
        }
    }
}

/// A resource of a stack.
#[derive(Debug, Clone)]
pub struct ResourceTemplate {
    /// Kind and name.
    pub key: Key,
    /// The tiers that have it.
    pub tiers: Vec<Tier>,
    /// If not empty, it is made only for tenants with one of these modules.
    pub modules: Vec<String>,
    /// What it comes after besides what it refers to, and where that was said. `*` is everything else.
    pub after: Vec<(String, Place)>,
    /// Its spec, with `${…}` in it.
    pub spec: Node,
    /// Where it begins.
    pub place: Place,
}

impl ResourceTemplate {
    /// Whether a tenant of that tier with those modules has it.
    pub fn applies(&self, tier: Tier, modules: &[String]) -> bool {
        self.tiers.contains(&tier) && (self.modules.is_empty() || self.modules.iter().any(|m| modules.contains(m)))
    }
}

/// Kind and name of a resource, unique within a tenant: `s3_bucket.data`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The kind.
    pub kind: String,
    /// The name.
    pub name: String,
}

impl Key {
    /// Puts a key together.
    pub fn new(kind: impl Into<String>, name: impl Into<String>) -> Self {
        Self { kind: kind.into(), name: name.into() }
    }

    /// Reads `kind.name`.
    pub fn read(text: &str) -> Option<Self> {
        let (kind, name) = text.split_once('.')?;
        (!kind.is_empty() && !name.is_empty() && !name.contains('.')).then(|| Self::new(kind, name))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.kind, self.name)
    }
}

impl Serialize for Key {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        Self::read(&text).ok_or_else(|| serde::de::Error::custom(format!("`{text}` is not kind.name")))
    }
}

/// One migration file of a stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Migration {
    /// `tenant`, or the module whose folder it lies in.
    pub folder: String,
    /// The number in `V1__name.sql`.
    pub version: u32,
    /// The name in `V1__name.sql`, underscores kept.
    pub name: String,
    /// SHA-256 of the file's bytes, in lower-case hex.
    pub checksum: String,
    /// The file's text. Not part of plans or journals: those name it by its checksum.
    #[serde(skip)]
    pub sql: String,
}
