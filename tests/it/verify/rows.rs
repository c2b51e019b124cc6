//! Tenants with rows in the same tables: nothing of each other's, and every probe shown to find the hole it is for.

use std::collections::{BTreeMap, BTreeSet};

use labctl::kinds::Cx;
use labctl::ops::verify::database::{self, probes::PROBES, rows::ROWS};
use labctl::ops::verify::probe::{Findings, Verdict};
use labctl::ops::verify::subject::Subject;
use labctl::tenantdb::migrations::Library;

use super::{not_refused, thing};
use crate::tenant_databases::server::{run, texts};
use crate::tenant_databases::shared::Town;

const S: &str = "system_rowholes";
const A: &str = "rowholes_a";
const B: &str = "rowholes_b";

/// By probe: what opens its hole, and what closes it. `{t}` is the table, `{r}` the table of roles, `{me}` the role that tries.
const OPEN: (&str, &str) = ("CREATE POLICY hole ON {t} USING (true)", "DROP POLICY hole ON {t}");
const OWNER: (&str, &str) = ("GRANT {s}_owner TO {me}", "REVOKE {s}_owner FROM {me}");
const CREATE: (&str, &str) = ("GRANT CREATE ON SCHEMA {s} TO {me}", "REVOKE CREATE ON SCHEMA {s} FROM {me}");
const BYPASS: (&str, &str) = ("ALTER ROLE {me} BYPASSRLS", "ALTER ROLE {me} NOBYPASSRLS");
const OFF: (&str, &str) = ("ALTER TABLE {t} DISABLE ROW LEVEL SECURITY", "ALTER TABLE {t} ENABLE ROW LEVEL SECURITY");

const HOLES: &[(&str, (&str, &str))] = &[
    ("rows_select", OPEN),
    ("rows_select_others", OPEN),
    ("rows_lock", OPEN),
    ("rows_insert", OPEN),
    ("rows_update", OPEN),
    ("rows_take", OPEN),
    ("rows_give", OPEN),
    ("rows_delete", OPEN),
    ("rows_truncate", ("GRANT TRUNCATE ON {t} TO {me}", "REVOKE TRUNCATE ON {t} FROM {me}")),
    ("rows_copy_out", OPEN),
    ("rows_copy_table_out", OPEN),
    ("rows_copy_in", OFF),
    ("rows_security_off", BYPASS),
    // The seeds' way.
    ("rows_setting", ("CREATE POLICY hole ON {t} USING (clinic = current_setting('app.tenant', true))", "DROP POLICY hole ON {t}")),
    ("rows_search_path", OPEN),
    ("rows_by_group", ("INSERT INTO {r} VALUES ('{s}_write', '{b}', NULL)", "DELETE FROM {r} WHERE role = '{s}_write'")),
    ("rows_by_owner", OWNER),
    ("rows_by_error", OPEN),
    ("rows_own_tenant", ("UPDATE {r} SET tenant = '{b}' WHERE role = '{me}'", "UPDATE {r} SET tenant = '{a}' WHERE role = '{me}'")),
    ("rows_read_roles", ("CREATE POLICY hole ON {r} FOR SELECT USING (true)", "DROP POLICY hole ON {r}")),
    ("rows_change_roles", ("GRANT UPDATE ON {r} TO {me}", "REVOKE UPDATE ON {r} FROM {me}")),
    (
        "rows_add_role",
        ("GRANT INSERT ON {r} TO {me}; CREATE POLICY hole ON {r} FOR INSERT WITH CHECK (true)", "REVOKE INSERT ON {r} FROM {me}; DROP POLICY hole ON {r}"),
    ),
    ("rows_statistics", OFF),
    (
        "rows_extended_statistics",
        (
            // Since CVE-2024-4317 only owners see them at all.
            "CREATE STATISTICS {s}.hole ON clinic, patient FROM {t}; ANALYZE {t}; ALTER TABLE {t} DISABLE ROW LEVEL SECURITY; GRANT {s}_owner TO {me}",
            "ALTER TABLE {t} ENABLE ROW LEVEL SECURITY; DROP STATISTICS {s}.hole; REVOKE {s}_owner FROM {me}",
        ),
    ),
    ("rows_read_ledger", ("GRANT SELECT ON {s}.labctl_migrations TO {me}", "REVOKE SELECT ON {s}.labctl_migrations FROM {me}")),
    ("rows_write_ledger", ("GRANT DELETE ON {s}.labctl_migrations TO {me}", "REVOKE DELETE ON {s}.labctl_migrations FROM {me}")),
    ("rows_disable", OWNER),
    ("rows_no_force", OWNER),
    ("rows_change_policy", OWNER),
    ("rows_drop_policy", OWNER),
    ("rows_add_policy", OWNER),
    ("rows_change_default", OWNER),
    ("rows_create_table", CREATE),
    ("rows_create_view", CREATE),
    ("rows_create_function", CREATE),
    ("rows_other_rights", ("GRANT REFERENCES ON {t} TO {me}", "REVOKE REFERENCES ON {t} FROM {me}")),
    ("rows_views", ("CREATE VIEW {s}.hole AS SELECT * FROM {t}; GRANT SELECT ON {s}.hole TO {me}", "DROP VIEW {s}.hole")),
    ("rows_definers", ("CREATE FUNCTION {s}.hole() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM {t}'", "DROP FUNCTION {s}.hole()")),
    ("rows_bypass", BYPASS),
];

