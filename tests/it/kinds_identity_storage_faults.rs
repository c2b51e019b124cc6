//! What no emulator shows of keys, buckets, pools and people: lost replies, throttling, pages, other accounts, other regions.
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::sync::{Arc, Mutex};

use aws_smithy_runtime_api::client::http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use labctl::cloud::tags::owned;
use labctl::cloud::{Cloud, Reach};
use labctl::engine::fault::{Class, Fault, Left};
use labctl::engine::kind::{Address, AnyKind, Diff, Observed, Tags, Target, find};
use labctl::kinds::{Cx, KINDS};
use serde_json::{Value, json};

/// What is answered to a call.
#[derive(Debug, Clone)]
enum Answer {
    Json(u16, Value),
    Xml(u16, &'static str),
    /// The call arrived and the reply did not.
    Lost,
}

/// Answers each call by the first line of the script for it that is not used up; the last one for a call serves for ever.
#[derive(Debug, Clone, Default)]
struct Script {
    lines: Arc<Mutex<Vec<(&'static str, Answer)>>>,
    heard: Arc<Mutex<Vec<(String, String)>>>,
}

impl Script {
    fn line(self, call: &'static str, answer: Answer) -> Self {
        self.lines.lock().unwrap().push((call, answer));
        self
    }

    fn ok(self, call: &'static str, body: Value) -> Self {
        self.line(call, Answer::Json(200, body))
    }

    fn no(self, call: &'static str, code: &str) -> Self {
        self.line(call, Answer::Json(400, json!({"__type": code, "message": "words"})))
    }

    /// The bodies of the calls of that name.
    fn bodies(&self, call: &str) -> Vec<String> {
        self.heard.lock().unwrap().iter().filter(|(heard, _)| heard == call).map(|(_, body)| body.clone()).collect()
    }
}

/// `CreateUserPool` for the JSON services, `PUT /bucket?tagging` for S3.
fn name(request: &HttpRequest) -> String {
    if let Some(target) = request.headers().get("x-amz-target") {
        return target.rsplit('.').next().unwrap().to_owned();
    }
    let path = request.uri().split("://").last().unwrap().split_once('/').map_or("", |(_, path)| path);
    let path = path.split("x-id=").next().unwrap().trim_end_matches(['?', '&', '/']);
    format!("{} /{}", request.method(), path.replace("/?", "?"))
}

impl HttpConnector for Script {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let call = name(&request);
        let body = request.body().bytes().map(|b| String::from_utf8_lossy(b).into_owned()).unwrap_or_default();
        self.heard.lock().unwrap().push((call.clone(), body));
        let mut lines = self.lines.lock().unwrap();
        let at: Vec<_> = lines.iter().enumerate().filter(|(_, (name, _))| *name == call).map(|(at, _)| at).collect();
        let answer = match at.as_slice() {
            [] => panic!("the script has no line for {call}"),
            [last] => lines[*last].1.clone(),
            [first, ..] => lines.remove(*first).1,
        };
        let reply = |status: u16, body: String| HttpConnectorFuture::ready(Ok(HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body))));
        match answer {
            Answer::Json(status, body) => reply(status, body.to_string()),
            Answer::Xml(status, body) => reply(status, body.to_owned()),
            Answer::Lost => HttpConnectorFuture::ready(Err(ConnectorError::io("reset by peer".into()))),
        }
    }
}

impl HttpClient for Script {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

struct Scene {
    kind: &'static dyn AnyKind<Cx>,
    cx: Cx,
    address: Address,
    tags: Tags,
    script: Script,
}

impl Scene {
    async fn new(kind: &str, region: &str, script: Script) -> Self {
        let cloud = Cloud::connect(Reach {
            region: Some(region.into()),
            endpoint_url: Some("http://aws.invalid".into()),
            fixed_credentials: Some(("test".into(), "test".into())),
            http_client: Some(SharedHttpClient::new(script.clone())),
            ..Reach::default()
        })
        .await;
        let address = Address::new("acme", kind, "main");
        let tags = owned(&address, "registry-1");
        Self { kind: find(KINDS, kind).unwrap(), cx: Cx::aws_only(cloud), address, tags, script }
    }

