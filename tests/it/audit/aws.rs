//! AWS's side: every service is listed whole; of what could be theirs the tags are read. What goes away while it is looked at is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::pin::Pin;

use aws_sdk_applicationautoscaling::types::ServiceNamespace;
use aws_sdk_ecs::types::ServiceField;
use aws_sdk_kms::types::KeyState;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use labctl::cloud::Cloud;

use super::definitions::definitions;
use super::{Eye, Owner, Record, Scope, Thing};

/// Each kind there is, and what its things are called here: a resource on record must be among these. A test holds it against the crate's own list.
pub const KNOWN: &[(&str, &str)] = &[
    ("cognito_access", "groups"),
    ("cognito_group", "groups"),
    ("cognito_user", "users"),
    ("cognito_user_pool", "user pools"),
    ("cognito_user_pool_client", "clients"),
    ("ecs_service", "services"),
    ("ecs_task_definition", "task definitions"),
    ("iam_role", "roles"),
    ("kms_key", "keys"),
    ("log_group", "log groups"),
    ("postgres_database", "databases"),
    ("postgres_role", "database roles"),
    ("postgres_rows", "rows"),
    ("postgres_schema", "schemas"),
    ("postgres_schema_version", "ledgers"),
    ("rds_cluster", "database clusters"),
    ("rds_cluster_parameter_group", "cluster parameter groups"),
    ("rds_instance", "database instances"),
    ("rds_parameter_group", "parameter groups"),
    ("s3_bucket", "buckets"),
    ("s3_prefix", "prefixes"),
    ("scaling_target", "scaling targets"),
    ("secret", "secrets"),
];

/// The answer about one thing; none where it is gone meanwhile. Any other error would hide what it is about.
pub(super) fn unless_gone<T, E: ProvideErrorMetadata + Debug, R: Debug>(answer: Result<T, SdkError<E, R>>) -> Option<T> {
    match answer {
        Ok(answer) => Some(answer),
        Err(e) => {
            let (code, message) = (e.code().unwrap_or_default(), e.message().unwrap_or_default());
            // ECS says it of a task definition, S3 of a bucket or an object.
            let gone = ["NotFound", "NoSuch"].iter().any(|w| code.contains(w)) || message.contains("Unable to describe task definition");
            assert!(gone, "{code}: {message}: {e:?}");
            None
        }
    }
}

pub(super) fn pairs<'a>(tags: impl Iterator<Item = (Option<&'a str>, Option<&'a str>)>) -> BTreeMap<String, String> {
    tags.filter_map(|(k, v)| Some((k?.to_owned(), v?.to_owned()))).collect()
}

fn thing(what: &'static str, id: &str, name: &str, tags: &BTreeMap<String, String>) -> Thing {
    Thing { what, id: id.to_owned(), name: name.to_owned(), owner: Owner::of(tags), of: None }
}

type Listing<'a> = Pin<Box<dyn Future<Output = Vec<Thing>> + Send + 'a>>;

pub(super) async fn list(cloud: &Cloud, eye: &Eye<'_>, records: &[Record]) -> Vec<Thing> {
    let services: Vec<Listing<'_>> = vec![
        Box::pin(buckets(cloud, eye, records)),
        Box::pin(pools(cloud, eye, records)),
        Box::pin(services(cloud, eye)),
        Box::pin(targets(cloud, eye)),
        Box::pin(task_definitions(cloud, eye)),
        Box::pin(databases(cloud)),
        Box::pin(parameter_groups(cloud, eye)),
        Box::pin(secrets(cloud)),
        Box::pin(log_groups(cloud, eye)),
        Box::pin(keys(cloud, eye)),
        Box::pin(roles(cloud, eye)),
    ];
    futures_util::future::join_all(services).await.into_iter().flatten().collect()
}

async fn buckets(cloud: &Cloud, eye: &Eye<'_>, records: &[Record]) -> Vec<Thing> {
    let mut found = Vec::new();
    let mut pages = cloud.s3.list_buckets().into_paginator().send();
    let mut names = Vec::new();
    while let Some(page) = pages.next().await {
        names.extend(page.unwrap().buckets.unwrap_or_default().into_iter().filter_map(|b| b.name));
    }
    for name in names.iter().filter(|n| eye.near(n)) {
        let tags = match cloud.s3.get_bucket_tagging().bucket(name).send().await {
            Err(e) if e.code() == Some("NoSuchTagSet") => BTreeMap::new(),
            other => match unless_gone(other) {
                Some(answer) => answer.tag_set.into_iter().map(|t| (t.key, t.value)).collect(),
                None => continue,
            },
        };
        found.push(thing("buckets", name, name, &tags));
    }
    // Folders: in the buckets that have one on record, and in whatever is shared.
    let with_folders = records.iter().filter_map(|r| r.id.as_deref()?.strip_prefix("s3://")?.split_once('/')).map(|(bucket, _)| bucket.to_owned());
    let shared = names.iter().filter(|n| n.contains("shared")).cloned();
    for bucket in with_folders.chain(shared).collect::<BTreeSet<String>>() {
        folders(cloud, eye, &bucket, &mut found).await;
    }
    found
}

