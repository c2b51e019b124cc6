//! Compute, database, role and secret kinds against a real AWS emulator: absent → made → as wanted → changed → gone, and everything twice.

use aws_sdk_applicationautoscaling::types::ServiceNamespace;
use labctl::cloud::tags::owned;
use labctl::engine::fault::{Class, Fault};
use labctl::engine::kind::{Address, Diff, Observed, Outputs, Ready, Tags, Target, find};
use labctl::kinds::{Cx, KINDS};
use serde_json::{Value, json};

use crate::world::world;

const ACCOUNT: &str = "123456789012";

/// One address of one tenant, driven the way the engine does.
struct Bench {
    cx: Cx,
    address: Address,
    tags: Tags,
}

impl Bench {
    async fn new(tenant: &str, kind: &str) -> Self {
        let address = Address::new(tenant, kind, "main");
        let mut tags = owned(&address, "registry-1");
        tags.insert("Environment".into(), "production".into());
        Self { cx: Cx::aws_only(world().cloud().await), address, tags }
    }

    async fn observe(&self, spec: &Value) -> Observed<Value> {
        let target = Target { address: &self.address, spec, tags: &self.tags };
        find(KINDS, &self.address.kind).unwrap().observe(&self.cx, &target, None).await.unwrap()
    }

    async fn mine(&self, spec: &Value) -> (String, Value) {
        match self.observe(spec).await {
            Observed::Mine { id, state } => (id, state),
            other => panic!("{}: expected to be mine, is {other:?}", self.address),
        }
    }

    async fn create(&self, spec: &Value) -> Result<String, Fault> {
        let target = Target { address: &self.address, spec, tags: &self.tags };
        find(KINDS, &self.address.kind).unwrap().create(&self.cx, &target, "0190b6a0-1111-7222-8333-444455556666").await
    }

    fn diff(&self, spec: &Value, state: &Value) -> Diff {
        find(KINDS, &self.address.kind).unwrap().diff(&Target { address: &self.address, spec, tags: &self.tags }, state).unwrap()
    }

    fn ready(&self, spec: &Value, state: &Value) -> Ready {
        find(KINDS, &self.address.kind).unwrap().ready(&Target { address: &self.address, spec, tags: &self.tags }, state).unwrap()
    }

    async fn delete(&self, spec: &Value, id: &str) {
        let target = Target { address: &self.address, spec, tags: &self.tags };
        find(KINDS, &self.address.kind).unwrap().delete(&self.cx, &target, id).await.unwrap();
    }

    /// Observes, creates and updates until nothing differs, in at most four rounds. Returns the fields changed on the way.
    async fn apply(&self, spec: &Value) -> Vec<String> {
        find(KINDS, &self.address.kind).unwrap().check(spec).unwrap();
        let mut changed = Vec::new();
        for _ in 0..4 {
            let (id, state) = match self.observe(spec).await {
                Observed::Absent => {
                    self.create(spec).await.unwrap();
                    self.mine(spec).await
                }
                Observed::Mine { id, state } => (id, state),
                other => panic!("{}: {other:?}", self.address),
            };
            match self.diff(spec, &state) {
                Diff::Same => return changed,
                Diff::Update(changes) => {
                    changed.extend(changes.into_iter().map(|c| c.to_string()));
                    let target = Target { address: &self.address, spec, tags: &self.tags };
                    find(KINDS, &self.address.kind).unwrap().update(&self.cx, &target, &id, &state).await.unwrap();
                }
                other => panic!("{}: {other:?}", self.address),
            }
        }
        panic!("{} does not settle: {changed:?}", self.address)
    }

    async fn outputs(&self, spec: &Value) -> Outputs {
        let (id, state) = self.mine(spec).await;
        find(KINDS, &self.address.kind).unwrap().outputs(&Target { address: &self.address, spec, tags: &self.tags }, &id, &state).unwrap()
    }

