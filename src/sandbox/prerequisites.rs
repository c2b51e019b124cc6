//! What the machine must have already, and the command that installs what it lacks. Never installs anything outside our own folders.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::error::SandboxError;
use super::programs::{find, run};

/// The oldest Python the pinned emulator runs on.
const PYTHON: (u32, u32) = (3, 10);

/// Things we may have to ask for, and what the package managers call them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Python,
    Venv,
}

const MANAGERS: &[(&str, &str, &str)] = &[
    // manager, Python, venv
    ("apt-get", "apt-get install -y python3 python3-venv", "apt-get install -y python3-venv"),
    ("dnf", "dnf install -y python3", "dnf install -y python3-pip"),
    ("apk", "apk add python3 py3-pip", "apk add python3 py3-pip"),
    ("pacman", "pacman -S python", "pacman -S python"),
    ("zypper", "zypper install -y python3", "zypper install -y python3-pip"),
    ("brew", "brew install python3", "brew install python3"),
];

fn install(need: Need, path: Option<&OsStr>) -> String {
    let row = MANAGERS.iter().find(|(manager, ..)| find(manager, path).is_some()).unwrap_or(&MANAGERS[0]);
    match need {
        Need::Python => row.1,
        Need::Venv => row.2,
    }
    .to_owned()
}

/// A Python new enough that can make virtual environments: the one given, or the first good one on the path.
pub async fn python(given: Option<&Path>, path: Option<&OsStr>) -> Result<PathBuf, SandboxError> {
    let candidates: Vec<PathBuf> = match given {
        Some(python) => vec![python.to_owned()],
        None => ["python3", "python3.14", "python3.13", "python3.12", "python3.11", "python3.10"].iter().filter_map(|n| find(n, path)).collect(),
    };
    let mut need = Need::Python;
    for python in candidates {
        let probe = "import sys; print(sys.version_info[0], sys.version_info[1]); import venv, ensurepip; print('venv')";
        let said = match run("asking Python for its version", Command::new(&python).args(["-c", probe])).await {
            Ok(said) => said,
            // The version comes first, so a Python without venv still tells it.
            Err(SandboxError::Command { output, .. }) => output,
            Err(_) => continue,
        };
        match judge(&said) {
            Ok(()) => return Ok(python),
            Err(lacking) => need = lacking,
        }
    }
    Err(SandboxError::Missing {
        what: match need {
            Need::Python => format!("Python {}.{} or newer", PYTHON.0, PYTHON.1),
            Need::Venv => "Python's modules venv and ensurepip".into(),
        },
        install: install(need, path),
    })
}

fn judge(said: &str) -> Result<(), Need> {
    let mut words = said.split_whitespace();
    let mut number = || words.next().and_then(|w| w.parse::<u32>().ok());
    match (number(), number()) {
        (Some(major), Some(minor)) if (major, minor) >= PYTHON => (),
        _ => return Err(Need::Python),
    }
    if words.next() == Some("venv") { Ok(()) } else { Err(Need::Venv) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_apart() {
        assert_eq!(judge("3 11\nvenv\n"), Ok(()));
        assert_eq!(judge("3 11 | Traceback | ModuleNotFoundError: No module named 'ensurepip'"), Err(Need::Venv));
        assert_eq!(judge("3 8\nvenv\n"), Err(Need::Python));
        assert_eq!(judge("bash: python3: not found"), Err(Need::Python));
    }

    #[tokio::test]
    async fn a_missing_python_is_named_with_the_command_that_installs_it() {
        let empty = tempfile::tempdir().unwrap();
        let error = python(None, Some(empty.path().as_os_str())).await.unwrap_err();
        assert_eq!(error.to_string(), "the sandbox needs Python 3.10 or newer, which is missing here");
        assert_eq!(error.hint().unwrap(), "install it: apt-get install -y python3 python3-venv");
    }
}
