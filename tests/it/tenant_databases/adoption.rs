//! A schema that was there before labctl: taken over when it is asked for, with its rows, and only if it is what its baseline makes.

use labctl::engine::fault::{Class, Fault};
use labctl::engine::kind::{Diff, Observed};
use labctl::kinds::Cx;
use labctl::tenantdb::migrations::{File, Library, Step};
use serde_json::json;
use sqlx::PgConnection;

use super::server::{Secrets, Server, run, texts};
use super::tenant::{Resource, everything, password};

const FILES: [(&str, &str); 5] = [
    (
        "V1__people.sql",
        "CREATE TYPE mood AS ENUM ('well', 'ill');
         CREATE DOMAIN code AS text CHECK (VALUE <> '');
         CREATE SEQUENCE numbers START 100;
         CREATE TABLE people (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, code code NOT NULL UNIQUE, mood mood NOT NULL DEFAULT 'well', number int DEFAULT nextval('numbers'));
         CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NEW; END$$;
         CREATE TRIGGER touched BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION touch();",
    ),
    (
        "V2__visits.sql",
        "CREATE TABLE visits (id serial PRIMARY KEY, person bigint NOT NULL REFERENCES people ON DELETE CASCADE, at timestamptz NOT NULL DEFAULT now(), CHECK (at > '1970-01-01'));
         CREATE VIEW last_visits AS SELECT p.code, max(v.at) AS at FROM people p JOIN visits v ON v.person = p.id GROUP BY p.code;
         CREATE FUNCTION visits_of(bigint) RETURNS bigint LANGUAGE sql STABLE BEGIN ATOMIC SELECT count(*) FROM visits WHERE person = $1; END;",
    ),
    ("V3__by_day.sql", "-- labctl: no-transaction\nCREATE INDEX CONCURRENTLY visits_by_day ON visits (at) WHERE at > '2000-01-01';"),
    ("V4__notes.sql", "ALTER TABLE people ADD note text; ALTER TYPE mood ADD VALUE 'fine'; INSERT INTO visits (person) SELECT id FROM people;"),
    ("V5__late.sql", "-- labctl: no-transaction\nCREATE INDEX CONCURRENTLY people_by_note ON people (note);"),
];

struct Old {
    server: Server,
    secrets: Secrets,
    cx: Cx,
    steps: Vec<Step>,
}

impl Old {
    async fn new(name: &str) -> Self {
        let (server, secrets, mut library) = (Server::new(name).await, Secrets::default(), Library::default());
        let steps = library.add(FILES.map(|(name, sql)| File::parse("tenant", name, sql).unwrap()).to_vec()).unwrap();
        let cx = server.cx(&secrets, library).await;
        Self { server, secrets, cx, steps }
    }

    async fn superuser(&self) -> PgConnection {
        self.server.superuser(&self.server.shared).await
    }

    /// Makes a schema of that tenant's name by hand, as a legacy application would have: the first three files, with rows.
    async fn by_hand(&self, tenant: &str) -> PgConnection {
        let mut sup = self.superuser().await;
        let files: Vec<String> = FILES[..3].iter().map(|(_, sql)| sql.replace("CONCURRENTLY", "")).collect();
        run(&mut sup, &format!("CREATE ROLE {tenant}_legacy LOGIN PASSWORD 'pw'; GRANT CONNECT ON DATABASE {} TO {tenant}_legacy; CREATE SCHEMA {tenant}_schema AUTHORIZATION {tenant}_legacy; SET ROLE {tenant}_legacy; SET search_path = {tenant}_schema", self.server.shared)).await.unwrap();
        run(&mut sup, &files.join("\n")).await.unwrap();
        run(
            &mut sup,
            "INSERT INTO people (code) VALUES ('a'), ('b'); INSERT INTO visits (person) VALUES (1), (1); GRANT SELECT ON people TO PUBLIC; RESET ROLE",
        )
        .await
        .unwrap();
        sup
    }

