//! Who must try is known beforehand: whichever of two logins is in force tries all that the first did, and what nobody is there to try is not run.

use std::collections::BTreeMap;

use labctl::kinds::rotation::{self, Duty};
use labctl::ops::verify::database::{self, Who, probes::PROBES};
use labctl::ops::verify::probe::{Findings, Verdict};
use labctl::ops::verify::subject::Subject;
use serde_json::json;

use super::{Town, not_refused, thing};
use crate::tenant_databases::server::run;
use crate::tenant_databases::tenant::{Resource, password, secret};

const PARTS: [&str; 3] = ["migrate", "app", "read"];

/// How often each probe was tried on whom.
fn tried(found: &Findings) -> BTreeMap<(&str, Option<&str>), usize> {
    let mut tried = BTreeMap::new();
    for f in &found.findings {
        *tried.entry((f.probe.as_str(), f.against.as_deref())).or_default() += 1;
    }
    tried
}

/// All logins of a tenant's as this state of a rotation has them.
async fn rotated(town: &Town, tenant: &Subject, first: Duty, second: Duty) -> Subject {
    let id = &tenant.tenant;
    let mut things = tenant.things.clone();
    for part in PARTS {
        let (arn, old, new) = (secret(id, part), password(id, part), format!("{}-new", password(id, part)));
        town.secrets.set(
            &arn,
            match second {
                Duty::ToCome => json!({"username": format!("{id}_{part}"), "password": old, "next_password": new}),
                _ => json!({"username": format!("{id}_{part}_b"), "password": new}),
            },
        );
        let at = things.iter().position(|t| t.address.kind == "postgres_role" && t.address.name == part).unwrap();
        let mut other = rotation::second(part, &things[at].spec, second);
        other["acts_as"] = json!(format!("{id}_{part}"));
        rotation::login(&mut things[at].spec, first);
        let mut made = Vec::new();
        for (name, spec) in [(part.to_owned(), things[at].spec.clone()), (format!("{part}_second"), other)] {
            let resource = Resource::new(id, "postgres_role", &name, spec);
            resource.converge(&town.cx).await.unwrap();
            made.push(thing(&resource));
        }
        things.push(made.pop().unwrap());
    }
    Subject::new(id.clone(), things)
}

#[tokio::test(flavor = "multi_thread")]
async fn at_every_moment_of_a_rotation_the_same_is_tried_as_before() {
    let town = Town::new("turns", 2).await;
    let (a, b) = (&town.tenants[0], &town.tenants[1]);
    let before = town.attack(a, &[b]).await;
    assert!(not_refused(&before).is_empty(), "{:#?}", not_refused(&before));
    let makers = PROBES.iter().filter(|p| p.who == Who::Maker).count();
    assert!(makers > 5 && before.findings.iter().filter(|f| f.by == "turns01_migrate").count() > makers);
    for (first, second, by) in
        [(Duty::InForce, Duty::ToCome, "turns01_app"), (Duty::OnTheWayOut, Duty::InForce, "turns01_app_b"), (Duty::Closed, Duty::InForce, "turns01_app_b")]
    {
        let now = rotated(&town, a, first, second).await;
        let found = town.attack(&now, &[b]).await;
        assert!(not_refused(&found).is_empty(), "{second:?}: {:#?}", not_refused(&found));
        assert_eq!(tried(&found), tried(&before), "{second:?}");
        assert_eq!(found.left_out, before.left_out, "{second:?}");
        assert!(found.findings.iter().any(|f| f.by == by), "{second:?}");
    }
    // Its neighbour goes for the login that is open, not for the one that refuses everybody.
    let closed = rotated(&town, a, Duty::Closed, Duty::InForce).await;
    let found = town.attack(b, &[&closed]).await;
    let guess = found.findings.iter().find(|f| f.probe == "log_in_as_neighbour").unwrap();
    assert!(guess.tried.ends_with(" as turns01_app_b") && guess.verdict == Verdict::Refused, "{guess:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_is_there_to_try_is_not_run() {
    let town = Town::new("absent", 2).await;
    let (a, b) = (&town.tenants[0], &town.tenants[1]);
    let before = town.attack(a, &[b]).await;
    assert_eq!(before.verdict(), Verdict::Refused);
    let mut off_record = a.clone();
    off_record.things.retain(|t| !(t.address.kind == "postgres_role" && t.address.name == "app"));
    let mut no_secret = a.clone();
    no_secret.things.iter_mut().find(|t| t.address.name == "app").unwrap().spec["secret_arn"] = json!("arn:secret:nowhere");
    let mut sup = town.server.superuser(&town.server.shared).await;
    run(&mut sup, "ALTER ROLE absent01_app NOLOGIN").await.unwrap();
    let shut_out = town.attack(a, &[b]).await;
    run(&mut sup, "ALTER ROLE absent01_app LOGIN").await.unwrap();
    let cases = [("off record", town.attack(&off_record, &[b]).await), ("no secret", town.attack(&no_secret, &[b]).await), ("shut out", shut_out)];
    for (case, found) in cases {
        assert_eq!(tried(&found), tried(&before), "{case}");
        let (apps, others): (Vec<_>, Vec<_>) = found.findings.iter().partition(|f| f.by == "absent01_app");
        // What looks like a refusal of entry is that of somebody who has no entry anywhere.
        let passed: Vec<_> = apps.iter().filter(|f| f.verdict != Verdict::NotRun).collect();
        assert!(passed.is_empty() && apps.iter().any(|f| f.probe == "log_in_as_neighbour"), "{case}: {passed:#?}");
        assert!(others.iter().all(|f| f.verdict == Verdict::Refused), "{case}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_cannot_be_told_from_its_record_proves_nothing() {
    let town = Town::new("torn", 2).await;
    let (a, b) = (&town.tenants[0], &town.tenants[1]);
    let before = town.attack(a, &[b]).await;
    let torn = |tenant: &Subject| {
        let mut things = tenant.things.clone();
        things.iter_mut().find(|t| t.address.kind == "postgres_schema").unwrap().spec["database"] = json!(7);
        Subject::new(tenant.tenant.clone(), things)
    };
    // The neighbour's: what is the place's own is tried as ever, and nothing that is the neighbour's.
    let found = town.attack(a, &[&torn(b)]).await;
    assert!(found.findings.iter().all(|f| f.verdict == if f.against.is_some() { Verdict::NotRun } else { Verdict::Refused }), "{:#?}", not_refused(&found));
    let ids = |found: &Findings| found.findings.iter().map(|f| f.probe.clone()).collect::<std::collections::BTreeSet<_>>();
    assert!(ids(&found).is_superset(&ids(&before)));
    // Its own: there is nobody to try.
    let torn = torn(a);
    assert!(database::look(&town.cx, &torn, None).await.is_none());
    let found = database::not_run(&torn, std::slice::from_ref(b), torn.unreadable.as_ref().unwrap());
    assert_eq!((ids(&found).len(), found.count(Verdict::NotRun)), (PROBES.len(), PROBES.len()));
    assert!(found.findings[0].got.contains("torn01/postgres_schema/main cannot be read"), "{:?}", found.findings[0]);
}
