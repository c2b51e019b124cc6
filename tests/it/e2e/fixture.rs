//! One sandbox for all end-to-end tests of this process, and the binary run in it without anything of the surroundings.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use labctl::cloud::Cloud;
use labctl::ops::Site;
use labctl::ops::site::{Password, Reachable};
use labctl::registry::{Holder, Settings, Tls};
use labctl::sandbox::{self, Options, Sandbox};
use labctl::stack::Stacks;
use secrecy::ExposeSecret as _;
use serde_json::Value;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{Connection as _, PgConnection};
use tokio::sync::OnceCell;

pub const LABCTL: &str = env!("CARGO_BIN_EXE_labctl");
/// No command of these tests takes nearly as long; whatever hangs is a failure, not a stuck build.
const PATIENCE: Duration = Duration::from_secs(90);
/// The long version keeps the machine busy, and many of its commands wait a minute for what an unclear call may have made.
const LONG_PATIENCE: Duration = Duration::from_secs(400);
const INSTALLATION: Duration = Duration::from_secs(600);
/// What downloads go by: only the command that installs the emulator gets to see it.
const NETWORK: [&str; 5] = ["PIP_", "SSL_CERT_", "REQUESTS_CA", "HTTP", "NO_PROXY"];

/// The specs that come with labctl: one tenant of each tier of both stacks.
pub const SIX: [&str; 6] = ["lakeside-lab", "city-lab", "st-marys-lab", "demo-clinic", "northside-clinic", "hospital-a"];

/// A folder with a sandbox in it.
pub struct World {
    dir: PathBuf,
    six: OnceCell<()>,
}

/// The sandbox all tests share. Their tenants have ids of their own.
pub fn shared() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(World::started)
}

/// A second sandbox, for tests that lock rows, move clocks or crowd the emulator. Their tenants, too, have ids of their own.
pub fn aside() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(World::started)
}

/// The long version of the tests is wanted.
pub fn long() -> bool {
    std::env::var_os("LABCTL_TEST_LONG").is_some()
}

impl World {
    /// A folder of its own in which nothing has been started yet. It goes away, with what runs in it, when this test process has.
    pub fn unstarted() -> Self {
        let permissions = fs::Permissions::from_mode(0o711);
        let dir = tempfile::Builder::new().prefix("labctl-e2e-").permissions(permissions).disable_cleanup(true).tempdir().unwrap().keep();
        fs::create_dir(dir.join("home")).unwrap();
        fs::create_dir(dir.join("specs")).unwrap();
        let world = Self { dir, six: OnceCell::new() };
        world.reap();
        world
    }

    /// A sandbox of its own, for tests that break what others rely on. It costs seconds.
    pub fn started() -> Self {
        let world = Self::unstarted();
        // The first start on a machine installs the emulator, which takes as long as its network does.
        let started = ended_within(
            INSTALLATION,
            world.command(&["sandbox", "start"]).envs(std::env::vars().filter(|(k, _)| NETWORK.iter().any(|n| k.to_uppercase().starts_with(n)))),
        );
        assert_eq!(started.code, 0, "{started}");
        world
    }

