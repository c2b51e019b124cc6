//! Row security on tables that tenants share, against each trap of ClinicX's way (seed errata, "RLS"): first its way, which fails, then ours.

use labctl::tenantdb::quote::Ident;
use labctl::tenantdb::{Connection, Login, rls};
use sqlx::PgConnection;

use super::server::{ADMIN_PASSWORD, ENDPOINT, Secrets, Server, run, texts};
use labctl::tenantdb::migrations::Library;

const SEEN: &str = "SELECT tenant_id::text FROM shared.patients ORDER BY 1";

fn ident(name: &str) -> Ident {
    Ident::new(name).unwrap()
}

/// A schema with one table of two tenants' rows, its owner, and a role for each tenant; named apart by `name`.
async fn clinic(name: &str, column: &str) -> (Server, Connection) {
    let server = Server::new(name).await;
    let cx = server.cx(&Secrets::default(), Library::default()).await;
    let login =
        Login { endpoint: ENDPOINT.into(), database: server.shared.clone(), username: server.admin.clone(), password: ADMIN_PASSWORD.to_owned().into() };
    let mut db = cx.db.connect(&login).await.unwrap();
    for role in ["a", "b", "stranger", "owner"] {
        db.execute("test", format!("CREATE ROLE {name}_{role} LOGIN PASSWORD 'pw'")).await.unwrap();
        db.execute("test", format!("GRANT CONNECT ON DATABASE {} TO {name}_{role}", server.shared)).await.unwrap();
    }
    db.execute("test", format!("CREATE SCHEMA shared; CREATE TABLE shared.patients (tenant_id {column}, name text)")).await.unwrap();
    db.execute("test", format!("INSERT INTO shared.patients VALUES ('{A}', 'x'), ('{B}', 'y')")).await.unwrap();
    for role in ["a", "b", "stranger"] {
        db.execute("test", format!("GRANT USAGE ON SCHEMA shared TO {name}_{role}; GRANT SELECT, INSERT, UPDATE, DELETE ON shared.patients TO {name}_{role}"))
            .await
            .unwrap();
    }
    (server, db)
}

const A: &str = "00000000-0000-0000-0000-00000000000a";
const B: &str = "00000000-0000-0000-0000-00000000000b";

async fn login(server: &Server, role: &str) -> PgConnection {
    let name = server.admin.trim_end_matches("_admin");
    server.login(&format!("{name}_{role}"), "pw", &server.shared).await.unwrap()
}

fn code(result: Result<(), sqlx::Error>) -> String {
    result.unwrap_err().as_database_error().and_then(|e| e.code()).unwrap().into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_seeds_row_security_falls_into_every_trap() {
    let (server, mut db) = clinic("seedrows", "uuid").await;
    // Erratum: compares uuid with varchar.
    let policy = "CREATE POLICY p ON shared.patients USING (tenant_id = current_setting('app.tenant')";
    let typed = db.execute("test", format!("{policy}::varchar)")).await.unwrap_err();
    assert_eq!(typed.code, "42883");
    db.execute("test", format!("ALTER TABLE shared.patients ENABLE ROW LEVEL SECURITY; {policy}::uuid)")).await.unwrap();
    // Erratum: without FORCE the owner sees everything.
    assert_eq!(db.select::<(String,)>("test", SEEN.into()).await.unwrap().len(), 2);
    // Erratum: a variable that is not set raises instead of denying.
    let mut a = login(&server, "a").await;
    assert_eq!(code(run(&mut a, SEEN).await), "42704");
    // Erratum: any role may call set_config itself.
    run(&mut a, &format!("SELECT set_config('app.tenant', '{B}', false)")).await.unwrap();
    // Erratum: a session's setting is still there for the next who gets the connection from a pool.
    assert_eq!(texts(&mut a, SEEN).await, [B]);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_security_by_the_role_itself_falls_into_none() {
    let (server, mut db) = clinic("ownrows", "text NOT NULL").await;
    let (schema, table, column) = (ident("shared"), ident("patients"), ident("tenant_id"));
    for _ in 0..2 {
        rls::prepare(&mut db, &schema).await.unwrap();
        rls::admit(&mut db, &schema, &ident("ownrows_a"), A).await.unwrap();
        rls::admit(&mut db, &schema, &ident("ownrows_b"), B).await.unwrap();
        rls::protect(&mut db, &schema, &table, &column).await.unwrap();
    }
    // The owner sees nothing.
    assert!(db.select::<(String,)>("test", SEEN.into()).await.unwrap().is_empty());
    let (mut a, mut b) = (login(&server, "a").await, login(&server, "b").await);
    // Nothing has to be set, and nothing that is set or left behind helps.
    for setting in ["SELECT 1", "SELECT set_config('app.tenant', 'B', false)", "SET row_security = on", "SET SESSION app.current_tenant_id = 'B'"] {
        run(&mut a, &setting.replace("'B'", &format!("'{B}'"))).await.unwrap();
        assert_eq!(texts(&mut a, SEEN).await, [A], "{setting}");
    }
    assert_eq!(code(run(&mut a, &format!("SET row_security = off; {SEEN}")).await), "42501");
    run(&mut a, "SET row_security = on").await.unwrap();
    assert_eq!(texts(&mut b, SEEN).await, [B]);
    // Another's rows can be neither added nor taken, nor one's own given away.
    assert_eq!(code(run(&mut a, &format!("INSERT INTO shared.patients VALUES ('{B}', 'z')")).await), "42501");
    assert_eq!(code(run(&mut a, &format!("UPDATE shared.patients SET tenant_id = '{B}'")).await), "42501");
    run(&mut a, "UPDATE shared.patients SET name = 'mine'").await.unwrap();
    assert_eq!(texts(&mut b, "SELECT name FROM shared.patients").await, ["y"]);
    run(&mut a, "DELETE FROM shared.patients").await.unwrap();
    assert_eq!(texts(&mut b, SEEN).await, [B]);
    // Whose the roles are is no news to a neighbour, nor for it to say.
    assert_eq!(texts(&mut a, "SELECT role::text FROM shared.labctl_row_roles").await, ["ownrows_a"]);
    assert_eq!(code(run(&mut a, &format!("UPDATE shared.labctl_row_roles SET tenant = '{B}'")).await), "42501");
    // Who has no line sees nothing, also with every right on the tables.
    run(&mut server.superuser(&server.shared).await, "GRANT SELECT ON shared.labctl_row_roles TO ownrows_stranger").await.unwrap();
    assert_eq!(texts(&mut login(&server, "stranger").await, SEEN).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_of_another_type_and_a_policy_beside_ours_are_refused_before_anything_is_done() {
    let (_server, mut db) = clinic("badrows", "uuid NOT NULL").await;
    let (schema, table) = (ident("shared"), ident("patients"));
    rls::prepare(&mut db, &schema).await.unwrap();
    for column in ["tenant_id", "name", "nowhere"] {
        assert_eq!(rls::protect(&mut db, &schema, &table, &ident(column)).await.unwrap_err().code, "invalid_column", "{column}");
    }
    db.execute("test", "ALTER TABLE shared.patients ALTER COLUMN tenant_id TYPE text; CREATE POLICY more ON shared.patients USING (true)".into())
        .await
        .unwrap();
    assert_eq!(rls::protect(&mut db, &schema, &table, &ident("tenant_id")).await.unwrap_err().code, "foreign_policy");
    assert_eq!(db.select::<(bool,)>("test", "SELECT relrowsecurity FROM pg_class WHERE oid = 'shared.patients'::regclass".into()).await.unwrap(), [(false,)]);
}
