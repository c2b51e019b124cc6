//! TOML to [`TenantSpec`], by hand: every mistake is found at once and pointed at, none stops the reading.

use std::collections::BTreeMap;

use super::problem::{Invalid, Place, Problem, Source, did_you_mean, listed};
use super::rules::{self, Wrong};
use super::tenant::{Database, Sso, TenantSpec, Tier};
use super::tree::{self, Data, Entry, Fields, Node, Said, wrong_type};

/// A spec that was read, with all that is wrong about it so far and the place of every field. `stack` adds what it finds before
/// [`Parsed::finish`] says whether the spec holds.
#[derive(Debug)]
pub struct Parsed {
    draft: TenantSpec,
    places: BTreeMap<String, Place>,
    whole: Place,
    problems: Vec<Problem>,
}

impl Parsed {
    /// The spec as far as it could be read. Only fields that [`Parsed::said`] knows mean anything.
    pub fn draft(&self) -> &TenantSpec {
        &self.draft
    }

    /// Where a field was said; `None` if it was not, or could not be read. Paths are dotted: `id`, `overrides.django.max`, `modules.0`, `tags.Team`.
    pub fn said(&self, path: &str) -> Option<&Place> {
        self.places.get(path)
    }

    /// Where to point for a field: where it was said, else the beginning.
    pub fn place(&self, path: &str) -> &Place {
        self.places.get(path).unwrap_or(&self.whole)
    }

    /// Adds something that is wrong.
    pub fn refuse(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// What is wrong so far.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The spec, if nothing is wrong with it.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn finish(self) -> Result<TenantSpec, Invalid> {
        Invalid::unless_empty(self.draft, self.problems)
    }

    /// Apart: the draft, and what is wrong.
    pub(super) fn take(self) -> (TenantSpec, Vec<Problem>) {
        (self.draft, self.problems)
    }
}

/// Reads one spec. `name` is the file's, for messages.
///
/// # Errors
/// Everything that is wrong.
pub fn read(name: &str, text: &str) -> Result<TenantSpec, Invalid> {
    parse(name, text).finish()
}

/// Reads one spec, keeping what is wrong beside it.
pub fn parse(name: &str, text: &str) -> Parsed {
    let source = Source::guarded(name, text);
    let (root, syntax) = tree::parse(&source);
    let whole = root.place.clone();
    let mut parsed = from_tree(&root, &|_| whole.clone());
    if !syntax.is_empty() {
        // What the parser lost must not be called missing, and what it mangled must not be judged.
        let broken: Vec<usize> = syntax.iter().filter_map(|p| p.plain().line).collect();
        parsed.problems.retain(|p| p.code_str() != "spec::missing" && p.plain().line.is_none_or(|line| !broken.contains(&line)));
        parsed.problems.extend(syntax);
    }
    parsed
}

/// Reads a spec from a tree. `missing` says where to point for a field that is not there.
pub(super) fn from_tree(root: &Node, missing: &dyn Fn(&str) -> Place) -> Parsed {
    let mut r = Reading { fields: Fields::new(root, "a tenant's spec"), places: BTreeMap::new(), missing };
    let id = r.required("id", "id = \"city-lab\"", |v| rules::slug("id", v, rules::ID_MAX));
    let display_name = r.required("display_name", "display_name = \"City Medical Lab\"", |v| rules::line("the display name", v, rules::DISPLAY_NAME_MAX));
    let tier = r.tier();
    let stack = r.required("stack", "stack = \"labcloud\"", |v| rules::line("the stack's name", v, rules::DNS_LABEL_MAX));
    let email = r.required("email", "email = \"admin@city-lab.example\"", rules::email);
    let external_id = r.optional("external_id", |v| rules::line("the external id", v, rules::EXTERNAL_ID_MAX));
    let subdomain = r.optional("subdomain", |v| rules::slug("subdomain", v, rules::DNS_LABEL_MAX));
    let modules = r.modules();
    let overrides = r.overrides();
    let database = r.database();
    let sso = r.sso();
    let tags = r.tags();
    if subdomain.is_none()
        && let Some(place) = r.places.get("id").cloned()
    {
        r.places.insert("subdomain".to_owned(), place);
    }
    let id = id.unwrap_or_default();
    let draft = TenantSpec {
        external_id,
        display_name: display_name.unwrap_or_default(),
        subdomain: subdomain.unwrap_or_else(|| id.clone()),
        tier: tier.unwrap_or(Tier::Trial),
        stack: stack.unwrap_or_default(),
        email: email.unwrap_or_default(),
        modules,
        overrides,
        database,
        sso,
        tags,
        id,
    };
    let Reading { fields, places, .. } = r;
    Parsed { draft, places, whole: missing(""), problems: fields.done(better_key) }
}

