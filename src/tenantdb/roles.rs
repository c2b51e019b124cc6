//! Roles: made, changed, compared, dropped. Passwords go in as SCRAM verifiers computed here, so that no server log ever holds one.
//!
//! What cannot be seen: `pg_authid` is closed to administrators that are no superusers, so whether a role still has the password we gave it
//! cannot be told; the comment notes the secret's version it was set from. And a role may change its own password and its own settings:
//! time-outs and `search_path` are defaults, not walls. The walls are the grants.

use std::collections::{BTreeMap, BTreeSet};

use secrecy::{ExposeSecret, SecretString};

use super::connect::Connection;
use super::connect_group;
use super::fault::creating;
use super::membership::borrow;
use super::quote::{Ident, Literal, list};
use super::system::GROUP;
use crate::engine::fault::Fault;

/// Settings whose value is a list of names rather than one text.
const LISTS: &[&str] = &["search_path", "temp_tablespaces", "local_preload_libraries", "session_preload_libraries"];

/// The setting by which a role's sessions act as another role. [`setting`] refuses it: only what makes the role a member of that other
/// one as well may set it.
pub const ROLE: &str = "role";

/// A role as it is wanted.
#[derive(Debug, Clone)]
pub struct Role {
    /// Its name.
    pub name: Ident,
    /// Whether it may log in.
    pub login: bool,
    /// Sessions at once; `-1` for no limit.
    pub connection_limit: i32,
    /// Settings of its sessions, in the form [`setting`] gives them.
    pub settings: BTreeMap<String, String>,
    /// Roles whose rights it has.
    pub member_of: BTreeSet<String>,
}

/// A role as it is.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its comment.
    pub comment: Option<String>,
    /// Whether it may log in.
    pub login: bool,
    /// Sessions at once; `-1` for no limit.
    pub connection_limit: i32,
    /// Settings of its sessions, in the form [`setting`] gives them.
    pub settings: BTreeMap<String, String>,
    /// Databases in which it has settings of their own, which win over those above.
    pub settings_in: BTreeSet<String>,
    /// Roles whose rights it has, but those by which it connects to shared databases, which go with its schemas, and the groups of a system's
    /// tables, which are its admission's ([`system`](super::system)).
    pub member_of: BTreeSet<String>,
    /// Powers no tenant's role may have (`SUPERUSER`, `CREATEROLE`, …).
    pub powers: BTreeSet<String>,
}

/// What becomes of a role's password.
pub enum Password {
    /// It stays as it is.
    Keep,
    /// It becomes this one.
    Set(SecretString),
    /// The role has none.
    Clear,
}

impl Password {
    fn clause(&self) -> Result<String, Fault> {
        Ok(match self {
            Self::Keep => String::new(),
            Self::Clear => " PASSWORD NULL".to_owned(),
            Self::Set(password) => format!(" PASSWORD {}", Literal::new(&verifier(password))?),
        })
    }
}

/// The SCRAM-SHA-256 verifier of a password, with a salt of its own each time.
fn verifier(password: &SecretString) -> String {
    postgres_protocol::password::scram_sha_256(password.expose_secret().as_bytes())
}

/// A setting's value in the one form two values are compared in: lists of names are taken apart, folded as PostgreSQL would, and each
/// name is quoted.
///
/// # Errors
/// Refused (`invalid_setting`) when the name is none, or one by which a session would become another role.
pub fn setting(name: &str, value: &str) -> Result<String, Fault> {
    let plain = |part: &str| part.starts_with(|c: char| c.is_ascii_lowercase() || c == '_') && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !name.split('.').all(plain) || matches!(name, "role" | "session_authorization") {
        return Err(Fault::refused("postgres:ALTER ROLE", "invalid_setting", format!("`{name}` is not a setting a role can be given")));
    }
    if LISTS.contains(&name) { Ok(list(names(value).iter().map(|n| format!("\"{}\"", n.replace('"', "\"\""))))) } else { Ok(value.to_owned()) }
}

/// `a, "B c"` taken apart, as PostgreSQL reads a list of names: unquoted ones are folded to lower case.
fn names(value: &str) -> Vec<String> {
    let (mut names, mut name, mut quoted, mut was_quoted) = (Vec::new(), String::new(), false, false);
    let mut chars = value.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                name.push('"');
            }
            '"' => {
                quoted = !quoted;
                was_quoted = true;
            }
            ',' if !quoted => {
                names.push((std::mem::take(&mut name), std::mem::take(&mut was_quoted)));
            }
            c if !quoted && c.is_whitespace() => {}
            c if quoted => name.push(c),
            c => name.extend(c.to_lowercase()),
        }
    }
    names.push((name, was_quoted));
    names.into_iter().filter(|(n, was_quoted)| *was_quoted || !n.is_empty()).map(|(n, _)| n).collect()
}

