//! Creates that fail: beforehand where it can be seen, else part-way; both say what, why, what is left and how to go on.

use std::fs;

use aws_sdk_s3::types::CreateBucketConfiguration;
use labctl::sandbox::REGION;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::fixture::{Run, ended, shared};
use super::sweep::{shown, sweep};

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_somebody_else_is_refused_before_anything_is_made() {
    let world = shared();
    let cloud = world.cloud().await;
    cloud.logs.create_log_group().log_group_name("/labcloud/labcloud-foreign-lab-sandbox/web").send().await.unwrap();
    let spec = world.spec("foreign-lab", "labcloud", "enterprise");
    let run = world.run(&["tenant", "create", &spec, "-o", "json"]);
    let error = run.error();
    assert_eq!((run.code, run.out.as_str()), (1, ""), "{run}");
    let causes = error["causes"].to_string();
    assert!(causes.contains("log_group/web") && causes.contains("no labctl ownership tags"), "{error}");
    assert!(error["left"].to_string().contains("nothing") && error["hint"].is_string(), "{error}");
    assert!(!sweep(world).await.contains_key("foreign-lab"));
    assert_eq!(world.run(&["tenant", "show", "foreign-lab"]).code, 1, "nothing is on record");
    cloud.logs.delete_log_group().log_group_name("/labcloud/labcloud-foreign-lab-sandbox/web").send().await.unwrap();
    world.ok(&["tenant", "create", &spec]);
}

/// The bucket's spec names a key that is not there yet, so nobody looks at the bucket before its turn has come.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_of_somebody_else_is_never_taken_over() {
    let (world, bucket) = (shared(), "labcloud-squatted-lab-sandbox-data");
    let cloud = world.cloud().await;
    let here = CreateBucketConfiguration::builder().location_constraint(REGION.into()).build();
    cloud.s3.create_bucket().bucket(bucket).create_bucket_configuration(here).send().await.unwrap();
    let spec = world.spec("squatted-lab", "labcloud", "enterprise");
    let run = world.run(&["tenant", "create", &spec, "-o", "json"]);
    let error = run.error();
    assert_eq!((run.code, run.out.as_str()), (3, ""), "{run}");
    let causes = error["causes"].to_string();
    assert!(causes.contains("s3_bucket/data") && causes.contains("no labctl ownership tags"), "{error}");
    assert!(cloud.s3.get_bucket_tagging().bucket(bucket).send().await.is_err(), "it was tagged");
    cloud.s3.delete_bucket().bucket(bucket).send().await.unwrap();
    let number = error["hint"].as_str().unwrap().split("operation resume ").nth(1).unwrap().trim_end_matches('`').to_owned();
    world.ok(&["operation", "resume", &number]);
    assert_eq!(sweep(world).await["squatted-lab"], shown(&world.json(&["tenant", "show", "squatted-lab"])));
}

/// Somebody else's bucket stands in the way again, and this time nothing shall be left but what holds data.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_failed_create_has_made_is_undone_on_request_but_for_what_holds_data() {
    let (world, bucket) = (shared(), "mate-undone-clinic-sandbox-data");
    let cloud = world.cloud().await;
    let here = CreateBucketConfiguration::builder().location_constraint(REGION.into()).build();
    cloud.s3.create_bucket().bucket(bucket).create_bucket_configuration(here).send().await.unwrap();
    let spec = world.spec("undone-clinic", "mate", "enterprise");
    let run = world.run(&["tenant", "create", &spec, "--on-failure", "undo", "-o", "json"]);
    let error = run.error();
    assert_eq!((run.code, run.out.as_str()), (3, ""), "{run}");
    assert!(error["left"].to_string().contains("what this run has made is deleted again"), "{error}");
    let kinds = |tenant: &Value| -> Vec<String> {
        let mut all: Vec<_> = tenant["resources"].as_array().unwrap().iter().map(|r| r["kind"].as_str().unwrap().to_owned()).collect();
        all.sort();
        all.dedup();
        all
    };
    let left = world.json(&["tenant", "show", "undone-clinic"]);
    assert_eq!(left["status"], "failed");
    // Of data there are key, pool, cluster, database and schema; they need the cluster's parameters, the roles, and the roles' secrets.
    let needed = ["cognito_user_pool", "kms_key", "postgres_database", "postgres_role", "postgres_schema", "postgres_schema_version"];
    let needed: Vec<&str> = [&needed[..], &["rds_cluster", "rds_cluster_parameter_group", "secret"]].concat();
    assert_eq!(kinds(&left), needed, "{left}");
    assert!(left["resources"].as_array().unwrap().iter().all(|r| r["address"] != "undone-clinic/secret/django"), "{left}");
    assert_eq!(sweep(world).await["undone-clinic"], shown(&left));
    let number = world.json(&["operation", "list", "--tenant", "undone-clinic"])[0]["number"].to_string();
    cloud.s3.delete_bucket().bucket(bucket).send().await.unwrap();
    world.ok(&["operation", "resume", &number]);
    assert_eq!(sweep(world).await["undone-clinic"], shown(&world.json(&["tenant", "show", "undone-clinic"])));
    assert!(world.ok(&["tenant", "apply", "undone-clinic"]).err.contains("no changes"));
}

