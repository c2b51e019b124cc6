//! An RDS parameter group for single instances. It always forces TLS. Its name is unique; parameters are further calls, so updates.
//!
//! A dynamic parameter takes effect at once, a static one at the next restart of the databases that use the group: labctl restarts
//! nothing by itself.

use serde::{Deserialize, Serialize};

use super::Cx;
use crate::cloud::fault::{fault, is};
use crate::cloud::rds::{self, Group, NOT_IN_THIS_STATUS, Parameters};
use crate::cloud::tags::{Ownership, ownership};
use crate::engine::fault::Fault;
use crate::engine::kind::{Change, Deletion, Diff, Identity, Kind, Limit, Observed, Outputs, Ready, Suspension, Tags, Target, Timing};

/// The kind.
pub struct RdsParameterGroup;

/// What a template may say of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// 1–255 lower-case letters, digits and hyphens, beginning with a letter.
    name: String,
    /// Engine and major version (`postgres16`).
    family: String,
    /// Parameters that differ from the engine's defaults; `rds.force_ssl` is always 1.
    #[serde(default)]
    parameters: Parameters,
}

/// What `observe` reports.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    arn: String,
    family: String,
    parameters: Group,
    tags: Tags,
}

const ABSENT: &[&str] = &["DBParameterGroupNotFound", "DBParameterGroupNotFoundFault"];

impl Kind for RdsParameterGroup {
    type Cx = Cx;
    type Spec = Spec;
    type State = State;

