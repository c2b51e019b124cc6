//! `labctl.toml`: text → profiles. Pure. Unknown keys are refused, every one of them at once, with line and suggestion.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Error as _, Visitor};
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::events::{self, Events, Webhook};
use super::{Tls, limits, nearest};

/// One thing that is wrong in a file, and where.
#[derive(Debug, Clone)]
pub struct Problem {
    /// For people.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    span: Range<usize>,
    source: Arc<NamedSource<String>>,
}

impl Problem {
    /// Line, from 1.
    pub fn line(&self) -> usize {
        self.source.inner()[..self.span.start.min(self.source.inner().len())].matches('\n').count() + 1
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

impl Diagnostic for Problem {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.hint.as_ref().map(|h| Box::new(h) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(self.source.as_ref())
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(std::iter::once(LabeledSpan::new_primary_with_span(None, self.span.clone()))))
    }
}

/// What the file says, checked.
#[derive(Debug, Default)]
pub(super) struct File {
    pub(super) templates: Option<PathBuf>,
    pub(super) profiles: BTreeMap<String, ProfileTable>,
    /// `[profiles.sandbox.events]`: all that can be said of the sandbox.
    pub(super) sandbox_events: Events,
}

#[derive(Deserialize)]
struct Top {
    #[serde(default)]
    templates: Option<PathBuf>,
    #[serde(default, rename = "profiles")]
    _profiles: serde::de::IgnoredAny,
}

/// `[profiles.<name>]`.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct ProfileTable {
    #[serde(default)]
    pub(super) environment: Option<String>,
    pub(super) region: Spanned<String>,
    #[serde(default)]
    pub(super) account_id: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) aws_profile: Option<String>,
    #[serde(default)]
    pub(super) endpoint_url: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) call_timeout_seconds: Option<Spanned<u64>>,
    pub(super) registry: RegistryTable,
    #[serde(default)]
    pub(super) platform: serde_json::Map<String, serde_json::Value>,
    #[serde(default)]
    pub(super) tunnels: BTreeMap<Spanned<String>, Spanned<String>>,
    #[serde(default)]
    pub(super) events: Events,
}

/// `[profiles.sandbox]`.
#[derive(Deserialize)]
struct SandboxTable {
    #[serde(default)]
    events: Events,
}

/// `[profiles.<name>.registry]`.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct RegistryTable {
    pub(super) host: String,
    #[serde(default = "postgres_port")]
    pub(super) port: u16,
    #[serde(default = "labctl")]
    pub(super) database: String,
    #[serde(default = "labctl")]
    pub(super) user: String,
    #[serde(default)]
    pub(super) password_secret_arn: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) pgpass: Option<PathBuf>,
    #[serde(default)]
    pub(super) tls: Tls,
    #[serde(default)]
    pub(super) root_certificate: Option<PathBuf>,
}

fn postgres_port() -> u16 {
    5432
}

fn labctl() -> String {
    "labctl".to_owned()
}

/// Reads a whole file. `path` is only for the messages.
///
/// # Errors
/// Everything that is wrong with it, in the order of lines.
pub(super) fn parse(path: &Path, text: &str) -> Result<File, Vec<Problem>> {
    let mut reader = Reader { source: Arc::new(NamedSource::new(path.display().to_string(), text.to_owned())), problems: Vec::new() };
    let file = match DeTable::parse_recoverable(text) {
        (table, errors) if errors.is_empty() => reader.file(table),
        (_, errors) => {
            for error in errors {
                reader.toml_error(&error, 0..0);
            }
            None
        }
    };
    reader.problems.sort_by_key(|p| p.span.start);
    match file {
        Some(file) if reader.problems.is_empty() => Ok(file),
        _ => Err(reader.problems),
    }
}

struct Reader {
    source: Arc<NamedSource<String>>,
    problems: Vec<Problem>,
}

type Table<'i> = DeTable<'i>;

impl Reader {
    fn wrong(&mut self, span: Range<usize>, message: impl Into<String>, hint: Option<String>) {
        self.problems.push(Problem { message: message.into(), hint, span, source: Arc::clone(&self.source) });
    }

    fn toml_error(&mut self, error: &toml::de::Error, otherwise: Range<usize>) {
        self.wrong(error.span().unwrap_or(otherwise), error.message(), None);
    }

