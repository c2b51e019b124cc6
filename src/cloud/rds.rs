//! What RDS says in the same words for instances, clusters and parameter groups: statuses, versions, parameters, storage.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_rds::types::{ApplyMethod, CloudwatchLogsExportConfiguration, Parameter, PendingCloudwatchLogsExports, Tag};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::fault::{fault, is};
use crate::engine::fault::Fault;
use crate::engine::kind::{Change, Ready, Tags};

/// What a status means for whoever waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Can be used; what it reports of itself holds.
    Ready,
    /// On its way; what it reports may be half of the old and half of the new.
    Settling,
    /// On its way out.
    Deleting,
    /// Will not become usable by itself.
    Broken,
}

/// The phase of a `DBInstanceStatus` or a cluster's `Status` ("Viewing DB instance status" in the RDS user guide).
pub fn phase(status: &str) -> Phase {
    match status {
        "available" | "storage-optimization" | "storage-initialization" | "storage-config-upgrade" => Phase::Ready,
        "deleting" | "delete-precheck" => Phase::Deleting,
        "failed" | "migration-failed" | "restore-error" | "stopped" | "storage-full" | "insufficient-capacity" => Phase::Broken,
        s if s.starts_with("incompatible-") || s.starts_with("inaccessible-encryption-credentials") => Phase::Broken,
        _ => Phase::Settling,
    }
}

/// Codes by which RDS says "not in this status": the same call works once the status has changed.
pub const NOT_IN_THIS_STATUS: &[&str] =
    &["InvalidDBInstanceState", "InvalidDBInstanceStateFault", "InvalidDBClusterStateFault", "InvalidDBClusterState", "InvalidDBParameterGroupState"];

/// How a wanted engine version relates to the one in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Reached: the same, or a later minor version (RDS upgrades minor versions by itself and never goes back).
    Reached,
    /// An upgrade within the major version, in place.
    Minor,
    /// Another major version.
    Major,
}

/// Compares engine versions. `16` is reached by every 16.x; `16.4` by 16.4 and later 16.x.
pub fn version(wanted: &str, is: &str) -> Version {
    let parts = |v: &str| v.split('.').map(|p| p.parse().unwrap_or(0)).collect::<Vec<u32>>();
    let (wanted, is) = (parts(wanted), parts(is));
    if wanted.first() != is.first() {
        Version::Major
    } else if wanted.len() == 1 || is >= wanted {
        Version::Reached
    } else {
        Version::Minor
    }
}

/// How wanted storage relates to what is allocated, in GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// Enough, and no more than wanted or allowed.
    Reached,
    /// Has to grow, in place.
    Grow,
    /// Would have to shrink, which RDS cannot.
    Shrink,
}

/// Compares storage. Growth by storage auto-scaling up to `max` is not undone, nor is the tenth that RDS adds by itself when an
/// increase is smaller than that (ModifyDBInstance, AllocatedStorage).
pub fn storage(wanted: i32, max: Option<i32>, is: i32) -> Storage {
    let ceiling = max.unwrap_or(0).max(wanted.saturating_add(wanted / 10).saturating_add(1));
    if is < wanted {
        Storage::Grow
    } else if is > ceiling {
        Storage::Shrink
    } else {
        Storage::Reached
    }
}

/// Default storage type.
pub fn gp3() -> String {
    "gp3".to_owned()
}

/// PostgreSQL's port.
pub fn port() -> i32 {
    5432
}

/// Default of what is to be on unless somebody says otherwise.
pub fn yes() -> bool {
    true
}

/// Days Performance Insights keeps its data without charge.
pub fn a_week() -> i32 {
    7
}

/// Logs PostgreSQL on RDS can send to CloudWatch.
pub fn logs() -> BTreeSet<String> {
    ["postgresql", "upgrade"].map(str::to_owned).into()
}

/// Logs exported now, or about to be.
pub fn exports(enabled: &[String], pending: Option<&PendingCloudwatchLogsExports>) -> BTreeSet<String> {
    let mut exports: BTreeSet<String> = enabled.iter().cloned().collect();
    if let Some(pending) = pending {
        exports.extend(pending.log_types_to_enable().iter().cloned());
        exports.retain(|l| !pending.log_types_to_disable().contains(l));
    }
    exports
}

/// The change from one set of exported logs to another.
pub fn export_change(is: &BTreeSet<String>, want: &BTreeSet<String>) -> CloudwatchLogsExportConfiguration {
    let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| Some(a.difference(b).cloned().collect());
    CloudwatchLogsExportConfiguration::builder().set_enable_log_types(only(want, is)).set_disable_log_types(only(is, want)).build()
}

