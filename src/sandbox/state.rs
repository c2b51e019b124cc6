//! What one sandbox folder remembers between commands: ports, processes, and what the platform's shared things are called.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::{SandboxError, io};

/// Version of the file's form. Another version is read as "nothing known": processes are then found by their command lines.
const VERSION: u32 = 1;

/// The remembered facts. None of them is trusted: each server is asked whether it is the one meant.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    version: u32,
    /// The emulator.
    pub moto: Option<Server>,
    /// PostgreSQL.
    pub postgres: Option<Server>,
    /// The platform's shared things, as `${platform.…}` sees them, once they were all made.
    pub platform: Option<Value>,
    /// The emulator was emptied, and no command has been told yet.
    #[serde(default)]
    pub emptied: bool,
}

/// A server that was started from here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Server {
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// What only this server, started this time, answers: a process id or a port may be somebody else's after a reboot.
    pub identity: String,
}

impl State {
    /// Reads the file; a missing or unreadable one is "nothing known".
    pub fn load(path: &Path) -> Self {
        fs::read(path).ok().and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok()).filter(|s| s.version == VERSION).unwrap_or_default()
    }

    /// Replaces the file.
    pub fn save(&mut self, path: &Path) -> Result<(), SandboxError> {
        self.version = VERSION;
        let bytes = serde_json::to_vec_pretty(self).map_err(|e| SandboxError::Io { doing: "writing the sandbox's state".into(), source: e.into() })?;
        replace(path, &bytes)
    }
}

/// Writes a file nobody else may read, whole or not at all, whatever kills us half-way.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), SandboxError> {
    let doing = || format!("writing {}", path.display());
    let new = path.with_extension("new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new).map_err(io(doing()))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io(doing()))?;
    fs::rename(&new, path).map_err(io(doing()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_is_loaded_and_rubbish_is_nothing_known() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        assert_eq!(State::load(&path), State::default());
        let mut state = State { moto: Some(Server { port: 5000, identity: "x".into() }), ..State::default() };
        state.save(&path).unwrap();
        assert_eq!(State::load(&path), state);
        fs::write(&path, b"{half").unwrap();
        assert_eq!(State::load(&path), State::default());
        fs::write(&path, br#"{"version": 999, "moto": null, "postgres": null, "platform": null}"#).unwrap();
        assert_eq!(State::load(&path), State::default());
    }
}
