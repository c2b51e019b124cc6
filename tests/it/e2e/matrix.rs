//! The matrix of kills, long version only: every place of every verb, at every tier, and every way on (docs/reliability.md).
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the tables are for people, and what is wrong is told at once")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use labctl::failpoint::ALL;

use super::fixture::{World, blocking, long};
use super::killed::{Case, Neighbour, Played, Point, Scene, WAYS, Way, audit, play_all, scout};
use crate::audit::{self, Scope};

pub const CREATE: &str = "tenant create {id}.toml";
pub const DELETE: &str = "tenant delete {id} --confirm {id}";
pub const PURGE: &str = "tenant purge {id} --now --confirm {id}";

/// Every verb, at every tier of one stack.
macro_rules! scenes {
    ($stack:literal, $tier:literal) => {
        [
            scene("create", $stack, $tier, &[], CREATE, "active", None),
            scene("suspend", $stack, $tier, &[CREATE], "tenant suspend {id}", "suspended", Some("tenant resume {id}")),
            scene("resume", $stack, $tier, &[CREATE, "tenant suspend {id}"], "tenant resume {id}", "active", Some("tenant suspend {id}")),
            scene(
                "rename",
                $stack,
                $tier,
                &[CREATE],
                "tenant rename {id} --subdomain {id}-x --display-name Other",
                "active",
                Some("tenant rename {id} --subdomain {id} --display-name Former"),
            ),
            scene(
                "rename-physical",
                $stack,
                $tier,
                &[CREATE],
                "tenant rename {id} --subdomain {id}-x --physical",
                "active",
                Some("tenant rename {id} --subdomain {id} --physical"),
            ),
            // A second rotation comes by other places than the first, which makes the other logins.
            scene("rotate", $stack, $tier, &[CREATE], "tenant credentials rotate {id} --role all --grace 0", "active", None),
            scene("delete", $stack, $tier, &[CREATE], DELETE, "deleted", Some("tenant undelete {id}")),
            scene("undelete", $stack, $tier, &[CREATE, DELETE], "tenant undelete {id}", "active", Some(DELETE)),
            scene("purge", $stack, $tier, &[CREATE, DELETE], PURGE, "purged", None),
            Scene { migrates: true, ..scene("migrate", $stack, $tier, &[CREATE], "tenant migrate {id}", "active", Some("")) },
        ]
    };
}

const fn scene(
    name: &'static str,
    stack: &'static str,
    tier: &'static str,
    before: &'static [&'static str],
    line: &'static str,
    ends: &'static str,
    back: Option<&'static str>,
) -> Scene {
    Scene { name, stack, tier, before, line, ends, back, migrates: false }
}

pub static LABCLOUD: [[Scene; 10]; 3] = [scenes!("labcloud", "trial"), scenes!("labcloud", "standard"), scenes!("labcloud", "enterprise")];
pub static MATE: [[Scene; 10]; 3] = [scenes!("mate", "trial"), scenes!("mate", "standard"), scenes!("mate", "enterprise")];
/// Services are only to be scaled and deployed where a stack has some.
pub static SERVICES: [Scene; 2] = [
    scene(
        "scale",
        "mate",
        "standard",
        &[CREATE],
        "tenant scale {id} --service django --min 2 --max 4 --desired 3",
        "active",
        Some("tenant scale {id} --service django --min 1 --max 5 --desired 1"),
    ),
    scene(
        "deploy",
        "mate",
        "standard",
        &[CREATE],
        "tenant deploy {id} --all-services --image 123456789012.dkr.ecr.us-east-1.amazonaws.com/mate@sha256:7777777777777777777777777777777777777777777777777777777777777777",
        "active",
        Some(
            "tenant deploy {id} --all-services --image 123456789012.dkr.ecr.us-east-1.amazonaws.com/mate@sha256:8888888888888888888888888888888888888888888888888888888888888888",
        ),
    ),
];

/// How many sandboxes at a time, and how many tenants at a time in each: most wait, up to a minute, for what an unclear call may have made.
const LANES: usize = 2;
const HANDS: usize = 6;
/// So many cases are played between two audits, and so many tenants in a sandbox: its emulator grows slower with each.
const BATCH: usize = 150;
const TENANTS: usize = 130;

