//! Runs what belongs to a tenant with no more than the tenant's rights: through a function that is its migration role's, and that nobody but the
//! administrator can call.
//!
//! `SET ROLE` is no wall. A trigger, a default or a rule that a statement sets going runs in our session, and may say `RESET ROLE` there: whoever
//! has the migration role's password could leave one for the next migration to run with the administrator's rights. In a function that is
//! `SECURITY DEFINER` the server lets nobody change the role (PostgreSQL: `SET ROLE`, "Notes"; `cannot set parameter "role" within
//! security-definer function`). The function lies in the central ledger's schema under its tenant's schema's name. Tenants' roles have no
//! right in that schema, so that its owner can neither call nor change it; dropped with all its owner has, it is made again.
//!
//! Each schema's function only calls [`execute`](EXECUTE), which is the same for all: a session keeps a plan of whatever a function in PL/pgSQL evaluates, and goes
//! through all its plans at every change of a catalog, its own and others'. Of a function in SQL it keeps none (up to PostgreSQL 17).
//!
//! What such code could leave for later in the transaction or the session is dealt with when it has ended, see [`after`].

use super::central::SCHEMA;
use crate::engine::fault::Fault;
use crate::tenantdb::quote::{Ident, Literal};

/// The function that executes its first argument, with the rights of whoever calls it. No call with one argument comes to it: a schema may have its name, and
/// lack its own.
pub(in crate::tenantdb) const EXECUTE: &str = "labctl_ledger.execute(text,boolean)";

/// The statement that makes it.
pub(super) const EXECUTING: &str = "CREATE OR REPLACE FUNCTION labctl_ledger.execute(text, boolean) RETURNS void LANGUAGE plpgsql AS $$BEGIN EXECUTE $1; END$$";

/// From this version on the server keeps plans of functions in SQL, too: each [`call`] counts as one use more of a session.
pub(super) const KEEPS: u32 = 180_000;

/// A condition on `pg_proc p`: it is the function of this schema's tenant and does what it should. All are expressions: the schema's name, and
/// the role's OID.
pub(super) fn is_right(schema: &str, role: &str) -> String {
    format!(
        "p.proname = {schema} AND p.pronamespace = to_regnamespace('{SCHEMA}') AND p.proargtypes = '25'::oidvector AND p.proowner = {role} AND p.prosecdef \
         AND p.proconfig IS NULL AND p.prosqlbody IS NOT NULL AND has_function_privilege(p.oid, 'EXECUTE')"
    )
}

/// Statements that make it, for an administrator who is a member of the role, within a transaction that nobody else's code has run in yet. It begins as
/// the administrator's, who alone may name what it calls.
pub(in crate::tenantdb) fn making(schema: &Ident, role: &Ident, admin: &Ident) -> String {
    let function = format!("{schema}.{schema}(text)");
    // Its schema must be one that the role may create in. Until the commit it is nobody's but ours to see.
    format!(
        "{}; CREATE FUNCTION {function} RETURNS void LANGUAGE sql SECURITY DEFINER BEGIN ATOMIC SELECT {SCHEMA}.execute($1, true); END; \
         REVOKE ALL ON FUNCTION {function} FROM PUBLIC; ALTER FUNCTION {function} OWNER TO {role}; GRANT EXECUTE ON FUNCTION {function} TO {admin}; \
         ALTER FUNCTION {function} SET SCHEMA {SCHEMA}",
        dropping(schema)
    )
}

/// The statement that drops it.
pub(in crate::tenantdb) fn dropping(schema: &Ident) -> String {
    format!("DROP FUNCTION IF EXISTS {SCHEMA}.{schema}(text)")
}

/// An expression that runs statements, and is NULL when they have ended well. Names in them without a schema are looked up in the path in force.
///
/// # Errors
/// Refused when they cannot be a text.
pub(super) fn call(schema: &Ident, sql: &str) -> Result<String, Fault> {
    Ok(format!("{SCHEMA}.{schema}({})", Literal::new(sql)?))
}

/// Stands in the error by which the server ends a script after which a statement prepared by a tenant's code would be left in the session, or a table of the
/// session's. The next that we execute by its name would be that one.
pub(super) const PREPARED: &str = "labctl: a statement was prepared, or one is gone";

/// A statement for the end of what is a tenant's: all that waits for the commit is done now, as the tenant.
pub(super) const ALL_IMMEDIATE: &str = "SET CONSTRAINTS ALL IMMEDIATE; ";

/// Statements after the last of a tenant's, before the commit, and after all of ours: what comes later in the session finds nothing of such code.
///
/// * What is still put off to the commit is done now, again as the tenant, in a transaction in which nothing can be written any more: so nothing new is
///   put off. Up to PostgreSQL 17 it would be done at the commit with the rights of whoever commits; and no catalog tells what waits, for what is deferred can be
///   called immediate again. Tables of a session are exempt from that, so there must be none.
/// * Whatever was set is as labctl began it, for our statements too.
/// * Cursors that are to outlast the commit would be read by it: there are none.
/// * Nothing was prepared in this message, and none of those `prepared` is gone.
///
/// # Errors
/// Refused when the schema's name cannot be a text.
pub(super) fn after(schema: &Ident, prepared: &[&str]) -> Result<String, Fault> {
    let drain = call(schema, ALL_IMMEDIATE)?;
    let (count, names) = (prepared.len(), Literal::new(&format!("{{{}}}", prepared.join(",")))?);
    Ok(format!(
        "SET TRANSACTION READ ONLY; SELECT {drain} IS NULL; {RESTORE}; CLOSE ALL; \
         SELECT CASE WHEN count(*) FILTER (WHERE prepare_time >= statement_timestamp()) > 0 OR count(*) FILTER (WHERE name = ANY ({names})) <> {count} \
         OR pg_my_temp_schema() <> 0 THEN concat('{PREPARED}', current_user)::integer ELSE 0 END FROM pg_prepared_statement(); "
    ))
}

/// Whatever anybody has set, for the transaction or the session, is as labctl began it.
pub(super) const RESTORE: &str = "RESET ALL";
