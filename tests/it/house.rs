//! The walls of the house: who may import whom, where clap, sqlx, the SDK, the environment and the terminal may be used.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Module → what it may use of ours, as `docs/architecture.md` has it.
const MAY_USE: &[(&str, &[&str])] = &[
    ("spec", &[]),
    ("config", &[]),
    ("engine", &[]),
    ("stack", &["spec"]),
    ("plan", &["engine", "spec", "stack"]),
    ("cloud", &["engine"]),
    ("tenantdb", &["engine"]),
    ("kinds", &["cloud", "engine", "tenantdb"]),
    ("registry", &["engine", "plan", "spec"]),
    ("sandbox", &["cloud", "config", "engine"]),
    ("ops", &["cloud", "config", "engine", "kinds", "plan", "registry", "spec", "stack", "tenantdb"]),
    ("cli", &["cloud", "config", "engine", "failpoint", "kinds", "ops", "plan", "registry", "sandbox", "spec", "stack", "tenantdb"]),
    ("main", &["cli"]),
    ("build", &[]),
    // Marks of it, `failpoint!`, may stand anywhere: they are nothing in a release.
    ("failpoint", &[]),
    ("lib", &[]),
];

/// A word in the code → the modules it may stand in, and why.
const ONLY_IN: &[(&str, &[&str], &str)] = &[
    ("clap", &["cli", "main"], "arguments are the terminal's matter"),
    ("sqlx", &["registry", "tenantdb", "sandbox"], "SQL goes through registry and tenantdb"),
    ("aws_sdk_", &["cloud", "kinds", "sandbox"], "AWS goes through cloud and kinds"),
    ("env::var", &["config"], "only config reads the environment"),
    ("println!", &["cli", "main", "build"], "only cli prints"),
    ("eprintln!", &["cli", "main"], "only cli prints"),
];

fn sources() -> Vec<(String, PathBuf, String)> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    walk(&src, &mut found);
    found.sort();
    found
        .into_iter()
        .map(|path| {
            let inside = path.strip_prefix(&src).unwrap().to_path_buf();
            let module = inside.components().next().unwrap().as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned();
            let text = fs::read_to_string(&path).unwrap();
            (module, inside, text)
        })
        .collect()
}

/// The code of a file without its tests and its comments.
fn code(text: &str) -> String {
    let body = text.split("\n#[cfg(test)]\nmod tests").next().unwrap_or(text);
    body.lines().map(|l| if l.trim_start().starts_with("//") { "" } else { l }).collect::<Vec<_>>().join("\n")
}

fn uses(text: &str) -> BTreeSet<String> {
    let code = code(text);
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let names: Vec<&str> = match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap_or("").split(',').map(str::trim).collect(),
            None => vec![rest],
        };
        for name in names {
            let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
            if !name[..end].is_empty() {
                found.insert(name[..end].to_owned());
            }
        }
    }
    found
}

#[test]
fn imports_point_one_way() {
    let allowed: BTreeMap<_, _> = MAY_USE.iter().copied().collect();
    let mut wrong = Vec::new();
    for (module, path, text) in sources() {
        let may = allowed.get(module.as_str()).unwrap_or_else(|| panic!("the module `{module}` is not in the table: say what it may use"));
        let bad: Vec<_> = uses(&text).into_iter().filter(|u| *u != module && !may.contains(&u.as_str())).collect();
        if !bad.is_empty() {
            wrong.push(format!("{} uses {}", path.display(), bad.join(", ")));
        }
    }
    assert!(wrong.is_empty(), "the walls of the house (tests/it/house.rs, docs/architecture.md):\n{}", wrong.join("\n"));
}

