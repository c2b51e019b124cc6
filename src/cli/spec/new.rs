//! `labctl spec new`

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use crate::cli::error::Kind;
use crate::cli::help::examples;
use crate::cli::{Cli, CliError, place};
use crate::spec::{self, Tier};

/// Write a commented spec to begin with
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("To the terminal", "labctl spec new north-lab --stack labcloud --tier trial"),
    ("Into a file, which must not exist", "labctl spec new north-lab --stack labcloud --tier trial --file tenants/north-lab.toml"),
]))]
pub struct Args {
    /// The tenant's id
    id: String,

    /// The product
    #[arg(long, default_value = "labcloud")]
    stack: String,

    /// trial, standard or enterprise
    #[arg(long, default_value = "trial")]
    tier: Tier,

    /// Where to write it; without it, standard output
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Runs it.
///
/// # Errors
/// 64 for an id or stack that does not hold, 1 when the file exists.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    let text = spec::new_spec(&args.id, args.tier, &args.stack);
    // A spec that would be refused is not handed out.
    let settings = cli.settings()?;
    let mut parsed = spec::parse(&format!("the spec of {}", args.id), &text);
    place::stacks(settings)?.check(&mut parsed, place::environment(settings));
    parsed.finish()?;
    let Some(path) = args.file else { return cli.out.text(&text) };
    let written = OpenOptions::new().write(true).create_new(true).open(&path).and_then(|mut f| f.write_all(text.as_bytes()));
    match written {
        Ok(()) => {
            cli.say.status(format!("wrote {}", path.display()));
            cli.say.hint(format!("edit it, then `labctl tenant create {}`", path.display()));
            Ok(())
        }
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Err(CliError::failed("exists", format!("{} exists already; it was left as it is", path.display()))),
        Err(e) => Err(CliError::new(Kind::Failed, "unwritable", format!("cannot write {}", path.display())).because(&e)),
    }
}
