//! What an operator settles: operations given up, steps in doubt looked at.

use labctl::registry::resolve::Finding;

use super::*;

fn ended(status: OperationStatus, tenant: Option<TenantStatus>) -> Outcome<'static> {
    Outcome { status, summary: &Value::Null, calls: &Value::Null, tenant }
}

#[tokio::test]
async fn an_operation_given_up_keeps_what_it_made_and_frees_the_tenant() {
    let world = world().await;
    let registry = &world.registry;
    let (lease, number) = begun(registry, "a1").await;
    let journal = registry.journal(number, &lease);
    for entry in [intended("t1", 1), created("b-1")] {
        journal.write(&address("a1", "data"), &entry).await.unwrap();
    }
    assert_eq!(registry.abort_operation(&lease, number, Some("cancelled")).await.unwrap(), TenantStatus::Failed);
    let detail = registry.operation(number).await.unwrap();
    assert_eq!(detail.operation.status, OperationStatus::Aborted);
    assert_eq!(detail.operation.summary.unwrap()["given_up"], json!({"by": "ana", "host": "build-3", "reason": "cancelled", "was": "running"}));
    let steps: Vec<_> = detail.steps.iter().map(|s| (s.address.name.as_str(), s.status, s.because.is_some())).collect();
    assert_eq!(steps, [("data", StepStatus::Created, false), ("logs", StepStatus::Skipped, true)]);
    assert_eq!(registry.resources("a1").await.unwrap()[0].recorded(), Some("b-1"));
    assert!(registry.unfinished_operation("a1").await.unwrap().is_none());

    let error = registry.abort_operation(&lease, number, None).await.unwrap_err();
    assert!(matches!(error, RegistryError::Finished { status: OperationStatus::Aborted, .. }), "{error}");
    let (_theirs, other) = begun(registry, "b1").await;
    let error = registry.abort_operation(&lease, other, None).await.unwrap_err();
    assert!(matches!(error, RegistryError::NotFound { .. }), "another tenant's: {error}");
    registry.break_lease("a1", &me(), None).await.unwrap();
    let error = registry.abort_operation(&lease, number, None).await.unwrap_err();
    assert!(matches!(error, RegistryError::Fenced { .. }), "{error}");
}

#[tokio::test]
async fn a_tenant_out_of_use_stays_so_when_its_operation_is_given_up() {
    let world = world().await;
    let registry = &world.registry;
    let (lease, first) = begun(registry, "a1").await;
    registry.finish_operation(&lease, first, &ended(OperationStatus::Done, Some(TenantStatus::Active))).await.unwrap();
    registry.set_status(&lease, TenantStatus::Suspended).await.unwrap();
    let second = registry.begin_operation(&lease, Desired::AsIs { revision: 1 }, &operation(&Value::Null, &[])).await.unwrap().operation;
    assert_eq!(registry.abort_operation(&lease, second, None).await.unwrap(), TenantStatus::Suspended);
}

#[tokio::test]
async fn only_a_step_in_doubt_is_settled_and_the_operation_can_be_resumed_then() {
    let world = world().await;
    let registry = &world.registry;
    let (lease, number) = begun(registry, "a1").await;
    let journal = registry.journal(number, &lease);
    let (data, logs) = (address("a1", "data"), address("a1", "logs"));
    let doubt = || Entry::InDoubt { fault: Fault::unknown("s3:CreateBucket", "Timeout", "no answer") };
    for at in [&data, &logs] {
        for entry in [intended("t1", 1), doubt()] {
            journal.write(at, &entry).await.unwrap();
        }
    }
    registry.finish_operation(&lease, number, &ended(OperationStatus::InDoubt, Some(TenantStatus::Failed))).await.unwrap();

    assert_eq!(registry.resolve_step(&lease, number, &data, &Finding::There("b-1".into()), Some("seen")).await.unwrap(), 1);
    assert_eq!(registry.operation(number).await.unwrap().operation.status, OperationStatus::InDoubt);
    let error = registry.resolve_step(&lease, number, &data, &Finding::Absent, None).await.unwrap_err();
    assert_eq!(error.to_string(), "step a1/s3_bucket/data of operation 1 is created, not in doubt");
    let error = registry.resolve_step(&lease, number, &address("a1", "other"), &Finding::Absent, None).await.unwrap_err();
    assert!(matches!(error, RegistryError::NotFound { .. }), "{error}");
    assert_eq!(registry.resolve_step(&lease, number, &logs, &Finding::Absent, None).await.unwrap(), 0);

    assert_eq!(registry.operation(number).await.unwrap().operation.status, OperationStatus::Failed);
    let found: Vec<_> = registry
        .resources("a1")
        .await
        .unwrap()
        .into_iter()
        .map(|r| (r.name.clone(), r.status, r.recorded().map(str::to_owned), r.intent().is_some()))
        .collect();
    let expected = [("data".to_owned(), ResourceStatus::Created, Some("b-1".to_owned()), false), ("logs".to_owned(), ResourceStatus::Failed, None, false)];
    assert_eq!(found, expected);
    let audited = registry.audit_since(Some("a1"), None, 2).await.unwrap();
    assert_eq!(audited[1].detail, json!({"operation": number, "address": "a1/s3_bucket/data", "id": "b-1", "reason": "seen"}));
    let resumed = NewOperation { status: Some(TenantStatus::Provisioning), ..operation(&Value::Null, &[]) };
    registry.continue_operation(&lease, number, &resumed).await.unwrap();
}
