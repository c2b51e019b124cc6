//! Who may do what in a tenant's schema: the rules, what is granted in fact, and the statements between the two.
//!
//! | | owner | migration | application | read-only | `PUBLIC` |
//! |---|---|---|---|---|---|
//! | database | – | CONNECT | CONNECT | CONNECT | nothing |
//! | schema | owns | USAGE, CREATE | USAGE | USAGE | nothing |
//! | tables, made now or later | – | owns | SELECT, INSERT, UPDATE, DELETE | SELECT | nothing |
//! | sequences, made now or later | – | owns | USAGE, SELECT | SELECT | nothing |
//! | functions, made now or later | – | owns | EXECUTE | – | nothing |
//! | the ledger of migrations | – | owns | – | – | nothing |
//!
//! Where nothing may be written ([`Parties::read_only`]), the application has `SELECT` on tables and sequences, and nothing else on
//! them; what it may do otherwise stays.
//!
//! The administrator has `USAGE` on the schema and `SELECT` on the ledger, so that looking needs no membership, and no more than that.
//!
//! "Made later" is `ALTER DEFAULT PRIVILEGES FOR ROLE` migration role and owner. `EXECUTE` on functions and `USAGE` on types go to `PUBLIC`
//! by PostgreSQL's own defaults, which only the defaults of a role *outside* any schema can change.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::connect::Connection;
use super::migrations::ledger::TABLE;
use super::quote::Ident;
use crate::engine::fault::Fault;

/// The name of everybody.
pub const PUBLIC: &str = "PUBLIC";

/// The roles of a tenant's schema.
#[derive(Debug, Clone)]
pub struct Parties {
    /// Owns the schema; never logs in.
    pub owner: Ident,
    /// Makes and owns the tables.
    pub migration: Ident,
    /// The application.
    pub app: Ident,
    /// Reports and the like.
    pub readonly: Option<Ident>,
    /// Whom labctl logs in as.
    pub admin: Ident,
    /// The application may read and not write.
    pub read_only: bool,
    /// Tables show their rows to these roles only, whatever is granted.
    pub row_security: bool,
}

impl Parties {
    /// All but the owner.
    pub fn logins(&self) -> Vec<&Ident> {
        [&self.migration, &self.app].into_iter().chain(&self.readonly).collect()
    }

    fn makers(&self) -> BTreeSet<&Ident> {
        BTreeSet::from([&self.owner, &self.migration])
    }
}

/// What a right is on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum On {
    /// The schema.
    Schema,
    /// Its tables and views, but the ledger.
    Tables,
    /// Its sequences.
    Sequences,
    /// Its functions and procedures.
    Functions,
    /// The ledger of migrations.
    Ledger,
    /// Tables that this role will make in the schema.
    NewTables(String),
    /// Sequences that this role will make in the schema.
    NewSequences(String),
    /// Functions that this role will make in the schema.
    NewFunctions(String),
    /// Functions that this role will make anywhere in the database.
    AnyNewFunctions(String),
    /// Types that this role will make anywhere in the database.
    AnyNewTypes(String),
    /// The database.
    Database,
    /// The schema `public` of the same database.
    PublicSchema,
}

/// One right of one role.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Grant {
    /// On what.
    pub on: On,
    /// Whose; [`PUBLIC`] for everybody's.
    pub to: String,
    /// `SELECT`, `USAGE`, …
    pub privilege: String,
    /// Whether on all such objects, not just on some.
    pub on_all: bool,
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {} for {}", self.privilege, self.on, self.to)
    }
}

impl fmt::Display for On {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Schema => write!(f, "the schema"),
            Self::Tables => write!(f, "tables"),
            Self::Sequences => write!(f, "sequences"),
            Self::Functions => write!(f, "functions"),
            Self::Ledger => write!(f, "{TABLE}"),
            Self::NewTables(by) => write!(f, "tables made by {by}"),
            Self::NewSequences(by) => write!(f, "sequences made by {by}"),
            Self::NewFunctions(by) => write!(f, "functions made by {by}"),
            Self::AnyNewFunctions(by) => write!(f, "functions made anywhere by {by}"),
            Self::AnyNewTypes(by) => write!(f, "types made anywhere by {by}"),
            Self::Database => write!(f, "the database"),
            Self::PublicSchema => write!(f, "the schema public"),
        }
    }
}

impl Grant {
    fn new(on: On, to: &str, privilege: &str) -> Self {
        Self { on, to: to.to_owned(), privilege: privilege.to_owned(), on_all: true }
    }

