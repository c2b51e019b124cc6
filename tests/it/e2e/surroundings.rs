//! What surrounds labctl and is not well: a reader that goes away, nobody to talk to.

use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::fixture::{World, ended, pid, shared};

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

/// Whoever begins an empty one beside it, or starts a server anew under those at work in it, has lost what they had.
#[test]
fn a_sandbox_that_is_only_slow_is_waited_for_and_not_replaced() {
    let world = World::started();
    world.ok(&["tenant", "create", &world.spec("patient-lab", "labcloud", "trial")]);
    let server = |file: &str| {
        let text = std::fs::read_to_string(world.sandbox_dir().join(file)).unwrap();
        Pid::from_raw(text.split_whitespace().next().unwrap().parse().unwrap())
    };
    let servers = || ["postgres/data/postmaster.pid", "moto.pid"].map(server);
    let before = servers();
    for server in before {
        kill(server, Signal::SIGSTOP).unwrap();
        let drift = world.spawn(&["tenant", "drift", "patient-lab"]);
        // Longer than one question is waited for.
        std::thread::sleep(Duration::from_secs(7));
        assert!(kill(pid(&drift.child), None).is_ok(), "it waits");
        kill(server, Signal::SIGCONT).unwrap();
        let run = drift.end();
        assert_eq!((run.code, servers()), (0, before), "{run}");
    }
    world.ok(&["sandbox", "stop", "-q"]);
}
