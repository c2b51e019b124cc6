//! One tenant's admission to the tables it shares: a line for each of its roles, membership in the group that may write or read, the right to
//! connect. Nothing here touches another tenant's lines or rows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Names, Shared};
use crate::engine::fault::Fault;
use crate::tenantdb::connect::Connection;
use crate::tenantdb::connect_group;
use crate::tenantdb::grants::existing;
use crate::tenantdb::membership::borrow;
use crate::tenantdb::quote::{Ident, Literal, list};
use crate::tenantdb::rls::ROLES;
use crate::tenantdb::roles::end_sessions;

/// Who is to be admitted.
#[derive(Debug)]
pub struct Guest<'a> {
    /// The tenant: what stands in its rows.
    pub tenant: &'a str,
    /// The registry that knows it.
    pub registry: &'a str,
    /// Reads and writes.
    pub app: &'a Ident,
    /// Reads.
    pub readonly: Option<&'a Ident>,
    /// The application may read and not write.
    pub read_only: bool,
}

impl Guest<'_> {
    /// Its logins, and whether each may write.
    fn logins(&self) -> impl Iterator<Item = (&Ident, bool)> {
        [(self.app, !self.read_only)].into_iter().chain(self.readonly.map(|r| (r, false)))
    }

    fn names(&self) -> Vec<String> {
        self.logins().map(|(role, _)| role.name().to_owned()).collect()
    }
}

/// A line of the table of roles.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Line {
    /// The role.
    pub role: String,
    /// Whose rows it sees.
    pub tenant: String,
    /// Whose line it is.
    pub registry: Option<String>,
}

/// What a tenant has there.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Admitted {
    /// The tenant's lines, and those of its roles.
    pub lines: Vec<Line>,
    /// Of its roles that exist: groups of the system it is a member of, and whether it may connect.
    pub logins: BTreeMap<String, Login>,
}

/// A login of a tenant's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// A member of *write*.
    pub writes: bool,
    /// A member of *read*.
    pub reads: bool,
    /// A member of the role by which tenants connect to the database.
    pub connects: bool,
}

impl Admitted {
    /// A line that stands in the way of this guest's: another registry's, or another tenant's where the guest has none of its own. (One of several
    /// that was turned to somebody else is the guest's, and drift.)
    pub fn foreign(&self, guest: &Guest<'_>) -> Option<String> {
        if let Some(line) = self.lines.iter().find(|l| l.registry.as_deref() != Some(guest.registry)) {
            let whose = if line.registry.is_some() { "another labctl registry" } else { "nobody known" };
            return Some(format!("the rows of `{}` there, seen by {}, belong to {whose}", line.tenant, line.role));
        }
        let others = !self.lines.iter().any(|l| l.tenant == guest.tenant);
        let line = self.lines.first().filter(|_| others)?;
        Some(format!("{} sees the rows of `{}` there", line.role, line.tenant))
    }
}

/// Looks it up. Never writes. The system must be there.
///
/// # Errors
/// As the statements' faults.
pub async fn find(db: &mut Connection, shared: &Shared, guest: &Guest<'_>) -> Result<Admitted, Fault> {
    let Names { schema, .. } = shared.names()?;
    let roles: Vec<Literal> = guest.names().iter().map(|n| Literal::new(n)).collect::<Result<_, _>>()?;
    let sql = format!(
        "SELECT role::text, tenant, registry FROM {schema}.{ROLES} WHERE tenant = {} OR role = ANY (ARRAY[{}]::name[]) ORDER BY 1",
        Literal::new(guest.tenant)?,
        list(roles)
    );
    let lines: Vec<(String, String, Option<String>)> = match db.select("postgres:labctl_row_roles", sql).await {
        // The system was being made when somebody was cut off.
        Err(fault) if matches!(fault.code.as_str(), "42P01" | "3F000") => Vec::new(),
        other => other?,
    };
    let member = "EXISTS (SELECT FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = r.oid AND g.rolname =";
    let sql = format!("SELECT r.rolname::text, {member} $2), {member} $3), {member} $4 || current_database()) FROM pg_roles r WHERE r.rolname = ANY ($1)");
    let query = sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(guest.names()).bind(&shared.write).bind(&shared.read).bind(connect_group::PREFIX);
    let logins: Vec<(String, bool, bool, bool)> = db.all("postgres:pg_auth_members", query).await?;
    Ok(Admitted {
        lines: lines.into_iter().map(|(role, tenant, registry)| Line { role, tenant, registry }).collect(),
        logins: logins.into_iter().map(|(name, writes, reads, connects)| (name, Login { writes, reads, connects })).collect(),
    })
}

