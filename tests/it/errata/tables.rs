//! ClinicX, "Migration Scripts Structure", and LabCloud's usage tables: who gets which tables, and whether they can be made and counted in.

use super::{Place, code, files, steps};
use crate::tenant_databases::server::{run, texts};
use labctl::tenantdb::migrations::{File, Library};

const TABLES: &str = "SELECT tablename::text FROM pg_tables WHERE schemaname = 'SCHEMA' AND tablename ~ 'dental|treatments' ORDER BY 1";

#[tokio::test(flavor = "multi_thread")]
async fn the_dental_tables_are_only_where_the_module_is() {
    // V3__create_dental_module.sql lies in db/migration/tenant, which Flyway runs for every schema.
    let mut place = Place::new("e_dental", "clinicx", &[]).await;
    let mut library = Library::default();
    let (core, dental) = (files("clinicx", &[]), files("clinicx", &["dental"]));
    let mut folder = core.clone();
    folder.push(File::parse("tenant", "V5__create_dental_module.sql", &dental[core.len()].sql).unwrap());
    place.steps = steps(&mut library, &folder);
    place.cx = place.server.cx(&place.secrets, library).await;
    place.tenant("e_dental_seed").await;
    let mut seed = place.seed().await;
    assert_eq!(texts(&mut seed, &TABLES.replace("SCHEMA", "e_dental_seed_schema")).await, ["dental_charts"], "a clinic without dentists has charts of teeth");

    let mut library = Library::default();
    let both = [steps(&mut library, &core), steps(&mut library, &dental)];
    place.cx = place.server.cx(&place.secrets, library).await;
    for (tenant, steps) in ["e_dental_plain", "e_dental_teeth"].into_iter().zip(both) {
        place.steps = steps;
        place.tenant(tenant).await;
    }
    assert_eq!(texts(&mut seed, &TABLES.replace("SCHEMA", "e_dental_plain_schema")).await, [""; 0]);
    assert_eq!(texts(&mut seed, &TABLES.replace("SCHEMA", "e_dental_teeth_schema")).await, ["dental_charts", "dental_procedures", "treatments"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_has_one_key() {
    let place = Place::new("e_keys", "labcloud", &[]).await;
    let mut seed = place.seed().await;
    let usage = "CREATE TABLE tenant_usage (tenant_id VARCHAR(50) PRIMARY KEY, month VARCHAR(7) PRIMARY KEY, results_processed INT DEFAULT 0)";
    assert_eq!(code(run(&mut seed, usage).await), "42P16", "multiple primary keys");

    place.tenant("e_keys_a").await;
    let keys = "SELECT conrelid::regclass || ': ' || pg_get_constraintdef(oid) FROM pg_constraint \
                WHERE contype = 'p' AND connamespace = current_schema()::regnamespace AND conrelid::regclass::text ~ 'usage' ORDER BY 1";
    let mut app = place.login("e_keys_a", "app").await;
    // Whose it is, the schema says.
    assert_eq!(texts(&mut app, keys).await, ["usage_by_month: PRIMARY KEY (month)", "usage_events: PRIMARY KEY (event_id)"]);
    assert_eq!(code(run(&mut app, "INSERT INTO usage_by_month (month) VALUES ('2026-01-01'), ('2026-01-01')").await), "23505");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_months_first_use_is_counted() {
    let place = Place::new("e_first", "labcloud", &[]).await;
    let mut seed = place.seed().await;
    run(&mut seed, "CREATE TABLE tenant_usage (tenant_id varchar(50), month varchar(7), results_processed int DEFAULT 0, api_calls int DEFAULT 0, PRIMARY KEY (tenant_id, month))")
        .await
        .unwrap();
    let count = "UPDATE tenant_usage SET results_processed = results_processed + 1, api_calls = api_calls + 1 WHERE tenant_id = 'LAB001' AND month = '2026-01'";
    let updated = sqlx::raw_sql(count).execute(&mut seed).await.unwrap().rows_affected();
    assert_eq!((updated, texts(&mut seed, "SELECT month FROM tenant_usage").await.len()), (0, 0), "UPDATE 0: the call is lost");
    run(&mut seed, "INSERT INTO tenant_usage VALUES ('LAB001', '2026-01')").await.unwrap();
    run(&mut seed, count).await.unwrap();
    let totals = "SELECT concat_ws(' ', results_processed, api_calls) FROM tenant_usage";
    assert_eq!(texts(&mut seed, totals).await, ["1 1"], "and a call that asks for nothing is counted as a result");

    place.tenant("e_first_a").await;
    let mut app = place.login("e_first_a", "app").await;
    for (event, meter, amount) in [(1, "api_calls", 1), (2, "api_calls", 1), (3, "results_processed", 5), (3, "results_processed", 5)] {
        run(&mut app, &format!("SELECT record_usage('00000000-0000-0000-0000-00000000000{event}', '{meter}', {amount}, '2026-01-31 23:59:59Z')"))
            .await
            .unwrap();
    }
    let totals = "SELECT concat_ws(' ', month, results_processed, api_calls) FROM usage_by_month";
    assert_eq!(texts(&mut app, totals).await, ["2026-01-01 5 2"], "from the first on, each meter for itself, and none twice");
}
