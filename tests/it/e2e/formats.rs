//! Output for programs: every format of every command, and failures as objects.

use serde_json::Value;

use super::fixture::{Run, shared};

const COMMANDS: [&str; 17] = [
    "tenant list",
    "tenant show lakeside-lab",
    "tenant plan lakeside-lab",
    "tenant apply lakeside-lab",
    "tenant drift lakeside-lab",
    "operation list",
    "operation show 1",
    "tier list",
    "tier show mate trial",
    "tier diff mate standard enterprise",
    "spec validate formats-lab.toml",
    "spec schema",
    "profile list",
    "profile show sandbox",
    "sandbox status",
    "sandbox env",
    "registry status",
];

fn plain(run: &Run) {
    for text in [&run.out, &run.err] {
        assert!(!text.chars().any(|c| c.is_control() && c != '\n' && c != '\t'), "control characters: {text:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_prints_every_format_and_a_pipe_sees_no_control_characters() {
    let world = shared();
    world.six().await;
    world.spec("formats-lab", "labcloud", "trial");
    for line in COMMANDS {
        for format in ["table", "json", "jsonl", "yaml", "csv"] {
            let run = world.run(&line.split(' ').chain(["-o", format]).collect::<Vec<_>>());
            assert_eq!(run.code, 0, "{line} -o {format}\n{run}");
            plain(&run);
            let silent = format == "table" && line.contains("apply");
            assert_eq!(run.out.is_empty(), silent, "{line} -o {format}\n{run}");
            match format {
                "json" => drop(serde_json::from_str::<Value>(&run.out).unwrap_or_else(|e| panic!("{line}: {e}\n{run}"))),
                "jsonl" => run.out.lines().for_each(|l| drop(serde_json::from_str::<Value>(l).unwrap_or_else(|e| panic!("{line}: {e}\n{run}")))),
                "csv" => {
                    let mut reader = csv::Reader::from_reader(run.out.as_bytes());
                    assert!(reader.records().all(|r| r.is_ok()), "{line}: rows of different lengths\n{run}");
                }
                _ => (),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_in_a_pipe_writes_data_to_stdout_and_plain_words_to_stderr() {
    let world = shared();
    for (n, format) in ["table", "json", "jsonl", "yaml", "csv"].into_iter().enumerate() {
        let spec = world.spec(&format!("piped-{n}"), "labcloud", "trial");
        let run = world.ok(&["tenant", "create", &spec, "-o", format]);
        plain(&run);
        assert!(run.out.contains(&format!("piped-{n}")) && !run.out.contains("created"), "{run}");
        match format {
            "json" => assert_eq!(serde_json::from_str::<Value>(&run.out).unwrap()["id"], format!("piped-{n}")),
            // With JSON lines, progress is events, one to a line.
            "jsonl" => assert!(run.err.lines().any(|l| serde_json::from_str::<Value>(l).is_ok_and(|v| v["event"] == "step_done")), "{run}"),
            _ => assert!(run.err.contains(" created "), "{run}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_with_json_is_one_object_on_stderr_and_nothing_on_stdout() {
    let world = shared();
    for (line, code, name) in [
        ("tenant show nobody", 1, "not_found"),
        ("tenant apply nobody", 1, "not_found"),
        ("tenant plan nobody", 1, "not_found"),
        ("operation show 999999", 1, "not_found"),
        ("operation resume 999999", 1, "not_found"),
        ("tenant create nowhere.toml", 64, "unreadable_spec"),
        ("tenant create --id x-lab", 64, "invalid_spec"),
        ("spec validate nowhere.toml", 64, "unreadable_spec"),
        ("tier show nowhere trial", 64, ""),
        ("--profile nowhere tenant list", 64, "unknown_profile"),
    ] {
        for format in ["json", "jsonl"] {
            let run = world.run(&line.split(' ').chain(["-o", format]).collect::<Vec<_>>());
            let error = run.error();
            assert_eq!((run.code, run.out.as_str()), (code, ""), "{line}\n{run}");
            assert!(name.is_empty() || error["code"] == name, "{line}\n{run}");
            for field in ["code", "message", "causes", "left", "hint"] {
                assert!(error.get(field).is_some(), "{line}: {field} is missing\n{run}");
            }
            plain(&run);
        }
    }
}
