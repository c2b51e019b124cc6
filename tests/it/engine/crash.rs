//! A process may die anywhere: the next one finishes, and nothing is there twice.

use labctl::engine::clock::paused;
use labctl::engine::run::End;
use labctl::engine::step::{Action, Wanted};
use proptest::prelude::*;
use serde_json::json;

use super::stage::{Stage, TENANT, want};
use super::world::{Nature, Trouble};

/// Three kinds of identity, references, a follow-up setting, and waiting.
fn tenant() -> Vec<Wanted> {
    vec![
        want("bucket/logs", json!({})),
        want("pool/users", json!({"size": 3})),
        want("database/main", json!({"of": ["${bucket.logs.id}"]})),
        want("service/web", json!({"size": 2, "of": ["${database.main.id}", "${pool.users.id}"]})),
    ]
}

fn slow_world() -> Stage {
    let stage = Stage::default();
    stage.world.nature("main", Nature { slow: 900, ..Nature::default() });
    stage.world.nature("users", Nature { hidden: 30, ..Nature::default() });
    stage.world.nature("logs", Nature { lingers: 20, ..Nature::default() });
    stage
}

async fn finishes_without_doubles(stage: &Stage, wanted: &[Wanted], case: &str) {
    let outcome = stage.apply(wanted).await;
    assert!(outcome.complete(), "{case}: {:?}", outcome.ends);
    let mut names: Vec<_> = wanted.iter().map(|w| format!("{}/{}", w.address.kind, w.address.name)).collect();
    names.sort();
    assert_eq!(stage.world.names(), names, "{case}");
    assert!(stage.plan(wanted).await.is_empty(), "{case}: nothing is left to do");
    stage.every_start_has_an_end_but_the_killed();
}

impl Stage {
    /// A killed run leaves starts without ends; the run after it must not.
    fn every_start_has_an_end_but_the_killed(&self) {
        let mut events = self.heard.events.lock().unwrap();
        let last = events.iter().rposition(|e| matches!(e, labctl::engine::event::Event::Started { .. })).unwrap_or_default();
        events.drain(..last);
        drop(events);
        self.every_start_has_an_end();
    }
}

/// The stages of a life: what is there before, and what is wanted next.
async fn lives() -> Vec<(&'static str, Vec<Wanted>, Vec<Wanted>)> {
    let mut grown = tenant();
    grown[1].spec["size"] = json!(7);
    grown[3].spec["shape"] = json!("square");
    vec![("create", vec![], tenant()), ("update and replace", tenant(), grown), ("delete", tenant(), vec![])]
}

/// Every life, killed at the first, second, … place of one sort until there is none left. `set` arms the nth place of a run and has a word for
/// it; `died` looks at where it died.
async fn killed_everywhere(set: impl Fn(&Stage, usize) -> String, died: impl Fn(&Stage), at_least: usize) {
    for (life, before, wanted) in lives().await {
        for n in 0.. {
            let stage = slow_world();
            assert!(stage.apply(&before).await.complete());
            let place = set(&stage, n);
            if !stage.apply_and_die(&wanted).await {
                assert!(n >= at_least, "{life}: only {n} places like `{place}` were reached");
                break;
            }
            died(&stage);
            finishes_without_doubles(&stage, &wanted, &format!("{life}, killed {place}")).await;
        }
    }
}

#[test]
fn killed_before_or_after_any_entry_the_next_run_completes_and_doubles_nothing() {
    paused(async {
        for after_commit in [false, true] {
            let set = |stage: &Stage, n: usize| {
                let entry = stage.journal.entries.lock().unwrap().len() + n;
                *if after_commit { &stage.journal.die_after } else { &stage.journal.die_before }.lock().unwrap() = Some(entry);
                format!("{} entry {n}", if after_commit { "after" } else { "before" })
            };
            killed_everywhere(set, |_| {}, 4).await;
        }
    });
}

#[test]
fn killed_before_or_after_any_call_takes_effect_the_next_run_completes_and_doubles_nothing() {
    paused(async {
        for how in [Trouble::DieBefore, Trouble::DieAfter] {
            let set = |stage: &Stage, n: usize| {
                stage.world.die_at_write(n, how);
                format!("{how:?} in call {n}")
            };
            killed_everywhere(set, |stage| assert_eq!(stage.world.struck().len(), 1, "it died in a call"), 3).await;
        }
    });
}

#[test]
fn every_step_may_be_run_twice() {
    paused(async {
        for (life, before, wanted) in lives().await {
            let stage = slow_world();
            assert!(stage.apply(&before).await.complete());
            let steps = stage.plan(&wanted).await.steps;
            assert!(stage.run(steps.clone()).await.complete(), "{life}");
            let (things, writes) = (stage.world.names(), stage.world.writes().len());
            // The same steps again, as if nothing of the first run were on record.
            let again = stage.run(steps.clone()).await;
            assert!(again.complete(), "{life}: {:?}", again.ends);
            assert_eq!((stage.world.names(), stage.world.writes().len()), (things, writes), "{life}: the second run called nothing");
            let idle = |s: &labctl::engine::step::Step| matches!(again.ends.get(&s.address), None | Some(End::Done(Action::Keep | Action::Delete)));
            assert!(steps.iter().all(idle), "{life}: {:?}", again.ends);
        }
    });
}

