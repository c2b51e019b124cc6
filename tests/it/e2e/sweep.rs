//! What is there, asked of AWS and PostgreSQL themselves: every service is listed whole, and whatever is marked as a tenant's is noted.
//! It knows nothing of plans or records, so that it can find what they have forgotten.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use aws_sdk_applicationautoscaling::types::ServiceNamespace;
use aws_sdk_ecs::types::ServiceField;
use futures_util::FutureExt;
use labctl::cloud::Cloud;
use serde_json::Value;

use super::fixture::{World, connect};
use crate::audit::definitions::definitions;

/// Of each tenant: what carries its mark, as (address, what the service knows it by), sorted. A thing made twice is in it twice.
pub type Found = BTreeMap<String, Vec<(String, String)>>;

#[derive(Default)]
struct Notes(Found);

impl Notes {
    /// Notes a thing, if its tags say whose it is.
    fn tags(&mut self, id: &str, tags: impl IntoIterator<Item = (String, String)>) {
        let tags: BTreeMap<_, _> = tags.into_iter().collect();
        let Some(tenant) = tags.get("labctl:tenant") else { return };
        assert!(tags.contains_key("labctl:registry"), "{id} does not say which registry it belongs to");
        self.note(tenant, tags.get("labctl:address").unwrap_or_else(|| panic!("{id} has no address")), id);
    }

    fn note(&mut self, tenant: &str, address: &str, id: &str) {
        self.0.entry(tenant.to_owned()).or_default().push((address.to_owned(), id.to_owned()));
    }

    fn comment(&mut self, id: &str, comment: Option<&str>) {
        let tags: BTreeMap<String, String> = comment.and_then(|c| serde_json::from_str(c).ok()).unwrap_or_default();
        self.tags(id, tags);
    }
}

/// Lists everything there is. Other tests delete things meanwhile: what is gone when it is asked about is left out (should it be the asking
/// test's own, that test misses it), and a listing that met something on its way out is made again.
pub async fn sweep(world: &World) -> Found {
    for _ in 0..4 {
        match AssertUnwindSafe(Box::pin(list(world))).catch_unwind().await {
            Ok(found) => return found,
            Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
        }
    }
    Box::pin(list(world)).await
}

/// Each part in a box: together they are more than a test's thread has room for.
async fn list(world: &World) -> Found {
    let cloud = world.cloud().await;
    let mut notes = Notes::default();
    Box::pin(storage(&cloud, &mut notes)).await;
    Box::pin(identity(&cloud, &mut notes)).await;
    Box::pin(compute(&cloud, &mut notes)).await;
    Box::pin(rds(&cloud, &mut notes)).await;
    Box::pin(the_rest(&cloud, &mut notes)).await;
    Box::pin(postgres(world, &mut notes)).await;
    let mut found = notes.0;
    found.values_mut().for_each(|things| things.sort());
    found
}

/// What `tenant show` lists, in the same shape.
pub fn shown(tenant: &Value) -> Vec<(String, String)> {
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    let mut all: Vec<_> = tenant["resources"].as_array().unwrap().iter().map(|r| (text(&r["address"]), text(&r["id"]))).collect();
    all.sort();
    all
}

async fn storage(cloud: &Cloud, notes: &mut Notes) {
    let mut pages = cloud.s3.list_buckets().into_paginator().send();
    let mut buckets = Vec::new();
    while let Some(page) = pages.next().await {
        buckets.extend(page.unwrap().buckets.unwrap_or_default().into_iter().filter_map(|b| b.name));
    }
    for name in buckets {
        if let Ok(found) = cloud.s3.get_bucket_tagging().bucket(&name).send().await {
            notes.tags(&name, found.tag_set.into_iter().map(|t| (t.key, t.value)));
        }
        // Other tests make and delete buckets and log groups of no tenant meanwhile.
        let mut pages = cloud.s3.list_objects_v2().bucket(&name).into_paginator().send();
        let mut keys = Vec::new();
        while let Some(Ok(page)) = pages.next().await {
            keys.extend(page.contents.unwrap_or_default().into_iter().filter_map(|o| o.key));
        }
        for key in keys {
            let Ok(found) = cloud.s3.get_object_tagging().bucket(&name).key(&key).send().await else { continue };
            notes.tags(&format!("s3://{name}/{}", key.trim_end_matches(".keep")), found.tag_set.into_iter().map(|t| (t.key, t.value)));
        }
    }
}