    /// What every kind must do: be absent, come to be, stay the same, be foreign to others, go, and go again.
    async fn round_trip(&self, first: &Value, second: &Value) -> Outputs {
        assert_eq!(self.observe(first).await, Observed::Absent, "{}", self.address);
        self.apply(first).await;
        assert_eq!(self.apply(first).await, [""; 0], "{}: applying again changes nothing", self.address);
        let outputs = self.outputs(first).await;
        let declared = find(KINDS, &self.address.kind).unwrap().outputs_declared();
        assert_eq!(outputs.keys().map(String::as_str).collect::<std::collections::BTreeSet<_>>(), declared.iter().copied().collect());

        let stranger = Self::new("somebody-else", &self.address.kind).await;
        assert!(matches!(stranger.observe(first).await, Observed::Foreign(_)), "{}: it is foreign to another tenant", self.address);

        assert_ne!(self.apply(second).await, [""; 0], "{}: the second spec differs", self.address);
        assert_eq!(self.apply(second).await, [""; 0], "{}", self.address);
        outputs
    }

    async fn gone(&self, spec: &Value) {
        let (id, _) = self.mine(spec).await;
        self.delete(spec, &id).await;
        self.delete(spec, &id).await;
        assert_eq!(self.observe(spec).await, Observed::Absent, "{}", self.address);
    }
}

fn task_definition(family: &str, image: &str) -> Value {
    json!({
        "family": family, "cpu": 512, "memory": 1024,
        "task_role_arn": format!("arn:aws:iam::{ACCOUNT}:role/task"), "execution_role_arn": format!("arn:aws:iam::{ACCOUNT}:role/execution"),
        "containers": [{
            "name": "django", "image": image, "port": 8000, "log_group": "/ecs/mate-a/django",
            "environment": {"DJANGO_SETTINGS_MODULE": "mate.settings", "AWS_KMS_KEY_ID": "x"},
            "secrets": {"DATABASE_PASSWORD": format!("arn:aws:secretsmanager:us-east-1:{ACCOUNT}:secret:mate-a:password::")},
            "health_check": {"command": ["CMD-SHELL", "curl -f http://localhost:8000/health"]},
        }],
    })
}

#[tokio::test]
async fn an_instance_round_trips_and_leaves_no_copy() {
    let bench = Bench::new("a", "rds_instance").await;
    let cloud = &bench.cx.cloud;
    parameter_groups("mate-a-instance").await;
    let subnet_group = world().platform("/db_subnet_group");
    let spec = |class: &str, storage: i32| {
        json!({
            "identifier": "mate-a-instance", "engine_version": "16", "instance_class": class, "storage_gb": storage, "max_storage_gb": 200,
            "master_username": "mate", "database": "mate", "subnet_group": subnet_group, "security_groups": ["sg-1"], "parameter_group": "mate-a-instance",
            "backup_days": 14, "multi_az": false, "performance_insights": true,
        })
    };
    let (first, second) = (spec("db.t4g.medium", 50), spec("db.t4g.large", 80));
    let outputs = bench.round_trip(&first, &second).await;
    assert_eq!(outputs["endpoint"], format!("{}:{}", outputs["address"], outputs["port"]));
    assert_eq!(bench.ready(&second, &bench.mine(&second).await.1), Ready::Ready);
    assert!(matches!(bench.diff(&first, &bench.mine(&first).await.1), Diff::Update(_)), "the class goes back; the storage stays, it is within the ceiling");
    cloud.rds.create_db_snapshot().db_instance_identifier("mate-a-instance").db_snapshot_identifier("by-hand").send().await.unwrap();
    bench.gone(&second).await;
    let snapshots = cloud.rds.describe_db_snapshots().db_instance_identifier("mate-a-instance").send().await.unwrap();
    assert!(snapshots.db_snapshots().is_empty(), "{snapshots:?}");
}

