//! Every physical name, made in one place from one table, and checked in bytes against the service that will bear it. A name that does
//! not fit is refused, never cut: a cut name can be somebody else's.

use std::fmt;

/// What names are made of.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// The product (`mate`).
    pub product: &'a str,
    /// The platform's environment (`production`).
    pub environment: &'a str,
    /// The tenant's id, a slug.
    pub id: &'a str,
    /// The tenant's subdomain, a slug.
    pub subdomain: &'a str,
    /// What log groups begin with (`/ecs`).
    pub logs: &'a str,
}

/// What a service demands of a name.
#[derive(Debug)]
pub struct Rule {
    /// The service and the thing, for messages.
    pub bearer: &'static str,
    /// The most bytes.
    pub max: usize,
    shape: fn(&str) -> Result<(), &'static str>,
}

impl Rule {
    const fn new(bearer: &'static str, max: usize, shape: fn(&str) -> Result<(), &'static str>) -> Self {
        Self { bearer, max, shape }
    }
}

/// One name's recipe. `{part}` is a service, role or the like, said after a dot: `log_group.django`.
#[derive(Debug)]
struct Recipe {
    key: &'static str,
    pattern: &'static str,
    rule: Rule,
}

const fn recipe(key: &'static str, pattern: &'static str, rule: Rule) -> Recipe {
    Recipe { key, pattern, rule }
}

/// PostgreSQL cuts identifiers at 63 bytes (NAMEDATALEN - 1) without a word.
const fn postgres(bearer: &'static str) -> Rule {
    Rule::new(bearer, 63, sql_name)
}

/// All names there are. Limits are those of the services' API references.
const RECIPES: &[Recipe] = &[
    recipe("base", "{product}-{id}-{env}", Rule::new("a name's base", 255, hyphenated)),
    // Database. The schema follows the subdomain (a ruling over the seeds), everything else the id, which cannot change.
    recipe("schema", "tenant_{subdomain_}", postgres("a PostgreSQL schema")),
    recipe("database", "tenant_{id_}", postgres("a PostgreSQL database")),
    recipe("role.{part}", "tenant_{id_}_{part}", postgres("a PostgreSQL role")),
    // What the tenants of one database share is named after the product.
    recipe("system_schema", "system_{product_}", postgres("a PostgreSQL schema")),
    recipe("system_role.{part}", "system_{product_}_{part}", postgres("a PostgreSQL role")),
    recipe("rds_instance", "{product}-{id}-{env}", Rule::new("an RDS instance", 63, rds_name)),
    // A Multi-AZ DB cluster names its instances after itself, with `-instance-N` behind; hence 52 and not 63.
    recipe("rds_cluster", "{product}-{id}-{env}", Rule::new("a Multi-AZ RDS cluster", 52, rds_name)),
    recipe("rds_parameter_group", "{product}-{id}-{env}", Rule::new("an RDS parameter group", 255, rds_name)),
    // Storage
    recipe("bucket", "{product}-{id}-{env}-data", Rule::new("an S3 bucket", 63, bucket_name)),
    recipe("prefix", "{id}/", Rule::new("an S3 key", 1024, any)),
    recipe("kms_alias", "alias/{product}-{id}-{env}", Rule::new("a KMS alias", 256, alias_name)),
    // Identity
    recipe("pool", "tenant-{id}-pool", Rule::new("a Cognito user pool", 128, hyphenated)),
    recipe("pool_client", "{product}-{id}-{env}", Rule::new("a Cognito app client", 128, hyphenated)),
    recipe("group", "tenant-{id}", Rule::new("a Cognito group", 128, hyphenated)),
    recipe("suspended_group", "suspended-{id}", Rule::new("a Cognito group", 128, hyphenated)),
    recipe("secret.{part}", "{product}-{id}-{env}/{part}", Rule::new("a secret", 512, path_name)),
    recipe("iam_role.{part}", "{product}-{id}-{env}-{part}", Rule::new("an IAM role", 64, hyphenated)),
    // Compute and watching
    recipe("ecs_family.{part}", "{product}-{id}-{env}-{part}", Rule::new("an ECS task definition family", 255, hyphenated)),
    recipe("ecs_service.{part}", "{product}-{id}-{env}-{part}", Rule::new("an ECS service", 255, hyphenated)),
    recipe("target_group.{part}", "{product}-{id}-{env}-{part}", Rule::new("a target group", 32, hyphenated)),
    recipe("log_group.{part}", "{logs}/{product}-{id}-{env}/{part}", Rule::new("a log group", 512, path_name)),
    recipe("dashboard", "{product}-{id}-{env}", Rule::new("a CloudWatch dashboard", 255, hyphenated)),
];

