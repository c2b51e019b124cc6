//! A PostgreSQL schema with the grants of a tenant's roles (the rules are in [`grants`]). Its name is unique in its database.
//!
//! # Another name
//! A schema is renamed in place, with all it holds. Its comment says whose it is and goes with it: where there is none of the name wanted,
//! the one with this address in its comment is it, whoever renamed it. So a rename that was cut off before it was on record is found too.
//!
//! On a shared database it also sees to it that `PUBLIC` may neither connect nor create: otherwise no tenant's walls would stand. The tenant's
//! logins connect as members of the database's [`connect_group`], whose role comes with the first tenant and is nobody's.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Cx;
use crate::cloud::tags::{Ownership, ownership};
use crate::engine::fault::Fault;
use crate::engine::kind::{Change, Deletion, Diff, Identity, Kind, Limit, Observed, Outputs, Ready, Suspension, Target, Timing};
use crate::tenantdb::fault::NO_DATABASE;
use crate::tenantdb::grants::{self, Grant, Parties};
use crate::tenantdb::quote::Ident;
use crate::tenantdb::{Host, comment, connect_group, schemas};

/// The kind.
pub struct PostgresSchema;

/// What a template may say of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The server.
    host: Host,
    /// The database.
    database: String,
    /// Name, at most 63 bytes.
    name: String,
    /// Owns the schema; never logs in.
    owner: String,
    /// Makes the tables, and owns them.
    migration_role: String,
    /// Reads and writes rows.
    app_role: String,
    /// Reads rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    readonly_role: Option<String>,
    /// The application may read and not write. Set by suspending; a template says nothing of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    read_only: bool,
}

/// What `observe` reports.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    name: String,
    owner: String,
    /// Whom labctl logs in as.
    admin: String,
    grants: BTreeSet<Grant>,
    /// Things in it that are neither the owner's nor the migration role's.
    strangers: Vec<String>,
    /// Whether tenants share the database.
    #[serde(default)]
    shared: bool,
}

impl Spec {
    /// `shared`: whether tenants share the database, where that matters and is known.
    fn parties(&self, admin: &str, shared: bool) -> Result<Parties, Fault> {
        Ok(Parties {
            owner: Ident::new(&self.owner)?,
            migration: Ident::new(&self.migration_role)?,
            app: Ident::new(&self.app_role)?,
            readonly: self.readonly_role.as_deref().map(Ident::new).transpose()?,
            admin: Ident::new(admin)?,
            read_only: self.read_only,
            connect: if shared { Some(connect_group::group(&Ident::new(&self.database)?)?) } else { None },
        })
    }
}

impl Kind for PostgresSchema {
    type Cx = Cx;
    type Spec = Spec;
    type State = State;

