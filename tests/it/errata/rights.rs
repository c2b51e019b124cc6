//! ClinicX, "Database Schema Updates", and LabCloud's shared login: who may do what.

use super::{Place, code};
use crate::tenant_databases::server::{run, texts};

/// The seed's function, word for word but for the name of the application's role.
const CREATE_TENANT_SCHEMA: &str = "
CREATE OR REPLACE FUNCTION create_tenant_schema(
    p_tenant_id VARCHAR(100),
    p_schema_name VARCHAR(63)
) RETURNS VOID AS $$
BEGIN
    -- Create schema
    EXECUTE format('CREATE SCHEMA IF NOT EXISTS %I', p_schema_name);

    -- Grant permissions
    EXECUTE format('GRANT ALL ON SCHEMA %I TO APP', p_schema_name);

    -- Set search path for session
    EXECUTE format('SET search_path TO %I, public', p_schema_name);
END;
$$ LANGUAGE plpgsql SECURITY DEFINER";

#[tokio::test(flavor = "multi_thread")]
async fn nobody_makes_schemas_by_a_function_of_the_administrators() {
    let place = Place::new("e_definer", "clinicx", &[]).await;
    let mut seed = place.seed().await;
    for role in ["e_definer_application", "e_definer_stranger"] {
        run(&mut seed, &format!("CREATE ROLE {role} LOGIN PASSWORD 'pw'; GRANT CONNECT ON DATABASE e_definer_shared TO {role}")).await.unwrap();
    }
    run(&mut seed, &CREATE_TENANT_SCHEMA.replace("APP", "e_definer_application")).await.unwrap();
    let mut stranger = place.server.login("e_definer_stranger", "pw", "e_definer_shared").await.unwrap();
    assert_eq!(code(run(&mut stranger, "CREATE SCHEMA of_a_stranger").await), "42501", "it may not itself");
    run(&mut stranger, "SET search_path TO public; SELECT create_tenant_schema('x', 'of_a_stranger')").await.unwrap();
    let owner = "SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'of_a_stranger'";
    assert_eq!(texts(&mut stranger, owner).await, ["e_definer_admin"], "and the function does it for everybody");
    assert_eq!(texts(&mut stranger, "SHOW search_path").await, ["of_a_stranger, public"], "whose search_path it changes");
    // The application now has a schema to make functions in, and the function believes whatever `format` it finds.
    let mut application = place.server.login("e_definer_application", "pw", "e_definer_shared").await.unwrap();
    let takeover = "
        SELECT create_tenant_schema('x', 'trap');
        CREATE FUNCTION trap.format(text, varchar) RETURNS text LANGUAGE plpgsql AS $f$
            BEGIN ALTER ROLE e_definer_application CREATEDB; RETURN 'SELECT 1'; END $f$;
        SET search_path TO trap, public;
        SELECT create_tenant_schema('x', 'whatever')";
    run(&mut application, takeover).await.unwrap();
    let powers = "SELECT rolcreatedb::text FROM pg_roles WHERE rolname = 'e_definer_application'";
    assert_eq!(texts(&mut application, powers).await, ["true"], "a tenant's login has given itself a right of the administrator's");

    run(&mut seed, "DROP SCHEMA of_a_stranger, trap CASCADE; DROP FUNCTION public.create_tenant_schema").await.unwrap();
    place.tenant("e_definer_a").await;
    let definers = "SELECT concat_ws(' ', oid::regprocedure, 'as', proowner::regrole, proacl) FROM pg_proc \
                    WHERE prosecdef AND pronamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)";
    let runner =
        "labctl_ledger.e_definer_a_schema(text) as e_definer_a_migrate {e_definer_a_migrate=X/e_definer_a_migrate,e_definer_admin=X/e_definer_a_migrate}";
    assert_eq!(texts(&mut seed, definers).await, [runner], "the one function that runs as somebody else runs as the tenant, for the administrator alone");
    let of_everybody = "SELECT p.oid::regprocedure::text FROM pg_proc p, aclexplode(coalesce(proacl, acldefault('f', proowner))) a \
                        WHERE pronamespace = 'e_definer_a_schema'::regnamespace AND a.grantee = 0";
    assert_eq!(texts(&mut seed, of_everybody).await, [""; 0], "nor one for everybody");
    for part in ["app", "read", "migrate"] {
        let mut tenant = place.login("e_definer_a", part).await;
        assert_eq!(code(run(&mut tenant, "CREATE SCHEMA of_a_tenant").await), "42501", "{part}");
        assert_eq!(texts(&mut tenant, "SHOW search_path").await, ["e_definer_a_schema"], "{part}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_application_reads_the_tables_there_are_and_those_made_later() {
    let place = Place::new("e_grants", "clinicx", &[]).await;
    let mut seed = place.seed().await;
    for role in ["e_grants_application", "e_grants_maker"] {
        run(&mut seed, &format!("CREATE ROLE {role} LOGIN PASSWORD 'pw'; GRANT CONNECT ON DATABASE e_grants_shared TO {role}")).await.unwrap();
    }
    run(&mut seed, "CREATE SCHEMA clinic; CREATE TABLE clinic.patients (name text); GRANT ALL ON SCHEMA clinic TO e_grants_application, e_grants_maker")
        .await
        .unwrap();
    let mut application = place.server.login("e_grants_application", "pw", "e_grants_shared").await.unwrap();
    assert_eq!(code(run(&mut application, "SELECT * FROM clinic.patients").await), "42501", "ALL on the schema is nothing on its tables");
    // What is usually done then: the tables there are, and default privileges without FOR ROLE.
    let mended = "GRANT ALL ON ALL TABLES IN SCHEMA clinic TO e_grants_application; ALTER DEFAULT PRIVILEGES IN SCHEMA clinic GRANT ALL ON TABLES TO e_grants_application";
    run(&mut seed, mended).await.unwrap();
    run(&mut application, "SELECT * FROM clinic.patients").await.unwrap();
    let mut maker = place.server.login("e_grants_maker", "pw", "e_grants_shared").await.unwrap();
    run(&mut maker, "CREATE TABLE clinic.later (name text)").await.unwrap();
    assert_eq!(code(run(&mut application, "SELECT * FROM clinic.later").await), "42501", "the defaults are those of who said them, not of who makes the table");

    place.tenant("e_grants_a").await;
    let (mut app, mut migrate) = (place.login("e_grants_a", "app").await, place.login("e_grants_a", "migrate").await);
    run(&mut app, "SELECT * FROM patients").await.unwrap();
    run(&mut migrate, "CREATE TABLE later (name text)").await.unwrap();
    run(&mut app, "INSERT INTO later VALUES ('x')").await.unwrap();
    assert_eq!(texts(&mut place.login("e_grants_a", "read").await, "SELECT name FROM later").await, ["x"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_path_is_no_wall_and_a_role_is() {
    let place = Place::new("e_path", "labcloud", &[]).await;
    let mut seed = place.seed().await;
    run(&mut seed, "CREATE ROLE e_path_login LOGIN PASSWORD 'pw'; GRANT CONNECT ON DATABASE e_path_shared TO e_path_login").await.unwrap();
    for lab in ["lab001", "lab002"] {
        let made = format!(
            "CREATE SCHEMA {lab}; CREATE TABLE {lab}.lab_results (id SERIAL PRIMARY KEY, patient_id VARCHAR(50)); INSERT INTO {lab}.lab_results (patient_id) VALUES ('of {lab}'); \
             GRANT USAGE ON SCHEMA {lab} TO e_path_login; GRANT SELECT ON {lab}.lab_results TO e_path_login"
        );
        run(&mut seed, &made).await.unwrap();
    }
    let mut login = place.server.login("e_path_login", "pw", "e_path_shared").await.unwrap();
    run(&mut login, "SET search_path TO lab001").await.unwrap();
    assert_eq!(texts(&mut login, "SELECT patient_id FROM lab_results").await, ["of lab001"]);
    assert_eq!(texts(&mut login, "SELECT patient_id FROM lab002.lab_results").await, ["of lab002"], "\"Can ONLY see lab001 data\"");

    place.tenant("e_path_a").await;
    place.tenant("e_path_b").await;
    run(&mut place.login("e_path_b", "app").await, "INSERT INTO lab_results (patient_id, test_code) VALUES ('of b', 'CBC')").await.unwrap();
    let mut a = place.login("e_path_a", "app").await;
    assert_eq!(texts(&mut a, "SELECT patient_id FROM lab_results").await, [""; 0]);
    assert_eq!(code(run(&mut a, "SELECT patient_id FROM e_path_b_schema.lab_results").await), "42501");
    run(&mut a, "SET search_path TO e_path_b_schema").await.unwrap();
    assert_eq!(code(run(&mut a, "SELECT patient_id FROM lab_results").await), "42P01", "nor is it found by another search_path");
}
