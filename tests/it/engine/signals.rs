//! Signals, fences, and a registry that comes and goes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use labctl::engine::clock::{Instant, paused, sleep};
use labctl::engine::event::Event;
use labctl::engine::run::{End, Stop};
use serde_json::json;

use super::stage::{Stage, at, code, want};
use super::world::{Nature, Trouble, World};

/// Sends the signal at each such event.
fn stop_when(stage: &Stage, is: impl Fn(&Event) -> bool + Send + 'static, stop: Stop) {
    let send = stage.stop.clone();
    stage.on_event(move |e| {
        if is(e) {
            send.send_replace(stop);
        }
    });
}

/// Sends the signal once that is called.
fn stop_when_called(stage: &Stage, call: &'static str, stop: Stop) {
    let (send, world) = (stage.stop.clone(), Arc::clone(&stage.world));
    tokio::spawn(async move {
        called(&world, call).await;
        send.send_replace(stop);
    });
}

async fn called(world: &World, call: &str) {
    while world.count(call) == 0 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_drain_records_calls_in_flight_and_starts_nothing() {
    paused(async {
        let stage = Stage::default();
        let wanted = [want("bucket/a", json!({})), want("bucket/b", json!({"of": ["${bucket.a.id}"]}))];
        stage.world.script("create bucket/a", [Trouble::Slow(10)]);
        stop_when_called(&stage, "create bucket/a", Stop::Drain);
        let outcome = stage.apply(&wanted).await;
        assert!(outcome.interrupted && !outcome.complete());
        assert_eq!(stage.journal.of("bucket/a"), ["intended", "created", "done create"], "the call in flight is recorded, and it was ready");
        assert_eq!((stage.journal.of("bucket/b"), stage.world.count("create bucket/b")), (vec!["skipped".to_owned()], 0));
        assert_eq!(stage.heard.events.lock().unwrap().iter().filter(|e| matches!(e, Event::Draining)).count(), 1);
        stage.every_start_has_an_end();
        stage.stop.send_replace(Stop::No);
        assert!(stage.apply(&wanted).await.complete());
    });
}

#[test]
fn a_drain_does_not_sit_out_what_is_only_waiting_nor_begins_another_call() {
    paused(async {
        for (spec, nature, journal) in [
            (json!({}), Nature { slow: 100_000, ..Nature::default() }, vec!["intended", "created"]),
            (json!({"size": 2}), Nature::default(), vec!["intended", "created"]),
        ] {
            let stage = Stage::default();
            stage.world.nature("a", nature);
            stage.world.script("create bucket/a", [Trouble::Slow(8)]);
            stop_when(&stage, |e| matches!(e, Event::StepCreated { .. } | Event::StepWaiting { .. }), Stop::Drain);
            let begun = Instant::now();
            let outcome = stage.apply(&[want("bucket/a", spec.clone())]).await;
            assert!(begun.elapsed() < Duration::from_secs(10) && outcome.interrupted);
            assert_eq!((stage.journal.of("bucket/a"), stage.world.count("update bucket/a")), (journal.iter().map(ToString::to_string).collect(), 0));
            assert!(matches!(&outcome.ends[&at("bucket/a")], End::Skipped(why) if why.contains("on record")), "{:?}", outcome.ends);
            stage.every_start_has_an_end();
        }
    });
}

#[test]
fn a_signal_before_the_first_step_starts_nothing() {
    paused(async {
        for stop in [Stop::Drain, Stop::Now] {
            let stage = Stage::default();
            stage.stop.send_replace(stop);
            let outcome = stage.apply(&[want("bucket/a", json!({}))]).await;
            assert!(outcome.interrupted && stage.world.writes().is_empty());
            assert_eq!(code(&outcome, "bucket/a"), "skipped");
        }
    });
}

#[test]
fn the_second_signal_cuts_off_what_is_in_flight_and_resume_finds_it() {
    paused(async {
        let stage = Stage::default();
        stage.world.script("create bucket/a", [Trouble::Slow(60_000)]);
        stop_when_called(&stage, "create bucket/a", Stop::Now);
        let begun = Instant::now();
        let wanted = [want("bucket/a", json!({})), want("pool/b", json!({"of": ["${bucket.a.id}"]}))];
        let outcome = stage.apply(&wanted).await;
        assert!(begun.elapsed() < Duration::from_secs(10) && outcome.interrupted);
        assert_eq!(stage.journal.of("bucket/a"), ["intended"]);
        assert_eq!((code(&outcome, "bucket/a"), code(&outcome, "pool/b")), ("skipped", "skipped"));
        stage.every_start_has_an_end();
        stage.stop.send_replace(Stop::No);
        assert!(stage.apply(&wanted).await.complete());
        assert_eq!(stage.world.names(), ["bucket/a", "pool/b"]);
    });
}

#[test]
fn the_second_signal_does_not_throw_away_ids_that_have_come_in() {
    paused(async {
        // The journal is slow: while one id is being written others have come in and lie waiting.
        let stage = Stage::default();
        stage.journal.slow.store(10, Ordering::SeqCst);
        stop_when(&stage, |e| matches!(e, Event::StepCreated { .. }), Stop::Now);
        let wanted: Vec<_> = (0..6).map(|n| want(&format!("blob/b{n}"), json!({}))).collect();
        let outcome = stage.apply(&wanted).await;
        assert!(outcome.interrupted);
        assert!(stage.world.things().len() > 1, "more than one call had taken effect");
        for thing in stage.world.things() {
            assert_eq!(stage.journal.of(&format!("blob/{}", thing.name)).get(1).map(String::as_str), Some("created"), "{}", thing.name);
        }
        stage.journal.slow.store(0, Ordering::SeqCst);
        stage.stop.send_replace(Stop::No);
        assert!(stage.apply(&wanted).await.complete(), "not even what cannot be found again is in doubt");
    });
}

#[test]
fn the_second_signal_is_heard_while_the_journal_hangs() {
    paused(async {
        let stage = Stage::default();
        stage.journal.slow.store(60_000, Ordering::SeqCst);
        stop_when(&stage, |e| matches!(e, Event::StepStarted { .. }), Stop::Now);
        let begun = Instant::now();
        let outcome = stage.apply(&[want("bucket/a", json!({}))]).await;
        assert!(begun.elapsed() < Duration::from_secs(10) && outcome.interrupted);
        assert!(stage.world.writes().is_empty());
    });
}

#[test]
fn a_fenced_journal_stops_the_run_at_once_and_calls_nothing_more() {
    paused(async {
        let stage = Stage::default();
        let wanted = [want("bucket/a", json!({"size": 2})), want("bucket/b", json!({"of": ["${bucket.a.id}"]})), want("database/slow", json!({}))];
        stage.world.nature("slow", Nature { slow: 100_000, ..Nature::default() });
        stage.world.script("create bucket/a", [Trouble::Slow(10)]);
        stage.world.script("create database/slow", [Trouble::Slow(1)]);
        let steps = stage.plan(&wanted).await.steps;
        let fencing = async {
            called(&stage.world, "create bucket/a").await;
            stage.journal.fenced.store(true, Ordering::SeqCst);
            std::future::pending::<()>().await
        };
        let begun = Instant::now();
        let outcome = tokio::select! { o = stage.run(steps) => o, () = fencing => unreachable!() };
        assert!(begun.elapsed() < Duration::from_secs(10), "what only waits is not sat out");
        assert!(outcome.fenced && !outcome.complete() && outcome.journal.is_some());
        assert_eq!(stage.world.writes().iter().filter(|w| !w.starts_with("create")).count(), 0);
        assert_eq!((code(&outcome, "bucket/a"), code(&outcome, "bucket/b")), ("skipped", "skipped"));
        assert!(stage.journal.of("bucket/b").is_empty(), "a fenced process writes nothing");
        stage.every_start_has_an_end();
    });
}

#[test]
fn a_process_that_lost_its_lease_updates_and_deletes_nothing() {
    paused(async {
        let stage = Stage::default();
        assert!(stage.apply(&[want("bucket/a", json!({})), want("bucket/b", json!({})), want("pool/c", json!({}))]).await.complete());
        let steps = stage.plan(&[want("bucket/a", json!({"size": 2})), want("bucket/b", json!({"shape": "square"}))]).await.steps;
        let writes = stage.world.writes().len();
        stage.lease.fenced.store(true, Ordering::SeqCst);
        let outcome = stage.run(steps).await;
        assert!(outcome.fenced);
        assert_eq!(stage.world.writes().len(), writes);
    });
}

#[test]
fn a_lost_lease_ends_a_long_wait() {
    paused(async {
        let stage = Stage::default();
        stage.world.nature("slow", Nature { slow: 100_000, ..Nature::default() });
        let steps = stage.plan(&[want("database/slow", json!({}))]).await.steps;
        let losing = async {
            while stage.journal.of("database/slow").len() < 2 {
                sleep(Duration::from_secs(1)).await;
            }
            stage.lease.fenced.store(true, Ordering::SeqCst);
            std::future::pending::<()>().await
        };
        let begun = Instant::now();
        let outcome = tokio::select! { o = stage.run(steps) => o, () = losing => unreachable!() };
        assert!(begun.elapsed() <= stage.patience.beat && outcome.fenced, "the next renewal tells it");
        assert_eq!(stage.journal.of("database/slow"), ["intended", "created"]);
    });
}

#[test]
fn a_short_failure_of_the_registry_costs_nothing() {
    paused(async {
        let stage = Stage::default();
        stage.journal.unavailable.store(3, Ordering::SeqCst);
        stage.lease.unavailable.store(3, Ordering::SeqCst);
        let outcome = stage.apply(&[want("bucket/a", json!({"size": 2})), want("pool/b", json!({}))]).await;
        assert!(outcome.complete(), "{outcome:?}");
        assert_eq!((stage.journal.unavailable.load(Ordering::SeqCst), stage.lease.unavailable.load(Ordering::SeqCst)), (0, 0), "the failures struck");
    });
}

#[test]
fn a_registry_that_stays_away_stops_the_run_before_the_call() {
    paused(async {
        let stage = Stage::default();
        stage.journal.unavailable.store(u32::MAX, Ordering::SeqCst);
        let outcome = stage.apply(&[want("bucket/a", json!({}))]).await;
        assert!(!outcome.complete() && !outcome.fenced);
        assert!(outcome.journal.is_some_and(|why| why.contains("connection refused")));
        assert!(stage.world.writes().is_empty(), "nothing is called that is not on record");
    });
}

#[test]
fn a_lease_that_cannot_be_renewed_in_time_is_lost() {
    paused(async {
        let stage = Stage::default();
        stage.world.nature("slow", Nature { slow: 100_000, ..Nature::default() });
        let steps = stage.plan(&[want("database/slow", json!({}))]).await.steps;
        stage.lease.unavailable.store(u32::MAX, Ordering::SeqCst);
        let outcome = stage.run(steps).await;
        assert!(!outcome.fenced && outcome.journal.is_some_and(|why| why.contains("lease")));
        // Somebody else may take it once it is out: that late, and no later than the renewal after.
        let held = stage.patience.lease..=stage.patience.lease + stage.patience.beat;
        assert!(held.contains(&outcome.total), "{:?}", outcome.total);
    });
}

#[test]
fn slow_journal_writes_do_not_cost_the_lease() {
    paused(async {
        let stage = Stage::default();
        stage.journal.slow.store(40_000, Ordering::SeqCst);
        assert!(stage.apply(&[want("bucket/a", json!({}))]).await.complete());
        // Three entries: two minutes, twice the life of a lease.
        assert!(stage.lease.beats.load(Ordering::SeqCst) >= 7, "it was renewed during the writes");
    });
}
