//! What the emulator cannot show: an instance on its way, half-applied changes, refusals, lost replies, deletion in its order.

use serde_json::{Value, json};

use super::*;
use crate::cloud::scripted::{Script, query_error};
use crate::cloud::tags::owned;
use crate::engine::fault::{Class, Left};
use crate::engine::kind::Address;

fn address() -> Address {
    Address::new("hospital-a", "rds_instance", "main")
}

fn spec(over: &Value) -> Spec {
    let mut base = json!({
        "identifier": "mate-a", "engine_version": "16", "instance_class": "db.t4g.medium", "storage_gb": 100, "master_username": "mate",
        "subnet_group": "private", "security_groups": ["sg-1"], "parameter_group": "mate-a", "backup_days": 14, "kms_key_arn": "arn:key",
    });
    base.as_object_mut().unwrap().extend(over.as_object().unwrap().clone());
    serde_json::from_value(base).unwrap()
}

/// An instance just as the base spec wants it.
fn state(over: &Value) -> State {
    let mut base = json!({
        "arn": "arn:db", "resource_id": "db-1", "status": "available", "address": "mate-a.rds", "port": 5432, "engine": "postgres",
        "engine_version": "16.4", "instance_class": "db.t4g.medium", "storage_gb": 100, "max_storage_gb": null, "storage_type": "gp3", "iops": 3000,
        "master_username": "mate", "database": null, "subnet_group": "private", "security_groups": ["sg-1"], "parameter_group": "mate-a",
        "backup_days": 14, "backup_window": "01:00-01:30", "maintenance_window": "mon:02:00-mon:02:30", "multi_az": false, "encrypted": true,
        "kms_key_arn": "arn:key", "publicly_accessible": false, "deletion_protection": true, "copy_tags_to_snapshot": true, "minor_upgrades": true,
        "performance_insights": true, "performance_insights_days": 7, "log_exports": ["postgresql", "upgrade"], "iam_authentication": false,
        "master_secret_arn": "arn:secret", "master_secret_status": "active", "pending": [], "tags": {},
    });
    base.as_object_mut().unwrap().extend(over.as_object().unwrap().clone());
    serde_json::from_value(base).unwrap()
}

fn say(diff: Diff) -> String {
    match diff {
        Diff::Same => "same".to_owned(),
        Diff::Update(changes) => changes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        Diff::Replace(change) => format!("replace: {change}"),
        Diff::Forbidden(why) => format!("forbidden: {why}"),
    }
}

#[test]
fn every_difference_is_named_or_refused() {
    let rows = [
        (json!({}), json!({}), "same"),
        (json!({"engine_version": "16.2"}), json!({}), "same"),
        (json!({"engine_version": "16.9"}), json!({}), "engine_version: 16.4 → 16.9"),
        (json!({"engine_version": "17"}), json!({}), "forbidden: a change of major version (16.4 → 17)"),
        (json!({"instance_class": "db.r6g.large"}), json!({}), "instance_class: db.t4g.medium → db.r6g.large"),
        (json!({"storage_gb": 200}), json!({}), "storage_gb: 100 → 200"),
        (json!({"storage_gb": 50}), json!({}), "forbidden: storage cannot shrink (100 → 50 GiB)"),
        (json!({"storage_gb": 50, "max_storage_gb": 200}), json!({"max_storage_gb": 200}), "same"),
        (json!({"max_storage_gb": 200}), json!({}), "max_storage_gb: None → 200"),
        (json!({}), json!({"encrypted": false}), "forbidden: its storage is not encrypted"),
        (json!({"kms_key_arn": "arn:other"}), json!({}), "forbidden: the key of its storage cannot change"),
        (json!({}), json!({"engine": "aurora-postgresql"}), "forbidden: its engine is aurora-postgresql"),
        (json!({"master_username": "root"}), json!({}), "forbidden: master_username cannot change"),
        (json!({"database": "x"}), json!({}), "forbidden: database cannot change"),
        (json!({"subnet_group": "other"}), json!({}), "forbidden: subnet_group cannot change"),
        (json!({}), json!({"publicly_accessible": true}), "publicly_accessible: true → false"),
        (json!({}), json!({"deletion_protection": false}), "deletion_protection: false → true"),
        (json!({}), json!({"copy_tags_to_snapshot": false}), "copy_tags_to_snapshot: false → true"),
        (json!({}), json!({"minor_upgrades": false}), "minor_upgrades: false → true"),
        (json!({}), json!({"performance_insights": false}), "performance_insights: false → true"),
        (json!({"performance_insights_days": 31}), json!({}), "performance_insights_days: 7 → 31"),
        (json!({}), json!({"log_exports": ["upgrade"]}), "log_exports: {upgrade} → {postgresql, upgrade}"),
        (json!({}), json!({"iam_authentication": true}), "iam_authentication: true → false"),
        (json!({}), json!({"master_secret_arn": null}), "master_secret: (none) → managed by RDS"),
        (json!({"multi_az": true, "backup_days": 35}), json!({}), "backup_days: 14 → 35; multi_az: false → true"),
        (json!({"maintenance_window": "Mon:02:00-Mon:02:30"}), json!({}), "same"),
        (json!({"instance_class": "db.r6g.large"}), json!({"status": "modifying"}), "same"),
        (json!({"storage_gb": 50}), json!({"status": "modifying"}), "forbidden: storage cannot shrink"),
        (json!({}), json!({"status": "creating", "encrypted": false, "log_exports": []}), "same"),
        (json!({"backup_days": 1}), json!({"status": "deleting"}), "same"),
        (json!({"backup_days": 1}), json!({"status": "storage-optimization"}), "backup_days: 14 → 1"),
    ];
    for (wanted, found, expected) in rows {
        let (address, spec, tags) = (address(), spec(&wanted), Tags::new());
        let said = say(RdsInstance.diff(&Target { address: &address, spec: &spec, tags: &tags }, &state(&found)));
        assert!(said.starts_with(expected) && (expected != "same" || said == "same"), "{wanted} wanted, {found} found: {said}");
    }
}

