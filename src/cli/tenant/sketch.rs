//! A plan as people and programs see it.

use serde::Serialize;

use crate::cli::output::{Row, Sheet, View};
use crate::engine::kind::Address;
use crate::engine::step::{Action, Step};
use crate::plan::{Counts, Plan, Problem};

/// A plan, for output.
#[derive(Debug, Serialize)]
pub(super) struct Sketch {
    tenant: String,
    changes: bool,
    counts: Counts,
    /// Usual seconds along the critical path, on AWS.
    expected_seconds: u64,
    critical_path: Vec<Address>,
    steps: Vec<Line>,
    problems: Vec<Problem>,
}

#[derive(Debug, Serialize)]
struct Line {
    address: Address,
    action: Action,
    reasons: Vec<String>,
    needs: Vec<Address>,
    certain: bool,
    expected_seconds: u64,
}

impl Row for Line {
    const COLUMNS: &'static [&'static str] = &["", "resource", "reasons"];

    fn cells(&self) -> Vec<String> {
        let maybe = if self.certain || self.action == Action::Create { "" } else { "?" };
        vec![format!("{}{maybe}", self.action.glyph()), format!("{}/{}", self.address.kind, self.address.name), self.reasons.join("\n")]
    }
}

impl Sketch {
    pub(super) fn of(plan: &Plan) -> Self {
        let (critical_path, expected_seconds) = plan.critical_path();
        let line = |s: &Step| Line {
            address: s.address.clone(),
            action: s.action,
            reasons: s.changes.iter().map(ToString::to_string).collect(),
            needs: s.needs.clone(),
            certain: s.certain,
            expected_seconds: if s.action == Action::Keep { 0 } else { s.seconds },
        };
        Self {
            tenant: plan.tenant.clone(),
            changes: !plan.is_empty(),
            counts: plan.counts(),
            expected_seconds: if plan.is_empty() { 0 } else { expected_seconds },
            critical_path: if plan.is_empty() { Vec::new() } else { critical_path },
            steps: plan.steps.iter().map(line).collect(),
            problems: plan.problems.clone(),
        }
    }
}

/// `12 to create, 1 to update`.
pub(super) fn counted(counts: &Counts) -> String {
    let all = [(counts.create, "create"), (counts.update, "update"), (counts.replace, "replace"), (counts.delete, "delete")];
    let said: Vec<_> = all.iter().filter(|(n, _)| *n > 0).map(|(n, verb)| format!("{n} to {verb}")).collect();
    if said.is_empty() { "no changes".to_owned() } else { said.join(", ") }
}

/// Seconds on AWS, for people: `about 12 min`.
pub(super) fn about(seconds: u64) -> String {
    match seconds {
        0..=89 => format!("about {seconds} s"),
        _ => format!("about {} min", seconds.div_ceil(60)),
    }
}

impl View for Sketch {
    fn view(&self) -> Sheet {
        if !self.changes && self.problems.is_empty() {
            return Sheet::new().text(format!("Tenant {} is as its spec says: no changes.", self.tenant));
        }
        let shown: Vec<&Line> = self.steps.iter().filter(|l| l.action != Action::Keep).collect();
        let mut sheet = Sheet::new().rows(format!("Plan for tenant {}", self.tenant), shown);
        if self.steps.iter().any(|l| !l.certain && l.action != Action::Create) {
            sheet = sheet.text("? depends on what comes before it: whether there is anything to do is seen then");
        }
        let kept = if self.counts.keep == 0 { String::new() } else { format!(", {} to keep", self.counts.keep) };
        sheet = sheet.text(format!("{}{kept}. Usual time on AWS: {}.", counted(&self.counts), about(self.expected_seconds)));
        if self.critical_path.len() > 1 {
            let path: Vec<_> = self.critical_path.iter().map(|a| format!("{}/{}", a.kind, a.name)).collect();
            sheet = sheet.text(format!("Longest chain: {}", path.join(" → ")));
        }
        sheet
    }
}