    /// A tenant that takes its schema over, with its baseline after so many files; its roles are made.
    async fn tenant(&self, tenant: &str, baseline: usize) -> Vec<Resource> {
        let mut all = everything(&self.secrets, tenant, &self.server.shared, &self.steps);
        all[4].spec["adopt"] = json!(true);
        for resource in &mut all[4..] {
            resource.spec["baseline"] = json!(self.steps[..baseline]);
        }
        for resource in &all[..4] {
            resource.converge(&self.cx).await.unwrap();
        }
        all
    }

    /// Everything of a schema that its catalogs and rows say.
    async fn image(&self, tenant: &str) -> Vec<String> {
        let sql = "SELECT concat_ws(' ', c.oid, relname, relowner::regrole, relacl, relrowsecurity) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = 'T_schema' \
            UNION ALL SELECT concat_ws(' ', nspname, nspowner::regrole, nspacl, obj_description(oid)) FROM pg_namespace WHERE nspname = 'T_schema' \
            UNION ALL SELECT p::text FROM T_schema.people p UNION ALL SELECT v::text FROM T_schema.visits v ORDER BY 1";
        texts(&mut self.superuser().await, &sql.replace("T_schema", &format!("{tenant}_schema"))).await
    }
}

async fn refused(resource: &Resource, cx: &Cx) -> Fault {
    let fault = resource.converge(cx).await.unwrap_err();
    assert_eq!(fault.class, Class::Refused, "{fault}");
    fault
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_made_by_hand_is_taken_over_with_its_rows_and_goes_on_from_its_baseline() {
    let old = Old::new("old").await;
    let mut sup = old.by_hand("old_a").await;
    let all = old.tenant("old_a", 3).await;
    let (schema, version) = (&all[4], &all[5]);
    let rows = texts(&mut sup, "SELECT (p.id, p.code, p.mood, p.number)::text FROM old_a_schema.people p ORDER BY 1").await;

    let mut unasked = everything(&old.secrets, "old_a", &old.server.shared, &old.steps);
    assert!(
        matches!(unasked.remove(4).observe(&old.cx).await, Observed::Foreign(why) if why.contains("no labctl ownership tags") && why.contains("adopt = true"))
    );
    let Diff::Update(changes) = schema.diff(&old.cx.read_only()).await else { panic!() };
    let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
    for expected in [
        "ownership: nobody's → old_a/postgres_schema/main",
        "tenant/V1__people: not compared → what the schema is",
        "owner: old_a_legacy → old_a_owner",
        "owner of relation people: old_a_legacy → old_a_migrate",
        "owner of function visits_of: old_a_legacy → old_a_migrate",
        "owner of type mood: old_a_legacy → old_a_migrate",
        "grants.PUBLIC.tables: SELECT → (none)",
    ] {
        assert!(changes.iter().any(|c| c == expected), "{expected}: {changes:#?}");
    }
    assert_eq!(schema.converge(&old.cx).await.unwrap(), 1);
    assert_eq!(version.observe(&old.cx).await, Observed::Absent);
    assert_eq!(version.converge(&old.cx).await.unwrap(), 1);
    assert_eq!((schema.diff(&old.cx).await, version.diff(&old.cx).await), (Diff::Same, Diff::Same));

    assert_eq!(texts(&mut sup, "SELECT (p.id, p.code, p.mood, p.number)::text FROM old_a_schema.people p ORDER BY 1").await, rows);
    let ledger = "SELECT concat_ws(' ', position, version, name, baseline) FROM old_a_schema.labctl_migrations ORDER BY position";
    assert_eq!(texts(&mut sup, ledger).await, ["1 1 people t", "2 2 visits t", "3 3 by_day t", "4 4 notes f", "5 5 late f"]);
    assert_eq!(texts(&mut sup, "SELECT version::text FROM labctl_ledger.schemas WHERE schema = 'old_a_schema'").await, ["5"]);
    assert_eq!(texts(&mut sup, "SELECT count(*)::text FROM old_a_schema.visits").await, ["4"], "V4 was run, and V2 was not run again");
    assert_eq!(texts(&mut sup, "SELECT nspname::text FROM pg_namespace WHERE nspname LIKE 'labctl_baseline%'").await, [""; 0]);
    assert_eq!(super::standing_memberships(&old.server).await, [""; 0]);
    let mut app = old.server.login("old_a_app", &password("old_a", "app"), &old.server.shared).await.unwrap();
    run(&mut app, "INSERT INTO people (code, note) VALUES ('c', 'x'); SELECT visits_of(1)").await.unwrap();
    let mut legacy = old.server.login("old_a_legacy", "pw", &old.server.shared).await.unwrap();
    run(&mut legacy, "SELECT * FROM old_a_schema.people").await.unwrap_err();

    // The spec may go on saying so, or not; but not otherwise.
    let mut later = everything(&old.secrets, "old_a", &old.server.shared, &old.steps);
    assert_eq!(later[5].diff(&old.cx).await, Diff::Same);
    later[5].spec["baseline"] = json!(old.steps[..2]);
    assert!(matches!(later[5].diff(&old.cx).await, Diff::Forbidden(why) if why.contains("says 2") && why.contains("begun with 3")));
    // And a stranger's table is none of what was taken over.
    run(&mut sup, "CREATE TABLE old_a_schema.alien (id int)").await.unwrap();
    assert!(matches!(schema.diff(&old.cx).await, Diff::Forbidden(why) if why.contains("relation alien of postgres")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_is_not_what_its_baseline_makes_stays_as_it_was_and_every_difference_is_told() {
    let old = Old::new("odd").await;
    let mut sup = old.by_hand("odd_a").await;
    let all = old.tenant("odd_a", 3).await;
    run(
        &mut sup,
        "SET ROLE odd_a_legacy; SET search_path = odd_a_schema; DROP INDEX visits_by_day; CREATE TABLE flyway (id int PRIMARY KEY); ALTER TABLE people ALTER mood DROP NOT NULL, ALTER mood DROP DEFAULT, ADD age int; \
         ALTER TABLE visits DROP CONSTRAINT visits_person_fkey, ADD CONSTRAINT visits_person_fkey FOREIGN KEY (person) REFERENCES people; ALTER SEQUENCE numbers INCREMENT 2; \
         CREATE OR REPLACE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN OLD; END$$; ALTER TYPE mood ADD VALUE 'dead'; DROP VIEW last_visits; RESET ROLE; RESET search_path",
    )
    .await
    .unwrap();
    let before = old.image("odd_a").await;
    let fault = refused(&all[4], &old.cx).await;
    assert_eq!(fault.code, "not_the_baseline");
    let lines: Vec<&str> = fault.message.lines().collect();
    assert_eq!(
        lines,
        [
            "the schema \"odd_a_schema\" is not what its baseline (3) makes: 9 differences",
            "extra: table flyway",
            "missing: view last_visits",
            "different: type mood: is `ENUM ('well', 'ill', 'dead')`, the migrations make `ENUM ('well', 'ill')`",
            "different: sequence numbers: is `bigint START 100 INCREMENT 2 FROM 1 TO 9223372036854775807`, the migrations make `bigint START 100 INCREMENT 1 FROM 1 TO 9223372036854775807`",
            "extra: column people.age",
            "different: column people.mood: is `mood`, the migrations make `mood NOT NULL DEFAULT 'well'::mood`",
            "different: function touch(): is `() RETURNS trigger LANGUAGE plpgsql v u BEGIN RETURN OLD; END`, the migrations make `() RETURNS trigger LANGUAGE plpgsql v u BEGIN RETURN NEW; END`",
            "different: constraint visits.visits_person_fkey: is `FOREIGN KEY (person) REFERENCES people(id)`, the migrations make `FOREIGN KEY (person) REFERENCES people(id) ON DELETE CASCADE`",
            "missing: index visits.visits_by_day",
        ]
    );
    assert_eq!(old.image("odd_a").await, before, "owner, rights, marks and rows are as they were");
    assert_eq!(all[5].observe(&old.cx).await, Observed::Absent);

    // Mended by hand up to V2; but the baseline is looked at again before it is recorded.
    run(
        &mut sup,
        "SET search_path = odd_a_schema; SET ROLE odd_a_legacy; DROP TABLE flyway; ALTER TABLE people ALTER mood SET NOT NULL, ALTER mood SET DEFAULT 'well', DROP age; \
         ALTER TABLE visits DROP CONSTRAINT visits_person_fkey, ADD CONSTRAINT visits_person_fkey FOREIGN KEY (person) REFERENCES people ON DELETE CASCADE; ALTER SEQUENCE numbers INCREMENT 1; \
         CREATE OR REPLACE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NEW; END$$; \
         CREATE VIEW last_visits AS SELECT p.code, max(v.at) AS at FROM people p JOIN visits v ON v.person = p.id GROUP BY p.code; RESET ROLE; RESET search_path; \
         DELETE FROM pg_enum WHERE enumlabel = 'dead' AND enumtypid = 'odd_a_schema.mood'::regtype",
    )
    .await
    .unwrap();
    let two = old.tenant("odd_a", 2).await;
    assert_eq!(two[4].converge(&old.cx).await.unwrap(), 1);
    run(&mut sup, "SET ROLE odd_a_migrate; ALTER TABLE odd_a_schema.people ADD late int; RESET ROLE").await.unwrap();
    let fault = refused(&two[5], &old.cx).await;
    assert!(fault.message.ends_with("1 difference\nextra: column people.late"), "{fault}");
    assert_eq!(two[5].observe(&old.cx).await, Observed::Absent, "the ledger was undone with it");
    run(&mut sup, "SET ROLE odd_a_migrate; ALTER TABLE odd_a_schema.people DROP late; RESET ROLE").await.unwrap();
    assert_eq!(two[5].converge(&old.cx).await.unwrap(), 1);
    let ledger = "SELECT concat_ws(' ', version, baseline) FROM odd_a_schema.labctl_migrations ORDER BY position";
    assert_eq!(texts(&mut sup, ledger).await, ["1 t", "2 t", "3 f", "4 f", "5 f"], "V3 is an index without a transaction, and the first to be run");
    assert_eq!(
        texts(&mut sup, "SELECT indexname::text FROM pg_indexes WHERE schemaname = 'odd_a_schema' AND indexname LIKE '%by%' ORDER BY 1").await,
        ["people_by_note", "visits_by_day"]
    );
    assert_eq!(super::standing_memberships(&old.server).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_of_a_schema_that_fit_better_than_postgresqls_are_not_called_by_looking_at_it() {
    let old = Old::new("fitting").await;
    let mut sup = old.by_hand("fitting_a").await;
    let all = old.tenant("fitting_a", 3).await;
    let called = "LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'called'; END$$";
    run(
        &mut sup,
        &format!(
            "SET ROLE fitting_a_legacy; SET search_path = fitting_a_schema; CREATE FUNCTION format(text, name, text) RETURNS text {called}; \
             CREATE FUNCTION concat_ws(text, text, text, text, text) RETURNS text {called}; CREATE FUNCTION differ(name, text) RETURNS boolean {called}; \
             CREATE OPERATOR <> (LEFTARG = name, RIGHTARG = text, FUNCTION = differ); RESET ROLE; RESET search_path"
        ),
    )
    .await
    .unwrap();
    let fault = refused(&all[4], &old.cx).await;
    assert_eq!(fault.code, "not_the_baseline", "{fault}");
    assert_eq!(fault.message.matches("extra: function").count(), 3, "{fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_taken_over_is_left_to_whom_it_is() {
    let old = Old::new("held").await;
    let all = old.tenant("held_a", 0).await;
    let fault = refused(&all[4], &old.cx).await;
    assert!(fault.message.contains("no schema \"held_a_schema\"") && fault.hint.unwrap().contains("RENAME TO"), "one was expected, and none is made");

    // Without a baseline every migration is run, beside what is there.
    let mut sup = old.superuser().await;
    run(&mut sup, "CREATE SCHEMA held_a_schema; CREATE TABLE held_a_schema.kept AS SELECT 7 AS n").await.unwrap();
    let fault = refused(&all[4], &old.cx).await;
    assert!(fault.code == "42501" && fault.hint.unwrap().contains("act as postgres"), "what a superuser owns is the superuser's to give away");
    run(&mut sup, "ALTER SCHEMA held_a_schema OWNER TO held_admin; ALTER TABLE held_a_schema.kept OWNER TO held_admin").await.unwrap();
    for resource in &all[4..] {
        resource.converge(&old.cx).await.unwrap();
    }
    let ledger = "SELECT count(*) FILTER (WHERE NOT baseline) || ' ' || (SELECT n FROM held_a_schema.kept) FROM held_a_schema.labctl_migrations";
    assert_eq!(texts(&mut sup, ledger).await, ["5 7"]);

    // Marked by somebody's labctl, with a ledger, or while there is one of another name: no.
    let taken = old.tenant("held_b", 0).await;
    let foreign = async || match taken[4].observe(&old.cx).await {
        Observed::Foreign(why) => why,
        other => panic!("{other:?}"),
    };
    run(&mut sup, "ALTER SCHEMA held_a_schema RENAME TO held_b_schema").await.unwrap();
    assert_eq!(foreign().await, "it belongs to held_a/postgres_schema/main");
    run(&mut sup, "COMMENT ON SCHEMA held_b_schema IS 'the laboratory'").await.unwrap();
    assert!(foreign().await.contains("has a ledger of migrations already"));
    run(&mut sup, "DROP TABLE held_b_schema.labctl_migrations").await.unwrap();
    assert!(matches!(taken[4].observe(&old.cx).await, Observed::Mine { .. }));
    let mark = "DO $$ BEGIN CREATE SCHEMA held_c; EXECUTE format('COMMENT ON SCHEMA held_c IS %L', '{\"labctl:address\":\"held_b/postgres_schema/main\",\"labctl:registry\":\"r1\",\"labctl:tenant\":\"held_b\"}'); END $$";
    run(&mut sup, mark).await.unwrap();
    assert!(foreign().await.contains("has a schema of another name"));
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_at_a_ledger_calls_nothing_its_owner_has_put_into_it() {
    let old = Old::new("trap").await;
    let all = everything(&old.secrets, "trap_a", &old.server.shared, &old.steps);
    for resource in &all {
        resource.converge(&old.cx).await.unwrap();
    }
    let mut migrate = old.server.login("trap_a_migrate", &password("trap_a", "migrate"), &old.server.shared).await.unwrap();
    run(
        &mut migrate,
        "CREATE TABLE called (by text); CREATE TYPE number AS ENUM ('1', '2', '3', '4', '5'); \
         CREATE FUNCTION trap_a_schema.note(number) RETURNS bigint LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'called by %', current_user; END$$; \
         GRANT EXECUTE ON FUNCTION note(number) TO PUBLIC; GRANT USAGE ON TYPE number TO PUBLIC; CREATE CAST (number AS bigint) WITH FUNCTION trap_a_schema.note(number); \
         ALTER TABLE labctl_migrations DROP CONSTRAINT labctl_migrations_version_check, ALTER version TYPE number USING version::text::number",
    )
    .await
    .unwrap();
    let fault = all[5].kind().observe(&old.cx, &all[5].target(), None).await.unwrap_err();
    assert_eq!(fault.code, "not_a_ledger", "{fault}");
}
