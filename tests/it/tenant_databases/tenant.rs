//! A tenant's resources as a stack would ask for them, and the wheel the engine turns for each.

use labctl::engine::fault::Fault;
use labctl::engine::kind::{Address, AnyKind, Diff, Observed, Ready, Tags, Target, find};
use labctl::kinds::{Cx, KINDS};
use labctl::tenantdb::migrations::{File, Library, Step};
use serde_json::{Value, json};

use super::server::{ADMIN_SECRET, ENDPOINT, Secrets};

pub struct Resource {
    pub address: Address,
    pub spec: Value,
    pub tags: Tags,
}

impl Resource {
    pub fn new(tenant: &str, kind: &str, name: &str, mut spec: Value) -> Self {
        spec["host"] = json!({"endpoint": ENDPOINT, "admin_secret_arn": ADMIN_SECRET});
        let address = Address::new(tenant, kind, name);
        let own = [("labctl:tenant", tenant), ("labctl:address", &address.to_string()), ("labctl:registry", "r1"), ("Environment", "test")];
        let tags = own.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        Self { address, spec, tags }
    }

    pub fn kind(&self) -> &'static dyn AnyKind<Cx> {
        find(KINDS, &self.address.kind).unwrap()
    }

    pub fn target(&self) -> Target<'_, Value> {
        Target { address: &self.address, spec: &self.spec, tags: &self.tags }
    }

    pub async fn observe(&self, cx: &Cx) -> Observed<Value> {
        self.kind().observe(cx, &self.target(), None).await.unwrap()
    }

    pub async fn diff(&self, cx: &Cx) -> Diff {
        match self.observe(cx).await {
            Observed::Mine { state, .. } => self.kind().diff(&self.target(), &state).unwrap(),
            other => panic!("{}: {other:?}", self.address),
        }
    }

    /// Turns the wheel until nothing differs, and says how many writes that took.
    pub async fn converge(&self, cx: &Cx) -> Result<usize, Fault> {
        for writes in 0..5 {
            match self.observe(cx).await {
                Observed::Absent => drop(self.kind().create(cx, &self.target(), "token").await?),
                Observed::Mine { id, state } => match self.kind().diff(&self.target(), &state)? {
                    Diff::Same => {
                        assert_eq!(self.kind().ready(&self.target(), &state)?, Ready::Ready);
                        let outputs = self.kind().outputs(&self.target(), &id, &state)?;
                        assert_eq!(
                            outputs.keys().map(String::as_str).collect::<std::collections::BTreeSet<_>>(),
                            self.kind().outputs_declared().iter().copied().collect()
                        );
                        return Ok(writes);
                    }
                    Diff::Update(_) => self.kind().update(cx, &self.target(), &id, &state).await?,
                    other => panic!("{}: {other:?}", self.address),
                },
                other => panic!("{}: {other:?}", self.address),
            }
        }
        panic!("{} does not converge: {:?}", self.address, self.diff(cx).await)
    }

    pub async fn delete(&self, cx: &Cx) {
        let id = match self.observe(cx).await {
            Observed::Mine { id, .. } => id,
            Observed::Absent => return,
            other => panic!("{}: {other:?}", self.address),
        };
        self.kind().delete(cx, &self.target(), &id).await.unwrap();
        assert_eq!(self.observe(cx).await, Observed::Absent, "{}", self.address);
        self.kind().delete(cx, &self.target(), &id).await.unwrap();
    }
}

pub fn role(tenant: &str, part: &str, secret: Option<&str>, more: Value) -> Resource {
    let mut spec = json!({"name": format!("{tenant}_{part}"), "login": secret.is_some()});
    if let Some(arn) = secret {
        spec["secret_arn"] = json!(arn);
    }
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    Resource::new(tenant, "postgres_role", part, spec)
}

pub fn secret(tenant: &str, part: &str) -> String {
    format!("arn:secret:{tenant}/{part}")
}

pub fn password(tenant: &str, part: &str) -> String {
    format!("pw-{tenant}-{part}")
}

pub fn schema(tenant: &str, database: &str) -> Resource {
    let name = |part: &str| format!("{tenant}_{part}");
    let spec = json!({"database": database, "name": name("schema"), "owner": name("owner"), "migration_role": name("migrate"), "app_role": name("app"), "readonly_role": name("read")});
    Resource::new(tenant, "postgres_schema", "main", spec)
}

pub fn version(tenant: &str, database: &str, steps: &[Step]) -> Resource {
    let spec = json!({"database": database, "schema": format!("{tenant}_schema"), "role": format!("{tenant}_migrate"), "migrations": steps});
    Resource::new(tenant, "postgres_schema_version", "main", spec)
}

/// All a tenant has in a database, in the order it is made.
pub fn everything(secrets: &Secrets, tenant: &str, database: &str, steps: &[Step]) -> Vec<Resource> {
    for part in ["migrate", "app", "read"] {
        secrets.set(&secret(tenant, part), json!({"username": format!("{tenant}_{part}"), "password": password(tenant, part)}));
    }
    let settings = json!({"connection_limit": 20, "settings": {
        "search_path": format!("{tenant}_schema"), "statement_timeout": "30s", "lock_timeout": 5000, "idle_in_transaction_session_timeout": "60s"}});
    vec![
        role(tenant, "owner", None, json!({})),
        role(tenant, "migrate", Some(&secret(tenant, "migrate")), settings.clone()),
        role(tenant, "app", Some(&secret(tenant, "app")), settings.clone()),
        role(tenant, "read", Some(&secret(tenant, "read")), settings),
        schema(tenant, database),
        version(tenant, database, steps),
    ]
}

/// A shipped stack's migrations.
pub fn shipped(library: &mut Library, stack: &str) -> Vec<Step> {
    let folder = format!("{}/templates/{stack}/migrations/tenant", env!("CARGO_MANIFEST_DIR"));
    let files = std::fs::read_dir(folder).unwrap().map(|entry| {
        let entry = entry.unwrap();
        File::parse("tenant", entry.file_name().to_str().unwrap(), &std::fs::read_to_string(entry.path()).unwrap()).unwrap()
    });
    library.add(files.collect()).unwrap()
}
