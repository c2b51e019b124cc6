//! The sandbox that is measured in, and labctl as a process whose memory and time are watched.

use std::fs;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use labctl::config::{Environment, Flags, SANDBOX, Settings};
use labctl::sandbox::{self, Options, Sandbox};
use labctl::tenantdb::migrations::{File, Library, Step, central};
use labctl::tenantdb::{self, Databases, Login, Tls, Tunnels};
use secrecy::ExposeSecret as _;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::plant::{Ground, schema, tenant};

const LABCTL: &str = env!("CARGO_BIN_EXE_labctl");

/// What the smallest server has that one would give 5,000 tenants (db.t4g.medium, 4 GB: RDS gives a quarter to the buffers). With PostgreSQL's own
/// defaults their catalogs, several hundred megabytes, do not fit, and who is measured depends on whose pages were thrown out.
const SERVER: &str = "shared_buffers = '1GB'\nmax_wal_size = '4GB'\n";

/// A sandbox of its own, gone when the measuring is.
pub struct World {
    dir: PathBuf,
    tools: PathBuf,
    sandbox: sandbox::World,
    superuser: String,
    databases: Databases,
    admin: Login,
    endpoint: String,
    arn: String,
    registry: String,
}

/// How a labctl went.
pub struct Ran {
    pub code: i32,
    pub took: Duration,
    /// User and system time.
    pub cpu: Duration,
    /// The most memory it had resident, in bytes.
    pub peak: u64,
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

impl World {
    pub async fn start(stack: &Path) -> Self {
        let dir = tempfile::Builder::new().prefix("labctl-bench-").permissions(fs::Permissions::from_mode(0o711)).tempdir().unwrap().keep();
        copy(stack, &dir.join("templates/labcloud"));
        fs::write(dir.join("labctl.toml"), "templates = \"templates\"\n").unwrap();
        let flags = Flags { profile: Some(SANDBOX.to_owned()), ..Flags::default() };
        let tools = Settings::resolve(&flags, &Environment::capture()).unwrap().tools_dir;
        let options = Options { dir: dir.join("sandbox"), tools: tools.clone(), python: None, prefer_wheel: false, path: std::env::var_os("PATH") };
        let (sandbox, say) = (Sandbox::at(options), |words: &str| println!("{words}"));
        sandbox.start(&say).await.unwrap();
        let settings = dir.join("sandbox/postgres/data/postgresql.auto.conf");
        fs::write(&settings, format!("{}\n{SERVER}", fs::read_to_string(&settings).unwrap())).unwrap();
        sandbox.stop(&say).await.unwrap();
        let sandbox = sandbox.start(&say).await.unwrap();
        let passwords: serde_json::Value = serde_json::from_slice(&fs::read(dir.join("sandbox/passwords.json")).unwrap()).unwrap();
        let admin = Login {
            endpoint: format!("127.0.0.1:{}", sandbox.registry.port),
            database: "shared".to_owned(),
            username: "labctl_admin".to_owned(),
            password: passwords["labctl_admin"].as_str().unwrap().into(),
        };
        let of = |key: &str| sandbox.platform["databases"]["shared"][key].as_str().unwrap().to_owned();
        let mut world = Self {
            superuser: passwords["postgres"].as_str().unwrap().to_owned(),
            databases: Self::databases(),
            endpoint: of("endpoint"),
            arn: of("admin_secret_arn"),
            registry: String::new(),
            dir,
            tools,
            sandbox,
            admin,
        };
        assert_eq!(world.labctl(&["tenant", "list", "-q"]).await.code, 0, "the first command makes the registry");
        world.registry = sqlx::query_scalar("SELECT id::text FROM labctl.registry_meta").fetch_one(&mut world.registry().await).await.unwrap();
        world
    }

    /// Connections that nobody else has.
    pub fn databases() -> Databases {
        Databases::new(tenantdb::Settings { tunnels: Tunnels::default(), tls: Tls::Off, root_cert: None })
    }

    pub fn ground(&self) -> Ground<'_> {
        Ground { databases: &self.databases, admin: &self.admin, endpoint: &self.endpoint, admin_secret_arn: &self.arn, registry: self.registry.clone() }
    }

