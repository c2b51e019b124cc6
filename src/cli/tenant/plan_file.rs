//! Plans in files: written for their owner alone, never over another file.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::cli::error::Kind;
use crate::cli::{Cli, CliError};
use crate::ops::approved::PlanFile;

/// Writes a plan into a file that must not exist.
///
/// # Errors
/// 1 when it exists or cannot be written.
pub(super) fn write(cli: &Cli, path: &Path, plan: &PlanFile) -> Result<(), CliError> {
    let mut text = serde_json::to_string_pretty(plan).map_err(|e| CliError::bug("a plan has no JSON form").because(&e))?;
    text.push('\n');
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).and_then(|mut f| f.write_all(text.as_bytes()));
    match written {
        Ok(()) => {
            cli.say.hint(format!("`labctl tenant apply --plan {}` carries it out", path.display()));
            Ok(())
        }
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Err(CliError::failed("exists", format!("{} exists already; it was left as it is", path.display()))),
        Err(e) => Err(CliError::failed("unwritable", format!("cannot write {}", path.display())).because(&e)),
    }
}

/// Reads one.
///
/// # Errors
/// 64 for what is no plan.
pub(super) fn read(path: &Path) -> Result<PlanFile, CliError> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|e| CliError::new(Kind::Usage, "unreadable_plan", format!("cannot read the plan {}", path.display())).because(&e))?;
    PlanFile::read(&text).map_err(|e| CliError::from(e).cause(format!("in {}", path.display())))
}
