//! The sandbox's own PostgreSQL passwords: made here, kept in files only this user may read, sent as SCRAM verifiers.

use std::fs;
use std::path::PathBuf;

use rand::RngExt as _;
use secrecy::{ExposeSecret as _, SecretString};

use super::dirs::Dirs;
use super::error::{SandboxError, io};
use super::state::replace;

/// The superuser, used only to make the others and to start and stop.
pub const SUPERUSER: &str = "postgres";
/// What an RDS master user is on AWS; tenants' databases are made as it.
pub const ADMIN: &str = "labctl_admin";
/// Owner of the registry's database.
pub const REGISTRY: &str = "labctl_registry";

/// One password per role.
#[derive(Debug, Clone)]
pub struct Passwords {
    /// Of [`SUPERUSER`].
    pub superuser: SecretString,
    /// Of [`ADMIN`].
    pub admin: SecretString,
    /// Of [`REGISTRY`].
    pub registry: SecretString,
}

impl Passwords {
    /// Reads the file; none when there is none.
    pub fn load(dirs: &Dirs) -> Result<Option<Self>, SandboxError> {
        let doing = || format!("reading {}", dirs.passwords().display());
        let bytes = match fs::read(dirs.passwords()) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(io(doing())(e)),
        };
        let found: std::collections::BTreeMap<String, String> = serde_json::from_slice(&bytes).map_err(|e| io(doing())(e.into()))?;
        let of = |role: &str| found.get(role).map(|p| SecretString::from(p.as_str()));
        Ok(match (of(SUPERUSER), of(ADMIN), of(REGISTRY)) {
            (Some(superuser), Some(admin), Some(registry)) => Some(Self { superuser, admin, registry }),
            _ => None,
        })
    }

    /// Makes new ones and keeps them.
    pub fn generate(dirs: &Dirs) -> Result<Self, SandboxError> {
        let new = Self { superuser: random(), admin: random(), registry: random() };
        let text = serde_json::json!({SUPERUSER: new.superuser.expose_secret(), ADMIN: new.admin.expose_secret(), REGISTRY: new.registry.expose_secret()});
        replace(&dirs.passwords(), text.to_string().as_bytes())?;
        Ok(new)
    }

    /// Writes libpq's password file for this port; where it is.
    pub fn pgpass(&self, dirs: &Dirs, port: u16) -> Result<PathBuf, SandboxError> {
        let line = |role: &str, password: &SecretString| format!("127.0.0.1:{port}:*:{role}:{}\n", password.expose_secret());
        let text = [line(SUPERUSER, &self.superuser), line(ADMIN, &self.admin), line(REGISTRY, &self.registry)].concat();
        replace(&dirs.pgpass(), text.as_bytes())?;
        Ok(dirs.pgpass())
    }
}

/// 192 bits, in letters and digits that need no quoting anywhere.
pub fn random() -> SecretString {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let bytes: [u8; 39] = rand::rng().random();
    bytes.iter().map(|b| char::from(ALPHABET[usize::from(b % 32)])).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn passwords_are_kept_for_this_user_alone_and_shown_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = Dirs::at(dir.path().to_owned());
        assert!(Passwords::load(&dirs).unwrap().is_none());
        let made = Passwords::generate(&dirs).unwrap();
        let kept = Passwords::load(&dirs).unwrap().unwrap();
        assert_eq!(made.admin.expose_secret(), kept.admin.expose_secret());
        assert_ne!(made.admin.expose_secret(), made.registry.expose_secret());
        assert!(!format!("{made:?}").contains(made.admin.expose_secret()));
        let file = made.pgpass(&dirs, 5432).unwrap();
        for path in [file, dirs.passwords()] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }
}
