//! Operations and their journal: what is on record after each entry, and after a crash.

use super::*;

#[tokio::test]
async fn intended_created_done_leave_a_ready_resource_and_replays_change_nothing() {
    let world = world().await;
    let registry = &world.registry;
    let (lease, number) = begun(registry, "a1").await;
    let (journal, data) = (registry.journal(number, &lease), address("a1", "data"));
    let look = || async { registry.resources("a1").await.unwrap().remove(0) };

    journal.write(&data, &intended("t1", 1)).await.unwrap();
    let row = look().await;
    assert_eq!((row.status, row.intent(), row.recorded(), &row.spec), (ResourceStatus::Intended, Some("t1"), None, &json!({"name": "x"})));
    journal.write(&data, &created("b-1")).await.unwrap();
    let row = look().await;
    assert_eq!((row.status, row.intent(), row.recorded()), (ResourceStatus::Created, None, Some("b-1")));
    journal.write(&data, &intended("t1", 1)).await.unwrap();
    assert_eq!(look().await, row, "a late copy of the intent does not take the id away");
    journal.write(&data, &created("b-1")).await.unwrap();
    journal.write(&data, &done("b-1")).await.unwrap();
    let row = look().await;
    assert_eq!((row.status, row.recorded(), &row.spec), (ResourceStatus::Ready, Some("b-1"), &json!({"name": "b-1"})));
    assert_eq!((row.outputs["arn"].as_str(), row.tags["labctl:tenant"].as_str(), row.token.as_deref()), ("arn:b-1", "t", None));
    for late in [intended("t1", 1), created("b-1")] {
        journal.write(&data, &late).await.unwrap();
        assert_eq!(look().await, row, "{late:?}");
    }
    journal.write(&data, &done("b-1")).await.unwrap();

    let steps = registry.operation(number).await.unwrap().steps;
    assert_eq!(steps.iter().map(|s| (s.address.name.as_str(), s.status)).collect::<Vec<_>>(), [("data", StepStatus::Done), ("logs", StepStatus::Planned)]);
    assert!(steps[0].intended_at < steps[0].created_at && steps[0].created_at < steps[0].finished_at, "{:?}", steps[0]);
    assert_eq!(steps[0].epoch, Some(lease.epoch()));
}

#[tokio::test]
async fn a_replaced_resource_goes_through_deleted_and_gets_a_new_id() {
    let world = world().await;
    let (lease, number) = begun(&world.registry, "a1").await;
    let (journal, data) = (world.registry.journal(number, &lease), address("a1", "data"));
    for entry in [intended("t1", 1), created("b-1"), done("b-1"), Entry::Deleted] {
        journal.write(&data, &entry).await.unwrap();
    }
    assert!(world.registry.resources("a1").await.unwrap().is_empty());
    let gone = world.registry.all_resources("a1").await.unwrap().remove(0);
    assert_eq!((gone.id.as_deref(), gone.recorded(), gone.intent()), (Some("b-1"), None, None));
    for entry in [intended("t2", 1), created("b-2"), done("b-2")] {
        journal.write(&data, &entry).await.unwrap();
    }
    assert_eq!(world.registry.resources("a1").await.unwrap()[0].recorded(), Some("b-2"));
}

#[tokio::test]
async fn a_failure_keeps_the_id_and_closes_the_intent() {
    let world = world().await;
    let (lease, number) = begun(&world.registry, "a1").await;
    let journal = world.registry.journal(number, &lease);
    let (data, logs, never) = (address("a1", "data"), address("a1", "logs"), address("a1", "never-planned"));
    for entry in [intended("t1", 1), created("b-1"), failed()] {
        journal.write(&data, &entry).await.unwrap();
    }
    for entry in [intended("t2", 3), failed()] {
        journal.write(&logs, &entry).await.unwrap();
    }
    journal.write(&never, &Entry::InDoubt { fault: Fault::unknown("s3:CreateBucket", "Timeout", "no answer") }).await.unwrap();
    journal.write(&address("a1", "skipped"), &Entry::Skipped { because: "data failed".into() }).await.unwrap();
    let rows = world.registry.resources("a1").await.unwrap();
    let short: Vec<_> = rows.iter().map(|r| (r.name.as_str(), r.status, r.recorded(), r.intent(), r.attempt)).collect();
    assert_eq!(
        short,
        [
            ("data", ResourceStatus::Failed, Some("b-1"), None, 1),
            ("logs", ResourceStatus::Failed, None, None, 3),
            ("never-planned", ResourceStatus::InDoubt, None, None, 0)
        ]
    );
    let steps = world.registry.operation(number).await.unwrap().steps;
    assert_eq!(steps[1].fault.as_ref().unwrap().code, "AccessDenied");
    assert_eq!((steps[3].status, steps[3].because.as_deref()), (StepStatus::Skipped, Some("data failed")));
    journal.write(&logs, &intended("t2", 3)).await.unwrap();
    assert_eq!(world.registry.resources("a1").await.unwrap()[1].status, ResourceStatus::Intended, "tried again");
}