/// One folder is one thing: its marker says whose it is. Objects without a marker are nobody's.
async fn folders(cloud: &Cloud, eye: &Eye<'_>, bucket: &str, found: &mut Vec<Thing>) {
    let mut seen: BTreeMap<String, bool> = BTreeMap::new();
    let mut pages: Vec<_> = unless_gone(cloud.s3.list_object_versions().bucket(bucket).send().await).into_iter().collect();
    while let Some(page) = pages.pop() {
        for (key, latest) in page.versions().iter().map(|v| (v.key(), v.is_latest() == Some(true))) {
            let (folder, rest) = key.and_then(|k| k.split_once('/')).unwrap_or((key.unwrap_or_default(), ""));
            *seen.entry(folder.to_owned()).or_default() |= rest == ".keep" && latest;
        }
        if page.is_truncated() == Some(true) {
            let next = cloud.s3.list_object_versions().bucket(bucket).set_key_marker(page.next_key_marker).set_version_id_marker(page.next_version_id_marker);
            pages.extend(unless_gone(next.send().await));
        }
    }
    for (folder, marked) in seen.into_iter().filter(|(folder, _)| matches!(eye.scope, Scope::Everything) || eye.sees(folder) || eye.near(folder)) {
        let mut tags = BTreeMap::new();
        if marked && let Some(answer) = unless_gone(cloud.s3.get_object_tagging().bucket(bucket).key(format!("{folder}/.keep")).send().await) {
            tags = answer.tag_set.into_iter().map(|t| (t.key, t.value)).collect();
        }
        let mut found_one = thing("prefixes", &format!("s3://{bucket}/{folder}/"), "", &tags);
        found_one.of = eye.tenants.contains_key(&folder).then_some(folder);
        found.push(found_one);
    }
}

async fn pools(cloud: &Cloud, eye: &Eye<'_>, records: &[Record]) -> Vec<Thing> {
    let cognito = &cloud.cognito;
    let entered: BTreeSet<&str> = records.iter().filter_map(|r| Some(r.id.as_deref()?.split_once('/')?.0)).collect();
    let mut found = Vec::new();
    let mut pages = cognito.list_user_pools().max_results(60).into_paginator().send();
    let mut pools = Vec::new();
    while let Some(page) = pages.next().await {
        pools.extend(page.unwrap().user_pools.unwrap_or_default().into_iter().filter_map(|p| p.id.zip(p.name)));
    }
    for (id, name) in &pools {
        let shared = !name.starts_with("tenant-");
        if !(shared || eye.near(id) || eye.near(name) || entered.contains(id.as_str())) {
            continue;
        }
        let Some(answer) = unless_gone(cognito.describe_user_pool().user_pool_id(id).send().await) else { continue };
        let tags: BTreeMap<String, String> = answer.user_pool.and_then(|p| p.user_pool_tags).unwrap_or_default().into_iter().collect();
        let pool = thing("user pools", id, name, &tags);
        let tenant = pool.owner.as_ref().map(|o| o.tenant.clone());
        found.push(pool);
        let mut pages = cognito.list_user_pool_clients().user_pool_id(id).max_results(60).into_paginator().items().send();
        while let Some(client) = pages.next().await {
            let client = client.unwrap();
            let id = format!("{id}/{}", client.client_id().unwrap_or_default());
            found.push(Thing { of: tenant.clone(), ..thing("clients", &id, client.client_name().unwrap_or_default(), &BTreeMap::new()) });
        }
        let mut pages = cognito.list_groups().user_pool_id(id).into_paginator().send();
        while let Some(page) = pages.next().await {
            for group in page.unwrap().groups.unwrap_or_default() {
                let name = group.group_name.unwrap_or_default();
                let tags = group.description.and_then(|d| serde_json::from_str(d.lines().last()?).ok()).unwrap_or_default();
                found.push(thing("groups", &format!("{id}/{name}"), &name, &tags));
            }
        }
        let mut pages = cognito.list_users().user_pool_id(id).into_paginator().items().send();
        while let Some(user) = pages.next().await {
            let user = user.unwrap();
            let of = |name: &str| user.attributes().iter().find(|a| a.name == name).and_then(|a| a.value.clone());
            let user_id = format!("{id}/{}", user.username().unwrap_or_default());
            // In these worlds nobody but labctl invites people: also somebody of a tenant in use must be on record. Who says nothing is the pool's.
            let tenant = of("custom:tenant_id").or_else(|| tenant.clone().filter(|_| !eye.ids.contains(&user_id)));
            found.push(Thing { of: tenant, ..thing("users", &user_id, &of("email").unwrap_or_default(), &BTreeMap::new()) });
        }
    }
    found
}

