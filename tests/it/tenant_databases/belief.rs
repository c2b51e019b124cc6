//! A migration in one round trip: what is believed of a schema is checked in its transaction, and where it does not hold it is looked.

use labctl::engine::fault::Class;

use super::ground::{Ground, LEDGER};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_believed_is_checked_and_what_does_not_hold_is_looked_at() {
    let mut ground = Ground::new("believing").await;
    let steps = ground.steps.clone();
    let looks = ground.looks();

    // It holds: nothing is looked at.
    let done = ground.migrate(3, &steps[..2]).await.unwrap();
    assert_eq!((done.before.len(), done.after.len()), (2, 3));
    assert_eq!(ground.texts(LEDGER).await, ["1 V1", "2 V2", "3 V3"]);
    assert_eq!(ground.looks(), looks);
    let central = "SELECT concat(version, ' ', oid = 'T_schema'::regnamespace) FROM labctl_ledger.schemas WHERE schema = 'T_schema'";
    assert_eq!(ground.texts(central).await, ["3 t"]);
    assert_eq!(ground.texts("SELECT 1::text FROM pg_auth_members WHERE roleid = 'T_migrate'::regrole").await, [""; 0]);

    // The schema is behind what is believed of it, as after a restore, or before it: each file is run once all the same.
    ground.run("DELETE FROM T_schema.labctl_migrations WHERE version = 3; DROP TABLE T_schema.t3").await;
    let done = ground.migrate(4, &steps[..3]).await.unwrap();
    assert_eq!((done.before.len(), done.after.len()), (2, 4));
    assert!(ground.looks() > looks);
    let log = ground.server.log();
    // The log is of all tests of this server.
    let ours = log.split("LOG:").filter(|entry| entry.contains("\"believing_schema\"") && entry.contains("CREATE TABLE t3")).collect::<Vec<_>>();
    assert_eq!(ours.len(), 2, "once for V3 by itself, once with V4\n{ours:?}");
    assert!(ours[1].contains("CREATE TABLE t4"), "both files are one message\n{}", ours[1]);
    let done = ground.migrate(5, &steps[..2]).await.unwrap();
    assert_eq!((done.before.len(), done.after.len()), (4, 5));
    assert_eq!(ground.texts(LEDGER).await, ["1 V1", "2 V2", "3 V3", "4 V4", "5 V5"]);

    // An index made concurrently has no one transaction: it is looked, and it is made.
    assert_eq!(ground.migrate(6, &steps[..5]).await.unwrap().after.len(), 6);

    // A file that fails over something missing is run again after a look, and fails as itself.
    let fault = ground.migrate(7, &steps[..6]).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (Class::Refused, "42P01"));
    assert!(fault.message.contains("V7__wrong") && fault.message.contains("nowhere"), "{fault}");
    assert_eq!(ground.texts(LEDGER).await.len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn believing_opens_no_door_that_looking_keeps_shut() {
    let mut ground = Ground::new("doorway").await;
    let steps = ground.steps.clone();

    // Somebody else is at it.
    ground.run("BEGIN; SELECT pg_advisory_xact_lock(hashtext('labctl:migrate'), hashtext('T_schema'))").await;
    let fault = ground.migrate(3, &steps[..2]).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (Class::Busy, "55P03"), "{fault}");
    ground.run("ROLLBACK").await;

    // A history that is not ours to go on with.
    ground.run("UPDATE T_schema.labctl_migrations SET checksum = repeat('0', 64) WHERE version = 2").await;
    ground.refused(3, 2, "history").await;
    ground.run(&format!("UPDATE T_schema.labctl_migrations SET checksum = '{}' WHERE version = 2", steps[1].checksum)).await;

    // Another's, and of another registry.
    for whose in ["another/postgres_schema_version/main", "doorway/postgres_schema_version/main"] {
        let registry = if whose.starts_with("another") { "r1" } else { "r2" };
        ground.run(&format!(r#"COMMENT ON TABLE T_schema.labctl_migrations IS '{{"labctl:address":"{whose}","labctl:registry":"{registry}"}}'"#)).await;
        ground.refused(3, 2, "foreign").await;
    }
    let ours = r#"COMMENT ON TABLE T_schema.labctl_migrations IS '{"labctl:address":"doorway/postgres_schema_version/main","labctl:registry":"r1"}'"#;
    ground.run(ours).await;

    // A view in the ledger's place, whose functions would run with the rights of whoever reads it.
    let trap = "SET search_path = T_schema; CREATE SEQUENCE reads; GRANT ALL ON reads TO PUBLIC; ALTER TABLE labctl_migrations RENAME TO kept; \
                CREATE VIEW labctl_migrations AS SELECT *, nextval('T_schema.reads') FROM kept; GRANT ALL ON labctl_migrations TO PUBLIC; RESET search_path";
    ground.run(trap).await;
    ground.refused(3, 2, "not_a_ledger").await;
    assert_eq!(ground.texts("SELECT is_called::text FROM T_schema.reads").await, ["false"]);
    ground.run("SET search_path = T_schema; DROP VIEW labctl_migrations; ALTER TABLE kept RENAME TO labctl_migrations; RESET search_path").await;

    // A membership of the administrator's that was there before stays.
    ground.run("GRANT T_migrate TO T_server_admin").await;
    assert_eq!(ground.migrate(3, &steps[..2]).await.unwrap().after.len(), 3);
    assert_eq!(ground.texts("SELECT 1::text FROM pg_auth_members WHERE roleid = 'T_migrate'::regrole").await, ["1"]);

    // One that a killed run of the administrator's left is given back.
    let left = "REVOKE T_migrate FROM T_server_admin; SET SESSION AUTHORIZATION T_server_admin; GRANT T_migrate TO T_server_admin; RESET SESSION AUTHORIZATION";
    ground.run(left).await;
    assert_eq!(ground.migrate(4, &steps[..3]).await.unwrap().after.len(), 4);
    assert_eq!(ground.texts("SELECT 1::text FROM pg_auth_members WHERE roleid = 'T_migrate'::regrole").await, [""; 0]);

    // No such schema any more.
    ground.run("ALTER SCHEMA T_schema RENAME TO elsewhere").await;
    ground.refused(5, 4, "3F000").await;
    ground.run("ALTER SCHEMA elsewhere RENAME TO T_schema").await;
    assert_eq!(ground.migrate(5, &steps[..4]).await.unwrap().after.len(), 5);
    assert_eq!(ground.texts(LEDGER).await, ["1 V1", "2 V2", "3 V3", "4 V4", "5 V5"]);
}