/// Keys people write that are not like the right one in spelling.
fn better_key(key: &str) -> Option<String> {
    let right = match key {
        "name" | "company_name" | "title" => "display_name",
        "tenant_id" | "slug" => "id",
        "contact" | "contact_email" | "admin" | "admin_email" | "mail" => "email",
        "plan" | "edition" => "tier",
        "product" | "template" => "stack",
        "features" => "modules",
        "settings" | "limits" => "overrides",
        "labels" => "tags",
        "saml" | "oidc" | "idp" => "sso",
        "adopt" | "baseline" => "database",
        _ => return None,
    };
    Some(format!("the key is `{right}`"))
}

struct Reading<'a> {
    fields: Fields<'a>,
    places: BTreeMap<String, Place>,
    missing: &'a dyn Fn(&str) -> Place,
}

type Rule<'r> = &'r dyn Fn(&str) -> Result<(), Wrong>;

impl<'a> Reading<'a> {
    /// Notes where a string was said, and what its rule says against it.
    fn judge(&mut self, path: String, said: &Said<&str>, rule: Rule<'_>) -> String {
        if let Err(wrong) = rule(said.value) {
            self.fields.refuse(Problem::new("spec::invalid", &said.place, wrong.message).maybe_hint(wrong.hint));
        }
        self.places.insert(path, said.place.clone());
        said.value.to_owned()
    }

    fn optional(&mut self, key: &'static str, rule: impl Fn(&str) -> Result<(), Wrong>) -> Option<String> {
        let said = self.fields.text(key)?;
        Some(self.judge(key.to_owned(), &said, &rule))
    }

    fn required(&mut self, key: &'static str, example: &str, rule: impl Fn(&str) -> Result<(), Wrong>) -> Option<String> {
        self.demand(key, example);
        self.optional(key, rule)
    }

    fn demand(&mut self, key: &'static str, example: &str) {
        if self.fields.get(key).is_none() {
            self.fields.refuse(missing(&(self.missing)(key), key, example));
        }
    }

    fn tier(&mut self) -> Option<Tier> {
        self.demand("tier", "tier = \"standard\"");
        let said = self.fields.text("tier")?;
        match said.value.parse::<Tier>() {
            Ok(tier) => {
                self.places.insert("tier".to_owned(), said.place);
                Some(tier)
            }
            Err(_) => {
                let all = Tier::names().chain(Tier::ALIASES.iter().map(|(name, _)| *name));
                let hint = did_you_mean(said.value, all);
                self.fields
                    .refuse(Problem::new("spec::unknown_tier", &said.place, format!("there is no tier `{}`", said.value)).label("not a tier").hint(hint));
                None
            }
        }
    }

    fn modules(&mut self) -> Vec<String> {
        let mut out: Vec<String> = Vec::new();
        for (index, said) in self.fields.texts("modules").unwrap_or_default().into_iter().enumerate() {
            if out.iter().any(|m| m == said.value) {
                self.fields.refuse(Problem::new("spec::duplicate", &said.place, format!("the module `{}` is named twice", said.value)));
            } else {
                out.push(self.judge(format!("modules.{index}"), &said, &|v| rules::line("a module's name", v, rules::DNS_LABEL_MAX)));
            }
        }
        out
    }

