//! What a migration role has left in its schema gets no rights but its own: whoever has its password cannot have the next migration work for
//! them, neither while it runs nor at its commit nor later in the session.

use labctl::engine::fault::{Class, Fault};
use labctl::tenantdb::migrations::apply::Done;
use labctl::tenantdb::migrations::own;
use labctl::tenantdb::watch;

use super::ground::{Ground, LEDGER};
use super::server::run;
use super::tenant::password;

/// Makes a role: that takes the administrator.
const STEAL: &str = "EXECUTE 'CREATE ROLE stolen'";

/// A way to have code run at every row of the ledger.
fn trigger(body: &str) -> String {
    format!(
        "CREATE OR REPLACE FUNCTION evil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; RETURN NEW; END $$; \
         CREATE TRIGGER evil BEFORE INSERT ON labctl_migrations FOR EACH ROW EXECUTE FUNCTION evil()"
    )
}

fn deferred(when: &str) -> String {
    format!(
        "CREATE OR REPLACE FUNCTION evil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {STEAL}; RETURN NEW; END $$; \
         CREATE CONSTRAINT TRIGGER evil AFTER INSERT ON labctl_migrations DEFERRABLE INITIALLY {when} FOR EACH ROW EXECUTE FUNCTION evil()"
    )
}

const UNPLANT: &str = "DROP TABLE IF EXISTS fk, pk, again; DROP TRIGGER IF EXISTS evil ON labctl_migrations; DROP FUNCTION IF EXISTS evil() CASCADE; \
                       ALTER TABLE labctl_migrations ALTER applied_at SET DEFAULT clock_timestamp()";

/// As the migration role, by its password.
async fn plant(ground: &Ground, sql: &str) {
    let (role, password) = (format!("{}_migrate", ground.tenant), password(ground.tenant, "migrate"));
    let mut role = ground.server.login(&role, &password, &ground.server.shared).await.unwrap();
    run(&mut role, &format!("SET search_path = {}_schema; {sql}", ground.tenant)).await.unwrap();
}

async fn nothing_was_stolen(ground: &mut Ground, case: &str) {
    assert_eq!(ground.texts("SELECT rolname::text FROM pg_roles WHERE rolname = 'stolen'").await, [""; 0], "{case}");
}

