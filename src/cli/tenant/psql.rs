//! `labctl tenant psql`
//!
//! The password goes by a file that is there as long as psql is: see [`libpq`](crate::tenantdb::libpq). Signals are psql's: Ctrl-C cancels a
//! query there, and never ends labctl before psql, which would leave the file behind. SIGTERM and SIGHUP are handed on. Only a kill -9 of
//! labctl leaves the file; `labctl tenant credentials rotate` makes it worthless.

use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use super::credentials::PartName;
use crate::cli::error::Kind;
use crate::cli::help::examples;
use crate::cli::{Cli, CliError};
use crate::ops::credentials;
use crate::tenantdb::libpq::FOREIGN;

/// Open psql in a tenant's database, with its own credentials
///
/// Logs in as the read-only role unless told otherwise: looking is what it mostly is for, and a slip of the hand costs nothing. The role
/// brings its search_path and its time-outs. The password is neither shown nor put into an argument or a variable. Who opened what as
/// which role is audited. A script (`-f`) stops at its first error. The exit code is psql's.
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("Look around", "labctl tenant psql city-lab"),
    ("One question, for a script", "labctl tenant psql city-lab -- -At -c 'SELECT count(*) FROM lab_results'"),
    ("Mend a row as the application would", "labctl tenant psql city-lab --role app"),
]))]
pub struct Args {
    /// The tenant's id
    id: String,

    /// As whom: app, read-only or migrate
    #[arg(long, value_name = "ROLE", default_value = "read-only", hide_possible_values = true)]
    role: PartName,

    /// Arguments for psql
    #[arg(last = true, value_name = "ARGS")]
    arguments: Vec<OsString>,
}

/// A script that goes on after an error leaves a tenant half changed, and psql would end with 0. `-v ON_ERROR_STOP=0` says otherwise.
const STOP_AT_ERRORS: &str = "--set=ON_ERROR_STOP=1";

/// Runs it.
///
/// # Errors
/// psql's exit code, where it is not 0; 1 when there is no such tenant, no psql, or no credentials.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    let program = cli.settings()?.search_path.iter().map(|folder| folder.join("psql")).find(|file| file.is_file());
    let program = program.ok_or_else(|| {
        CliError::failed("no_psql", "there is no psql on the PATH")
            .hint("install PostgreSQL's client: `apt install postgresql-client`, `dnf install postgresql`, `brew install libpq`")
    })?;
    let site = cli.site().await?;
    let login = credentials::login(&site, &args.id, args.role.part()).await?;
    let told = site.cx.db.libpq(&login, "labctl psql")?;
    let note = json!({"role": args.role.part(), "login": login.username, "database": login.database});
    site.registry.audit(&site.holder, "tenant.psql", Some(&args.id), &note).await?;
    // From here on an interrupt is psql's.
    cli.hand_interrupts_on();
    let password = PasswordFile::write(&cli.environment().temporary_folder(), &told.password_line)
        .map_err(|e| CliError::failed("no_password_file", "cannot write the password file for psql").because(&e))?;
    let mut command = Command::new(&program);
    for name in FOREIGN {
        command.env_remove(name);
    }
    command.arg(STOP_AT_ERRORS).args(&args.arguments).envs(told.variables).env("PGPASSFILE", password.path());
    let child = command.spawn().map_err(|e| CliError::failed("psql", format!("cannot run {}", program.display())).because(&e))?;
    let ended = until_it_ends(child).await;
    drop(password);
    match ended.map_err(|e| CliError::failed("psql", "psql got lost").because(&e))? {
        status if status.success() => Ok(()),
        status => Err(CliError::told(Kind::Passed(code(status)))),
    }
}

/// As shells have it: 128 and the signal for who was killed.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    u8::try_from(code).unwrap_or(1)
}

/// Waits, handing on what was sent to labctl alone. (What the terminal sends reaches psql by itself.)
async fn until_it_ends(mut child: Child) -> std::io::Result<ExitStatus> {
    let (mut term, mut hup) = (signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    loop {
        let sent = tokio::select! {
            ended = child.wait() => return ended,
            _ = term.recv() => Signal::SIGTERM,
            _ = hup.recv() => Signal::SIGHUP,
        };
        if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()) {
            // It may just have ended.
            let _ = kill(Pid::from_raw(pid), sent);
        }
    }
}

/// A password file, which is gone when this is.
struct PasswordFile(PathBuf);

impl PasswordFile {
    fn write(folder: &Path, line: &SecretString) -> std::io::Result<Self> {
        let path = folder.join(format!("labctl-psql-{}", uuid::Uuid::new_v4()));
        // New, and never readable by anybody else, not even for a moment: libpq refuses it otherwise.
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let kept = Self(path);
        file.write_all(line.expose_secret().as_bytes())?;
        Ok(kept)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for PasswordFile {
    fn drop(&mut self) {
        if let Err(e) = fs::remove_file(&self.0) {
            tracing::warn!("{} could not be removed: {e}", self.0.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn a_password_file_is_the_owners_alone_and_gone_in_the_end() {
        let file = PasswordFile::write(&std::env::temp_dir(), &SecretString::from("a:b")).unwrap();
        let path = file.path().to_owned();
        assert_eq!((fs::metadata(&path).unwrap().mode() & 0o777, fs::read_to_string(&path).unwrap()), (0o600, "a:b".to_owned()));
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn who_was_killed_ends_as_shells_have_it() {
        assert_eq!([code(ExitStatus::from_raw(3 << 8)), code(ExitStatus::from_raw(15))], [3, 143]);
    }
}
