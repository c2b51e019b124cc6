//! A fleet migrated: in waves, stopped by failures, killed, paused and resumed; afterwards everybody is where they should be, once.
//!
//! Each test has a fleet of its own, chosen by its tag, and templates of its own, in which a version more appears.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use labctl::tenantdb::migrations::{File, Library, Step};
use labctl::tenantdb::{Databases, Login, Settings, Tls, Tunnels};
use nix::sys::signal::Signal;
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection};

use super::fixture::{Run, Running, blocking, shared};
use super::plant::{Ground, schema, tenant};

/// A fleet of tenants of the stack `labcloud`, at its version 2, and templates that can have more.
pub struct Fleet {
    tag: &'static str,
    size: usize,
    config: PathBuf,
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() { copy(&entry.path(), &to) } else { _ = fs::copy(entry.path(), to).unwrap() }
    }
}

impl Fleet {
    pub async fn new(tag: &'static str, size: usize) -> Self {
        let world = shared();
        let folder = world.dir().join(format!("fleet-{tag}"));
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/labcloud"), &folder.join("templates/labcloud"));
        let config = folder.join("labctl.toml");
        fs::write(&config, "templates = \"templates\"\n").unwrap();
        let fleet = Self { tag, size, config };
        if size == 0 {
            return fleet;
        }
        // The first command makes the registry.
        blocking(|| shared().ok(&["tenant", "list"])).await.unwrap();
        let mut library = Library::default();
        let steps = fleet.steps(&mut library);
        let sandbox = world.open().await;
        let databases = Databases::new(Settings { tunnels: Tunnels::default(), tls: Tls::Prefer, root_cert: None });
        let admin = Login {
            endpoint: format!("127.0.0.1:{}", sandbox.registry.port),
            database: "shared".into(),
            username: "labctl_admin".into(),
            password: world.passwords()["labctl_admin"].clone().into(),
        };
        let of = |key: &str| sandbox.platform["databases"]["shared"][key].as_str().unwrap().to_owned();
        let mut registry = world.registry().await;
        let id: String = sqlx::query_scalar("SELECT id::text FROM labctl.registry_meta").fetch_one(&mut registry).await.unwrap();
        let (endpoint, arn) = (of("endpoint"), of("admin_secret_arn"));
        let ground = Ground { databases: &databases, admin: &admin, endpoint: &endpoint, admin_secret_arn: &arn, registry: id };
        ground.roles(tag, 0..size).await.unwrap();
        ground.schemas(tag, 0..size, 4, &steps, &library).await.unwrap();
        ground.record(&mut registry, tag, 0..size, "labcloud", &steps).await.unwrap();
        fleet
    }

    fn folder(&self) -> PathBuf {
        self.config.parent().unwrap().join("templates/labcloud/migrations/tenant")
    }

    fn steps(&self, library: &mut Library) -> Vec<Step> {
        let files = fs::read_dir(self.folder()).unwrap().map(|entry| {
            let entry = entry.unwrap();
            File::parse("tenant", entry.file_name().to_str().unwrap(), &fs::read_to_string(entry.path()).unwrap()).unwrap()
        });
        library.add(files.collect()).unwrap()
    }

    pub fn file(&self, name: &str, sql: &str) -> &Self {
        fs::write(self.folder().join(name), sql).unwrap();
        self
    }

    /// The arguments after these words, and where the templates are.
    pub fn args(&self, words: &[&str]) -> Vec<String> {
        let config = self.config.to_str().unwrap();
        words.iter().copied().chain(["--config", config]).map(ToOwned::to_owned).collect()
    }

    async fn labctl(&self, words: &[&str]) -> Run {
        let args = self.args(words);
        blocking(move || shared().run(&args.iter().map(String::as_str).collect::<Vec<_>>())).await.unwrap()
    }

    async fn migrate(&self, more: &[&str]) -> Run {
        let tag = format!("fleet={}", self.tag);
        self.labctl(&[&["fleet", "migrate", "--tag", &tag, "-o", "json"], more].concat()).await
    }

