//! Identity: for every probe the hole it would find, in user pools of the sandbox.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_cognitoidentityprovider::types::{
    AdminCreateUserConfigType, AttributeDataType, AttributeType, MessageActionType, SchemaAttributeType, UsernameAttributeType,
};
use labctl::cloud::Cloud;
use labctl::engine::kind::Address;
use labctl::ops::verify::identity::{PROBES, attack};
use labctl::ops::verify::probe::{Finding, Verdict};
use labctl::ops::verify::subject::{Subject, Thing};
use serde_json::{Value, json};

use crate::world::world;

/// What a pool is to be like.
#[derive(Clone, Copy)]
struct Rules {
    mutable: bool,
    sign_up: bool,
}

const GOOD: Rules = Rules { mutable: false, sign_up: false };

struct Pools(Cloud);

impl Pools {
    async fn pool(&self, name: &str, rules: Rules) -> String {
        let attribute = |name: &str, mutable| SchemaAttributeType::builder().name(name).attribute_data_type(AttributeDataType::String).mutable(mutable).build();
        let made = self.0.cognito.create_user_pool().pool_name(name).username_attributes(UsernameAttributeType::Email);
        let made = made.schema(attribute("tenant_id", rules.mutable)).schema(attribute("tenant_tier", true));
        let made = made.admin_create_user_config(AdminCreateUserConfigType::builder().allow_admin_create_user_only(!rules.sign_up).build());
        let pool = made.send().await.unwrap().user_pool.unwrap().id.unwrap();
        for tenant in ["a", "b"] {
            self.0.cognito.create_group().user_pool_id(&pool).group_name(format!("tenant-{tenant}")).send().await.unwrap();
        }
        self.client(&pool, &["email"]).await;
        pool
    }

    async fn client(&self, pool: &str, writes: &[&str]) -> String {
        let made = self.0.cognito.create_user_pool_client().user_pool_id(pool).client_name("web");
        let writes = (!writes.is_empty()).then(|| writes.iter().map(ToString::to_string).collect());
        made.set_write_attributes(writes).send().await.unwrap().user_pool_client.unwrap().client_id.unwrap()
    }

    async fn user(&self, pool: &str, email: &str, claim: Option<&str>, groups: &[&str]) {
        let attribute = |name: &str, value: &str| AttributeType::builder().name(name).value(value).build().unwrap();
        let made = self.0.cognito.admin_create_user().user_pool_id(pool).username(email).message_action(MessageActionType::Suppress);
        let claims = claim.map(|claim| attribute("custom:tenant_id", claim));
        let made = made.set_user_attributes(Some(claims.into_iter().chain([attribute("email", email)]).collect())).send().await.unwrap();
        let name = made.user.unwrap().username.unwrap();
        for group in groups {
            self.0.cognito.admin_add_user_to_group().user_pool_id(pool).username(&name).group_name(format!("tenant-{group}")).send().await.unwrap();
        }
    }

    /// Two tenants with a user each: in this pool both, or the second in that one.
    async fn pair(&self, ours: Rules, apart: bool) -> (Tenant, Tenant) {
        let pool = self.pool("shared", ours).await;
        let other = if apart { self.pool("other", GOOD).await } else { pool.clone() };
        self.user(&pool, "ana@a.example", Some("a"), &["a"]).await;
        self.user(&other, "ben@b.example", Some("b"), &["b"]).await;
        let client = if apart { Some(self.client(&other, &["email"]).await) } else { None };
        (Tenant { id: "a", pool, client: None, users: vec!["ana@a.example"] }, Tenant { id: "b", pool: other, client, users: vec!["ben@b.example"] })
    }

    async fn through(&self, a: &Tenant, b: &Tenant) -> BTreeSet<String> {
        let found = attack(&self.0, &a.subject(), &b.subject()).await;
        assert_eq!(found.count(Verdict::NotRun), 0, "{:#?}", found.findings);
        let seen: BTreeSet<&str> = found.findings.iter().map(|f| f.probe.as_str()).chain(found.left_out.iter().map(|l| l.probe.as_str())).collect();
        assert_eq!(seen, PROBES.iter().map(|p| p.id).collect(), "every probe is tried, or it is said why not");
        let apart: BTreeSet<&str> = found.left_out.iter().map(|l| l.probe.as_str()).collect();
        assert_eq!(apart, if a.pool == b.pool { BTreeSet::from(["foreign_client", "foreign_user"]) } else { BTreeSet::new() });
        found.findings.into_iter().filter(|f| f.verdict == Verdict::Breach).map(|f| f.probe).collect()
    }
}

/// What labctl has on record of a tenant.
struct Tenant {
    id: &'static str,
    pool: String,
    client: Option<String>,
    users: Vec<&'static str>,
}

