//! The floor: the statements labctl's work comes down to, each schema in one message over a bare connection, as superuser. Nothing is
//! looked at, nothing checked, nobody's role taken.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use labctl::tenantdb::grants::{self, Parties};
use labctl::tenantdb::migrations::{Library, Step};
use labctl::tenantdb::quote::Ident;
use sqlx::AssertSqlSafe;

use super::plant::{Ground, schema};
use super::run::World;

async fn each(world: &World, range: Range<usize>, hands: usize, sql: impl Fn(usize) -> String) {
    let next = AtomicUsize::new(range.start);
    let hand = || async {
        let mut db = world.superuser("shared").await;
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= range.end {
                return;
            }
            sqlx::raw_sql(AssertSqlSafe(sql(n))).execute(&mut db).await.unwrap();
        }
    };
    join_all((0..hands).map(|_| hand())).await;
}

/// Schemas with the grants and migrations labctl gives them.
pub async fn create(world: &World, ground: &Ground<'_>, tag: &str, count: usize, hands: usize, steps: &[Step], library: &Library) {
    let files: String = steps.iter().map(|s| format!("{};\n", library.file(&s.checksum).unwrap().sql)).collect();
    let database = Ident::new("shared").unwrap();
    each(world, 0..count, hands, |n| {
        let name = Ident::new(&schema(tag, n)).unwrap();
        let role = |part: &str| Ident::new(&format!("{tag}_{n:04}_{part}")).unwrap();
        let admin = Ident::new(&ground.admin.username).unwrap();
        let parties =
            Parties { owner: role("owner"), migration: role("migrate"), app: role("app"), readonly: None, admin, read_only: false, row_security: false };
        // The right to connect is one row that all tenants share, and the floor need not queue for it. The ledger comes later.
        let grants = grants::wanted(&parties)
            .into_iter()
            .map(|g| g.grant(&name, &database).unwrap())
            .filter(|g| !["ON DATABASE", "SCHEMA public", "labctl_migrations"].iter().any(|other| g.contains(other)));
        let grants: String = grants.map(|g| format!("{g};\n")).collect();
        format!(
            "BEGIN; CREATE SCHEMA {name} AUTHORIZATION {}; {grants} SET LOCAL search_path = {name}; SET LOCAL ROLE {}; {files}
             CREATE TABLE labctl_migrations (position integer PRIMARY KEY, folder text, version integer, name text, checksum text, UNIQUE (folder, version));
             INSERT INTO labctl_migrations SELECT n, 'tenant', n, 'x', repeat('0', 64) FROM generate_series(1, {}) n; COMMIT",
            parties.owner,
            parties.migration,
            steps.len()
        )
    })
    .await;
}

/// A ledger for the floor in each schema, shaped as labctl's own is.
pub async fn ledgers(world: &World, tag: &str, range: Range<usize>) {
    let mut db = world.superuser("shared").await;
    let ledger = "CREATE SCHEMA floor; CREATE TABLE floor.schemas (schema text, folder text, digest text, PRIMARY KEY (schema, folder))";
    sqlx::raw_sql(ledger).execute(&mut db).await.unwrap();
    more_ledgers(world, tag, range).await;
}

/// The same for more schemas.
pub async fn more_ledgers(world: &World, tag: &str, range: Range<usize>) {
    each(world, range, 4, |n| {
        let name = schema(tag, n);
        format!(
            "CREATE TABLE {name}.floor_migrations (position integer PRIMARY KEY, folder text NOT NULL, version integer NOT NULL, name text NOT NULL,
                 checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT clock_timestamp(), UNIQUE (folder, version))"
        )
    })
    .await;
}

/// One more file in each schema, a row in its ledger, and one in the database's: what a migration writes, and nothing else.
pub async fn migrate(world: &World, tag: &str, range: Range<usize>, hands: usize, sql: &str) {
    each(world, range, hands, |n| {
        let name = schema(tag, n);
        let own = "INSERT INTO floor_migrations (position, folder, version, name, checksum) \
                   SELECT coalesce(max(position), 0) + 1, 'tenant', coalesce(max(position), 0) + 1, 'x', repeat('0', 64) FROM floor_migrations";
        let central = format!(
            "INSERT INTO floor.schemas VALUES ('{name}', 'tenant', repeat('0', 64)) ON CONFLICT (schema, folder) DO UPDATE SET digest = excluded.digest"
        );
        format!("BEGIN; SET LOCAL search_path = {name}; {sql}; {own}; {central}; COMMIT")
    })
    .await;
}