#[tokio::test]
async fn a_tenant_has_one_unfinished_operation_which_can_be_continued_or_overtaken() {
    let world = world().await;
    let registry = &world.registry;
    let (lease, first) = begun(registry, "a1").await;
    let plan = json!({});
    let error = registry.begin_operation(&lease, Desired::AsIs { revision: 1 }, &operation(&plan, &[])).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unfinished { operation, status: OperationStatus::Running, .. } if operation == first), "{error}");
    let raw = world
        .sql("INSERT INTO labctl.operations (tenant, verb, revision, who, host, pid, command, version, plan) VALUES ('a1', 'x', 1, '', '', 1, '', '', '{}')");
    assert!(raw.await.unwrap_err().as_database_error().unwrap().is_unique_violation());

    let journal = registry.journal(first, &lease);
    for entry in [intended("t1", 1), created("b-1"), done("b-1")] {
        journal.write(&address("a1", "data"), &entry).await.unwrap();
    }
    let outcome = |status, tenant| Outcome { status, summary: &Value::Null, calls: &Value::Null, tenant };
    registry.finish_operation(&lease, first, &outcome(OperationStatus::Failed, Some(TenantStatus::Failed))).await.unwrap();
    let again = [step(address("a1", "data"), Action::Keep), step(address("a1", "extra"), Action::Create)];
    let resumed = NewOperation { status: Some(TenantStatus::Provisioning), ..operation(&plan, &again) };
    registry.continue_operation(&lease, first, &resumed).await.unwrap();
    let detail = registry.operation(first).await.unwrap();
    assert_eq!((detail.operation.attempts, detail.operation.status, detail.operation.finished_at), (2, OperationStatus::Running, None));
    let steps: Vec<_> = detail.steps.iter().map(|s| (s.address.name.as_str(), s.action, s.status)).collect();
    assert!(steps.contains(&("data", Action::Create, StepStatus::Done)), "{steps:?}");
    assert!(steps.contains(&("logs", Action::Create, StepStatus::Skipped)), "{steps:?}");
    assert!(steps.contains(&("extra", Action::Create, StepStatus::Planned)), "{steps:?}");

    let overtaking = NewOperation { supersede: Some(first), ..operation(&plan, &[]) };
    let second = registry.begin_operation(&lease, Desired::AsIs { revision: 1 }, &overtaking).await.unwrap().operation;
    assert_eq!(registry.operation(first).await.unwrap().operation.status, OperationStatus::Aborted);
    assert_eq!(registry.unfinished_operation("a1").await.unwrap().unwrap().number, second);
    let error = registry.continue_operation(&lease, first, &operation(&plan, &[])).await.unwrap_err();
    assert!(matches!(error, RegistryError::Finished { status: OperationStatus::Aborted, .. }), "{error}");

    registry.finish_operation(&lease, second, &outcome(OperationStatus::Done, Some(TenantStatus::Active))).await.unwrap();
    assert!(registry.finish_operation(&lease, second, &outcome(OperationStatus::Done, None)).await.is_err());
    assert!(registry.unfinished_operation("a1").await.unwrap().is_none());
    let listed = registry.operations(&OperationFilter { tenant: Some("a1".into()), ..OperationFilter::default() }).await.unwrap();
    assert_eq!(listed.iter().map(|o| o.number).collect::<Vec<_>>(), [second, first]);
}

#[tokio::test]
async fn a_failed_begin_leaves_nothing() {
    let world = world().await;
    let lease = lease(&world.registry, "a1").await;
    let (names, spec) = (schema("a1"), json!({}));
    let facts = facts("a1", &names);
    let wrong = NewOperation { status: Some(TenantStatus::Suspended), ..operation(&spec, &[]) };
    let error = world.registry.begin_operation(&lease, Desired::New(&facts, &revision(&spec)), &wrong).await.unwrap_err();
    assert!(matches!(error, RegistryError::IllegalMove(_)), "{error}");
    assert!(world.registry.find_tenant("a1").await.unwrap().is_none());
    assert!(world.registry.names_taken("x", &names).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_view_of_a_tenant_has_what_tenant_show_promises() {
    let world = world().await;
    let (lease, number) = begun(&world.registry, "a1").await;
    let journal = world.registry.journal(number, &lease);
    for entry in [intended("t1", 1), created("b-1"), done("b-1")] {
        journal.write(&address("a1", "data"), &entry).await.unwrap();
    }
    let outcome = Outcome { status: OperationStatus::Done, summary: &json!({}), calls: &json!({"s3:CreateBucket": 1}), tenant: Some(TenantStatus::Active) };
    world.registry.finish_operation(&lease, number, &outcome).await.unwrap();
    let view = serde_json::to_value(world.registry.tenant_view("a1").await.unwrap()).unwrap();
    assert_eq!((&view["status"], &view["revision"], &view["operation"]), (&json!("active"), &json!(1), &json!(number)));
    assert!(view["provisioned_at"].is_string());
    assert_eq!(view["resources"], json!([{"address": "a1/s3_bucket/data", "kind": "s3_bucket", "id": "b-1", "status": "ready"}]));
    let error = world.registry.tenant_view("nobody").await.unwrap_err();
    assert_eq!(error.to_string(), "there is no tenant `nobody` in the registry");
}

#[tokio::test]
async fn the_journal_outlives_the_loss_of_every_connection() {
    let world = world().await;
    let (lease, number) = begun(&world.registry, "a1").await;
    let journal = world.registry.journal(number, &lease);
    journal.write(&address("a1", "data"), &intended("t1", 1)).await.unwrap();
    world.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'labctl'").await.unwrap();
    journal.write(&address("a1", "data"), &created("b-1")).await.unwrap();
    assert_eq!(world.registry.resources("a1").await.unwrap()[0].recorded(), Some("b-1"));
}
