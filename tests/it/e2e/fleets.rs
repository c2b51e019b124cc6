//! A fleet to be migrated: chosen by its tag, with templates of its own in which a version more appears, and what can be asked about it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use labctl::tenantdb::migrations::{File, Library, Step};
use labctl::tenantdb::{Databases, Login, Settings, Tls, Tunnels};
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection};

use super::fixture::{Run, Running, World, blocking, shared};
use super::plant::{Ground, schema, tenant};

/// A fleet of tenants of the stack `labcloud`, at its version 2, and templates that can have more.
pub struct Fleet {
    pub world: &'static World,
    pub tag: String,
    pub size: usize,
    config: PathBuf,
}

pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() { copy(&entry.path(), &to) } else { _ = fs::copy(entry.path(), to).unwrap() }
    }
}

impl Fleet {
    /// A fleet in the shared sandbox, quickly made.
    pub async fn new(tag: &str, size: usize) -> Self {
        let fleet = Self::empty(shared(), tag);
        fleet.plant(None, size).await
    }

    /// Templates of its own, and nobody yet.
    pub fn empty(world: &'static World, tag: &str) -> Self {
        let folder = world.dir().join(format!("fleet-{tag}"));
        for stack in ["labcloud", "mate"] {
            copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("templates").join(stack), &folder.join("templates").join(stack));
        }
        let config = folder.join("labctl.toml");
        fs::write(&config, "templates = \"templates\"\n").unwrap();
        Self { world, tag: tag.to_owned(), size: 0, config }
    }

    /// The templates that [`Self::empty`] has made under this tag.
    pub fn at(world: &'static World, tag: &str) -> Self {
        Self { world, tag: tag.to_owned(), size: 0, config: world.dir().join(format!("fleet-{tag}/labctl.toml")) }
    }

    /// So many more tenants as `labctl tenant create` makes them, `hands` at a time.
    pub async fn create(mut self, size: usize, hands: usize) -> Self {
        let next = Arc::new(AtomicUsize::new(self.size));
        self.size += size;
        let (world, until) = (self.world, self.size);
        let work = |_| {
            let (next, tag) = (Arc::clone(&next), self.tag.clone());
            blocking(move || {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= until {
                        return;
                    }
                    let spec = tagged(world, &tenant(&tag, n), "labcloud", "trial", &tag);
                    world.ok(&["tenant", "create", &spec]);
                }
            })
        };
        for hand in (0..hands).map(work).collect::<Vec<_>>() {
            hand.await.unwrap();
        }
        self
    }

    /// So many more tenants, planted: in the shared database, or at this endpoint in this database.
    pub async fn plant(mut self, at: Option<(&str, &str)>, size: usize) -> Self {
        let (fleet, world, tag) = (&self, self.world, &self.tag);
        // The first command makes the registry.
        blocking(move || world.ok(&["tenant", "list"])).await.unwrap();
        let mut library = Library::default();
        let steps = fleet.steps(&mut library);
        let sandbox = world.open().await;
        let databases = Databases::new(Settings { tunnels: Tunnels::default(), tls: Tls::Prefer, root_cert: None });
        let admin = Login {
            endpoint: format!("127.0.0.1:{}", sandbox.registry.port),
            database: at.map_or("shared", |(_, database)| database).into(),
            username: "labctl_admin".into(),
            password: world.passwords()["labctl_admin"].clone().into(),
        };
        let of = |key: &str| sandbox.platform["databases"]["shared"][key].as_str().unwrap().to_owned();
        let mut registry = world.registry().await;
        let id: String = sqlx::query_scalar("SELECT id::text FROM labctl.registry_meta").fetch_one(&mut registry).await.unwrap();
        let (endpoint, arn) = (at.map_or_else(|| of("endpoint"), |(endpoint, _)| endpoint.to_owned()), of("admin_secret_arn"));
        let range = fleet.size..fleet.size + size;
        let ground = Ground { databases: &databases, admin: &admin, endpoint: &endpoint, admin_secret_arn: &arn, registry: id };
        ground.roles(tag, range.clone()).await.unwrap();
        ground.schemas(tag, range.clone(), 4, &steps, &library).await.unwrap();
        ground.record(&mut registry, tag, range, "labcloud", &steps).await.unwrap();
        self.size += size;
        self
    }

    pub fn folder(&self) -> PathBuf {
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

    pub async fn labctl(&self, words: &[&str]) -> Run {
        let args = self.args(words);
        let world = self.world;
        blocking(move || world.run(&args.iter().map(String::as_str).collect::<Vec<_>>())).await.unwrap()
    }

    pub async fn migrate(&self, more: &[&str]) -> Run {
        let tag = format!("fleet={}", self.tag);
        self.labctl(&[&["fleet", "migrate", "--tag", &tag, "-o", "json"], more].concat()).await
    }

    pub fn spawn(&self, more: &[&str]) -> Running {
        let tag = format!("fleet={}", self.tag);
        let args = self.args(&[&["fleet", "migrate", "--tag", &tag], more].concat());
        self.world.spawn(&args.iter().map(String::as_str).collect::<Vec<_>>())
    }

    pub fn schema(&self, n: usize) -> String {
        schema(&self.tag, n)
    }

    /// How many schemas have this table, column or index.
    pub async fn having(&self, db: &mut PgConnection, relation: &str) -> i64 {
        count(
            db,
            &format!("SELECT count(*) FROM pg_class c WHERE relname = '{relation}' AND relnamespace::regnamespace::text LIKE 'tenant\\_{}\\_%'", self.tag),
        )
        .await
    }

    /// The schema's own ledgers, the central ledger and the registry all say this version of so many.
    pub async fn all_agree(&self, version: i64) {
        let mut db = self.world.superuser("shared").await;
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
        let mut registry = self.world.registry().await;
        let records: Vec<(String, i32, i64)> = sqlx::query_as(
            "SELECT outputs->>'version', jsonb_array_length(spec->'migrations'), count(*) FROM labctl.resources WHERE tenant LIKE $1 AND kind = 'postgres_schema_version' GROUP BY 1, 2",
        )
        .bind(format!("{}-%", self.tag))
        .fetch_all(&mut registry)
        .await
        .unwrap();
        assert_eq!(records, [(version.to_string(), i32::try_from(version).unwrap(), i64::try_from(self.size).unwrap())]);
        let members = format!("SELECT count(*) FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid WHERE r.rolname LIKE '%{}\\_%\\_migrate'", self.tag);
        assert_eq!(count(&mut db, &members).await, 0, "the administrator is no longer a member of anybody's migration role");
    }

    /// By schema: the transactions that wrote its ledgers, and what the table is that they made. Whoever is touched again has another.
    pub async fn prints(&self, db: &mut PgConnection, table: &str) -> BTreeMap<String, String> {
        let mut prints = BTreeMap::new();
        for n in 0..self.size {
            let schema = self.schema(n);
            let sql = format!(
                "SELECT concat_ws(' ', (SELECT string_agg(concat_ws(' ', folder, version, xmin, migrated_at), ', ' ORDER BY folder) FROM labctl_ledger.schemas
                        WHERE schema = '{schema}'), (SELECT string_agg(concat_ws(' ', position, version, xmin, applied_at), ', ' ORDER BY position)
                        FROM {schema}.labctl_migrations), to_regclass('{schema}.{table}')::oid)"
            );
            prints.insert(tenant(&self.tag, n), sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut *db).await.unwrap());
        }
        prints
    }

    /// Who has this table.
    pub async fn with(&self, db: &mut PgConnection, table: &str) -> BTreeSet<String> {
        let mut with = BTreeSet::new();
        for n in 0..self.size {
            if count(db, &format!("SELECT count(to_regclass('{}.{table}'))", self.schema(n))).await == 1 {
                with.insert(tenant(&self.tag, n));
            }
        }
        with
    }

    /// Leases of this fleet's tenants and runs that somebody still holds.
    pub async fn leases(&self) -> i64 {
        let runs = format!(
            "SELECT '@fleet/' || number FROM labctl.fleet_runs WHERE options #>> '{{filter,tags,fleet}}' = '{0}' OR options #>> '{{filter,tenant}}' LIKE '{0}-%'",
            self.tag
        );
        let held = format!("SELECT count(*) FROM labctl.leases WHERE (tenant LIKE '{}-%' OR tenant IN ({runs})) AND holder IS NOT NULL", self.tag);
        count(&mut self.world.registry().await, &held).await
    }
}

