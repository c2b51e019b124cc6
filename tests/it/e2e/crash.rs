//! Killed and interrupted: whatever the moment, the same command (or `operation resume`) finishes, and nothing is there twice.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use labctl::sandbox::connector::{Admin, mended_connector};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use tokio::runtime::Handle;

use super::fixture::{Running, blocking, finished_within, shared};
use super::fleets::{Fleet, count, says};
use super::sweep::{shown, sweep};
use crate::faults::proxy::Proxy;
use crate::faults::{Fault, Faults};

/// When a create is cut off: after so many resources, and a moment that makes the place in the code different each time.
#[derive(Clone, Copy)]
struct Moment {
    created: usize,
    millis: u64,
}

fn begin(id: &str, stack: &str, tier: &str, moment: Moment) -> (Running, String) {
    let spec = shared().spec(id, stack, tier);
    let mut running = shared().spawn(&["tenant", "create", &spec]);
    assert!(running.hear(if moment.created == 0 { "to create" } else { " created " }, moment.created.max(1)), "{}", running.end());
    std::thread::sleep(Duration::from_millis(moment.millis));
    (running, spec)
}

/// The number of the one unfinished operation of a tenant.
fn unfinished(id: &str) -> Option<i64> {
    let found = shared().json(&["operation", "list", "--tenant", id, "--unfinished"]);
    found.as_array().unwrap().first().map(|o| o["number"].as_i64().unwrap())
}

fn finish(id: &str, spec: &str, by_number: bool) {
    let run = match unfinished(id).filter(|_| by_number) {
        Some(number) => shared().run(&["operation", "resume", &number.to_string()]),
        None => shared().run(&["tenant", "create", spec]),
    };
    assert_eq!(run.code, 0, "{id}\n{run}");
    assert_eq!(unfinished(id), None);
    let operations = shared().json(&["operation", "list", "--tenant", id]);
    assert_eq!(operations.as_array().map(Vec::len), Some(1), "it is one operation all along: {operations}");
}