#[test]
fn resume_creates_with_the_token_of_the_open_intent() {
    paused(async {
        let stage = Stage::default();
        let wanted = [want("service/web", json!({}))];
        stage.world.script("create service/web", [Trouble::DieBefore]);
        assert!(stage.apply_and_die(&wanted).await);
        assert!(stage.apply(&wanted).await.complete());
        let tokens = stage.journal.tokens("service/web");
        assert_eq!((tokens.len(), &tokens[0]), (2, &tokens[1]));
        assert_eq!(stage.world.things()[0].token, tokens[0]);
    });
}

#[test]
fn an_intent_that_nothing_can_find_again_stays_in_doubt_and_is_not_repeated() {
    paused(async {
        for how in [Trouble::DieBefore, Trouble::DieAfter] {
            let stage = Stage::default();
            let wanted = [want("blob/x", json!({}))];
            stage.world.script("create blob/x", [how]);
            assert!(stage.apply_and_die(&wanted).await);
            for _ in 0..2 {
                let outcome = stage.apply(&wanted).await;
                assert!(outcome.in_doubt() && !outcome.complete());
            }
            assert_eq!(stage.world.count("create blob/x"), 1);
        }
    });
}

#[test]
fn what_an_earlier_run_may_have_made_is_looked_for_as_long_as_it_may_be_invisible() {
    paused(async {
        let stage = Stage::default();
        stage.world.nature("users", Nature { hidden: 55, ..Nature::default() });
        let wanted = [want("pool/users", json!({}))];
        stage.world.script("create pool/users", [Trouble::DieAfter]);
        assert!(stage.apply_and_die(&wanted).await);
        finishes_without_doubles(&stage, &wanted, "hidden for 55 seconds").await;
        assert_eq!(stage.world.count("create pool/users"), 1);
    });
}

#[test]
fn what_an_earlier_run_has_made_and_never_saw_is_neither_made_again_nor_left_behind() {
    paused(async {
        for kind in ["pool", "blob"] {
            let short = format!("{kind}/x");
            for wanted in [vec![want(&short, json!({}))], vec![]] {
                let stage = Stage::default();
                stage.world.nature("x", Nature { hidden: 55, ..Nature::default() });
                // The id is on record, and before anything can be seen of it the process is gone.
                *stage.journal.die_after.lock().unwrap() = Some(1);
                assert!(stage.apply_and_die(&[want(&short, json!({}))]).await);
                assert_eq!(stage.journal.of(&short), ["intended", "created"]);
                finishes_without_doubles(&stage, &wanted, &format!("{short}, then {} wanted", wanted.len())).await;
                assert_eq!(stage.world.count(&format!("create {short}")), 1);
            }
        }
    });
}

#[test]
fn a_plan_without_any_record_adopts_what_carries_our_ownership() {
    paused(async {
        let stage = slow_world();
        assert!(stage.apply(&tenant()).await.complete());
        stage.journal.entries.lock().unwrap().clear();
        finishes_without_doubles(&stage, &tenant(), "the registry was lost").await;
    });
}

#[test]
fn what_vanished_is_made_again() {
    paused(async {
        let stage = slow_world();
        assert!(stage.apply(&tenant()).await.complete());
        stage.world.remove("logs");
        stage.world.remove("main");
        finishes_without_doubles(&stage, &tenant(), "the emulator was restarted").await;
    });
}

fn any_tenant() -> impl Strategy<Value = Vec<Wanted>> {
    let one = (prop::sample::select(vec!["bucket", "pool", "service", "database"]), 1..4_i64, any::<u64>());
    prop::collection::vec(one, 1..8).prop_map(|all| {
        let mut wanted: Vec<Wanted> = Vec::new();
        for (n, (kind, size, links)) in all.into_iter().enumerate() {
            let of: Vec<_> =
                wanted.iter().enumerate().filter(|(i, _)| links >> i & 3 == 3).map(|(_, w)| format!("${{{}.{}.id}}", w.address.kind, w.address.name)).collect();
            wanted.push(want(&format!("{kind}/r{n}"), json!({"size": size, "of": of})));
        }
        wanted
    })
}

fn any_trouble() -> impl Strategy<Value = Trouble> {
    prop::sample::select(vec![
        Trouble::None,
        Trouble::None,
        Trouble::Refuse,
        Trouble::Busy,
        Trouble::LoseBeforeEffect,
        Trouble::LoseAfterEffect,
        Trouble::Panic,
        Trouble::DieBefore,
        Trouble::DieAfter,
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_trying_again_comes_to_an_end_with_one_of_each(
        wanted in any_tenant(),
        creates in prop::collection::vec(any_trouble(), 0..4),
        updates in prop::collection::vec(any_trouble(), 0..3),
    ) {
        paused(async {
            let stage = Stage::default();
            for w in &wanted {
                let name = format!("{}/{}", w.address.kind, w.address.name);
                stage.world.script(&format!("create {name}"), creates.iter().copied());
                stage.world.script(&format!("update {name}"), updates.iter().copied());
            }
            // Each run gets past at least one trouble of at least one thing.
            for _ in 0..wanted.len() * 7 + 1 {
                stage.apply_and_die(&wanted).await;
                if stage.plan(&wanted).await.is_empty() {
                    break;
                }
            }
            finishes_without_doubles(&stage, &wanted, "in the end").await;
            assert!(stage.world.things().iter().all(|t| t.owner.starts_with(TENANT)));
            assert!(wanted.iter().all(|w| stage.journal.recorded().iter().any(|r| r.address == w.address && r.finished)));
        });
    }
}
