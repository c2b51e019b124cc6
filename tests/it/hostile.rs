//! Bad input: hostile names and mutilated files, from spec to plan. Each is refused with a place and a cause, or accepted with names that every
//! service takes. Nothing panics.

#[path = "hostile/pairs.rs"]
mod pairs;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use labctl::engine::kind::{Address, Observed, find};
use labctl::engine::look::Sight;
use labctl::engine::refs::refs;
use labctl::engine::step::Wanted;
use labctl::kinds::KINDS;
use labctl::plan::{Input, Plan};
use labctl::spec::{Invalid, TenantSpec};
use labctl::stack::{Stacks, names, resolve};
use serde_json::{Value, json};

const ENVIRONMENT: &str = "production";

fn platform() -> Value {
    json!({
        "environment": ENVIRONMENT, "region": "eu-central-1", "account_id": "123456789012", "vpc_id": "vpc-1", "subnets": ["subnet-1"],
        "security_groups": ["sg-1"], "db_security_groups": ["sg-1"], "cluster": "main", "db_subnet_group": "main", "bucket": "shared-bucket",
        "execution_role_arn": "arn:aws:iam::123456789012:role/execution", "user_pool_id": "eu-central-1_Pool", "image": "repository/mate:1.0",
        "databases": {"shared": {"endpoint": "shared.internal:5432", "database": "shared", "admin_secret_arn": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:a"}},
    })
}

/// What a spec comes to: its spec, its physical names, and the number of steps of its first plan.
struct Planned {
    spec: TenantSpec,
    names: BTreeMap<String, String>,
    resources: Vec<Value>,
}

/// From a file's text to a plan for a tenant that has nothing yet, as `tenant create` goes.
fn plan(stacks: &Stacks, text: &str) -> Result<Planned, Invalid> {
    let mut parsed = labctl::spec::parse("hostile.toml", text);
    stacks.check(&mut parsed, ENVIRONMENT);
    let spec = parsed.finish()?;
    let stack = stacks.get(&spec.stack).unwrap();
    let outputs = |kind: &str| find(KINDS, kind).map(|k| k.outputs_declared());
    let desired = resolve(stack, &spec, &spec.subdomain, &platform(), &outputs).map_err(|errors| Invalid { errors })?;
    let wanted: Vec<Wanted> = desired
        .resources
        .iter()
        .map(|r| Wanted {
            address: Address::new(&desired.tenant, &r.kind, &r.name),
            spec: r.spec.clone(),
            tags: desired.tags.clone(),
            after: r.after.iter().map(|key| Address::new(&desired.tenant, &key.kind, &key.name)).collect(),
        })
        .collect();
    let mut world = BTreeMap::new();
    for w in &wanted {
        let kind = find(KINDS, &w.address.kind).unwrap();
        assert_eq!(kind.check(&w.spec).unwrap_or_default(), (), "{}: {text}", w.address);
        let referred: BTreeSet<String> = refs(&w.spec).iter().map(ToString::to_string).collect();
        let absent = Sight::Seen { spec: w.spec.clone(), observed: Observed::Absent, ready: None, outputs: None, former: None };
        world.insert(w.address.clone(), if referred.is_empty() { absent } else { Sight::Later(referred) });
    }
    let input = Input { tenant: &spec.id, wanted: &wanted, recorded: &[], world: &world, may_delete_data: false, as_found: false };
    let plan = Plan::make(&input, KINDS);
    assert!(plan.problems.is_empty(), "{text}: {:?}", plan.problems);
    assert_eq!(labctl::plan::check::check(&plan, KINDS, false), Vec::<String>::new(), "{text}");
    assert_eq!(plan.steps.len(), wanted.len(), "{text}");
    Ok(Planned { spec, names: desired.names, resources: desired.resources.into_iter().map(|r| r.spec).collect() })
}

/// Every refusal says where and why; nothing it says can write over a terminal.
fn well_refused(invalid: &Invalid, text: &str) {
    assert!(!invalid.errors.is_empty(), "refused without a reason: {text}");
    for problem in invalid.plain() {
        let told = serde_json::to_value(&problem).unwrap();
        assert!(told["line"].as_u64().is_some_and(|l| l >= 1) && told["column"].as_u64().is_some_and(|c| c >= 1), "no place: {told} of {text}");
        assert!(told["message"].as_str().is_some_and(|m| m.len() > 8), "no cause: {told} of {text}");
    }
}

/// What services take: nothing that quotes, climbs, escapes or reads as something else.
fn safe(planned: &Planned, text: &str) {
    let id = &planned.spec.id;
    assert!((2..=40).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'), "{text}");
    for (key, name) in &planned.names {
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_/.".contains(&b)), "{key} `{name}` of {text}");
        assert!(!name.contains("..") && !name.contains("//") && !name.starts_with("pg_"), "{key} `{name}` of {text}");
        let most = match key.as_str() {
            "schema" | "database" | "bucket" | "rds_instance" => 63,
            "rds_cluster" => 52,
            key if key.starts_with("role.") => 63,
            key if key.starts_with("iam_role.") => 64,
            _ => 1024,
        };
        assert!(name.len() <= most, "{key} `{name}` has {} bytes", name.len());
    }
}

/// At least 300 names that somebody might think of, each once.
fn names() -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for c in (0..=127_u8).map(char::from) {
        all.extend([format!("a{c}b"), format!("{c}ab"), format!("ab{c}")]);
    }
    for c in [
        '\u{80}',
        '\u{85}',
        '\u{a0}',
        '\u{ad}',
        'ä',
        'ß',
        'İ',
        'ſ',
        'а',
        '漢',
        '字',
        'é',
        '\u{301}',
        '\u{200b}',
        '\u{200d}',
        '\u{202e}',
        '\u{2028}',
        '\u{feff}',
        'ａ',
        '🏥',
        '\u{10ffff}',
    ] {
        all.extend([format!("a{c}b"), c.to_string(), c.to_string().repeat(16)]);
    }
    for n in [0, 1, 2, 3, 39, 40, 41, 55, 56, 57, 62, 63, 64, 255, 256, 10_000] {
        all.extend(["a".repeat(n), format!("{}-", "a".repeat(n)), "ä".repeat(n / 2), "a-".repeat(n / 2) + "b"]);
    }
    let words = [
        "pg_catalog",
        "pg-catalog",
        "pg_toast",
        "postgres",
        "public",
        "template0",
        "template1",
        "rdsadmin",
        "information-schema",
        "select",
        "user",
        "table",
        "null",
        "true",
        "none",
        "default",
        "root",
        "admin",
        "aws",
        "internal-a",
        "xn--a",
        "xn-a",
        "sthree-a",
        "amzn-s3-demo-a",
        "a-s3alias",
        "a--ol-s3",
        "../etc",
        "..",
        ".",
        "a/../b",
        "a//b",
        "/a",
        "a/",
        "~",
        "~root",
        "a\\b",
        "C:a",
        "con",
        "nul",
        "'; drop table tenants; --",
        "\"; drop schema public cascade; --",
        "a' or '1'='1",
        "$(reboot)",
        "`reboot`",
        "a;reboot",
        "a|b",
        "a&b",
        "a>b",
        "-rf",
        "--help",
        "-",
        "--",
        "a--b",
        "-a",
        "a-",
        "a-b-",
        "0a",
        "9",
        "1e9",
        "0x41",
        "a.b",
        "a_b",
        "A-B",
        "Ab",
        "${tenant.id}",
        "${platform.bucket}",
        "$${x}",
        "${",
        "}",
        "{id}",
        "{{",
        "%s",
        "%n",
        "%00",
        "a%2fb",
        "\r\nx: y",
        "a\nb",
        "\u{1b}[2J",
        "\u{1b}]0;x\u{7}",
        "a b",
        " a",
        "a ",
        "\ta",
        "id = 1",
        "[a]",
        "\"\"\"",
        "'''",
        "#a",
        "a#",
        "arn:aws:s3:::a",
        "s3://a/b",
        "labctl",
        "labctl-ledger",
        "sandbox",
        "tenant",
        "tenant-a",
        "suspended-a",
        "city-lab",
        "city_lab",
        "city--lab",
        "citylab",
        "city-lab-app",
        "city-lab-owner",
    ];
    all.extend(words.map(str::to_owned));
    let mut seen = BTreeSet::new();
    all.retain(|name| seen.insert(name.clone()));
    all
}

fn spec(id: &str, subdomain: Option<&str>, display_name: &str, stack: &str, tier: &str) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let mut text = format!("id = {}\ndisplay_name = {}\ntier = \"{tier}\"\nstack = \"{stack}\"\nemail = \"a@b.example\"\n", quoted(id), quoted(display_name));
    if let Some(subdomain) = subdomain {
        text += &format!("subdomain = {}\n", quoted(subdomain));
    }
    text
}

#[test]
fn a_hostile_name_is_refused_with_its_place_or_becomes_safe_names() {
    let (stacks, names) = (Stacks::builtin().unwrap(), names());
    assert!(names.len() >= 300, "only {}", names.len());
    let (mut accepted, mut refused) = (0, 0);
    for (n, name) in names.iter().enumerate() {
        let (stack, tier) = [("mate", "enterprise"), ("labcloud", "standard"), ("labcloud", "trial"), ("mate", "trial")][n % 4];
        for text in [spec(name, None, "A", stack, tier), spec("fine-id", Some(name), "A", stack, tier), spec("fine-id", None, name, stack, tier)] {
            match catch_unwind(AssertUnwindSafe(|| plan(&stacks, &text))).unwrap_or_else(|_| panic!("a panic for {text:?}")) {
                Err(invalid) => {
                    well_refused(&invalid, &text);
                    refused += 1;
                }
                Ok(planned) => {
                    safe(&planned, &text);
                    // A name is text and no reference: nothing of the platform gets in through it.
                    if text.contains("${platform.bucket}") {
                        assert!(planned.resources.iter().all(|r| !r.to_string().contains("access to shared-bucket")), "{text}");
                    }
                    accepted += 1;
                }
            }
        }
    }
    // Most hostile names are fine for people to read, and nothing else.
    assert!(accepted > 200 && refused > 900, "{accepted} accepted, {refused} refused");
}

/// A name that is two tenants' would make one the other's: names are neither cut nor folded.
#[test]
fn no_name_of_one_tenant_is_another_ones_however_alike_their_ids_are() {
    let stacks = Stacks::builtin().unwrap();
    let long = "a".repeat(39);
    let ids = [
        "city-lab",
        "citylab",
        "city-la-b",
        "c-itylab",
        "city-lab-app",
        "city-lab-data",
        "city-lab-production",
        "production-city-lab",
        &long,
        &format!("{long}b"),
    ];
    for (stack, tiers) in [("mate", &["trial", "standard", "enterprise"][..]), ("labcloud", &["trial", "standard"])] {
        let mut owners: BTreeMap<(String, String), &str> = BTreeMap::new();
        for (id, tier) in ids.iter().flat_map(|id| tiers.iter().map(move |tier| (*id, *tier))) {
            let planned = match plan(&stacks, &spec(id, None, "A", stack, tier)) {
                Ok(planned) => planned,
                // An enterprise's longest names do not fit, and are refused rather than cut.
                Err(invalid) => {
                    well_refused(&invalid, id);
                    continue;
                }
            };
            for (key, name) in planned.names.into_iter().filter(|(key, _)| !names::is_shared(key)) {
                let sort = key.split('.').next().unwrap_or_default().to_owned();
                let owner = *owners.entry((sort, name.clone())).or_insert(id);
                assert_eq!(owner, id, "{key} `{name}` is both theirs");
            }
        }
        assert!(owners.values().collect::<BTreeSet<_>>().len() >= 8, "{stack}: {owners:?}");
    }
}

fn corpus() -> Vec<(PathBuf, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = Vec::new();
    for folder in ["tests/it/corpus", "tests/bad-specs", "tenants"] {
        let mut files: Vec<_> =
            fs::read_dir(root.join(folder)).unwrap().map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "toml")).collect();
        files.sort();
        all.extend(files.into_iter().map(|p| (p.clone(), fs::read(p).unwrap())));
    }
    all
}