    fn spawn(&self, more: &[&str]) -> Running {
        let tag = format!("fleet={}", self.tag);
        let args = self.args(&[&["fleet", "migrate", "--tag", &tag], more].concat());
        shared().spawn(&args.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn schema(&self, n: usize) -> String {
        schema(self.tag, n)
    }

    /// How many schemas have this table, column or index.
    async fn having(&self, db: &mut PgConnection, relation: &str) -> i64 {
        count(
            db,
            &format!("SELECT count(*) FROM pg_class c WHERE relname = '{relation}' AND relnamespace::regnamespace::text LIKE 'tenant\\_{}\\_%'", self.tag),
        )
        .await
    }

    /// The schema's own ledgers, the central ledger and the registry all say this version of so many.
    pub async fn all_agree(&self, version: i64) {
        let mut db = shared().superuser("shared").await;
        for n in 0..self.size {
            let own: Vec<i32> = sqlx::query_scalar(AssertSqlSafe(format!("SELECT version FROM {}.labctl_migrations ORDER BY position", self.schema(n))))
                .fetch_all(&mut db)
                .await
                .unwrap();
            assert_eq!(own, (1..=i32::try_from(version).unwrap()).collect::<Vec<_>>(), "{}", self.schema(n));
        }
        let like = format!("tenant\\_{}\\_%", self.tag);
        let central: Vec<(i32, i64)> =
            sqlx::query_as("SELECT version, count(*) FROM labctl_ledger.schemas WHERE schema LIKE $1 GROUP BY 1").bind(like).fetch_all(&mut db).await.unwrap();
        assert_eq!(central, [(i32::try_from(version).unwrap(), i64::try_from(self.size).unwrap())]);
        let mut registry = shared().registry().await;
        let records: Vec<(String, i32, i64)> = sqlx::query_as(
            "SELECT outputs->>'version', jsonb_array_length(spec->'migrations'), count(*) FROM labctl.resources WHERE tenant LIKE $1 GROUP BY 1, 2",
        )
        .bind(format!("{}-%", self.tag))
        .fetch_all(&mut registry)
        .await
        .unwrap();
        assert_eq!(records, [(version.to_string(), i32::try_from(version).unwrap(), i64::try_from(self.size).unwrap())]);
        let members = format!("SELECT count(*) FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid WHERE r.rolname LIKE '{}\\_%\\_migrate'", self.tag);
        assert_eq!(count(&mut db, &members).await, 0, "the administrator is no longer a member of anybody's migration role");
    }

    /// Leases of this fleet's tenants that somebody still holds.
    pub async fn leases(&self) -> i64 {
        let like = format!("SELECT count(*) FROM labctl.leases WHERE tenant LIKE '{}-%' AND holder IS NOT NULL", self.tag);
        count(&mut shared().registry().await, &like).await
    }
}

async fn count(db: &mut PgConnection, sql: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(db).await.unwrap()
}

async fn says(db: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(db).await.unwrap();
}

fn report(run: &Run) -> Value {
    serde_json::from_str(&run.out).unwrap_or_else(|e| panic!("{e}\n{run}"))
}

/// Of a report: how many ended how.
fn ends(report: &Value) -> BTreeMap<String, usize> {
    let mut ends = BTreeMap::new();
    for result in report["results"].as_array().unwrap() {
        *ends.entry(result["status"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    ends
}

fn why(report: &Value, tenant: &str) -> String {
    let all = report["results"].as_array().unwrap();
    all.iter().find(|r| r["tenant"] == tenant).map(|r| r["fault"]["message"].as_str().unwrap_or_default().to_owned()).unwrap()
}

pub const NOTES: &str = "CREATE TABLE notes (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text NOT NULL);\n";

/// The whole way: the plan, a canary and waves, the three planted failures, mending, resuming, and a fleet that has nothing to do.
#[tokio::test(flavor = "multi_thread")]
async fn three_planted_failures_stop_a_fleet_and_after_mending_only_the_rest_is_touched() {
    let long = std::env::var_os("LABCTL_TEST_LONG").is_some();
    let fleet = Fleet::new("planted", if long { 300 } else { 40 }).await;
    let size = fleet.size;
    fleet.file("V3__add_notes.sql", &format!("{NOTES}ALTER TABLE lab_results ADD CHECK (patient_id <> 'bad');\n"));
    let mut db = shared().superuser("shared").await;
    says(&mut db, &format!("INSERT INTO {}.lab_results (patient_id, test_code) VALUES ('bad', 'x')", fleet.schema(5))).await;
    says(&mut db, &format!("UPDATE {}.labctl_migrations SET checksum = repeat('a', 64) WHERE version = 1", fleet.schema(7))).await;
    let mut holder = shared().superuser("shared").await;
    says(&mut holder, &format!("BEGIN; LOCK TABLE {}.lab_results IN ACCESS SHARE MODE", fleet.schema(9))).await;

    let dry = fleet.migrate(&["--dry-run", "--canary", "1", "--waves", "25%,100%"]).await;
    assert_eq!(dry.code, 2, "{dry}");
    let sketch = report(&dry);
    let waves: Vec<i64> = sketch["todo"].as_array().unwrap().iter().map(|t| t["wave"].as_i64().unwrap()).collect();
    let of = |wave| waves.iter().filter(|w| **w == wave).count();
    assert_eq!((of(0), of(1), of(2)), (1, size / 4 - 1, size - size / 4), "{sketch}");
    assert_eq!(fleet.having(&mut db, "notes").await, 0, "a dry run changes nothing");

    let slow = ["--lock-timeout", "100ms", "--attempts", "2", "--parallel", "2"];
    let stopped = fleet.migrate(&[&["--max-failures", "2", "--waves", "50%,100%"], &slow[..]].concat()).await;
    assert_eq!(stopped.code, 3, "{stopped}");
    let first = report(&stopped);
    let run = first["run"].as_i64().unwrap().to_string();
    assert_eq!((first["status"].as_str(), first["failed"].as_u64()), (Some("stopped"), Some(3)), "{stopped}");
    assert!(why(&first, &tenant("planted", 5)).contains("tenant/V3__add_notes: check constraint"), "{stopped}");
    assert!(why(&first, &tenant("planted", 7)).contains("tenant/V1__create_lab_results was changed after it was applied (was aaaaaaaaaaaa, is "), "{stopped}");
    assert!(why(&first, &tenant("planted", 9)).contains("lock timeout"), "{stopped}");
    let migrated = first["migrated"].as_i64().unwrap();
    assert_eq!(fleet.having(&mut db, "notes").await, migrated, "whoever failed has nothing of it");
    assert!(first["pending"].as_u64().unwrap() > 0, "it stopped: {stopped}");
    assert_eq!(first["behind"].as_i64().unwrap(), i64::try_from(size).unwrap() - migrated);
    assert_eq!(first["versions"]["labcloud"]["3"].as_i64().unwrap(), migrated);
    assert_eq!(stopped.error()["code"], "too_many_failures");
    assert_eq!(fleet.leases().await, 0);

    says(&mut holder, "ROLLBACK").await;
    says(&mut db, &format!("DELETE FROM {}.lab_results WHERE patient_id = 'bad'", fleet.schema(5))).await;
    let mend = format!(
        "UPDATE {}.labctl_migrations SET checksum = (SELECT checksum FROM {}.labctl_migrations WHERE version = 1) WHERE version = 1",
        fleet.schema(7),
        fleet.schema(8)
    );
    says(&mut db, &mend).await;
    let when = "SELECT extract(epoch FROM max(migrated_at))::bigint FROM labctl_ledger.schemas WHERE schema LIKE 'tenant\\_planted\\_%' AND version = 3";
    let before = count(&mut db, when).await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let resumed = fleet.labctl(&["fleet", "resume", &run, "-o", "json"]).await;
    assert_eq!(resumed.code, 0, "{resumed}");
    let second = report(&resumed);
    assert_eq!((second["status"].as_str(), second["behind"].as_u64()), (Some("done"), Some(0)));
    assert_eq!(ends(&second), BTreeMap::from([("migrated".to_owned(), size)]));
    let touched = format!("SELECT count(*) FROM labctl_ledger.schemas WHERE schema LIKE 'tenant\\_planted\\_%' AND migrated_at > to_timestamp({before} + 1)");
    assert_eq!(count(&mut db, &touched).await, i64::try_from(size).unwrap() - migrated, "only the rest was touched");
    fleet.all_agree(3).await;

    let again = fleet.migrate(&[]).await;
    assert_eq!((again.code, report(&again)["run"].is_null()), (0, true), "nothing to do is no run: {again}");
    let done = fleet.labctl(&["fleet", "resume", &run, "-o", "json"]).await;
    assert_eq!((done.code, done.error()["code"].as_str()), (1, Some("nothing_to_resume")), "{done}");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_a_fleet_is_finished_by_resume_and_by_the_same_command() {
    for (tag, by_resume) in [("halted", true), ("slain", false)] {
        let fleet = Fleet::new(tag, 16).await;
        fleet.file("V3__add_notes.sql", &format!("{NOTES}SELECT pg_sleep(0.05);\n"));
        let running = fleet.spawn(&["--parallel", "2"]);
        let mut db = shared().superuser("shared").await;
        let until = Instant::now() + Duration::from_secs(30);
        while fleet.having(&mut db, "notes").await < 5 {
            assert!(Instant::now() < until, "{}", running.end());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        running.signal(Signal::SIGKILL);
        assert_eq!(running.end().code, -(Signal::SIGKILL as i32));
        let done = fleet.having(&mut db, "notes").await;
        assert!(done < 16, "it was killed too late");
        let (run,): (i64,) = sqlx::query_as("SELECT run FROM labctl.fleet_results WHERE tenant = $1")
            .bind(tenant(tag, 0))
            .fetch_one(&mut shared().registry().await)
            .await
            .unwrap();
        let again = if by_resume { fleet.labctl(&["fleet", "resume", &run.to_string(), "-o", "json"]).await } else { fleet.migrate(&[]).await };
        assert_eq!(again.code, 0, "{again}");
        fleet.all_agree(3).await;
        assert_eq!(fleet.leases().await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_pauses_a_fleet_and_a_tenant_in_other_hands_is_skipped_and_counted() {
    let fleet = Fleet::new("paused", 12).await;
    fleet.file("V3__add_notes.sql", &format!("{NOTES}SELECT pg_sleep(0.1);\n"));
    let mut running = fleet.spawn(&["--parallel", "1"]);
    assert!(running.hear("Wave 1", 1));
    running.signal(Signal::SIGINT);
    let run = running.end();
    assert_eq!(run.code, 130, "{run}");
    let mut registry = shared().registry().await;
    let lock = "INSERT INTO labctl.leases (tenant, epoch, holder, host, pid, what, acquired_at, heartbeat_at, expires_at)
        SELECT 'paused-0011', 90, 'carla', 'elsewhere', 1, 'tenant scale', now(), now(), now() + interval '1 hour'
        ON CONFLICT (tenant) DO UPDATE SET epoch = 90, holder = 'carla', host = 'elsewhere', what = 'tenant scale', machine = NULL, expires_at = now() + interval '1 hour'";
    says(&mut registry, lock).await;
    let number: i64 = count(&mut registry, "SELECT run FROM labctl.fleet_results WHERE tenant = 'paused-0000'").await;
    let resumed = fleet.labctl(&["fleet", "resume", &number.to_string(), "-o", "json"]).await;
    assert_eq!(resumed.code, 3, "{resumed}");
    let found = report(&resumed);
    assert_eq!((found["status"].as_str(), found["behind"].as_u64(), found["locked"].as_u64()), (Some("incomplete"), Some(1), Some(1)), "{resumed}");
    assert_eq!(why(&found, "paused-0011"), "locked by carla@elsewhere (tenant scale)");
    let alone = fleet.labctl(&["tenant", "migrate", "paused-0011"]).await;
    assert_eq!(alone.code, 5, "{alone}");
    says(&mut registry, "UPDATE labctl.leases SET holder = NULL WHERE tenant = 'paused-0011'").await;
    let alone = fleet.labctl(&["tenant", "migrate", "paused-0011"]).await;
    assert_eq!(alone.code, 0, "{alone}");
    fleet.all_agree(3).await;
    let unknown = fleet.labctl(&["tenant", "migrate", "no-such-tenant"]).await;
    assert_eq!(unknown.code, 1, "{unknown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_made_concurrently_survives_an_invalid_leftover() {
    let fleet = Fleet::new("indexed", 6).await;
    fleet.file("V3__index_by_status.sql", "-- labctl: no-transaction\nCREATE UNIQUE INDEX CONCURRENTLY by_status ON lab_results (status);\n");
    let mut db = shared().superuser("shared").await;
    for code in ["a", "b"] {
        says(&mut db, &format!("INSERT INTO {}.lab_results (patient_id, test_code) VALUES ('p', '{code}')", fleet.schema(2))).await;
    }
    let first = fleet.migrate(&["--max-failures", "1"]).await;
    assert_eq!(first.code, 3, "{first}");
    assert!(why(&report(&first), &tenant("indexed", 2)).contains("could not create unique index"), "{first}");
    let valid = |n: usize| format!("SELECT count(*) FROM pg_index WHERE indexrelid = '{}.by_status'::regclass AND indisvalid", schema("indexed", n));
    assert_eq!((count(&mut db, &valid(2)).await, count(&mut db, &valid(3)).await), (0, 1), "an INVALID index is left over");
    // One that was finished, but not put on record, as a crash in between leaves it; and one of that name which is another.
    says(
        &mut db,
        &format!("SET ROLE indexed_0004_migrate; DROP INDEX {0}.by_status; CREATE INDEX by_status ON {0}.lab_results (test_code); RESET ROLE", fleet.schema(4)),
    )
    .await;
    says(
        &mut db,
        &format!("DELETE FROM {}.labctl_migrations WHERE version = 3; DELETE FROM labctl_ledger.schemas WHERE schema = '{0}'", fleet.schema(4))
            .replace("{0}", &fleet.schema(4)),
    )
    .await;
    says(&mut db, &format!("DELETE FROM {}.lab_results", fleet.schema(2))).await;
    let again = fleet.migrate(&[]).await;
    assert_eq!(again.code, 0, "{again}");
    assert_eq!(count(&mut db, &valid(2)).await, 1, "the leftover was dropped and made again");
    let unique = format!("SELECT count(*) FROM pg_index WHERE indexrelid = '{}.by_status'::regclass AND indisvalid AND indisunique", fleet.schema(4));
    assert_eq!(count(&mut db, &unique).await, 1, "what the file says, not what bears its name");
    fleet.all_agree(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_changed_after_it_was_applied_is_refused_and_versions_stop_where_they_are_told_to() {
    let fleet = Fleet::new("changed", 4).await;
    fleet.file("V3__add_notes.sql", NOTES).file("V4__add_more.sql", "CREATE TABLE more (id int);\n");
    let mut registry = shared().registry().await;
    says(&mut registry, "UPDATE labctl.tenants SET status = 'suspended' WHERE id = 'changed-0003'").await;
    let awake = fleet.migrate(&["--to", "3", "--skip-suspended"]).await;
    assert_eq!((awake.code, report(&awake)["tenants"].as_i64(), report(&awake)["migrated"].as_i64()), (0, Some(3), Some(3)), "{awake}");
    let to = fleet.migrate(&["--to", "3"]).await;
    assert_eq!((to.code, report(&to)["tenants"].as_i64(), report(&to)["migrated"].as_i64()), (0, Some(4), Some(1)), "the suspended one too: {to}");
    fleet.all_agree(3).await;
    assert_eq!(fleet.migrate(&["--to", "9"]).await.code, 64);
    assert_eq!(report(&fleet.migrate(&["--to", "3"]).await)["behind"], 0);

    fleet.file("V3__add_notes.sql", "CREATE TABLE notes (id int);\n");
    let changed = fleet.migrate(&[]).await;
    assert_eq!(changed.code, 3, "{changed}");
    assert!(changed.out.contains("tenant/V3__add_notes was changed after it was applied"), "whoever comes first: {changed}");
    let run = report(&changed)["run"].to_string();
    fleet.file("V3__add_notes.sql", NOTES);
    let resumed = fleet.labctl(&["fleet", "resume", &run, "-o", "json"]).await;
    assert_eq!((resumed.code, resumed.error()["code"].as_str()), (1, Some("history_changed")), "that run was about another file: {resumed}");
    // A tenant that puts something of its own in its ledger's place would have the administrator run it.
    let mut db = shared().superuser("shared").await;
    let name = fleet.schema(1);
    says(&mut db, &format!("ALTER TABLE {name}.labctl_migrations RENAME TO kept; CREATE VIEW {name}.labctl_migrations AS SELECT * FROM {name}.kept")).await;
    let odd = fleet.migrate(&["--max-failures", "1"]).await;
    assert_eq!((odd.code, report(&odd)["behind"].as_i64()), (3, Some(1)), "{odd}");
    assert!(why(&report(&odd), &tenant("changed", 1)).contains("is not a plain table"), "{odd}");
    says(&mut db, &format!("DROP VIEW {name}.labctl_migrations; ALTER TABLE {name}.kept RENAME TO labctl_migrations")).await;
    assert_eq!(fleet.migrate(&[]).await.code, 0);
    fleet.all_agree(4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_fleet_migration_tenant_apply_finds_nothing_to_do() {
    let fleet = Fleet::new("agreed", 0).await;
    let spec = shared().spec("agreed-lab", "labcloud", "trial");
    let created = fleet.labctl(&["tenant", "create", &spec]).await;
    assert_eq!(created.code, 0, "{created}");
    fleet.file("V3__add_notes.sql", NOTES);
    let behind = fleet.labctl(&["tenant", "apply", "agreed-lab", "--dry-run", "--check"]).await;
    assert_eq!(behind.code, 2, "{behind}");
    let migrated = fleet.labctl(&["tenant", "migrate", "agreed-lab"]).await;
    assert_eq!(migrated.code, 0, "{migrated}");
    let apply = fleet.labctl(&["tenant", "apply", "agreed-lab"]).await;
    assert!(apply.code == 0 && apply.err.contains("no changes"), "{apply}");
    let apart = fleet.labctl(&["tenant", "migrate", "agreed-lab", "--to", "2"]).await;
    assert_eq!(apart.code, 0, "who is further than asked for is not behind: {apart}");
    // A module's files come only to who has the module, and count for themselves.
    let modules = fleet.folder().parent().unwrap().join("modules/core");
    fs::create_dir_all(&modules).unwrap();
    fs::write(modules.join("V1__core_things.sql"), "CREATE TABLE core_things (id int);\n").unwrap();
    let none = fleet.labctl(&["tenant", "migrate", "agreed-lab", "-o", "json"]).await;
    assert_eq!((none.code, report(&none)["targets"]["labcloud"].as_str()), (0, Some("tenant 3, core 1")), "{none}");
    assert!(report(&none)["run"].is_null(), "it has no module, so it has nothing to do: {none}");
    let file = shared().dir().join("specs").join(&spec);
    fs::write(&file, format!("{}modules = [\"core\"]\n", fs::read_to_string(&file).unwrap())).unwrap();
    let apply = fleet.labctl(&["tenant", "apply", &spec]).await;
    assert_eq!(apply.code, 0, "{apply}");
    fs::write(modules.join("V2__core_more.sql"), "CREATE TABLE core_more (id int);\n").unwrap();
    let module = fleet.labctl(&["tenant", "migrate", "agreed-lab", "-o", "json"]).await;
    assert_eq!((module.code, report(&module)["results"][0]["to_version"].as_str()), (0, Some("tenant 3, core 2")), "{module}");
    let apply = fleet.labctl(&["tenant", "apply", "agreed-lab"]).await;
    assert!(apply.code == 0 && apply.err.contains("no changes"), "{apply}");
    // A central ledger that says something else than the schema's own is found and mended.
    let mut db = shared().superuser("shared").await;
    says(&mut db, "UPDATE labctl_ledger.schemas SET version = 2 WHERE schema = 'tenant_agreed_lab' AND folder = 'tenant'").await;
    let drifted = fleet.labctl(&["tenant", "apply", "agreed-lab", "--dry-run"]).await;
    assert!(drifted.out.contains("central_ledger"), "{drifted}");
    let mended = fleet.labctl(&["tenant", "migrate", "agreed-lab"]).await;
    assert_eq!(mended.code, 0, "{mended}");
    let apply = fleet.labctl(&["tenant", "apply", "agreed-lab"]).await;
    assert!(apply.code == 0 && apply.err.contains("no changes"), "{apply}");
}