async fn services(cloud: &Cloud, eye: &Eye<'_>) -> Vec<Thing> {
    let mut found = Vec::new();
    for cluster in cloud.ecs.list_clusters().into_paginator().items().send().collect::<Result<Vec<_>, _>>().await.unwrap() {
        let mut arns = Vec::new();
        let mut pages = cloud.ecs.list_services().cluster(&cluster).max_results(100).into_paginator().items().send();
        while let Some(arn) = pages.next().await {
            let arn = arn.unwrap();
            arns.extend(eye.near(&arn).then_some(arn));
        }
        for ten in arns.chunks(10) {
            let call = cloud.ecs.describe_services().cluster(&cluster).set_services(Some(ten.to_vec())).include(ServiceField::Tags);
            let answer = call.send().await.unwrap();
            for service in answer.services().iter().filter(|s| s.status() != Some("INACTIVE")) {
                let tags = pairs(service.tags().iter().map(|t| (t.key(), t.value())));
                found.push(thing("services", service.service_arn().unwrap_or_default(), service.service_name().unwrap_or_default(), &tags));
            }
        }
    }
    found
}

async fn targets(cloud: &Cloud, eye: &Eye<'_>) -> Vec<Thing> {
    let mut found = Vec::new();
    let mut pages = cloud.autoscaling.describe_scalable_targets().service_namespace(ServiceNamespace::Ecs).into_paginator().items().send();
    while let Some(target) = pages.next().await {
        let target = target.unwrap();
        if !eye.near(&target.resource_id) {
            continue;
        }
        let Some(answer) = unless_gone(cloud.autoscaling.list_tags_for_resource().resource_arn(target.scalable_target_arn().unwrap_or_default()).send().await)
        else {
            continue;
        };
        found.push(thing("scaling targets", &target.resource_id, &target.resource_id, &answer.tags.unwrap_or_default().into_iter().collect()));
    }
    found
}

async fn task_definitions(cloud: &Cloud, eye: &Eye<'_>) -> Vec<Thing> {
    let found = definitions(cloud, |arn| eye.near(arn)).await;
    found.into_iter().map(|d| thing("task definitions", &d.arn, &d.family, &d.tags)).collect()
}

async fn databases(cloud: &Cloud) -> Vec<Thing> {
    let mut found = Vec::new();
    let mut pages = cloud.rds.describe_db_instances().into_paginator().items().send();
    while let Some(db) = pages.next().await {
        let db = db.unwrap();
        // The members of a Multi-AZ cluster are the cluster's.
        if db.db_cluster_identifier().is_none() {
            let name = db.db_instance_identifier().unwrap_or_default();
            found.push(thing("database instances", name, name, &pairs(db.tag_list().iter().map(|t| (t.key(), t.value())))));
        }
    }
    let mut pages = cloud.rds.describe_db_clusters().into_paginator().items().send();
    while let Some(db) = pages.next().await {
        let db = db.unwrap();
        let name = db.db_cluster_identifier().unwrap_or_default();
        found.push(thing("database clusters", name, name, &pairs(db.tag_list().iter().map(|t| (t.key(), t.value())))));
    }
    found
}

async fn parameter_groups(cloud: &Cloud, eye: &Eye<'_>) -> Vec<Thing> {
    let mut named = Vec::new();
    let mut pages = cloud.rds.describe_db_parameter_groups().into_paginator().items().send();
    while let Some(group) = pages.next().await {
        let group = group.unwrap();
        named.extend(group.db_parameter_group_name.zip(group.db_parameter_group_arn).map(|n| ("parameter groups", n)));
    }
    let mut pages = cloud.rds.describe_db_cluster_parameter_groups().into_paginator().items().send();
    while let Some(group) = pages.next().await {
        let group = group.unwrap();
        named.extend(group.db_cluster_parameter_group_name.zip(group.db_cluster_parameter_group_arn).map(|n| ("cluster parameter groups", n)));
    }
    let mut found = Vec::new();
    for (what, (name, arn)) in named.into_iter().filter(|(_, (name, _))| eye.near(name) && !name.starts_with("default.")) {
        let Some(answer) = unless_gone(cloud.rds.list_tags_for_resource().resource_name(arn).send().await) else { continue };
        found.push(thing(what, &name, &name, &pairs(answer.tag_list().iter().map(|t| (t.key(), t.value())))));
    }
    found
}

