//! Who may do what in a tenant's schema: the rules, what is granted in fact, and the statements between the two.
//!
//! | | owner | migration | application | read-only | `PUBLIC` |
//! |---|---|---|---|---|---|
//! | database | – | CONNECT* | CONNECT* | CONNECT* | nothing |
//! | schema | owns | USAGE, CREATE | USAGE | USAGE | nothing |
//! | tables, made now or later | – | owns | SELECT, INSERT, UPDATE, DELETE | SELECT | nothing |
//! | sequences, made now or later | – | owns | USAGE, SELECT | SELECT | nothing |
//! | functions, made now or later | – | owns | EXECUTE | – | nothing |
//! | the ledger of migrations | – | owns | – | – | nothing |
//!
//! \* In a database that tenants share, as a member of [`connect_group`]'s role, which has CONNECT and nothing else; in one of a tenant's own, itself.
//!
//! Where nothing may be written ([`Parties::read_only`]), the application has `SELECT` on tables and sequences, and nothing else on
//! them; what it may do otherwise stays.
//!
//! The administrator has `USAGE` on the schema and `SELECT` on the ledger, so that looking needs no membership, and no more than that.
//!
//! "Made later" is `ALTER DEFAULT PRIVILEGES FOR ROLE` migration role and owner. `EXECUTE` on functions and `USAGE` on types go to `PUBLIC`
//! by PostgreSQL's own defaults, which only the defaults of a role *outside* any schema can change.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::connect::Connection;
use super::connect_group;
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
    /// The role whose members may connect, where tenants share the database; none where each login has the right itself.
    pub connect: Option<Ident>,
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
    /// A role, whose rights its members have.
    Role(String),
    /// The role itself: what it may do wherever it is.
    Itself,
}

/// The privilege of a role's members.
const MEMBER: &str = "MEMBER";
/// The privilege of those who may take in members.
const ADMIN: &str = "ADMIN OPTION";
/// What a role has that should have nothing but what is granted here.
const MORE: &str = "MORE RIGHTS OR OBJECTS";

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
            Self::Role(role) => write!(f, "the role {role}"),
            Self::Itself => write!(f, "the role itself"),
        }
    }
}

impl Grant {
    fn new(on: On, to: &str, privilege: &str) -> Self {
        Self { on, to: to.to_owned(), privilege: privilege.to_owned(), on_all: true }
    }

    /// Whether it is more than can be seen from here, so that no statement takes it away.
    pub(super) fn beyond(&self) -> bool {
        self.on == On::Itself && self.privilege == MORE
    }

    /// Which right it is, on however many objects.
    pub fn right(&self) -> (&On, &str, &str) {
        (&self.on, &self.to, &self.privilege)
    }
}

/// The statements that bring a new schema, which is empty, to the rules; but for the right to connect of logins that have it themselves.
///
/// # Errors
/// Refused when a name is none.
pub fn first(parties: &Parties, schema: &Ident, database: &Ident, version: u32) -> Result<Vec<String>, Fault> {
    let wanted = wanted(parties);
    let later = |g: &&Grant| matches!(g.on, On::Tables | On::Sequences | On::Functions | On::Ledger | On::Database);
    let by = |maker: &Ident| maker.name().to_owned();
    // PostgreSQL's own defaults.
    let everybodys = |m: &Ident| [Grant::new(On::AnyNewFunctions(by(m)), PUBLIC, "EXECUTE"), Grant::new(On::AnyNewTypes(by(m)), PUBLIC, "USAGE")];
    let everybodys: Vec<Grant> = parties.makers().into_iter().flat_map(everybodys).collect();
    let mut all = statements(&everybodys, true, schema, database, version)?;
    all.extend(statements(wanted.iter().filter(|g| !later(g)), false, schema, database, version)?);
    Ok(all)
}