    /// Whether both are the same right, on however many objects.
    pub fn same(&self, other: &Self) -> bool {
        self.on == other.on && self.to == other.to && self.privilege == other.privilege
    }

    /// The statement that grants it.
    ///
    /// # Errors
    /// Refused when a name is none.
    pub fn grant(&self, schema: &Ident, database: &Ident) -> Result<String, Fault> {
        self.sql("GRANT", "TO", schema, database)
    }

    /// The statement that takes it away.
    ///
    /// # Errors
    /// Refused when a name is none.
    pub fn revoke(&self, schema: &Ident, database: &Ident) -> Result<String, Fault> {
        self.sql("REVOKE", "FROM", schema, database)
    }

    fn sql(&self, verb: &str, to: &str, schema: &Ident, database: &Ident) -> Result<String, Fault> {
        let role = if self.to == PUBLIC { PUBLIC.to_owned() } else { Ident::new(&self.to)?.to_string() };
        let privilege = known(&self.privilege)?;
        let now = |on: &str| format!("{verb} {privilege} ON {on} {to} {role}");
        let later = |by: &str, scope: &str, on: &str| -> Result<String, Fault> {
            Ok(format!("ALTER DEFAULT PRIVILEGES FOR ROLE {}{scope} {verb} {privilege} ON {on} {to} {role}", Ident::new(by)?))
        };
        let within = format!(" IN SCHEMA {schema}");
        Ok(match &self.on {
            On::Schema => now(&format!("SCHEMA {schema}")),
            On::Tables => now(&format!("ALL TABLES IN SCHEMA {schema}")),
            On::Sequences => now(&format!("ALL SEQUENCES IN SCHEMA {schema}")),
            On::Functions => now(&format!("ALL ROUTINES IN SCHEMA {schema}")),
            On::Ledger => now(&format!("{schema}.{TABLE}")),
            On::NewTables(by) => later(by, &within, "TABLES")?,
            On::NewSequences(by) => later(by, &within, "SEQUENCES")?,
            On::NewFunctions(by) => later(by, &within, "ROUTINES")?,
            On::AnyNewFunctions(by) => later(by, "", "ROUTINES")?,
            On::AnyNewTypes(by) => later(by, "", "TYPES")?,
            On::Database => now(&format!("DATABASE {database}")),
            On::PublicSchema => now("SCHEMA public"),
        })
    }
}

/// Privileges come from the server when they are to be revoked: only words that are privileges get into a statement.
fn known(privilege: &str) -> Result<&str, Fault> {
    const ALL: &[&str] =
        &["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER", "MAINTAIN", "USAGE", "CREATE", "EXECUTE", "CONNECT", "TEMPORARY", "SET"];
    ALL.iter().copied().find(|p| *p == privilege).ok_or_else(|| Fault::refused("postgres:GRANT", "unknown_privilege", format!("`{privilege}`")))
}

/// The rules, as in the table above.
pub fn wanted(parties: &Parties) -> BTreeSet<Grant> {
    // Taking a number from a sequence changes it: so does `USAGE`.
    let (tables, sequences): (&[&str], &[&str]) =
        if parties.read_only { (&["SELECT"], &["SELECT"]) } else { (&["SELECT", "INSERT", "UPDATE", "DELETE"], &["USAGE", "SELECT"]) };
    let mut all = BTreeSet::new();
    let mut add = |on: On, to: &Ident, privileges: &[&str]| all.extend(privileges.iter().map(|p| Grant::new(on.clone(), to.name(), p)));
    for login in parties.logins() {
        add(On::Database, login, &["CONNECT"]);
        add(On::Schema, login, &["USAGE"]);
    }
    add(On::Schema, &parties.migration, &["CREATE"]);
    add(On::Schema, &parties.admin, &["USAGE"]);
    add(On::Ledger, &parties.admin, &["SELECT"]);
    add(On::Tables, &parties.app, tables);
    add(On::Sequences, &parties.app, sequences);
    add(On::Functions, &parties.app, &["EXECUTE"]);
    if let Some(readonly) = &parties.readonly {
        add(On::Tables, readonly, &["SELECT"]);
        add(On::Sequences, readonly, &["SELECT"]);
    }
    for maker in parties.makers() {
        let by = || maker.name().to_owned();
        add(On::NewTables(by()), &parties.app, tables);
        add(On::NewSequences(by()), &parties.app, sequences);
        add(On::NewFunctions(by()), &parties.app, &["EXECUTE"]);
        if let Some(readonly) = &parties.readonly {
            add(On::NewTables(by()), readonly, &["SELECT"]);
            add(On::NewSequences(by()), readonly, &["SELECT"]);
        }
    }
    all
}