    fn file(&mut self, table: Spanned<Table<'_>>) -> Option<File> {
        let span = table.span();
        self.unknown_keys::<Top>(table.get_ref(), "at the top of the file");
        let mut file = File::default();
        if let Some(profiles) = table.get_ref().get("profiles") {
            match profiles.get_ref() {
                DeValue::Table(profiles) => {
                    for (name, profile) in profiles {
                        if name.get_ref() == super::SANDBOX {
                            file.sandbox_events = self.sandbox(name, profile).unwrap_or_default();
                        } else if let Some(read) = self.profile(name, profile) {
                            file.profiles.insert(name.get_ref().to_string(), read);
                        }
                    }
                }
                _ => self.wrong(profiles.span(), "`profiles` must be a table: [profiles.<name>]", None),
            }
        }
        file.templates = self.typed::<Top>(&Spanned::new(span.clone(), DeValue::Table(table.into_inner())), span)?.templates;
        Some(file)
    }

    /// The built-in profile has receivers of events, and nothing else that could be described.
    fn sandbox(&mut self, name: &Spanned<std::borrow::Cow<'_, str>>, value: &Spanned<DeValue<'_>>) -> Option<Events> {
        let only_events = matches!(value.get_ref(), DeValue::Table(table) if table.keys().all(|key| key.get_ref() == "events"));
        if !only_events {
            let hint = "give the profile another name; only [profiles.sandbox.events] may stand here";
            self.wrong(name.span(), "the profile `sandbox` is built in and cannot be described here", Some(hint.to_owned()));
            return None;
        }
        self.events(super::SANDBOX, value);
        Some(self.typed::<SandboxTable>(value, name.span())?.events)
    }

    /// The keys and the texts of `[profiles.<name>.events]`.
    fn events(&mut self, label: &str, profile: &Spanned<DeValue<'_>>) {
        let DeValue::Table(profile) = profile.get_ref() else { return };
        let Some(DeValue::Table(events)) = profile.get("events").map(Spanned::get_ref) else { return };
        self.unknown_keys::<Events>(events, &format!("in [profiles.{label}.events]"));
        self.text(events, "sns_topic_arn", |arn| arn.starts_with("arn:").then_some(()).ok_or("not an ARN"));
        let Some(DeValue::Array(webhooks)) = events.get("webhooks").map(Spanned::get_ref) else { return };
        let mut names = std::collections::BTreeSet::new();
        for webhook in webhooks {
            let DeValue::Table(table) = webhook.get_ref() else { continue };
            self.unknown_keys::<Webhook>(table, &format!("in [[profiles.{label}.events.webhooks]]"));
            self.text(table, "name", |name| match name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
                true => Err("a webhook's name is of letters, digits, `-`, `_` and `.`"),
                false if !names.insert(name.to_owned()) => Err("another webhook has that name"),
                false => Ok(()),
            });
            self.text(table, "url", events::check_url);
            self.text(table, "secret_arn", |arn| arn.starts_with("arn:").then_some(()).ok_or("not an ARN"));
        }
    }

    /// Checks a text where it stands; that it is one is the types' matter.
    fn text(&mut self, table: &Table<'_>, key: &str, check: impl FnOnce(&str) -> Result<(), &'static str>) {
        if let Some(value) = table.get(key)
            && let DeValue::String(text) = value.get_ref()
            && let Err(wrong) = check(text)
        {
            self.wrong(value.span(), wrong, None);
        }
    }

    fn profile(&mut self, name: &Spanned<std::borrow::Cow<'_, str>>, value: &Spanned<DeValue<'_>>) -> Option<ProfileTable> {
        let label = name.get_ref();
        self.events(label, value);
        if let DeValue::Table(table) = value.get_ref() {
            self.unknown_keys::<ProfileTable>(table, &format!("in [profiles.{label}]"));
            if let Some(DeValue::Table(registry)) = table.get("registry").map(Spanned::get_ref) {
                self.unknown_keys::<RegistryTable>(registry, &format!("in [profiles.{label}.registry]"));
            }
            for (span, message, hint) in limits::check(table) {
                self.wrong(span, message, Some(hint));
            }
        }
        let read = self.typed::<ProfileTable>(value, name.span())?;
        self.check(&read);
        Some(read)
    }

    /// What types cannot say: the shape of texts.
    fn check(&mut self, profile: &ProfileTable) {
        let region = &profile.region;
        if !region.get_ref().split('-').all(|part| !part.is_empty()) || region.get_ref().split('-').count() < 3 {
            self.wrong(region.span(), format!("`{}` is not a region", region.get_ref()), Some("a region looks like eu-central-1".to_owned()));
        }
        if let Some(account) = &profile.account_id
            && (account.get_ref().len() != 12 || !account.get_ref().bytes().all(|b| b.is_ascii_digit()))
        {
            self.wrong(account.span(), "an account id has twelve digits", None);
        }
        if let Some(url) = &profile.endpoint_url
            && !["http://", "https://"].iter().any(|scheme| url.get_ref().starts_with(scheme))
        {
            self.wrong(url.span(), "an endpoint begins with http:// or https://", None);
        }
        if let Some(seconds) = &profile.call_timeout_seconds
            && !(1..=900).contains(seconds.get_ref())
        {
            self.wrong(seconds.span(), "a call's time-out is 1 to 900 seconds", None);
        }
        if let Some(arn) = &profile.registry.password_secret_arn
            && !arn.get_ref().starts_with("arn:")
        {
            self.wrong(arn.span(), "not an ARN", Some("give the ARN of a secret in Secrets Manager whose JSON has a `password`".to_owned()));
        }
        for end in profile.tunnels.iter().flat_map(|(from, to)| [from, to]) {
            if !is_host_and_port(end.get_ref()) {
                self.wrong(end.span(), format!("`{}` is not host:port", end.get_ref()), None);
            }
        }
    }

    fn unknown_keys<T: DeserializeOwned>(&mut self, table: &Table<'_>, place: &str) {
        let known = || fields::<T>().iter().copied();
        for key in table.keys().filter(|k| !known().any(|f| f == k.get_ref().as_ref())) {
            let hint = match key.get_ref().as_ref() {
                "password" => "a password has no place in a file: use password_secret_arn, pgpass or LABCTL_REGISTRY_PASSWORD".to_owned(),
                other => match nearest(other, known()) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => format!("possible: {}", known().collect::<Vec<_>>().join(", ")),
                },
            };
            self.wrong(key.span(), format!("unknown key `{}` {place}", key.get_ref()), Some(hint));
        }
    }

    fn typed<T: DeserializeOwned>(&mut self, value: &Spanned<DeValue<'_>>, otherwise: Range<usize>) -> Option<T> {
        // A missing key is reported on the whole table by the deserializer: the header is what people look for.
        let whole = value.span();
        T::deserialize(ValueDeserializer::from(value.clone()))
            .map_err(|error| {
                let span = error.span().filter(|s| *s != whole).unwrap_or(otherwise);
                self.wrong(span, error.message(), None);
            })
            .ok()
    }
}

fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|p| p > 0))
}

/// The keys a struct knows, told by its own `Deserialize`: the names are written down once.
fn fields<T: DeserializeOwned>() -> &'static [&'static str] {
    struct Asking<'a>(&'a mut &'static [&'static str]);

    impl<'de> serde::Deserializer<'de> for Asking<'_> {
        type Error = serde::de::value::Error;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
            Err(Self::Error::custom("asked for names only"))
        }

        fn deserialize_struct<V: Visitor<'de>>(self, _: &'static str, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Self::Error> {
            *self.0 = fields;
            self.deserialize_any(visitor)
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    let mut names: &'static [&'static str] = &[];
    // The error is the answer's envelope.
    let _ = T::deserialize(Asking(&mut names));
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> Vec<String> {
        let problems = parse(Path::new("labctl.toml"), text).unwrap_err();
        problems.iter().map(|p| format!("{}: {}{}", p.line(), p.message, p.hint.as_ref().map(|h| format!(" ({h})")).unwrap_or_default())).collect()
    }

    const GOOD: &str = r#"
[profiles.prod]
region = "eu-central-1"
[profiles.prod.registry]
host = "db.example.org"
[profiles.prod.platform.databases.shared]
endpoint = "shared.example.org:5432"
[profiles.prod.tunnels]
"shared.example.org:5432" = "127.0.0.1:15432"
"#;

    #[test]
    fn a_good_file_is_read() {
        let file = parse(Path::new("labctl.toml"), GOOD).unwrap();
        let prod = &file.profiles["prod"];
        assert_eq!(prod.region.get_ref(), "eu-central-1");
        assert_eq!(prod.registry.port, 5432);
        assert_eq!(prod.platform["databases"]["shared"]["endpoint"], "shared.example.org:5432");
    }

    #[test]
    fn the_example_in_docs_is_a_good_file() {
        let file = parse(Path::new("labctl.example.toml"), include_str!("../../docs/labctl.example.toml")).unwrap();
        assert!(file.profiles.len() >= 2, "the example shows more than one profile");
    }

    #[test]
    fn every_unknown_key_is_told_at_once_with_line_and_suggestion() {
        let text = "template = \"t\"\n[profiles.prod]\nregoin = \"x\"\nregion = \"eu-central-1\"\nzzz = 1\n[profiles.prod.registry]\nhost = \"h\"\npasword_secret_arn = \"arn:x\"\npassword = \"p\"\n";
        insta::assert_snapshot!(wrong(text).join("\n"), @"
        1: unknown key `template` at the top of the file (did you mean `templates`?)
        3: unknown key `regoin` in [profiles.prod] (did you mean `region`?)
        5: unknown key `zzz` in [profiles.prod] (possible: environment, region, account_id, aws_profile, endpoint_url, call_timeout_seconds, registry, platform, tunnels, events)
        8: unknown key `pasword_secret_arn` in [profiles.prod.registry] (did you mean `password_secret_arn`?)
        9: unknown key `password` in [profiles.prod.registry] (a password has no place in a file: use password_secret_arn, pgpass or LABCTL_REGISTRY_PASSWORD)
        ");
    }

    #[test]
    fn shapes_are_checked() {
        let text = GOOD
            .replace("region = \"eu-central-1\"", "region = \"frankfurt\"\naccount_id = \"123\"\nendpoint_url = \"localhost\"\ncall_timeout_seconds = 0")
            .replace("127.0.0.1:15432", "127.0.0.1");
        insta::assert_snapshot!(wrong(&text).join("\n"), @"
        3: `frankfurt` is not a region (a region looks like eu-central-1)
        4: an account id has twelve digits
        5: an endpoint begins with http:// or https://
        6: a call's time-out is 1 to 900 seconds
        12: `127.0.0.1` is not host:port
        ");
    }

    #[test]
    fn a_limit_of_a_database_server_is_told_where_it_is_wrong() {
        let with = |keys: &str| GOOD.replace("endpoint = \"shared.example.org:5432\"\n", &format!("endpoint = \"shared.example.org:5432\"\n{keys}\n"));
        let file = parse(Path::new("labctl.toml"), &with("max_bytes = \"500GB\"\nmax_schemas = 5_000")).unwrap();
        let server = &file.profiles["prod"].platform["databases"]["shared"];
        assert_eq!((server["max_bytes"].as_str(), server["max_schemas"].as_i64()), (Some("500GB"), Some(5000)));
        insta::assert_snapshot!(wrong(&with("max_bytes = \"plenty\"\nmax_schemas = 0\nmax_byte = 1")).join("\n"), @r#"
        8: not a size (a whole number and kB, MB, GB or TB, in quotes: "500GB")
        9: not a number of schemas (a whole number from 1 on, without quotes: 5000)
        10: unknown limit `max_byte` of a database server (did you mean `max_bytes`?)
        "#);
        insta::assert_snapshot!(wrong(&with("max_bytes = 500\nmax_schemas = \"many\"")).join("\n"), @r#"
        8: not a size (a whole number and kB, MB, GB or TB, in quotes: "500GB")
        9: not a number of schemas (a whole number from 1 on, without quotes: 5000)
        "#);
    }

    #[test]
    fn a_missing_key_is_told_at_the_profile_that_misses_it() {
        assert_eq!(wrong("\n[profiles.prod]\nregion = \"eu-central-1\"\n"), ["2: missing field `registry`"]);
    }

    #[test]
    fn a_wrong_type_is_told_where_it_stands() {
        assert_eq!(wrong(&GOOD.replace("host = \"db.example.org\"", "host = 3")), ["5: invalid type: integer `3`, expected a string"]);
    }

    #[test]
    fn broken_toml_is_told_where_it_breaks() {
        let found = wrong("[profiles.prod\nregion = \"x\"\n");
        assert!(found[0].starts_with("1: "), "{found:?}");
    }

    #[test]
    fn the_sandbox_cannot_be_described() {
        assert!(wrong("[profiles.sandbox]\nregion = \"x\"\n")[0].contains("built in"));
    }

    #[test]
    fn receivers_of_events_can_be_described_even_of_the_sandbox() {
        let text = "[profiles.sandbox.events]\nsns_topic_arn = \"arn:aws:sns:x\"\n[[profiles.sandbox.events.webhooks]]\nname = \"crm\"\nurl = \"https://crm.example.org/labctl\"\nsecret_arn = \"arn:x\"\n";
        let events = parse(Path::new("labctl.toml"), text).unwrap().sandbox_events;
        assert_eq!((events.sns_topic_arn.as_deref(), events.webhooks[0].name.as_str()), (Some("arn:aws:sns:x"), "crm"));
        let text =
            format!("{GOOD}{}", text.replace("sandbox", "prod").replace("https:", "http:").replace("arn:", "").replace("\nname", "\nnmae = \"x\"\nname"));
        insta::assert_snapshot!(wrong(&text).join("\n"), @"
        11: not an ARN
        13: unknown key `nmae` in [[profiles.prod.events.webhooks]] (did you mean `name`?)
        15: a webhook begins with https://; http:// is for loopback only
        16: not an ARN
        ");
    }
}