    /// Statics are never dropped, and a killed test process drops nothing at all: a small process outlives it and cleans up.
    #[expect(clippy::zombie_processes, reason = "it outlives this process")]
    fn reap(&self) {
        let script = r#"while kill -0 "$1" 2>/dev/null; do sleep 0.5; done; [ -e "$3/sandbox" ] && "$2" sandbox stop -q; rm -rf "$3""#;
        let mut reaper = self.bare("/bin/sh");
        reaper.args(["-c", script, "sh", &std::process::id().to_string(), LABCTL, self.dir.to_str().unwrap()]);
        reaper.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/").process_group(0).spawn().unwrap();
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn sandbox_dir(&self) -> PathBuf {
        self.dir.join("sandbox")
    }

    fn tools() -> PathBuf {
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("sandbox-tools")
    }

    /// A program in a known environment. `PATH` alone is the machine's: Python and PostgreSQL must be found.
    pub fn bare(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", self.dir.join("home")).env("USER", "e2e").env("TZ", "UTC");
        command.env("LABCTL_SANDBOX_DIR", self.sandbox_dir()).env("LABCTL_TOOLS_DIR", Self::tools());
        command.current_dir(self.dir.join("specs")).stdin(Stdio::null());
        command
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.bare(LABCTL);
        command.args(args);
        command
    }

    /// Runs labctl to its end.
    pub fn run(&self, args: &[&str]) -> Run {
        ended(&mut self.command(args))
    }

    /// Runs labctl, which must succeed.
    pub fn ok(&self, args: &[&str]) -> Run {
        let run = self.run(args);
        assert_eq!(run.code, 0, "labctl {args:?}\n{run}");
        run
    }

    /// Runs labctl with `-o json`, which must succeed.
    pub fn json(&self, args: &[&str]) -> Value {
        let run = self.ok(&[args, &["-o", "json"]].concat());
        serde_json::from_str(&run.out).unwrap_or_else(|e| panic!("{args:?}: {e}\n{run}"))
    }

    /// Writes a spec; its file name.
    pub fn spec(&self, id: &str, stack: &str, tier: &str) -> String {
        let name = format!("{id}.toml");
        let text = format!("id = \"{id}\"\ndisplay_name = \"Tenant {id}\"\ntier = \"{tier}\"\nstack = \"{stack}\"\nemail = \"admin@{id}.example\"\n");
        fs::write(self.dir.join("specs").join(&name), text).unwrap();
        name
    }

    /// Starts labctl with its stderr to be read line by line.
    pub fn spawn(&self, args: &[&str]) -> Running {
        let mut child = self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap());
        Running { child, lines, heard: String::new() }
    }

    /// The six tenants whose specs come with labctl, made once, two at a time.
    pub async fn six(&'static self) {
        let make = || async {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tenants");
            for pair in SIX.chunks(2) {
                let runs: Vec<_> = pair
                    .iter()
                    .map(|id| folder.join(format!("{id}.toml")))
                    .map(|file| blocking(move || shared().ok(&["tenant", "create", file.to_str().unwrap()])))
                    .collect();
                for run in runs {
                    run.await.unwrap();
                }
            }
        };
        self.six.get_or_init(make).await;
    }

    /// The library's own view of the same sandbox.
    pub async fn open(&self) -> sandbox::World {
        let options = Options { dir: self.sandbox_dir(), tools: Self::tools(), python: None, prefer_wheel: false, path: std::env::var_os("PATH") };
        Sandbox::at(options).start(&|_| ()).await.unwrap()
    }

    /// The same sandbox as the library's verbs work with it.
    pub async fn site(&self) -> Site {
        let sandbox = self.open().await;
        let r = sandbox.registry.clone();
        let registry = Settings { host: r.host, port: r.port, database: r.database, user: r.user, password: None, tls: Tls::Disable, root_certificate: None };
        let place = Reachable {
            profile: "sandbox".into(),
            reach: sandbox.reach(),
            account_id: None,
            registry,
            password: Password::Given(Some(r.password)),
            init_registry: false,
            platform: sandbox.platform.clone(),
            tunnels: sandbox.tunnels.clone(),
            tls: labctl::tenantdb::Tls::Off,
            root_cert: None,
            events: labctl::config::Events::default(),
        };
        Site::open(place, Stacks::builtin().unwrap(), Holder::this("e2e", "here")).await.unwrap()
    }

    /// AWS as the sandbox's other programs see it.
    pub async fn cloud(&self) -> Cloud {
        Cloud::connect(self.open().await.reach()).await
    }

    /// The sandbox's passwords by role, as its file keeps them.
    pub fn passwords(&self) -> std::collections::BTreeMap<String, String> {
        serde_json::from_str(&fs::read_to_string(self.sandbox_dir().join("passwords.json")).unwrap()).unwrap()
    }

