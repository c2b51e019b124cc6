//! ClinicX, "Row Level Security": five traps, each with the seed's policy and with [`rls`](labctl::tenantdb::rls), which goes by the role.

use labctl::tenantdb::quote::Ident;
use labctl::tenantdb::rls;
use sqlx::PgConnection;

use super::{Place, code};
use crate::tenant_databases::server::{run, texts};

const A: &str = "00000000-0000-0000-0000-00000000000a";
const B: &str = "00000000-0000-0000-0000-00000000000b";
const SEEN: &str = "SELECT name FROM patients ORDER BY 1";
/// The seed's policy, and the function that says whose turn it is.
const POLICY: &str = "ALTER TABLE patients ENABLE ROW LEVEL SECURITY; \
    CREATE POLICY tenant_isolation_policy ON patients USING (current_setting('app.current_tenant')::uuid = tenant_id)";
const SET_CURRENT_TENANT: &str = "CREATE OR REPLACE FUNCTION set_current_tenant(p_tenant_id uuid) RETURNS void AS $$
    BEGIN
        PERFORM set_config('app.current_tenant', p_tenant_id::text, false);
    END;
    $$ LANGUAGE plpgsql SECURITY DEFINER";

/// Two shared tables with a patient of A and one of B each: `seed.patients`, whose `tenant_id` is of this type, and `ours.patients`, which
/// labctl protects. Logins `{name}_a` and `{name}_b` may read and write both, and see the seed's first.
async fn shared_tables(name: &'static str, tenant_id: &str) -> (Place, PgConnection) {
    let place = Place::new(name, "clinicx", &[]).await;
    let mut seed = place.seed().await;
    let mut admin = place.admin().await;
    let (ours, patients) = (Ident::new("ours").unwrap(), Ident::new("patients").unwrap());
    for (schema, column) in [("seed", tenant_id), ("ours", "text NOT NULL")] {
        run(&mut seed, &format!("CREATE SCHEMA {schema}; CREATE TABLE {schema}.patients (tenant_id {column}, name text)")).await.unwrap();
        run(&mut seed, &format!("INSERT INTO {schema}.patients VALUES ('{A}', 'of A'), ('{B}', 'of B')")).await.unwrap();
    }
    rls::prepare(&mut admin, &ours).await.unwrap();
    for (role, tenant) in [("a", A), ("b", B)] {
        let role = format!("{name}_{role}");
        run(&mut seed, &format!("CREATE ROLE {role} LOGIN PASSWORD 'pw'; GRANT CONNECT ON DATABASE {name}_shared TO {role}")).await.unwrap();
        run(&mut seed, &format!("GRANT USAGE ON SCHEMA seed, ours TO {role}; GRANT SELECT, INSERT, UPDATE, DELETE ON seed.patients, ours.patients TO {role}"))
            .await
            .unwrap();
        rls::admit(&mut admin, &ours, &Ident::new(&role).unwrap(), tenant).await.unwrap();
    }
    rls::protect(&mut admin, &ours, &patients, &Ident::new("tenant_id").unwrap()).await.unwrap();
    run(&mut seed, &format!("SET search_path TO seed; {SET_CURRENT_TENANT}")).await.unwrap();
    (place, seed)
}

