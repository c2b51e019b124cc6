//! Databases of one tenant each: made, found, locked to the public, dropped.
//!
//! `CREATE DATABASE` allows no transaction, so a crash may come before its comment. What tells whose it is then is its owner: only the
//! administrator can make a database for the tenant's owner role, and that role carries the tenant's ownership comment.

use super::connect::Connection;
use super::fault::creating;
use super::membership::borrow;
use super::quote::{Ident, Literal, list};
use crate::engine::fault::Fault;

/// A database as it is.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its comment.
    pub comment: Option<String>,
    /// Its owner.
    pub owner: String,
    /// Its owner's comment.
    pub owner_comment: Option<String>,
    /// Sessions at once; `-1` for no limit, `-2` when it was half dropped.
    pub connection_limit: i32,
    /// Whether anybody may connect at all.
    pub allow_connections: bool,
    /// What `PUBLIC` may do with it.
    pub public: Vec<String>,
    /// Whether the administrator may connect without being its owner.
    pub admin_connects: bool,
}

/// Looks a database up.
///
/// # Errors
/// As the statements' faults.
pub async fn find(db: &mut Connection, name: &Ident) -> Result<Option<Found>, Fault> {
    type Row = (Option<String>, String, Option<String>, i32, bool, Vec<String>, bool);
    let row: Option<Row> = db
        .optional(
            "postgres:pg_database",
            sqlx::query_as(
                "SELECT shobj_description(d.oid, 'pg_database'), r.rolname::text, shobj_description(r.oid, 'pg_authid'), d.datconnlimit, d.datallowconn, \
                 ARRAY(SELECT a.privilege_type FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a WHERE a.grantee = 0 ORDER BY 1), \
                 EXISTS(SELECT FROM aclexplode(d.datacl) a JOIN pg_roles u ON u.oid = a.grantee WHERE u.rolname = current_user AND a.privilege_type = 'CONNECT') \
                 FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba WHERE d.datname = $1",
            )
            .bind(name.name()),
        )
        .await?;
    Ok(row.map(|(comment, owner, owner_comment, connection_limit, allow_connections, public, admin_connects)| Found {
        comment,
        owner,
        owner_comment,
        connection_limit,
        allow_connections,
        public,
        admin_connects,
    }))
}

/// Makes a database, then comments and closes it in one transaction.
///
/// # Errors
/// Unknown when a database of that name exists (the next look tells whose); else as the statements' faults.
pub async fn create(db: &mut Connection, name: &Ident, owner: &Ident, connection_limit: i32, comment: &str) -> Result<(), Fault> {
    join(db, owner).await?;
    // template0: whatever a site has put into template1 stays out of tenants. wal_log: file_copy forces checkpoints on the whole server.
    let made = db
        .execute(
            "postgres:CREATE DATABASE",
            format!("CREATE DATABASE {name} OWNER {owner} TEMPLATE template0 ENCODING 'UTF8' STRATEGY wal_log CONNECTION LIMIT {connection_limit}"),
        )
        .await;
    made.map_err(creating)?;
    close(db, name, owner, comment).await
}

/// Makes a database as wanted: its comment, its limits, and `PUBLIC` shut out.
///
/// # Errors
/// As the statements' faults.
pub async fn alter(db: &mut Connection, name: &Ident, found: &Found, owner: &Ident, connection_limit: i32, comment: &str) -> Result<(), Fault> {
    join(db, owner).await?;
    if found.owner != owner.name() {
        join(db, &Ident::new(&found.owner)?).await?;
        db.execute("postgres:ALTER DATABASE", format!("ALTER DATABASE {name} OWNER TO {owner}")).await?;
    }
    db.execute("postgres:ALTER DATABASE", format!("ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true CONNECTION LIMIT {connection_limit}")).await?;
    close(db, name, owner, comment).await
}

/// The administrator stays a member of a database's owner: neither making nor dropping a database fits in a transaction, and such owners
/// are few.
async fn join(db: &mut Connection, owner: &Ident) -> Result<(), Fault> {
    db.begin().await?;
    let _stays = borrow(db, &[owner]).await?;
    db.commit("postgres:GRANT").await
}

