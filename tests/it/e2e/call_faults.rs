//! Every AWS call of a create against every fault: it goes well, or stops cleanly and the next run finishes it, and nothing is there
//! twice. Each commit runs a slice; `LABCTL_TEST_LONG=1` runs all of it, one fault to a tenant, and prints a table.
#![expect(clippy::print_stdout, reason = "the long version prints what it has found")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use labctl::sandbox::connector::{Admin, mended_connector};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::fixture::{Run, World, blocking, ended_within, long, shared};
use super::sweep::{shown, sweep};
use crate::audit::{Scope, audit};
use crate::faults::proxy::Proxy;
use crate::faults::{Fault, Faults, speech};

/// Beyond this a call counts as lost. Long enough for an emulator that serves all tests at once.
const CALL_TIMEOUT: Duration = Duration::from_secs(8);
/// A run may wait a minute for what an unclear call may have made, and half a minute between tries.
const PATIENCE: Duration = Duration::from_secs(400);

/// What is planned: so many calls in a row fail so.
#[derive(Debug, Clone, Copy)]
struct Trouble {
    name: &'static str,
    times: u32,
    fault: Fault,
}

const TROUBLES: [Trouble; 8] = [
    Trouble { name: "latency", times: 1, fault: Fault::Latency(Duration::from_secs(2)) },
    Trouble { name: "throttle", times: 1, fault: Fault::Throttle },
    Trouble { name: "throttle×20", times: 20, fault: Fault::Throttle },
    Trouble { name: "500 before", times: 1, fault: Fault::ErrorBefore },
    Trouble { name: "500 after", times: 1, fault: Fault::ErrorAfter },
    Trouble { name: "time-out", times: 1, fault: Fault::Timeout },
    Trouble { name: "reset", times: 1, fault: Fault::Reset },
    Trouble { name: "malformed", times: 1, fault: Fault::Malformed },
];

/// A platform file whose AWS is a proxy in front of the sandbox's.
struct Place {
    world: &'static World,
    proxy: Proxy,
    folder: PathBuf,
    environment: Vec<(&'static str, String)>,
}

impl Place {
    async fn new(world: &'static World, name: &str) -> Self {
        let sandbox = world.open().await;
        let admin = Admin { user: "labctl_admin".into(), password: world.passwords()["labctl_admin"].clone().into() };
        let faults = Faults::before(mended_connector(sandbox.endpoint_url.clone(), admin));
        let proxy = Proxy::of(&sandbox.endpoint_url, faults).await;
        let folder = world.dir().join(format!("faults-{name}"));
        fs::create_dir(&folder).unwrap();
        let r = &sandbox.registry;
        let profile = json!({
            "region": sandbox.region, "account_id": sandbox.account_id, "environment": "sandbox", "endpoint_url": proxy.endpoint_url,
            "call_timeout_seconds": CALL_TIMEOUT.as_secs(), "platform": sandbox.platform, "tunnels": sandbox.tunnels,
            "registry": {"host": r.host, "port": r.port, "database": r.database, "user": r.user, "tls": "disable"},
        });
        fs::write(folder.join("labctl.toml"), toml::to_string(&json!({"profiles": {"faults": profile}})).unwrap()).unwrap();
        let (key, secret) = sandbox.credentials.clone();
        let environment = vec![
            ("LABCTL_PROFILE", "faults".to_owned()),
            ("LABCTL_REGISTRY_PASSWORD", r.password.expose_secret().to_owned()),
            ("AWS_ACCESS_KEY_ID", key),
            ("AWS_SECRET_ACCESS_KEY", secret),
        ];
        Self { world, proxy, folder, environment }
    }

    /// Once in a sandbox.
    async fn init(self) -> Self {
        let init = self.labctl(&["registry", "init"]).await;
        assert_eq!(init.code, 0, "{init}");
        self
    }

    async fn labctl(&self, args: &[&str]) -> Run {
        let mut command = self.world.command(args);
        command.current_dir(&self.folder).envs(self.environment.iter().map(|(name, value)| (*name, value)));
        blocking(move || ended_within(PATIENCE, &mut command)).await.unwrap()
    }
}

/// In the table.
const NOT_REACHED: &str = "-";

/// How a create under a fault went.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    /// Exit code 0 in spite of it.
    Done,
    /// It stopped with this exit code, and the next run, by this command, finished it.
    Resumed(i32, &'static str),
    /// This call did not come so often.
    NotReached,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.pad("done"),
            Self::Resumed(code, by) => f.pad(&format!("{code}, {by}")),
            Self::NotReached => f.pad(NOT_REACHED),
        }
    }
}

