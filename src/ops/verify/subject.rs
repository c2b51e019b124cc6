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

    /// The roles that log in, by themselves or by their second login, the application first. Of each it must be tried what it gets at.
    pub fn posts(&self) -> Vec<String> {
        let migrate = self.shared.is_none().then_some(&self.migrate);
        [&self.app].into_iter().chain(migrate).chain(&self.readonly).cloned().collect()
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
    /// Why that cannot be told, where it has something there on record: whatever is tried without it proves nothing.
    pub unreadable: Option<String>,
}

/// A role that can log in.
#[derive(Debug, Clone)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// The role whose rights it has: itself, or for the second of two logins that take turns, the first.
    pub part: String,
    /// Where its password is.
    pub secret_arn: String,
}

impl Subject {
    /// Reads what is on record.
    pub fn new(tenant: impl Into<String>, things: Vec<Thing>) -> Self {
        let (place, unreadable) = match place(&things) {
            Ok(place) => (place, None),
            Err(why) => (None, Some(why)),
        };
        Self { tenant: tenant.into(), things, place, unreadable }
    }

    /// The things of one kind.
    pub fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Thing> {
        self.things.iter().filter(move |t| t.address.kind == kind)
    }

    /// One text of the spec of the first thing of a kind.
    pub fn text(&self, kind: &str, key: &str) -> Option<&str> {
        self.things.iter().find(|t| t.address.kind == kind)?.spec[key].as_str()
    }

    /// One text of the specs of all things of a kind, or where one's record does not have it, which.
    pub fn texts<'a>(&'a self, kind: &'a str, key: &'a str) -> impl Iterator<Item = Result<&'a str, Fault>> {
        self.of_kind(kind).map(move |t| t.spec[key].as_str().ok_or_else(|| unreadable(&t.address, key)))
    }

    /// The ARNs of all things of a kind, or where one's record has none, which.
    pub fn arns<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = Result<String, Fault>> + 'a {
        self.of_kind(kind).map(|t| t.arn().ok_or_else(|| unreadable(&t.address, "arn")))
    }

    /// Who can log in, the application first; of two logins of one part, either, since their secret names the one in force.
    pub fn logins(&self) -> Vec<Role> {
        let text = |t: &Thing, key: &str| t.spec[key].as_str().map(ToOwned::to_owned);
        let role = |t: &Thing| {
            let name = text(t, "name")?;
            Some(Role { part: text(t, "acts_as").unwrap_or_else(|| name.clone()), name, secret_arn: text(t, "secret_arn")? })
        };
        let mut roles: Vec<Role> = self.of_kind("postgres_role").filter(|t| t.spec["login"] == true).filter_map(role).collect();
        let app = self.place.as_ref().map(|p| p.app.clone());
        roles.sort_by_key(|r| (Some(&r.part) != app.as_ref(), r.part.clone(), r.name.clone()));
        roles.dedup_by(|a, b| a.part == b.part);
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

fn unreadable(address: &Address, key: &str) -> Fault {
    Fault::refused("registry:resources", "unreadable", format!("the record of {address} has no `{key}`"))
}

/// Where a tenant's data is, by what is on record.
///
/// # Errors
/// Why that cannot be told.
fn place(things: &[Thing]) -> Result<Option<Place>, String> {
    let of = |kind: &str| things.iter().find(|t| t.address.kind == kind);
    let cannot = |t: &Thing, e: serde_json::Error| format!("the record of {} cannot be read: {e}", t.address);
    match (of("postgres_schema"), of("postgres_rows"), of("postgres_role")) {
        (Some(t), ..) => serde_json::from_value(t.spec.clone()).map(Some).map_err(|e| cannot(t, e)),
        (None, Some(t), _) => serde_json::from_value::<RowsPlace>(t.spec.clone()).map(|p| Some(p.into())).map_err(|e| cannot(t, e)),
        (None, None, Some(t)) => Err(format!("{} is on record, and neither a schema nor rows in shared tables", t.address)),
        (None, None, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn thing(kind: &str, name: &str, spec: Value) -> Thing {
        Thing { address: Address::new("a", kind, name), id: None, spec, outputs: Outputs::new() }
    }

    fn role(name: &str, more: Value) -> Thing {
        let mut spec = json!({"name": name, "login": true, "secret_arn": format!("arn:{}", name.trim_end_matches("_b"))});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        thing("postgres_role", name, spec)
    }

    #[test]
    fn a_record_that_cannot_be_read_is_not_a_tenant_without_a_database() {
        let host = json!({"endpoint": "db:5432", "admin_secret_arn": "arn:admin"});
        let whole = json!({"host": host, "database": "d", "name": "s", "owner": "o", "migration_role": "m", "app_role": "p"});
        let rows = [
            (vec![], true, None),
            (vec![thing("log_group", "web", json!({}))], true, None),
            (vec![thing("postgres_schema", "main", whole)], false, None),
            (vec![thing("postgres_schema", "main", json!({"name": "s"}))], true, Some("a/postgres_schema/main cannot be read")),
            (vec![thing("postgres_rows", "main", json!({"name": "s"}))], true, Some("a/postgres_rows/main cannot be read")),
            (vec![role("app", json!({}))], true, Some("a/postgres_role/app is on record, and neither")),
        ];
        for (things, placeless, why) in rows {
            let subject = Subject::new("a", things);
            assert_eq!(subject.place.is_none(), placeless, "{subject:?}");
            assert_eq!(subject.unreadable.is_some(), why.is_some(), "{subject:?}");
            assert!(why.is_none_or(|why| subject.unreadable.as_ref().unwrap().contains(why)), "{subject:?}");
        }
    }

    #[test]
    fn of_two_logins_that_take_turns_one_is_the_parts() {
        let second = || role("app_b", json!({"acts_as": "app"}));
        let closed = || role("app", json!({"login": false, "secret_arn": null}));
        for (things, name) in [(vec![role("app", json!({}))], "app"), (vec![second(), role("app", json!({}))], "app"), (vec![closed(), second()], "app_b")] {
            let logins = Subject::new("a", things).logins();
            assert_eq!(logins.iter().map(|r| (r.name.as_str(), r.part.as_str(), r.secret_arn.as_str())).collect::<Vec<_>>(), [(name, "app", "arn:app")]);
        }
    }
}
