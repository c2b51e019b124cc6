//! The registry's own migrations: embedded, applied all together in one transaction or not at all.
//!
//! Not `sqlx::migrate!`: its lock belongs to a session (it stays behind a pooler, and leaks when a migration fails), and each of its
//! migrations commits alone. Here a transaction-level lock makes two `registry init` at once harmless, and a failure leaves nothing.

use sha2::{Digest, Sha256};
use sqlx::PgConnection;

use super::error::RegistryError;

/// One migration. Once released, a file is never edited.
pub(super) struct Migration {
    version: i32,
    name: &'static str,
    sql: &'static str,
}

/// All of them, in order, numbered from 1.
pub(super) const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "registry", sql: include_str!("migrations/0001_registry.sql") },
    Migration { version: 2, name: "life", sql: include_str!("migrations/0002_life.sql") },
    Migration { version: 3, name: "deletion", sql: include_str!("migrations/0003_deletion.sql") },
    Migration { version: 4, name: "events", sql: include_str!("migrations/0004_events.sql") },
    Migration { version: 5, name: "fleet", sql: include_str!("migrations/0005_fleet.sql") },
    Migration { version: 6, name: "evidence", sql: include_str!("migrations/0006_evidence.sql") },
    Migration { version: 7, name: "waivers", sql: include_str!("migrations/0007_waivers.sql") },
];

/// The version this binary brings a registry to.
pub(super) const LATEST: i32 = MIGRATIONS[MIGRATIONS.len() - 1].version;

/// Any number nobody else uses: "labctl" in ASCII.
const LOCK: i64 = 0x6c61_6263_746c;

impl Migration {
    fn checksum(&self) -> String {
        super::audit::hex(&Sha256::digest(self.sql.as_bytes()))
    }
}

/// What went wrong: SQL, or a refusal of ours.
pub(super) enum Failed {
    Sql(sqlx::Error),
    Refused(RegistryError),
}

impl From<sqlx::Error> for Failed {
    fn from(e: sqlx::Error) -> Self {
        Self::Sql(e)
    }
}

/// Applies what is missing, within the caller's transaction. Returns the version found before (0: none).
pub(super) async fn migrate(conn: &mut PgConnection, at: &str) -> Result<i32, Failed> {
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *conn).await?;
    prepare_schema(conn, at).await?;
    let applied: Vec<(i32, String, String)> =
        sqlx::query_as("SELECT version, name, checksum FROM labctl.registry_migrations ORDER BY version").fetch_all(&mut *conn).await?;
    let before = applied.last().map_or(0, |row| row.0);
    if before > LATEST {
        return Err(Failed::Refused(RegistryError::TooNew { at: at.to_owned(), version: before, latest: LATEST }));
    }
    for ((version, name, checksum), ours) in applied.iter().zip(MIGRATIONS) {
        if *version != ours.version || *checksum != ours.checksum() {
            let why = format!("its migration {version} (`{name}`) is not the one this labctl knows");
            return Err(Failed::Refused(RegistryError::Foreign { at: at.to_owned(), why }));
        }
    }
    for migration in &MIGRATIONS[applied.len()..] {
        sqlx::raw_sql(migration.sql).execute(&mut *conn).await?;
        sqlx::query("INSERT INTO labctl.registry_migrations (version, name, checksum) VALUES ($1, $2, $3)")
            .bind(migration.version)
            .bind(migration.name)
            .bind(migration.checksum())
            .execute(&mut *conn)
            .await?;
    }
    Ok(before)
}

/// Makes the schema and the ledger of migrations, unless there. An empty schema made for us by an administrator is welcome; one with
/// somebody else's tables in it, or closed to us, is not. The catalogs are asked for names, since looking a table up by its name
/// (`to_regclass`) is refused in a schema that is closed to us.
async fn prepare_schema(conn: &mut PgConnection, at: &str) -> Result<(), Failed> {
    let (schema, usable, ledger, relations): (bool, bool, bool, i64) = sqlx::query_as(
        "WITH ours AS (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = 'labctl'),
              inside AS (SELECT relname FROM pg_catalog.pg_class WHERE relnamespace IN (SELECT oid FROM ours))
         SELECT EXISTS (SELECT FROM ours), coalesce((SELECT has_schema_privilege(oid, 'USAGE') FROM ours), true),
                EXISTS (SELECT FROM inside WHERE relname = 'registry_migrations'), (SELECT count(*) FROM inside)",
    )
    .fetch_one(&mut *conn)
    .await?;
    if !usable {
        let why = "it is somebody else's, and closed to this role".to_owned();
        return Err(Failed::Refused(RegistryError::Foreign { at: at.to_owned(), why }));
    }
    if ledger {
        return Ok(());
    }
    if relations > 0 {
        let why = "it holds tables, but no record of labctl's migrations".to_owned();
        return Err(Failed::Refused(RegistryError::Foreign { at: at.to_owned(), why }));
    }
    if !schema {
        sqlx::raw_sql("CREATE SCHEMA labctl; COMMENT ON SCHEMA labctl IS 'The registry of labctl. Written by labctl only.';").execute(&mut *conn).await?;
    }
    sqlx::raw_sql(
        "CREATE TABLE labctl.registry_migrations (
            version    integer PRIMARY KEY,
            name       text NOT NULL,
            checksum   text NOT NULL,
            applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
        )",
    )
    .execute(conn)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_in_the_folder_is_on_the_list_and_numbered_in_order() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/registry/migrations");
        let mut files: Vec<String> = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        let listed: Vec<String> = MIGRATIONS.iter().map(|m| format!("{:04}_{}.sql", m.version, m.name)).collect();
        assert_eq!(files, listed);
        assert!(MIGRATIONS.iter().zip(1..).all(|(m, n)| m.version == n));
    }
}
