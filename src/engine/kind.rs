//! The contract of a kind: five verbs, none of which waits, all of which may be run twice.
//!
//! # Expected flow
//! `observe` → absent → `create` → `observe` → `diff` says what the create call could not carry → `update` →
//! `observe` → `diff` is [`Diff::Same`] and `ready` is [`Ready::Ready`] → done. The engine turns this wheel; a kind never loops,
//! sleeps or calls another kind.
//!
//! # Guarantees the engine gives
//! The intent to create is on record before `create` is called, and the id right after it. `create` is called again only when
//! `observe` has just said [`Observed::Absent`]. All `${…}` references in the spec are resolved before any verb that calls out.
//!
//! # Guarantees a kind gives
//! `observe` never writes. `diff` and `ready` are pure. Ownership tags travel in the create call itself (or the comment in the same
//! transaction), so that what a lost reply made can be found again. Deleting what is absent is success. No state, spec, id, fault
//! or change ever holds a secret.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::str::FromStr;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fault::Fault;

/// Where a resource lives in labctl's own map: `hospital-a/s3_bucket/data`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The tenant's id.
    pub tenant: String,
    /// The kind's name.
    pub kind: String,
    /// The resource's name within tenant and kind, as the stack's template calls it.
    pub name: String,
}

impl Address {
    /// Puts an address together.
    pub fn new(tenant: impl Into<String>, kind: impl Into<String>, name: impl Into<String>) -> Self {
        Self { tenant: tenant.into(), kind: kind.into(), name: name.into() }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.tenant, self.kind, self.name)
    }
}

/// The text is not `tenant/kind/name`.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not an address; an address is tenant/kind/name")]
pub struct NotAnAddress(String);

impl FromStr for Address {
    type Err = NotAnAddress;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('/');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(t), Some(k), Some(n), None) if !t.is_empty() && !k.is_empty() && !n.is_empty() => Ok(Self::new(t, k, n)),
            _ => Err(NotAnAddress(text.to_owned())),
        }
    }
}

impl Serialize for Address {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What a resource offers to others (`arn`, `endpoint`, …), by the names its kind declares in [`Kind::OUTPUTS`].
pub type Outputs = BTreeMap<String, String>;

/// Tags every resource carries: ownership (`labctl:tenant`, `labctl:address`, `labctl:registry`) and the operator's own.
pub type Tags = BTreeMap<String, String>;

/// What is wanted at one address.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a, S> {
    /// Where.
    pub address: &'a Address,
    /// What.
    pub spec: &'a S,
    /// Tags to be carried. A kind that cannot carry tags (a schema) writes the ownership ones into its comment.
    pub tags: &'a Tags,
}

/// What `observe` found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Observed<S> {
    /// There is no such thing.
    Absent,
    /// It is there and carries our ownership of this very address.
    Mine {
        /// The identifier the service knows it by.
        id: String,
        /// As it is.
        state: S,
    },
    /// Something of that name is there, but it is not this tenant's. The text says whose it seems to be.
    Foreign(String),
    /// Several carry our ownership of this address; these are their ids.
    Many(Vec<String>),
}

/// One difference, for people: `retention_days: 7 → 30`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What differs, as the kind's spec calls it.
    pub field: String,
    /// As it is.
    pub from: String,
    /// As it shall be.
    pub to: String,
}

impl Change {
    /// Puts a change together.
    pub fn new(field: impl Into<String>, from: impl fmt::Display, to: impl fmt::Display) -> Self {
        Self { field: field.into(), from: from.to_string(), to: to.to_string() }
    }

    /// A change if, and only if, the two differ: what most kinds' `diff` is made of.
    pub fn between<T: PartialEq + fmt::Debug>(field: &str, from: &T, to: &T) -> Option<Self> {
        (from != to).then(|| Self { field: field.to_owned(), from: plain(from), to: plain(to) })
    }

    /// The change from `is` to `want` among the wanted tags. Tags that others have put on are left alone.
    pub fn tags(is: &Tags, want: &Tags) -> Vec<Self> {
        want.iter().filter(|(k, v)| is.get(*k) != Some(v)).map(|(k, v)| Self::new(format!("tags.{k}"), is.get(k).map_or("(none)", String::as_str), v)).collect()
    }
}

fn plain<T: fmt::Debug>(value: &T) -> String {
    let text = format!("{value:?}");
    text.strip_prefix("Some(").and_then(|t| t.strip_suffix(')')).unwrap_or(&text).replace('"', "")
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} → {}", self.field, self.from, self.to)
    }
}

/// How what is differs from what is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Diff {
    /// It does not.
    Same,
    /// `update` can make it so, in place.
    Update(Vec<Change>),
    /// Only deleting and making it again would.
    Replace(Change),
    /// It cannot be made so without losing data; the text says what an operator can do.
    Forbidden(String),
}

