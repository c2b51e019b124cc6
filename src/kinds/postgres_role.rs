//! A PostgreSQL role. Its name is unique on the server; its comment says whose it is and which version of the secret its password is of.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Cx;
use crate::cloud::fault::{fault, is};
use crate::cloud::tags::{Ownership, ownership};
use crate::engine::fault::Fault;
use crate::engine::kind::{Change, Deletion, Diff, Identity, Kind, Limit, Observed, Outputs, Ready, Suspension, Tags, Target, Timing};
use crate::tenantdb::quote::Ident;
use crate::tenantdb::roles::{self, Password, Role};
use crate::tenantdb::{Host, MAINTENANCE, comment};

/// Key of the comment that notes the secret's version.
const PASSWORD_VERSION: &str = "password_version";

/// The kind.
pub struct PostgresRole;

/// What a template may say of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The server.
    host: Host,
    /// Name, at most 63 bytes.
    name: String,
    /// Whether it may log in.
    login: bool,
    /// How far the tenant must be suspended for it not to log in any more.
    #[serde(default = "full")]
    shut_out_from: Suspension,
    /// Sessions it has go on when it may not log in any more, unless its tenant is suspended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    sessions_stay: bool,
    /// Secret that holds its password; none for a role without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret_arn: Option<String>,
    /// The secret's key with the password.
    #[serde(default = "password", skip_serializing_if = "is_password")]
    password_key: String,
    /// It keeps the password it has, whatever the secret says by now: a login on the way out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    password_stays: bool,
    /// A role it is a member of, and that its sessions act as from their beginning: what they make is that role's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    acts_as: Option<String>,
    /// Sessions at once; none for no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    connection_limit: Option<i32>,
    /// Settings its sessions begin with (`search_path`, `statement_timeout`, …). A session may change them: they are no walls.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    settings: BTreeMap<String, Text>,
    /// Roles whose rights it has.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    member_of: BTreeSet<String>,
}

fn password() -> String {
    "password".to_owned()
}

fn is_password(key: &str) -> bool {
    key == "password"
}

fn full() -> Suspension {
    Suspension::Full
}

/// A setting's value, which templates may write as number or truth value.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Text {
    Words(String),
    Number(i64),
    Truth(bool),
}

impl Text {
    fn text(&self) -> String {
        match self {
            Self::Words(t) => t.clone(),
            Self::Number(n) => n.to_string(),
            Self::Truth(b) => if *b { "on" } else { "off" }.to_owned(),
        }
    }
}

/// What `observe` reports.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    login: bool,
    /// Sessions of a role that is not to log in; not counted where it may.
    #[serde(default)]
    sessions: i64,
    connection_limit: i32,
    settings: BTreeMap<String, String>,
    settings_in: BTreeSet<String>,
    member_of: BTreeSet<String>,
    powers: BTreeSet<String>,
    /// Version of the secret its password was set from.
    password_version: Option<String>,
    /// The secret's version now.
    secret_version: Option<String>,
}

impl Spec {
    fn role(&self) -> Result<Role, Fault> {
        let settings = self.settings.iter().map(|(k, v)| Ok((k.clone(), roles::setting(k, &v.text())?)));
        let role = self.acts_as.iter().map(|other| Ok((roles::ROLE.to_owned(), other.clone())));
        let settings = settings.chain(role).collect::<Result<_, Fault>>()?;
        Ok(Role {
            name: Ident::new(&self.name)?,
            login: self.login,
            connection_limit: self.connection_limit.unwrap_or(-1),
            settings,
            member_of: self.member_of.iter().chain(&self.acts_as).cloned().collect(),
        })
    }
}

fn comment(tags: &Tags, version: Option<&str>) -> String {
    comment::write(tags, version.map(|v| (PASSWORD_VERSION, v)).as_slice())
}

/// The version that is current, without reading the password.
async fn current_version(cx: &Cx, arn: &str) -> Result<Option<String>, Fault> {
    match cx.cloud.secrets.describe_secret().secret_id(arn).send().await {
        Ok(found) => {
            let current = |stages: &Vec<String>| stages.iter().any(|s| s == "AWSCURRENT");
            Ok(found.version_ids_to_stages().and_then(|v| v.iter().find(|(_, stages)| current(stages))).map(|(id, _)| id.clone()))
        }
        Err(e) if is(&e, &["ResourceNotFoundException"]) => Ok(None),
        Err(e) => Err(fault("secretsmanager:DescribeSecret", e)),
    }
}

impl Kind for PostgresRole {
    type Cx = Cx;
    type Spec = Spec;
    type State = State;

