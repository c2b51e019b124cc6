//! ClinicX, "Gradual Migration": tables copied by LIKE, and rows copied while others write.

use super::{Place, code};
use crate::e2e::fixture::{blocking, shared};
use crate::e2e::isolation::login;
use crate::tenant_databases::server::{run, texts};

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_tables_have_their_own_numbers_and_their_foreign_keys() {
    let place = Place::new("e_likeall", "clinicx", &[]).await;
    let mut seed = place.seed().await;
    let shared = "CREATE TABLE public.patients (id serial PRIMARY KEY, name text); \
                  CREATE TABLE public.appointments (id serial PRIMARY KEY, patient_id int NOT NULL REFERENCES public.patients (id))";
    run(&mut seed, shared).await.unwrap();
    for clinic in ["clinic1", "clinic2"] {
        run(&mut seed, &format!("CREATE SCHEMA {clinic}; CREATE TABLE {clinic}.patients (LIKE public.patients INCLUDING ALL)")).await.unwrap();
        run(&mut seed, &format!("CREATE TABLE {clinic}.appointments (LIKE public.appointments INCLUDING ALL)")).await.unwrap();
    }
    let mut numbers = Vec::new();
    for clinic in ["clinic1", "clinic2", "clinic1"] {
        numbers.extend(texts(&mut seed, &format!("INSERT INTO {clinic}.patients (name) VALUES ('x') RETURNING id::text")).await);
    }
    assert_eq!(numbers, ["1", "2", "3"], "both take their numbers from public.patients_id_seq");
    run(&mut seed, "INSERT INTO clinic1.appointments (patient_id) VALUES (999)").await.unwrap();
    assert_eq!(texts(&mut seed, "SELECT patient_id::text FROM clinic1.appointments").await, ["999"], "an appointment of a patient who does not exist");

    place.tenant("e_likeall_a").await;
    place.tenant("e_likeall_b").await;
    let (mut a, mut b) = (place.login("e_likeall_a", "app").await, place.login("e_likeall_b", "app").await);
    let insert =
        |n| format!("INSERT INTO patients (record_number, given_name, family_name, date_of_birth) VALUES ('P{n}', 'x', 'x', '2000-01-01') RETURNING id::text");
    let numbers = [texts(&mut a, &insert(1)).await, texts(&mut b, &insert(1)).await, texts(&mut a, &insert(2)).await].concat();
    assert_eq!(numbers, ["1", "1", "2"]);
    run(&mut a, "INSERT INTO staff (email, given_name, family_name, role) VALUES ('s@x.example', 'x', 'x', 'nurse')").await.unwrap();
    let book = |patient| {
        format!("INSERT INTO appointments (patient_id, staff_id, starts_at, ends_at) VALUES ({patient}, 1, '2026-01-01 09:00Z', '2026-01-01 10:00Z')")
    };
    assert_eq!(code(run(&mut a, &book(999)).await), "23503");
    run(&mut a, &book(1)).await.unwrap();
    let sequences = "SELECT DISTINCT refobjid::regclass::text FROM pg_depend WHERE classid = 'pg_class'::regclass AND deptype = 'i' \
                     AND objid IN (SELECT oid FROM pg_class WHERE relkind = 'S' AND relnamespace = current_schema()::regnamespace) ORDER BY 1";
    assert_eq!(
        texts(&mut a, sequences).await,
        ["appointments", "invoices", "patients", "payments", "staff"],
        "every sequence belongs to a table of the same schema"
    );
}

/// labctl copies no tenant's rows, and has no move between isolations yet. What it has is the refusal to be sent on one.
#[tokio::test(flavor = "multi_thread")]
async fn no_row_is_lost_in_a_copy_because_nothing_is_copied_under_writers() {
    let place = Place::new("e_freeze", "clinicx", &[]).await;
    let (mut copying, mut writing) = (place.seed().await, place.seed().await);
    run(&mut copying, "CREATE TABLE public.patients (tenant_id text, name text); INSERT INTO public.patients VALUES ('clinic1', 'before')").await.unwrap();
    let copy = "BEGIN; CREATE SCHEMA tenant_clinic1; CREATE TABLE tenant_clinic1.patients (LIKE public.patients INCLUDING ALL); \
                INSERT INTO tenant_clinic1.patients SELECT * FROM public.patients WHERE tenant_id = 'clinic1'";
    run(&mut copying, copy).await.unwrap();
    run(&mut writing, "INSERT INTO public.patients VALUES ('clinic1', 'during')").await.unwrap();
    run(&mut copying, "COMMIT").await.unwrap();
    assert_eq!(
        texts(&mut writing, "SELECT name FROM tenant_clinic1.patients").await,
        ["before"],
        "committed, and not in the schema the clinic works in from now on"
    );

    let make = || {
        shared().ok(&["tenant", "create", &shared().spec("frozen-clinic", "clinicx", "standard")]);
        shared().json(&["tenant", "show", "frozen-clinic"])
    };
    let before = blocking(make).await.unwrap();
    let mut app = login("frozen-clinic", "app").await.unwrap();
    run(&mut app, "INSERT INTO staff (email, given_name, family_name, role) VALUES ('s@x.example', 'x', 'x', 'nurse')").await.unwrap();
    let moved = || shared().run(&["tenant", "apply", &shared().spec("frozen-clinic", "clinicx", "enterprise"), "--yes", "-o", "json"]);
    let moved = blocking(moved).await.unwrap();
    let error = moved.error();
    let said = [&error["code"], &error["message"], &error["left"][0]].map(|v| v.as_str().unwrap().to_owned());
    let expected = [
        "other_isolation",
        "tenant `frozen-clinic` has its data in isolation `schema`, and the spec's tier means `database`",
        "everything as it was: nothing was touched",
    ];
    assert_eq!((moved.code, said.each_ref().map(String::as_str)), (1, expected), "{moved}");
    assert_eq!(blocking(|| shared().json(&["tenant", "show", "frozen-clinic"])).await.unwrap(), before);
    let staff = "SELECT current_database() || ' ' || email FROM staff";
    assert_eq!(texts(&mut login("frozen-clinic", "app").await.unwrap(), staff).await, ["shared s@x.example"]);
}
