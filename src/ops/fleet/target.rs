//! Where a tenant is to get: its stack's history for its modules, and how far to go of it. Tenants alike share one.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::refused;
use crate::ops::OpError;
use crate::stack::{Stack, Stacks};
use crate::tenantdb::migrations::Step;
use crate::tenantdb::migrations::central::{At, Standing, beginnings};
use crate::tenantdb::migrations::ledger::{To, pending};

/// What a run has on record of a stack: its files when the run began, and how far to go in each folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StackTarget {
    /// All its files, whatever module they are of.
    pub steps: Vec<Step>,
    /// The last version of every folder.
    pub to: To,
}

/// Where tenants of one stack with the same modules are to get.
#[derive(Debug)]
pub struct Target {
    /// Their history, in order.
    pub steps: Vec<Step>,
    /// How far to go.
    pub to: To,
    folders: BTreeMap<String, Vec<At>>,
    /// Histories as resources keep them, by what is applied: nearly always one.
    histories: Mutex<HashMap<Vec<String>, Arc<Value>>>,
    /// What is applied where a schema stands: there are few places to stand at.
    applied: Mutex<BTreeMap<Standing, Arc<[Step]>>>,
}

/// How a schema stands to its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// At its target, or beyond.
    There,
    /// On its way.
    Behind,
    /// Unknown, or with a history that is not the stack's: it is opened and looked at.
    Elsewhere,
}

fn step(m: &crate::stack::template::Migration) -> Step {
    Step { folder: m.folder.clone(), version: m.version, name: m.name.clone(), checksum: m.checksum.clone() }
}

impl StackTarget {
    /// A stack's newest, or as far as `to` says in the folders it names.
    ///
    /// # Errors
    /// When `to` names a version that is not there.
    pub fn of(stack: &Stack, to: &To) -> Result<Self, OpError> {
        let steps: Vec<Step> = stack.migrations.iter().map(step).collect();
        let mut until = To::new();
        for step in &steps {
            let newest = until.entry(step.folder.clone()).or_default();
            *newest = step.version.max(*newest);
        }
        for (folder, version) in to {
            if !steps.iter().any(|s| s.folder == *folder && s.version == *version) {
                let newest = until.get(folder).map_or("it has no such folder".to_owned(), |v| format!("its newest is V{v}"));
                return Err(refused(true, "no_such_version", format!("the stack `{}` has no migration V{version} in `{folder}`", stack.name), newest));
            }
            until.insert(folder.clone(), *version);
        }
        Ok(Self { steps, to: until })
    }

    /// The same, with today's files.
    ///
    /// # Errors
    /// When those on record have changed meanwhile.
    pub fn today(&self, name: &str, stacks: &Stacks, run: i64) -> Result<Self, OpError> {
        let steps: Vec<Step> = stacks.get(name).map(|s| s.migrations.iter().map(step).collect()).unwrap_or_default();
        pending(&self.steps, &steps, &self.to).map_err(|wrong| {
            let why = format!("the migrations of stack `{name}` have changed since run {run} began: {wrong}");
            refused(
                false,
                "history_changed",
                why,
                "put the files back, or begin a new run with `labctl fleet migrate`: it touches only who is behind".to_owned(),
            )
        })?;
        Ok(Self { steps, to: self.to.clone() })
    }

    /// How far to go in every folder, in words.
    pub fn goal(&self) -> String {
        words(self.to.iter().filter(|(f, v)| **v > 0 && *f != crate::stack::SYSTEM_MIGRATIONS).map(|(f, v)| (f, *v)).collect())
    }

    /// For tenants with these modules.
    pub fn with_modules(&self, modules: &[String]) -> Target {
        let mine = |s: &&Step| s.folder == crate::stack::migrations::TENANT || modules.contains(&s.folder);
        let steps: Vec<Step> = self.steps.iter().filter(mine).cloned().collect();
        let mut folders: BTreeMap<String, Vec<&Step>> = BTreeMap::new();
        for step in &steps {
            folders.entry(step.folder.clone()).or_default().push(step);
        }
        let folders = folders.into_iter().map(|(folder, steps)| (folder, beginnings(&steps))).collect();
        Target { to: self.to.clone(), folders, steps, histories: Mutex::default(), applied: Mutex::default() }
    }
}

