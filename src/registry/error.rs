//! What can go wrong with the registry. Each kind is one thing an operator can understand and act upon; SQL errors become one of them here.

use sqlx::postgres::PgDatabaseError;

use super::lease::LeaseInfo;
use super::operations::OperationStatus;
use super::tenants::TenantStatus;
use crate::engine::journal::JournalError;

/// A refusal or failure of the registry.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// There is no registry in that database yet.
    #[error("the registry at {at} is not initialised")]
    NotInitialised {
        /// `host:port/database`.
        at: String,
    },
    /// The registry was made by an older labctl and must be migrated.
    #[error("the registry at {at} is at version {version}, this labctl needs {latest}")]
    Outdated {
        /// `host:port/database`.
        at: String,
        /// Its version.
        version: i32,
        /// Ours.
        latest: i32,
    },
    /// The registry was migrated by a newer labctl; this one might misread it.
    #[error("the registry at {at} is at version {version}, this labctl knows only up to {latest}")]
    TooNew {
        /// `host:port/database`.
        at: String,
        /// Its version.
        version: i32,
        /// Ours.
        latest: i32,
    },
    /// The schema holds something else, or one of its migrations is not the one this labctl knows.
    #[error("the schema `labctl` at {at} is not a registry of ours: {why}")]
    Foreign {
        /// `host:port/database`.
        at: String,
        /// What is wrong with it.
        why: String,
    },
    /// No answer, or no admittance: starting, stopping, cut off.
    #[error("the registry at {at} cannot be reached: {why}")]
    Unreachable {
        /// `host:port/database`.
        at: String,
        /// The system's or the server's words.
        why: String,
    },
    /// It answers, and takes no writes: a replica, or a server that is read-only.
    #[error("the registry at {at} takes no writes: {why}")]
    ReadOnly {
        /// `host:port/database`.
        at: String,
        /// The server's words.
        why: String,
    },
    /// It answers, and has run out of something: disk, memory, connections.
    #[error("the server of the registry at {at} has run out of {}: {why}", .out_of.what())]
    Exhausted {
        /// `host:port/database`.
        at: String,
        /// What is wanting.
        out_of: OutOf,
        /// The server's words.
        why: String,
    },
    /// Something between labctl and the server hands sessions round, or keeps from the server what labctl says of its session.
    #[error("there is a connection pooler before the registry at {at}: {why}")]
    Pooled {
        /// `host:port/database`.
        at: String,
        /// How that shows.
        why: String,
    },
    /// A tenant of that id is on record.
    #[error("tenant `{tenant}` exists already ({status}, revision {revision})")]
    Exists {
        /// Its id.
        tenant: String,
        /// Its status.
        status: TenantStatus,
        /// Its current revision.
        revision: i32,
    },
    /// Nothing of that name or number is on record.
    #[error("there is no {what} `{id}` in the registry")]
    NotFound {
        /// `tenant`, `operation`, `revision`.
        what: &'static str,
        /// What was asked for.
        id: String,
    },
    /// Another operator works on the tenant.
    #[error("{} is locked by {}", named(&.0.tenant), .0.by())]
    Locked(Box<LeaseInfo>),
    /// Another process has taken over: this one is stale and may write nothing.
    #[error("another process has taken over {} (its lease has a newer epoch than ours, {epoch})", named(tenant))]
    Fenced {
        /// Its id.
        tenant: String,
        /// Ours.
        epoch: i64,
    },
    /// The tenant has moved on since it was read.
    #[error("tenant `{tenant}` is at revision {found}, not {expected}: it was changed in the meantime")]
    Conflict {
        /// Its id.
        tenant: String,
        /// The revision the caller read.
        expected: i32,
        /// The revision it has.
        found: i32,
    },
    /// A physical name is another tenant's.
    #[error("the {kind} name `{name}` is taken by tenant `{tenant}`")]
    NameTaken {
        /// `schema`, `bucket`, `subdomain`, …
        kind: String,
        /// The name.
        name: String,
        /// Whose it is.
        tenant: String,
    },
    /// The tenant has an operation that is not finished.
    #[error("operation {operation} (`{verb}`) of tenant `{tenant}` is not finished: {status}")]
    Unfinished {
        /// Its id.
        tenant: String,
        /// The operation's number.
        operation: i64,
        /// What it does.
        verb: String,
        /// How it stands.
        status: OperationStatus,
    },
    /// The operation is over; it cannot be continued.
    #[error("operation {operation} is {status}: there is nothing to continue")]
    Finished {
        /// The operation's number.
        operation: i64,
        /// How it ended.
        status: OperationStatus,
    },
    /// Only a step in doubt is for an operator to settle.
    #[error("step {address} of operation {operation} is {status}, not in doubt")]
    NotInDoubt {
        /// The operation's number.
        operation: i64,
        /// Where.
        address: String,
        /// How it stands.
        status: String,
    },
    /// The database refuses that move of a tenant's status.
    #[error("{0}")]
    IllegalMove(String),
    /// A hold stands in the way of a purge, or a purge in the way of a hold.
    #[error("{0}")]
    Held(String),
    /// The database refuses to change what is written for ever.
    #[error("{0}")]
    Immutable(String),
    /// Anything else the database said: a bug of ours, or a registry somebody has altered.
    #[error("the registry answered unexpectedly: {message} ({code})")]
    Database {
        /// SQLSTATE, or `client` where the answer could not be understood.
        code: String,
        /// Its words.
        message: String,
    },
}

