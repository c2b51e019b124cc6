//! Plans in files: what was looked at is what is carried out, or nothing is.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::fixture::{Run, World, shared};

/// Adds a tag to a spec.
fn tagged(world: &World, spec: &str, value: &str) {
    let path = world.dir().join("specs").join(spec);
    let text = fs::read_to_string(&path).unwrap();
    let text = text.split("\n[tags]").next().unwrap();
    fs::write(&path, format!("{text}\n[tags]\nWard = \"{value}\"\n")).unwrap();
}

fn refused(run: &Run, exit: i32, code: &str, words: &str) {
    let error = run.error();
    assert_eq!((run.code, error["code"].as_str()), (exit, Some(code)), "{run}");
    assert!(error.to_string().contains(words), "{words}: {run}");
}

/// Writes a plan file as somebody would who means harm: its checksum holds.
fn forge(world: &World, name: &str, from: &str, edit: impl FnOnce(&mut Value)) {
    let folder = world.dir().join("specs");
    let mut file: Value = serde_json::from_str(&fs::read_to_string(folder.join(from)).unwrap()).unwrap();
    edit(&mut file);
    file["checksum"] = json!("");
    let sum: String = Sha256::digest(file.to_string().as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
    file["checksum"] = json!(sum);
    fs::write(folder.join(name), file.to_string()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_in_a_file_is_carried_out_as_it_is_and_only_once() {
    let world = shared();
    let spec = world.spec("filed-lab", "labcloud", "trial");
    world.ok(&["tenant", "plan", &spec, "--out", "filed-1.json"]);
    let path = world.dir().join("specs/filed-1.json");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&path).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    for field in ["version", "labctl", "profile", "registry", "tenant", "verb", "command", "made_at", "state", "plan", "checksum"] {
        assert!(!file[field].is_null(), "{field}: {text}");
    }
    assert_eq!((&file["parent"], &file["verb"], &file["state"]["spec"]["id"]), (&json!(null), &json!("apply"), &json!("filed-lab")));
    for password in world.passwords().values() {
        assert!(!text.contains(password.as_str()), "a password is in the plan");
    }
    let again = world.run(&["tenant", "plan", &spec, "--out", "filed-1.json", "-o", "json"]);
    refused(&again, 1, "exists", "it was left as it is");
    assert_eq!(fs::read_to_string(&path).unwrap(), text);

    // The spec may change meanwhile: the plan holds what it was made for.
    tagged(world, &spec, "later");
    assert_eq!(world.json(&["tenant", "apply", "--plan", "filed-1.json"])["status"], "active");
    let operation = world.json(&["operation", "list", "--tenant", "filed-lab"])[0].clone();
    assert_eq!((&operation["verb"], &operation["revision"]), (&json!("apply"), &json!(1)));
    let kept = &world.json(&["operation", "show", &operation["number"].to_string()])["plan"];
    assert_eq!(kept["steps"].as_array().unwrap().len(), file["plan"]["steps"].as_array().unwrap().len());
    refused(&world.run(&["tenant", "apply", "--plan", "filed-1.json", "-o", "json"]), 1, "stale_plan", "the tenant was not on record, and is at revision 1");

    world.ok(&["tenant", "plan", &spec, "--out", "filed-2.json"]);
    let shown = world.ok(&["tenant", "apply", "--plan", "filed-2.json", "--dry-run"]);
    assert!(shown.out.contains("tags.Ward: (none) → later"), "{shown}");
    world.ok(&["tenant", "apply", "--plan", "filed-2.json"]);
    assert_eq!(world.json(&["tenant", "show", "filed-lab"])["revision"], 2);
    assert_eq!(world.ok(&["tenant", "plan", &spec, "--check"]).code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_refused_when_the_tenant_or_the_world_has_moved() {
    let world = shared();
    let spec = world.spec("moved-lab", "labcloud", "trial");
    world.json(&["tenant", "create", &spec]);
    tagged(world, &spec, "east");
    world.ok(&["tenant", "apply", &spec, "--dry-run", "--out", "moved-1.json"]);

    // The world: a tag the plan was to change from another value.
    let cloud = world.cloud().await;
    let arn = cloud.secrets.describe_secret().secret_id("labcloud-moved-lab-sandbox/app").send().await.unwrap().arn.unwrap();
    let tag = |value: &str| aws_sdk_secretsmanager::types::Tag::builder().key("Ward").value(value).build();
    cloud.secrets.tag_resource().secret_id(&arn).tags(tag("west")).send().await.unwrap();
    let before = world.json(&["tenant", "show", "moved-lab"]);
    let run = world.run(&["tenant", "apply", "--plan", "moved-1.json", "-o", "json"]);
    refused(&run, 1, "stale_plan", "secret/app: it was to be updated (tags.Ward: (none) → east), and is to be updated (tags.Ward: west → east) now");
    assert_eq!(world.json(&["tenant", "show", "moved-lab"]), before, "nothing was put on record");
    assert_eq!(run.error()["causes"].as_array().unwrap().len(), 1, "only what has moved is told: {run}");
    cloud.secrets.untag_resource().secret_id(&arn).tag_keys("Ward").send().await.unwrap();
    world.ok(&["tenant", "apply", "--plan", "moved-1.json", "--dry-run"]);

    // Another registry; then what the file leads to, edited with and without care; then no plan at all.
    forge(world, "moved-2.json", "moved-1.json", |file| file["registry"] = json!("00000000-0000-4000-8000-000000000000"));
    refused(&world.run(&["tenant", "apply", "--plan", "moved-2.json", "-o", "json"]), 1, "stale_plan", "it was made with registry 00000000");
    forge(world, "moved-3.json", "moved-1.json", |file| file["state"]["spec"]["tags"]["Ward"] = json!("north"));
    refused(&world.run(&["tenant", "apply", "--plan", "moved-3.json", "-o", "json"]), 1, "stale_plan", "tags.Ward: (none) → north");
    let text = fs::read_to_string(world.dir().join("specs/moved-1.json")).unwrap();
    for (name, text, words) in [
        ("moved-4.json", text.replace("\"east\"", "\"north\""), "it was changed after it was written"),
        ("moved-5.json", "{\"version\": 1, \"plan\": []}".to_owned(), "the file holds no plan"),
        ("moved-6.json", "id = \"moved-lab\"".to_owned(), "the file holds no plan"),
        ("moved-7.json", text.replacen("\"version\": 1", "\"version\": 9", 1), "of version 9"),
    ] {
        fs::write(world.dir().join("specs").join(name), text).unwrap();
        refused(&world.run(&["tenant", "apply", "--plan", name, "-o", "json"]), 64, "invalid_plan", words);
    }
    refused(&world.run(&["tenant", "apply", "--plan", "nowhere.json", "-o", "json"]), 64, "unreadable_plan", "nowhere.json");
    refused(&world.run(&["tenant", "apply", &spec, "--plan", "moved-1.json", "-o", "json"]), 64, "usage", "cannot be used with");

    // The revision.
    world.ok(&["tenant", "rename", "moved-lab", "--display-name", "Moved Lab"]);
    refused(&world.run(&["tenant", "apply", "--plan", "moved-1.json", "-o", "json"]), 1, "stale_plan", "the tenant was at revision 1, and is at revision 2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_of_another_verb_is_that_verb_when_it_is_applied() {
    let world = shared();
    world.json(&["tenant", "create", &world.spec("verbal-lab", "labcloud", "trial")]);
    world.ok(&["tenant", "rename", "verbal-lab", "--display-name", "Verbal & Sons", "--dry-run", "--out", "verbal.json"]);
    assert_eq!(world.json(&["tenant", "show", "verbal-lab"])["display_name"], "Tenant verbal-lab", "it was only looked at");
    assert_eq!(world.json(&["tenant", "apply", "--plan", "verbal.json"])["display_name"], "Verbal & Sons");
    assert_eq!(world.json(&["operation", "list", "--tenant", "verbal-lab"])[0]["verb"], "rename");
}