async fn identity(cloud: &Cloud, notes: &mut Notes) {
    let mut pages = cloud.cognito.list_user_pools().max_results(60).into_paginator().send();
    let mut pools = Vec::new();
    while let Some(page) = pages.next().await {
        pools.extend(page.unwrap().user_pools.unwrap_or_default().into_iter().filter_map(|p| p.id));
    }
    for id in pools {
        let Ok(found) = cloud.cognito.describe_user_pool().user_pool_id(&id).send().await else { continue };
        let pool = found.user_pool.unwrap();
        let tags: BTreeMap<String, String> = pool.user_pool_tags.unwrap_or_default().into_iter().collect();
        // Clients carry no tags: they belong to whom their pool belongs to.
        if let Some(tenant) = tags.get("labctl:tenant") {
            let mut clients = cloud.cognito.list_user_pool_clients().user_pool_id(&id).max_results(60).into_paginator().items().send();
            while let Some(Ok(client)) = clients.next().await {
                notes.note(tenant, &format!("{tenant}/cognito_user_pool_client/web"), &format!("{id}/{}", client.client_id.unwrap()));
            }
        }
        notes.tags(&id, tags);
        let mut groups = cloud.cognito.list_groups().user_pool_id(&id).into_paginator().items().send();
        while let Some(Ok(group)) = groups.next().await {
            let description = group.description.unwrap_or_default();
            notes.comment(&format!("{id}/{}", group.group_name.unwrap()), description.lines().last());
        }
        let mut users = cloud.cognito.list_users().user_pool_id(&id).into_paginator().items().send();
        while let Some(Ok(user)) = users.next().await {
            let of = |name: &str| user.attributes().iter().find(|a| a.name == name).and_then(|a| a.value.clone());
            if let (Some(tenant), Some(sub)) = (of("custom:tenant_id"), of("sub")) {
                notes.note(&tenant, &format!("{tenant}/cognito_user/admin"), &format!("{id}/{sub}"));
            }
        }
    }
}

async fn compute(cloud: &Cloud, notes: &mut Notes) {
    let mut clusters = cloud.ecs.list_clusters().into_paginator().items().send();
    while let Some(cluster) = clusters.next().await {
        let cluster = cluster.unwrap();
        let services = cloud.ecs.list_services().cluster(&cluster).max_results(100).into_paginator().items().send();
        let services = services.collect::<Result<Vec<_>, _>>().await.unwrap();
        for ten in services.chunks(10) {
            let call = cloud.ecs.describe_services().cluster(&cluster).set_services(Some(ten.to_vec())).include(ServiceField::Tags);
            // A deleted service can be described for a while.
            for service in call.send().await.unwrap().services.unwrap_or_default().into_iter().filter(|s| s.status() != Some("INACTIVE")) {
                let tags = service.tags.unwrap_or_default().into_iter().filter_map(|t| t.key.zip(t.value));
                notes.tags(&service.service_arn.unwrap(), tags);
            }
        }
    }
    let mut targets = cloud.autoscaling.describe_scalable_targets().service_namespace(ServiceNamespace::Ecs).into_paginator().items().send();
    while let Some(target) = targets.next().await {
        let target = target.unwrap();
        let Ok(found) = cloud.autoscaling.list_tags_for_resource().resource_arn(target.scalable_target_arn.unwrap()).send().await else { continue };
        notes.tags(&target.resource_id, found.tags.unwrap_or_default());
    }
    for definition in definitions(cloud, |_| true).await {
        notes.tags(&definition.arn, definition.tags);
    }
}

async fn rds(cloud: &Cloud, notes: &mut Notes) {
    let rds = &cloud.rds;
    let pairs = |tags: Option<Vec<aws_sdk_rds::types::Tag>>| tags.unwrap_or_default().into_iter().filter_map(|t| t.key.zip(t.value)).collect::<Vec<_>>();
    for instance in rds.describe_db_instances().into_paginator().items().send().collect::<Result<Vec<_>, _>>().await.unwrap() {
        // The members of a Multi-AZ cluster are the cluster's, which is listed itself.
        if instance.db_cluster_identifier.is_none() {
            notes.tags(&instance.db_instance_identifier.unwrap(), pairs(instance.tag_list));
        }
    }
    for cluster in rds.describe_db_clusters().into_paginator().items().send().collect::<Result<Vec<_>, _>>().await.unwrap() {
        notes.tags(&cluster.db_cluster_identifier.unwrap(), pairs(cluster.tag_list));
    }
    for group in rds.describe_db_parameter_groups().into_paginator().items().send().collect::<Result<Vec<_>, _>>().await.unwrap() {
        let Ok(found) = rds.list_tags_for_resource().resource_name(group.db_parameter_group_arn.unwrap()).send().await else { continue };
        notes.tags(&group.db_parameter_group_name.unwrap(), pairs(found.tag_list));
    }
    for group in rds.describe_db_cluster_parameter_groups().into_paginator().items().send().collect::<Result<Vec<_>, _>>().await.unwrap() {
        let Ok(found) = rds.list_tags_for_resource().resource_name(group.db_cluster_parameter_group_arn.unwrap()).send().await else { continue };
        notes.tags(&group.db_cluster_parameter_group_name.unwrap(), pairs(found.tag_list));
    }
}

