//! Any graph, any faults, any crashes: trying again to the end makes exactly what is wanted, each thing once, and in order.
//!
//! Waits are scaled and not slept: a wait is so many looks, and a look here takes microseconds. Tokio's paused clock would need another
//! feature of tokio, and with it another build of the SDK.

use std::collections::BTreeMap;
use std::time::Duration;

use labctl::engine::step::Wanted;
use proptest::prelude::*;
use serde_json::json;

use super::stage::{Stage, at, want};
use super::world::{Nature, Trouble};

/// One thing of a random tenant: kind, size, whom it refers to and whom it only comes after (bits), and what it is like.
type Seed = (&'static str, i64, u64, u64, (u32, u32, u32));

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
    let kind = prop::sample::select(vec!["bucket", "pool", "service", "database"]);
    (kind, 1..4_i64, any::<u64>(), any::<u64>(), (0..4_u32, 0..3_u32, 0..3_u32))
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
    prop::sample::select(vec![None, None, Refuse, Busy, LoseBeforeEffect, LoseAfterEffect, Panic, Slow(1)])
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
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut stage = Stage::default();
            // What is invisible for a while has tests of its own: there the time that passes matters, which a loaded machine stretches.
            stage.patience.invisible = Duration::from_millis(4);
            for (n, (_, _, _, _, (slow, lingers, late))) in seeds.iter().enumerate() {
                stage.world.nature(&format!("r{n}"), Nature { slow: *slow, lingers: *lingers, late: *late, ..Nature::default() });
            }
            let name = |n: usize| format!("{}/r{}", seeds[n % seeds.len()].0, n % seeds.len());
            for (n, verb, trouble) in &troubles {
                stage.world.script(&format!("{verb} {}", name(*n)), [*trouble]);
            }
            for n in &blinks {
                stage.world.script(&format!("look {}", name(*n)), [Trouble::Busy, Trouble::None]);
            }
            let (made, grown) = (tenant(&seeds, |s| s), tenant(&seeds, |s| s * 7));
            let tries = troubles.len() + 12;
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

/// What takes fifteen minutes of looks is waited for, and the wait costs nothing but the looks: no entry in the journal, no write.
#[tokio::test]
async fn a_long_wait_costs_looks_and_nothing_else() {
    let stage = Stage::default();
    // Fifteen minutes at the longest pause between two looks, ten seconds, and the shorter ones before.
    const LOOKS: u32 = 120;
    stage.world.nature("main", Nature { slow: LOOKS, ..Nature::default() });
    let wanted = [want("database/main", json!({})), want("bucket/quick", json!({}))];
    assert!(stage.apply(&wanted).await.complete());
    assert_eq!(stage.journal.of("database/main"), ["intended", "created", "done create"]);
    assert_eq!(stage.world.writes().len(), 2);
    let looks = stage.world.count("look database/main");
    assert!((LOOKS as usize..LOOKS as usize + 8).contains(&looks), "{looks} looks");
    // A process that dies in the wait loses none of it: the next one makes nothing again.
    let stage = Stage::default();
    stage.world.nature("main", Nature { slow: LOOKS, ..Nature::default() });
    *stage.journal.die_after.lock().unwrap() = Some(1);
    assert!(stage.apply_and_die(&wanted[..1]).await);
    assert!(stage.apply(&wanted[..1]).await.complete());
    assert_eq!(stage.world.count("create database/main"), 1);
    assert!(stage.journal.recorded().iter().any(|r| r.address == at("database/main") && r.finished));
}