/// What is still to be done.
enum Work {
    Scout(usize, &'static Scene),
    Play(usize, Vec<Vec<Case>>),
}

/// Of one scene: what was played, and how much is still to be.
#[derive(Default)]
struct Sheet {
    played: Vec<(Case, Played)>,
    wrong: BTreeMap<String, String>,
    seconds: u64,
    parts: usize,
    title: String,
}

#[derive(Default)]
struct Desk {
    queue: VecDeque<Work>,
    /// Who scouts will have more to play.
    scouting: usize,
    sheets: BTreeMap<usize, Sheet>,
    /// What an audit of a whole sandbox has found.
    verdicts: Vec<String>,
}

type Shared = Arc<Mutex<Desk>>;

fn at(desk: &Shared) -> std::sync::MutexGuard<'_, Desk> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The cases of a scene, as chains that one tenant can serve. Right before and right after an effect of a create: each way on; with
/// `LABCTL_TEST_WAYS=all` at every place of every verb. Else one way in turn: there the world is as the effects beside have left it.
fn chains(number: usize, scene: &'static Scene, points: &[Point]) -> Vec<Vec<Case>> {
    let is_effect = |name: &str| ["aws.", "sql.", "migration.", "step.", "rotate."].iter().any(|part| name.starts_with(part));
    let case = |point: &Point, way| Case { scene, point: point.clone(), way, id: String::new() };
    let all_ways = wanted("LABCTL_TEST_WAYS").is_some();
    let places = wanted("LABCTL_TEST_PLACES");
    let is_wanted = |name: &str| places.as_ref().is_none_or(|places| places.iter().any(|part| name.contains(part)));
    let (each, rest): (Vec<&Point>, Vec<&Point>) =
        points.iter().filter(|p| is_wanted(&p.name)).partition(|p| all_ways || scene.name == "create" && is_effect(&p.name));
    let by_each = each.into_iter().flat_map(|point| WAYS.map(|way| case(point, way)));
    let in_turn = rest.into_iter().zip(WAYS.iter().cycle()).map(|(point, way)| case(point, *way));
    let all: Vec<Case> = by_each.chain(in_turn).collect();
    let mut chains: Vec<Vec<Case>> = all.chunks(if scene.back.is_some() { WAYS.len() } else { 1 }).map(<[Case]>::to_vec).collect();
    for (n, chain) in chains.iter_mut().enumerate() {
        chain.iter_mut().for_each(|case| case.id = format!("k{number}-{n}"));
    }
    chains
}

/// A sandbox, one after the other, and what is done in it.
async fn lane(desk: Shared) {
    let mut ground: Option<(&'static World, Neighbour, usize)> = None;
    loop {
        let work = {
            let mut desk = at(&desk);
            let work = desk.queue.pop_front();
            desk.scouting += usize::from(matches!(work, Some(Work::Scout(..))));
            if work.is_none() && desk.scouting == 0 {
                break;
            }
            work
        };
        let Some(work) = work else {
            tokio::time::sleep(Duration::from_millis(200)).await;
            continue;
        };
        if ground.as_ref().is_some_and(|(.., tenants)| *tenants >= TENANTS) {
            leave(ground.take(), &desk).await;
        }
        let (world, _, tenants) = match &mut ground {
            Some(ground) => ground,
            none => none.insert(enter().await),
        };
        let world = *world;
        match work {
            Work::Scout(number, scene) => {
                let points = blocking(move || scout(world, scene, &format!("scout-{number}"))).await.unwrap();
                *tenants += 1;
                let parts = parts(number, chains(number, scene, &points));
                let mut desk = at(&desk);
                desk.scouting -= 1;
                desk.sheets.insert(number, Sheet { parts: parts.len(), title: title(scene), ..Sheet::default() });
                parts.into_iter().rev().for_each(|part| desk.queue.push_front(part));
            }
            Work::Play(number, chains) => {
                *tenants += chains.len();
                let ids: Vec<String> = chains.iter().filter_map(|chain| Some(chain.first()?.id.clone())).collect();
                let began = Instant::now();
                let played = play_all(world, chains, HANDS).await;
                let wrong = audit(world, &ids).await;
                told(&desk, number, played, wrong, began.elapsed().as_secs());
            }
        }
    }
    leave(ground, &desk).await;
}

/// As many chains as make a batch.
fn parts(number: usize, chains: Vec<Vec<Case>>) -> Vec<Work> {
    let per_part = BATCH / chains.first().map_or(1, Vec::len);
    chains.chunks(per_part).map(|part| Work::Play(number, part.to_vec())).collect()
}

async fn enter() -> (&'static World, Neighbour, usize) {
    let world: &'static World = Box::leak(Box::new(blocking(World::started).await.unwrap()));
    (world, Neighbour::new(world, "beside-lab", "labcloud", "trial").await, 1)
}

/// The last look at a sandbox: the neighbour, and the auditor's, at everything there is.
async fn leave(ground: Option<(&'static World, Neighbour, usize)>, desk: &Shared) {
    let Some((world, neighbour, tenants)) = ground else { return };
    neighbour.is_untouched().await;
    let verdict = Box::pin(audit::audit(world, Scope::Everything)).await;
    println!("a sandbox of {tenants} tenants audited: {verdict}");
    if !verdict.is_clean() {
        at(desk).verdicts.push(verdict.to_string());
    }
    blocking(|| world.ok(&["sandbox", "stop", "-q"])).await.unwrap();
}

/// A part of a scene is done; with the last one its table is printed.
fn told(desk: &Shared, number: usize, played: Vec<(Case, Played)>, wrong: BTreeMap<String, String>, seconds: u64) {
    let mut desk = at(desk);
    let sheet = desk.sheets.entry(number).or_default();
    for (id, why) in &wrong {
        eprintln!("{id}\n{why}\n");
    }
    sheet.played.extend(played);
    sheet.wrong.extend(wrong);
    sheet.seconds += seconds;
    sheet.parts -= 1;
    let title = &sheet.title;
    println!("{title}: {} cases so far, {} wrong, {} s, {} parts left", sheet.played.len(), sheet.complaints().len(), sheet.seconds, sheet.parts);
    if sheet.parts == 0 {
        println!("{}", table(&sheet.played, &sheet.wrong));
    }
}

impl Sheet {
    fn complaints(&self) -> Vec<String> {
        let failed = self.played.iter().filter_map(|(case, answer)| answer.as_ref().err().map(|why| format!("{case}\n{why}")));
        failed.chain(self.wrong.iter().map(|(id, why)| format!("{id}\n{why}"))).collect()
    }
}

/// Cases of one verb, place and way on.
#[derive(Default)]
struct Row<'a> {
    cases: usize,
    clean: usize,
    answers: BTreeMap<&'a str, usize>,
}

/// The cases and how they ended.
pub fn table(played: &[(Case, Played)], wrong: &BTreeMap<String, String>) -> String {
    let mut rows: BTreeMap<(String, &str, Way), Row<'_>> = BTreeMap::new();
    for (case, answer) in played {
        let row = rows.entry((title(case.scene), &case.point.name, case.way)).or_default();
        row.cases += 1;
        row.clean += usize::from(answer.is_ok() && !wrong.contains_key(&case.id));
        *row.answers.entry(answer.as_deref().unwrap_or("failed")).or_default() += 1;
    }
    let mut lines = vec![format!("{:<38} {:<24} {:<7} {:>5} {:>5}  answers", "tenant and verb", "killed at", "then", "cases", "clean")];
    for ((scene, place, way), Row { cases, clean, answers }) in &rows {
        let answers: Vec<_> = answers.iter().map(|(answer, n)| format!("{answer} ×{n}")).collect();
        lines.push(format!("{scene:<38} {place:<24} {:<7} {cases:>5} {clean:>5}  {}", format!("{way:?}").to_lowercase(), answers.join(", ")));
    }
    lines.push(format!("{} cases, {} clean", played.len(), rows.values().map(|r| r.clean).sum::<usize>()));
    lines.join("\n")
}

fn title(scene: &Scene) -> String {
    format!("{} {} {}", scene.stack, scene.tier, scene.name)
}

/// What a variable asks for, part by part.
fn wanted(variable: &str) -> Option<Vec<String>> {
    let text = std::env::var(variable).ok()?;
    Some(text.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect())
}

/// Whether its title has each of these words: `create`, `labcloud trial purge`.
fn is_called(scene: &Scene, words: &str) -> bool {
    words.split_whitespace().all(|word| title(scene).split(' ').any(|w| w == word))
}

/// The scenes that are called so. Without any: all of one stack, and of the other what makes, stops, starts and removes the kinds that only it
/// has; in the order create, purge, and whatever changes a tenant that is there.
fn chosen(words: Option<&[String]>) -> Vec<&'static Scene> {
    let all = || LABCLOUD.iter().chain(&MATE).flatten().chain(&SERVICES);
    for words in words.unwrap_or_default() {
        assert!(all().any(|scene| is_called(scene, words)), "LABCTL_TEST_KILLS: there is no `{words}`");
    }
    let others = ["create", "suspend", "resume", "delete", "purge", "scale", "deploy"];
    let is_chosen = |scene: &Scene| match words {
        None => scene.stack == "labcloud" || others.contains(&scene.name),
        Some(words) => words.iter().any(|words| is_called(scene, words)),
    };
    let mut scenes: Vec<&Scene> = all().filter(|scene| is_chosen(scene)).collect();
    scenes.sort_by_key(|scene| (scene.name != "create", scene.name != "purge"));
    scenes
}

/// `LABCTL_TEST_KILLS` chooses scenes, see [`chosen`]; `LABCTL_TEST_PLACES=before,sql.` those places whose names hold one of these.
#[tokio::test(flavor = "multi_thread")]
async fn killed_anywhere_every_verb_of_every_tier_ends_clean_by_each_way_on() {
    if !long() {
        return;
    }
    assert!(wanted("LABCTL_TEST_WAYS").is_none_or(|ways| ways == ["all"]), "LABCTL_TEST_WAYS may be `all`");
    let places = wanted("LABCTL_TEST_PLACES");
    for part in places.iter().flatten() {
        assert!(ALL.iter().any(|(name, _)| name.contains(part)), "LABCTL_TEST_PLACES: there is no `{part}`");
    }
    let desk: Shared = Shared::default();
    at(&desk).queue = chosen(wanted("LABCTL_TEST_KILLS").as_deref()).into_iter().enumerate().map(|(n, scene)| Work::Scout(n, scene)).collect();
    let lanes: Vec<_> = (0..LANES).map(|_| tokio::spawn(lane(Arc::clone(&desk)))).collect();
    for lane in lanes {
        lane.await.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()));
    }
    let desk = at(&desk);
    println!("\n{:<38} {:>6} {:>6} {:>6} {:>8}", "tenant and verb", "places", "cases", "clean", "seconds");
    let (mut cases, mut complaints) = (0, desk.verdicts.clone());
    for sheet in desk.sheets.values() {
        if sheet.played.is_empty() && places.is_none() {
            complaints.push(format!("{}: it has no places", sheet.title));
        }
        let places: std::collections::BTreeSet<_> = sheet.played.iter().map(|(case, _)| case.point.to_string()).collect();
        let clean = sheet.played.iter().filter(|(case, answer)| answer.is_ok() && !sheet.wrong.contains_key(&case.id)).count();
        println!("{:<38} {:>6} {:>6} {clean:>6} {:>8}", sheet.title, places.len(), sheet.played.len(), sheet.seconds);
        cases += sheet.played.len();
        complaints.extend(sheet.complaints());
    }
    for part in places.iter().flatten() {
        let is_played = desk.sheets.values().flat_map(|sheet| &sheet.played).any(|(case, _)| case.point.name.contains(part));
        complaints.extend((!is_played).then(|| format!("LABCTL_TEST_PLACES: none of these comes by `{part}`")));
    }
    println!("{cases} cases, {} complaints", complaints.len());
    assert!(cases > 0 && complaints.is_empty(), "{} complaints\n{}", complaints.len(), complaints.join("\n\n"));
}
