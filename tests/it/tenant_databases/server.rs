//! A test's corner of the sandbox's PostgreSQL, with an administrator like RDS's; and a Secrets Manager that answers from memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aws_smithy_runtime_api::client::http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use labctl::cloud::{Cloud, Reach};
use labctl::kinds::Cx;
use labctl::tenantdb::migrations::Library;
use labctl::tenantdb::{Databases, Settings, Tls, Tunnels};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection};

use crate::world::{World, world};

pub const ADMIN_SECRET: &str = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:admin";
pub const ADMIN_PASSWORD: &str = "admin-secret";
pub const ENDPOINT: &str = "shared.abc.eu-west-1.rds.amazonaws.com:5432";

/// An administrator of a test's own, and the database its tenants share. Roles are the whole server's: tests name their tenants apart.
pub struct Server {
    /// `NOSUPERUSER CREATEDB CREATEROLE`.
    pub admin: String,
    /// The database the administrator owns.
    pub shared: String,
    world: &'static World,
}

impl Server {
    /// Makes `{name}_admin` and `{name}_shared`.
    pub async fn new(name: &str) -> Self {
        // Every grant on the maintenance database writes the same row, which PostgreSQL lets only one session do at a time.
        static GRANTS: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        let server = Self { admin: format!("{name}_admin"), shared: format!("{name}_shared"), world: world() };
        let (admin, shared) = (&server.admin, &server.shared);
        let mut sup = server.superuser("postgres").await;
        run(&mut sup, &format!("CREATE ROLE {admin} LOGIN NOSUPERUSER CREATEDB CREATEROLE PASSWORD '{ADMIN_PASSWORD}'")).await.unwrap();
        run(&mut sup, &format!("ALTER ROLE {admin} SET log_statement = 'all'")).await.unwrap();
        let _turn = GRANTS.lock().await;
        run(&mut sup, &format!("GRANT CONNECT ON DATABASE postgres TO {admin}")).await.unwrap();
        run(&mut sup, &format!("CREATE DATABASE {shared} OWNER {admin} TEMPLATE template0 STRATEGY wal_log")).await.unwrap();
        server
    }

    pub fn port(&self) -> u16 {
        self.world.port()
    }

    pub fn log(&self) -> String {
        self.world.postgres_log()
    }

    pub async fn login(&self, user: &str, password: &str, database: &str) -> Result<PgConnection, sqlx::Error> {
        self.world.login(user, password, database).await
    }

    /// One of the server's own programs: a `pg_dump` on the PATH may be older than the server, and refuses it then.
    pub async fn program(&self, name: &str) -> String {
        let folder = texts(&mut self.superuser("postgres").await, "SELECT setting FROM pg_config WHERE name = 'BINDIR'").await.concat();
        format!("{folder}/{name}")
    }

    pub async fn superuser(&self, database: &str) -> PgConnection {
        self.world.superuser(database).await
    }

    /// See [`World::certify`].
    pub async fn certify(&self) -> Option<std::path::PathBuf> {
        self.world.certify().await
    }

    /// What kinds need, with this server behind the endpoint of an "RDS" instance.
    pub async fn cx(&self, secrets: &Secrets, migrations: Library) -> Cx {
        secrets.set(ADMIN_SECRET, json!({"username": self.admin, "password": ADMIN_PASSWORD}));
        Self::cx_through(SharedHttpClient::new(secrets.clone()), self.port(), migrations).await
    }

    /// The same through another client of AWS, and another port of PostgreSQL.
    pub async fn cx_through(client: SharedHttpClient, port: u16, migrations: Library) -> Cx {
        let reach = Reach {
            region: Some("eu-west-1".into()),
            endpoint_url: Some("http://127.0.0.1:1".into()),
            fixed_credentials: Some(("key".into(), "secret".into())),
            http_client: Some(client),
            ..Reach::default()
        };
        let tunnels = Tunnels::new([("*.rds.amazonaws.com:5432", format!("127.0.0.1:{port}"))]).unwrap();
        let databases = Databases::new(Settings { tunnels, tls: Tls::Prefer, root_cert: None });
        Cx::new(Cloud::connect(reach).await, databases, migrations)
    }
}

pub async fn run(connection: &mut PgConnection, sql: &str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await.map(drop)
}

pub async fn texts(connection: &mut PgConnection, sql: &str) -> Vec<String> {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_all(connection).await.unwrap()
}

/// Secrets Manager's two reading calls.
#[derive(Debug, Clone, Default)]
pub struct Secrets(Arc<Mutex<HashMap<String, (u32, Value)>>>);

impl Secrets {
    pub fn set(&self, arn: &str, value: Value) {
        let mut all = self.0.lock().unwrap();
        let version = all.get(arn).map_or(1, |(v, _)| v + 1);
        all.insert(arn.to_owned(), (version, value));
    }

    fn answer(&self, request: &HttpRequest) -> (u16, Value) {
        let body: Value = serde_json::from_slice(request.body().bytes().unwrap_or_default()).unwrap_or_default();
        let arn = body["SecretId"].as_str().unwrap_or_default();
        let all = self.0.lock().unwrap();
        let Some((version, value)) = all.get(arn) else {
            return (400, json!({"__type": "ResourceNotFoundException", "Message": "Secrets Manager can't find the specified secret."}));
        };
        let id = format!("version-{version}");
        match request.headers().get("x-amz-target") {
            Some("secretsmanager.GetSecretValue") => (200, json!({"ARN": arn, "VersionId": id, "SecretString": value.to_string()})),
            Some("secretsmanager.DescribeSecret") => (200, json!({"ARN": arn, "VersionIdsToStages": {id: ["AWSCURRENT"], "older": ["AWSPREVIOUS"]}})),
            other => (400, json!({"__type": "InvalidRequestException", "Message": format!("{other:?}")})),
        }
    }
}

impl HttpConnector for Secrets {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (status, body) = self.answer(&request);
        HttpConnectorFuture::ready(Ok(HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body.to_string()))))
    }
}

impl HttpClient for Secrets {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}
