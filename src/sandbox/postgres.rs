//! The sandbox's PostgreSQL: made, started, asked whether it is ours, stopped.
//!
//! * Everybody needs a SCRAM password, over TCP on 127.0.0.1 and over the socket in the data folder alike; TLS is on when this
//!   PostgreSQL was built with it (the wheel was not) and `openssl` is there to make a certificate.
//! * `fsync` and `synchronous_commit` stay on. Off would be faster, but a database that loses its last commits when the machine
//!   goes down would teach the wrong lesson about a journal that is written ahead.
//! * It refuses to run as root: there it runs as `nobody`, who owns the data folder and nothing else.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::unistd::{User, geteuid};
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{Connection as _, Row as _};
use tokio::process::Command;

use super::Options;
use super::dirs::{Dirs, closed_to};
use super::error::{SandboxError, io};
use super::passwords::{Passwords, SUPERUSER, random};
use super::postgres_programs::{self, Programs};
use super::state::Server;
use super::{ports, programs};

/// How long a start may take, in seconds: recovery after a crash included.
const PATIENCE: u64 = 60;

/// A user to run as, when we are root.
#[derive(Debug, Clone)]
pub struct RunAs {
    uid: u32,
    gid: u32,
    name: String,
}

impl RunAs {
    fn needed() -> Result<Option<Self>, SandboxError> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        let missing =
            || SandboxError::Missing { what: "a user called nobody (PostgreSQL refuses to run as root)".into(), install: "useradd --system nobody".into() };
        let user = User::from_name("nobody").ok().flatten().ok_or_else(missing)?;
        Ok(Some(Self { uid: user.uid.as_raw(), gid: user.gid.as_raw(), name: user.name }))
    }

    fn can_enter(&self, path: &Path) -> Result<(), SandboxError> {
        match closed_to(path, self.uid, self.gid) {
            Some(folder) => Err(SandboxError::InTheWay { folder, user: self.name.clone() }),
            None => Ok(()),
        }
    }
}

/// Connection options for a role of this sandbox.
pub fn options(port: u16, user: &str, password: &SecretString, database: &str) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(port)
        .username(user)
        .password(password.expose_secret())
        .database(database)
        .ssl_mode(PgSslMode::Disable)
}

/// Whether the server we started answers, to our password and under the name only this start was given. One that is busy, starting, or has no connection to spare is waited for as long as its process lives:
/// started anew it would cut off whoever is at work in it.
pub async fn answers(dirs: &Dirs, server: &Server, password: &SecretString) -> bool {
    let until = Instant::now() + Duration::from_secs(PATIENCE);
    loop {
        let asked = async {
            let mut connection = PgConnection::connect_with(&options(server.port, SUPERUSER, password, "postgres")).await?;
            let name: String = sqlx::query("SHOW cluster_name").fetch_one(&mut connection).await?.get(0);
            connection.close().await?;
            Ok::<_, sqlx::Error>(name)
        };
        match tokio::time::timeout(Duration::from_secs(5), asked).await {
            Ok(Ok(name)) => return name == server.identity,
            Ok(Err(e)) if !passes(&e) => return false,
            _ if Instant::now() > until || postmaster(dirs).await.is_none() => return false,
            Ok(Err(_)) => tokio::time::sleep(Duration::from_millis(500)).await,
            Err(_) => {}
        }
    }
}

/// Starting or recovering, or no connection to spare: it is there.
fn passes(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|e| e.code()).is_some_and(|code| matches!(code.as_ref(), "57P03" | "53300"))
}

/// Whether the user PostgreSQL runs as can get at its data in this folder. Asked before anything is made or started there.
pub fn reachable(dirs: &Dirs) -> Result<(), SandboxError> {
    match RunAs::needed()? {
        Some(user) => user.can_enter(dirs.root()),
        None => Ok(()),
    }
}

