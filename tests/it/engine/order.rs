//! What runs when: needs first, as much at once as allowed, deletions backwards, and no failure reaches further than it must.

use std::sync::{Arc, Mutex};

use labctl::engine::clock::paused;
use labctl::engine::event::Event;
use labctl::engine::run::End;
use labctl::engine::step::Action;
use serde_json::json;

use super::stage::{Stage, at, code, want};
use super::world::Trouble;

#[test]
fn a_step_starts_when_all_it_needs_is_done_and_not_before() {
    paused(async {
        let stage = Stage::default();
        let mut after = want("bucket/last", json!({}));
        after.after = vec![at("service/web")];
        let wanted = [
            after,
            want("service/web", json!({"of": ["${database.main.id}", "${pool.users.id}"]})),
            want("database/main", json!({})),
            want("pool/users", json!({"of": ["${database.main.name}"]})),
        ];
        let done: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&done);
        stage.on_event(move |e| match e {
            Event::StepStarted { address, .. } => seen.lock().unwrap().push(format!("> {}", address.name)),
            Event::StepDone { address, .. } => seen.lock().unwrap().push(format!("< {}", address.name)),
            _ => {}
        });
        assert!(stage.apply(&wanted).await.complete());
        assert_eq!(*done.lock().unwrap(), ["> main", "< main", "> users", "< users", "> web", "< web", "> last", "< last"]);
    });
}

#[test]
fn a_kinds_concurrency_is_used_up_and_never_exceeded() {
    paused(async {
        let stage = Stage::default();
        let wanted: Vec<_> = (0..7).map(|n| want(&format!("bucket/b{n}"), json!({}))).chain((0..5).map(|n| want(&format!("pool/p{n}"), json!({})))).collect();
        for w in &wanted {
            stage.world.script(&format!("create {}/{}", w.address.kind, w.address.name), [Trouble::Slow(40)]);
        }
        assert!(stage.apply(&wanted).await.complete());
        assert_eq!((stage.world.most_at_once("bucket"), stage.world.most_at_once("pool")), (2, 5));
    });
}

#[test]
fn a_panicking_step_gives_its_place_back() {
    paused(async {
        let stage = Stage::default();
        let wanted: Vec<_> = (0..5).map(|n| want(&format!("bucket/b{n}"), json!({}))).collect();
        for n in 0..3 {
            stage.world.script(&format!("create bucket/b{n}"), [Trouble::Panic]);
        }
        let outcome = stage.apply(&wanted).await;
        assert_eq!([0, 1, 2, 3, 4].map(|n| code(&outcome, &format!("bucket/b{n}")).to_owned()), ["panicked", "panicked", "panicked", "done", "done"]);
        assert!(stage.apply(&wanted).await.complete());
    });
}

#[test]
fn a_late_failure_keeps_earlier_work_and_other_branches_finish() {
    paused(async {
        let stage = Stage::default();
        let wanted = [
            want("bucket/early", json!({})),
            want("database/main", json!({"of": ["${bucket.early.id}"]})),
            want("service/api", json!({"of": ["${database.main.id}"]})),
            want("service/web", json!({"of": ["${service.api.id}"]})),
            want("pool/users", json!({"of": ["${bucket.early.id}"]})),
            want("blob/avatar", json!({"of": ["${pool.users.id}"]})),
        ];
        stage.world.script("create database/main", [Trouble::Refuse]);
        stage.world.script("create pool/users", [Trouble::Slow(5)]);
        let outcome = stage.apply(&wanted).await;
        assert_eq!(stage.world.struck()[..1], ["create database/main: Refuse"]);
        assert_eq!(stage.world.names(), ["blob/avatar", "bucket/early", "pool/users"]);
        let skipped = End::Skipped("database/main failed".into());
        assert_eq!((&outcome.ends[&at("service/api")], &outcome.ends[&at("service/web")]), (&skipped, &skipped), "the cause is named, not the neighbour");
        assert!(!outcome.complete() && !outcome.interrupted && !outcome.in_doubt());
        assert_eq!(stage.journal.of("service/web"), ["skipped"]);
        assert!(stage.apply(&wanted).await.complete());
        assert_eq!(stage.world.count("create bucket/early"), 1);
    });
}

