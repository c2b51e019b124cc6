//! What a tier says of its logins, and what PostgreSQL has: the same numbers.

use std::collections::BTreeMap;

use labctl::engine::kind::find;
use labctl::kinds::KINDS;
use labctl::spec::{self, Tier};
use labctl::stack::{Stacks, resolve};
use labctl::tenantdb::migrations::Library;
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::server::{Secrets, Server};
use super::tenant::{Resource, secret};

/// Sessions at once, and settings, of one part's login, as the tier's settings in `stack.toml` say. Of templates' resources nothing is asked.
pub fn wanted(stack: &str, tier: &str, part: &str, search_path: &str) -> (i32, BTreeMap<String, String>) {
    let file = format!("{}/templates/{stack}/stack.toml", env!("CARGO_MANIFEST_DIR"));
    let stack: toml::Table = toml::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let database = &stack["tiers"][tier]["settings"]["database"];
    let text = |key: &str| database[key].as_str().unwrap().to_owned();
    let time = if part == "migrate" { "migrate_statement_timeout" } else { "statement_timeout" };
    let mut settings = vec![
        ("search_path", search_path.to_owned()),
        ("statement_timeout", text(time)),
        ("lock_timeout", text("lock_timeout")),
        ("idle_in_transaction_session_timeout", text("idle_in_transaction_timeout")),
    ];
    // Pools of an application keep sessions for the next request.
    if part != "app" {
        settings.push(("idle_session_timeout", text("idle_session_timeout")));
    }
    if part == "readonly" {
        settings.push(("default_transaction_read_only", "on".to_owned()));
    }
    let limit = database[format!("{part}_connections").as_str()].as_integer().unwrap();
    (i32::try_from(limit).unwrap(), settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// The same of a role as PostgreSQL has it.
pub async fn had(db: &mut PgConnection, role: &str) -> (i32, BTreeMap<String, String>) {
    let (limit, settings): (i32, Option<Vec<String>>) =
        sqlx::query_as("SELECT rolconnlimit, rolconfig FROM pg_roles WHERE rolname = $1").bind(role).fetch_one(db).await.unwrap();
    let pairs = settings.unwrap_or_default().into_iter().map(|s| s.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())).unwrap());
    (limit, pairs.collect())
}

fn platform() -> Value {
    let arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:shared";
    json!({
        "environment": "production", "region": "us-east-1", "account_id": "123456789012",
        "cluster": "platform", "subnets": ["subnet-1"], "security_groups": ["sg-app"], "db_security_groups": ["sg-db"],
        "db_subnet_group": "platform", "execution_role_arn": "arn:aws:iam::123456789012:role/platform-execution",
        "bucket": "platform-data", "user_pool_id": "us-east-1_shared",
        "databases": {"shared": {"endpoint": "shared.example.org:5432", "database": "shared", "admin_secret_arn": arn}}
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_login_of_every_tier_has_the_limits_and_settings_its_stack_says() {
    let (server, secrets) = (Server::new("tier_limits").await, Secrets::default());
    let cx = server.cx(&secrets, Library::default()).await;
    let mut sup = server.superuser("postgres").await;
    let stacks = Stacks::load(format!("{}/templates", env!("CARGO_MANIFEST_DIR")).as_ref()).unwrap();
    for (stack, tier, parts) in [
        ("labcloud", Tier::Trial, 3),
        ("labcloud", Tier::Standard, 3),
        ("labcloud", Tier::Enterprise, 3),
        // Rows in shared tables: the migration role is the system's.
        ("clinicx", Tier::Trial, 2),
        ("clinicx", Tier::Standard, 3),
        ("clinicx", Tier::Enterprise, 3),
        ("mate", Tier::Trial, 3),
        ("mate", Tier::Standard, 3),
        ("mate", Tier::Enterprise, 3),
    ] {
        let id = format!("limits-{stack}-{tier}");
        let spec = spec::read("spec.toml", &spec::new_spec(&id, tier, stack)).unwrap();
        let outputs = |kind: &str| find(KINDS, kind).map(|k| k.outputs_declared());
        let desired = resolve(stacks.get(stack).unwrap(), &spec, &spec.subdomain, &platform(), &outputs).unwrap();
        let schema = format!("tenant_{}", id.replace('-', "_"));
        let mut compared = 0;
        for wish in desired.resources.into_iter().filter(|r| r.kind == "postgres_role") {
            let mut spec = wish.spec;
            // What other resources bring forth: the secret is all that a role needs.
            if spec["login"] == true {
                spec["secret_arn"] = json!(secret(&id, &wish.name));
                secrets.set(&secret(&id, &wish.name), json!({"password": "p"}));
            }
            let role = spec["name"].as_str().unwrap().to_owned();
            Resource::new(&id, "postgres_role", &wish.name, spec).converge(&cx).await.unwrap();
            let has = had(&mut sup, &role).await;
            if wish.name == "owner" {
                assert_eq!(has, (-1, BTreeMap::new()), "nobody logs in as {role}");
                continue;
            }
            let path = if (stack, tier) == ("clinicx", Tier::Trial) { "system_clinicx" } else { &schema };
            assert_eq!(has, wanted(stack, &tier.to_string(), &wish.name, path), "{role}");
            compared += 1;
        }
        assert_eq!(compared, parts, "{stack} {tier}");
    }
}