fn set(role: &Ident, name: &str, value: &str) -> Result<String, Fault> {
    let value = if LISTS.contains(&name) {
        let literals: Vec<Literal> = names(value).iter().map(|n| Literal::new(n)).collect::<Result<_, _>>()?;
        if literals.is_empty() { "''".to_owned() } else { list(literals) }
    } else {
        Literal::new(value)?.to_string()
    };
    Ok(format!("ALTER ROLE {role} SET {name} = {value}"))
}

/// Sets one, within a transaction. PostgreSQL lets nobody name a role to act as whose member they are not.
async fn apply(db: &mut Connection, role: &Ident, name: &str, value: &str) -> Result<(), Fault> {
    const CALL: &str = "postgres:ALTER ROLE";
    if name != ROLE {
        return db.execute(CALL, set(role, name, value)?).await;
    }
    let borrowed = borrow(db, &[&Ident::new(value)?]).await?;
    db.execute(CALL, set(role, name, value)?).await?;
    borrowed.give_back(db).await
}

/// Looks a role up.
///
/// # Errors
/// As the statements' faults.
pub async fn find(db: &mut Connection, name: &Ident) -> Result<Option<Found>, Fault> {
    type Row = (Option<String>, bool, i32, Option<Vec<String>>, Vec<String>, Vec<String>, Vec<String>);
    let row: Option<Row> = db
        .optional(
            "postgres:pg_roles",
            sqlx::query_as(
                "SELECT shobj_description(r.oid, 'pg_authid'), r.rolcanlogin, r.rolconnlimit, r.rolconfig, \
                 ARRAY(SELECT d.datname::text FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase WHERE s.setrole = r.oid), \
                 ARRAY(SELECT DISTINCT g.rolname::text FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = r.oid \
                 AND NOT starts_with(g.rolname, $2) AND coalesce(shobj_description(g.oid, 'pg_authid'), '') NOT LIKE $3), \
                 array_remove(ARRAY[CASE WHEN r.rolsuper THEN 'SUPERUSER' END, CASE WHEN r.rolcreaterole THEN 'CREATEROLE' END, \
                 CASE WHEN r.rolcreatedb THEN 'CREATEDB' END, CASE WHEN r.rolreplication THEN 'REPLICATION' END, \
                 CASE WHEN r.rolbypassrls THEN 'BYPASSRLS' END], NULL) \
                 FROM pg_roles r WHERE r.rolname = $1",
            )
            .bind(name.name())
            .bind(connect_group::PREFIX)
            .bind(format!("%\"{GROUP}\":%")),
        )
        .await?;
    let Some((comment, login, connection_limit, config, settings_in, member_of, powers)) = row else { return Ok(None) };
    let mut settings = BTreeMap::new();
    for entry in config.unwrap_or_default() {
        if let Some((key, value)) = entry.split_once('=') {
            settings.insert(key.to_owned(), setting(key, value).unwrap_or_else(|_| value.to_owned()));
        }
    }
    Ok(Some(Found {
        comment,
        login,
        connection_limit,
        settings,
        settings_in: settings_in.into_iter().collect(),
        member_of: member_of.into_iter().collect(),
        powers: powers.into_iter().collect(),
    }))
}

/// Makes a role with its password, comment, settings and memberships, in one transaction.
///
/// # Errors
/// Unknown when a role of that name exists (the next look tells whose); else as the statements' faults.
pub async fn create(db: &mut Connection, role: &Role, password: &Password, comment: &str) -> Result<(), Fault> {
    let name = &role.name;
    db.begin().await?;
    let made = db
        .execute(
            "postgres:CREATE ROLE",
            format!(
                "CREATE ROLE {name} {} NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS INHERIT CONNECTION LIMIT {}{}",
                if role.login { "LOGIN" } else { "NOLOGIN" },
                role.connection_limit,
                password.clause()?
            ),
        )
        .await;
    made.map_err(creating)?;
    db.execute("postgres:COMMENT", format!("COMMENT ON ROLE {name} IS {}", Literal::new(comment)?)).await?;
    for group in &role.member_of {
        db.execute("postgres:GRANT", format!("GRANT {} TO {name}", Ident::new(group)?)).await?;
    }
    for (key, value) in &role.settings {
        apply(db, name, key, value).await?;
    }
    db.commit("postgres:CREATE ROLE").await
}

