//! The embedded default world: a real PostgreSQL and an AWS emulator on loopback, in one folder.
//!
//! # Expected flow
//!
//! [`Sandbox::start`] takes the folder's lock, asks both servers whether they are the ones it started, starts what does not answer,
//! seeds it, and describes the [`World`]. The servers live in sessions of their own and outlive the command; the next command finds
//! them. [`Sandbox::stop`] ends them, [`Sandbox::reset`] also deletes what PostgreSQL kept.
//!
//! # Guarantees
//!
//! * Killed at any moment, a start leaves what the next start mends: files are replaced whole, a data folder is moved into place when
//!   it is complete, an emulator counts only when its last seed (a name known to this start alone) is in it, and whatever runs without
//!   being remembered is found by its pid file *and* command line, ended and started anew.
//! * Several sandboxes in several folders do not meet: free ports, no fixed names outside the folder. The tools (an installed emulator)
//!   are shared and never change once made.
//!
//! # Caveats
//!
//! The emulator keeps everything in memory: after a stop or a reboot it is empty while PostgreSQL, and the registry in it, is not.
//! [`World::emptied`] says so; `tenant apply` makes things again.

pub mod connector;
pub mod dirs;
mod error;
mod moto;
mod passwords;
mod ports;
mod postgres;
mod postgres_programs;
mod prerequisites;
mod programs;
mod roles;
mod seed;
mod state;
mod tools;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::PathBuf;

use aws_smithy_runtime_api::client::http::SharedHttpClient;
use secrecy::SecretString;
use serde::Serialize;
use serde_json::Value;

use crate::cloud::{Cloud, Reach};
use connector::{Admin, Wire};
use dirs::Dirs;
use passwords::Passwords;
use state::{Server, State};

pub use error::SandboxError;

/// The emulator's region. Not us-east-1: there version 1 of the AWS command line sends `aws rds` to AWS itself, whatever endpoint is set.
pub const REGION: &str = "us-west-2";
/// The emulator's account (moto's default).
pub const ACCOUNT: &str = "123456789012";
/// Access key and secret key alike: the emulator checks neither.
const KEY: &str = "sandbox";

/// Where a sandbox is and what it may use. Plain values: the environment is read elsewhere.
#[derive(Debug, Clone)]
pub struct Options {
    /// The sandbox's folder.
    pub dir: PathBuf,
    /// The folder for installed tools, shared by all sandboxes of this user.
    pub tools: PathBuf,
    /// The Python to use; without one, the first good one on `path`.
    pub python: Option<PathBuf>,
    /// Take PostgreSQL from the wheel even when the system has one.
    pub prefer_wheel: bool,
    /// The operator's `PATH`.
    pub path: Option<OsString>,
}

/// One sandbox, running or not.
#[derive(Debug, Clone)]
pub struct Sandbox {
    options: Options,
    dirs: Dirs,
}

/// The registry's database.
#[derive(Debug, Clone)]
pub struct Registry {
    /// Host name.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Role.
    pub user: String,
    /// Its password.
    pub password: SecretString,
    /// Database, owned by the role.
    pub database: String,
}

/// A running sandbox: everything a profile needs to know.
#[derive(Clone)]
pub struct World {
    /// One endpoint for every AWS service.
    pub endpoint_url: String,
    /// AWS region.
    pub region: String,
    /// AWS account.
    pub account_id: String,
    /// Access key and secret key.
    pub credentials: (String, String),
    /// Where tenants are remembered.
    pub registry: Registry,
    /// What `${platform.…}` is.
    pub platform: Value,
    /// Endpoints (`host:port`, or `*.suffix:port`) and where they are in truth.
    pub tunnels: BTreeMap<String, String>,
    /// The HTTP client that mends what the emulator gets wrong.
    pub http_client: SharedHttpClient,
    /// The emulator had to be started anew, empty, while PostgreSQL still has what was there before.
    pub emptied: bool,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("endpoint_url", &self.endpoint_url)
            .field("tunnels", &self.tunnels)
            .field("emptied", &self.emptied)
            .finish_non_exhaustive()
    }
}

impl World {
    /// How the AWS clients reach it.
    pub fn reach(&self) -> Reach {
        Reach {
            region: Some(self.region.clone()),
            aws_profile: None,
            endpoint_url: Some(self.endpoint_url.clone()),
            call_timeout: None,
            fixed_credentials: Some(self.credentials.clone()),
            http_client: Some(self.http_client.clone()),
        }
    }
}

/// What runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// The sandbox's folder.
    pub dir: PathBuf,
    /// Endpoint of the emulator, when it runs.
    pub aws: Option<String>,
    /// Address of PostgreSQL (`host:port`), when it runs.
    pub postgres: Option<String>,
    /// Version of PostgreSQL, when it runs.
    pub postgres_version: Option<String>,
    /// Where the emulator writes its log.
    pub aws_log: PathBuf,
    /// Where PostgreSQL writes its log.
    pub postgres_log: PathBuf,
}