    fn overrides(&mut self) -> BTreeMap<String, serde_json::Value> {
        let Some(node) = self.fields.get("overrides") else { return BTreeMap::new() };
        if node.entries().is_none() {
            self.fields.refuse(wrong_type(node, "`overrides`", "a table"));
            return BTreeMap::new();
        }
        let mut out = BTreeMap::new();
        for (path, leaf) in node.leaves() {
            if matches!(leaf.data, Data::List(_) | Data::Datetime(_)) {
                self.fields.refuse(wrong_type(leaf, &format!("the override `{path}`"), "a string, a number or a boolean"));
                continue;
            }
            self.places.insert(format!("overrides.{path}"), leaf.place.clone());
            if out.insert(path.clone(), leaf.to_value()).is_some() {
                self.fields.refuse(Problem::new("spec::duplicate", &leaf.place, format!("the override `{path}` is given twice")));
            }
        }
        out
    }

    fn database(&mut self) -> Option<Database> {
        let node = self.fields.get("database")?;
        let mut inner = Fields::new(node, "`database`");
        let adopt = inner.boolean("adopt");
        let mut baseline = BTreeMap::new();
        let said = inner.table("baseline");
        for entry in said.as_ref().map_or(&[] as &[Entry], |said| said.value) {
            match entry.node.data {
                Data::Integer(version) => match u32::try_from(version).ok().filter(|v| *v > 0) {
                    Some(version) => {
                        self.places.insert(format!("database.baseline.{}", entry.key), entry.node.place.clone());
                        baseline.insert(entry.key.clone(), version);
                    }
                    None => {
                        inner.refuse(Problem::new("spec::invalid", &entry.node.place, format!("{version} is no version of a migration: they count from 1")))
                    }
                },
                _ => inner.refuse(wrong_type(&entry.node, &format!("the baseline of `{}`", entry.key), "an integer")),
            }
        }
        if let Some(said) = said.filter(|_| adopt.as_ref().is_none_or(|a| !a.value)) {
            let hint = "add `adopt = true`, or leave the baseline out";
            inner.refuse(Problem::new("spec::invalid", &said.place, "a baseline is for a schema that is taken over").hint(hint));
        }
        inner.done(|_| None).into_iter().for_each(|p| self.fields.refuse(p));
        self.places.insert("database".to_owned(), node.place.clone());
        Some(Database { adopt: adopt.is_some_and(|a| a.value), baseline })
    }

    fn tags(&mut self) -> BTreeMap<String, String> {
        let Some(entries) = self.fields.table("tags") else { return BTreeMap::new() };
        if entries.value.len() > rules::TAGS_MAX {
            let message = format!("{} tags are given; the most is {}", entries.value.len(), rules::TAGS_MAX);
            self.fields.refuse(Problem::new("spec::invalid", &entries.place, message).hint("AWS allows 50 on a resource, and labctl sets some itself"));
        }
        let mut out = BTreeMap::new();
        for entry in entries.value {
            if let Err(wrong) = rules::tag_key(&entry.key) {
                self.fields.refuse(Problem::new("spec::invalid", &entry.place, wrong.message).maybe_hint(wrong.hint));
            }
            match entry.node.as_text() {
                Some(text) => {
                    let said = Said { value: text, place: entry.node.place.clone() };
                    let value = self.judge(format!("tags.{}", entry.key), &said, &|v| rules::tag_value(&entry.key, v));
                    out.insert(entry.key.clone(), value);
                }
                None => self.fields.refuse(wrong_type(&entry.node, &format!("the tag `{}`", entry.key), "a string")),
            }
        }
        out
    }

