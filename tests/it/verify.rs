//! Isolation that is proved: tenants against each other in one database, and every probe, of every area, shown to find the hole it is for.

#[path = "verify/holes.rs"]
mod holes;
#[path = "verify/identity.rs"]
mod identity;
#[path = "verify/logins.rs"]
mod logins;
#[path = "verify/rows.rs"]
mod rows;
#[path = "verify/storage.rs"]
mod storage;

use std::collections::{BTreeMap, BTreeSet};

use futures_util::stream::{self, StreamExt as _};
use labctl::kinds::Cx;
use labctl::ops::verify::database::{self, About, Probe, Registry, Who, probes::PROBES};
use labctl::ops::verify::probe::{Findings, Verdict};
use labctl::ops::verify::subject::{Subject, Thing};
use labctl::tenantdb::migrations::{Library, Step};

use crate::tenant_databases::server::{ENDPOINT, Secrets, Server, run, texts};
use crate::tenant_databases::tenant::{Resource, everything, shipped};
use holes::{HOLES, Open};

/// The first large object's number; each tenant has one.
const LARGE: usize = 70_000;

/// Probes of the second line, which make sense only where a stack asks for one. Their holes are opened in a test of their own.
const SECOND_LINE: [&str; 2] = ["guarded_rows", "unguarded_table"];

/// Tenants with credentials of their own in one database, and one more database.
struct Town {
    server: Server,
    secrets: Secrets,
    cx: Cx,
    tenants: Vec<Subject>,
    registry: Registry,
}

impl Town {
    async fn new(name: &str, count: usize) -> Self {
        Self::with(name, count, false).await
    }

    /// The same, with row security as a second line.
    async fn with(name: &str, count: usize, row_security: bool) -> Self {
        let server = Server::new(name).await;
        let apart = format!("{name}_apart");
        let mut sup = server.superuser(&server.shared).await;
        run(&mut sup, "REVOKE ALL ON SCHEMA public FROM PUBLIC").await.unwrap();
        run(&mut sup, &format!("CREATE DATABASE {apart} TEMPLATE template0 STRATEGY wal_log")).await.unwrap();
        run(&mut sup, &format!("REVOKE ALL ON DATABASE {apart} FROM PUBLIC")).await.unwrap();
        let (secrets, mut library) = (Secrets::default(), Library::default());
        let steps = shipped(&mut library, "labcloud");
        let cx = server.cx(&secrets, library).await;
        let ids: Vec<String> = (1..=count).map(|n| format!("{name}{n:02}")).collect();
        let made: Vec<Vec<Resource>> =
            stream::iter(&ids).map(|id| Self::tenant(&cx, &secrets, id, &server.shared, &steps, row_security)).buffered(4).collect().await;
        let tenants = ids.iter().zip(&made).map(|(id, resources)| Subject::new(id.clone(), resources.iter().map(thing).collect())).collect();
        let registry = Registry { endpoint: ENDPOINT.into(), database: apart };
        let town = Self { server, secrets, cx, tenants, registry };
        town.furnish().await;
        town
    }

    async fn tenant(cx: &Cx, secrets: &Secrets, id: &str, database: &str, steps: &[Step], row_security: bool) -> Vec<Resource> {
        let mut resources = everything(secrets, id, database, steps);
        if row_security {
            resources[4].spec["row_security"] = row_security.into();
        }
        for resource in &resources {
            resource.converge(cx).await.unwrap();
        }
        resources
    }

    /// Rows with statistics and a large object for each, so that there is something to aim at.
    async fn furnish(&self) {
        let mut sup = self.server.superuser(&self.server.shared).await;
        for (n, tenant) in self.tenants.iter().enumerate() {
            let (id, large) = (&tenant.tenant, LARGE + n);
            let rows = format!("INSERT INTO {id}_schema.lab_results (patient_id, test_code) SELECT 'p' || n, 't' FROM generate_series(1, 50) n");
            run(&mut sup, &format!("{rows}; ANALYZE {id}_schema.lab_results; SELECT lo_create({large}); ALTER LARGE OBJECT {large} OWNER TO {id}_app"))
                .await
                .unwrap();
        }
    }

    /// One tenant tries everything on the place and on each of these.
    async fn attack(&self, a: &Subject, neighbours: &[&Subject]) -> Findings {
        let mut attacker = database::look(&self.cx, a, Some(&self.registry)).await.unwrap();
        let mut found = attacker.attack(None).await;
        for b in neighbours {
            found.add(attacker.attack(Some(b)).await);
        }
        found
    }

