//! An RDS for PostgreSQL instance, single or with a standby. Its identifier is unique in account and region.
//!
//! # What every instance has, whatever the template says
//! Encrypted storage; no public address; a master password that RDS makes, keeps and rotates in Secrets Manager; tags copied to
//! snapshots; minor upgrades by itself; automated backups; the default certificate authority, so that RDS's own rotation of it
//! applies. TLS is forced by its parameter group (`rds_parameter_group`).
//!
//! # Changes
//! At once, not in the maintenance window. While the instance settles (`creating`, `modifying`) what it reports may be half old and
//! half new, so it is compared only once it has; what RDS lists as pending counts as reached and is waited for. What would lose data
//! or needs a migration (less storage, another key, another major version) is refused with advice.
//!
//! # Deletion
//! Only a purge deletes it, and leaves no copy: lifts deletion protection, deletes its manual snapshots, then deletes it without a final
//! snapshot and with its automated backups.

use std::collections::BTreeSet;

use aws_sdk_rds::types::DbInstance;
use serde::{Deserialize, Serialize};

use super::Cx;
use crate::cloud::fault::{fault, is};
use crate::cloud::rds::{self, Phase, Storage, Version};
use crate::cloud::tags::{Ownership, ownership};
use crate::engine::fault::Fault;
use crate::engine::kind::{Change, Deletion, Diff, Identity, Kind, Limit, Observed, Outputs, Ready, Suspension, Tags, Target, Timing};

/// The kind.
pub struct RdsInstance;

/// What a template may say of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// 1–63 lower-case letters, digits and single hyphens, beginning with a letter.
    identifier: String,
    /// `16` (any minor version) or `16.4` (that or a later minor version).
    engine_version: String,
    /// `db.t4g.medium`.
    instance_class: String,
    /// GiB to begin with; may be raised, never lowered.
    storage_gb: i32,
    /// GiB up to which RDS may grow it by itself; without it, it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_storage_gb: Option<i32>,
    /// `gp3`, `io1` or `io2`.
    #[serde(default = "rds::gp3")]
    storage_type: String,
    /// Provisioned I/O a second; for `gp3` only from 400 GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iops: Option<i32>,
    /// Name of the master user; its password is RDS's own affair.
    master_username: String,
    /// A database to make at the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    database: Option<String>,
    /// TCP port.
    #[serde(default = "rds::port")]
    port: i32,
    /// Name of the DB subnet group (private subnets).
    subnet_group: String,
    /// VPC security groups.
    security_groups: BTreeSet<String>,
    /// Name of the parameter group, which forces TLS.
    parameter_group: String,
    /// Days of automated backups, 1–35.
    #[serde(deserialize_with = "rds::backup_days")]
    backup_days: i32,
    /// UTC, `hh:mm-hh:mm`; without it, RDS's choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    backup_window: Option<String>,
    /// UTC, `ddd:hh:mm-ddd:hh:mm`; without it, RDS's choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    maintenance_window: Option<String>,
    /// A standby in another zone.
    #[serde(default)]
    multi_az: bool,
    /// Key for storage, the master's secret and Performance Insights; without one, RDS's own key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kms_key_arn: Option<String>,
    /// Refuse deletion until it is lifted.
    #[serde(default = "rds::yes")]
    deletion_protection: bool,
    /// Performance Insights.
    #[serde(default = "rds::yes")]
    performance_insights: bool,
    /// Days its data are kept: 7 (free), a multiple of 31, or 731.
    #[serde(default = "rds::a_week")]
    performance_insights_days: i32,
    /// Logs sent to CloudWatch.
    #[serde(default = "rds::logs")]
    log_exports: BTreeSet<String>,
    /// Logins by IAM token. Off: roles log in with SCRAM passwords out of Secrets Manager, and a second way in would have to be
    /// granted, watched and revoked beside it.
    #[serde(default)]
    iam_authentication: bool,
}

