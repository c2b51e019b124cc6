//! PgBouncer between labctl and a server: refused before anything is written, in words that say what to do, however it is set.

use std::fs::{self, Permissions};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use labctl::sandbox::connector::{Admin, mended_connector};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::fixture::{Run, World, blocking, ended};
use super::fleets::count;
use crate::audit::{Scope, audit};
use crate::faults::Faults;
use crate::faults::proxy::Proxy;

/// How PgBouncer may be set: by itself it refuses what it does not know of a session; told to leave that out, it hands sessions round.
const SETTINGS: [(&str, &str); 3] = [
    ("transaction", "pool_mode = transaction"),
    ("lenient", "pool_mode = transaction\nignore_startup_parameters = extra_float_digits, options"),
    ("session", "pool_mode = session\nignore_startup_parameters = extra_float_digits, options"),
];

/// PgBouncer's program: on the PATH, or where Debian has it, which is not on everybody's.
fn installed() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.push("/usr/sbin".into());
    folders.into_iter().map(|folder| folder.join("pgbouncer")).find(|file| file.exists())
}

/// Whether what is missing here must be there. Forges set the variable.
pub fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|ci| !ci.is_empty() && ci != "false")
}

/// A running PgBouncer.
struct Pooler {
    child: Child,
    port: u16,
    dir: PathBuf,
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Passwords are in it, which an audit would find.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Pooler {
    /// Before that server, letting in everybody who has a password there.
    fn start(world: &World, server: u16, name: &str, settings: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let dir = world.dir().join(format!("pooler-{name}"));
        fs::create_dir(&dir).unwrap();
        let users: String = world.passwords().iter().map(|(role, password)| format!("\"{role}\" \"{password}\"\n")).collect();
        fs::write(dir.join("users"), users).unwrap();
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={server}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = trust\nauth_file = {}\n{settings}\n",
            dir.join("users").display()
        );
        fs::write(dir.join("pgbouncer.ini"), text).unwrap();
        let mut command = Command::new(installed().unwrap());
        if nix::unistd::geteuid().is_root() {
            // It refuses to run as root.
            let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
            for path in [dir.clone(), dir.join("users"), dir.join("pgbouncer.ini")] {
                std::os::unix::fs::chown(path, Some(nobody.uid.as_raw()), Some(nobody.gid.as_raw())).unwrap();
            }
            command.args(["-u", "nobody"]);
        }
        fs::set_permissions(&dir, Permissions::from_mode(0o700)).unwrap();
        command.arg(dir.join("pgbouncer.ini")).current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        let pooler = Self { child, port, dir };
        let until = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "PgBouncer does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        pooler
    }
}

/// A platform file whose registry and databases are reached through these ports.
struct Place {
    world: &'static World,
    /// The emulator as AWS is; gone when this is.
    proxy: Proxy,
}

impl Place {
    async fn run(&self, name: &str, registry: Option<u16>, databases: Option<u16>, line: &str) -> Run {
        let sandbox = self.world.open().await;
        let r = &sandbox.registry;
        let mut tunnels = json!(sandbox.tunnels);
        if let Some(port) = databases {
            tunnels.as_object_mut().unwrap().values_mut().for_each(|to| *to = json!(format!("127.0.0.1:{port}")));
        }
        let profile = json!({
            "region": sandbox.region, "account_id": sandbox.account_id, "environment": "sandbox", "endpoint_url": self.proxy.endpoint_url,
            "platform": sandbox.platform, "tunnels": tunnels,
            "registry": {"host": r.host, "port": registry.unwrap_or(r.port), "database": r.database, "user": r.user, "tls": "disable"},
        });
        let file = self.world.dir().join(format!("specs/{name}.toml.platform"));
        fs::write(&file, toml::to_string(&json!({"profiles": {"pooled": profile}})).unwrap()).unwrap();
        let mut command = self.world.command(&line.split(' ').chain(["-o", "json"]).collect::<Vec<_>>());
        command.env("LABCTL_CONFIG", file).env("LABCTL_PROFILE", "pooled").env("LABCTL_REGISTRY_PASSWORD", r.password.expose_secret());
        command.env("AWS_ACCESS_KEY_ID", &sandbox.credentials.0).env("AWS_SECRET_ACCESS_KEY", &sandbox.credentials.1);
        blocking(move || ended(&mut command)).await.unwrap()
    }
}

fn says_what_to_do(run: &Run) {
    let error: Value = run.error();
    assert!(error.to_string().contains("there is a connection pooler before the"), "{run}");
    assert!(error["hint"].to_string().contains("the server itself"), "{run}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_is_refused_before_anything_is_written_and_without_it_the_same_command_ends_well() {
    if installed().is_none() {
        let is_known = std::env::var("LABCTL_TEST_WITHOUT").is_ok_and(|without| without == "pgbouncer");
        assert!(is_known || !in_ci(), "PgBouncer is not installed, and a CI leaves nothing out unless it says so");
        println!("left out: PgBouncer is not installed (Debian: `apt install pgbouncer`)");
        return;
    }
    let world: &'static World = Box::leak(Box::new(World::started()));
    let sandbox = world.open().await;
    let admin = Admin { user: "labctl_admin".into(), password: world.passwords()["labctl_admin"].clone().into() };
    let proxy = Proxy::of(&sandbox.endpoint_url, Faults::before(mended_connector(sandbox.endpoint_url.clone(), admin))).await;
    let place = Place { world, proxy };
    world.spec("pooled-lab", "labcloud", "trial");
    // Of an empty database, too: it is not made a registry through a pooler.
    world.ok(&["tenant", "list"]);
    let written = "SELECT (SELECT count(*) FROM labctl.operations) + (SELECT count(*) FROM labctl.leases)";
    for (name, settings) in SETTINGS {
        let pooler = Pooler::start(world, sandbox.registry.port, name, settings);
        for line in ["registry init", "registry status", "tenant list", "tenant create pooled-lab.toml"] {
            let run = place.run(name, Some(pooler.port), None, line).await;
            assert_eq!((run.code, run.error()["code"].as_str()), (1, Some("registry_pooled")), "{name}: {line}\n{run}");
            says_what_to_do(&run);
        }
        assert_eq!(count(&mut world.registry().await, written).await, 0, "{name}");
    }
    for (name, settings) in SETTINGS {
        let pooler = Pooler::start(world, sandbox.registry.port, &format!("{name}-databases"), settings);
        let run = place.run(name, None, Some(pooler.port), "tenant create pooled-lab.toml").await;
        assert_eq!((run.code, run.error()["code"].as_str()), (1, Some("pooled")), "{name}\n{run}");
        says_what_to_do(&run);
        assert_eq!(count(&mut world.registry().await, written).await, 1, "{name}: a lease that is let go of, and no operation");
    }
    let run = place.run("direct", None, None, "tenant create pooled-lab.toml").await;
    assert_eq!(run.code, 0, "{run}");
    Box::pin(audit(world, Scope::Everything)).await.assert_clean();
    world.ok(&["sandbox", "stop", "-q"]);
}
