//! Who may connect to a database that tenants share: the members of one role, `labctl_connect_<database>`.
//!
//! A right to connect for every login is an entry for every login in one row of `pg_database`, which grows with the tenants, is written anew
//! for each, and by one session at a time. A membership is a row of its own. The role is the platform's: it is made with the database's
//! first tenant and stays when the last has gone. It cannot log in, owns nothing, and may do nothing but connect to this one database; what
//! more it has is found as drift, for its members would have it too. From PostgreSQL 16 on they inherit its right and cannot become it.
//!
//! A database of a tenant's own has no such role: its few logins have the right themselves.

use super::connect::Connection;
use super::migrations::runner;
use super::quote::{Ident, Literal};
use crate::engine::fault::Fault;

/// How the role's name begins; the database's follows.
pub const PREFIX: &str = "labctl_connect_";

/// The role whose members may connect to a shared database.
///
/// # Errors
/// Refused (`invalid_name`) when the database's name leaves no room for the prefix.
pub fn group(database: &Ident) -> Result<Ident, Fault> {
    Ident::new(&format!("{PREFIX}{}", database.name()))
        .map_err(|fault| fault.hint("the role that tenants of a shared database connect by is named after it: 48 bytes are left for the database's own name"))
}

/// The statement that lets these logins connect.
pub(super) fn join(group: &Ident, logins: &str, version: u32) -> String {
    let options = if version >= 160_000 { " WITH INHERIT TRUE, SET FALSE" } else { "" };
    format!("GRANT {group} TO {logins}{options}")
}

/// What there is before something is granted.
#[derive(Debug)]
pub(super) struct Look {
    /// Whether tenants share the database: it is another role's than the schema's owner.
    pub(super) shared: bool,
    /// Whether the role is there, and has the right.
    ready: bool,
    /// Whether the central ledger's [function](runner::EXECUTE) is there.
    pub(super) runs: bool,
    /// Those of the roles asked about that the administrator is no member of.
    pub(super) lacking: Vec<Ident>,
}

/// Looks whether this connection's database is shared, whether its role is there, and which of these roles the administrator must become a
/// member of to act as them. The first of them is the schema's owner. Those lacking are in one order always, so that two transactions of one
/// tenant wait for each other rather than deadlock.
pub(super) async fn look(db: &mut Connection, database: &Ident, roles: &[&Ident]) -> Result<Look, Fault> {
    let names: Vec<&str> = roles.iter().map(|r| r.name()).collect();
    let owner = names.first().copied().unwrap_or_default().to_owned();
    let query = sqlx::query_as(
        "SELECT d.datdba <> coalesce(to_regrole(quote_ident($1))::oid, 0), \
         EXISTS (SELECT FROM aclexplode(d.datacl) a WHERE a.grantee = to_regrole(quote_ident($2))::oid AND a.privilege_type = 'CONNECT'), \
         to_regprocedure($4) IS NOT NULL, \
         ARRAY(SELECT r FROM unnest($3) r WHERE NOT (pg_has_role(current_user, to_regrole(quote_ident(r))::oid, 'USAGE') \
         AND CASE WHEN current_setting('server_version_num')::int >= 160000 THEN pg_has_role(current_user, to_regrole(quote_ident(r))::oid, 'SET') ELSE true END) \
         ORDER BY r) \
         FROM pg_database d WHERE d.datname = current_database()",
    );
    let query = query.bind(owner).bind(format!("{PREFIX}{}", database.name())).bind(names).bind(runner::EXECUTE);
    let row: Option<(bool, bool, bool, Vec<String>)> = db.optional("postgres:pg_database", query).await?;
    let (shared, ready, runs, lacking) = row.ok_or_else(|| Fault::refused("postgres:pg_database", "unexpected_answer", "the catalogs gave no row"))?;
    Ok(Look { shared, ready, runs, lacking: lacking.iter().map(|n| Ident::new(n)).collect::<Result<_, _>>()? })
}

