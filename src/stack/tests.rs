//! The stacks that come with labctl, resolved; and every mistake an operator can make in a spec, as it is shown.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme};
use serde_json::{Value, json};

use super::*;
use crate::spec::{self, Flags, Invalid, TenantSpec, Tier};

fn builtin() -> Stacks {
    Stacks::builtin().unwrap_or_else(|invalid| panic!("{}", rendered(&invalid)))
}

fn rendered(diagnostic: &dyn Diagnostic) -> String {
    let mut out = String::new();
    GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(120).render_report(&mut out, diagnostic).unwrap();
    out
}

fn shown(invalid: &Invalid) -> String {
    invalid.errors.iter().map(|p| rendered(p)).collect::<Vec<_>>().join("\n")
}

type Words = &'static [&'static str];

/// Kind → required fields, optional fields, outputs: the table that templates and kinds have agreed on.
const CONTRACT: &[(&str, Words, Words, Words)] = &[
    ("log_group", &["name", "retention_days"], &["kms_key_arn"], &["arn", "name"]),
    ("kms_key", &["alias", "description"], &["rotation", "deletion_window_days"], &["arn", "key_id", "alias"]),
    ("s3_bucket", &["name", "noncurrent_days"], &["kms_key_arn", "versioning", "transition_ia_days", "abort_multipart_days"], &["name", "arn"]),
    ("s3_prefix", &["bucket", "prefix"], &["kms_key_arn"], &["bucket", "prefix", "uri", "arn"]),
    ("cognito_user_pool", &["name", "mfa", "password_min_length", "deletion_protection"], &["invite_subject", "invite_body"], &["id", "arn", "issuer"]),
    ("cognito_user_pool_client", &["pool_id", "name"], &["access_token_minutes", "id_token_minutes", "refresh_token_days", "callback_urls"], &["client_id"]),
    ("cognito_group", &["pool_id", "name", "description"], &[], &["name"]),
    ("cognito_access", &["pool_id", "name"], &["members"], &["name"]),
    ("cognito_user", &["pool_id", "email", "tenant_id", "tenant_tier"], &["group", "shut_out_group"], &["sub", "username"]),
    ("secret", &["name"], &["kms_key_arn", "values", "generate", "recovery_window_days"], &["arn", "name"]),
    ("iam_role", &["name", "service", "policy", "description"], &["permissions_boundary_arn", "max_session"], &["arn", "name"]),
    ("ecs_task_definition", &["family", "cpu", "memory", "task_role_arn", "execution_role_arn", "containers"], &[], &["arn", "family"]),
    (
        "ecs_service",
        &["cluster", "name", "task_definition", "desired", "subnets", "security_groups"],
        &["min", "max", "asked", "enable_execute_command", "min_healthy_percent", "max_percent"],
        &["arn", "name"],
    ),
    (
        "scaling_target",
        &["cluster", "service", "min", "max", "target_cpu_percent", "scale_out_cooldown_seconds", "scale_in_cooldown_seconds"],
        &["suspended"],
        &["arn", "resource_id"],
    ),
    ("rds_parameter_group", &["name", "family", "parameters"], &[], &["name"]),
    ("rds_cluster_parameter_group", &["name", "family", "parameters"], &[], &["name"]),
    (
        "rds_instance",
        &[
            "identifier",
            "engine_version",
            "instance_class",
            "storage_gb",
            "master_username",
            "subnet_group",
            "security_groups",
            "parameter_group",
            "backup_days",
        ],
        &["max_storage_gb", "database", "multi_az", "kms_key_arn", "deletion_protection"],
        &["endpoint", "address", "port", "arn", "master_secret_arn"],
    ),
    (
        "rds_cluster",
        &[
            "identifier",
            "engine_version",
            "instance_class",
            "storage_gb",
            "master_username",
            "subnet_group",
            "security_groups",
            "parameter_group",
            "backup_days",
        ],
        &["iops", "storage_type", "database", "kms_key_arn", "deletion_protection"],
        &["endpoint", "reader_endpoint", "address", "port", "arn", "master_secret_arn"],
    ),
    ("postgres_role", &["host", "name", "login"], &["shut_out_from", "secret_arn", "connection_limit", "settings", "member_of"], &["name"]),
    ("postgres_database", &["host", "name", "owner"], &["connection_limit"], &["name"]),
    (
        "postgres_schema",
        &["host", "database", "name", "owner", "migration_role", "app_role"],
        &["readonly_role", "row_security", "adopt", "baseline"],
        &["name", "database"],
    ),
    ("postgres_schema_version", &["host", "database", "schema", "role", "migrations"], &["baseline"], &["version"]),
    ("postgres_rows", &["host", "database", "system", "app_role"], &["readonly_role"], &["schema", "database"]),
];

