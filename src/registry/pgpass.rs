//! A libpq password file: `host:port:database:user:password`, the first line that fits counts
//! (PostgreSQL documentation, "The Password File"). sqlx reads only the one the environment names; profiles name their own.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use secrecy::SecretString;

use super::Settings;

/// The password for these settings; `None` when the file is not there or no line fits.
///
/// # Errors
/// When the file can be read by others than its owner, or not at all; the text never quotes it.
pub fn password(path: &Path, settings: &Settings) -> Result<Option<SecretString>, String> {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(format!("cannot read {}: {e}", path.display())),
    };
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(format!("{} can be read by others: chmod 600 it", path.display()));
    }
    let text = std::fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    let port = settings.port.to_string();
    let asked = [settings.host.as_str(), &port, &settings.database, &settings.user];
    Ok(text.lines().filter(|l| !l.starts_with('#')).find_map(|line| fitting(line, &asked)).map(SecretString::from))
}

fn fitting(line: &str, asked: &[&str; 4]) -> Option<String> {
    let mut fields = vec![String::new()];
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => fields.last_mut()?.extend(chars.next()),
            ':' if fields.len() < 5 => fields.push(String::new()),
            c => fields.last_mut()?.push(c),
        }
    }
    let fits = fields.len() == 5 && asked.iter().zip(&fields).all(|(asked, field)| field == "*" || field == asked);
    fits.then(|| fields.pop()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_fitting_line_counts_and_escapes_are_undone() {
        let asked = ["db.internal", "5432", "labctl", "ops"];
        assert_eq!(fitting("db.internal:5432:labctl:ops:se\\:cr\\\\et", &asked).as_deref(), Some("se:cr\\et"));
        assert_eq!(fitting("*:*:*:ops:a:b", &asked).as_deref(), Some("a:b"), "the password may hold colons");
        assert_eq!(fitting("other:5432:labctl:ops:x", &asked), None);
        assert_eq!(fitting("db.internal:5432:labctl", &asked), None);
    }
}