impl Sandbox {
    /// The sandbox of this folder. Starts nothing.
    pub fn at(mut options: Options) -> Self {
        // The servers work from other folders than we do.
        for path in [&mut options.dir, &mut options.tools] {
            *path = std::path::absolute(&*path).unwrap_or_else(|_| path.clone());
        }
        let dirs = Dirs::at(options.dir.clone());
        Self { options, dirs }
    }

    /// Starts what does not run, and describes the world. `say` is told, in a sentence, what takes longer than a moment.
    ///
    /// # Errors
    /// See [`SandboxError`]; whatever was started stays, and the next start goes on from there.
    pub async fn start(&self, say: &(dyn Fn(&str) + Sync)) -> Result<World, SandboxError> {
        postgres::reachable(&self.dirs)?;
        self.dirs.prepare()?;
        let _lock = self.dirs.lock(say).await?;
        let path = self.dirs.state();
        let mut state = State::load(&path);
        let passwords = self.passwords()?;
        let (postgres, aws) = tokio::join!(self.ensure_postgres(&state, &passwords, say), self.ensure_moto(&state, say));
        if let Ok((server, _)) = &postgres {
            state.postgres = Some(server.clone());
            state.save(&path)?;
        }
        let (server, new) = aws?;
        if new {
            // Until the seed is complete nothing is remembered of this emulator, so that a kill in between makes the next start begin anew.
            state.moto = None;
            state.emptied |= state.platform.is_some();
            state.save(&path)?;
            state.platform = Some(self.seed(&server, &passwords).await?);
            state.moto = Some(server.clone());
            state.save(&path)?;
        }
        let (postgres, _) = postgres?;
        let emptied = std::mem::take(&mut state.emptied);
        if emptied {
            state.save(&path)?;
        }
        Ok(self.world(&postgres, &server, &passwords, state.platform.unwrap_or_default(), emptied))
    }

    /// What runs.
    pub async fn status(&self) -> Result<Status, SandboxError> {
        let state = State::load(&self.dirs.state());
        let mut status = Status {
            dir: self.dirs.root().to_owned(),
            aws: None,
            postgres: None,
            postgres_version: None,
            aws_log: self.dirs.moto_log(),
            postgres_log: self.dirs.postgres_log(),
        };
        if let Some(server) = &state.moto
            && moto::answers(&self.dirs, server, &Wire::to(server.port)).await
        {
            status.aws = Some(url(server.port));
        }
        if let (Some(server), Some(passwords)) = (&state.postgres, Passwords::load(&self.dirs)?)
            && postgres::answers(&self.dirs, server, &passwords.superuser).await
        {
            status.postgres = Some(format!("127.0.0.1:{}", server.port));
            status.postgres_version = roles::version(server.port, &passwords).await.ok();
        }
        Ok(status)
    }

    /// Stops both servers, if they run; whether any did. What PostgreSQL keeps stays, what the emulator kept is gone.
    pub async fn stop(&self, say: &(dyn Fn(&str) + Sync)) -> Result<bool, SandboxError> {
        if !self.dirs.exists() {
            return Ok(false);
        }
        let _lock = self.dirs.lock(say).await?;
        let (postgres, aws) = tokio::join!(postgres::stop(&self.dirs), moto::stop(&self.dirs));
        Ok(postgres? | aws)
    }

