//! Who may write: taking, losing and keeping a lease, and what a stale holder can no longer do.

use super::*;

#[tokio::test]
async fn of_two_racers_for_a_lease_exactly_one_gets_it_and_the_other_is_told_who() {
    let world = world().await;
    let second = Registry::open(&world.settings);
    for round in 0..20 {
        let tenant = format!("race-{round}");
        let (ana, bo) = (me(), other(999_999));
        let (a, b) =
            tokio::join!(world.registry.acquire_lease(&tenant, &ana, "tenant create", |_| true), second.acquire_lease(&tenant, &bo, "tenant apply", |_| true));
        let (won, lost) = match (a, b) {
            (Ok(won), Err(lost)) | (Err(lost), Ok(won)) => (won, lost),
            (a, b) => panic!("{} {}", a.is_ok(), b.is_ok()),
        };
        let RegistryError::Locked(info) = &lost else { panic!("{lost}") };
        assert_eq!((info.holder.as_str(), info.host.as_str()), (won.holder().who.as_str(), won.holder().host.as_str()));
        assert!(lost.to_string().starts_with(&format!("tenant `{tenant}` is locked by {}@{}", info.holder, info.host)), "{lost}");
        won.release().await.unwrap();
    }
    assert!(world.registry.leases().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_lease_runs_out_by_the_databases_clock() {
    let world = world().await;
    let first = lease(&world.registry, "a1").await;
    let locked = world.registry.acquire_lease("a1", &other(999_999), "x", |_| true).await;
    assert!(matches!(locked, Err(RegistryError::Locked(_))));
    world.sql("UPDATE labctl.leases SET expires_at = clock_timestamp() - interval '1 ms'").await.unwrap();
    assert!(world.registry.leases().await.unwrap()[0].expired);
    let second = world.registry.acquire_lease("a1", &other(999_999), "x", |_| true).await.unwrap();
    assert_eq!(second.epoch(), first.epoch() + 1);
    assert!(matches!(first.heartbeat().await, Err(JournalError::Fenced { epoch: 1 })));
    second.heartbeat().await.unwrap();
    first.release().await.unwrap();
    assert_eq!(world.registry.lease("a1").await.unwrap().unwrap().epoch, second.epoch(), "a stale holder releases nothing");
}

#[tokio::test]
async fn an_overdue_lease_nobody_took_is_renewed_by_its_holder() {
    let world = world().await;
    let held = lease(&world.registry, "a1").await;
    world.sql("UPDATE labctl.leases SET expires_at = clock_timestamp() - interval '1 s'").await.unwrap();
    held.heartbeat().await.unwrap();
    assert!(matches!(world.registry.acquire_lease("a1", &other(999_999), "x", |_| true).await, Err(RegistryError::Locked(_))));
}

#[tokio::test]
async fn a_dead_holder_is_taken_over_at_once_a_live_one_or_a_distant_one_never() {
    let world = world().await;
    let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let started = stat[stat.rfind(')').unwrap() + 1..].split_whitespace().nth(19).unwrap().to_owned();
    let holder = Holder { process: Process { pid, started: Some(started), ..Process::this() }, ..other(pid) };
    let dying = world.registry.acquire_lease("a1", &holder, "tenant create", Process::is_alive).await.unwrap();
    assert!(matches!(world.registry.acquire_lease("a1", &me(), "x", Process::is_alive).await, Err(RegistryError::Locked(_))));
    child.kill().unwrap();
    child.wait().unwrap();
    let next = world.registry.acquire_lease("a1", &me(), "x", Process::is_alive).await.unwrap();
    assert_eq!(next.epoch(), dying.epoch() + 1);

    let distant = Holder { process: Process { machine: Some("another".into()), ..other(pid).process }, ..other(pid) };
    let _far = world.registry.acquire_lease("a2", &distant, "x", |_| false).await.unwrap();
    assert!(matches!(world.registry.acquire_lease("a2", &me(), "x", |_| false).await, Err(RegistryError::Locked(_))));
}

#[tokio::test]
async fn leases_of_many_whose_reply_was_lost_are_had_by_asking_again_and_nobody_elses_are() {
    let world = world().await;
    let many = ["a1", "a2", "a3"];
    let distant = Holder { process: Process { machine: Some("elsewhere".into()), ..Process::this() }, ..other(1) };
    let _held = world.registry.acquire_lease("a3", &distant, "fleet migrate", |_| true).await.unwrap();
    let lost = world.registry.acquire_leases(&many, &me(), "fleet migrate", false).await.unwrap();
    assert_eq!((lost.taken.len(), lost.others.len()), (2, 1));
    let once = world.registry.acquire_leases(&many, &me(), "fleet migrate", false).await.unwrap();
    assert_eq!((once.taken.len(), once.others.len()), (0, 3), "who does not say that it asks again is another");
    let other_work = world.registry.acquire_leases(&many, &me(), "tenant migrate", true).await.unwrap();
    assert_eq!((other_work.taken.len(), other_work.others.len()), (0, 3), "what this process does besides is not disturbed");
    let again = world.registry.acquire_leases(&many, &me(), "fleet migrate", true).await.unwrap();
    assert_eq!(again.others.keys().collect::<Vec<_>>(), ["a3"]);
    for tenant in ["a1", "a2"] {
        assert_eq!(again.taken[tenant], lost.taken[tenant] + 1, "under the former epoch nothing can be written");
    }
}

#[tokio::test]
async fn the_process_that_holds_a_lease_gets_it_again_and_only_the_outer_guard_gives_it_back() {
    let world = world().await;
    let outer = lease(&world.registry, "a1").await;
    let inner = lease(&world.registry, "a1").await;
    assert_eq!(inner.epoch(), outer.epoch());
    inner.release().await.unwrap();
    outer.heartbeat().await.unwrap();
    outer.release().await.unwrap();
    let next = world.registry.acquire_lease("a1", &other(999_999), "x", |_| true).await.unwrap();
    assert_eq!(next.epoch(), 2, "epochs only rise");
}

#[tokio::test]
async fn a_dropped_guard_lets_go() {
    let world = world().await;
    drop(lease(&world.registry, "a1").await);
    for _ in 0..100 {
        if world.registry.lease("a1").await.unwrap().is_none() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("still held");
}

#[tokio::test]
async fn a_stale_epoch_can_write_nothing() {
    let world = world().await;
    let registry = &world.registry;
    let (stale, number) = begun(registry, "a1").await;
    let journal = registry.journal(number, &stale);
    journal.write(&address("a1", "data"), &intended("t1", 1)).await.unwrap();
    let broken = registry.break_lease("a1", &other(999_999), Some("it hangs")).await.unwrap().unwrap();
    assert_eq!((broken.holder.as_str(), broken.epoch), ("ana", 1));

    let _successor = registry.acquire_lease("a1", &other(999_999), "tenant apply", |_| true).await.unwrap();
    let before = world.dump().await;
    for entry in [intended("t2", 2), created("b"), done("b"), Entry::Deleted, failed(), Entry::Skipped { because: "x".into() }] {
        let result = journal.write(&address("a1", "data"), &entry).await;
        assert!(matches!(result, Err(JournalError::Fenced { epoch: 1 })), "{entry:?}: {result:?}");
    }
    let spec = json!({});
    let names = schema("a1");
    let fenced = |r: Result<(), RegistryError>| assert!(matches!(r, Err(RegistryError::Fenced { .. })), "{r:?}");
    fenced(registry.set_status(&stale, TenantStatus::Active).await);
    fenced(registry.new_revision(&stale, 1, &facts("a1", &names), &revision(&spec)).await.map(drop));
    fenced(registry.begin_operation(&stale, Desired::AsIs { revision: 1 }, &operation(&spec, &[])).await.map(drop));
    fenced(registry.continue_operation(&stale, number, &operation(&spec, &[])).await.map(drop));
    let outcome = Outcome { status: OperationStatus::Done, summary: &spec, calls: &spec, tenant: None };
    fenced(registry.finish_operation(&stale, number, &outcome).await);
    fenced(registry.release_names(&stale, &[]).await.map(drop));
    assert!(matches!(stale.heartbeat().await, Err(JournalError::Fenced { .. })));
    assert_eq!(world.dump().await, before);
}

#[tokio::test]
async fn a_write_that_meets_a_takeover_under_way_waits_for_it_and_is_fenced() {
    let world = world().await;
    let (lease, number) = begun(&world.registry, "a1").await;
    let journal = world.registry.journal(number, &lease);
    let mut taker = world.connection().await;
    sqlx::raw_sql("BEGIN; UPDATE labctl.leases SET epoch = epoch + 1").execute(&mut taker).await.unwrap();
    let write = tokio::spawn(async move { journal.write(&address("a1", "data"), &intended("t1", 1)).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!write.is_finished());
    sqlx::raw_sql("COMMIT").execute(&mut taker).await.unwrap();
    assert!(matches!(write.await.unwrap(), Err(JournalError::Fenced { .. })));
    assert!(world.registry.resources("a1").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_journal_writes_only_for_its_own_tenant() {
    let world = world().await;
    let (lease, number) = begun(&world.registry, "a1").await;
    let (_other, theirs) = begun(&world.registry, "b1").await;
    assert!(world.registry.journal(number, &lease).write(&address("b1", "data"), &created("x")).await.is_err());
    assert!(world.registry.journal(theirs, &lease).write(&address("a1", "data"), &created("x")).await.is_err());
    assert!(world.registry.resources("b1").await.unwrap().is_empty());
}