/// The fault of a change that RDS has refused: only the status the database is in may be why, and the same call works later.
pub fn refused<E>(call: &str, status: &str, error: SdkError<E, HttpResponse>) -> Fault
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    if is(&error, NOT_IN_THIS_STATUS) {
        return Fault::busy(call, "InvalidState", format!("it cannot be changed while it is {status}"));
    }
    fault(call, error)
}

/// Gives the thing of that ARN the tags it should have, if any differs.
///
/// # Errors
/// As RDS says.
pub async fn retag(rds: &aws_sdk_rds::Client, arn: &str, is: &Tags, wanted: &Tags) -> Result<(), Fault> {
    if Change::tags(is, wanted).is_empty() {
        return Ok(());
    }
    rds.add_tags_to_resource().resource_name(arn).set_tags(Some(tag_list(wanted))).send().await.map(drop).map_err(|e| fault("rds:AddTagsToResource", e))
}

/// Whether the secret with the master password, which RDS makes by itself, is there.
pub fn secret_ready(arn: Option<&str>, status: Option<&str>) -> Ready {
    match (arn, status) {
        (_, Some("impaired")) => Ready::Broken("the secret with the master password is impaired: check its KMS key and its permissions".to_owned()),
        (_, Some("creating")) => Ready::Waiting("the secret with the master password is being created".to_owned()),
        (None, _) => Ready::Waiting("no secret with the master password yet".to_owned()),
        _ => Ready::Ready,
    }
}

/// Codes by which RDS says that a snapshot is gone already.
const NO_SNAPSHOT: &[&str] = &["DBSnapshotNotFound", "DBSnapshotNotFoundFault", "DBClusterSnapshotNotFoundFault", "DBClusterSnapshotNotFound"];
/// Codes by which RDS says that a snapshot is still being made or copied.
const SNAPSHOT_BUSY: &[&str] =
    &["InvalidDBSnapshotState", "InvalidDBSnapshotStateFault", "InvalidDBClusterSnapshotStateFault", "InvalidDBClusterSnapshotState"];

/// Deletes every manual snapshot of this incarnation of an instance: whoever made them, they are copies of its data. The automated ones
/// go with the instance.
///
/// # Errors
/// Busy while a snapshot is being made; else as RDS says.
pub async fn delete_snapshots(rds: &aws_sdk_rds::Client, instance: &str, resource_id: &str) -> Result<(), Fault> {
    let mut pages = rds.describe_db_snapshots().db_instance_identifier(instance).snapshot_type("manual").into_paginator().items().send();
    let mut doomed = Vec::new();
    while let Some(found) = pages.next().await {
        let found = found.map_err(|e| fault("rds:DescribeDBSnapshots", e))?;
        doomed.extend(found.db_snapshot_identifier.filter(|_| found.dbi_resource_id.is_none_or(|of| of == resource_id)));
    }
    for snapshot in doomed {
        match rds.delete_db_snapshot().db_snapshot_identifier(&snapshot).send().await {
            Err(e) if is(&e, SNAPSHOT_BUSY) => return Err(not_yet("rds:DeleteDBSnapshot", &snapshot)),
            Err(e) if !is(&e, NO_SNAPSHOT) => return Err(fault("rds:DeleteDBSnapshot", e)),
            _ => {}
        }
    }
    Ok(())
}

/// [`delete_snapshots`] of a cluster.
///
/// # Errors
/// As [`delete_snapshots`].
pub async fn delete_cluster_snapshots(rds: &aws_sdk_rds::Client, cluster: &str, resource_id: &str) -> Result<(), Fault> {
    let mut pages = rds.describe_db_cluster_snapshots().db_cluster_identifier(cluster).snapshot_type("manual").into_paginator().items().send();
    let mut doomed = Vec::new();
    while let Some(found) = pages.next().await {
        let found = found.map_err(|e| fault("rds:DescribeDBClusterSnapshots", e))?;
        doomed.extend(found.db_cluster_snapshot_identifier.filter(|_| found.db_cluster_resource_id.is_none_or(|of| of == resource_id)));
    }
    for snapshot in doomed {
        match rds.delete_db_cluster_snapshot().db_cluster_snapshot_identifier(&snapshot).send().await {
            Err(e) if is(&e, SNAPSHOT_BUSY) => return Err(not_yet("rds:DeleteDBClusterSnapshot", &snapshot)),
            Err(e) if !is(&e, NO_SNAPSHOT) => return Err(fault("rds:DeleteDBClusterSnapshot", e)),
            _ => {}
        }
    }
    Ok(())
}

