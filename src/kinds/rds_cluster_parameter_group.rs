//! An RDS parameter group for clusters. Its name is unique; parameters are further calls, so updates.

use super::Cx;
use super::rds_parameters::{Spec, State, diff};
use crate::cloud::fault::{fault, is};
use crate::cloud::rds::{self, NOT_IN_THIS_STATUS};
use crate::cloud::tags::{Ownership, ownership};
use crate::engine::fault::Fault;
use crate::engine::kind::{Deletion, Diff, Identity, Kind, Limit, Observed, Outputs, Ready, Suspension, Target, Timing};

/// The kind.
pub struct RdsClusterParameterGroup;

const ABSENT: &[&str] = &["DBParameterGroupNotFound", "DBParameterGroupNotFoundFault", "DBClusterParameterGroupNotFound"];

impl Kind for RdsClusterParameterGroup {
    type Cx = Cx;
    type Spec = Spec;
    type State = State;

    const NAME: &'static str = "rds_cluster_parameter_group";
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
        let found = match rds.describe_db_cluster_parameter_groups().db_cluster_parameter_group_name(name).send().await {
            Ok(found) => found,
            Err(e) if is(&e, ABSENT) => return Ok(Observed::Absent),
            Err(e) => return Err(fault("rds:DescribeDBClusterParameterGroups", e)),
        };
        let Some(group) = found.db_cluster_parameter_groups().first() else { return Ok(Observed::Absent) };
        let arn = group.db_cluster_parameter_group_arn().unwrap_or_default();
        let tags = rds.list_tags_for_resource().resource_name(arn).send().await.map_err(|e| fault("rds:ListTagsForResource", e))?;
        let tags = rds::tags(tags.tag_list());
        if let Ownership::Foreign(whose) = ownership(&tags, target.tags) {
            return Ok(Observed::Foreign(whose));
        }
        let mut pages = rds.describe_db_cluster_parameters().db_cluster_parameter_group_name(name).into_paginator().items().send();
        let mut all = Vec::new();
        while let Some(parameter) = pages.next().await {
            all.push(parameter.map_err(|e| fault("rds:DescribeDBClusterParameters", e))?);
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
        diff(target.spec, target.tags, state)
    }

    async fn create(&self, cx: &Cx, target: &Target<'_, Spec>, _token: &str) -> Result<String, Fault> {
        let made = cx
            .cloud
            .once()
            .rds
            .create_db_cluster_parameter_group()
            .db_cluster_parameter_group_name(&target.spec.name)
            .db_parameter_group_family(&target.spec.family)
            .description(target.address.to_string())
            .set_tags(Some(rds::tag_list(target.tags)))
            .send()
            .await;
        match made {
            Ok(_) => Ok(target.spec.name.clone()),
            Err(e) if is(&e, &["DBParameterGroupAlreadyExists", "DBParameterGroupAlreadyExistsFault"]) => {
                Err(Fault::unknown("rds:CreateDBClusterParameterGroup", "DBParameterGroupAlreadyExists", "a parameter group of that name exists already"))
            }
            Err(e) => Err(fault("rds:CreateDBClusterParameterGroup", e)),
        }
    }

    async fn update(&self, cx: &Cx, target: &Target<'_, Spec>, id: &str, state: &State) -> Result<(), Fault> {
        let rds = &cx.cloud.rds;
        for portion in target.spec.parameters.to_set(&state.parameters) {
            rds.modify_db_cluster_parameter_group()
                .db_cluster_parameter_group_name(id)
                .set_parameters(Some(portion))
                .send()
                .await
                .map_err(|e| fault("rds:ModifyDBClusterParameterGroup", e))?;
        }
        for portion in target.spec.parameters.to_reset(&state.parameters) {
            rds.reset_db_cluster_parameter_group()
                .db_cluster_parameter_group_name(id)
                .reset_all_parameters(false)
                .set_parameters(Some(portion))
                .send()
                .await
                .map_err(|e| fault("rds:ResetDBClusterParameterGroup", e))?;
        }
        rds::retag(rds, &state.arn, &state.tags, target.tags).await
    }

    async fn delete(&self, cx: &Cx, _target: &Target<'_, Spec>, id: &str) -> Result<(), Fault> {
        match cx.cloud.rds.delete_db_cluster_parameter_group().db_cluster_parameter_group_name(id).send().await {
            // Databases on their way out hold on to their group until they are gone.
            Err(e) if is(&e, NOT_IN_THIS_STATUS) => {
                Err(Fault::busy("rds:DeleteDBClusterParameterGroup", "InvalidDBParameterGroupState", "a database still uses the parameter group"))
            }
            Err(e) if !is(&e, ABSENT) => Err(fault("rds:DeleteDBClusterParameterGroup", e)),
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