/// Those in their recovery window are on their way out: the list does not have them.
async fn secrets(cloud: &Cloud) -> Vec<Thing> {
    let mut found = Vec::new();
    let mut pages = cloud.secrets.list_secrets().into_paginator().send();
    while let Some(page) = pages.next().await {
        for secret in page.unwrap().secret_list.unwrap_or_default() {
            let tags = pairs(secret.tags().iter().map(|t| (t.key(), t.value())));
            // RDS makes one for the master user, and deletes it with its database.
            let name = secret.name().filter(|n| !n.starts_with("rds!")).unwrap_or_default();
            found.push(thing("secrets", secret.arn().unwrap_or_default(), name, &tags));
        }
    }
    found
}

async fn log_groups(cloud: &Cloud, eye: &Eye<'_>) -> Vec<Thing> {
    let mut found = Vec::new();
    let mut pages = cloud.logs.describe_log_groups().into_paginator().items().send();
    while let Some(group) = pages.next().await {
        let group = group.unwrap();
        let name = group.log_group_name().unwrap_or_default();
        if !eye.near(name) {
            continue;
        }
        let arn = group.arn().unwrap_or_default().trim_end_matches(":*");
        let Some(answer) = unless_gone(cloud.logs.list_tags_for_resource().resource_arn(arn).send().await) else { continue };
        found.push(thing("log groups", name, name, &answer.tags.unwrap_or_default().into_iter().collect()));
    }
    found
}

/// A key without its alias, or an alias without its key, is a thing by itself: neither is ever on record. A key on its way out is gone; its alias
/// goes with it.
async fn keys(cloud: &Cloud, eye: &Eye<'_>) -> Vec<Thing> {
    let mut aliases: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut pages = cloud.kms.list_aliases().into_paginator().items().send();
    while let Some(alias) = pages.next().await {
        let alias = alias.unwrap();
        aliases.entry(alias.target_key_id.unwrap_or_default()).or_default().extend(alias.alias_name);
    }
    let mut found = Vec::new();
    let mut pages = cloud.kms.list_keys().into_paginator().items().send();
    while let Some(key) = pages.next().await {
        let id = key.unwrap().key_id.unwrap_or_default();
        let named = aliases.remove(&id).unwrap_or_default();
        if !(named.is_empty() || eye.ids.contains(&id) || named.iter().any(|n| eye.near(n))) {
            continue;
        }
        let Some(answer) = unless_gone(cloud.kms.describe_key().key_id(&id).send().await) else { continue };
        if answer.key_metadata.and_then(|k| k.key_state) == Some(KeyState::PendingDeletion) {
            continue;
        }
        let Some(answer) = unless_gone(cloud.kms.list_resource_tags().key_id(&id).send().await) else { continue };
        let tags: BTreeMap<String, String> = answer.tags.unwrap_or_default().into_iter().map(|t| (t.tag_key, t.tag_value)).collect();
        let key = thing("keys", &id, "", &tags);
        if key.owner.is_some() {
            for extra in named.iter().skip(1) {
                found.push(Thing { id: extra.clone(), ..key.clone() });
            }
        }
        let nameless = key.owner.is_some() && named.is_empty();
        found.push(if nameless { Thing { id: format!("{id} (without an alias)"), ..key } } else { key });
    }
    // What is left leads to no key.
    let astray = aliases.values().flatten().filter(|name| eye.near(name));
    found.extend(astray.map(|name| thing("aliases", name, name, &BTreeMap::new())));
    found
}

async fn roles(cloud: &Cloud, eye: &Eye<'_>) -> Vec<Thing> {
    let mut found = Vec::new();
    let mut pages = cloud.iam.list_roles().into_paginator().items().send();
    while let Some(role) = pages.next().await {
        let name = role.unwrap().role_name;
        if !eye.near(&name) {
            continue;
        }
        let Some(answer) = unless_gone(cloud.iam.list_role_tags().role_name(&name).send().await) else { continue };
        found.push(thing("roles", &name, &name, &answer.tags.into_iter().map(|t| (t.key, t.value)).collect()));
    }
    found
}
