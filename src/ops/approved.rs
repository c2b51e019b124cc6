//! A plan in a file: written when it was made, carried out later exactly as it was, or refused.
//!
//! The file holds the desired state the plan leads to, so that what depends on the moment (since when a tenant is suspended, until when it
//! can be brought back) is what was agreed to. It is carried out only by the registry it was made with, on the revision it was made from,
//! and only if planning again comes to the same steps. It holds no secret; its checksum finds what was edited by accident, and is no
//! signature: whoever may write the file may write the checksum.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::change::Preview;
use super::edit::{Current, Edit, Verb};
use super::error::OpError;
use super::site::Site;
use crate::engine::kind::{Address, Change};
use crate::engine::step::{Action, Step};
use crate::plan::Plan;
use crate::plan::life::DesiredState;
use crate::tenantdb::migrations::checksum;

/// The version of the file's shape.
pub const VERSION: u32 = 1;

/// Fields whose value tells how things stand at the moment: they may read otherwise when the same plan is made again.
const PASSING: [&str; 2] = ["status", "rollout"];

/// A plan with all it takes to carry it out later.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanFile {
    /// [`VERSION`].
    pub version: u32,
    /// The labctl that made it.
    pub labctl: String,
    /// The profile it was made in.
    pub profile: String,
    /// The registry it was made with.
    pub registry: Uuid,
    /// Whose plan it is.
    pub tenant: String,
    /// Which verb it is.
    pub verb: Verb,
    /// The command line that made it.
    pub command: String,
    /// When.
    pub made_at: DateTime<Utc>,
    /// The revision it was made from; none for a tenant that was not on record.
    pub parent: Option<i32>,
    /// The desired state it leads to.
    pub state: DesiredState,
    /// The operator's words.
    pub note: Option<String>,
    /// What is to be done.
    pub plan: Plan,
    /// Of everything above.
    pub checksum: String,
}

impl PlanFile {
    /// What is written of a preview.
    ///
    /// # Errors
    /// [`OpError::Problems`]: a plan that cannot be carried out is not written.
    pub fn of(site: &Site, edit: &dyn Edit, found: &Preview, command: &str) -> Result<Self, OpError> {
        let plan = &found.surveyed.plan;
        if !plan.problems.is_empty() {
            return Err(OpError::Problems { tenant: edit.tenant().to_owned(), problems: plan.problems.clone() });
        }
        let mut file = Self {
            version: VERSION,
            labctl: env!("CARGO_PKG_VERSION").to_owned(),
            profile: site.profile.clone(),
            registry: site.registry_id,
            tenant: edit.tenant().to_owned(),
            verb: edit.verb(),
            command: command.to_owned(),
            made_at: Utc::now(),
            parent: found.current.as_ref().map(|c| c.tenant.revision),
            state: found.state.clone(),
            note: edit.note().map(ToOwned::to_owned),
            plan: plan.clone(),
            checksum: String::new(),
        };
        file.checksum = file.sum()?;
        Ok(file)
    }

    /// Reads one back.
    ///
    /// # Errors
    /// [`OpError::NoPlan`]: it is none, a newer labctl wrote it, or it was edited.
    pub fn read(text: &str) -> Result<Self, OpError> {
        let no = |why: String| OpError::NoPlan { why };
        let value: Value = serde_json::from_str(text).map_err(|e| no(e.to_string()))?;
        let version = value.get("version").and_then(Value::as_u64);
        if let Some(newer) = version.filter(|v| *v > u64::from(VERSION)) {
            return Err(no(format!("it is of version {newer}, and this labctl knows only up to {VERSION}")));
        }
        let file: Self = serde_json::from_value(value).map_err(|e| no(e.to_string()))?;
        if file.sum()? != file.checksum {
            return Err(no("it was changed after it was written".to_owned()));
        }
        Ok(file)
    }

    fn sum(&self) -> Result<String, OpError> {
        let unsigned = Self { checksum: String::new(), ..self.clone() };
        // As a value: its keys are in order, however the file has them.
        let value = serde_json::to_value(&unsigned).map_err(|e| OpError::Bug(e.to_string()))?;
        Ok(checksum(value.to_string().as_bytes()))
    }

    fn stale(&self, moved: Vec<String>) -> OpError {
        OpError::StalePlan { tenant: self.tenant.clone(), moved }
    }
}

/// A plan from a file, to be carried out as it is.
pub struct Approved {
    /// The file.
    pub file: PlanFile,
}

#[async_trait]
impl Edit for Approved {
    fn tenant(&self) -> &str {
        &self.file.tenant
    }

    fn verb(&self) -> Verb {
        self.file.verb
    }

    fn note(&self) -> Option<&str> {
        self.file.note.as_deref()
    }

    async fn edit(&self, site: &Site, current: Option<&Current>) -> Result<DesiredState, OpError> {
        let file = &self.file;
        if file.registry != site.registry_id {
            return Err(file.stale(vec![format!("it was made with registry {}, and this profile's is {}", file.registry, site.registry_id)]));
        }
        let revision = current.map(|c| c.tenant.revision);
        if file.parent != revision {
            let said = |revision: Option<i32>| revision.map_or_else(|| "not on record".to_owned(), |r| format!("at revision {r}"));
            return Err(file.stale(vec![format!("the tenant was {}, and is {}", said(file.parent), said(revision))]));
        }
        Ok(file.state.clone())
    }

