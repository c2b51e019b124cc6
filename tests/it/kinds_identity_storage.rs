//! Keys, buckets, pools and people, made, changed and deleted in the sandbox: does what was made come back as wanted?
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use aws_sdk_s3::primitives::ByteStream;
use labctl::cloud::Cloud;
use labctl::cloud::tags::owned;
use labctl::engine::fault::Class;
use labctl::engine::kind::{Address, AnyKind, Diff, Observed, Ready, Suspension, Tags, Target, find};
use labctl::kinds::{Cx, KINDS};
use serde_json::{Value, json};

use crate::world::world;

/// A kind with the world it works in.
struct Bench {
    kind: &'static dyn AnyKind<Cx>,
    cx: Cx,
    address: Address,
    tags: Tags,
}

impl Bench {
    async fn new(kind: &str, name: &str) -> Self {
        Self::over(world().cloud().await, kind, name)
    }

    fn over(cloud: Cloud, kind: &str, name: &str) -> Self {
        let address = Address::new("acme", kind, name);
        let mut tags = owned(&address, "registry-1");
        tags.insert("Environment".into(), "test".into());
        Self { kind: find(KINDS, kind).unwrap(), cx: Cx::aws_only(cloud), address, tags }
    }

    fn of(&self, kind: &str, name: &str) -> Self {
        Self::over(self.cx.cloud.clone(), kind, name)
    }

    fn target<'a>(&'a self, spec: &'a Value) -> Target<'a, Value> {
        Target { address: &self.address, spec, tags: &self.tags }
    }

    async fn observe(&self, spec: &Value, recorded: Option<&str>) -> Observed<Value> {
        self.kind.observe(&self.cx, &self.target(spec), recorded).await.unwrap()
    }

    /// What the engine does, at most 4 rounds of it; every update twice, since an engine may be cut off after the first.
    async fn settle(&self, spec: &Value, recorded: Option<&str>) -> (String, Value) {
        let mut recorded = recorded.map(ToOwned::to_owned);
        let mut seen = Vec::new();
        for _ in 0..4 {
            match self.observe(spec, recorded.as_deref()).await {
                Observed::Absent => recorded = Some(self.kind.create(&self.cx, &self.target(spec), "token").await.unwrap()),
                Observed::Mine { id, state } => match self.kind.diff(&self.target(spec), &state).unwrap() {
                    Diff::Same => {
                        assert_eq!(self.kind.ready(&self.target(spec), &state).unwrap(), Ready::Ready);
                        let outputs = self.kind.outputs(&self.target(spec), &id, &state).unwrap();
                        let mut declared = self.kind.outputs_declared().to_vec();
                        declared.sort_unstable();
                        assert_eq!(outputs.keys().collect::<Vec<_>>(), declared);
                        assert!(outputs.values().all(|v| !v.is_empty()), "{outputs:?}");
                        return (id, state);
                    }
                    Diff::Update(changes) => {
                        seen.push(changes);
                        for _ in 0..2 {
                            self.kind.update(&self.cx, &self.target(spec), &id, &state).await.unwrap();
                        }
                    }
                    other => panic!("{other:?}"),
                },
                other => panic!("{other:?}"),
            }
        }
        panic!("{} did not settle: {seen:#?}", self.address);
    }

    /// Calls that write, so far.
    fn writes(&self) -> u64 {
        let calls = self.cx.cloud.calls().by_operation();
        let reads = ["Get", "List", "Describe", "Head", "AdminGet", "AdminList"];
        calls.iter().filter(|(call, _)| !reads.iter().any(|r| call.split(':').nth(1).unwrap().starts_with(r))).map(|(_, n)| n).sum()
    }

    /// Makes it, finds it again without a record, changes nothing the second time, follows a change of spec; returns the id.
    async fn round_trip(&self, spec: &Value, changed: &Value) -> String {
        let (id, _) = self.settle(spec, None).await;
        let writes = self.writes();
        assert_eq!(self.settle(spec, Some(&id)).await.0, id);
        assert_eq!(self.settle(spec, None).await.0, id, "a lost reply must find the same thing");
        assert_eq!(self.writes(), writes, "nothing to do is nothing done");
        let (after, state) = self.settle(changed, Some(&id)).await;
        assert_eq!(after, id);
        assert!(self.kind.diff(&self.target(spec), &state).unwrap() != Diff::Same, "the change must have been one");
        id
    }