#[tokio::test]
async fn a_cluster_round_trips_and_leaves_no_copy() {
    let bench = Bench::new("a", "rds_cluster").await;
    parameter_groups("mate-a-cluster").await;
    let subnet_group = world().platform("/db_subnet_group");
    let spec = |days: i32| {
        json!({
            "identifier": "mate-a-cluster", "engine_version": "16", "instance_class": "db.m6gd.large", "storage_gb": 100, "iops": 3000, "storage_type": "io1",
            "master_username": "mate", "database": "mate", "subnet_group": subnet_group, "security_groups": ["sg-1"], "parameter_group": "mate-a-cluster",
            "backup_days": days, "performance_insights": true,
        })
    };
    let (first, second) = (spec(14), spec(35));
    let outputs = bench.round_trip(&first, &second).await;
    assert!(outputs["reader_endpoint"].ends_with(&format!(":{}", outputs["port"])));
    assert_eq!(bench.ready(&second, &bench.mine(&second).await.1), Ready::Ready);
    let rds = &bench.cx.cloud.rds;
    rds.create_db_cluster_snapshot().db_cluster_identifier("mate-a-cluster").db_cluster_snapshot_identifier("by-hand").send().await.unwrap();
    bench.gone(&second).await;
    let snapshots = rds.describe_db_cluster_snapshots().db_cluster_identifier("mate-a-cluster").send().await.unwrap();
    assert!(snapshots.db_cluster_snapshots().is_empty(), "{snapshots:?}");
}

/// Parameter groups for a database of this name.
async fn parameter_groups(name: &str) {
    for kind in ["rds_parameter_group", "rds_cluster_parameter_group"] {
        Bench::new("a", kind).await.apply(&json!({"name": name, "family": "postgres16"})).await;
    }
}

#[tokio::test]
async fn a_task_definition_moves_on_by_revisions() {
    let bench = Bench::new("a", "ecs_task_definition").await;
    let (first, second) = (task_definition("mate-a-revisions", "mate:1"), task_definition("mate-a-revisions", "mate:2"));
    let outputs = bench.round_trip(&first, &second).await;
    assert!(outputs["arn"].ends_with("task-definition/mate-a-revisions:1"), "{outputs:?}");
    assert!(bench.outputs(&second).await["arn"].ends_with("task-definition/mate-a-revisions:2"), "the newest revision is the output");
    // A lost reply: the create did its work, and is not called again because the next look finds it.
    let lost = task_definition("mate-a-revisions", "mate:3");
    bench.create(&lost).await.unwrap();
    assert_eq!(bench.apply(&lost).await, [""; 0]);
    bench.gone(&lost).await;
}

#[tokio::test]
async fn a_service_round_trips_and_leaves_scaling_alone() {
    let bench = Bench::new("a", "ecs_service").await;
    let cloud = &bench.cx.cloud;
    let cluster = world().platform("/cluster");
    let tasks = Bench::new("a", "ecs_task_definition").await;
    tasks.apply(&task_definition("mate-a-django", "mate:1")).await;
    let arn = tasks.outputs(&task_definition("mate-a-django", "mate:1")).await["arn"].clone();
    let (subnet, group) = (world().platform("/subnets/0"), world().platform("/security_groups/0"));
    let scaled = |desired: i32, max: i32, max_percent: i32| {
        json!({"cluster": cluster, "name": "mate-a-django", "task_definition": arn, "desired": desired, "min": 1, "max": max, "max_percent": max_percent,
            "subnets": [subnet], "security_groups": [group]})
    };
    bench.round_trip(&scaled(2, 5, 200), &scaled(8, 10, 150)).await;
    assert_eq!(bench.ready(&scaled(8, 10, 150), &bench.mine(&scaled(8, 10, 150)).await.1), Ready::Ready);
    cloud.ecs.update_service().cluster(cluster).service("mate-a-django").desired_count(4).send().await.unwrap();
    assert_eq!(bench.apply(&scaled(8, 10, 150)).await, [""; 0], "4 of 1–10 is auto-scaling's affair");
    assert_eq!(bench.apply(&scaled(1, 3, 150)).await, ["desired: 4 → 3"], "no fewer than the new most");
    scaling_round_trips(cluster).await;
    bench.gone(&scaled(1, 3, 150)).await;
}