fn outputs(kind: &str) -> Option<&'static [&'static str]> {
    CONTRACT.iter().find(|(name, ..)| *name == kind).map(|(_, _, _, outputs)| *outputs)
}

fn platform() -> Value {
    json!({
        "environment": "production", "region": "us-east-1", "account_id": "123456789012",
        "cluster": "platform", "subnets": ["subnet-1", "subnet-2"], "security_groups": ["sg-app"], "db_security_groups": ["sg-db"],
        "db_subnet_group": "platform", "execution_role_arn": "arn:aws:iam::123456789012:role/platform-execution",
        "bucket": "platform-data", "user_pool_id": "us-east-1_shared",
        "databases": {"shared": {"endpoint": "shared.example.org:5432", "database": "shared", "admin_secret_arn": "arn:aws:secretsmanager:us-east-1:123456789012:secret:shared"}}
    })
}

fn tenant(id: &str, tier: Tier, stack: &str) -> TenantSpec {
    spec::read("spec.toml", &spec::new_spec(id, tier, stack)).unwrap()
}

fn resolved(spec: &TenantSpec) -> Desired {
    let stacks = builtin();
    resolve(stacks.get(&spec.stack).unwrap(), spec, &spec.subdomain, &platform(), &outputs)
        .unwrap_or_else(|problems| panic!("{}", problems.iter().map(|p| rendered(p)).collect::<String>()))
}

fn every_tier() -> Vec<(String, Tier)> {
    builtin().tier_list(None).into_iter().map(|line| (line.stack, line.tier)).collect()
}

/// The references left in a value, as text.
fn references(value: &Value) -> Vec<String> {
    let text = value.to_string();
    let mut out: Vec<String> =
        text.match_indices("${").filter(|(i, _)| !text[..*i].ends_with('$')).map(|(i, _)| text[i + 2..].split('}').next().unwrap().to_owned()).collect();
    out.sort();
    out.dedup();
    out
}

#[test]
fn every_tier_of_every_stack_resolves_to_these_resources_and_edges() {
    for (stack, tier) in every_tier() {
        let mut desired = resolved(&tenant("hospital-a", tier, &stack));
        let mut out = String::new();
        desired.resources.sort_by_key(Resource::key);
        for resource in &desired.resources {
            let after: Vec<String> =
                if resource.kind == "cognito_user" { vec!["everything".to_owned()] } else { resource.after.iter().map(ToString::to_string).collect() };
            writeln!(out, "{}", resource.key()).unwrap();
            for reference in references(&resource.spec) {
                writeln!(out, "    uses {reference}").unwrap();
            }
            for key in after {
                writeln!(out, "    after {key}").unwrap();
            }
        }
        insta::assert_snapshot!(format!("resolved_{stack}_{tier}"), out);
    }
}

#[test]
fn the_specs_of_hospital_a_are_these() {
    let mut desired = resolved(&tenant("hospital-a", Tier::Enterprise, "mate"));
    // Migrations have their own tests, and change more often.
    desired.migrations.clear();
    desired.resources.iter_mut().filter(|r| r.kind == "postgres_schema_version").for_each(|r| r.spec["migrations"] = json!("(left out)"));
    insta::assert_json_snapshot!(desired);
}