#[test]
fn ready_follows_the_status_and_waits_for_what_is_pending() {
    let rows = [
        (json!({}), Ready::Ready),
        (json!({"status": "storage-optimization"}), Ready::Ready),
        (json!({"status": "creating"}), Ready::Waiting("creating".into())),
        (json!({"status": "backing-up"}), Ready::Waiting("backing-up".into())),
        (json!({"status": "deleting"}), Ready::Waiting("deleting".into())),
        (json!({"pending": ["instance_class", "storage_gb"]}), Ready::Waiting("instance_class, storage_gb pending".into())),
        (json!({"address": null}), Ready::Waiting("no endpoint yet".into())),
        (json!({"master_secret_status": "creating"}), Ready::Waiting("the secret with the master password is being created".into())),
        (json!({"master_secret_status": "rotating"}), Ready::Ready),
    ];
    let (address, spec, tags) = (address(), spec(&json!({})), Tags::new());
    let target = Target { address: &address, spec: &spec, tags: &tags };
    for (found, expected) in rows {
        assert_eq!(RdsInstance.ready(&target, &state(&found)), expected, "{found}");
    }
    for status in ["failed", "incompatible-network", "storage-full", "stopped", "inaccessible-encryption-credentials"] {
        assert!(matches!(RdsInstance.ready(&target, &state(&json!({"status": status}))), Ready::Broken(_)), "{status}");
    }
    assert!(matches!(RdsInstance.ready(&target, &state(&json!({"master_secret_status": "impaired"}))), Ready::Broken(_)));
}

#[test]
fn backups_cannot_be_switched_off() {
    let error = serde_json::from_value::<Spec>(json!({"identifier": "x", "backup_days": 0})).unwrap_err().to_string();
    assert!(error.contains("1 to 35 days"), "{error}");
}

