//! One line of a plan, as the engine sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::kind::{Address, Change, Outputs, Tags};
use super::refs::{self, Ref};

/// What is to be done at an address. The values are the glyphs users see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Nothing.
    Keep,
    /// Make it.
    Create,
    /// Change it in place.
    Update,
    /// Delete and make again.
    Replace,
    /// Delete it.
    Delete,
}

impl Action {
    /// `+ ~ ± -`, and a blank for nothing.
    pub fn glyph(self) -> char {
        match self {
            Self::Keep => ' ',
            Self::Create => '+',
            Self::Update => '~',
            Self::Replace => '±',
            Self::Delete => '-',
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Keep => "keep",
            Self::Create => "create",
            Self::Update => "update",
            Self::Replace => "replace",
            Self::Delete => "delete",
        })
    }
}

/// One resource of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Where.
    pub address: Address,
    /// What is to be done.
    pub action: Action,
    /// Why, for people. Empty for `Keep` and `Create`.
    pub changes: Vec<Change>,
    /// What is wanted there, with `${…}` for what is known only once other steps are done.
    pub spec: Value,
    /// The tags it shall carry.
    pub tags: Tags,
    /// The steps that must be done before this one.
    pub needs: Vec<Address>,
    /// The id the registry has for this address, if any.
    pub recorded: Option<String>,
    /// False where the decision rests on values that other steps will bring: whether anything is to be done is seen only then.
    pub certain: bool,
    /// An intent of an earlier attempt whose outcome is not on record: its token is used again.
    pub intent: Option<String>,
    /// An earlier attempt has the id on record and never saw the thing finished: where it is not seen, it may only not be visible yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unfinished: bool,
    /// For `Keep`: the outputs as observed while planning, for others' references.
    pub outputs: Outputs,
    /// Usual seconds to ready.
    pub seconds: u64,
}

/// What is wanted at one address: a template's resource, its `${kind.name.output}` references still unresolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Wanted {
    /// Where.
    pub address: Address,
    /// What.
    pub spec: Value,
    /// The tags it shall carry.
    pub tags: Tags,
    /// Addresses to wait for although nothing of theirs is referred to.
    pub after: Vec<Address>,
}

impl Wanted {
    /// Everything this one waits for: what its spec refers to, and `after`.
    pub fn needs(&self) -> BTreeSet<Address> {
        let referred = refs::refs(&self.spec).into_iter().map(|r| Address::new(&self.address.tenant, r.kind, r.name));
        referred.chain(self.after.iter().cloned()).collect()
    }
}

/// What the registry remembers of one address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// Where.
    pub address: Address,
    /// What the service knows it by; none while only an intent is on record.
    pub id: Option<String>,
    /// The token of an intent whose outcome is not on record.
    pub intent: Option<String>,
    /// The spec it was last begun or done with, references resolved: what looking for it and deleting it go by. Null where none is
    /// on record.
    pub spec: Value,
    /// Whether it was as wanted and ready when labctl last left it; false for what was begun and not finished.
    pub finished: bool,
    /// The tags last carried out.
    pub tags: Tags,
    /// Place in the plan that made it: deletion goes backwards.
    pub position: i32,
}

/// Outputs by address, gathered while a run goes on.
pub type Known = BTreeMap<Address, Outputs>;

/// Looks a reference up in what is known of a tenant's resources.
pub fn lookup<'a>(tenant: &'a str, known: &'a Known) -> impl Fn(&Ref) -> Option<String> + 'a {
    move |r| known.get(&Address::new(tenant, &r.kind, &r.name)).and_then(|o| o.get(&r.output)).cloned()
}
