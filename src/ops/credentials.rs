//! What a tenant logs in with: read from Secrets Manager for whoever shall log in, and listed without what is secret.

use chrono::{DateTime, Utc};
use secrecy::ExposeSecret as _;
use serde::Serialize;

use super::error::{OpError, outside};
use super::rotate::Part;
use super::site::Site;
use super::survey;
use crate::cloud::fault::fault;
use crate::engine::fault::Fault;
use crate::engine::kind::Address;
use crate::kinds::rotation;
use crate::plan::rotation::{Phase, Slot};
use crate::registry::RegistryError;
use crate::tenantdb::Login;

/// One part's credentials, without what is secret.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Credentials {
    /// Which part.
    pub part: Part,
    /// The role that the secret names.
    pub login: String,
    /// How many rotations were begun.
    pub generation: u32,
    /// How far the last has come; `closed` when none is under way.
    pub phase: Phase,
    /// The other login, while it can be logged in with too.
    pub other: Option<String>,
    /// The secret.
    pub secret_arn: String,
    /// When the secret last changed.
    pub changed_at: Option<DateTime<Utc>>,
}

/// The ARN of a part's secret, as on record.
async fn secret_arn(site: &Site, tenant: &str, part: Part) -> Result<String, OpError> {
    let address = Address::new(tenant, "secret", part.as_str());
    let resources = site.registry.resources(tenant).await?;
    let arn = resources.iter().find(|r| r.address == address).and_then(|r| r.recorded());
    arn.map(ToOwned::to_owned).ok_or_else(|| OpError::Registry(RegistryError::NotFound { what: "secret", id: address.to_string() }))
}

/// What logs in as this part of the tenant.
///
/// # Errors
/// [`OpError::Registry`] where there is no such tenant or secret, [`OpError::Outside`] where Secrets Manager does not give it.
pub async fn login(site: &Site, tenant: &str, part: Part) -> Result<Login, OpError> {
    let tenant = site.registry.tenant(tenant).await?;
    let arn = secret_arn(site, &tenant.id, part).await?;
    let doing = || outside(format!("read the {} credentials of tenant `{}`", part.as_str(), tenant.id));
    let (values, _) = site.cx.secret(&arn).await.map_err(doing())?;
    let missing = |key: &str| Fault::refused("secretsmanager:GetSecretValue", "invalid_secret", format!("{arn} has no key `{key}`"));
    let value = |key: &str| values.get(key).ok_or_else(|| doing()(missing(key)));
    let text = |key: &str| value(key).map(|v| v.expose_secret().to_owned());
    Ok(Login {
        endpoint: format!("{}:{}", text("host")?, text("port")?),
        database: text("dbname")?,
        username: text("username")?,
        password: value("password")?.clone(),
    })
}

/// All of a tenant's credentials.
///
/// # Errors
/// As [`login`].
pub async fn list(site: &Site, tenant: &str) -> Result<Vec<Credentials>, OpError> {
    let tenant = site.registry.tenant(tenant).await?;
    let state = site.registry.revision(&tenant.id, tenant.revision).await?.state()?;
    let desired = survey::desired(site, &state)?;
    let resources = site.registry.resources(&tenant.id).await?;
    let mut all = Vec::new();
    for part in Part::ALL {
        let address = Address::new(&tenant.id, "secret", part.as_str());
        let Some(arn) = resources.iter().find(|r| r.address == address).and_then(|r| r.recorded()) else { continue };
        let found = site.cx.cloud.secrets.describe_secret().secret_id(arn).send().await;
        let found =
            found.map_err(|e| fault("secretsmanager:DescribeSecret", e)).map_err(outside(format!("look at the credentials of tenant `{}`", tenant.id)))?;
        let first = desired.resources.iter().find(|r| r.kind == "postgres_role" && r.name == part.as_str()).map(|r| rotation::name(&r.spec).to_owned());
        let first = first.unwrap_or_default();
        let named = |slot| if slot == Slot::First { first.clone() } else { rotation::second_name(&first) };
        let last = state.life.credentials.get(part.as_str()).copied();
        let current = last.map_or(Slot::First, |r| r.current());
        let phase = last.map_or(Phase::Closed, |r| r.phase);
        all.push(Credentials {
            part,
            login: named(current),
            generation: last.map_or(0, |r| r.generation),
            phase,
            other: (phase != Phase::Closed).then(|| named(current.other())),
            secret_arn: arn.to_owned(),
            changed_at: found.last_changed_date().and_then(|at| DateTime::from_timestamp(at.secs(), 0)),
        });
    }
    Ok(all)
}
