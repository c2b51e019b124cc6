//! ClinicX: what its tables refuse, and the dental module, which only those have who asked for it.

use std::fs;

use sqlx::{AssertSqlSafe, PgConnection};

use super::fixture::{blocking, shared};
use super::isolation::login;

/// Writes a spec with these modules; its file name.
fn spec(id: &str, tier: &str, modules: &[&str]) -> String {
    let file = shared().spec(id, "clinicx", tier);
    let path = shared().dir().join("specs").join(&file);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{text}modules = {modules:?}\n")).unwrap();
    file
}

async fn run(db: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(db).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
}

/// By which error, and by which constraint if by one, a statement is refused.
async fn refused(db: &mut PgConnection, sql: &str) -> String {
    match sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(db).await {
        Ok(_) => "nothing".to_owned(),
        Err(e) => {
            let e = e.as_database_error().unwrap_or_else(|| panic!("{sql}: {e}"));
            [e.code().as_deref(), e.constraint()].into_iter().flatten().collect::<Vec<_>>().join(" ")
        }
    }
}

async fn texts(db: &mut PgConnection, sql: &str) -> Vec<String> {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_all(db).await.unwrap()
}

const TABLES: &str = "SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema() AND tablename <> 'labctl_migrations' ORDER BY 1";
const CORE: [&str; 5] = ["appointments", "invoices", "patients", "payments", "staff"];
const DENTAL: [&str; 8] = ["appointments", "dental_charts", "dental_procedures", "invoices", "patients", "payments", "staff", "treatments"];

const PEOPLE: &str = "
    INSERT INTO patients (record_number, given_name, family_name, date_of_birth) VALUES ('P1', 'Ada', 'Ames', '1980-01-01'), ('P2', 'Ben', 'Birk', '1990-02-02');
    INSERT INTO staff (email, given_name, family_name, role) VALUES ('Cole@clinic.example', 'Cara', 'Cole', 'physician'), ('dunn@clinic.example', 'Dora', 'Dunn', 'dentist');
    INSERT INTO appointments (patient_id, staff_id, starts_at, ends_at) VALUES (1, 1, '2026-03-02 09:00Z', '2026-03-02 09:30Z');
    INSERT INTO invoices (number, patient_id, appointment_id, currency, total, status, issued_on, due_on) VALUES
        ('I1', 1, 1, 'USD', 100.10, 'issued', '2026-03-02', '2026-04-02'), ('I2', 2, NULL, 'JOD', 20.125, 'issued', '2026-03-02', NULL), ('I3', 2, NULL, 'USD', 50, 'draft', NULL, NULL)";