    const NAME: &'static str = "postgres_schema";
    const IDENTITY: Identity = Identity::Name;
    const DELETION: Deletion = Deletion::Retain;
    /// Creation is fastest with 8 at once and falls off at 16 (measured, PostgreSQL 15).
    const LIMIT: Limit = Limit { api: "postgres", per_second: 200.0, burst: 200, concurrency: 8 };
    const TIMING: Timing = Timing::secs(1, 120);
    const OUTPUTS: &'static [&'static str] = &["name", "database"];

    fn suspended(&self, spec: Spec, _level: Suspension) -> Spec {
        Spec { read_only: true, ..spec }
    }

    async fn observe(&self, cx: &Cx, target: &Target<'_, Spec>, _recorded: Option<&str>) -> Result<Observed<State>, Fault> {
        let spec = target.spec;
        let schema = Ident::new(&spec.name)?;
        let mut db = match cx.admin(&spec.host, &spec.database).await {
            Err(e) if e.code == NO_DATABASE => return Ok(Observed::Absent),
            other => other?,
        };
        let parties = spec.parties(db.user(), false)?;
        let (schema, found) = match schemas::find(&mut db, &schema, &parties).await? {
            Some(found) => (schema, found),
            None => match schemas::marked(&mut db, &comment::write(target.tags, &[])).await?.as_slice() {
                [] => return Ok(Observed::Absent),
                [name] => {
                    let name = Ident::new(name)?;
                    match schemas::find(&mut db, &name, &parties).await? {
                        Some(found) => (name, found),
                        None => return Ok(Observed::Absent),
                    }
                }
                many => return Ok(Observed::Many(many.to_vec())),
            },
        };
        if let Ownership::Foreign(whose) = ownership(&comment::read(found.comment.as_deref()), target.tags) {
            return Ok(Observed::Foreign(whose));
        }
        let parties = spec.parties(db.user(), found.shared)?;
        let grants = grants::find(&mut db, &schema, &parties).await?;
        let name = schema.name().to_owned();
        let admin = db.user().to_owned();
        let state = State { name: name.clone(), owner: found.owner, admin, grants, strangers: found.strangers, shared: found.shared };
        Ok(Observed::Mine { id: name, state })
    }

    fn diff(&self, target: &Target<'_, Spec>, state: &State) -> Diff {
        let parties = match target.spec.parties(&state.admin, state.shared) {
            Ok(parties) => parties,
            Err(e) => return Diff::Forbidden(e.message),
        };
        if !state.strangers.is_empty() {
            return Diff::Forbidden(format!(
                "not everything in the schema is its roles' own: {}; make {} the owner of these, or move them elsewhere",
                state.strangers.join(", "),
                parties.migration
            ));
        }
        let (missing, excess) = schemas::differences(&state.grants, &grants::wanted(&parties));
        let mut changes: Vec<Change> = Change::between("name", &state.name, &target.spec.name).into_iter().collect();
        changes.extend(Change::between("owner", &state.owner, &target.spec.owner));
        let here = |g: &Grant| if state.grants.iter().any(|f| f.right() == g.right()) { "on some" } else { "(none)" };
        changes.extend(missing.iter().map(|g| Change::new(format!("grants.{}.{}", g.to, g.on), here(g), &g.privilege)));
        changes.extend(excess.iter().map(|g| Change::new(format!("grants.{}.{}", g.to, g.on), &g.privilege, "(none)")));
        Diff::of(changes)
    }

    async fn create(&self, cx: &Cx, target: &Target<'_, Spec>, _token: &str) -> Result<String, Fault> {
        let spec = target.spec;
        let (schema, database) = (Ident::new(&spec.name)?, Ident::new(&spec.database)?);
        let mut db = cx.admin(&spec.host, &spec.database).await?;
        let parties = spec.parties(db.user(), false)?;
        schemas::create(&mut db, &schema, &database, &parties, &comment::write(target.tags, &[])).await?;
        Ok(spec.name.clone())
    }

    async fn update(&self, cx: &Cx, target: &Target<'_, Spec>, id: &str, _state: &State) -> Result<(), Fault> {
        let spec = target.spec;
        let (is, schema, database) = (Ident::new(id)?, Ident::new(&spec.name)?, Ident::new(&spec.database)?);
        let mut db = cx.admin(&spec.host, &spec.database).await?;
        let parties = spec.parties(db.user(), false)?;
        let Some(found) = schemas::find(&mut db, &is, &parties).await? else {
            return Err(Fault::refused("postgres:ALTER SCHEMA", "3F000", format!("schema {is} is gone")));
        };
        let parties = spec.parties(db.user(), found.shared)?;
        schemas::alter(&mut db, &is, &schema, &database, &parties, &found, &comment::write(target.tags, &[])).await
    }

    async fn delete(&self, cx: &Cx, target: &Target<'_, Spec>, id: &str) -> Result<(), Fault> {
        let spec = target.spec;
        let (schema, database) = (Ident::new(id)?, Ident::new(&spec.database)?);
        let mut db = match cx.admin(&spec.host, &spec.database).await {
            Err(e) if e.code == NO_DATABASE => return Ok(()),
            other => other?,
        };
        let parties = spec.parties(db.user(), false)?;
        let Some(found) = schemas::find(&mut db, &schema, &parties).await? else { return Ok(()) };
        schemas::delete(&mut db, &schema, &database, &parties, &found).await
    }

    fn ready(&self, _target: &Target<'_, Spec>, _state: &State) -> Ready {
        Ready::Ready
    }

    /// The name is the one it will have: what refers to it comes after it has been renamed.
    fn outputs(&self, target: &Target<'_, Spec>, _id: &str, _state: &State) -> Outputs {
        Outputs::from([("name".to_owned(), target.spec.name.clone()), ("database".to_owned(), target.spec.database.clone())])
    }
}
