//! The binary, with a registry whose clock is an hour off.

use std::time::{Duration, Instant};

use serde_json::json;

use super::fixture::{World, blocking, ended_within};
use super::fleets::{count, says};
use super::killed::asleep;
use crate::audit::{Scope, audit};

const PATIENCE: Duration = Duration::from_secs(240);
/// A lease whose holder is dead is taken over without waiting for its end, which is a minute off.
const AT_ONCE: Duration = Duration::from_secs(45);

#[tokio::test(flavor = "multi_thread")]
async fn a_create_and_the_take_over_of_a_dead_lease_go_by_the_registrys_clock_however_wrong_it_is() {
    let world: &'static World = Box::leak(Box::new(blocking(World::started).await.unwrap()));
    let mut db = world.superuser("labctl_registry").await;
    says(&mut db, "CREATE SCHEMA skew; GRANT USAGE ON SCHEMA skew TO PUBLIC").await;
    says(&mut db, "ALTER DATABASE labctl_registry SET search_path = skew, pg_catalog, public").await;
    for hours in [-1_i64, 1] {
        // What labctl's statements call `clock_timestamp` is this.
        let skewed = format!(
            "CREATE OR REPLACE FUNCTION skew.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
                 AS $$ SELECT pg_catalog.clock_timestamp() + make_interval(hours => {hours}) $$"
        );
        says(&mut db, &skewed).await;
        let sign = if hours < 0 { "behind" } else { "ahead" };
        let (held, dead) = (world.spec(&format!("held-{sign}"), "labcloud", "trial"), world.spec(&format!("dead-{sign}"), "labcloud", "trial"));

        // A living holder keeps its lease: it neither looks run out nor is it.
        let file = held.clone();
        let halted = blocking(move || asleep(world, &["tenant", "create", &file, "-o", "json"], "step.created")).await.unwrap();
        let off = "SELECT (extract(epoch FROM max(expires_at) - pg_catalog.clock_timestamp()) / 60)::bigint FROM labctl.leases WHERE holder IS NOT NULL";
        let minutes = count(&mut db, off).await;
        assert!((minutes - hours * 60).abs() <= 2, "the lease ends in {minutes} minutes: the binary goes by another clock");
        let refused = blocking(move || world.run(&["tenant", "create", &held, "-o", "json"])).await.unwrap();
        assert_eq!((refused.code, refused.error()["code"].as_str()), (5, Some("locked")), "{sign}\n{refused}");
        halted.wake();
        let done = blocking(move || halted.end_within(PATIENCE)).await.unwrap();
        assert_eq!(done.code, 0, "{sign}\n{done}");

        // A dead one's is taken over at once.
        let mut command = world.command(&["tenant", "create", &dead, "-o", "json"]);
        command.env("LABCTL_FAILPOINT", "step.created=kill");
        let killed = blocking(move || ended_within(PATIENCE, &mut command)).await.unwrap();
        assert_eq!(killed.code, -9, "{sign}\n{killed}");
        assert_eq!(count(&mut db, "SELECT count(*) FROM labctl.leases WHERE holder IS NOT NULL").await, 1, "{sign}: it left no lease");
        let began = Instant::now();
        let taken = blocking(move || world.run(&["tenant", "create", &dead])).await.unwrap();
        assert_eq!(taken.code, 0, "{sign}\n{taken}");
        assert!(began.elapsed() < AT_ONCE, "{sign}: after {:?}", began.elapsed());
        assert_eq!(world.json(&["lock", "list"]), json!([]), "{sign}: a lease is stuck");
    }
    Box::pin(audit(world, Scope::Everything)).await.assert_clean();
    world.ok(&["audit", "verify"]);
    world.ok(&["sandbox", "stop", "-q"]);
}
