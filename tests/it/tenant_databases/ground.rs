//! A tenant's schema that migrations are tried on, without AWS and registry.

use std::time::Duration;

use labctl::engine::fault::{Class, Fault};
use labctl::tenantdb::migrations::apply::{Done, Job, Ledger, migrate};
use labctl::tenantdb::migrations::ledger::To;
use labctl::tenantdb::migrations::{File, Library, Step};
use labctl::tenantdb::quote::Ident;
use labctl::tenantdb::{Connection, Databases, Login, Settings, Tls, Tunnels};
use sqlx::PgConnection;

use super::server::{ADMIN_PASSWORD, Secrets, Server, run, texts};
use super::tenant::everything;

/// One tenant at V2, and what could come.
pub struct Ground {
    pub tenant: &'static str,
    pub server: Server,
    pub databases: Databases,
    library: Library,
    pub steps: Vec<Step>,
    sup: PgConnection,
}

pub const LEDGER: &str = "SELECT concat(position, ' V', version) FROM T_schema.labctl_migrations ORDER BY position";

impl Ground {
    pub async fn new(tenant: &'static str) -> Self {
        let server = Server::new(&format!("{tenant}_server")).await;
        let (secrets, mut library) = (Secrets::default(), Library::default());
        let file = |version: u32| {
            File::parse("tenant", &format!("V{version}__f.sql"), &format!("CREATE TABLE t{version} (id int); INSERT INTO t{version} VALUES (1);"))
        };
        let mut files: Vec<File> = (1..=5).map(|version| file(version).unwrap()).collect();
        files.push(File::parse("tenant", "V6__index.sql", "-- labctl: no-transaction\nCREATE INDEX CONCURRENTLY by_id ON t1 (id);").unwrap());
        files.push(File::parse("tenant", "V7__wrong.sql", "INSERT INTO nowhere VALUES (1);").unwrap());
        let steps = library.add(files).unwrap();
        let cx = server.cx(&secrets, library.clone()).await;
        for resource in everything(&secrets, tenant, &server.shared, &steps[..2]) {
            resource.converge(&cx).await.unwrap();
        }
        let sup = server.superuser(&server.shared).await;
        let databases = Databases::new(Settings { tunnels: Tunnels::default(), tls: Tls::Prefer, root_cert: None });
        Self { tenant, server, databases, library, steps, sup }
    }

    /// The administrator, as labctl logs in.
    pub async fn admin(&self) -> Connection {
        let login = Login {
            endpoint: format!("127.0.0.1:{}", self.server.port()),
            database: self.server.shared.clone(),
            username: self.server.admin.clone(),
            password: ADMIN_PASSWORD.into(),
        };
        self.databases.connect(&login).await.unwrap()
    }

    /// Migrates to this version, believing that the first so many were applied.
    pub async fn migrate(&self, to: usize, believed: &[Step]) -> Result<Done, Fault> {
        self.migrate_by(&mut self.admin().await, to, Some(believed)).await
    }

    /// The same over this connection; without `believed` it is looked.
    pub async fn migrate_by(&self, db: &mut Connection, to: usize, believed: Option<&[Step]>) -> Result<Done, Fault> {
        let (schema, role) = (self.ident("schema"), self.ident("migrate"));
        let address = format!("{}/postgres_schema_version/main", self.tenant);
        let job = Job {
            shared: None,
            schema: &schema,
            role: &role,
            tenant: self.tenant,
            wanted: &self.steps[..to],
            to: &To::new(),
            ledger: Ledger::Of { address: &address, registry: "r1" },
            believed,
            lock_timeout: Duration::from_secs(1),
        };
        migrate(db, &job, &self.library).await
    }

    pub fn ident(&self, part: &str) -> Ident {
        Ident::new(&format!("{}_{part}", self.tenant)).unwrap()
    }

    /// `T` stands for the tenant.
    pub async fn run(&mut self, sql: &str) {
        run(&mut self.sup, &sql.replace("T_", &format!("{}_", self.tenant))).await.unwrap();
    }

    pub async fn texts(&mut self, sql: &str) -> Vec<String> {
        texts(&mut self.sup, &sql.replace("T_", &format!("{}_", self.tenant))).await
    }

    pub async fn refused(&mut self, to: usize, believed: usize, code: &str) {
        let fault = self.migrate(to, &self.steps[..believed]).await.unwrap_err();
        assert_eq!((fault.class, fault.code.as_str()), (Class::Refused, code), "{fault}");
    }

    /// How many scripts that look for themselves the server has seen so far: its log has every statement.
    pub fn looks(&self) -> usize {
        self.server.log().matches(&format!("EXECUTE labctl_look ('{}_schema'", self.tenant)).count()
    }
}