impl Diff {
    /// `Same` where there are no changes, `Update` otherwise.
    pub fn of(changes: impl IntoIterator<Item = Change>) -> Self {
        let changes: Vec<_> = changes.into_iter().collect();
        if changes.is_empty() { Self::Same } else { Self::Update(changes) }
    }
}

/// Whether a thing can be used yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ready {
    /// Yes.
    Ready,
    /// Not yet; the text is the service's word for it ("creating", "1 of 2 tasks running").
    Waiting(String),
    /// It will not become so by itself; the text says why.
    Broken(String),
}

/// How a resource is found again when the reply to its create was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// Its name is unique: describe it by name, then check the ownership tag or comment. A kind that can rename looks, where nothing has
    /// the name wanted, for what carries the ownership under another: to it, the name is a field like others, and `update` changes it.
    Name,
    /// The API takes a client token: the same create again returns the same thing.
    Token,
    /// Names are not unique; ownership tags go in the create call and it is found by them.
    Tag,
    /// Nothing works: an unknown outcome stops in doubt, for the operator.
    RecordedOnly,
}

/// Whether undoing or replacing may delete it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// It holds no data of the tenant's.
    Delete,
    /// It does: never undone or replaced automatically; only `purge` deletes it.
    Retain,
}

/// A kind's share of concurrency, and the API rate it draws from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limit {
    /// Kinds with the same name draw from the same bucket (`cognito-idp:pools`).
    pub api: &'static str,
    /// Writes a second, sustained.
    pub per_second: f64,
    /// Writes at once before the rate binds.
    pub burst: u32,
    /// Steps of this kind in flight at once, in one run.
    pub concurrency: usize,
}

/// How long a kind takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Usual time to ready on AWS; plans add these up along the critical path.
    pub typical: Duration,
    /// The engine stops waiting after this long. The resource goes on becoming ready by itself; resume picks it up.
    pub deadline: Duration,
}

impl Timing {
    /// Both in seconds.
    pub const fn secs(typical: u64, deadline: u64) -> Self {
        Self { typical: Duration::from_secs(typical), deadline: Duration::from_secs(deadline) }
    }
}

/// How far a tenant is out of use. Each level includes the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Suspension {
    /// Its data can be read and not changed.
    ReadOnly,
    /// And none of its users can sign in.
    Login,
    /// And nothing of it runs: no service, no database session, no use of its storage.
    Full,
}

impl Suspension {
    /// All of them, the mildest first.
    pub const ALL: [Self; 3] = [Self::ReadOnly, Self::Login, Self::Full];

    /// Its name, as the command line has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReadOnly => "read-only",
            Self::Login => "login",
            Self::Full => "full",
        }
    }
}

