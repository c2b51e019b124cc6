//! The one reader of the process's surroundings: variables, arguments, working folder, user and host.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::nearest;

/// A variable labctl reads, and what it is for. The list is what `--help`, the man page and the search for misspellings go by.
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// One line for people; empty for the system's own, which need no explanation.
    pub meaning: &'static str,
}

const fn of(name: &'static str, meaning: &'static str) -> Variable {
    Variable { name, meaning }
}

/// Every variable labctl reads. (The AWS SDK reads its own: `AWS_PROFILE`, `AWS_REGION`, …)
pub const VARIABLES: &[Variable] = &[
    of("LABCTL_PROFILE", "profile to use, as --profile"),
    of("LABCTL_CONFIG", "platform file to read, as --config"),
    of("LABCTL_REGISTRY_PASSWORD", "password of the registry's login role"),
    of("LABCTL_SANDBOX_DIR", "folder of the sandbox"),
    of("LABCTL_TOOLS_DIR", "folder for programs the sandbox fetches"),
    of("PGPASSFILE", "file of PostgreSQL passwords, instead of ~/.pgpass"),
    of("NO_COLOR", "no colours, when set to anything"),
    of("CI", "no questions and no live progress, when set"),
    of("TERM", ""),
    of("HOME", ""),
    of("USER", ""),
    of("PATH", ""),
    of("XDG_CACHE_HOME", ""),
    of("XDG_DATA_HOME", ""),
    of("TMPDIR", ""),
    #[cfg(feature = "failpoints")]
    of("LABCTL_FAILPOINT", ""),
    #[cfg(feature = "failpoints")]
    of("LABCTL_FAILPOINT_LOG", ""),
];

/// The surroundings, as they were when the program began. No `Debug`: it may hold a password.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, OsString>,
    misspelt: Vec<String>,
    folder: PathBuf,
    home: Option<PathBuf>,
    root: bool,
    user: Option<String>,
    host: Option<String>,
}

/// The arguments the program was started with, its own name first.
pub fn arguments() -> Vec<OsString> {
    std::env::args_os().collect()
}

impl Environment {
    /// Reads it. An unset `HOME` is made up for from the user database, as in containers and under systemd.
    pub fn capture() -> Self {
        let known = |name: &str| VARIABLES.iter().any(|v| v.name == name);
        let mut variables = BTreeMap::new();
        let mut misspelt = Vec::new();
        for (name, value) in std::env::vars_os() {
            let Ok(name) = name.into_string() else { continue };
            if known(&name) {
                variables.insert(name, value);
            } else if name.starts_with("LABCTL_") {
                misspelt.push(name);
            }
        }
        misspelt.sort();
        let uid = nix::unistd::geteuid();
        let account = || nix::unistd::User::from_uid(uid).ok().flatten();
        let home = variables.get("HOME").filter(|h| !h.is_empty()).map(PathBuf::from).or_else(|| account().map(|a| a.dir));
        let user = variables.get("USER").and_then(|u| u.to_str()).filter(|u| !u.is_empty()).map(str::to_owned).or_else(|| account().map(|a| a.name));
        Self {
            variables,
            misspelt,
            folder: std::env::current_dir().unwrap_or_else(|_| PathBuf::from(".")),
            home,
            root: uid.is_root(),
            user,
            host: nix::unistd::gethostname().ok().and_then(|h| h.into_string().ok()),
        }
    }

    /// Made-up surroundings, for tests: these variables, this working folder, an ordinary user `ana` on `build-3`.
    pub fn fixed(folder: impl Into<PathBuf>, variables: &[(&str, &str)]) -> Self {
        let variables: BTreeMap<_, _> = variables.iter().map(|(k, v)| ((*k).to_owned(), OsString::from(v))).collect();
        let home = variables.get("HOME").map(PathBuf::from);
        Self { variables, misspelt: Vec::new(), folder: folder.into(), home, root: false, user: Some("ana".to_owned()), host: Some("build-3".to_owned()) }
    }

    /// The same, as the superuser, for tests.
    #[must_use]
    pub fn as_root(mut self) -> Self {
        self.root = true;
        self
    }

    /// Where a test wants the process to end, and the file that is to tell of it.
    #[cfg(feature = "failpoints")]
    pub fn failpoint(&self) -> (Option<&str>, Option<PathBuf>) {
        (self.text("LABCTL_FAILPOINT"), self.path("LABCTL_FAILPOINT_LOG"))
    }

    /// A variable's text. Set but empty counts as unset, as `LABCTL_PROFILE= labctl …` means it.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.raw(name).and_then(|v| v.to_str())
    }

    /// A variable as a path, from the working folder on.
    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        self.raw(name).map(|v| self.folder.join(v))
    }

    fn raw(&self, name: &str) -> Option<&OsString> {
        debug_assert!(VARIABLES.iter().any(|v| v.name == name), "{name} is missing in VARIABLES");
        self.variables.get(name).filter(|v| !v.is_empty())
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn home(&self) -> Option<&Path> {
        self.home.as_deref()
    }

    pub(super) fn is_root(&self) -> bool {
        self.root
    }

    pub(super) fn user(&self) -> &str {
        self.user.as_deref().unwrap_or("unknown")
    }

    pub(super) fn host(&self) -> &str {
        self.host.as_deref().unwrap_or("unknown")
    }

    /// Where files go that are gone again when the command ends.
    pub fn temporary_folder(&self) -> PathBuf {
        self.path("TMPDIR").unwrap_or_else(|| PathBuf::from("/tmp"))
    }

    /// The folders programs are looked for in.
    pub(super) fn search_path(&self) -> Vec<PathBuf> {
        self.raw("PATH").map(|p| std::env::split_paths(p).collect()).unwrap_or_default()
    }

    /// Variables named `LABCTL_…` that mean nothing to labctl, each with the one that was perhaps meant.
    pub fn misspelt(&self) -> Vec<(String, Option<&'static str>)> {
        let ours = || VARIABLES.iter().map(|v| v.name).filter(|n| n.starts_with("LABCTL_"));
        self.misspelt.iter().map(|name| (name.clone(), nearest(name, ours()))).collect()
    }

    /// `NO_COLOR`, or a terminal that knows none.
    pub fn refuses_colour(&self) -> bool {
        self.raw("NO_COLOR").is_some() || self.text("TERM") == Some("dumb")
    }

    /// A build server: nobody is there to answer, and the log is no terminal.
    pub fn is_ci(&self) -> bool {
        self.text("CI").is_some_and(|v| !matches!(v, "0" | "false" | "no"))
    }

    /// Whether the terminal can move its cursor.
    pub fn is_dumb(&self) -> bool {
        self.text("TERM") == Some("dumb")
    }
}
