//! The registry against a real PostgreSQL: what the database refuses, and what a stale process can no longer write.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall panic")]

#[path = "registry/audit.rs"]
mod audit;
#[path = "registry/clock.rs"]
mod clock;
#[path = "registry/deletion.rs"]
mod deletion;
#[path = "registry/fixture.rs"]
mod fixture;
#[path = "registry/leases.rs"]
mod leases;
#[path = "registry/operations.rs"]
mod operations;
#[path = "registry/outbox.rs"]
mod outbox;
#[path = "registry/settled.rs"]
mod settled;
#[path = "registry/tenants.rs"]
mod tenants;
#[path = "registry/waivers.rs"]
mod waivers;

use std::time::{Duration, Instant};

use labctl::engine::fault::Fault;
use labctl::engine::journal::{Entry, Journal, JournalError};
use labctl::engine::kind::{Address, Outputs, Tags};
use labctl::engine::lease::Lease;
use labctl::engine::step::{Action, Step};
use labctl::registry::operations::{Desired, NewOperation, Outcome, StepStatus};
use labctl::registry::{
    Facts, HeldLease, Holder, NewRevision, OperationFilter, OperationStatus, Process, Registry, RegistryError, ResourceStatus, TenantFilter, TenantStatus,
};
use serde_json::{Value, json};

use fixture::{World, uninitialised, world};

static NO_LIFE: std::sync::LazyLock<serde_json::Value> = std::sync::LazyLock::new(|| serde_json::json!({}));

fn me() -> Holder {
    Holder::this("ana", "build-3")
}

/// Another process of this machine; whether it lives is what the test says.
fn other(pid: i32) -> Holder {
    Holder { who: "bo".into(), host: "build-4".into(), process: Process { pid, ..Process::this() } }
}

async fn lease(registry: &Registry, tenant: &str) -> HeldLease {
    registry.acquire_lease(tenant, &me(), "tenant create", Process::is_alive).await.unwrap()
}

fn facts<'a>(subdomain: &'a str, names: &'a [(String, String)]) -> Facts<'a> {
    Facts { external_id: None, display_name: "City Lab", subdomain, stack: "labcloud", tier: "trial", isolation: "schema", names }
}

fn schema(name: &str) -> Vec<(String, String)> {
    vec![("schema".to_owned(), name.to_owned())]
}

fn revision(spec: &Value) -> NewRevision<'_> {
    NewRevision { spec, life: &NO_LIFE, stack_version: Some("1"), tier_version: Some("1"), command: "labctl tenant create", note: None }
}

async fn register(registry: &Registry, tenant: &str) -> HeldLease {
    let lease = lease(registry, tenant).await;
    registry.register_tenant(&lease, &facts(tenant, &schema(tenant)), &revision(&json!({"id": tenant}))).await.unwrap();
    lease
}

fn address(tenant: &str, name: &str) -> Address {
    Address::new(tenant, "s3_bucket", name)
}

fn step(address: Address, action: Action) -> Step {
    Step {
        address,
        action,
        changes: vec![],
        spec: json!({"name": "${x.y.z}"}),
        tags: Tags::from([("labctl:tenant".to_owned(), "t".to_owned())]),
        needs: vec![],
        recorded: None,
        certain: true,
        intent: None,
        unfinished: false,
        outputs: Outputs::new(),
        seconds: 1,
    }
}

const fn operation<'a>(plan: &'a Value, steps: &'a [Step]) -> NewOperation<'a> {
    NewOperation { verb: "create", command: "labctl tenant create x.toml", plan, steps, status: None, supersede: None }
}

/// A tenant with an operation that makes `data` and `logs`.
async fn begun(registry: &Registry, tenant: &str) -> (HeldLease, i64) {
    let lease = lease(registry, tenant).await;
    let steps = [step(address(tenant, "data"), Action::Create), step(address(tenant, "logs"), Action::Create)];
    let names = schema(tenant);
    let (facts, spec) = (facts(tenant, &names), json!({}));
    let begun = registry.begin_operation(&lease, Desired::New(&facts, &revision(&spec)), &operation(&json!({"v": 1}), &steps)).await.unwrap();
    assert_eq!(begun.revision, 1);
    (lease, begun.operation)
}

fn intended(token: &str, attempt: u32) -> Entry {
    Entry::Intended { token: token.into(), attempt, spec: json!({"name": "x"}) }
}

fn created(id: &str) -> Entry {
    Entry::Created { id: id.into() }
}

fn done(id: &str) -> Entry {
    Entry::Done { action: Action::Create, id: id.into(), spec: json!({"name": id}), outputs: Outputs::from([("arn".to_owned(), format!("arn:{id}"))]) }
}

fn failed() -> Entry {
    Entry::Failed { fault: Fault::refused("s3:CreateBucket", "AccessDenied", "no") }
}

#[tokio::test]
async fn an_uninitialised_registry_says_so_and_two_inits_at_once_are_harmless() {
    let world = uninitialised().await;
    let error = Registry::connect(&world.settings).await.unwrap_err();
    assert!(matches!(error, RegistryError::NotInitialised { .. }), "{error}");
    assert!(error.hint().unwrap().contains("labctl registry init"));
    assert!(!world.registry.status().await.unwrap().initialised);

    let second = Registry::open(&world.settings);
    let (a, b) = tokio::join!(world.registry.init(), second.init());
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_eq!(a.id, b.id);
    assert_eq!(a.from + b.from, a.version, "one of them made it, the other found it made");
    assert_eq!(world.registry.init().await.unwrap().from, a.version);
    let status = Registry::connect_or_init(&world.settings).await.unwrap().status().await.unwrap();
    assert_eq!((status.initialised, status.id, status.tenants), (true, Some(a.id), 0));
}

#[tokio::test]
async fn a_registry_newer_than_this_binary_is_refused() {
    let world = world().await;
    world.sql("INSERT INTO labctl.registry_migrations VALUES (9999, 'later', 'x')").await.unwrap();
    for error in [Registry::connect(&world.settings).await.unwrap_err(), Registry::open(&world.settings).init().await.unwrap_err()] {
        assert!(matches!(error, RegistryError::TooNew { version: 9999, .. }), "{error}");
    }
}

#[tokio::test]
async fn a_schema_of_somebody_else_is_left_alone() {
    let world = uninitialised().await;
    world.sql("CREATE SCHEMA labctl; CREATE TABLE labctl.theirs ()").await.unwrap();
    let error = world.registry.init().await.unwrap_err();
    assert!(matches!(&error, RegistryError::Foreign { why, .. } if why.contains("closed")), "{error}");
    world.sql("GRANT ALL ON SCHEMA labctl TO labctl_registry").await.unwrap();
    let error = world.registry.init().await.unwrap_err();
    assert!(matches!(&error, RegistryError::Foreign { why, .. } if why.contains("tables")), "{error}");
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_named_at_once() {
    let world = uninitialised().await;
    let since = Instant::now();
    let nowhere = labctl::registry::Settings { port: fixture::free_port(), ..world.settings.clone() };
    let error = Registry::connect(&nowhere).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unreachable { .. }), "{error}");
    assert!(since.elapsed() < Duration::from_secs(8), "{:?}", since.elapsed());
    let wrong = labctl::registry::Settings { database: "no_such".into(), ..world.settings.clone() };
    let error = Registry::connect(&wrong).await.unwrap_err();
    assert!(error.to_string().contains("no_such"), "{error}");
}