/// The keys of all names, as templates write them after `names.`.
pub fn keys() -> impl Iterator<Item = &'static str> + Clone {
    RECIPES.iter().map(|r| r.key)
}

/// Whether it is a name that all tenants of a product share: made of nothing of one tenant's.
pub fn is_shared(key: &str) -> bool {
    find(key).is_some_and(|(recipe, _)| !recipe.pattern.contains("id}") && !recipe.pattern.contains("id_}") && !recipe.pattern.contains("subdomain_}"))
}

/// A name that its service would not take as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The name's key (`bucket`, `role.app`).
    pub key: String,
    /// The name.
    pub name: String,
    /// What should have borne it.
    pub bearer: &'static str,
    /// The most bytes.
    pub limit: usize,
    /// Its bytes.
    pub bytes: usize,
    /// What is wrong besides its length.
    pub shape: Option<&'static str>,
    /// Which field of the spec would change it: `id` or `subdomain`.
    pub follows: &'static str,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot be named `{}`: ", self.bearer, self.name)?;
        match self.shape {
            Some(shape) => f.write_str(shape),
            None => write!(f, "that is {} bytes, and the most is {}", self.bytes, self.limit),
        }
    }
}

/// Makes the name of that key. `None` where there is no such key. The name is unchecked: see [`check`].
pub fn make(parts: &Parts<'_>, key: &str) -> Option<String> {
    find(key).map(|(recipe, part)| fill(recipe.pattern, parts, part))
}

/// Makes the name of that key and checks it. `None` where there is no such key.
///
/// # Errors
/// The service would refuse the name, or (worse) cut it.
pub fn check(parts: &Parts<'_>, key: &str) -> Option<Result<String, Refused>> {
    let (recipe, part) = find(key)?;
    let name = fill(recipe.pattern, parts, part);
    let rule = &recipe.rule;
    let shape = (rule.shape)(&name).err();
    if name.len() <= rule.max && shape.is_none() {
        return Some(Ok(name));
    }
    let follows = if recipe.pattern.contains("{subdomain_}") { "subdomain" } else { "id" };
    // The length is said first: it is what an operator most often meets.
    let shape = if name.len() > rule.max { None } else { shape };
    Some(Err(Refused { key: key.to_owned(), bytes: name.len(), name, bearer: rule.bearer, limit: rule.max, shape, follows }))
}

fn find(key: &str) -> Option<(&'static Recipe, &str)> {
    RECIPES.iter().find_map(|recipe| match recipe.key.strip_suffix("{part}") {
        Some(family) => key.strip_prefix(family).filter(|part| !part.is_empty()).map(|part| (recipe, part)),
        None => (recipe.key == key).then_some((recipe, "")),
    })
}

fn fill(pattern: &str, parts: &Parts<'_>, part: &str) -> String {
    let mut out = String::with_capacity(64);
    let mut rest = pattern;
    while let Some(open) = rest.find('{') {
        out.push_str(&rest[..open]);
        let Some(close) = rest[open..].find('}') else { break };
        match &rest[open + 1..open + close] {
            "product" => out.push_str(parts.product),
            "product_" => out.push_str(&parts.product.replace('-', "_")),
            "env" => out.push_str(parts.environment),
            "id" => out.push_str(parts.id),
            "id_" => out.push_str(&parts.id.replace('-', "_")),
            "subdomain_" => out.push_str(&parts.subdomain.replace('-', "_")),
            "logs" => out.push_str(parts.logs),
            _ => out.push_str(part),
        }
        rest = &rest[open + close + 1..];
    }
    out.push_str(rest);
    out
}

