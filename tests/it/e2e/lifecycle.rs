//! A tenant's whole life, once for each tier of the stack that has everything, with every verb as a CI job calls it: no terminal, `-o json`.
//! A neighbour of the same tier looks on, and nothing of it may change.

use std::collections::BTreeMap;

use serde_json::Value;

use super::fixture::{Run, blocking, ended, shared};
use super::sweep::sweep;

const DIGEST: &str = "sha256:3f5a0e8c2b1d4f6a7c9e0b1a2d3c4f5e6a7b8c9d0e1f2a3b4c5d6e7f8091a2b3";

/// A shell with the operator's own tools.
fn sh(script: &str) -> Run {
    let env = shared().ok(&["sandbox", "env"]).out;
    ended(shared().bare("/bin/sh").args(["-euc", &format!("{env}\n{script}")]))
}

fn asked(script: &str) -> String {
    let run = sh(script);
    assert_eq!(run.code, 0, "{script}\n{run}");
    run.out.trim().to_owned()
}

/// The numbers of a service as ECS has them: desired, and the task definition's family.
fn desired(id: &str, service: &str) -> i64 {
    let query = "services[0].desiredCount";
    asked(&format!("aws ecs describe-services --cluster sandbox --services mate-{id}-sandbox-{service} --query '{query}' --output text")).parse().unwrap()
}

fn counts(id: &str) -> [i64; 3] {
    ["django", "celery", "beat"].map(|service| desired(id, service))
}

/// Runs a verb, which must end so.
fn verb(args: &[&str], code: i32) -> Value {
    let run = shared().run(&[args, &["-o", "json"]].concat());
    assert_eq!(run.code, code, "labctl {args:?}\n{run}");
    assert!(!run.err.contains('\u{1b}'), "a CI job got colours\n{run}");
    if run.out.is_empty() { Value::Null } else { serde_json::from_str(&run.out).unwrap_or_else(|e| panic!("{args:?}: {e}\n{run}")) }
}

fn status(id: &str) -> String {
    shared().json(&["tenant", "show", id])["status"].as_str().unwrap().to_owned()
}

/// What every service says of everything a tenant has, values that move by themselves left out.
async fn portrait(id: &str) -> BTreeMap<String, String> {
    let tenant = shared().json(&["tenant", "show", id]);
    let mut all = BTreeMap::from([("registry".to_owned(), tenant.to_string())]);
    all.insert("listing".into(), format!("{:?}", sweep(shared()).await.get(id)));
    let base = format!("mate-{id}-sandbox");
    let under = id.replace('-', "_");
    let database = if id.ends_with("trial") { "shared".to_owned() } else { format!("tenant_{under}") };
    for (what, script) in [
        (
            "services",
            format!(
                "aws ecs describe-services --cluster sandbox --services {base}-django {base}-celery {base}-beat --include TAGS --query 'services[].[serviceName,desiredCount,taskDefinition,tags,deployments[].id]'"
            ),
        ),
        (
            "secrets",
            format!(
                "for s in app migrate readonly django; do aws secretsmanager describe-secret --secret-id {base}/$s --query '[ARN,Name,VersionIdsToStages,Tags]'; done"
            ),
        ),
        ("logs", format!("aws logs describe-log-groups --log-group-name-prefix /ecs/{base}")),
        (
            "role",
            format!(
                "aws iam get-role --role-name {base}-task; for p in $(aws iam list-role-policies --role-name {base}-task --query PolicyNames --output text); do aws iam get-role-policy --role-name {base}-task --policy-name $p; done"
            ),
        ),
        (
            "database roles",
            format!("psql -XAtc \"SELECT rolname, rolcanlogin, rolconnlimit, rolconfig FROM pg_roles WHERE rolname LIKE 'tenant\\_{under}\\_%' ORDER BY 1\""),
        ),
        ("schemas", format!("psql -XAt -d {database} -c \"SELECT nspname, nspacl FROM pg_namespace WHERE nspname = 'tenant_{under}'\" | grep .")),
        ("databases", format!("psql -XAtc \"SELECT datname, datacl FROM pg_database WHERE datname = 'tenant_{under}'\"")),
    ] {
        all.insert(what.to_owned(), asked(&script));
    }
    all
}

