//! The embedded sandbox, for real: servers started, killed, found again; and every flaw of the emulator that is mended.
#![expect(clippy::unwrap_used, reason = "in a test, an unwrap is an assertion")]

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use aws_sdk_applicationautoscaling::types as scaling;
use aws_sdk_cognitoidentityprovider::types as cognito;
use aws_sdk_ecs::types as ecs;
use aws_sdk_s3::types as s3;
use aws_smithy_types::error::metadata::ProvideErrorMetadata as _;
use labctl::cloud::Cloud;
use labctl::sandbox::connector::Wire;
use labctl::sandbox::{Options, REGION, Sandbox, World};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{Connection as _, Row as _};

use crate::world;

/// A sandbox in a folder of its own, stopped and deleted at the end.
struct Place {
    dir: tempfile::TempDir,
    sandbox: Sandbox,
}

fn place(prefer_wheel: bool) -> Place {
    let dir = world::folder();
    let options = Options { dir: dir.path().join("sandbox"), tools: world::tools(), python: None, prefer_wheel, path: std::env::var_os("PATH") };
    Place { sandbox: Sandbox::at(options), dir }
}

impl Drop for Place {
    fn drop(&mut self) {
        let sandbox = self.sandbox.clone();
        std::thread::spawn(move || tokio::runtime::Runtime::new().unwrap().block_on(async { sandbox.stop(&|_| ()).await.map(drop).unwrap() })).join().ok();
    }
}

fn quiet(_: &str) {}

async fn registry(world: &World) -> PgConnection {
    let r = &world.registry;
    connect(r.port, &r.user, r.password.expose_secret(), &r.database, PgSslMode::Prefer).await.unwrap()
}

async fn connect(port: u16, user: &str, password: &str, database: &str, tls: PgSslMode) -> Result<PgConnection, sqlx::Error> {
    let options = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(port).username(user).password(password).database(database).ssl_mode(tls);
    PgConnection::connect_with(&options).await
}

async fn one(db: &mut PgConnection, sql: &'static str) -> String {
    sqlx::query(sql).fetch_one(db).await.unwrap().get(0)
}

/// What the secret says: user and password.
async fn login(cloud: &Cloud, arn: &str) -> (String, String) {
    let text = cloud.secrets.get_secret_value().secret_id(arn).send().await.unwrap().secret_string.unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    (value["username"].as_str().unwrap().to_owned(), value["password"].as_str().unwrap().to_owned())
}

fn pid(place: &Place, file: &str) -> i32 {
    let text = std::fs::read_to_string(place.dir.path().join("sandbox").join(file)).unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}

fn kill(pid: i32) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_sandbox_is_a_platform_and_the_emulators_flaws_are_mended() {
    let place = place(false);
    let said = Mutex::new(Vec::new());
    let world = place.sandbox.start(&|text| said.lock().unwrap().push(text.to_owned())).await.unwrap();
    assert!(!world.emptied);
    assert!(said.lock().unwrap().iter().any(|s| s.contains("PostgreSQL")), "{said:?}");
    let cloud = Cloud::connect(world.reach()).await;
    let from_wheel = std::fs::read_to_string(place.dir.path().join("sandbox/postgres/data/postmaster.opts")).unwrap().contains("pgserver");
    roles_are_what_rds_gives(&world, &cloud, !from_wheel).await;
    tokio::join!(cognito_is_mended(&world, &cloud), ecs_is_mended(&world, &cloud), rds_is_mended(&world, &cloud), s3_is_mended(&world, &cloud));
    cloudwatch_speaks_cbor(&cloud).await;
    let env: std::collections::BTreeMap<_, _> = place.sandbox.env().into_iter().collect();
    assert_eq!(env["AWS_ENDPOINT_URL"], world.endpoint_url);
    assert_eq!(env["PGUSER"], "labctl_admin");
    let folder = env["PATH"].split(':').find(|f| Path::new(f).join("aws").exists() && f.contains("moto-")).expect("aws on the PATH");
    let listed = std::process::Command::new(Path::new(folder).join("aws")).args(["s3", "ls"]).envs(&env).output().unwrap();
    assert!(String::from_utf8_lossy(&listed.stdout).contains("labctl-sandbox-shared"), "{listed:?}");
    if std::process::Command::new("psql").arg("--version").output().is_ok() {
        let seen = std::process::Command::new("psql").args(["-XAtc", "SELECT current_user || '@' || current_database()"]).envs(&env).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&seen.stdout).trim(), "labctl_admin@shared", "{seen:?}");
    }
}