async fn nothing_is_doubled_or_orphaned(ids: &[String]) {
    let found = sweep(shared()).await;
    for id in ids {
        let tenant = shared().json(&["tenant", "show", id]);
        assert_eq!(tenant["status"], "active");
        assert_eq!(found[id], shown(&tenant), "{id}: left what is there, right what is shown");
        let again = shared().ok(&["tenant", "apply", id]);
        assert!(again.err.contains("no changes"), "{again}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_a_create_is_finished_by_the_same_command_or_by_resume() {
    let moments = [
        ("labcloud", "standard", Moment { created: 0, millis: 0 }),
        ("labcloud", "standard", Moment { created: 0, millis: 250 }),
        ("labcloud", "standard", Moment { created: 1, millis: 0 }),
        ("labcloud", "enterprise", Moment { created: 4, millis: 15 }),
        ("mate", "trial", Moment { created: 8, millis: 60 }),
        ("mate", "standard", Moment { created: 14, millis: 5 }),
        ("mate", "enterprise", Moment { created: 20, millis: 0 }),
    ];
    let mut ids = Vec::new();
    for (n, (stack, tier, moment)) in moments.into_iter().enumerate() {
        let id = format!("killed-{n}");
        ids.push(id.clone());
        let work = move || {
            let (running, spec) = begin(&id, stack, tier, moment);
            running.signal(Signal::SIGKILL);
            let run = running.end();
            assert_eq!(run.code, -(Signal::SIGKILL as i32), "it ended before it was killed\n{run}");
            finish(&id, &spec, n % 2 == 0);
        };
        blocking(work).await.unwrap();
    }
    nothing_is_doubled_or_orphaned(&ids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_killed_again_and_again_is_finished_in_the_end() {
    let spec = shared().spec("killed-often", "labcloud", "standard");
    let mut killed = 0;
    for millis in [0, 30, 80, 150] {
        let mut running = shared().spawn(&["tenant", "create", &spec]);
        running.hear(" created ", 1);
        std::thread::sleep(Duration::from_millis(millis));
        let _ = nix::sys::signal::kill(super::fixture::pid(&running.child), Signal::SIGKILL);
        let run = running.end();
        if run.code == 0 {
            break;
        }
        assert_eq!(run.code, -(Signal::SIGKILL as i32), "{run}");
        killed += 1;
    }
    assert!(killed >= 2, "it was too fast to be killed");
    let run = shared().run(&["tenant", "apply", &spec]);
    assert_eq!(run.code, 0, "{run}");
    nothing_is_doubled_or_orphaned(&["killed-often".to_owned()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_drains_exits_130_and_can_be_resumed() {
    let mut ids = Vec::new();
    for (n, signal) in [Signal::SIGINT, Signal::SIGTERM].into_iter().enumerate() {
        let id = format!("interrupted-{n}");
        let (running, spec) = begin(&id, "mate", "trial", Moment { created: 2, millis: 0 });
        running.signal(signal);
        let run = running.end();
        assert_eq!(run.code, 130, "{run}");
        assert!(run.out.is_empty() && run.err.contains("operation resume"), "{run}");
        let shown = shared().json(&["tenant", "show", &id]);
        assert_eq!(shown["status"], "provisioning", "{shown}");
        let number = unfinished(&id).unwrap().to_string();
        let operation = shared().json(&["operation", "show", &number]);
        assert_eq!(operation["status"], "interrupted", "{operation}");
        let steps = operation["steps"].as_array().unwrap();
        assert!(steps.iter().all(|s| s["status"] != "intended"), "what was in flight is recorded: {operation}");
        finish(&id, &spec, n == 0);
        ids.push(id);
    }
    nothing_is_doubled_or_orphaned(&ids).await;
}

/// A platform whose AWS does what it is asked, and keeps one answer to itself for longer than a test lasts.
struct Silent {
    proxy: Proxy,
    config: PathBuf,
    environment: [(&'static str, String); 4],
}

impl Silent {
    async fn at(call: &str) -> Self {
        blocking(|| shared().ok(&["tenant", "list"])).await.unwrap();
        let sandbox = shared().open().await;
        let admin = Admin { user: "labctl_admin".into(), password: shared().passwords()["labctl_admin"].clone().into() };
        let proxy = Proxy::of(&sandbox.endpoint_url, Faults::before(mended_connector(sandbox.endpoint_url.clone(), admin))).await;
        proxy.faults.plan(call, 1, 1, Fault::Timeout);
        let r = &sandbox.registry;
        let profile = json!({
            "region": sandbox.region, "account_id": sandbox.account_id, "environment": "sandbox", "endpoint_url": proxy.endpoint_url,
            "call_timeout_seconds": IN_FLIGHT.as_secs(), "platform": sandbox.platform, "tunnels": sandbox.tunnels,
            "registry": {"host": r.host, "port": r.port, "database": r.database, "user": r.user, "tls": "disable"},
        });
        let config = shared().dir().join(format!("specs/silent-{}.platform", call.replace(':', "-")));
        fs::write(&config, toml::to_string(&json!({"profiles": {"silent": profile}})).unwrap()).unwrap();
        let (key, secret) = sandbox.credentials.clone();
        let environment = [
            ("LABCTL_PROFILE", "silent".to_owned()),
            ("LABCTL_REGISTRY_PASSWORD", r.password.expose_secret().to_owned()),
            ("AWS_ACCESS_KEY_ID", key),
            ("AWS_SECRET_ACCESS_KEY", secret),
        ];
        Self { proxy, config, environment }
    }

    /// Interrupted twice while it waits for that answer.
    async fn twice(&self, id: &'static str, args: &[&str]) {
        let mut command = shared().command(args);
        command.env("LABCTL_CONFIG", &self.config).envs(self.environment.iter().map(|(name, value)| (*name, value)));
        let faults = self.proxy.faults.clone();
        blocking(move || interrupted_twice(id, &mut command, || faults.heard().iter().any(|h| h.fault.is_some() && h.took_effect()))).await.unwrap();
    }
}

/// So long would take what is in flight when the second interrupt comes, and so long may the end take then.
const IN_FLIGHT: Duration = Duration::from_secs(80);
const AT_ONCE: Duration = Duration::from_secs(15);

/// Interrupts a command when something is in flight; sees that it waits for it; interrupts again; sees that it waits no longer, and says so.
fn interrupted_twice(name: &str, command: &mut Command, in_flight: impl Fn() -> bool) {
    let log = shared().dir().join(format!("{name}.interrupts"));
    let mut child = command.stdout(Stdio::piped()).stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
    let said = || fs::read_to_string(&log).unwrap();
    let interrupt = Pid::from_raw(i32::try_from(child.id()).unwrap());
    let mut until = |what: &str, is: &dyn Fn() -> bool| {
        let patience = Instant::now() + Duration::from_secs(60);
        while !is() {
            assert!(child.try_wait().unwrap().is_none() && Instant::now() < patience, "{name}, {what}:\n{}", said());
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    until("nothing is in flight", &in_flight);
    signal::kill(interrupt, Signal::SIGINT).unwrap();
    until("the first is not heard", &|| said().contains("what is in flight is awaited"));
    std::thread::sleep(Duration::from_secs(1));
    assert!(child.try_wait().unwrap().is_none(), "{name}: what is in flight is awaited\n{}", said());
    assert!(!said().contains("stopping at once"), "{name}\n{}", said());
    signal::kill(interrupt, Signal::SIGINT).unwrap();
    let second = Instant::now();
    let run = finished_within(IN_FLIGHT / 2, child);
    let took = second.elapsed();
    assert!(run.code == 130 && took < AT_ONCE, "{name}: exit {} {took:.1?} after the second interrupt\n{}", run.code, said());
    assert!(said().contains("stopping at once; what is in flight is on record as intended, and resuming looks for it"), "{name}\n{}", said());
}

/// Its operation is resumable, and a step of this kind is so on record: a create that may have been carried out is `intended`; an update, which is
/// harmless to make again, has no intent.
fn is_cut_off(id: &str, kind: &str, status: &str) -> i64 {
    let number = unfinished(id).unwrap();
    let operation = shared().json(&["operation", "show", &number.to_string()]);
    assert_eq!(operation["status"], "interrupted", "{operation}");
    let is = |s: &Value| s["status"] == status && s["address"].as_str().unwrap().contains(kind);
    assert!(operation["steps"].as_array().unwrap().iter().any(is), "{operation}");
    number
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_interrupt_stops_at_once_and_can_still_be_resumed() {
    let id = "interrupted-twice";
    let spec = shared().spec(id, "labcloud", "standard");
    let silent = Silent::at("cognito-idp:CreateUserPool").await;
    silent.twice(id, &["tenant", "create", &spec]).await;
    blocking(move || {
        is_cut_off(id, "/cognito_user_pool/", "intended");
        finish(id, &spec, true);
    })
    .await
    .unwrap();
    nothing_is_doubled_or_orphaned(&[id.to_owned()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_interrupt_stops_a_suspend_at_once_too() {
    let id = "interrupted-asleep";
    let spec = shared().spec(id, "mate", "trial");
    blocking(move || shared().ok(&["tenant", "create", &spec])).await.unwrap();
    let silent = Silent::at("ecs:UpdateService").await;
    silent.twice(id, &["tenant", "suspend", id]).await;
    let number = is_cut_off(id, "/ecs_service/", "planned");
    shared().ok(&["operation", "resume", &number.to_string()]);
    assert_eq!((unfinished(id), &shared().json(&["tenant", "show", id])["status"]), (None, &json!("suspended")));
    shared().ok(&["tenant", "drift", id]);
}

/// What is in flight waits for a lock, and would for a minute.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_interrupt_stops_a_fleets_migration_at_once_too() {
    let tag = "cutshort";
    let fleet = Fleet::new(tag, 3).await;
    fleet.file("V3__more.sql", "ALTER TABLE lab_results ADD more int;\n");
    let table = format!("{}.lab_results", fleet.schema(1));
    let mut holder = shared().superuser("shared").await;
    says(&mut holder, &format!("BEGIN; LOCK TABLE {table} IN ACCESS SHARE MODE")).await;
    let args = fleet.args(&["fleet", "migrate", "--tag", &format!("fleet={tag}"), "--lock-timeout", "1m"]);
    let work = move || {
        let mut command = shared().command(&args.iter().map(String::as_str).collect::<Vec<_>>());
        let runtime = Handle::current();
        let mut watcher = runtime.block_on(shared().superuser("shared"));
        let waits = format!("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = '{table}'::regclass");
        let watcher = std::cell::RefCell::new(&mut watcher);
        interrupted_twice(tag, &mut command, || runtime.block_on(count(*watcher.borrow_mut(), &waits)) == 1);
    };
    blocking(work).await.unwrap();
    says(&mut holder, "ROLLBACK").await;
    let status = format!("SELECT status FROM labctl.fleet_runs WHERE options #>> '{{filter,tags,fleet}}' = '{tag}'");
    let status: Vec<String> = sqlx::query_scalar(AssertSqlSafe(status)).fetch_all(&mut shared().registry().await).await.unwrap();
    assert_eq!(status, ["interrupted"]);
    let again = fleet.migrate(&[]).await;
    assert_eq!(again.code, 0, "{again}");
    fleet.all_agree(3).await;
    assert_eq!(fleet.leases().await, 0);
}