    /// Deletes it twice and looks.
    async fn gone(&self, spec: &Value, id: &str) {
        for _ in 0..2 {
            self.kind.delete(&self.cx, &self.target(spec), id).await.unwrap();
            assert_eq!(self.observe(spec, Some(id)).await, Observed::Absent);
        }
    }

    /// A second create must leave it to the next look whose the thing is.
    async fn second_create_is_unknown(&self, spec: &Value) {
        let fault = self.kind.create(&self.cx, &self.target(spec), "token").await.unwrap_err();
        assert_eq!(fault.class, Class::Unknown, "{fault}");
    }

    async fn foreign_to_another_address(&self, spec: &Value) {
        let other = self.of(self.kind.name(), "another");
        assert!(matches!(other.observe(spec, None).await, Observed::Foreign(why) if why.contains(&self.address.to_string())));
    }
}

#[tokio::test]
async fn a_kms_key_comes_to_be_changes_and_is_revived_from_its_deletion() {
    let bench = Bench::new("kms_key", "data").await;
    let spec = json!({"alias": "alias/acme-data", "description": "data of acme", "log_groups": ["/ecs/acme-*"]});
    let changed = json!({"alias": "alias/acme-data-2", "description": "all data of acme", "rotation": false});
    let id = bench.round_trip(&spec, &changed).await;
    bench.foreign_to_another_address(&changed).await;
    bench.gone(&changed, &id).await;
    let (revived, _) = bench.settle(&changed, None).await;
    assert_eq!(revived, id, "a key on its way out is called back, since only it reads what it encrypted");
}

#[tokio::test]
async fn a_key_cut_off_before_its_alias_is_found_by_its_tags() {
    let bench = Bench::new("kms_key", "orphan").await;
    let spec = json!({"alias": "alias/acme-orphan", "description": "x"});
    let id = bench.kind.create(&bench.cx, &bench.target(&spec), "token").await.unwrap();
    assert!(matches!(bench.observe(&spec, None).await, Observed::Mine { id: found, .. } if found == id));
    let second = bench.kind.create(&bench.cx, &bench.target(&spec), "token").await.unwrap();
    assert!(matches!(bench.observe(&spec, None).await, Observed::Many(ids) if ids.len() == 2 && ids.contains(&second)));
}

#[tokio::test]
async fn a_bucket_comes_to_be_changes_and_is_emptied_of_every_version() {
    let bench = Bench::new("s3_bucket", "data").await;
    let key = "arn:aws:kms:us-east-1:123456789012:key/00000000-0000-0000-0000-000000000000";
    let spec = json!({"name": "acme-data-it", "kms_key_arn": key, "noncurrent_days": 90, "transition_ia_days": 30});
    let changed = json!({"name": "acme-data-it", "noncurrent_days": 30, "versioning": false, "abort_multipart_days": 3});
    let id = bench.round_trip(&spec, &changed).await;
    bench.second_create_is_unknown(&spec).await;
    bench.foreign_to_another_address(&spec).await;
    bench.settle(&spec, Some(&id)).await;
    let s3 = &bench.cx.cloud.s3;
    for round in 0..3 {
        for name in ["a", "b/c", "ü &<>"] {
            s3.put_object().bucket(&id).key(name).body(ByteStream::from(vec![round])).send().await.unwrap();
        }
    }
    s3.delete_object().bucket(&id).key("a").send().await.unwrap();
    s3.create_multipart_upload().bucket(&id).key("half").send().await.unwrap();
    bench.gone(&spec, &id).await;
}

