//! Situations of one step, each with its trouble, its end, and what is on record and in the world afterwards.

use std::time::Duration;

use labctl::engine::clock::paused;
use labctl::engine::event::Event;
use labctl::engine::fault::Left;
use labctl::engine::run::End;
use labctl::engine::step::Action;
use serde_json::json;

use super::stage::{Stage, at, code, want};
use super::world::Nature;
use super::world::Trouble::{self, Busy, LoseAfterEffect, LoseBeforeEffect, Panic, Refuse};

struct Row {
    situation: &'static str,
    kind: &'static str,
    create: &'static [Trouble],
    nature: Nature,
    /// `done`, or the fault's code.
    end: &'static str,
    journal: &'static [&'static str],
    creates: usize,
    things: usize,
}

const CALM: Nature = Nature { hidden: 0, slow: 0, lingers: 0, late: 0, broken: false, stubborn: false };
const MADE: &[&str] = &["intended", "created", "done create"];
const INTENDED: &str = "intended";
const TWICE: &[&str] = &["intended", "intended", "created", "done create"];

#[test]
fn a_create_ends_as_its_situation_demands() {
    paused(async {
        let row = |situation, kind, create, end, journal, creates, things| Row { situation, kind, create, nature: CALM, end, journal, creates, things };
        let rows = [
            row("nothing goes wrong", "bucket", &[], "done", MADE, 1, 1),
            row("a refusal is definite", "bucket", &[Refuse], "AccessDenied", &["intended", "failed AccessDenied"], 1, 0),
            row("busy is tried again", "bucket", &[Busy, Busy], "done", &["intended", "intended", "intended", "created", "done create"], 3, 1),
            row(
                "busy gives up after its tries",
                "bucket",
                &[Busy; 8],
                "Throttling",
                &[INTENDED, INTENDED, INTENDED, INTENDED, INTENDED, INTENDED, INTENDED, INTENDED, "failed Throttling"],
                8,
                0,
            ),
            row("a reply lost after the effect is adopted by name", "bucket", &[LoseAfterEffect], "done", MADE, 1, 1),
            row("a reply lost after the effect is adopted by token", "service", &[LoseAfterEffect], "done", MADE, 1, 1),
            row("a reply lost after the effect is adopted by tag", "pool", &[LoseAfterEffect], "done", MADE, 1, 1),
            row("a call lost before the effect is made once, by name", "bucket", &[LoseBeforeEffect], "done", TWICE, 2, 1),
            row("a call lost before the effect is made once, by token", "service", &[LoseBeforeEffect], "done", TWICE, 2, 1),
            row("a call lost before the effect is made once, by tag", "pool", &[LoseBeforeEffect], "done", TWICE, 2, 1),
            row("what cannot be found again is in doubt", "blob", &[LoseAfterEffect], "timeout", &["intended", "in doubt timeout"], 1, 1),
            row("what cannot be found again is in doubt, made or not", "blob", &[LoseBeforeEffect], "timeout", &["intended", "in doubt timeout"], 1, 0),
            row("an outcome that stays unknown leaves the intent open", "bucket", &[LoseBeforeEffect; 8], "timeout", &[INTENDED; 8], 8, 0),
            row("a panic leaves the intent open", "bucket", &[Panic], "panicked", &["intended"], 1, 0),
            Row { nature: Nature { hidden: 50, ..CALM }, ..row("what is made and not visible yet is waited for", "pool", &[], "done", MADE, 1, 1) },
            Row {
                nature: Nature { hidden: 50, ..CALM },
                ..row("what is made, unanswered and not visible yet is not made again", "pool", &[LoseAfterEffect], "done", MADE, 1, 1)
            },
            Row {
                nature: Nature { hidden: 9999, ..CALM },
                ..row("what never shows is reported", "pool", &[], "not_visible", &["intended", "created", "failed not_visible"], 1, 1)
            },
            Row { nature: Nature { slow: 900, ..CALM }, ..row("what is slow is waited for", "bucket", &[], "done", MADE, 1, 1) },
            Row {
                nature: Nature { slow: 9999, ..CALM },
                ..row("a deadline ends the wait", "tortoise", &[], "deadline", &["intended", "created", "failed deadline"], 1, 1)
            },
            Row {
                nature: Nature { broken: true, ..CALM },
                ..row("what is broken is reported and left", "bucket", &[], "broken", &["intended", "created", "failed broken"], 1, 1)
            },
        ];
        for row in rows {
            let stage = Stage::default();
            let short = format!("{}/x", row.kind);
            stage.world.nature("x", row.nature);
            stage.world.script(&format!("create {short}"), row.create.iter().copied());
            let outcome = stage.apply(&[want(&short, json!({}))]).await;
            assert_eq!(stage.world.unused(), Vec::<String>::new(), "{}: the trouble struck", row.situation);
            let struck: Vec<_> = row.create.iter().map(|t| format!("create {short}: {t:?}")).collect();
            assert_eq!(stage.world.struck(), struck, "{}: at that very call", row.situation);
            assert_eq!(code(&outcome, &short), row.end, "{}", row.situation);
            assert_eq!(stage.journal.of(&short), row.journal, "{}", row.situation);
            assert_eq!((stage.world.count(&format!("create {short}")), stage.world.things().len()), (row.creates, row.things), "{}", row.situation);
            assert_eq!(outcome.complete(), row.end == "done", "{}", row.situation);
            stage.every_start_has_an_end();
        }
    });
}

