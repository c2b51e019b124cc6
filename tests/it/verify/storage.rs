//! Storage: for every probe the hole it would find, opened in the sandbox. Its emulator does not simulate, so labctl evaluates what it reads there.

use std::collections::BTreeSet;

use aws_sdk_s3::types::{
    BucketLocationConstraint, CreateBucketConfiguration, ObjectOwnership, OwnershipControls, OwnershipControlsRule, PublicAccessBlockConfiguration,
};
use labctl::cloud::Cloud;
use labctl::engine::kind::Address;
use labctl::ops::verify::probe::{Findings, Verdict};
use labctl::ops::verify::storage::{PROBES, WALLS, attack};
use labctl::ops::verify::subject::{Subject, Thing};
use serde_json::{Value, json};

use crate::world::world;

const A: &str = "shelfholes-a";
const B: &str = "shelfholes-b";
const BUCKET: &str = "shelfholes";

/// By probe: a statement of A's own role that opens it, and it alone. `{bucket}` and `{objects}` are B's place, `{key}`, `{secret}`, `{role}`, `{logs}` its own things, `{me}` is A's role.
const OWN: &[(&str, &str, &str)] = &[
    ("s3_get", "s3:GetObject", "{objects}"),
    ("s3_get_version", "s3:GetObjectVersion", "{objects}"),
    ("s3_put", "s3:PutObject", "{objects}"),
    ("s3_put_acl", "s3:PutObjectAcl", "{objects}"),
    ("s3_delete", "s3:DeleteObject", "{objects}"),
    ("s3_delete_version", "s3:DeleteObjectVersion", "{objects}"),
    ("s3_list", "s3:ListBucket", "{bucket} with {\"StringLike\":{\"s3:prefix\":\"shelfholes-b/*\"}}"),
    ("s3_list_versions", "s3:ListBucketVersions", "{bucket}"),
    ("s3_list_all", "s3:ListBucket", "{bucket} with {\"Null\":{\"s3:prefix\":\"true\"}}"),
    ("s3_get_policy", "s3:GetBucketPolicy", "{bucket}"),
    ("s3_put_policy", "s3:PutBucketPolicy", "{bucket}"),
    ("s3_put_public_access", "s3:PutBucketPublicAccessBlock", "{bucket}"),
    ("s3_delete_bucket", "s3:DeleteBucket", "{bucket}"),
    ("kms_decrypt", "kms:Decrypt", "{key}"),
    ("kms_data_key", "kms:GenerateDataKey", "{key}"),
    ("kms_grant", "kms:CreateGrant", "{key}"),
    ("kms_delete", "kms:ScheduleKeyDeletion", "{key}"),
    ("secret_read", "secretsmanager:GetSecretValue", "{secret}"),
    ("secret_write", "secretsmanager:PutSecretValue", "{secret}"),
    ("role_assume", "sts:AssumeRole", "{role}"),
    ("role_pass", "iam:PassRole", "{role}"),
    ("logs_read", "logs:GetLogEvents", "{logs}"),
    ("own_policy", "iam:PutRolePolicy", "{me}"),
    ("own_attachment", "iam:AttachRolePolicy", "{me}"),
    ("own_tag", "iam:TagRole", "{me}"),
];

/// Two tenants of one bucket, made by hand.
struct Shelf {
    cloud: Cloud,
    a: Subject,
    b: Subject,
    key: String,
    secret: String,
    me: String,
    role: String,
}

fn thing(tenant: &str, kind: &str, arn: Option<&str>, spec: Value) -> Thing {
    let outputs = arn.map(|arn| ("arn".to_owned(), arn.to_owned())).into_iter().collect();
    Thing { address: Address::new(tenant, kind, "main"), id: None, spec, outputs }
}

fn statement(action: &str, resource: &str) -> Value {
    json!({"Sid": "Hole", "Effect": "Allow", "Action": action, "Resource": resource})
}

fn policy(statements: &Value) -> String {
    json!({"Version": "2012-10-17", "Statement": statements}).to_string()
}