async fn roles_are_what_rds_gives(world: &World, cloud: &Cloud, tls: bool) {
    let shared = &world.platform["databases"]["shared"];
    assert_eq!(world.tunnels[shared["endpoint"].as_str().unwrap()], format!("127.0.0.1:{}", world.registry.port));
    let (user, password) = login(cloud, shared["admin_secret_arn"].as_str().unwrap()).await;
    let mut db = connect(world.registry.port, &user, &password, "shared", PgSslMode::Prefer).await.unwrap();
    if tls && std::process::Command::new("openssl").arg("version").output().is_ok() {
        assert_eq!(one(&mut db, "SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()").await, "true");
    }
    assert_eq!(one(&mut db, "SELECT rolsuper::text FROM pg_roles WHERE rolname = current_user").await, "false");
    for statement in ["CREATE ROLE probe LOGIN", "GRANT probe TO CURRENT_USER", "CREATE DATABASE probe OWNER probe", "DROP DATABASE probe", "DROP ROLE probe"] {
        sqlx::raw_sql(statement).execute(&mut db).await.unwrap();
    }
    sqlx::raw_sql("CREATE ROLE stranger LOGIN PASSWORD 'x'").execute(&mut db).await.unwrap();
    for database in ["shared", "postgres", "labctl_registry", "template1"] {
        assert!(connect(world.registry.port, "stranger", "x", database, PgSslMode::Prefer).await.is_err(), "{database} is open to anybody");
    }
    assert!(connect(world.registry.port, "labctl_admin", "wrong", "shared", PgSslMode::Prefer).await.is_err());
    sqlx::raw_sql("DROP ROLE stranger").execute(&mut db).await.unwrap();
}

async fn cognito_is_mended(world: &World, cloud: &Cloud) {
    let shared = world.platform["user_pool_id"].as_str().unwrap();
    let refused = cloud.cognito.delete_user_pool().user_pool_id(shared).send().await.unwrap_err();
    assert_eq!(refused.code(), Some("InvalidParameterException"), "deletion protection holds");
    let arn = cloud.cognito.describe_user_pool().user_pool_id(shared).send().await.unwrap().user_pool.unwrap().arn.unwrap();
    cloud.cognito.tag_resource().resource_arn(&arn).tags("a", "b").send().await.unwrap();
    let tags = cloud.cognito.list_tags_for_resource().resource_arn(&arn).send().await.unwrap().tags.unwrap();
    assert_eq!((tags["labctl:platform"].as_str(), tags["a"].as_str()), ("sandbox", "b"));
    cloud.cognito.untag_resource().resource_arn(&arn).tag_keys("a").send().await.unwrap();
    assert_eq!(cloud.cognito.list_tags_for_resource().resource_arn(&arn).send().await.unwrap().tags.unwrap().len(), 1);
    cloud.cognito.update_user_pool().user_pool_id(shared).deletion_protection(cognito::DeletionProtectionType::Active).send().await.unwrap();
    let pool = cloud.cognito.describe_user_pool().user_pool_id(shared).send().await.unwrap().user_pool.unwrap();
    assert_eq!(pool.username_attributes(), [cognito::UsernameAttributeType::Email], "how users are named outlives an update");
    let attribute = |name: &str, value: &str| cognito::AttributeType::builder().name(name).value(value).build().unwrap();
    let create = cloud.cognito.admin_create_user().user_pool_id(shared).username("a@b.org");
    create.user_attributes(attribute("email", "a@b.org")).user_attributes(attribute("custom:tenant_id", "a")).send().await.unwrap();
    let change = cloud.cognito.admin_update_user_attributes().user_pool_id(shared).username("a@b.org");
    assert!(change.user_attributes(attribute("custom:tenant_id", "b")).send().await.is_err(), "an immutable attribute stays");
}