/// Makes a role as wanted, from what it was found to be, in one transaction.
///
/// # Errors
/// As the statements' faults.
pub async fn alter(db: &mut Connection, found: &Found, role: &Role, password: &Password, comment: &str) -> Result<(), Fault> {
    let name = &role.name;
    db.begin().await?;
    let mut clause = format!("{} CONNECTION LIMIT {}{}", if role.login { "LOGIN" } else { "NOLOGIN" }, role.connection_limit, password.clause()?);
    for power in found.powers.iter().filter(|p| removable(p)) {
        clause.push_str(&format!(" NO{power}"));
    }
    db.execute("postgres:ALTER ROLE", format!("ALTER ROLE {name} {clause}")).await?;
    for (key, value) in role.settings.iter().filter(|(k, v)| found.settings.get(*k) != Some(*v)) {
        apply(db, name, key, value).await?;
    }
    for key in found.settings.keys().filter(|k| !role.settings.contains_key(*k)) {
        db.execute("postgres:ALTER ROLE", format!("ALTER ROLE {name} RESET {key}")).await?;
    }
    for database in &found.settings_in {
        db.execute("postgres:ALTER ROLE", format!("ALTER ROLE {name} IN DATABASE {} RESET ALL", Ident::new(database)?)).await?;
    }
    for group in role.member_of.difference(&found.member_of) {
        db.execute("postgres:GRANT", format!("GRANT {} TO {name}", Ident::new(group)?)).await?;
    }
    for group in found.member_of.difference(&role.member_of) {
        db.execute("postgres:REVOKE", format!("REVOKE {} FROM {name}", Ident::new(group)?)).await?;
    }
    db.execute("postgres:COMMENT", format!("COMMENT ON ROLE {name} IS {}", Literal::new(comment)?)).await?;
    // From PostgreSQL 16 on, a revoke of what another role granted only warns.
    if let Some(still) = find(db, name).await?.and_then(|f| f.member_of.difference(&role.member_of).next().cloned()) {
        return Err(Fault::refused("postgres:REVOKE", "42501", format!("role {name} is still a member of {still}, which another role granted"))
            .hint(format!("have that role, or a superuser, revoke it: REVOKE {still} FROM {name} GRANTED BY …")));
    }
    db.commit("postgres:ALTER ROLE").await
}

/// Whether an administrator with CREATEROLE and CREATEDB can take this power away.
pub fn removable(power: &str) -> bool {
    matches!(power, "CREATEROLE" | "CREATEDB")
}

/// What a role still owns, by database, and the databases in which it holds or grants rights.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Traces {
    /// `12 objects in database shared`.
    pub owns: Vec<String>,
    /// Databases to be swept.
    pub rights_in: BTreeSet<String>,
}

/// Looks for what ties a role to databases. `None` when there is no such role.
///
/// # Errors
/// As the statements' faults.
pub async fn traces(db: &mut Connection, name: &Ident) -> Result<Option<Traces>, Fault> {
    let role: Option<(i64,)> =
        db.optional("postgres:pg_roles", sqlx::query_as("SELECT oid::bigint FROM pg_roles WHERE rolname = $1").bind(name.name())).await?;
    let Some((oid,)) = role else { return Ok(None) };
    // Default privileges are "owned" too, but hold no data: sweeping removes them.
    let rows: Vec<(Option<String>, bool, i64)> = db
        .all(
            "postgres:pg_shdepend",
            sqlx::query_as(
                "SELECT d.datname::text, s.deptype = 'o' AND s.classid <> 'pg_default_acl'::regclass, count(*) \
                 FROM pg_shdepend s LEFT JOIN pg_database d ON d.oid = s.dbid \
                 WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = $1::bigint::oid GROUP BY 1, 2 ORDER BY 1, 2",
            )
            .bind(oid),
        )
        .await?;
    let mut traces = Traces::default();
    for (database, owned, count) in rows {
        match (database, owned) {
            (Some(database), true) => traces.owns.push(format!("{count} objects in database {database}")),
            (None, true) => traces.owns.push(format!("{count} databases")),
            (Some(database), false) => {
                traces.rights_in.insert(database);
            }
            (None, false) => {}
        }
    }
    Ok(Some(traces))
}

