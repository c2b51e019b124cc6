//! Row security as a second line in a schema of a tenant's own: what is granted by mistake shows no row, and nothing else notices.

use std::process::Command;
use std::time::Duration;

use labctl::engine::kind::{Diff, Suspension};
use labctl::kinds::Cx;
use labctl::tenantdb::migrations::apply::{self, Job, Ledger};
use labctl::tenantdb::migrations::ledger::To;
use labctl::tenantdb::migrations::{File, Library, Step};
use labctl::tenantdb::quote::Ident;
use labctl::tenantdb::{Connection, Login};
use serde_json::json;
use sqlx::PgConnection;

use super::server::{ADMIN_PASSWORD, ENDPOINT, Secrets, Server, run, texts};
use super::tenant::{Resource, everything, password, role, secret, shipped};

const PATIENT: &str = "INSERT INTO patients (medical_record_number, given_name, family_name, date_of_birth) VALUES ('N', 'Ada', 'Byron', '1985-12-10')";
const COUNT: &str = "SELECT count(*)::text FROM patients";
/// Tables by how they are guarded: on, forced, and the policies' names with their roles.
const GUARDS: &str = "SELECT concat_ws(' ', relname, relrowsecurity, relforcerowsecurity, \
    (SELECT string_agg(polname || ' ' || (SELECT string_agg(r.rolname, ',' ORDER BY r.rolname) FROM pg_roles r WHERE r.oid = ANY (polroles)), '; ' ORDER BY polname) \
     FROM pg_policy WHERE polrelid = c.oid)) FROM pg_class c WHERE relnamespace = 'T_schema'::regnamespace AND relkind IN ('r', 'p') ORDER BY relname";

/// Two tenants in one database; the first is guarded.
struct Pair {
    server: Server,
    secrets: Secrets,
    cx: Cx,
    a: Vec<Resource>,
    steps: Vec<Step>,
}

fn file(name: &str, sql: &str) -> File {
    File::parse("tenant", name, sql).unwrap()
}

async fn pair(name: &str, more: &[(&str, &str)]) -> (Pair, Vec<Step>) {
    let server = Server::new(name).await;
    let (secrets, mut library) = (Secrets::default(), Library::default());
    let steps = shipped(&mut library, "mate");
    let later = library.add(more.iter().map(|(name, sql)| file(name, sql)).collect()).unwrap();
    let cx = server.cx(&secrets, library).await;
    let (a, b) = (format!("{name}_a"), format!("{name}_b"));
    let (mut a, b) = (everything(&secrets, &a, &server.shared, &steps), everything(&secrets, &b, &server.shared, &steps));
    a[4].spec["row_security"] = json!(true);
    for resource in a.iter().chain(&b) {
        resource.converge(&cx).await.unwrap();
        assert_eq!(resource.diff(&cx).await, Diff::Same, "{}", resource.address);
    }
    (Pair { server, secrets, cx, a, steps }, later)
}

impl Pair {
    fn tenant(&self, letter: &str) -> String {
        format!("{}_{letter}", self.server.admin.trim_end_matches("_admin"))
    }

    async fn login(&self, letter: &str, part: &str) -> PgConnection {
        let tenant = self.tenant(letter);
        self.server.login(&format!("{tenant}_{part}"), &password(&tenant, part), &self.server.shared).await.unwrap()
    }

    async fn superuser(&self) -> PgConnection {
        self.server.superuser(&self.server.shared).await
    }

    async fn administrator(&self) -> Connection {
        let (username, password) = (self.server.admin.clone(), ADMIN_PASSWORD.to_owned().into());
        self.cx.db.connect(&Login { endpoint: ENDPOINT.into(), database: self.server.shared.clone(), username, password }).await.unwrap()
    }

    /// Every table of a schema, as it is guarded.
    async fn guards(&self, letter: &str) -> Vec<String> {
        texts(&mut self.superuser().await, &GUARDS.replace("T_schema", &format!("{}_schema", self.tenant(letter)))).await
    }

    /// How a guarded table reads in [`Pair::guards`].
    fn guarded(&self, table: &str) -> String {
        let a = self.tenant("a");
        format!("{table} t t labctl_own {a}_app,{a}_migrate,{a}_read")
    }

    async fn pg_dump(&self, role: &str, password: &str, more: &[&str]) -> (bool, String) {
        let port = self.server.port().to_string();
        let schema = format!("{}_schema", self.tenant("a"));
        let mut dump = Command::new(self.server.program("pg_dump").await);
        dump.args(["-h", "127.0.0.1", "-p", &port, "-U", role, "-d", &self.server.shared, "-n", &schema]).args(more).env("PGPASSWORD", password);
        let done = dump.output().unwrap();
        (done.status.success(), String::from_utf8([done.stdout, done.stderr].concat()).unwrap())
    }
}

