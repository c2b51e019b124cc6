//! Pairs of tenants whose names would be one.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use labctl::stack::{Stacks, names};
use serde_json::json;

use super::{ENVIRONMENT, Planned, plan, spec, well_refused};

/// A tenant as two specs in one folder would have it: stack, id, subdomain.
type Said<'a> = (&'a str, &'a str, &'a str);

/// The builtin stacks, and `mate` under another name, where a product and an id could meet in the middle.
fn with_a_second_mate() -> (tempfile::TempDir, Stacks) {
    fn copy(from: &Path, to: &Path) {
        fs::create_dir(to).unwrap();
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            let to = to.join(entry.file_name());
            if entry.path().is_dir() {
                copy(&entry.path(), &to)
            } else {
                let _ = fs::copy(entry.path(), to).unwrap();
            }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let templates = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
    for (stack, name) in [("mate", "mate"), ("mate", "mate-x"), ("labcloud", "labcloud")] {
        copy(&templates.join(stack), &dir.path().join(name));
    }
    let file = dir.path().join("mate-x/stack.toml");
    fs::write(&file, fs::read_to_string(&file).unwrap().replace("name = \"mate\"", "name = \"mate-x\"")).unwrap();
    let stacks = Stacks::load(dir.path()).unwrap();
    (dir, stacks)
}

/// Pairs that differ as they stand, and would be one once mapped to a service's names: the second, or each, is refused. And pairs that look it
/// and have no name in common.
#[test]
fn of_two_names_that_would_be_one_the_second_is_refused_at_its_place() {
    let (_dir, stacks) = with_a_second_mate();
    let (long, cut) = ("s".repeat(39), "s".repeat(56));
    let (cut_x, cut_y, long_x, long_y) = (format!("{cut}x"), format!("{cut}y"), format!("{long}xx"), format!("{long}xy"));
    let rows: [(Said<'_>, Said<'_>, bool); 21] = [
        // Case.
        (("mate", "city-lab", "one"), ("mate", "City-Lab", "two"), true),
        (("mate", "first", "city-lab"), ("mate", "second", "CITY-LAB"), true),
        // What schemas and roles hold instead of `-`.
        (("mate", "city-lab", "one"), ("mate", "city_lab", "two"), true),
        (("mate", "first", "city-lab"), ("mate", "second", "city_lab"), true),
        (("mate", "first", "city-lab"), ("mate", "second", "city.lab"), true),
        // Cut off at a service's most bytes.
        (("mate", "first", &cut_x), ("mate", "second", &cut_y), true),
        (("mate", &long_x, "one"), ("mate", &long_y, "two"), true),
        // One word, twice.
        (("mate", "first", "city-lab"), ("labcloud", "second", "city-lab"), true),
        (("mate", "city-lab", "one"), ("labcloud", "city-lab", "two"), true),
        // Product and id, shifted.
        (("mate", "x-lab", "one"), ("mate-x", "lab", "two"), true),
        (("mate-x", "lab", "one"), ("mate", "x-lab", "two"), true),
        (("mate", "x-x-lab", "one"), ("mate-x", "x-lab", "two"), true),
        (("mate", "x-lab", "lab"), ("mate-x", "lab", "x-lab"), true),
        (("mate", "x-lab", "one"), ("mate-x", "x-lab2", "two"), false),
        // Id and subdomain, crossed.
        (("mate", "east", "west"), ("mate", "west", "east"), false),
        (("labcloud", "east", "west"), ("labcloud", "west", "east"), false),
        (("mate", "east", "west"), ("labcloud", "west", "east"), false),
        // A name that ends as another one's part does.
        (("labcloud", "lab", "one"), ("labcloud", "lab-app", "two"), false),
        (("labcloud", "lab", "lab-app"), ("labcloud", "lab-app", "lab"), false),
        (("mate", "lab", "lab-owner"), ("mate", "lab-owner", "lab"), false),
        (("mate", "lab-production", "one"), ("mate", "lab", "lab-production"), false),
    ];
    let text = |(stack, id, subdomain): Said<'_>, email: &str, tier: &str| spec(id, Some(subdomain), "A", stack, tier).replace("a@b.example", email);
    let mut refused_by_names = 0;
    for (a, b, is_refused) in rows {
        for tier in ["trial", "enterprise"] {
            let (one, two) = (text(a, "one@b.example", tier), text(b, "two@b.example", tier));
            let files = [("one.toml".to_owned(), one.clone()), ("two.toml".to_owned(), two.clone())];
            let read = labctl::spec::folder::read_many_with(&files, &mut |parsed| stacks.check(parsed, ENVIRONMENT));
            assert_eq!(read.is_err(), is_refused, "{a:?} and {b:?}, {tier}: {:?}", read.err().map(|e| e.plain()));
            if let Err(invalid) = read {
                well_refused(&invalid, &two);
                let second = invalid.plain().into_iter().any(|problem| json!(problem)["file"].as_str().is_some_and(|file| file.ends_with("two.toml")));
                assert!(second, "{a:?} and {b:?}, {tier}: nothing is said of the second: {:?}", invalid.plain());
            }
            // Alone, one after the other, they come from two commands: what both would bear, each claims under one key, and the registry
            // gives it to one of them.
            let (Ok(one), Ok(two)) = (plan(&stacks, &one), plan(&stacks, &two)) else {
                assert!(is_refused, "{a:?} and {b:?}, {tier}");
                continue;
            };
            let own = |planned: &Planned| {
                planned.names.iter().filter(|(key, _)| !names::is_shared(key)).map(|(k, n)| (k.clone(), n.clone())).collect::<BTreeSet<_>>()
            };
            let sorts = |own: &BTreeSet<(String, String)>| own.iter().map(|(key, name)| (key.split('.').next().unwrap().to_owned(), name.clone())).collect();
            let (one, two) = (own(&one), own(&two));
            let (sorts_one, sorts_two): (BTreeSet<(String, String)>, BTreeSet<_>) = (sorts(&one), sorts(&two));
            let both: Vec<_> = sorts_one.intersection(&sorts_two).collect();
            let claimed: Vec<_> = one.intersection(&two).collect();
            assert_eq!(both.is_empty(), claimed.is_empty(), "{a:?} and {b:?}, {tier}: both bear {both:?} and claim {claimed:?}");
            assert!(is_refused || both.is_empty(), "{a:?} and {b:?}, {tier}: both are let in and bear {both:?}");
            refused_by_names += usize::from(!both.is_empty());
        }
    }
    assert!(refused_by_names >= 8, "only {refused_by_names} pairs of good specs truly meet in a name");
}
