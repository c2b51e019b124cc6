//! A spec that takes a schema over, held against its stack: that the stack can, and that the baseline is a beginning of its migrations.

use super::interpolate::mentions;
use super::migrations::TENANT;
use super::template::Stack;
use crate::spec::TenantSpec;
use crate::spec::problem::{Place, Problem, did_you_mean};

/// What is wrong with `[database]`. `at` says where a field of the spec stands.
pub(super) fn judge(stack: &Stack, spec: &TenantSpec, at: &dyn Fn(&str) -> Place) -> Vec<Problem> {
    let Some(database) = spec.database.as_ref().filter(|d| d.adopt || !d.baseline.is_empty()) else { return Vec::new() };
    let can = |expression: &str| stack.resources.iter().any(|r| r.applies(spec.tier, &spec.modules) && mentions(&r.spec, expression));
    if !can("${tenant.adopt?}") || !can("${tenant.baseline?}") {
        let message = format!("the stack `{}` takes no schema over in the tier {}", stack.name, spec.tier);
        let hint = "its schema's template would say `adopt = \"${tenant.adopt?}\"` and, with the schema's version, `baseline = \"${tenant.baseline?}\"`";
        return vec![Problem::new("spec::adoption", &at("database"), message).hint(hint)];
    }
    let mut problems = Vec::new();
    for (folder, version) in &database.baseline {
        let place = at(&format!("database.baseline.{folder}"));
        let mut wrong = |message: String, hint: String| problems.push(Problem::new("spec::baseline", &place, message).hint(hint));
        let known: Vec<u32> = stack.migrations.iter().filter(|m| m.folder == *folder).map(|m| m.version).collect();
        if known.is_empty() {
            let mut folders: Vec<&str> = stack.migrations.iter().map(|m| m.folder.as_str()).collect();
            folders.dedup();
            wrong(format!("the stack `{}` has no migrations in `{folder}`", stack.name), did_you_mean(folder, folders));
        } else if folder != TENANT && !spec.modules.contains(folder) {
            wrong(format!("the tenant has no module `{folder}`"), format!("add it: `modules = [\"{folder}\"]`, or leave it out of the baseline"));
        } else if !known.contains(version) {
            let there: Vec<String> = known.iter().map(|v| format!("V{v}")).collect();
            wrong(format!("the stack `{}` has no migration V{version} in `{folder}`", stack.name), format!("it has {}", there.join(", ")));
        } else if folder != TENANT && !database.baseline.contains_key(TENANT) && stack.migrations.iter().any(|m| m.folder == TENANT) {
            wrong(
                format!("the baseline holds `{folder}` and not `{TENANT}`, whose migrations come before it"),
                format!("add how far the schema is in `{TENANT}`: `{TENANT} = …`"),
            );
        }
    }
    problems
}