#[tokio::test]
async fn a_prefix_overwrites_nothing_and_goes_with_all_its_versions_and_nothing_else() {
    let bucket = Bench::new("s3_bucket", "shared").await;
    bucket.settle(&json!({"name": "shared-it", "noncurrent_days": 1}), None).await;
    let bench = bucket.of("s3_prefix", "data");
    let spec = json!({"bucket": "shared-it", "prefix": "acme/"});
    let changed = json!({"bucket": "shared-it", "prefix": "acme/", "kms_key_arn": "arn:aws:kms:us-east-1:123456789012:key/k"});
    let id = bench.round_trip_of_prefix(&spec, &changed).await;
    bench.second_create_is_unknown(&spec).await;
    bench.foreign_to_another_address(&spec).await;
    let s3 = &bench.cx.cloud.s3;
    for key in ["acme/x", "acme/x", "acme-other/x"] {
        s3.put_object().bucket("shared-it").key(key).body(ByteStream::from_static(b"x")).send().await.unwrap();
    }
    let unclaimed = json!({"bucket": "shared-it", "prefix": "acme-other/"});
    assert!(matches!(bench.observe(&unclaimed, None).await, Observed::Foreign(_)), "objects without a marker are somebody's");
    // Swept by the application: ours still, and put back.
    s3.delete_object().bucket("shared-it").key("acme/.keep").send().await.unwrap();
    bench.settle(&spec, Some(&id)).await;
    bench.gone(&spec, &id).await;
    let left = s3.list_object_versions().bucket("shared-it").send().await.unwrap();
    assert_eq!(left.versions().iter().filter_map(|v| v.key()).collect::<Vec<_>>(), ["acme-other/x"]);
}

impl Bench {
    /// As `round_trip`, for a kind whose changed spec asks for more where the first leaves something open.
    async fn round_trip_of_prefix(&self, spec: &Value, changed: &Value) -> String {
        let (id, _) = self.settle(spec, None).await;
        let writes = self.writes();
        assert_eq!(self.settle(spec, None).await.0, id);
        assert_eq!(self.writes(), writes);
        assert_eq!(self.settle(changed, Some(&id)).await.0, id);
        assert!(self.writes() > writes);
        id
    }
}

async fn pool(bench: &Bench, name: &str) -> (Bench, String) {
    let pool = bench.of("cognito_user_pool", name);
    let spec = json!({"name": format!("tenant-{name}-pool"), "mfa": "off", "password_min_length": 12, "deletion_protection": false});
    let (id, _) = pool.settle(&spec, None).await;
    (pool, id)
}

#[tokio::test]
async fn a_pool_comes_to_be_changes_and_goes_though_protected() {
    let bench = Bench::new("cognito_user_pool", "users").await;
    let spec = json!({
        "name": "tenant-acme-pool", "mfa": "required", "password_min_length": 14, "deletion_protection": true,
        "invite_subject": "Welcome", "invite_body": "You are {username}, for now with {####}."
    });
    let changed = json!({"name": "tenant-acme-pool", "mfa": "optional", "password_min_length": 12, "deletion_protection": true, "invite_subject": "Hello"});
    let id = bench.round_trip(&spec, &changed).await;
    bench.foreign_to_another_address(&spec).await;
    let pool = bench.cx.cloud.cognito.describe_user_pool().user_pool_id(&id).send().await.unwrap().user_pool.unwrap();
    let template = pool.admin_create_user_config().unwrap().invite_message_template().unwrap();
    assert_eq!(template.email_message(), Some("You are {username}, for now with {####}."), "what a spec leaves open stays as it was");
    // A second pool of the name and tags, as a repeated create would make it.
    let twin = bench.kind.create(&bench.cx, &bench.target(&changed), "token").await.unwrap();
    assert!(matches!(bench.observe(&changed, None).await, Observed::Many(ids) if ids.len() == 2 && ids.contains(&twin)));
    bench.gone_of_two(&changed, &twin, &id).await;
    bench.gone(&changed, &id).await;
}

impl Bench {
    async fn gone_of_two(&self, spec: &Value, doomed: &str, kept: &str) {
        self.kind.delete(&self.cx, &self.target(spec), doomed).await.unwrap();
        assert!(matches!(self.observe(spec, None).await, Observed::Mine { id, .. } if id == kept));
    }
}

