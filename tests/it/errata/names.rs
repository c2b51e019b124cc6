//! ClinicX, "Dynamic Schema Creation" and "Naming Conventions", and LabCloud's `LAB001`: what becomes of a name on its way into SQL.

use labctl::engine::kind::Observed;
use labctl::spec;
use labctl::tenantdb::quote::Ident;
use serde_json::json;

use super::{Place, refusals};
use crate::tenant_databases::server::{run, texts};

const SCHEMAS: &str =
    "SELECT nspname::text FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'public', 'labctl_ledger') ORDER BY 1";

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_a_statement_stays_a_name() {
    let place = Place::new("e_inject", "clinicx", &[]).await;
    let mut seed = place.seed().await;
    let evil = "x; DROP SCHEMA victim CASCADE";
    let victim = "CREATE SCHEMA victim; CREATE TABLE victim.patients AS SELECT 'Ada' AS name";
    run(&mut seed, victim).await.unwrap();
    // jdbcTemplate.execute("CREATE SCHEMA IF NOT EXISTS " + schemaName)
    run(&mut seed, &format!("CREATE SCHEMA IF NOT EXISTS {evil}")).await.unwrap();
    assert_eq!(texts(&mut seed, SCHEMAS).await, ["x"], "the neighbour is gone");

    run(&mut seed, victim).await.unwrap();
    let mut all = place.resources("e_inject_a");
    (all[4].spec["name"], all[5].spec["schema"]) = (json!(evil), json!(evil));
    for resource in &all {
        resource.converge(&place.cx).await.unwrap();
    }
    assert_eq!(texts(&mut seed, SCHEMAS).await, ["victim", "x", evil], "the whole of it is one name");
    assert_eq!(texts(&mut seed, "SELECT name FROM victim.patients").await, ["Ada"]);
    // And it does not come so far: neither id nor subdomain may hold such a thing.
    assert_eq!(
        refusals("acme", &format!("subdomain = {}", json!(evil))),
        ["subdomain `x; DROP SCHEMA victim CASCADE` may hold only a–z, 0–9 and `-`, not `;`"]
    );
    assert_eq!(refusals(evil, "").len(), 1);
    assert_eq!(refusals("acme", ""), [""; 0], "a plain one is taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_too_long_is_refused_and_not_cut_to_a_neighbours() {
    let place = Place::new("e_long", "clinicx", &[]).await;
    let mut seed = place.seed().await;
    let common = format!("tenant_{}", "s".repeat(56));
    assert_eq!(common.len(), 63);
    run(&mut seed, &format!("CREATE SCHEMA IF NOT EXISTS {common}a; SET search_path TO {common}a; CREATE TABLE patients (name text)")).await.unwrap();
    run(&mut seed, "INSERT INTO patients VALUES ('Ada, of the first clinic')").await.unwrap();
    let mut second = place.seed().await;
    run(&mut second, &format!("CREATE SCHEMA IF NOT EXISTS {common}b; SET search_path TO {common}b, public")).await.unwrap();
    assert_eq!(texts(&mut second, "SELECT name FROM patients").await, ["Ada, of the first clinic"], "the second clinic reads the first one's patients");
    assert_eq!(texts(&mut seed, SCHEMAS).await, [common.as_str()]);

    let subdomain = |bytes| format!("subdomain = {:?}", "s".repeat(bytes));
    assert_eq!(refusals("acme", &subdomain(56)), [""; 0]);
    let too_long = format!("a PostgreSQL schema cannot be named `{common}s`: that is 64 bytes, and the most is 63");
    assert_eq!(refusals("acme", &subdomain(57)), [too_long.as_str()]);
    // Nor further down, whoever asks; and a schema that is there already is not taken for one's own.
    let mut all = place.resources("e_long_b");
    all[4].spec["name"] = json!(format!("{common}b"));
    for resource in &all[..4] {
        resource.converge(&place.cx).await.unwrap();
    }
    assert_eq!(all[4].kind().observe(&place.cx, &all[4].target(), None).await.unwrap_err().code, "invalid_name");
    assert_eq!(all[4].kind().create(&place.cx, &all[4].target(), "token").await.unwrap_err().code, "invalid_name");
    assert_eq!(Ident::new(&format!("{common}b")).unwrap_err().code, "invalid_name");
    all[4].spec["name"] = json!(common);
    let found = all[4].observe(&place.cx).await;
    assert!(matches!(&found, Observed::Foreign(why) if why.starts_with("it carries no labctl ownership tags")), "{found:?}");
    assert_eq!(texts(&mut seed, SCHEMAS).await, [common.as_str()], "nothing was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_tenants_whose_names_become_one_the_second_is_refused() {
    let place = Place::new("e_same", "clinicx", &[]).await;
    let mut seed = place.seed().await;
    // "tenant_" + tenantId.toLowerCase().replace("-", "_")
    let resolve = "SELECT DISTINCT 'tenant_' || replace(lower(id), '-', '_') FROM (VALUES ('a-b'), ('a_b'), ('A-B')) AS tenants (id)";
    assert_eq!(texts(&mut seed, resolve).await, ["tenant_a_b"]);
    run(&mut seed, "CREATE SCHEMA IF NOT EXISTS tenant_a_b; CREATE TABLE tenant_a_b.patients AS SELECT 'of a-b' AS name").await.unwrap();
    run(&mut seed, "CREATE SCHEMA IF NOT EXISTS tenant_a_b; SET search_path TO tenant_a_b, public; INSERT INTO patients VALUES ('of a_b')").await.unwrap();
    assert_eq!(texts(&mut seed, "SELECT name FROM patients ORDER BY 1").await, ["of a-b", "of a_b"], "two clinics in one table");

    assert_eq!(refusals("a-b", ""), [""; 0]);
    assert_eq!(refusals("a_b", ""), ["id `a_b` may hold only a–z, 0–9 and `-`, not `_`"]);
    assert_eq!(refusals("A-B", ""), ["id `A-B` must begin with a letter a–z"]);
    let spec =
        |id: &str, more: &str| format!("id = {id:?}\ndisplay_name = \"X\"\ntier = \"standard\"\nstack = \"clinicx\"\nemail = \"{id}@x.example\"\n{more}");
    let files = [("1.toml".to_owned(), spec("a-b", "")), ("2.toml".to_owned(), spec("other", "subdomain = \"a-b\""))];
    let problems: Vec<String> = spec::read_many(&files).unwrap_err().plain().into_iter().map(|p| p.message).collect();
    assert_eq!(problems, ["the subdomain (and so the schema) `a-b` is taken by another spec, 1.toml:1:6"]);
    // And where it comes to the database after all, whose it is stands on it.
    place.tenant("e_same_a").await;
    let mut second = place.resources("e_same_b");
    second[4].spec["name"] = json!("e_same_a_schema");
    assert_eq!(second[4].observe(&place.cx).await, Observed::Foreign("it belongs to e_same_a/postgres_schema/main".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn lab001_in_capitals_is_no_second_tenant() {
    let place = Place::new("e_caps", "labcloud", &[]).await;
    let mut seed = place.seed().await;
    for (schema, text) in [("\"LAB001\"", "of LAB001"), ("lab001", "of lab001")] {
        run(&mut seed, &format!("CREATE SCHEMA {schema}; CREATE TABLE {schema}.lab_results AS SELECT '{text}' AS patient_id")).await.unwrap();
    }
    assert_eq!(texts(&mut seed, SCHEMAS).await, ["LAB001", "lab001"], "one laboratory, two schemas");
    run(&mut seed, "SET search_path TO LAB001").await.unwrap();
    assert_eq!(texts(&mut seed, "SELECT patient_id FROM lab_results").await, ["of lab001"], "and the one asked for is not the one that answers");

    assert_eq!(refusals("LAB001", ""), ["id `LAB001` must begin with a letter a–z"]);
    assert_eq!(refusals("lab001", "external_id = \"LAB001\""), [""; 0]);
    let spec = |id: &str, external: &str| {
        format!("id = {id:?}\nexternal_id = {external:?}\ndisplay_name = \"X\"\ntier = \"trial\"\nstack = \"labcloud\"\nemail = \"{id}@x.example\"\n")
    };
    let files = [("1.toml".to_owned(), spec("lab-a", "LAB001")), ("2.toml".to_owned(), spec("lab-b", "lab001"))];
    let problems: Vec<String> = spec::read_many(&files).unwrap_err().plain().into_iter().map(|p| p.message).collect();
    assert_eq!(problems, ["the external id `lab001` is too like `LAB001` of another spec, 1.toml:2:15: they differ only in case"]);
}
