//! What a tenant has to have, read from its stack's files line by line: no stack, plan or registry code.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use toml::{Table, Value};

/// `kind/name` of all that a tenant of that tier has, where no module brings more.
pub fn resources(stack: &str, tier: &str) -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates").join(stack).join("resources");
    let mut found = BTreeSet::new();
    for file in fs::read_dir(folder).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        let table: Table = text.parse().unwrap();
        for resource in table.get("resource").and_then(Value::as_array).into_iter().flatten() {
            let word = |key: &str| resource[key].as_str().unwrap();
            let has = resource.get("tiers").and_then(Value::as_array).is_none_or(|tiers| tiers.iter().any(|t| t.as_str() == Some(tier)));
            assert!(resource.get("modules").is_none(), "modules are not thought of here");
            if has {
                assert!(found.insert(format!("{}/{}", word("kind"), word("name"))), "{stack}/{tier} has {} {} twice", word("kind"), word("name"));
            }
        }
    }
    found
}
