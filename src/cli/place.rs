//! From settings to an open place: the one spot where the sandbox and real profiles come to the same.

use std::env::join_paths;
use std::time::Duration;

use super::{Cli, CliError};
use crate::cloud::{Cloud, Reach};
use crate::config::{self, Platform, Profile, Settings, Templates};
use crate::ops::site::{self, Password, Reachable, Site};
use crate::registry::{self, Holder, Registry};
use crate::sandbox::{Options, Sandbox, World};
use crate::spec::Invalid;
use crate::stack::Stacks;
use crate::tenantdb;

/// The stacks of these settings.
///
/// # Errors
/// What is wrong in the templates.
pub(super) fn stacks(settings: &Settings) -> Result<Stacks, CliError> {
    let read = match &settings.templates {
        Templates::BuiltIn => Stacks::builtin(),
        Templates::Folder(folder) => Stacks::load(folder),
    };
    read.map_err(|invalid: Invalid| crate::ops::OpError::Templates(invalid).into())
}

/// The environment of the profile in force (`production`, `sandbox`), without opening it.
pub(super) fn environment(settings: &Settings) -> &str {
    match &settings.profile {
        Profile::Sandbox => config::SANDBOX,
        Profile::Platform(platform) => &platform.environment,
    }
}

/// The sandbox of these settings.
pub(super) fn sandbox(settings: &Settings) -> Sandbox {
    Sandbox::at(Options {
        dir: settings.sandbox_dir.clone(),
        tools: settings.tools_dir.clone(),
        python: None,
        prefer_wheel: false,
        path: join_paths(&settings.search_path).ok(),
    })
}

impl Cli {
    /// Opens the place of the profile in force, starting the sandbox where that is it.
    ///
    /// # Errors
    /// Settings, templates, sandbox, registry, account.
    pub(super) async fn site(&self) -> Result<Site, CliError> {
        let settings = self.settings()?;
        let stacks = stacks(settings)?;
        let place = self.reachable(settings).await?;
        Ok(Site::open(place, stacks, holder(settings)).await?)
    }

    /// Opens the registry alone.
    ///
    /// # Errors
    /// Settings, sandbox, registry.
    pub(super) async fn registry(&self) -> Result<Registry, CliError> {
        let settings = self.settings()?;
        let mut place = self.reachable(settings).await?;
        let cloud = Cloud::connect(place.reach.clone()).await;
        let registry = site::registry(&mut place, &cloud).await?;
        if place.init_registry
            && let Err(e) = registry.id().await
            && e.can_be_initialised()
        {
            registry.init().await?;
        }
        Ok(registry)
    }

    pub(super) async fn reachable(&self, settings: &Settings) -> Result<Reachable, CliError> {
        let place = match &settings.profile {
            Profile::Sandbox => of_sandbox(self.start_sandbox(settings).await?),
            Profile::Platform(platform) => of_platform(platform),
        };
        Ok(Reachable { events: settings.events.clone(), ..place })
    }

    /// Starts the sandbox, saying what takes longer than a moment.
    ///
    /// # Errors
    /// The sandbox's.
    pub(super) async fn start_sandbox(&self, settings: &Settings) -> Result<World, CliError> {
        let say = self.say;
        let world = sandbox(settings).start(&move |words: &str| say.status(words)).await?;
        if world.emptied {
            self.say.warning("the sandbox's AWS emulator had to be started anew and is empty; what tenants had in AWS is gone, their databases are not");
            self.say.hint("`labctl tenant apply ID` makes a tenant's AWS resources again");
        }
        Ok(world)
    }
}

/// Who acts.
pub(super) fn holder(settings: &Settings) -> Holder {
    Holder::this(settings.operator.user.clone(), settings.operator.host.clone())
}

fn of_sandbox(world: World) -> Reachable {
    Reachable {
        profile: config::SANDBOX.to_owned(),
        reach: world.reach(),
        account_id: None,
        registry: registry::Settings {
            host: world.registry.host,
            port: world.registry.port,
            database: world.registry.database,
            user: world.registry.user,
            password: None,
            tls: registry::Tls::Disable,
            root_certificate: None,
        },
        password: Password::Given(Some(world.registry.password)),
        init_registry: true,
        platform: world.platform,
        tunnels: world.tunnels,
        tls: tenantdb::Tls::Off,
        root_cert: None,
        events: config::Events::default(),
    }
}

fn of_platform(p: &Platform) -> Reachable {
    let (password, tls) = (&p.registry.password, p.registry.tls);
    let mut platform = p.platform.clone();
    platform.entry("environment").or_insert_with(|| p.environment.clone().into());
    platform.entry("region").or_insert_with(|| p.region.clone().into());
    if let Some(account) = &p.account_id {
        platform.entry("account_id").or_insert_with(|| account.clone().into());
    }
    Reachable {
        profile: p.name.clone(),
        reach: Reach {
            region: Some(p.region.clone()),
            aws_profile: p.aws_profile.clone(),
            endpoint_url: p.endpoint_url.clone(),
            call_timeout: p.call_timeout_seconds.map(Duration::from_secs),
            fixed_credentials: None,
            http_client: None,
        },
        account_id: p.account_id.clone(),
        registry: registry::Settings {
            host: p.registry.host.clone(),
            port: p.registry.port,
            database: p.registry.database.clone(),
            user: p.registry.user.clone(),
            password: None,
            tls: match tls {
                config::Tls::Disable => registry::Tls::Disable,
                config::Tls::Prefer => registry::Tls::Prefer,
                config::Tls::Require => registry::Tls::Require,
                config::Tls::VerifyFull => registry::Tls::VerifyFull,
            },
            root_certificate: p.registry.root_certificate.clone(),
        },
        password: match password {
            config::Password::Given(secret) => Password::Given(Some(secret.clone())),
            config::Password::Secret(arn) => Password::Secret(arn.clone()),
            config::Password::Pgpass(path) => Password::Pgpass(path.clone()),
        },
        init_registry: false,
        platform: platform.into(),
        tunnels: p.tunnels.clone(),
        tls: match tls {
            config::Tls::Disable => tenantdb::Tls::Off,
            config::Tls::Prefer => tenantdb::Tls::Prefer,
            config::Tls::Require => tenantdb::Tls::Require,
            config::Tls::VerifyFull => tenantdb::Tls::VerifyFull,
        },
        root_cert: p.registry.root_certificate.clone(),
        events: config::Events::default(),
    }
}