async fn attack(cx: &Cx, a: &Subject, b: &Subject, only: Option<&str>) -> Findings {
    let mut attacker = database::look(cx, a, None).await.unwrap();
    match only {
        Some(id) => attacker.only(id),
        None => {
            let mut found = attacker.attack(None).await;
            found.add(attacker.attack(Some(b)).await);
            return found;
        }
    }
    attacker.attack(Some(b)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_of_shared_tables_get_nothing_of_each_other_and_every_probe_finds_the_hole_it_is_for() {
    let mut library = Library::default();
    let town = Town::new("rowholes", &mut library).await;
    let cx = town.server.cx(&town.secrets, library).await;
    let mut subjects = Vec::new();
    for tenant in [A, B] {
        let all = town.tenant(&cx, tenant).await;
        subjects.push(Subject::new(tenant, all.iter().map(thing).collect()));
    }
    let (a, b) = (&subjects[0], &subjects[1]);
    // Where there is nothing to aim at, nothing is proved, and that is said.
    let empty = attack(&cx, a, b, Some("rows_select")).await;
    assert!(empty.findings.is_empty() && empty.left_out.iter().any(|l| l.why == format!("`{B}` has no row in any shared table")), "{empty:?}");
    town.furnish(A).await;
    town.furnish(B).await;
    let mut sup = town.server.superuser(&town.server.shared).await;
    run(&mut sup, "ANALYZE system_rowholes.appointments, system_rowholes.patients").await.unwrap();

    for (one, other) in [(a, b), (b, a)] {
        let found = attack(&cx, one, other, None).await;
        assert!(not_refused(&found).is_empty(), "{:#?}", not_refused(&found));
        let tried: BTreeSet<&str> = found.findings.iter().map(|f| f.probe.as_str()).collect();
        let missing: Vec<&str> = ROWS.iter().map(|p| p.id).filter(|id| !tried.contains(id)).collect();
        assert!(missing.is_empty(), "{missing:?}: {:?}", found.left_out);
        assert!(tried.len() >= 100, "{} probes", tried.len());
        assert!(found.findings.iter().filter(|f| f.probe.starts_with("rows_")).all(|f| f.against.as_deref() == Some(&other.tenant)));
    }

    let known: BTreeMap<&str, (&str, &str)> = HOLES.iter().copied().collect();
    assert_eq!(known.keys().copied().collect::<BTreeSet<_>>(), ROWS.iter().map(|p| p.id).collect(), "every probe has a hole, and every hole a probe");
    let all: BTreeSet<&str> = PROBES.iter().chain(ROWS).map(|p| p.id).collect();
    assert_eq!(all.len(), PROBES.len() + ROWS.len(), "no two probes have one id");
    let rows = format!(
        "SELECT concat_ws(' ', clinic, id, patient, fee) FROM {S}.appointments UNION ALL SELECT concat_ws(' ', tenant_id, id, name) FROM {S}.patients ORDER BY 1"
    );
    let before = texts(&mut sup, &rows).await;
    let mut wrong = Vec::new();
    for probe in ROWS {
        let me = format!("{A}_app");
        let fill = |sql: &str| {
            let names = [
                ("{t}", format!("{S}.appointments")),
                ("{r}", format!("{S}.labctl_row_roles")),
                ("{s}", S.into()),
                ("{me}", me.clone()),
                ("{a}", A.into()),
                ("{b}", B.into()),
            ];
            names.iter().fold(sql.to_owned(), |sql, (name, value)| sql.replace(name, value))
        };
        let (open, close) = known[probe.id];
        run(&mut sup, &fill(open)).await.unwrap_or_else(|e| panic!("{}: {e}", probe.id));
        let found = attack(&cx, a, b, Some(probe.id)).await;
        match found.findings.iter().find(|f| f.by == me) {
            Some(f) if f.verdict == Verdict::Breach => {}
            other => wrong.push(format!("{}: {other:?} {:?}", probe.id, found.left_out)),
        }
        run(&mut sup, &fill(close)).await.unwrap_or_else(|e| panic!("{}: {e}", probe.id));
    }
    assert!(wrong.is_empty(), "these probes do not see what was opened for them:\n{}", wrong.join("\n"));
    assert_eq!(texts(&mut sup, &rows).await, before, "what went through was undone");
    let found = attack(&cx, a, b, None).await;
    assert!(not_refused(&found).is_empty(), "{:#?}", not_refused(&found));
}