fn not_yet(call: &str, snapshot: &str) -> Fault {
    Fault::busy(call, "InvalidDBSnapshotState", format!("the snapshot {snapshot} is still being made"))
}

/// RDS's list of tags as ours.
pub fn tags(list: &[Tag]) -> Tags {
    list.iter().map(|t| (t.key().unwrap_or_default().to_owned(), t.value().unwrap_or_default().to_owned())).collect()
}

/// Our tags as RDS's list.
pub fn tag_list(tags: &Tags) -> Vec<Tag> {
    super::tags::list(tags, |k, v| Tag::builder().key(k).value(v).build())
}

/// Days of automated backups. 0 would switch them off, so it is refused; 35 is RDS's most.
///
/// # Errors
/// Outside 1–35.
pub fn backup_days<'de, D: Deserializer<'de>>(from: D) -> Result<i32, D::Error> {
    let days = i32::deserialize(from)?;
    if (1..=35).contains(&days) {
        Ok(days)
    } else {
        Err(serde::de::Error::custom(format!("backup_days is {days}; RDS keeps automated backups for 1 to 35 days")))
    }
}

/// The parameter that makes PostgreSQL on RDS refuse connections without TLS.
pub const FORCE_SSL: &str = "rds.force_ssl";

/// Wanted parameters of a group, by name. Always holds [`FORCE_SSL`] = `1`: reading a spec that says otherwise fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameters(BTreeMap<String, String>);

impl Default for Parameters {
    fn default() -> Self {
        Self(BTreeMap::from([(FORCE_SSL.to_owned(), "1".to_owned())]))
    }
}

impl Serialize for Parameters {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(to)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Text(String),
    Bool(bool),
    Whole(i64),
    Real(f64),
}

impl<'de> Deserialize<'de> for Parameters {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut parameters: BTreeMap<String, String> = BTreeMap::<String, Scalar>::deserialize(from)?
            .into_iter()
            .map(|(name, value)| {
                let value = match value {
                    Scalar::Text(text) => text,
                    // PostgreSQL's own switches are 0 and 1 in parameter groups.
                    Scalar::Bool(on) => i32::from(on).to_string(),
                    Scalar::Whole(number) => number.to_string(),
                    Scalar::Real(number) => number.to_string(),
                };
                (name, value)
            })
            .collect();
        if parameters.insert(FORCE_SSL.to_owned(), "1".to_owned()).is_some_and(|v| v != "1") {
            return Err(serde::de::Error::custom("rds.force_ssl is always 1: patients' records do not travel in the clear"));
        }
        Ok(Self(parameters))
    }
}

/// One parameter as a group holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Its value; RDS leaves it out where the engine's default is in force.
    pub value: Option<String>,
    /// Somebody has set it, it is not the engine's or the system's.
    pub user: bool,
    /// It takes effect without a restart.
    pub dynamic: bool,
}

/// What matters of a group: the parameters somebody has set, and those wanted (a value equal to the default does not count as set).
pub type Group = BTreeMap<String, Held>;

impl Parameters {
    /// The part of a group's hundreds of parameters that matters.
    pub fn pick<'a>(&self, all: impl IntoIterator<Item = &'a Parameter>) -> Group {
        all.into_iter()
            .filter_map(|p| {
                let (name, user) = (p.parameter_name()?, p.source() == Some("user"));
                let held = Held { value: p.parameter_value().map(ToOwned::to_owned), user, dynamic: p.apply_type() == Some("dynamic") };
                (user || self.0.contains_key(name)).then(|| (name.to_owned(), held))
            })
            .collect()
    }

    /// What differs, as (name, as it is, as it shall be); a wanted value of `None` means back to the default.
    pub fn differing<'a>(&'a self, group: &'a Group) -> Vec<(&'a str, Option<&'a str>, Option<&'a str>)> {
        let is = |name: &str| group.get(name).and_then(|h| h.value.as_deref());
        let set = self.0.iter().filter(|(n, v)| is(n) != Some(v)).map(|(n, v)| (n.as_str(), is(n), Some(v.as_str())));
        let reset = group.iter().filter(|(n, h)| h.user && !self.0.contains_key(*n)).map(|(n, h)| (n.as_str(), h.value.as_deref(), None));
        set.chain(reset).collect()
    }

    /// What to hand to Modify…ParameterGroup, in portions of the 20 it takes.
    pub fn to_set(&self, group: &Group) -> Vec<Vec<Parameter>> {
        portions(self.differing(group).into_iter().filter_map(|(name, _, to)| Some(one(name, Some(to?), group))))
    }

    /// What to hand to Reset…ParameterGroup, in portions of 20.
    pub fn to_reset(&self, group: &Group) -> Vec<Vec<Parameter>> {
        portions(self.differing(group).into_iter().filter(|(_, _, to)| to.is_none()).map(|(name, ..)| one(name, None, group)))
    }
}

