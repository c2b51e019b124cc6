//! Suspended and back, as those see it who are shut out: the application's role and its open session, users and their tokens, tasks.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_cognitoidentityprovider::types::AuthFlowType;
use labctl::cloud::Cloud;
use nix::sys::signal::Signal;
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection};

use super::fixture::{blocking, connect, shared};

const PASSWORD: &str = "Correct-horse-battery-9";
/// Users besides, who have never signed in.
const CROWD: usize = 4;

fn role(id: &str, part: &str) -> String {
    format!("tenant_{}_{part}", id.replace('-', "_"))
}

/// A tenant as the test knows it.
struct Tenant {
    id: String,
    cloud: Cloud,
    pool: String,
    /// The tenant's group in a shared pool.
    group: Option<String>,
    client: String,
}

/// Who is signed in.
struct Tokens {
    access: String,
    refresh: String,
}

fn resource(shown: &Value, kind: &str) -> Option<String> {
    shown["resources"].as_array().unwrap().iter().find(|r| r["kind"] == kind).map(|r| r["id"].as_str().unwrap().to_owned())
}

impl Tenant {
    async fn create(id: &str, stack: &str, tier: &str) -> Self {
        let spec = shared().spec(id, stack, tier);
        blocking(move || shared().ok(&["tenant", "create", &spec])).await.unwrap();
        let shown = shared().json(&["tenant", "show", id]);
        let cloud = shared().cloud().await;
        let (pool, holding) = resource(&shown, "cognito_access").unwrap().split_once('/').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        assert_eq!(holding, format!("suspended-{id}"));
        let group = resource(&shown, "cognito_group").unwrap().rsplit_once('/').unwrap().1.to_owned();
        let group = resource(&shown, "cognito_user_pool").is_none().then_some(group);
        let made =
            cloud.cognito.create_user_pool_client().user_pool_id(&pool).client_name(format!("test-of-{id}")).write_attributes("email").send().await.unwrap();
        let client = made.user_pool_client.unwrap().client_id.unwrap();
        Self { id: id.to_owned(), cloud, pool, group, client }
    }

    async fn labctl(&self, args: &[&str]) -> super::fixture::Run {
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        blocking(move || shared().ok(&args.iter().map(String::as_str).collect::<Vec<_>>())).await.unwrap()
    }

    fn shown(&self) -> Value {
        shared().json(&["tenant", "show", &self.id])
    }

    /// Invites somebody, of the tenant or of nobody; their name in the pool.
    async fn invite(&self, name: &str, member: bool) -> String {
        let email = format!("{name}@{}.example", self.id);
        let cognito = &self.cloud.cognito;
        let made = cognito.admin_create_user().user_pool_id(&self.pool).username(email).send().await.unwrap();
        let user = made.user.unwrap().username.unwrap();
        cognito.admin_set_user_password().user_pool_id(&self.pool).username(&user).password(PASSWORD).permanent(true).send().await.unwrap();
        if let Some(group) = self.group.as_ref().filter(|_| member) {
            cognito.admin_add_user_to_group().user_pool_id(&self.pool).group_name(group).username(&user).send().await.unwrap();
        }
        user
    }

    async fn sign_in(&self, user: &str) -> Result<Tokens, String> {
        let call = self.cloud.cognito.admin_initiate_auth().user_pool_id(&self.pool).client_id(&self.client);
        let call = call.auth_flow(AuthFlowType::AdminUserPasswordAuth).auth_parameters("USERNAME", user).auth_parameters("PASSWORD", PASSWORD);
        let answer = call.send().await.map_err(|e| code(&e))?.authentication_result.unwrap();
        Ok(Tokens { access: answer.access_token.unwrap(), refresh: answer.refresh_token.unwrap() })
    }

    async fn uses(&self, tokens: &Tokens) -> Result<(), String> {
        self.cloud.cognito.get_user().access_token(&tokens.access).send().await.map(drop).map_err(|e| code(&e))
    }

    async fn refreshes(&self, tokens: &Tokens) -> Result<(), String> {
        let call = self.cloud.cognito.initiate_auth().client_id(&self.client).auth_flow(AuthFlowType::RefreshTokenAuth);
        call.auth_parameters("REFRESH_TOKEN", &tokens.refresh).send().await.map(drop).map_err(|e| code(&e))
    }