/// A tenant that is made in a place.
struct Case {
    place: Place,
    id: String,
    spec: String,
}

impl Case {
    async fn new(world: &'static World, id: &str, stack: &str, tier: &str) -> Self {
        let spec = world.dir().join("specs").join(world.spec(id, stack, tier)).to_str().unwrap().to_owned();
        Self { place: Place::new(world, id).await, id: id.to_owned(), spec }
    }

    fn faults(&self) -> &Faults {
        &self.place.proxy.faults
    }

    /// The first in a sandbox.
    async fn first(world: &'static World, id: &str, stack: &str, tier: &str) -> Self {
        let case = Self::new(world, id, stack, tier).await;
        Self { place: case.place.init().await, ..case }
    }

    /// A create without any fault: how often each operation is called.
    async fn record(&self) -> BTreeMap<String, u32> {
        let run = self.place.labctl(&["tenant", "create", &self.spec]).await;
        assert_eq!(run.code, 0, "{run}");
        let mut counts = BTreeMap::new();
        for heard in self.faults().heard() {
            *counts.entry(heard.call).or_default() += 1;
        }
        counts
    }

    /// The create, and where it stops, the next run; `how` chooses by which command.
    async fn outcome(&self, trouble: Trouble, how: usize) -> Outcome {
        let run = self.place.labctl(&["tenant", "create", &self.spec, "-o", "json"]).await;
        let (struck, times) = (self.struck(), self.faults().struck().len());
        if struck.is_empty() {
            assert_eq!(run.code, 0, "without any fault\n{run}");
            return Outcome::NotReached;
        }
        // All of it, or until labctl gave up: which it does not at the first.
        let most = usize::try_from(trouble.times).unwrap();
        assert!(times == most || (run.code != 0 && times > 1), "{} struck {times} times\n{run}", trouble.name);
        if run.code == 0 {
            return Outcome::Done;
        }
        self.stopped_cleanly(&run, &struck);
        self.faults().clear();
        let (by, next) = self.next(&run, how).await;
        assert_eq!(next.code, 0, "{by} after {struck:?}\n{run}\n--- then\n{next}");
        Outcome::Resumed(run.code, by)
    }

    fn struck(&self) -> BTreeSet<String> {
        self.faults().struck().into_iter().map(|h| h.call).collect()
    }