#[test]
fn every_failure_says_what_it_left() {
    paused(async {
        let id = |left: &Left| match left {
            Left::Nothing => "nothing".to_owned(),
            Left::Made(id) => id.clone(),
            Left::Unknown(what) => format!("? {what}"),
        };
        for (short, script, nature, left) in [
            ("bucket/x", Some(("create bucket/x", Refuse)), CALM, "nothing"),
            ("tortoise/x", None, Nature { slow: 9999, ..CALM }, "x"),
            ("bucket/x", None, Nature { broken: true, ..CALM }, "x"),
            ("blob/x", Some(("create blob/x", LoseAfterEffect)), CALM, "? whatever blob:create makes"),
            ("bucket/x", Some(("create bucket/x", Panic)), CALM, "? whatever bucket/x was about to make"),
        ] {
            let stage = Stage::default();
            stage.world.nature("x", nature);
            if let Some((what, trouble)) = script {
                stage.world.script(what, [trouble]);
            }
            let outcome = stage.apply(&[want(short, json!({}))]).await;
            let (End::Failed(fault) | End::InDoubt(fault)) = &outcome.ends[&at(short)] else { panic!("{short} did not fail") };
            assert_eq!(id(&fault.left), left, "{short} {script:?}");
        }
    });
}

#[test]
fn a_deadline_is_resumed_by_waiting_on() {
    paused(async {
        let stage = Stage::default();
        stage.world.nature("x", Nature { slow: 1500, ..CALM });
        let wanted = [want("tortoise/x", json!({}))];
        // Twenty-five minutes, of which a run waits ten.
        for complete in [false, false, true] {
            assert_eq!(stage.apply(&wanted).await.complete(), complete);
        }
        assert_eq!(stage.world.count("create tortoise/x"), 1);
    });
}

#[test]
fn a_look_that_cannot_be_made_after_an_unclear_create_leaves_the_intent_open() {
    paused(async {
        for trouble in [Refuse, Busy, LoseBeforeEffect] {
            let stage = Stage::default();
            stage.world.script("create bucket/x", [LoseAfterEffect]);
            // One look for the plan, one before the create; then none can be made.
            stage.world.script("look bucket/x", [Trouble::None, Trouble::None].into_iter().chain([trouble; 8]));
            let wanted = [want("bucket/x", json!({}))];
            let outcome = stage.apply(&wanted).await;
            let End::Failed(fault) = &outcome.ends[&at("bucket/x")] else { panic!("{:?}", outcome.ends) };
            assert!(matches!(fault.left, Left::Unknown(_)), "{trouble:?}: {fault:?}");
            assert_eq!(stage.journal.of("bucket/x"), ["intended"], "{trouble:?}");
            stage.world.calm();
            assert!(stage.apply(&wanted).await.complete());
            assert_eq!(stage.world.count("create bucket/x"), 1);
        }
    });
}

#[test]
fn throttled_looks_far_apart_do_not_add_up() {
    paused(async {
        let stage = Stage::default();
        stage.world.nature("x", Nature { slow: 300, ..CALM });
        let looks = [Trouble::None, Trouble::None].into_iter().chain([Busy, Busy, Trouble::None].into_iter().cycle().take(24));
        stage.world.script("look bucket/x", looks);
        assert!(stage.apply(&[want("bucket/x", json!({}))]).await.complete());
        assert_eq!(stage.world.struck().len(), 16);
    });
}

