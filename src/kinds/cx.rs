//! What kinds reach the outside through: AWS, tenant databases, and the texts of migrations.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::cloud::Cloud;
use crate::cloud::fault::fault;
use crate::engine::fault::Fault;
use crate::tenantdb::fault::NO_LOGIN;
use crate::tenantdb::migrations::Library;
use crate::tenantdb::{Connection, Databases, Host, Login};

/// What kinds need to reach the outside.
pub struct Cx {
    /// AWS.
    pub cloud: Cloud,
    /// Tenant databases.
    pub db: Databases,
    /// The texts of the stacks' migrations.
    pub migrations: Library,
    /// Administrators' logins, by the ARN of their secret, for the life of the process.
    admins: Mutex<HashMap<String, Admin>>,
}

#[derive(Clone)]
struct Admin {
    username: String,
    password: SecretString,
}

impl Cx {
    /// Puts the parts together.
    pub fn new(cloud: Cloud, db: Databases, migrations: Library) -> Self {
        Self { cloud, db, migrations, admins: Mutex::default() }
    }

    /// The same, for looking only: every session of a tenant database is read-only. What AWS is asked is counted together.
    #[must_use]
    pub fn read_only(&self) -> Self {
        Self::new(self.cloud.clone(), self.db.read_only(), self.migrations.clone())
    }

    /// AWS alone, for what never opens a database.
    pub fn aws_only(cloud: Cloud) -> Self {
        Self::new(cloud, Databases::new(crate::tenantdb::Settings::default()), Library::default())
    }

    /// A connection to a database as the host's administrator, whose password is asked of Secrets Manager once, and once more when the
    /// server does not take it (it may have been rotated since).
    ///
    /// # Errors
    /// What Secrets Manager or the server answers. Nothing was made.
    pub(crate) async fn admin(&self, host: &Host, database: &str) -> Result<Connection, Fault> {
        let cached = self.cached().get(&host.admin_secret_arn).cloned();
        if let Some(admin) = cached {
            match self.db.connect(&login(host, database, admin)).await {
                Err(e) if NO_LOGIN.contains(&e.code.as_str()) => {
                    self.cached().remove(&host.admin_secret_arn);
                }
                other => return other,
            }
        }
        let (mut json, _) = self.secret(&host.admin_secret_arn).await?;
        let admin = Admin {
            username: json.remove("username").ok_or_else(|| incomplete(&host.admin_secret_arn, "username"))?.expose_secret().to_owned(),
            password: json.remove("password").ok_or_else(|| incomplete(&host.admin_secret_arn, "password"))?,
        };
        let connection = self.db.connect(&login(host, database, admin.clone())).await?;
        self.cached().insert(host.admin_secret_arn.clone(), admin);
        Ok(connection)
    }

    /// A password from one key of a secret, and the version it is of.
    ///
    /// # Errors
    /// What Secrets Manager answers, or refused when the secret has no such key.
    pub(crate) async fn password(&self, secret_arn: &str, key: &str) -> Result<(SecretString, String), Fault> {
        let (mut json, version) = self.secret(secret_arn).await?;
        Ok((json.remove(key).ok_or_else(|| incomplete(secret_arn, key))?, version))
    }

    /// The login that a secret holds, at this server and database: what an application makes of it. `role` where the secret names none.
    ///
    /// # Errors
    /// What Secrets Manager answers, or refused when the secret has no password.
    pub async fn login(&self, endpoint: &str, database: &str, secret_arn: &str, role: &str) -> Result<Login, Fault> {
        let (mut json, _) = self.secret(secret_arn).await?;
        let password = json.remove("password").ok_or_else(|| incomplete(secret_arn, "password"))?;
        let username = json.remove("username").map_or_else(|| role.to_owned(), |name| name.expose_secret().to_owned());
        Ok(Login { endpoint: endpoint.to_owned(), database: database.to_owned(), username, password })
    }

    /// All texts and numbers of a secret, by key, and the version they are of.
    ///
    /// # Errors
    /// What Secrets Manager answers, or refused when the secret is no JSON object. Never quotes it.
    pub async fn secret(&self, arn: &str) -> Result<(HashMap<String, SecretString>, String), Fault> {
        const CALL: &str = "secretsmanager:GetSecretValue";
        let found = self.cloud.secrets.get_secret_value().secret_id(arn).send().await.map_err(|e| fault(CALL, e))?;
        // serde's own words may quote the text, which is a secret.
        let json: Option<HashMap<String, Value>> = found.secret_string().and_then(|text| serde_json::from_str(text).ok());
        let json = json.ok_or_else(|| Fault::refused(CALL, "invalid_secret", format!("{arn} holds no JSON object of texts")))?;
        Ok((json.into_iter().map(|(key, value)| (key, text(value))).collect(), found.version_id().unwrap_or_default().to_owned()))
    }

    fn cached(&self) -> std::sync::MutexGuard<'_, HashMap<String, Admin>> {
        self.admins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl Cx {
    /// For unit tests of kinds: AWS is a script, and there are no databases.
    pub(super) async fn scripted(script: &crate::cloud::scripted::Script) -> Self {
        Self::aws_only(script.cloud().await)
    }
}

/// A value of a secret as text: ports are numbers in secrets that RDS writes.
fn text(value: Value) -> SecretString {
    match value {
        Value::String(text) => SecretString::from(text),
        other => SecretString::from(other.to_string()),
    }
}

fn login(host: &Host, database: &str, admin: Admin) -> Login {
    Login { endpoint: host.endpoint.clone(), database: database.to_owned(), username: admin.username, password: admin.password }
}

fn incomplete(arn: &str, key: &str) -> Fault {
    Fault::refused("secretsmanager:GetSecretValue", "invalid_secret", format!("{arn} has no key `{key}`"))
}
