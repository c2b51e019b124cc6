//! The outbox: an event with every operation, in its transaction; deliveries claimed once, in order, and given up in the end.

use labctl::registry::outbox::{Claim, Claimed, DeliveryStatus, EventFilter, EventRow};

use super::*;

const RECEIVERS: [&str; 2] = ["sns", "webhook/crm"];

fn telling(world: &World) -> Registry {
    world.registry.clone().telling(RECEIVERS.map(str::to_owned))
}

async fn events(registry: &Registry, tenant: &str) -> Vec<EventRow> {
    let mut all = registry.events(&EventFilter { tenant: Some(tenant.into()), ..EventFilter::default() }).await.unwrap();
    all.reverse();
    all
}

async fn types(registry: &Registry, tenant: &str) -> Vec<String> {
    events(registry, tenant).await.into_iter().map(|e| e.r#type).collect()
}

async fn claim(registry: &Registry, all: bool) -> Vec<Claimed> {
    let since = registry.now().await.unwrap();
    registry.claim_deliveries(&Claim { receivers: &RECEIVERS.map(str::to_owned), all, since }).await.unwrap()
}

fn ended(status: OperationStatus, tenant: Option<TenantStatus>) -> Outcome<'static> {
    Outcome { status, summary: &Value::Null, calls: &Value::Null, tenant }
}

