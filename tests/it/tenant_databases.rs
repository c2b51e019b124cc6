//! Tenant databases for real: the four PostgreSQL kinds on the sandbox's server, with an administrator like RDS's.

#[path = "tenant_databases/adoption.rs"]
mod adoption;
#[path = "tenant_databases/belief.rs"]
mod belief;
#[path = "tenant_databases/connecting.rs"]
mod connecting;
#[path = "tenant_databases/drift.rs"]
mod drift;
#[path = "tenant_databases/ground.rs"]
mod ground;
#[path = "tenant_databases/history.rs"]
mod history;
#[path = "tenant_databases/hostile.rs"]
mod hostile;
#[path = "tenant_databases/identity.rs"]
mod identity;
#[path = "tenant_databases/isolation.rs"]
mod isolation;
#[path = "tenant_databases/rows.rs"]
mod rows;
#[path = "tenant_databases/second_line.rs"]
mod second_line;
#[path = "tenant_databases/server.rs"]
pub mod server;
#[path = "tenant_databases/shared.rs"]
pub mod shared;
#[path = "tenant_databases/suspension.rs"]
mod suspension;
#[path = "tenant_databases/tenant.rs"]
pub mod tenant;
#[path = "tenant_databases/tls.rs"]
mod tls;
#[path = "tenant_databases/walls.rs"]
mod walls;
#[path = "tenant_databases/watch.rs"]
pub mod watch;

use server::{Server, texts};

/// Memberships that were lent to the administrator and not given back.
async fn standing_memberships(server: &Server) -> Vec<String> {
    let sql = "SELECT r.rolname::text FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid JOIN pg_roles u ON u.oid = m.member WHERE u.rolname = 'ADMIN' \
               AND coalesce((to_jsonb(m) ->> 'set_option')::bool, true)";
    texts(&mut server.superuser("postgres").await, &sql.replace("ADMIN", &server.admin)).await
}

async fn nothing_left(server: &Server, tenant: &str) {
    for database in [server.shared.as_str(), "postgres"] {
        let mut sup = server.superuser(database).await;
        for sql in [
            "SELECT rolname::text FROM pg_roles WHERE rolname ~ '^T_'",
            "SELECT nspname::text FROM pg_namespace WHERE nspname ~ '^T_'",
            "SELECT datname::text FROM pg_database WHERE datname ~ '^T_'",
            "SELECT datname::text FROM pg_database, aclexplode(datacl) x WHERE x.grantee <> 0 AND x.grantee NOT IN (SELECT oid FROM pg_roles)",
            "SELECT defaclacl::text FROM pg_default_acl WHERE defaclacl::text ~ '\\mT_' OR defaclrole NOT IN (SELECT oid FROM pg_roles)",
            "SELECT refobjid::text FROM pg_shdepend WHERE refclassid = 'pg_authid'::regclass AND refobjid NOT IN (SELECT oid FROM pg_roles)",
            "SELECT setconfig::text FROM pg_db_role_setting WHERE setconfig::text ~ '\\mT_schema'",
            "SELECT usename::text FROM pg_stat_activity WHERE usename ~ '^T_'",
        ] {
            assert_eq!(texts(&mut sup, &sql.replace("T_", &format!("{tenant}_"))).await, [""; 0], "{database}: {sql}");
        }
    }
}
