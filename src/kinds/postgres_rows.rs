//! A tenant's rows in the tables it shares with others of its stack: its admission to them, and the rows. The rules are in
//! [`system`](crate::tenantdb::system).
//!
//! What makes it exist is its lines in the table of roles, which name tenant and registry. The tables are nobody's: they are made for the
//! first tenant of a database, and moved on by `labctl fleet migrate` alone. The walls in them are every tenant's; where one is down, each
//! tenant's plan says so, and the first to be applied puts it up again.
//!
//! Deleting it deletes the tenant's rows from every table, and its lines, in one transaction.

use serde::{Deserialize, Serialize};

use super::Cx;
use crate::cloud::tags::REGISTRY;
use crate::engine::fault::Fault;
use crate::engine::kind::{Change, Deletion, Diff, Identity, Kind, Limit, Observed, Outputs, Ready, Suspension, Tags, Target, Timing};
use crate::tenantdb::Host;
use crate::tenantdb::fault::NO_DATABASE;
use crate::tenantdb::migrations::ledger::{self, To};
use crate::tenantdb::quote::Ident;
use crate::tenantdb::system::admission::{self, Admitted, Guest, Login};
use crate::tenantdb::system::walls::{self, Flaw};
use crate::tenantdb::system::{self, Shared};

/// The kind.
pub struct PostgresRows;

/// What a template may say of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The server.
    host: Host,
    /// The database.
    database: String,
    /// The shared tables: `${stack.system}`.
    system: Shared,
    /// Reads and writes the tenant's rows.
    app_role: String,
    /// Reads them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    readonly_role: Option<String>,
    /// The application may read and not write. Set by suspending; a template says nothing of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    read_only: bool,
}

/// What `observe` reports.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    admitted: Admitted,
    /// What is wrong with the walls between tenants.
    flaws: Vec<Flaw>,
    /// The version of the shared tables.
    version: String,
}

impl Spec {
    fn roles(&self) -> Result<(Ident, Option<Ident>), Fault> {
        Ok((Ident::new(&self.app_role)?, self.readonly_role.as_deref().map(Ident::new).transpose()?))
    }

    fn guest<'a>(&self, tenant: &'a str, tags: &'a Tags, roles: &'a (Ident, Option<Ident>)) -> Guest<'a> {
        let registry = tags.get(REGISTRY).map_or("", String::as_str);
        Guest { tenant, registry, app: &roles.0, readonly: roles.1.as_ref(), read_only: self.read_only }
    }

    fn id(&self, tenant: &str) -> String {
        format!("{}.{}/{tenant}", self.database, self.system.schema)
    }
}

impl Kind for PostgresRows {
    type Cx = Cx;
    type Spec = Spec;
    type State = State;