impl Tenant {
    fn subject(&self) -> Subject {
        let thing = |kind: &str, id: Option<String>, spec: Value| Thing { address: Address::new(self.id, kind, "main"), id, spec, outputs: BTreeMap::new() };
        let mut things = vec![thing("cognito_group", None, json!({"pool_id": self.pool, "name": format!("tenant-{}", self.id)}))];
        things.extend(self.users.iter().map(|email| thing("cognito_user", None, json!({"pool_id": self.pool, "email": email}))));
        things.extend(self.client.iter().map(|c| thing("cognito_user_pool_client", Some(format!("{}/{c}", self.pool)), json!({"pool_id": self.pool}))));
        Subject::new(self.id, things)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_probe_of_identity_finds_the_hole_it_is_for_and_no_other() {
    let pools = Pools(world().cloud().await);
    let mut opened = BTreeSet::new();
    let mut expect = |case: &str, through: BTreeSet<String>, ids: &[&'static str]| {
        assert_eq!(through, ids.iter().map(ToString::to_string).collect(), "{case}");
        opened.extend(ids.iter().copied());
    };

    let (a, b) = pools.pair(GOOD, false).await;
    expect("one pool", pools.through(&a, &b).await, &[]);
    expect("one pool, the other way", pools.through(&b, &a).await, &[]);
    pools.user(&a.pool, "two@a.example", Some("a"), &["a", "b"]).await;
    expect("a user in both groups", pools.through(&a, &b).await, &["issuer_or_group", "group_members"]);

    let (a, b) = pools.pair(GOOD, false).await;
    pools.user(&a.pool, "stranger@nowhere.example", None, &["b"]).await;
    expect("a stranger in the group", pools.through(&a, &b).await, &["group_members"]);

    let (mut a, b) = pools.pair(GOOD, false).await;
    pools.user(&a.pool, "bo@a.example", Some("b"), &[]).await;
    a.users.push("bo@a.example");
    expect("a user with the neighbour's claim", pools.through(&a, &b).await, &["own_claim"]);
    a.users = vec!["ana@a.example", "gone@a.example"];
    expect("a user on record who is not there", pools.through(&a, &b).await, &["own_claim"]);

    let (a, b) = pools.pair(GOOD, false).await;
    pools.client(&a.pool, &["email", "custom:tenant_id"]).await;
    expect("a client writes the claim", pools.through(&a, &b).await, &["claim_unwritable"]);
    pools.client(&a.pool, &["custom:tenant_tier"]).await;
    expect("another writes the tier", pools.through(&a, &b).await, &["claim_unwritable", "tier_unwritable"]);
    let (a, b) = pools.pair(GOOD, false).await;
    pools.client(&a.pool, &[]).await;
    expect("a client without a list", pools.through(&a, &b).await, &["claim_unwritable", "tier_unwritable"]);

    let (a, b) = pools.pair(Rules { mutable: true, ..GOOD }, false).await;
    expect("a claim that can be changed", pools.through(&a, &b).await, &["claim_fixed"]);
    let (a, b) = pools.pair(Rules { sign_up: true, ..GOOD }, false).await;
    expect("people sign up", pools.through(&a, &b).await, &["sign_up"]);

    let (a, mut b) = pools.pair(GOOD, true).await;
    expect("two pools", pools.through(&a, &b).await, &[]);
    pools.user(&b.pool, "ana@a.example", Some("b"), &["b"]).await;
    expect("one person of two customers'", pools.through(&a, &b).await, &[]);
    b.client = Some(pools.client(&a.pool, &["email"]).await);
    expect("a client of both pools", pools.through(&a, &b).await, &["foreign_client"]);
    let (a, b) = pools.pair(GOOD, true).await;
    pools.user(&b.pool, "ana@a.example", Some("a"), &[]).await;
    expect("a user of A's in B's pool", pools.through(&a, &b).await, &["foreign_user"]);

    assert_eq!(opened, PROBES.iter().map(|p| p.id).collect(), "every probe has a hole");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_of_users_is_not_run() {
    let pools = Pools(world().cloud().await);
    let (a, b) = pools.pair(GOOD, true).await;
    let whole = |f: &Finding| f.verdict == Verdict::Refused;
    let found = attack(&pools.0, &a.subject(), &b.subject()).await;
    assert!(found.findings.len() == PROBES.len() && found.findings.iter().all(whole), "{found:#?}");
    for (n, key) in [(0, "name"), (0, "pool_id"), (1, "email")] {
        let mut torn = a.subject();
        torn.things[n].spec[key] = Value::Null;
        for (one, other) in [(&torn, &b.subject()), (&b.subject(), &torn)] {
            let found = attack(&pools.0, one, other).await;
            assert_eq!((found.count(Verdict::NotRun), found.left_out.len()), (PROBES.len(), 0), "{key}: {found:#?}");
        }
    }
    // A pool that is gone answers nothing of what is asked of it.
    let gone = Tenant { pool: "eu-west-1_gone".into(), ..a };
    let found = attack(&pools.0, &gone.subject(), &b.subject()).await;
    assert!(found.findings.iter().filter(|f| f.verdict == Verdict::NotRun).any(|f| f.probe == "issuer_or_group"), "{found:#?}");
}
