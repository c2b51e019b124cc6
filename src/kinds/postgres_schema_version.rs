//! The migrations applied to a schema. What makes it exist is the schema's ledger, whose comment says whose it is.
//!
//! History is only ever continued: a file that was changed, lost or put in before others after it was applied is refused, with the difference.
//! The ledger lies in the schema and goes with it when that is renamed: until then it is found under the former name, by its comment.
//!
//! A schema that was there before may hold the work of the first migrations already: its baseline, recorded when its ledger is made.
//!
//! Deleting it drops the ledger; what the migrations made is data, and goes with the schema.

use serde::{Deserialize, Serialize};

use super::Cx;
use crate::cloud::tags::{Ownership, ownership};
use crate::engine::fault::Fault;
use crate::engine::kind::{Change, Deletion, Diff, Identity, Kind, Limit, Observed, Outputs, Ready, Suspension, Target, Timing};
use crate::tenantdb::fault::NO_DATABASE;
use crate::tenantdb::migrations::apply::{self, Job, Ledger};
use crate::tenantdb::migrations::central::standing;
use crate::tenantdb::migrations::{Step, central, ledger, own};
use crate::tenantdb::quote::Ident;
use crate::tenantdb::{Host, comment};

/// The kind.
pub struct PostgresSchemaVersion;

/// What a template may say of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The server.
    host: Host,
    /// The database.
    database: String,
    /// The schema.
    schema: String,
    /// The migration role: migrations run as it, and what they make is its own.
    role: String,
    /// What shall be applied, in order.
    migrations: Vec<Step>,
    /// Those of them whose work the schema held before it was this tenant's: recorded in the ledger when that is made, and not run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    baseline: Vec<Step>,
}

/// What `observe` reports.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    schema: String,
    applied: Vec<Step>,
    /// Those of them that were recorded and not run.
    #[serde(default)]
    baseline: Vec<Step>,
    /// Whether the database's central ledger says the same: what fleet migrations go by.
    #[serde(default = "yes")]
    central: bool,
}

fn yes() -> bool {
    true
}

impl Kind for PostgresSchemaVersion {
    type Cx = Cx;
    type Spec = Spec;
    type State = State;