/// RDS refuses `immediate` for a static parameter.
fn one(name: &str, value: Option<&str>, group: &Group) -> Parameter {
    let method = if group.get(name).is_some_and(|h| h.dynamic) { ApplyMethod::Immediate } else { ApplyMethod::PendingReboot };
    Parameter::builder().parameter_name(name).set_parameter_value(value.map(ToOwned::to_owned)).apply_method(method).build()
}

fn portions(all: impl Iterator<Item = Parameter>) -> Vec<Vec<Parameter>> {
    all.collect::<Vec<_>>().chunks(20).map(<[_]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_status_tells_whether_to_use_wait_or_stop() {
        let rows = [
            ("available", Phase::Ready),
            ("storage-optimization", Phase::Ready),
            ("creating", Phase::Settling),
            ("backing-up", Phase::Settling),
            ("modifying", Phase::Settling),
            ("configuring-enhanced-monitoring", Phase::Settling),
            ("configuring-log-exports", Phase::Settling),
            ("a-status-not-yet-invented", Phase::Settling),
            ("deleting", Phase::Deleting),
            ("failed", Phase::Broken),
            ("incompatible-parameters", Phase::Broken),
            ("inaccessible-encryption-credentials-recoverable", Phase::Broken),
            ("storage-full", Phase::Broken),
            ("stopped", Phase::Broken),
        ];
        for (status, expected) in rows {
            assert_eq!(phase(status), expected, "{status}");
        }
    }

    #[test]
    fn minor_versions_move_forward_by_themselves_and_major_ones_do_not() {
        let rows = [
            ("16", "16.9", Version::Reached),
            ("16.4", "16.4", Version::Reached),
            ("16.4", "16.10", Version::Reached),
            ("16.10", "16.4", Version::Minor),
            ("17", "16.4", Version::Major),
            ("15.6", "16.4", Version::Major),
        ];
        for (wanted, is, expected) in rows {
            assert_eq!(version(wanted, is), expected, "{wanted} wanted, {is} in force");
        }
    }

    #[test]
    fn storage_grows_and_never_shrinks() {
        let rows = [
            (100, None, 100, Storage::Reached),
            (100, None, 50, Storage::Grow),
            (100, None, 200, Storage::Shrink),
            (105, None, 110, Storage::Reached),
            (100, Some(500), 300, Storage::Reached),
            (100, Some(200), 300, Storage::Shrink),
        ];
        for (wanted, max, is, expected) in rows {
            assert_eq!(storage(wanted, max, is), expected, "{wanted}..{max:?} wanted, {is} allocated");
        }
    }

    #[test]
    fn parameters_always_force_tls_and_are_texts() {
        let read: Parameters = serde_json::from_value(json!({"log_min_duration_statement": 500, "a": true, "b": "x"})).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), json!({"a": "1", "b": "x", "log_min_duration_statement": "500", "rds.force_ssl": "1"}));
        assert!(serde_json::from_value::<Parameters>(json!({"rds.force_ssl": 0})).unwrap_err().to_string().contains("always 1"));
    }

    #[test]
    fn only_what_differs_is_set_and_what_is_not_wanted_is_reset() {
        let all = [
            Parameter::builder().parameter_name("rds.force_ssl").parameter_value("1").source("system").apply_type("dynamic").build(),
            Parameter::builder().parameter_name("max_connections").source("engine-default").apply_type("static").build(),
            Parameter::builder().parameter_name("work_mem").parameter_value("64").source("user").apply_type("dynamic").build(),
            Parameter::builder().parameter_name("autovacuum").source("engine-default").build(),
        ];
        let wanted: Parameters = serde_json::from_value(json!({"max_connections": 200})).unwrap();
        let group = wanted.pick(&all);
        assert_eq!(group.len(), 3, "the hundreds of defaults are left out");
        assert_eq!(wanted.differing(&group), [("max_connections", None, Some("200")), ("work_mem", Some("64"), None)]);
        let set = wanted.to_set(&group);
        assert_eq!((set.len(), set[0].len(), set[0][0].apply_method()), (1, 1, Some(&ApplyMethod::PendingReboot)));
        assert_eq!(wanted.to_reset(&group)[0][0].apply_method(), Some(&ApplyMethod::Immediate));
    }
}