    /// The exit code is one that can be gone on from, and the error says which call failed, why, what is left and what to do.
    fn stopped_cleanly(&self, run: &Run, struck: &BTreeSet<String>) {
        assert!([1, 3, 4].contains(&run.code) && run.out.is_empty(), "{struck:?}\n{run}");
        let error = run.error();
        let said = format!("{} {}", error["message"], error["causes"]);
        assert!(struck.iter().any(|call| names(&said, call)), "none of {struck:?} is named\n{run}");
        assert!(!error["code"].as_str().unwrap().is_empty() && error["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{run}");
        assert!(error["left"].as_array().is_some_and(|left| !left.is_empty()), "it does not say what is left\n{run}");
    }

    async fn next(&self, run: &Run, how: usize) -> (&'static str, Run) {
        let number =
            run.error()["hint"].as_str().unwrap().split("operation resume ").nth(1).map(|n| n.chars().take_while(char::is_ascii_digit).collect::<String>());
        match (how % 3, number) {
            (0, Some(number)) => ("resume", self.place.labctl(&["operation", "resume", &number, "-o", "json"]).await),
            (1, Some(_)) => ("apply", self.place.labctl(&["tenant", "apply", &self.spec, "-o", "json"]).await),
            _ => ("create", self.place.labctl(&["tenant", "create", &self.spec, "-o", "json"]).await),
        }
    }

    /// There is nothing left to do, and what is on record.
    async fn settled(&self) -> Vec<(String, String)> {
        self.faults().clear();
        let applied = self.place.labctl(&["tenant", "apply", &self.id]).await;
        assert!(applied.code == 0 && applied.err.contains("no changes"), "{}\n{applied}", self.id);
        let tenant = self.place.labctl(&["tenant", "show", &self.id, "-o", "json"]).await;
        let tenant: Value = serde_json::from_str(&tenant.out).unwrap_or_else(|e| panic!("{e}\n{tenant}"));
        assert_eq!(tenant["status"], "active", "{tenant}");
        shown(&tenant)
    }
}

/// Whether a text names the call. S3's operations have no name on the wire: there the service is enough.
fn names(text: &str, call: &str) -> bool {
    let (service, operation) = call.split_once(':').unwrap();
    if service == "s3" { text.contains("s3:") } else { text.contains(operation) }
}

/// Where a fault means a minute's wait for what may turn up yet: names are not unique there.
const SLOW: [&str; 2] = ["cognito-idp:CreateUserPool", "kms:CreateKey"];

/// Several faults at a time, each operation once, each fault several times. The seed decides who meets what.
#[tokio::test(flavor = "multi_thread")]
async fn a_create_gets_over_a_fault_in_each_of_its_calls() {
    let world = shared();
    let seed: usize = std::env::var("LABCTL_TEST_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(5);
    let tiers = ["trial", "enterprise"];
    let recorded = futures_util::future::join_all(tiers.map(|tier| async move {
        let case = Case::first(world, &format!("unfaulted-{tier}"), "labcloud", tier).await;
        case.record().await
    }));
    let recorded = recorded.await;
    let (mut done, mut all, mut used) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for (tier, calls) in tiers.into_iter().zip(recorded) {
        let fresh: Vec<String> = calls.into_keys().filter(|call| all.insert(call.clone())).collect();
        for share in 0..3 {
            let mine: Vec<(String, Trouble)> = fresh
                .iter()
                .enumerate()
                .filter(|(n, _)| n % 3 == share)
                .map(|(n, call)| {
                    let quick: Vec<Trouble> = TROUBLES.into_iter().filter(|t| fits(*t, call)).collect();
                    (call.clone(), quick[(n + seed) % quick.len()])
                })
                .collect();
            used.extend(mine.iter().map(|(_, t)| t.name));
            let id = format!("faulted-{tier}-{share}");
            done.push(tokio::spawn(async move {
                let case = Case::new(world, &id, "labcloud", tier).await;
                let told = format!("{id}, seed {seed}: {:?}", mine.iter().map(|(call, t)| format!("{call} {}", t.name)).collect::<Vec<_>>());
                for (call, trouble) in &mine {
                    case.faults().plan(call, 1, trouble.times, trouble.fault);
                }
                let mut run = case.place.labctl(&["tenant", "create", &case.spec, "-o", "json"]).await;
                let mut gave_up = BTreeSet::new();
                for how in 0..mine.len() {
                    if run.code == 0 {
                        break;
                    }
                    let said = format!("{} {}", run.error()["message"], run.error()["causes"]);
                    gave_up.extend(mine.iter().filter(|(call, _)| names(&said, call)).map(|(call, _)| call.clone()));
                    case.stopped_cleanly(&run, &case.struck());
                    run = case.next(&run, how).await.1;
                }
                assert_eq!(run.code, 0, "{told}\n{run}");
                let met: BTreeSet<String> = mine.iter().map(|(call, _)| call.clone()).collect();
                assert_eq!(case.struck(), met, "{told}: every fault strikes");
                for (call, trouble) in &mine {
                    let times = case.faults().struck().iter().filter(|h| h.call == *call).count();
                    let most = usize::try_from(trouble.times).unwrap();
                    assert!(times == most || (gave_up.contains(call) && times > 1), "{told}: {call} was struck {times} times");
                }
                (case.id.clone(), case.settled().await, told)
            }));
        }
    }
    assert_eq!(used.len(), TROUBLES.len(), "seed {seed} leaves faults out: {used:?}");
    let mut made = Vec::new();
    for case in done {
        made.push(case.await.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic())));
    }
    let found = sweep(world).await;
    for (id, shown, told) in made {
        assert_eq!(found[&id], shown, "{told}");
    }
}

/// Whether a slice of half a minute can have it.
fn fits(trouble: Trouble, call: &str) -> bool {
    match trouble.fault {
        Fault::ErrorBefore => !SLOW.contains(&call),
        Fault::Throttle if trouble.times > 1 => speech::reads(call),
        _ => true,
    }
}

/// Sandboxes at a time; cases at a time in each, of those that mostly wait and of the others; cases in a sandbox: its emulator grows slower
/// with each.
const LANES: usize = 2;
const WAITING: usize = 16;
const WORKING: usize = 4;
const CASES: usize = 144;

/// One call, one fault.
#[derive(Debug, Clone)]
struct Cell {
    row: usize,
    column: usize,
    call: String,
    nth: u32,
}

impl Cell {
    fn trouble(&self) -> Trouble {
        TROUBLES[self.column]
    }

    /// Half a minute's wait between tries, or a minute's for what may turn up.
    fn waits(&self) -> bool {
        self.trouble().times > 1 || SLOW.contains(&self.call.as_str())
    }
}

