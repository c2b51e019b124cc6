//! The sandbox of this test process: one for all tests, started by the first that needs it, gone when the process is.
//!
//! A test that needs it fails where it cannot start; none is skipped. PostgreSQL is the machine's own where it has one; with
//! `LABCTL_TEST_PREFER_WHEEL=1` it is the wheel's. Tests run side by side in it: what a test makes has a name no other test uses.

use std::error::Error;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use aws_smithy_runtime_api::client::http::SharedHttpConnector;
use labctl::cloud::{Cloud, Reach};
use labctl::config::{Environment, Flags, SANDBOX, Settings};
use labctl::sandbox::connector::{Admin, loopback, mended, mended_connector};
use labctl::sandbox::{Options, Sandbox, SandboxError};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _};

/// Waits for the end of its input, which is the end of the test process however that comes, and clears up. The second stop is for
/// what a start that was cut off had begun; the second removal for what was still being written during the first.
const REAPER: &str = r#"
trap '' HUP INT QUIT TERM
cat > /dev/null
for round in 1 2; do
    LABCTL_SANDBOX_DIR="$1/sandbox" "$2" sandbox stop
    sleep 0.5
done
rm -rf "$1"
sleep 1
rm -rf "$1"
"#;

/// A running sandbox.
pub struct World {
    /// What it says of itself. Its HTTP client belongs to the runtime that started it: tests take [`Self::reach`].
    world: labctl::sandbox::World,
    dir: PathBuf,
    passwords: Value,
}

/// The sandbox of this test process.
pub fn world() -> &'static World {
    static WORLD: OnceLock<Result<World, String>> = OnceLock::new();
    // A runtime of its own: the first test's may end while others still wait for the start.
    match WORLD.get_or_init(|| std::thread::spawn(start).join().unwrap()) {
        Ok(world) => world,
        Err(why) => panic!("this test needs the sandbox: {why}"),
    }
}

/// Where the sandbox's installed programs are kept: where labctl itself keeps them.
pub fn tools() -> PathBuf {
    let flags = Flags { profile: Some(SANDBOX.to_owned()), ..Flags::default() };
    Settings::resolve(&flags, &Environment::capture()).unwrap().tools_dir
}

/// A folder the user PostgreSQL runs as (when the tests run as root) can enter.
pub fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("labctl-").permissions(Permissions::from_mode(0o711)).tempdir().unwrap()
}

fn start() -> Result<World, String> {
    let dir = folder().keep();
    remove_at_the_end(&dir);
    let sandbox = Sandbox::at(Options {
        dir: dir.join("sandbox"),
        tools: tools(),
        python: None,
        prefer_wheel: std::env::var_os("LABCTL_TEST_PREFER_WHEEL").is_some_and(|v| v == "1"),
        path: std::env::var_os("PATH"),
    });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let world = runtime.block_on(sandbox.start(&|_| ())).map_err(|e| explain(&e))?;
    let passwords = serde_json::from_slice(&fs::read(dir.join("sandbox/passwords.json")).unwrap()).unwrap();
    let world = World { world, dir, passwords };
    // Nothing here outlives the machine's next crash, and CREATE DATABASE is many times as fast.
    runtime.block_on(world.superuser_says("postgres", "ALTER SYSTEM SET fsync = off"));
    runtime.block_on(world.superuser_says("postgres", "SELECT pg_reload_conf()"));
    Ok(world)
}

fn explain(error: &SandboxError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    error.hint().map_or(text.clone(), |hint| format!("{text} ({hint})"))
}

/// In a session of its own where there is `setsid`, else in a process group of its own: Ctrl-C ends the tests and not this.
fn remove_at_the_end(dir: &Path) {
    // Never waited for; with it, the pipe to its input stays open.
    static REAPING: OnceLock<Child> = OnceLock::new();
    let spawn = |command: &mut Command| {
        command.args(["-c", REAPER, "sh"]).arg(dir).arg(env!("CARGO_BIN_EXE_labctl")).current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
    };
    let reaper = spawn(Command::new("setsid").arg("sh")).or_else(|_| spawn(Command::new("sh").process_group(0))).unwrap();
    REAPING.set(reaper).unwrap();
}