#[test]
fn every_resource_has_exactly_the_fields_its_kind_knows() {
    for (stack, tier) in every_tier() {
        for resource in resolved(&tenant("hospital-a", tier, &stack)).resources {
            let (_, required, optional, _) = CONTRACT.iter().find(|(kind, ..)| *kind == resource.kind).unwrap();
            let fields: Vec<&String> = resource.spec.as_object().unwrap().keys().collect();
            for field in &fields {
                assert!(required.contains(&field.as_str()) || optional.contains(&field.as_str()), "{stack} {tier} {}: {field}", resource.key());
            }
            for field in *required {
                assert!(fields.iter().any(|f| f == field), "{stack} {tier} {} lacks {field}", resource.key());
            }
        }
    }
}

#[test]
fn nothing_but_references_to_resources_is_left_in_a_spec() {
    for (stack, tier) in every_tier() {
        let desired = resolved(&tenant("hospital-a", tier, &stack));
        for resource in &desired.resources {
            for reference in references(&resource.spec) {
                assert!(CONTRACT.iter().any(|(kind, ..)| reference.starts_with(&format!("{kind}."))), "{}: {reference}", resource.key());
            }
        }
    }
}

#[test]
fn the_administrator_is_invited_after_everything_else() {
    for (stack, tier) in every_tier() {
        let desired = resolved(&tenant("hospital-a", tier, &stack));
        let admin = desired.resources.iter().find(|r| r.kind == "cognito_user").unwrap();
        let before = references(&admin.spec).into_iter().filter_map(|r| Key::read(r.rsplit_once('.').unwrap().0)).chain(admin.after.iter().cloned());
        let before: std::collections::BTreeSet<Key> = before.collect();
        assert_eq!(before.len(), desired.resources.len() - 1, "{stack} {tier}");
    }
}

#[test]
fn there_is_exactly_one_beat_even_while_it_is_replaced() {
    for tier in Tier::ALL {
        let desired = resolved(&tenant("hospital-a", tier, "mate"));
        let beat = &desired.resources.iter().find(|r| r.kind == "ecs_service" && r.name == "beat").unwrap().spec;
        let counts = ["desired", "min", "max", "min_healthy_percent", "max_percent"].map(|k| beat[k].as_i64().unwrap());
        assert_eq!(counts, [1, 1, 1, 0, 100]);
    }
}

#[test]
fn the_tiers_keep_the_numbers_of_the_guide() {
    let stacks = builtin();
    let mate = stacks.get("mate").unwrap();
    let bounds = |tier: Tier| ["min", "max"].map(|end| mate.tiers[&tier].settings[&format!("django.{end}")].as_i64().unwrap());
    assert_eq!(Tier::ALL.map(bounds), [[1, 1], [1, 5], [2, 10]]);
    assert_eq!(mate.tiers[&Tier::Enterprise].settings["rds.backup_days"], 30);
    let isolation: Vec<String> = stacks.tier_list(None).iter().map(|t| format!("{} {}: {}", t.stack, t.tier, t.isolation)).collect();
    assert_eq!(
        isolation,
        [
            "clinicx trial: rows",
            "clinicx standard: schema",
            "clinicx enterprise: database",
            "labcloud trial: schema",
            "labcloud standard: schema",
            "labcloud enterprise: database",
            "mate trial: schema",
            "mate standard: instance",
            "mate enterprise: cluster"
        ]
    );
}

#[test]
fn what_differs_between_two_tiers_is_told() {
    let stacks = builtin();
    insta::assert_json_snapshot!(stacks.get("labcloud").unwrap().tier_diff(Tier::Trial, Tier::Standard));
}

