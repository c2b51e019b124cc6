//! `labctl spec validate`

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cli::error::Kind;
use crate::cli::help::examples;
use crate::cli::output::Row;
use crate::cli::{Cli, CliError, place};
use crate::spec::read_many_with;

/// Check specs: each by itself, against its stack, and all together
///
/// Every error is shown at once, with its file, line and column. What must be unique (ids, subdomains, names in the database and in AWS,
/// administrators) is checked over all files given. Needs no network.
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("A folder", "labctl spec validate tenants/"),
    ("Some files", "labctl spec validate tenants/city-lab.toml tenants/north-lab.toml"),
    ("In CI, as JSON", "labctl spec validate tenants/ -o json"),
]))]
pub struct Args {
    /// Files, and folders of `*.toml`
    #[arg(required = true)]
    paths: Vec<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Valid {
    id: String,
    stack: String,
    tier: String,
    file: String,
}

impl Row for Valid {
    const COLUMNS: &'static [&'static str] = &["id", "stack", "tier", "file"];

    fn cells(&self) -> Vec<String> {
        vec![self.id.clone(), self.stack.clone(), self.tier.clone(), self.file.clone()]
    }
}

/// Runs it.
///
/// # Errors
/// 64 when anything is wrong.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    let settings = cli.settings()?;
    let stacks = place::stacks(settings)?;
    let mut files = Vec::new();
    for path in &args.paths {
        for file in spec_files(path)? {
            let text = fs::read_to_string(&file).map_err(|e| unreadable(&file, &e))?;
            files.push((file.display().to_string(), text));
        }
    }
    if files.is_empty() {
        let told = CliError::new(Kind::Usage, "no_specs", "there is no spec (*.toml) in what was given");
        return Err(told.hint("`labctl spec new ID` writes one"));
    }
    let environment = place::environment(settings).to_owned();
    let specs = read_many_with(&files, &mut |parsed| stacks.check(parsed, &environment))?;
    let valid: Vec<_> = specs.into_iter().zip(files).map(|(s, (file, _))| Valid { id: s.id, stack: s.stack, tier: s.tier.to_string(), file }).collect();
    cli.out.list(&valid)?;
    cli.say.status(if valid.len() == 1 { "1 spec is valid".to_owned() } else { format!("{} specs are valid", valid.len()) });
    Ok(())
}

/// The file itself, or the `*.toml` of a folder, sorted.
fn spec_files(path: &Path) -> Result<Vec<PathBuf>, CliError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(|e| unreadable(path, &e))?;
    let mut files: Vec<PathBuf> = entries.into_iter().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "toml") && p.is_file()).collect();
    files.sort();
    Ok(files)
}

fn unreadable(path: &Path, error: &std::io::Error) -> CliError {
    CliError::new(Kind::Usage, "unreadable_spec", format!("cannot read {}", path.display())).because(error)
}
