//! Tables that tenants share, for real: made for the first, sealed by every migration, open to each tenant's own rows alone.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use labctl::engine::fault::{Class, Fault};
use labctl::engine::kind::{Diff, Observed, Suspension};
use labctl::kinds::Cx;
use labctl::stack::{Stack, Stacks};
use labctl::tenantdb::migrations::ledger::To;
use labctl::tenantdb::migrations::{File, Library, Step, apply};
use labctl::tenantdb::system::{self, Shared, walls};
use labctl::tenantdb::{Connection, Login};
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::server::{ADMIN_PASSWORD, ENDPOINT, Secrets, Server, run, texts};
use super::tenant::{Resource, password, role, secret};

const DENIED: &str = "42501";

/// A database with a system of the test's own, and what it is made of.
pub struct Town {
    pub server: Server,
    pub secrets: Secrets,
    pub shared: Shared,
}

/// The tests' stack with names of this test's own: roles are the whole server's.
pub fn stack(name: &str, library: &mut Library) -> Shared {
    let stacks = Stacks::load(std::path::Path::new(&format!("{}/tests/stacks", env!("CARGO_MANIFEST_DIR")))).unwrap();
    named(name, stacks.get("rowsx").unwrap(), library)
}

fn named(name: &str, stack: &Stack, library: &mut Library) -> Shared {
    let files =
        stack.migrations.iter().filter(|m| m.folder == "system").map(|m| File::parse(&m.folder, &format!("V{}__{}.sql", m.version, m.name), &m.sql).unwrap());
    library.add(files.collect()).unwrap();
    let mut shared: Value = stack.shared().unwrap();
    shared["stack"] = json!(name);
    shared["schema"] = json!(format!("system_{name}"));
    for part in ["owner", "write", "read"] {
        shared[part] = json!(format!("system_{name}_{part}"));
    }
    serde_json::from_value(shared).unwrap()
}

impl Town {
    pub async fn new(name: &str, library: &mut Library) -> Self {
        Self { server: Server::new(name).await, secrets: Secrets::default(), shared: stack(name, library) }
    }

    pub async fn admin(&self, cx: &Cx) -> Connection {
        let (database, username) = (self.server.shared.clone(), self.server.admin.clone());
        cx.db.connect(&Login { endpoint: ENDPOINT.into(), database, username, password: ADMIN_PASSWORD.to_owned().into() }).await.unwrap()
    }

    /// The admission alone.
    pub fn rows(&self, tenant: &str) -> Resource {
        let spec =
            json!({"database": self.server.shared, "system": self.shared, "app_role": format!("{tenant}_app"), "readonly_role": format!("{tenant}_read")});
        Resource::new(tenant, "postgres_rows", "main", spec)
    }

    /// All a tenant has: its roles, and its admission last.
    pub fn everything(&self, tenant: &str) -> Vec<Resource> {
        let mut all = Vec::new();
        for part in ["app", "read"] {
            self.secrets.set(&secret(tenant, part), json!({"username": format!("{tenant}_{part}"), "password": password(tenant, part)}));
            all.push(role(tenant, part, Some(&secret(tenant, part)), json!({"settings": {"search_path": self.shared.schema}})));
        }
        all.push(self.rows(tenant));
        all
    }

    pub async fn tenant(&self, cx: &Cx, tenant: &str) -> Vec<Resource> {
        let all = self.everything(tenant);
        for resource in &all {
            resource.converge(cx).await.unwrap();
        }
        all
    }

    pub async fn login(&self, tenant: &str, part: &str) -> Result<PgConnection, sqlx::Error> {
        self.server.login(&format!("{tenant}_{part}"), &password(tenant, part), &self.server.shared).await
    }

    /// Two patients with an appointment each.
    pub async fn furnish(&self, tenant: &str) {
        let mut app = self.login(tenant, "app").await.unwrap();
        run(&mut app, &format!("INSERT INTO patients (name) VALUES ('{tenant} one'), ('{tenant} two')")).await.unwrap();
        run(&mut app, "INSERT INTO appointments (patient, fee) SELECT id, '99213' FROM patients").await.unwrap();
    }
}