async fn ecs_is_mended(world: &World, cloud: &Cloud) {
    let cluster = world.platform["cluster"].as_str().unwrap();
    let container = ecs::ContainerDefinition::builder().name("django").image("x:1").essential(true).memory(128).build();
    let tag = ecs::Tag::builder().key("labctl:tenant").value("a").build();
    let registered = cloud.ecs.register_task_definition().family("probe").container_definitions(container).tags(tag.clone()).send().await.unwrap();
    assert_eq!(registered.tags().len(), 1);
    let definition = registered.task_definition.unwrap().task_definition_arn.unwrap();
    let subnets = world.platform["subnets"].as_array().unwrap().iter().map(|s| s.as_str().unwrap().to_owned()).collect();
    let network = ecs::AwsVpcConfiguration::builder().set_subnets(Some(subnets)).build().unwrap();
    let breaker = ecs::DeploymentCircuitBreaker::builder().enable(true).rollback(true).build();
    let create = |name: &str, token: &str| {
        cloud
            .ecs
            .create_service()
            .cluster(cluster)
            .service_name(name)
            .task_definition(&definition)
            .desired_count(2)
            .client_token(token)
            .enable_ecs_managed_tags(true)
            .network_configuration(ecs::NetworkConfiguration::builder().awsvpc_configuration(network.clone()).build())
            .deployment_configuration(ecs::DeploymentConfiguration::builder().deployment_circuit_breaker(breaker.clone()).minimum_healthy_percent(100).build())
            .tags(tag.clone())
    };
    let first = create("probe", "t1").send().await.unwrap().service.unwrap();
    let again = create("probe", "t1").send().await.unwrap().service.unwrap();
    assert_eq!(first.deployments()[0].id, again.deployments()[0].id, "the same token is the same service");
    let refused = create("probe", "t2").send().await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Some("InvalidParameterException"), Some("Creation of service was not idempotent.")));
    cloud.ecs.update_service().cluster(cluster).service("probe").desired_count(3).task_definition("probe:1").send().await.unwrap();
    let described = cloud.ecs.describe_services().cluster(cluster).services("probe").send().await.unwrap();
    // Who asks without tags takes nothing out of the answers of those who ask for them.
    let ask = |with: bool| async move {
        let call = cloud.ecs.describe_services().cluster(cluster).services("probe");
        let call = if with { call.include(ecs::ServiceField::Tags) } else { call };
        (with, !call.send().await.unwrap().services()[0].tags().is_empty())
    };
    for (with, tagged) in futures_util::future::join_all((0..60).map(|n| ask(n % 2 == 0))).await {
        assert_eq!(with, tagged);
    }
    let service = &described.services()[0];
    assert_eq!((service.running_count, service.pending_count, service.desired_count), (3, 0, 3));
    assert_eq!(service.deployments()[0].rollout_state, Some(ecs::DeploymentRolloutState::Completed));
    assert_eq!(service.task_definition(), Some(definition.as_str()));
    assert!(service.enable_ecs_managed_tags);
    assert_eq!(service.deployment_configuration().unwrap().deployment_circuit_breaker(), Some(&breaker));
    scaling_is_mended(cloud, &format!("service/{cluster}/probe")).await;
    for i in 0..11 {
        create(&format!("page{i}"), &format!("p{i}")).send().await.unwrap();
    }
    let page = cloud.ecs.list_services().cluster(cluster).send().await.unwrap();
    assert_eq!(page.service_arns().len(), 10);
    let rest = cloud.ecs.list_services().cluster(cluster).set_next_token(page.next_token).send().await.unwrap();
    assert_eq!((rest.service_arns().len(), rest.next_token()), (2, None));
    scaling_comes_in_pages(cloud, cluster).await;
    cloud.ecs.delete_service().cluster(cluster).service("probe").force(true).send().await.unwrap();
    create("probe", "t3").send().await.unwrap();
    cloud.ecs.deregister_task_definition().task_definition(&definition).send().await.unwrap();
    let gone = cloud.ecs.describe_task_definition().task_definition("probe").send().await.unwrap_err();
    assert_eq!(gone.code(), Some("ClientException"));
}