/// What `observe` reports: values as they are or, where RDS lists a pending one, as they are about to be.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    arn: String,
    resource_id: String,
    status: String,
    address: Option<String>,
    port: Option<i32>,
    engine: String,
    engine_version: String,
    instance_class: String,
    storage_gb: i32,
    max_storage_gb: Option<i32>,
    storage_type: Option<String>,
    iops: Option<i32>,
    master_username: Option<String>,
    database: Option<String>,
    subnet_group: Option<String>,
    security_groups: BTreeSet<String>,
    parameter_group: Option<String>,
    backup_days: i32,
    backup_window: Option<String>,
    maintenance_window: Option<String>,
    multi_az: bool,
    encrypted: bool,
    kms_key_arn: Option<String>,
    publicly_accessible: bool,
    deletion_protection: bool,
    copy_tags_to_snapshot: bool,
    minor_upgrades: bool,
    performance_insights: bool,
    performance_insights_days: Option<i32>,
    log_exports: BTreeSet<String>,
    iam_authentication: bool,
    master_secret_arn: Option<String>,
    master_secret_status: Option<String>,
    /// What RDS has accepted and not yet carried out.
    pending: Vec<String>,
    tags: Tags,
}

const ABSENT: &[&str] = &["DBInstanceNotFound", "DBInstanceNotFoundFault"];

async fn describe(cx: &Cx, identifier: &str) -> Result<Option<DbInstance>, Fault> {
    match cx.cloud.rds.describe_db_instances().db_instance_identifier(identifier).send().await {
        Ok(found) => Ok(found.db_instances.unwrap_or_default().into_iter().next()),
        Err(e) if is(&e, ABSENT) => Ok(None),
        Err(e) => Err(fault("rds:DescribeDBInstances", e)),
    }
}

fn read(db: &DbInstance) -> State {
    let next = db.pending_modified_values();
    let text = |v: Option<&str>| v.map(ToOwned::to_owned);
    let log_exports = rds::exports(db.enabled_cloudwatch_logs_exports(), next.and_then(|n| n.pending_cloudwatch_logs_exports()));
    let pending = next.map(|n| {
        [
            ("instance_class", n.db_instance_class().is_some()),
            ("storage_gb", n.allocated_storage().is_some()),
            ("storage_type", n.storage_type().is_some()),
            ("iops", n.iops().is_some()),
            ("engine_version", n.engine_version().is_some()),
            ("multi_az", n.multi_az().is_some()),
            ("backup_days", n.backup_retention_period().is_some()),
            ("port", n.port().is_some()),
            ("log_exports", n.pending_cloudwatch_logs_exports().is_some()),
            ("iam_authentication", n.iam_database_authentication_enabled().is_some()),
        ]
    });
    State {
        arn: db.db_instance_arn().unwrap_or_default().to_owned(),
        resource_id: db.dbi_resource_id().unwrap_or_default().to_owned(),
        status: db.db_instance_status().unwrap_or_default().to_owned(),
        address: text(db.endpoint().and_then(|e| e.address())),
        port: next.and_then(|n| n.port()).or_else(|| db.endpoint().and_then(|e| e.port())),
        engine: db.engine().unwrap_or_default().to_owned(),
        engine_version: next.and_then(|n| n.engine_version()).or(db.engine_version()).unwrap_or_default().to_owned(),
        instance_class: next.and_then(|n| n.db_instance_class()).or(db.db_instance_class()).unwrap_or_default().to_owned(),
        storage_gb: next.and_then(|n| n.allocated_storage()).or(db.allocated_storage()).unwrap_or_default(),
        max_storage_gb: db.max_allocated_storage(),
        storage_type: text(next.and_then(|n| n.storage_type()).or(db.storage_type())),
        iops: next.and_then(|n| n.iops()).or(db.iops()),
        master_username: text(db.master_username()),
        database: text(db.db_name()),
        subnet_group: text(db.db_subnet_group().and_then(|g| g.db_subnet_group_name())),
        security_groups: db.vpc_security_groups().iter().filter(|g| g.status() != Some("removing")).filter_map(|g| text(g.vpc_security_group_id())).collect(),
        parameter_group: text(db.db_parameter_groups().first().and_then(|g| g.db_parameter_group_name())),
        backup_days: next.and_then(|n| n.backup_retention_period()).or(db.backup_retention_period()).unwrap_or_default(),
        backup_window: text(db.preferred_backup_window()),
        maintenance_window: text(db.preferred_maintenance_window()),
        multi_az: next.and_then(|n| n.multi_az()).or(db.multi_az()).unwrap_or_default(),
        encrypted: db.storage_encrypted().unwrap_or_default(),
        kms_key_arn: text(db.kms_key_id()),
        publicly_accessible: db.publicly_accessible().unwrap_or_default(),
        deletion_protection: db.deletion_protection().unwrap_or_default(),
        copy_tags_to_snapshot: db.copy_tags_to_snapshot().unwrap_or_default(),
        minor_upgrades: db.auto_minor_version_upgrade().unwrap_or_default(),
        performance_insights: db.performance_insights_enabled().unwrap_or_default(),
        performance_insights_days: db.performance_insights_retention_period(),
        log_exports,
        iam_authentication: next.and_then(|n| n.iam_database_authentication_enabled()).or(db.iam_database_authentication_enabled()).unwrap_or_default(),
        master_secret_arn: text(db.master_user_secret().and_then(|s| s.secret_arn())),
        master_secret_status: text(db.master_user_secret().and_then(|s| s.secret_status())),
        pending: pending.into_iter().flatten().filter(|(_, is)| *is).map(|(name, _)| name.to_owned()).collect(),
        tags: rds::tags(db.tag_list()),
    }
}