    /// What B's rows, privileges, roles and settings are, in one text.
    async fn inventory(&self) -> Vec<String> {
        let mut sup = self.server.superuser(&self.server.shared).await;
        texts(
            &mut sup,
            "SELECT concat_ws(' ', nspname, relname, relkind, relowner::regrole, relrowsecurity, \
                    (SELECT array_agg(x::text ORDER BY x::text) FROM unnest(coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::\"char\", relowner))) x)) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname ~ '_schema$' \
             UNION ALL SELECT concat_ws(' ', nspname, nspowner::regrole, (SELECT array_agg(x::text ORDER BY x::text) FROM unnest(nspacl) x)) FROM pg_namespace WHERE nspname !~ '^pg_t' \
             UNION ALL SELECT concat_ws(' ', rolname, rolsuper, rolcanlogin, rolconnlimit, rolconfig) FROM pg_roles WHERE rolname ~ '^holes' \
             UNION ALL SELECT concat_ws(' ', oid, lomowner::regrole, coalesce(lomacl, acldefault('L', lomowner))) FROM pg_largeobject_metadata \
             UNION ALL SELECT concat_ws(' ', roleid::regrole, member::regrole) FROM pg_auth_members WHERE member::regrole::text ~ '^holes' \
             UNION ALL SELECT (SELECT count(*) FROM holes02_schema.lab_results)::text ORDER BY 1",
        )
        .await
    }
}

fn thing(resource: &Resource) -> Thing {
    Thing { address: resource.address.clone(), id: None, spec: resource.spec.clone(), outputs: BTreeMap::new() }
}

/// What was not refused: how often, and one of them.
fn not_refused(found: &Findings) -> BTreeMap<String, (usize, String)> {
    let mut sorts = BTreeMap::<String, (usize, String)>::new();
    for f in found.findings.iter().filter(|f| f.verdict != Verdict::Refused) {
        let sort = sorts.entry(format!("{} {}", f.verdict, f.probe)).or_default();
        *sort = (sort.0 + 1, format!("{} against {:?}: {} → {}", f.by, f.against, f.tried, f.got));
    }
    sorts
}