    const NAME: &'static str = "postgres_schema_version";
    const IDENTITY: Identity = Identity::Name;
    const DELETION: Deletion = Deletion::Retain;
    /// One transaction per schema, 8 at once: 700–790 small migrations a second (measured).
    const LIMIT: Limit = Limit { api: "postgres", per_second: 200.0, burst: 200, concurrency: 8 };
    const TIMING: Timing = Timing::secs(1, 900);
    const OUTPUTS: &'static [&'static str] = &["version"];

    /// Migrations go on: labctl runs them as its own role, and what they make has the rights of the level. A tenant that missed them could not
    /// be resumed under today's images.
    fn suspended(&self, spec: Spec, _level: Suspension) -> Spec {
        spec
    }

    async fn observe(&self, cx: &Cx, target: &Target<'_, Spec>, _recorded: Option<&str>) -> Result<Observed<State>, Fault> {
        let spec = target.spec;
        let schema = Ident::new(&spec.schema)?;
        let mut db = match cx.admin(&spec.host, &spec.database).await {
            Err(e) if e.code == NO_DATABASE => return Ok(Observed::Absent),
            other => other?,
        };
        let (schema, found) = match own::find(&mut db, &schema).await? {
            Some(found) => (spec.schema.clone(), found),
            None => match ledger::marked(&mut db, &comment::write(target.tags, &[])).await?.as_slice() {
                [] => return Ok(Observed::Absent),
                [name] => match own::find(&mut db, &Ident::new(name)?).await? {
                    Some(found) => (name.clone(), found),
                    None => return Ok(Observed::Absent),
                },
                many => return Ok(Observed::Many(many.to_vec())),
            },
        };
        if let Ownership::Foreign(whose) = ownership(&comment::read(found.comment.as_deref()), target.tags) {
            return Ok(Observed::Foreign(whose));
        }
        let central = central::read(&mut db, &[&schema]).await?.remove(&schema).unwrap_or_default() == standing(&found.applied);
        Ok(Observed::Mine { id: format!("{}.{schema}", spec.database), state: State { schema, applied: found.applied, baseline: found.baseline, central } })
    }

    fn diff(&self, target: &Target<'_, Spec>, state: &State) -> Diff {
        let begun = |steps: &[Step]| if steps.is_empty() { "without one".to_owned() } else { format!("with {}", ledger::version(steps)) };
        if !target.spec.baseline.is_empty() && standing(&target.spec.baseline) != standing(&state.baseline) {
            return Diff::Forbidden(format!(
                "`[database] baseline` of the tenant's spec says {}, and the schema has a ledger already, which was begun {}: a baseline is for a schema without a ledger; take it out of the spec",
                ledger::version(&target.spec.baseline),
                begun(&state.baseline)
            ));
        }
        match ledger::pending(&state.applied, &target.spec.migrations, &ledger::To::new()) {
            Ok(todo) => {
                let renamed = Change::between("schema", &state.schema, &target.spec.schema);
                let differs = (!state.central && todo.is_empty()).then(|| Change::new("central_ledger", "differs", "as the schema's own"));
                Diff::of(renamed.into_iter().chain(todo.into_iter().map(|step| Change::new(step.to_string(), "pending", "applied"))).chain(differs))
            }
            Err(wrong) => {
                // A module's tables hold data: it is the application that stops offering it.
                let back = match state.applied.iter().find(|a| !target.spec.migrations.iter().any(|w| w.folder == a.folder)) {
                    Some(gone) => format!("a module stays among the tenant's modules as long as its tables are there: name `{}` again", gone.folder),
                    None => "put the files back as they were and add a new one for what shall change".to_owned(),
                };
                Diff::Forbidden(format!("{wrong}; {back}"))
            }
        }
    }

    fn announced(&self, spec: &Spec) -> Vec<Change> {
        spec.baseline.iter().map(|step| Change::new(step.to_string(), "in the schema", "recorded, not run")).collect()
    }

    async fn create(&self, cx: &Cx, target: &Target<'_, Spec>, _token: &str) -> Result<String, Fault> {
        migrate(cx, target).await?;
        Ok(format!("{}.{}", target.spec.database, target.spec.schema))
    }

    async fn update(&self, cx: &Cx, target: &Target<'_, Spec>, _id: &str, _state: &State) -> Result<(), Fault> {
        migrate(cx, target).await
    }

    async fn delete(&self, cx: &Cx, target: &Target<'_, Spec>, id: &str) -> Result<(), Fault> {
        let spec = target.spec;
        let schema = id.strip_prefix(&format!("{}.", spec.database)).unwrap_or(&spec.schema);
        let (schema, role) = (Ident::new(schema)?, Ident::new(&spec.role)?);
        let mut db = match cx.admin(&spec.host, &spec.database).await {
            Err(e) if e.code == NO_DATABASE => return Ok(()),
            other => other?,
        };
        if own::find(&mut db, &schema).await?.is_none() {
            return Ok(());
        }
        ledger::delete(&mut db, &schema, &role).await
    }

    fn ready(&self, _target: &Target<'_, Spec>, _state: &State) -> Ready {
        Ready::Ready
    }

    fn outputs(&self, _target: &Target<'_, Spec>, _id: &str, state: &State) -> Outputs {
        Outputs::from([("version".to_owned(), ledger::version(&state.applied))])
    }
}

async fn migrate(cx: &Cx, target: &Target<'_, Spec>) -> Result<(), Fault> {
    let spec = target.spec;
    let (schema, role) = (Ident::new(&spec.schema)?, Ident::new(&spec.role)?);
    let mut db = cx.admin(&spec.host, &spec.database).await?;
    let comment = comment::write(target.tags, &[]);
    let job = Job {
        schema: &schema,
        role: &role,
        tenant: &target.address.tenant,
        wanted: &spec.migrations,
        to: &ledger::To::new(),
        ledger: Ledger::Make { comment: &comment, baseline: &spec.baseline },
        believed: None,
        lock_timeout: apply::LOCK_TIMEOUT,
        shared: None,
    };
    apply::migrate(&mut db, &job, &cx.migrations).await.map(drop)
}