/// What no call can mend without losing data or moving it.
fn forbidden(spec: &Spec, state: &State) -> Option<String> {
    let fixed = |what: &str, is: &str, want: &str| {
        (is != want).then(|| format!("{what} cannot change once the instance exists ({is} → {want}): move the tenant's data to a new instance instead"))
    };
    if state.engine != "postgres" {
        return Some(format!("its engine is {}, not postgres", state.engine));
    }
    if rds::version(&spec.engine_version, &state.engine_version) == Version::Major {
        return Some(format!(
            "a change of major version ({} → {}) is not made in passing: test it on a restored snapshot, upgrade with `aws rds modify-db-instance --allow-major-version-upgrade`, then change the template",
            state.engine_version, spec.engine_version
        ));
    }
    if rds::storage(spec.storage_gb, spec.max_storage_gb, state.storage_gb) == Storage::Shrink {
        return Some(format!("storage cannot shrink ({} → {} GiB): keep storage_gb, or raise max_storage_gb", state.storage_gb, spec.storage_gb));
    }
    if !state.encrypted {
        return Some("its storage is not encrypted, and cannot be once the instance exists: restore an encrypted copy of a snapshot".to_owned());
    }
    let key = spec.kms_key_arn.as_deref().and_then(|want| fixed("the key of its storage", state.kms_key_arn.as_deref().unwrap_or("(none)"), want));
    let user = fixed("master_username", state.master_username.as_deref().unwrap_or("(none)"), &spec.master_username);
    let subnets = fixed("subnet_group", state.subnet_group.as_deref().unwrap_or("(none)"), &spec.subnet_group);
    let database = spec.database.as_deref().and_then(|want| fixed("database", state.database.as_deref().unwrap_or("(none)"), want));
    key.or(user).or(subnets).or(database)
}

