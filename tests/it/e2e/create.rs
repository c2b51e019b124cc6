//! A create, again, and again as apply; two at once.

use labctl::engine::event::Silent;
use labctl::engine::run::Stop;
use labctl::ops::apply::Mend;
use labctl::ops::change::prepare;
use serde_json::Value;
use tokio::sync::watch;

use super::fixture::{SIX, blocking, reads, shared};

#[test]
fn a_tenant_is_created_once_and_applying_it_again_changes_nothing() {
    let world = shared();
    let spec = world.spec("once-lab", "labcloud", "standard");
    let shown = world.json(&["tenant", "create", &spec]);
    for field in ["id", "display_name", "stack", "tier", "isolation", "status", "revision", "provisioned_at", "operation", "resources"] {
        assert!(!shown[field].is_null(), "{field} is missing: {shown}");
    }
    assert_eq!(shown["status"], "active");
    let resources = shown["resources"].as_array().unwrap();
    assert!(resources.len() > 10 && resources.iter().all(|r| r["status"] == "ready" && ["address", "kind", "id"].iter().all(|f| r[f].is_string())), "{shown}");
    let same = world.ok(&["tenant", "create", &spec]);
    assert!(same.out.is_empty() && same.err.contains("no changes"), "{same}");
    let text = std::fs::read_to_string(world.dir().join("specs").join(&spec)).unwrap();
    std::fs::write(world.dir().join("specs/once-other.toml"), text.replace("Tenant once-lab", "Another")).unwrap();
    let again = world.run(&["tenant", "create", "once-other.toml", "-o", "json"]);
    let error = again.error();
    assert_eq!((again.code, again.out.as_str(), error["code"].as_str()), (1, "", Some("exists")), "{again}");
    assert!(error["hint"].as_str().unwrap().contains("labctl tenant apply once-lab"), "{error}");
    let operations = world.json(&["operation", "list", "--tenant", "once-lab"]);
    for what in [spec.as_str(), "once-lab"] {
        let applied = world.ok(&["tenant", "apply", what]);
        assert!(applied.out.is_empty() && applied.err.contains("no changes"), "{applied}");
    }
    assert_eq!(world.json(&["operation", "list", "--tenant", "once-lab"]), operations, "nothing was put on record");
    assert_eq!(world.json(&["tenant", "show", "once-lab"]), shown);
    assert_eq!(world.ok(&["tenant", "plan", "once-lab", "--check"]).code, 0);
}

/// The library itself applies the six specs once more, and counts what it asks of AWS.
#[tokio::test(flavor = "multi_thread")]
async fn applying_again_only_reads() {
    let world = shared();
    world.six().await;
    let site = world.site().await;
    for id in SIX {
        let prepared = prepare(&site, &Mend { tenant: id.to_owned() }, "a test").await.unwrap();
        assert!(prepared.is_empty(), "{id}");
        // Whoever renews it has the lease in hand, too: it is let go of all the same, and not only when the last hand opens.
        let alive = prepared.keep_alive();
        let held = async || site.registry.leases().await.unwrap().iter().any(|l| l.tenant == id);
        assert!(held().await, "{id}");
        prepared.carry_out(&Silent, watch::channel(Stop::No).1).await.unwrap();
        assert!(!held().await, "the lease of {id} is still held");
        drop(alive);
    }
    let calls = site.cx.cloud.calls().by_operation();
    let writes: Vec<_> = calls.keys().filter(|call| !reads(call)).collect();
    assert!(calls.len() > 15 && writes.is_empty(), "{writes:?} of {calls:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_creates_of_one_tenant_at_once_exactly_one_creates() {
    let spec = shared().spec("twice-lab", "labcloud", "trial");
    let create = || {
        let spec = spec.clone();
        blocking(move || shared().run(&["tenant", "create", &spec, "-o", "json"]))
    };
    let (a, b) = tokio::join!(create(), create());
    let mut runs = [a.unwrap(), b.unwrap()];
    runs.sort_by_key(|r| r.code);
    let [winner, loser] = &runs;
    assert_eq!(winner.code, 0, "{winner}\n{loser}");
    match loser.code {
        5 => assert_eq!(loser.error()["code"], "locked", "{loser}"),
        // It came when all was over.
        0 => assert!(loser.err.contains("no changes"), "{loser}"),
        _ => panic!("{loser}"),
    }
    let operations = shared().json(&["operation", "list", "--tenant", "twice-lab"]);
    assert_eq!(operations.as_array().map(Vec::len), Some(1), "{operations}");
}

#[tokio::test(flavor = "multi_thread")]
async fn different_tenants_are_created_at_once() {
    let create = |id: &'static str, stack: &'static str| {
        blocking(move || {
            let spec = shared().spec(id, stack, "trial");
            shared().json(&["tenant", "create", &spec])
        })
    };
    let (a, b, c) = tokio::join!(create("abreast-one", "labcloud"), create("abreast-two", "labcloud"), create("abreast-three", "mate"));
    for shown in [a.unwrap(), b.unwrap(), c.unwrap()] {
        assert_eq!(shown["status"], "active", "{shown}");
        assert!(shown["resources"].as_array().unwrap().iter().all(|r: &Value| r["status"] == "ready"), "{shown}");
    }
}