/// Of the service of the test that calls this.
async fn scaling_round_trips(cluster: &str) {
    let bench = Bench::new("a", "scaling_target").await;
    let spec = |max: i32, cpu: i32, suspended: bool| {
        json!({"cluster": cluster, "service": "mate-a-django", "min": 1, "max": max, "target_cpu_percent": cpu, "scale_out_cooldown_seconds": 60,
            "scale_in_cooldown_seconds": 300, "suspended": suspended})
    };
    bench.round_trip(&spec(5, 60, false), &spec(4, 70, false)).await;
    assert_eq!(bench.apply(&spec(4, 70, true)).await, ["suspended: nothing → scale-out, scale-in, schedules"]);
    assert_eq!(bench.apply(&spec(4, 70, false)).await, ["suspended: scale-out, scale-in, schedules → nothing"]);
    bench.gone(&spec(4, 70, false)).await;
    let left =
        bench.cx.cloud.autoscaling.describe_scaling_policies().service_namespace(ServiceNamespace::Ecs).resource_id(format!("service/{cluster}/mate-a-django"));
    assert_eq!(left.send().await.unwrap().scaling_policies(), [], "the policy went with its target");
}

#[tokio::test]
async fn a_role_round_trips_and_loses_what_was_attached_by_hand() {
    let bench = Bench::new("a", "iam_role").await;
    let spec = |action: &str| {
        json!({
            "name": "mate-a-task", "service": "ecs-tasks.amazonaws.com", "description": "Tasks of a", "permissions_boundary_arn": format!("arn:aws:iam::{ACCOUNT}:policy/boundary"),
            "policy": {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": [action, "s3:GetObject"], "Resource": "arn:aws:s3:::mate-a/*"}},
        })
    };
    let (first, second) = (spec("s3:PutObject"), spec("s3:DeleteObject"));
    let outputs = bench.round_trip(&first, &second).await;
    assert_eq!(outputs["arn"], format!("arn:aws:iam::{ACCOUNT}:role/mate-a-task"));
    let iam = &bench.cx.cloud.iam;
    iam.attach_role_policy().role_name("mate-a-task").policy_arn("arn:aws:iam::aws:policy/AdministratorAccess").send().await.unwrap();
    let everything = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
    iam.put_role_policy().role_name("mate-a-task").policy_name("oops").policy_document(everything).send().await.unwrap();
    let changed = bench.apply(&second).await;
    assert_eq!(changed.len(), 2, "{changed:?}");
    assert_eq!(bench.create(&second).await.unwrap_err().class, Class::Unknown, "whether it is ours is for the next look to say");
    bench.gone(&second).await;
}

#[tokio::test]
async fn a_secret_keeps_its_password_and_comes_back_with_it() {
    let bench = Bench::new("a", "secret").await;
    let secrets = &bench.cx.cloud.secrets;
    let value = || async { secrets.get_secret_value().secret_id("mate-a/database").send().await.unwrap().secret_string.unwrap() };
    let spec = |host: &str| json!({"name": "mate-a/database", "values": {"host": host, "username": "mate"}, "generate": ["password"]});
    let (first, second) = (spec("old.example"), spec("new.example"));
    bench.round_trip(&first, &second).await;

    let kept: Value = serde_json::from_str(&value().await).unwrap();
    let password = kept["password"].as_str().unwrap();
    assert_eq!((kept["host"].as_str(), password.len()), (Some("new.example"), 32));
    let (_, state) = bench.mine(&second).await;
    assert!(!state.to_string().contains(password) && !format!("{state:?}").contains(password), "no state holds a password");

    let moved = json!({"name": "mate-a/database", "values": {"username": "mate"}, "generate": ["password", "django_key"]});
    assert_eq!(bench.apply(&moved).await, ["generate.django_key: (none) → (generated)"]);
    let more: Value = serde_json::from_str(&value().await).unwrap();
    assert_eq!(more["password"], kept["password"], "what is there is never generated again");

    bench.gone(&moved).await;
    bench.apply(&moved).await;
    assert_eq!(serde_json::from_str::<Value>(&value().await).unwrap(), more, "a secret of ours that waits for its deletion is restored");
}