impl Look {
    /// Makes the role where the database is shared and has none yet, in a transaction of its own.
    pub(super) async fn open(&self, db: &mut Connection, database: &Ident) -> Result<(), Fault> {
        if self.shared && !self.ready { open(db, database).await } else { Ok(()) }
    }
}

/// Two first tenants at once do this one after the other.
async fn open(db: &mut Connection, database: &Ident) -> Result<(), Fault> {
    const CALL: &str = "postgres:CREATE ROLE";
    let name = group(database)?;
    let comment = format!("labctl: its members may connect to the database {}, and it may do nothing else", database.name());
    db.begin().await?;
    lock(db).await?;
    let query = sqlx::query_as("SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = $1").bind(name.name());
    match db.optional::<(Option<String>,)>("postgres:pg_roles", query).await? {
        Some((found,)) if found.as_deref() != Some(comment.as_str()) => {
            return Err(Fault::refused(CALL, "foreign", format!("there is a role {name}, which is not labctl's"))
                .hint("labctl lets tenants' logins connect to a shared database by a role of this name: rename the other one"));
        }
        Some(_) => {}
        None => {
            let attributes = "NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS";
            db.execute(CALL, format!("CREATE ROLE {name} {attributes}; COMMENT ON ROLE {name} IS {}", Literal::new(&comment)?)).await?;
        }
    }
    db.execute("postgres:GRANT ON DATABASE", format!("GRANT CONNECT ON DATABASE {database} TO {name}")).await?;
    db.commit(CALL).await
}

/// Takes the right to connect from these logins, by whichever way they have it. Within a transaction, shortly before its end.
pub(super) async fn leave(db: &mut Connection, database: &Ident, logins: &[&Ident]) -> Result<(), Fault> {
    let names: Vec<&str> = logins.iter().map(|l| l.name()).collect();
    let ways = sqlx::query_as(
        "SELECT r.rolname::text, NULL::text FROM pg_database d, aclexplode(d.datacl) a JOIN pg_roles r ON r.oid = a.grantee \
         WHERE d.datname = current_database() AND r.rolname = ANY ($1) \
         UNION SELECT r.rolname::text, g.rolname::text FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member JOIN pg_roles g ON g.oid = m.roleid \
         WHERE r.rolname = ANY ($1) AND g.rolname = $2 ORDER BY 2, 1",
    );
    let ways: Vec<(String, Option<String>)> = db.all("postgres:pg_auth_members", ways.bind(names).bind(format!("{PREFIX}{}", database.name()))).await?;
    let mut locked = false;
    for (login, by) in ways {
        let login = Ident::new(&login)?;
        match by {
            Some(group) => db.execute("postgres:REVOKE", format!("REVOKE {} FROM {login}", Ident::new(&group)?)).await?,
            None => {
                if !std::mem::replace(&mut locked, true) {
                    lock(db).await?;
                }
                db.execute("postgres:REVOKE", format!("REVOKE ALL ON DATABASE {database} FROM {login}")).await?;
            }
        }
    }
    Ok(())
}

/// The privileges of a database are one catalog row, and PostgreSQL fails the slower of two who change it: labctl does it one after the other.
pub(super) async fn lock(db: &mut Connection) -> Result<(), Fault> {
    let locked = sqlx::query_as("SELECT pg_advisory_xact_lock(hashtext('labctl'), 1) IS NULL");
    db.all::<(bool,)>("postgres:pg_advisory_xact_lock", locked).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_role_is_named_after_its_database_and_a_name_without_room_is_refused() {
        assert_eq!(group(&Ident::new("shared").unwrap()).unwrap().name(), "labctl_connect_shared");
        assert_eq!(group(&Ident::new(&"d".repeat(48)).unwrap()).unwrap().name().len(), 63);
        let fault = group(&Ident::new(&"d".repeat(49)).unwrap()).unwrap_err();
        assert_eq!((fault.code.as_str(), fault.hint.is_some()), ("invalid_name", true));
    }
}
