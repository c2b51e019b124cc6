//! A tenant as an attacker, and as a target: what it has on record, and the logins its applications really use.

use serde::Deserialize;
use serde_json::Value;

use crate::engine::fault::Fault;
use crate::engine::kind::{Address, Outputs};
use crate::kinds::Cx;
use crate::registry::Resource;
use crate::tenantdb::system::Shared;
use crate::tenantdb::{Host, Login};

/// A resource on record, as far as it matters here.
#[derive(Debug, Clone)]
pub struct Thing {
    /// Where, in labctl's map.
    pub address: Address,
    /// What the service knows it by.
    pub id: Option<String>,
    /// Its spec, with references resolved.
    pub spec: Value,
    /// For others' references.
    pub outputs: Outputs,
}

impl Thing {
    /// Its ARN, or what else AWS knows it by.
    pub fn arn(&self) -> Option<String> {
        self.outputs.get("arn").cloned().or_else(|| self.id.clone())
    }
}

impl From<Resource> for Thing {
    fn from(r: Resource) -> Self {
        Self { address: r.address, id: r.id, spec: r.spec, outputs: r.outputs }
    }
}

/// A tenant's place in PostgreSQL.
#[derive(Debug, Clone, Deserialize)]
pub struct Place {
    /// The server.
    pub host: Host,
    /// The database.
    pub database: String,
    /// The schema.
    #[serde(rename = "name")]
    pub schema: String,
    /// Owns it.
    pub owner: String,
    /// Makes its tables.
    #[serde(rename = "migration_role")]
    pub migrate: String,
    /// The application.
    #[serde(rename = "app_role")]
    pub app: String,
    /// Reports.
    #[serde(rename = "readonly_role", default)]
    pub readonly: Option<String>,
    /// Its tables show their rows to its own roles only, whatever is granted.
    #[serde(default)]
    pub row_security: bool,
    /// The tables it shares, where its data is rows of them: schema and owner are theirs then.
    #[serde(skip)]
    pub shared: Option<Shared>,
}

/// The same for a tenant with rows in shared tables.
#[derive(Deserialize)]
struct RowsPlace {
    host: Host,
    database: String,
    system: Shared,
    app_role: String,
    #[serde(default)]
    readonly_role: Option<String>,
}

impl From<RowsPlace> for Place {
    fn from(p: RowsPlace) -> Self {
        let (schema, owner, migrate) = (p.system.schema.clone(), p.system.owner.clone(), p.system.owner.clone());
        Self {
            host: p.host,
            database: p.database,
            schema,
            owner,
            migrate,
            app: p.app_role,
            readonly: p.readonly_role,
            row_security: false,
            shared: Some(p.system),
        }
    }
}

impl Place {
    /// All roles whose rights are its own: of shared tables, the groups it may be a member of, and not their owner.
    pub fn roles(&self) -> Vec<String> {
        if let Some(shared) = &self.shared {
            return [&self.app, &shared.write, &shared.read].into_iter().chain(&self.readonly).cloned().collect();
        }
        [&self.owner, &self.migrate, &self.app].into_iter().chain(&self.readonly).cloned().collect()
    }
}

/// A tenant.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Its id.
    pub tenant: String,
    /// All it has on record.
    pub things: Vec<Thing>,
    /// Where its data is, if in PostgreSQL.
    pub place: Option<Place>,
}

/// A role that can log in.
#[derive(Debug, Clone)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// Where its password is.
    pub secret_arn: String,
}

impl Subject {
    /// Reads what is on record.
    pub fn new(tenant: impl Into<String>, things: Vec<Thing>) -> Self {
        let spec = |kind: &str| things.iter().find(|t| t.address.kind == kind).map(|t| t.spec.clone());
        let rows = || serde_json::from_value::<RowsPlace>(spec("postgres_rows")?).ok().map(Place::from);
        let place = spec("postgres_schema").and_then(|spec| serde_json::from_value(spec).ok()).or_else(rows);
        Self { tenant: tenant.into(), things, place }
    }

    /// The things of one kind.
    pub fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Thing> {
        self.things.iter().filter(move |t| t.address.kind == kind)
    }

    /// One text of the spec of the first thing of a kind.
    pub fn text(&self, kind: &str, key: &str) -> Option<&str> {
        self.things.iter().find(|t| t.address.kind == kind)?.spec[key].as_str()
    }

    /// The roles that can log in, the application's first.
    pub fn logins(&self) -> Vec<Role> {
        let mut roles: Vec<Role> = self
            .of_kind("postgres_role")
            .filter(|t| t.spec["login"] == true)
            .filter_map(|t| Some(Role { name: t.spec["name"].as_str()?.to_owned(), secret_arn: t.spec["secret_arn"].as_str()?.to_owned() }))
            .collect();
        let app = self.place.as_ref().map(|p| p.app.clone());
        roles.sort_by_key(|r| (Some(&r.name) != app.as_ref(), r.name.clone()));
        roles
    }

    /// A role's login to its own database, as the application has it: from Secrets Manager.
    ///
    /// # Errors
    /// What Secrets Manager answers.
    pub async fn login(&self, cx: &Cx, place: &Place, role: &Role) -> Result<Login, Fault> {
        cx.login(&place.host.endpoint, &place.database, &role.secret_arn, &role.name).await
    }
}