/// How the cells of a table went, and what is wrong.
#[derive(Default)]
struct Sheet {
    cells: BTreeMap<(usize, usize), String>,
    wrong: Vec<String>,
}

/// `LABCTL_TEST_LONG=1`, and `LABCTL_TEST_TIERS=labcloud/trial,mate/enterprise` for others than all six; `LABCTL_TEST_CALLS=ecs:,rds:` for the
/// operations whose names begin so, instead of all.
#[tokio::test(flavor = "multi_thread")]
async fn every_call_of_a_create_meets_every_fault() {
    if !long() {
        return;
    }
    let six = ["labcloud", "mate"].map(|stack| ["trial", "standard", "enterprise"].map(|tier| format!("{stack}/{tier}")).join(",")).join(",");
    let tiers = std::env::var("LABCTL_TEST_TIERS").unwrap_or(six);
    let asked_for = std::env::var("LABCTL_TEST_CALLS").unwrap_or_default();
    let (mut wrong, mut met) = (Vec::new(), BTreeSet::new());
    for tier in tiers.split(',') {
        let (stack, tier) = tier.split_once('/').expect("stack/tier");
        wrong.extend(every_call_of(stack, tier, &asked_for, &mut met).await);
    }
    // A slip of the pen in the variable is not a table without a mistake.
    let nowhere: Vec<&str> = asked_for.split(',').filter(|prefix| !met.iter().any(|call| call.starts_with(prefix))).collect();
    assert!(!met.is_empty() && nowhere.is_empty(), "no call of {tiers} begins with {nowhere:?}");
    assert!(wrong.is_empty(), "{} wrong: {}", wrong.len(), wrong.join("\n"));
}

/// The whole table of one tier, or of its calls that begin so, which go into `met`; what is wrong with it.
async fn every_call_of(stack: &str, tier: &str, asked_for: &str, met: &mut BTreeSet<String>) -> Vec<String> {
    let began = Instant::now();
    let recorder: &'static World = Box::leak(Box::new(blocking(World::started).await.unwrap()));
    let calls = Case::first(recorder, "recorded", stack, tier).await.record().await;
    let again = Case::new(recorder, "recorded-again", stack, tier).await.record().await;
    blocking(|| recorder.ok(&["sandbox", "stop", "-q"])).await.unwrap();
    let asked_for = |call: &str| asked_for.split(',').any(|prefix| call.starts_with(prefix));
    let calls: BTreeMap<String, u32> = calls.into_iter().filter(|(call, _)| asked_for(call)).collect();
    if calls.is_empty() {
        println!("{stack} {tier}: none of these calls");
        return Vec::new();
    }
    met.extend(calls.keys().cloned());
    let places: Vec<(String, u32)> = calls.iter().flat_map(|(call, count)| (1..=*count).map(|n| (call.clone(), n))).collect();
    let cells = places.iter().enumerate().flat_map(|(row, (call, nth))| {
        let of = move |column| Cell { row, column, call: call.clone(), nth: *nth };
        (0..TROUBLES.len()).map(of)
    });
    // In every sandbox some that wait, beside others that work.
    let (waiting, working): (Vec<Cell>, Vec<Cell>) = cells.partition(Cell::waits);
    let all = places.len() * TROUBLES.len();
    println!("{stack} {tier}: {} operations, {} calls, {all} cases", calls.len(), places.len());
    let rounds = all.div_ceil(CASES);
    let share = |cells: Vec<Cell>, n: usize| cells.into_iter().enumerate().filter(|(at, _)| at % rounds == n).map(|(_, cell)| cell).collect::<Vec<_>>();
    let queue = (0..rounds).map(|n| (n, [share(waiting.clone(), n), share(working.clone(), n)].concat())).collect::<Vec<_>>();
    let (queue, sheet) = (Arc::new(Mutex::new(queue)), Arc::new(Mutex::new(Sheet::default())));
    let lane = || {
        let (queue, sheet, stack, tier) = (Arc::clone(&queue), Arc::clone(&sheet), stack.to_owned(), tier.to_owned());
        tokio::spawn(async move {
            loop {
                let Some((n, cells)) = queue.lock().unwrap().pop() else { return };
                round(n, cells, &sheet, &stack, &tier).await;
                let sheet = sheet.lock().unwrap();
                println!("{stack} {tier}: {} of {all} cases, {} wrong, {} s", sheet.cells.len(), sheet.wrong.len(), began.elapsed().as_secs());
            }
        })
    };
    let lanes: Vec<_> = (0..LANES).map(|_| lane()).collect();
    for lane in lanes {
        lane.await.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()));
    }
    let mut sheet = std::mem::take(&mut *sheet.lock().unwrap());
    print!("{:<55}", "call");
    TROUBLES.iter().for_each(|t| print!("{:<13}", t.name));
    println!();
    let mut ends: BTreeMap<&str, usize> = BTreeMap::new();
    for (row, (call, nth)) in places.iter().enumerate() {
        print!("{:<55}", format!("{call} {nth}"));
        for (column, trouble) in TROUBLES.iter().enumerate() {
            let cell = &sheet.cells[&(row, column)];
            print!("{cell:<13}");
            *ends.entry(cell).or_default() += 1;
            // A case has one fault, so none before it can have changed the course. But a look is made again while something is not
            // ready, or not seen, yet: how often is a matter of time. A first look and a change are made by every create.
            if cell == NOT_REACHED && (*nth == 1 || !speech::reads(call)) {
                sheet.wrong.push(format!("{stack} {tier}: {call} {nth} was not reached by {}", trouble.name));
            }
        }
        println!();
        let unstruck = (0..TROUBLES.len()).all(|column| sheet.cells[&(row, column)] == NOT_REACHED);
        if unstruck && again.get(call).is_some_and(|count| nth <= count) {
            sheet.wrong.push(format!("{stack} {tier}: two creates made {call} {nth}, and no fault struck it"));
        }
    }
    let missed = ends.remove(NOT_REACHED).unwrap_or(0);
    let (played, wrong) = (all - missed, sheet.wrong.len());
    println!("{stack} {tier}: {all} cases, {played} played, {missed} not reached, {wrong} wrong, {} s; {ends:?}", began.elapsed().as_secs());
    sheet.wrong
}

