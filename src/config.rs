//! Settings: flag > environment > file > default, merged once into plain values. The only reader of the environment. Uses nothing of ours.
//!
//! A *profile* says where a command acts. `sandbox` is built in and the default; every other one is a platform described in
//! `labctl.toml` and must be named explicitly (`--profile`, `LABCTL_PROFILE`): nobody reaches production by forgetting a flag.

mod environment;
mod events;
mod file;
pub mod limits;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

pub use environment::{Environment, VARIABLES, Variable, arguments};
pub use events::{Events, Webhook};
pub use file::Problem;

/// Name of the built-in profile.
pub const SANDBOX: &str = "sandbox";
/// Name of the platform file.
pub const FILE: &str = "labctl.toml";

/// What the command line said of the settings.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--profile`.
    pub profile: Option<String>,
    /// `--config`.
    pub config: Option<PathBuf>,
}

/// Everything a command may need to know of its surroundings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to act.
    pub profile: Profile,
    /// The platform file read, if there is one.
    pub file: Option<PathBuf>,
    /// Who is told of what becomes of tenants there.
    pub events: Events,
    /// Where stacks come from.
    pub templates: Templates,
    /// The sandbox's folder: data, sockets, process ids.
    pub sandbox_dir: PathBuf,
    /// Programs the sandbox fetched; may be deleted at any time.
    pub tools_dir: PathBuf,
    /// Folders programs are looked for in (`PATH`).
    pub search_path: Vec<PathBuf>,
    /// Who is acting.
    pub operator: Operator,
}

/// Where to act.
#[derive(Debug, Clone)]
pub enum Profile {
    /// The embedded one; what it consists of is known once it runs.
    Sandbox,
    /// One of `labctl.toml`.
    Platform(Box<Platform>),
}

impl Profile {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Sandbox => SANDBOX,
            Self::Platform(platform) => &platform.name,
        }
    }
}

/// A place tenants live in.
#[derive(Debug, Clone, Serialize)]
pub struct Platform {
    /// Name of the profile.
    pub name: String,
    /// `production`, `staging`, …: goes into names and tags.
    pub environment: String,
    /// AWS region.
    pub region: String,
    /// The account it must be; a command refuses to act in another one.
    pub account_id: Option<String>,
    /// Profile in the AWS configuration files.
    pub aws_profile: Option<String>,
    /// One endpoint for all AWS services.
    pub endpoint_url: Option<String>,
    /// How long one try of an AWS call may take, where it is said.
    pub call_timeout_seconds: Option<u64>,
    /// Where the registry is.
    pub registry: Registry,
    /// `[profiles.<name>.platform]`: what templates read as `${platform.…}`.
    pub platform: serde_json::Map<String, serde_json::Value>,
    /// Database endpoints (`host:port`) and how they are reached from here (`host:port`).
    pub tunnels: BTreeMap<String, String>,
}

/// Where the registry is.
#[derive(Debug, Clone, Serialize)]
pub struct Registry {
    /// Host name or address. Like every database endpoint it goes through the tunnels.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Database.
    pub database: String,
    /// Login role.
    pub user: String,
    /// Where the password comes from.
    #[serde(serialize_with = "told")]
    pub password: Password,
    /// Encryption.
    pub tls: Tls,
    /// Certificates to trust instead of the system's (for RDS, Amazon's bundle).
    pub root_certificate: Option<PathBuf>,
}

/// Encryption of the connection, as libpq names the modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tls {
    /// None: loopback and tunnels only.
    Disable,
    /// If the server offers it.
    Prefer,
    /// Always, whoever the server says it is.
    Require,
    /// Always, and the server must prove its name.
    #[default]
    VerifyFull,
}

/// Where the registry's password comes from.
#[derive(Debug, Clone)]
pub enum Password {
    /// `LABCTL_REGISTRY_PASSWORD`.
    Given(SecretString),
    /// The key `password` of this secret in Secrets Manager.
    Secret(String),
    /// A libpq password file.
    Pgpass(PathBuf),
}

impl fmt::Display for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(_) => f.write_str("LABCTL_REGISTRY_PASSWORD"),
            Self::Secret(arn) => f.write_str(arn),
            Self::Pgpass(path) => write!(f, "{}", path.display()),
        }
    }
}

fn told<S: serde::Serializer>(password: &Password, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(password)
}