/// What ModifyDBInstance can mend.
fn changes(spec: &Spec, state: &State) -> Vec<Change> {
    let minor = rds::version(&spec.engine_version, &state.engine_version) == Version::Minor;
    let grow = rds::storage(spec.storage_gb, spec.max_storage_gb, state.storage_gb) == Storage::Grow;
    let window = |field, is: &Option<String>, want: &Option<String>| {
        want.as_ref().and_then(|want| Change::between(field, &is.as_deref().unwrap_or("(none)").to_lowercase(), &want.to_lowercase()))
    };
    [
        Change::between("instance_class", &state.instance_class, &spec.instance_class),
        minor.then(|| Change::new("engine_version", &state.engine_version, &spec.engine_version)),
        grow.then(|| Change::new("storage_gb", state.storage_gb, spec.storage_gb)),
        Change::between("max_storage_gb", &state.max_storage_gb, &spec.max_storage_gb),
        Change::between("storage_type", &state.storage_type.as_deref(), &Some(spec.storage_type.as_str())),
        spec.iops.and_then(|want| Change::between("iops", &state.iops, &Some(want))),
        state.port.and_then(|is| Change::between("port", &is, &spec.port)),
        Change::between("security_groups", &state.security_groups, &spec.security_groups),
        Change::between("parameter_group", &state.parameter_group.as_deref(), &Some(spec.parameter_group.as_str())),
        Change::between("backup_days", &state.backup_days, &spec.backup_days),
        window("backup_window", &state.backup_window, &spec.backup_window),
        window("maintenance_window", &state.maintenance_window, &spec.maintenance_window),
        Change::between("multi_az", &state.multi_az, &spec.multi_az),
        Change::between("publicly_accessible", &state.publicly_accessible, &false),
        Change::between("deletion_protection", &state.deletion_protection, &spec.deletion_protection),
        Change::between("copy_tags_to_snapshot", &state.copy_tags_to_snapshot, &true),
        Change::between("minor_upgrades", &state.minor_upgrades, &true),
        Change::between("performance_insights", &state.performance_insights, &spec.performance_insights),
        (state.performance_insights && spec.performance_insights)
            .then(|| Change::between("performance_insights_days", &state.performance_insights_days, &Some(spec.performance_insights_days)))
            .flatten(),
        Change::between("log_exports", &state.log_exports, &spec.log_exports),
        Change::between("iam_authentication", &state.iam_authentication, &spec.iam_authentication),
        state.master_secret_arn.is_none().then(|| Change::new("master_secret", "(none)", "managed by RDS")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

impl Kind for RdsInstance {
    type Cx = Cx;
    type Spec = Spec;
    type State = State;

    const NAME: &'static str = "rds_instance";
    const IDENTITY: Identity = Identity::Name;
    const DELETION: Deletion = Deletion::Retain;
    /// RDS documents no rate; its control plane throttles accounts that burst, so all of RDS shares a modest one.
    const LIMIT: Limit = Limit { api: "rds", per_second: 5.0, burst: 10, concurrency: 4 };
    /// 5–15 minutes are usual; a large class with a standby and a first backup takes longer.
    const TIMING: Timing = Timing::secs(600, 3600);
    const OUTPUTS: &'static [&'static str] = &["endpoint", "address", "port", "arn", "master_secret_arn"];

    /// It goes on running: a stopped instance starts by itself after seven days, cannot be read at the milder levels, and takes minutes to come
    /// back. Nobody can log in.
    fn suspended(&self, spec: Spec, _level: Suspension) -> Spec {
        spec
    }

    async fn observe(&self, cx: &Cx, target: &Target<'_, Spec>, _recorded: Option<&str>) -> Result<Observed<State>, Fault> {
        let Some(db) = describe(cx, &target.spec.identifier).await? else { return Ok(Observed::Absent) };
        let state = read(&db);
        Ok(match ownership(&state.tags, target.tags) {
            Ownership::Foreign(whose) => Observed::Foreign(whose),
            Ownership::Mine => Observed::Mine { id: target.spec.identifier.clone(), state },
        })
    }

    fn diff(&self, target: &Target<'_, Spec>, state: &State) -> Diff {
        match rds::phase(&state.status) {
            Phase::Deleting => return Diff::Same,
            // What is still being made reports neither its storage's key nor its minor version for certain.
            Phase::Settling if state.status == "creating" => return Diff::Same,
            _ => {}
        }
        if let Some(why) = forbidden(target.spec, state) {
            return Diff::Forbidden(why);
        }
        if rds::phase(&state.status) == Phase::Settling {
            return Diff::Same;
        }
        Diff::of(changes(target.spec, state).into_iter().chain(Change::tags(&state.tags, target.tags)))
    }

    async fn create(&self, cx: &Cx, target: &Target<'_, Spec>, _token: &str) -> Result<String, Fault> {
        let spec = target.spec;
        let insights = spec.performance_insights;
        let made = cx
            .cloud
            .once()
            .rds
            .create_db_instance()
            .db_instance_identifier(&spec.identifier)
            .engine("postgres")
            .engine_version(&spec.engine_version)
            .db_instance_class(&spec.instance_class)
            .allocated_storage(spec.storage_gb)
            .set_max_allocated_storage(spec.max_storage_gb)
            .storage_type(&spec.storage_type)
            .set_iops(spec.iops)
            .storage_encrypted(true)
            .set_kms_key_id(spec.kms_key_arn.clone())
            .master_username(&spec.master_username)
            .manage_master_user_password(true)
            .set_master_user_secret_kms_key_id(spec.kms_key_arn.clone())
            .set_db_name(spec.database.clone())
            .port(spec.port)
            .db_subnet_group_name(&spec.subnet_group)
            .set_vpc_security_group_ids(Some(spec.security_groups.iter().cloned().collect()))
            .publicly_accessible(false)
            .db_parameter_group_name(&spec.parameter_group)
            .backup_retention_period(spec.backup_days)
            .set_preferred_backup_window(spec.backup_window.clone())
            .set_preferred_maintenance_window(spec.maintenance_window.clone())
            .multi_az(spec.multi_az)
            .auto_minor_version_upgrade(true)
            .copy_tags_to_snapshot(true)
            .deletion_protection(spec.deletion_protection)
            .enable_performance_insights(insights)
            .set_performance_insights_retention_period(insights.then_some(spec.performance_insights_days))
            .set_performance_insights_kms_key_id(spec.kms_key_arn.clone().filter(|_| insights))
            .set_enable_cloudwatch_logs_exports(Some(spec.log_exports.iter().cloned().collect()))
            .enable_iam_database_authentication(spec.iam_authentication)
            .set_tags(Some(rds::tag_list(target.tags)))
            .send()
            .await;
        match made {
            Ok(_) => Ok(spec.identifier.clone()),
            // Perhaps made by ourselves with a lost reply: the next look tells whose it is.
            Err(e) if is(&e, &["DBInstanceAlreadyExists", "DBInstanceAlreadyExistsFault"]) => {
                Err(Fault::unknown("rds:CreateDBInstance", "DBInstanceAlreadyExists", "an instance of that identifier exists already"))
            }
            Err(e) if is(&e, &["InsufficientDBInstanceCapacity"]) => {
                Err(fault("rds:CreateDBInstance", e)
                    .hint("AWS has none of this class left in these zones just now: resume later, or take another instance_class"))
            }
            Err(e) => Err(fault("rds:CreateDBInstance", e)),
        }
    }

    async fn update(&self, cx: &Cx, target: &Target<'_, Spec>, id: &str, state: &State) -> Result<(), Fault> {
        let (rds, spec) = (&cx.cloud.rds, target.spec);
        let fields: BTreeSet<String> = changes(spec, state).into_iter().map(|c| c.field).collect();
        let differs = |field: &str| fields.contains(field);
        if !fields.is_empty() {
            let storage = ["storage_gb", "storage_type", "iops"].into_iter().any(differs);
            let insights = differs("performance_insights") || differs("performance_insights_days");
            let logs = rds::export_change(&state.log_exports, &spec.log_exports);
            let modified = rds
                .modify_db_instance()
                .db_instance_identifier(id)
                .apply_immediately(true)
                .set_db_instance_class(differs("instance_class").then(|| spec.instance_class.clone()))
                .set_engine_version(differs("engine_version").then(|| spec.engine_version.clone()))
                // Changing type or IOPS asks for the size as well; the present one is not less than what auto-scaling has made of it.
                .set_allocated_storage(storage.then(|| spec.storage_gb.max(state.storage_gb)))
                .set_storage_type(storage.then(|| spec.storage_type.clone()))
                .set_iops(spec.iops.filter(|_| storage))
                // The ceiling being the size itself is how auto-scaling is switched off.
                .set_max_allocated_storage(differs("max_storage_gb").then(|| spec.max_storage_gb.unwrap_or(state.storage_gb.max(spec.storage_gb))))
                .set_db_port_number(differs("port").then_some(spec.port))
                .set_vpc_security_group_ids(differs("security_groups").then(|| spec.security_groups.iter().cloned().collect()))
                .set_db_parameter_group_name(differs("parameter_group").then(|| spec.parameter_group.clone()))
                .set_backup_retention_period(differs("backup_days").then_some(spec.backup_days))
                .set_preferred_backup_window(spec.backup_window.clone().filter(|_| differs("backup_window")))
                .set_preferred_maintenance_window(spec.maintenance_window.clone().filter(|_| differs("maintenance_window")))
                .set_multi_az(differs("multi_az").then_some(spec.multi_az))
                .set_publicly_accessible(differs("publicly_accessible").then_some(false))
                .set_deletion_protection(differs("deletion_protection").then_some(spec.deletion_protection))
                .set_copy_tags_to_snapshot(differs("copy_tags_to_snapshot").then_some(true))
                .set_auto_minor_version_upgrade(differs("minor_upgrades").then_some(true))
                .set_enable_performance_insights(insights.then_some(spec.performance_insights))
                .set_performance_insights_retention_period((insights && spec.performance_insights).then_some(spec.performance_insights_days))
                .set_performance_insights_kms_key_id(spec.kms_key_arn.clone().filter(|_| spec.performance_insights && differs("performance_insights")))
                .set_cloudwatch_logs_export_configuration(differs("log_exports").then_some(logs))
                .set_enable_iam_database_authentication(differs("iam_authentication").then_some(spec.iam_authentication))
                .set_manage_master_user_password(differs("master_secret").then_some(true))
                .set_master_user_secret_kms_key_id(spec.kms_key_arn.clone().filter(|_| differs("master_secret")))
                .send()
                .await;
            modified.map_err(|e| rds::refused("rds:ModifyDBInstance", &state.status, e))?;
        }
        rds::retag(rds, &state.arn, &state.tags, target.tags).await
    }

    async fn delete(&self, cx: &Cx, _target: &Target<'_, Spec>, id: &str) -> Result<(), Fault> {
        let rds = &cx.cloud.rds;
        let Some(db) = describe(cx, id).await? else { return Ok(()) };
        let state = read(&db);
        if rds::phase(&state.status) == Phase::Deleting {
            return Ok(());
        }
        if state.deletion_protection {
            rds.modify_db_instance()
                .db_instance_identifier(id)
                .deletion_protection(false)
                .apply_immediately(true)
                .send()
                .await
                .map_err(|e| rds::refused("rds:ModifyDBInstance", &state.status, e))?;
        }
        rds::delete_snapshots(rds, id, &state.resource_id).await?;
        let deleted = rds.delete_db_instance().db_instance_identifier(id).skip_final_snapshot(true).delete_automated_backups(true).send().await;
        match deleted {
            Err(e) if is(&e, ABSENT) => Ok(()),
            Err(e) => Err(rds::refused("rds:DeleteDBInstance", &state.status, e)),
            Ok(_) => Ok(()),
        }
    }

    fn ready(&self, _target: &Target<'_, Spec>, state: &State) -> Ready {
        match rds::phase(&state.status) {
            Phase::Settling | Phase::Deleting => Ready::Waiting(state.status.clone()),
            Phase::Broken if state.status == "stopped" => Ready::Broken("stopped; start it with `aws rds start-db-instance`".to_owned()),
            Phase::Broken => Ready::Broken(format!("its status is {}; see its events in the RDS console", state.status)),
            Phase::Ready if !state.pending.is_empty() => Ready::Waiting(format!("{} pending", state.pending.join(", "))),
            Phase::Ready if state.address.is_none() || state.port.is_none() => Ready::Waiting("no endpoint yet".to_owned()),
            Phase::Ready => rds::secret_ready(state.master_secret_arn.as_deref(), state.master_secret_status.as_deref()),
        }
    }

    fn outputs(&self, _target: &Target<'_, Spec>, _id: &str, state: &State) -> Outputs {
        let (address, port) = (state.address.clone().unwrap_or_default(), state.port.unwrap_or(5432).to_string());
        Outputs::from([
            ("endpoint".to_owned(), format!("{address}:{port}")),
            ("address".to_owned(), address),
            ("port".to_owned(), port),
            ("arn".to_owned(), state.arn.clone()),
            ("master_secret_arn".to_owned(), state.master_secret_arn.clone().unwrap_or_default()),
        ])
    }
}

#[cfg(test)]
mod tests;