/// Some cells in a sandbox of their own, which goes with them. In the end everything there is, is on record, and the other way round.
async fn round(n: usize, cells: Vec<Cell>, sheet: &Mutex<Sheet>, stack: &str, tier: &str) {
    let world: &'static World = Box::leak(Box::new(blocking(World::started).await.unwrap()));
    drop(Case::first(world, &format!("first-{n}"), stack, tier).await);
    let turns = [WAITING, WORKING].map(|many| Arc::new(Semaphore::new(many)));
    let case = |cell: Cell| {
        let (turns, id) = (Arc::clone(&turns[usize::from(!cell.waits())]), format!("c{}-{}", cell.row, cell.column));
        let (stack, tier) = (stack.to_owned(), tier.to_owned());
        tokio::spawn(async move {
            let _turn = turns.acquire_owned().await.unwrap();
            let case = Case::new(world, &id, &stack, &tier).await;
            case.faults().plan(&cell.call, cell.nth, cell.trouble().times, cell.trouble().fault);
            let outcome = case.outcome(cell.trouble(), cell.row + cell.column).await;
            (id, outcome, case.settled().await)
        })
    };
    let under_way: Vec<_> = cells.into_iter().map(|cell| (cell.clone(), case(cell))).collect();
    let mut made = Vec::new();
    for (cell, case) in under_way {
        let ended = case.await;
        let mut sheet = sheet.lock().unwrap();
        let said = match ended {
            Ok((id, outcome, shown)) => {
                made.push((id, shown));
                outcome.to_string()
            }
            Err(e) => {
                let why = e.into_panic();
                let why = why.downcast_ref::<String>().cloned().unwrap_or_default();
                let wrong = format!("{stack} {tier}, {} {}, {}: {why}", cell.call, cell.nth, cell.trouble().name);
                println!("{wrong}");
                sheet.wrong.push(wrong);
                "WRONG".to_owned()
            }
        };
        sheet.cells.insert((cell.row, cell.column), said);
    }
    let found = sweep(world).await;
    let verdict = Box::pin(audit(world, Scope::Everything)).await;
    let differs = made.iter().filter(|(id, shown)| found.get(id) != Some(shown));
    let mut wrong: Vec<String> = differs.map(|(id, shown)| format!("{stack} {tier}, {id}: there is {:?}, on record is {shown:?}", found.get(id))).collect();
    if !verdict.is_clean() {
        wrong.push(format!("{stack} {tier}, audited: {verdict}"));
    }
    wrong.iter().for_each(|wrong| println!("{wrong}"));
    sheet.lock().unwrap().wrong.extend(wrong);
    blocking(|| world.ok(&["sandbox", "stop", "-q"])).await.unwrap();
}
