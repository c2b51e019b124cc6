//! Twelve bad specs: each refused with its lines shown, and nothing touched by any of them.

use std::fs;
use std::path::Path;

use super::fixture::World;

#[test]
fn a_bad_spec_is_shown_with_its_lines_and_touches_nothing() {
    let world = World::unstarted();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad-specs");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 12);
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        fs::copy(&file, world.dir().join("specs").join(name)).unwrap();
        let run = world.run(&["tenant", "create", name]);
        assert_eq!((run.code, run.out.as_str()), (64, ""), "{name}\n{run}");
        insta::with_settings!({ description => fs::read_to_string(&file).unwrap(), omit_expression => true }, {
            insta::assert_snapshot!(format!("bad_spec_{}", name.trim_end_matches(".toml")), run.err);
        });
        for verb in [&["tenant", "apply"][..], &["tenant", "plan"], &["spec", "validate"]] {
            assert_eq!(world.run(&[verb, &[name]].concat()).code, 64, "{verb:?} {name}");
        }
        let json = world.run(&["tenant", "create", name, "-o", "json"]);
        let error = json.error();
        assert_eq!((json.code, json.out.as_str(), error["code"].as_str()), (64, "", Some("invalid_spec")), "{json}");
        assert!(error["diagnostics"].as_array().unwrap().iter().all(|d| d["line"].is_u64() && d["column"].is_u64() && d["file"] == name), "{error}");
    }
    assert!(!world.sandbox_dir().exists(), "a sandbox was begun for a spec that is wrong");
}