    fn agree(&self, plan: &Plan) -> Result<(), OpError> {
        let moved = moved(&self.file.plan, plan);
        if moved.is_empty() { Ok(()) } else { Err(self.file.stale(moved)) }
    }
}

/// What the plan made now says otherwise than the one in the file.
fn moved(then: &Plan, now: &Plan) -> Vec<String> {
    let short = |a: &Address| format!("{}/{}", a.kind, a.name);
    let mut moved: Vec<String> = now.problems.iter().map(|p| format!("{}: {}", short(&p.address), p.message)).collect();
    for step in &now.steps {
        match then.steps.iter().find(|s| s.address == step.address) {
            None => moved.push(format!("{}: the plan does not have it; now it is to {}", short(&step.address), does(step))),
            Some(planned) => moved.extend(otherwise(planned, step).map(|how| format!("{}: {how}", short(&step.address)))),
        }
    }
    let gone = then.steps.iter().filter(|s| !now.steps.iter().any(|n| n.address == s.address));
    moved.extend(gone.map(|s| format!("{}: it was to {}, and nothing is known of it now", short(&s.address), does(s))));
    moved
}

fn otherwise(then: &Step, now: &Step) -> Option<String> {
    if then.action != now.action || !alike(&then.changes, &now.changes) {
        return Some(format!("it was to {}, and is to {} now", does(then), does(now)));
    }
    if then.recorded != now.recorded {
        let id = |step: &Step| step.recorded.clone().unwrap_or_else(|| "nothing".to_owned());
        return Some(format!("{} was on record, and {} is now", id(then), id(now)));
    }
    (then.spec != now.spec || then.tags != now.tags).then(|| "what is wanted of it is otherwise now: the stack or the platform has changed".to_owned())
}

fn alike(then: &[Change], now: &[Change]) -> bool {
    let one = |(a, b): (&Change, &Change)| a.field == b.field && a.to == b.to && (a.from == b.from || PASSING.contains(&a.field.as_str()));
    then.len() == now.len() && then.iter().zip(now).all(one)
}

/// `be updated (size: 1 → 2)`
fn does(step: &Step) -> String {
    let word = match step.action {
        Action::Keep => "be kept",
        Action::Create => "be created",
        Action::Update => "be updated",
        Action::Replace => "be replaced",
        Action::Delete => "be deleted",
    };
    if step.changes.is_empty() {
        return word.to_owned();
    }
    let why: Vec<_> = step.changes.iter().map(ToString::to_string).collect();
    format!("{word} ({})", why.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::engine::kind::{Outputs, Tags};

    fn step(name: &str, action: Action, changes: &[(&str, &str, &str)]) -> Step {
        Step {
            address: Address::new("acme", "bucket", name),
            action,
            changes: changes.iter().map(|(field, from, to)| Change::new(*field, from, to)).collect(),
            spec: json!({"name": name}),
            tags: Tags::new(),
            needs: Vec::new(),
            recorded: Some(name.to_owned()),
            certain: true,
            intent: None,
            unfinished: false,
            outputs: Outputs::new(),
            seconds: 1,
        }
    }

    fn plan(steps: Vec<Step>) -> Plan {
        Plan { version: 1, tenant: "acme".to_owned(), steps, problems: Vec::new() }
    }

    fn says(then: Step, now: Step) -> Vec<String> {
        moved(&plan(vec![then]), &plan(vec![now]))
    }

    #[test]
    fn the_same_plan_has_not_moved_however_a_waiting_resource_describes_itself() {
        let waits = |how: &str| step("a", Action::Update, &[("status", how, "ready"), ("size", "1", "2")]);
        assert_eq!(says(waits("1 of 2 tasks running"), waits("starting")), [""; 0]);
        let looked = Step { outputs: Outputs::from([("arn".to_owned(), "x".to_owned())]), intent: Some("t".to_owned()), ..waits("starting") };
        assert_eq!(says(waits("starting"), looked), [""; 0]);
    }

    #[test]
    fn whatever_else_is_otherwise_has_moved_and_is_told() {
        let was = || step("a", Action::Update, &[("size", "1", "2")]);
        for (now, told) in [
            (step("a", Action::Keep, &[]), "bucket/a: it was to be updated (size: 1 → 2), and is to be kept now"),
            (step("a", Action::Update, &[("size", "3", "2")]), "bucket/a: it was to be updated (size: 1 → 2), and is to be updated (size: 3 → 2) now"),
            (Step { recorded: None, ..was() }, "bucket/a: a was on record, and nothing is now"),
            (Step { spec: json!({}), ..was() }, "bucket/a: what is wanted of it is otherwise now: the stack or the platform has changed"),
            (
                Step { tags: Tags::from([("k".to_owned(), "v".to_owned())]), ..was() },
                "bucket/a: what is wanted of it is otherwise now: the stack or the platform has changed",
            ),
        ] {
            assert_eq!(says(was(), now), [told]);
        }
        let other = says(was(), step("b", Action::Create, &[]));
        assert_eq!(
            other,
            ["bucket/b: the plan does not have it; now it is to be created", "bucket/a: it was to be updated (size: 1 → 2), and nothing is known of it now"]
        );
    }
}