/// Of a service that is there.
async fn scaling_is_mended(cloud: &Cloud, id: &str) {
    let (ecs, dimension) = (scaling::ServiceNamespace::Ecs, scaling::ScalableDimension::EcsServiceDesiredCount);
    let calls = &cloud.autoscaling;
    let register = || calls.register_scalable_target().service_namespace(ecs.clone()).scalable_dimension(dimension.clone()).resource_id(id);
    let arn = register().min_capacity(1).max_capacity(3).tags("labctl:tenant", "a").send().await.unwrap().scalable_target_arn.unwrap();
    calls.tag_resource().resource_arn(&arn).tags("more", "b").send().await.unwrap();
    calls.untag_resource().resource_arn(&arn).tag_keys("more").send().await.unwrap();
    register().max_capacity(4).send().await.unwrap();
    let tags = calls.list_tags_for_resource().resource_arn(&arn).send().await.unwrap().tags.unwrap();
    assert_eq!(tags.into_iter().collect::<Vec<_>>(), [("labctl:tenant".to_owned(), "a".to_owned())], "a later registration leaves them");
    let metric = scaling::PredefinedMetricSpecification::builder().predefined_metric_type(scaling::MetricType::EcsServiceAverageCpuUtilization);
    let config = scaling::TargetTrackingScalingPolicyConfiguration::builder().target_value(50.0).predefined_metric_specification(metric.build().unwrap());
    let put = calls.put_scaling_policy().service_namespace(ecs.clone()).scalable_dimension(dimension.clone()).resource_id(id).policy_name("p");
    let put = put.policy_type(scaling::PolicyType::TargetTrackingScaling).target_tracking_scaling_policy_configuration(config.build().unwrap());
    put.send().await.unwrap();
    let gone = || calls.deregister_scalable_target().service_namespace(ecs.clone()).scalable_dimension(dimension.clone()).resource_id(id).send();
    gone().await.unwrap();
    let policies = calls.describe_scaling_policies().service_namespace(ecs.clone()).resource_id(id).send().await.unwrap();
    assert_eq!(policies.scaling_policies().len(), 0, "they went with their target");
    assert_eq!(gone().await.unwrap_err().code(), Some("ObjectNotFoundException"));
    assert_eq!(calls.list_tags_for_resource().resource_arn(&arn).send().await.unwrap_err().code(), Some("ResourceNotFoundException"));
}

/// Of services that are there: with two a page the emulator's own tokens lead to the second page again and again.
async fn scaling_comes_in_pages(cloud: &Cloud, cluster: &str) {
    let (ecs, dimension) = (scaling::ServiceNamespace::Ecs, scaling::ScalableDimension::EcsServiceDesiredCount);
    let ids: Vec<String> = (0..5).map(|i| format!("service/{cluster}/page{i}")).collect();
    for id in &ids {
        let register = cloud.autoscaling.register_scalable_target().service_namespace(ecs.clone()).scalable_dimension(dimension.clone()).resource_id(id);
        register.min_capacity(1).max_capacity(3).send().await.unwrap();
    }
    let pages = cloud.autoscaling.describe_scalable_targets().service_namespace(ecs.clone()).max_results(2).into_paginator().items().send();
    let listed = pages.collect::<Result<Vec<_>, _>>().await.unwrap();
    let listed: Vec<&str> = listed.iter().map(|t| t.resource_id.as_str()).filter(|id| ids.iter().any(|i| i == id)).collect();
    assert_eq!(listed, ids, "each of them once");
    for id in &ids {
        let gone = cloud.autoscaling.deregister_scalable_target().service_namespace(ecs.clone()).scalable_dimension(dimension.clone()).resource_id(id);
        gone.send().await.unwrap();
    }
}