/// A platform that names a bucket which is not there: only the call itself finds out.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_refused_part_way_keeps_what_is_done_and_resumes_after_mending() {
    let world = shared();
    let sandbox = world.open().await;
    let folder = world.dir().join("staging");
    fs::create_dir(&folder).unwrap();
    let config = |bucket: &str| {
        let p = &sandbox.platform;
        let tunnels: Value = json!(sandbox.tunnels);
        let platform = json!({"bucket": bucket, "user_pool_id": p["user_pool_id"], "databases": p["databases"]});
        let registry =
            json!({"host": "127.0.0.1", "port": sandbox.registry.port, "database": sandbox.registry.database, "user": sandbox.registry.user, "tls": "disable"});
        let profile = json!({"region": sandbox.region, "account_id": sandbox.account_id, "endpoint_url": sandbox.endpoint_url,
            "registry": registry, "platform": platform, "tunnels": tunnels});
        let all = json!({"profiles": {"staging": profile}});
        fs::write(folder.join("labctl.toml"), toml::to_string(&all).unwrap()).unwrap();
    };
    let labctl = |args: &[&str]| -> Run {
        let mut command = world.command(args);
        command.current_dir(&folder).env("LABCTL_PROFILE", "staging").env("LABCTL_REGISTRY_PASSWORD", sandbox.registry.password.expose_secret());
        ended(command.env("AWS_ACCESS_KEY_ID", "x").env("AWS_SECRET_ACCESS_KEY", "x"))
    };
    config("no-such-bucket");
    assert_eq!(labctl(&["registry", "init"]).code, 0);
    let create = ["tenant", "create", "--id", "staged-lab", "--name", "Staged Lab", "--stack", "labcloud", "--tier", "trial", "--email", "a@staged.example"];
    let run = labctl(&[&create[..], &["-o", "json"]].concat());
    let error = run.error();
    assert_eq!((run.code, run.out.as_str(), error["code"].as_str()), (3, "", Some("NoSuchBucket")), "{run}");
    let (causes, hint) = (error["causes"].to_string(), error["hint"].as_str().unwrap());
    assert!(causes.contains("s3_prefix/data: s3:PutObject"), "{error}");
    assert!(causes.contains("cognito_user/admin (s3_prefix/data failed)"), "what was not begun, and why: {error}");
    assert!(error["left"].to_string().contains("12 finished steps"), "{error}");
    let number = hint.split("operation resume ").nth(1).unwrap().trim_end_matches('`').to_owned();
    let tenant: Value = serde_json::from_str(&labctl(&["tenant", "show", "staged-lab", "-o", "json"]).out).unwrap();
    assert_eq!(tenant["status"], "failed");
    let made: Vec<_> = tenant["resources"].as_array().unwrap().iter().filter(|r| r["status"] == "ready").collect();
    assert_eq!(made.len(), 12, "{tenant}");
    assert_eq!(sweep(world).await["staged-lab"].len(), 12, "what was made is kept");
    assert_eq!(labctl(&["operation", "resume", &number]).code, 3, "unmended, it stops at the same place");
    config(sandbox.platform["bucket"].as_str().unwrap());
    let resumed = labctl(&["operation", "resume", &number, "-o", "json"]);
    assert_eq!(resumed.code, 0, "{resumed}");
    assert_eq!(sweep(world).await["staged-lab"], shown(&serde_json::from_str(&resumed.out).unwrap()));
    let over = labctl(&["operation", "resume", &number, "-o", "json"]);
    assert_eq!((over.code, over.error()["code"].as_str()), (1, Some("nothing_to_resume")), "{over}");
}

/// A database whose administrators forbid a schema: everything that needs it waits, everything else is made.
#[tokio::test(flavor = "multi_thread")]
async fn what_depends_on_a_failure_is_skipped_and_the_rest_is_made() {
    let world = shared();
    let mut db = world.superuser("shared").await;
    sqlx::raw_sql(
        "CREATE FUNCTION public.refuse_one() RETURNS event_trigger LANGUAGE plpgsql AS $$
         BEGIN
             IF EXISTS (SELECT FROM pg_event_trigger_ddl_commands() WHERE object_identity = 'tenant_forbidden_clinic') THEN
                 RAISE EXCEPTION 'no schemas on Saturdays' USING ERRCODE = '42501';
             END IF;
         END $$;
         CREATE EVENT TRIGGER refuse_one ON ddl_command_end WHEN TAG IN ('CREATE SCHEMA') EXECUTE FUNCTION public.refuse_one()",
    )
    .execute(&mut db)
    .await
    .unwrap();
    let spec = world.spec("forbidden-clinic", "mate", "trial");
    let run = world.run(&["tenant", "create", &spec]);
    assert_eq!(run.code, 3, "{run}");
    assert!(run.out.is_empty() && run.err.contains("postgres_schema/main: ") && run.err.contains("no schemas on Saturdays"), "{run}");
    for skipped in ["postgres_schema_version/main", "ecs_service/django", "ecs_service/celery", "ecs_service/beat", "cognito_user/admin"] {
        let line = run.err.lines().find(|l| l.contains(skipped) && l.contains("skipped")).unwrap_or_else(|| panic!("{skipped} is not skipped\n{run}"));
        assert!(line.contains("failed"), "{line}");
    }
    let found = &sweep(world).await["forbidden-clinic"];
    assert!(found.iter().any(|(a, _)| a.ends_with("ecs_task_definition/beat")), "what does not depend on it is made: {found:?}");
    assert!(!found.iter().any(|(a, _)| a.contains("postgres_schema") || a.contains("ecs_service")), "{found:?}");
    sqlx::raw_sql("DROP EVENT TRIGGER refuse_one; DROP FUNCTION public.refuse_one()").execute(&mut db).await.unwrap();
    world.ok(&["tenant", "create", &spec]);
    assert_eq!(sweep(world).await["forbidden-clinic"], shown(&world.json(&["tenant", "show", "forbidden-clinic"])));
}