/// Probes that need another database to be tried, and one that needs what the server has not.
fn left_out(found: &Findings) -> BTreeSet<&str> {
    found.left_out.iter().map(|l| l.probe.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_get_nothing_of_each_other() {
    // A pair takes a quarter of a second: twenty tenants are the long version.
    let tenants = if std::env::var_os("LABCTL_TEST_LONG").is_some() { 20 } else { 6 };
    let town = Town::new("twenty", tenants).await;
    let town = &town;
    let attacks = town.tenants.iter().map(|a| async move {
        let others: Vec<&Subject> = town.tenants.iter().filter(|b| b.tenant != a.tenant).collect();
        town.attack(a, &others).await
    });
    let all: Vec<Findings> = stream::iter(attacks).buffer_unordered(4).collect().await;
    let mut found = Findings::default();
    all.into_iter().for_each(|one| found.add(one));
    assert!(not_refused(&found).is_empty(), "{:#?}", not_refused(&found));
    assert_eq!(
        left_out(&found),
        ["create_server", "log_in_to_neighbour", "enter_database", "own_database", "close_database"].into_iter().chain(SECOND_LINE).collect()
    );
    // Every probe on every ordered pair, by each role that is to try it; those about the place once per tenant.
    let tries = |p: &Probe| if p.who == Who::All { 3 } else { 1 };
    let sum = |near: bool| {
        PROBES
            .iter()
            .filter(|p| (p.about != About::Place) == near && p.about != About::Apart && p.id != "create_server" && !SECOND_LINE.contains(&p.id))
            .map(tries)
            .sum::<usize>()
    };
    assert_eq!(found.findings.len(), tenants * (tenants - 1) * sum(true) + tenants * sum(false));
}

/// A neighbour of whom labctl knows that it is in the other database.
fn elsewhere(b: &Subject, database: &str) -> Subject {
    let mut b = b.clone();
    if let Some(place) = &mut b.place {
        database.clone_into(&mut place.database);
    }
    b
}

#[tokio::test(flavor = "multi_thread")]
async fn every_probe_finds_the_hole_it_is_for_and_harms_nobody() {
    let town = Town::new("holes", 2).await;
    let (a, b) = (&town.tenants[0], &town.tenants[1]);
    let apart = elsewhere(b, &town.registry.database);
    let known: BTreeMap<&str, &Open> = HOLES.iter().map(|(id, open)| (*id, open)).collect();
    assert_eq!(
        known.keys().copied().chain(SECOND_LINE).collect::<BTreeSet<_>>(),
        PROBES.iter().map(|p| p.id).collect(),
        "every probe has a hole, and every hole a probe"
    );
    let before = town.inventory().await;
    let mut sup = town.server.superuser(&town.server.shared).await;
    let mut wrong = Vec::new();
    for probe in PROBES.iter().filter(|p| !SECOND_LINE.contains(&p.id)) {
        let me = if probe.who == Who::Maker { "holes01_migrate" } else { "holes01_app" };
        let names = [("{me}", me), ("{a}", "holes01"), ("{b}", "holes02"), ("{db}", &town.server.shared), ("{admin}", &town.server.admin)];
        let names = names.into_iter().chain([("{lo}", "70001"), ("{apart}", town.registry.database.as_str())]);
        let fill = |sql: String| names.clone().fold(sql, |sql, (name, value)| sql.replace(name, value));
        let (open, close) = known[probe.id].sql();
        run(&mut sup, &fill(open)).await.unwrap_or_else(|e| panic!("{}: {e}", probe.id));
        let target = match probe.about {
            About::Place => None,
            About::Apart => Some(&apart),
            _ => Some(b),
        };
        let mut attacker = database::look(&town.cx, a, Some(&town.registry)).await.unwrap();
        attacker.only(probe.id);
        let found = attacker.attack(target).await;
        match found.findings.iter().find(|f| f.by == me) {
            Some(f) if f.verdict == Verdict::Breach => {}
            other => wrong.push(format!("{}: {other:?} {:?}", probe.id, found.left_out)),
        }
        run(&mut sup, &fill(close)).await.unwrap_or_else(|e| panic!("{}: {e}", probe.id));
    }
    assert!(wrong.is_empty(), "these probes do not see what was opened for them:\n{}", wrong.join("\n"));
    let after = town.inventory().await;
    let changed: Vec<&String> = after.iter().filter(|line| !before.contains(line)).chain(before.iter().filter(|line| !after.contains(line))).collect();
    assert!(changed.is_empty(), "what went through was undone, and what was opened is closed:\n{changed:#?}");
    let found = town.attack(a, &[b]).await;
    assert!(not_refused(&found).is_empty(), "{:#?}", not_refused(&found));
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_the_second_line_a_grant_shows_no_row_and_without_it_the_probes_see_them() {
    let town = Town::with("behind", 2, true).await;
    let (a, b) = (&town.tenants[0], &town.tenants[1]);
    let found = town.attack(a, &[b]).await;
    assert!(not_refused(&found).is_empty(), "{:#?}", not_refused(&found));
    assert!(SECOND_LINE.iter().all(|id| !left_out(&found).contains(id)), "{:?}", left_out(&found));
    let mut sup = town.server.superuser(&town.server.shared).await;
    let verdicts = async || {
        let found = town.attack(a, &[b]).await;
        SECOND_LINE.map(|id| found.findings.iter().find(|f| f.probe == id && f.by == "behind01_app").map(|f| f.verdict))
    };
    run(&mut sup, "GRANT USAGE ON SCHEMA behind02_schema TO behind01_app; GRANT SELECT ON ALL TABLES IN SCHEMA behind02_schema TO behind01_app").await.unwrap();
    assert_eq!(verdicts().await, [Some(Verdict::Refused); 2], "what was granted by mistake shows nothing");
    let breach = Some(Verdict::Breach);
    for (open, close, verdict) in [
        ("ALTER POLICY labctl_own ON behind02_schema.lab_results TO PUBLIC", "ALTER POLICY labctl_own ON behind02_schema.lab_results TO behind02_app", breach),
        ("ALTER TABLE behind02_schema.lab_results DISABLE ROW LEVEL SECURITY", "ALTER TABLE behind02_schema.lab_results ENABLE ROW LEVEL SECURITY", breach),
        ("GRANT behind02_app TO behind01_app", "REVOKE behind02_app FROM behind01_app", breach),
    ] {
        run(&mut sup, open).await.unwrap();
        assert_eq!(verdicts().await, [verdict; 2], "{open}");
        run(&mut sup, close).await.unwrap();
    }
    run(&mut sup, "CREATE VIEW behind02_schema.open AS SELECT * FROM behind02_schema.lab_results").await.unwrap();
    assert_eq!(verdicts().await, [Some(Verdict::Refused), breach]);
    run(&mut sup, "DROP VIEW behind02_schema.open; DROP POLICY labctl_own ON behind02_schema.lab_results").await.unwrap();
    assert_eq!(verdicts().await, [Some(Verdict::Refused); 2], "without any policy nobody sees a row");
}
