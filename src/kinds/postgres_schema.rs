//! A PostgreSQL schema with the grants of a tenant's roles (the rules are in [`grants`]). Its name is unique in its database.
//!
//! # Another name
//! A schema is renamed in place, with all it holds. Its comment says whose it is and goes with it: where there is none of the name wanted,
//! the one with this address in its comment is it, whoever renamed it. So a rename that was cut off before it was on record is found too.
//!
//! # One that was there before
//! A schema without any labctl's mark is somebody else's, unless `adopt` says that it is to be taken over: then owner, grants and mark are
//! differences like others, and `update` mends them all at once, if the schema is what its baseline makes ([`adoption`]).
//!
//! On a shared database it also sees to it that `PUBLIC` may neither connect nor create: otherwise no tenant's walls would stand. The tenant's
//! logins connect as members of the database's [`connect_group`], whose role comes with the first tenant and is nobody's.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Cx;
use crate::cloud::tags::{Ownership, ownership};
use crate::engine::fault::Fault;
use crate::engine::kind::{Change, Deletion, Diff, Identity, Kind, Limit, Observed, Outputs, Ready, Suspension, Tags, Target, Timing};
use crate::tenantdb::adoption::{self, Terms};
use crate::tenantdb::fault::NO_DATABASE;
use crate::tenantdb::grants::{self, Grant, Parties};
use crate::tenantdb::migrations::Step;
use crate::tenantdb::quote::Ident;
use crate::tenantdb::row_security::{self, Guard};
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
    /// Its tables show their rows to these roles only, whatever else is granted on them ([`row_security`]).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    row_security: bool,
    /// A schema of that name that nobody's labctl has marked is taken over. Without it, none is made: one was expected.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    adopt: bool,
    /// What a schema that is taken over must be: what these migrations make. It is compared first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    baseline: Vec<Step>,
}

/// What `observe` reports.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    name: String,
    /// Whether its comment says that it is this tenant's. One that is to be taken over says nothing yet.
    #[serde(default = "yes")]
    marked: bool,
    /// Of one that is not marked: what in it will change its owner, and who has it now.
    #[serde(default)]
    others: Vec<(String, String)>,
    owner: String,
    /// Whom labctl logs in as.
    admin: String,
    grants: BTreeSet<Grant>,
    /// Things in it that are neither the owner's nor the migration role's.
    strangers: Vec<String>,
    /// Whether tenants share the database.
    #[serde(default)]
    shared: bool,
    /// For whom its comment says that it is guarded.
    #[serde(default)]
    guarded_for: Option<String>,
    /// Relations that are not guarded as they shall be, with what they lack.
    #[serde(default)]
    unguarded: BTreeMap<String, String>,
    /// Relations that cannot be guarded.
    #[serde(default)]
    hopeless: Vec<String>,
}

