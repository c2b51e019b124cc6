//! What keeps tenants' rows apart in the tables they share: looked at as a whole, and mended as far as that can be.
//!
//! One query compares the catalogs with what a stack says of its tables. A migration of the system ends with it, in its transaction; a
//! tenant's plan looks by it, too. What a migration alone could mend is refused there, before anybody gets to see it: a table nobody has
//! spoken of, a column that cannot say whose a row is, a key by which one tenant would learn of another's values, a foreign key that could
//! lead from one tenant's row to another's.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Names, Shared, TENANT};
use crate::engine::fault::Fault;
use crate::tenantdb::connect::Connection;
use crate::tenantdb::membership::borrow;
use crate::tenantdb::migrations::apply::Sealed;
use crate::tenantdb::migrations::ledger;
use crate::tenantdb::quote::Ident;
use crate::tenantdb::rls::{self, POLICY, ROLES};

const CALL: &str = "postgres:row security";

/// Something that is not as it ought to be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Flaw {
    /// What sort of: `policy`, `force`, `unlisted`, …
    pub sort: String,
    /// On what.
    pub on: String,
    /// What is so.
    pub is: String,
    /// What ought to be.
    pub ought: String,
}

/// $1 schema, $2 tables of rows, $3 their columns, $4 reference tables, $5 owner, $6 write, $7 read, $8 the ledger, $9 the table of roles,
/// $10 the policy, $11 the function, $12 the administrator.
const FIND: &str = r"
WITH n AS (SELECT oid, nspname, nspacl, nspowner FROM pg_namespace WHERE nspname = $1),
listed AS (SELECT t::name AS name, c::name AS by FROM unnest($2::text[], $3::text[]) x(t, c) UNION ALL SELECT r::name, NULL FROM unnest($4::text[]) y(r)),
relations AS (
    SELECT c.oid, c.relname, c.relkind, c.relowner, c.relrowsecurity, c.relforcerowsecurity, l.name IS NOT NULL AS listed, l.by, a.attnum, a.attnotnull,
           format_type(a.atttypid, NULL) AS type, (SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d WHERE d.adrelid = c.oid AND d.adnum = a.attnum) AS fallback,
           coalesce(c.relacl, acldefault('r', c.relowner)) || coalesce((SELECT array_agg(x.item) FROM pg_attribute t, unnest(t.attacl) x(item) WHERE t.attrelid = c.oid AND t.attacl IS NOT NULL), '{}') AS acl
      FROM pg_class c JOIN n ON n.oid = c.relnamespace LEFT JOIN listed l ON l.name = c.relname
      LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = l.by AND NOT a.attisdropped
     WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relname NOT IN ($8, $9)
),
held AS (SELECT * FROM relations WHERE by IS NOT NULL AND relkind IN ('r', 'p')),
own AS (SELECT format('%I=SELECTr.tenantFROM%I.%IrWHEREr.role=CURRENT_USER', h.by, $1, $9) AS text, h.oid FROM held h),
policies AS (
    SELECT p.*, regexp_replace(pg_get_expr(p.polqual, p.polrelid), '[\s()]', '', 'g') AS qual, regexp_replace(pg_get_expr(p.polwithcheck, p.polrelid), '[\s()]', '', 'g') AS adds
      FROM pg_policy p JOIN held h ON h.oid = p.polrelid
),
wanted(oid, grantee, privilege) AS (
    SELECT h.oid, w.oid, p FROM held h, pg_roles w, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) p WHERE w.rolname = $6
    UNION ALL SELECT h.oid, r.oid, 'SELECT' FROM held h, pg_roles r WHERE r.rolname = $7
    UNION ALL SELECT t.oid, r.oid, 'SELECT' FROM relations t, pg_roles r WHERE t.listed AND t.by IS NULL AND t.relkind IN ('r', 'p') AND r.rolname IN ($6, $7)
),
granted AS (SELECT DISTINCT r.oid, a.grantee, a.privilege_type::text AS privilege FROM relations r, aclexplode(r.acl) a WHERE a.grantee <> r.relowner),
functions AS (
    SELECT p.oid, p.proname, p.oid::regprocedure::text AS called, p.prosecdef, p.proowner, coalesce(p.proacl, acldefault('f', p.proowner)) AS acl
      FROM pg_proc p JOIN n ON n.oid = p.pronamespace
),
callers AS (SELECT DISTINCT f.oid, a.grantee FROM functions f, aclexplode(f.acl) a WHERE a.grantee <> f.proowner)
SELECT sort, object, is_so, ought FROM (
    SELECT 'unlisted', relname::text, CASE relkind WHEN 'v' THEN 'a view' WHEN 'm' THEN 'a materialized view' WHEN 'f' THEN 'a foreign table' ELSE 'a table nobody has spoken of' END,
           'a table under `rows` or `reference` of [system] in stack.toml' FROM relations WHERE NOT listed OR relkind NOT IN ('r', 'p')
    UNION ALL SELECT 'owner', r.relname, o.rolname, $5 FROM relations r JOIN pg_roles o ON o.oid = r.relowner WHERE o.rolname <> $5
    UNION ALL SELECT 'column', relname || '.' || by, CASE WHEN attnum IS NULL THEN 'not there' ELSE type || CASE WHEN attnotnull THEN '' ELSE ', may be null' END END, 'text NOT NULL'
      FROM held WHERE attnum IS NULL OR type <> 'text' OR NOT attnotnull
    UNION ALL SELECT 'key', i.indexrelid::regclass::text, 'unique among all tenants', 'unique for each, with ' || h.by
      FROM held h JOIN pg_index i ON i.indrelid = h.oid WHERE (i.indisunique OR i.indisexclusion) AND h.attnum IS NOT NULL AND h.attnum <> ALL (i.indkey::int2[])
    UNION ALL SELECT 'foreign_key', h.relname || '.' || k.conname, 'it may lead to another tenant''s row', 'it carries ' || h.by
      FROM held h JOIN pg_constraint k ON k.conrelid = h.oid AND k.contype = 'f' JOIN held t ON t.oid = k.confrelid
     WHERE NOT EXISTS (SELECT FROM unnest(k.conkey, k.confkey) x(here, there) WHERE x.here = h.attnum AND x.there = t.attnum)
    UNION ALL SELECT 'foreign_key', r.relname || '.' || k.conname, 'what all share leads to a tenant''s row', 'no such key'
      FROM relations r JOIN pg_constraint k ON k.conrelid = r.oid AND k.contype = 'f' JOIN held t ON t.oid = k.confrelid WHERE r.by IS NULL
    UNION ALL SELECT 'sequence', c.relname, 'drawn from by every tenant', 'GENERATED AS IDENTITY, or uuid' FROM pg_class c JOIN n ON n.oid = c.relnamespace
     WHERE c.relkind = 'S' AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'i')
    UNION ALL SELECT 'row_security', relname, 'off', 'on' FROM held WHERE NOT relrowsecurity
    UNION ALL SELECT 'force', relname, 'not for its owner', 'for its owner, too' FROM held WHERE NOT relforcerowsecurity
    UNION ALL SELECT 'policy', h.relname, CASE WHEN p.oid IS NULL THEN 'none' ELSE 'another: ' || coalesce(pg_get_expr(p.polqual, p.polrelid), 'true') END, 'each role its own tenant''s rows'
      FROM held h JOIN own ON own.oid = h.oid LEFT JOIN policies p ON p.polrelid = h.oid AND p.polname = $10
     WHERE h.attnum IS NOT NULL AND h.type = 'text'
       AND (p.oid IS NULL OR NOT p.polpermissive OR p.polcmd <> '*' OR p.polroles <> '{0}' OR p.qual IS DISTINCT FROM own.text OR p.adds IS DISTINCT FROM own.text)
    UNION ALL SELECT 'other_policy', h.relname || '.' || p.polname, 'it opens what ' || $10 || ' closes', 'no such policy'
      FROM policies p JOIN held h ON h.oid = p.polrelid WHERE p.polname <> $10 AND p.polpermissive
    UNION ALL SELECT 'default', relname || '.' || by, coalesce(fallback, 'none'), $11 || '()' FROM held
     WHERE attnum IS NOT NULL AND type = 'text' AND fallback IS DISTINCT FROM format('%I.%I()', $1, $11)
    UNION ALL SELECT 'right', r.relname || ' for ' || g.rolname, 'no ' || string_agg(w.privilege, ', ' ORDER BY w.privilege), 'granted' FROM wanted w JOIN relations r ON r.oid = w.oid
      JOIN pg_roles g ON g.oid = w.grantee WHERE NOT EXISTS (SELECT FROM granted x WHERE x.oid = w.oid AND x.grantee = w.grantee AND x.privilege = w.privilege) GROUP BY 2
    UNION ALL SELECT 'other_right', r.relname || ' for ' || CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(g.grantee)::text END, string_agg(g.privilege, ', ' ORDER BY g.privilege), 'none'
      FROM granted g JOIN relations r ON r.oid = g.oid WHERE NOT EXISTS (SELECT FROM wanted w WHERE w.oid = g.oid AND w.grantee = g.grantee AND w.privilege = g.privilege) GROUP BY 2
    UNION ALL SELECT 'function', f.called, 'not to be called', 'EXECUTE for ' || g.rolname FROM functions f, pg_roles g
     WHERE g.rolname IN ($6, $7) AND NOT f.prosecdef AND NOT EXISTS (SELECT FROM callers c WHERE c.oid = f.oid AND c.grantee = g.oid)
    UNION ALL SELECT 'other_function', f.called, 'EXECUTE for ' || CASE c.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(c.grantee)::text END, 'none'
      FROM functions f JOIN callers c ON c.oid = f.oid WHERE pg_get_userbyid(c.grantee) <> $5 AND (f.prosecdef OR c.grantee = 0 OR pg_get_userbyid(c.grantee) NOT IN ($6, $7))
    UNION ALL SELECT 'other_schema', CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee)::text END, a.privilege_type, 'none' FROM n, aclexplode(n.nspacl) a
     WHERE a.grantee <> n.nspowner AND (a.privilege_type <> 'USAGE' OR a.grantee = 0 OR pg_get_userbyid(a.grantee) NOT IN ($6, $7, $12))
    UNION ALL SELECT 'schema', g.rolname, 'no USAGE', 'USAGE' FROM n, pg_roles g WHERE g.rolname IN ($6, $7)
       AND NOT EXISTS (SELECT FROM aclexplode(n.nspacl) a WHERE a.grantee = g.oid AND a.privilege_type = 'USAGE')
    UNION ALL SELECT 'roles_table', $9, 'open', 'each role its own line' FROM n LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = $9
     WHERE c.oid IS NULL OR NOT c.relrowsecurity OR (SELECT count(*) FROM pg_policy p WHERE p.polrelid = c.oid) <> 1
        OR NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polcmd = 'r' AND regexp_replace(pg_get_expr(p.polqual, p.polrelid), '[\s()]', '', 'g') = 'role=CURRENT_USER')
        OR EXISTS (SELECT FROM aclexplode(c.relacl) a WHERE a.grantee <> c.relowner AND (a.privilege_type <> 'SELECT' OR a.grantee = 0 OR pg_get_userbyid(a.grantee) NOT IN ($5, $6, $7)))
    UNION ALL SELECT 'member', m.rolname, 'a member of ' || g.rolname, 'nobody''s' FROM pg_auth_members x JOIN pg_roles m ON m.oid = x.member JOIN pg_roles g ON g.oid = x.roleid WHERE m.rolname IN ($5, $6, $7)
) flaws(sort, object, is_so, ought) ORDER BY 1, 2, 3";