fn refused(done: Result<Done, Fault>, code: &str, case: &str) {
    let fault = done.expect_err(case);
    assert_eq!((fault.class, fault.code.as_str()), (Class::Refused, code), "{case}: {fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn code_left_in_a_schema_never_runs_as_the_administrator() {
    let mut ground = Ground::new("hostile").await;
    let steps = ground.steps.clone();
    let prepare =
        "EXECUTE 'DEALLOCATE labctl_ready'; EXECUTE 'PREPARE labctl_ready (text, regrole, regclass, regnamespace, text, text) AS SELECT evil_ready()'";
    let traps = [
        ("left_role", trigger(&format!("EXECUTE 'RESET ROLE'; {STEAL}"))),
        ("left_role", trigger(&format!("PERFORM set_config('role', 'none', false); {STEAL}"))),
        (
            "left_role",
            "ALTER TABLE labctl_migrations ALTER applied_at SET DEFAULT '2026-01-01'::timestamptz + set_config('role', 'none', false)::interval".to_owned(),
        ),
        ("42501", trigger(STEAL)),
        // What waits for the commit is done before it, as the tenant.
        ("42501", deferred("DEFERRED")),
        ("left_role", deferred("DEFERRED").replace(STEAL, &format!("EXECUTE 'RESET ROLE'; {STEAL}"))),
        ("left_prepared", trigger("EXECUTE 'PREPARE labctl_other AS SELECT 1'")),
        ("left_prepared", trigger("EXECUTE 'DEALLOCATE ALL'")),
    ];
    for (code, trap) in &traps {
        plant(&ground, trap).await;
        for believed in [Some(&steps[..2]), None] {
            let case = format!("{trap}, {}", if believed.is_some() { "believed" } else { "looked" });
            let mut admin = ground.admin().await;
            refused(ground.migrate_by(&mut admin, 3, believed).await, code, &case);
            drop(admin);
            nothing_was_stolen(&mut ground, &case).await;
            assert_eq!(ground.texts(LEDGER).await, ["1 V1", "2 V2"], "{case}");
        }
        plant(&ground, UNPLANT).await;
    }

    // A cursor that is to outlast the commit is read by it.
    let cursor = format!("CREATE FUNCTION evil_read() RETURNS int LANGUAGE plpgsql AS $$ BEGIN {STEAL}; RETURN 1; END $$; ");
    let declare = "EXECUTE 'DECLARE held CURSOR WITH HOLD FOR SELECT evil_read()'";
    plant(&ground, &format!("{cursor}{}", trigger(declare))).await;
    let done = ground.migrate(3, &steps[..2]).await.unwrap();
    assert_eq!(done.after.len(), 3);
    nothing_was_stolen(&mut ground, "a cursor").await;
    plant(&ground, UNPLANT).await;

    // A statement of ours in place of which there is another's.
    plant(&ground, &format!("CREATE FUNCTION evil_ready() RETURNS int LANGUAGE plpgsql AS $$ BEGIN {STEAL}; RETURN 1; END $$; {}", trigger(prepare))).await;
    refused(ground.migrate(4, &steps[..3]).await, "left_prepared", "a statement of ours was replaced");
    plant(&ground, UNPLANT).await;
    // One that fails besides: what is prepared stays when the transaction is undone.
    let raise = format!("{prepare}; RAISE EXCEPTION 'no'");
    plant(&ground, &format!("CREATE OR REPLACE FUNCTION evil_ready() RETURNS int LANGUAGE plpgsql AS $$ BEGIN {STEAL}; RETURN 1; END $$; {}", trigger(&raise)))
        .await;
    refused(ground.migrate(4, &steps[..3]).await, "P0001", "a statement of ours was replaced, and an error raised");
    plant(&ground, UNPLANT).await;
    assert_eq!(ground.migrate(4, &steps[..3]).await.unwrap().after.len(), 4, "and its session is not used again");
    nothing_was_stolen(&mut ground, "a statement of ours was replaced").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_the_commit_is_done_before_it_whatever_the_catalogs_say() {
    let mut ground = Ground::new("waiting").await;
    let steps = ground.steps.clone();
    // A foreign key that can be deferred for as long as its check is put off, and is as it was when anybody looks. Its check plans a query on a table with an
    // index whose predicate declares a cursor that is to outlast the commit, which reads it: with the rights of whoever commits.
    let key = format!(
        "CREATE TABLE pk (id int PRIMARY KEY); INSERT INTO pk VALUES (1); CREATE TABLE fk (id int CONSTRAINT c REFERENCES pk); \
         CREATE FUNCTION payload() RETURNS int LANGUAGE plpgsql AS $$ BEGIN {STEAL}; RETURN 1; END $$; \
         CREATE FUNCTION held() RETURNS int LANGUAGE plpgsql AS $$ BEGIN IF current_setting('evil.on', true) = '1' THEN \
             PERFORM set_config('evil.on', '0', true); EXECUTE 'DECLARE held CURSOR WITH HOLD FOR SELECT waiting_schema.payload()'; END IF; RETURN 1; END $$; \
         CREATE FUNCTION same(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM waiting_schema.held(); RETURN 1; END $$; \
         CREATE INDEX told ON fk (id) WHERE same(1) = 1; {}",
        trigger(
            "PERFORM set_config('evil.on', '1', true); ALTER TABLE fk ALTER CONSTRAINT c DEFERRABLE INITIALLY DEFERRED; DELETE FROM pk; \
             ALTER TABLE fk ALTER CONSTRAINT c NOT DEFERRABLE"
        )
    );
    plant(&ground, &key).await;
    assert_eq!(ground.migrate(3, &steps[..2]).await.unwrap().after.len(), 3);
    nothing_was_stolen(&mut ground, "a foreign key").await;
    assert_eq!(ground.texts("SELECT id::text FROM waiting_schema.pk").await, [""; 0], "it came so far");
    plant(&ground, "INSERT INTO pk VALUES (1)").await;
    let mut admin = ground.admin().await;
    assert_eq!(ground.migrate_by(&mut admin, 4, None).await.unwrap().after.len(), 4);
    drop(admin);
    nothing_was_stolen(&mut ground, "a foreign key, looked").await;
    plant(&ground, UNPLANT).await;

    // What puts itself off again finds that it cannot write any more, and so cannot be put off.
    let again = format!(
        "CREATE TABLE again (n int); INSERT INTO again VALUES (1); {}; CREATE CONSTRAINT TRIGGER evil AFTER UPDATE ON again DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION evil()",
        deferred("DEFERRED").replace(STEAL, "SET CONSTRAINTS ALL DEFERRED; UPDATE again SET n = n + 1")
    );
    plant(&ground, &again).await;
    refused(ground.migrate(5, &steps[..4]).await, "deferred", "what puts itself off again");
    plant(&ground, UNPLANT).await;
    // An honest one may wait until the end of the file.
    plant(&ground, "CREATE TABLE pk (id int PRIMARY KEY); CREATE TABLE fk (id int REFERENCES pk DEFERRABLE INITIALLY DEFERRED)").await;
    assert_eq!(ground.migrate(5, &steps[..4]).await.unwrap().after.len(), 5);
}

/// As the migration role: a function that writes down who called it, whoever that is, as one that only ever answers the same.
const TELLING: &str = "CREATE TABLE calls (who text); GRANT INSERT ON calls TO PUBLIC; GRANT USAGE ON SCHEMA T_schema TO PUBLIC; \
    CREATE FUNCTION tell(int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO T_schema.calls VALUES (current_user); RETURN 1; END $$; \
    CREATE FUNCTION same(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM T_schema.tell(1); RETURN 1; END $$; \
    GRANT EXECUTE ON FUNCTION tell(int), same(int) TO PUBLIC";

const CALLED: &str = "SELECT DISTINCT who FROM T_schema.calls WHERE who <> 'T_migrate'";

#[tokio::test(flavor = "multi_thread")]
async fn reading_a_ledger_calls_nothing_of_its_owners() {
    let mut ground = Ground::new("reading").await;
    let steps = ground.steps.clone();
    let schema = ground.ident("schema");
    plant(&ground, &TELLING.replace("T_", "reading_")).await;
    let index = "CREATE INDEX told ON labctl_migrations (position) WHERE same(1) = 1";
    plant(&ground, index).await;
    // The trap is one: whoever asks, even for the plan alone, has called it.
    ground.run("EXPLAIN SELECT FROM T_schema.labctl_migrations").await;
    assert_eq!(ground.texts(CALLED).await, ["postgres"]);
    ground.run("DELETE FROM T_schema.calls").await;

    let mut admin = ground.admin().await;
    let found = own::find(&mut admin, &schema).await.unwrap().unwrap();
    assert_eq!((found.applied.as_slice(), found.last_at.is_some()), (&steps[..2], true));
    assert_eq!(own::read(&mut admin, &["reading_schema", "nowhere"]).await.unwrap()["reading_schema"].applied, steps[..2]);
    let health = watch::schemas(&mut admin, 150_000, &["reading_schema".to_owned()]).await.unwrap();
    assert_eq!(health["reading_schema"].versions, [("tenant".to_owned(), 2)].into());
    assert_eq!(ground.migrate_by(&mut admin, 3, None).await.unwrap().after.len(), 3);
    assert_eq!(ground.migrate(4, &steps[..3]).await.unwrap().after.len(), 4);
    assert_eq!(ground.texts(CALLED).await, [""; 0]);

    // A view that comes and goes: it is never what was looked at before.
    plant(&ground, "DROP INDEX told").await;
    let view = "ALTER TABLE labctl_migrations RENAME TO kept; CREATE VIEW labctl_migrations AS SELECT *, tell(1) FROM kept; GRANT SELECT ON labctl_migrations TO PUBLIC";
    let table = "DROP VIEW labctl_migrations; ALTER TABLE kept RENAME TO labctl_migrations";
    let (mut seen, mut missed) = (0, 0);
    let done = std::sync::atomic::AtomicBool::new(false);
    let swap = async {
        while !done.load(std::sync::atomic::Ordering::Relaxed) {
            plant(&ground, &format!("BEGIN; {view}; COMMIT; BEGIN; {table}; COMMIT")).await;
        }
    };
    let mut reader = ground.admin().await;
    let read = async {
        for _ in 0..300 {
            let found = own::read(&mut reader, &["reading_schema"]).await.unwrap();
            *if found.is_empty() { &mut missed } else { &mut seen } += 1;
            if let Ok(Some(found)) = own::find(&mut reader, &schema).await {
                assert_eq!(found.applied.len(), 4);
            }
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    };
    tokio::join!(swap, read);
    assert!(seen > 0, "{seen} {missed}");
    assert_eq!(ground.texts(CALLED).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_is_none_of_labctls_is_refused_and_in_nobodys_way() {
    let mut ground = Ground::new("unread").await;
    let (steps, schema) = (ground.steps.clone(), ground.ident("schema"));
    let ways = [
        ("42501", "REVOKE SELECT ON labctl_migrations FROM unread_server_admin", "GRANT SELECT ON labctl_migrations TO unread_server_admin"),
        (
            "not_a_ledger",
            "ALTER TABLE labctl_migrations ALTER version TYPE text USING 'V' || version",
            "ALTER TABLE labctl_migrations ALTER version TYPE int USING position",
        ),
        (
            "not_a_ledger",
            // A few kilobytes in the table.
            "INSERT INTO labctl_migrations (position, folder, version, name, checksum) VALUES (99, 'z', 1, repeat('x', 5400000), repeat('0', 64))",
            "DELETE FROM labctl_migrations WHERE position = 99",
        ),
        ("not_a_ledger", "ALTER TABLE labctl_migrations RENAME folder TO directory", "ALTER TABLE labctl_migrations RENAME directory TO folder"),
    ];
    plant(&ground, "ALTER TABLE labctl_migrations DROP CONSTRAINT labctl_migrations_version_check").await;
    for (code, meddle, mend) in ways {
        plant(&ground, meddle).await;
        let mut admin = ground.admin().await;
        let fault = own::find(&mut admin, &schema).await.unwrap_err();
        assert_eq!((fault.class, fault.code.as_str()), (Class::Refused, code), "{meddle}: {fault}");
        assert!(own::read(&mut admin, &["unread_schema"]).await.unwrap().is_empty(), "{meddle}");
        refused(ground.migrate_by(&mut admin, 3, None).await, code, meddle);
        plant(&ground, mend).await;
    }
    assert_eq!(ground.migrate(3, &steps[..2]).await.unwrap().after.len(), 3);
    assert_eq!(ground.texts(LEDGER).await, ["1 V1", "2 V2", "3 V3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_code_in_a_schema_leaves_do_not_outlast_it() {
    let mut ground = Ground::new("settled").await;
    let steps = ground.steps.clone();
    // Whatever calls one of these without its schema's name calls them, and they say who did.
    let ours = [
        "CREATE TABLE calls (who text)",
        "GRANT INSERT ON calls TO PUBLIC",
        "CREATE FUNCTION called() RETURNS void LANGUAGE sql AS 'INSERT INTO settled_schema.calls VALUES (current_user)'",
        "CREATE FUNCTION clock_timestamp() RETURNS timestamptz LANGUAGE sql AS 'SELECT settled_schema.called(); SELECT pg_catalog.clock_timestamp()'",
        "CREATE FUNCTION hashtext(text) RETURNS int LANGUAGE sql AS 'SELECT settled_schema.called(); SELECT pg_catalog.hashtext($1)'",
        "CREATE FUNCTION pg_try_advisory_xact_lock(int, int) RETURNS boolean LANGUAGE sql AS 'SELECT settled_schema.called(); SELECT true'",
        "CREATE FUNCTION strpos(text, text) RETURNS int LANGUAGE sql AS 'SELECT settled_schema.called(); SELECT 1'",
        "GRANT ALL ON ALL FUNCTIONS IN SCHEMA settled_schema TO PUBLIC",
        "GRANT USAGE ON SCHEMA settled_schema TO PUBLIC",
    ];
    for sql in ours {
        ground.run(&format!("SET search_path = settled_schema; {sql}; RESET search_path")).await;
    }
    for (local, to) in [("true", 3), ("false", 4)] {
        let set = ["search_path', 'settled_schema, pg_catalog", "statement_timeout', '1", "standard_conforming_strings', 'off", "row_security', 'off"];
        let set = set.map(|set| format!("PERFORM pg_catalog.set_config('{set}', {local})")).join("; ");
        plant(&ground, &trigger(&set)).await;
        let mut admin = ground.admin().await;
        let done = ground.migrate_by(&mut admin, to, Some(&steps[..to - 1])).await;
        let shows = ["search_path", "statement_timeout", "standard_conforming_strings", "row_security", "TimeZone", "lock_timeout"];
        let mut shown = Vec::new();
        for name in shows {
            shown.extend(admin.select::<(String,)>("postgres:SHOW", format!("SHOW {name}")).await.unwrap().into_iter().map(|(value,)| value));
        }
        assert_eq!(shown, ["pg_catalog", "1min", "on", "on", "UTC", "5s"], "local: {local}");
        assert_eq!(done.unwrap().after.len(), to);
        plant(&ground, UNPLANT).await;
    }
    // In the same session, which was the other's too.
    let looks = ground.looks();
    assert_eq!(ground.migrate(5, &steps[..4]).await.unwrap().after.len(), 5);
    assert_eq!(ground.looks(), looks);
    assert_eq!(ground.texts("SELECT DISTINCT who FROM settled_schema.calls WHERE who <> 'settled_migrate'").await, [""; 0], "nobody else called them");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_a_tenants_statements_is_the_administrators_alone_to_call_and_is_made_again() {
    let mut ground = Ground::new("runner").await;
    let steps = ground.steps.clone();
    let function = "labctl_ledger.runner_schema(text)";
    let whose = "SELECT concat_ws(' ', p.oid::regprocedure, p.proowner::regrole, p.prosecdef, p.proacl) FROM pg_proc p WHERE pronamespace = 'labctl_ledger'::regnamespace AND prosecdef";
    let made = format!("{function} runner_migrate t {{runner_migrate=X/runner_migrate,runner_server_admin=X/runner_migrate}}");
    assert_eq!(ground.texts(whose).await, std::slice::from_ref(&made));
    for part in ["migrate", "app"] {
        let mut login = ground.server.login(&format!("runner_{part}"), &password("runner", part), &ground.server.shared).await.unwrap();
        for sql in [
            "SELECT labctl_ledger.execute('SELECT 1'::varchar)",
            "SELECT labctl_ledger.runner_schema('SELECT 1')",
            "ALTER FUNCTION labctl_ledger.runner_schema(text) SECURITY INVOKER",
            "ALTER FUNCTION labctl_ledger.runner_schema(text) RENAME TO other",
            "CREATE OR REPLACE FUNCTION labctl_ledger.runner_schema(text) RETURNS text LANGUAGE sql AS 'SELECT 1::text'",
            "GRANT ALL ON FUNCTION labctl_ledger.runner_schema(text) TO PUBLIC",
        ] {
            let refusal = run(&mut login, sql).await.unwrap_err();
            assert_eq!(refusal.as_database_error().and_then(|e| e.code()).as_deref(), Some("42501"), "{part}: {sql}: {refusal}");
        }
    }

    // Dropped, another's, or one that runs with its caller's rights: it is made again, whatever was believed.
    let (mut at, mut looks) = (2, ground.looks());
    for meddle in [
        format!("DROP FUNCTION {function}"),
        format!("ALTER FUNCTION {function} OWNER TO runner_owner"),
        format!("REVOKE ALL ON FUNCTION {function} FROM runner_server_admin"),
    ] {
        ground.run(&meddle).await;
        at += 1;
        assert_eq!(ground.migrate(at, &steps[..at - 1]).await.unwrap().after.len(), at, "{meddle}");
        assert!(ground.looks() > looks, "{meddle}");
        looks = ground.looks();
        assert_eq!(ground.texts(whose).await, std::slice::from_ref(&made), "{meddle}");
    }
    // It goes with the ledger.
    assert_eq!(ground.texts("SELECT 1::text FROM pg_auth_members WHERE roleid = 'runner_migrate'::regrole").await, [""; 0]);
}
