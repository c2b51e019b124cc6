//! Waivers: numbered for each tenant, placed once and removed once, all of it on record.

use chrono::{TimeDelta, Utc};

use super::*;

#[tokio::test]
async fn a_waiver_is_placed_once_and_removed_once_and_both_are_on_record() {
    let world = world().await;
    let registry = &world.registry;
    register(registry, "waived").await;
    let (soon, late) = (Utc::now() + TimeDelta::days(2), Utc::now() + TimeDelta::days(3));
    let (group, field) = ("log_group/web", Some("retention_days"));
    let place = async |field, until, reason| {
        let (waiver, new) = registry.add_waiver(&me(), "waived", (group, field), until, reason).await.unwrap();
        (waiver.number, new)
    };
    assert_eq!(place(field, soon, "x").await, (1, true));
    assert_eq!(place(field, soon, "x").await, (1, false), "the same is one waiver");
    assert_eq!(place(None, soon, "x").await, (2, true));
    assert_eq!(place(None, soon, "x").await, (2, false), "all of a resource is the same, too");
    assert_eq!(place(field, late, "x").await, (3, true));
    assert_eq!(place(field, soon, "y").await, (4, true));
    assert_eq!(registry.add_waiver(&me(), "nobody", (group, None), soon, "x").await.unwrap_err().code(), "not_found");

    let (removed, now) = registry.remove_waiver(&me(), "waived", 1).await.unwrap();
    assert!(now && !removed.in_force(Utc::now()) && removed.removed_by.is_some());
    assert_eq!(registry.remove_waiver(&me(), "waived", 1).await.unwrap(), (removed, false), "twice is once");
    assert_eq!(registry.remove_waiver(&me(), "waived", 5).await.unwrap_err().code(), "not_found");
    assert_eq!(place(field, soon, "x").await, (5, true), "what was removed is not in force");
    let all = registry.waivers("waived").await.unwrap();
    assert_eq!(
        all.iter().map(|w| (w.number, w.field.as_deref(), w.removed_at.is_none())).collect::<Vec<_>>(),
        [(1, field, false), (2, None, true), (3, field, true), (4, field, true), (5, field, true)]
    );

    let rows = registry.audit_rows(Some("waived"), 20).await.unwrap();
    let mine: Vec<_> = rows.iter().filter(|r| r.action.starts_with("waiver.")).map(|r| (r.action.as_str(), &r.detail)).collect();
    assert_eq!(mine.len(), 6, "{mine:?}");
    assert!(mine.contains(&("waiver.remove", &json!({"waiver": 1, "resource": group, "reason": "x"}))), "{mine:?}");
    let placed = json!({"waiver": 2, "resource": group, "field": null, "until": all[1].until, "reason": "x"});
    assert!(mine.contains(&("waiver.add", &placed)), "{mine:?}");
}
