//! Killed and interrupted: whatever the moment, the same command (or `operation resume`) finishes, and nothing is there twice.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::fixture::{Running, blocking, shared};
use super::sweep::{shown, sweep};

/// When a create is cut off: after so many resources, and a moment that makes the place in the code different each time.
#[derive(Clone, Copy)]
struct Moment {
    created: usize,
    millis: u64,
}

fn begin(id: &str, stack: &str, tier: &str, moment: Moment) -> (Running, String) {
    let spec = shared().spec(id, stack, tier);
    let mut running = shared().spawn(&["tenant", "create", &spec]);
    assert!(running.hear(if moment.created == 0 { "to create" } else { " created " }, moment.created.max(1)), "{}", running.end());
    std::thread::sleep(Duration::from_millis(moment.millis));
    (running, spec)
}

/// The number of the one unfinished operation of a tenant.
fn unfinished(id: &str) -> Option<i64> {
    let found = shared().json(&["operation", "list", "--tenant", id, "--unfinished"]);
    found.as_array().unwrap().first().map(|o| o["number"].as_i64().unwrap())
}

fn finish(id: &str, spec: &str, by_number: bool) {
    let run = match unfinished(id).filter(|_| by_number) {
        Some(number) => shared().run(&["operation", "resume", &number.to_string()]),
        None => shared().run(&["tenant", "create", spec]),
    };
    assert_eq!(run.code, 0, "{id}\n{run}");
    assert_eq!(unfinished(id), None);
    let operations = shared().json(&["operation", "list", "--tenant", id]);
    assert_eq!(operations.as_array().map(Vec::len), Some(1), "it is one operation all along: {operations}");
}

async fn nothing_is_doubled_or_orphaned(ids: &[String]) {
    let found = sweep(shared()).await;
    for id in ids {
        let tenant = shared().json(&["tenant", "show", id]);
        assert_eq!(tenant["status"], "active");
        assert_eq!(found[id], shown(&tenant), "{id}: left what is there, right what is shown");
        let again = shared().ok(&["tenant", "apply", id]);
        assert!(again.err.contains("no changes"), "{again}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_a_create_is_finished_by_the_same_command_or_by_resume() {
    let moments = [
        ("labcloud", "standard", Moment { created: 0, millis: 0 }),
        ("labcloud", "standard", Moment { created: 0, millis: 250 }),
        ("labcloud", "standard", Moment { created: 1, millis: 0 }),
        ("labcloud", "enterprise", Moment { created: 4, millis: 15 }),
        ("mate", "trial", Moment { created: 8, millis: 60 }),
        ("mate", "standard", Moment { created: 14, millis: 5 }),
        ("mate", "enterprise", Moment { created: 20, millis: 0 }),
    ];
    let mut ids = Vec::new();
    for (n, (stack, tier, moment)) in moments.into_iter().enumerate() {
        let id = format!("killed-{n}");
        ids.push(id.clone());
        let work = move || {
            let (running, spec) = begin(&id, stack, tier, moment);
            running.signal(Signal::SIGKILL);
            let run = running.end();
            assert_eq!(run.code, -(Signal::SIGKILL as i32), "it ended before it was killed\n{run}");
            finish(&id, &spec, n % 2 == 0);
        };
        blocking(work).await.unwrap();
    }
    nothing_is_doubled_or_orphaned(&ids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_killed_again_and_again_is_finished_in_the_end() {
    let spec = shared().spec("killed-often", "labcloud", "standard");
    let mut killed = 0;
    for millis in [0, 30, 80, 150] {
        let mut running = shared().spawn(&["tenant", "create", &spec]);
        running.hear(" created ", 1);
        std::thread::sleep(Duration::from_millis(millis));
        let _ = nix::sys::signal::kill(super::fixture::pid(&running.child), Signal::SIGKILL);
        let run = running.end();
        if run.code == 0 {
            break;
        }
        assert_eq!(run.code, -(Signal::SIGKILL as i32), "{run}");
        killed += 1;
    }
    assert!(killed >= 2, "it was too fast to be killed");
    let run = shared().run(&["tenant", "apply", &spec]);
    assert_eq!(run.code, 0, "{run}");
    nothing_is_doubled_or_orphaned(&["killed-often".to_owned()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_drains_exits_130_and_can_be_resumed() {
    let mut ids = Vec::new();
    for (n, signal) in [Signal::SIGINT, Signal::SIGTERM].into_iter().enumerate() {
        let id = format!("interrupted-{n}");
        let (running, spec) = begin(&id, "mate", "trial", Moment { created: 2, millis: 0 });
        running.signal(signal);
        let run = running.end();
        assert_eq!(run.code, 130, "{run}");
        assert!(run.out.is_empty() && run.err.contains("operation resume"), "{run}");
        let shown = shared().json(&["tenant", "show", &id]);
        assert_eq!(shown["status"], "provisioning", "{shown}");
        let number = unfinished(&id).unwrap().to_string();
        let operation = shared().json(&["operation", "show", &number]);
        assert_eq!(operation["status"], "interrupted", "{operation}");
        let steps = operation["steps"].as_array().unwrap();
        assert!(steps.iter().all(|s| s["status"] != "intended"), "what was in flight is recorded: {operation}");
        finish(&id, &spec, n == 0);
        ids.push(id);
    }
    nothing_is_doubled_or_orphaned(&ids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_interrupt_stops_at_once_and_can_still_be_resumed() {
    let (running, spec) = begin("interrupted-twice", "labcloud", "standard", Moment { created: 2, millis: 0 });
    running.signal(Signal::SIGINT);
    std::thread::sleep(Duration::from_millis(5));
    running.signal(Signal::SIGINT);
    let run = running.end();
    assert_eq!(run.code, 130, "{run}");
    finish("interrupted-twice", &spec, true);
    nothing_is_doubled_or_orphaned(&["interrupted-twice".to_owned()]).await;
}
