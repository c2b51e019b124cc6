//! The floor: the statements labctl's work comes down to, each schema in one message over a bare connection, as superuser. The same is there
//! in the end; nothing is looked at, nothing checked, no membership taken and given back.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use labctl::tenantdb::connect_group;
use labctl::tenantdb::grants::{self, Parties};
use labctl::tenantdb::migrations::{Library, Step, central};
use labctl::tenantdb::quote::Ident;
use sqlx::{AssertSqlSafe, PgConnection};

use super::plant::{Ground, role, schema};
use super::run::World;

/// Connections that work side by side.
pub struct Hands(Vec<PgConnection>);

impl Hands {
    pub async fn open(world: &World, hands: usize) -> Self {
        let mut all = Vec::new();
        for _ in 0..hands {
            all.push(world.superuser("shared").await);
        }
        Self(all)
    }

    async fn each(&mut self, range: Range<usize>, sql: impl Fn(usize) -> String) {
        let next = AtomicUsize::new(range.start);
        let (next, sql) = (&next, &sql);
        let hand = async |db: &mut PgConnection| {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= range.end {
                    return;
                }
                sqlx::raw_sql(AssertSqlSafe(sql(n))).execute(&mut *db).await.unwrap();
            }
        };
        join_all(self.0.iter_mut().map(hand)).await;
    }
}

/// What both ledgers of one schema come to, for these files.
fn ledgers_of(name: &Ident, steps: &[Step]) -> String {
    let rows: Vec<String> = steps.iter().map(|s| format!("({0}, '{1}', {0}, '{2}', '{3}')", s.version, s.folder, s.name, s.checksum)).collect();
    let at = central::standing(steps).remove("tenant").unwrap();
    format!(
        "INSERT INTO labctl_migrations (position, folder, version, name, checksum) VALUES {}; RESET ROLE;
         INSERT INTO labctl_ledger.schemas (schema, folder, oid, tenant, version, digest)
         SELECT '{1}', 'tenant', oid, '{1}', {2}, '{3}' FROM pg_namespace WHERE nspname = '{1}'",
        rows.join(", "),
        name.name(),
        at.version,
        at.digest
    )
}

/// Schemas as labctl leaves them: owner, comments, grants, the function that runs what is theirs, migrations, both ledgers, each in one transaction of one message. The role that
/// connects and the central ledger are there.
pub async fn create(hands: &mut Hands, ground: &Ground<'_>, tag: &str, range: Range<usize>, steps: &[Step], library: &Library) {
    let files: String = steps.iter().map(|s| format!("{};\n", library.file(&s.checksum).unwrap().sql)).collect();
    let database = Ident::new("shared").unwrap();
    let admin = Ident::new(&ground.admin.username).unwrap();
    let sql = |n| {
        let name = Ident::new(&schema(tag, n)).unwrap();
        let parties = ground.parties(tag, n).unwrap();
        let parties = Parties { connect: Some(connect_group::group(&database).unwrap()), ..parties };
        let grants: Vec<String> = grants::first(&parties, &name, &database, 150_000).unwrap();
        let (owner, migration, app) = (&parties.owner, &parties.migration, &parties.app);
        format!(
            "BEGIN; CREATE SCHEMA {name} AUTHORIZATION {owner}; COMMENT ON SCHEMA {name} IS '{}'; {};
             CREATE FUNCTION labctl_ledger.{name}(text) RETURNS void LANGUAGE sql SECURITY DEFINER BEGIN ATOMIC SELECT labctl_ledger.execute($1, true); END;
             REVOKE ALL ON FUNCTION labctl_ledger.{name}(text) FROM PUBLIC; ALTER FUNCTION labctl_ledger.{name}(text) OWNER TO {migration};
             GRANT EXECUTE ON FUNCTION labctl_ledger.{name}(text) TO {admin};
             SET LOCAL search_path = {name}; SET LOCAL ROLE {migration};
             CREATE TABLE labctl_migrations (position integer PRIMARY KEY, folder text NOT NULL, version integer NOT NULL CHECK (version > 0), name text NOT NULL,
                 checksum text NOT NULL CHECK (checksum ~ '^[0-9a-f]{{64}}$'), applied_at timestamptz NOT NULL DEFAULT clock_timestamp(), baseline boolean NOT NULL DEFAULT false, UNIQUE (folder, version));
             COMMENT ON TABLE labctl_migrations IS '{}'; REVOKE ALL ON labctl_migrations FROM {app}; GRANT SELECT ON labctl_migrations TO {admin};
             {files} {}; COMMIT",
            ground.comment("postgres_schema", tag, n),
            grants.join("; "),
            ground.comment("postgres_schema_version", tag, n),
            ledgers_of(&name, steps)
        )
    };
    hands.each(range, sql).await;
}

/// A ledger for the floor in each schema and one for the database, shaped as labctl's own are.
pub async fn ledgers(world: &World, tag: &str, range: Range<usize>) {
    let mut db = world.superuser("shared").await;
    let ledger = "CREATE SCHEMA floor; CREATE TABLE floor.schemas (LIKE labctl_ledger.schemas INCLUDING ALL)";
    sqlx::raw_sql(ledger).execute(&mut db).await.unwrap();
    more_ledgers(world, tag, range).await;
}

/// The same for more schemas.
pub async fn more_ledgers(world: &World, tag: &str, range: Range<usize>) {
    let sql = |n| {
        let name = schema(tag, n);
        format!(
            "CREATE TABLE {name}.floor_migrations (position integer PRIMARY KEY, folder text NOT NULL, version integer NOT NULL CHECK (version > 0), name text NOT NULL,
                 checksum text NOT NULL CHECK (checksum ~ '^[0-9a-f]{{64}}$'), applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
                 baseline boolean NOT NULL DEFAULT false, UNIQUE (folder, version));
             ALTER TABLE {name}.floor_migrations OWNER TO {}",
            role(tag, n, "migrate")
        )
    };
    Hands::open(world, 4).await.each(range, sql).await;
}

/// One more file in each schema, by its migration role, so that it is the owner and the application has its rights; a row in its ledger, and one
/// in the database's: what a migration writes, and nothing else.
pub async fn migrate(world: &World, tag: &str, range: Range<usize>, hands: usize, sql: &str) {
    let one = |n| {
        let (name, role) = (schema(tag, n), role(tag, n, "migrate"));
        let own = "INSERT INTO floor_migrations (position, folder, version, name, checksum) \
                   SELECT coalesce(max(position), 0) + 1, 'tenant', coalesce(max(position), 0) + 1, 'x', repeat('0', 64) FROM floor_migrations";
        let central = format!(
            "INSERT INTO floor.schemas (schema, folder, oid, tenant, version, digest) VALUES ('{name}', 'tenant', '{name}'::regnamespace, '{name}', 1, repeat('0', 64)) \
             ON CONFLICT (schema, folder) DO UPDATE SET oid = excluded.oid, tenant = excluded.tenant, version = excluded.version, digest = excluded.digest, migrated_at = clock_timestamp()"
        );
        format!("BEGIN; SET LOCAL search_path = {name}; SET LOCAL ROLE {role}; {sql}; {own}; RESET ROLE; {central}; COMMIT")
    };
    Hands::open(world, hands).await.each(range, one).await;
}