/// An answer to DescribeDBInstances with ownership tags.
fn described(status: &str, more: &str, tags: &Tags) -> String {
    let tags: String = tags.iter().map(|(k, v)| format!("<Tag><Key>{k}</Key><Value>{v}</Value></Tag>")).collect();
    format!(
        "<DescribeDBInstancesResponse><DescribeDBInstancesResult><DBInstances><DBInstance>\
         <DBInstanceIdentifier>mate-a</DBInstanceIdentifier><DbiResourceId>db-1</DbiResourceId><DBInstanceArn>arn:db</DBInstanceArn>\
         <DBInstanceStatus>{status}</DBInstanceStatus><Engine>postgres</Engine><EngineVersion>16.4</EngineVersion>\
         <DBInstanceClass>db.t4g.medium</DBInstanceClass><AllocatedStorage>100</AllocatedStorage><StorageType>gp3</StorageType>\
         <MasterUsername>mate</MasterUsername><StorageEncrypted>true</StorageEncrypted><KmsKeyId>arn:key</KmsKeyId>\
         <DBSubnetGroup><DBSubnetGroupName>private</DBSubnetGroupName></DBSubnetGroup>\
         <VpcSecurityGroups><VpcSecurityGroupMembership><VpcSecurityGroupId>sg-1</VpcSecurityGroupId><Status>active</Status></VpcSecurityGroupMembership>\
         <VpcSecurityGroupMembership><VpcSecurityGroupId>sg-0</VpcSecurityGroupId><Status>removing</Status></VpcSecurityGroupMembership></VpcSecurityGroups>\
         <DBParameterGroups><DBParameterGroup><DBParameterGroupName>mate-a</DBParameterGroupName></DBParameterGroup></DBParameterGroups>\
         <BackupRetentionPeriod>14</BackupRetentionPeriod><DeletionProtection>true</DeletionProtection><CopyTagsToSnapshot>true</CopyTagsToSnapshot>\
         <AutoMinorVersionUpgrade>true</AutoMinorVersionUpgrade><PerformanceInsightsEnabled>true</PerformanceInsightsEnabled>\
         <PerformanceInsightsRetentionPeriod>7</PerformanceInsightsRetentionPeriod><PubliclyAccessible>false</PubliclyAccessible>{more}\
         <TagList>{tags}</TagList></DBInstance></DBInstances></DescribeDBInstancesResult></DescribeDBInstancesResponse>"
    )
}

const SETTLED: &str = "<Endpoint><Address>mate-a.rds</Address><Port>5432</Port></Endpoint>\
    <EnabledCloudwatchLogsExports><member>postgresql</member></EnabledCloudwatchLogsExports>\
    <MasterUserSecret><SecretArn>arn:secret</SecretArn><SecretStatus>active</SecretStatus></MasterUserSecret>\
    <PendingModifiedValues><PendingCloudwatchLogsExports><LogTypesToEnable><member>upgrade</member></LogTypesToEnable></PendingCloudwatchLogsExports></PendingModifiedValues>";

#[tokio::test]
async fn a_lost_reply_is_found_again_and_waited_for_until_available() {
    let (address, spec) = (address(), spec(&json!({})));
    let tags = owned(&address, "r");
    let target = Target { address: &address, spec: &spec, tags: &tags };
    let script = Script::new().then_silence("CreateDBInstance").then("DescribeDBInstances", 200, described("creating", "", &tags)).then(
        "DescribeDBInstances",
        200,
        described("available", SETTLED, &tags),
    );
    let cx = Cx::scripted(&script).await;

    let lost = RdsInstance.create(&cx, &target, "t").await.unwrap_err();
    assert_eq!(lost.class, Class::Unknown);
    assert!(matches!(lost.left, Left::Unknown(_)));
    let Observed::Mine { state, .. } = RdsInstance.observe(&cx, &target, None).await.unwrap() else { panic!("adopted") };
    assert_eq!((RdsInstance.diff(&target, &state), RdsInstance.ready(&target, &state)), (Diff::Same, Ready::Waiting("creating".into())));
    let Observed::Mine { id, state } = RdsInstance.observe(&cx, &target, None).await.unwrap() else { panic!("adopted") };
    assert_eq!(RdsInstance.diff(&target, &state), Diff::Same, "a pending change counts as reached, a group on its way out as gone");
    assert_eq!(RdsInstance.ready(&target, &state), Ready::Waiting("log_exports pending".into()));
    assert_eq!(RdsInstance.outputs(&target, &id, &state)["endpoint"], "mate-a.rds:5432");
}

#[tokio::test]
async fn create_asks_for_what_patients_records_need() {
    let (address, spec) = (address(), spec(&json!({})));
    let tags = owned(&address, "r");
    let script = Script::new().then("CreateDBInstance", 200, "<CreateDBInstanceResponse><CreateDBInstanceResult/></CreateDBInstanceResponse>");
    let id = RdsInstance.create(&Cx::scripted(&script).await, &Target { address: &address, spec: &spec, tags: &tags }, "t").await.unwrap();
    assert_eq!(id, "mate-a");
    let (_, body) = &script.seen()[0];
    for part in [
        "StorageEncrypted=true",
        "PubliclyAccessible=false",
        "ManageMasterUserPassword=true",
        "MasterUserSecretKmsKeyId=arn%3Akey",
        "DeletionProtection=true",
        "CopyTagsToSnapshot=true",
        "AutoMinorVersionUpgrade=true",
        "BackupRetentionPeriod=14",
        "EnablePerformanceInsights=true",
        "DBParameterGroupName=mate-a",
        "labctl%3Aaddress",
    ] {
        assert!(body.contains(part), "{part} is missing in {body}");
    }
    assert!(!body.contains("&MasterUserPassword="), "no password of ours");
}