#[test]
fn every_tool_stays_in_its_room() {
    let mut wrong = Vec::new();
    for (module, path, text) in sources() {
        // What stands in quotes is a name for somebody else, such as a filter of the log.
        let unquoted: String = code(&text).lines().map(|l| l.split('"').step_by(2).collect::<String>() + "\n").collect();
        for (word, rooms, why) in ONLY_IN {
            let used = unquoted.match_indices(word).any(|(at, _)| !unquoted[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'));
            if used && !rooms.contains(&module.as_str()) {
                wrong.push(format!("{} uses {word}: {why}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_says_first_what_it_is_for_and_stays_readable() {
    let mut wrong = Vec::new();
    for (_, path, text) in sources() {
        if !text.starts_with("//! ") {
            wrong.push(format!("{}: the first line does not say what the room is for", path.display()));
        }
        let lines = text.lines().count();
        if lines > 500 {
            wrong.push(format!("{}: {lines} lines; split it", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_failpoint_is_on_the_list_and_somewhere() {
    let text: String = sources().iter().filter(|(module, ..)| module != "failpoint").map(|(_, _, text)| code(text)).collect();
    let marked: BTreeSet<&str> = text.match_indices("failpoint!(\"").filter_map(|(at, mark)| text[at + mark.len()..].split('"').next()).collect();
    let listed: BTreeSet<&str> = labctl::failpoint::ALL.iter().map(|(name, _)| *name).collect();
    assert_eq!(listed.len(), labctl::failpoint::ALL.len(), "one of them is listed twice");
    assert_eq!(marked, listed, "left: marked in the code, right: listed");
}

#[test]
fn no_test_file_is_forgotten() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let listed = fs::read_to_string(root.join("it.rs")).unwrap();
    for entry in fs::read_dir(root.join("it")).unwrap() {
        let path = entry.unwrap().path();
        let Some(name) = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_suffix(".rs")) else { continue };
        assert!(listed.contains(&format!("mod {name};")), "tests/it.rs does not list `{name}`: its tests never run");
    }
}

#[test]
fn every_kind_is_in_the_list() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/kinds");
    let list = fs::read_to_string(root.join("mod.rs")).unwrap();
    for (_, path, text) in sources() {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if path.starts_with("kinds") && text.contains("impl Kind for ") {
            assert!(list.contains(&format!("&{name}::")), "KINDS does not list `{name}`");
        }
    }
}

/// Every erratum has its test, and every test its erratum.
#[test]
fn the_table_of_errata_names_the_tests_there_are() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = fs::read_to_string(root.join("docs/errata.md")).unwrap();
    let named: BTreeSet<String> = table.lines().filter_map(|l| l.strip_suffix("` |")?.rsplit_once('`')).map(|(_, test)| test.to_owned()).collect();
    let mut there = BTreeSet::new();
    for entry in fs::read_dir(root.join("tests/it/errata")).unwrap() {
        let path = entry.unwrap().path();
        let room = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        let tests = text.split("#[tokio::test").skip(1).filter_map(|after| after.split("fn ").nth(1)?.split('(').next());
        there.extend(tests.map(|name| format!("{room}::{name}")));
    }
    assert!(there.len() >= 22, "{there:?}");
    assert_eq!(named, there, "docs/errata.md (left) and tests/it/errata (right)");
}

/// A patch that no longer fits would break nothing, and `.ci/breaks` would find out only when somebody runs it.
#[test]
fn every_break_fits_the_code_and_names_tests_there_are() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let engine: String = fs::read_dir(root.join("tests/it/engine")).unwrap().map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap()).collect();
    let mut fitting = 0;
    for entry in fs::read_dir(root.join("tests/breaks")).unwrap() {
        let path = entry.unwrap().path();
        let patch = fs::read_to_string(&path).unwrap();
        let named: Vec<&str> = patch.lines().filter_map(|l| l.strip_prefix("fails: ")?.rsplit("::").next()).collect();
        assert!(!named.is_empty() && named.iter().all(|name| engine.contains(&format!("fn {name}("))), "{path:?} names {named:?}");
        let file = patch.lines().find_map(|l| l.strip_prefix("--- a/")).unwrap();
        let code = fs::read_to_string(root.join(file)).unwrap();
        for hunk in patch.split("\n@@ ").skip(1) {
            let before: Vec<&str> = hunk.lines().skip(1).filter_map(|l| if l.is_empty() { Some("") } else { l.strip_prefix([' ', '-']) }).collect();
            assert!(code.contains(&before.join("\n")), "{path:?} does not fit {file} any more:\n{hunk}");
            fitting += 1;
        }
    }
    assert!(fitting >= 3, "{fitting}");
}