    fn sso(&mut self) -> Option<Sso> {
        let node = self.fields.get("sso")?;
        let mut inner = Reading { fields: Fields::new(node, "`sso`"), places: BTreeMap::new(), missing: self.missing };
        let sso = inner.sso_fields(node);
        let known: &[&str] = match node.get("kind").and_then(Node::as_text) {
            Some("saml") => &["kind", "metadata_url", "metadata_file"],
            Some("oidc") => &["kind", "issuer", "client_id", "client_secret_arn"],
            _ => &["kind", "metadata_url", "metadata_file", "issuer", "client_id", "client_secret_arn"],
        };
        let problems = inner.fields.done(|key| match key {
            "client_secret" => Some("a spec holds no secrets: keep it in Secrets Manager and name it by `client_secret_arn`".to_owned()),
            "metadata" => Some("the key is `metadata_url` or `metadata_file`".to_owned()),
            _ => Some(did_you_mean(key, known.iter().copied())),
        });
        problems.into_iter().for_each(|p| self.fields.refuse(p));
        self.places.insert("sso".to_owned(), node.place.clone());
        sso
    }

    fn sso_fields(&mut self, node: &Node) -> Option<Sso> {
        let place = node.place.clone();
        node.entries()?;
        let kind = self.fields.text("kind");
        match kind.as_ref().map(|k| k.value) {
            Some("saml") => {
                let metadata_url = self.optional("metadata_url", |v| rules::https("metadata_url", v));
                let metadata_file = self.optional("metadata_file", |v| rules::line("metadata_file", v, 1024));
                match (&metadata_url, &metadata_file) {
                    (None, None) => {
                        let hint = "add `metadata_url = \"https://…\"` or `metadata_file = \"…\"`";
                        self.fields.refuse(Problem::new("spec::missing", &place, "SAML needs the identity provider's metadata").hint(hint));
                    }
                    (Some(_), Some(_)) => {
                        let at = self.places.get("metadata_file").cloned().unwrap_or(place);
                        self.fields.refuse(Problem::new("spec::duplicate", &at, "metadata_url and metadata_file are both given").hint("keep one of them"));
                    }
                    _ => {}
                }
                Some(Sso::Saml { metadata_url, metadata_file })
            }
            Some("oidc") => {
                for (key, example) in [("issuer", "issuer = \"https://login.example.org\""), ("client_id", "client_id = \"…\"")] {
                    if self.fields.get(key).is_none() {
                        self.fields.refuse(missing(&place, key, example));
                    }
                }
                let issuer = self.optional("issuer", |v| rules::https("issuer", v));
                let client_id = self.optional("client_id", |v| rules::line("client_id", v, 256));
                let client_secret_arn = self.optional("client_secret_arn", secret_arn);
                Some(Sso::Oidc { issuer: issuer.unwrap_or_default(), client_id: client_id.unwrap_or_default(), client_secret_arn })
            }
            Some(other) => {
                let at = kind.as_ref().map_or(&place, |k| &k.place);
                let kinds = ["saml", "oidc"];
                let hint = did_you_mean(other, kinds);
                self.fields.refuse(Problem::new("spec::invalid", at, format!("there is no kind of SSO `{other}`")).hint(hint));
                None
            }
            None => {
                if node.get("kind").is_none() {
                    self.fields.refuse(missing(&place, "kind", &format!("kind = one of {}", listed(["saml", "oidc"]))));
                }
                None
            }
        }
    }
}

fn secret_arn(text: &str) -> Result<(), Wrong> {
    if text.starts_with("arn:aws") && text.contains(":secretsmanager:") {
        return Ok(());
    }
    // The text may be the secret itself: it must not be shown.
    Err(Wrong {
        message: "client_secret_arn is not the ARN of a Secrets Manager secret".to_owned(),
        hint: Some("arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME".to_owned()),
    })
}

fn missing(place: &Place, key: &str, example: &str) -> Problem {
    match place {
        Place::Flag(_) => Problem::new("spec::missing", place, "missing"),
        _ => Problem::new("spec::missing", place, format!("`{key}` is missing")).label(format!("no `{key}` in here")).hint(format!("add `{example}`")),
    }
}
