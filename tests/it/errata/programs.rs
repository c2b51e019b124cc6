//! ClinicX, "Backup Strategy": what psql and pg_dump do with a tenant's schema.

use std::process::Command;

use labctl::stack::names::{Parts, check};
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::Place;
use crate::e2e::fixture::{blocking, shared};
use crate::e2e::isolation::login;
use crate::tenant_databases::server::{ADMIN_PASSWORD, run, texts};
use crate::world::world;

#[tokio::test(flavor = "multi_thread")]
async fn a_script_over_a_live_schema_stops_at_its_first_error_and_says_so() {
    let place = Place::new("e_restore", "clinicx", &[]).await;
    let mut seed = place.seed().await;
    let folder = tempfile::tempdir().unwrap();
    // As pg_dump writes it: objects first, then rows.
    let backup = folder.path().join("backup_tenant_clinic1_20240115.sql");
    let dump = "CREATE SCHEMA tenant_clinic1;\nCREATE TABLE tenant_clinic1.patients (id integer, name text);\nINSERT INTO tenant_clinic1.patients VALUES (1, 'as it was');\n";
    std::fs::write(&backup, dump).unwrap();
    run(&mut seed, "CREATE SCHEMA tenant_clinic1; CREATE TABLE tenant_clinic1.patients (id integer, name text); INSERT INTO tenant_clinic1.patients VALUES (1, 'as it is')")
        .await
        .unwrap();
    let psql = Command::new("psql")
        .args(["-X", "-h", "127.0.0.1", "-p", &place.server.port().to_string(), "-U", &place.server.admin, "-d", &place.server.shared, "-f"])
        .arg(&backup)
        .env("PGPASSWORD", ADMIN_PASSWORD)
        .output()
        .unwrap();
    assert_eq!((psql.status.code(), String::from_utf8_lossy(&psql.stderr).matches("ERROR").count()), (Some(0), 2), "two errors, and exit 0: {psql:?}");
    let both = "SELECT name FROM tenant_clinic1.patients ORDER BY 1";
    assert_eq!(texts(&mut seed, both).await, ["as it is", "as it was"], "the rows are there twice");

    blocking(|| shared().ok(&["tenant", "create", &shared().spec("script-clinic", "clinicx", "standard")])).await.unwrap();
    let script = folder.path().join("mend.sql");
    let email = |who: &str| format!("INSERT INTO staff (email, given_name, family_name, role) VALUES ('{who}@x.example', 'x', 'x', 'nurse');\n");
    std::fs::write(&script, format!("{}INSERT INTO no_such_table VALUES (1);\n{}", email("first"), email("second"))).unwrap();
    let mut args: Vec<String> = ["tenant", "psql", "script-clinic", "--role", "app", "--", "-X", "-q", "-f"].map(str::to_owned).to_vec();
    args.push(script.display().to_string());
    let ended = blocking(move || shared().run(&args.iter().map(String::as_str).collect::<Vec<_>>())).await.unwrap();
    assert_eq!((ended.code, ended.err.matches("ERROR").count()), (3, 1), "{ended}");
    let staff = "SELECT email FROM staff ORDER BY 1";
    assert_eq!(texts(&mut login("script-clinic", "app").await.unwrap(), staff).await, ["first@x.example"], "nothing came after the error");
}

/// labctl calls pg_dump nowhere. Its names are such that a pattern made of one means that one: this is what a backup will rest on.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_of_labctls_as_a_pattern_of_pg_dumps_means_itself() {
    let place = Place::new("e_dump", "clinicx", &[]).await;
    let mut seed = place.seed().await;
    let pg_dump = place.server.program("pg_dump").await;
    let dump = |schema: &str| {
        let done = Command::new(&pg_dump)
            .args(["-h", "127.0.0.1", "-p", &place.server.port().to_string(), "-U", "postgres", "-d", &place.server.shared])
            .arg(format!("--schema={schema}"))
            .arg("--inserts")
            .env("PGPASSWORD", world().password("postgres").expose_secret())
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
        let text = String::from_utf8(done.stdout).unwrap();
        text.lines().filter(|l| l.contains("VALUES") && !l.contains("labctl_migrations")).map(str::to_owned).collect::<Vec<_>>()
    };
    for (schema, text) in [("\"tenant_Clinic\"", "of Clinic"), ("tenant_clinic", "of clinic")] {
        run(&mut seed, &format!("CREATE SCHEMA {schema}; CREATE TABLE {schema}.patients AS SELECT '{text}'::text AS name")).await.unwrap();
    }
    assert_eq!(dump("tenant_Clinic"), ["INSERT INTO tenant_clinic.patients VALUES ('of clinic');"], "asked for one clinic, it backs up another");

    let mut all = place.resources("e_dump_a");
    let parts = Parts { product: "clinicx", environment: "production", id: "e-dump-a", subdomain: "e-dump-a", logs: "" };
    let name = check(&parts, "schema").unwrap().unwrap();
    (all[4].spec["name"], all[5].spec["schema"]) = (json!(name), json!(name));
    for resource in &all {
        resource.converge(&place.cx).await.unwrap();
    }
    run(&mut seed, "CREATE SCHEMA tenantxexdumpxa; CREATE TABLE tenantxexdumpxa.staff AS SELECT 'not ours' AS email").await.unwrap();
    run(
        &mut place.server.superuser(&place.server.shared).await,
        &format!("INSERT INTO {name}.staff (email, given_name, family_name, role) VALUES ('s@x.example', 'x', 'x', 'nurse')"),
    )
    .await
    .unwrap();
    let rows = dump(&name);
    assert!(rows.len() == 1 && rows[0].starts_with(&format!("INSERT INTO {name}.staff ")), "{rows:?}");
}
