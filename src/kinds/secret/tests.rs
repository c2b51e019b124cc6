//! That what is generated is strong and stays where it belongs; lost replies; secrets that wait for their deletion.

use serde_json::json;

use super::*;
use crate::cloud::scripted::{Script, json_error};
use crate::cloud::tags::owned;
use crate::engine::fault::Class;
use crate::engine::kind::Address;

fn address() -> Address {
    Address::new("hospital-a", "secret", "database")
}

fn spec() -> Spec {
    serde_json::from_value(json!({"name": "mate/a", "values": {"host": "db"}, "generate": ["password"]})).unwrap()
}

fn described(tags: &Tags, deleted: bool) -> String {
    let tags: Vec<Value> = tags.iter().map(|(k, v)| json!({"Key": k, "Value": v})).collect();
    let mut found = json!({"ARN": "arn:secret", "Name": "mate/a", "Tags": tags});
    if deleted {
        found["DeletedDate"] = json!(1_800_000_000);
    }
    found.to_string()
}

#[test]
fn generated_values_are_long_plain_and_never_the_same() {
    let made: BTreeSet<String> = (0..200).map(|_| generate().unwrap().expose_secret().to_owned()).collect();
    assert_eq!(made.len(), 200);
    assert!(made.iter().all(|v| v.len() == LENGTH && v.bytes().all(|b| b.is_ascii_alphanumeric())));
    let letters: BTreeSet<u8> = made.iter().flat_map(|v| v.bytes()).collect();
    assert_eq!(letters.len(), ALPHABET.len(), "every letter comes up");
}

#[test]
fn what_looks_like_a_secret_has_no_place_in_a_template() {
    for (key, refused) in [("password", true), ("db_password", true), ("apiToken", true), ("host", false), ("master_secret_arn", false)] {
        let read = serde_json::from_value::<Spec>(json!({"name": "x", "values": {key: "hunter2"}}));
        assert_eq!(read.is_err(), refused, "{key}");
        assert!(!read.is_err_and(|e| e.to_string().contains("hunter2")));
    }
    assert!(serde_json::from_value::<Spec>(json!({"name": "x", "recovery_window_days": 0})).is_err());
}

#[test]
fn differences_are_told_without_telling_what_was_there() {
    let state = |keys: &[&str], host: &str| State {
        arn: "arn:secret".into(),
        kms_key_arn: None,
        description: String::new(),
        fingerprints: BTreeMap::from([("host".to_owned(), fingerprint("arn:secret", "host", host))]),
        keys: keys.iter().map(|k| (*k).to_owned()).collect(),
        object: true,
        tags: Tags::new(),
    };
    let rows = [
        (state(&["host", "password"], "db"), ""),
        (state(&["host", "password", "legacy"], "db"), ""),
        (state(&["host", "password"], "old"), "values.host: (another value) → db"),
        (state(&["host"], "db"), "generate.password: (none) → (generated)"),
        (State { kms_key_arn: Some("arn:k".into()), ..state(&["host", "password"], "db") }, "kms_key_arn: arn:k → None"),
    ];
    for (found, expected) in rows {
        assert_eq!(changes(&spec(), &found).iter().map(ToString::to_string).collect::<Vec<_>>().join("; "), expected);
    }
    let (address, spec, tags) = (address(), spec(), Tags::new());
    let odd = State { object: false, ..state(&[], "db") };
    assert!(matches!(Secret.diff(&Target { address: &address, spec: &spec, tags: &tags }, &odd), Diff::Forbidden(_)));
}

