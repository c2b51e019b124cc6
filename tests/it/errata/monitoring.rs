//! ClinicX, "Schema Monitoring" and "Dashboards": connections and sizes by tenant.

use labctl::tenantdb::{census, watch};

use super::{Place, code};
use crate::tenant_databases::server::{run, texts};

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_counted_by_login_role_because_pg_stat_activity_knows_no_schema() {
    let place = Place::new("e_conn", "clinicx", &[]).await;
    let counted =
        "SELECT datname, schemaname, count(*) AS connection_count FROM pg_stat_activity WHERE schemaname LIKE 'tenant_%' GROUP BY datname, schemaname";
    assert_eq!(code(run(&mut place.seed().await, counted).await), "42703");

    place.tenant("e_conn_a").await;
    place.tenant("e_conn_b").await;
    let _open = [place.login("e_conn_a", "app").await, place.login("e_conn_a", "app").await, place.login("e_conn_b", "app").await];
    let roles = ["e_conn_a_app", "e_conn_a_read", "e_conn_b_app"].map(str::to_owned);
    let seen = watch::server(&mut place.admin().await, &roles).await.unwrap();
    let counts: Vec<(&str, i64)> = seen.roles.iter().map(|(role, used)| (role.as_str(), used.connections)).collect();
    assert_eq!(counts, [("e_conn_a_app", 2), ("e_conn_a_read", 0), ("e_conn_b_app", 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_size_is_its_own_and_not_the_databases() {
    let place = Place::new("e_size", "clinicx", &[]).await;
    place.tenant("e_size_a").await;
    place.tenant("e_size_b").await;
    let rows = "INSERT INTO patients (record_number, given_name, family_name, date_of_birth) SELECT n, repeat('x', 200), 'y', '2000-01-01' FROM generate_series(1, 10000) n";
    run(&mut place.login("e_size_a", "app").await, rows).await.unwrap();

    let dashboard = "SELECT DISTINCT pg_database_size(current_database())::text FROM (VALUES ('e_size_a_schema'), ('e_size_b_schema')) AS t (database_schema)";
    assert_eq!(texts(&mut place.seed().await, dashboard).await.len(), 1, "the tenant with 10,000 patients and the one with none are of one size");

    let mut admin = place.admin().await;
    let version = watch::server(&mut admin, &[]).await.unwrap().version;
    let sizes = watch::schemas(&mut admin, version, &["e_size_a_schema", "e_size_b_schema"].map(str::to_owned)).await.unwrap();
    let [a, b] = ["e_size_a_schema", "e_size_b_schema"].map(|schema| sizes[schema].bytes.unwrap());
    // 10,000 rows of more than 200 bytes, and their indexes; beside them only empty tables.
    assert!(a > b + 2_000_000 && b < 1_000_000, "{a} and {b} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_a_schema_is_follows_from_its_comment_because_an_underscore_in_like_is_any_character() {
    let place = Place::new("e_like", "clinicx", &[]).await;
    place.tenant("tenant_e_like").await;
    let mut seed = place.seed().await;
    run(&mut seed, "CREATE SCHEMA tenantxfoo; CREATE TABLE tenantxfoo.not_a_tenants (id int)").await.unwrap();
    let view = "SELECT DISTINCT schemaname::text FROM pg_tables WHERE schemaname LIKE 'tenant_%' ORDER BY 1";
    assert_eq!(texts(&mut seed, view).await, ["tenant_e_like_schema", "tenantxfoo"], "somebody else's schema counts as a tenant's");

    let things = census::in_database(&mut place.admin().await).await.unwrap();
    let tenants: Vec<_> = things.iter().filter(|t| t.what == "schema").filter_map(|t| Some((t.name.as_str(), t.tags.get("labctl:tenant")?.as_str()))).collect();
    assert_eq!(tenants, [("tenant_e_like_schema", "tenant_e_like")]);
    assert!(things.iter().any(|t| t.name == "tenantxfoo" && t.tags.is_empty()), "it is seen, as nobody's");
}