pub async fn count(db: &mut PgConnection, sql: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(db).await.unwrap()
}

pub async fn says(db: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(db).await.unwrap();
}

pub fn report(run: &Run) -> Value {
    serde_json::from_str(&run.out).unwrap_or_else(|e| panic!("{e}\n{run}"))
}

/// Of a report: how many ended how.
pub fn ends(report: &Value) -> BTreeMap<String, usize> {
    let mut ends = BTreeMap::new();
    for result in report["results"].as_array().unwrap() {
        *ends.entry(result["status"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    ends
}

/// Of a report: who ended so.
pub fn who(report: &Value, status: &str) -> BTreeSet<String> {
    let all = report["results"].as_array().unwrap();
    all.iter().filter(|r| r["status"] == status).map(|r| r["tenant"].as_str().unwrap().to_owned()).collect()
}

pub fn why(report: &Value, tenant: &str) -> String {
    let all = report["results"].as_array().unwrap();
    all.iter().find(|r| r["tenant"] == tenant).map(|r| r["fault"]["message"].as_str().unwrap_or_default().to_owned()).unwrap()
}

pub const NOTES: &str = "CREATE TABLE notes (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text NOT NULL);\n";

/// Writes a spec with the tag `fleet=<fleet>`; its file name.
pub fn tagged(world: &World, id: &str, stack: &str, tier: &str, fleet: &str) -> String {
    let name = world.spec(id, stack, tier);
    let file = world.dir().join("specs").join(&name);
    let text = fs::read_to_string(&file).unwrap();
    fs::write(file, format!("{text}[tags]\nfleet = \"{fleet}\"\n")).unwrap();
    name
}