/// What is granted in fact, to whomever, in and around a schema of this connection's database. Owners' rights on what they own are not
/// listed, nor other roles' rights on the database. A right on no objects of none counts as granted on all.
///
/// # Errors
/// As the statements' faults.
pub async fn find(db: &mut Connection, schema: &Ident, parties: &Parties) -> Result<BTreeSet<Grant>, Fault> {
    type Row = (String, String, String, String, bool);
    let makers: Vec<&str> = parties.makers().into_iter().map(Ident::name).collect();
    let logins: Vec<&str> = parties.logins().into_iter().map(Ident::name).collect();
    let rows: Vec<Row> = db.all("postgres:aclexplode", sqlx::query_as(FIND).bind(schema.name()).bind(TABLE).bind(makers).bind(logins)).await?;
    let mut found = BTreeSet::new();
    let mut kinds = BTreeSet::new();
    for (kind, by, to, privilege, on_all) in rows {
        let on = match kind.as_str() {
            "schema" => On::Schema,
            "tables" => On::Tables,
            "sequences" => On::Sequences,
            "functions" => On::Functions,
            "ledger" => On::Ledger,
            "new tables" => On::NewTables(by),
            "new sequences" => On::NewSequences(by),
            "new functions" => On::NewFunctions(by),
            "any functions" => On::AnyNewFunctions(by),
            "any types" => On::AnyNewTypes(by),
            "database" => On::Database,
            "public" => On::PublicSchema,
            "there are" => {
                kinds.insert(to);
                continue;
            }
            // Default privileges for things no rule speaks of (schemas, large objects) open nothing in this schema.
            _ => continue,
        };
        found.insert(Grant { on, to, privilege, on_all });
    }
    // Where there are no tables yet, a right on all tables is there already.
    for grant in wanted(parties) {
        let none = match grant.on {
            On::Tables => !kinds.contains("tables"),
            On::Sequences => !kinds.contains("sequences"),
            On::Functions => !kinds.contains("functions"),
            On::Ledger => !kinds.contains("ledger"),
            _ => false,
        };
        if none {
            found.insert(grant);
        }
    }
    Ok(found)
}