#[tokio::test]
async fn every_verb_writes_its_events_with_its_operation() {
    let world = world().await;
    let registry = telling(&world);
    let (lease, number) = begun(&registry, "a1").await;
    registry.finish_operation(&lease, number, &ended(OperationStatus::Done, Some(TenantStatus::Active))).await.unwrap();
    let (names, spec) = (schema("a1"), json!({}));
    let mut parent = 1;
    let verbs = [
        ("scale", "trial", TenantStatus::Active, "update"),
        ("deploy", "trial", TenantStatus::Active, "update"),
        ("rename", "trial", TenantStatus::Active, "update"),
        ("apply", "trial", TenantStatus::Active, "update"),
        ("apply", "standard", TenantStatus::Active, "tierChange"),
        ("suspend", "standard", TenantStatus::Suspended, "deactivate"),
        ("resume", "standard", TenantStatus::Active, "activate"),
        ("delete", "standard", TenantStatus::Deleted, "deactivate"),
        ("undelete", "standard", TenantStatus::Active, "activate"),
    ];
    let mut expected = vec!["onboarding.started".to_owned(), "onboarding.succeeded".to_owned()];
    for (verb, tier, status, word) in verbs {
        let facts = Facts { tier, ..facts("a1", &names) };
        let revision = revision(&spec);
        let new = NewOperation { verb, status: Some(TenantStatus::Updating), ..operation(&spec, &[]) };
        let begun = registry.begin_operation(&lease, Desired::Changed { parent, facts: &facts, revision: &revision }, &new).await.unwrap();
        registry.finish_operation(&lease, begun.operation, &ended(OperationStatus::Done, Some(status))).await.unwrap();
        parent += 1;
        expected.extend([format!("{word}.started"), format!("{word}.succeeded")]);
    }
    for status in [TenantStatus::Deleted, TenantStatus::Purging] {
        registry.set_status(&lease, status).await.unwrap();
    }
    let purge = NewOperation { verb: "purge", ..operation(&spec, &[]) };
    let begun = registry.begin_operation(&lease, Desired::AsIs { revision: parent }, &purge).await.unwrap();
    registry.finish_operation(&lease, begun.operation, &ended(OperationStatus::Done, Some(TenantStatus::Purged))).await.unwrap();
    expected.extend(["offboarding.started".to_owned(), "offboarding.succeeded".to_owned()]);
    // A purged tenant made anew goes on counting.
    let facts = facts("a1", &names);
    let apply = NewOperation { verb: "apply", ..operation(&spec, &[]) };
    registry.begin_operation(&lease, Desired::New(&facts, &revision(&spec)), &apply).await.unwrap();
    expected.push("onboarding.started".to_owned());

    let found = events(&registry, "a1").await;
    assert_eq!(found.iter().map(|e| e.r#type.clone()).collect::<Vec<_>>(), expected);
    assert_eq!(found.iter().map(|e| e.sequence).collect::<Vec<_>>(), (1..=23).collect::<Vec<_>>());
    assert!(found.iter().all(|e| e.deliveries.iter().map(|d| d.receiver.as_str()).eq(RECEIVERS)), "one delivery for each receiver");
    let event = &found[1];
    assert_eq!(
        event.body,
        json!({
            "specversion": "1.0", "id": event.id, "source": format!("/labctl/registry/{}", registry.id().await.unwrap()), "type": "onboarding.succeeded",
            "subject": "a1", "time": event.at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true), "datacontenttype": "application/json",
            "data": {
                "sequence": 2, "tenant": "a1", "external_id": null, "display_name": "City Lab", "subdomain": "a1", "stack": "labcloud", "tier": "trial",
                "isolation": "schema", "status": "active", "revision": 1, "operation": number, "verb": "create", "operation_status": "done", "attempt": 1,
                "who": "ana", "host": "build-3"
            }
        })
    );
    assert!(world.sql("UPDATE labctl.events SET body = '{}'").await.is_err(), "what was told stays as it was told");
}

#[tokio::test]
async fn a_failed_begin_leaves_no_event_and_a_fenced_end_neither() {
    let world = world().await;
    let registry = telling(&world);
    let lease = lease(&registry, "a1").await;
    let (names, spec) = (schema("a1"), json!({}));
    let facts = facts("a1", &names);
    let wrong = NewOperation { status: Some(TenantStatus::Suspended), ..operation(&spec, &[]) };
    registry.begin_operation(&lease, Desired::New(&facts, &revision(&spec)), &wrong).await.unwrap_err();
    assert!(types(&registry, "a1").await.is_empty());

    let begun = registry.begin_operation(&lease, Desired::New(&facts, &revision(&spec)), &operation(&spec, &[])).await.unwrap();
    let illegal = registry.finish_operation(&lease, begun.operation, &ended(OperationStatus::Done, Some(TenantStatus::Purged))).await;
    assert!(matches!(illegal, Err(RegistryError::IllegalMove(_))), "{illegal:?}");
    registry.break_lease("a1", &other(1), None).await.unwrap();
    registry.finish_operation(&lease, begun.operation, &ended(OperationStatus::Done, None)).await.unwrap_err();
    assert_eq!(types(&registry, "a1").await, ["onboarding.started"]);
}

#[tokio::test]
async fn each_attempt_is_told_and_what_was_given_up_or_overtaken_failed() {
    let world = world().await;
    let registry = telling(&world);
    let (lease, number) = begun(&registry, "a1").await;
    registry.finish_operation(&lease, number, &ended(OperationStatus::Interrupted, None)).await.unwrap();
    registry.continue_operation(&lease, number, &operation(&Value::Null, &[])).await.unwrap();
    registry.abort_operation(&lease, number, None).await.unwrap();
    let told = types(&registry, "a1").await;
    assert_eq!(told, ["onboarding.started", "onboarding.failed", "onboarding.started", "onboarding.failed"]);
    assert_eq!(events(&registry, "a1").await[1].body["data"]["operation_status"], "interrupted");

    let (lease, first) = begun(&registry, "b1").await;
    let overtaking = NewOperation { verb: "apply", supersede: Some(first), ..operation(&Value::Null, &[]) };
    let second = registry.begin_operation(&lease, Desired::AsIs { revision: 1 }, &overtaking).await.unwrap().operation;
    assert_eq!(types(&registry, "b1").await, ["onboarding.started", "onboarding.failed", "update.started"]);
    registry.finish_operation(&lease, second, &ended(OperationStatus::Failed, None)).await.unwrap();
    registry.abort_operation(&lease, second, None).await.unwrap();
    assert_eq!(types(&registry, "b1").await.last().unwrap(), "update.failed");
    assert_eq!(types(&registry, "b1").await.len(), 4, "a failure is told once");
}

#[tokio::test]
async fn deliveries_are_claimed_once_and_in_order() {
    let world = world().await;
    let registry = telling(&world);
    let (lease, number) = begun(&registry, "a1").await;
    registry.finish_operation(&lease, number, &ended(OperationStatus::Done, Some(TenantStatus::Active))).await.unwrap();
    let second = Registry::open(&world.settings);
    let (a, b) = tokio::join!(claim(&registry, false), claim(&second, false));
    let mut claimed = [a, b].concat();
    claimed.sort_by(|a, b| a.receiver.cmp(&b.receiver));
    let short: Vec<_> = claimed.iter().map(|c| (c.receiver.as_str(), c.r#type.as_str(), c.attempts)).collect();
    assert_eq!(short, [("sns", "onboarding.started", 1), ("webhook/crm", "onboarding.started", 1)], "the first to each, and to nobody twice");
    assert!(claim(&registry, true).await.is_empty(), "all are under way, and what follows waits for them");

    registry.delivered(&claimed[0]).await.unwrap();
    registry.undelivered(&claimed[1], "it is down", Some(Duration::from_secs(3600))).await.unwrap();
    let next = claim(&registry, false).await;
    assert_eq!(next.iter().map(|c| (c.receiver.as_str(), c.r#type.as_str())).collect::<Vec<_>>(), [("sns", "onboarding.succeeded")]);
    let again = claim(&registry, true).await;
    assert_eq!(again.iter().map(|c| (c.receiver.as_str(), c.attempts)).collect::<Vec<_>>(), [("webhook/crm", 2)], "what is not due is claimed when asked for");

    registry.undelivered(&again[0], "it is down", None).await.unwrap();
    let dead = registry.events(&EventFilter { status: Some(DeliveryStatus::Dead), ..EventFilter::default() }).await.unwrap();
    assert_eq!((dead.len(), dead[0].deliveries[1].error.as_deref(), dead[0].deliveries[1].attempts), (1, Some("it is down"), 2));
    let after = claim(&registry, false).await;
    assert_eq!(after[0].r#type, "onboarding.succeeded", "what was given up blocks nothing");
    assert_eq!(claim(&registry, true).await[0].r#type, "onboarding.started", "and is sent again when asked for");
}

#[tokio::test]
async fn what_a_dead_deliverer_has_claimed_is_sent_again() {
    let world = world().await;
    let registry = telling(&world);
    begun(&registry, "a1").await;
    let lost = claim(&registry, false).await;
    assert_eq!(lost.len(), 2);
    world.sql("UPDATE labctl.deliveries SET claimed_until = clock_timestamp() - interval '1 s'").await.unwrap();
    let again = claim(&registry, false).await;
    assert_eq!(again.iter().map(|c| c.attempts).collect::<Vec<_>>(), [2, 2]);
    registry.undelivered(&lost[0], "late", None).await.unwrap();
    let row = events(&registry, "a1").await.remove(0);
    assert_eq!(row.deliveries[0].status, DeliveryStatus::Pending, "an attempt that was overtaken says nothing any more");
    registry.delivered(&lost[0]).await.unwrap();
    let row = events(&registry, "a1").await.remove(0);
    assert_eq!(row.deliveries[0].status, DeliveryStatus::Delivered, "but that the receiver has it counts");
}