#[tokio::test]
async fn a_retry_with_another_password_looks_again_and_finds_the_first() {
    let (address, spec) = (address(), spec());
    let tags = owned(&address, "r");
    let target = Target { address: &address, spec: &spec, tags: &tags };
    let script = Script::new()
        .then_silence("CreateSecret")
        .then("CreateSecret", 400, json_error("ResourceExistsException", "exists"))
        .then("DescribeSecret", 200, described(&tags, false))
        .then("DescribeSecret", 200, described(&tags, false))
        .then("GetSecretValue", 200, json!({"ARN": "arn:secret", "SecretString": r#"{"host":"db","password":"hunter2"}"#}).to_string());
    let cx = Cx::scripted(&script).await;
    assert_eq!(Secret.create(&cx, &target, "t").await.unwrap_err().class, Class::Unknown);
    assert_eq!(Secret.create(&cx, &target, "t").await.unwrap_err().class, Class::Unknown);
    let Observed::Mine { state, .. } = Secret.observe(&cx, &target, None).await.unwrap() else { panic!("adopted") };
    assert_eq!(Secret.diff(&target, &state), Diff::Same);
    assert!(!format!("{state:?}").contains("hunter2"));

    let sent: Vec<Value> = script.seen().iter().take(2).map(|(_, body)| serde_json::from_str(body).unwrap()).collect();
    assert_eq!(sent[0]["ClientRequestToken"], sent[1]["ClientRequestToken"]);
    assert_ne!(sent[0]["SecretString"], sent[1]["SecretString"], "nothing kept the first password");
}

#[tokio::test]
async fn a_key_that_was_generated_and_is_now_plain_does_not_leak() {
    let address = address();
    let tags = owned(&address, "r");
    let spec: Spec = serde_json::from_value(json!({"name": "mate/a", "values": {"pin": "0000"}})).unwrap();
    let target = Target { address: &address, spec: &spec, tags: &tags };
    let script = Script::new().then("DescribeSecret", 200, described(&tags, false)).then(
        "GetSecretValue",
        200,
        json!({"ARN": "arn:secret", "SecretString": r#"{"pin":"hunter2"}"#}).to_string(),
    );
    let Observed::Mine { state, .. } = Secret.observe(&Cx::scripted(&script).await, &target, None).await.unwrap() else { panic!("ours") };
    let said = format!("{state:?} {:?} {}", Secret.diff(&target, &state), serde_json::to_string(&state).unwrap());
    assert!(said.contains("(another value)") && !said.contains("hunter2"), "{said}");
}

#[tokio::test]
async fn a_deleted_secret_is_restored_if_it_is_ours_and_foreign_if_not() {
    let (address, spec) = (address(), spec());
    let tags = owned(&address, "r");
    let target = Target { address: &address, spec: &spec, tags: &tags };
    let waiting = json_error("InvalidRequestException", "a secret with this name is already scheduled for deletion");
    let script = Script::new()
        .then("DescribeSecret", 200, described(&tags, true))
        .then("CreateSecret", 400, waiting.clone())
        .then("DescribeSecret", 200, described(&tags, true))
        .then("RestoreSecret", 200, "{}");
    let cx = Cx::scripted(&script).await;
    assert!(matches!(Secret.observe(&cx, &target, None).await.unwrap(), Observed::Absent));
    assert_eq!(Secret.create(&cx, &target, "t").await.unwrap(), "arn:secret");

    let theirs = owned(&Address::new("hospital-b", "secret", "database"), "r");
    let script = Script::new().then("DescribeSecret", 200, described(&theirs, true)).then("CreateSecret", 400, waiting).then(
        "DescribeSecret",
        200,
        described(&theirs, true),
    );
    let cx = Cx::scripted(&script).await;
    assert!(matches!(Secret.observe(&cx, &target, None).await.unwrap(), Observed::Foreign(_)));
    assert_eq!(Secret.create(&cx, &target, "t").await.unwrap_err().class, Class::Unknown);
    assert!(!script.operations().contains(&"RestoreSecret".to_owned()), "what is not ours is not restored");
}

#[tokio::test]
async fn deleting_twice_is_success() {
    let (address, spec, tags) = (address(), spec(), Tags::new());
    let target = Target { address: &address, spec: &spec, tags: &tags };
    let script = Script::new()
        .then("DeleteSecret", 400, json_error("InvalidRequestException", "marked for deletion"))
        .then("DescribeSecret", 200, described(&tags, true))
        .then("DeleteSecret", 400, json_error("ResourceNotFoundException", "no"));
    let cx = Cx::scripted(&script).await;
    Secret.delete(&cx, &target, "arn:secret").await.unwrap();
    Secret.delete(&cx, &target, "arn:secret").await.unwrap();
}

#[test]
fn what_is_promoted_takes_its_place_and_is_gone_and_that_happens_once() {
    let spec: Spec =
        serde_json::from_value(json!({"name": "x", "values": {"username": "a_b"}, "generate": ["password"], "promote": {"password": "next_password"}}))
            .unwrap();
    let old = ["username", "password", "next_password"].map(|key| (key.to_owned(), SecretString::from(format!("old {key}"))));
    let once = compose(&spec, BTreeMap::from(old)).unwrap();
    assert_eq!(once.expose_secret(), r#"{"password":"old next_password","username":"a_b"}"#);
    let twice = compose(&spec, parse(&once).unwrap()).unwrap();
    assert_eq!(twice.expose_secret(), once.expose_secret());
    let told = |keys: &[&str]| {
        let state = State {
            arn: "arn:secret".into(),
            kms_key_arn: None,
            description: String::new(),
            fingerprints: BTreeMap::from([("username".to_owned(), fingerprint("arn:secret", "username", "a_b"))]),
            keys: keys.iter().map(|k| (*k).to_owned()).collect(),
            object: true,
            tags: Tags::new(),
        };
        changes(&spec, &state).iter().map(|c| c.field.clone()).collect::<Vec<_>>()
    };
    assert_eq!(told(&["username", "password", "next_password"]), ["promote.password"]);
    assert_eq!(told(&["username", "password"]), Vec::<String>::new());
}
