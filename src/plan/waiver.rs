//! Differences that somebody has allowed for a time: told, and no drift. Pure.
//!
//! What is in doubt can not be allowed: whose a resource is, which of several it is, and what could not be looked at.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::drift::{Difference, Drift, Drifted};

/// A difference that is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    /// The waiver's number.
    pub waiver: i32,
    /// `kind/name`.
    pub resource: String,
    /// The one field that may differ; none for all of the resource.
    pub field: Option<String>,
    /// How long.
    pub until: DateTime<Utc>,
}

/// A difference that is there and allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Waived {
    /// What differs.
    #[serde(flatten)]
    pub difference: Difference,
    /// By which waiver.
    pub waiver: i32,
    /// How long.
    pub until: DateTime<Utc>,
}

impl Allowed {
    fn is_of(&self, difference: &Difference) -> bool {
        let kinds = matches!(difference.drift, Drifted::Missing | Drifted::Changed | Drifted::NotReady | Drifted::Unwanted);
        kinds && self.resource == format!("{}/{}", difference.address.kind, difference.address.name)
    }
}

impl Drift {
    /// Takes out what is allowed. Of a resource that differs in more fields than are allowed the others stay.
    #[must_use]
    pub fn without(mut self, allowed: &[Allowed]) -> (Self, Vec<Waived>) {
        let mut waived = Vec::new();
        let mut left = Vec::new();
        for mut difference in self.differences {
            if let Some(all) = allowed.iter().find(|a| a.field.is_none() && a.is_of(&difference)) {
                waived.push(Waived { difference, waiver: all.waiver, until: all.until });
                continue;
            }
            let before = difference.fields.len();
            for one in allowed.iter().filter(|a| a.is_of(&difference)).collect::<Vec<_>>() {
                let (fields, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut difference.fields).into_iter().partition(|f| Some(&f.field) == one.field.as_ref());
                difference.fields = rest;
                if !fields.is_empty() {
                    let difference = Difference { fields, detail: None, ..difference.clone() };
                    waived.push(Waived { difference, waiver: one.waiver, until: one.until });
                }
            }
            let nothing_left = difference.fields.len() < before && difference.fields.is_empty() && difference.detail.is_none();
            if !nothing_left {
                left.push(difference);
            }
        }
        self.differences = left;
        (self, waived)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::kind::Address;
    use crate::plan::drift::Field;

    fn difference(drift: Drifted, fields: &[&str], detail: Option<&str>) -> Difference {
        let field = |f: &&str| Field { field: (*f).to_owned(), is: "7".to_owned(), should_be: "90".to_owned() };
        let address = Address { tenant: "lab".to_owned(), kind: "log_group".to_owned(), name: "web".to_owned() };
        Difference { address, drift, fields: fields.iter().map(field).collect(), detail: detail.map(ToOwned::to_owned) }
    }

    fn allowed(waiver: i32, resource: &str, field: Option<&str>) -> Allowed {
        Allowed { waiver, resource: resource.to_owned(), field: field.map(ToOwned::to_owned), until: DateTime::UNIX_EPOCH }
    }

    type Fields = Vec<String>;

    /// The fields of what is left, and of what is allowed by which waiver.
    fn split(difference: Difference, all: &[Allowed]) -> (Vec<Fields>, Vec<(i32, Fields)>) {
        let names = |d: &Difference| d.fields.iter().map(|f| f.field.clone()).collect::<Vec<_>>();
        let (drift, waived) = Drift { differences: vec![difference], bookkeeping: Vec::new() }.without(all);
        (drift.differences.iter().map(names).collect(), waived.iter().map(|w| (w.waiver, names(&w.difference))).collect())
    }

    #[test]
    fn only_the_field_that_is_allowed_is_taken_out() {
        let is = |fields: &[&str]| difference(Drifted::Changed, fields, None);
        let texts = |all: &[&str]| all.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        assert_eq!(split(is(&["a", "b"]), &[allowed(1, "log_group/web", Some("a"))]), (vec![texts(&["b"])], vec![(1, texts(&["a"]))]));
        assert_eq!(split(is(&["a"]), &[allowed(1, "log_group/web", Some("a"))]), (vec![], vec![(1, texts(&["a"]))]));
        let both = [allowed(1, "log_group/web", Some("a")), allowed(2, "log_group/web", Some("b"))];
        assert_eq!(split(is(&["a", "b"]), &both), (vec![], vec![(1, texts(&["a"])), (2, texts(&["b"]))]));
        assert_eq!(split(is(&["a", "b"]), &[allowed(3, "log_group/web", None)]), (vec![], vec![(3, texts(&["a", "b"]))]));
        assert_eq!(split(is(&["a"]), &[allowed(1, "log_group/other", None), allowed(2, "log_group/web", Some("b"))]), (vec![texts(&["a"])], vec![]));
    }

    #[test]
    fn what_else_is_to_be_said_stays_when_only_a_field_is_allowed() {
        let both = difference(Drifted::Changed, &["a"], Some("it is there under its former name"));
        assert_eq!(split(both, &[allowed(1, "log_group/web", Some("a"))]), (vec![vec![]], vec![(1, vec!["a".to_owned()])]));
    }

    #[test]
    fn what_is_in_doubt_is_never_allowed_and_what_is_gone_only_as_a_whole() {
        let whole = [allowed(1, "log_group/web", None)];
        for drift in [Drifted::NotOurs, Drifted::Many, Drifted::Unseen] {
            assert_eq!(split(difference(drift, &[], Some("x")), &whole), (vec![vec![]], vec![]), "{drift:?}");
        }
        assert_eq!(split(difference(Drifted::Missing, &[], None), &whole), (vec![], vec![(1, vec![])]));
        assert_eq!(split(difference(Drifted::Missing, &[], None), &[allowed(1, "log_group/web", Some("a"))]), (vec![vec![]], vec![]));
    }
}
