//! What the seeds' snippets do on a real PostgreSQL, and what labctl does instead: each erratum of `docs/errata.md` is a test of two halves.
//! The first runs the seed's own SQL and asserts that the bad thing happens; the second asks the same of labctl.

#[path = "errata/copies.rs"]
mod copies;
#[path = "errata/monitoring.rs"]
mod monitoring;
#[path = "errata/names.rs"]
mod names;
#[path = "errata/programs.rs"]
mod programs;
#[path = "errata/rights.rs"]
mod rights;
#[path = "errata/rows.rs"]
mod rows;
#[path = "errata/tables.rs"]
mod tables;

use labctl::kinds::Cx;
use labctl::spec;
use labctl::stack::Stacks;
use labctl::tenantdb::migrations::{File, Library, Step};
use labctl::tenantdb::{Connection, Login};
use serde_json::json;
use sqlx::PgConnection;

use crate::tenant_databases::server::{ADMIN_PASSWORD, ENDPOINT, Secrets, Server};
use crate::tenant_databases::tenant::{Resource, everything, password};

/// A server of the test's own, and labctl's connections to it.
struct Place {
    server: Server,
    secrets: Secrets,
    cx: Cx,
    steps: Vec<Step>,
}

impl Place {
    /// An empty database; tenants made in it are of this stack, with these modules.
    async fn new(name: &str, stack: &str, modules: &[&str]) -> Self {
        let (server, secrets, mut library) = (Server::new(name).await, Secrets::default(), Library::default());
        let steps = steps(&mut library, &files(stack, modules));
        let cx = server.cx(&secrets, library).await;
        Self { server, secrets, cx, steps }
    }

    /// labctl's administrator in the shared database.
    async fn admin(&self) -> Connection {
        let (username, database) = (self.server.admin.clone(), self.server.shared.clone());
        self.cx.db.connect(&Login { endpoint: ENDPOINT.into(), database, username, password: ADMIN_PASSWORD.to_owned().into() }).await.unwrap()
    }

    /// Whom the seed's snippets run as: the administrator, on a connection of the test's own.
    async fn seed(&self) -> PgConnection {
        self.server.login(&self.server.admin, ADMIN_PASSWORD, &self.server.shared).await.unwrap()
    }

    /// What labctl makes for a tenant in the shared database: roles and schema are named after `tenant`.
    fn resources(&self, tenant: &str) -> Vec<Resource> {
        everything(&self.secrets, tenant, &self.server.shared, &self.steps)
    }

    /// Makes it.
    async fn tenant(&self, tenant: &str) {
        for resource in self.resources(tenant) {
            resource.converge(&self.cx).await.unwrap();
        }
    }

    /// A session as one of a tenant's roles: `app`, `migrate`, `read`.
    async fn login(&self, tenant: &str, part: &str) -> PgConnection {
        self.server.login(&format!("{tenant}_{part}"), &password(tenant, part), &self.server.shared).await.unwrap()
    }
}

/// The migrations a tenant of a shipped stack gets, with these modules.
fn files(stack: &str, modules: &[&str]) -> Vec<File> {
    let (stacks, modules) = (Stacks::builtin().unwrap(), modules.iter().map(ToString::to_string).collect::<Vec<_>>());
    let of_tenant = stacks.get(stack).unwrap().migrations_of(&modules);
    of_tenant.map(|m| File::parse(&m.folder, &format!("V{}__{}.sql", m.version, m.name), &m.sql).unwrap()).collect()
}

/// Takes files into a library, folder by folder.
fn steps(library: &mut Library, files: &[File]) -> Vec<Step> {
    files.chunk_by(|a, b| a.step.folder == b.step.folder).flat_map(|folder| library.add(folder.to_vec()).unwrap()).collect()
}

/// What labctl says against a spec; nothing where it takes it.
fn refusals(id: &str, more: &str) -> Vec<String> {
    let text = format!("id = {}\ndisplay_name = \"X\"\ntier = \"standard\"\nstack = \"clinicx\"\nemail = \"a@x.example\"\n{more}", json!(id));
    let mut parsed = spec::parse("x.toml", &text);
    Stacks::builtin().unwrap().check(&mut parsed, "production");
    parsed.finish().err().map(|invalid| invalid.plain().into_iter().map(|p| p.message).collect()).unwrap_or_default()
}

/// The SQLSTATE a statement is refused with.
fn code<T: std::fmt::Debug>(result: Result<T, sqlx::Error>) -> String {
    result.unwrap_err().as_database_error().and_then(|e| e.code()).unwrap().into_owned()
}