async fn rds_is_mended(world: &World, cloud: &Cloud) {
    let groups = cloud.rds.describe_db_parameter_groups().db_parameter_group_name("nope").send().await.unwrap_err();
    assert_eq!(groups.code(), Some("DBParameterGroupNotFound"));
    let subnet_group = world.platform["db_subnet_group"].as_str().unwrap();
    let instance = cloud
        .rds
        .create_db_instance()
        .db_instance_identifier("probe")
        .engine("postgres")
        .engine_version("16.4")
        .db_instance_class("db.t4g.small")
        .allocated_storage(20)
        .master_username("labctl")
        .manage_master_user_password(true)
        .enable_performance_insights(true)
        .db_subnet_group_name(subnet_group)
        .send()
        .await
        .unwrap();
    assert_eq!(instance.db_instance.unwrap().performance_insights_enabled, Some(true));
    let described = cloud.rds.describe_db_instances().db_instance_identifier("probe").send().await.unwrap();
    let instance = &described.db_instances()[0];
    assert_eq!(instance.performance_insights_enabled, Some(true));
    let endpoint = instance.endpoint().unwrap();
    assert!(endpoint.address().unwrap().ends_with(".us-west-2.rds.amazonaws.com") && endpoint.port() == Some(5432), "{endpoint:?}");
    let cluster = || {
        cloud
            .rds
            .create_db_cluster()
            .db_cluster_identifier("probe")
            .engine("postgres")
            .engine_version("16.4")
            .db_cluster_instance_class("db.m6gd.large")
            .allocated_storage(100)
            .iops(3000)
            .storage_type("io1")
            .master_username("labctl")
            .manage_master_user_password(true)
            .db_subnet_group_name(subnet_group)
    };
    let made = cluster().send().await.unwrap().db_cluster.unwrap();
    assert_eq!(made.multi_az, Some(true));
    assert_eq!(cluster().send().await.unwrap_err().code(), Some("DBClusterAlreadyExistsFault"));
    let found = cloud.rds.describe_db_clusters().db_cluster_identifier("probe").send().await.unwrap();
    let found = &found.db_clusters()[0];
    assert_eq!(found.endpoint, made.endpoint);
    for arn in [instance.master_user_secret().unwrap().secret_arn(), found.master_user_secret().unwrap().secret_arn()] {
        let (user, password) = login(cloud, arn.unwrap()).await;
        connect(world.registry.port, &user, &password, "postgres", PgSslMode::Prefer).await.unwrap().close().await.unwrap();
    }
    let snapshots = async || cloud.rds.describe_db_cluster_snapshots().db_cluster_identifier("probe").send().await.unwrap().db_cluster_snapshots().len();
    assert_eq!(snapshots().await, 1, "the emulator makes an automated one at once");
    cloud.rds.delete_db_cluster().db_cluster_identifier("probe").skip_final_snapshot(true).delete_automated_backups(true).send().await.unwrap();
    assert_eq!(snapshots().await, 0);
    assert!(cloud.rds.describe_db_cluster_automated_backups().send().await.unwrap().db_cluster_automated_backups().is_empty());
}

async fn s3_is_mended(world: &World, cloud: &Cloud) {
    let shared = world.platform["bucket"].as_str().unwrap();
    cloud.s3.put_object().bucket(shared).key("a/.keep").send().await.expect("a policy against plain HTTP does not shut out what it spares");
    let policy = cloud.s3.get_bucket_policy().bucket(shared).send().await.unwrap().policy.unwrap();
    assert_eq!(serde_json::from_str::<Value>(&policy).unwrap()["Statement"][0]["Action"], json!("s3:*"));
    let tag = s3::Tag::builder().key("labctl:tenant").value("a & b").build().unwrap();
    let config = s3::CreateBucketConfiguration::builder().location_constraint(REGION.into()).tags(tag.clone()).build();
    cloud.s3.create_bucket().bucket("probe-tags").create_bucket_configuration(config).send().await.unwrap();
    assert_eq!(cloud.s3.get_bucket_tagging().bucket("probe-tags").send().await.unwrap().tag_set(), std::slice::from_ref(&tag));
    // Killed between the bucket and its tags: they are put on by whoever reads them, once.
    let wire = Wire::to(world.endpoint_url.rsplit(':').next().unwrap().parse().unwrap());
    let (note, tags) = ("/labctl-sandbox/half-made-buckets/probe-half", "<Tag><Key>labctl:tenant</Key><Value>a &amp; b</Value></Tag>");
    wire.remember(note, tags).await.unwrap();
    let here = s3::CreateBucketConfiguration::builder().location_constraint(REGION.into()).build();
    cloud.s3.create_bucket().bucket("probe-half").create_bucket_configuration(here).send().await.unwrap();
    assert_eq!(cloud.s3.get_bucket_tagging().bucket("probe-half").send().await.unwrap().tag_set(), [tag]);
    assert_eq!(wire.remembered(note).await, None);
}

