//! The one error of the command line. Each library error becomes it in exactly one place, here, which chooses its kind once.

use std::error::Error;
use std::fmt;

use miette::Diagnostic;

use crate::config::ConfigError;
use crate::engine::fault::{Fault, Left};
use crate::engine::journal::JournalError;

/// What became of the command. Each kind is one exit code; scripts rely on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It failed; what it left is told.
    Failed,
    /// Not an error: `plan --check` or `drift` found differences.
    Changes,
    /// Some of it is done and on record; the same command, or `operation resume`, goes on.
    Stopped,
    /// The outcome of a step cannot be told; an operator must look.
    InDoubt,
    /// Another operator, or another process, is at work on this tenant.
    Locked,
    /// The command, or a file it was given, is wrong. Nothing was touched.
    Usage,
    /// A bug in labctl.
    Bug,
    /// Interrupted; what is done is on record.
    Interrupted,
    /// A program that was run for the operator ended so, and has said why.
    Passed(u8),
}

impl Kind {
    /// All of labctl's own, by exit code: what help and man page list.
    pub const ALL: [Self; 8] = [Self::Failed, Self::Changes, Self::Stopped, Self::InDoubt, Self::Locked, Self::Usage, Self::Bug, Self::Interrupted];

    /// The exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Changes => 2,
            Self::Stopped => 3,
            Self::InDoubt => 4,
            Self::Locked => 5,
            Self::Usage => 64,
            Self::Bug => 70,
            Self::Interrupted => 130,
            Self::Passed(code) => code,
        }
    }

    /// What the exit code means, in a few words.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Changes => "the plan has changes",
            Self::Stopped => "stopped part-way, resumable",
            Self::InDoubt => "in doubt, needs an operator",
            Self::Locked => "locked by another operator",
            Self::Usage => "wrong usage, or an invalid spec",
            Self::Bug => "a bug in labctl",
            Self::Interrupted => "interrupted, resumable",
            Self::Passed(_) => "that of the program",
        }
    }
}

/// Why a command did not end well.
#[derive(Debug)]
pub struct CliError {
    /// What became of the command.
    pub kind: Kind,
    /// Stable, for programs: `tenant_exists`, `AccessDeniedException`.
    pub code: String,
    /// One line: the operation and the object.
    pub message: String,
    /// Why, the nearest cause first.
    pub causes: Vec<String>,
    /// What exists now and would not without this command.
    pub left: Vec<String>,
    /// What the operator can do.
    pub hints: Vec<String>,
    /// What is wrong in files, each with its place.
    pub diagnostics: Vec<Box<dyn Diagnostic + Send + Sync>>,
}

impl CliError {
    /// An error of this kind.
    pub fn new(kind: Kind, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind, code: code.into(), message: message.into(), causes: Vec::new(), left: Vec::new(), hints: Vec::new(), diagnostics: Vec::new() }
    }

    /// It failed.
    pub fn failed(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, code, message)
    }

    /// The command is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, "usage", message)
    }

    /// This cannot happen.
    pub fn bug(message: impl Into<String>) -> Self {
        Self::new(Kind::Bug, "bug", message).hint(REPORT)
    }

    /// Nothing is left to say, only to exit: `plan --check` has printed its plan.
    pub fn told(kind: Kind) -> Self {
        Self::new(kind, "", "")
    }

    /// Whether there is nothing to print.
    pub fn is_told(&self) -> bool {
        self.message.is_empty()
    }

    /// With a cause.
    #[must_use]
    pub fn cause(mut self, cause: impl fmt::Display) -> Self {
        self.causes.push(cause.to_string());
        self
    }

    /// With an error and all its sources as causes.
    #[must_use]
    pub fn because(self, error: &(dyn Error + 'static)) -> Self {
        self.cause(error).sources(error)
    }

    /// With the sources of an error, but not the error itself, as causes.
    #[must_use]
    fn sources(mut self, error: &(dyn Error + 'static)) -> Self {
        self.causes.extend(std::iter::successors(error.source(), |e| (*e).source()).map(ToString::to_string));
        self
    }

    /// With something that is left behind.
    #[must_use]
    pub fn left(mut self, left: impl Into<String>) -> Self {
        self.left.push(left.into());
        self
    }

    /// With advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// With advice, where there is any.
    #[must_use]
    pub fn hints(mut self, hints: impl IntoIterator<Item = String>) -> Self {
        self.hints.extend(hints);
        self
    }

    /// With what is wrong in files. All are shown with their lines.
    #[must_use]
    pub fn diagnostics<D: Diagnostic + Send + Sync + 'static>(mut self, all: impl IntoIterator<Item = D>) -> Self {
        self.diagnostics.extend(all.into_iter().map(|d| Box::new(d) as Box<dyn Diagnostic + Send + Sync>));
        self
    }
}