fn code(result: Result<(), sqlx::Error>) -> String {
    result.unwrap_err().as_database_error().and_then(|e| e.code()).unwrap().into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_made_by_mistake_shows_no_row_and_the_tenant_notices_nothing() {
    let (pair, _) = pair("guard", &[]).await;
    let guards = pair.guards("a").await;
    assert!(guards.len() > 5, "{guards:?}");
    for line in &guards {
        let table = line.split(' ').next().unwrap();
        let expected = if table == "labctl_migrations" { "labctl_migrations f f".to_owned() } else { pair.guarded(table) };
        assert_eq!(*line, expected);
    }
    assert!(pair.guards("b").await.iter().all(|l| l.ends_with(" f f")), "nobody asked for it there");

    let mut app = pair.login("a", "app").await;
    run(&mut app, PATIENT).await.unwrap();
    for part in ["app", "read", "migrate"] {
        assert_eq!(texts(&mut pair.login("a", part).await, COUNT).await, ["1"], "{part}");
    }
    // The price: no `COPY … FROM` for whom a policy is made out to.
    assert_eq!(code(run(&mut app, "COPY staff (email) FROM STDIN").await), "0A000");

    let mut sup = pair.superuser().await;
    let mistake =
        "GRANT USAGE ON SCHEMA guard_a_schema TO guard_b_app; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA guard_a_schema TO guard_b_app";
    run(
        &mut sup,
        "CREATE VIEW guard_a_schema.names AS SELECT family_name FROM guard_a_schema.patients; ALTER VIEW guard_a_schema.names OWNER TO guard_a_migrate",
    )
    .await
    .unwrap();
    let Diff::Update(changes) = pair.a[4].diff(&pair.cx).await else { panic!() };
    assert!(changes.iter().any(|c| c.to_string() == "row_security.names: with the rights of its owner → guarded"), "{changes:?}");
    run(&mut sup, mistake).await.unwrap();
    let mut neighbour = pair.login("b", "app").await;
    assert_eq!(texts(&mut neighbour, "SELECT family_name FROM guard_a_schema.names").await, ["Byron"], "a view with its owner's rights is a hole");
    assert_eq!(pair.a[4].converge(&pair.cx).await.unwrap(), 1);
    run(&mut sup, mistake).await.unwrap();
    for (table, rows) in [("patients", "count(*)::text"), ("names", "count(*)::text")] {
        assert_eq!(texts(&mut neighbour, &format!("SELECT {rows} FROM guard_a_schema.{table}")).await, ["0"], "{table}");
    }
    run(&mut neighbour, "SET search_path = guard_a_schema").await.unwrap();
    assert_eq!(code(run(&mut neighbour, &PATIENT.replace("'N'", "'M'")).await), "42501");
    run(&mut neighbour, "UPDATE patients SET given_name = 'x'; DELETE FROM patients").await.unwrap();
    assert_eq!(texts(&mut app, "SELECT given_name FROM patients").await, ["Ada"]);
    assert_eq!(texts(&mut app, "SELECT family_name FROM names").await, ["Byron"]);
    // Without any policy nobody sees a row; only without row security does the mistake show.
    run(&mut sup, "DROP POLICY labctl_own ON guard_a_schema.patients").await.unwrap();
    assert_eq!(texts(&mut neighbour, COUNT).await, ["0"]);
    assert_eq!(texts(&mut app, COUNT).await, ["0"]);
    run(&mut sup, "ALTER TABLE guard_a_schema.patients DISABLE ROW LEVEL SECURITY").await.unwrap();
    assert_eq!(texts(&mut neighbour, COUNT).await, ["1"]);
    pair.a[4].converge(&pair.cx).await.unwrap();
    assert_eq!(code(run(&mut neighbour, "SELECT * FROM guard_a_schema.patients").await), "42501", "what was granted by mistake is drift, too");
    assert_eq!(texts(&mut app, COUNT).await, ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_of_row_security_is_named_and_mended_and_switching_it_guards_and_opens_what_is_there() {
    let (mut pair, _) = pair("line", &[]).await;
    let mut sup = pair.superuser().await;
    let rows = [
        ("ALTER TABLE line_a_schema.patients DISABLE ROW LEVEL SECURITY", "row_security.patients: off → guarded"),
        ("ALTER TABLE line_a_schema.patients NO FORCE ROW LEVEL SECURITY", "row_security.patients: not forced → guarded"),
        ("DROP POLICY labctl_own ON line_a_schema.patients", "row_security.patients: no policy → guarded"),
        (
            "ALTER POLICY labctl_own ON line_a_schema.patients TO line_a_app, line_a_migrate, line_a_read, line_b_app",
            "row_security.patients: no policy → guarded",
        ),
        ("ALTER POLICY labctl_own ON line_a_schema.patients USING (id > 1)", "row_security.patients: no policy → guarded"),
        ("CREATE POLICY open ON line_a_schema.patients USING (true)", "row_security.patients: other policies: open → guarded"),
        (
            "CREATE TABLE line_a_schema.late (id int); ALTER TABLE line_a_schema.late OWNER TO line_a_migrate",
            "row_security.late: off, not forced, no policy → guarded",
        ),
        (
            "CREATE TABLE line_a_schema.parted (id int) PARTITION BY LIST (id); CREATE TABLE line_a_schema.parted_1 PARTITION OF line_a_schema.parted FOR VALUES IN (1); \
             ALTER TABLE line_a_schema.parted OWNER TO line_a_owner; ALTER TABLE line_a_schema.parted_1 OWNER TO line_a_owner",
            "row_security.parted_1: off, not forced, no policy → guarded",
        ),
        (
            "DO $$ BEGIN EXECUTE format('COMMENT ON SCHEMA line_a_schema IS %L', (obj_description('line_a_schema'::regnamespace)::jsonb - 'row_security')::text); END $$",
            "row_security: off → line_a_app,line_a_migrate,line_a_read",
        ),
    ];
    for (sql, named) in rows {
        run(&mut sup, sql).await.unwrap();
        let Diff::Update(changes) = pair.a[4].diff(&pair.cx).await else { panic!("{sql}: not seen") };
        assert!(changes.iter().any(|c| c.to_string() == named), "{sql}: {changes:?}");
        assert_eq!(pair.a[4].converge(&pair.cx).await.unwrap(), 1, "{sql}");
    }
    run(&mut sup, "CREATE MATERIALIZED VIEW line_a_schema.copy AS SELECT * FROM line_a_schema.patients; ALTER MATERIALIZED VIEW line_a_schema.copy OWNER TO line_a_migrate")
        .await
        .unwrap();
    assert!(matches!(pair.a[4].diff(&pair.cx).await, Diff::Forbidden(why) if why.contains("copy can have no policy")));
    run(&mut sup, "DROP MATERIALIZED VIEW line_a_schema.copy").await.unwrap();

    let guarded = pair.guards("a").await;
    pair.a[4].spec["row_security"] = json!(false);
    assert_eq!(pair.a[4].converge(&pair.cx).await.unwrap(), 1);
    assert!(pair.guards("a").await.iter().all(|l| l.ends_with(" f f")), "{:?}", pair.guards("a").await);
    pair.a[4].spec["row_security"] = json!(true);
    assert_eq!(pair.a[4].converge(&pair.cx).await.unwrap(), 1);
    assert_eq!(pair.guards("a").await, guarded);

    // Another name, and being out of use, change nothing about it.
    (pair.a[4].spec["name"], pair.a[5].spec["schema"]) = (json!("line_renamed"), json!("line_renamed"));
    assert_eq!(pair.a[4].converge(&pair.cx).await.unwrap(), 1);
    assert_eq!((pair.a[4].diff(&pair.cx).await, pair.a[5].diff(&pair.cx).await), (Diff::Same, Diff::Same));
    (pair.a[4].spec["name"], pair.a[5].spec["schema"]) = (json!("line_a_schema"), json!("line_a_schema"));
    assert_eq!(pair.a[4].converge(&pair.cx).await.unwrap(), 1);
    assert_eq!(pair.guards("a").await, guarded);
    let mut app = pair.login("a", "app").await;
    run(&mut app, PATIENT).await.unwrap();
    let in_use = pair.a[4].spec.clone();
    pair.a[4].spec = pair.a[4].kind().suspended(&in_use, Suspension::ReadOnly).unwrap();
    pair.a[4].converge(&pair.cx).await.unwrap();
    assert_eq!(texts(&mut app, COUNT).await, ["1"]);
    assert_eq!(code(run(&mut app, "DELETE FROM patients").await), "42501");
    pair.a[4].spec = in_use;
    pair.a[4].converge(&pair.cx).await.unwrap();
    assert_eq!(pair.guards("a").await, guarded);

    // A rotated part's second login acts as the first.
    let more = json!({"acts_as": "line_a_app", "settings": {"search_path": "line_a_schema"}});
    let second = role("line_a", "app_b", Some(&secret("line_a", "app")), more);
    second.converge(&pair.cx).await.unwrap();
    let mut second = pair.server.login("line_a_app_b", &password("line_a", "app"), &pair.server.shared).await.unwrap();
    assert_eq!(texts(&mut second, COUNT).await, ["1"]);
    run(&mut second, &PATIENT.replace("'N'", "'M'")).await.unwrap();
    assert_eq!(texts(&mut app, COUNT).await, ["2"]);
    drop(pair.secrets);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_migration_makes_is_guarded_in_its_own_transaction_whoever_runs_it() {
    let later = [
        ("V90__later.sql", "CREATE TABLE later (id int); CREATE VIEW all_later AS SELECT * FROM later; INSERT INTO later VALUES (1);"),
        ("V91__more.sql", "CREATE TABLE more (id int); CREATE POLICY open ON more USING (true); UPDATE later SET id = 2;"),
        ("V92__copy.sql", "CREATE TABLE unseen (id int); CREATE MATERIALIZED VIEW copy AS SELECT * FROM later;"),
    ];
    let (mut pair, later) = pair("made", &later).await;
    let mut upto = |n: usize| {
        pair.a[5].spec["migrations"] = json!([pair.steps.clone(), later[..n].to_vec()].concat());
    };
    upto(1);
    assert_eq!(pair.a[5].converge(&pair.cx).await.unwrap(), 1);
    assert_eq!(pair.a[4].diff(&pair.cx).await, Diff::Same, "nothing is left for the schema to mend");
    assert!(pair.guards("a").await.contains(&pair.guarded("later")));

    // As `fleet migrate` does it: it has the ledger's owner, and no spec.
    let names = ["made_a_schema", "made_a_migrate"].map(|n| Ident::new(n).unwrap());
    let wanted = [pair.steps.clone(), later[..2].to_vec()].concat();
    let address = pair.a[5].address.to_string();
    let job = Job {
        shared: None,
        schema: &names[0],
        role: &names[1],
        tenant: "made_a",
        wanted: &wanted,
        to: &To::new(),
        ledger: Ledger::Of { address: &address, registry: "r1" },
        believed: None,
        lock_timeout: Duration::from_secs(2),
    };
    apply::migrate(&mut pair.administrator().await, &job, &pair.cx.migrations).await.unwrap();
    assert_eq!(pair.a[4].diff(&pair.cx).await, Diff::Same, "the policy that came with the table is gone as well");
    assert!(pair.guards("a").await.contains(&pair.guarded("more")));
    assert_eq!(texts(&mut pair.login("a", "app").await, "SELECT id::text FROM all_later").await, ["2"], "a migration sees the rows it changes");

    pair.a[5].spec["migrations"] = json!([pair.steps.clone(), later.clone()].concat());
    let fault = pair.a[5].converge(&pair.cx).await.unwrap_err();
    assert_eq!(fault.code, "LC101");
    assert!(fault.message.contains("copy can have no policy"), "{fault}");
    assert!(pair.guards("a").await.iter().all(|l| !l.starts_with("unseen")), "all of it was undone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_is_complete_or_an_error_for_everybody_who_is_no_stranger() {
    let (pair, _) = pair("dump", &[]).await;
    run(&mut pair.login("a", "app").await, PATIENT).await.unwrap();
    let mut sup = pair.superuser().await;
    run(
        &mut sup,
        "CREATE ROLE dump_backup LOGIN BYPASSRLS PASSWORD 'pw'; GRANT pg_read_all_data TO dump_backup; GRANT CONNECT ON DATABASE dump_shared TO dump_backup",
    )
    .await
    .unwrap();
    let (done, text) = pair.pg_dump("dump_backup", "pw", &[]).await;
    assert!(done && text.contains("Byron") && text.contains("labctl_migrations"), "{text}");
    let migrate = password("dump_a", "migrate");
    let (done, text) = pair.pg_dump("dump_a_migrate", &migrate, &[]).await;
    assert!(!done && text.contains("row-level security"), "{text}");
    let (done, text) = pair.pg_dump("dump_a_migrate", &migrate, &["--enable-row-security"]).await;
    assert!(done && text.contains("Byron") && text.contains("labctl_migrations"), "{text}");
    let (done, text) = pair.pg_dump(&pair.server.admin, ADMIN_PASSWORD, &[]).await;
    assert!(!done && !text.contains("Byron"), "{text}");
}
