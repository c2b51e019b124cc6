//! What the README tells people to type, typed.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use super::fixture::{LABCTL, World, ended};

/// The commands of the README's `sh` blocks that run labctl, each with the exit code its comment tells (`# exit 1`; without one, 0).
fn commands(readme: &str) -> Vec<(String, i32)> {
    let mut inside = false;
    let mut all = Vec::new();
    for line in readme.replace("\\\n", " ").lines().map(str::trim) {
        if line.starts_with("```") {
            inside = !inside && line == "```sh";
        } else if inside && (line.starts_with("labctl ") || line.starts_with("cargo run ") || line.starts_with("eval ")) {
            let code = line.rsplit_once("# exit ").and_then(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok());
            all.push((line.to_owned(), code.unwrap_or(0)));
        }
    }
    all
}

#[test]
fn every_command_of_the_readme_does_what_it_says() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(here.join("README.md")).unwrap();
    let commands = commands(&readme);
    assert!(!commands.is_empty(), "the README shows no command in a block marked sh");
    let world = World::unstarted();
    let folder = world.dir().join("clone");
    for (from, to) in [("tenants", "tenants"), ("tests/bad-specs", "tests/bad-specs")] {
        fs::create_dir_all(folder.join(to)).unwrap();
        for file in fs::read_dir(here.join(from)).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), folder.join(to).join(file.file_name())).unwrap();
        }
    }
    let bin = world.dir().join("bin");
    fs::create_dir(&bin).unwrap();
    symlink(LABCTL, bin.join("labctl")).unwrap();
    let cargo = bin.join("cargo");
    fs::write(&cargo, "#!/bin/sh\nwhile [ \"$1\" != -- ]; do shift; done\nshift\nexec labctl \"$@\"\n").unwrap();
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let has_jq = ended(world.bare("/bin/sh").args(["-c", "command -v jq"])).code == 0;
    for (line, code) in commands.into_iter().filter(|(line, _)| has_jq || !line.contains("| jq")) {
        let run = ended(world.bare("/bin/sh").args(["-euc", &line]).env("PATH", &path).current_dir(&folder));
        assert_eq!(run.code, code, "{line}\n{run}");
    }
}

#[test]
fn the_commands_of_a_readme_are_found_in_its_blocks() {
    let text = "labctl no\n```sh\ncargo run -- tenant create a.toml\ncargo test\nlabctl tenant list \\\n  -o json\nlabctl nope   # exit 64: no such command\n```\nlabctl no\n```console\nlabctl no\n```\n";
    let found: Vec<_> = commands(text).into_iter().map(|(line, code)| (line.split_whitespace().take(4).collect::<Vec<_>>().join(" "), code)).collect();
    assert_eq!(found, [("cargo run -- tenant".into(), 0), ("labctl tenant list -o".into(), 0), ("labctl nope # exit".into(), 64)]);
}