/// The statements that grant these, or revoke them: as few as possible, since each writes a row of the catalogs anew.
///
/// # Errors
/// Refused when a name is none, or when it cannot be done by a statement.
pub fn statements<'g>(grants: impl IntoIterator<Item = &'g Grant>, revoke: bool, schema: &Ident, database: &Ident, version: u32) -> Result<Vec<String>, Fault> {
    let mut privileges: BTreeMap<(&On, &str), Vec<&str>> = BTreeMap::new();
    for grant in grants {
        privileges.entry((&grant.on, &grant.to)).or_default().push(known(grant)?);
    }
    let mut roles: BTreeMap<(&On, Vec<&str>), Vec<String>> = BTreeMap::new();
    for ((on, to), privileges) in privileges {
        roles.entry((on, privileges)).or_default().push(if to == PUBLIC { PUBLIC.to_owned() } else { Ident::new(to)?.to_string() });
    }
    roles.into_iter().map(|((on, privileges), to)| statement(on, &privileges, &to.join(", "), revoke, (schema, database), version)).collect()
}

fn statement(on: &On, privileges: &[&str], roles: &str, revoke: bool, (schema, database): (&Ident, &Ident), version: u32) -> Result<String, Fault> {
    let (verb, to) = if revoke { ("REVOKE", "FROM") } else { ("GRANT", "TO") };
    let privilege = privileges.join(", ");
    let now = |on: &str| format!("{verb} {privilege} ON {on} {to} {roles}");
    let later = |by: &str, scope: &str, on: &str| -> Result<String, Fault> {
        Ok(format!("ALTER DEFAULT PRIVILEGES FOR ROLE {}{scope} {verb} {privilege} ON {on} {to} {roles}", Ident::new(by)?))
    };
    let within = format!(" IN SCHEMA {schema}");
    Ok(match on {
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
        On::Role(group) => {
            let group = Ident::new(group)?;
            match (revoke, privileges.contains(&MEMBER)) {
                // With the membership goes the option.
                (true, true) => format!("REVOKE {group} FROM {roles}"),
                (true, false) => format!("REVOKE ADMIN OPTION FOR {group} FROM {roles}"),
                (false, _) => connect_group::join(&group, roles, version),
            }
        }
        On::Itself if privileges.contains(&MORE) => {
            return Err(Fault::refused(
                "postgres:REVOKE",
                "foreign",
                format!("the role {roles} has more than the right to connect to {database}, and all its members with it"),
            )
            .hint(
                "its members are the logins of all tenants of the database: revoke what was granted to it elsewhere, and give what it owns to another role",
            ));
        }
        On::Itself => format!("ALTER ROLE {roles} {}", privileges.iter().map(|p| format!("NO{p}")).collect::<Vec<_>>().join(" ")),
    })
}

/// Privileges come from the server when they are to be revoked: only words that are privileges get into a statement.
fn known(grant: &Grant) -> Result<&'static str, Fault> {
    const ALL: &[&str] =
        &["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER", "MAINTAIN", "USAGE", "CREATE", "EXECUTE", "CONNECT", "TEMPORARY", "SET"];
    const OF_ROLES: &[&str] = &[MEMBER, ADMIN, MORE, "LOGIN", "SUPERUSER", "CREATEROLE", "CREATEDB", "REPLICATION", "BYPASSRLS"];
    let words = if matches!(grant.on, On::Role(_) | On::Itself) { OF_ROLES } else { ALL };
    let unknown = || Fault::refused("postgres:GRANT", "unknown_privilege", format!("`{}`", grant.privilege));
    words.iter().copied().find(|p| *p == grant.privilege).ok_or_else(unknown)
}