    async fn enabled(&self, user: &str) -> bool {
        self.cloud.cognito.admin_get_user().user_pool_id(&self.pool).username(user).send().await.unwrap().enabled
    }

    /// Everybody in the pool: whether they are enabled.
    async fn everybody(&self) -> BTreeMap<String, bool> {
        let mut pages = self.cloud.cognito.list_users().user_pool_id(&self.pool).limit(60).into_paginator().items().send();
        let mut all = BTreeMap::new();
        while let Some(user) = pages.next().await {
            let user = user.unwrap();
            all.insert(user.username.unwrap(), user.enabled);
        }
        all
    }

    async fn held(&self) -> usize {
        let call = self.cloud.cognito.list_users_in_group().user_pool_id(&self.pool).group_name(format!("suspended-{}", self.id));
        call.send().await.unwrap().users.unwrap_or_default().len()
    }

    /// A connection as one of its roles, with the password and database its secret names.
    async fn login(&self, part: &str) -> Result<PgConnection, String> {
        let address = format!("{}/secret/{part}", self.id);
        let shown = self.shown();
        let arn = shown["resources"].as_array().unwrap().iter().find(|r| r["address"] == *address).unwrap()["id"].as_str().unwrap();
        let text = self.cloud.secrets.get_secret_value().secret_id(arn).send().await.unwrap().secret_string.unwrap();
        let secret: Value = serde_json::from_str(&text).unwrap();
        let port = shared().open().await.registry.port;
        let of = |key: &str| secret[key].as_str().unwrap().to_owned();
        connect(port, &of("username"), &of("password"), &of("dbname")).await.map_err(|e| sqlstate(&e))
    }

    /// Runs SQL as a superuser who acts as the tenant's migration role, in the tenant's schema.
    async fn as_maker(&self, sql: &str) {
        let shown = self.shown();
        let database = resource(&shown, "postgres_schema_version").unwrap().split_once('.').unwrap().0.to_owned();
        let mut db = shared().superuser(&database).await;
        run(&mut db, &format!("SET ROLE {}; SET search_path = {}; {sql}", role(&self.id, "migrate"), self.schema())).await.unwrap();
    }

    fn schema(&self) -> String {
        format!("tenant_{}", self.id.replace('-', "_"))
    }

    /// `desired` of each service, by its last word.
    async fn counts(&self) -> BTreeMap<String, i32> {
        let mut counts = BTreeMap::new();
        for service in ["django", "celery", "beat"] {
            let call = self.cloud.ecs.describe_services().cluster("sandbox").services(self.service(service));
            if let [found] = call.send().await.unwrap().services() {
                counts.insert(service.to_owned(), found.desired_count());
            }
        }
        counts
    }

    fn service(&self, name: &str) -> String {
        format!("mate-{}-sandbox-{name}", self.id)
    }

    async fn scale(&self, service: &str, desired: i32) {
        self.cloud.ecs.update_service().cluster("sandbox").service(self.service(service)).desired_count(desired).send().await.unwrap();
    }

    /// What the task role is denied.
    async fn denied(&self) -> Option<String> {
        let call = self.cloud.iam.get_role_policy().role_name(format!("mate-{}-sandbox-task", self.id)).policy_name("labctl-suspended");
        call.send().await.ok().map(|p| p.policy_document)
    }
}

fn code<E: aws_smithy_types::error::metadata::ProvideErrorMetadata>(error: &E) -> String {
    error.code().unwrap_or_default().to_owned()
}

fn sqlstate(error: &sqlx::Error) -> String {
    error.as_database_error().and_then(|d| d.code()).map_or_else(|| error.to_string(), |c| c.into_owned())
}

async fn run(db: &mut PgConnection, sql: &str) -> Result<u64, String> {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(db).await.map(|d| d.rows_affected()).map_err(|e| sqlstate(&e))
}

/// Not permitted to log in.
const NO_LOGIN: &str = "28000";
const DENIED: &str = "42501";
const NOT_AUTHORIZED: &str = "NotAuthorizedException";