/// Starts PostgreSQL, making its data folder when there is none. The caller holds the folder's lock and has seen that it does not
/// answer.
pub async fn start(
    dirs: &Dirs,
    given: &Options,
    passwords: &Passwords,
    remembered: Option<&Server>,
    say: &(dyn Fn(&str) + Sync),
) -> Result<Server, SandboxError> {
    let user = RunAs::needed()?;
    let made_with = postgres_programs::major(&dirs.data());
    let found = postgres_programs::find(given, made_with, say).await?;
    if let Some(user) = &user {
        user.can_enter(&found.bin)?;
    }
    let server = Runner { dirs, programs: &found, user: user.as_ref() };
    if made_with.is_none() {
        let who = user.as_ref().map(|u| format!(", running as {} because it refuses root", u.name)).unwrap_or_default();
        say(&format!("making a PostgreSQL {} database in {}{who}", found.major, dirs.data().display()));
        server.make(passwords).await?;
    }
    server.leave_nothing_behind().await?;
    let mut port = remembered.map(|s| s.port);
    let mut last = String::new();
    // The port may be taken between our look and the start, and after a kill -9 the old backends need a moment to notice.
    for attempt in 0..4_u64 {
        let chosen = ports::free(port.take())?;
        let server_now = Server { port: chosen, identity: format!("labctl-sandbox-{}", &random().expose_secret()[..16]) };
        match server.launch(&server_now).await {
            Ok(()) if answers(dirs, &server_now, &passwords.superuser).await => return Ok(server_now),
            Ok(()) => {
                return Err(SandboxError::Unusable { folder: dirs.data(), why: "it does not accept the password kept beside it".into() });
            }
            Err(SandboxError::Command { output, .. }) => last = output,
            Err(e) => return Err(e),
        }
        tokio::time::sleep(Duration::from_millis(300 * (attempt + 1))).await;
    }
    let tail = match programs::tail(&dirs.postgres_log()) {
        tail if tail.is_empty() => last,
        tail => tail,
    };
    Err(SandboxError::NotReady { what: "PostgreSQL", seconds: PATIENCE, log: dirs.postgres_log(), tail })
}

/// Stops PostgreSQL if it runs. Whether it did.
pub async fn stop(dirs: &Dirs) -> Result<bool, SandboxError> {
    let Some(pid) = postmaster(dirs).await else { return Ok(false) };
    // SIGINT is its "fast" stop: sessions are cut off, a checkpoint is written.
    let words = words(dirs);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGINT);
    for _ in 0..600 {
        if !programs::is(pid, &words).await {
            return Ok(true);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    programs::end(pid, &words, Duration::from_secs(5)).await;
    Ok(true)
}

/// The process that runs on our data folder, if it is alive and really that.
pub async fn postmaster(dirs: &Dirs) -> Option<i32> {
    let pid: i32 = fs::read_to_string(dirs.data().join("postmaster.pid")).ok()?.lines().next()?.trim().parse().ok()?;
    let words = words(dirs);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    programs::is(pid, &words).await.then_some(pid)
}

fn words(dirs: &Dirs) -> [String; 2] {
    ["postgres".into(), dirs.data().display().to_string()]
}

struct Runner<'a> {
    dirs: &'a Dirs,
    programs: &'a Programs,
    user: Option<&'a RunAs>,
}

