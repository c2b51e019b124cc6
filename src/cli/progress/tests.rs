//! One run, heard by every face.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use indicatif::InMemoryTerm;

use super::*;
use crate::engine::fault::Fault;
use crate::engine::kind::Address;
use crate::engine::step::Action;

fn at(kind: &str, name: &str) -> Address {
    Address::new("city-lab", kind, name)
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn done(address: Address, took: u64) -> Event {
    Event::StepDone { address, action: Action::Create, id: "id".into(), took: ms(took) }
}

fn begun(address: Address) -> Event {
    Event::StepStarted { address, action: Action::Create }
}

fn waiting(address: Address, why: &str, elapsed: u64) -> Event {
    Event::StepWaiting { address, why: why.into(), elapsed: ms(elapsed) }
}

fn run() -> Vec<Event> {
    let (bucket, db, django, celery) = (at("s3_bucket", "data"), at("rds_instance", "main"), at("ecs_service", "django"), at("ecs_service", "celery"));
    vec![
        Event::Started {
            steps: vec![(db.clone(), Action::Create), (bucket.clone(), Action::Create), (django.clone(), Action::Update), (celery.clone(), Action::Create)],
        },
        begun(db.clone()),
        begun(bucket.clone()),
        waiting(db.clone(), "creating", 200),
        done(bucket, 440),
        waiting(db.clone(), "creating", 10_100),
        waiting(db.clone(), "backing-up", 12_000),
        Event::StepRetried { address: db.clone(), fault: Fault::busy("rds:DescribeDBInstances", "Throttling", "slow down"), pause: ms(2_000) },
        waiting(db.clone(), "backing-up", 372_000),
        done(db, 400_000),
        Event::StepFailed {
            address: django,
            fault: Fault::refused("ecs:UpdateService", "AccessDenied", "not\nallowed \u{1b}[31m"),
            in_doubt: false,
            took: ms(12_000),
        },
        Event::StepSkipped { address: celery, because: "ecs_service/django failed".into() },
        Event::Finished { took: ms(412_000) },
    ]
}

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Memory {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

fn heard(progress: &Progress, events: &[Event]) {
    events.iter().for_each(|e| progress.hear(e));
}

#[test]
fn plain_lines_tell_what_ends_and_give_a_sign_of_life_every_ten_seconds() {
    let memory = Memory::default();
    heard(&Progress::lines(memory.clone()), &run());
    let text = memory.text();
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    insta::assert_snapshot!(text);
}

#[test]
fn events_are_one_object_a_line() {
    let memory = Memory::default();
    heard(&Progress::events(memory.clone()), &run());
    let lines: Vec<serde_json::Value> = memory.text().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), run().len());
    assert_eq!(lines[4]["event"], "step_done");
}

#[test]
fn a_run_without_steps_shows_nothing() {
    let memory = Memory::default();
    heard(&Progress::lines(memory.clone()), &[Event::Started { steps: vec![] }, Event::Finished { took: ms(5) }]);
    assert_eq!(memory.text(), "");
}

fn terminal(rows: u16) -> (InMemoryTerm, Progress) {
    let term = InMemoryTerm::new(rows, 80);
    let progress = Progress::live(ProgressDrawTarget::term_like(Box::new(term.clone())), rows, false);
    (term, progress)
}

#[test]
fn a_terminal_ends_with_the_lines_in_plan_order_and_nothing_that_moves() {
    let (term, progress) = terminal(24);
    heard(&progress, &run());
    drop(progress);
    insta::assert_snapshot!(term.contents());
}

#[test]
fn a_terminal_shows_a_line_per_resource_at_work_in_plan_order() {
    let (term, progress) = terminal(24);
    // The bucket has ended, but the database before it has not: its line waits below.
    heard(&progress, &run()[..7]);
    std::thread::sleep(ms(300));
    let shown = term.contents();
    let lines: Vec<_> = shown.lines().collect();
    assert_eq!(lines.len(), 3, "{shown}");
    assert!(lines[0].contains("+ rds_instance/main") && lines[0].contains("backing-up"), "{shown}");
    assert!(lines[1].contains("✓ + s3_bucket/data") && lines[1].contains("created"), "{shown}");
    assert!(lines[2].contains("1/4"), "{shown}");
}

#[test]
fn a_low_terminal_is_never_overfull() {
    let (term, progress) = terminal(6);
    let all: Vec<_> = (0..40).map(|i| at("log_group", &format!("n{i:02}"))).collect();
    let started = Event::Started { steps: all.iter().map(|a| (a.clone(), Action::Create)).collect() };
    heard(&progress, &[started]);
    all.iter().for_each(|a| progress.hear(&begun(a.clone())));
    std::thread::sleep(ms(200));
    assert!(term.contents().lines().count() <= 4, "{}", term.contents());
    all.iter().rev().for_each(|a| progress.hear(&done(a.clone(), 100)));
    progress.hear(&Event::Finished { took: ms(4_000) });
    drop(progress);
    let end = term.contents();
    assert!(end.ends_with("40 done in 4.0s"), "{end}");
}

#[test]
fn an_abandoned_run_leaves_the_terminal_clean() {
    let (term, progress) = terminal(24);
    heard(&progress, &run()[..5]);
    drop(progress);
    assert_eq!(term.contents().lines().count(), 1, "{}", term.contents());
}