/// What is wrong. Never writes.
///
/// # Errors
/// As the statement's faults.
pub async fn find(db: &mut Connection, shared: &Shared) -> Result<Vec<Flaw>, Fault> {
    let (tables, columns): (Vec<&str>, Vec<&str>) = shared.rows.iter().map(|(t, c)| (t.as_str(), c.as_str())).unzip();
    let reference: Vec<&str> = shared.reference.iter().map(String::as_str).collect();
    let admin = db.user().to_owned();
    let query = sqlx::query_as(FIND)
        .bind(&shared.schema)
        .bind(tables)
        .bind(columns)
        .bind(reference)
        .bind(&shared.owner)
        .bind(&shared.write)
        .bind(&shared.read)
        .bind(ledger::TABLE)
        .bind(ROLES)
        .bind(POLICY)
        .bind(TENANT)
        .bind(admin);
    let rows: Vec<(String, String, String, String)> = db.all("postgres:pg_policy", query).await?;
    Ok(rows.into_iter().map(|(sort, on, is, ought)| Flaw { sort, on, is, ought }).collect())
}

impl std::fmt::Display for Flaw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}: {}, and ought to be: {}", self.sort.replace('_', " "), self.on, self.is, self.ought)
    }
}

impl Flaw {
    /// Whether it is mended by labctl; all else is for a migration, or for whoever did it.
    pub fn can_be_mended(&self) -> bool {
        matches!(
            self.sort.as_str(),
            "row_security"
                | "force"
                | "policy"
                | "other_policy"
                | "default"
                | "right"
                | "other_right"
                | "function"
                | "other_function"
                | "schema"
                | "other_schema"
        )
    }