    async fn connect(&self, user: &str, password: &str, database: &str) -> PgConnection {
        let options = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(self.sandbox.registry.port).username(user).password(password);
        PgConnection::connect_with(&options.database(database).ssl_mode(PgSslMode::Disable)).await.unwrap()
    }

    pub async fn superuser(&self, database: &str) -> PgConnection {
        self.connect("postgres", &self.superuser, database).await
    }

    pub async fn registry(&self) -> PgConnection {
        let r = &self.sandbox.registry;
        self.connect(&r.user, r.password.expose_secret(), &r.database).await
    }

    /// PostgreSQL's version.
    pub async fn version(&self) -> String {
        let version: String = sqlx::query_scalar("SHOW server_version").fetch_one(&mut self.superuser("postgres").await).await.unwrap();
        version.split_whitespace().next().unwrap_or_default().to_owned()
    }

    fn folder(&self) -> PathBuf {
        self.dir.join("templates/labcloud/migrations/tenant")
    }

    /// Processor time so far of PostgreSQL, the sessions that are over included.
    pub fn server_cpu(&self) -> Duration {
        let pid = fs::read_to_string(self.dir.join("sandbox/postgres/data/postmaster.pid")).unwrap();
        let pid: u32 = pid.lines().next().unwrap().parse().unwrap();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        // Of the postmaster: its own, and that of its children who have ended.
        let own: u64 = stat(&format!("/proc/{pid}/stat")).map_or(0, |f| [11, 12, 13, 14].map(|n| f[n]).iter().sum());
        let theirs: u64 = children.split_whitespace().filter_map(|child| stat(&format!("/proc/{child}/stat"))).map(|f| f[11] + f[12]).sum();
        Duration::from_millis((own + theirs) * 10)
    }

    /// A file more in the templates that labctl reads.
    pub fn file(&self, name: &str, sql: &str) {
        fs::write(self.folder().join(name), sql).unwrap();
    }

    /// The templates' migrations.
    pub fn steps(&self, library: &mut Library) -> Vec<Step> {
        let files = fs::read_dir(self.folder()).unwrap().map(|entry| {
            let path = entry.unwrap().path();
            File::parse("tenant", path.file_name().unwrap().to_str().unwrap(), &fs::read_to_string(&path).unwrap()).unwrap()
        });
        library.add(files.collect()).unwrap()
    }

    /// Runs labctl to its end, watching it.
    pub async fn labctl(&self, args: &[&str]) -> Ran {
        let (dir, tools, args) = (self.dir.clone(), self.tools.clone(), args.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>());
        tokio::task::spawn_blocking(move || watched(&dir, &tools, &args)).await.unwrap()
    }

    /// From the last run's first record to that of its last tenant: without the ANALYZE of the catalogs that comes after.
    pub async fn last_run(&self) -> Duration {
        let sql = "SELECT extract(epoch FROM (SELECT max(finished_at) FROM labctl.fleet_results WHERE run = number) - started_at)::float8
                   FROM labctl.fleet_runs ORDER BY number DESC LIMIT 1";
        Duration::from_secs_f64(sqlx::query_scalar(sql).fetch_one(&mut self.registry().await).await.unwrap())
    }

