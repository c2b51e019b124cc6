//! Migrations: numbered SQL files (`V1__create_patients.sql`) in folders, and the [`ledger`] of those applied to a schema.
//!
//! A folder counts for itself: `tenant` V1–V4 and `dental` V1 are five files, applied in the order the stack names them. A file, once
//! applied anywhere, never changes; its sha256 tells.
//!
//! * [`ledger`]: the table in each schema that says what was applied to it: the truth.
//! * [`central`]: one table per database that says how far each schema is: what a whole fleet is asked with one query.
//! * [`own`]: schemas' ledgers, read with none of their owners' code.
//! * [`apply`]: what is pending, run as the migration role; change, ledger and central ledger in one transaction.
//! * `baseline`: whether a schema that was there before is what migrations make.

pub mod apply;
pub(super) mod baseline;
mod belief;
pub mod central;
mod job;
pub mod ledger;
pub mod own;
pub(super) mod runner;
mod statements;

use std::collections::HashMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use statements::Concurrent;

/// Which file, and in which state of its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Folder (`tenant`, `dental`).
    pub folder: String,
    /// Number within the folder, from 1.
    pub version: u32,
    /// Name (`create_patients`).
    pub name: String,
    /// Sha256 of the file's bytes, in lower-case hexadecimal.
    pub checksum: String,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/V{}__{}", self.folder, self.version, self.name)
    }
}

/// A migration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Which.
    pub step: Step,
    /// Its text.
    pub sql: String,
    /// What it does, where it asks to be run outside a transaction.
    pub concurrent: Option<Concurrent>,
}

/// A file that cannot be a migration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadFile {
    /// Its name says no version.
    #[error("{0}: a migration is called V<number>__<name>.sql (V1__create_patients.sql), numbers from 1, names of a-z, 0-9 and _")]
    Name(String),
    /// It would end the transaction it runs in, or leave its role.
    #[error("{file}, line {line}: `{word}` may not stand in a migration: labctl runs it in a transaction of its own, as the migration role")]
    Statement {
        /// The file.
        file: String,
        /// The statement's line, from 1.
        line: usize,
        /// Its first words.
        word: String,
    },
    /// It cannot run in a transaction, and does not say so; or says so, and is nothing that could be run again after a crash.
    #[error("{file}, line {line}: {why}")]
    Transaction {
        /// The file.
        file: String,
        /// The statement's line, from 1.
        line: usize,
        /// What is wrong.
        why: &'static str,
    },
    /// Two files of one folder have one number.
    #[error("{0} and {1} have the same version")]
    Twice(Step, Step),
}

impl File {
    /// Reads a file: its folder's name, its own name, and its text.
    ///
    /// # Errors
    /// When the name says no version, or the text holds statements a migration may not hold (`COMMIT`, `SET ROLE`, …).
    pub fn parse(folder: &str, file_name: &str, sql: &str) -> Result<Self, BadFile> {
        let bad = || BadFile::Name(format!("{folder}/{file_name}"));
        let stem = file_name.strip_suffix(".sql").and_then(|s| s.strip_prefix('V')).ok_or_else(bad)?;
        let (version, name) = stem.split_once("__").ok_or_else(bad)?;
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if version.starts_with('0') || !version.bytes().all(|b| b.is_ascii_digit()) || name.is_empty() || !name.chars().all(plain) {
            return Err(bad());
        }
        let version: u32 = version.parse().map_err(|_| bad())?;
        if let Some((line, word)) = statements::forbidden(sql) {
            return Err(BadFile::Statement { file: format!("{folder}/{file_name}"), line, word });
        }
        let refused = |line, why| BadFile::Transaction { file: format!("{folder}/{file_name}"), line, why };
        let concurrent = match (statements::without_transaction(sql), statements::needs_no_transaction(sql)) {
            (true, _) => Some(statements::concurrent(sql).map_err(|(line, why)| refused(line, why))?),
            (false, Some(line)) => {
                return Err(refused(
                    line,
                    "`CONCURRENTLY` cannot run in a transaction: put it in a file of its own that begins with `-- labctl: no-transaction`",
                ));
            }
            (false, None) => None,
        };
        let step = Step { folder: folder.to_owned(), version, name: name.to_owned(), checksum: checksum(sql.as_bytes()) };
        Ok(Self { step, sql: sql.to_owned(), concurrent })
    }
}

/// Sha256 of a file's bytes, in lower-case hexadecimal.
pub fn checksum(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// The texts of all migrations of the stacks in use, by checksum.
#[derive(Debug, Clone, Default)]
pub struct Library {
    files: HashMap<String, File>,
}

impl Library {
    /// Takes the files of one folder in, and returns their steps in order.
    ///
    /// # Errors
    /// When two have one version.
    pub fn add(&mut self, mut files: Vec<File>) -> Result<Vec<Step>, BadFile> {
        files.sort_by_key(|f| f.step.version);
        if let Some(pair) = files.windows(2).find(|w| w[0].step.version == w[1].step.version) {
            return Err(BadFile::Twice(pair[0].step.clone(), pair[1].step.clone()));
        }
        let steps = files.iter().map(|f| f.step.clone()).collect();
        self.files.extend(files.into_iter().map(|f| (f.step.checksum.clone(), f)));
        Ok(steps)
    }

    /// The file with this checksum.
    pub fn file(&self, checksum: &str) -> Option<&File> {
        self.files.get(checksum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_says_version_and_name() {
        let file = File::parse("tenant", "V12__add_index.sql", "SELECT 1;").unwrap();
        assert_eq!((file.step.version, file.step.name.as_str()), (12, "add_index"));
        assert_eq!(file.step.to_string(), "tenant/V12__add_index");
        for name in ["V1_x.sql", "1__x.sql", "V__x.sql", "V01__x.sql", "V0__x.sql", "V+1__x.sql", "V1__.sql", "V1__X y.sql", "V1__x.SQL", "V99999999999__x.sql"]
        {
            assert!(matches!(File::parse("tenant", name, ""), Err(BadFile::Name(_))), "{name}");
        }
    }

    #[test]
    fn files_are_ordered_by_number_and_not_by_text() {
        let files = ["V10__c.sql", "V2__b.sql", "V1__a.sql"].map(|n| File::parse("tenant", n, n).unwrap());
        let mut library = Library::default();
        let steps = library.add(files.to_vec()).unwrap();
        assert_eq!(steps.iter().map(|s| s.version).collect::<Vec<_>>(), [1, 2, 10]);
        assert_eq!(library.file(&steps[1].checksum).unwrap().sql, "V2__b.sql");
    }

    #[test]
    fn two_files_of_one_version_are_refused() {
        let files = ["V1__a.sql", "V1__b.sql"].map(|n| File::parse("tenant", n, n).unwrap());
        assert!(matches!(Library::default().add(files.to_vec()), Err(BadFile::Twice(..))));
    }

    #[test]
    fn a_checksum_is_sha256_in_hexadecimal() {
        assert_eq!(checksum(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    #[test]
    fn a_commit_inside_a_migration_is_named_with_its_line() {
        let bad = File::parse("tenant", "V1__x.sql", "CREATE TABLE a (b int);\nCOMMIT;").unwrap_err();
        assert!(bad.to_string().starts_with("tenant/V1__x.sql, line 2: `COMMIT`"), "{bad}");
    }
}