impl fmt::Display for Suspension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One kind of resource. A kind is a unit struct in a file of its own in `kinds/`, and one entry in `KINDS`.
pub trait Kind: Send + Sync + 'static {
    /// What the kind needs to reach the outside (`kinds::Cx`).
    type Cx: Send + Sync + 'static;
    /// What a template may say of it. Derive `Deserialize` with `deny_unknown_fields`.
    type Spec: Serialize + DeserializeOwned + Send + Sync;
    /// What `observe` reports of it.
    type State: Serialize + DeserializeOwned + Send + Sync;

    /// `s3_bucket`: what AWS (or PostgreSQL) calls the thing, in snake case.
    const NAME: &'static str;
    /// How it is found again.
    const IDENTITY: Identity;
    /// Whether it holds data.
    const DELETION: Deletion;
    /// Its share of rates.
    const LIMIT: Limit;
    /// How long it takes.
    const TIMING: Timing;
    /// The outputs other resources may refer to.
    const OUTPUTS: &'static [&'static str];
    /// Those of them that an update in place may change (a task definition's ARN names its revision): whoever refers to one is looked
    /// at again after the update.
    const VOLATILE: &'static [&'static str] = &[];

    /// What is wanted while the tenant is suspended, made of what is wanted otherwise. Pure. Most kinds are the same; what lets somebody
    /// in or runs is not. References may stand in the spec still.
    fn suspended(&self, spec: Self::Spec, level: Suspension) -> Self::Spec;

    /// Looks. Never writes. `recorded` is the id the registry has for this address, if any; it helps finding, and is never trusted
    /// without checking ownership. An `Err` means "could not be told".
    fn observe(
        &self,
        cx: &Self::Cx,
        target: &Target<'_, Self::Spec>,
        recorded: Option<&str>,
    ) -> impl Future<Output = Result<Observed<Self::State>, Fault>> + Send;

    /// Compares. Pure. What was just made with this spec must, once its updates are done, be `Same`.
    fn diff(&self, target: &Target<'_, Self::Spec>, state: &Self::State) -> Diff;

    /// What a create would do besides making the thing, for the plan to say so. Pure. References may stand in the spec still.
    fn announced(&self, _spec: &Self::Spec) -> Vec<Change> {
        Vec::new()
    }

    /// Makes it, ownership tags included, and returns its id as soon as that is known. `token` is the same at every retry of one
    /// intent: hand it to APIs that take a client token.
    fn create(&self, cx: &Self::Cx, target: &Target<'_, Self::Spec>, token: &str) -> impl Future<Output = Result<String, Fault>> + Send;

    /// Makes what is there as wanted, in place: everything `diff` reports as `Update`.
    fn update(&self, cx: &Self::Cx, target: &Target<'_, Self::Spec>, id: &str, state: &Self::State) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Deletes it. Absent is success.
    fn delete(&self, cx: &Self::Cx, target: &Target<'_, Self::Spec>, id: &str) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Whether it can be used yet. Pure. The engine updates nothing while this says `Waiting`: a kind whose updates are accepted
    /// meanwhile (a service whose rollout will never succeed) says `Ready` as long as `diff` has something for `update` to do.
    fn ready(&self, target: &Target<'_, Self::Spec>, state: &Self::State) -> Ready;

    /// The values behind [`Kind::OUTPUTS`]. Pure. Only called on what is ready.
    fn outputs(&self, target: &Target<'_, Self::Spec>, id: &str, state: &Self::State) -> Outputs;
}

/// A future on the heap, sendable.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A [`Kind`] without its types: what planner, engine and registry hold in one list. Specs and states are JSON.
///
/// Implemented for every `Kind`; nothing else implements it by hand.
pub trait AnyKind<C>: Send + Sync {
    /// [`Kind::NAME`].
    fn name(&self) -> &'static str;
    /// [`Kind::IDENTITY`].
    fn identity(&self) -> Identity;
    /// [`Kind::DELETION`].
    fn deletion(&self) -> Deletion;
    /// [`Kind::LIMIT`].
    fn limit(&self) -> Limit;
    /// [`Kind::TIMING`].
    fn timing(&self) -> Timing;
    /// [`Kind::OUTPUTS`].
    fn outputs_declared(&self) -> &'static [&'static str];
    /// [`Kind::VOLATILE`].
    fn outputs_volatile(&self) -> &'static [&'static str];
    /// Whether a template's spec has the right shape (`${…}` may still stand where texts are). The error is serde's, for people.
    fn check(&self, spec: &Value) -> Result<(), String>;
    /// [`Kind::suspended`].
    fn suspended(&self, spec: &Value, level: Suspension) -> Result<Value, Fault>;
    /// [`Kind::observe`].
    fn observe<'a>(&'a self, cx: &'a C, target: &'a Target<'a, Value>, recorded: Option<&'a str>) -> Boxed<'a, Result<Observed<Value>, Fault>>;
    /// [`Kind::diff`].
    fn diff(&self, target: &Target<'_, Value>, state: &Value) -> Result<Diff, Fault>;
    /// [`Kind::announced`].
    fn announced(&self, spec: &Value) -> Result<Vec<Change>, Fault>;
    /// [`Kind::create`].
    fn create<'a>(&'a self, cx: &'a C, target: &'a Target<'a, Value>, token: &'a str) -> Boxed<'a, Result<String, Fault>>;
    /// [`Kind::update`].
    fn update<'a>(&'a self, cx: &'a C, target: &'a Target<'a, Value>, id: &'a str, state: &'a Value) -> Boxed<'a, Result<(), Fault>>;
    /// [`Kind::delete`].
    fn delete<'a>(&'a self, cx: &'a C, target: &'a Target<'a, Value>, id: &'a str) -> Boxed<'a, Result<(), Fault>>;
    /// [`Kind::ready`].
    fn ready(&self, target: &Target<'_, Value>, state: &Value) -> Result<Ready, Fault>;
    /// [`Kind::outputs`].
    fn outputs(&self, target: &Target<'_, Value>, id: &str, state: &Value) -> Result<Outputs, Fault>;
}

fn typed<T: DeserializeOwned>(kind: &str, what: &str, value: &Value) -> Result<T, Fault> {
    serde_path(value).map_err(|e| Fault::refused(format!("{kind}:{what}"), format!("invalid_{what}"), e))
}

fn serde_path<T: DeserializeOwned>(value: &Value) -> Result<T, String> {
    T::deserialize(value).map_err(|e| e.to_string())
}

impl<K: Kind> AnyKind<K::Cx> for K {
    fn name(&self) -> &'static str {
        K::NAME
    }
    fn identity(&self) -> Identity {
        K::IDENTITY
    }
    fn deletion(&self) -> Deletion {
        K::DELETION
    }
    fn limit(&self) -> Limit {
        K::LIMIT
    }
    fn timing(&self) -> Timing {
        K::TIMING
    }
    fn outputs_declared(&self) -> &'static [&'static str] {
        K::OUTPUTS
    }
    fn outputs_volatile(&self) -> &'static [&'static str] {
        K::VOLATILE
    }
    fn check(&self, spec: &Value) -> Result<(), String> {
        serde_path::<K::Spec>(spec).map(drop)
    }
    fn suspended(&self, spec: &Value, level: Suspension) -> Result<Value, Fault> {
        let spec = Kind::suspended(self, typed::<K::Spec>(K::NAME, "spec", spec)?, level);
        serde_json::to_value(spec).map_err(|e| Fault::refused(format!("{}:spec", K::NAME), "invalid_spec", e.to_string()))
    }
    fn observe<'a>(&'a self, cx: &'a K::Cx, target: &'a Target<'a, Value>, recorded: Option<&'a str>) -> Boxed<'a, Result<Observed<Value>, Fault>> {
        Box::pin(async move {
            let spec: K::Spec = typed(K::NAME, "spec", target.spec)?;
            let target = Target { address: target.address, spec: &spec, tags: target.tags };
            Ok(match Kind::observe(self, cx, &target, recorded).await? {
                Observed::Absent => Observed::Absent,
                Observed::Mine { id, state } => {
                    let state = serde_json::to_value(state).map_err(|e| Fault::refused(format!("{}:state", K::NAME), "invalid_state", e.to_string()))?;
                    Observed::Mine { id, state }
                }
                Observed::Foreign(owner) => Observed::Foreign(owner),
                Observed::Many(ids) => Observed::Many(ids),
            })
        })
    }
    fn diff(&self, target: &Target<'_, Value>, state: &Value) -> Result<Diff, Fault> {
        let spec: K::Spec = typed(K::NAME, "spec", target.spec)?;
        let state: K::State = typed(K::NAME, "state", state)?;
        Ok(Kind::diff(self, &Target { address: target.address, spec: &spec, tags: target.tags }, &state))
    }
    fn announced(&self, spec: &Value) -> Result<Vec<Change>, Fault> {
        Ok(Kind::announced(self, &typed::<K::Spec>(K::NAME, "spec", spec)?))
    }
    fn create<'a>(&'a self, cx: &'a K::Cx, target: &'a Target<'a, Value>, token: &'a str) -> Boxed<'a, Result<String, Fault>> {
        Box::pin(async move {
            let spec: K::Spec = typed(K::NAME, "spec", target.spec)?;
            Kind::create(self, cx, &Target { address: target.address, spec: &spec, tags: target.tags }, token).await
        })
    }
    fn update<'a>(&'a self, cx: &'a K::Cx, target: &'a Target<'a, Value>, id: &'a str, state: &'a Value) -> Boxed<'a, Result<(), Fault>> {
        Box::pin(async move {
            let spec: K::Spec = typed(K::NAME, "spec", target.spec)?;
            let state: K::State = typed(K::NAME, "state", state)?;
            Kind::update(self, cx, &Target { address: target.address, spec: &spec, tags: target.tags }, id, &state).await
        })
    }
    fn delete<'a>(&'a self, cx: &'a K::Cx, target: &'a Target<'a, Value>, id: &'a str) -> Boxed<'a, Result<(), Fault>> {
        Box::pin(async move {
            let spec: K::Spec = typed(K::NAME, "spec", target.spec)?;
            Kind::delete(self, cx, &Target { address: target.address, spec: &spec, tags: target.tags }, id).await
        })
    }
    fn ready(&self, target: &Target<'_, Value>, state: &Value) -> Result<Ready, Fault> {
        let spec: K::Spec = typed(K::NAME, "spec", target.spec)?;
        let state: K::State = typed(K::NAME, "state", state)?;
        Ok(Kind::ready(self, &Target { address: target.address, spec: &spec, tags: target.tags }, &state))
    }
    fn outputs(&self, target: &Target<'_, Value>, id: &str, state: &Value) -> Result<Outputs, Fault> {
        let spec: K::Spec = typed(K::NAME, "spec", target.spec)?;
        let state: K::State = typed(K::NAME, "state", state)?;
        Ok(Kind::outputs(self, &Target { address: target.address, spec: &spec, tags: target.tags }, id, &state))
    }
}

/// The list of kinds, as planner and engine take it.
pub type Kinds<C> = &'static [&'static dyn AnyKind<C>];

/// The kind of that name in the list.
pub fn find<C>(kinds: Kinds<C>, name: &str) -> Option<&'static dyn AnyKind<C>> {
    kinds.iter().copied().find(|k| k.name() == name)
}