/// Where stacks come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Templates {
    /// Those labctl was built with.
    BuiltIn,
    /// A folder of the project's own.
    Folder(PathBuf),
}

/// Who is acting, for leases and the audit trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Operator {
    /// Login name.
    pub user: String,
    /// Name of the machine.
    pub host: String,
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.user, self.host)
    }
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is wrong.
    #[error("{} {} in {}", problems.len(), if problems.len() == 1 { "problem" } else { "problems" }, path.display())]
    Invalid {
        /// Which.
        path: PathBuf,
        /// At least one.
        problems: Vec<Problem>,
    },
    /// A profile that nobody described.
    #[error("there is no profile `{name}`")]
    UnknownProfile {
        /// As asked for.
        name: String,
        /// Those there are.
        known: Vec<String>,
        /// The file looked in.
        file: Option<PathBuf>,
    },
    /// The folder of templates is not there.
    #[error("the folder of templates {} does not exist", .0.display())]
    NoTemplates(PathBuf),
    /// There is no telling where to keep things.
    #[error("there is no home folder to keep the sandbox in")]
    NoHome,
}

impl ConfigError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownProfile { name, known, file } => Some(match (nearest(name, known.iter().map(String::as_str)), file) {
                (Some(meant), _) => format!("did you mean `{meant}`?"),
                (None, Some(file)) => format!("profiles are {}; describe others in {}", known.join(", "), file.display()),
                (None, None) => format!("no {FILE} was found here or in a folder above; write one, or name one with --config"),
            }),
            Self::NoHome => Some("set HOME, or LABCTL_SANDBOX_DIR and LABCTL_TOOLS_DIR".to_owned()),
            Self::NoTemplates(_) => Some(format!("`templates` in {FILE} is relative to that file")),
            Self::Read { .. } | Self::Invalid { .. } => None,
        }
    }
}

/// All profiles there are: the platform file's, and the sandbox.
#[derive(Debug)]
pub struct Profiles {
    /// The platform file read, if there is one.
    pub path: Option<PathBuf>,
    file: file::File,
}

impl Profiles {
    /// Finds and reads the platform file: `--config`, else `LABCTL_CONFIG`, else `labctl.toml` here or in the nearest folder above.
    ///
    /// # Errors
    /// [`ConfigError::Read`], [`ConfigError::Invalid`]. That no file is found is no error: the sandbox needs none.
    pub fn read(flags: &Flags, env: &Environment) -> Result<Self, ConfigError> {
        let named = flags.config.as_ref().map(|p| env.folder().join(p)).or_else(|| env.path("LABCTL_CONFIG"));
        let Some(path) = named.or_else(|| env.folder().ancestors().map(|f| f.join(FILE)).find(|p| p.is_file())) else {
            return Ok(Self { path: None, file: file::File::default() });
        };
        let text = std::fs::read_to_string(&path).map_err(|source| ConfigError::Read { path: path.clone(), source })?;
        let shown = path.strip_prefix(env.folder()).unwrap_or(&path);
        match file::parse(shown, &text) {
            Ok(file) => Ok(Self { path: Some(path), file }),
            Err(problems) => Err(ConfigError::Invalid { path: shown.to_owned(), problems }),
        }
    }

    /// Their names, the sandbox first.
    pub fn names(&self) -> Vec<String> {
        std::iter::once(SANDBOX.to_owned()).chain(self.file.profiles.keys().cloned()).collect()
    }

    /// The profile in force: `--profile`, else `LABCTL_PROFILE`, else the sandbox.
    pub fn chosen<'a>(flags: &'a Flags, env: &'a Environment) -> &'a str {
        flags.profile.as_deref().or_else(|| env.text("LABCTL_PROFILE")).unwrap_or(SANDBOX)
    }

    /// One of them, complete.
    ///
    /// # Errors
    /// [`ConfigError::UnknownProfile`].
    pub fn get(&self, name: &str, env: &Environment) -> Result<Profile, ConfigError> {
        if name == SANDBOX {
            return Ok(Profile::Sandbox);
        }
        let Some(table) = self.file.profiles.get(name) else {
            return Err(ConfigError::UnknownProfile { name: name.to_owned(), known: self.names(), file: self.path.clone() });
        };
        Ok(Profile::Platform(Box::new(self.platform(name, table.clone(), env))))
    }