fn yes() -> bool {
    true
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
            row_security: self.row_security,
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
        let tags = comment::read(found.comment.as_deref());
        let mut others = Vec::new();
        let marked = match ownership(&tags, target.tags) {
            Ownership::Mine => true,
            Ownership::Foreign(whose) if tags.keys().any(|key| key.starts_with("labctl:")) => return Ok(Observed::Foreign(whose)),
            Ownership::Foreign(whose) if !spec.adopt => {
                return Ok(Observed::Foreign(format!("{whose}; `[database] adopt = true` in the tenant's spec takes such a schema over")));
            }
            Ownership::Foreign(_) if adoption::has_ledger(&mut db, &schema).await? => {
                let why = "it has a ledger of migrations already: only a schema without one is taken over, and `[database] baseline` begins one";
                return Ok(Observed::Foreign(why.to_owned()));
            }
            // One that was renamed by hand is not left behind for another.
            Ownership::Foreign(whose) if !schemas::marked(&mut db, &comment::write(target.tags, &[])).await?.is_empty() => {
                return Ok(Observed::Foreign(format!("{whose}, and the tenant has a schema of another name")));
            }
            Ownership::Foreign(_) => {
                others = adoption::strangers(&mut db, &schema, &parties).await?;
                false
            }
        };
        let parties = spec.parties(db.user(), found.shared)?;
        let grants = grants::find(&mut db, &schema, &parties).await?;
        let name = schema.name().to_owned();
        let state = State {
            name: name.clone(),
            marked,
            others,
            owner: found.owner,
            admin: db.user().to_owned(),
            grants,
            strangers: found.strangers,
            shared: found.shared,
            guarded_for: row_security::mark(found.comment.as_deref()),
            unguarded: found.guard.differs,
            hopeless: found.guard.hopeless,
        };
        Ok(Observed::Mine { id: name, state })
    }

    fn diff(&self, target: &Target<'_, Spec>, state: &State) -> Diff {
        let wanted = target.spec.parties(&state.admin, state.shared).and_then(|parties| Ok((Guard::of(&parties)?, parties)));
        let (guard, parties) = match wanted {
            Ok(wanted) => wanted,
            Err(e) => return Diff::Forbidden(e.message),
        };
        if state.marked && !state.strangers.is_empty() {
            return Diff::Forbidden(format!(
                "not everything in the schema is its roles' own: {}; make {} the owner of these, or move them elsewhere",
                state.strangers.join(", "),
                parties.migration
            ));
        }
        let mut changes: Vec<Change> = Change::between("name", &state.name, &target.spec.name).into_iter().collect();
        if !state.marked {
            changes.push(Change::new("ownership", "nobody's", target.address));
            changes.extend(held(&target.spec.baseline));
        }
        changes.extend(Change::between("owner", &state.owner, &target.spec.owner));
        changes.extend(state.others.iter().map(|(what, whose)| Change::new(format!("owner of {what}"), whose, &target.spec.migration_role)));
        if !state.hopeless.is_empty() {
            return Diff::Forbidden(format!(
                "row security is asked for, and {} can have no policy: make a view or a table of it, or take `row_security` out of the template",
                state.hopeless.join(", ")
            ));
        }
        let (missing, excess) = schemas::differences(&state.grants, &grants::wanted(&parties));
        let here = |g: &Grant| if state.grants.iter().any(|f| f.right() == g.right()) { "on some" } else { "(none)" };
        changes.extend(missing.iter().map(|g| Change::new(format!("grants.{}.{}", g.to, g.on), here(g), &g.privilege)));
        changes.extend(excess.iter().map(|g| Change::new(format!("grants.{}.{}", g.to, g.on), &g.privilege, "(none)")));
        changes.extend(Change::between(
            "row_security",
            &state.guarded_for.as_deref().unwrap_or("off"),
            &guard.as_ref().map_or("off".to_owned(), Guard::mark).as_str(),
        ));
        let to = if guard.is_some() { "guarded" } else { "(none)" };
        changes.extend(state.unguarded.iter().map(|(name, lacks)| Change::new(format!("row_security.{name}"), lacks, to)));
        Diff::of(changes)
    }

    fn announced(&self, spec: &Spec) -> Vec<Change> {
        if !spec.adopt {
            return Vec::new();
        }
        let adopted = Change::new("ownership", "nobody's", "taken over, with all that is in it");
        std::iter::once(adopted).chain(held(&spec.baseline)).collect()
    }

    async fn create(&self, cx: &Cx, target: &Target<'_, Spec>, _token: &str) -> Result<String, Fault> {
        let spec = target.spec;
        let (schema, database) = (Ident::new(&spec.name)?, Ident::new(&spec.database)?);
        if spec.adopt {
            return Err(Fault::refused("postgres:ALTER SCHEMA", "3F000", format!("there is no schema {schema} in {database} to be taken over"))
                .hint(format!("rename yours (`ALTER SCHEMA … RENAME TO {schema}`); or take `[database]` out of the tenant's spec, and an empty one is made")));
        }
        let mut db = cx.admin(&spec.host, &spec.database).await?;
        let parties = spec.parties(db.user(), false)?;
        schemas::create(&mut db, &schema, &database, &parties, &words(target.tags, &parties)?).await?;
        Ok(spec.name.clone())
    }

    async fn update(&self, cx: &Cx, target: &Target<'_, Spec>, id: &str, state: &State) -> Result<(), Fault> {
        let spec = target.spec;
        let (is, schema, database) = (Ident::new(id)?, Ident::new(&spec.name)?, Ident::new(&spec.database)?);
        let mut db = cx.admin(&spec.host, &spec.database).await?;
        let parties = spec.parties(db.user(), false)?;
        let Some(found) = schemas::find(&mut db, &is, &parties).await? else {
            return Err(Fault::refused("postgres:ALTER SCHEMA", "3F000", format!("schema {is} is gone")));
        };
        let parties = spec.parties(db.user(), found.shared)?;
        if !state.marked {
            let comment = words(target.tags, &parties)?;
            let terms = Terms { database: &database, parties: &parties, comment: &comment, baseline: &spec.baseline };
            return adoption::take_over(&mut db, &schema, &found, &terms, &cx.migrations).await;
        }
        schemas::alter(&mut db, &is, &schema, &database, &parties, &found, &words(target.tags, &parties)?).await
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

/// What the schema is compared with before it is taken over.
fn held(baseline: &[Step]) -> impl Iterator<Item = Change> + '_ {
    baseline.iter().map(|step| Change::new(step.to_string(), "not compared", "what the schema is"))
}

/// The schema's comment: whose it is, and for whom it is guarded.
fn words(tags: &Tags, parties: &Parties) -> Result<String, Fault> {
    let guard = Guard::of(parties)?.map(|guard| guard.mark());
    Ok(comment::write(tags, guard.as_deref().map(|mark| (row_security::MARK, mark)).as_slice()))
}