#[test]
fn tags_say_whose_it_is_and_what_a_spec_adds() {
    let mut spec = tenant("hospital-a", Tier::Trial, "mate");
    spec.tags.insert("CostCenter".to_owned(), "7".to_owned());
    let tags = resolved(&spec).tags;
    let expected =
        [("CostCenter", "7"), ("Environment", "production"), ("ManagedBy", "labctl"), ("Product", "mate"), ("Tenant", "hospital-a"), ("Tier", "trial")];
    assert_eq!(tags, expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
}

#[test]
fn what_a_tenant_says_is_never_taken_for_a_reference() {
    let mut spec = tenant("hospital-a", Tier::Standard, "labcloud");
    spec.display_name = "${secret.app.arn} & Sons".to_owned();
    let desired = resolved(&spec);
    let pool = desired.resources.iter().find(|r| r.kind == "cognito_user_pool").unwrap();
    assert_eq!(pool.spec["invite_subject"], "Your access to $${secret.app.arn} & Sons");
}

#[test]
fn an_override_takes_the_place_of_the_setting() {
    let mut spec = tenant("hospital-a", Tier::Enterprise, "mate");
    spec.overrides.insert("django.desired".to_owned(), json!(4));
    let desired = resolved(&spec);
    let django = desired.resources.iter().find(|r| r.kind == "ecs_service" && r.name == "django").unwrap();
    assert_eq!((&django.spec["desired"], &django.spec["max"]), (&json!(4), &json!(10)));
}

#[test]
fn what_the_platform_does_not_say_is_named_with_the_line_that_needs_it() {
    let stacks = builtin();
    let problems =
        resolve(stacks.get("labcloud").unwrap(), &tenant("city-lab", Tier::Trial, "labcloud"), "city-lab", &json!({"environment": "test"}), &outputs)
            .unwrap_err();
    let plain: Vec<String> = problems.iter().map(|p| p.plain().message).collect();
    assert!(plain.contains(&"the platform does not say `bucket`".to_owned()), "{plain:?}");
    assert!(problems.iter().all(|p| p.plain().line.is_some()), "{plain:?}");
}

#[test]
fn what_a_stack_needs_of_a_platform_can_be_asked() {
    let stacks = builtin();
    let (needed, maybe) = stacks.get("mate").unwrap().platform_uses(Tier::Standard);
    assert!(needed.contains("db_subnet_group") && needed.contains("execution_role_arn"), "{needed:?}");
    assert!(maybe.contains("permissions_boundary_arn"), "{maybe:?}");
}

fn checked(text: &str) -> Result<TenantSpec, Invalid> {
    let mut parsed = spec::parse("tenants/acme.toml", text);
    builtin().check(&mut parsed, "production");
    parsed.finish()
}

#[test]
fn every_mistake_in_a_spec_is_shown_with_its_line_and_a_suggestion() {
    let good = "id = \"acme\"\ndisplay_name = \"Acme\"\ntier = \"trial\"\nstack = \"mate\"\nemail = \"admin@acme.example\"\n";
    assert!(checked(good).is_ok());
    let enterprise = good.replace("trial", "enterprise");
    let bad = [
        ("an_unknown_key", format!("{good}subdomian = \"acme\"\ncontact_email = \"x\"\n")),
        ("not_toml", good.replace("\"Acme\"", "Acme Corp").replace("email =", "email:")),
        ("missing_fields", "id = \"acme\"\n".to_owned()),
        ("wrong_types", good.replace("\"acme\"\nd", "7\nd") + "modules = \"core\"\ntags = { Team = 4 }\noverrides = 3\n"),
        ("a_bad_id", good.replace("\"acme\"", "\"Acme_Corp\"")),
        ("an_unknown_tier", good.replace("\"trial\"", "\"enterprize\"")),
        ("an_unknown_stack", good.replace("\"mate\"", "\"mtae\"")),
        ("a_bad_address", good.replace("admin@acme.example", "Admin <admin@acme>")),
        ("bad_tags", format!("{good}[tags]\n\"aws:x\" = \"1\"\nTier = \"gold\"\nNote = \"a#b\"\n")),
        ("overrides_not_allowed", format!("{good}[overrides]\ndjango.max = 3\nlog_retention_dasy = 30\nlog_retention_days = 31\n")),
        ("crossed_counts", format!("{enterprise}[overrides]\ndjango.min = 6\ndjango.max = 4\n")),
        ("an_unknown_module", format!("{good}modules = [\"core\", \"dental\", \"core\"]\n")),
        ("a_secret_in_sso", format!("{good}[sso]\nkind = \"oidc\"\nissuer = \"http://idp.acme.example\"\nclient_secret = \"hunter2\"\n")),
        ("a_secret_that_is_not_toml", format!("{good}[sso]\nkind = \"oidc\"\nclient_secret = hunter2\n")),
        ("sso_without_metadata", format!("{good}[sso]\nkind = \"samlp\"\n")),
        ("a_name_too_long_for_a_cluster", enterprise.replace("\"acme\"", &format!("\"{}\"", "acme-".repeat(7) + "acme"))),
        ("a_schema_of_64_bytes", format!("{good}subdomain = \"{}\"\n", "s".repeat(57))),
        ("everything_at_once", "id = \"A\"\ntier = \"gold\"\nstack = \"lab\"\nemail = 3\nplan = \"x\"\n[overrides]\nx = [1]\n".to_owned()),
    ];
    for (name, text) in bad {
        let invalid = checked(&text).expect_err(name);
        assert!(!shown(&invalid).contains("hunter2") && !format!("{:?}", invalid.plain()).contains("hunter2"), "{name} shows a secret");
        insta::assert_snapshot!(format!("bad_{name}"), shown(&invalid));
    }
}

#[test]
fn what_two_specs_may_not_share_is_named_at_both_places() {
    let spec = |id: &str, more: &str| format!("id = \"{id}\"\ndisplay_name = \"X\"\ntier = \"trial\"\nstack = \"mate\"\n{more}");
    let files = [
        ("tenants/a.toml".to_owned(), spec("a-b", "email = \"a@x.example\"\nexternal_id = \"LAB1\"\n")),
        ("tenants/b.toml".to_owned(), spec("a_b", "email = \"b@x.example\"\n")),
        ("tenants/c.toml".to_owned(), spec("cc", "email = \"A@x.example\"\nsubdomain = \"a-b\"\nexternal_id = \"lab1\"\n")),
        ("tenants/d.toml".to_owned(), spec("cc", "email = \"d@x.example\"\n")),
    ];
    insta::assert_snapshot!(shown(&spec::read_many(&files).unwrap_err()));
}

#[test]
fn flags_are_held_to_the_same_rules_and_named_in_errors() {
    let flags = Flags {
        id: Some("Acme".to_owned()),
        tier: Some("gold".to_owned()),
        stack: Some("mate".to_owned()),
        email: Some("admin@acme".to_owned()),
        overrides: vec!["django.max=3".to_owned(), "x".to_owned()],
        tags: vec!["Team=blue".to_owned()],
        ..Flags::default()
    };
    let mut parsed = spec::from_flags(&flags);
    builtin().check(&mut parsed, "production");
    insta::assert_json_snapshot!(parsed.finish().unwrap_err().plain());
    let flags = Flags { id: Some("acme".into()), display_name: Some("Acme".into()), tier: Some("basic".into()), email: Some("a@acme.example".into()), ..flags };
    let mut parsed = spec::from_flags(&Flags { overrides: vec!["log_retention_days=60".into()], ..flags });
    builtin().check(&mut parsed, "production");
    let spec = parsed.finish().unwrap();
    assert_eq!((spec.tier, &spec.overrides["log_retention_days"], &spec.tags["Team"][..]), (Tier::Trial, &json!(60), "blue"));
}

#[test]
fn the_specs_that_come_with_labctl_hold() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tenants");
    let mut files: Vec<(String, String)> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (format!("tenants/{}", path.file_name().unwrap().to_str().unwrap()), std::fs::read_to_string(&path).unwrap()))
        .collect();
    files.sort();
    let stacks = builtin();
    let specs = spec::read_many_with(&files, &mut |parsed| stacks.check(parsed, "production")).unwrap_or_else(|invalid| panic!("{}", shown(&invalid)));
    let mut of_tier: BTreeMap<(String, Tier), usize> = BTreeMap::new();
    for spec in &specs {
        *of_tier.entry((spec.stack.clone(), spec.tier)).or_default() += 1;
        resolved(spec);
        assert_eq!(&spec::read("back.toml", &spec::to_toml(spec)).unwrap(), spec);
    }
    assert_eq!(of_tier.len(), every_tier().len(), "{of_tier:?}");
}

