//! The database server's side: roles, databases, schemas and ledgers, with what their comments say of their owner.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, PgConnection};

use super::{Eye, Owner, Record, Thing, Verdict, Wrong};
use crate::e2e::fixture::{World, connect};

/// What is on the server.
#[derive(Default)]
pub(super) struct Server {
    pub things: Vec<Thing>,
    pub ledgers: Vec<Ledger>,
}

/// What says how far a schema is.
pub(super) struct Ledger {
    database: String,
    schema: String,
    /// Rows of the schema's own ledger: (folder, version), in order. None where it has no ledger.
    own: Option<Vec<(String, i32)>>,
    /// Rows of the database's central ledger under that name: (folder, tenant, version, whether it is the schema's that is there now).
    central: Vec<(String, String, i32, bool)>,
}

type Marked = (String, Option<String>);

fn owner(comment: Option<&str>) -> Option<Owner> {
    let tags: BTreeMap<String, String> = comment.and_then(|c| serde_json::from_str(c).ok()).unwrap_or_default();
    Owner::of(&tags)
}

async fn marked(db: &mut PgConnection, sql: &'static str) -> Vec<Marked> {
    sqlx::query_as(sql).fetch_all(db).await.unwrap()
}

/// Lists the whole server. Databases that other tests drop meanwhile are passed over.
pub(super) async fn list(world: &World, eye: &Eye<'_>) -> Server {
    let (port, password) = (world.open().await.registry.port, world.passwords()["postgres"].clone());
    let mut db = connect(port, "postgres", &password, "postgres").await.unwrap();
    let mut server = Server::default();
    let mut take = |what: &'static str, found: Vec<Marked>| {
        for (name, comment) in found {
            let owner = owner(comment.as_deref());
            // Tags read as the owner's even where the name says nothing: they cost nothing here.
            server.things.push(Thing { what, id: name.clone(), name, owner, of: None });
        }
    };
    take("database roles", marked(&mut db, "SELECT rolname::text, shobj_description(oid, 'pg_authid') FROM pg_roles").await);
    let databases = marked(&mut db, "SELECT datname::text, shobj_description(oid, 'pg_database') FROM pg_database WHERE datallowconn").await;
    take("databases", databases.clone());
    for (database, comment) in databases {
        let theirs = owner(comment.as_deref()).is_some_and(|o| eye.sees(&o.tenant));
        if !(theirs || database == "shared" || eye.near(&database)) {
            continue;
        }
        let Ok(mut db) = connect(port, "postgres", &password, &database).await else { continue };
        in_database(&mut db, &database, eye, &mut server).await;
    }
    server
}

async fn in_database(db: &mut PgConnection, database: &str, eye: &Eye<'_>, server: &mut Server) {
    let schemas = marked(db, "SELECT nspname::text, obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname !~ '^pg_'").await;
    let tables = marked(
        db,
        "SELECT n.nspname::text, obj_description(c.oid, 'pg_class') FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relname = 'labctl_migrations' AND c.relkind = 'r'",
    )
    .await;
    let there: Option<String> = sqlx::query_scalar("SELECT to_regclass('labctl_ledger.schemas')::text").fetch_one(&mut *db).await.unwrap();
    let mut central: BTreeMap<String, Vec<(String, String, i32, bool)>> = BTreeMap::new();
    if there.is_some() {
        let rows: Vec<(String, String, String, i32, bool)> = sqlx::query_as(
            "SELECT l.schema, l.folder, l.tenant, l.version, EXISTS (SELECT FROM pg_namespace n WHERE n.nspname = l.schema::name AND n.oid = l.oid)
             FROM labctl_ledger.schemas l",
        )
        .fetch_all(&mut *db)
        .await
        .unwrap();
        for (schema, folder, tenant, version, now) in rows {
            central.entry(schema).or_default().push((folder, tenant, version, now));
        }
    }
    for (schema, comment) in &schemas {
        server.things.push(Thing { what: "schemas", id: schema.clone(), name: schema.clone(), owner: owner(comment.as_deref()), of: None });
        let table = tables.iter().find(|(name, _)| name == schema);
        if let Some((_, comment)) = table {
            let id = format!("{database}.{schema}");
            server.things.push(Thing { what: "ledgers", id, name: String::new(), owner: owner(comment.as_deref()), of: None });
        }
        let rows = central.remove(schema).unwrap_or_default();
        let theirs = owner(comment.as_deref()).is_some_and(|o| eye.sees(&o.tenant)) || rows.iter().any(|r| eye.sees(&r.1));
        if !theirs {
            continue;
        }
        let own = match table {
            None => None,
            Some(_) => {
                let quoted = schema.replace('"', "\"\"");
                let sql = format!("SELECT folder, version::int FROM \"{quoted}\".labctl_migrations ORDER BY position");
                Some(sqlx::query_as(AssertSqlSafe(sql)).fetch_all(&mut *db).await.unwrap())
            }
        };
        server.ledgers.push(Ledger { database: database.to_owned(), schema: schema.clone(), own, central: rows });
    }
    let shared: Vec<String> = sqlx::query_scalar(
        "SELECT n.nspname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relname = 'labctl_row_roles' AND c.relkind = 'r'",
    )
    .fetch_all(&mut *db)
    .await
    .unwrap();
    for schema in shared {
        let sql = format!("SELECT DISTINCT tenant FROM \"{}\".labctl_row_roles WHERE registry IS NULL OR registry = $1", schema.replace('"', "\"\""));
        let tenants: Vec<String> = sqlx::query_scalar(AssertSqlSafe(sql)).bind(&eye.registry).fetch_all(&mut *db).await.unwrap();
        let rows = tenants.into_iter().map(|t| Thing { what: "rows", id: format!("{database}.{schema}/{t}"), name: t.clone(), owner: None, of: Some(t) });
        server.things.extend(rows);
    }
    for (schema, central) in central {
        server.ledgers.push(Ledger { database: database.to_owned(), schema, own: None, central });
    }
}