impl World {
    /// How this test's own AWS clients reach the emulator: a connection belongs to the runtime it was opened in.
    pub fn reach(&self) -> Reach {
        let admin = Admin { user: "labctl_admin".into(), password: self.password("labctl_admin") };
        Reach { http_client: Some(mended(loopback(), self.world.endpoint_url.clone(), admin)), ..self.world.reach() }
    }

    /// What answers this test's own AWS calls, for who puts something in front of it.
    pub fn connector(&self) -> SharedHttpConnector {
        let admin = Admin { user: "labctl_admin".into(), password: self.password("labctl_admin") };
        mended_connector(self.world.endpoint_url.clone(), admin)
    }

    /// AWS clients for this test.
    pub async fn cloud(&self) -> Cloud {
        Cloud::connect(self.reach()).await
    }

    /// What `${platform.…}` is: one text of it, by its path.
    pub fn platform(&self, pointer: &str) -> &str {
        self.world.platform.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("the platform has no {pointer}"))
    }

    /// PostgreSQL's port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.world.registry.port
    }

    /// The password of `postgres` (superuser), `labctl_admin` (what an RDS master user is) or `labctl_registry` (owner of registries).
    pub fn password(&self, role: &str) -> SecretString {
        self.passwords[role].as_str().unwrap_or_else(|| panic!("the sandbox has no role {role}")).into()
    }

    /// Connects as this role.
    pub async fn login(&self, user: &str, password: &str, database: &str) -> Result<PgConnection, sqlx::Error> {
        let options = PgConnectOptions::new_without_pgpass();
        options.host("127.0.0.1").port(self.port()).username(user).password(password).database(database).ssl_mode(PgSslMode::Disable).connect().await
    }

    /// Connects as PostgreSQL's superuser.
    pub async fn superuser(&self, database: &str) -> PgConnection {
        self.login("postgres", self.password("postgres").expose_secret(), database).await.unwrap()
    }

    /// Runs one SQL text as the superuser.
    pub async fn superuser_says(&self, database: &str, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.superuser(database).await).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    }

    /// A new empty database of this owner, under a name of its own.
    pub async fn database(&self, owner: &str) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.superuser_says("postgres", &format!("CREATE DATABASE {name} OWNER {owner} TEMPLATE template0 STRATEGY wal_log")).await;
        name
    }

    /// What PostgreSQL has logged so far.
    pub fn postgres_log(&self) -> String {
        fs::read_to_string(self.dir.join("sandbox/postgres/postgres.log")).unwrap()
    }

    /// Gives PostgreSQL a certificate for `localhost` by an authority made for it, and returns the authority's file; none when this
    /// build of PostgreSQL knows no TLS (the wheel's). Sessions there are stay as they are.
    pub async fn certify(&self) -> Option<PathBuf> {
        let library: String = sqlx::query_scalar("SHOW ssl_library").fetch_one(&mut self.superuser("postgres").await).await.unwrap();
        if library != "OpenSSL" {
            return None;
        }
        let dir = self.dir.join("certificates");
        fs::create_dir(&dir).unwrap();
        let openssl = |arguments: &str| {
            let done =
                Command::new("openssl").args(arguments.split(' ')).current_dir(&dir).output().expect("this test needs openssl (Debian: `apt install openssl`)");
            assert!(done.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&done.stderr));
        };
        openssl("req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 2 -subj /CN=test-authority");
        openssl("req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=localhost");
        fs::write(dir.join("names"), "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n").unwrap();
        openssl("x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out server.crt -days 2 -extfile names");
        fs::set_permissions(dir.join("server.key"), Permissions::from_mode(0o600)).unwrap();
        if nix::unistd::geteuid().is_root() {
            let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
            for path in [dir.clone(), dir.join("server.key"), dir.join("server.crt")] {
                std::os::unix::fs::chown(path, Some(nobody.uid.as_raw()), Some(nobody.gid.as_raw())).unwrap();
            }
        }
        for (setting, file) in [("ssl_cert_file", "server.crt"), ("ssl_key_file", "server.key")] {
            self.superuser_says("postgres", &format!("ALTER SYSTEM SET {setting} = '{}'", dir.join(file).display())).await;
        }
        self.superuser_says("postgres", "ALTER SYSTEM SET ssl = on").await;
        self.superuser_says("postgres", "SELECT pg_reload_conf()").await;
        Some(dir.join("ca.crt"))
    }
}