    fn target<'a>(&'a self, spec: &'a Value) -> Target<'a, Value> {
        Target { address: &self.address, spec, tags: &self.tags }
    }

    async fn observe(&self, spec: &Value, recorded: Option<&str>) -> Result<Observed<Value>, Fault> {
        self.kind.observe(&self.cx, &self.target(spec), recorded).await
    }

    async fn create(&self, spec: &Value) -> Result<String, Fault> {
        self.kind.create(&self.cx, &self.target(spec), "token").await
    }
}

fn pool_spec() -> Value {
    json!({"name": "tenant-acme-pool", "mfa": "off", "password_min_length": 12, "deletion_protection": true})
}

fn pool_tags(address: &str) -> Value {
    json!({"labctl:tenant": "acme", "labctl:address": address, "labctl:registry": "registry-1"})
}

fn pool(id: &str, tags: Value) -> Value {
    json!({"UserPool": {"Id": id, "Name": "tenant-acme-pool", "Arn": format!("arn:aws:cognito-idp:eu-central-1:1:userpool/{id}"), "UserPoolTags": tags}})
}

fn listed(ids: &[(&str, &str)], next: Option<&str>) -> Value {
    let pools: Vec<_> = ids.iter().map(|(id, name)| json!({"Id": id, "Name": name})).collect();
    json!({"UserPools": pools, "NextToken": next})
}

#[tokio::test]
async fn a_pool_whose_reply_was_lost_is_found_by_its_tags_on_the_second_page_and_not_made_again() {
    let mine = pool_tags("acme/cognito_user_pool/main");
    let script = Script::default()
        .line("CreateUserPool", Answer::Lost)
        .ok("ListUserPools", listed(&[("eu-central-1_a", "another")], Some("more")))
        .ok("ListUserPools", listed(&[("eu-central-1_b", "tenant-acme-pool")], None))
        .ok("DescribeUserPool", pool("eu-central-1_b", mine))
        .ok("GetUserPoolMfaConfig", json!({"MfaConfiguration": "OFF"}));
    let scene = Scene::new("cognito_user_pool", "eu-central-1", script).await;
    let fault = scene.create(&pool_spec()).await.unwrap_err();
    assert_eq!(fault.class, Class::Unknown, "{fault}");
    assert!(matches!(fault.left, Left::Unknown(_)));
    assert_eq!(scene.script.bodies("CreateUserPool").len(), 1, "a create is never repeated by the SDK");
    assert!(matches!(scene.observe(&pool_spec(), None).await.unwrap(), Observed::Mine { id, .. } if id == "eu-central-1_b"));
    let pages = scene.script.bodies("ListUserPools");
    assert_eq!(pages.len(), 2);
    assert!(pages.iter().all(|body| body.contains("\"MaxResults\":60")) && pages[1].contains("more"));
}

#[tokio::test]
async fn pools_of_one_name_are_told_apart_by_their_tags() {
    let (mine, theirs) = (pool_tags("acme/cognito_user_pool/main"), pool_tags("other/cognito_user_pool/main"));
    let both = listed(&[("r_a", "tenant-acme-pool"), ("r_b", "tenant-acme-pool")], None);
    let mfa = |script: Script| script.ok("GetUserPoolMfaConfig", json!({"MfaConfiguration": "OFF"}));
    let scene = |a: &Value, b: &Value| {
        let script = Script::default().ok("ListUserPools", both.clone()).ok("DescribeUserPool", pool("r_a", a.clone()));
        Scene::new("cognito_user_pool", "eu-central-1", mfa(script.ok("DescribeUserPool", pool("r_b", b.clone()))))
    };
    let spec = pool_spec();
    assert!(matches!(scene(&theirs, &mine).await.observe(&spec, None).await.unwrap(), Observed::Mine { id, .. } if id == "r_b"));
    assert!(matches!(scene(&mine, &mine).await.observe(&spec, None).await.unwrap(), Observed::Many(ids) if ids == ["r_a", "r_b"]));
    let Observed::Foreign(why) = scene(&theirs, &json!({})).await.observe(&spec, None).await.unwrap() else { panic!() };
    assert!(why.contains("r_b") && why.contains("no labctl ownership tags"), "{why}");
}

#[tokio::test]
async fn a_pools_update_sends_back_what_is_not_ours() {
    let mut found = pool("r_a", pool_tags("acme/cognito_user_pool/main"));
    let more = json!({
        "LambdaConfig": {"PreTokenGeneration": "arn:aws:lambda:eu-central-1:1:function:f"},
        "EmailConfiguration": {"EmailSendingAccount": "DEVELOPER", "SourceArn": "arn:aws:ses:eu-central-1:1:identity/acme.example"},
        "UserPoolAddOns": {"AdvancedSecurityMode": "AUDIT"},
        "UserPoolTier": "PLUS",
        "MfaConfiguration": "OPTIONAL",
        "Policies": {"PasswordPolicy": {"MinimumLength": 8, "PasswordHistorySize": 5}},
        "AdminCreateUserConfig": {"AllowAdminCreateUserOnly": false, "UnusedAccountValidityDays": 7},
        "UserPoolTags": {"CostCentre": "42"}
    });
    found["UserPool"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let script = Script::default()
        .ok("DescribeUserPool", found)
        .ok("GetUserPoolMfaConfig", json!({"MfaConfiguration": "OPTIONAL", "SmsMfaConfiguration": {"SmsConfiguration": {"SnsCallerArn": "arn:role"}}}))
        .ok("UpdateUserPool", json!({}))
        .ok("SetUserPoolMfaConfig", json!({}))
        .ok("AddCustomAttributes", json!({}));
    let scene = Scene::new("cognito_user_pool", "eu-central-1", script).await;
    let state = json!({
        "name": "tenant-acme-pool", "arn": "", "mfa": "optional", "password": "", "deletion_protection": false, "verified": [], "verified_before_update": [],
        "recovery": [], "invited_only": false, "invite_subject": null, "invite_body": null, "sign_in_with": ["email"], "case_sensitive": false,
        "tenant_id": null, "tenant_tier": true, "tags": {}
    });
    scene.kind.update(&scene.cx, &scene.target(&pool_spec()), "r_a", &state).await.unwrap();
    let sent: Value = serde_json::from_str(&scene.script.bodies("UpdateUserPool")[0]).unwrap();
    for same in ["LambdaConfig", "EmailConfiguration", "UserPoolAddOns", "UserPoolTier", "MfaConfiguration"] {
        assert_eq!(sent[same], more[same], "{same}");
    }
    assert_eq!(sent["Policies"]["PasswordPolicy"]["PasswordHistorySize"], 5);
    assert_eq!(sent["Policies"]["PasswordPolicy"]["MinimumLength"], 12);
    assert_eq!(sent["AdminCreateUserConfig"]["AllowAdminCreateUserOnly"], true);
    // Cognito refuses any other number beside the password policy's own days; the SDK cannot leave the field out.
    assert_eq!(sent["AdminCreateUserConfig"]["UnusedAccountValidityDays"], 0);
    assert_eq!((&sent["UserPoolTags"]["CostCentre"], &sent["UserPoolTags"]["labctl:tenant"]), (&json!("42"), &json!("acme")));
    let mfa: Value = serde_json::from_str(&scene.script.bodies("SetUserPoolMfaConfig")[0]).unwrap();
    assert_eq!((&mfa["MfaConfiguration"], &mfa["SmsMfaConfiguration"]["SmsConfiguration"]["SnsCallerArn"]), (&json!("OFF"), &json!("arn:role")));
    assert!(scene.script.bodies("AddCustomAttributes")[0].contains("tenant_id"));
}

#[tokio::test]
async fn what_signs_a_pools_people_in_is_created_as_the_diff_wants_it() {
    let script = Script::default().ok("CreateUserPool", pool("r_a", json!({})));
    let scene = Scene::new("cognito_user_pool", "eu-central-1", script).await;
    assert_eq!(scene.create(&pool_spec()).await.unwrap(), "r_a");
    let sent: Value = serde_json::from_str(&scene.script.bodies("CreateUserPool")[0]).unwrap();
    let schema = sent["Schema"].as_array().unwrap();
    let mutable = |name: &str| schema.iter().find(|a| a["Name"] == name).unwrap()["Mutable"].clone();
    assert_eq!((mutable("tenant_id"), mutable("tenant_tier")), (json!(false), json!(true)));
    assert_eq!(sent["UserPoolTags"], pool_tags("acme/cognito_user_pool/main"), "ownership travels in the create call");
    assert_eq!((&sent["UsernameConfiguration"]["CaseSensitive"], &sent["MfaConfiguration"]), (&json!(false), &Value::Null));
    assert_eq!(sent["AdminCreateUserConfig"]["AllowAdminCreateUserOnly"], true);
}

#[tokio::test]
async fn an_invitation_whose_reply_was_lost_is_not_sent_again() {
    let user = json!({"Username": "u-1", "Enabled": true, "UserStatus": "FORCE_CHANGE_PASSWORD", "UserAttributes": [
        {"Name": "sub", "Value": "u-1"}, {"Name": "email", "Value": "ana@acme.example"}, {"Name": "email_verified", "Value": "true"},
        {"Name": "custom:tenant_id", "Value": "acme"}, {"Name": "custom:tenant_tier", "Value": "trial"}
    ]});
    let groups = |name: &str, next: Value| json!({"Groups": [{"GroupName": name}], "NextToken": next});
    let script = Script::default()
        .line("AdminCreateUser", Answer::Lost)
        .ok("AdminGetUser", user)
        .ok("AdminListGroupsForUser", groups("x", json!("more")))
        .ok("AdminListGroupsForUser", groups("acme", Value::Null));
    let scene = Scene::new("cognito_user", "eu-central-1", script).await;
    let spec = json!({"pool_id": "r_a", "email": "ana@acme.example", "tenant_id": "acme", "tenant_tier": "trial", "group": "acme"});
    assert_eq!(scene.create(&spec).await.unwrap_err().class, Class::Unknown);
    let Observed::Mine { id, state } = scene.observe(&spec, None).await.unwrap() else { panic!() };
    assert_eq!(id, "r_a/u-1");
    assert_eq!(scene.kind.diff(&scene.target(&spec), &state).unwrap(), Diff::Same);
    let sent = scene.script.bodies("AdminCreateUser");
    assert_eq!(sent.len(), 1);
    assert!(!sent[0].contains("TemporaryPassword") && !sent[0].contains("RESEND") && sent[0].contains("\"DesiredDeliveryMediums\":[\"EMAIL\"]"), "{sent:?}");
}

#[tokio::test]
async fn buckets_are_made_with_their_tags_and_us_east_1_is_never_named() {
    for (region, named) in [("us-east-1", false), ("eu-central-1", true)] {
        let scene = Scene::new("s3_bucket", region, Script::default().line("PUT /acme-data", Answer::Xml(200, ""))).await;
        scene.create(&json!({"name": "acme-data", "noncurrent_days": 30})).await.unwrap();
        let sent = scene.script.bodies("PUT /acme-data").remove(0);
        assert_eq!(sent.contains("<LocationConstraint>"), named, "{sent}");
        assert!(sent.contains("<Key>labctl:address</Key><Value>acme/s3_bucket/main</Value>"), "{sent}");
    }
}

#[tokio::test]
async fn a_bucket_of_another_account_or_region_is_foreign_and_its_name_a_definite_no() {
    let spec = json!({"name": "acme-data", "noncurrent_days": 30});
    for (status, why) in [(403, "another account"), (301, "another region")] {
        let scene = Scene::new("s3_bucket", "eu-central-1", Script::default().line("HEAD /acme-data", Answer::Xml(status, ""))).await;
        assert!(matches!(scene.observe(&spec, None).await.unwrap(), Observed::Foreign(text) if text.contains(why)), "{status}");
    }
    let rows = [
        (409, "<Error><Code>BucketAlreadyExists</Code></Error>", Class::Refused),
        (409, "<Error><Code>BucketAlreadyOwnedByYou</Code></Error>", Class::Unknown),
        (409, "<Error><Code>OperationAborted</Code></Error>", Class::Busy),
        (503, "<Error><Code>SlowDown</Code></Error>", Class::Busy),
        (500, "<Error><Code>InternalError</Code></Error>", Class::Unknown),
    ];
    for (status, body, class) in rows {
        let scene = Scene::new("s3_bucket", "eu-central-1", Script::default().line("PUT /acme-data", Answer::Xml(status, body))).await;
        assert_eq!(scene.create(&spec).await.unwrap_err().class, class, "{body}");
        assert_eq!(scene.script.bodies("PUT /acme-data").len(), 1);
    }
}

#[tokio::test]
async fn a_key_made_before_a_lost_reply_is_found_by_tags_and_believed_only_by_its_own() {
    let key = |id: &str, state: &str| json!({"KeyMetadata": {"KeyId": id, "Arn": format!("arn:aws:kms:eu-central-1:1:key/{id}"), "KeyState": state}});
    let tags = |address: &str| {
        let all = [("labctl:tenant", "acme"), ("labctl:address", address), ("labctl:registry", "registry-1")];
        json!({"Tags": all.map(|(k, v)| json!({"TagKey": k, "TagValue": v})), "Truncated": false})
    };
    let found = |arns: &[&str]| json!({"ResourceTagMappingList": arns.iter().map(|a| json!({"ResourceARN": a})).collect::<Vec<_>>(), "PaginationToken": ""});
    let script = Script::default()
        .line("CreateKey", Answer::Lost)
        // `create` looks for a key on its way out first: alias, then tags.
        .no("DescribeKey", "NotFoundException")
        .ok("GetResources", found(&[]))
        // `observe`: alias, then the two the tagging API names, of which one no longer has our tags.
        .no("DescribeKey", "NotFoundException")
        .ok("GetResources", found(&["arn:1", "arn:2"]))
        .ok("DescribeKey", key("k-1", "Enabled"))
        .ok("ListResourceTags", tags("other/kms_key/main"))
        .ok("DescribeKey", key("k-2", "Enabled"))
        .ok("ListResourceTags", tags("acme/kms_key/main"))
        .ok("GetKeyRotationStatus", json!({"KeyRotationEnabled": false}))
        .ok("GetKeyPolicy", json!({"Policy": "{}"}))
        .ok("ListAliases", json!({"Aliases": [], "Truncated": false}));
    let scene = Scene::new("kms_key", "eu-central-1", script).await;
    let spec = json!({"alias": "alias/acme", "description": "x"});
    assert_eq!(scene.create(&spec).await.unwrap_err().class, Class::Unknown);
    assert_eq!(scene.script.bodies("CreateKey").len(), 1);
    assert!(matches!(scene.observe(&spec, None).await.unwrap(), Observed::Mine { id, .. } if id == "k-2"));
}

#[tokio::test]
async fn a_key_on_its_way_out_is_absent_and_called_back_when_wanted() {
    let tags = pool_tags("acme/kms_key/main");
    let tags: Vec<_> = tags.as_object().unwrap().iter().map(|(k, v)| json!({"TagKey": k, "TagValue": v})).collect();
    let script = Script::default()
        .ok("DescribeKey", json!({"KeyMetadata": {"KeyId": "k-1", "Arn": "arn:aws:kms:eu-central-1:1:key/k-1", "KeyState": "PendingDeletion"}}))
        .ok("ListResourceTags", json!({"Tags": tags, "Truncated": false}))
        .ok("CancelKeyDeletion", json!({"KeyId": "k-1"}))
        .no("ScheduleKeyDeletion", "KMSInvalidStateException");
    let scene = Scene::new("kms_key", "eu-central-1", script).await;
    let spec = json!({"alias": "alias/acme", "description": "x"});
    assert_eq!(scene.observe(&spec, Some("k-1")).await.unwrap(), Observed::Absent);
    assert_eq!(scene.create(&spec).await.unwrap(), "k-1");
    scene.kind.delete(&scene.cx, &scene.target(&spec), "k-1").await.unwrap();
}

#[tokio::test]
async fn emptying_goes_page_by_page_and_ends_at_what_will_not_go() {
    const PAGE: &str = "<ListVersionsResult><IsTruncated>true</IsTruncated><Version><Key>acme/a</Key><VersionId>1</VersionId></Version>\
                        <DeleteMarker><Key>acme/b</Key><VersionId>2</VersionId></DeleteMarker></ListVersionsResult>";
    const EMPTY: &str = "<ListVersionsResult><IsTruncated>false</IsTruncated></ListVersionsResult>";
    const LOCKED: &str = "<DeleteResult><Error><Key>acme/a</Key><Code>AccessDenied</Code><Message>locked</Message></Error></DeleteResult>";
    let versions = "GET /shared?versions&max-keys=1000&prefix=acme%2F";
    let script = |deleted: &'static str| {
        Script::default()
            .line("GET /shared?uploads&prefix=acme%2F", Answer::Xml(200, "<ListMultipartUploadsResult></ListMultipartUploadsResult>"))
            .line(versions, Answer::Xml(200, PAGE))
            .line(versions, Answer::Xml(200, PAGE))
            .line(versions, Answer::Xml(200, EMPTY))
            .line("POST /shared?delete", Answer::Xml(200, deleted))
    };
    let spec = json!({"bucket": "shared", "prefix": "acme/"});
    let scene = Scene::new("s3_prefix", "eu-central-1", script("<DeleteResult></DeleteResult>")).await;
    scene.kind.delete(&scene.cx, &scene.target(&spec), "s3://shared/acme/").await.unwrap();
    let sent = scene.script.bodies("POST /shared?delete");
    assert_eq!(sent.len(), 2);
    assert!(sent[0].contains("<VersionId>1</VersionId>") && sent[0].contains("<VersionId>2</VersionId>"), "{sent:?}");
    let scene = Scene::new("s3_prefix", "eu-central-1", script(LOCKED)).await;
    let fault = scene.kind.delete(&scene.cx, &scene.target(&spec), "s3://shared/acme/").await.unwrap_err();
    assert_eq!((fault.code.as_str(), fault.message.as_str()), ("AccessDenied", "acme/a: locked"));
    let fault = scene.kind.delete(&scene.cx, &scene.target(&spec), "s3://shared/").await.unwrap_err();
    assert_eq!(fault.code, "invalid_id", "an id that names the whole bucket deletes nothing");
}

#[tokio::test]
async fn a_connection_cut_after_the_request_leaves_the_outcome_unknown_and_one_never_made_leaves_nothing() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        use std::io::Read;
        for abrupt in [false, true] {
            let (mut socket, _) = listener.accept().unwrap();
            // Read to the end of the request, or leave some of it unread, which makes the kernel answer the rest with a reset.
            let mut buffer = vec![0; if abrupt { 10 } else { 65_536 }];
            assert!(socket.read(&mut buffer).unwrap() > 0);
        }
    });
    let cloud = |port: u16| {
        Cloud::connect(Reach {
            region: Some("eu-central-1".into()),
            endpoint_url: Some(format!("http://127.0.0.1:{port}")),
            fixed_credentials: Some(("test".into(), "test".into())),
            ..Reach::default()
        })
    };
    let mut scene = Scene::new("cognito_user_pool", "eu-central-1", Script::default()).await;
    scene.cx.cloud = cloud(port).await;
    for how in ["closed", "reset"] {
        let fault = scene.create(&pool_spec()).await.unwrap_err();
        assert_eq!(fault.class, Class::Unknown, "{how}: {fault}");
    }
    server.join().unwrap();
    let fault = scene.create(&pool_spec()).await.unwrap_err();
    assert_eq!((fault.class, fault.left), (Class::Busy, Left::Nothing), "nobody listens any more: {}", fault.message);
}