/// xorshift64*: the same mutations in every run of the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n.max(1) as u64).unwrap()
    }

    fn mutate(&mut self, text: &mut Vec<u8>, others: &[(PathBuf, Vec<u8>)]) {
        const PIECES: &[&str] = &[
            "\"",
            "'",
            "\"\"\"",
            "'''",
            "[",
            "]",
            "[[",
            "]]",
            "{",
            "}",
            "=",
            ".",
            ",",
            "#",
            "\n",
            "\r",
            "\0",
            "\\",
            "\\u0000",
            "\\uD800",
            "\\U0010FFFF",
            "${",
            "${tenant.id}",
            "-",
            "--",
            "../",
            "0",
            "-1",
            "9223372036854775807",
            "9223372036854775808",
            "1e400",
            "nan",
            "inf",
            "true",
            "1979-05-27T07:32:00Z",
            "ä",
            "🏥",
            "\u{202e}",
            "[overrides]\n",
            "[tags]\n",
            "[sso]\n",
            "modules = [",
            "modules = [\"dental\"]\n",
            "id = ",
            "tier = \"trial\"\n",
            "stack = \"mate\"\n",
            "a.b.c = 1\n",
            "\"\" = 1\n",
            "[[resource]]\n",
        ];
        let (at, len) = (self.below(text.len() + 1), self.below(12));
        let end = (at + len).min(text.len());
        match self.below(9) {
            0 => drop(text.drain(at..end)),
            1 => drop(text.splice(at..at, PIECES[self.below(PIECES.len())].bytes())),
            2 => drop(text.splice(at..end, PIECES[self.below(PIECES.len())].bytes())),
            3 if at < text.len() => text[at] ^= 1 << self.below(8),
            4 => text.truncate(at),
            5 => {
                let copy: Vec<u8> = text[at..end].repeat(1 + self.below(40));
                drop(text.splice(at..at, copy));
            }
            6 => {
                // A line of somebody else's.
                let other = &others[self.below(others.len())].1;
                let lines: Vec<&[u8]> = other.split_inclusive(|b| *b == b'\n').collect();
                if let Some(line) = lines.get(self.below(lines.len())) {
                    let start = text[..at].iter().rposition(|b| *b == b'\n').map_or(0, |p| p + 1);
                    drop(text.splice(start..start, line.iter().copied()));
                }
            }
            7 => drop(text.splice(at..end, (0..self.below(60)).map(|n| b"0123456789abcdef"[n % 16]))),
            _ => drop(text.splice(at..at, [0x80, 0xff, 0xc3])),
        }
    }
}