#[test]
fn what_depends_on_a_step_in_doubt_is_skipped_and_says_so() {
    paused(async {
        let stage = Stage::default();
        stage.world.script("create blob/x", [Trouble::LoseAfterEffect]);
        let outcome = stage.apply(&[want("blob/x", json!({})), want("bucket/y", json!({"of": ["${blob.x.id}"]}))]).await;
        assert_eq!(outcome.ends[&at("bucket/y")], End::Skipped("blob/x is in doubt".into()));
    });
}

#[test]
fn deletions_go_in_reverse_and_after_everything_that_is_wanted() {
    paused(async {
        let stage = Stage::default();
        let old = [want("bucket/a", json!({})), want("database/b", json!({"of": ["${bucket.a.id}"]})), want("service/c", json!({"of": ["${database.b.id}"]}))];
        assert!(stage.apply(&old).await.complete());
        let made = stage.world.writes().len();
        let outcome = stage.apply(&[want("pool/new", json!({"size": 2}))]).await;
        assert!(outcome.complete());
        assert_eq!(stage.world.writes()[made..], ["create pool/new", "update pool/new", "delete service/c", "delete database/b", "delete bucket/a"]);
        assert_eq!(outcome.ends[&at("bucket/a")], End::Done(Action::Delete));
    });
}

#[test]
fn nothing_is_deleted_when_what_replaces_it_has_failed() {
    paused(async {
        let stage = Stage::default();
        assert!(stage.apply(&[want("bucket/old", json!({}))]).await.complete());
        stage.world.script("create bucket/new", [Trouble::Refuse]);
        let outcome = stage.apply(&[want("bucket/new", json!({}))]).await;
        assert_eq!(code(&outcome, "bucket/old"), "skipped");
        assert_eq!(stage.world.names(), ["bucket/old"]);
    });
}

#[test]
fn who_refers_to_what_an_update_changes_is_changed_with_it() {
    paused(async {
        let stage = Stage::default();
        // `version` of a service moves with its size; `id` does not.
        let wanted = |size: i64| {
            [
                want("service/task", json!({"size": size})),
                want("bucket/by-version", json!({"of": ["${service.task.version}"]})),
                want("bucket/by-id", json!({"of": ["${service.task.id}"]})),
            ]
        };
        assert!(stage.apply(&wanted(2)).await.complete());
        let outcome = stage.apply(&wanted(3)).await;
        assert!(outcome.ends.contains_key(&at("bucket/by-version")) && !outcome.ends.contains_key(&at("bucket/by-id")));
        let recorded = stage.journal.recorded();
        let row = recorded.iter().find(|r| r.address == at("bucket/by-version")).unwrap();
        assert_eq!(row.spec["of"], json!(["task:3"]));
        assert!(stage.plan(&wanted(3)).await.is_empty());
    });
}

#[test]
fn looking_copes_with_more_than_it_looks_at_at_once() {
    paused(async {
        let stage = Stage::default();
        let mut wanted: Vec<_> = (0..50).map(|n| want(&format!("service/s{n}"), json!({}))).collect();
        for n in 1..50 {
            wanted.push(want(&format!("pool/p{n}"), json!({"of": [format!("${{service.s{n}.id}}")]})));
        }
        let first = stage.plan(&wanted).await;
        assert_eq!(first.steps.iter().filter(|s| !s.certain).count(), 49, "what refers to what is not there is seen later");
        assert!(stage.apply(&wanted).await.complete());
        assert!(stage.plan(&wanted).await.is_empty());
    });
}

#[test]
fn a_step_of_no_known_kind_fails_and_takes_its_dependents_along() {
    paused(async {
        let stage = Stage::default();
        let mut steps = stage.plan(&[want("bucket/a", json!({})), want("bucket/b", json!({"of": ["${bucket.a.id}"]})), want("pool/c", json!({}))]).await.steps;
        steps[0].address.kind = "moon".into();
        steps[1].needs = vec![steps[0].address.clone()];
        let outcome = stage.run(steps).await;
        assert_eq!((code(&outcome, "moon/a"), code(&outcome, "bucket/b"), code(&outcome, "pool/c")), ("unknown_kind", "skipped", "done"));
    });
}
