//! Whose a database or a schema is, is found again after a crash, after a rename, and under a copy of its comment.

use labctl::engine::kind::{Change, Diff, Observed};
use labctl::tenantdb::migrations::Library;
use serde_json::json;

use super::server::{Secrets, Server, run, texts};
use super::tenant::{Resource, everything, password, shipped};
use super::{nothing_left, standing_memberships};

fn database(tenant: &str) -> Resource {
    Resource::new(tenant, "postgres_database", "main", json!({"name": format!("{tenant}_db"), "owner": format!("{tenant}_owner"), "connection_limit": 50}))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_its_own_is_found_again_after_a_crash_and_dropped_under_its_users() {
    let server = Server::new("apart").await;
    let secrets = Secrets::default();
    let mut library = Library::default();
    let steps = shipped(&mut library, "mate");
    let cx = server.cx(&secrets, library).await;
    let mut all = everything(&secrets, "own", "own_db", &steps);
    all.insert(4, database("own"));
    for resource in &all {
        resource.converge(&cx).await.unwrap();
        assert_eq!(resource.converge(&cx).await.unwrap(), 0, "{}", resource.address);
    }
    let mut sup = server.superuser("own_db").await;
    // As a crash between CREATE DATABASE and its comment leaves it.
    run(&mut sup, "COMMENT ON DATABASE own_db IS NULL; GRANT CONNECT, TEMPORARY ON DATABASE own_db TO PUBLIC; GRANT USAGE ON SCHEMA public TO PUBLIC")
        .await
        .unwrap();
    let Diff::Update(changes) = all[4].diff(&cx).await else { panic!() };
    let named: Vec<String> = changes.iter().map(ToString::to_string).collect();
    assert_eq!(named, ["comment: false → true", "public: CONNECT, TEMPORARY → (none)", "public_schema: USAGE → (none)"]);
    assert_eq!(all[4].converge(&cx).await.unwrap(), 1);

    let mut thief = database("other");
    thief.spec["name"] = json!("own_db");
    assert_eq!(thief.observe(&cx).await, Observed::Foreign("it belongs to own/postgres_database/main".into()));
    run(&mut sup, "COMMENT ON DATABASE own_db IS NULL").await.unwrap();
    thief.spec["owner"] = json!("own_owner");
    assert!(matches!(thief.observe(&cx).await, Observed::Foreign(_)), "an owner of another tenant's proves nothing");
    let plain = Resource::new("own", "postgres_database", "main", json!({"name": "apart_shared", "owner": "own_owner"}));
    assert!(matches!(plain.observe(&cx).await, Observed::Foreign(_)), "nor does a database of another owner");

    // The neighbour on the shared database may not even connect here.
    let neighbour = everything(&secrets, "other", "apart_shared", &[]);
    for resource in &neighbour {
        resource.converge(&cx).await.unwrap();
    }
    let error = server.login("other_app", &password("other", "app"), "own_db").await.unwrap_err();
    assert_eq!(error.as_database_error().unwrap().code().unwrap(), "42501");
    run(&mut sup, "GRANT CONNECT ON DATABASE own_db TO other_app").await.unwrap();
    server.login("other_app", &password("other", "app"), "own_db").await.unwrap();
    run(&mut sup, "REVOKE CONNECT ON DATABASE own_db FROM other_app").await.unwrap();
    drop(sup);

    let mut user = server.login("own_app", &password("own", "app"), "own_db").await.unwrap();
    all[4].delete(&cx).await;
    run(&mut user, "SELECT 1").await.unwrap_err();
    for resource in all.iter().rev() {
        resource.delete(&cx).await;
    }
    nothing_left(&server, "own").await;
    assert_eq!(standing_memberships(&server).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_is_renamed_in_place_and_its_ledger_goes_with_it() {
    let server = Server::new("renamed").await;
    let secrets = Secrets::default();
    let mut library = Library::default();
    let steps = shipped(&mut library, "labcloud");
    let cx = server.cx(&secrets, library).await;
    let mut all = everything(&secrets, "r", "renamed_shared", &steps);
    for resource in &all {
        resource.converge(&cx).await.unwrap();
    }
    run(&mut server.superuser("renamed_shared").await, "CREATE TABLE r_schema.kept (); ALTER TABLE r_schema.kept OWNER TO r_migrate").await.unwrap();
    let [.., schema, version] = all.as_mut_slice() else { panic!() };
    schema.converge(&cx).await.unwrap();
    (schema.spec["name"], version.spec["schema"]) = (json!("r_renamed"), json!("r_renamed"));
    // Before the schema is renamed, both are seen where they are.
    assert_eq!(schema.diff(&cx).await, Diff::Update(vec![Change::new("name", "r_schema", "r_renamed")]));
    assert_eq!(version.diff(&cx).await, Diff::Update(vec![Change::new("schema", "r_schema", "r_renamed")]));
    assert_eq!((schema.converge(&cx).await.unwrap(), version.converge(&cx).await.unwrap()), (1, 0), "one statement renames both");
    assert!(matches!(version.observe(&cx).await, Observed::Mine { id, .. } if id == "renamed_shared.r_renamed"));
    let tables = texts(&mut server.superuser("renamed_shared").await, "SELECT tablename::text FROM pg_tables WHERE schemaname = 'r_renamed' ORDER BY 1").await;
    assert!(tables.contains(&"kept".to_owned()) && tables.contains(&"labctl_migrations".to_owned()), "{tables:?}");
    assert_eq!(standing_memberships(&server).await, [""; 0]);

    // A copy of its comment makes it two; a name that is somebody else's is theirs.
    let mut db = server.superuser("renamed_shared").await;
    let copy = "DO $$ BEGIN CREATE SCHEMA r_copy; EXECUTE format('COMMENT ON SCHEMA r_copy IS %L', obj_description('r_renamed'::regnamespace)); END $$";
    run(&mut db, copy).await.unwrap();
    schema.spec["name"] = json!("r_third");
    assert_eq!(schema.observe(&cx).await, Observed::Many(vec!["r_copy".into(), "r_renamed".into()]));
    run(&mut db, "DROP SCHEMA r_copy; CREATE SCHEMA r_third").await.unwrap();
    assert!(matches!(schema.observe(&cx).await, Observed::Foreign(_)));
    run(&mut db, "DROP SCHEMA r_third").await.unwrap();

    // What a rename that was never put on record has left is deleted by its former spec.
    (schema.spec["name"], version.spec["schema"]) = (json!("r_schema"), json!("r_schema"));
    for resource in all.iter().rev() {
        resource.delete(&cx).await;
    }
    nothing_left(&server, "r").await;
}