    const NAME: &'static str = "postgres_role";
    const IDENTITY: Identity = Identity::Name;
    const DELETION: Deletion = Deletion::Delete;
    /// PostgreSQL has no rate; at 8 connections schema creation is fastest (measured), and roles are made beside it.
    const LIMIT: Limit = Limit { api: "postgres", per_second: 200.0, burst: 200, concurrency: 8 };
    const TIMING: Timing = Timing::secs(1, 60);
    const OUTPUTS: &'static [&'static str] = &["name"];

    /// It keeps its password and its rights: those of the application are the schema's to take. Migrations go on without it, because
    /// labctl runs them as its own role, which acts as this one.
    fn suspended(&self, spec: Spec, level: Suspension) -> Spec {
        let shut_out = level >= spec.shut_out_from;
        Spec { login: spec.login && !shut_out, sessions_stay: spec.sessions_stay && !shut_out, ..spec }
    }

    async fn observe(&self, cx: &Cx, target: &Target<'_, Spec>, _recorded: Option<&str>) -> Result<Observed<State>, Fault> {
        let spec = target.spec;
        let name = Ident::new(&spec.name)?;
        let mut db = cx.admin(&spec.host, MAINTENANCE).await?;
        let Some(found) = roles::find(&mut db, &name).await? else { return Ok(Observed::Absent) };
        let tags = comment::read(found.comment.as_deref());
        if let Ownership::Foreign(whose) = ownership(&tags, target.tags) {
            return Ok(Observed::Foreign(whose));
        }
        let secret_version = match &spec.secret_arn {
            Some(arn) => current_version(cx, arn).await?,
            None => None,
        };
        let state = State {
            login: found.login,
            sessions: if spec.login || spec.sessions_stay { 0 } else { roles::sessions(&mut db, &name).await? },
            connection_limit: found.connection_limit,
            settings: found.settings,
            settings_in: found.settings_in,
            member_of: found.member_of,
            powers: found.powers,
            password_version: tags.get(PASSWORD_VERSION).cloned(),
            secret_version,
        };
        Ok(Observed::Mine { id: spec.name.clone(), state })
    }

    fn diff(&self, target: &Target<'_, Spec>, state: &State) -> Diff {
        let role = match target.spec.role() {
            Ok(role) => role,
            Err(e) => return Diff::Forbidden(e.message),
        };
        if let Some(power) = state.powers.iter().find(|p| !roles::removable(p)) {
            return Diff::Forbidden(format!("the role has {power}, which only a superuser can take away: ALTER ROLE {} NO{power}", role.name));
        }
        let mut changes: Vec<Change> = state.powers.iter().map(|p| Change::new("powers", p, "(none)")).collect();
        changes.extend(Change::between("login", &state.login, &role.login));
        // Sessions that began before it lost its login: a run may have been cut off between the two.
        changes.extend((!role.login && state.sessions > 0).then(|| Change::new("sessions", state.sessions, 0)));
        changes.extend(Change::between("connection_limit", &state.connection_limit, &role.connection_limit));
        for key in state.settings.keys().chain(role.settings.keys()).collect::<BTreeSet<_>>() {
            let text = |value: Option<&String>| value.map_or("(none)".to_owned(), Clone::clone);
            let (is, want) = (state.settings.get(key), role.settings.get(key));
            changes.extend((is != want).then(|| Change::new(format!("settings.{key}"), text(is), text(want))));
        }
        changes.extend(state.settings_in.iter().map(|d| Change::new("settings", format!("others in database {d}"), "(none)")));
        changes.extend(Change::between("member_of", &state.member_of, &role.member_of));
        if !target.spec.password_stays {
            changes.extend(Change::between("password_version", &state.password_version, &state.secret_version));
        }
        Diff::of(changes)
    }

    async fn create(&self, cx: &Cx, target: &Target<'_, Spec>, _token: &str) -> Result<String, Fault> {
        let spec = target.spec;
        let role = spec.role()?;
        let (password, version) = match &spec.secret_arn {
            Some(arn) if !spec.password_stays => {
                cx.password(arn, &spec.password_key).await.map(|(password, version)| (Password::Set(password), Some(version)))?
            }
            _ => (Password::Keep, None),
        };
        let mut db = cx.admin(&spec.host, MAINTENANCE).await?;
        roles::create(&mut db, &role, &password, &comment(target.tags, version.as_deref())).await?;
        Ok(spec.name.clone())
    }

    async fn update(&self, cx: &Cx, target: &Target<'_, Spec>, _id: &str, state: &State) -> Result<(), Fault> {
        let spec = target.spec;
        let role = spec.role()?;
        let (password, version) = match &spec.secret_arn {
            None if state.password_version.is_some() => (Password::Clear, None),
            None => (Password::Keep, None),
            Some(_) if spec.password_stays => (Password::Keep, state.password_version.clone()),
            Some(_) if state.password_version == state.secret_version && state.password_version.is_some() => (Password::Keep, state.password_version.clone()),
            Some(arn) => cx.password(arn, &spec.password_key).await.map(|(password, version)| (Password::Set(password), Some(version)))?,
        };
        let mut db = cx.admin(&spec.host, MAINTENANCE).await?;
        // What is there now, not what was there when the plan was made.
        let Some(found) = roles::find(&mut db, &role.name).await? else {
            return Err(Fault::refused("postgres:ALTER ROLE", "42704", format!("role {} is gone", role.name)));
        };
        roles::alter(&mut db, &found, &role, &password, &comment(target.tags, version.as_deref())).await?;
        if !role.login && !spec.sessions_stay && (found.login || state.sessions > 0) {
            roles::end_all_sessions(&mut db, &role.name).await?;
        }
        Ok(())
    }

    async fn delete(&self, cx: &Cx, target: &Target<'_, Spec>, id: &str) -> Result<(), Fault> {
        let host = &target.spec.host;
        let name = Ident::new(id)?;
        let mut db = cx.admin(host, MAINTENANCE).await?;
        let Some(traces) = roles::traces(&mut db, &name).await? else { return Ok(()) };
        if !traces.owns.is_empty() {
            return Err(Fault::refused("postgres:DROP ROLE", "2BP01", format!("role {name} still owns {}", traces.owns.join(", ")))
                .hint("a role is never dropped together with data: delete its schemas and databases first"));
        }
        roles::shut_out(&mut db, &name).await?;
        for database in traces.rights_in.iter().filter(|d| *d != MAINTENANCE) {
            roles::sweep(&mut cx.admin(host, database).await?, &name).await?;
        }
        roles::delete(&mut db, &name).await
    }

    fn ready(&self, _target: &Target<'_, Spec>, _state: &State) -> Ready {
        Ready::Ready
    }

    fn outputs(&self, _target: &Target<'_, Spec>, id: &str, _state: &State) -> Outputs {
        Outputs::from([("name".to_owned(), id.to_owned())])
    }
}
