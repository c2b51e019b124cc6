//! What the `{…}` in a probe mean for two tenants: a name, quoted, or why there is none.

use std::collections::BTreeMap;

use crate::ops::verify::subject::{Place, Subject};
use crate::tenantdb::migrations::ledger;
use crate::tenantdb::quote::{Ident, Literal, list};
use crate::tenantdb::targets::Targets;

/// Why a name means nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// There is no such thing: nothing to try.
    NothingThere(String),
    /// It could not be told: not run.
    Unknown(String),
}

/// Names by their `{…}`.
#[derive(Debug, Default)]
pub struct Names(BTreeMap<String, Result<String, Why>>);

impl Names {
    /// Those of the attacker.
    pub fn new(tenant: &Subject, place: &Place, me: &str) -> Self {
        let mut names = Self::default();
        names.ident("me", me);
        names.ident("own", &place.schema);
        names.ident("own_owner", &place.owner);
        names.ident("database", &place.database);
        let mut roles = place.roles();
        roles.extend(tenant.logins().into_iter().map(|r| r.name));
        roles.push(me.to_owned());
        roles.sort();
        roles.dedup();
        let literals: Result<Vec<Literal>, _> = roles.iter().map(|r| Literal::new(r)).collect();
        names.put("own_roles", literals.map(|l| format!("ARRAY[{}]::name[]", list(l))).map_err(|e| Why::Unknown(e.to_string())));
        names
    }

    /// Those of the place, and of the neighbour's schema if that is near.
    pub fn targets(&mut self, targets: Result<&Targets, &String>) {
        let targets = match targets {
            Ok(targets) => targets,
            Err(why) => {
                for name in ["own_table", "admin", "superuser", "wrapper"] {
                    self.put(name, Err(Why::Unknown(why.clone())));
                }
                return;
            }
        };
        self.found("own_table", targets.own_table.as_ref(), "the tenant's schema has no table");
        self.found("admin", targets.admin.as_ref(), "the server has no role that may create roles");
        self.found("superuser", targets.superuser.as_ref(), "the server shows no superuser");
        self.found("wrapper", targets.wrapper.as_ref(), "the server has no wrapper for foreign data");
        for extension in &targets.extensions {
            self.ident(&format!("extension:{extension}"), extension);
        }
    }

    /// Those of a neighbour. `victim` is a session of the neighbour's, where there could be one.
    pub fn neighbour(&mut self, own: &Place, b: &Subject, targets: Option<&Targets>, victim: Option<Result<i32, String>>) {
        let Some(place) = &b.place else { return };
        self.ident("b_owner", &place.owner);
        self.ident("b_migrate", &place.migrate);
        self.ident("b_app", &place.app);
        match &place.readonly {
            Some(readonly) => self.ident("b_readonly", readonly),
            None => self.put("b_readonly", Err(Why::NothingThere(format!("`{}` has no read-only role", b.tenant)))),
        }
        if own.host.endpoint == place.host.endpoint {
            self.ident("b_database", &place.database);
        } else {
            self.put("b_database", Err(Why::NothingThere(format!("`{}` is on another server", b.tenant))));
        }
        if let Some(victim) = victim {
            self.put("victim", victim.map(|pid| pid.to_string()).map_err(|e| Why::Unknown(format!("`{}` could not log in: {e}", b.tenant))));
        }
        let Some(t) = targets else { return };
        if !t.schema {
            return;
        }
        self.ident("schema", &place.schema);
        self.literal("schema'", &place.schema);
        let no = |what: &str| format!("`{}` has no {what} in this database", b.tenant);
        self.found("table", t.table.as_ref(), &no("table"));
        self.found("bare_table", t.bare_table.as_ref(), &no("table"));
        self.found("column", t.column.as_ref(), &no("column that may be written"));
        self.found("ledger", t.ledger.as_ref(), &no("ledger of migrations"));
        self.found("sequence", t.sequence.as_ref(), &no("sequence"));
        self.found("call", t.call.as_ref(), &no("function"));
        self.found("function", t.function.as_ref(), &no("function"));
        self.found("large_object", t.large_object.as_ref(), &no("large object"));
        match &t.sequence {
            Some(sequence) => self.literal("sequence'", sequence),
            None => self.found("sequence'", None, &no("sequence")),
        }
        match (place.row_security, t.analysed) {
            (true, true) => self.found("guarded", t.table.as_ref(), &no("table")),
            (true, false) => self.found("guarded", None, &format!("no table of `{}` has rows and statistics yet", b.tenant)),
            (false, _) => self.found("guarded", None, &format!("the stack of `{}` asks for no row security in its schema", b.tenant)),
        }
        if place.row_security {
            self.literal("guarded_schema'", &place.schema);
            self.literal("guarded_ledger'", ledger::TABLE);
        } else {
            for name in ["guarded_schema'", "guarded_ledger'"] {
                self.found(name, None, &format!("the stack of `{}` asks for no row security in its schema", b.tenant));
            }
        }
        if t.analysed {
            self.literal("analysed'", &place.schema);
        } else {
            self.found("analysed'", None, &format!("no table of `{}` has rows and statistics yet", b.tenant));
        }
    }

    /// The text with every `{…}` replaced.
    ///
    /// # Errors
    /// The first one that means nothing.
    pub fn fill(&self, text: &str) -> Result<String, Why> {
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, tail)) = after.split_once('}') else { break };
            filled.push_str(before);
            match self.0.get(name) {
                Some(value) => filled.push_str(value.as_ref().map_err(Clone::clone)?),
                None => match name.strip_prefix("extension:") {
                    Some(extension) => return Err(Why::NothingThere(format!("the server cannot create the extension {extension}, or has it already"))),
                    None => return Err(Why::Unknown(format!("there is no `{name}` where it ought to be"))),
                },
            }
            rest = tail;
        }
        filled.push_str(rest);
        Ok(filled)
    }

    pub(super) fn put(&mut self, name: &str, value: Result<String, Why>) {
        self.0.insert(name.to_owned(), value);
    }

    pub(super) fn ident(&mut self, name: &str, value: &str) {
        let value = Ident::new(value).map(|i| i.to_string()).map_err(|e| Why::Unknown(e.to_string()));
        self.put(name, value);
    }

    pub(super) fn literal(&mut self, name: &str, value: &str) {
        let value = Literal::new(value).map(|l| l.to_string()).map_err(|e| Why::Unknown(e.to_string()));
        self.put(name, value);
    }

    /// What the server has quoted already.
    fn found(&mut self, name: &str, value: Option<&String>, why: &str) {
        self.put(name, value.cloned().ok_or_else(|| Why::NothingThere(why.to_owned())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_means_nothing_keeps_the_probe_from_being_run() {
        let mut names = Names::default();
        names.ident("me", "a\"b");
        names.found("table", None, "no table");
        assert_eq!(names.fill("GRANT x TO {me}").unwrap(), "GRANT x TO \"a\"\"b\"");
        assert_eq!(names.fill("SELECT {table}").unwrap_err(), Why::NothingThere("no table".into()));
        assert!(matches!(names.fill("SELECT {schema}").unwrap_err(), Why::Unknown(_)));
        assert!(matches!(names.fill("CREATE EXTENSION {extension:x}").unwrap_err(), Why::NothingThere(_)));
    }
}