/// Each schema's own ledger and the central one say the same, each row once, and none of what is gone.
pub(super) fn ledgers(eye: &Eye<'_>, records: &[Record], ledgers: &[Ledger], verdict: &mut Verdict) {
    for ledger in ledgers {
        let what = format!("ledger of {}.{}", ledger.database, ledger.schema);
        let tenants: Vec<&str> = ledger.central.iter().map(|r| r.1.as_str()).collect();
        *verdict.looked.entry("ledger rows".to_owned()).or_default() += ledger.central.len() + ledger.own.as_ref().map_or(0, Vec::len);
        for (folder, tenant, _, now) in ledger.central.iter().filter(|r| eye.sees(&r.1)) {
            if !now {
                verdict.add(Wrong::Orphaned, &what, format!("the central row of {tenant}, {folder}, is of a schema that is not there"));
            }
        }
        if tenants.windows(2).any(|w| w[0] != w[1]) {
            verdict.add(Wrong::Doubled, &what, format!("the central rows are of several tenants: {}", tenants.join(", ")));
        }
        let Some(own) = &ledger.own else { continue };
        let mut newest: BTreeMap<&str, i32> = BTreeMap::new();
        for (n, (folder, version)) in own.iter().enumerate() {
            if own[..n].contains(&own[n]) {
                verdict.add(Wrong::Doubled, &what, format!("{folder}/V{version} stands in it twice"));
            }
            let at = newest.entry(folder).or_default();
            *at = (*at).max(*version);
        }
        let central: BTreeMap<&str, i32> = ledger.central.iter().map(|r| (r.0.as_str(), r.2)).collect();
        if central != newest {
            verdict.add(Wrong::Lost, &what, format!("the schema's own says {newest:?}, the central one {central:?}"));
        }
        let id = format!("{}.{}", ledger.database, ledger.schema);
        let active = |r: &&Record| r.is_there() && eye.tenants[&r.tenant].status == "active";
        if own.is_empty() && records.iter().filter(active).any(|r| r.id.as_deref() == Some(&id)) {
            verdict.add(Wrong::Lost, &what, "it is on record as ready, and nothing was applied");
        }
    }
    // One tenant, one schema per folder: two would be a history run twice.
    let mut of: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    for ledger in ledgers {
        for (folder, tenant, ..) in ledger.central.iter().filter(|r| eye.sees(&r.1)) {
            of.entry((tenant, folder)).or_default().push(format!("{}.{}", ledger.database, ledger.schema));
        }
    }
    for ((tenant, folder), places) in of.iter().filter(|(_, places)| places.len() > 1) {
        verdict.add(Wrong::Doubled, format!("central ledger, {tenant}, {folder}"), format!("rows of {}", places.join(" and ")));
    }
}