fn trust(principal: &Value) -> String {
    policy(&json!([{"Sid": "Hole", "Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}]))
}

async fn role(cloud: &Cloud, tenant: &str) -> String {
    let tag = aws_sdk_iam::types::Tag::builder().key("labctl:tenant").value(tenant).build().unwrap();
    let made = cloud.iam.create_role().role_name(tenant).assume_role_policy_document(trust(&json!({"Service": "ecs-tasks.amazonaws.com"}))).tags(tag);
    let arn = made.send().await.unwrap().role.unwrap().arn;
    // As the stack mate has it for its trials.
    let prefix = "${aws:PrincipalTag/labctl:tenant}/*";
    let own = json!([
        {"Effect": "Allow", "Action": ["s3:DeleteObject", "s3:GetObject", "s3:PutObject"], "Resource": format!("arn:aws:s3:::{BUCKET}/{prefix}")},
        {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": format!("arn:aws:s3:::{BUCKET}"), "Condition": {"StringLike": {"s3:prefix": [prefix]}}},
    ]);
    cloud.iam.put_role_policy().role_name(tenant).policy_name("own").policy_document(policy(&own)).send().await.unwrap();
    arn
}

impl Shelf {
    async fn new() -> Self {
        let cloud = world().cloud().await;
        let (me, role) = (role(&cloud, A).await, role(&cloud, B).await);
        let here = CreateBucketConfiguration::builder().location_constraint(BucketLocationConstraint::from(cloud.region())).build();
        cloud.s3.create_bucket().bucket(BUCKET).create_bucket_configuration(here).send().await.unwrap();
        let key = cloud.kms.create_key().send().await.unwrap().key_metadata.unwrap().arn.unwrap();
        let secret = cloud.secrets.create_secret().name("shelfholes/b").secret_string("{}").send().await.unwrap().arn.unwrap();
        let a = Subject::new(A, vec![thing(A, "iam_role", Some(&me), json!({"name": A}))]);
        let things = vec![
            thing(B, "s3_prefix", None, json!({"bucket": BUCKET, "prefix": "shelfholes-b/"})),
            thing(B, "kms_key", Some(&key), json!({})),
            thing(B, "secret", Some(&secret), json!({})),
            thing(B, "iam_role", Some(&role), json!({"name": B})),
            thing(B, "log_group", None, json!({"name": "/ecs/shelfholes-b"})),
        ];
        let shelf = Self { cloud, a, b: Subject::new(B, things), key, secret, me, role };
        shelf.public_access([true; 4]).await;
        shelf.owned(ObjectOwnership::BucketOwnerEnforced).await;
        shelf
    }

    async fn public_access(&self, [acls, ignore, policy, restrict]: [bool; 4]) {
        let block = PublicAccessBlockConfiguration::builder().block_public_acls(acls).ignore_public_acls(ignore).block_public_policy(policy);
        let block = block.restrict_public_buckets(restrict).build();
        self.cloud.s3.put_public_access_block().bucket(BUCKET).public_access_block_configuration(block).send().await.unwrap();
    }

    async fn owned(&self, by: ObjectOwnership) {
        let rule = OwnershipControlsRule::builder().object_ownership(by).build().unwrap();
        let controls = OwnershipControls::builder().rules(rule).build().unwrap();
        self.cloud.s3.put_bucket_ownership_controls().bucket(BUCKET).ownership_controls(controls).send().await.unwrap();
    }

    fn fill(&self, resource: &str) -> String {
        let names = [
            ("{bucket}", format!("arn:aws:s3:::{BUCKET}")),
            ("{objects}", format!("arn:aws:s3:::{BUCKET}/shelfholes-b/*")),
            ("{logs}", "arn:aws:logs:*:*:log-group:/ecs/shelfholes-b:*".into()),
            ("{key}", self.key.clone()),
            ("{secret}", self.secret.clone()),
            ("{role}", self.role.clone()),
            ("{me}", self.me.clone()),
        ];
        names.iter().fold(resource.to_owned(), |text, (name, value)| text.replace(name, value))
    }

    async fn attack(&self) -> Findings {
        attack(&self.cloud, &self.a, &self.b).await
    }

    /// What gets through now. Nothing is left out, and nothing not run.
    async fn through(&self) -> BTreeSet<String> {
        let found = self.attack().await;
        assert!(found.left_out.is_empty() && found.count(Verdict::NotRun) == 0, "{found:#?}");
        let tried: BTreeSet<&str> = found.findings.iter().map(|f| f.probe.as_str()).collect();
        assert_eq!(tried, all(), "every probe is tried");
        found.findings.into_iter().filter(|f| f.verdict == Verdict::Breach).map(|f| f.probe).collect()
    }
}

fn all() -> BTreeSet<&'static str> {
    PROBES.iter().map(|p| p.id).chain(WALLS.iter().map(|w| w.0)).collect()
}

fn set(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(ToString::to_string).collect()
}

/// All probes whose name begins so.
fn beginning(with: &str) -> BTreeSet<String> {
    PROBES.iter().map(|p| p.id).filter(|id| id.starts_with(with)).map(ToOwned::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_probe_of_storage_finds_the_hole_it_is_for_and_no_other() {
    let shelf = Shelf::new().await;
    let (iam, s3) = (&shelf.cloud.iam, &shelf.cloud.s3);
    let walls: BTreeSet<&str> = WALLS.iter().map(|w| w.0).collect();
    assert_eq!(walls, BTreeSet::from(["s3_public_access", "s3_ownership"]), "these are opened below");
    assert_eq!(OWN.iter().map(|(id, ..)| *id).chain(walls).collect::<BTreeSet<_>>(), all(), "every probe has a hole, and every hole a probe");
    assert_eq!((OWN.len(), all().len()), (25, 27));
    assert_eq!(shelf.through().await, set(&[]));

    let mut wrong = Vec::new();
    for (id, action, on) in OWN {
        let (resource, condition) = on.split_once(" with ").map_or((*on, None), |(r, c)| (r, Some(c)));
        let mut hole = statement(action, &shelf.fill(resource));
        if let Some(condition) = condition {
            hole["Condition"] = serde_json::from_str(condition).unwrap();
        }
        iam.put_role_policy().role_name(A).policy_name("hole").policy_document(policy(&json!([hole]))).send().await.unwrap();
        let through = shelf.through().await;
        if through != set(&[id]) {
            wrong.push(format!("{id}: {through:?}"));
        }
    }
    iam.delete_role_policy().role_name(A).policy_name("hole").send().await.unwrap();
    assert!(wrong.is_empty(), "these see something else than was opened for them:\n{}", wrong.join("\n"));
    assert_eq!(shelf.through().await, set(&[]));

    // The neighbour's own side of it: its bucket, keys, secrets and roles let A in.
    let let_in = |action: &str, on: &[&str]| json!([{"Sid": "Hole", "Effect": "Allow", "Principal": {"AWS": shelf.me}, "Action": action, "Resource": on.iter().map(|r| shelf.fill(r)).collect::<Vec<_>>()}]);
    let open = |statements: &Value| s3.put_bucket_policy().bucket(BUCKET).policy(policy(statements)).send();
    open(&let_in("s3:*", &["{bucket}", "{objects}"])).await.unwrap();
    let bucket: BTreeSet<String> = beginning("s3_");
    assert_eq!((shelf.through().await, bucket.len()), (bucket, 13));
    let mut anybody = let_in("s3:GetObject", &["{objects}"]);
    anybody[0]["Principal"] = json!("*");
    open(&anybody).await.unwrap();
    assert_eq!(shelf.through().await, set(&["s3_get"]));
    s3.delete_bucket_policy().bucket(BUCKET).send().await.unwrap();

    let kms =
        async |statements: &Value| shelf.cloud.kms.put_key_policy().key_id(&shelf.key).policy_name("default").policy(policy(statements)).send().await.unwrap();
    kms(&let_in("kms:*", &["*"])).await;
    assert_eq!(shelf.through().await, beginning("kms_"));
    let mut account = let_in("kms:*", &["*"]);
    account[0]["Principal"] = json!({"AWS": "arn:aws:iam::123456789012:root"});
    kms(&account).await;

    let secret = shelf.cloud.secrets.put_resource_policy().secret_id(&shelf.secret);
    secret.resource_policy(policy(&let_in("secretsmanager:*", &["*"]))).send().await.unwrap();
    assert_eq!(shelf.through().await, beginning("secret_"));
    shelf.cloud.secrets.delete_resource_policy().secret_id(&shelf.secret).send().await.unwrap();

    let trusts = async |principal: Value| iam.update_assume_role_policy().role_name(B).policy_document(trust(&principal)).send().await.unwrap();
    trusts(json!({"AWS": shelf.me})).await;
    assert_eq!(shelf.through().await, set(&["role_assume"]));
    trusts(json!({"Service": "ecs-tasks.amazonaws.com"})).await;
    assert_eq!(shelf.through().await, set(&[]));

    // A policy that is attached counts as one of its own, and whoever has the neighbour's tag has the neighbour's prefix.
    let made = iam.create_policy().policy_name("shelfholes").policy_document(policy(&json!([statement("iam:*", "*")]))).send().await.unwrap();
    let arn = made.policy.unwrap().arn.unwrap();
    iam.attach_role_policy().role_name(A).policy_arn(&arn).send().await.unwrap();
    assert_eq!(shelf.through().await, set(&["role_pass", "own_policy", "own_attachment", "own_tag"]));
    iam.detach_role_policy().role_name(A).policy_arn(&arn).send().await.unwrap();
    let tagged = async |tenant: &str| {
        let tag = aws_sdk_iam::types::Tag::builder().key("labctl:tenant").value(tenant).build().unwrap();
        iam.tag_role().role_name(A).tags(tag).send().await.unwrap();
    };
    tagged(B).await;
    assert_eq!(shelf.through().await, set(&["s3_get", "s3_put", "s3_delete", "s3_list"]));
    tagged(A).await;

    // A bucket that is open.
    for flag in 0..4 {
        let mut flags = [true; 4];
        flags[flag] = false;
        shelf.public_access(flags).await;
        assert_eq!(shelf.through().await, set(&["s3_public_access"]), "{flags:?}");
    }
    s3.delete_public_access_block().bucket(BUCKET).send().await.unwrap();
    assert_eq!(shelf.through().await, set(&["s3_public_access"]));
    shelf.public_access([true; 4]).await;
    shelf.owned(ObjectOwnership::ObjectWriter).await;
    assert_eq!(shelf.through().await, set(&["s3_ownership"]));
    s3.delete_bucket_ownership_controls().bucket(BUCKET).send().await.unwrap();
    assert_eq!(shelf.through().await, set(&["s3_ownership"]));
    shelf.owned(ObjectOwnership::BucketOwnerEnforced).await;
    assert_eq!(shelf.through().await, set(&[]));

    // What the record does not name, or AWS does not show, is not run.
    for kind in ["s3_prefix", "kms_key", "secret", "iam_role", "log_group"] {
        let mut b = shelf.b.clone();
        for t in b.things.iter_mut().filter(|t| t.address.kind == kind) {
            (t.spec, t.outputs) = (json!({}), std::collections::BTreeMap::new());
        }
        let found = attack(&shelf.cloud, &shelf.a, &b).await;
        assert!(found.left_out.is_empty() && found.verdict() == Verdict::NotRun, "{kind}: {found:#?}");
        assert_eq!(found.findings.len(), all().len(), "{kind}");
    }
    let gone = Subject::new(A, vec![thing(A, "iam_role", None, json!({"name": "shelfholes-gone"}))]);
    assert_eq!(attack(&shelf.cloud, &gone, &shelf.b).await.count(Verdict::NotRun), PROBES.len());
}
