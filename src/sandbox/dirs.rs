//! The sandbox's folder: what is where in it, its lock, and who may enter it.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::{SandboxError, io};

/// The mark that says a folder is ours to empty.
const MARK: &str = ".labctl-sandbox";

/// Paths in one sandbox folder.
#[derive(Debug, Clone)]
pub struct Dirs(PathBuf);

impl Dirs {
    /// Nothing is made yet.
    pub fn at(dir: PathBuf) -> Self {
        Self(dir)
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.0
    }

    /// Ports and identities.
    pub fn state(&self) -> PathBuf {
        self.0.join("state.json")
    }

    /// PostgreSQL passwords (0600).
    pub fn passwords(&self) -> PathBuf {
        self.0.join("passwords.json")
    }

    /// The same for libpq (0600).
    pub fn pgpass(&self) -> PathBuf {
        self.0.join("pgpass")
    }

    /// What the emulator says.
    pub fn moto_log(&self) -> PathBuf {
        self.0.join("moto.log")
    }

    /// Process id of the emulator.
    pub fn moto_pid(&self) -> PathBuf {
        self.0.join("moto.pid")
    }

    /// Everything of PostgreSQL, owned by the user it runs as.
    pub fn postgres(&self) -> PathBuf {
        self.0.join("postgres")
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.postgres().join("data")
    }

    /// What PostgreSQL says.
    pub fn postgres_log(&self) -> PathBuf {
        self.postgres().join("postgres.log")
    }

    /// Makes the folder, or checks that it is ours: it is emptied by a reset, so it must never be somebody's home.
    pub fn prepare(&self) -> Result<(), SandboxError> {
        let doing = || format!("making the sandbox's folder {}", self.0.display());
        // Others may enter but not look around: PostgreSQL may run as another user. What is secret in here is 0600.
        fs::DirBuilder::new().recursive(true).mode(0o711).create(&self.0).map_err(io(doing()))?;
        let mark = self.0.join(MARK);
        if !mark.exists() {
            if fs::read_dir(&self.0).map_err(io(doing()))?.next().is_some_and(|e| e.is_ok_and(|e| e.file_name() != "lock")) {
                return Err(SandboxError::NotASandbox(self.0.clone()));
            }
            fs::write(&mark, "This folder is a labctl sandbox. `labctl sandbox reset` deletes what is in it.\n").map_err(io(doing()))?;
        }
        Ok(())
    }

    /// Whether a sandbox was ever made here.
    pub fn exists(&self) -> bool {
        self.0.join(MARK).exists()
    }

    /// One command at a time starts or stops things in this folder.
    pub async fn lock(&self, say: &(dyn Fn(&str) + Sync)) -> Result<File, SandboxError> {
        lock(&self.0.join("lock"), "the sandbox in this folder", say).await
    }
}

/// Takes a file's lock, saying once that somebody else holds it. Dropping the file gives it back, and so does the end of the process.
pub async fn lock(path: &Path, what: &str, say: &(dyn Fn(&str) + Sync)) -> Result<File, SandboxError> {
    let doing = || format!("locking {}", path.display());
    let file = File::options().write(true).create(true).truncate(false).open(path).map_err(io(doing()))?;
    let mut said = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {
                if !std::mem::replace(&mut said, true) {
                    say(&format!("waiting for another labctl that is busy with {what}"));
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(TryLockError::Error(e)) => return Err(io(doing())(e)),
        }
    }
}

/// The first folder on the way to `path` (itself included) that this user may not enter.
pub fn closed_to(path: &Path, uid: u32, gid: u32) -> Option<PathBuf> {
    let mut way: Vec<&Path> = path.ancestors().filter(|p| !p.as_os_str().is_empty()).collect();
    way.reverse();
    way.into_iter().find(|p| fs::metadata(p).is_ok_and(|m| m.is_dir() && !may_enter(m.permissions().mode(), m.uid(), m.gid(), uid, gid))).map(Path::to_owned)
}

fn may_enter(mode: u32, owner: u32, group: u32, uid: u32, gid: u32) -> bool {
    let bit = if owner == uid {
        0o100
    } else if group == gid {
        0o010
    } else {
        0o001
    };
    mode & bit != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owners_bits_come_before_the_groups_and_those_before_everybodys() {
        assert!(may_enter(0o700, 5, 5, 5, 9));
        assert!(!may_enter(0o077, 5, 5, 5, 5));
        assert!(may_enter(0o710, 1, 7, 5, 7));
        assert!(!may_enter(0o701, 1, 7, 5, 7));
        assert!(may_enter(0o701, 1, 1, 5, 7));
        assert!(!may_enter(0o750, 1, 1, 5, 7));
    }

    #[test]
    fn a_folder_with_somebodys_files_is_never_taken_for_a_sandbox() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.tex"), "x").unwrap();
        assert!(matches!(Dirs::at(dir.path().to_owned()).prepare(), Err(SandboxError::NotASandbox(_))));
        let new = Dirs::at(dir.path().join("new"));
        new.prepare().unwrap();
        new.prepare().unwrap();
        assert!(new.exists());
    }
}