    /// Whether only the system's migrations bring it about, and mend it: one that is pending may just be the one.
    pub fn is_of_migrations(&self) -> bool {
        matches!(self.sort.as_str(), "unlisted" | "column" | "key" | "foreign_key" | "sequence")
    }

    /// The statements that mend it, as the owner.
    fn mend(&self, shared: &Shared, names: &Names) -> Result<String, Fault> {
        let Names { schema, write, read, .. } = names;
        let (first, second) = self.on.split_once('.').unwrap_or((&self.on, ""));
        let to = |role: &str| if role == "PUBLIC" { Ok(role.to_owned()) } else { Ident::new(role).map(|r| r.to_string()) };
        let table = |name: &str| Ident::new(name).map(|t| format!("{schema}.{t}"));
        Ok(match self.sort.as_str() {
            "row_security" => format!("ALTER TABLE {} ENABLE ROW LEVEL SECURITY", table(&self.on)?),
            "force" => format!("ALTER TABLE {} FORCE ROW LEVEL SECURITY", table(&self.on)?),
            "policy" => rls::policy(schema, &Ident::new(&self.on)?, &Ident::new(shared.rows.get(&self.on).map_or("", String::as_str))?),
            "other_policy" => format!("DROP POLICY {} ON {}", Ident::new(second)?, table(first)?),
            "default" => format!("ALTER TABLE {} ALTER COLUMN {} SET DEFAULT {schema}.{TENANT}()", table(first)?, Ident::new(second)?),
            "right" | "other_right" => {
                let Some((name, role)) = self.on.split_once(" for ") else { return Ok(String::new()) };
                let name = table(name)?;
                match shared.rows.contains_key(self.on.split_once(" for ").map_or("", |(t, _)| t)) {
                    // Taken and given anew: column rights go with those of the table.
                    true if role == shared.write => format!("REVOKE ALL ON {name} FROM {write}; GRANT SELECT, INSERT, UPDATE, DELETE ON {name} TO {write}"),
                    _ if role == shared.read => format!("REVOKE ALL ON {name} FROM {read}; GRANT SELECT ON {name} TO {read}"),
                    false if role == shared.write => format!("REVOKE ALL ON {name} FROM {write}; GRANT SELECT ON {name} TO {write}"),
                    _ => format!("REVOKE ALL ON {name} FROM {}", to(role)?),
                }
            }
            // The server has quoted it.
            "function" => format!("GRANT EXECUTE ON ROUTINE {} TO {write}, {read}", self.on),
            "other_function" => format!("REVOKE ALL ON ROUTINE {} FROM {}", self.on, to(self.is.trim_start_matches("EXECUTE for "))?),
            "schema" => format!("GRANT USAGE ON SCHEMA {schema} TO {}", to(&self.on)?),
            "other_schema" => format!("REVOKE {} ON SCHEMA {schema} FROM {}", if self.is == "USAGE" { "USAGE" } else { "CREATE" }, to(&self.on)?),
            _ => String::new(),
        })
    }
}

