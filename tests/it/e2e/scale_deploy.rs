//! Scale and deploy, and what AWS then has of them: numbers within the tier's bounds, an image that runs, one that does not.

use aws_sdk_applicationautoscaling::types::ServiceNamespace;
use labctl::cloud::Cloud;
use serde_json::{Value, json};

use super::fixture::{Run, World, ended, shared};

/// `aws …` in the environment that `sandbox env` prints.
fn aws(world: &World, command: &str) -> Value {
    let env = world.ok(&["sandbox", "env"]).out;
    let run = ended(world.bare("/bin/sh").args(["-euc", &format!("{env}\naws {command} --output json")]));
    assert_eq!(run.code, 0, "{command}\n{run}");
    serde_json::from_str(&run.out).unwrap_or_else(|e| panic!("{command}: {e}\n{run}"))
}

fn name(tenant: &str, service: &str) -> String {
    format!("mate-{tenant}-sandbox-{service}")
}

/// Least and most of the scalable target, and the count of the service.
async fn numbers(cloud: &Cloud, tenant: &str, service: &str) -> [i32; 3] {
    let name = name(tenant, service);
    let targets = cloud.autoscaling.describe_scalable_targets().service_namespace(ServiceNamespace::Ecs).resource_ids(format!("service/sandbox/{name}"));
    let found = targets.send().await.unwrap();
    let [target] = found.scalable_targets() else { panic!("{found:?}") };
    let services = cloud.ecs.describe_services().cluster("sandbox").services(name).send().await.unwrap();
    [target.min_capacity, target.max_capacity, services.services()[0].desired_count]
}

/// The image that the service's task definition names.
async fn image(cloud: &Cloud, tenant: &str, service: &str) -> String {
    let services = cloud.ecs.describe_services().cluster("sandbox").services(name(tenant, service)).send().await.unwrap();
    let definition = services.services()[0].task_definition().unwrap();
    let found = cloud.ecs.describe_task_definition().task_definition(definition).send().await.unwrap().task_definition.unwrap();
    found.container_definitions()[0].image().unwrap().to_owned()
}

/// What the load does, done by hand.
async fn moved(cloud: &Cloud, tenant: &str, service: &str, count: i32) {
    cloud.ecs.update_service().cluster("sandbox").service(name(tenant, service)).desired_count(count).send().await.unwrap();
}

fn refused(run: &Run, code: &str) -> Value {
    let error = run.error();
    assert_eq!((run.code, error["code"].as_str()), (64, Some(code)), "{run}");
    error
}

