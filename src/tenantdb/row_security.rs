//! Row security as a second line in a schema of a tenant's own: every table but the ledger shows rows to the tenant's own roles and to
//! nobody else, whatever else is granted on it.
//!
//! * Each table has `ENABLE` and `FORCE ROW LEVEL SECURITY` and one policy, made out to the migration, application and read-only role by
//!   name. No setting is asked. `USING (true)` costs nothing: the planner drops it, where a condition would keep it from indexes over
//!   functions that are not leakproof.
//! * Each view is `security_invoker`: with its owner's rights it would show the rows to whoever may read the view.
//! * What can have no policy (a materialized view, a foreign table) is refused: it would be the hole in the wall.
//!
//! That a schema is guarded, and for whom, stands in its comment, which only the schema's owner can change. A migration goes by that: so
//! tables are guarded in the transaction that makes them, whoever runs it.
//!
//! Whoever is a *member* of one of the roles is that role to PostgreSQL, and to a policy. That wall is another: `postgres_role`.

use std::collections::BTreeMap;

use super::comment;
use super::connect::Connection;
use super::grants::Parties;
use super::migrations::ledger::TABLE;
use super::quote::{Ident, Literal, list};
use crate::engine::fault::Fault;

/// The policy's name.
pub const POLICY: &str = "labctl_own";
/// The key in a schema's comment that says for whom it is guarded.
pub const MARK: &str = "row_security";

/// For whom a schema is guarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    roles: Vec<Ident>,
}

impl Guard {
    /// The guard of a tenant's schema; `None` where it is not asked for.
    ///
    /// # Errors
    /// Refused (`invalid_name`) when a role's name holds a comma, which separates names in the mark.
    pub fn of(parties: &Parties) -> Result<Option<Self>, Fault> {
        if !parties.row_security {
            return Ok(None);
        }
        let mut roles: Vec<Ident> = parties.logins().into_iter().cloned().collect();
        roles.sort();
        match roles.iter().find(|r| r.name().contains(',')) {
            Some(role) => Err(Fault::refused("postgres:CREATE POLICY", "invalid_name", format!("{role} holds a comma: row security cannot name it"))),
            None => Ok(Some(Self { roles })),
        }
    }

    /// As the schema's comment says it; `None` where that says nothing of it.
    ///
    /// # Errors
    /// Refused when what stands there is no list of names.
    pub fn read(comment: Option<&str>) -> Result<Option<Self>, Fault> {
        let Some(mark) = mark(comment) else { return Ok(None) };
        Ok(Some(Self { roles: mark.split(',').map(Ident::new).collect::<Result<_, _>>()? }))
    }

    /// The names, for the schema's comment.
    pub fn mark(&self) -> String {
        self.roles.iter().map(Ident::name).collect::<Vec<_>>().join(",")
    }

    fn names(&self) -> Result<String, Fault> {
        let names: Vec<Literal> = self.roles.iter().map(|r| Literal::new(r.name())).collect::<Result<_, _>>()?;
        Ok(format!("ARRAY[{}]::text[]", list(names)))
    }

    /// Of every relation of a schema that could show rows: what it lacks; the empty text where it lacks nothing.
    fn wrong(&self, schema: &Ident) -> Result<String, Fault> {
        let (schema, ledger, roles) = (Literal::new(schema.name())?, Literal::new(TABLE)?, self.names()?);
        Ok(format!(
            "SELECT c.oid, c.relname AS name, c.relkind AS kind, c.relowner AS owner, concat_ws(', ', \
             CASE WHEN c.relkind IN ('m', 'f') THEN 'can have no policy' END, \
             CASE WHEN c.relkind IN ('r', 'p') AND NOT c.relrowsecurity THEN 'off' END, \
             CASE WHEN c.relkind IN ('r', 'p') AND NOT c.relforcerowsecurity THEN 'not forced' END, \
             CASE WHEN c.relkind IN ('r', 'p') AND NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname = '{POLICY}' \
                 AND p.polcmd = '*' AND p.polpermissive AND pg_get_expr(p.polqual, p.polrelid) = 'true' AND pg_get_expr(p.polwithcheck, p.polrelid) = 'true' \
                 AND ARRAY(SELECT r.rolname::text FROM pg_roles r WHERE r.oid = ANY (p.polroles) ORDER BY r.rolname) = {roles}) THEN 'no policy' END, \
             (SELECT 'other policies: ' || string_agg(p.polname, ', ' ORDER BY p.polname) FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname <> '{POLICY}'), \
             CASE WHEN c.relkind = 'v' AND NOT EXISTS (SELECT FROM pg_options_to_table(c.reloptions) o WHERE o.option_name = 'security_invoker' AND o.option_value::boolean) \
                 THEN 'with the rights of its owner' END) AS wrong \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = {schema} AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relname <> {ledger}"
        ))
    }

