//! What a profile names, opened: AWS, databases, registry, stacks.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use secrecy::SecretString;
use serde_json::Value;
use uuid::Uuid;

use super::deliver;
use super::error::{OpError, outside};
use super::verify;
use crate::cloud::{Cloud, Reach, fault::fault};
use crate::config::Events;
use crate::engine::fault::Fault;
use crate::engine::pace::{Pacer, Patience};
use crate::kinds::Cx;
use crate::registry::{self, Holder, Registry};
use crate::stack::Stacks;
use crate::tenantdb::migrations::{File, Library};
use crate::tenantdb::{self, Databases, Tunnels};

/// Where the registry's password comes from.
pub enum Password {
    /// It is known.
    Given(Option<SecretString>),
    /// The key `password` of this secret in Secrets Manager.
    Secret(String),
    /// A libpq password file. Its lines name the endpoint before any tunnel.
    Pgpass(PathBuf),
}

/// What must be known of a place before it can be opened. Plain values: profiles and the sandbox both come to this.
pub struct Reachable {
    /// Name of the profile.
    pub profile: String,
    /// How AWS is reached.
    pub reach: Reach,
    /// The AWS account it must be, if the profile says so.
    pub account_id: Option<String>,
    /// Where the registry is; its password comes from [`Reachable::password`].
    pub registry: registry::Settings,
    /// Its password.
    pub password: Password,
    /// Whether a registry that is not there yet is made without asking (the sandbox).
    pub init_registry: bool,
    /// What templates read as `${platform.…}`.
    pub platform: Value,
    /// Database endpoints and where they are reached.
    pub tunnels: BTreeMap<String, String>,
    /// Trust in the databases' certificates.
    pub tls: tenantdb::Tls,
    /// Certificate authorities to trust beside the system's.
    pub root_cert: Option<PathBuf>,
    /// Who is told of what becomes of tenants.
    pub events: Events,
}

/// An open place: what every verb works with.
pub struct Site {
    /// Name of the profile.
    pub profile: String,
    /// What kinds reach the outside through.
    pub cx: Arc<Cx>,
    /// What is remembered.
    pub registry: Registry,
    /// The registry's identity, for ownership tags.
    pub registry_id: Uuid,
    /// Where the registry is, as tenants' applications would have to reach it; none behind a socket of this machine.
    pub registry_at: Option<verify::database::Registry>,
    /// What templates read as `${platform.…}`.
    pub platform: Value,
    /// What tiers mean.
    pub stacks: Stacks,
    /// Who is told of what becomes of tenants.
    pub events: Events,
    /// Who acts.
    pub holder: Holder,
    /// Rates of all runs of this process.
    pub pacer: Arc<Pacer>,
    /// How long runs wait for what.
    pub patience: Patience,
}

/// The registry alone: what listing and showing need. Opens no connection by itself.
///
/// # Errors
/// A tunnel that is none, a password that cannot be fetched.
pub async fn registry(place: &mut Reachable, cloud: &Cloud) -> Result<Registry, OpError> {
    let tunnels = tunnels(place)?;
    let mut settings = place.registry.clone();
    settings.password = match std::mem::replace(&mut place.password, Password::Given(None)) {
        Password::Given(password) => password,
        Password::Secret(arn) => Some(cloud.secret_key(&arn, "password").await.map_err(outside("read the registry's password from Secrets Manager"))?),
        Password::Pgpass(path) => registry::pgpass::password(&path, &settings).map_err(|why| unusable(place, why))?,
    };
    let endpoint = format!("{}:{}", settings.host, settings.port);
    if let Some((host, port)) = tunnels.through(&endpoint).and_then(|to| to.rsplit_once(':')) {
        let port = port.parse().map_err(|_| unusable(place, format!("the tunnel of {endpoint} leads to no port")))?;
        (settings.host, settings.port) = (host.to_owned(), port);
    }
    Ok(Registry::open(&settings).telling(deliver::receivers(&place.events)))
}

fn tunnels(place: &Reachable) -> Result<Tunnels, OpError> {
    Tunnels::new(&place.tunnels).map_err(|e| unusable(place, e.to_string()))
}

fn unusable(place: &Reachable, why: String) -> OpError {
    OpError::Profile { profile: place.profile.clone(), why }
}

impl Site {
    /// Opens a place: checks the account, connects the registry (making it where that is allowed).
    ///
    /// # Errors
    /// [`OpError::WrongAccount`], [`OpError::Outside`], [`OpError::Profile`], [`OpError::Registry`].
    pub async fn open(mut place: Reachable, stacks: Stacks, holder: Holder) -> Result<Self, OpError> {
        let cloud = Cloud::connect(place.reach.clone()).await;
        let tunnels = tunnels(&place)?;
        let (host, port, name) = (&place.registry.host, place.registry.port, &place.registry.database);
        let registry_at = (!host.starts_with('/')).then(|| verify::database::Registry { endpoint: format!("{host}:{port}"), database: name.clone() });
        let registry = registry(&mut place, &cloud).await?;
        // The account and the registry are asked at once: neither waits for the other.
        let (checked, registry_id) = tokio::join!(check_account(&cloud, place.account_id.as_deref()), async {
            match registry.id().await {
                Err(e) if place.init_registry && e.can_be_initialised() => {
                    registry.init().await?;
                    registry.id().await
                }
                other => other,
            }
        });
        checked?;
        let databases = Databases::new(tenantdb::Settings { tunnels, tls: place.tls, root_cert: place.root_cert });
        let cx = Cx::new(cloud, databases, library(&stacks)?);
        Ok(Self {
            profile: place.profile,
            cx: Arc::new(cx),
            registry,
            registry_id: registry_id?,
            registry_at,
            platform: place.platform,
            events: place.events,
            stacks,
            holder,
            pacer: Arc::new(Pacer::default()),
            patience: Patience::default(),
        })
    }
}

/// Every migration of every stack by its checksum: what plans name, and kinds carry out.
///
/// # Errors
/// [`OpError::Migration`]: a file that cannot be one.
fn library(stacks: &Stacks) -> Result<Library, OpError> {
    let mut library = Library::default();
    for stack in stacks.iter() {
        let mut folders: BTreeMap<&str, Vec<File>> = BTreeMap::new();
        for m in &stack.migrations {
            let file = File::parse(&m.folder, &format!("V{}__{}.sql", m.version, m.name), &m.sql);
            folders.entry(&m.folder).or_default().push(file.map_err(|bad| OpError::Migration { stack: stack.name.clone(), bad })?);
        }
        for files in folders.into_values() {
            library.add(files).map_err(|bad| OpError::Migration { stack: stack.name.clone(), bad })?;
        }
    }
    Ok(library)
}

async fn check_account(cloud: &Cloud, expected: Option<&str>) -> Result<(), OpError> {
    let Some(expected) = expected else { return Ok(()) };
    let found = cloud.sts.get_caller_identity().send().await.map_err(|e| fault("sts:GetCallerIdentity", e));
    let found = found.map_err(outside("ask AWS whose credentials these are"))?.account.unwrap_or_default();
    if found == expected { Ok(()) } else { Err(OpError::WrongAccount { expected: expected.to_owned(), found }) }
}

impl From<Fault> for OpError {
    fn from(fault: Fault) -> Self {
        outside(format!("carry out {}", fault.call))(fault)
    }
}
