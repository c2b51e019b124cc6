//! The migrations of a stack: `migrations/tenant/V1__name.sql` for every tenant with a schema, `migrations/modules/<module>/…` for those
//! with the module, `migrations/system/…` once per database for what its tenants share.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::template::{Migration, Stack};
use crate::spec::problem::{Place, Problem};

/// The folder whose migrations every tenant gets.
pub const TENANT: &str = "tenant";
/// The folder whose migrations every database gets once.
pub const SYSTEM: &str = "system";
/// Where the modules' folders lie.
const MODULES: &str = "modules/";

impl Stack {
    /// The migrations of a tenant with these modules, in the order they are applied.
    pub fn migrations_of<'a>(&'a self, modules: &'a [String]) -> impl Iterator<Item = &'a Migration> {
        self.migrations.iter().filter(|m| m.folder == TENANT || modules.contains(&m.folder))
    }
}

/// Lists the migrations among a stack's files: `system` and `tenant` first, then the modules in their order, each by version.
pub(super) fn list(root: &str, files: &BTreeMap<String, String>, modules: &[(String, String)], problems: &mut Vec<Problem>) -> Vec<Migration> {
    let mut found: Vec<Migration> = Vec::new();
    for (path, sql) in files {
        let Some(rest) = path.strip_prefix("migrations/") else { continue };
        let place = Place::File(format!("{root}/{path}"));
        let hint = "migrations lie in `migrations/tenant/` (every tenant), `migrations/modules/<module>/` (those with the module) or `migrations/system/` (once per database)";
        let Some((folder, file)) = rest.strip_prefix(MODULES).unwrap_or(rest).split_once('/') else {
            problems.push(Problem::new("stack::migration", &place, "lies in no folder").hint(hint));
            continue;
        };
        // A module's files in the folder of all tenants' would run for every tenant: where a file lies says who gets it.
        let plain = [SYSTEM, TENANT].contains(&folder);
        if rest.starts_with(MODULES) == plain {
            problems.push(Problem::new("stack::migration", &place, format!("`{folder}` is no folder of migrations")).hint(hint));
            continue;
        }
        if !plain && !modules.iter().any(|(m, _)| m == folder) {
            problems
                .push(Problem::new("stack::migration", &place, format!("the stack has no module `{folder}`")).hint("declare it under [modules] in stack.toml"));
            continue;
        }
        match file_name(file) {
            Some((version, name)) => {
                found.push(Migration { folder: folder.to_owned(), version, name: name.to_owned(), checksum: checksum(sql), sql: sql.clone() })
            }
            None => problems.push(Problem::new("stack::migration", &place, "is not named like `V1__create_tables.sql`")),
        }
    }
    let rank = |folder: &str| if folder == SYSTEM { 0 } else { modules.iter().position(|(m, _)| m == folder && folder != TENANT).map_or(1, |i| i + 2) };
    found.sort_by_key(|m| (rank(&m.folder), m.version));
    for pair in found.windows(2) {
        if (&pair[0].folder, pair[0].version) == (&pair[1].folder, pair[1].version) {
            let place = Place::File(format!("{root}/migrations/{}", pair[1].folder));
            problems.push(Problem::new("stack::migration", &place, format!("two migrations have the version {}", pair[1].version)));
        }
    }
    found
}

/// SHA-256 of a migration's bytes, in lower-case hex.
pub fn checksum(sql: &str) -> String {
    Sha256::digest(sql.as_bytes()).iter().map(|b| format!("{b:02x}")).collect()
}

fn file_name(file: &str) -> Option<(u32, &str)> {
    let (version, name) = file.strip_prefix('V')?.strip_suffix(".sql")?.split_once("__")?;
    let number = version.bytes().all(|b| b.is_ascii_digit()) && !version.starts_with('0');
    let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    (number && plain).then(|| version.parse().ok().map(|v| (v, name)))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_ordered_by_folder_and_number() {
        let files = [
            "tenant/V10__c.sql",
            "tenant/V2__b.sql",
            "modules/dental/V1__d.sql",
            "system/V1__s.sql",
            "modules/system/V1__s.sql",
            "tenant/2__x.sql",
            "dental/V1__y.sql",
            "modules/stray/V1__y.sql",
            "V1__z.sql",
            "modules/V1__z.sql",
        ]
        .map(|p| (format!("migrations/{p}"), "select 1;".to_owned()))
        .into();
        let mut problems = Vec::new();
        let found = list("templates/x", &files, &[("core".into(), String::new()), ("dental".into(), String::new())], &mut problems);
        let order: Vec<_> = found.iter().map(|m| format!("{}/{}", m.folder, m.version)).collect();
        assert_eq!(order, ["system/1", "tenant/2", "tenant/10", "dental/1"]);
        assert_eq!(problems.len(), 6);
        assert_eq!(found[0].checksum.len(), 64);
    }
}