/// Statement → the error it is refused by. `nothing` is what is allowed, so that each refusal stands beside what it must not refuse.
const RULES: [(&str, &str); 30] = [
    ("INSERT INTO staff (email, given_name, family_name, role) VALUES ('COLE@Clinic.example', 'x', 'x', 'nurse')", "23505 staff_by_email"),
    ("INSERT INTO patients (record_number, given_name, family_name, date_of_birth) VALUES ('P1', 'x', 'x', '2000-01-01')", "23505 patients_record_number_key"),
    // Double booking: overlapping by the end, by the beginning, from within, from around.
    ("BOOK 2, 1, 09:29, 10:00", "23P01 appointments_one_at_a_time"),
    ("BOOK 2, 1, 08:30, 09:01", "23P01 appointments_one_at_a_time"),
    ("BOOK 2, 1, 09:10, 09:20", "23P01 appointments_one_at_a_time"),
    ("BOOK 2, 1, 08:00, 12:00", "23P01 appointments_one_at_a_time"),
    ("BOOK 2, 1, 09:30, 10:00", "nothing"),
    ("BOOK 2, 2, 09:00, 09:30", "nothing"),
    ("UPDATE appointments SET staff_id = 1 WHERE patient_id = 2 AND staff_id = 2", "23P01 appointments_one_at_a_time"),
    ("UPDATE appointments SET status = 'cancelled' WHERE id = 1", "nothing"),
    ("BOOK 2, 1, 09:00, 09:30", "nothing"),
    ("UPDATE appointments SET status = 'booked' WHERE id = 1", "23P01 appointments_one_at_a_time"),
    ("BOOK 2, 2, 11:00, 11:00", "23514 appointments_check"),
    ("BOOK 99, 2, 12:00, 12:30", "23503 appointments_patient_id_fkey"),
    ("DELETE FROM staff WHERE id = 1", "23503 appointments_staff_id_fkey"),
    // Money: no more than was billed, in its currency, with as many decimals as that has, and nobody writes the sum but payments.
    ("PAY 1, 'USD', 100.11", "23514 invoices_not_overpaid"),
    ("PAY 1, 'USD', 60", "nothing"),
    ("PAY 1, 'USD', 40.11", "23514 invoices_not_overpaid"),
    ("PAY 1, 'EUR', 1", "23503 payments_invoice_id_currency_fkey"),
    ("PAY 1, 'USD', 0.001", "23514 payments_check"),
    ("PAY 2, 'JOD', 0.125", "nothing"),
    ("PAY 1, 'USD', -1", "23514 payments_check"),
    ("PAY 3, 'USD', 1", "23514 invoices_paid_when_issued"),
    ("UPDATE invoices SET paid = 0 WHERE id = 1", "23000"),
    ("UPDATE invoices SET total = 59.99 WHERE id = 1", "23514 invoices_not_overpaid"),
    ("UPDATE payments SET amount = 100.11 WHERE amount = 60", "23514 invoices_not_overpaid"),
    ("UPDATE payments SET amount = 100.10 WHERE amount = 60", "nothing"),
    ("UPDATE payments SET voided_at = now() WHERE amount = 100.10", "nothing"),
    ("DELETE FROM invoices WHERE id = 2", "23503 payments_invoice_id_currency_fkey"),
    ("UPDATE invoices SET patient_id = 2 WHERE id = 1", "23503 invoices_appointment_id_patient_id_fkey"),
];

const DENTAL_RULES: [(&str, &str); 14] = [
    ("CHART 18", "nothing"),
    ("CHART 85", "nothing"),
    ("CHART 19", "23514 dental_charts_tooth_exists"),
    ("CHART 10", "23514 dental_charts_tooth_exists"),
    ("CHART 56", "23514 dental_charts_tooth_exists"),
    ("CHART 91", "23514 dental_charts_tooth_exists"),
    ("CHART -18", "23514 dental_charts_tooth_exists"),
    ("CHART 18", "23505 dental_charts_pkey"),
    ("TREAT 1, 1, true, 18, 1, 1", "nothing"),
    ("TREAT 1, 1, true, 17, 1, 1", "23503 treatments_patient_id_tooth_fkey"),
    ("TREAT 1, 2, true, 18, 1, 1", "23503 treatments_procedure_id_per_tooth_fkey"),
    ("TREAT 1, 1, true, NULL, 1, 1", "23514 treatments_check"),
    ("TREAT 2, 2, false, NULL, 1, NULL", "23503 treatments_appointment_id_patient_id_fkey"),
    ("TREAT 2, 2, false, NULL, NULL, 1", "23503 treatments_invoice_id_patient_id_fkey"),
];

/// The table's shorthand as SQL.
fn sql(short: &str) -> String {
    let Some((verb, rest)) = short.split_once(' ') else { return short.to_owned() };
    match verb {
        "BOOK" => {
            let [patient, staff, from, to] = rest.split(", ").collect::<Vec<_>>()[..] else { panic!("{short}") };
            format!("INSERT INTO appointments (patient_id, staff_id, starts_at, ends_at) VALUES ({patient}, {staff}, '2026-03-02 {from}Z', '2026-03-02 {to}Z')")
        }
        "PAY" => format!("INSERT INTO payments (invoice_id, currency, amount, method) VALUES ({rest}, 'card')"),
        "CHART" => format!("INSERT INTO dental_charts (patient_id, tooth, condition, examined_by) VALUES (1, {rest}, 'sound', 2)"),
        "TREAT" => format!("INSERT INTO treatments (patient_id, procedure_id, per_tooth, tooth, appointment_id, invoice_id, staff_id) VALUES ({rest}, 2)"),
        _ => short.to_owned(),
    }
}