pub fn code(result: Result<(), sqlx::Error>) -> String {
    result.unwrap_err().as_database_error().and_then(|e| e.code()).unwrap().into_owned()
}

fn changes(diff: &Diff) -> BTreeSet<String> {
    match diff {
        Diff::Update(changes) => changes.iter().map(|c| format!("{}: {} → {}", c.field, c.from, c.to)).collect(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_tenant_has_its_own_rows_of_shared_tables_reads_when_suspended_and_takes_nobody_elses_along() {
    let mut library = Library::default();
    let town = Town::new("rowlife", &mut library).await;
    let cx = town.server.cx(&town.secrets, library).await;
    let (a, b) = (town.tenant(&cx, "rowlife_a").await, town.tenant(&cx, "rowlife_b").await);
    for resource in a.iter().chain(&b) {
        assert_eq!(resource.converge(&cx).await.unwrap(), 0, "{}: the second time there is nothing to do", resource.address);
    }
    town.furnish("rowlife_a").await;
    town.furnish("rowlife_b").await;
    for tenant in ["rowlife_a", "rowlife_b"] {
        let own = [format!("{tenant} one"), format!("{tenant} two")];
        for part in ["app", "read"] {
            let mut db = town.login(tenant, part).await.unwrap();
            assert_eq!(texts(&mut db, "SELECT name FROM patients ORDER BY 1").await, own, "{tenant} {part}");
            assert_eq!(texts(&mut db, "SELECT DISTINCT tenant_id FROM patients").await, [tenant]);
            assert_eq!(texts(&mut db, "SELECT patients_of_today()::text").await, ["2"]);
            assert_eq!(texts(&mut db, "SELECT code FROM fee_codes ORDER BY 1").await, ["99213", "99214"]);
            assert_eq!(code(run(&mut db, "UPDATE fee_codes SET cents = 0").await), DENIED, "{tenant} {part}");
        }
        assert_eq!(code(run(&mut town.login(tenant, "read").await.unwrap(), "DELETE FROM patients").await), DENIED);
    }
    let mut app = town.login("rowlife_a", "app").await.unwrap();
    // A foreign key leads to no neighbour's row, and a neighbour's number is free to be one's own.
    let other: String = texts(&mut town.login("rowlife_b", "app").await.unwrap(), "SELECT min(id)::text FROM patients").await.remove(0);
    assert_eq!(code(run(&mut app, &format!("INSERT INTO appointments (patient, fee) VALUES ({other}, '99213')")).await), "23503");
    run(&mut app, &format!("INSERT INTO patients (id, name) OVERRIDING SYSTEM VALUE VALUES ({other}, 'mine'); DELETE FROM patients WHERE name = 'mine'"))
        .await
        .unwrap();

    // Suspended, it reads and does not write; the sessions it has, too.
    let mut out = town.rows("rowlife_a");
    out.spec = out.kind().suspended(&out.spec, Suspension::ReadOnly).unwrap();
    assert_eq!(changes(&out.diff(&cx).await), BTreeSet::from(["access.rowlife_a_app: writes, connects → reads, connects".to_owned()]));
    assert_eq!(out.converge(&cx).await.unwrap(), 1);
    assert_eq!(code(run(&mut app, "UPDATE patients SET name = 'x'").await), DENIED);
    assert_eq!(texts(&mut app, "SELECT count(*)::text FROM patients").await, ["2"]);
    assert_eq!(a[2].converge(&cx).await.unwrap(), 1);
    run(&mut app, "UPDATE patients SET name = name").await.unwrap();

    // Whoever is at work when the tenant goes leaves nothing behind.
    run(&mut app, "BEGIN; INSERT INTO patients (name) VALUES ('late')").await.unwrap();
    a[2].delete(&cx).await;
    let mut sup = town.server.superuser(&town.server.shared).await;
    let left = "SELECT tenant_id || ' ' || count(*) FROM system_rowlife.patients GROUP BY tenant_id \
                UNION ALL SELECT clinic || ' ' || count(*) FROM system_rowlife.appointments GROUP BY clinic ORDER BY 1";
    assert_eq!(texts(&mut sup, left).await, ["rowlife_b 2", "rowlife_b 2"]);
    assert_eq!(texts(&mut sup, "SELECT role::text FROM system_rowlife.labctl_row_roles ORDER BY 1").await, ["rowlife_b_app", "rowlife_b_read"]);
    assert!(town.login("rowlife_a", "app").await.is_err(), "it may not connect any more");
    for resource in a[..2].iter().rev() {
        resource.delete(&cx).await;
    }
    assert_eq!(b[2].diff(&cx).await, Diff::Same);
    assert_eq!(super::standing_memberships(&town.server).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_wrong_with_the_walls_or_an_admission_is_told_and_mended() {
    let mut library = Library::default();
    let town = Town::new("rowdrift", &mut library).await;
    let cx = town.server.cx(&town.secrets, library).await;
    let (a, _b) = (town.tenant(&cx, "rowdrift_a").await, town.tenant(&cx, "rowdrift_b").await);
    let mut sup = town.server.superuser(&town.server.shared).await;
    run(&mut sup, "SET search_path = system_rowdrift; CREATE ROLE rowdrift_evil").await.unwrap();
    let planted = [
        ("DROP POLICY own_rows ON patients", "walls.policy.patients: none → each role its own tenant's rows"),
        ("ALTER POLICY own_rows ON patients USING (true)", "walls.policy.patients: another: true → each role its own tenant's rows"),
        ("ALTER POLICY own_rows ON patients TO rowdrift_a_app", "walls.policy.patients: another: "),
        ("ALTER POLICY own_rows ON patients WITH CHECK (true)", "walls.policy.patients: another: "),
        ("CREATE POLICY more ON patients FOR SELECT USING (true)", "walls.other_policy.patients.more: it opens what own_rows closes → no such policy"),
        ("ALTER TABLE appointments NO FORCE ROW LEVEL SECURITY", "walls.force.appointments: not for its owner → for its owner, too"),
        ("ALTER TABLE appointments DISABLE ROW LEVEL SECURITY", "walls.row_security.appointments: off → on"),
        ("ALTER TABLE patients ALTER tenant_id DROP DEFAULT", "walls.default.patients.tenant_id: none → labctl_tenant()"),
        ("GRANT SELECT ON patients TO PUBLIC", "walls.other_right.patients for PUBLIC: SELECT → none"),
        ("GRANT UPDATE (name) ON patients TO rowdrift_evil", "walls.other_right.patients for rowdrift_evil: UPDATE → none"),
        ("GRANT TRUNCATE ON patients TO system_rowdrift_write", "walls.other_right.patients for system_rowdrift_write: TRUNCATE → none"),
        ("GRANT INSERT ON fee_codes TO system_rowdrift_write", "walls.other_right.fee_codes for system_rowdrift_write: INSERT → none"),
        ("REVOKE UPDATE ON patients FROM system_rowdrift_write", "walls.right.patients for system_rowdrift_write: no UPDATE → granted"),
        ("REVOKE SELECT ON fee_codes FROM system_rowdrift_read", "walls.right.fee_codes for system_rowdrift_read: no SELECT → granted"),
        ("GRANT EXECUTE ON FUNCTION patients_of_today() TO PUBLIC", "walls.other_function.system_rowdrift.patients_of_today(): EXECUTE for PUBLIC → none"),
        (
            "ALTER FUNCTION patients_of_today() SECURITY DEFINER",
            "walls.other_function.system_rowdrift.patients_of_today(): EXECUTE for system_rowdrift_write → none",
        ),
        ("GRANT CREATE ON SCHEMA system_rowdrift TO system_rowdrift_write", "walls.other_schema.system_rowdrift_write: CREATE → none"),
        ("REVOKE USAGE ON SCHEMA system_rowdrift FROM system_rowdrift_read", "walls.schema.system_rowdrift_read: no USAGE → USAGE"),
        ("DELETE FROM labctl_row_roles WHERE role = 'rowdrift_a_read'", "rows_of.rowdrift_a_read: (none) → rowdrift_a"),
        ("UPDATE labctl_row_roles SET tenant = 'rowdrift_b' WHERE role = 'rowdrift_a_app'", "rows_of.rowdrift_a_app: rowdrift_b → rowdrift_a"),
        (
            "INSERT INTO labctl_row_roles SELECT 'rowdrift_evil', tenant, registry FROM labctl_row_roles WHERE role = 'rowdrift_a_app'",
            "rows_of.rowdrift_evil: rowdrift_a → (none)",
        ),
        ("REVOKE system_rowdrift_write FROM rowdrift_a_app", "access.rowdrift_a_app: connects → writes, connects"),
        ("GRANT system_rowdrift_write TO rowdrift_a_read", "access.rowdrift_a_read: writes, reads, connects → reads, connects"),
    ];
    let undo = "ALTER FUNCTION patients_of_today() SECURITY INVOKER";
    for (sql, told) in planted {
        run(&mut sup, sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
        let found = changes(&a[2].diff(&cx).await);
        assert!(found.iter().any(|c| c.starts_with(told)), "{sql}: {found:?}");
        assert_eq!(a[2].converge(&cx).await.unwrap_or_else(|e| panic!("{sql}: {e}")), 1, "{sql}");
        run(&mut sup, undo).await.unwrap();
        a[2].converge(&cx).await.unwrap();
    }
    for resource in &a[..2] {
        assert_eq!(resource.diff(&cx).await, Diff::Same, "{}: membership in the system's groups is none of the role's", resource.address);
    }
    // What labctl cannot mend it names, and lets nothing else be done.
    for (sql, close, told) in [
        ("CREATE TABLE notes (text text)", "DROP TABLE notes", "unlisted of notes: a table nobody has spoken of"),
        ("CREATE VIEW everybody AS SELECT * FROM patients", "DROP VIEW everybody", "unlisted of everybody: a view"),
        ("CREATE UNIQUE INDEX names ON patients (name)", "DROP INDEX names", "key of system_rowdrift.names: unique among all tenants"),
        (
            "GRANT pg_read_all_data TO system_rowdrift_write",
            "REVOKE pg_read_all_data FROM system_rowdrift_write",
            "member of system_rowdrift_write: a member of pg_read_all_data",
        ),
        (
            "ALTER TABLE labctl_row_roles DISABLE ROW LEVEL SECURITY",
            "ALTER TABLE labctl_row_roles ENABLE ROW LEVEL SECURITY",
            "roles table of labctl_row_roles: open",
        ),
    ] {
        run(&mut sup, sql).await.unwrap();
        match a[2].diff(&cx).await {
            Diff::Forbidden(why) => assert!(why.contains(told), "{sql}: {why}"),
            other => panic!("{sql}: {other:?}"),
        }
        run(&mut sup, close).await.unwrap();
    }
    assert_eq!(a[2].diff(&cx).await, Diff::Same);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_first_tenants_make_the_shared_tables_once_and_in_two_databases() {
    let mut library = Library::default();
    let town = Town::new("rowfirst", &mut library).await;
    let mut sup = town.server.superuser("postgres").await;
    run(&mut sup, "CREATE DATABASE rowfirst_second OWNER rowfirst_admin TEMPLATE template0 STRATEGY wal_log").await.unwrap();
    let cx = town.server.cx(&town.secrets, library).await;
    let mut guests = Vec::new();
    for n in 0..6 {
        let mut all = town.everything(&format!("rowfirst_{n}"));
        for resource in &all[..2] {
            resource.converge(&cx).await.unwrap();
        }
        let mut rows = all.remove(2);
        if n % 2 == 1 {
            rows.spec["database"] = json!("rowfirst_second");
        }
        guests.push(rows);
    }
    let made = join_all(guests.iter().map(|rows| async {
        // The engine tries again what was busy.
        for _ in 0..20 {
            match rows.converge(&cx).await {
                Err(fault) if fault.class == Class::Busy => tokio::time::sleep(Duration::from_millis(250)).await,
                other => return other.map(drop),
            }
        }
        Err(Fault::busy("test", "still", "busy"))
    }))
    .await;
    made.into_iter().for_each(|one| one.unwrap());
    for database in [town.server.shared.as_str(), "rowfirst_second"] {
        let mut db = town.server.superuser(database).await;
        assert_eq!(texts(&mut db, "SELECT folder || ' ' || version FROM system_rowfirst.labctl_migrations ORDER BY position").await, ["system 1", "system 2"]);
        assert_eq!(texts(&mut db, "SELECT count(*)::text FROM system_rowfirst.labctl_row_roles").await, ["6"]);
        assert_eq!(texts(&mut db, "SELECT tenant || ' ' || version FROM labctl_ledger.schemas").await, ["@rowfirst 2"]);
        assert_eq!(texts(&mut db, "SELECT count(*)::text FROM system_rowfirst.fee_codes").await, ["2"]);
    }
}

/// Moves the tables on. What was refused just before may still be on its way out.
async fn moved(town: &Town, cx: &Cx, shared: &Shared, registry: &str) -> Result<apply::Done, Fault> {
    loop {
        match system::migrate(&mut town.admin(cx).await, shared, registry, &To::new(), apply::LOCK_TIMEOUT, &cx.migrations).await {
            Err(fault) if fault.class == Class::Busy => tokio::time::sleep(Duration::from_millis(100)).await,
            other => return other,
        }
    }
}

/// One more file of the system's.
fn add(library: &mut Library, shared: &mut Shared, version: u32, sql: &str) {
    let steps: Vec<Step> = library.add(vec![File::parse("system", &format!("V{version}__more.sql"), sql).unwrap()]).unwrap();
    shared.migrations.extend(steps);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_not_admitted_to_tables_that_are_behind_and_a_migration_that_leaves_a_hole_is_undone() {
    let mut library = Library::default();
    let mut town = Town::new("rowmove", &mut library).await;
    let first = town.shared.clone();
    add(&mut library, &mut town.shared, 3, "CREATE TABLE invoices (tenant_id text NOT NULL, number int NOT NULL, PRIMARY KEY (tenant_id, number))");
    let bad = [
        ("CREATE TABLE notes (text text)", "unlisted of notes"),
        ("CREATE VIEW all_patients AS SELECT * FROM patients", "unlisted of all_patients: a view"),
        ("CREATE TABLE invoices (tenant_id uuid NOT NULL, number int)", "column of invoices.tenant_id: uuid, and ought to be: text NOT NULL"),
        ("CREATE TABLE invoices (tenant_id text, number int)", "column of invoices.tenant_id: text, may be null"),
        ("CREATE TABLE invoices (number int)", "column of invoices.tenant_id: not there"),
        ("CREATE TABLE invoices (tenant_id text NOT NULL, number int PRIMARY KEY)", "key of system_rowmove.invoices_pkey"),
        (
            "ALTER TABLE patients ADD UNIQUE (id); CREATE TABLE invoices (tenant_id text NOT NULL, patient bigint REFERENCES patients (id))",
            "foreign key of invoices.invoices_patient_fkey",
        ),
        (
            "ALTER TABLE patients NO FORCE ROW LEVEL SECURITY; ALTER TABLE fee_codes ADD tenant_id text, ADD patient bigint, ADD FOREIGN KEY (tenant_id, patient) REFERENCES patients",
            "what all share leads to a tenant's row",
        ),
        ("CREATE TABLE invoices (tenant_id text NOT NULL, number serial)", "sequence of invoices_number_seq"),
        ("CREATE POLICY everybody ON patients FOR SELECT USING (true)", "other policy of patients.everybody"),
        ("UPDATE patients SET name = 'x'", "query would be affected by row-level security policy"),
    ];
    let mut wrong = Vec::new();
    for (sql, told) in bad {
        let mut shared = first.clone();
        shared.rows.insert("invoices".into(), "tenant_id".into());
        add(&mut library, &mut shared, 3, sql);
        wrong.push((shared, sql, told));
    }
    let mut backfill = town.shared.clone();
    add(
        &mut library,
        &mut backfill,
        4,
        "ALTER TABLE patients NO FORCE ROW LEVEL SECURITY; UPDATE patients SET name = upper(name); DROP POLICY own_rows ON patients",
    );
    let cx = town.server.cx(&town.secrets, library).await;
    let newer = std::mem::replace(&mut town.shared, first.clone());
    let a = town.tenant(&cx, "rowmove_a").await;
    town.furnish("rowmove_a").await;

    let mut db = town.admin(&cx).await;
    for (shared, sql, told) in wrong {
        let fault = moved(&town, &cx, &shared, "r1").await.unwrap_err();
        assert!(fault.message.contains(told), "{sql}: {fault}");
        let found = system::find(&mut db, &first).await.unwrap().unwrap();
        assert_eq!(found.applied, first.migrations, "{sql}: nothing of it was applied");
        assert_eq!(walls::find(&mut db, &first).await.unwrap(), [], "{sql}");
    }
    // Another registry moves nothing.
    let foreign = moved(&town, &cx, &newer, "r2").await.unwrap_err();
    assert_eq!(foreign.code, "foreign");

    // A new tenant comes under files that have gone on: it is told which command, and the tables stay as they are.
    town.shared = newer.clone();
    town.shared.rows.insert("invoices".into(), "tenant_id".into());
    let b = town.everything("rowmove_b");
    for resource in &b[..2] {
        resource.converge(&cx).await.unwrap();
    }
    let fault = b[2].converge(&cx).await.unwrap_err();
    assert_eq!((fault.code.as_str(), fault.class), ("system_behind", Class::Refused));
    assert!(fault.message.contains("system/V3__more is pending") && fault.hint.unwrap().contains("labctl fleet migrate --stack rowmove"));
    assert_eq!(b[2].observe(&cx).await, Observed::Absent);
    // Who is there already is not held up by it.
    assert_eq!(town.rows("rowmove_a").diff(&cx).await, Diff::Same);

    // A backfill says that it passes over row security, and is sealed again at its end.
    backfill.rows.insert("invoices".into(), "tenant_id".into());
    let done = moved(&town, &cx, &backfill, "r1").await.unwrap();
    assert_eq!((done.before.len(), done.after.len()), (2, 4));
    assert_eq!(walls::find(&mut db, &backfill).await.unwrap(), []);
    town.shared = backfill;
    assert_eq!(town.rows("rowmove_a").diff(&cx).await, Diff::Same);
    assert_eq!(texts(&mut town.login("rowmove_a", "app").await.unwrap(), "SELECT name FROM patients ORDER BY 1").await, ["ROWMOVE_A ONE", "ROWMOVE_A TWO"]);
    town.rows("rowmove_b").converge(&cx).await.unwrap();
    let mut b = town.login("rowmove_b", "app").await.unwrap();
    run(&mut b, "INSERT INTO invoices (number) VALUES (1)").await.unwrap();
    assert_eq!(texts(&mut b, "SELECT tenant_id FROM invoices").await, ["rowmove_b"]);
    drop(a);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_of_that_id_in_another_registry_is_foreign_and_so_is_a_schema_of_the_systems_name() {
    let mut library = Library::default();
    let town = Town::new("rowalien", &mut library).await;
    let cx = town.server.cx(&town.secrets, library).await;
    let mut a = town.tenant(&cx, "rowalien_a").await.remove(2);
    town.furnish("rowalien_a").await;
    a.tags.insert("labctl:registry".into(), "r2".into());
    match a.observe(&cx).await {
        Observed::Foreign(whose) => assert!(whose.contains("another labctl registry"), "{whose}"),
        other => panic!("{other:?}"),
    }
    let refused = a.kind().create(&cx, &a.target(), "token").await.unwrap_err();
    assert_eq!(refused.code, "foreign");
    // A schema that only bears the name.
    let mut sup = town.server.superuser(&town.server.shared).await;
    run(&mut sup, "COMMENT ON SCHEMA system_rowalien IS 'somebody''s own'").await.unwrap();
    let fault = town.rows("rowalien_a").kind().observe(&cx, &town.rows("rowalien_a").target(), None).await.unwrap_err();
    assert_eq!(fault.code, "foreign");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shared_tables_of_clinicx_keep_their_rules_for_each_tenant_and_go_with_it() {
    let mut library = Library::default();
    let shared = named("rowclinic", Stacks::builtin().unwrap().get("clinicx").unwrap(), &mut library);
    let town = Town { server: Server::new("rowclinic").await, secrets: Secrets::default(), shared };
    let cx = town.server.cx(&town.secrets, library).await;
    let mut rows = Vec::new();
    for tenant in ["rowclinic_a", "rowclinic_b"] {
        rows.push(town.tenant(&cx, tenant).await.remove(2));
        let mut app = town.login(tenant, "app").await.unwrap();
        run(&mut app, "INSERT INTO patients (record_number, given_name, family_name, date_of_birth) VALUES ('1', 'P', 'Q', '1980-01-01')").await.unwrap();
        run(&mut app, "INSERT INTO staff (email, given_name, family_name, role) VALUES ('a@b.example', 'S', 'T', 'nurse')").await.unwrap();
        let day = "INSERT INTO appointments (patient_id, staff_id, starts_at, ends_at) SELECT p.id, s.id, '2026-01-01 10:00Z', '2026-01-01 11:00Z' FROM patients p, staff s";
        run(&mut app, day).await.unwrap();
        assert_eq!(code(run(&mut app, day).await), "23505", "one at a time");
        run(&mut app, "INSERT INTO invoices (number, patient_id, appointment_id, currency, total, status, issued_on) SELECT '1', patient_id, id, 'EUR', 100, 'issued', '2026-01-01' FROM appointments").await.unwrap();
        run(&mut app, "INSERT INTO payments (invoice_id, currency, amount, method, reference) SELECT id, 'EUR', 40.5, 'card', 'r1' FROM invoices")
            .await
            .unwrap();
        assert_eq!(texts(&mut app, "SELECT paid::text FROM invoices").await, ["40.5"]);
        for (sql, wrong) in [
            ("INSERT INTO payments (invoice_id, currency, amount, method) SELECT id, 'EUR', 0.001, 'card' FROM invoices", "23514"),
            ("INSERT INTO payments (invoice_id, currency, amount, method) SELECT id, 'EUR', 60, 'card' FROM invoices", "23514"),
            ("INSERT INTO payments (invoice_id, currency, amount, method) SELECT id, 'USD', 1, 'card' FROM invoices", "23503"),
            ("INSERT INTO payments (invoice_id, currency, amount, method, reference) SELECT id, 'EUR', 1, 'card', 'r1' FROM invoices", "23505"),
            ("UPDATE invoices SET paid = 100", "23000"),
            ("INSERT INTO invoices (number, patient_id, currency, total) SELECT '2', id, 'ZZZ', 1 FROM patients", "23503"),
        ] {
            assert_eq!(code(run(&mut app, sql).await), wrong, "{sql}");
        }
    }
    let mut app = town.login("rowclinic_b", "app").await.unwrap();
    let other = texts(&mut town.login("rowclinic_a", "app").await.unwrap(), "SELECT min(id)::text FROM invoices").await.remove(0);
    assert_eq!(code(run(&mut app, &format!("INSERT INTO payments (invoice_id, currency, amount, method) VALUES ({other}, 'EUR', 1, 'card')")).await), "23503");
    rows[0].delete(&cx).await;
    let mut sup = town.server.superuser(&town.server.shared).await;
    for table in town.shared.rows.keys() {
        assert_eq!(texts(&mut sup, &format!("SELECT DISTINCT tenant_id FROM system_rowclinic.{table}")).await, ["rowclinic_b"], "{table}");
    }
    assert_eq!(texts(&mut app, "SELECT paid::text FROM invoices").await, ["40.5"]);
    assert_eq!(rows[1].diff(&cx).await, Diff::Same);
}
