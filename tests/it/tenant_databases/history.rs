//! Migrations of one schema: all or nothing, in the order of their history, and nothing is read that only looks like its ledger.

use std::collections::BTreeMap;
use std::time::Duration;

use labctl::engine::fault::Class;
use labctl::engine::kind::{Diff, Observed};
use labctl::tenantdb::migrations::apply::{Job, Ledger, migrate};
use labctl::tenantdb::migrations::ledger::To;
use labctl::tenantdb::migrations::{File, Library};
use labctl::tenantdb::quote::Ident;
use labctl::tenantdb::{Databases, Login, Settings, Tls, Tunnels, watch};
use serde_json::json;

use super::server::{ADMIN_PASSWORD, Secrets, Server, run, texts};
use super::tenant::{everything, version};

#[tokio::test(flavor = "multi_thread")]
async fn migrations_are_all_or_nothing_and_history_is_only_continued() {
    let server = Server::new("history").await;
    let secrets = Secrets::default();
    let mut library = Library::default();
    let file = |name: &str, sql: &str| File::parse("tenant", name, sql).unwrap();
    let good = library.add(vec![file("V1__a.sql", "CREATE TABLE a (id int);"), file("V3__c.sql", "ALTER TABLE a ADD x int;")]).unwrap();
    let bad = library.add(vec![file("V4__d.sql", "CREATE TABLE d (id int);"), file("V5__e.sql", "CREATE TABLE e (id nonsense);")]).unwrap();
    let early = library.add(vec![file("V2__b.sql", "CREATE TABLE b (id int);")]).unwrap();
    let changed = library.add(vec![file("V1__a.sql", "CREATE TABLE a (id bigint);")]).unwrap();
    let sly = file("V6__f.sql", "CREATE TABLE f (id int); DO $$ BEGIN EXECUTE 'RESET ROLE'; END $$;");
    let sly = library.add(vec![file("V5__e.sql", "SELECT 1; -- with an answer"), sly, file("V7__g.sql", "CREATE TABLE g (id int);")]).unwrap();
    let late = "CREATE TABLE h (id int UNIQUE DEFERRABLE INITIALLY DEFERRED); INSERT INTO h VALUES (1), (1);";
    let late = library.add(vec![file("V4__g.sql", "CREATE TABLE g (id int);"), file("V5__h.sql", late)]).unwrap();
    let unreadable =
        vec![file("V4__i.sql", "CREATE TABLE i (id int); -- größer"), file("V5__j.sql", "CRATE TABLE j (id int);"), file("V6__k.sql", "SELECT 1;")];
    let unreadable = library.add(unreadable).unwrap();
    let texts_of_all = library.clone();
    let cx = server.cx(&secrets, library).await;
    for resource in everything(&secrets, "history", "history_shared", &good) {
        resource.converge(&cx).await.unwrap();
    }
    let mut sup = server.superuser("history_shared").await;
    let tables = "SELECT relname || ' ' || relowner::regrole FROM pg_class WHERE relnamespace = 'history_schema'::regnamespace AND relkind = 'r' ORDER BY 1";
    assert_eq!(texts(&mut sup, tables).await, ["a history_migrate", "labctl_migrations history_migrate"]);

    let failing = version("history", "history_shared", &[good.clone(), bad].concat());
    assert!(matches!(failing.diff(&cx).await, Diff::Update(c) if c.len() == 2 && c[0].to_string() == "tenant/V4__d: pending → applied"));
    let fault = failing.converge(&cx).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (Class::Refused, "42704"));
    assert!(fault.message.starts_with("tenant/V5__e: ") && fault.message.contains("nonsense"), "{fault}");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(texts(&mut sup, tables).await.len(), 2, "V4 was undone with V5");

    // A text that PostgreSQL cannot read: it says so before it runs anything.
    let fault = version("history", "history_shared", &[good.clone(), unreadable].concat()).converge(&cx).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (Class::Refused, "42601"));
    assert!(fault.message.starts_with("tenant/V5__j: ") && fault.message.contains("CRATE"), "{fault}");

    // A file that would shed the role it runs in cannot.
    let fault = version("history", "history_shared", &[good.clone(), sly].concat()).converge(&cx).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (Class::Refused, "left_role"));
    assert!(fault.message.starts_with("tenant/V6__f, or something it set going,"), "{fault}");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(texts(&mut sup, tables).await.len(), 2, "V5 and V6 were undone, and V7 never run");

    // What fails only at the commit is the last file's.
    let fault = version("history", "history_shared", &[good.clone(), late].concat()).converge(&cx).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (Class::Refused, "23505"));
    assert!(fault.message.starts_with("tenant/V5__h: "), "{fault}");

    let rows = [
        (vec![good[0].clone(), early[0].clone(), good[1].clone()], "V2__b comes in before tenant/V3__c"),
        (vec![changed[0].clone(), good[1].clone()], "V1__a was changed after it was applied"),
        (vec![good[0].clone()], "V3__c was applied and is missing now"),
    ];
    for (steps, why) in rows {
        let rewritten = version("history", "history_shared", &steps);
        assert!(matches!(rewritten.diff(&cx).await, Diff::Forbidden(text) if text.contains(why)), "{why}");
        let Observed::Mine { id, state } = rewritten.observe(&cx).await else { panic!() };
        let fault = rewritten.kind().update(&cx, &rewritten.target(), &id, &state).await.unwrap_err();
        assert_eq!(fault.code, "history", "the update looks for itself");
    }

    // Somebody holds a lock: busy, nothing changed, and no waiting for ever.
    let more = version("history", "history_shared", &good);
    run(&mut sup, "BEGIN; LOCK TABLE history_schema.labctl_migrations").await.unwrap();
    let Err(fault) = more.kind().update(&cx, &more.target(), "x", &json!({"schema": "h_schema", "applied": []})).await else { panic!() };
    assert_eq!((fault.class, fault.code.as_str()), (Class::Busy, "55P03"));
    run(&mut sup, "ROLLBACK").await.unwrap();

    // A view in the ledger's place is not read: what it calls would run with the administrator's rights.
    let trap = "SET search_path = history_schema; CREATE SEQUENCE reads; GRANT ALL ON reads TO PUBLIC; ALTER TABLE labctl_migrations RENAME TO kept; \
                CREATE VIEW labctl_migrations AS SELECT *, nextval('history_schema.reads') FROM kept; GRANT SELECT ON labctl_migrations TO history_admin; RESET search_path";
    run(&mut sup, trap).await.unwrap();
    let databases = Databases::new(Settings { tunnels: Tunnels::default(), tls: Tls::Prefer, root_cert: None });
    let login = Login {
        endpoint: format!("127.0.0.1:{}", server.port()),
        database: server.shared.clone(),
        username: server.admin.clone(),
        password: ADMIN_PASSWORD.into(),
    };
    let (schema, role) = (Ident::new("history_schema").unwrap(), Ident::new("history_migrate").unwrap());
    let job = Job {
        shared: None,
        schema: &schema,
        role: &role,
        tenant: "history",
        wanted: &good,
        to: &To::new(),
        ledger: Ledger::Of { address: "history/postgres_schema_version/main", registry: "r1" },
        believed: None,
        lock_timeout: Duration::from_secs(1),
    };
    let fault = migrate(&mut databases.connect(&login).await.unwrap(), &job, &texts_of_all).await.unwrap_err();
    assert_eq!((fault.class, fault.code.as_str()), (Class::Refused, "not_a_ledger"));
    assert_eq!(texts(&mut sup, "SELECT is_called::text FROM history_schema.reads").await, ["false"]);
    run(&mut sup, "SET search_path = history_schema; DROP VIEW labctl_migrations; ALTER TABLE kept RENAME TO labctl_migrations; RESET search_path")
        .await
        .unwrap();
    let mut admin = databases.connect(&login).await.unwrap();
    let done = migrate(&mut admin, &job, &texts_of_all).await.unwrap();
    assert_eq!(done.before, done.after);

    // Nor are columns that are no longer of their types: to take the greatest version would cast it, by a function of the role that owns the table.
    let standing = async |db: &mut _| watch::schemas(db, 150_000, &["history_schema".to_owned()]).await.unwrap().remove("history_schema").unwrap().versions;
    assert_eq!(standing(&mut admin).await, BTreeMap::from([("tenant".to_owned(), 3)]));
    let trap = "SET ROLE history_migrate; SET search_path = history_schema; CREATE SEQUENCE casts; GRANT ALL ON casts TO PUBLIC; CREATE TYPE number AS (n int); \
                CREATE FUNCTION cast_number(number) RETURNS int LANGUAGE plpgsql AS 'BEGIN PERFORM nextval(''history_schema.casts''); RETURN ($1).n; END'; \
                GRANT EXECUTE ON FUNCTION cast_number TO PUBLIC; CREATE CAST (number AS int) WITH FUNCTION cast_number(number) AS IMPLICIT; ALTER TABLE labctl_migrations DROP CONSTRAINT labctl_migrations_version_check; \
                ALTER TABLE labctl_migrations ALTER version TYPE number USING ROW(version)::number; RESET ROLE; RESET search_path";
    run(&mut sup, trap).await.unwrap();
    assert_eq!(standing(&mut admin).await, BTreeMap::new(), "a ledger that is none any more says nothing");
    assert_eq!(texts(&mut sup, "SELECT is_called::text FROM history_schema.casts").await, ["false"]);
}
