//! Any graph, any faults, any crashes: trying again to the end makes exactly what is wanted, each thing once, and in order.
//!
//! The clock is paused (`engine::clock`) and the patience an operator's: things take up to fifteen minutes, are not visible for up to a
//! minute after they were made, and no wait costs anything. What doubles come from is among the cases: a lost reply, then a crash, and
//! nothing to be seen yet.

use std::collections::BTreeMap;
use std::time::Duration;

use labctl::engine::clock::{Instant, paused};
use labctl::engine::step::Wanted;
use proptest::prelude::*;
use serde_json::json;

use super::stage::{Stage, at, want};
use super::world::{Nature, Trouble};

/// One thing of a random tenant: kind, size, whom it refers to and whom it only comes after (bits), and what it is like.
type Seed = (&'static str, i64, u64, u64, Nature);

/// Where a run is cut off.
#[derive(Debug, Clone, Copy)]
enum Crash {
    Not,
    /// Before or after this many more entries of the journal.
    Entry(usize, bool),
    /// Before or after the effect of this many more calls.
    Call(usize, bool),
}

fn any_seed() -> impl Strategy<Value = Seed> {
    let kind = prop::sample::select(vec!["bucket", "pool", "pool", "service", "database", "tortoise"]);
    (kind, 1..4_i64, any::<u64>(), any::<u64>(), any_nature())
}

/// Seconds. What was made is visible within the minute that `Patience::invisible` gives it; a tortoise may take longer than its deadline.
fn any_nature() -> impl Strategy<Value = Nature> {
    let seconds = |most: u32| prop_oneof![1 => Just(0), 2 => 1..most];
    (seconds(60), prop_oneof![1 => Just(0), 1 => 1..120_u32, 1 => Just(15 * 60)], seconds(600), seconds(60)).prop_map(|(hidden, slow, lingers, late)| Nature {
        hidden,
        slow,
        lingers,
        late,
        ..Nature::default()
    })
}

fn any_crash() -> impl Strategy<Value = Crash> {
    prop_oneof![
        Just(Crash::Not),
        (0..12_usize, any::<bool>()).prop_map(|(n, after)| Crash::Entry(n, after)),
        (0..8_usize, any::<bool>()).prop_map(|(n, after)| Crash::Call(n, after)),
    ]
}

fn any_trouble() -> impl Strategy<Value = Trouble> {
    use Trouble::{Busy, LoseAfterEffect, LoseBeforeEffect, None, Panic, Refuse, Slow};
    prop::sample::select(vec![None, None, Refuse, Busy, LoseBeforeEffect, LoseAfterEffect, Panic, Slow(20_000)])
}

/// References and orders only point backwards, to one in four of the earlier ones.
fn tenant(seeds: &[Seed], size: impl Fn(i64) -> i64) -> Vec<Wanted> {
    let mut wanted: Vec<Wanted> = Vec::new();
    for (n, (kind, own, links, afters, _)) in seeds.iter().enumerate() {
        let chosen = |bits: u64, i: usize| bits >> (2 * i % 60) & 3 == 3;
        let of: Vec<String> =
            wanted.iter().enumerate().filter(|(i, _)| chosen(*links, *i)).map(|(_, w)| format!("${{{}.{}.id}}", w.address.kind, w.address.name)).collect();
        let mut one = want(&format!("{kind}/r{n}"), json!({"size": size(*own), "of": of}));
        one.after = wanted.iter().enumerate().filter(|(i, _)| chosen(*afters, *i)).map(|(_, w)| w.address.clone()).collect();
        wanted.push(one);
    }
    wanted
}

fn needs(w: &Wanted) -> Vec<String> {
    let of = w.spec["of"].as_array().unwrap().iter().map(|r| r.as_str().unwrap().trim_start_matches("${").trim_end_matches(".id}").replace('.', "/"));
    of.chain(w.after.iter().map(|a| format!("{}/{}", a.kind, a.name))).collect()
}

/// Nothing came to be before what it needs, nothing went before what needs it, and nothing came or went twice in a life.
fn in_order(effects: &[String], wanted: &[Wanted]) {
    let needs: BTreeMap<String, Vec<String>> = wanted.iter().map(|w| (format!("{}/{}", w.address.kind, w.address.name), needs(w))).collect();
    let mut there: Vec<&str> = Vec::new();
    for effect in effects {
        let (sign, name) = effect.split_at(1);
        if sign == "+" {
            assert!(!there.contains(&name), "{name} came to be twice: {effects:?}");
            assert!(needs[name].iter().all(|n| there.contains(&n.as_str())), "{name} came to be before what it needs: {effects:?}");
            there.push(name);
        } else {
            assert!(there.contains(&name), "{name} went twice: {effects:?}");
            assert!(there.iter().all(|t| !needs[*t].iter().any(|n| n == name)), "{name} went before what needs it: {effects:?}");
            there.retain(|t| *t != name);
        }
    }
}

/// Tries until nothing is left to do, each time with the next crash; panics if that never comes.
async fn to_the_end(stage: &Stage, wanted: &[Wanted], crashes: &[Crash], tries: usize) {
    for n in 0..tries {
        match crashes.get(n) {
            Some(Crash::Entry(more, after)) => {
                let entry = stage.journal.entries.lock().unwrap().len() + more;
                *if *after { &stage.journal.die_after } else { &stage.journal.die_before }.lock().unwrap() = Some(entry);
            }
            Some(Crash::Call(more, after)) => stage.world.die_at_write(*more, if *after { Trouble::DieAfter } else { Trouble::DieBefore }),
            _ => {}
        }
        stage.apply_and_die(wanted).await;
        if n + 1 >= crashes.len() && stage.plan(wanted).await.is_empty() {
            return;
        }
    }
    panic!("not finished after {tries} runs: {:?}", stage.journal.lines());
}

fn cases() -> u32 {
    if std::env::var_os("LABCTL_TEST_LONG").is_some() { 5000 } else { 96 }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_graph_with_any_faults_and_crashes_ends_as_wanted_with_each_thing_made_once_and_in_order(
        seeds in prop::collection::vec(any_seed(), 1..10),
        troubles in prop::collection::vec((0..10_usize, prop::sample::select(vec!["create", "update", "delete"]), any_trouble()), 0..14),
        blinks in prop::collection::vec(0..10_usize, 0..4),
        crashes in (prop::collection::vec(any_crash(), 0..4), prop::collection::vec(any_crash(), 0..3), prop::collection::vec(any_crash(), 0..3)),
    ) {
        paused(async {
            let stage = Stage::default();
            for (n, (.., nature)) in seeds.iter().enumerate() {
                stage.world.nature(&format!("r{n}"), *nature);
            }
            let name = |n: usize| format!("{}/r{}", seeds[n % seeds.len()].0, n % seeds.len());
            for (n, verb, trouble) in &troubles {
                stage.world.script(&format!("{verb} {}", name(*n)), [*trouble]);
            }
            for n in &blinks {
                stage.world.script(&format!("look {}", name(*n)), [Trouble::Busy, Trouble::None]);
            }
            let (made, grown) = (tenant(&seeds, |s| s), tenant(&seeds, |s| s * 7));
            // Each trouble may end a run, each crash, and each thing that is late for longer than a run waits.
            let tries = troubles.len() + 3 * seeds.len() + 12;
            to_the_end(&stage, &made, &crashes.0, tries).await;
            assert_eq!(stage.world.effects().len(), seeds.len(), "each once: {:?}", stage.world.effects());
            to_the_end(&stage, &grown, &crashes.1, tries).await;
            let sizes: BTreeMap<String, i64> = stage.world.things().into_iter().map(|t| (t.name, t.size)).collect();
            assert!(seeds.iter().enumerate().all(|(n, s)| sizes[&format!("r{n}")] == s.1 * 7), "{sizes:?}");
            assert_eq!(stage.world.effects().len(), seeds.len(), "a change makes nothing: {:?}", stage.world.effects());
            to_the_end(&stage, &[], &crashes.2, tries).await;
            assert_eq!(stage.world.names(), Vec::<String>::new());
            in_order(&stage.world.effects(), &made);
            assert_eq!(stage.world.effects().len(), 2 * seeds.len(), "each came and went once");
        });
    }
}

/// What takes fifteen minutes is waited for, and the wait costs nothing but looks: no entry in the journal, no write, and here no time.
#[test]
fn fifteen_minutes_of_waiting_cost_looks_and_nothing_else() {
    const LONG: Duration = Duration::from_secs(15 * 60);
    let really = std::time::Instant::now();
    paused(async {
        let stage = Stage::default();
        stage.world.nature("main", Nature { slow: 15 * 60, ..Nature::default() });
        let wanted = [want("database/main", json!({})), want("bucket/quick", json!({}))];
        let outcome = stage.apply(&wanted).await;
        assert!(outcome.complete());
        let took = outcome.took[&at("database/main")];
        assert!((LONG..LONG + stage.patience.poll_longest).contains(&took), "{took:?}");
        assert!(outcome.took[&at("bucket/quick")] < stage.patience.poll_longest);
        assert_eq!(stage.journal.of("database/main"), ["intended", "created", "done create"]);
        assert_eq!(stage.world.writes().len(), 2);
        // One each fifteen seconds, and the closer ones before.
        let looks = stage.world.count("look database/main");
        assert!((60..80).contains(&looks), "{looks} looks");
        // A process that dies in the wait loses none of it: the next one makes nothing again, and waits for what is left.
        let stage = Stage::default();
        stage.world.nature("main", Nature { slow: 15 * 60, ..Nature::default() });
        *stage.journal.die_after.lock().unwrap() = Some(1);
        let begun = Instant::now();
        assert!(stage.apply_and_die(&wanted[..1]).await);
        assert!(stage.apply(&wanted[..1]).await.complete());
        assert!((LONG..LONG + stage.patience.poll_longest).contains(&begun.elapsed()), "{:?}", begun.elapsed());
        assert_eq!(stage.world.count("create database/main"), 1);
        assert!(stage.journal.recorded().iter().any(|r| r.address == at("database/main") && r.finished));
    });
    assert!(really.elapsed() < Duration::from_secs(5), "half an hour took {:?}", really.elapsed());
}