#[test]
fn a_refusal_right_after_the_create_may_be_the_world_lagging() {
    paused(async {
        let stage = Stage::default();
        stage.world.script("update bucket/x", [Refuse, Refuse]);
        assert!(stage.apply(&[want("bucket/x", json!({"size": 2}))]).await.complete());
        stage.world.script("update bucket/y", [Refuse, Refuse, Refuse]);
        let outcome = stage.apply(&[want("bucket/x", json!({"size": 2})), want("bucket/y", json!({"size": 2}))]).await;
        assert_eq!(code(&outcome, "bucket/y"), "AccessDenied");
        assert_eq!(stage.world.unused(), Vec::<String>::new());
        // On what was there long before it is believed at once.
        stage.world.script("update bucket/x", [Refuse]);
        let outcome = stage.apply(&[want("bucket/x", json!({"size": 3})), want("bucket/y", json!({"size": 2}))]).await;
        assert_eq!(code(&outcome, "bucket/x"), "AccessDenied");
    });
}

#[test]
fn an_update_that_shows_late_is_waited_for_and_one_that_never_shows_is_reported() {
    paused(async {
        let stage = Stage::default();
        assert!(stage.apply(&[want("bucket/x", json!({}))]).await.complete());
        stage.world.nature("y", Nature { stubborn: true, ..CALM });
        stage.world.nature("z", Nature { late: 1, ..CALM });
        let outcome = stage.apply(&["bucket/x", "bucket/y", "bucket/z"].map(|s| want(s, json!({"size": 2})))).await;
        assert_eq!((code(&outcome, "bucket/x"), code(&outcome, "bucket/y"), code(&outcome, "bucket/z")), ("done", "does_not_settle", "done"));
        assert_eq!(stage.world.count("update bucket/y"), 6);
        assert!(stage.world.count("update bucket/z") <= 2, "{:?}", stage.world.writes());
    });
}

#[test]
fn what_is_broken_is_mended_by_an_update_if_there_is_one() {
    paused(async {
        let stage = Stage::default();
        stage.world.nature("x", Nature { broken: true, ..CALM });
        assert_eq!(code(&stage.apply(&[want("service/x", json!({}))]).await, "service/x"), "broken");
        assert!(stage.apply(&[want("service/x", json!({"size": 2}))]).await.complete());
    });
}

#[test]
fn what_is_not_ours_is_never_touched() {
    paused(async {
        let stage = Stage::default();
        let wanted = [want("bucket/x", json!({"size": 5}))];
        let steps = stage.plan(&wanted).await.steps;
        stage.world.put("bucket", "x", "other/bucket/x", 1, "round");
        let outcome = stage.run(steps).await;
        assert_eq!(code(&outcome, "bucket/x"), "not_ours");
        assert!(stage.world.writes().is_empty());
    });
}

#[test]
fn two_that_carry_our_ownership_are_left_to_the_operator() {
    paused(async {
        let stage = Stage::default();
        let wanted = [want("pool/x", json!({}))];
        let steps = stage.plan(&wanted).await.steps;
        for _ in 0..2 {
            stage.world.put("pool", "x", "acme/pool/x", 1, "round");
        }
        let outcome = stage.run(steps).await;
        assert!(outcome.in_doubt());
        assert_eq!((stage.journal.of("pool/x"), stage.world.writes().len()), (vec!["in doubt many".to_owned()], 0));
    });
}

#[test]
fn a_plan_the_world_has_moved_away_from_is_stale() {
    paused(async {
        // Gone since the plan.
        let stage = Stage::default();
        assert!(stage.apply(&[want("bucket/x", json!({}))]).await.complete());
        let steps = stage.plan(&[want("bucket/x", json!({"size": 2}))]).await.steps;
        stage.world.remove("x");
        assert_eq!(code(&stage.run(steps).await, "bucket/x"), "stale_plan");
        // There since the plan, and only making it again would do.
        let stage = Stage::default();
        let steps = stage.plan(&[want("bucket/x", json!({}))]).await.steps;
        stage.world.put("bucket", "x", "acme/bucket/x", 1, "square");
        assert_eq!(code(&stage.run(steps).await, "bucket/x"), "stale_plan");
        assert!(stage.world.writes().is_empty(), "nothing was deleted that the plan does not delete");
    });
}