    /// Schemas that are empty, and in the central ledger as if they were not.
    pub async fn pretend(&self, tag: &str, range: Range<usize>, steps: &[Step]) {
        let mut db = self.superuser("shared").await;
        for n in range.clone() {
            let sql = format!("CREATE SCHEMA {}", schema(tag, n));
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut db).await.unwrap();
        }
        let names: Vec<String> = range.clone().map(|n| schema(tag, n)).collect();
        let tenants: Vec<String> = range.map(|n| tenant(tag, n)).collect();
        let at = central::standing(steps).remove("tenant").unwrap();
        sqlx::query(
            "INSERT INTO labctl_ledger.schemas (schema, folder, oid, tenant, version, digest)
             SELECT s, 'tenant', s::regnamespace::oid, t, $3, $4 FROM unnest($1::text[], $2::text[]) u (s, t)",
        )
        .bind(names)
        .bind(tenants)
        .bind(i32::try_from(at.version).unwrap())
        .bind(at.digest)
        .execute(&mut db)
        .await
        .unwrap();
        sqlx::raw_sql("ANALYZE labctl_ledger.schemas").execute(&mut db).await.unwrap();
    }

    /// What pretended schemas lack, so that they can be migrated: the ledger, and the function that runs what is theirs.
    pub async fn ledgers(&self, tag: &str, range: Range<usize>, steps: &[Step]) {
        let mut db = self.superuser("shared").await;
        for n in range {
            let (name, tenant) = (schema(tag, n), tenant(tag, n));
            let comment =
                format!(r#"{{"labctl:tenant":"{tenant}","labctl:address":"{tenant}/postgres_schema_version/main","labctl:registry":"{}"}}"#, self.registry);
            let rows: Vec<String> = steps.iter().map(|s| format!("({0}, '{1}', {0}, '{2}', '{3}')", s.version, s.folder, s.name, s.checksum)).collect();
            let migrate = format!("{tag}_{n:04}_migrate");
            let sql = format!(
                "BEGIN; GRANT USAGE ON SCHEMA {name} TO labctl_admin; GRANT USAGE, CREATE ON SCHEMA {name} TO {migrate};
                 CREATE TABLE {name}.labctl_migrations (position integer PRIMARY KEY, folder text NOT NULL, version integer NOT NULL CHECK (version > 0),
                     name text NOT NULL, checksum text NOT NULL CHECK (checksum ~ '^[0-9a-f]{{64}}$'), applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
                     baseline boolean NOT NULL DEFAULT false, UNIQUE (folder, version));
                 INSERT INTO {name}.labctl_migrations VALUES {}; COMMENT ON TABLE {name}.labctl_migrations IS '{comment}';
                 ALTER TABLE {name}.labctl_migrations OWNER TO {migrate}; GRANT SELECT ON {name}.labctl_migrations TO labctl_admin;
                 CREATE FUNCTION labctl_ledger.{name}(text) RETURNS void LANGUAGE sql SECURITY DEFINER BEGIN ATOMIC SELECT labctl_ledger.execute($1, true); END;
                 REVOKE ALL ON FUNCTION labctl_ledger.{name}(text) FROM PUBLIC; ALTER FUNCTION labctl_ledger.{name}(text) OWNER TO {migrate};
                 GRANT EXECUTE ON FUNCTION labctl_ledger.{name}(text) TO labctl_admin; COMMIT",
                rows.join(", ")
            );
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut db).await.unwrap();
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let mut stop = command(&self.dir, &self.tools);
        let _ = stop.args(["sandbox", "stop", "-q"]).status();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn command(dir: &Path, tools: &Path) -> Command {
    let mut command = Command::new(LABCTL);
    command.env("LABCTL_SANDBOX_DIR", dir.join("sandbox")).env("LABCTL_TOOLS_DIR", tools).current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// The numbers of a process after its name: user and system time are 11 and 12, those of its ended children 13 and 14, in hundredths of a second.
fn stat(path: &str) -> Option<Vec<u64>> {
    let stat = fs::read_to_string(path).ok()?;
    Some(stat.rsplit(')').next()?.split_whitespace().map(|f| f.parse().unwrap_or(0)).collect())
}

/// Processor time of this process so far.
pub fn own_cpu() -> Duration {
    let fields = stat("/proc/self/stat").unwrap();
    Duration::from_millis((fields[11] + fields[12]) * 10)
}

/// Watches a process by `/proc`: its peak while it lives, its processor time before it is waited for.
fn watched(dir: &Path, tools: &Path, args: &[String]) -> Ran {
    let began = Instant::now();
    let mut child = command(dir, tools).args(args).spawn().unwrap();
    let (proc, mut peak, mut ticks) = (PathBuf::from(format!("/proc/{}", child.id())), 0, 0);
    loop {
        let status = fs::read_to_string(proc.join("status")).unwrap_or_default();
        let kilobytes = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).and_then(|l| l.trim().trim_end_matches(" kB").trim().parse::<u64>().ok());
        peak = kilobytes.map_or(peak, |kb| peak.max(kb * 1024));
        let stat = fs::read_to_string(proc.join("stat")).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let number = |n: usize| fields.get(n).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
        ticks = ticks.max(number(11) + number(12));
        if fields.first() == Some(&"Z") {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let took = began.elapsed();
    let code = child.wait().unwrap().code().unwrap_or(-1);
    // The kernel tells user space of hundredths of a second, whatever its own clock.
    Ran { code, took, cpu: Duration::from_millis(ticks * 10), peak }
}
