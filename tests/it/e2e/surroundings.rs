//! What surrounds labctl and is not well: a reader that goes away, nobody to talk to.

use std::process::Stdio;

use super::fixture::{World, ended, shared};

/// A pipeline as an operator types it; what labctl itself exited with is its last line.
fn piped(world: &World, pipeline: &str) -> (String, String) {
    let run = ended(world.bare("/bin/bash").args(["-c", &format!("{pipeline}; echo \"exit ${{PIPESTATUS[0]}}\" >&2")]));
    (run.out, run.err)
}

#[test]
fn a_reader_that_goes_away_ends_the_output_and_not_the_command() {
    let world = shared();
    let labctl = super::fixture::LABCTL;
    // More than a pipe holds, so that the write itself is refused.
    for (command, lines) in [("man", 1), ("spec schema", 1), ("tier list -o json", 1), ("completions bash", 1)] {
        let (out, err) = piped(world, &format!("{labctl} {command} | head -{lines}"));
        assert_eq!(out.lines().count(), lines, "{command}: {out}\n{err}");
        assert!(err.ends_with("exit 0\n") && !err.contains("panicked") && !err.contains("error"), "{command}: {err}");
    }
    let spec = world.spec("pipe-lab", "labcloud", "trial");
    let (_, err) = piped(world, &format!("{labctl} tenant create {spec} -o json | true"));
    assert!(err.ends_with("exit 0\n"), "{err}");
    assert_eq!(world.json(&["tenant", "show", "pipe-lab"])["status"], "active", "a create is not cut off by who reads of it");
}

#[test]
fn with_stdin_stdout_and_stderr_closed_a_create_is_still_done() {
    let world = shared();
    let spec = world.spec("mute-lab", "labcloud", "trial");
    let script = format!("{} tenant create {spec} <&- >&- 2>&-", super::fixture::LABCTL);
    let mut shell = world.bare("/bin/sh");
    let ended = shell.args(["-c", &script]).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert_eq!(ended.code(), Some(0));
    assert_eq!(world.json(&["tenant", "show", "mute-lab"])["status"], "active");
}
