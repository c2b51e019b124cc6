//! What a stack has once per database, shared by its tenants there: `[system]` in `stack.toml` says of each table of `migrations/system/`
//! whether it holds tenants' rows, and by which column, or is the same for all.

use serde_json::{Value, json};

use super::migrations::SYSTEM;
use super::names::{self, Parts};
use super::template::{Isolation, Stack, System};
use crate::spec::problem::{Place, Problem};
use crate::spec::tree::{Fields, Node};

/// The column that says whose a row is, unless `stack.toml` says another.
const COLUMN: &str = "tenant_id";

/// Reads `[system]`.
pub(super) fn read(fields: &mut Fields<'_>, problems: &mut Vec<Problem>) -> System {
    let mut system = System::default();
    let Some(node) = fields.get("system") else { return system };
    let mut inner = Fields::new(node, "the system");
    let column = inner.text("column").map_or(COLUMN, |said| said.value).to_owned();
    for item in inner.list("rows").map_or(&[] as &[Node], |said| said.value) {
        let (table, by) = match item.as_text() {
            Some(table) => (Some(table.to_owned()), None),
            None => {
                let mut one = Fields::new(item, "a table of rows");
                let said = (one.text("table").map(|s| s.value.to_owned()), one.text("column").map(|s| s.value.to_owned()));
                problems.extend(one.done(|_| None));
                said
            }
        };
        match table {
            Some(table) => twice(system.rows.insert(table.clone(), by.unwrap_or_else(|| column.clone())).is_some(), &table, &item.place, problems),
            None => {
                let hint = "write `\"patients\"`, or `{ table = \"patients\", column = \"clinic\" }`";
                problems.push(Problem::new("stack::system", &item.place, "this names no table").hint(hint));
            }
        }
    }
    for said in inner.texts("reference").unwrap_or_default() {
        let known = system.rows.contains_key(said.value) || !system.reference.insert(said.value.to_owned());
        twice(known, said.value, &said.place, problems);
    }
    problems.extend(inner.done(|_| None));
    system
}

fn twice(known: bool, table: &str, place: &Place, problems: &mut Vec<Problem>) {
    if known {
        problems.push(Problem::new("stack::system", place, format!("the table `{table}` is named twice")));
    }
}

/// What can only be judged of the whole stack: tiers with shared tables need some, and their names must fit.
pub(super) fn judge(stack: &Stack, place: &Place, problems: &mut Vec<Problem>) {
    let has = stack.migrations.iter().any(|m| m.folder == SYSTEM);
    if !has {
        let rows = stack.tiers.values().any(|t| t.isolation == Isolation::Rows);
        if rows || stack.system != System::default() {
            let message = "isolation `rows` and `[system]` are about shared tables, and the stack has none";
            problems.push(Problem::new("stack::system", place, message).hint("make them in `migrations/system/V1__….sql`"));
        }
        return;
    }
    for key in ["system_schema", "system_role.owner", "system_role.write", "system_role.read"] {
        if let Some(Err(refused)) = names::check(&parts(stack), key) {
            problems.push(Problem::new("stack::name", place, refused.to_string()).hint("the name is made with the stack's product: choose a shorter one"));
        }
    }
}

/// Names of the system are made of the product alone.
fn parts(stack: &Stack) -> Parts<'_> {
    Parts { product: &stack.product, environment: "", id: "", subdomain: "", logs: "" }
}

impl Stack {
    /// What kinds and commands must know of the shared tables; `${stack.system}` in templates. `None` for a stack without any.
    pub fn shared(&self) -> Option<Value> {
        let migrations: Vec<Value> = self
            .migrations
            .iter()
            .filter(|m| m.folder == SYSTEM)
            .map(|m| json!({"folder": m.folder, "version": m.version, "name": m.name, "checksum": m.checksum}))
            .collect();
        let name = |key: &str| names::make(&parts(self), key).unwrap_or_default();
        (!migrations.is_empty()).then(|| {
            json!({
                "stack": self.name, "schema": name("system_schema"), "owner": name("system_role.owner"), "write": name("system_role.write"),
                "read": name("system_role.read"), "rows": self.system.rows, "reference": self.system.reference, "migrations": migrations,
            })
        })
    }
}