impl Target {
    /// How a schema that stands there stands to it.
    pub fn place(&self, standing: &Standing) -> Place {
        if standing.keys().any(|folder| !self.folders.contains_key(folder)) {
            return Place::Elsewhere;
        }
        let mut place = Place::There;
        for (folder, ways) in &self.folders {
            let goal = self.to.get(folder).copied().unwrap_or(0);
            match standing.get(folder) {
                None if goal == 0 => {}
                None => place = Place::Behind,
                Some(at) if !ways.contains(at) => return Place::Elsewhere,
                Some(at) if at.version < goal => place = Place::Behind,
                Some(_) => {}
            }
        }
        place
    }

    /// What a schema has applied that stands there, on its way ([`Place::Behind`]).
    pub fn applied(&self, standing: &Standing) -> Arc<[Step]> {
        let mut known = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        let reached = |s: &&Step| standing.get(&s.folder).is_some_and(|at| s.version <= at.version);
        known.entry(standing.clone()).or_insert_with(|| self.steps.iter().filter(reached).cloned().collect()).clone()
    }

    /// Where a schema stands, in words: `4`, or `tenant 4, dental 1`.
    pub fn words(&self, standing: &Standing) -> String {
        let folders: Vec<(&String, u32)> = self.folders.keys().filter_map(|f| standing.get(f).map(|at| (f, at.version))).collect();
        words(folders)
    }

    /// Where to get, in the same words.
    pub fn goal(&self) -> String {
        words(self.folders.keys().filter_map(|f| self.to.get(f).filter(|v| **v > 0).map(|v| (f, *v))).collect())
    }

    /// A history as a resource keeps it.
    pub fn history(&self, applied: &[Step]) -> Arc<Value> {
        let key = applied.iter().map(|s| s.checksum.clone()).collect();
        let mut histories = self.histories.lock().unwrap_or_else(PoisonError::into_inner);
        histories.entry(key).or_insert_with(|| Arc::new(serde_json::to_value(applied).unwrap_or_default())).clone()
    }
}

fn words(mut folders: Vec<(&String, u32)>) -> String {
    // The folder of every tenant comes first, as it does in the schema's own ledger.
    folders.sort_by_key(|(f, _)| (*f != crate::stack::migrations::TENANT, (*f).clone()));
    match folders.as_slice() {
        [] => "0".to_owned(),
        [(_, version)] => version.to_string(),
        many => many.iter().map(|(f, v)| format!("{f} {v}")).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenantdb::migrations::central::standing;

    fn step(folder: &str, version: u32) -> Step {
        Step { folder: folder.into(), version, name: "x".into(), checksum: format!("{folder}{version}") }
    }

    fn target(to: u32) -> Target {
        let steps = vec![step("tenant", 1), step("tenant", 2), step("tenant", 3), step("dental", 1), step("billing", 1)];
        StackTarget { steps, to: To::from([("tenant".into(), to), ("dental".into(), 1), ("billing".into(), 1)]) }.with_modules(&["dental".into()])
    }

    #[test]
    fn whoever_has_all_of_its_own_modules_is_there() {
        let all = [step("tenant", 1), step("tenant", 2), step("tenant", 3), step("dental", 1)];
        assert_eq!(target(3).place(&standing(&all)), Place::There);
        assert_eq!(target(3).place(&standing(&all[..3])), Place::Behind, "the module is missing");
        assert_eq!(target(3).place(&standing(&[step("tenant", 1)])), Place::Behind);
        assert_eq!(target(3).place(&Standing::new()), Place::Behind);
        assert_eq!((target(3).goal(), target(3).words(&standing(&all[..2]))), ("tenant 3, dental 1".into(), "2".into()));
    }

    #[test]
    fn whoever_is_further_than_asked_for_is_there_too() {
        let all = [step("tenant", 1), step("tenant", 2), step("tenant", 3), step("dental", 1)];
        assert_eq!(target(2).place(&standing(&all)), Place::There);
    }

    #[test]
    fn another_history_is_neither_there_nor_behind() {
        let mut changed = step("tenant", 1);
        changed.checksum = "other".into();
        assert_eq!(target(3).place(&standing(&[changed])), Place::Elsewhere);
        assert_eq!(target(3).place(&standing(&[step("tenant", 1), step("billing", 1)])), Place::Elsewhere, "a module it has no more");
    }
}
