//! What can go wrong with the sandbox, and what to do about it.

use std::path::PathBuf;

use crate::engine::fault::Fault;

/// A failed start, stop or reset.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Something the machine must have is not there.
    #[error("the sandbox needs {what}, which is missing here")]
    Missing {
        /// What is missing.
        what: String,
        /// The command that installs it.
        install: String,
    },
    /// PostgreSQL runs as another user here (it refuses root), and that user cannot reach its data.
    #[error("PostgreSQL must run as user {user} here, who cannot enter {}", folder.display())]
    InTheWay {
        /// The folder that user cannot enter.
        folder: PathBuf,
        /// The user.
        user: String,
    },
    /// The folder has things in it and no mark of ours: we would not want to delete them at the next reset.
    #[error("{} is not empty and not a sandbox", .0.display())]
    NotASandbox(PathBuf),
    /// The data folder was made by a PostgreSQL that is no longer there, or its passwords are gone.
    #[error("the sandbox's database in {} cannot be used: {why}", folder.display())]
    Unusable {
        /// The data folder.
        folder: PathBuf,
        /// Why.
        why: String,
    },
    /// A file could not be read or written.
    #[error("{doing}")]
    Io {
        /// What was being done, with the path.
        doing: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// A program we ran said no.
    #[error("{doing} failed: {output}")]
    Command {
        /// What was being done.
        doing: String,
        /// The last lines it said.
        output: String,
    },
    /// A program was started and does not answer.
    #[error("{what} does not answer {seconds} s after its start; the end of {}: {tail}", log.display())]
    NotReady {
        /// Which program.
        what: &'static str,
        /// How long we waited, in seconds.
        seconds: u64,
        /// Its log.
        log: PathBuf,
        /// The last lines of its log.
        tail: String,
    },
    /// A statement failed.
    #[error("{doing}")]
    Sql {
        /// What was being done.
        doing: String,
        /// Why it failed.
        #[source]
        source: sqlx::Error,
    },
    /// A call to the emulator failed.
    #[error("the emulator refused what a platform needs")]
    Aws(#[from] Fault),
    /// The emulator does not speak HTTP as it should.
    #[error("the emulator did not answer {call}: {why}")]
    Emulator {
        /// The call.
        call: String,
        /// Why.
        why: String,
    },
}

impl SandboxError {
    /// A stable code for machines.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "sandbox_prerequisite_missing",
            Self::InTheWay { .. } => "sandbox_folder_unreachable",
            Self::NotASandbox(_) => "sandbox_folder_foreign",
            Self::Unusable { .. } => "sandbox_data_unusable",
            Self::Io { .. } => "sandbox_io",
            Self::Command { .. } => "sandbox_command",
            Self::NotReady { .. } => "sandbox_not_ready",
            Self::Sql { .. } => "sandbox_sql",
            Self::Aws(_) | Self::Emulator { .. } => "sandbox_emulator",
        }
    }

    /// What the operator can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { install, .. } => Some(format!("install it: {install}")),
            Self::InTheWay { .. } => {
                Some("set LABCTL_SANDBOX_DIR to a folder everybody may enter, for instance /var/lib/labctl/sandbox, or work as an ordinary user".into())
            }
            Self::NotASandbox(_) => Some("set LABCTL_SANDBOX_DIR to a new or an empty folder".into()),
            Self::Unusable { .. } => Some("empty the sandbox: labctl sandbox reset".into()),
            Self::NotReady { .. } | Self::Sql { .. } | Self::Aws(_) | Self::Emulator { .. } => {
                Some("start it anew: labctl sandbox stop && labctl sandbox start".into())
            }
            Self::Io { .. } | Self::Command { .. } => None,
        }
    }
}

/// Names what was being done in an I/O error.
pub(super) fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> SandboxError {
    let doing = doing.into();
    move |source| SandboxError::Io { doing, source }
}

/// Names what was being done in an SQL error.
pub(super) fn sql(doing: impl Into<String>) -> impl FnOnce(sqlx::Error) -> SandboxError {
    let doing = doing.into();
    move |source| SandboxError::Sql { doing, source }
}
