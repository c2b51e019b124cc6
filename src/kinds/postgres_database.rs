//! A PostgreSQL database of one tenant. Its name is unique on the server. `CREATE DATABASE` allows no transaction: a database whose comment
//! a crash left out is this tenant's when its owner is this tenant's role (see [`databases`]).

use serde::{Deserialize, Serialize};

use super::Cx;
use crate::cloud::tags::{Ownership, REGISTRY, TENANT, ownership};
use crate::engine::fault::Fault;
use crate::engine::kind::{Change, Deletion, Diff, Identity, Kind, Limit, Observed, Outputs, Ready, Suspension, Target, Timing};
use crate::tenantdb::quote::Ident;
use crate::tenantdb::{Host, MAINTENANCE, comment, databases};

/// The kind.
pub struct PostgresDatabase;

/// What a template may say of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The server.
    host: Host,
    /// Name, at most 63 bytes.
    name: String,
    /// The tenant's owner role.
    owner: String,
    /// Sessions at once; none for no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    connection_limit: Option<i32>,
}

/// What `observe` reports.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    owner: String,
    commented: bool,
    connection_limit: i32,
    allow_connections: bool,
    admin_connects: bool,
    /// What `PUBLIC` may do with the database.
    public: Vec<String>,
    /// What `PUBLIC` may do in its schema `public`.
    public_schema: Vec<String>,
}

impl Spec {
    fn limit(&self) -> i32 {
        self.connection_limit.unwrap_or(-1)
    }
}

impl Kind for PostgresDatabase {
    type Cx = Cx;
    type Spec = Spec;
    type State = State;

    const NAME: &'static str = "postgres_database";
    const IDENTITY: Identity = Identity::Name;
    const DELETION: Deletion = Deletion::Retain;
    /// A new database is some 7 MB of log at once: a few at a time.
    const LIMIT: Limit = Limit { api: "postgres:databases", per_second: 5.0, burst: 5, concurrency: 4 };
    const TIMING: Timing = Timing::secs(2, 300);
    const OUTPUTS: &'static [&'static str] = &["name"];

    /// It stays open: who may log in is the roles' matter, and labctl still has to.
    fn suspended(&self, spec: Spec, _level: Suspension) -> Spec {
        spec
    }

    async fn observe(&self, cx: &Cx, target: &Target<'_, Spec>, _recorded: Option<&str>) -> Result<Observed<State>, Fault> {
        let spec = target.spec;
        let name = Ident::new(&spec.name)?;
        let Some(found) = databases::find(&mut cx.admin(&spec.host, MAINTENANCE).await?, &name).await? else { return Ok(Observed::Absent) };
        let commented = match ownership(&comment::read(found.comment.as_deref()), target.tags) {
            Ownership::Mine => true,
            Ownership::Foreign(whose) => {
                let owner = comment::read(found.owner_comment.as_deref());
                let ours = found.owner == spec.owner && [TENANT, REGISTRY].iter().all(|k| owner.contains_key(*k) && owner.get(*k) == target.tags.get(*k));
                if found.comment.is_some() || !ours {
                    return Ok(Observed::Foreign(whose));
                }
                false
            }
        };
        let open = found.allow_connections && found.admin_connects && found.connection_limit != -2;
        let public_schema = if open { databases::public_schema(&mut cx.admin(&spec.host, &spec.name).await?).await? } else { Vec::new() };
        let state = State {
            owner: found.owner,
            commented,
            connection_limit: found.connection_limit,
            allow_connections: found.allow_connections,
            admin_connects: found.admin_connects,
            public: found.public,
            public_schema,
        };
        Ok(Observed::Mine { id: spec.name.clone(), state })
    }

    fn diff(&self, target: &Target<'_, Spec>, state: &State) -> Diff {
        if state.connection_limit == -2 {
            return Diff::Forbidden("the database was half dropped and cannot be used any more: purge it, then restore it from a backup".to_owned());
        }
        let mut changes = Vec::new();
        changes.extend(Change::between("owner", &state.owner, &target.spec.owner));
        changes.extend(Change::between("comment", &state.commented, &true));
        changes.extend(Change::between("connection_limit", &state.connection_limit, &target.spec.limit()));
        changes.extend(Change::between("allow_connections", &state.allow_connections, &true));
        changes.extend(Change::between("administrator_connects", &state.admin_connects, &true));
        changes.extend((!state.public.is_empty()).then(|| Change::new("public", state.public.join(", "), "(none)")));
        changes.extend((!state.public_schema.is_empty()).then(|| Change::new("public_schema", state.public_schema.join(", "), "(none)")));
        Diff::of(changes)
    }

    async fn create(&self, cx: &Cx, target: &Target<'_, Spec>, _token: &str) -> Result<String, Fault> {
        let spec = target.spec;
        let (name, owner) = (Ident::new(&spec.name)?, Ident::new(&spec.owner)?);
        let mut db = cx.admin(&spec.host, MAINTENANCE).await?;
        databases::create(&mut db, &name, &owner, spec.limit(), &comment::write(target.tags, &[])).await?;
        Ok(spec.name.clone())
    }

    async fn update(&self, cx: &Cx, target: &Target<'_, Spec>, id: &str, _state: &State) -> Result<(), Fault> {
        let spec = target.spec;
        let (name, owner) = (Ident::new(id)?, Ident::new(&spec.owner)?);
        let mut db = cx.admin(&spec.host, MAINTENANCE).await?;
        let Some(found) = databases::find(&mut db, &name).await? else {
            return Err(Fault::refused("postgres:ALTER DATABASE", "3D000", format!("database {name} is gone")));
        };
        databases::alter(&mut db, &name, &found, &owner, spec.limit(), &comment::write(target.tags, &[])).await?;
        let mut inside = cx.admin(&spec.host, id).await?;
        if databases::public_schema(&mut inside).await?.is_empty() {
            return Ok(());
        }
        databases::lock_public_schema(&mut inside, &owner).await
    }

    async fn delete(&self, cx: &Cx, target: &Target<'_, Spec>, id: &str) -> Result<(), Fault> {
        let host = &target.spec.host;
        let name = Ident::new(id)?;
        let mut db = cx.admin(host, MAINTENANCE).await?;
        let Some(found) = databases::find(&mut db, &name).await? else { return Ok(()) };
        cx.db.forget(&host.endpoint, id);
        databases::delete(&mut db, &name, &Ident::new(&found.owner)?).await
    }

    fn ready(&self, _target: &Target<'_, Spec>, state: &State) -> Ready {
        if state.connection_limit == -2 { Ready::Broken("half dropped".to_owned()) } else { Ready::Ready }
    }

    fn outputs(&self, _target: &Target<'_, Spec>, id: &str, _state: &State) -> Outputs {
        Outputs::from([("name".to_owned(), id.to_owned())])
    }
}
