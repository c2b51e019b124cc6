//! Holds and certificates: what the database refuses whoever writes, and that certificate and audit trail hold each other.

use labctl::registry::certificates::digest;

use super::*;

#[tokio::test]
async fn a_held_tenant_cannot_go_to_purging_and_a_purged_one_cannot_be_held() {
    let world = world().await;
    let registry = &world.registry;
    let lease = register(registry, "held").await;
    let (hold, new) = registry.add_hold(&me(), "held", "case 1").await.unwrap();
    assert!(new && hold.in_force());
    assert!(!registry.add_hold(&me(), "held", "case 1").await.unwrap().1, "the same words are one hold");
    registry.set_status(&lease, TenantStatus::Deleted).await.unwrap();
    let refused = registry.set_status(&lease, TenantStatus::Purging).await.unwrap_err();
    assert_eq!((refused.code(), refused.to_string().as_str()), ("held", "tenant held is held and cannot be purged: hold 1 (case 1)"));
    let behind = world.sql("UPDATE labctl.tenants SET status = 'purging'").await.unwrap_err();
    assert_eq!(behind.as_database_error().unwrap().code().as_deref(), Some("LC003"), "whoever asks");
    for tampering in ["DELETE FROM labctl.holds", "UPDATE labctl.holds SET reason = 'x'", "TRUNCATE labctl.holds"] {
        assert!(world.sql(tampering).await.is_err(), "{tampering}");
    }
    let (removed, now) = registry.remove_hold(&me(), "held", 1).await.unwrap();
    assert!(now && !removed.in_force());
    assert_eq!(registry.remove_hold(&me(), "held", 1).await.unwrap(), (removed, false), "twice is once");
    assert!(world.sql("UPDATE labctl.holds SET removed_at = NULL, removed_by = NULL, removed_host = NULL").await.is_err(), "it cannot be put back in force");
    assert_eq!(registry.remove_hold(&me(), "held", 2).await.unwrap_err().code(), "not_found");
    registry.set_status(&lease, TenantStatus::Purging).await.unwrap();
    assert_eq!(registry.add_hold(&me(), "held", "case 2").await.unwrap_err().code(), "held");
    let actions: Vec<String> = registry.audit_rows(Some("held"), 20).await.unwrap().into_iter().map(|r| r.action).collect();
    assert_eq!(actions.iter().filter(|a| a.starts_with("hold.")).count(), 2, "{actions:?}");
}

#[tokio::test]
async fn a_certificate_comes_with_the_end_of_its_operation_and_stays() {
    let world = world().await;
    let registry = &world.registry;
    let mut lease = register(registry, "gone").await;
    for life in 1..=2 {
        if life == 2 {
            let (names, spec) = (schema("gone"), json!({}));
            registry.register_tenant(&lease, &facts("gone", &names), &revision(&spec)).await.unwrap();
        }
        registry.set_status(&lease, TenantStatus::Deleted).await.unwrap();
        let revision = registry.tenant("gone").await.unwrap().revision;
        let new = NewOperation { verb: "purge", command: "x", plan: &json!({}), steps: &[], status: Some(TenantStatus::Purging), supersede: None };
        let begun = registry.begin_operation(&lease, Desired::AsIs { revision }, &new).await.unwrap();
        let end = Outcome { status: OperationStatus::Done, summary: &json!({}), calls: &json!({}), tenant: Some(TenantStatus::Purged) };
        // A stale process writes neither.
        let stale = lease;
        lease = registry.acquire_lease("gone", &other(i32::try_from(life).unwrap()), "x", |_| false).await.unwrap();
        let fenced = registry.finish_purge(&stale, begun.operation, &end, &json!({"a": 1})).await.unwrap_err();
        assert!(matches!(fenced, RegistryError::Fenced { .. }), "{fenced}");
        assert_eq!(registry.certificates("gone").await.unwrap().len(), life - 1);
        let before = registry.verify_audit().await.unwrap().head;
        registry.finish_purge(&lease, begun.operation, &end, &json!({"tenant": {"id": "gone"}})).await.unwrap();
        let certificate = registry.certificate("gone", None).await.unwrap();
        assert_eq!((certificate.number, certificate.operation), (i32::try_from(life).unwrap(), begun.operation));
        assert_eq!(certificate.document["audit"]["hash"], json!(before));
        assert_eq!(certificate.digest, digest(&certificate.document));
        let row = registry.audit_rows(Some("gone"), 1).await.unwrap().remove(0);
        assert_eq!(row.detail["certificate"], json!({"number": life, "digest": certificate.digest}));
    }
    assert_eq!(registry.certificate("gone", Some(1)).await.unwrap().number, 1);
    for tampering in ["DELETE FROM labctl.certificates", "UPDATE labctl.certificates SET document = '{}'", "TRUNCATE labctl.certificates"] {
        assert!(world.sql(tampering).await.is_err(), "{tampering}");
    }
}

#[tokio::test]
async fn what_is_to_be_deleted_keeps_its_place_through_every_attempt() {
    let world = world().await;
    let registry = &world.registry;
    let (lease, number) = begun(registry, "turned").await;
    let journal = registry.journal(number, &lease);
    for name in ["data", "logs"] {
        journal.write(&address("turned", name), &created(name)).await.unwrap();
    }
    let gone = ["logs", "data"].map(|name| step(address("turned", name), Action::Delete));
    for _ in 0..2 {
        registry.continue_operation(&lease, number, &operation(&json!({}), &gone)).await.unwrap();
        let order: Vec<String> = registry.resources("turned").await.unwrap().into_iter().map(|r| r.name).collect();
        assert_eq!(order, ["data", "logs"], "as they were made");
    }
}