/// $1 schema, $2 ledger table, $3 makers of objects, $4 roles that connect.
const FIND: &str = "
WITH n AS (SELECT oid, nspowner, nspacl FROM pg_namespace WHERE nspname = $1),
objects AS (
    SELECT CASE WHEN c.relname = $2 THEN 'ledger' WHEN c.relkind = 'S' THEN 'sequences' ELSE 'tables' END AS kind, 1000000 + row_number() OVER () AS id, c.relowner AS owner,
           coalesce(c.relacl, acldefault(CASE WHEN c.relkind = 'S' THEN 's' ELSE 'r' END::\"char\", c.relowner))
           || coalesce((SELECT array_agg(x.item) FROM pg_attribute t, unnest(t.attacl) AS x(item) WHERE t.attrelid = c.oid AND t.attacl IS NOT NULL), '{}') AS acl
      FROM pg_class c JOIN n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    UNION ALL
    SELECT 'functions', row_number() OVER (), p.proowner, coalesce(p.proacl, acldefault('f', p.proowner)) FROM pg_proc p JOIN n ON n.oid = p.pronamespace
),
rights AS (SELECT DISTINCT o.kind, o.id, a.grantee, a.privilege_type FROM objects o, aclexplode(o.acl) a WHERE a.grantee <> o.owner),
makers AS (SELECT oid, rolname FROM pg_roles WHERE rolname = ANY ($3)),
everything(kind, by, grantee, privilege, on_all) AS (
    SELECT 'schema', ''::name, a.grantee, a.privilege_type, true FROM n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a WHERE a.grantee <> n.nspowner
    UNION ALL
    SELECT r.kind, '', r.grantee, r.privilege_type, count(*) = (SELECT count(*) FROM objects o WHERE o.kind = r.kind) FROM rights r GROUP BY r.kind, r.grantee, r.privilege_type
    UNION ALL
    SELECT CASE d.defaclobjtype WHEN 'r' THEN 'new tables' WHEN 'S' THEN 'new sequences' WHEN 'f' THEN 'new functions' END, m.rolname, a.grantee, a.privilege_type, true
      FROM pg_default_acl d JOIN makers m ON m.oid = d.defaclrole JOIN n ON n.oid = d.defaclnamespace, aclexplode(d.defaclacl) a WHERE a.grantee <> d.defaclrole
    UNION ALL
    SELECT k.kind, m.rolname, a.grantee, a.privilege_type, true
      FROM makers m CROSS JOIN (VALUES ('any functions', 'f'::\"char\"), ('any types', 'T')) k(kind, type)
      LEFT JOIN pg_default_acl d ON d.defaclrole = m.oid AND d.defaclnamespace = 0 AND d.defaclobjtype = k.type,
           aclexplode(coalesce(d.defaclacl, acldefault(k.type, m.oid))) a WHERE a.grantee <> m.oid
    UNION ALL
    SELECT 'database', '', a.grantee, a.privilege_type, true FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
     WHERE d.datname = current_database() AND a.grantee <> d.datdba AND (a.grantee = 0 OR a.grantee IN (SELECT oid FROM pg_roles WHERE rolname = ANY ($4 || $3)))
    UNION ALL
    SELECT 'public', '', a.grantee, a.privilege_type, true FROM pg_namespace p, aclexplode(coalesce(p.nspacl, acldefault('n', p.nspowner))) a
     WHERE p.nspname = 'public' AND a.grantee = 0 AND a.privilege_type = 'CREATE'
)
SELECT e.kind, e.by::text, CASE e.grantee WHEN 0 THEN 'PUBLIC' ELSE coalesce(r.rolname::text, e.grantee::text) END, e.privilege::text, bool_and(e.on_all)
  FROM everything e LEFT JOIN pg_roles r ON r.oid = e.grantee WHERE e.kind IS NOT NULL GROUP BY 1, 2, 3, 4
UNION ALL SELECT DISTINCT 'there are', '', kind, '', true FROM objects";

/// Those of these roles that exist.
pub(super) async fn existing(db: &mut Connection, roles: &[&Ident]) -> Result<Vec<Ident>, Fault> {
    let names: Vec<&str> = roles.iter().map(|r| r.name()).collect();
    let rows: Vec<(String,)> = db.all("postgres:pg_roles", sqlx::query_as("SELECT rolname::text FROM pg_roles WHERE rolname = ANY ($1)").bind(names)).await?;
    rows.iter().map(|(n,)| Ident::new(n)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parties() -> Parties {
        let role = |n: &str| Ident::new(n).unwrap();
        Parties {
            owner: role("a_owner"),
            migration: role("a_migrate"),
            app: role("a_app"),
            readonly: Some(role("a_read")),
            admin: role("admin"),
            read_only: false,
            row_security: false,
        }
    }

    #[test]
    fn nothing_is_wanted_for_the_public_nor_for_tenants_on_the_ledger() {
        let all = wanted(&parties());
        assert!(all.iter().all(|g| g.to != PUBLIC && (g.on != On::Ledger || g.to == "admin") && g.on != On::PublicSchema));
        assert!(all.iter().filter(|g| g.to == "a_read").all(|g| matches!(g.privilege.as_str(), "SELECT" | "USAGE" | "CONNECT")));
        assert!(all.iter().filter(|g| g.to == "a_app").all(|g| g.privilege != "CREATE" && g.privilege != "TRUNCATE"));
    }

    #[test]
    fn where_nothing_may_be_written_the_application_reads_what_there_is_and_what_will_be() {
        let (all, less) = (wanted(&parties()), wanted(&Parties { read_only: true, ..parties() }));
        assert!(less.is_subset(&all));
        let taken: Vec<String> = all.difference(&less).filter(|g| g.on != On::Tables && g.on != On::Sequences).map(ToString::to_string).collect();
        let later = |maker: &str| ["DELETE", "INSERT", "UPDATE"].map(|p| format!("{p} on tables made by {maker} for a_app"));
        let numbers = ["a_migrate", "a_owner"].map(|maker| format!("USAGE on sequences made by {maker} for a_app"));
        assert_eq!(taken, [later("a_migrate"), later("a_owner")].concat().into_iter().chain(numbers).collect::<Vec<_>>());
        let of_app = |on: &On| less.iter().filter(|g| g.to == "a_app" && g.on == *on).map(|g| g.privilege.clone()).collect::<Vec<_>>();
        assert_eq!((of_app(&On::Tables), of_app(&On::Sequences)), (vec!["SELECT".to_owned()], vec!["SELECT".to_owned()]));
    }

    #[test]
    fn a_word_that_is_no_privilege_never_gets_into_a_statement() {
        let schema = Ident::new("s").unwrap();
        Grant::new(On::Schema, "x", "USAGE; DROP SCHEMA s").revoke(&schema, &schema).unwrap_err();
    }
}