/// The long version has another seed each time; `LABCTL_TEST_SEED=7` for a certain one. A text that brings anything down is to be put into `tests/it/corpus`: it is tried in every run from then on.
#[test]
fn a_mutilated_spec_is_refused_with_a_place_or_planned_and_never_a_panic() {
    let long = std::env::var_os("LABCTL_TEST_LONG").is_some();
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let given = std::env::var("LABCTL_TEST_SEED").ok().map(|seed| seed.parse().expect("LABCTL_TEST_SEED is a number"));
    let seed: u64 = given.unwrap_or_else(|| if long { now() } else { 0x5eed_0001 });
    println!("seed {seed}");
    // Spread over all bits; and xorshift stands still at 0.
    let mut random = Random((seed ^ 0x5eed).wrapping_mul(0x9e37_79b9_7f4a_7c15).max(1));
    let (stacks, corpus) = (Stacks::builtin().unwrap(), corpus());
    let (mut planned, mut refused) = (0_usize, 0_usize);
    let mut one = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        match catch_unwind(AssertUnwindSafe(|| plan(&stacks, &text))) {
            Err(_) => panic!("a panic, seed {seed}; put this into tests/it/corpus:\n{text}"),
            Ok(Ok(done)) => {
                safe(&done, &text);
                planned += 1;
            }
            Ok(Err(invalid)) => {
                well_refused(&invalid, &text);
                refused += 1;
            }
        }
    };
    corpus.iter().for_each(|(_, bytes)| one(bytes));
    for _ in 0..if long { 60_000 } else { 1_500 } {
        let mut bytes = corpus[random.below(corpus.len())].1.clone();
        for _ in 0..=random.below(4) {
            random.mutate(&mut bytes, &corpus);
        }
        one(&bytes);
    }
    println!("{planned} planned, {refused} refused");
    assert!(planned > 50 && refused > 500, "{planned} planned, {refused} refused");
}