fn only(text: &str, extra: &str) -> bool {
    text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || extra.contains(c))
}

fn any(_: &str) -> Result<(), &'static str> {
    Ok(())
}

fn hyphenated(name: &str) -> Result<(), &'static str> {
    match name {
        n if !only(n, "-_") => Err("only a–z, 0–9, `-` and `_` may stand in it"),
        n if n.starts_with('-') || n.ends_with('-') => Err("it may not begin or end with `-`"),
        n if n.starts_with("internal-") => Err("`internal-` is reserved by load balancers"),
        _ => Ok(()),
    }
}

fn sql_name(name: &str) -> Result<(), &'static str> {
    match name {
        n if !only(n, "_") => Err("only a–z, 0–9 and `_` may stand in it"),
        n if n.starts_with("pg_") => Err("`pg_` is reserved by PostgreSQL"),
        n if !n.starts_with(|c: char| c.is_ascii_lowercase()) => Err("it must begin with a letter"),
        _ => Ok(()),
    }
}

fn rds_name(name: &str) -> Result<(), &'static str> {
    match name {
        n if !only(n, "-") => Err("only a–z, 0–9 and `-` may stand in it"),
        n if !n.starts_with(|c: char| c.is_ascii_lowercase()) => Err("it must begin with a letter"),
        n if n.ends_with('-') || n.contains("--") => Err("it may not end in `-` nor hold `--`"),
        _ => Ok(()),
    }
}

/// S3's rules for general-purpose buckets, without dots, which break TLS host names.
fn bucket_name(name: &str) -> Result<(), &'static str> {
    match name {
        n if n.len() < 3 => Err("the least is 3 bytes"),
        n if !only(n, "-") => Err("only a–z, 0–9 and `-` may stand in it"),
        n if n.starts_with('-') || n.ends_with('-') => Err("it may not begin or end with `-`"),
        n if n.starts_with("xn--") || n.starts_with("sthree-") || n.starts_with("amzn-s3-demo-") => Err("its beginning is reserved by S3"),
        n if n.ends_with("-s3alias") || n.ends_with("--ol-s3") || n.ends_with("--x-s3") || n.ends_with("--table-s3") => Err("its end is reserved by S3"),
        _ => Ok(()),
    }
}

fn alias_name(name: &str) -> Result<(), &'static str> {
    match name.strip_prefix("alias/") {
        Some(rest) if rest.starts_with("aws/") => Err("`alias/aws/` is reserved by KMS"),
        Some(rest) if only(rest, "-_/") => Ok(()),
        _ => Err("only a–z, 0–9, `-`, `_` and `/` may stand in it"),
    }
}