async fn the_rest(cloud: &Cloud, notes: &mut Notes) {
    let mut secrets = cloud.secrets.list_secrets().into_paginator().send();
    while let Some(page) = secrets.next().await {
        for secret in page.unwrap().secret_list.unwrap_or_default() {
            notes.tags(&secret.arn.unwrap(), secret.tags.unwrap_or_default().into_iter().filter_map(|t| t.key.zip(t.value)));
        }
    }
    let mut groups = cloud.logs.describe_log_groups().into_paginator().send();
    while let Some(page) = groups.next().await {
        for group in page.unwrap().log_groups.unwrap_or_default() {
            let arn = group.arn.unwrap();
            if let Ok(found) = cloud.logs.list_tags_for_resource().resource_arn(arn.trim_end_matches(":*")).send().await {
                notes.tags(&group.log_group_name.unwrap(), found.tags.unwrap_or_default());
            }
        }
    }
    let mut pages = cloud.kms.list_aliases().into_paginator().items().send();
    let mut aliases = Vec::new();
    while let Some(alias) = pages.next().await {
        aliases.push(alias.unwrap());
    }
    let mut keys = cloud.kms.list_keys().into_paginator().items().send();
    while let Some(key) = keys.next().await {
        let id = key.unwrap().key_id.unwrap();
        let Ok(found) = cloud.kms.list_resource_tags().key_id(&id).send().await else { continue };
        let tags: Vec<_> = found.tags.unwrap_or_default().into_iter().map(|t| (t.tag_key, t.tag_value)).collect();
        // A tenant's key has one name. Another test's may be half made just now: what is wrong with it is that test's to find.
        let names = aliases.iter().filter(|a| a.target_key_id.as_deref() == Some(&id)).count();
        let id = if names == 1 { id } else { format!("{id} with {names} aliases") };
        notes.tags(&id, tags);
    }
    let mut roles = cloud.iam.list_roles().into_paginator().send();
    while let Some(page) = roles.next().await {
        for role in page.unwrap().roles {
            let Ok(found) = cloud.iam.list_role_tags().role_name(&role.role_name).send().await else { continue };
            notes.tags(&role.role_name, found.tags.into_iter().map(|t| (t.key, t.value)));
        }
    }
}

async fn postgres(world: &World, notes: &mut Notes) {
    let (port, password) = (world.open().await.registry.port, world.passwords()["postgres"].clone());
    let mut db = connect(port, "postgres", &password, "postgres").await.unwrap();
    let roles: Vec<(String, Option<String>)> =
        sqlx::query_as("SELECT rolname::text, shobj_description(oid, 'pg_authid') FROM pg_roles").fetch_all(&mut db).await.unwrap();
    for (name, comment) in roles {
        notes.comment(&name, comment.as_deref());
    }
    let databases: Vec<(String, Option<String>)> =
        sqlx::query_as("SELECT datname::text, shobj_description(oid, 'pg_database') FROM pg_database WHERE datallowconn").fetch_all(&mut db).await.unwrap();
    for (database, comment) in databases {
        notes.comment(&database, comment.as_deref());
        let Ok(mut db) = connect(port, "postgres", &password, &database).await else { continue };
        let marked: Result<Vec<(String, Option<String>)>, sqlx::Error> = sqlx::query_as(
            "SELECT nspname::text, obj_description(oid, 'pg_namespace') FROM pg_namespace
             UNION ALL
             SELECT current_database() || '.' || relnamespace::regnamespace, obj_description(oid, 'pg_class') FROM pg_class",
        )
        .fetch_all(&mut db)
        .await;
        for (name, comment) in marked.unwrap_or_default() {
            notes.comment(&name, comment.as_deref());
        }
    }
}
