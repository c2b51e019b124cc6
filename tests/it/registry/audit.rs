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