/// A session of A's, which reads the seed's table, or ours.
async fn session_of_a(place: &Place, schema: &str) -> PgConnection {
    let name = place.server.admin.trim_end_matches("_admin");
    let mut session = place.server.login(&format!("{name}_a"), "pw", &place.server.shared).await.unwrap();
    run(&mut session, &format!("SET search_path TO {schema}")).await.unwrap();
    session
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_id_of_another_type_is_told_before_a_policy_is_made() {
    let (place, mut seed) = shared_tables("e_type", "varchar(100) NOT NULL").await;
    assert_eq!(code(run(&mut seed, POLICY).await), "42883", "uuid = character varying");

    // Asked for the seed's table, labctl says what is wrong with it; on a column of the right type the same works.
    let [schema, table, column] = ["seed", "patients", "tenant_id"].map(|n| Ident::new(n).unwrap());
    let refused = rls::protect(&mut place.admin().await, &schema, &table, &column).await.unwrap_err();
    assert_eq!(
        (refused.code.as_str(), refused.message.as_str()),
        ("invalid_column", "column \"tenant_id\" of \"seed\".\"patients\" is character varying: it must be text NOT NULL")
    );
    assert_eq!(texts(&mut session_of_a(&place, "ours").await, SEEN).await, ["of A"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_of_a_table_is_bound_by_its_policy_too() {
    let (place, mut seed) = shared_tables("e_force", "uuid").await;
    run(&mut seed, POLICY).await.unwrap();
    assert_eq!(texts(&mut seed, SEEN).await, ["of A", "of B"], "without FORCE the owner sees everything");

    run(&mut seed, "SET search_path TO ours").await.unwrap();
    assert_eq!(texts(&mut seed, SEEN).await, [""; 0]);
    assert_eq!(texts(&mut session_of_a(&place, "ours").await, SEEN).await, ["of A"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_set_nothing_sees_its_own_rows_and_gets_no_error() {
    let (place, mut seed) = shared_tables("e_unset", "uuid").await;
    run(&mut seed, POLICY).await.unwrap();
    let mut a = session_of_a(&place, "seed").await;
    assert_eq!(code(run(&mut a, SEEN).await), "42704", "unrecognized configuration parameter");
    run(&mut a, &format!("BEGIN; SET LOCAL app.current_tenant = '{A}'; COMMIT")).await.unwrap();
    assert_eq!(code(run(&mut a, SEEN).await), "22P02", "and after a transaction that had set it, an empty text is no uuid");

    assert_eq!(texts(&mut session_of_a(&place, "ours").await, SEEN).await, ["of A"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_setting_makes_a_role_another_tenant() {
    let (place, mut seed) = shared_tables("e_config", "uuid").await;
    run(&mut seed, POLICY).await.unwrap();
    let claim = format!("SELECT set_config('app.current_tenant', '{B}', false)");
    let mut a = session_of_a(&place, "seed").await;
    run(&mut a, &claim).await.unwrap();
    assert_eq!(texts(&mut a, SEEN).await, ["of B"], "A has said that it is B");
    run(&mut a, "UPDATE patients SET name = 'changed by A'").await.unwrap();
    assert_eq!(texts(&mut a, SEEN).await, ["changed by A"], "and writes B's rows");

    let mut a = session_of_a(&place, "ours").await;
    run(&mut a, &claim).await.unwrap();
    assert_eq!(texts(&mut a, SEEN).await, ["of A"]);
    run(&mut a, "UPDATE patients SET name = 'changed by A'").await.unwrap();
    run(&mut seed, "ALTER TABLE ours.patients DISABLE ROW LEVEL SECURITY; SET search_path TO ours").await.unwrap();
    assert_eq!(texts(&mut seed, SEEN).await, ["changed by A", "of B"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_one_request_is_left_in_a_pools_connection_for_the_next() {
    let (place, mut seed) = shared_tables("e_pool", "uuid").await;
    run(&mut seed, &format!("{POLICY}; GRANT EXECUTE ON FUNCTION set_current_tenant TO PUBLIC")).await.unwrap();
    // One connection of the pool: a request for B, then one that forgot to say whose it is.
    let mut pooled = session_of_a(&place, "seed").await;
    run(&mut pooled, &format!("BEGIN; SELECT set_current_tenant('{B}'); {SEEN}; COMMIT")).await.unwrap();
    run(&mut pooled, "BEGIN").await.unwrap();
    assert_eq!(texts(&mut pooled, SEEN).await, ["of B"], "the next request is served the last one's rows");

    let mut pooled = session_of_a(&place, "ours").await;
    run(&mut pooled, &format!("BEGIN; SELECT seed.set_current_tenant('{B}'); {SEEN}; COMMIT")).await.unwrap();
    run(&mut pooled, "BEGIN").await.unwrap();
    assert_eq!(texts(&mut pooled, SEEN).await, ["of A"], "a connection is one role's, and a role one tenant's");
}
