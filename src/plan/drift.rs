//! Where the world differs from what is wanted. Pure; says what is, not what is to be done about it.

use serde::Serialize;
use serde_json::Value;

use super::Input;
use crate::engine::kind::{Address, AnyKind, Change, Diff, Kinds, Observed, Ready, Target, find};
use crate::engine::look::Sight;
use crate::engine::step::Recorded;

/// How a resource differs from what is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Drifted {
    /// It is not there.
    Missing,
    /// It is there, and otherwise than wanted.
    Changed,
    /// It is there and as wanted, and cannot be used.
    NotReady,
    /// Something of its name is there and does not carry its ownership.
    NotOurs,
    /// Several carry its ownership.
    Many,
    /// It is there and not wanted.
    Unwanted,
    /// It could not be looked at: what it refers to is not known.
    Unseen,
}

impl Drifted {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Changed => "changed",
            Self::NotReady => "not ready",
            Self::NotOurs => "not ours",
            Self::Many => "many",
            Self::Unwanted => "unwanted",
            Self::Unseen => "unseen",
        }
    }
}

/// One field that is otherwise than it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Field {
    /// What differs, as the kind calls it.
    pub field: String,
    /// As it is.
    pub is: String,
    /// As it should be.
    pub should_be: String,
}

impl From<Change> for Field {
    fn from(change: Change) -> Self {
        Self { field: change.field, is: change.from, should_be: change.to }
    }
}

/// One resource that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Where.
    pub address: Address,
    /// How.
    pub drift: Drifted,
    /// In which fields, where it is there.
    pub fields: Vec<Field>,
    /// What else is to be said of it.
    pub detail: Option<String>,
}

/// A resource that is as wanted, or as gone as wanted, while the registry has it otherwise. That is no drift: nobody has changed the world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bookkeeping {
    /// Where.
    pub address: Address,
    /// What the registry has.
    pub recorded: String,
    /// What there is.
    pub is: String,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Drift {
    /// Resources that differ from what is wanted, in the order of the templates; then those not wanted.
    pub differences: Vec<Difference>,
    /// Where only the registry differs.
    pub bookkeeping: Vec<Bookkeeping>,
}

impl Drift {
    /// Compares.
    pub fn find<C>(input: &Input<'_>, kinds: Kinds<C>) -> Self {
        let mut found = Self::default();
        for w in input.wanted {
            let recorded = input.recorded.iter().find(|r| r.address == w.address);
            match (input.world.get(&w.address), find(kinds, &w.address.kind)) {
                (Some(Sight::Seen { spec, observed, ready, former, .. }), Some(kind)) => {
                    let target = Target { address: &w.address, spec, tags: &w.tags };
                    match former {
                        Some(id) => found.differs(&w.address, Drifted::Changed, Vec::new(), Some(format!("it is there under its former name, as {id}"))),
                        None => found.seen(kind, &target, recorded, observed, ready.as_ref()),
                    }
                }
                (Some(Sight::Later(refs)), Some(_)) if recorded.is_some_and(|r| r.id.is_some()) => {
                    let refs: Vec<&str> = refs.iter().map(String::as_str).collect();
                    found.differs(&w.address, Drifted::Unseen, Vec::new(), Some(format!("it refers to what is not known: {}", refs.join(", "))));
                }
                (Some(Sight::Later(_)), Some(_)) => found.differs(&w.address, Drifted::Missing, Vec::new(), Some("it was never made".to_owned())),
                _ => found.differs(&w.address, Drifted::Unseen, Vec::new(), Some("this labctl knows no such kind".to_owned())),
            }
        }
        for r in input.recorded.iter().filter(|r| !input.wanted.iter().any(|w| w.address == r.address)) {
            found.leftover(r, input.world.get(&r.address));
        }
        found
    }

    fn seen<C>(&mut self, kind: &dyn AnyKind<C>, target: &Target<'_, Value>, recorded: Option<&Recorded>, observed: &Observed<Value>, ready: Option<&Ready>) {
        let at = target.address;
        let (id, state) = match observed {
            Observed::Mine { id, state } => (id, state),
            Observed::Absent => {
                let never = recorded.is_none_or(|r| r.id.is_none());
                return self.differs(at, Drifted::Missing, Vec::new(), never.then(|| "it was never made".to_owned()));
            }
            Observed::Foreign(whose) => return self.differs(at, Drifted::NotOurs, Vec::new(), Some(whose.clone())),
            Observed::Many(ids) => return self.differs(at, Drifted::Many, Vec::new(), Some(ids.join(", "))),
        };
        let status = match ready {
            Some(Ready::Waiting(why)) => Some(why.clone()),
            Some(Ready::Broken(why)) => Some(format!("broken: {why}")),
            _ => None,
        };
        match (kind.diff(target, state), status) {
            (Err(fault), _) => self.differs(at, Drifted::Unseen, Vec::new(), Some(fault.to_string())),
            (Ok(Diff::Forbidden(why)), _) => self.differs(at, Drifted::Changed, Vec::new(), Some(why)),
            (Ok(Diff::Replace(change)), status) => self.differs(at, Drifted::Changed, vec![change], status),
            (Ok(Diff::Update(changes)), status) => self.differs(at, Drifted::Changed, changes, status),
            (Ok(Diff::Same), Some(status)) => self.differs(at, Drifted::NotReady, Vec::new(), Some(status)),
            (Ok(Diff::Same), None) => {
                let on_record = recorded.and_then(|r| r.id.as_deref());
                let unfinished = recorded.is_none_or(|r| !r.finished || r.intent.is_some());
                if on_record != Some(id) || unfinished {
                    let what = on_record.map_or_else(|| "nothing".to_owned(), |id| if unfinished { format!("{id}, not finished") } else { id.to_owned() });
                    self.bookkeeping.push(Bookkeeping { address: at.clone(), recorded: what, is: id.clone() });
                }
            }
        }
    }

    /// What is on record and not wanted any more.
    fn leftover(&mut self, recorded: &Recorded, sight: Option<&Sight>) {
        let id = recorded.id.as_deref().unwrap_or("nothing");
        match sight {
            Some(Sight::Seen { observed: Observed::Mine { id, .. }, .. }) => {
                self.differs(&recorded.address, Drifted::Unwanted, Vec::new(), Some(format!("it is there, as {id}")));
            }
            Some(Sight::Seen { observed: Observed::Many(ids), .. }) => {
                self.differs(&recorded.address, Drifted::Unwanted, Vec::new(), Some(format!("they are there: {}", ids.join(", "))));
            }
            Some(Sight::Seen { .. }) => {
                self.bookkeeping.push(Bookkeeping { address: recorded.address.clone(), recorded: id.to_owned(), is: "gone".to_owned() })
            }
            _ => self.differs(&recorded.address, Drifted::Unseen, Vec::new(), Some("what it was made from is not on record".to_owned())),
        }
    }

    fn differs(&mut self, address: &Address, drift: Drifted, changes: Vec<Change>, detail: Option<String>) {
        let fields = changes.into_iter().map(Field::from).collect();
        self.differences.push(Difference { address: address.clone(), drift, fields, detail });
    }
}