#[tokio::test]
async fn a_client_comes_to_be_changes_and_goes() {
    let start = Bench::new("cognito_user_pool_client", "portal").await;
    let (_pool, pool_id) = pool(&start, "clients").await;
    let spec = json!({"pool_id": pool_id, "name": "portal"});
    let changed = json!({"pool_id": pool_id, "name": "portal", "access_token_minutes": 30, "callback_urls": ["https://acme.example/back"]});
    let id = start.round_trip(&spec, &changed).await;
    let client = start.cx.cloud.cognito.describe_user_pool_client().user_pool_id(&pool_id).client_id(id.split_once('/').unwrap().1);
    let client = client.send().await.unwrap().user_pool_client.unwrap();
    assert!(client.write_attributes().iter().all(|name| !name.starts_with("custom:")) && !client.write_attributes().is_empty());
    assert_eq!(client.client_secret(), None);
    // In a pool that is not this tenant's, the name must say whose the client is.
    let stranger = Bench { address: Address::new("other", "cognito_user_pool_client", "portal"), ..start.of("cognito_user_pool_client", "portal") };
    let stranger = Bench { tags: owned(&stranger.address, "registry-1"), ..stranger };
    assert!(matches!(stranger.observe(&spec, None).await, Observed::Foreign(_)));
    let fresh = json!({"pool_id": pool_id, "name": "desk"});
    assert_eq!(stranger.kind.create(&stranger.cx, &stranger.target(&fresh), "t").await.unwrap_err().code, "ambiguous_name");
    // Two of a name, as a repeated create would make them.
    start.kind.create(&start.cx, &start.target(&changed), "token").await.unwrap();
    assert!(matches!(start.observe(&changed, None).await, Observed::Many(ids) if ids.len() == 2));
    for id in match start.observe(&changed, None).await {
        Observed::Many(ids) => ids,
        other => panic!("{other:?}"),
    } {
        start.kind.delete(&start.cx, &start.target(&changed), &id).await.unwrap();
    }
    start.gone(&changed, &id).await;
}

#[tokio::test]
async fn a_group_comes_to_be_changes_and_goes() {
    let bench = Bench::new("cognito_group", "members").await;
    let (_pool, pool_id) = pool(&bench, "groups").await;
    let spec = json!({"pool_id": pool_id, "name": "acme", "description": "People of Acme"});
    let changed = json!({"pool_id": pool_id, "name": "acme", "description": "People of Acme,\nall of them"});
    let id = bench.round_trip(&spec, &changed).await;
    bench.second_create_is_unknown(&spec).await;
    bench.foreign_to_another_address(&spec).await;
    bench.gone(&spec, &id).await;
}

#[tokio::test]
async fn a_person_is_invited_once_changes_tier_and_goes() {
    let bench = Bench::new("cognito_user", "admin").await;
    let (_pool, pool_id) = pool(&bench, "people").await;
    bench.of("cognito_group", "members").settle(&json!({"pool_id": pool_id, "name": "acme", "description": "People of Acme"}), None).await;
    let spec = json!({"pool_id": pool_id, "email": "Ana@acme.example", "tenant_id": "acme", "tenant_tier": "trial", "group": "acme"});
    let changed = json!({"pool_id": pool_id, "email": "ana@ACME.example", "tenant_id": "acme", "tenant_tier": "standard", "group": "acme"});
    let id = bench.round_trip(&spec, &changed).await;
    bench.second_create_is_unknown(&spec).await;
    assert_eq!(bench.cx.cloud.calls().by_operation()["cognito-identity-provider:AdminCreateUser"], 2, "one invitation, and the refused second");
    let theirs = json!({"pool_id": pool_id, "email": "ana@acme.example", "tenant_id": "other", "tenant_tier": "trial"});
    assert!(matches!(bench.observe(&theirs, None).await, Observed::Foreign(why) if why.contains("tenant acme")));
    bench.gone(&changed, &id).await;
}