/// Forbids new sessions of a role and ends those there are.
///
/// # Errors
/// As the statements' faults.
pub async fn shut_out(db: &mut Connection, name: &Ident) -> Result<(), Fault> {
    db.begin().await?;
    db.execute("postgres:ALTER ROLE", format!("ALTER ROLE {name} NOLOGIN")).await?;
    db.commit("postgres:ALTER ROLE").await?;
    end_all_sessions(db, name).await
}

/// How many sessions a role has, in all databases of the server.
///
/// # Errors
/// As the statements' faults.
pub async fn sessions(db: &mut Connection, name: &Ident) -> Result<i64, Fault> {
    let count = sqlx::query_as("SELECT count(*) FROM pg_stat_activity WHERE usename = $1").bind(name.name());
    let row: Option<(i64,)> = db.optional("postgres:pg_stat_activity", count).await?;
    Ok(row.map_or(0, |(n,)| n))
}

/// Ends the sessions of a role, in all databases of the server. Whether it may begin new ones is not changed.
///
/// # Errors
/// As the statements' faults.
pub async fn end_all_sessions(db: &mut Connection, name: &Ident) -> Result<(), Fault> {
    db.begin().await?;
    let borrowed = borrow(db, &[name]).await?;
    end_sessions(db, &[name], None).await?;
    borrowed.give_back(db).await?;
    db.commit("postgres:pg_terminate_backend").await
}

/// Ends the sessions of these roles, in one database or all. Within a transaction that has borrowed them.
pub(super) async fn end_sessions(db: &mut Connection, roles: &[&Ident], database: Option<&str>) -> Result<(), Fault> {
    let names: Vec<&str> = roles.iter().map(|r| r.name()).collect();
    db.all::<(bool,)>(
        "postgres:pg_terminate_backend",
        sqlx::query_as(
            // Until each has gone, at most so many milliseconds.
            "SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity WHERE usename = ANY ($1) AND ($2::text IS NULL OR datname = $2) AND pid <> pg_backend_pid()",
        )
        .bind(names)
        .bind(database),
    )
    .await
    .map(drop)
}

/// Takes all rights of a role in this connection's database away. The caller has made sure by [`traces`] that it owns nothing, because
/// what it owns would be dropped.
///
/// # Errors
/// As the statements' faults.
pub async fn sweep(db: &mut Connection, name: &Ident) -> Result<(), Fault> {
    db.begin().await?;
    let borrowed = borrow(db, &[name]).await?;
    db.execute("postgres:DROP OWNED", format!("DROP OWNED BY {name}")).await?;
    borrowed.give_back(db).await?;
    db.commit("postgres:DROP OWNED").await
}

/// Drops a role that owns nothing and has been swept from every other database.
///
/// # Errors
/// Refused (`2BP01`) when something depends on it after all; else as the statements' faults.
pub async fn delete(db: &mut Connection, name: &Ident) -> Result<(), Fault> {
    db.begin().await?;
    let borrowed = borrow(db, &[name]).await?;
    db.execute("postgres:DROP ROLE", format!("DROP OWNED BY {name}; DROP ROLE {name}")).await?;
    borrowed.without(name).give_back(db).await?;
    db.commit("postgres:DROP ROLE").await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_spellings_of_a_search_path_are_one() {
        for value in ["tenant_a, pg_catalog", "tenant_a,pg_catalog", r#""tenant_a", PG_CATALOG"#] {
            assert_eq!(setting("search_path", value).unwrap(), r#""tenant_a", "pg_catalog""#);
        }
        assert_eq!(setting("search_path", r#""A, ""b""""#).unwrap(), r#""A, ""b""""#);
        assert_eq!(setting("search_path", "").unwrap(), "");
    }

    #[test]
    fn a_setting_that_would_change_the_role_is_refused() {
        for name in ["role", "session_authorization", "a b", "", "x; DROP", "Upper"] {
            setting(name, "x").unwrap_err();
        }
    }

    #[test]
    fn a_verifier_holds_no_password_and_no_two_are_alike() {
        let password = SecretString::from("correct horse");
        let (one, two) = (verifier(&password), verifier(&password));
        assert!(one.starts_with("SCRAM-SHA-256$4096:") && !one.contains("horse"));
        assert_ne!(one, two);
    }
}
