//! The audit trail: it only grows, and a changed row is found.

use super::*;

async fn audited(world: &World) {
    let lease = register(&world.registry, "a1").await;
    world.registry.set_status(&lease, TenantStatus::Active).await.unwrap();
    for n in 0..5 {
        world.registry.audit(&me(), "test", None, &json!({"n": n, "text": "ü\n\"", "float": 0.1})).await.unwrap();
    }
}

#[tokio::test]
async fn an_untouched_audit_trail_verifies_and_cannot_be_changed() {
    let world = world().await;
    audited(&world).await;
    let report = world.registry.verify_audit().await.unwrap();
    assert_eq!((report.rows, report.broken), (7, None));
    for sql in ["UPDATE labctl.audit SET who = 'x'", "DELETE FROM labctl.audit", "TRUNCATE labctl.audit"] {
        assert_eq!(world.sql(sql).await.unwrap_err().as_database_error().unwrap().code().unwrap(), "LC002");
    }
    let actions: Vec<_> = world.registry.audit_rows(Some("a1"), 10).await.unwrap().into_iter().map(|r| r.action).collect();
    assert_eq!(actions, ["tenant.status", "tenant.register"]);
}

#[tokio::test]
async fn tampering_with_the_audit_trail_is_found() {
    let rows = [
        ("UPDATE labctl.audit SET who = 'somebody else' WHERE seq = 3", 3),
        ("UPDATE labctl.audit SET detail = detail || '{\"n\": 9}' WHERE seq = 4", 4),
        ("UPDATE labctl.audit SET at = at + interval '1 us' WHERE seq = 5", 5),
        ("DELETE FROM labctl.audit WHERE seq = 2", 3),
        ("DELETE FROM labctl.audit WHERE seq > 5", 6),
        ("INSERT INTO labctl.audit SELECT 8, at, who, host, action, tenant, detail, hash, hash FROM labctl.audit WHERE seq = 7", 8),
    ];
    for (tampering, seq) in rows {
        let world = world().await;
        audited(&world).await;
        world.sql(&format!("SET session_replication_role = replica; {tampering}")).await.unwrap();
        let report = world.registry.verify_audit().await.unwrap();
        assert_eq!(report.broken.as_ref().map(|b| b.seq), Some(seq), "{tampering}: {report:?}");
    }
}

#[tokio::test]
async fn the_audit_chain_holds_under_many_writers() {
    let world = world().await;
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..4 {
        let registry = Registry::open(&world.settings);
        writers.spawn(async move {
            for i in 0..10 {
                registry.audit(&me(), "test", None, &json!({"n": n, "i": i})).await.unwrap();
            }
        });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
    let report = world.registry.verify_audit().await.unwrap();
    assert_eq!((report.rows, report.broken), (40, None));
}

/// Who can rewrite the registry's own note of the end can cut the end off: only a hash kept elsewhere shows it.
#[tokio::test]
async fn a_cut_off_end_is_found_by_a_head_kept_elsewhere_even_where_the_registry_lies() {
    let world = world().await;
    audited(&world).await;
    let before = world.registry.verify_audit().await.unwrap();
    assert!(before.from.unwrap() <= before.to.unwrap());
    let cut = "SET session_replication_role = replica; DELETE FROM labctl.audit WHERE seq > 5;
               UPDATE labctl.audit_head SET seq = 5, hash = (SELECT hash FROM labctl.audit WHERE seq = 5)";
    let still = world.registry.verify_audit_with(Some(&before.head)).await.unwrap();
    assert_eq!((still.kept, &still.broken), (Some(7), &None));
    world.sql(cut).await.unwrap();
    let after = world.registry.verify_audit_with(Some(&before.head)).await.unwrap();
    assert_eq!((after.rows, after.kept, after.broken), (5, None, None), "it looks whole, and the head kept elsewhere is not in it");
}

#[tokio::test]
async fn everything_that_changes_a_tenant_is_audited_with_its_verb_and_reason() {
    let world = world().await;
    let registry = &world.registry;
    let (lease, number) = begun(registry, "a1").await;
    let outcome = Outcome { status: OperationStatus::Failed, summary: &json!({}), calls: &json!({}), tenant: Some(TenantStatus::Failed) };
    registry.finish_operation(&lease, number, &outcome).await.unwrap();
    let again = NewOperation { status: Some(TenantStatus::Provisioning), ..operation(&Value::Null, &[]) };
    registry.continue_operation(&lease, number, &again).await.unwrap();
    registry.abort_operation(&lease, number, Some("cancelled")).await.unwrap();
    registry.break_lease("a1", &me(), Some("it hangs")).await.unwrap();
    let rows = registry.audit_since(Some("a1"), None, 0).await.unwrap();
    let said: Vec<_> = rows.iter().map(|r| (r.action.as_str(), r.detail["verb"].as_str().or(r.detail["reason"].as_str()).unwrap())).collect();
    let expected = [
        ("lock.break", "it hangs"),
        ("operation.abort", "create"),
        ("operation.continue", "create"),
        ("operation.finish", "create"),
        ("operation.begin", "create"),
    ];
    assert_eq!(said, expected);
    assert_eq!(rows[1].detail["reason"], "cancelled");
    assert_eq!(registry.audit_since(None, Some(rows[1].at), 0).await.unwrap().len(), 2, "only since then");
    assert_eq!(registry.audit_since(None, None, 1).await.unwrap()[0].seq, 5);
}