fn broken(stack: &str, resources: &str) -> Invalid {
    let files = [("x/stack.toml", stack), ("x/resources/a.toml", resources)].map(|(p, t)| (p.to_owned(), t.to_owned()));
    Stacks::from_files("templates", files.into(), Vec::new()).unwrap_err()
}

#[test]
fn mistakes_in_templates_are_shown_like_those_in_specs() {
    let stack = "name = \"y\"\n[tiers.gold]\nisolation = \"schema\"\n[tiers.trial]\nisolation = \"scheme\"\n[tiers.trial.settings]\ndays = 40\n[tiers.trial.overrides]\ndays = { min = 1, max = 30 }\nmonths = { min = 1, max = 3 }\n";
    let resources = "[[resource]]\nkind = \"log_group\"\nname = \"a\"\ntiers = [\"trail\"]\n[[resource]]\nkind = \"log_group\"\n[[resource]]\nkind = \"log_group\"\nname = \"b\"\nmodules = [\"m\"]\n[[resource]]\nkind = \"log_group\"\nname = \"b\"\nspecs = {}\n";
    insta::assert_snapshot!(shown(&broken(stack, resources)));
}

#[test]
fn references_that_lead_nowhere_or_in_a_ring_are_refused() {
    let stack =
        "name = \"x\"\n[tiers.trial]\nisolation = \"schema\"\n[tiers.standard]\nisolation = \"schema\"\n[variables]\na = \"${var.b}\"\nb = \"${var.a}\"\n";
    let resources = "
[[resource]]
kind = \"log_group\"
name = \"a\"
spec = { name = \"${log_group.b.arn} ${log_group.bb.arn}\", x = \"${log_group.b.arm}\", y = \"${var.a}\", z = \"${tenant.nmae} ${names.bukcet}\" }
[[resource]]
kind = \"log_group\"
name = \"b\"
after = [\"log_group.a\", \"log_group.z\"]
spec = { name = \"${kms_key.only.arn}\", odd = \"${what}\", open = \"${\" }
[[resource]]
kind = \"kms_key\"
name = \"only\"
tiers = [\"standard\"]
[[resource]]
kind = \"kms_kye\"
name = \"k\"
";
    let files = [("x/stack.toml", stack), ("x/resources/a.toml", resources)].map(|(p, t)| (p.to_owned(), t.to_owned()));
    let stacks = Stacks::from_files("templates", files.into(), Vec::new()).unwrap();
    let problems = resolve(stacks.get("x").unwrap(), &tenant("acme", Tier::Trial, "x"), "acme", &json!({"environment": "test"}), &outputs).unwrap_err();
    insta::assert_snapshot!(problems.iter().map(|p| rendered(p)).collect::<String>());
}

#[test]
fn a_thousand_specs_are_checked_in_no_time() {
    let files: Vec<(String, String)> = (0..1000)
        .map(|i| (format!("tenants/t{i}.toml"), format!("id = \"lab-{i}\"\ndisplay_name = \"Lab {i}\"\ntier = \"standard\"\nstack = \"mate\"\nemail = \"admin@lab-{i}.example\"\n[tags]\nA = \"b\"\n")))
        .collect();
    let stacks = builtin();
    let begin = std::time::Instant::now();
    assert_eq!(spec::read_many_with(&files, &mut |parsed| stacks.check(parsed, "production")).unwrap().len(), 1000);
    // Far above what it takes even unoptimised on a busy machine; a quadratic mistake would still be found.
    assert!(begin.elapsed() < std::time::Duration::from_secs(20), "{:?}", begin.elapsed());
}

#[test]
fn the_json_schema_knows_every_field_and_no_other() {
    let schema = spec::schema();
    assert_eq!(schema["additionalProperties"], json!(false));
    let mut fields: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
    fields.sort();
    let expected = ["database", "display_name", "email", "external_id", "id", "modules", "overrides", "sso", "stack", "subdomain", "tags", "tier"];
    assert_eq!(fields, expected);
    assert!(schema["properties"]["id"]["description"].as_str().is_some_and(|d| d.contains("never change")));
    insta::assert_json_snapshot!(schema);
}