fn numbers(pairs: &[(&str, i32)]) -> BTreeMap<String, i32> {
    pairs.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_tenant_runs_nothing_and_lets_nobody_in_until_it_is_resumed_as_it_was() {
    let t = Tenant::create("paused-clinic", "mate", "standard").await;
    let (ana, off) = (t.invite("ana", true).await, t.invite("off", true).await);
    for n in 0..CROWD {
        t.cloud.cognito.admin_create_user().user_pool_id(&t.pool).username(format!("crowd-{n}@crowd.example")).send().await.unwrap();
    }
    t.cloud.cognito.admin_disable_user().user_pool_id(&t.pool).username(&off).send().await.unwrap();
    let users = t.everybody().await;
    assert_eq!((users.len(), users.values().filter(|e| **e).count()), (CROWD + 3, CROWD + 2), "with the administrator; one is disabled");
    let tokens = t.sign_in(&ana).await.unwrap();
    assert_eq!((t.uses(&tokens).await, t.refreshes(&tokens).await), (Ok(()), Ok(())));
    let mut session = t.login("app").await.unwrap();
    run(&mut session, "BEGIN; SELECT 1").await.unwrap();
    t.labctl(&["tenant", "suspend", "paused-clinic", "--level", "read-only", "--reason", "unpaid since June"]).await;
    let denied = t.denied().await.unwrap();
    assert!(denied.contains("PutObject") && !denied.contains("GetObject"), "{denied}");
    assert_eq!((t.uses(&tokens).await, t.counts().await["django"]), (Ok(()), 1));
    // Auto-scaling goes on until nothing runs.
    t.scale("django", 3).await;

    t.labctl(&["tenant", "suspend", "paused-clinic"]).await;
    run(&mut session, "SELECT 1").await.unwrap_err();
    for part in ["app", "migrate", "readonly"] {
        assert_eq!(t.login(part).await.err().as_deref(), Some(NO_LOGIN), "{part}");
    }
    assert_eq!(t.uses(&tokens).await, Err(NOT_AUTHORIZED.into()));
    assert_eq!(t.refreshes(&tokens).await, Err(NOT_AUTHORIZED.into()));
    assert_eq!(t.sign_in(&ana).await.err().as_deref(), Some(NOT_AUTHORIZED));
    assert!(t.everybody().await.values().all(|enabled| !enabled));
    assert_eq!(t.counts().await, numbers(&[("django", 0), ("celery", 0), ("beat", 0)]));
    let denied = t.denied().await.unwrap();
    assert!(denied.contains("Deny") && !denied.contains("PutObject"), "{denied}");
    let shown = t.shown();
    assert_eq!((&shown["status"], &shown["suspension"]["level"]), (&"suspended".into(), &"full".into()), "{shown}");
    assert_eq!(shown["suspension"]["reason"], "unpaid since June");
    let since = shown["suspension"]["since"].clone();
    let table = t.labctl(&["tenant", "show", "paused-clinic"]).await.out;
    assert!(table.contains("full since ") && table.contains(": unpaid since June"), "{table}");
    let listed = t.labctl(&["tenant", "list", "--status", "suspended"]).await.out;
    assert!(listed.contains("paused-clinic"), "{listed}");

    // It holds, and what is undone behind labctl's back is done again.
    assert!(t.labctl(&["tenant", "suspend", "paused-clinic"]).await.err.contains("no changes"));
    assert!(t.labctl(&["tenant", "apply", "paused-clinic"]).await.err.contains("no changes"));
    t.cloud.cognito.admin_enable_user().user_pool_id(&t.pool).username(&ana).send().await.unwrap();
    t.scale("celery", 2).await;
    let mut superuser = shared().superuser("postgres").await;
    run(&mut superuser, &format!("ALTER ROLE {} LOGIN", role(&t.id, "app"))).await.unwrap();
    let mut intruder = t.login("app").await.unwrap();
    let again = t.sign_in(&ana).await.unwrap();
    t.labctl(&["tenant", "apply", "paused-clinic.toml"]).await;
    run(&mut intruder, "SELECT 1").await.unwrap_err();
    assert_eq!(t.login("app").await.err().as_deref(), Some(NO_LOGIN));
    assert_eq!((t.uses(&again).await, t.enabled(&ana).await), (Err(NOT_AUTHORIZED.into()), false));
    assert_eq!(t.counts().await["celery"], 0);
    let shown = t.shown();
    assert_eq!((&shown["status"], &shown["suspension"]["since"]), (&"suspended".into(), &since));

    t.labctl(&["tenant", "resume", "paused-clinic"]).await;
    assert_eq!(t.everybody().await, users, "whoever could sign in can, and who had been disabled is still");
    assert_eq!(t.held().await, 0);
    assert_eq!(t.refreshes(&tokens).await, Err(NOT_AUTHORIZED.into()), "a session from before does not come back to life");
    t.sign_in(&ana).await.unwrap();
    for part in ["app", "migrate", "readonly"] {
        run(&mut t.login(part).await.unwrap(), "SELECT count(*) FROM patients").await.unwrap();
    }
    assert_eq!(t.counts().await, numbers(&[("django", 3), ("celery", 1), ("beat", 1)]), "just as many as before");
    assert_eq!(t.denied().await, None);
    let shown = t.shown();
    assert_eq!((&shown["status"], &shown["suspension"]), (&"active".into(), &Value::Null));
    for verb in ["resume", "apply"] {
        assert!(t.labctl(&["tenant", verb, "paused-clinic"]).await.err.contains("no changes"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_shared_pool_only_the_tenants_own_users_are_shut_out_and_reading_stops_last() {
    let t = Tenant::create("paused-lab", "labcloud", "trial").await;
    let (ana, off, guest) = (t.invite("ana", true).await, t.invite("off", true).await, t.invite("guest", false).await);
    t.cloud.cognito.admin_disable_user().user_pool_id(&t.pool).username(&off).send().await.unwrap();
    let (tokens, others) = (t.sign_in(&ana).await.unwrap(), t.sign_in(&guest).await.unwrap());
    let insert = "INSERT INTO lab_results (patient_id, test_code, test_data) VALUES ('P1', 'CBC', '{}')";
    let mut app = t.login("app").await.unwrap();
    assert_eq!(run(&mut app, insert).await, Ok(1));

    t.labctl(&["tenant", "suspend", "paused-lab", "--level", "read-only"]).await;
    t.as_maker("CREATE TABLE later (id bigint GENERATED ALWAYS AS IDENTITY, words text); CREATE SEQUENCE numbers").await;
    for db in [&mut app, &mut t.login("app").await.unwrap()] {
        assert_eq!(run(db, "SELECT * FROM lab_results").await, Ok(1));
        assert_eq!(run(db, "SELECT * FROM later").await, Ok(0));
        for sql in
            [insert, "UPDATE lab_results SET test_code = 'X'", "DELETE FROM lab_results", "INSERT INTO later (words) VALUES ('x')", "SELECT nextval('numbers')"]
        {
            assert_eq!(run(db, sql).await, Err(DENIED.into()), "{sql}");
        }
    }
    assert_eq!(t.login("migrate").await.err().as_deref(), Some(NO_LOGIN));
    assert!(t.labctl(&["tenant", "apply", "paused-lab"]).await.err.contains("no changes"), "a table made meanwhile is as it should be");
    assert_eq!((t.uses(&tokens).await, t.enabled(&ana).await), (Ok(()), true));
    let since = t.shown()["suspension"]["since"].clone();

    t.labctl(&["tenant", "suspend", "paused-lab", "--level", "login"]).await;
    assert_eq!((t.uses(&tokens).await, t.refreshes(&tokens).await), (Err(NOT_AUTHORIZED.into()), Err(NOT_AUTHORIZED.into())));
    assert_eq!((t.enabled(&ana).await, t.enabled(&off).await, t.enabled(&guest).await), (false, false, true));
    assert_eq!((t.uses(&others).await, t.refreshes(&others).await), (Ok(()), Ok(())), "another's session is none of it");
    assert_eq!(run(&mut app, "SELECT * FROM lab_results").await, Ok(1));

    t.labctl(&["tenant", "suspend", "paused-lab"]).await;
    run(&mut app, "SELECT 1").await.unwrap_err();
    assert_eq!(t.login("app").await.err().as_deref(), Some(NO_LOGIN));
    assert_eq!(t.shown()["suspension"]["since"], since, "it is out of use since it first was");

    t.labctl(&["tenant", "resume", "paused-lab"]).await;
    assert_eq!((t.enabled(&ana).await, t.enabled(&off).await, t.held().await), (true, false, 0));
    t.sign_in(&ana).await.unwrap();
    let mut app = t.login("app").await.unwrap();
    assert_eq!(run(&mut app, insert).await, Ok(1));
    run(&mut app, "INSERT INTO later (words) VALUES ('x'); SELECT nextval('numbers')").await.unwrap();
    t.login("migrate").await.unwrap();
}

/// Runs a verb, kills it at that moment, and runs it again; whether it was still running when it was killed.
async fn killed_and_again(id: &str, verb: &str, updates: usize, millis: u64) -> bool {
    let (id, verb) = (id.to_owned(), verb.to_owned());
    let work = move || {
        let mut running = shared().spawn(&["tenant", &verb, &id]);
        running.hear(if updates == 0 { "to update" } else { " updated " }, updates.max(1));
        std::thread::sleep(Duration::from_millis(millis));
        let _ = nix::sys::signal::kill(super::fixture::pid(&running.child), Signal::SIGKILL);
        let struck = running.end().code == -(Signal::SIGKILL as i32);
        shared().ok(&["tenant", &verb, &id]);
        struck
    };
    blocking(work).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_suspending_and_resuming_are_finished_by_the_same_command() {
    let t = Tenant::create("paused-often", "mate", "trial").await;
    let (off, mut struck) = (t.invite("off", true).await, 0);
    t.cloud.cognito.admin_disable_user().user_pool_id(&t.pool).username(&off).send().await.unwrap();
    let mut people = Vec::new();
    for n in 0..12 {
        people.push(t.invite(&format!("user-{n}"), true).await);
    }
    for (updates, millis) in [(0, 40), (4, 10)] {
        struck += u32::from(killed_and_again("paused-often", "suspend", updates, millis).await);
        assert_eq!(t.shown()["status"], "suspended");
        for user in people.iter().chain([&off]) {
            assert!(!t.enabled(user).await, "{user} after {updates} updates and {millis} ms");
        }
        assert_eq!(t.login("app").await.err().as_deref(), Some(NO_LOGIN));
        assert_eq!(t.counts().await, numbers(&[("django", 0), ("celery", 0), ("beat", 0)]));

        struck += u32::from(killed_and_again("paused-often", "resume", updates, millis).await);
        assert_eq!(t.shown()["status"], "active");
        for user in &people {
            assert!(t.enabled(user).await, "{user} after {updates} updates and {millis} ms");
        }
        assert!(!t.enabled(&off).await, "who had been disabled before");
        assert_eq!(t.held().await, 0);
        t.login("app").await.unwrap();
        assert_eq!(t.counts().await, numbers(&[("django", 1), ("celery", 1), ("beat", 1)]));
        assert!(t.labctl(&["tenant", "apply", "paused-often"]).await.err.contains("no changes"));
    }
    // And one that is cut off and thought better of.
    let work = move || {
        let mut running = shared().spawn(&["tenant", "suspend", "paused-often"]);
        assert!(running.hear(" updated ", 3), "{}", running.end());
        running.signal(Signal::SIGKILL);
        running.end();
        shared().ok(&["tenant", "resume", "paused-often"]);
    };
    blocking(work).await.unwrap();
    for user in &people {
        assert!(t.enabled(user).await, "{user}");
    }
    assert_eq!((t.enabled(&off).await, t.held().await), (false, 0));
    assert_eq!(t.counts().await, numbers(&[("django", 1), ("celery", 1), ("beat", 1)]));
    assert_eq!(t.shown()["status"], "active");
    assert!(struck >= 2, "of four runs only {struck} were killed before their end");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_ready_is_not_suspended() {
    let spec = shared().spec("paused-early", "labcloud", "trial");
    let work = move || {
        let mut running = shared().spawn(&["tenant", "create", &spec]);
        assert!(running.hear(" created ", 2));
        running.signal(Signal::SIGKILL);
        running.end();
        for verb in ["suspend", "resume"] {
            let run = shared().run(&["tenant", verb, "paused-early", "-o", "json"]);
            let error = run.error();
            assert_eq!((run.code, &error["code"]), (1, &"never_ready".into()), "{run}");
            assert!(error["hint"].to_string().contains("labctl tenant apply paused-early"), "{error}");
        }
        shared().ok(&["tenant", "create", &spec]);
    };
    blocking(work).await.unwrap();
    let missing = shared().run(&["tenant", "suspend", "nobody-of-that-name", "-o", "json"]);
    assert_eq!((missing.code, &missing.error()["code"]), (1, &"not_found".into()), "{missing}");
    assert_eq!(shared().run(&["tenant", "suspend", "paused-early", "--level", "partly"]).code, 64);
}