fn ours(digit: &str) -> String {
    format!("123456789012.dkr.ecr.us-east-1.amazonaws.com/mate@sha256:{}", digit.repeat(64))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_scaled_within_the_bounds_of_its_tier_and_the_load_moves_it_within_them() {
    let world = shared();
    let cloud = world.cloud().await;
    let spec = world.spec("scale-one", "mate", "standard");
    world.ok(&["tenant", "create", &spec]);
    assert_eq!(numbers(&cloud, "scale-one", "django").await, [1, 5, 1]);
    let scale = |numbers: &[&str]| world.run(&[&["tenant", "scale", "scale-one"], numbers, &["-o", "json"]].concat());

    let run = scale(&["--service", "django", "--min", "2", "--max", "4", "--desired", "3"]);
    assert_eq!(run.code, 0, "{run}");
    assert_eq!(numbers(&cloud, "scale-one", "django").await, [2, 4, 3]);
    assert_eq!(numbers(&cloud, "scale-one", "celery").await, [1, 5, 1], "the other service is as it was");
    let of = name("scale-one", "django");
    let query = "--query 'ScalableTargets[0].[MinCapacity,MaxCapacity]'";
    let seen = aws(world, &format!("application-autoscaling describe-scalable-targets --service-namespace ecs --resource-ids service/sandbox/{of} {query}"));
    assert_eq!(seen, json!([2, 4]));
    assert_eq!(aws(world, &format!("ecs describe-services --cluster sandbox --services {of} --query 'services[0].desiredCount'")), json!(3));

    // Within the bounds it is no change, and asking for the same again is one.
    moved(&cloud, "scale-one", "django", 4).await;
    let applied = world.ok(&["tenant", "apply", &spec]);
    assert!(applied.err.contains("no changes"), "{applied}");
    assert_eq!(scale(&["--service", "django", "--desired", "3"]).code, 0);
    assert_eq!(numbers(&cloud, "scale-one", "django").await, [2, 4, 3]);
    moved(&cloud, "scale-one", "django", 2).await;
    assert_eq!(world.run(&["tenant", "plan", "scale-one", "--check"]).code, 0, "it was asked for once, not for ever");
    // Outside it is a difference.
    moved(&cloud, "scale-one", "django", 0).await;
    assert_eq!(world.run(&["tenant", "plan", "scale-one", "--check"]).code, 2);
    world.ok(&["tenant", "apply", "scale-one"]);
    assert_eq!(numbers(&cloud, "scale-one", "django").await, [2, 4, 3]);

    let operations = world.json(&["operation", "list", "--tenant", "scale-one"]);
    let error = refused(&scale(&["--service", "django", "--max", "8"]), "out_of_bounds");
    assert!(error["hint"].as_str().unwrap().contains("allowed here: 1 to 5"), "{error}");
    let error = refused(&scale(&["--service", "beat", "--max", "2"]), "unknown_service");
    assert_eq!(error["hint"], "it has: celery, django");
    refused(&scale(&["--instance-class", "db.x9.large"]), "out_of_bounds");
    refused(&scale(&["--min", "2"]), "usage");
    refused(&scale(&[]), "usage");
    assert_eq!(world.json(&["operation", "list", "--tenant", "scale-one"]), operations, "what is refused is not on record");

    assert_eq!(scale(&["--instance-class", "db.t4g.large"]).code, 0);
    let instances = cloud.rds.describe_db_instances().db_instance_identifier("mate-scale-one-sandbox").send().await.unwrap();
    assert_eq!(instances.db_instances()[0].db_instance_class(), Some("db.t4g.large"));

    // The file does not undo it, and says so; a reset does.
    let file = world.dir().join("specs").join(&spec);
    std::fs::write(&file, format!("{}[overrides]\ndjango.max = 5\n", std::fs::read_to_string(&file).unwrap())).unwrap();
    let applied = world.ok(&["tenant", "apply", &spec]);
    let said = "`django.max` stays 4, set since; the spec's 5 has no effect until `labctl tenant scale scale-one --service django --reset`";
    assert!(applied.err.contains(said), "{applied}");
    assert_eq!(numbers(&cloud, "scale-one", "django").await, [2, 4, 3]);
    assert_eq!(scale(&["--reset"]).code, 0);
    assert_eq!(numbers(&cloud, "scale-one", "django").await, [1, 5, 3], "three of one to five is the load's affair");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_that_fails_is_rolled_back_and_mended_by_another() {
    let world = shared();
    let cloud = world.cloud().await;
    let spec = world.spec("deploy-one", "mate", "trial");
    world.ok(&["tenant", "create", &spec]);
    let deploy = |what: &[&str]| world.run(&[&["tenant", "deploy", "deploy-one"], what, &["-o", "json"]].concat());
    let (good, better) = (ours("a"), ours("b"));

    let run = deploy(&["--service", "django", "--image", &good]);
    assert_eq!(run.code, 0, "{run}");
    assert_eq!(image(&cloud, "deploy-one", "django").await, good);
    assert!(image(&cloud, "deploy-one", "celery").await.ends_with("/mate:stable"));
    assert!(world.ok(&["tenant", "apply", &spec]).err.contains("no changes"), "the file does not undo it");

    let foreign = format!("999999999999.dkr.ecr.us-east-1.amazonaws.com/mate@sha256:{}", "c".repeat(64));
    let failed = deploy(&["--service", "django", "--image", &foreign]);
    let error = failed.error();
    assert_eq!((failed.code, error["code"].as_str()), (3, Some("broken")), "{failed}");
    for words in
        ["was rolled back, `mate-deploy-one-sandbox-django:2` runs again", "ECS deployment circuit breaker: tasks failed to start", "CannotPullContainerError"]
    {
        assert!(error.to_string().contains(words), "{words}: {error}");
    }
    assert_eq!(image(&cloud, "deploy-one", "django").await, good, "what ran before runs");
    let shown = world.json(&["operation", "list", "--tenant", "deploy-one"]);
    assert_eq!(shown.as_array().unwrap().iter().map(|o| &o["status"]).filter(|s| **s == "failed").count(), 1, "{shown}");

    let mended = deploy(&["--all-services", "--image", &better]);
    assert_eq!(mended.code, 0, "{mended}");
    for service in ["django", "celery", "beat"] {
        assert_eq!(image(&cloud, "deploy-one", service).await, better, "{service}");
    }
    assert_eq!(deploy(&["--all-services", "--reset"]).code, 0);
    assert!(image(&cloud, "deploy-one", "django").await.ends_with("/mate:stable"));
    assert_eq!(world.ok(&["tenant", "plan", "deploy-one", "--check"]).code, 0);

    for (image, why) in [("mate", "without a tag or digest"), ("mate:1 2", "no tag"), ("mate@sha256:12", "64 hexadecimal digits")] {
        let error = refused(&deploy(&["--service", "django", "--image", image]), "out_of_bounds");
        assert!(error.to_string().contains(why), "{error}");
    }
    let error = refused(&deploy(&["--service", "web", "--image", &good]), "unknown_service");
    assert_eq!(error["hint"], "it has: beat, celery, django");
    let tagged = deploy(&["--service", "beat", "--image", "mate:2", "--dry-run"]);
    assert!(tagged.code == 0 && tagged.err.contains("named by its tag"), "{tagged}");
}

#[test]
fn a_tenant_there_is_not_is_neither_scaled_nor_deployed_to() {
    for verb in [["scale", "--max", "2"], ["deploy", "--image", "mate:2"]] {
        let run = shared().run(&["tenant", verb[0], "nobody-here", "--service", "django", verb[1], verb[2], "-o", "json"]);
        assert_eq!((run.code, run.error()["code"].as_str()), (1, Some("not_found")), "{run}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_suspended_nothing_lifts_a_service_from_none_and_afterwards_the_number_is_the_former() {
    let world = shared();
    let cloud = world.cloud().await;
    let spec = world.spec("scale-two", "mate", "standard");
    world.ok(&["tenant", "create", &spec]);
    moved(&cloud, "scale-two", "django", 4).await;
    world.ok(&["tenant", "suspend", "scale-two", "--reason", "unpaid"]);
    assert_eq!(numbers(&cloud, "scale-two", "django").await, [0, 5, 0]);
    let policies = cloud.autoscaling.describe_scalable_targets().service_namespace(ServiceNamespace::Ecs);
    let found = policies.resource_ids(format!("service/sandbox/{}", name("scale-two", "django"))).send().await.unwrap();
    let halted = found.scalable_targets()[0].suspended_state().unwrap();
    let all = [halted.dynamic_scaling_in_suspended(), halted.dynamic_scaling_out_suspended(), halted.scheduled_scaling_suspended()];
    assert_eq!(all, [Some(true); 3]);

    let scaled = world.run(&["tenant", "scale", "scale-two", "--service", "django", "--desired", "3", "-o", "json"]);
    let error = scaled.error();
    assert_eq!((scaled.code, error["code"].as_str()), (1, Some("suspended")), "{scaled}");
    assert!(error["message"].as_str().unwrap().contains("(full: unpaid)") && error["hint"].as_str().unwrap().contains("tenant resume scale-two"), "{error}");
    let deployed = world.ok(&["tenant", "deploy", "scale-two", "--service", "django", "--image", &ours("d")]);
    assert!(deployed.err.contains("no task starts before"), "{deployed}");
    assert_eq!((image(&cloud, "scale-two", "django").await, numbers(&cloud, "scale-two", "django").await), (ours("d"), [0, 5, 0]));
    moved(&cloud, "scale-two", "django", 2).await;
    world.ok(&["tenant", "apply", "scale-two"]);
    assert_eq!(numbers(&cloud, "scale-two", "django").await, [0, 5, 0], "it stays out of use");

    world.ok(&["tenant", "resume", "scale-two"]);
    assert_eq!(numbers(&cloud, "scale-two", "django").await, [1, 5, 4]);
    assert_eq!(image(&cloud, "scale-two", "django").await, ours("d"));
    assert_eq!(world.run(&["tenant", "plan", "scale-two", "--check"]).code, 0);
}