    /// Stops both and deletes everything in the folder that they kept. The next start makes a new world.
    pub async fn reset(&self, say: &(dyn Fn(&str) + Sync)) -> Result<(), SandboxError> {
        if !self.dirs.exists() {
            return Ok(());
        }
        let _lock = self.dirs.lock(say).await?;
        moto::stop(&self.dirs).await;
        postgres::stop(&self.dirs).await?;
        // The data first: without passwords, or without state, a data folder would only be in the way.
        if self.dirs.postgres().exists() {
            fs::remove_dir_all(self.dirs.postgres()).map_err(error::io(format!("deleting {}", self.dirs.postgres().display())))?;
        }
        for file in [self.dirs.state(), self.dirs.passwords(), self.dirs.pgpass(), self.dirs.moto_pid()] {
            match fs::remove_file(&file) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(error::io(format!("deleting {}", file.display()))(e)),
                _ => (),
            }
        }
        Ok(())
    }

    /// Settings by which `aws` and `psql` (both are also put at the end of `PATH`) see the same world. Call it after [`Self::start`].
    pub fn env(&self) -> Vec<(String, String)> {
        let state = State::load(&self.dirs.state());
        let mut env: Vec<(&str, String)> = Vec::new();
        if let Some(server) = &state.moto {
            env.push(("AWS_ENDPOINT_URL", url(server.port)));
            env.push(("AWS_ACCESS_KEY_ID", KEY.into()));
            env.push(("AWS_SECRET_ACCESS_KEY", KEY.into()));
            env.push(("AWS_REGION", REGION.into()));
            env.push(("AWS_DEFAULT_REGION", REGION.into()));
        }
        if let Some(server) = &state.postgres {
            env.push(("PGHOST", "127.0.0.1".into()));
            env.push(("PGPORT", server.port.to_string()));
            env.push(("PGUSER", passwords::ADMIN.into()));
            env.push(("PGDATABASE", roles::SHARED.into()));
            env.push(("PGPASSFILE", self.dirs.pgpass().display().to_string()));
        }
        if let Some(path) = self.options.path.as_ref().and_then(|p| p.to_str()) {
            let mut folders: Vec<String> = path.split(':').map(ToOwned::to_owned).collect();
            let tools = [tools::folder("moto", tools::EMULATOR), tools::folder("postgres", tools::POSTGRES)];
            let ours = tools.iter().map(|folder| self.options.tools.join(folder)).filter(|folder| folder.exists());
            for folder in ours.map(|folder| folder.join("bin").display().to_string()) {
                if !folders.contains(&folder) {
                    folders.push(folder);
                }
            }
            env.push(("PATH", folders.join(":")));
        }
        env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn passwords(&self) -> Result<Passwords, SandboxError> {
        match Passwords::load(&self.dirs)? {
            Some(passwords) => Ok(passwords),
            None if postgres_programs::major(&self.dirs.data()).is_some() => {
                Err(SandboxError::Unusable { folder: self.dirs.data(), why: format!("{} is gone", self.dirs.passwords().display()) })
            }
            None => Passwords::generate(&self.dirs),
        }
    }

    async fn ensure_postgres(&self, state: &State, passwords: &Passwords, say: &(dyn Fn(&str) + Sync)) -> Result<(Server, bool), SandboxError> {
        if let Some(server) = &state.postgres
            && postgres::answers(&self.dirs, server, &passwords.superuser).await
        {
            return Ok((server.clone(), false));
        }
        let server = postgres::start(&self.dirs, &self.options, passwords, state.postgres.as_ref(), say).await?;
        roles::make(server.port, passwords).await?;
        passwords.pgpass(&self.dirs, server.port)?;
        Ok((server, true))
    }

    async fn ensure_moto(&self, state: &State, say: &(dyn Fn(&str) + Sync)) -> Result<(Server, bool), SandboxError> {
        if let Some(server) = state.moto.as_ref().filter(|_| state.platform.is_some())
            && moto::answers(&self.dirs, server, &Wire::to(server.port)).await
        {
            return Ok((server.clone(), false));
        }
        Ok((moto::start(&self.dirs, &self.options, state.moto.as_ref(), say).await?, true))
    }

    async fn seed(&self, server: &Server, passwords: &Passwords) -> Result<Value, SandboxError> {
        let wire = Wire::to(server.port);
        let admin = admin(passwords);
        let reach = Reach {
            region: Some(REGION.into()),
            aws_profile: None,
            endpoint_url: Some(url(server.port)),
            call_timeout: None,
            fixed_credentials: Some((KEY.into(), KEY.into())),
            http_client: Some(connector::mended(connector::loopback(), url(server.port), admin.clone())),
        };
        let platform = seed::make(&Cloud::connect(reach).await, &wire, &admin).await?;
        wire.remember(moto::IDENTITY, &server.identity).await.map_err(|e| SandboxError::Emulator { call: "ssm:PutParameter".into(), why: e.to_string() })?;
        Ok(platform)
    }

    fn world(&self, postgres: &Server, aws: &Server, passwords: &Passwords, platform: Value, emptied: bool) -> World {
        let here = format!("127.0.0.1:{}", postgres.port);
        World {
            endpoint_url: url(aws.port),
            region: REGION.into(),
            account_id: ACCOUNT.into(),
            credentials: (KEY.into(), KEY.into()),
            registry: Registry {
                host: "127.0.0.1".into(),
                port: postgres.port,
                user: passwords::REGISTRY.into(),
                password: passwords.registry.clone(),
                database: passwords::REGISTRY.into(),
            },
            platform,
            tunnels: BTreeMap::from([(seed::SHARED_HOST.to_owned(), here.clone()), ("*.rds.amazonaws.com:5432".to_owned(), here)]),
            http_client: connector::mended(connector::loopback(), url(aws.port), admin(passwords)),
            emptied,
        }
    }
}

fn admin(passwords: &Passwords) -> Admin {
    Admin { user: passwords::ADMIN.into(), password: passwords.admin.clone() }
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}
