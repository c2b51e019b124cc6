//! A registry whose host's clock is wrong by hours, either way: what is on record goes by that clock alone, so nothing depends on ours.

use super::*;

/// A fresh registry on a server whose clock is off: what labctl's statements call `clock_timestamp` is another function there.
async fn wrong_by(hours: i32) -> World {
    let world = uninitialised().await;
    let database = &world.settings.database;
    let skewed = format!(
        "CREATE SCHEMA skew; GRANT USAGE ON SCHEMA skew TO PUBLIC;
         CREATE FUNCTION skew.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
             AS $$ SELECT pg_catalog.clock_timestamp() + make_interval(hours => {hours}) $$;
         ALTER DATABASE {database} SET search_path = skew, pg_catalog, public"
    );
    world.sql(&skewed).await.unwrap();
    world.registry.init().await.unwrap();
    let off = (world.registry.now().await.unwrap() - chrono::Utc::now()).num_minutes();
    assert!((off - i64::from(hours) * 60).abs() <= 1, "the clock is off by {off} minutes");
    world
}

#[tokio::test]
async fn a_lease_is_neither_lost_nor_kept_because_the_registrys_clock_is_wrong() {
    for hours in [-3, 3] {
        let world = wrong_by(hours).await;
        let held = lease(&world.registry, "a1").await;
        let seen = &world.registry.leases().await.unwrap()[0];
        assert!(!seen.expired && (0..60).contains(&seen.held_seconds) && (0..60).contains(&seen.heartbeat_seconds), "{hours} h: {seen:?}");
        held.heartbeat().await.unwrap();
        assert!(matches!(world.registry.acquire_lease("a1", &other(999_999), "x", |_| true).await, Err(RegistryError::Locked(_))), "{hours} h");
        // Run out by the registry's own clock, which is hours from ours.
        let ran_out = format!("UPDATE labctl.leases SET expires_at = clock_timestamp() + make_interval(hours => {hours}) - interval '1 s'");
        world.sql(&format!("SET search_path = pg_catalog; {ran_out}")).await.unwrap();
        let second = world.registry.acquire_lease("a1", &other(999_999), "x", |_| true).await.unwrap();
        assert!(matches!(held.heartbeat().await, Err(JournalError::Fenced { .. })), "{hours} h");
        second.heartbeat().await.unwrap();
        second.release().await.unwrap();
        // The next one is refused nothing, and the trail still holds together.
        lease(&world.registry, "a1").await.release().await.unwrap();
        assert_eq!(world.registry.verify_audit().await.unwrap().broken, None);
    }
}