    const NAME: &'static str = "postgres_rows";
    const IDENTITY: Identity = Identity::Name;
    const DELETION: Deletion = Deletion::Retain;
    /// As other things in a database.
    const LIMIT: Limit = Limit { api: "postgres", per_second: 200.0, burst: 200, concurrency: 8 };
    const TIMING: Timing = Timing::secs(1, 900);
    const OUTPUTS: &'static [&'static str] = &["schema", "database"];

    fn suspended(&self, spec: Spec, _level: Suspension) -> Spec {
        Spec { read_only: true, ..spec }
    }

    async fn observe(&self, cx: &Cx, target: &Target<'_, Spec>, _recorded: Option<&str>) -> Result<Observed<State>, Fault> {
        let (spec, tenant) = (target.spec, &target.address.tenant);
        let mut db = match cx.admin(&spec.host, &spec.database).await {
            Err(e) if e.code == NO_DATABASE => return Ok(Observed::Absent),
            other => other?,
        };
        let Some(found) = system::find(&mut db, &spec.system).await? else { return Ok(Observed::Absent) };
        let roles = spec.roles()?;
        let guest = spec.guest(tenant, target.tags, &roles);
        let admitted = admission::find(&mut db, &spec.system, &guest).await?;
        if admitted.lines.is_empty() {
            return Ok(Observed::Absent);
        }
        if let Some(whose) = admitted.foreign(&guest) {
            return Ok(Observed::Foreign(whose));
        }
        let mut flaws = walls::find(&mut db, &spec.system).await?;
        // A stack's newer words about tables are about what a migration makes of them, which may be still to come.
        if !ledger::pending(&found.applied, &spec.system.migrations, &To::new()).is_ok_and(|todo| todo.is_empty()) {
            flaws.retain(|f| !f.is_of_migrations());
        }
        Ok(Observed::Mine { id: spec.id(tenant), state: State { admitted, flaws, version: ledger::version(&found.applied) } })
    }

    fn diff(&self, target: &Target<'_, Spec>, state: &State) -> Diff {
        let tenant = &target.address.tenant;
        let roles = match target.spec.roles() {
            Ok(roles) => roles,
            Err(e) => return Diff::Forbidden(e.message),
        };
        let bad: Vec<String> = state.flaws.iter().filter(|f| !f.can_be_mended()).map(ToString::to_string).collect();
        if !bad.is_empty() {
            return Diff::Forbidden(format!(
                "what tenants of stack `{}` share does not keep them apart, and only whoever did it can mend it: {}",
                target.spec.system.stack,
                bad.join("; ")
            ));
        }
        let mut changes: Vec<Change> = Vec::new();
        let wanted = [(&roles.0, !target.spec.read_only)].into_iter().chain(roles.1.iter().map(|r| (r, false)));
        let mut names = Vec::new();
        for (role, writes) in wanted {
            let name = role.name();
            names.push(name);
            let line = state.admitted.lines.iter().find(|l| l.role == name).map_or("(none)", |l| l.tenant.as_str());
            changes.extend(Change::between(&format!("rows_of.{name}"), &line, &tenant.as_str()));
            let is = state.admitted.logins.get(name).cloned().unwrap_or_default();
            let ought = Login { writes, reads: !writes, connects: true };
            changes.extend(Change::between(&format!("access.{name}"), &words(&is), &words(&ought)));
        }
        let strangers = state.admitted.lines.iter().filter(|l| !names.contains(&l.role.as_str()));
        changes.extend(strangers.map(|l| Change::new(format!("rows_of.{}", l.role), &l.tenant, "(none)")));
        changes.extend(state.flaws.iter().map(|f| Change::new(format!("walls.{}.{}", f.sort, f.on), &f.is, &f.ought)));
        Diff::of(changes)
    }

    async fn create(&self, cx: &Cx, target: &Target<'_, Spec>, _token: &str) -> Result<String, Fault> {
        let (spec, tenant) = (target.spec, &target.address.tenant);
        let mut db = cx.admin(&spec.host, &spec.database).await?;
        let roles = spec.roles()?;
        let guest = spec.guest(tenant, target.tags, &roles);
        system::prepare(&mut db, &spec.system, guest.registry, &cx.migrations).await?;
        admission::admit(&mut db, &spec.system, &guest, &Ident::new(&spec.database)?).await?;
        Ok(spec.id(tenant))
    }

    async fn update(&self, cx: &Cx, target: &Target<'_, Spec>, _id: &str, state: &State) -> Result<(), Fault> {
        let (spec, tenant) = (target.spec, &target.address.tenant);
        let mut db = cx.admin(&spec.host, &spec.database).await?;
        let roles = spec.roles()?;
        if !state.flaws.is_empty() {
            walls::mend(&mut db, &spec.system).await?;
        }
        admission::admit(&mut db, &spec.system, &spec.guest(tenant, target.tags, &roles), &Ident::new(&spec.database)?).await
    }

    async fn delete(&self, cx: &Cx, target: &Target<'_, Spec>, _id: &str) -> Result<(), Fault> {
        let (spec, tenant) = (target.spec, &target.address.tenant);
        let mut db = match cx.admin(&spec.host, &spec.database).await {
            Err(e) if e.code == NO_DATABASE => return Ok(()),
            other => other?,
        };
        if system::find(&mut db, &spec.system).await?.is_none() {
            return Ok(());
        }
        let roles = spec.roles()?;
        let guest = spec.guest(tenant, target.tags, &roles);
        if admission::find(&mut db, &spec.system, &guest).await?.lines.is_empty() {
            return Ok(());
        }
        let counts = admission::expel(&mut db, &spec.system, &guest, &Ident::new(&spec.database)?).await?;
        let each: Vec<String> = counts.iter().map(|(table, n)| format!("{table} {n}")).collect();
        tracing::info!("{} rows of `{tenant}` are deleted: {}", counts.values().sum::<i64>(), each.join(", "));
        Ok(())
    }

    fn ready(&self, _target: &Target<'_, Spec>, _state: &State) -> Ready {
        Ready::Ready
    }

    fn outputs(&self, target: &Target<'_, Spec>, _id: &str, _state: &State) -> Outputs {
        let own = [("schema", &target.spec.system.schema), ("database", &target.spec.database)];
        own.map(|(key, value)| (key.to_owned(), value.clone())).into()
    }
}

/// What a login may do, in words.
fn words(login: &Login) -> String {
    let all = [(login.writes, "writes"), (login.reads, "reads"), (login.connects, "connects")];
    let said: Vec<&str> = all.iter().filter(|(yes, _)| *yes).map(|(_, word)| *word).collect();
    if said.is_empty() { "(none)".to_owned() } else { said.join(", ") }
}