async fn cloudwatch_speaks_cbor(cloud: &Cloud) {
    cloud.cloudwatch.put_dashboard().dashboard_name("probe").dashboard_body(r#"{"widgets":[]}"#).send().await.unwrap();
    let listed = cloud.cloudwatch.list_dashboards().send().await.unwrap();
    assert_eq!(listed.dashboard_entries()[0].dashboard_name(), Some("probe"));
    assert!(listed.dashboard_entries()[0].last_modified().is_some());
    let alarm = cloud.cloudwatch.put_metric_alarm().alarm_name("probe").metric_name("CPUUtilization").namespace("AWS/ECS").period(60).evaluation_periods(1);
    let comparison = aws_sdk_cloudwatch::types::ComparisonOperator::GreaterThanThreshold;
    alarm.threshold(80.5).comparison_operator(comparison).statistic(aws_sdk_cloudwatch::types::Statistic::Average).send().await.unwrap();
    let alarms = cloud.cloudwatch.describe_alarms().alarm_names("probe").send().await.unwrap();
    assert_eq!(alarms.metric_alarms()[0].threshold(), Some(80.5));
    assert!(cloud.cloudwatch.get_dashboard().dashboard_name("nope").send().await.unwrap_err().code().is_some(), "errors keep their codes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_or_killed_sandbox_is_mended_by_the_next_start() {
    let place = place(false);
    let world = place.sandbox.start(&quiet).await.unwrap();
    let mut db = registry(&world).await;
    sqlx::raw_sql("CREATE TABLE kept (what text); INSERT INTO kept VALUES ('yes')").execute(&mut db).await.unwrap();
    let (moto, postmaster) = (pid(&place, "moto.pid"), pid(&place, "postgres/data/postmaster.pid"));
    let again = place.sandbox.start(&quiet).await.unwrap();
    assert!(!again.emptied);
    assert_eq!((again.endpoint_url, pid(&place, "moto.pid")), (world.endpoint_url, moto), "what runs is used again");

    kill(moto);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let world = place.sandbox.start(&quiet).await.unwrap();
    assert!(world.emptied, "the emulator forgot, PostgreSQL did not");
    assert_eq!(pid(&place, "postgres/data/postmaster.pid"), postmaster);
    assert!(!place.sandbox.start(&quiet).await.unwrap().emptied, "said once");

    kill(postmaster);
    let world = place.sandbox.start(&quiet).await.unwrap();
    assert!(!world.emptied);
    assert_eq!(one(&mut registry(&world).await, "SELECT what FROM kept").await, "yes");

    assert!(place.sandbox.stop(&quiet).await.unwrap());
    assert!(!place.sandbox.stop(&quiet).await.unwrap(), "nothing ran any more");
    let status = place.sandbox.status().await.unwrap();
    assert_eq!((status.aws, status.postgres), (None, None));
    // As after a reboot: the remembered process ids are somebody else's now, or nobody's.
    std::fs::write(place.dir.path().join("sandbox/moto.pid"), format!("{} 1", std::process::id())).unwrap();
    std::fs::write(place.dir.path().join("sandbox/postgres/data/postmaster.pid"), format!("{}\n", std::process::id())).unwrap();
    let world = place.sandbox.start(&quiet).await.unwrap();
    assert!(world.emptied);
    assert_eq!(one(&mut registry(&world).await, "SELECT what FROM kept").await, "yes");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sandboxes_live_side_by_side_and_a_reset_empties_only_one() {
    let (system, wheel) = (place(false), place(true));
    let (a, b) = tokio::join!(system.sandbox.start(&quiet), wheel.sandbox.start(&quiet));
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_ne!((&a.endpoint_url, a.registry.port), (&b.endpoint_url, b.registry.port));
    assert!(wheel.sandbox.status().await.unwrap().postgres_version.unwrap().starts_with("18"), "from the wheel");
    for (world, table) in [(&a, "a"), (&b, "b")] {
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("CREATE TABLE {table} ()"))).execute(&mut registry(world).await).await.unwrap();
    }
    roles_are_what_rds_gives(&b, &Cloud::connect(b.reach()).await, false).await;
    wheel.sandbox.reset(&quiet).await.unwrap();
    let (again, same) = (wheel.sandbox.start(&quiet).await.unwrap(), system.sandbox.start(&quiet).await.unwrap());
    assert!(!again.emptied && !same.emptied);
    let tables = "SELECT count(*)::text FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!(one(&mut registry(&again).await, tables).await, "0");
    assert_eq!(one(&mut registry(&same).await, tables).await, "1");
}