    /// Statements that give every relation what it lacks; with `own`, those only that belong to the role in force.
    ///
    /// # Errors
    /// Refused when a name cannot be a text.
    pub fn close(&self, schema: &Ident, own: bool) -> Result<String, Fault> {
        let whose = if own { "AND owner = (SELECT oid FROM pg_roles WHERE rolname = current_user)" } else { "" };
        let (wrong, to, schema) = (self.wrong(schema)?, Literal::new(&list(&self.roles))?, Literal::new(schema.name())?);
        let body = format!(
            "DECLARE it record; other name;
BEGIN
    FOR it IN SELECT * FROM ({wrong}) x WHERE wrong <> '' {whose} ORDER BY name LOOP
        IF it.kind IN ('m', 'f') THEN
            RAISE EXCEPTION USING ERRCODE = '{CANNOT}', MESSAGE = format('row security: %I can have no policy, and would show its rows to whoever is let in', it.name);
        ELSIF it.kind = 'v' THEN
            EXECUTE format('ALTER VIEW %I.%I SET (security_invoker = true)', {schema}, it.name);
        ELSE
            FOR other IN SELECT polname FROM pg_policy WHERE polrelid = it.oid LOOP
                EXECUTE format('DROP POLICY %I ON %I.%I', other, {schema}, it.name);
            END LOOP;
            EXECUTE format('CREATE POLICY {POLICY} ON %I.%I TO %s USING (true) WITH CHECK (true)', {schema}, it.name, {to});
            EXECUTE format('ALTER TABLE %I.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', {schema}, it.name);
        END IF;
    END LOOP;
END"
        );
        // What a migration has put into the schema is not what these statements mean.
        Ok(format!("SET LOCAL search_path = pg_catalog; DO {}", Literal::new(&body)?))
    }
}

/// Statements that take a guard away: our policy, and row security itself where nobody else has a policy. Views stay as they are.
fn open(schema: &Ident) -> Result<String, Fault> {
    let schema = Literal::new(schema.name())?;
    let body = format!(
        "DECLARE it record;
BEGIN
    FOR it IN SELECT c.relname AS name, (SELECT count(*) FROM pg_policy o WHERE o.polrelid = c.oid) AS policies FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
               JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = {schema} AND p.polname = '{POLICY}' LOOP
        EXECUTE format('DROP POLICY {POLICY} ON %I.%I', {schema}, it.name);
        IF it.policies = 1 THEN
            EXECUTE format('ALTER TABLE %I.%I NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY', {schema}, it.name);
        END IF;
    END LOOP;
END"
    );
    Ok(format!("DO {}", Literal::new(&body)?))
}

/// What a schema's comment says of it.
pub fn mark(comment: Option<&str>) -> Option<String> {
    comment::read(comment).remove(MARK)
}

/// Our own SQLSTATE: a relation can have no policy.
pub const CANNOT: &str = "LC101";

/// How a schema's relations differ from what they shall be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// By name: what each lacks, or has although it is not asked for.
    pub differs: BTreeMap<String, String>,
    /// Those that can have no policy.
    pub hopeless: Vec<String>,
}

/// Looks a schema's relations over. Where no guard is asked for, what one has left counts as too much.
///
/// # Errors
/// As the statement's fault.
pub async fn find(db: &mut Connection, schema: &Ident, guard: Option<&Guard>) -> Result<Found, Fault> {
    let sql = match guard {
        Some(guard) => format!("SELECT name::text, wrong, kind IN ('m', 'f') FROM ({}) x WHERE wrong <> '' ORDER BY name", guard.wrong(schema)?),
        None => format!(
            "SELECT c.relname::text, 'guarded', false FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = {} AND p.polname = '{POLICY}'",
            Literal::new(schema.name())?
        ),
    };
    let mut found = Found::default();
    for (name, wrong, hopeless) in db.select::<(String, String, bool)>("postgres:pg_policy", sql).await? {
        if hopeless {
            found.hopeless.push(name);
        } else {
            found.differs.insert(name, wrong);
        }
    }
    Ok(found)
}

/// Makes every relation of the schema as it shall be, in the caller's transaction, whose role may alter them all.
///
/// # Errors
/// Refused ([`CANNOT`]) when there is one that can have no policy; else as the statements' faults.
pub(super) async fn apply(db: &mut Connection, schema: &Ident, guard: Option<&Guard>) -> Result<(), Fault> {
    let sql = match guard {
        Some(guard) => guard.close(schema, false)?,
        None => open(schema)?,
    };
    db.execute("postgres:CREATE POLICY", sql).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_comment_says_is_read_back_and_names_stand_in_one_order() {
        let role = |n: &str| Ident::new(n).unwrap();
        let mut parties = Parties {
            owner: role("a_owner"),
            migration: role("a_migrate"),
            app: role("a_app"),
            readonly: None,
            admin: role("admin"),
            read_only: false,
            connect: None,
            row_security: false,
        };
        assert_eq!(Guard::of(&parties).unwrap(), None);
        parties.row_security = true;
        let guard = Guard::of(&parties).unwrap().unwrap();
        assert_eq!(guard.mark(), "a_app,a_migrate");
        let text = comment::write(&BTreeMap::new(), &[(MARK, &guard.mark())]);
        assert_eq!(Guard::read(Some(&text)).unwrap(), Some(guard));
        assert_eq!(Guard::read(Some("the billing schema")).unwrap(), None);
        parties.app = role("a,b");
        assert_eq!(Guard::of(&parties).unwrap_err().code, "invalid_name");
    }
}