impl Runner<'_> {
    fn command(&self, program: &str) -> Command {
        self.other(self.programs.bin.join(program))
    }

    /// A program that is not PostgreSQL's, as the same user.
    fn other(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        // Nothing of the operator's PG* settings or locale may leak into the server.
        command.env_clear().env("PATH", format!("{}:/usr/bin:/bin", self.programs.bin.display())).env("LC_ALL", "C").current_dir("/");
        if let Some(user) = self.user {
            // As root, setting the id also drops the supplementary groups.
            command.uid(user.uid).gid(user.gid);
        }
        command
    }

    fn give(&self, path: &Path) -> Result<(), SandboxError> {
        match self.user {
            Some(user) => chown(path, Some(user.uid), Some(user.gid)).map_err(io(format!("giving {} to {}", path.display(), user.name))),
            None => Ok(()),
        }
    }

    /// Makes the data folder beside its place and moves it there whole, so that a half-made one is never mistaken for a database.
    /// Called only when there is no data folder; anything else in PostgreSQL's folder is then a leftover.
    async fn make(&self, passwords: &Passwords) -> Result<(), SandboxError> {
        let folder = self.dirs.postgres();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(io(format!("making {}", folder.display())))?;
        self.give(&folder)?;
        // Names of its own: an initdb whose labctl was killed may still be writing what it began.
        let one = random();
        let one = &one.expose_secret()[..8];
        let (new, password) = (folder.join(format!("new-{one}")), folder.join(format!("password-{one}")));
        for entry in fs::read_dir(&folder).map_err(io(format!("reading {}", folder.display())))?.flatten() {
            let path = entry.path();
            let _ = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        }
        super::state::replace(&password, passwords.superuser.expose_secret().as_bytes())?;
        self.give(&password)?;
        let made = programs::run(
            "making the sandbox's database (initdb)",
            self.command("initdb").arg("--pgdata").arg(&new).arg("--pwfile").arg(&password).args([
                "--username",
                SUPERUSER,
                "--auth",
                "scram-sha-256",
                "--encoding",
                "UTF8",
                "--locale",
                "C",
                "--no-instructions",
            ]),
        )
        .await;
        fs::remove_file(&password).map_err(io(format!("removing {}", password.display())))?;
        made?;
        self.certificate(&new).await;
        let conf = new.join("postgresql.conf");
        let mut text = fs::read_to_string(&conf).map_err(io(format!("reading {}", conf.display())))?;
        text.push_str("\ninclude_if_exists = 'labctl.conf'\n");
        fs::write(&conf, text).map_err(io(format!("writing {}", conf.display())))?;
        fs::rename(&new, self.dirs.data()).map_err(io(format!("moving {} into place", new.display())))
    }

    /// A certificate of its own, when this PostgreSQL can use one (the wheel's cannot) and `openssl` is there to make it; without it
    /// connections on loopback are plain.
    async fn certificate(&self, data: &Path) {
        let asked = programs::run("asking PostgreSQL for TLS", self.command("postgres").args(["-C", "ssl_library", "-D"]).arg(data)).await;
        if !asked.is_ok_and(|library| library.contains("OpenSSL")) {
            return;
        }
        let made = programs::run(
            "making a certificate",
            self.other("openssl").current_dir(data).args(["req", "-new", "-x509", "-nodes", "-days", "3650", "-newkey", "rsa:2048"]).args([
                "-subj",
                "/CN=localhost",
                "-keyout",
                "server.key",
                "-out",
                "server.crt",
            ]),
        )
        .await;
        let usable = made.is_ok() && fs::set_permissions(data.join("server.key"), fs::Permissions::from_mode(0o600)).is_ok();
        if !usable {
            tracing::debug!("no openssl: the sandbox's PostgreSQL speaks no TLS");
            let _ = fs::remove_file(data.join("server.crt"));
        }
    }

    /// A server of ours that hangs is ended; a pid file that stands for some other process (after a reboot) is removed, because
    /// PostgreSQL would take it for a running server.
    async fn leave_nothing_behind(&self) -> Result<(), SandboxError> {
        stop(self.dirs).await?;
        let pid = self.dirs.data().join("postmaster.pid");
        match fs::remove_file(&pid) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(io(format!("removing the stale {}", pid.display()))(e)),
            _ => Ok(()),
        }
    }

    async fn launch(&self, server: &Server) -> Result<(), SandboxError> {
        let data = self.dirs.data();
        let conf = data.join("labctl.conf");
        fs::write(&conf, settings(server, &data)).map_err(io(format!("writing {}", conf.display())))?;
        self.give(&conf)?;
        // Not captured through a pipe: the server would hold it open and we would wait for ever.
        let said = self.dirs.root().join("pg_ctl.log");
        let file = || fs::File::create(&said).map_err(io(format!("writing {}", said.display())));
        let status = self
            .command("pg_ctl")
            .args(["start", "--wait", "--timeout", &PATIENCE.to_string(), "--pgdata"])
            .arg(&data)
            .arg("--log")
            .arg(self.dirs.postgres_log())
            .stdin(Stdio::null())
            .stdout(file()?)
            .stderr(file()?)
            .status()
            .await
            .map_err(io("starting PostgreSQL (pg_ctl)"))?;
        if status.success() {
            return Ok(());
        }
        Err(SandboxError::Command { doing: "starting PostgreSQL (pg_ctl)".into(), output: programs::tail(&said) })
    }
}

/// The longest path a Unix socket may have, its end included, on the strictest system we know (macOS 104; Linux 108).
const SOCKET_PATH: usize = 103;

fn settings(server: &Server, data: &Path) -> String {
    let sockets = if data.as_os_str().len() + "/.s.PGSQL.65535.lock".len() <= SOCKET_PATH { data.to_owned() } else { PathBuf::new() };
    let tls = if data.join("server.crt").exists() { "on" } else { "off" };
    format!(
        "# Written by labctl at every start.\n\
         listen_addresses = '127.0.0.1'\nport = {}\nunix_socket_directories = '{}'\ncluster_name = '{}'\n\
         max_connections = 200\npassword_encryption = 'scram-sha-256'\nssl = {tls}\n\
         timezone = 'UTC'\nlog_timezone = 'UTC'\n",
        server.port,
        sockets.display().to_string().replace('\'', "''"),
        server.identity,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_too_long_for_a_socket_does_without_one() {
        let server = Server { port: 5432, identity: "x".into() };
        assert!(settings(&server, Path::new("/srv/it's/data")).contains("unix_socket_directories = '/srv/it''s/data'"));
        let long = Path::new("/srv").join("x".repeat(100));
        assert!(settings(&server, &long).contains("unix_socket_directories = ''"));
    }
}