async fn close(db: &mut Connection, name: &Ident, owner: &Ident, comment: &str) -> Result<(), Fault> {
    db.begin().await?;
    let borrowed = borrow(db, &[owner]).await?;
    db.execute(
        "postgres:REVOKE",
        format!(
            "COMMENT ON DATABASE {name} IS {}; REVOKE ALL ON DATABASE {name} FROM PUBLIC; GRANT CONNECT ON DATABASE {name} TO CURRENT_USER",
            Literal::new(comment)?
        ),
    )
    .await?;
    borrowed.give_back(db).await?;
    db.commit("postgres:COMMENT").await
}

/// What `PUBLIC` may do in the schema `public` of this connection's database. Empty where there is no such schema.
///
/// # Errors
/// As the statements' faults.
pub async fn public_schema(db: &mut Connection) -> Result<Vec<String>, Fault> {
    let rows: Vec<(String,)> = db
        .all(
            "postgres:pg_namespace",
            sqlx::query_as(
                "SELECT a.privilege_type FROM pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a \
                 WHERE n.nspname = 'public' AND a.grantee = 0 ORDER BY 1",
            ),
        )
        .await?;
    Ok(rows.into_iter().map(|(p,)| p).collect())
}

/// Takes all rights on the schema `public` of this connection's database from `PUBLIC`, as the database's owner.
///
/// # Errors
/// Refused when `PUBLIC` still has some, because the schema is not the database owner's; else as the statements' faults.
pub async fn lock_public_schema(db: &mut Connection, owner: &Ident) -> Result<(), Fault> {
    const CALL: &str = "postgres:REVOKE ON SCHEMA public";
    db.begin().await?;
    let borrowed = borrow(db, &[owner]).await?;
    db.execute(CALL, "REVOKE ALL ON SCHEMA public FROM PUBLIC".to_owned()).await?;
    borrowed.give_back(db).await?;
    // PostgreSQL only warns when a revoke had no effect.
    let still = public_schema(db).await?;
    if !still.is_empty() {
        let message = format!("PUBLIC still has {} on the schema public, which the database's owner does not own", list(still));
        return Err(Fault::refused(CALL, "42501", message)
            .hint("as its owner: REVOKE ALL ON SCHEMA public FROM PUBLIC, or ALTER SCHEMA public OWNER TO pg_database_owner"));
    }
    db.commit(CALL).await
}

/// Ends a database's sessions and drops it. Absent is success. `owner` is whom [`find`] says.
///
/// # Errors
/// Busy (`55006`) while somebody is connected whom the administrator may not disconnect; else as the statements' faults.
pub async fn delete(db: &mut Connection, name: &Ident, owner: &Ident) -> Result<(), Fault> {
    join(db, owner).await?;
    let half: Option<(bool,)> =
        db.optional("postgres:pg_database", sqlx::query_as("SELECT datconnlimit = -2 FROM pg_database WHERE datname = $1").bind(name.name())).await?;
    if half == Some((false,)) {
        db.execute("postgres:ALTER DATABASE", format!("ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false")).await?;
    }
    let users: Vec<(String,)> = db
        .all(
            "postgres:pg_stat_activity",
            sqlx::query_as(
                "SELECT DISTINCT a.usename::text FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid WHERE a.datname = $1 AND NOT r.rolsuper",
            )
            .bind(name.name()),
        )
        .await?;
    for (user,) in users {
        let user = Ident::new(&user)?;
        db.begin().await?;
        let borrowed = borrow(db, &[&user]).await?;
        super::roles::end_sessions(db, &[&user], Some(name.name())).await?;
        borrowed.give_back(db).await?;
        db.commit("postgres:pg_terminate_backend").await?;
    }
    // A large one may take a while: its buffers are thrown out and a checkpoint is written.
    db.execute("postgres:SET", "SET statement_timeout = '10min'".to_owned()).await?;
    db.execute("postgres:DROP DATABASE", format!("DROP DATABASE IF EXISTS {name}")).await?;
    db.execute("postgres:REVOKE", format!("SET statement_timeout = '60s'; REVOKE {owner} FROM CURRENT_USER")).await
}
