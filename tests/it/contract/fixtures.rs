//! For each kind what to try it with: a spec, another one that an update leads to, and what both refer to. The suite asks for a kind
//! of the list that has none here, and fails.

use serde_json::{Value, json};

use super::stage::{Stage, Subject};
use crate::tenant_databases::tenant::{role, schema, secret, version};
use crate::world::world;

/// How a thing says whose it is from its first moment on.
#[derive(Debug, Clone)]
pub enum Says {
    /// The ownership tags stand in the create call, whole or as the last line of a description.
    Address,
    /// The kind has no place for them: this text in the create call, documented with the kind, must do. It names the tenant, and no
    /// registry: another one's tenant of that id is nobody else to it.
    Words(String),
    /// Nor for that: it is made within a thing that is marked, which this text in the create call names. In what is not this tenant's, create
    /// refuses.
    Within(String),
    /// A comment written in the transaction that makes the thing.
    Transaction,
}

/// What a kind is tried with.
pub struct Fixture {
    pub subject: Subject,
    /// What is wanted of it later.
    pub changed: Value,
    /// How another tenant would ask for the same thing, where the spec itself names the tenant.
    pub theirs: Option<Value>,
    pub says: Says,
}

const ACCOUNT: &str = "123456789012";

fn fixture(tenant: &str, kind: &str, spec: Value, changed: Value, says: Says) -> Option<Fixture> {
    Some(Fixture { subject: Subject::new(tenant, kind, "main", spec), changed, theirs: None, says })
}

