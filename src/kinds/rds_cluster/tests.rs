//! What the emulator cannot show: differences that are refused, a cluster on its way, deletion in its order.

use serde_json::{Value, json};

use super::*;
use crate::cloud::scripted::{Script, query_error};
use crate::cloud::tags::owned;
use crate::engine::fault::Class;
use crate::engine::kind::Address;

fn address() -> Address {
    Address::new("hospital-a", "rds_cluster", "main")
}

fn spec(over: &Value) -> Spec {
    let mut base = json!({
        "identifier": "mate-a", "engine_version": "16.4", "instance_class": "db.m6gd.large", "storage_gb": 400, "iops": 3000, "storage_type": "io1",
        "master_username": "mate", "subnet_group": "private", "security_groups": ["sg-1"], "parameter_group": "mate-a", "backup_days": 35,
    });
    base.as_object_mut().unwrap().extend(over.as_object().unwrap().clone());
    serde_json::from_value(base).unwrap()
}

/// A cluster just as the base spec wants it.
fn state(over: &Value) -> State {
    let mut base = json!({
        "arn": "arn:db", "resource_id": "cluster-1", "status": "available", "address": "mate-a.cluster", "reader": "mate-a.cluster-ro", "port": 5432,
        "engine": "postgres", "engine_version": "16.4", "instance_class": "db.m6gd.large", "storage_gb": 400, "storage_type": "io1", "iops": 3000,
        "master_username": "mate", "database": null, "subnet_group": "private", "security_groups": ["sg-1"], "parameter_group": "mate-a",
        "backup_days": 35, "backup_window": null, "maintenance_window": null, "encrypted": true, "kms_key_arn": "arn:aws-rds",
        "publicly_accessible": false, "deletion_protection": true, "copy_tags_to_snapshot": true, "minor_upgrades": true, "performance_insights": true,
        "performance_insights_days": 7, "log_exports": ["postgresql", "upgrade"], "master_secret_arn": "arn:secret", "master_secret_status": "active",
        "pending": [], "tags": {},
    });
    base.as_object_mut().unwrap().extend(over.as_object().unwrap().clone());
    serde_json::from_value(base).unwrap()
}

#[test]
fn every_difference_is_named_or_refused() {
    let rows = [
        (json!({}), json!({}), "same"),
        (json!({"engine_version": "16.6"}), json!({}), "engine_version: 16.4 → 16.6"),
        (json!({"engine_version": "17.1"}), json!({}), "forbidden: a change of major version"),
        (json!({"instance_class": "db.r6gd.large"}), json!({}), "instance_class: db.m6gd.large → db.r6gd.large"),
        (json!({"storage_gb": 800}), json!({}), "storage_gb: 400 → 800"),
        (json!({"storage_gb": 100}), json!({}), "forbidden: storage cannot shrink"),
        (json!({"iops": 6000}), json!({}), "iops: 3000 → 6000"),
        (json!({"kms_key_arn": "arn:mine"}), json!({}), "forbidden: the key of its storage cannot change"),
        (json!({"port": 5433}), json!({}), "forbidden: port cannot change"),
        (json!({}), json!({"encrypted": false}), "forbidden: its storage is not encrypted"),
        (json!({}), json!({"publicly_accessible": true}), "forbidden: it is publicly accessible"),
        (json!({}), json!({"engine": "aurora-postgresql"}), "forbidden: its engine"),
        (json!({}), json!({"deletion_protection": false}), "deletion_protection: false → true"),
        (json!({}), json!({"log_exports": []}), "log_exports: {} → {postgresql, upgrade}"),
        (json!({"backup_days": 7}), json!({"status": "modifying"}), "same"),
        (json!({"backup_days": 7}), json!({"status": "deleting"}), "same"),
    ];
    for (wanted, found, expected) in rows {
        let (address, spec, tags) = (address(), spec(&wanted), Tags::new());
        let said = match RdsCluster.diff(&Target { address: &address, spec: &spec, tags: &tags }, &state(&found)) {
            Diff::Same => "same".to_owned(),
            Diff::Update(changes) => changes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
            Diff::Replace(change) => format!("replace: {change}"),
            Diff::Forbidden(why) => format!("forbidden: {why}"),
        };
        assert!(said.starts_with(expected) && (expected != "same" || said == "same"), "{wanted} wanted, {found} found: {said}");
    }
}

#[test]
fn ready_follows_the_status() {
    let (address, spec, tags) = (address(), spec(&json!({})), Tags::new());
    let target = Target { address: &address, spec: &spec, tags: &tags };
    let rows = [
        (json!({}), Ready::Ready),
        (json!({"status": "creating"}), Ready::Waiting("creating".into())),
        (json!({"status": "upgrading"}), Ready::Waiting("upgrading".into())),
        (json!({"pending": ["storage_gb"]}), Ready::Waiting("storage_gb pending".into())),
        (json!({"master_secret_arn": null, "master_secret_status": null}), Ready::Waiting("no secret with the master password yet".into())),
    ];
    for (found, expected) in rows {
        assert_eq!(RdsCluster.ready(&target, &state(&found)), expected, "{found}");
    }
    for status in ["inaccessible-encryption-credentials", "migration-failed", "storage-full"] {
        assert!(matches!(RdsCluster.ready(&target, &state(&json!({"status": status}))), Ready::Broken(_)), "{status}");
    }
    let outputs = RdsCluster.outputs(&target, "mate-a", &state(&json!({})));
    assert_eq!((outputs["endpoint"].as_str(), outputs["reader_endpoint"].as_str()), ("mate-a.cluster:5432", "mate-a.cluster-ro:5432"));
}