fn path_name(name: &str) -> Result<(), &'static str> {
    if only(name, "-_/.") { Ok(()) } else { Err("only a–z, 0–9, `-`, `_`, `.` and `/` may stand in it") }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn parts<'a>(id: &'a str, subdomain: &'a str) -> Parts<'a> {
        Parts { product: "mate", environment: "production", id, subdomain, logs: "/ecs" }
    }

    fn checked(parts: &Parts<'_>, key: &str) -> Result<String, Refused> {
        check(parts, key).unwrap_or_else(|| panic!("there is no name {key}"))
    }

    #[test]
    fn only_the_names_of_what_tenants_share_are_nobodys_to_claim() {
        let shared: Vec<String> = keys().map(|key| key.replace("{part}", "x")).filter(|key| is_shared(key)).collect();
        assert_eq!(shared, ["system_schema", "system_role.x"]);
        assert!(!is_shared("role.app") && !is_shared("nothing"));
    }

    #[test]
    fn hospital_a_gets_the_names_its_guide_uses() {
        let p = parts("hospital-a", "hospital-a");
        let all: Vec<String> = keys()
            .map(|key| key.replace("{part}", if key.starts_with("role") || key.starts_with("secret") { "app" } else { "django" }))
            .filter(|key| !key.starts_with("target_group"))
            .map(|key| format!("{key}: {}", checked(&p, &key).unwrap()))
            .collect();
        insta::assert_snapshot!(all.join("\n"));
    }

    #[test]
    fn a_target_group_of_33_bytes_is_refused_with_its_limit() {
        let refused = checked(&parts("hospital-a", "hospital-a"), "target_group.django").unwrap_err();
        assert_eq!((refused.bytes, refused.limit, refused.follows), (33, 32, "id"));
        assert_eq!(refused.to_string(), "a target group cannot be named `mate-hospital-a-production-django`: that is 33 bytes, and the most is 32");
    }

    #[test]
    fn a_schema_may_have_63_bytes_and_not_64() {
        let fits = "s".repeat(56);
        assert_eq!(checked(&parts("ab", &fits), "schema").unwrap().len(), 63);
        let refused = checked(&parts("ab", &"s".repeat(57)), "schema").unwrap_err();
        assert_eq!((refused.bytes, refused.limit, refused.follows), (64, 63, "subdomain"));
    }

    #[test]
    fn a_bucket_may_have_63_bytes_and_not_64() {
        let (fits, long) = ("b".repeat(37), "b".repeat(38));
        let p = Parts { product: "clinicx", environment: "staging-eu-1", id: &fits, subdomain: "ab", logs: "" };
        assert_eq!(checked(&p, "bucket").unwrap().len(), 63);
        assert_eq!(checked(&Parts { id: &long, ..p }, "bucket").unwrap_err().bytes, 64);
    }

    #[test]
    fn a_multi_az_cluster_leaves_room_for_the_names_of_its_instances() {
        let fits = "c".repeat(36);
        assert_eq!(checked(&parts(&fits, &fits), "rds_cluster").unwrap().len(), 52);
        let long = "c".repeat(37);
        assert_eq!(checked(&parts(&long, &long), "rds_cluster").unwrap_err().limit, 52);
        assert!(checked(&parts(&long, &long), "rds_instance").is_ok());
    }

    #[test]
    fn shapes_are_refused_too() {
        let shouting = Parts { environment: "Production", ..parts("ab", "ab") };
        assert!(checked(&shouting, "bucket").unwrap_err().shape.is_some());
        let doubled = Parts { environment: "-x", ..parts("ab", "ab") };
        assert!(checked(&doubled, "rds_instance").unwrap_err().shape.is_some());
        assert!(check(&parts("ab", "ab"), "nonsense").is_none());
        assert!(check(&parts("ab", "ab"), "role.").is_none());
    }

    /// 1,600 tenants of four products, with subdomains of their own. Half of their ids are made of the words that names are made of, where a clash
    /// would come from: products among them, so that product and id meet in the middle. Where they do, the registry refuses the second,
    /// since both claim the name under one key (`registry/names.rs`); among those it lets in, which are more than a million pairs, no two
    /// things of one service bear one name.
    #[test]
    fn of_a_million_pairs_of_tenants_none_share_a_name() {
        const WORDS: [&str; 15] = ["a", "b", "x", "aa", "lab", "owner", "app", "data", "pool", "tenant", "suspended", "mate", "production", "task", "1"];
        const PRODUCTS: [&str; 4] = ["mate", "mate-x", "mate-x-lab", "labcloud"];
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move |below: usize| {
            // xorshift64*: the same ids in every run.
            seed ^= seed >> 12;
            seed ^= seed << 25;
            seed ^= seed >> 27;
            usize::try_from((seed.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % below as u64).unwrap()
        };
        let slugs = |random: &mut dyn FnMut(usize) -> usize| {
            let mut slugs = BTreeSet::new();
            while slugs.len() < 1600 {
                let parts: Vec<String> = (0..=random(4))
                    .map(|_| match random(2) {
                        0 => WORDS[random(WORDS.len())].to_owned(),
                        _ => (0..=random(5)).map(|_| char::from(b"abcxyz0189"[random(10)])).collect(),
                    })
                    .collect();
                let slug = parts.join("-");
                slugs.extend(crate::spec::rules::slug("id", &slug, crate::spec::rules::ID_MAX).is_ok().then_some(slug));
            }
            slugs.into_iter().collect::<Vec<_>>()
        };
        let ids = slugs(&mut random);
        // Every other subdomain is the id of another tenant.
        let (fresh, mut subdomains) = (slugs(&mut random), BTreeSet::new());
        let (mut claimed, mut borne) = (std::collections::BTreeMap::new(), std::collections::BTreeMap::new());
        let (mut let_in, mut met) = (0_usize, 0);
        for (n, id) in ids.iter().enumerate() {
            let subdomain = if n % 2 == 0 { &ids[(n + 7) % ids.len()] } else { &fresh[n] };
            if !subdomains.insert(subdomain) {
                continue;
            }
            let p = Parts { product: PRODUCTS[random(PRODUCTS.len())], ..parts(id, subdomain) };
            let named: Vec<(String, String)> = keys()
                .flat_map(|key| match key.strip_suffix("{part}") {
                    Some(family) => ["owner", "migrate", "app", "data", "task"].map(|part| format!("{family}{part}")).to_vec(),
                    None => vec![key.to_owned()],
                })
                // What tenants share bears one name for all of them.
                .filter(|key| !is_shared(key))
                .filter_map(|key| check(&p, &key)?.ok().map(|name| (key, name)))
                .collect();
            if named.iter().any(|claim| claimed.contains_key(claim)) {
                met += 1;
                continue;
            }
            claimed.extend(named.iter().cloned().map(|claim| (claim, id)));
            let_in += 1;
            for (key, name) in named {
                // One tenant may use a name for several things; two of the same service are of one tenant.
                let bearer = find(&key).map_or("", |(recipe, _)| recipe.rule.bearer);
                let other = borne.insert(format!("{bearer} {name}"), id);
                assert!(other.is_none_or(|other| other == id), "{bearer} `{name}` is of {id} and of {other:?}");
            }
        }
        assert!(let_in * (let_in - 1) / 2 > 1_000_000 && borne.len() > 15_000, "{let_in} tenants, {} names", borne.len());
        assert!(met > 0, "no product and id met in the middle");
    }

    fn slug() -> impl Strategy<Value = String> {
        proptest::collection::vec("[a-z0-9]{1,6}", 1..8)
            .prop_map(|words| words.join("-"))
            .prop_filter("a valid id", |s| crate::spec::rules::slug("id", s, crate::spec::rules::ID_MAX).is_ok())
    }

    proptest! {
        #[test]
        fn names_keep_their_limits_and_distinct_tenants_never_share_one(a in (slug(), slug()), b in (slug(), slug())) {
            prop_assume!(a.0 != b.0 && a.1 != b.1);
            let names = |(id, subdomain): &(String, String)| -> BTreeSet<String> {
                let p = parts(id, subdomain);
                keys().flat_map(|key| match key.strip_suffix("{part}") {
                    // The parts in use, and names that look like another's end.
                    Some(family) => ["owner", "migrate", "app", "readonly", "task", "django"].map(|part| format!("{family}{part}")).to_vec(),
                    None => vec![key.to_owned()],
                }).filter(|key| !is_shared(key)).filter_map(|key| {
                    let bearer = find(&key).map(|(r, _)| r.rule.bearer)?;
                    let made = check(&p, &key)?;
                    if let Ok(name) = &made {
                        assert!(name.len() <= find(&key).unwrap().0.rule.max);
                    }
                    made.ok().map(|name| format!("{bearer}: {name}"))
                }).collect()
            };
            prop_assert!(names(&a).is_disjoint(&names(&b)), "{:?}", names(&a).intersection(&names(&b)).collect::<Vec<_>>());
        }
    }
}
