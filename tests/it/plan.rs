//! The planner by scenarios: each file in `tests/scenarios/plan` says what is wanted, on record and in the world, and the plan that
//! follows. One line a step, glyph first; `?` where whether anything is to be done is seen only later.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use labctl::engine::kind::{Address, Tags};
use labctl::engine::look::look;
use labctl::engine::step::{Action, Recorded, Step, Wanted};
use labctl::plan::check::check;
use labctl::plan::drift::Drift;
use labctl::plan::{Input, Plan};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::engine::stage::{Stage, TENANT, at, want};
use crate::engine::world::{KINDS, Nature, World};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    about: String,
    #[serde(default)]
    may_delete_data: bool,
    #[serde(default)]
    as_found: bool,
    #[serde(default)]
    wanted: Vec<WantedRow>,
    #[serde(default)]
    recorded: Vec<RecordedRow>,
    #[serde(default)]
    world: Vec<Thing>,
    plan: String,
    /// What `drift` says of the same; absent: not asked.
    drift: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WantedRow {
    at: String,
    #[serde(default = "nothing")]
    spec: Value,
    #[serde(default)]
    after: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordedRow {
    at: String,
    id: Option<String>,
    intent: Option<String>,
    /// Absent: as is wanted there now.
    spec: Option<Value>,
    #[serde(default)]
    unfinished: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Thing {
    at: String,
    /// Where it says it belongs; absent: to us, at this address.
    owner: Option<String>,
    /// Absent: the address's own.
    name: Option<String>,
    #[serde(default = "one")]
    size: i64,
    #[serde(default = "round")]
    shape: String,
    #[serde(default)]
    creating: bool,
    #[serde(default)]
    broken: bool,
}

fn nothing() -> Value {
    json!({})
}
fn one() -> i64 {
    1
}
fn round() -> String {
    "round".into()
}

impl Scenario {
    fn plan(&self) -> Plan {
        self.both().0
    }

    fn both(&self) -> (Plan, Drift) {
        let stage = Stage::default();
        for t in &self.world {
            let address = at(&t.at);
            let name = t.name.as_deref().unwrap_or(&address.name);
            stage.world.nature(name, Nature { slow: if t.creating { 99 } else { 0 }, broken: t.broken, ..Nature::default() });
            let kind = KINDS.iter().find(|k| k.name() == address.kind).unwrap().name();
            stage.world.put(kind, name, &t.owner.clone().unwrap_or_else(|| address.to_string()), t.size, &t.shape);
        }
        let wanted: Vec<Wanted> =
            self.wanted.iter().map(|row| Wanted { after: row.after.iter().map(|a| at(a)).collect(), ..want(&row.at, row.spec.clone()) }).collect();
        let recorded: Vec<Recorded> = self
            .recorded
            .iter()
            .enumerate()
            .map(|(n, row)| Recorded {
                address: at(&row.at),
                id: row.id.clone(),
                intent: row.intent.clone(),
                spec: row
                    .spec
                    .clone()
                    .or_else(|| wanted.iter().find(|w| w.address == at(&row.at)).map(|w| w.spec.clone()))
                    .unwrap_or_else(|| json!({"name": at(&row.at).name})),
                finished: !row.unfinished && row.id.is_some(),
                tags: Tags::new(),
                position: i32::try_from(n).unwrap(),
            })
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let world = runtime.block_on(look(&stage.world, KINDS, &wanted, &recorded, stage.patience)).unwrap();
        let input =
            Input { tenant: TENANT, wanted: &wanted, recorded: &recorded, world: &world, may_delete_data: self.may_delete_data, as_found: self.as_found };
        (Plan::make(&input, KINDS), Drift::find(&input, KINDS))
    }
}

/// The drift as the scenarios write it; what only the registry has otherwise in brackets.
fn drifted(drift: &Drift) -> String {
    let mut out = String::new();
    for d in &drift.differences {
        let fields = d.fields.iter().map(|f| format!("{}: is {}, should be {}", f.field, f.is, f.should_be));
        let how: Vec<_> = fields.chain(d.detail.clone()).collect();
        writeln!(out, "{}", format!("{:<9} {:<16} {}", d.drift.as_str(), short(&d.address), how.join("; ")).trim_end()).unwrap();
    }
    for b in &drift.bookkeeping {
        writeln!(out, "({}: {} on record, {} there)", short(&b.address), b.recorded, b.is).unwrap();
    }
    out
}

/// The plan as the scenarios write it.
fn text(plan: &Plan, may_delete_data: bool) -> String {
    let mut out = String::new();
    for s in &plan.steps {
        let reasons: Vec<_> = s.changes.iter().map(ToString::to_string).collect();
        let line = format!("{}{} {:<16} {}", s.action.glyph(), if s.certain { ' ' } else { '?' }, short(&s.address), reasons.join(", "));
        writeln!(out, "{}{}", line.trim_end(), s.intent.as_ref().map_or(String::new(), |t| format!("  (intent {t})"))).unwrap();
    }
    for p in &plan.problems {
        writeln!(out, "! {} {}: {}", short(&p.address), p.code, p.message).unwrap();
    }
    for wrong in check(plan, KINDS, may_delete_data) {
        writeln!(out, "wrong: {wrong}").unwrap();
    }
    let (path, seconds) = plan.critical_path();
    if !path.is_empty() {
        let path: Vec<_> = path.iter().map(short).collect();
        writeln!(out, "longest: {} = {seconds} s", path.join(" > ")).unwrap();
    }
    out
}

fn short(address: &Address) -> String {
    format!("{}/{}", address.kind, address.name)
}

#[test]
fn every_scenario_gives_the_plan_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios/plan");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 18, "no scenario was forgotten: {}", files.len());
    let mut wrong = String::new();
    for file in files {
        let scenario: Scenario = toml::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let (plan, drift) = scenario.both();
        if let Some(expected) = scenario.drift.as_ref().filter(|d| **d != drifted(&drift)) {
            writeln!(wrong, "=== {} ({})\n--- expected drift\n{expected}--- is\n{}", file.display(), scenario.about, drifted(&drift)).unwrap();
        }
        let is = text(&plan, scenario.may_delete_data);
        if is != scenario.plan {
            writeln!(wrong, "=== {} ({})\n--- expected\n{}--- is\n{is}", file.display(), scenario.about, scenario.plan).unwrap();
        }
        assert_eq!(scenario.plan(), plan, "{}: the same again gives the same plan", file.display());
        let again: Plan = serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap();
        assert_eq!(again, plan, "{}: it can be written down and read back", file.display());
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Any acyclic tenant, in any order of its template; some of it exists, some differs, some is no longer wanted.
fn any_case() -> impl Strategy<Value = (Vec<Wanted>, Vec<Recorded>, Arc<World>)> {
    let one = (prop::sample::select(vec!["bucket", "pool", "service", "database"]), any::<u32>(), 0..5_u8, 1..3_i64);
    (prop::collection::vec(one, 1..12), any::<prop::sample::Index>()).prop_map(|(all, turn)| {
        let world: Arc<World> = Arc::default();
        let (mut wanted, mut recorded): (Vec<Wanted>, Vec<Recorded>) = (Vec::new(), Vec::new());
        let mut everything: Vec<Wanted> = Vec::new();
        for (n, (kind, links, fate, size)) in all.into_iter().enumerate() {
            let linked = |i: usize| links >> (2 * i) & 3 == 1;
            let of: Vec<_> =
                everything.iter().enumerate().filter(|(i, _)| linked(*i)).map(|(_, w)| format!("${{{}.{}.version}}", w.address.kind, w.address.name)).collect();
            let mut w = want(&format!("{kind}/r{n}"), json!({"size": size, "of": of}));
            w.after = everything.iter().enumerate().filter(|(i, _)| links >> (2 * i) & 3 == 2).map(|(_, w)| w.address.clone()).collect();
            everything.push(w.clone());
            if fate > 0 {
                let kind = KINDS.iter().find(|k| k.name() == kind).unwrap().name();
                let shape = if fate == 2 && kind != "database" { "square" } else { "round" };
                let id = world.put(kind, &w.address.name, &w.address.to_string(), 1, shape);
                let position = i32::try_from(n).unwrap();
                let spec = json!({"name": w.address.name});
                let address = w.address.clone();
                recorded.push(Recorded { address, id: Some(id), intent: None, spec, finished: fate != 3, tags: Tags::new(), position });
            }
            // Nobody else refers to what has just been added: it may go.
            if fate == 4 {
                everything.pop();
            } else {
                wanted.push(w);
            }
        }
        if !wanted.is_empty() {
            let turn = turn.index(wanted.len());
            wanted.rotate_left(turn);
        }
        (wanted, recorded, world)
    })
}

fn plan_of((wanted, recorded, world): &(Vec<Wanted>, Vec<Recorded>, Arc<World>)) -> Plan {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let seen = runtime.block_on(look(world, KINDS, wanted, recorded, Stage::default().patience)).unwrap();
    Plan::make(&Input { tenant: TENANT, wanted, recorded, world: &seen, may_delete_data: true, as_found: false }, KINDS)
}

/// A way to spoil a plan; false where this plan offers no occasion.
type Spoil = fn(&mut Plan) -> bool;

fn first(plan: &mut Plan, which: impl Fn(&Step) -> bool) -> Option<&mut Step> {
    plan.steps.iter_mut().find(|s| which(s))
}

const SPOILS: &[(&str, Spoil)] = &[
    ("a step before what it needs", |p| {
        let Some(n) = p.steps.iter().position(|s| !s.needs.is_empty()) else { return false };
        let step = p.steps.remove(n);
        p.steps.insert(0, step);
        true
    }),
    ("a need that is not in the plan", |p| first(p, |_| true).map(|s| s.needs.push(at("bucket/nowhere"))).is_some()),
    ("a reference without a need", |p| {
        first(p, |s| s.spec["of"].as_array().is_some_and(|of| !of.is_empty()) && s.action != Action::Delete).map(|s| s.needs.clear()).is_some()
    }),
    ("an address twice", |p| {
        let again = p.steps[0].clone();
        p.steps.push(again);
        true
    }),
    ("another tenant's address", |p| first(p, |_| true).map(|s| s.address.tenant = "other".into()).is_some()),
    ("an update without a reason", |p| first(p, |s| s.action == Action::Update).map(|s| s.changes.clear()).is_some()),
    ("something kept that is not on record", |p| first(p, |s| s.action == Action::Keep).map(|s| s.recorded = None).is_some()),
    ("an unknown kind", |p| {
        let Some(last) = p.steps.last_mut() else { return false };
        last.address.kind = "moon".into();
        true
    }),
    ("a reference to what is deleted", |p| {
        let Some(to) = p.steps.iter().find(|s| s.spec["of"].as_array().is_some_and(|of| !of.is_empty()) && s.action != Action::Delete) else { return false };
        let need = to.needs.clone();
        let of = to.spec["of"][0].as_str().unwrap().to_owned();
        first(p, |s| need.contains(&s.address) && of.contains(&format!("{}.{}.", s.address.kind, s.address.name))).map(|s| s.action = Action::Delete).is_some()
    }),
    ("an output nobody offers", |p| {
        let which = |s: &Step| s.spec["of"].as_array().is_some_and(|of| !of.is_empty()) && s.action != Action::Delete;
        first(p, which).map(|s| s.spec["of"][0] = json!(s.spec["of"][0].as_str().unwrap().replace(".version", ".colour"))).is_some()
    }),
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_plan_has_each_address_once_after_all_it_needs_and_passes_the_check(case in any_case()) {
        let plan = plan_of(&case);
        prop_assert_eq!(check(&plan, KINDS, true), Vec::<String>::new());
        for (n, step) in plan.steps.iter().enumerate() {
            for need in &step.needs {
                prop_assert!(plan.steps[..n].iter().any(|s| s.address == *need), "{} stands before {need}", step.address);
            }
        }
        let mut addresses: Vec<_> = plan.steps.iter().map(|s| &s.address).collect();
        let mut all: Vec<_> = case.0.iter().map(|w| &w.address).chain(case.1.iter().map(|r| &r.address)).collect();
        all.sort();
        all.dedup();
        addresses.sort();
        prop_assert_eq!(addresses, all);
        let (path, seconds) = plan.critical_path();
        prop_assert!(seconds <= plan.steps.iter().map(|s| s.seconds).sum());
        prop_assert_eq!(path.is_empty(), plan.is_empty());
    }

    #[test]
    fn the_check_finds_every_planted_wrong(case in any_case()) {
        let sound = plan_of(&case);
        for (what, spoil) in SPOILS {
            let mut plan = sound.clone();
            if spoil(&mut plan) {
                prop_assert!(!check(&plan, KINDS, true).is_empty(), "{what} went unnoticed");
            }
        }
        if sound.deletes_data(KINDS) {
            prop_assert!(!check(&sound, KINDS, false).is_empty(), "data deleted without leave went unnoticed");
        }
    }
}

#[test]
fn every_way_to_spoil_a_plan_finds_an_occasion() {
    let world: Arc<World> = Arc::default();
    let id = world.put("bucket", "a", "acme/bucket/a", 1, "round");
    world.put("bucket", "b", "acme/bucket/b", 1, "round");
    let wanted = vec![want("bucket/a", json!({})), want("bucket/b", json!({"size": 2})), want("pool/c", json!({"of": ["${bucket.b.version}"]}))];
    let row = |name: &str| Recorded {
        address: at(&format!("bucket/{name}")),
        id: Some(if name == "a" { id.clone() } else { name.into() }),
        intent: None,
        spec: json!({"name": name}),
        finished: true,
        tags: Tags::new(),
        position: 0,
    };
    let plan = plan_of(&(wanted, vec![row("a"), row("b")], world));
    assert_eq!(check(&plan, KINDS, false), Vec::<String>::new());
    for (what, spoil) in SPOILS {
        let mut plan = plan.clone();
        assert!(spoil(&mut plan), "{what}");
        assert!(!check(&plan, KINDS, true).is_empty(), "{what} went unnoticed");
    }
}
