//! The roles and databases a careful platform would have, made in the sandbox's PostgreSQL. Safe to run again.
//!
//! [`ADMIN`] has what an RDS master user has and no more, so that nothing of ours secretly needs a superuser: LOGIN, CREATEDB,
//! CREATEROLE and membership in `rds_superuser`, which is no superuser either. `createrole_self_grant` stays unset, as on RDS: since
//! PostgreSQL 16 whoever makes a role gets its ADMIN option only, and must grant itself the membership it needs.

use postgres_protocol::password::scram_sha_256;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Row as _};

use super::error::{SandboxError, sql};
use super::passwords::{ADMIN, Passwords, REGISTRY, SUPERUSER};
use super::postgres::options;

/// The database tenants share.
pub const SHARED: &str = "shared";

/// What `rds_superuser` may do on RDS, as far as this PostgreSQL knows it (documented in the RDS user guide, "Understanding the
/// rds_superuser role"; the later ones came with PostgreSQL 15 and 16).
const RDS_SUPERUSER: &[&str] = &["pg_monitor", "pg_signal_backend", "pg_checkpoint", "pg_use_reserved_connections", "pg_create_subscription"];

/// Makes what is missing.
pub async fn make(port: u16, passwords: &Passwords) -> Result<(), SandboxError> {
    let doing = "making the sandbox's roles and databases";
    let mut db = PgConnection::connect_with(&options(port, SUPERUSER, &passwords.superuser, "postgres")).await.map_err(sql(doing))?;
    if !exists(&mut db, "SELECT FROM pg_roles WHERE rolname = $1", "rds_superuser").await? {
        run(&mut db, "CREATE ROLE rds_superuser NOLOGIN".into()).await?;
    }
    for part in RDS_SUPERUSER {
        if exists(&mut db, "SELECT FROM pg_roles WHERE rolname = $1", part).await? {
            run(&mut db, format!("GRANT {part} TO rds_superuser WITH ADMIN OPTION")).await?;
        }
    }
    login(&mut db, ADMIN, "CREATEDB CREATEROLE", &passwords.admin).await?;
    run(&mut db, format!("GRANT rds_superuser TO {ADMIN}")).await?;
    login(&mut db, REGISTRY, "NOCREATEDB NOCREATEROLE", &passwords.registry).await?;
    for (name, owner) in [(SHARED, ADMIN), (REGISTRY, REGISTRY)] {
        if !exists(&mut db, "SELECT FROM pg_database WHERE datname = $1", name).await? {
            run(&mut db, format!("CREATE DATABASE {name} OWNER {owner} STRATEGY wal_log")).await?;
        }
        run(&mut db, format!("REVOKE ALL ON DATABASE {name} FROM PUBLIC")).await?;
    }
    // The maintenance database is the admin's way in when it makes others, and nobody else's.
    run(&mut db, "REVOKE ALL ON DATABASE postgres FROM PUBLIC".into()).await?;
    run(&mut db, "REVOKE ALL ON DATABASE template1 FROM PUBLIC".into()).await?;
    run(&mut db, format!("GRANT CONNECT ON DATABASE postgres TO {ADMIN}")).await?;
    db.close().await.map_err(sql(doing))?;
    for (name, owner, password) in [(SHARED, ADMIN, &passwords.admin), (REGISTRY, REGISTRY, &passwords.registry)] {
        let mut db = PgConnection::connect_with(&options(port, owner, password, name)).await.map_err(sql(doing))?;
        run(&mut db, "REVOKE ALL ON SCHEMA public FROM PUBLIC".into()).await?;
        db.close().await.map_err(sql(doing))?;
    }
    Ok(())
}

async fn login(db: &mut PgConnection, role: &str, attributes: &str, password: &SecretString) -> Result<(), SandboxError> {
    let verb = if exists(db, "SELECT FROM pg_roles WHERE rolname = $1", role).await? { "ALTER" } else { "CREATE" };
    let verifier = scram_sha_256(password.expose_secret().as_bytes());
    run(db, format!("{verb} ROLE {role} LOGIN NOSUPERUSER NOREPLICATION NOBYPASSRLS {attributes} PASSWORD '{verifier}'")).await
}

async fn exists(db: &mut PgConnection, question: &'static str, name: &str) -> Result<bool, SandboxError> {
    sqlx::query(question).bind(name).fetch_optional(db).await.map(|row| row.is_some()).map_err(sql(format!("looking for {name}")))
}

/// Statements made of the constants above only.
async fn run(db: &mut PgConnection, statement: String) -> Result<(), SandboxError> {
    let words: Vec<&str> = statement.split_whitespace().take(3).collect();
    let doing = words.join(" ");
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(db).await.map(drop).map_err(sql(doing))
}

/// The server's version, for people.
pub async fn version(port: u16, passwords: &Passwords) -> Result<String, SandboxError> {
    let doing = "asking PostgreSQL for its version";
    let mut db = PgConnection::connect_with(&options(port, SUPERUSER, &passwords.superuser, "postgres")).await.map_err(sql(doing))?;
    let version: String = sqlx::query("SHOW server_version").fetch_one(&mut db).await.map_err(sql(doing))?.get(0);
    db.close().await.map_err(sql(doing))?;
    Ok(version.split_whitespace().next().unwrap_or_default().to_owned())
}