/// Lets a tenant in as wanted, in one transaction. Twice is harmless.
///
/// # Errors
/// Refused (`foreign`) when the lines are another registry's or another tenant's ([`Admitted::foreign`]); else as the statements' faults.
pub async fn admit(db: &mut Connection, shared: &Shared, guest: &Guest<'_>, database: &Ident) -> Result<(), Fault> {
    const CALL: &str = "postgres:INSERT";
    let Names { schema, write, read, .. } = shared.names()?;
    let (tenant, registry) = (Literal::new(guest.tenant)?, Literal::new(guest.registry)?);
    connect_group::look(db, database, &[]).await?.open(db, database).await?;
    db.begin().await?;
    let found = find(db, shared, guest).await?;
    if let Some(whose) = found.foreign(guest) {
        return Err(Fault::refused(CALL, "foreign", whose));
    }
    let mut sql = Vec::new();
    let names = guest.names();
    for line in found.lines.iter().filter(|l| !names.contains(&l.role)) {
        sql.push(format!("DELETE FROM {schema}.{ROLES} WHERE role = {} AND tenant = {tenant}", Literal::new(&line.role)?));
    }
    let mut connect = Vec::new();
    for (role, writes) in guest.logins() {
        let is = found.logins.get(role.name()).cloned().unwrap_or_default();
        sql.push(format!(
            "INSERT INTO {schema}.{ROLES} AS r (role, tenant, registry) VALUES ({}, {tenant}, {registry}) ON CONFLICT (role) DO UPDATE SET tenant = excluded.tenant",
            Literal::new(role.name())?
        ));
        let (in_group, out_of, has, has_not) = if writes { (&write, &read, is.writes, is.reads) } else { (&read, &write, is.reads, is.writes) };
        if !has {
            sql.push(format!("GRANT {in_group} TO {role}"));
        }
        if has_not {
            sql.push(format!("REVOKE {out_of} FROM {role}"));
        }
        if !is.connects {
            connect.push(role);
        }
    }
    if !connect.is_empty() {
        sql.push(connect_group::join(&connect_group::group(database)?, &list(connect), db.version()));
    }
    db.execute(CALL, sql.join("; ")).await?;
    db.commit(CALL).await
}

/// Deletes a tenant's rows from every table, and its lines, in one transaction; answers with how many rows of each table. Before that its
/// roles lose their rights and their sessions, so that none adds a row behind it. Who deletes sees this tenant's rows only: row security is
/// what keeps others' rows from it, and so is the condition of every statement. Nothing there is success.
///
/// # Errors
/// As the statements' faults; nothing was deleted then.
pub async fn expel(db: &mut Connection, shared: &Shared, guest: &Guest<'_>, database: &Ident) -> Result<BTreeMap<String, i64>, Fault> {
    const CALL: &str = "postgres:DELETE";
    let Names { schema, owner, write, read } = shared.names()?;
    let logins = existing(db, &guest.logins().map(|(role, _)| role).collect::<Vec<_>>()).await?;
    if !logins.is_empty() {
        let all: Vec<&Ident> = logins.iter().collect();
        db.begin().await?;
        let roles = list(&logins);
        db.execute("postgres:REVOKE", format!("SET LOCAL client_min_messages = error; REVOKE {write}, {read} FROM {roles}")).await?;
        connect_group::leave(db, database, &all).await?;
        db.commit("postgres:REVOKE").await?;
        db.begin().await?;
        let borrowed = borrow(db, &all).await?;
        end_sessions(db, &all, Some(database.name())).await?;
        borrowed.give_back(db).await?;
        db.commit("postgres:pg_terminate_backend").await?;
    }
    let tenant = Literal::new(guest.tenant)?;
    let there = "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND c.relname = ANY ($2)";
    let tables: Vec<&str> = shared.rows.keys().map(String::as_str).collect();
    let tables: Vec<(String,)> = db.all("postgres:pg_class", sqlx::query_as(there).bind(&shared.schema).bind(tables)).await?;
    db.begin().await?;
    let borrowed = borrow(db, &[&owner]).await?;
    // The owner is let in as this tenant, for the length of the transaction: nobody else ever sees that line.
    let line = format!(
        "SET LOCAL statement_timeout = '30min'; INSERT INTO {schema}.{ROLES} (role, tenant) VALUES ({}, {tenant}); SET LOCAL ROLE {owner}",
        Literal::new(owner.name())?
    );
    db.execute(CALL, line).await?;
    let mut counts = BTreeMap::new();
    if !tables.is_empty() {
        // One statement: what refers to each other is gone at its end, in whatever order.
        let (mut deletes, mut sums) = (Vec::new(), Vec::new());
        for (n, (table,)) in tables.iter().enumerate() {
            let column = Ident::new(shared.rows.get(table).map_or("", String::as_str))?;
            deletes.push(format!("d{n} AS (DELETE FROM {schema}.{} WHERE {column} = {tenant} RETURNING 1)", Ident::new(table)?));
            sums.push(format!("SELECT {}::text, (SELECT count(*) FROM d{n})", Literal::new(table)?));
        }
        let rows: Vec<(String, i64)> = db.select(CALL, format!("WITH {} {}", deletes.join(", "), sums.join(" UNION ALL "))).await?;
        counts.extend(rows);
    }
    let end = format!("RESET ROLE; DELETE FROM {schema}.{ROLES} WHERE tenant = {tenant}");
    db.execute(CALL, end).await?;
    borrowed.give_back(db).await?;
    db.commit(CALL).await?;
    Ok(counts)
}