/// The rules, as in the table above.
pub fn wanted(parties: &Parties) -> BTreeSet<Grant> {
    // Taking a number from a sequence changes it: so does `USAGE`.
    let (tables, sequences): (&[&str], &[&str]) =
        if parties.read_only { (&["SELECT"], &["SELECT"]) } else { (&["SELECT", "INSERT", "UPDATE", "DELETE"], &["USAGE", "SELECT"]) };
    let mut all = BTreeSet::new();
    let mut add = |on: On, to: &Ident, privileges: &[&str]| all.extend(privileges.iter().map(|p| Grant::new(on.clone(), to.name(), p)));
    if let Some(group) = &parties.connect {
        add(On::Database, group, &["CONNECT"]);
    }
    for login in parties.logins() {
        match &parties.connect {
            Some(group) => add(On::Role(group.name().to_owned()), login, &[MEMBER]),
            None => add(On::Database, login, &["CONNECT"]),
        }
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
    let others: Vec<&str> = parties.logins().into_iter().chain([&parties.owner]).map(Ident::name).collect();
    let group = parties.connect.as_ref().map_or("", Ident::name);
    let query = sqlx::query_as(FIND).bind(schema.name()).bind(TABLE).bind(makers).bind(others).bind(group).bind(connect_group::PREFIX);
    let rows: Vec<Row> = db.all("postgres:aclexplode", query).await?;
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
            "role" => On::Role(by),
            "itself" => On::Itself,
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

/// $1 schema, $2 ledger table, $3 makers of objects, $4 the tenant's roles, $5 the role by which they connect, $6 how the names of such roles
/// begin. What is in the schema is found by its dependencies: a search by the catalogs of relations and functions would go through all tenants'.
/// Up to PostgreSQL 15 members inherit by their own attribute, and may always become the role.
const FIND: &str = "
WITH n AS (SELECT oid, nspowner, nspacl FROM pg_namespace WHERE nspname = $1),
objects AS (
    SELECT CASE WHEN c.relname = $2 THEN 'ledger' WHEN c.relkind = 'S' THEN 'sequences' ELSE 'tables' END AS kind, 1000000 + row_number() OVER () AS id, c.relowner AS owner,
           coalesce(c.relacl, acldefault(CASE WHEN c.relkind = 'S' THEN 's' ELSE 'r' END::\"char\", c.relowner))
           || coalesce((SELECT array_agg(x.item) FROM pg_attribute t, unnest(t.attacl) AS x(item) WHERE t.attrelid = c.oid AND t.attacl IS NOT NULL), '{}') AS acl
      FROM n JOIN pg_depend w ON w.refclassid = 'pg_namespace'::regclass AND w.refobjid = n.oid AND w.classid = 'pg_class'::regclass AND w.objsubid = 0
      JOIN pg_class c ON c.oid = w.objid WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    UNION ALL
    SELECT 'functions', row_number() OVER (), p.proowner, coalesce(p.proacl, acldefault('f', p.proowner))
      FROM n JOIN pg_depend w ON w.refclassid = 'pg_namespace'::regclass AND w.refobjid = n.oid AND w.classid = 'pg_proc'::regclass JOIN pg_proc p ON p.oid = w.objid
),
rights AS (SELECT DISTINCT o.kind, o.id, a.grantee, a.privilege_type FROM objects o, aclexplode(o.acl) a WHERE a.grantee <> o.owner),
makers AS (SELECT oid, rolname FROM pg_roles WHERE rolname = ANY ($3)),
shared AS (SELECT oid, rolcanlogin, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls FROM pg_roles WHERE rolname = $5),
parties AS (SELECT oid, false AS shared FROM pg_roles WHERE rolname = ANY ($4) UNION ALL SELECT oid, true FROM shared),
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
     WHERE d.datname = current_database() AND a.grantee <> d.datdba AND (a.grantee = 0 OR a.grantee IN (SELECT oid FROM parties))
    UNION ALL
    SELECT 'role', g.rolname, p.oid, 'MEMBER', bool_or(coalesce((to_jsonb(m) ->> 'inherit_option')::boolean, true)) AND NOT bool_or(coalesce((to_jsonb(m) ->> 'set_option')::boolean, false))
      FROM parties p JOIN pg_auth_members m ON m.member = p.oid JOIN pg_roles g ON g.oid = m.roleid WHERE p.shared OR starts_with(g.rolname, $6) GROUP BY 2, 3
    UNION ALL
    SELECT 'role', g.rolname, p.oid, 'ADMIN OPTION', true
      FROM parties p JOIN pg_auth_members m ON m.member = p.oid AND m.admin_option JOIN pg_roles g ON g.oid = m.roleid WHERE p.shared OR starts_with(g.rolname, $6)
    UNION ALL
    SELECT 'itself', '', s.oid, a.word, true FROM shared s, unnest(ARRAY['LOGIN', 'SUPERUSER', 'CREATEROLE', 'CREATEDB', 'REPLICATION', 'BYPASSRLS'],
           ARRAY[s.rolcanlogin, s.rolsuper, s.rolcreaterole, s.rolcreatedb, s.rolreplication, s.rolbypassrls]) a(word, has) WHERE a.has
    UNION ALL
    SELECT 'itself', '', s.oid, 'MORE RIGHTS OR OBJECTS', true FROM shared s JOIN pg_shdepend x ON x.refclassid = 'pg_authid'::regclass AND x.refobjid = s.oid
     WHERE x.classid <> 'pg_database'::regclass OR x.deptype <> 'a' OR x.objid <> (SELECT oid FROM pg_database WHERE datname = current_database())
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
            connect: Some(role("labctl_connect_shared")),
        }
    }

    #[test]
    fn nothing_is_wanted_for_the_public_nor_for_tenants_on_the_ledger() {
        let all = wanted(&parties());
        assert!(all.iter().all(|g| g.to != PUBLIC && (g.on != On::Ledger || g.to == "admin") && g.on != On::PublicSchema));
        assert!(all.iter().filter(|g| g.to == "a_read").all(|g| matches!(g.privilege.as_str(), "SELECT" | "USAGE" | "MEMBER")));
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
        for on in [On::Schema, On::Itself, On::Role("g".to_owned())] {
            statements(&[Grant::new(on, "x", "USAGE; DROP SCHEMA s")], true, &schema, &schema, 150_000).unwrap_err();
        }
    }

    #[test]
    fn a_login_connects_by_the_role_where_the_database_is_shared_and_by_itself_where_it_is_not() {
        let of = |parties: &Parties| wanted(parties).iter().filter(|g| matches!(g.on, On::Database | On::Role(_))).map(ToString::to_string).collect::<Vec<_>>();
        let members = ["a_app", "a_migrate", "a_read"].map(|r| format!("MEMBER on the role labctl_connect_shared for {r}"));
        assert_eq!(of(&parties()), [vec!["CONNECT on the database for labctl_connect_shared".to_owned()], members.to_vec()].concat());
        assert_eq!(of(&Parties { connect: None, ..parties() }), ["a_app", "a_migrate", "a_read"].map(|r| format!("CONNECT on the database for {r}")));
    }

    #[test]
    fn what_is_granted_alike_is_granted_in_one_statement() {
        let (schema, database) = (Ident::new("s").unwrap(), Ident::new("shared").unwrap());
        let some = |version| {
            let all = wanted(&parties());
            statements(all.iter().filter(|g| matches!(g.on, On::Schema | On::Tables | On::Role(_))), false, &schema, &database, version).unwrap()
        };
        let members = r#"GRANT "labctl_connect_shared" TO "a_app", "a_migrate", "a_read""#;
        assert_eq!(
            some(150_000),
            [
                r#"GRANT CREATE, USAGE ON SCHEMA "s" TO "a_migrate""#,
                r#"GRANT USAGE ON SCHEMA "s" TO "a_app", "a_read", "admin""#,
                r#"GRANT DELETE, INSERT, SELECT, UPDATE ON ALL TABLES IN SCHEMA "s" TO "a_app""#,
                r#"GRANT SELECT ON ALL TABLES IN SCHEMA "s" TO "a_read""#,
                members,
            ]
        );
        assert_eq!(some(160_000).last().unwrap(), &format!("{members} WITH INHERIT TRUE, SET FALSE"));
    }
}