/// Tries every line of a table, in order, and tells all that are otherwise.
async fn hold(db: &mut PgConnection, rules: &[(&str, &str)]) {
    let mut wrong = Vec::new();
    for (short, expected) in rules {
        let found = refused(db, &sql(short)).await;
        if found != *expected {
            wrong.push(format!("{short}: {found} instead of {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every foreign key whose columns no index begins with: deleting what it refers to would read the whole table.
const WITHOUT_INDEX: &str = "
    SELECT conrelid::regclass || '.' || conname FROM pg_constraint c WHERE contype = 'f' AND connamespace = current_schema()::regnamespace AND NOT EXISTS
        (SELECT FROM pg_index i WHERE i.indrelid = c.conrelid AND (i.indkey::int2[])[0:cardinality(c.conkey) - 1] @> c.conkey) ORDER BY 1";
/// Functions whose names another schema could answer.
const OPEN_FUNCTIONS: &str = "
    SELECT proname::text FROM pg_proc WHERE pronamespace = current_schema()::regnamespace AND prosqlbody IS NULL
       AND NOT coalesce(proconfig @> ARRAY['search_path=pg_catalog, pg_temp'], false)";

#[tokio::test(flavor = "multi_thread")]
async fn a_clinics_tables_refuse_what_must_not_be_and_the_dental_ones_are_only_where_they_are_wanted() {
    let make = |file: String| blocking(move || shared().ok(&["tenant", "create", &file]));
    let (plain, dental) = (spec("plain-clinic", "standard", &["core"]), spec("tooth-clinic", "enterprise", &["core", "dental"]));
    let (a, b) = tokio::join!(make(plain), make(dental));
    a.and(b).unwrap();
    let (mut plain, mut dental) = (login("plain-clinic", "app").await.unwrap(), login("tooth-clinic", "app").await.unwrap());
    assert_eq!((texts(&mut plain, TABLES).await, texts(&mut dental, TABLES).await), (CORE.map(Into::into).to_vec(), DENTAL.map(Into::into).to_vec()));

    for db in [&mut plain, &mut dental] {
        run(db, PEOPLE).await;
        hold(db, &RULES).await;
        let paid = "SELECT concat_ws(' ', number, paid, (SELECT coalesce(sum(amount), 0) FROM payments p WHERE p.invoice_id = i.id AND voided_at IS NULL)) FROM invoices i ORDER BY 1";
        assert_eq!(texts(db, paid).await, ["I1 0.00 0", "I2 0.125 0.125", "I3 0 0"]);
        assert_eq!(texts(db, WITHOUT_INDEX).await, [""; 0]);
        assert_eq!(texts(db, OPEN_FUNCTIONS).await, [""; 0]);
    }
    run(&mut dental, "INSERT INTO dental_procedures (code, name, per_tooth, fee, currency) VALUES ('D1', 'Filling', true, 80, 'USD'), ('D2', 'Cleaning', false, 45.5, 'USD')").await;
    hold(&mut dental, &DENTAL_RULES).await;
}

/// Of two at once, the second waits for the first and is refused: no order of events lets both in, at no level of isolation.
#[tokio::test(flavor = "multi_thread")]
async fn two_at_once_neither_pay_too_much_nor_book_twice() {
    blocking(|| shared().ok(&["tenant", "create", &spec("abreast-clinic", "standard", &[])])).await.unwrap();
    let (mut first, mut second) = (login("abreast-clinic", "app").await.unwrap(), login("abreast-clinic", "app").await.unwrap());
    run(&mut first, PEOPLE).await;
    for level in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        for (short, by) in [("PAY 1, 'USD', 60", "23514 invoices_not_overpaid"), ("BOOK 2, 2, 15:00, 15:30", "23P01 appointments_one_at_a_time")] {
            run(&mut second, &format!("BEGIN ISOLATION LEVEL {level}; SELECT count(*) FROM invoices, appointments")).await;
            run(&mut first, &format!("BEGIN ISOLATION LEVEL {level}; {}", sql(short))).await;
            let late = tokio::spawn(async move {
                let found = refused(&mut second, &sql(short)).await;
                run(&mut second, "ROLLBACK").await;
                (found, second)
            });
            run(&mut first, "COMMIT").await;
            let (found, again) = late.await.unwrap();
            second = again;
            // Above the first level whoever meets a row that was changed since its transaction began has to begin again.
            assert!(found == by || level != "READ COMMITTED" && found == "40001", "{level}: {short}: {found}");
            run(&mut first, "DELETE FROM payments; DELETE FROM appointments WHERE starts_at = '2026-03-02 15:00Z'").await;
        }
    }
    assert_eq!(texts(&mut first, "SELECT paid::text FROM invoices WHERE id = 1").await, ["0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_is_switched_on_later_and_not_off_while_its_tables_are_there() {
    let file = spec("later-clinic", "standard", &["core"]);
    let creating = file.clone();
    blocking(move || shared().ok(&["tenant", "create", &creating])).await.unwrap();
    let mut app = login("later-clinic", "app").await.unwrap();
    run(&mut app, PEOPLE).await;

    spec("later-clinic", "standard", &["core", "dental"]);
    let applying = file.clone();
    let applied = blocking(move || shared().ok(&["tenant", "apply", &applying, "--yes"])).await.unwrap();
    assert_eq!(texts(&mut app, TABLES).await, DENTAL, "{applied}");
    run(&mut app, &sql("CHART 18")).await;
    // Another subdomain gives the schema another name: the functions go with it.
    let renamed = blocking(|| shared().run(&["tenant", "rename", "later-clinic", "--subdomain", "much-later", "--physical", "--yes"])).await.unwrap();
    assert_eq!(renamed.code, 0, "{renamed}");
    let mut app = login("later-clinic", "app").await.unwrap();
    run(&mut app, &sql("PAY 1, 'USD', 60")).await;
    assert_eq!(texts(&mut app, "SELECT concat_ws(' ', current_schema(), paid) FROM invoices WHERE id = 1").await, ["tenant_much_later 60"]);

    // Switched off, its tables would be left with nobody to migrate them: refused, until it is named again.
    let apply = |modules: &[&str]| {
        let path = shared().dir().join("specs").join(spec("later-clinic", "standard", modules));
        fs::write(&path, fs::read_to_string(&path).unwrap().replace("tier =", "subdomain = \"much-later\"\ntier =")).unwrap();
        blocking(move || shared().run(&["tenant", "apply", path.to_str().unwrap(), "--yes", "-o", "json"]))
    };
    let off = apply(&["core"]).await.unwrap();
    let error = off.error();
    assert_eq!((off.code, error["code"].as_str(), error["left"][0].as_str()), (1, Some("forbidden"), Some("nothing: the plan was not begun")), "{off}");
    let why = "postgres_schema_version/main: `dental` was applied up to V2, and none of its files is wanted any more; \
               a module stays among the tenant's modules as long as its tables are there: name `dental` again";
    assert_eq!(error["causes"][0], why);
    assert_eq!(texts(&mut app, "SELECT tooth::text FROM dental_charts").await, ["18"]);
    let on = apply(&["core", "dental"]).await.unwrap();
    assert_eq!(on.code, 0, "{on}");
}
