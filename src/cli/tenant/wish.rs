//! What the operator wishes: a spec file, flags, or the id of a known tenant, all through the same checks.

use std::path::{Path, PathBuf};

use crate::cli::error::Kind;
use crate::cli::{Cli, CliError};
use crate::spec::{self, Flags, Parsed, TenantSpec, Tier};

/// Where the desired state comes from.
#[derive(Debug, clap::Args)]
pub(super) struct Wish {
    /// The tenant's spec (TOML), or `-` for standard input
    #[arg(value_name = "SPEC", conflicts_with_all = FLAGS)]
    spec: Option<String>,

    #[command(flatten)]
    flags: SpecFlags,
}

/// The options a spec is said with.
pub(super) const FLAGS: [&str; 10] = ["id", "external_id", "name", "subdomain", "tier", "stack", "email", "modules", "overrides", "tags"];

/// A spec said on the command line.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Instead of a spec")]
pub(super) struct SpecFlags {
    /// Immutable slug: a–z, 0–9 and `-`, 2 to 40 characters
    #[arg(long)]
    id: Option<String>,

    /// The tenant's name in another system (`LAB001`)
    #[arg(long, value_name = "ID")]
    external_id: Option<String>,

    /// Display name
    #[arg(long)]
    name: Option<String>,

    /// First label of the host name [default: the id]
    #[arg(long)]
    subdomain: Option<String>,

    /// trial, standard or enterprise
    #[arg(long)]
    tier: Option<String>,

    /// The product: a folder of templates (`labctl tier list`)
    #[arg(long)]
    stack: Option<String>,

    /// Contact, who is invited as administrator
    #[arg(long)]
    email: Option<String>,

    /// A module of the stack; may be repeated
    #[arg(long = "module", value_name = "MODULE")]
    modules: Vec<String>,

    /// Override a setting the tier lets be overridden; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,

    /// A tag for everything made; may be repeated
    #[arg(long = "tag", value_name = "KEY=VALUE")]
    tags: Vec<String>,
}

impl SpecFlags {
    fn into_flags(self) -> Flags {
        Flags {
            id: self.id,
            external_id: self.external_id,
            display_name: self.name,
            subdomain: self.subdomain,
            tier: self.tier,
            stack: self.stack,
            email: self.email,
            modules: self.modules,
            overrides: self.overrides,
            tags: self.tags,
        }
    }
}

impl Wish {
    /// A spec from a file or flags; what is missing is asked for on a terminal. Touches nothing.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(super) fn spec(self, cli: &Cli) -> Result<TenantSpec, CliError> {
        match self.spec {
            Some(path) => from_file(cli, &path),
            None => from_flags(cli, self.flags),
        }
    }

    /// The id of a tenant, where one was said instead of a file.
    pub(super) fn known_tenant(&self) -> Option<&str> {
        self.spec.as_deref().filter(|s| !looks_like_file(s))
    }
}

fn looks_like_file(text: &str) -> bool {
    text == "-" || text.contains(['/', '.']) || Path::new(text).exists()
}

fn from_file(cli: &Cli, path: &str) -> Result<TenantSpec, CliError> {
    let (name, text) = if path == "-" {
        ("standard input".to_owned(), std::io::read_to_string(std::io::stdin()))
    } else {
        (path.to_owned(), std::fs::read_to_string(PathBuf::from(path)))
    };
    let text = text.map_err(|e| CliError::new(Kind::Usage, "unreadable_spec", format!("cannot read the spec {name}")).because(&e).hints(meant(path)))?;
    checked(cli, spec::parse(&name, &text))
}

/// What was probably meant by the path of a spec that cannot be read.
fn meant(path: &str) -> Option<String> {
    if Path::new(path).is_dir() {
        return Some("give one spec; `labctl spec validate` takes folders".to_owned());
    }
    let usual = format!("tenants/{path}.toml");
    if Path::new(&usual).exists() {
        return Some(format!("did you mean {usual}?"));
    }
    (!path.contains(['/', '.'])).then(|| format!("`labctl spec new {path} --file {path}.toml` writes one"))
}

/// The last check before anything is opened: the spec against its stack.
fn checked(cli: &Cli, mut parsed: Parsed) -> Result<TenantSpec, CliError> {
    let settings = cli.settings()?;
    crate::cli::place::stacks(settings)?.check(&mut parsed, crate::cli::place::environment(settings));
    Ok(parsed.finish()?)
}

type Setter = fn(&mut Flags, String);

/// Flag, question, and where the answer goes, in the order of asking.
const QUESTIONS: [(&str, &str, Setter); 5] = [
    ("--id", "Tenant id (slug)", |f, v| f.id = Some(v)),
    ("--name", "Display name", |f, v| f.display_name = Some(v)),
    ("--stack", "Stack", |f, v| f.stack = Some(v)),
    ("--tier", "Tier", |f, v| f.tier = Some(v)),
    ("--email", "Contact e-mail", |f, v| f.email = Some(v)),
];

fn from_flags(cli: &Cli, given: SpecFlags) -> Result<TenantSpec, CliError> {
    let mut flags = given.into_flags();
    let stacks = crate::cli::place::stacks(cli.settings()?)?;
    let missing = |flags: &Flags, flag: &str| match flag {
        "--id" => flags.id.is_none(),
        "--name" => flags.display_name.is_none(),
        "--stack" => flags.stack.is_none(),
        "--tier" => flags.tier.is_none(),
        _ => flags.email.is_none(),
    };
    // Without anybody to ask, everything that is missing is said at once, not one flag at a time.
    if !cli.ask.can_ask() {
        return checked(cli, spec::from_flags(&flags)).map_err(|e| e.hint("give a spec (`labctl spec new ID` writes one), or say all of it with flags"));
    }
    for (flag, question, set) in QUESTIONS {
        if !missing(&flags, flag) {
            continue;
        }
        let answer = match flag {
            "--stack" => cli.ask.choice(flag, question, None, &stacks.names().map(ToOwned::to_owned).collect::<Vec<_>>())?,
            "--tier" => cli.ask.choice(flag, question, None, &Tier::names().map(ToOwned::to_owned).collect::<Vec<_>>())?,
            _ => {
                let so_far = flags.clone();
                let wrong = move |answer: &str| {
                    let mut tried = so_far.clone();
                    set(&mut tried, answer.to_owned());
                    let parsed = spec::from_flags(&tried);
                    let found = parsed.problems().iter().find(|p| p.plain().flag.as_deref() == Some(flag)).map(ToString::to_string);
                    found.map_or(Ok(()), Err)
                };
                cli.ask.text(flag, question, None, None, wrong)?
            }
        };
        set(&mut flags, answer);
    }
    checked(cli, spec::from_flags(&flags))
}