    const NAME: &'static str = "rds_parameter_group";
    const IDENTITY: Identity = Identity::Name;
    const DELETION: Deletion = Deletion::Delete;
    /// RDS documents no rate; its control plane throttles accounts that burst, so all of RDS shares a modest one.
    const LIMIT: Limit = Limit { api: "rds", per_second: 5.0, burst: 10, concurrency: 4 };
    const TIMING: Timing = Timing::secs(3, 120);
    const OUTPUTS: &'static [&'static str] = &["name"];

    /// It belongs to a database that goes on running.
    fn suspended(&self, spec: Spec, _level: Suspension) -> Spec {
        spec
    }

    async fn observe(&self, cx: &Cx, target: &Target<'_, Spec>, _recorded: Option<&str>) -> Result<Observed<State>, Fault> {
        let rds = &cx.cloud.rds;
        let name = &target.spec.name;
        let found = match rds.describe_db_parameter_groups().db_parameter_group_name(name).send().await {
            Ok(found) => found,
            Err(e) if is(&e, ABSENT) => return Ok(Observed::Absent),
            Err(e) => return Err(fault("rds:DescribeDBParameterGroups", e)),
        };
        let Some(group) = found.db_parameter_groups().first() else { return Ok(Observed::Absent) };
        let arn = group.db_parameter_group_arn().unwrap_or_default();
        let tags = rds.list_tags_for_resource().resource_name(arn).send().await.map_err(|e| fault("rds:ListTagsForResource", e))?;
        let tags = rds::tags(tags.tag_list());
        if let Ownership::Foreign(whose) = ownership(&tags, target.tags) {
            return Ok(Observed::Foreign(whose));
        }
        let mut pages = rds.describe_db_parameters().db_parameter_group_name(name).into_paginator().items().send();
        let mut all = Vec::new();
        while let Some(parameter) = pages.next().await {
            all.push(parameter.map_err(|e| fault("rds:DescribeDBParameters", e))?);
        }
        let state = State {
            arn: arn.to_owned(),
            family: group.db_parameter_group_family().unwrap_or_default().to_owned(),
            parameters: target.spec.parameters.pick(&all),
            tags,
        };
        Ok(Observed::Mine { id: name.clone(), state })
    }

    fn diff(&self, target: &Target<'_, Spec>, state: &State) -> Diff {
        if state.family != target.spec.family {
            return Diff::Forbidden(format!(
                "the family cannot change ({} → {}), and a group in use cannot be replaced: give the new one another name and let the database move to it",
                state.family, target.spec.family
            ));
        }
        let mut changes = Change::tags(&state.tags, target.tags);
        changes.extend(
            target
                .spec
                .parameters
                .differing(&state.parameters)
                .into_iter()
                .map(|(name, from, to)| Change::new(format!("parameters.{name}"), from.unwrap_or("(default)"), to.unwrap_or("(default)"))),
        );
        Diff::of(changes)
    }

    async fn create(&self, cx: &Cx, target: &Target<'_, Spec>, _token: &str) -> Result<String, Fault> {
        let made = cx
            .cloud
            .once()
            .rds
            .create_db_parameter_group()
            .db_parameter_group_name(&target.spec.name)
            .db_parameter_group_family(&target.spec.family)
            .description(target.address.to_string())
            .set_tags(Some(rds::tag_list(target.tags)))
            .send()
            .await;
        match made {
            Ok(_) => Ok(target.spec.name.clone()),
            Err(e) if is(&e, &["DBParameterGroupAlreadyExists", "DBParameterGroupAlreadyExistsFault"]) => {
                Err(Fault::unknown("rds:CreateDBParameterGroup", "DBParameterGroupAlreadyExists", "a parameter group of that name exists already"))
            }
            Err(e) => Err(fault("rds:CreateDBParameterGroup", e)),
        }
    }

    async fn update(&self, cx: &Cx, target: &Target<'_, Spec>, id: &str, state: &State) -> Result<(), Fault> {
        let rds = &cx.cloud.rds;
        for portion in target.spec.parameters.to_set(&state.parameters) {
            rds.modify_db_parameter_group()
                .db_parameter_group_name(id)
                .set_parameters(Some(portion))
                .send()
                .await
                .map_err(|e| fault("rds:ModifyDBParameterGroup", e))?;
        }
        for portion in target.spec.parameters.to_reset(&state.parameters) {
            rds.reset_db_parameter_group()
                .db_parameter_group_name(id)
                .reset_all_parameters(false)
                .set_parameters(Some(portion))
                .send()
                .await
                .map_err(|e| fault("rds:ResetDBParameterGroup", e))?;
        }
        if !Change::tags(&state.tags, target.tags).is_empty() {
            rds.add_tags_to_resource()
                .resource_name(&state.arn)
                .set_tags(Some(rds::tag_list(target.tags)))
                .send()
                .await
                .map_err(|e| fault("rds:AddTagsToResource", e))?;
        }
        Ok(())
    }

    async fn delete(&self, cx: &Cx, _target: &Target<'_, Spec>, id: &str) -> Result<(), Fault> {
        match cx.cloud.rds.delete_db_parameter_group().db_parameter_group_name(id).send().await {
            // Databases on their way out hold on to their group until they are gone.
            Err(e) if is(&e, NOT_IN_THIS_STATUS) => {
                Err(Fault::busy("rds:DeleteDBParameterGroup", "InvalidDBParameterGroupState", "a database still uses the parameter group"))
            }
            Err(e) if !is(&e, ABSENT) => Err(fault("rds:DeleteDBParameterGroup", e)),
            _ => Ok(()),
        }
    }

    fn ready(&self, _target: &Target<'_, Spec>, _state: &State) -> Ready {
        Ready::Ready
    }

    fn outputs(&self, _target: &Target<'_, Spec>, id: &str, _state: &State) -> Outputs {
        Outputs::from([("name".to_owned(), id.to_owned())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::kind::Address;
    use serde_json::json;

    fn spec(parameters: serde_json::Value) -> Spec {
        serde_json::from_value(json!({"name": "mate-a", "family": "postgres16", "parameters": parameters})).unwrap()
    }

    fn state(family: &str, parameters: serde_json::Value) -> State {
        serde_json::from_value(json!({"arn": "arn", "family": family, "parameters": parameters, "tags": {}})).unwrap()
    }

    #[test]
    fn differences_are_named_by_parameter() {
        let tls = json!({"value": "1", "user": true, "dynamic": true});
        let mine = json!({"value": "7", "user": true, "dynamic": true});
        let rows = [
            ("nothing set yet", json!({}), "postgres16", json!({}), "update rds.force_ssl: (default) → 1"),
            ("as wanted", json!({}), "postgres16", json!({"rds.force_ssl": tls}), "same"),
            (
                "switched off by hand",
                json!({}),
                "postgres16",
                json!({"rds.force_ssl": {"value": "0", "user": true, "dynamic": true}}),
                "update rds.force_ssl: 0 → 1",
            ),
            ("no longer wanted", json!({}), "postgres16", json!({"rds.force_ssl": tls, "work_mem": mine}), "update work_mem: 7 → (default)"),
            ("another major version", json!({}), "postgres15", json!({"rds.force_ssl": tls}), "forbidden"),
        ];
        for (why, wanted, family, found, expected) in rows {
            let (address, spec, tags) = (Address::new("a", "rds_parameter_group", "main"), spec(wanted), Tags::new());
            let said = match RdsParameterGroup.diff(&Target { address: &address, spec: &spec, tags: &tags }, &state(family, found)) {
                Diff::Same => "same".to_owned(),
                Diff::Update(changes) => format!("update {}", changes[0]).replace("parameters.", ""),
                Diff::Replace(change) => format!("replace {change}"),
                Diff::Forbidden(_) => "forbidden".to_owned(),
            };
            assert_eq!(said, expected, "{why}");
        }
    }
}