/// A migration of them ends with the walls up, and lets nothing pass that has a hole: refused (`walls`) with all that is wrong.
#[async_trait]
impl Sealed for Shared {
    async fn seal(&self, db: &mut Connection) -> Result<(), Fault> {
        db.execute("postgres:SET", "SET LOCAL search_path = pg_catalog".to_owned()).await?;
        let found = find(db, self).await?;
        // A policy that a migration makes is its author's, and its author is told.
        let left: Vec<Flaw> = found.iter().filter(|f| !f.can_be_mended() || f.sort == "other_policy").cloned().collect();
        if !left.is_empty() {
            return Err(holes(&left));
        }
        stand(db, self, &found).await
    }
}

/// Mends them, as the administrator, in a transaction of its own. Policies that open what ours closes are dropped.
///
/// # Errors
/// Refused (`walls`) with what could not be mended; else as the statements' faults.
pub async fn mend(db: &mut Connection, shared: &Shared) -> Result<(), Fault> {
    let owner = Ident::new(&shared.owner)?;
    db.begin().await?;
    let borrowed = borrow(db, &[&owner]).await?;
    db.execute("postgres:SET ROLE", format!("SET LOCAL ROLE {owner}")).await?;
    let found = find(db, shared).await?;
    stand(db, shared, &found).await?;
    db.execute("postgres:RESET ROLE", "RESET ROLE".to_owned()).await?;
    borrowed.give_back(db).await?;
    db.commit(CALL).await
}

async fn stand(db: &mut Connection, shared: &Shared, found: &[Flaw]) -> Result<(), Fault> {
    let names = shared.names()?;
    let mut statements: Vec<String> = found.iter().filter(|f| f.can_be_mended()).map(|f| f.mend(shared, &names)).collect::<Result<_, _>>()?;
    statements.dedup();
    if statements.is_empty() {
        return Ok(());
    }
    db.execute(CALL, statements.join("; ")).await?;
    let left: Vec<Flaw> = find(db, shared).await?.into_iter().filter(Flaw::can_be_mended).collect();
    if left.is_empty() { Ok(()) } else { Err(holes(&left)) }
}

fn holes(left: &[Flaw]) -> Fault {
    let words: Vec<String> = left.iter().map(ToString::to_string).collect();
    Fault::refused(CALL, "walls", format!("these tables would not keep tenants apart: {}", words.join("; ")))
        .hint("docs/migrations.md says what tables that tenants share must be like")
}