/// A thing of this kind that has not been there before, with all it needs in place.
pub async fn fresh(kind: &str, stage: &Stage) -> Option<Fixture> {
    let tenant = format!("ct-{}-{}", kind.replace('_', "-"), stage.number());
    let t = tenant.as_str();
    match kind {
        "cognito_access" => {
            let pool = pool(stage, t).await;
            let spec = json!({"pool_id": pool, "name": format!("suspended-{t}")});
            stage.make(t, "cognito_user", "admin", person(t, &pool, "trial", t)).await;
            let mut changed = spec.clone();
            changed["closed"] = json!(true);
            fixture(t, kind, spec, changed, Says::Address)
        }
        "cognito_group" => {
            let spec = |words: &str, pool: &str| json!({"pool_id": pool, "name": t, "description": words});
            let pool = pool(stage, t).await;
            fixture(t, kind, spec("people", &pool), spec("all people", &pool), Says::Address)
        }
        "cognito_user" => {
            let pool = pool(stage, t).await;
            let says = Says::Words(json!({"Name": "custom:tenant_id", "Value": t}).to_string());
            let found = fixture(t, kind, person(t, &pool, "trial", t), person(t, &pool, "standard", t), says)?;
            Some(Fixture { theirs: Some(person(t, &pool, "trial", "somebody-else")), ..found })
        }
        "cognito_user_pool" => {
            let spec = |length: i32| json!({"name": format!("{t}-pool"), "mfa": "off", "password_min_length": length, "deletion_protection": true});
            fixture(t, kind, spec(12), spec(14), Says::Address)
        }
        "cognito_user_pool_client" => {
            let pool = pool(stage, t).await;
            // A name that says nothing of the tenant: what marks it is the pool, which is the tenant's own.
            let spec = |minutes: i32| json!({"pool_id": pool, "name": "portal", "access_token_minutes": minutes});
            fixture(t, kind, spec(60), spec(30), Says::Within(format!("\"UserPoolId\":\"{pool}\"")))
        }
        "ecs_service" => {
            let (_, task) = stage.make(t, "ecs_task_definition", "main", tasks(t, "app:1")).await;
            fixture(t, kind, service(t, &task["arn"], 200), service(t, &task["arn"], 150), Says::Address)
        }
        "ecs_task_definition" => fixture(t, kind, tasks(t, "app:1"), tasks(t, "app:2"), Says::Address),
        "iam_role" => {
            let spec = |action: &str| {
                let policy = json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": action, "Resource": format!("arn:aws:s3:::{t}/*")}});
                json!({"name": t, "service": "ecs-tasks.amazonaws.com", "policy": policy})
            };
            fixture(t, kind, spec("s3:GetObject"), spec("s3:PutObject"), Says::Address)
        }
        "kms_key" => {
            let spec = |rotation: bool| json!({"alias": format!("alias/{t}"), "description": "data", "rotation": rotation});
            fixture(t, kind, spec(true), spec(false), Says::Address)
        }
        "log_group" => {
            let spec = |days: i32| json!({"name": format!("/contract/{t}"), "retention_days": days});
            fixture(t, kind, spec(30), spec(400), Says::Address)
        }
        "rds_parameter_group" | "rds_cluster_parameter_group" => {
            let spec = |millis: i32| json!({"name": t, "family": "postgres16", "parameters": {"log_min_duration_statement": millis}});
            fixture(t, kind, spec(500), spec(250), Says::Address)
        }
        "rds_instance" => {
            stage.make(t, "rds_parameter_group", "main", json!({"name": t, "family": "postgres16"})).await;
            let mut spec = server(t);
            (spec["multi_az"], spec["max_storage_gb"]) = (json!(false), json!(200));
            fixture(t, kind, spec.clone(), days(spec, 30), Says::Address)
        }
        "rds_cluster" => {
            stage.make(t, "rds_cluster_parameter_group", "main", json!({"name": t, "family": "postgres16"})).await;
            let mut spec = server(t);
            (spec["iops"], spec["storage_type"]) = (json!(3000), json!("io1"));
            fixture(t, kind, spec.clone(), days(spec, 30), Says::Address)
        }
        "s3_bucket" => {
            let spec = |days: i32| json!({"name": t, "noncurrent_days": days});
            fixture(t, kind, spec(30), spec(90), Says::Address)
        }
        "s3_prefix" => {
            stage.make("contract", "s3_bucket", "shared", json!({"name": "contract-shared", "noncurrent_days": 1})).await;
            let spec = json!({"bucket": "contract-shared", "prefix": format!("{t}/")});
            let mut changed = spec.clone();
            changed["kms_key_arn"] = json!(format!("arn:aws:kms:eu-central-1:{ACCOUNT}:key/k"));
            fixture(t, kind, spec, changed, Says::Address)
        }
        "scaling_target" => {
            let (_, task) = stage.make(t, "ecs_task_definition", "main", tasks(t, "app:1")).await;
            stage.make(t, "ecs_service", "main", service(t, &task["arn"], 200)).await;
            let spec = |max: i32| {
                json!({"cluster": world().platform("/cluster"), "service": t, "min": 1, "max": max, "target_cpu_percent": 60,
                    "scale_out_cooldown_seconds": 60, "scale_in_cooldown_seconds": 300})
            };
            fixture(t, kind, spec(4), spec(5), Says::Address)
        }
        "secret" => {
            let spec = |host: &str| json!({"name": format!("{t}/database"), "values": {"host": host}, "generate": ["password"]});
            fixture(t, kind, spec("old.example"), spec("new.example"), Says::Address)
        }
        _ => in_a_database(kind, &tenant.replace('-', "_"), stage).await,
    }
}

async fn in_a_database(kind: &str, t: &str, stage: &Stage) -> Option<Fixture> {
    let (server, secrets) = stage.database.as_ref()?;
    for part in ["migrate", "app", "read"] {
        secrets.set(&secret(t, part), json!({"username": format!("{t}_{part}"), "password": format!("pw-{part}")}));
    }
    let login = |part: &str, limit: i32| role(t, part, Some(&secret(t, part)), json!({"connection_limit": limit}));
    let owner = role(t, "owner", None, json!({}));
    let roles = [owner, login("migrate", 5), login("app", 5), login("read", 5)];
    let (spec, changed) = match kind {
        "postgres_role" => (login("app", 5).spec, login("app", 9).spec),
        "postgres_database" => {
            stage.make_all(&roles[..1]).await;
            let mut spec = roles[0].spec.clone();
            spec.as_object_mut().unwrap().remove("login");
            (spec["name"], spec["owner"]) = (json!(format!("{t}_db")), json!(format!("{t}_owner")));
            let mut changed = spec.clone();
            changed["connection_limit"] = json!(50);
            (spec, changed)
        }
        "postgres_rows" => {
            stage.make_all(&roles).await;
            let name = |part: &str| format!("system_{t}{part}");
            let system = json!({
                "stack": "contract", "schema": name(""), "owner": name("_owner"), "write": name("_write"), "read": name("_read"),
                "rows": {"visits": "tenant_id"}, "reference": [], "migrations": stage.system,
            });
            let mut spec = roles[0].spec.clone();
            spec.as_object_mut().unwrap().retain(|key, _| key == "host");
            (spec["database"], spec["system"]) = (json!(server.shared), system);
            (spec["app_role"], spec["readonly_role"]) = (json!(format!("{t}_app")), json!(format!("{t}_read")));
            let mut changed = spec.clone();
            changed["read_only"] = json!(true);
            (spec, changed)
        }
        "postgres_schema" => {
            stage.make_all(&roles).await;
            let spec = schema(t, &server.shared).spec;
            let mut changed = spec.clone();
            changed["read_only"] = json!(true);
            (spec, changed)
        }
        "postgres_schema_version" => {
            stage.make_all(&roles).await;
            stage.make_all(&[schema(t, &server.shared)]).await;
            (version(t, &server.shared, &stage.steps[..1]).spec, version(t, &server.shared, &stage.steps).spec)
        }
        _ => return None,
    };
    fixture(t, kind, spec, changed, Says::Transaction)
}

async fn pool(stage: &Stage, t: &str) -> String {
    let spec = json!({"name": format!("{t}-pool"), "mfa": "off", "password_min_length": 12, "deletion_protection": false});
    stage.make(t, "cognito_user_pool", "main", spec).await.0
}

fn person(t: &str, pool: &str, tier: &str, tenant: &str) -> Value {
    json!({"pool_id": pool, "email": format!("admin@{t}.example"), "tenant_id": tenant, "tenant_tier": tier})
}

fn tasks(t: &str, image: &str) -> Value {
    json!({
        "family": t, "cpu": 256, "memory": 512,
        "task_role_arn": format!("arn:aws:iam::{ACCOUNT}:role/task"), "execution_role_arn": format!("arn:aws:iam::{ACCOUNT}:role/execution"),
        "containers": [{"name": "app", "image": image, "port": 8000, "log_group": format!("/contract/{t}")}],
    })
}

fn service(t: &str, task: &str, max_percent: i32) -> Value {
    json!({"cluster": world().platform("/cluster"), "name": t, "task_definition": task, "desired": 1, "min": 1, "max": 5, "max_percent": max_percent,
        "subnets": [world().platform("/subnets/0")], "security_groups": [world().platform("/security_groups/0")]})
}

fn server(t: &str) -> Value {
    json!({"identifier": t, "engine_version": "16", "instance_class": "db.m6gd.large", "storage_gb": 100, "master_username": "app", "database": "app",
        "subnet_group": world().platform("/db_subnet_group"), "security_groups": ["sg-1"], "parameter_group": t, "backup_days": 14, "performance_insights": true})
}

fn days(mut spec: Value, days: i32) -> Value {
    spec["backup_days"] = json!(days);
    spec
}
