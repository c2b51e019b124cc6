//! Where a kind is tried: the sandbox's AWS and PostgreSQL behind faults, and one address of one tenant in it.

use std::sync::atomic::{AtomicUsize, Ordering};

use aws_smithy_runtime_api::client::http::SharedHttpConnector;
use labctl::cloud::tags::owned;
use labctl::cloud::{Cloud, Reach};
use labctl::engine::fault::Fault;
use labctl::engine::kind::{Address, AnyKind, Diff, Observed, Outputs, Ready, Tags, Target, find};
use labctl::kinds::{Cx, KINDS};
use labctl::tenantdb::migrations::{File, Library, Step};
use serde_json::{Value, json};

use crate::faults::Faults;
use crate::tenant_databases::server::{ADMIN_PASSWORD, ADMIN_SECRET, Secrets, Server};
use crate::tenant_databases::tenant::{Resource, shipped};
use crate::world::world;

/// What a kind is tried with.
pub struct Stage {
    connector: SharedHttpConnector,
    faults: Faults,
    /// What kinds reach the outside through, behind the faults.
    pub cx: Cx,
    /// For kinds that speak SQL: a server, and the secrets of its roles.
    pub database: Option<(Server, Secrets)>,
    library: Library,
    /// The migrations in the library.
    pub steps: Vec<Step>,
    /// Those of tables that tenants share.
    pub system: Vec<Step>,
    count: AtomicUsize,
}

impl Stage {
    pub async fn of(kind: &str) -> Self {
        let (mut library, world) = (Library::default(), world());
        let steps = shipped(&mut library, "mate");
        let table = "CREATE TABLE visits (tenant_id text NOT NULL, id bigint GENERATED ALWAYS AS IDENTITY, PRIMARY KEY (tenant_id, id));";
        let system = library.add(vec![File::parse("system", "V1__create_visits.sql", table).unwrap()]).unwrap();
        let (connector, database) = if kind.starts_with("postgres_") {
            let (server, secrets) = (Server::new(&format!("contract_{}", kind.trim_start_matches("postgres_"))).await, Secrets::default());
            secrets.set(ADMIN_SECRET, json!({"username": server.admin, "password": ADMIN_PASSWORD}));
            (SharedHttpConnector::new(secrets.clone()), Some((server, secrets)))
        } else {
            (world.connector(), None)
        };
        let faults = Faults::before(connector.clone());
        let cx = match &database {
            Some(_) => Server::cx_through(faults.client(), world.port(), library.clone()).await,
            None => Cx::aws_only(Cloud::connect(Reach { http_client: Some(faults.client()), ..world.reach() }).await),
        };
        Self { connector, faults, cx, database, library, steps, system, count: AtomicUsize::new(0) }
    }

    /// A number nobody has had yet, for names.
    pub fn number(&self) -> usize {
        self.count.fetch_add(1, Ordering::Relaxed)
    }

    /// The faults, with nothing planned and nothing heard: whoever asks for them begins anew.
    pub fn faults(&self) -> &Faults {
        self.faults.forget();
        &self.faults
    }

    /// Faults of their own, and what reaches the outside through them: for what is to go on beside the rest.
    pub async fn beside(&self) -> (Faults, Cx) {
        let faults = Faults::before(self.connector.clone());
        let cx = match &self.database {
            Some(_) => Server::cx_through(faults.client(), world().port(), self.library.clone()).await,
            None => Cx::aws_only(Cloud::connect(Reach { http_client: Some(faults.client()), ..world().reach() }).await),
        };
        (faults, cx)
    }

    /// The same with PostgreSQL behind this port.
    pub async fn behind(&self, port: u16) -> Cx {
        Server::cx_through(self.faults().client(), port, self.library.clone()).await
    }

    /// Makes what a fixture refers to; its id and outputs.
    pub async fn make(&self, tenant: &str, kind: &str, name: &str, spec: Value) -> (String, Outputs) {
        let subject = Subject::new(tenant, kind, name, spec);
        let (id, state) = subject.settle(self).await;
        let outputs = subject.kind.outputs(&subject.target(), &id, &state).unwrap();
        (id, outputs)
    }