#[tokio::test]
async fn throttled_is_not_now_and_existing_is_for_the_next_look() {
    let (address, spec, tags) = (address(), spec(&json!({})), Tags::new());
    let target = Target { address: &address, spec: &spec, tags: &tags };
    for (code, class) in [("Throttling", Class::Busy), ("DBInstanceAlreadyExists", Class::Unknown), ("InstanceQuotaExceeded", Class::Refused)] {
        let script = Script::new().then("CreateDBInstance", 400, query_error(code, "words"));
        assert_eq!(RdsInstance.create(&Cx::scripted(&script).await, &target, "t").await.unwrap_err().class, class, "{code}");
    }
}

#[tokio::test]
async fn somebody_elses_instance_is_foreign() {
    let (address, spec) = (address(), spec(&json!({})));
    let tags = owned(&address, "r");
    let theirs = owned(&Address::new("hospital-b", "rds_instance", "main"), "r");
    let script = Script::new().then("DescribeDBInstances", 200, described("available", "", &theirs));
    let found = RdsInstance.observe(&Cx::scripted(&script).await, &Target { address: &address, spec: &spec, tags: &tags }, None).await.unwrap();
    assert!(matches!(found, Observed::Foreign(whose) if whose.contains("hospital-b")));
}

/// A snapshot of this instance, and one of an earlier instance of the same name.
const SNAPSHOTS: &str = "<DescribeDBSnapshotsResponse><DescribeDBSnapshotsResult><DBSnapshots>\
    <DBSnapshot><DBSnapshotIdentifier>by-hand</DBSnapshotIdentifier><DbiResourceId>db-1</DbiResourceId></DBSnapshot>\
    <DBSnapshot><DBSnapshotIdentifier>former</DBSnapshotIdentifier><DbiResourceId>db-0</DbiResourceId></DBSnapshot>\
    </DBSnapshots></DescribeDBSnapshotsResult></DescribeDBSnapshotsResponse>";

#[tokio::test]
async fn deletion_lifts_protection_and_leaves_neither_snapshot_nor_backup() {
    let (address, spec) = (address(), spec(&json!({})));
    let tags = owned(&address, "r");
    let script = Script::new()
        .then("DescribeDBInstances", 200, described("available", "", &tags))
        .then("ModifyDBInstance", 200, "<ModifyDBInstanceResponse><ModifyDBInstanceResult/></ModifyDBInstanceResponse>")
        .then("DescribeDBSnapshots", 200, SNAPSHOTS)
        .then("DeleteDBSnapshot", 200, "<DeleteDBSnapshotResponse><DeleteDBSnapshotResult/></DeleteDBSnapshotResponse>")
        .then("DeleteDBInstance", 200, "<DeleteDBInstanceResponse><DeleteDBInstanceResult/></DeleteDBInstanceResponse>")
        .then("DescribeDBInstances", 200, described("deleting", "", &tags))
        .then("DescribeDBInstances", 404, query_error("DBInstanceNotFound", "gone"));
    let cx = Cx::scripted(&script).await;
    let target = Target { address: &address, spec: &spec, tags: &tags };
    for _ in 0..3 {
        RdsInstance.delete(&cx, &target, "mate-a").await.unwrap();
    }
    assert!(script.seen()[3].1.contains("DBSnapshotIdentifier=by-hand"), "one of an earlier instance of the name is not ours to delete");
    let (_, body) = &script.seen()[4];
    assert!(body.contains("SkipFinalSnapshot=true") && body.contains("DeleteAutomatedBackups=true") && !body.contains("FinalDBSnapshot"), "{body}");
}

#[tokio::test]
async fn an_instance_that_is_still_being_made_is_deleted_later() {
    let (address, spec) = (address(), spec(&json!({})));
    let tags = owned(&address, "r");
    let script = Script::new().then("DescribeDBInstances", 200, described("creating", "", &tags)).then(
        "ModifyDBInstance",
        400,
        query_error("InvalidDBInstanceState", "creating"),
    );
    let fault = RdsInstance.delete(&Cx::scripted(&script).await, &Target { address: &address, spec: &spec, tags: &tags }, "mate-a").await.unwrap_err();
    assert_eq!((fault.class, fault.message.as_str()), (Class::Busy, "it cannot be changed while it is creating"));
}