#[test]
fn a_replacement_waits_until_the_old_one_is_gone() {
    paused(async {
        for (kind, script) in [("bucket", vec![]), ("pool", vec![]), ("service", vec![LoseAfterEffect]), ("pool", vec![LoseBeforeEffect])] {
            let stage = Stage::default();
            stage.world.nature("x", Nature { lingers: 40, ..CALM });
            let short = format!("{kind}/x");
            assert!(stage.apply(&[want(&short, json!({}))]).await.complete());
            stage.world.script(&format!("create {short}"), script.iter().copied());
            let outcome = stage.apply(&[want(&short, json!({"shape": "square"}))]).await;
            assert_eq!(outcome.ends[&at(&short)], End::Done(Action::Replace), "{short} {script:?}");
            assert_eq!((stage.world.things().len(), stage.world.things()[0].shape.as_str()), (1, "square"));
            assert_eq!(stage.world.count(&format!("delete {short}")), 1);
            assert_eq!(stage.journal.of(&short)[3..5], ["deleted", "intended"], "{short} {script:?}");
            assert_eq!(stage.world.unused(), Vec::<String>::new());
        }
    });
}

#[test]
fn deleting_what_is_absent_or_was_never_made_is_success() {
    paused(async {
        let stage = Stage::default();
        assert!(stage.apply(&[want("bucket/x", json!({}))]).await.complete());
        stage.world.remove("x");
        let mut steps = stage.plan(&[]).await.steps;
        let mut never = steps[0].clone();
        (never.address, never.spec, never.recorded) = (at("bucket/never"), json!(null), None);
        never.needs = vec![at("bucket/x")];
        steps.push(never);
        let outcome = stage.run(steps).await;
        assert!(outcome.complete(), "{:?}", outcome.ends);
        assert_eq!(stage.world.count("delete bucket/x"), 0);
        assert_eq!(stage.journal.of("bucket/never"), ["deleted"]);
    });
}

#[test]
fn what_was_made_and_never_finished_can_be_deleted() {
    paused(async {
        let stage = Stage::default();
        stage.world.script("create bucket/x", [Trouble::DieAfter]);
        stage.world.nature("y", Nature { slow: 9999, ..CALM });
        assert_eq!(code(&stage.apply(&[want("tortoise/y", json!({}))]).await, "tortoise/y"), "deadline");
        assert!(stage.apply_and_die(&[want("tortoise/y", json!({})), want("bucket/x", json!({}))]).await);
        assert_eq!(stage.world.names(), ["bucket/x", "tortoise/y"]);
        assert!(stage.apply(&[]).await.complete());
        assert!(stage.world.names().is_empty() && stage.journal.recorded().is_empty());
    });
}

#[test]
fn a_spec_on_record_is_not_searched_for_references_again() {
    paused(async {
        let stage = Stage::default();
        let wanted = [want("bucket/x", json!({"of": ["$${bucket.y.id}"]}))];
        assert!(stage.apply(&wanted).await.complete());
        assert_eq!(stage.journal.recorded()[0].spec["of"], json!(["${bucket.y.id}"]));
        assert!(stage.apply(&[]).await.complete());
        assert!(stage.world.names().is_empty());
    });
}

#[test]
fn a_wait_is_heard_of_at_each_new_reason_and_at_each_heartbeat() {
    paused(async {
        for (heartbeat, at_each_look) in [(Duration::from_secs(3600), false), (Duration::ZERO, true)] {
            let mut stage = Stage::default();
            stage.patience.heartbeat = heartbeat;
            stage.world.nature("x", Nature { slow: 900, ..CALM });
            stage.world.script("create bucket/x", [Busy]);
            assert!(stage.apply(&[want("bucket/x", json!({}))]).await.complete());
            // It is absent for the plan, for both creates, and ready at the last look.
            let waits = if at_each_look { stage.world.count("look bucket/x") - 4 } else { 1 };
            let events = stage.heard.events.lock().unwrap();
            assert_eq!(events.iter().filter(|e| matches!(e, Event::StepRetried { fault, .. } if fault.code == "Throttling")).count(), 1);
            assert_eq!(events.iter().filter(|e| matches!(e, Event::StepWaiting { why, .. } if why == "creating")).count(), waits);
        }
    });
}

#[test]
fn a_wait_of_a_quarter_of_an_hour_is_heard_of_all_the_time() {
    paused(async {
        let stage = Stage::default();
        stage.world.nature("x", Nature { slow: 900, ..CALM });
        assert!(stage.apply(&[want("database/x", json!({}))]).await.complete());
        let events = stage.heard.events.lock().unwrap();
        let mut heard: Vec<Duration> = events.iter().filter_map(|e| if let Event::StepWaiting { elapsed, .. } = e { Some(*elapsed) } else { None }).collect();
        heard.push(Duration::from_secs(900));
        assert!(heard.len() > 30, "{heard:?}");
        let longest = stage.patience.heartbeat + stage.patience.poll_longest;
        assert!(heard.windows(2).all(|two| two[1] - two[0] <= longest), "{heard:?}");
    });
}