/// The life of one tenant. `scaled` is what `scale` asks for and is left with: django, celery and beat.
async fn lives(id: &'static str, tier: &'static str, scaled: [i64; 3]) {
    let file = shared().spec(id, "mate", tier);
    blocking(move || {
        verb(&["tenant", "create", &file], 0);
        let began = counts(id);

        // Scale, within the tier's bounds and beyond them.
        if tier == "trial" {
            verb(&["tenant", "scale", id, "--service", "django", "--desired", "2"], 64);
        } else {
            let [django, ..] = scaled.map(|n| n.to_string());
            verb(&["tenant", "scale", id, "--service", "django", "--min", "2", "--max", "5", "--desired", &django], 0);
            verb(&["tenant", "scale", id, "--service", "django", "--max", "50"], 64);
            assert_ne!(counts(id), began);
        }
        assert_eq!(counts(id), scaled);

        // Deploy.
        let family = format!("mate-{id}-sandbox-django");
        let repository = asked(&format!(
            "aws ecs describe-task-definition --task-definition {family} --query 'taskDefinition.containerDefinitions[0].image' --output text | cut -d: -f1"
        ));
        let image = format!("{repository}@{DIGEST}");
        verb(&["tenant", "deploy", id, "--service", "django", "--image", &image], 0);
        let runs = format!(
            "aws ecs describe-task-definition --query 'taskDefinition.containerDefinitions[0].image' --output text --task-definition $(aws ecs \
             describe-services --cluster sandbox --services {family} --query 'services[0].taskDefinition' --output text)"
        );
        assert_eq!(asked(&runs), image);

        // Suspend; neither apply of the id nor of the file nor deploy brings anything back; resume does, and exactly.
        verb(&["tenant", "suspend", id, "--reason", "unpaid"], 0);
        assert_eq!((counts(id), status(id).as_str()), ([0, 0, 0], "suspended"));
        verb(&["tenant", "apply", id], 0);
        verb(&["tenant", "apply", &file], 0);
        assert_eq!((counts(id), status(id).as_str()), ([0, 0, 0], "suspended"));
        if tier != "trial" {
            let refused = shared().run(&["tenant", "scale", id, "--service", "django", "--desired", "3", "-o", "json"]);
            assert!(refused.code == 1 && refused.error().to_string().contains("unpaid"), "{refused}");
        }
        verb(&["tenant", "resume", id], 0);
        assert_eq!((counts(id), status(id).as_str()), (scaled, "active"));
        assert_eq!(asked(&runs), image, "the file that was applied does not undo the deploy");

        // Rename.
        let subdomain = format!("{id}-north");
        let renamed = verb(&["tenant", "rename", id, "--display-name", "North Clinic", "--subdomain", &subdomain], 0);
        assert_eq!((renamed["display_name"].as_str(), renamed["subdomain"].as_str()), (Some("North Clinic"), Some(subdomain.as_str())));

        // Drift: a tag, a retention and a grant; and a count, which where it is auto-scaling's is nobody's business.
        verb(&["tenant", "drift", id], 0);
        let under = id.replace('-', "_");
        let secret = asked(&format!("aws secretsmanager get-secret-value --secret-id mate-{id}-sandbox/app --query SecretString --output text"));
        let secret: Value = serde_json::from_str(&secret).unwrap();
        let database = secret["dbname"].as_str().unwrap();
        asked(&format!(
            "aws iam tag-role --role-name mate-{id}-sandbox-task --tags Key=Tier,Value=forged
             aws logs put-retention-policy --log-group-name /ecs/mate-{id}-sandbox/django --retention-in-days 1
             PGUSER=postgres PGPASSWORD='{}' psql -Xqc 'GRANT USAGE ON SCHEMA tenant_{under} TO PUBLIC' {database}
             aws ecs update-service --cluster sandbox --service {family} --desired-count {} >/dev/null",
            shared().passwords()["postgres"],
            scaled[0] + 1
        ));
        let drift = verb(&["tenant", "drift", id], 2);
        let found: Vec<String> = drift["differences"].as_array().unwrap().iter().map(|r| r["address"].as_str().unwrap().to_owned()).collect();
        let mut expected = vec![format!("{id}/iam_role/task"), format!("{id}/log_group/django"), format!("{id}/postgres_schema/main")];
        if tier == "trial" {
            // One task, no more and no less: nothing else may change that.
            expected.push(format!("{id}/ecs_service/django"));
        }
        let sorted = |mut all: Vec<String>| {
            all.sort();
            all
        };
        assert_eq!(sorted(found), sorted(expected), "{drift}");
        verb(&["tenant", "apply", id], 0);
        verb(&["tenant", "drift", id], 0);

        // Delete, undelete, delete, purge. Nothing is confirmed by silence.
        verb(&["tenant", "delete", id], 64);
        verb(&["tenant", "delete", id, "--confirm", id], 0);
        assert_eq!((counts(id), status(id).as_str()), ([0, 0, 0], "deleted"));
        verb(&["tenant", "apply", id], 1);
        verb(&["tenant", "undelete", id], 0);
        assert_eq!(status(id), "active");
        verb(&["tenant", "delete", id, "--confirm", id, "--reason", "moved away"], 0);
        verb(&["tenant", "purge", id, "--confirm", id], 1);
        verb(&["tenant", "purge", id, "--now"], 64);
        verb(&["tenant", "purge", id, "--now", "--confirm", id], 0);
        assert_eq!(status(id), "purged");
        let certificate = verb(&["tenant", "certificate", id], 0);
        assert_eq!(certificate["tenant"]["id"], id, "{certificate}");
        assert!(certificate["removed"].as_array().is_some_and(|all| all.len() > 20), "{certificate}");
    })
    .await
    .unwrap();
    // What is left is waiting to be gone: secrets in their recovery window are not listed at all, a key is listed as pending.
    let left: Vec<_> = sweep(shared()).await.remove(id).unwrap_or_default().into_iter().filter(|(address, _)| !address.contains("/kms_key/")).collect();
    assert_eq!(left, [], "{id}");
    let under = id.replace('-', "_");
    for (service, nothing) in [
        ("s3", format!("aws s3api list-buckets --query \"Buckets[?contains(Name, '{id}')].Name\" --output text")),
        ("cognito", format!("aws cognito-idp list-user-pools --max-results 60 --query \"UserPools[?contains(Name, '{id}')].Name\" --output text")),
        // The emulator goes on listing what is gone, as INACTIVE.
        (
            "ecs",
            format!(
                "for s in django celery beat; do aws ecs describe-services --cluster sandbox --services mate-{id}-sandbox-$s --query \"services[?status!='INACTIVE'].serviceName\" --output text; done"
            ),
        ),
        ("task definitions", format!("aws ecs list-task-definitions --max-items 1000 --query \"taskDefinitionArns[?contains(@, '{id}')]\" --output text")),
        ("scaling", "aws application-autoscaling describe-scalable-targets --service-namespace ecs --query \"ScalableTargets[?contains(ResourceId, 'ID')]\" --output text".replace("ID", id)),
        ("rds", format!("aws rds describe-db-instances --query \"DBInstances[?contains(DBInstanceIdentifier, '{id}')].DBInstanceIdentifier\" --output text")),
        ("rds clusters", format!("aws rds describe-db-clusters --query \"DBClusters[?contains(DBClusterIdentifier, '{id}')].DBClusterIdentifier\" --output text")),
        ("snapshots", format!("aws rds describe-db-snapshots --query \"DBSnapshots[?contains(DBSnapshotIdentifier, '{id}')].DBSnapshotIdentifier\" --output text")),
        ("secrets", format!("aws secretsmanager list-secrets --query \"SecretList[?contains(Name, '{id}')].Name\" --output text")),
        ("logs", format!("aws logs describe-log-groups --query \"logGroups[?contains(logGroupName, '{id}')].logGroupName\" --output text")),
        ("iam", format!("aws iam list-roles --query \"Roles[?contains(RoleName, '{id}')].RoleName\" --output text")),
        // A key waits out its time under its alias, and opens nothing any more.
        (
            "kms",
            format!(
                "for k in $(aws kms list-aliases --query \"Aliases[?contains(AliasName, '{id}')].TargetKeyId\" --output text); do aws kms describe-key --key-id $k --query KeyMetadata.KeyState --output text | grep -v PendingDeletion || true; done"
            ),
        ),
        ("roles", format!("psql -XAtc \"SELECT rolname FROM pg_roles WHERE rolname LIKE 'tenant\\_{under}%'\"")),
        ("databases", format!("psql -XAtc \"SELECT datname FROM pg_database WHERE datname LIKE 'tenant\\_{under}%'\"")),
        ("schemas", format!("psql -XAtc \"SELECT nspname FROM pg_namespace WHERE nspname LIKE 'tenant\\_{under}%'\"")),
    ] {
        assert_eq!(asked(&nothing).trim_matches(|c: char| c.is_whitespace() || c == 'N' || c == 'o' || c == 'n' || c == 'e'), "", "{service}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_lives_from_create_to_certificate_and_its_neighbour_does_not_notice() {
    shared().ok(&["tenant", "create", &shared().spec("onlooker-trial", "mate", "trial")]);
    let before = portrait("onlooker-trial").await;
    lives("life-trial", "trial", [1, 1, 1]).await;
    assert_eq!(portrait("onlooker-trial").await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standard_tenant_lives_from_create_to_certificate_and_its_neighbour_does_not_notice() {
    shared().ok(&["tenant", "create", &shared().spec("onlooker-standard", "mate", "standard")]);
    let before = portrait("onlooker-standard").await;
    lives("life-standard", "standard", [3, 1, 1]).await;
    assert_eq!(portrait("onlooker-standard").await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enterprise_tenant_lives_from_create_to_certificate_and_its_neighbour_does_not_notice() {
    shared().ok(&["tenant", "create", &shared().spec("onlooker-enterprise", "mate", "enterprise")]);
    let before = portrait("onlooker-enterprise").await;
    lives("life-enterprise", "enterprise", [4, 2, 1]).await;
    assert_eq!(portrait("onlooker-enterprise").await, before);
}
