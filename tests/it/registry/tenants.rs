//! What the database holds of tenants: one row per id and name, legal moves, immutable revisions.

use super::*;

#[tokio::test]
async fn of_two_creates_at_once_exactly_one_wins_and_the_other_reads_exists() {
    let world = world().await;
    let second = Registry::open(&world.settings);
    for round in 0..10 {
        let tenant = format!("dup-{round}");
        // One process, one epoch: the lease does not decide here, the database does.
        let (la, lb) = (lease(&world.registry, &tenant).await, lease(&second, &tenant).await);
        let (names, spec) = (schema(&tenant), json!({}));
        let (facts, revision) = (facts(&tenant, &names), revision(&spec));
        let (a, b) = tokio::join!(world.registry.register_tenant(&la, &facts, &revision), second.register_tenant(&lb, &facts, &revision));
        let lost = match (a, b) {
            (Ok(1), Err(lost)) | (Err(lost), Ok(1)) => lost,
            both => panic!("{both:?}"),
        };
        assert!(matches!(lost, RegistryError::Exists { status: TenantStatus::Provisioning, revision: 1, .. }), "{lost}");
    }
    assert_eq!(world.registry.tenants(&TenantFilter::default()).await.unwrap().len(), 10);
}

#[tokio::test]
async fn two_tenants_whose_names_collide_are_told_apart_by_name() {
    let world = world().await;
    let registry = &world.registry;
    let spec = json!({});
    let (a, b) = (lease(registry, "a-b").await, lease(registry, "a2-b").await);
    registry.register_tenant(&a, &facts("a-b", &schema("tenant_a_b")), &revision(&spec)).await.unwrap();
    let error = registry.register_tenant(&b, &facts("a2-b", &schema("tenant_a_b")), &revision(&spec)).await.unwrap_err();
    assert_eq!(error.to_string(), "the schema name `tenant_a_b` is taken by tenant `a-b`");
    assert!(registry.find_tenant("a2-b").await.unwrap().is_none(), "refused whole");
    let error = registry.register_tenant(&b, &facts("a-b", &schema("other")), &revision(&spec)).await.unwrap_err();
    assert_eq!(error.to_string(), "the subdomain name `a-b` is taken by tenant `a-b`");
    assert_eq!(registry.names_taken("a2-b", &schema("tenant_a_b")).await.unwrap()[0].tenant, "a-b");

    // Once the first is purged, its names are free, and its id may be made anew.
    for status in [TenantStatus::Deleted, TenantStatus::Purging, TenantStatus::Purged] {
        registry.set_status(&a, status).await.unwrap();
    }
    registry.register_tenant(&b, &facts("a2-b", &schema("tenant_a_b")), &revision(&spec)).await.unwrap();
    assert_eq!(registry.register_tenant(&a, &facts("a-b", &schema("x")), &revision(&spec)).await.unwrap(), 2, "revisions go on counting");
}

#[tokio::test]
async fn a_rename_claims_the_new_names_and_frees_the_old_when_told() {
    let world = world().await;
    let registry = &world.registry;
    let lease = register(registry, "a1").await;
    registry.new_revision(&lease, 1, &facts("new", &schema("new")), &revision(&json!({}))).await.unwrap();
    assert_eq!(registry.names_taken("x", &schema("a1")).await.unwrap().len(), 1, "both are held while things still bear the old one");
    assert_eq!(registry.release_names(&lease, &schema("new")).await.unwrap(), 2);
    assert!(registry.names_taken("x", &schema("a1")).await.unwrap().is_empty());
    assert_eq!(registry.names_taken("x", &[("subdomain".into(), "new".into()), schema("new").remove(0)]).await.unwrap().len(), 2);
}

#[tokio::test]
async fn illegal_moves_of_a_status_are_refused_by_the_database() {
    let world = world().await;
    let lease = register(&world.registry, "a1").await;
    for status in ["updating", "suspended", "purging", "purged", "nonsense"] {
        let error = world.sql(&format!("UPDATE labctl.tenants SET status = '{status}'")).await.unwrap_err();
        assert_eq!(error.as_database_error().unwrap().code().unwrap(), "LC001", "{status}");
    }
    use TenantStatus::{Active, Deleted, Failed, Provisioning, Purged, Purging, Suspended, Updating};
    for status in [Failed, Provisioning, Active, Active, Updating, Suspended, Active, Deleted, Suspended, Deleted, Purging] {
        world.registry.set_status(&lease, status).await.unwrap();
    }
    for status in [Active, Deleted, Failed, Provisioning, Suspended] {
        let error = world.registry.set_status(&lease, status).await.unwrap_err();
        assert!(matches!(error, RegistryError::IllegalMove(_)), "{error}");
        assert_eq!(error.to_string(), format!("tenant a1 cannot go from purging to {status}"));
    }
    world.registry.set_status(&lease, Purged).await.unwrap();
    assert!(world.sql("DELETE FROM labctl.tenants").await.is_err());
    assert!(world.sql("UPDATE labctl.tenants SET id = 'b1'").await.is_err());
}

#[tokio::test]
async fn a_revision_is_for_ever_and_a_moved_parent_is_a_conflict() {
    let world = world().await;
    let lease = register(&world.registry, "a1").await;
    for sql in ["UPDATE labctl.revisions SET spec = '{}'", "DELETE FROM labctl.revisions", "TRUNCATE labctl.revisions CASCADE"] {
        let error = world.sql(sql).await.unwrap_err();
        assert_eq!(error.as_database_error().unwrap().code().unwrap(), "LC002", "{sql}");
    }
    let names = schema("a1");
    let spec = json!({"tier": "standard"});
    let changed = Facts { tier: "standard", ..facts("a1", &names) };
    assert_eq!(world.registry.new_revision(&lease, 1, &changed, &revision(&spec)).await.unwrap(), 2);
    let error = world.registry.new_revision(&lease, 1, &changed, &revision(&spec)).await.unwrap_err();
    assert!(matches!(error, RegistryError::Conflict { expected: 1, found: 2, .. }), "{error}");
    let tenant = world.registry.tenant("a1").await.unwrap();
    assert_eq!((tenant.revision, tenant.tier.as_str()), (2, "standard"));
    let history = world.registry.revisions("a1").await.unwrap();
    assert_eq!(history.iter().map(|r| (r.number, r.parent, r.who.as_str())).collect::<Vec<_>>(), [(2, Some(1), "ana"), (1, None, "ana")]);
    assert_eq!(world.registry.revision("a1", 1).await.unwrap().spec, json!({"id": "a1"}));
}