    /// PostgreSQL as its superuser.
    pub async fn superuser(&self, database: &str) -> PgConnection {
        let port = self.open().await.registry.port;
        connect(port, "postgres", &self.passwords()["postgres"], database).await.unwrap()
    }

    /// The registry's database, as its owner.
    pub async fn registry(&self) -> PgConnection {
        let r = self.open().await.registry;
        connect(r.port, &r.user, r.password.expose_secret(), &r.database).await.unwrap()
    }
}

pub async fn connect(port: u16, user: &str, password: &str, database: &str) -> Result<PgConnection, sqlx::Error> {
    let options = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(port).username(user).password(password).database(database);
    PgConnection::connect_with(&options.ssl_mode(PgSslMode::Prefer)).await
}

/// Whether a call to AWS only reads.
pub fn reads(call: &str) -> bool {
    let verb = call.split(':').nth(1).unwrap_or(call).trim_start_matches("Admin");
    ["Describe", "List", "Get", "Head"].iter().any(|r| verb.starts_with(r))
}

/// Runs what blocks beside the test.
pub fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> tokio::task::JoinHandle<T> {
    tokio::task::spawn_blocking(work)
}

/// How a command ended, and what it said.
#[derive(Debug)]
pub struct Run {
    /// The exit code; minus the signal where one killed it.
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Run {
    fn of(status: ExitStatus, out: String, err: String) -> Self {
        Self { code: status.code().unwrap_or_else(|| -status.signal().unwrap()), out, err }
    }

    /// The error object of a failure with `-o json`.
    pub fn error(&self) -> Value {
        let line = self.err.lines().find(|l| l.starts_with("{\"error\"")).unwrap_or_else(|| panic!("no error object\n{self}"));
        serde_json::from_str::<Value>(line).unwrap()["error"].take()
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit {}\n--- stdout\n{}\n--- stderr\n{}", self.code, self.out, self.err)
    }
}

fn patience() -> Duration {
    if long() { LONG_PATIENCE } else { PATIENCE }
}

/// Runs a command to its end, which comes within [`PATIENCE`].
pub fn ended(command: &mut Command) -> Run {
    ended_within(patience(), command)
}

/// Runs a command to its end, which comes within this time.
pub fn ended_within(patience: Duration, command: &mut Command) -> Run {
    finished_within(patience, command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

/// Waits for a child whose output is piped.
pub fn finished(child: Child) -> Run {
    finished_within(patience(), child)
}

/// The same, for what takes longer or shorter.
pub fn finished_within(patience: Duration, child: Child) -> Run {
    let _watch = watch(&child, patience);
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    Run::of(status, String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// Kills a child that takes too long; dropped when it has ended.
fn watch(child: &Child, patience: Duration) -> Arc<()> {
    let (pid, alive) = (pid(child), Arc::new(()));
    let (weak, until) = (Arc::downgrade(&alive), Instant::now() + patience);
    std::thread::spawn(move || {
        while weak.strong_count() > 0 {
            if Instant::now() > until {
                let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
                return;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    });
    alive
}

pub fn pid(child: &Child) -> nix::unistd::Pid {
    nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap())
}

/// A labctl under way.
pub struct Running {
    pub child: Child,
    lines: BufReader<std::process::ChildStderr>,
    heard: String,
}

impl Running {
    /// Reads stderr until so many lines have held this word; false where it ended before.
    pub fn hear(&mut self, word: &str, times: usize) -> bool {
        let mut heard = 0;
        while heard < times {
            let before = self.heard.len();
            if self.lines.read_line(&mut self.heard).unwrap() == 0 {
                return false;
            }
            heard += usize::from(self.heard[before..].contains(word));
        }
        true
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(pid(&self.child), signal).unwrap();
    }

    pub fn end(mut self) -> Run {
        let _watch = watch(&self.child, patience());
        while self.lines.read_line(&mut self.heard).unwrap() > 0 {}
        let output = self.child.wait_with_output().unwrap();
        Run::of(output.status, String::from_utf8(output.stdout).unwrap(), self.heard)
    }
}