#[tokio::test]
async fn users_are_shut_out_and_let_in_again_but_for_those_who_had_been_disabled() {
    let bench = Bench::new("cognito_access", "users").await;
    let (_pool, pool_id) = pool(&bench, "access").await;
    bench.of("cognito_group", "members").settle(&json!({"pool_id": pool_id, "name": "acme", "description": "People of Acme"}), None).await;
    let cognito = bench.cx.cloud.cognito.clone();
    for name in ["ana", "off", "guest"] {
        let address = format!("{name}@acme.example");
        cognito.admin_create_user().user_pool_id(&pool_id).username(&address).send().await.unwrap();
        if name != "guest" {
            cognito.admin_add_user_to_group().user_pool_id(&pool_id).group_name("acme").username(&address).send().await.unwrap();
        }
    }
    cognito.admin_disable_user().user_pool_id(&pool_id).username("off@acme.example").send().await.unwrap();
    let enabled = async || {
        let mut all = Vec::new();
        for name in ["ana", "off", "guest"] {
            all.push(cognito.admin_get_user().user_pool_id(&pool_id).username(format!("{name}@acme.example")).send().await.unwrap().enabled);
        }
        all
    };
    let open = json!({"pool_id": pool_id, "name": "suspended-acme", "members": "acme"});
    let suspended = |level| bench.kind.suspended(&open, level).unwrap();
    let (id, _) = bench.settle(&open, None).await;
    bench.second_create_is_unknown(&open).await;
    bench.foreign_to_another_address(&open).await;
    bench.settle(&suspended(Suspension::ReadOnly), Some(&id)).await;
    assert_eq!(enabled().await, [true, false, true]);
    for _ in 0..2 {
        bench.settle(&suspended(Suspension::Login), Some(&id)).await;
        assert_eq!(enabled().await, [false, false, true], "nobody but the members");
    }
    bench.settle(&open, Some(&id)).await;
    assert_eq!(enabled().await, [true, false, true]);
    let writes = bench.writes();
    bench.settle(&open, Some(&id)).await;
    assert_eq!(bench.writes(), writes, "nothing to do is nothing done");

    // Cut off before the group forgets them, and in the middle of shutting out.
    bench.settle(&suspended(Suspension::Full), Some(&id)).await;
    cognito.admin_enable_user().user_pool_id(&pool_id).username("ana@acme.example").send().await.unwrap();
    let Observed::Mine { state, .. } = bench.observe(&open, Some(&id)).await else { panic!() };
    assert!(matches!(bench.kind.diff(&bench.target(&open), &state).unwrap(), Diff::Update(c) if c[0].to_string() == "users_shut_out: 1 → 0"));
    let Observed::Mine { state, .. } = bench.observe(&suspended(Suspension::Full), Some(&id)).await else { panic!() };
    let closed = suspended(Suspension::Full);
    assert!(matches!(bench.kind.diff(&bench.target(&closed), &state).unwrap(), Diff::Update(c) if c[0].to_string() == "users_who_can_sign_in: 1 → 0"));
    bench.settle(&closed, Some(&id)).await;
    bench.settle(&open, Some(&id)).await;
    assert_eq!(enabled().await, [true, false, true]);

    // A pool of its own: everybody in it. And who is invited meanwhile is shut out with the others.
    let own = json!({"pool_id": pool_id, "name": "suspended-acme"});
    let closed = bench.kind.suspended(&own, Suspension::Login).unwrap();
    bench.settle(&closed, Some(&id)).await;
    assert_eq!(enabled().await, [false, false, false]);
    let admin = bench.of("cognito_user", "admin");
    let person = json!({"pool_id": pool_id, "email": "new@acme.example", "tenant_id": "acme", "tenant_tier": "trial", "shut_out_group": "suspended-acme"});
    admin.settle(&admin.kind.suspended(&person, Suspension::Login).unwrap(), None).await;
    let new = async || cognito.admin_get_user().user_pool_id(&pool_id).username("new@acme.example").send().await.unwrap().enabled;
    assert!(!new().await);
    bench.settle(&own, Some(&id)).await;
    assert_eq!((enabled().await, new().await), (vec![true, false, true], true));
    bench.gone(&own, &id).await;
}