/// How to report a bug.
pub(super) const REPORT: &str = "please report this with the command you ran and the output of `labctl -V`";

impl From<Fault> for CliError {
    fn from(fault: Fault) -> Self {
        let error = Self::failed(fault.code.clone(), fault.to_string()).hints(fault.hint);
        match fault.left {
            Left::Nothing => error,
            Left::Made(what) => error.left(what),
            Left::Unknown(what) => error.left(format!("perhaps {what}")),
        }
    }
}

impl From<JournalError> for CliError {
    fn from(error: JournalError) -> Self {
        match &error {
            JournalError::Fenced { .. } => {
                Self::new(Kind::Locked, "fenced", error.to_string()).hint("what this process did is on record; `labctl operation list` shows who goes on")
            }
            JournalError::Unavailable(_) => Self::failed("registry_unavailable", error.to_string()),
        }
    }
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        let code = match &error {
            ConfigError::Read { .. } => "config_unreadable",
            ConfigError::Invalid { .. } => "config_invalid",
            ConfigError::UnknownProfile { .. } => "unknown_profile",
            ConfigError::NoTemplates(_) => "no_templates",
            ConfigError::NoHome => "no_home",
        };
        let told = Self::new(Kind::Usage, code, error.to_string()).sources(&error).hints(error.hint());
        match error {
            ConfigError::Invalid { problems, .. } => told.diagnostics(problems),
            _ => told,
        }
    }
}

/// Clap's words, taken apart: its message, its tips as hints. (On a terminal clap's own rendering is shown instead.)
impl From<&clap::Error> for CliError {
    fn from(error: &clap::Error) -> Self {
        if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
            return Self::usage("a command is missing").hint("`labctl --help` lists them");
        }
        let text = error.render().to_string();
        let mut paragraphs = text.split("\n\n").map(str::trim);
        let first = paragraphs.next().unwrap_or_default();
        let message = first.strip_prefix("error: ").unwrap_or(first).lines().map(str::trim).collect::<Vec<_>>().join(" ");
        let tips = text.lines().filter_map(|line| line.trim().strip_prefix("tip: ")).map(str::to_owned);
        Self::usage(message).hints(tips)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_an_exit_code_of_its_own() {
        let codes = Kind::ALL.map(Kind::exit_code);
        assert_eq!(codes, [1, 2, 3, 4, 5, 64, 70, 130]);
    }

    #[test]
    fn a_fault_of_unknown_outcome_says_what_may_be_left() {
        let error = CliError::from(Fault::unknown("s3:CreateBucket", "timeout", "no answer"));
        assert_eq!((error.kind, error.left), (Kind::Failed, vec!["perhaps whatever s3:CreateBucket makes".to_owned()]));
    }

    #[test]
    fn a_stale_process_is_locked_out() {
        assert_eq!(CliError::from(JournalError::Fenced { epoch: 3 }).kind, Kind::Locked);
    }

    #[test]
    fn an_unreadable_file_names_the_cause_once() {
        let error = CliError::from(ConfigError::Read { path: "x.toml".into(), source: std::io::Error::other("no") });
        assert_eq!((error.message.as_str(), error.causes.as_slice()), ("cannot read x.toml", ["no".to_owned()].as_slice()));
    }
}
