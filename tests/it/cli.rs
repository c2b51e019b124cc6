//! The frame of the command line: help, exit codes, formats, pipes. Needs neither AWS nor PostgreSQL.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

const PLATFORM: &str = r#"
[profiles.prod]
region = "eu-central-1"
account_id = "123456789012"
[profiles.prod.registry]
host = "db.example.org"
[profiles.prod.platform]
cluster = "mate"
[profiles.prod.tunnels]
"db.example.org:5432" = "127.0.0.1:15432"
"#;

/// A folder with nothing around it, and the binary in it.
struct World {
    dir: TempDir,
}

impl World {
    fn empty() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn with(platform: &str) -> Self {
        let world = Self::empty();
        fs::write(world.dir.path().join("labctl.toml"), platform).unwrap();
        world
    }

    fn command(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_labctl"));
        command.args(args).current_dir(self.dir.path()).env_clear().env("HOME", self.dir.path()).env("USER", "ana").stdin(Stdio::null());
        command
    }

    fn run(&self, line: &str) -> Output {
        self.command(line.split_whitespace()).output().unwrap()
    }
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

/// Every command there is, as it is typed.
fn tree() -> Vec<Vec<String>> {
    fn walk(command: &clap::Command, path: &[String], all: &mut Vec<Vec<String>>) {
        all.push(path.to_vec());
        for sub in command.get_subcommands() {
            walk(sub, &[path, &[sub.get_name().to_owned()]].concat(), all);
        }
    }
    let mut all = Vec::new();
    walk(&labctl::cli::command(), &[], &mut all);
    all
}

#[test]
fn every_help_text() {
    let world = World::empty();
    let mut all = String::new();
    for command in tree() {
        let output = world.command(command.iter().map(String::as_str).chain(["--help"])).output().unwrap();
        assert_eq!((code(&output), err(&output).as_str()), (0, ""), "{command:?}");
        all += &format!("$ labctl {}\n\n{}\n", [command.as_slice(), &["--help".to_owned()]].concat().join(" "), out(&output));
    }
    assert!(!all.contains('\u{1b}'));
    insta::assert_snapshot!(all);
}

#[test]
fn the_version_is_printed_on_stdout() {
    let output = World::empty().run("-V");
    assert_eq!((code(&output), out(&output)), (0, format!("labctl {}\n", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn wrong_usage_exits_64_and_prints_no_data() {
    let world = World::empty();
    for line in ["", "nonsense", "profile", "profile lst", "--colour", "-o xml profile list", "profile show a b", "-q -v profile list", "man tenannt"] {
        let output = world.run(line);
        assert_eq!((code(&output), out(&output).as_str()), (64, ""), "`{line}`: {}", err(&output));
        assert!(!err(&output).is_empty());
    }
    assert!(err(&world.run("profile lst")).contains("'list'"), "no suggestion");
}

#[test]
fn wrong_usage_is_json_when_json_was_asked_for() {
    let world = World::empty();
    for line in ["-o json nonsense", "profile lst --output=json", "-ojsonl", "profile list -o json --colour"] {
        let output = world.run(line);
        let value: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap_or_else(|e| panic!("`{line}`: {e}: {}", err(&output)));
        assert_eq!((code(&output), value["error"]["code"].as_str()), (64, Some("usage")), "{value}");
        assert!(!value["error"]["message"].as_str().unwrap().starts_with("error"), "{value}");
    }
}

#[test]
fn a_wrong_file_is_shown_with_its_lines() {
    let world = World::with("[profiles.prod]\nregoin = \"eu-central-1\"\nregion = \"frankfurt\"\n[profiles.prod.registry]\nhost = \"db\"\npassword = \"x\"\n");
    let output = world.run("profile list");
    assert_eq!((code(&output), out(&output).as_str()), (64, ""));
    insta::assert_snapshot!(err(&output));
    let output = world.run("profile list -o json");
    let value: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(value["error"]["diagnostics"][0]["line"], 2);
    assert_eq!(value["error"]["causes"][0], "labctl.toml:2:1: unknown key `regoin` in [profiles.prod]");
}

#[test]
fn a_broken_file_does_not_disturb_what_needs_none() {
    let world = World::with("this is not TOML");
    assert_eq!(code(&world.run("completions bash")), 0);
    assert_eq!(code(&world.run("profile list")), 64);
}

#[test]
fn an_unknown_profile_is_refused_with_a_suggestion() {
    let output = World::with(PLATFORM).run("--profile prd profile show");
    assert_eq!(code(&output), 64);
    assert_eq!(err(&output), "error: there is no profile `prd`\nhint: did you mean `prod`?\n");
}

#[test]
fn data_comes_in_five_formats() {
    let world = World::with(PLATFORM);
    let all: String =
        ["table", "json", "jsonl", "yaml", "csv"].iter().map(|f| format!("--- {f}\n{}", out(&world.run(&format!("profile list -o {f}"))))).collect();
    insta::assert_snapshot!(all);
}

#[test]
fn a_profile_is_shown_with_its_defaults_and_without_its_password() {
    let world = World::with(PLATFORM);
    let show = |f: &str| world.command(["profile", "show", "prod", "-o", f]).env("LABCTL_REGISTRY_PASSWORD", "hunter2").output().unwrap();
    for format in ["table", "json", "yaml", "csv"] {
        let text = out(&show(format));
        assert!(text.contains("eu-central-1") && text.contains("LABCTL_REGISTRY_PASSWORD") && !text.contains("hunter2"), "{text}");
    }
}

#[test]
fn a_pipe_gets_no_control_characters() {
    let world = World::with(PLATFORM);
    for line in ["--help", "profile list", "profile show prod", "profile", "nonsense", "man", "completions fish", "-vvv profile list", "profile show nope"] {
        let output = world.run(line);
        for text in [out(&output), err(&output)] {
            assert!(!text.chars().any(|c| c.is_control() && c != '\n' && c != '\t'), "`{line}`: {text:?}");
        }
    }
}

#[test]
fn colour_is_used_when_asked_for_and_no_color_does_not_contradict() {
    let world = World::with(PLATFORM);
    let coloured = |args: &[&str], no_color: bool| {
        let mut command = world.command(args);
        if no_color {
            command.env("NO_COLOR", "1");
        }
        let output = command.output().unwrap();
        out(&output).contains('\u{1b}') || err(&output).contains('\u{1b}')
    };
    assert!(coloured(&["--color", "always", "profile", "list"], false));
    assert!(coloured(&["--color=always", "--help"], false));
    assert!(coloured(&["--color=always", "profile", "show", "nope"], true), "a flag wins over the environment");
    assert!(!coloured(&["profile", "list"], true));
    assert!(!coloured(&["--color", "never", "--help"], false));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let world = World::with(PLATFORM);
    for line in ["completions bash", "--help", "profile list -o json", "man"] {
        let mut child = world.command(line.split(' ')).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let status = child.wait().unwrap();
        let mut words = String::new();
        child.stderr.take().unwrap().read_to_string(&mut words).unwrap();
        assert_eq!((status.code(), words.as_str()), (Some(0), ""), "`{line}`");
    }
}

#[test]
fn a_misspelt_variable_is_warned_of() {
    let world = World::empty();
    let output = world.command(["profile", "show"]).env("LABCTL_PROFLE", "prod").output().unwrap();
    assert_eq!(err(&output), "warning: LABCTL_PROFLE is set, but means nothing to labctl; did you mean LABCTL_PROFILE?\n");
}

#[test]
fn completions_name_every_command() {
    let world = World::empty();
    for shell in ["bash", "zsh", "fish"] {
        let output = world.run(&format!("completions {shell}"));
        let script = out(&output);
        assert_eq!(code(&output), 0);
        for name in tree().into_iter().flatten() {
            assert!(script.contains(&name), "{shell} lacks {name}");
        }
    }
}

#[test]
fn every_command_has_a_manual_page() {
    let world = World::empty();
    let output = world.run("man --dir pages");
    assert_eq!(code(&output), 0, "{}", err(&output));
    for command in tree() {
        let name = [&["labctl".to_owned()], command.as_slice()].concat().join("-") + ".1";
        let page = fs::read_to_string(world.dir.path().join("pages").join(&name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(page.contains(".TH") && !page.contains('\u{1b}'), "{name}");
    }
    let page = out(&world.run("man profile list"));
    assert!(page.contains("labctl\\-profile\\-list") && page.contains(".SH EXAMPLES"), "{page}");
    assert!(out(&world.run("man")).contains(".SH EXIT CODES"));
}