    /// The same of what the tests of tenant databases describe.
    pub async fn make_all(&self, all: &[Resource]) {
        for Resource { address, spec, .. } in all {
            Subject::new(&address.tenant, &address.kind, &address.name, spec.clone()).settle(self).await;
        }
    }
}

/// One address, and what is wanted there.
#[derive(Clone)]
pub struct Subject {
    pub kind: &'static dyn AnyKind<Cx>,
    pub address: Address,
    pub tags: Tags,
    pub spec: Value,
}

impl Subject {
    pub fn new(tenant: &str, kind: &str, name: &str, spec: Value) -> Self {
        let address = Address::new(tenant, kind, name);
        let mut tags = owned(&address, "registry-1");
        tags.insert("Environment".into(), "test".into());
        Self { kind: find(KINDS, kind).unwrap(), address, tags, spec }
    }

    /// The same address with another wish.
    pub fn wants(&self, spec: Value) -> Self {
        Self { spec, ..self.clone() }
    }

    pub fn target(&self) -> Target<'_, Value> {
        Target { address: &self.address, spec: &self.spec, tags: &self.tags }
    }

    pub async fn create(&self, cx: &Cx) -> Result<String, Fault> {
        self.kind.create(cx, &self.target(), "0190b6a0-1111-7222-8333-444455556666").await
    }

    pub async fn update(&self, stage: &Stage, id: &str, state: &Value) -> Result<(), Fault> {
        self.kind.update(&stage.cx, &self.target(), id, state).await
    }

    pub async fn delete(&self, stage: &Stage, id: &str) -> Result<(), Fault> {
        self.kind.delete(&stage.cx, &self.target(), id).await
    }

    /// One look that cannot write: sessions are read-only, and AWS is asked through `faults`, which lets nothing but reading through.
    pub async fn look_through(&self, stage: &Stage, faults: &Faults, recorded: Option<&str>) -> Result<Observed<Value>, Fault> {
        faults.only_reads(true);
        let found = self.kind.observe(&stage.cx.read_only(), &self.target(), recorded).await;
        faults.only_reads(false);
        let wrote: Vec<_> = faults.writes().into_iter().map(|h| h.call).collect();
        assert!(wrote.is_empty(), "{}: observe calls {wrote:?}", self.address);
        found
    }

    pub async fn look(&self, stage: &Stage) -> Observed<Value> {
        self.look_through(stage, stage.faults(), None).await.unwrap_or_else(|e| panic!("{}: {e}", self.address))
    }

    /// What is there, which must be this tenant's.
    pub async fn mine(&self, stage: &Stage) -> (String, Value) {
        match self.look(stage).await {
            Observed::Mine { id, state } => (id, state),
            other => panic!("{} is not mine but {other:?}", self.address),
        }
    }

    /// Turns the engine's wheel until nothing differs, every update twice; the id and the state in the end.
    pub async fn settle(&self, stage: &Stage) -> (String, Value) {
        stage.faults();
        let cx = &stage.cx;
        let mut seen = Vec::new();
        for _ in 0..5 {
            let observed = self.kind.observe(&cx.read_only(), &self.target(), None).await.unwrap_or_else(|e| panic!("{}: {e}", self.address));
            match observed {
                Observed::Absent => drop(self.create(cx).await.unwrap_or_else(|e| panic!("{}: {e}", self.address))),
                Observed::Mine { id, state } => match self.kind.diff(&self.target(), &state).unwrap() {
                    Diff::Same => {
                        assert_eq!(self.kind.ready(&self.target(), &state).unwrap(), Ready::Ready, "{}", self.address);
                        return (id, state);
                    }
                    Diff::Update(changes) => {
                        seen.push(changes);
                        for _ in 0..2 {
                            let updated = self.kind.update(cx, &self.target(), &id, &state).await;
                            updated.unwrap_or_else(|e| panic!("{}: {e} in {seen:?}", self.address));
                        }
                    }
                    other => panic!("{}: {other:?}", self.address),
                },
                other => panic!("{}: {other:?}", self.address),
            }
        }
        panic!("{} does not settle: {seen:#?}", self.address);
    }
}