    /// The receivers of a profile's events.
    fn events(&self, name: &str) -> Events {
        if name == SANDBOX {
            return self.file.sandbox_events.clone();
        }
        self.file.profiles.get(name).map(|table| table.events.clone()).unwrap_or_default()
    }

    fn platform(&self, name: &str, table: file::ProfileTable, env: &Environment) -> Platform {
        let registry = table.registry;
        let password = match (env.text("LABCTL_REGISTRY_PASSWORD"), registry.password_secret_arn, registry.pgpass) {
            (Some(given), _, _) => Password::Given(SecretString::from(given)),
            (None, Some(arn), _) => Password::Secret(arn.into_inner()),
            (None, None, Some(path)) => Password::Pgpass(self.beside(&path)),
            (None, None, None) => Password::Pgpass(env.path("PGPASSFILE").unwrap_or_else(|| env.home().unwrap_or(Path::new("")).join(".pgpass"))),
        };
        Platform {
            name: name.to_owned(),
            environment: table.environment.unwrap_or_else(|| name.to_owned()),
            region: table.region.into_inner(),
            account_id: table.account_id.map(toml::Spanned::into_inner),
            aws_profile: table.aws_profile,
            endpoint_url: table.endpoint_url.map(toml::Spanned::into_inner),
            call_timeout_seconds: table.call_timeout_seconds.map(toml::Spanned::into_inner),
            registry: Registry {
                host: registry.host,
                port: registry.port,
                database: registry.database,
                user: registry.user,
                password,
                tls: registry.tls,
                root_certificate: registry.root_certificate.map(|p| self.beside(&p)),
            },
            platform: table.platform,
            tunnels: table.tunnels.into_iter().map(|(from, to)| (from.into_inner(), to.into_inner())).collect(),
        }
    }

    fn templates(&self) -> Result<Templates, ConfigError> {
        if let Some(said) = &self.file.templates {
            let folder = self.beside(said);
            return if folder.is_dir() { Ok(Templates::Folder(folder)) } else { Err(ConfigError::NoTemplates(folder)) };
        }
        let usual = self.path.as_ref().map(|_| self.beside(Path::new("templates"))).filter(|f| f.is_dir());
        Ok(usual.map_or(Templates::BuiltIn, Templates::Folder))
    }

    /// A path of the file's, which is relative to the file.
    fn beside(&self, path: &Path) -> PathBuf {
        self.path.as_deref().and_then(Path::parent).unwrap_or(Path::new("")).join(path)
    }
}

impl Settings {
    /// Merges everything once.
    ///
    /// # Errors
    /// Any [`ConfigError`].
    pub fn resolve(flags: &Flags, env: &Environment) -> Result<Self, ConfigError> {
        let profiles = Profiles::read(flags, env)?;
        Ok(Self {
            profile: profiles.get(Profiles::chosen(flags, env), env)?,
            events: profiles.events(Profiles::chosen(flags, env)),
            templates: profiles.templates()?,
            sandbox_dir: folder(env, "LABCTL_SANDBOX_DIR", "/var/lib/labctl/sandbox", ("XDG_DATA_HOME", ".local/share"), "labctl/sandbox")?,
            tools_dir: folder(env, "LABCTL_TOOLS_DIR", "/var/cache/labctl/tools", ("XDG_CACHE_HOME", ".cache"), "labctl/tools")?,
            search_path: env.search_path(),
            operator: Operator { user: env.user().to_owned(), host: env.host().to_owned() },
            file: profiles.path,
        })
    }
}

/// A folder of labctl's own. Root's home is closed to the user PostgreSQL must run as, so root's are under `/var`.
fn folder(env: &Environment, variable: &str, of_root: &str, (xdg, usual): (&str, &str), inside: &str) -> Result<PathBuf, ConfigError> {
    if let Some(said) = env.path(variable) {
        return Ok(said);
    }
    if env.is_root() {
        return Ok(PathBuf::from(of_root));
    }
    let base = env.path(xdg).or_else(|| env.home().map(|h| h.join(usual))).ok_or(ConfigError::NoHome)?;
    Ok(base.join(inside))
}

/// The candidate that was probably meant by `word`, if any is near enough.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|c| (strsim::damerau_levenshtein(word, c), c))
        .filter(|(distance, c)| *distance <= c.len().max(word.len()) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, c)| c)
}

#[cfg(test)]
mod tests;