/// What a server has run out of (SQLSTATE class 53).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutOf {
    /// `disk_full`.
    Disk,
    /// `too_many_connections`.
    Connections,
    /// Memory, or what else it may use.
    Resources,
}

impl OutOf {
    fn by(code: &str) -> Self {
        match code {
            "53100" => Self::Disk,
            "53300" => Self::Connections,
            _ => Self::Resources,
        }
    }

    fn what(self) -> &'static str {
        match self {
            Self::Disk => "disk space",
            Self::Connections => "connections",
            Self::Resources => "resources",
        }
    }
}

/// What every function of this module returns.
pub type Result<T> = std::result::Result<T, RegistryError>;

impl RegistryError {
    /// The kind as a stable word, for `{"error": {"code": …}}`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotInitialised { .. } => "registry_not_initialised",
            Self::Outdated { .. } => "registry_outdated",
            Self::TooNew { .. } => "registry_too_new",
            Self::Foreign { .. } => "registry_foreign",
            Self::Unreachable { .. } => "registry_unreachable",
            Self::ReadOnly { .. } => "registry_read_only",
            Self::Exhausted { out_of: OutOf::Disk, .. } => "registry_full",
            Self::Exhausted { out_of: OutOf::Connections, .. } => "registry_too_many_connections",
            Self::Exhausted { out_of: OutOf::Resources, .. } => "registry_out_of_resources",
            Self::Pooled { .. } => "registry_pooled",
            Self::Exists { .. } => "exists",
            Self::NotFound { .. } => "not_found",
            Self::Locked(_) => "locked",
            Self::Fenced { .. } => "fenced",
            Self::Conflict { .. } => "conflict",
            Self::NameTaken { .. } => "name_taken",
            Self::Unfinished { .. } => "unfinished_operation",
            Self::Finished { .. } => "finished_operation",
            Self::NotInDoubt { .. } => "not_in_doubt",
            Self::IllegalMove(_) => "illegal_move",
            Self::Held(_) => "held",
            Self::Immutable(_) => "immutable",
            Self::Database { .. } => "registry_error",
        }
    }

    /// What the operator can do.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotInitialised { .. } | Self::Outdated { .. } => "run `labctl registry init`".into(),
            Self::TooNew { .. } => "use the newer labctl that migrated it".into(),
            Self::Unreachable { .. } => "is the server up, and are host, port, user and password right? `labctl registry status` asks it".into(),
            Self::ReadOnly { .. } => {
                "you are connected to a replica, or the server is read-only: point the profile at the primary; commands that only read work meanwhile".into()
            }
            Self::Exhausted { out_of: OutOf::Disk, .. } => "make space on the registry's server".into(),
            Self::Exhausted { out_of: OutOf::Connections, .. } => {
                "raise its `max_connections`, or the limit of labctl's role, or end what holds them (`pg_stat_activity` lists it); labctl needs up to four"
                    .into()
            }
            Self::Exhausted { out_of: OutOf::Resources, .. } => "the server's log says more".into(),
            Self::Pooled { .. } => "point the profile at the server itself: labctl needs a session of its own, and at most four".into(),
            Self::Exists { tenant, .. } => format!("`labctl tenant apply {tenant}` makes it as its spec says"),
            Self::NotFound { what, .. } => match *what {
                "tenant" => "`labctl tenant list` lists them; a new one is made from a spec: `labctl tenant create tenants/ID.toml`".into(),
                "operation" => "`labctl operation list` lists them".into(),
                "hold" => "`labctl tenant hold list ID` lists them".into(),
                "certificate" => "one is written at the end of `labctl tenant purge ID`".into(),
                _ => return None,
            },
            // A holder that died on this machine is found out at once; on another one its lease runs out.
            Self::Locked(_) => "wait for it and try again; the lease of a process that died runs out within a minute".into(),
            Self::Unfinished { operation, .. } => format!("`labctl operation resume {operation}` finishes it"),
            Self::Conflict { .. } | Self::Fenced { .. } => "plan again".into(),
            Self::NameTaken { .. } => "choose another id or subdomain".into(),
            _ => return None,
        })
    }

    /// Whether `registry init` would mend it.
    pub fn can_be_initialised(&self) -> bool {
        matches!(self, Self::NotInitialised { .. } | Self::Outdated { .. })
    }

    pub(super) fn not_found(what: &'static str, id: impl ToString) -> Self {
        Self::NotFound { what, id: id.to_string() }
    }

    /// Whether asking again, on a new connection, may help: it is cut off, or another server is about to take its place.
    pub(super) fn away(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::ReadOnly { .. })
    }

    /// Whether the same question may be answered later.
    pub(crate) fn passing(&self) -> bool {
        self.away() || matches!(self, Self::Exhausted { .. })
    }

    /// The one place where an SQL error becomes one of ours. `at` is `host:port/database`.
    pub(super) fn from_sql(at: &str, error: &sqlx::Error) -> Self {
        let unreachable = |why: String| Self::Unreachable { at: at.to_owned(), why };
        match error {
            sqlx::Error::Database(_) => match error.as_database_error().and_then(|e| e.try_downcast_ref::<PgDatabaseError>()) {
                Some(e) => Self::from_server(at, e),
                None => Self::Database { code: "client".into(), message: error.to_string() },
            },
            sqlx::Error::PoolTimedOut => unreachable("no connection within the time limit".into()),
            sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => unreachable("the connection pool is closed".into()),
            sqlx::Error::Io(e) => unreachable(e.to_string()),
            sqlx::Error::Tls(e) => unreachable(format!("TLS: {e}")),
            sqlx::Error::Protocol(e) => unreachable(e.clone()),
            other => Self::Database { code: "client".into(), message: other.to_string() },
        }
    }

    fn from_server(at: &str, e: &PgDatabaseError) -> Self {
        let message = e.message().to_owned();
        match e.code() {
            "LC001" => Self::IllegalMove(message),
            "LC002" => Self::Immutable(message),
            "LC003" => Self::Held(message),
            // undefined_table, invalid_schema_name
            "42P01" | "3F000" => Self::NotInitialised { at: at.to_owned() },
            "25006" => Self::ReadOnly { at: at.to_owned(), why: format!("{message} (25006)") },
            code if code.starts_with("53") => Self::Exhausted { at: at.to_owned(), out_of: OutOf::by(code), why: format!("{message} ({code})") },
            code if is_pooler(code, &message) => Self::Pooled { at: at.to_owned(), why: format!("{message} ({code})") },
            // lock_not_available, query_canceled; 08 connection, 28 authorisation, 3D no such database, 57P shutting down or starting,
            // 58 system error
            code if matches!(code, "55P03" | "57014") || ["08", "28", "3D", "57P", "58"].iter().any(|class| code.starts_with(class)) => {
                Self::Unreachable { at: at.to_owned(), why: format!("{message} ({code})") }
            }
            code => Self::Database { code: code.to_owned(), message },
        }
    }
}

/// Whether a refusal is a pooler's: PgBouncer's or RDS Proxy's of what labctl says of its session as it connects, or a server's to whom a
/// statement that was prepared in another session is nothing, or something else.
fn is_pooler(code: &str, message: &str) -> bool {
    match code {
        "08P01" => message.contains("startup parameter"),
        "0A000" => message.contains("RDS Proxy"),
        "26000" | "42P05" => true,
        _ => false,
    }
}

impl From<RegistryError> for JournalError {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Fenced { epoch, .. } => Self::Fenced { epoch },
            other => Self::Unavailable(other.to_string()),
        }
    }
}

/// What a lease is on.
fn named(lease: &str) -> String {
    lease.strip_prefix(super::fleet_claim::PREFIX).map_or_else(|| format!("tenant `{lease}`"), |run| format!("fleet run {run}"))
}

/// `4m`, for people.
pub(super) fn ago(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}