fn described(status: &str, tags: &Tags) -> String {
    let tags: String = tags.iter().map(|(k, v)| format!("<Tag><Key>{k}</Key><Value>{v}</Value></Tag>")).collect();
    format!(
        "<DescribeDBClustersResponse><DescribeDBClustersResult><DBClusters><DBCluster><DBClusterIdentifier>mate-a</DBClusterIdentifier>\
         <DbClusterResourceId>cluster-1</DbClusterResourceId><DBClusterArn>arn:db</DBClusterArn><Status>{status}</Status><Engine>postgres</Engine>\
         <DeletionProtection>true</DeletionProtection><TagList>{tags}</TagList></DBCluster></DBClusters></DescribeDBClustersResult></DescribeDBClustersResponse>"
    )
}

#[tokio::test]
async fn create_asks_for_a_multi_az_cluster_without_instances() {
    let (address, spec) = (address(), spec(&json!({})));
    let tags = owned(&address, "r");
    let target = Target { address: &address, spec: &spec, tags: &tags };
    let script = Script::new()
        .then("CreateDBCluster", 200, "<CreateDBClusterResponse><CreateDBClusterResult/></CreateDBClusterResponse>")
        .then("CreateDBCluster", 400, query_error("DBClusterAlreadyExistsFault", "there"))
        .then("DescribeDBClusters", 200, described("creating", &tags));
    let cx = Cx::scripted(&script).await;
    RdsCluster.create(&cx, &target, "t").await.unwrap();
    for part in
        ["DBClusterInstanceClass=db.m6gd.large", "Engine=postgres", "StorageEncrypted=true", "PubliclyAccessible=false", "ManageMasterUserPassword=true"]
    {
        assert!(script.seen()[0].1.contains(part), "{part}");
    }
    assert_eq!(RdsCluster.create(&cx, &target, "t").await.unwrap_err().class, Class::Unknown);
    let Observed::Mine { state, .. } = RdsCluster.observe(&cx, &target, None).await.unwrap() else { panic!("adopted") };
    assert_eq!((RdsCluster.diff(&target, &state), RdsCluster.ready(&target, &state)), (Diff::Same, Ready::Waiting("creating".into())));
}

/// A snapshot of this cluster, and one of an earlier cluster of the same name.
const SNAPSHOTS: &str = "<DescribeDBClusterSnapshotsResponse><DescribeDBClusterSnapshotsResult><DBClusterSnapshots>\
    <DBClusterSnapshot><DBClusterSnapshotIdentifier>by-hand</DBClusterSnapshotIdentifier><DbClusterResourceId>cluster-1</DbClusterResourceId>\
    </DBClusterSnapshot><DBClusterSnapshot><DBClusterSnapshotIdentifier>former</DBClusterSnapshotIdentifier>\
    <DbClusterResourceId>cluster-0</DbClusterResourceId></DBClusterSnapshot>\
    </DBClusterSnapshots></DescribeDBClusterSnapshotsResult></DescribeDBClusterSnapshotsResponse>";

#[tokio::test]
async fn deletion_lifts_protection_and_leaves_neither_snapshot_nor_backup() {
    let (address, spec) = (address(), spec(&json!({})));
    let tags = owned(&address, "r");
    let script = Script::new()
        .then("DescribeDBClusters", 200, described("available", &tags))
        .then("ModifyDBCluster", 200, "<ModifyDBClusterResponse><ModifyDBClusterResult/></ModifyDBClusterResponse>")
        .then("DescribeDBClusterSnapshots", 200, SNAPSHOTS)
        .then("DeleteDBClusterSnapshot", 200, "<DeleteDBClusterSnapshotResponse><DeleteDBClusterSnapshotResult/></DeleteDBClusterSnapshotResponse>")
        .then("DeleteDBCluster", 200, "<DeleteDBClusterResponse><DeleteDBClusterResult/></DeleteDBClusterResponse>")
        .then("DescribeDBClusters", 404, query_error("DBClusterNotFoundFault", "gone"));
    let cx = Cx::scripted(&script).await;
    let target = Target { address: &address, spec: &spec, tags: &tags };
    RdsCluster.delete(&cx, &target, "mate-a").await.unwrap();
    RdsCluster.delete(&cx, &target, "mate-a").await.unwrap();
    assert!(script.seen()[3].1.contains("DBClusterSnapshotIdentifier=by-hand"), "{:?}", script.seen()[3]);
    let (_, body) = &script.seen()[4];
    assert!(body.contains("SkipFinalSnapshot=true") && body.contains("DeleteAutomatedBackups=true") && !body.contains("FinalDBSnapshot"), "{body}");
}
