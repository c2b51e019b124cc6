//! The registry: the PostgreSQL database that remembers tenants, revisions, resources, operations, steps, leases and the audit trail.
//!
//! # Guarantees
//! What must never be wrong is held by the database: one row per id and per physical name, legal moves of a status, immutable revisions,
//! one unfinished operation per tenant, an audit trail that only grows. Every write for a tenant is *fenced*: it takes effect only while
//! the epoch of the writer's lease is the newest, checked in the same transaction. All times are the database's clock. No secrets.
//!
//! # Rooms
//! * [`error`]: what can go wrong, and which SQL error is which.
//! * [`tenants`], [`revisions`], [`names`], [`resources`], [`operations`]: one file per table, with its types and queries.
//! * [`data`]: where tenants' data is.
//! * [`outbox`]: lifecycle events and their deliveries.
//! * `abort`, `resolve`: an operator settles what no run can.
//! * [`fleet`]: runs over many tenants.
//! * [`journal`]: [`crate::engine::journal::Journal`], one round trip per entry.
//! * [`lease`]: [`crate::engine::lease::Lease`]; [`process`] tells whether a holder still lives. [`lease_many`]: a fleet's at once.
//! * [`pgpass`]: passwords from a libpq password file.
//! * [`holds`], [`certificates`]: what keeps a tenant from being purged, and what a purge leaves behind in writing.
//! * [`waivers`]: differences that are allowed for a time. Like holds, placed by number and removed once: `placed`.
//! * [`audit`]: the hash chain and its verification.
//! * [`evidence`]: what was done to prove a promise, and what came of it.
//! * [`leaks`]: whether a secret has got in after all.
//! * `schema`: migrations.
//!
//! Rows leave the database as JSON, one object each, and are read by their types' `Deserialize`: columns and fields bear the same names.
//!
//! # Caveats
//! Nothing is connected before the first question is asked ([`Registry::open`] costs nothing). A session is the server's own: timeouts are
//! its settings and statements are prepared in it. A pooler in between is refused (`docs/decisions/0018`).

pub mod audit;
pub mod certificates;
pub mod data;
pub mod error;
pub mod evidence;
pub mod fleet;
pub mod holds;
pub mod journal;
pub mod leaks;
pub mod lease;
pub mod lease_many;
pub mod names;
pub mod operations;
pub mod outbox;
pub mod pgpass;
pub mod process;
pub mod resolve;
pub mod resources;
pub mod revisions;
pub mod rows;
pub mod tenants;
pub mod waivers;

mod abort;
mod fleet_claim;
mod operation_rows;
mod placed;
mod schema;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection, Postgres, Row as _, Transaction};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::timeout;
use uuid::Uuid;

pub use certificates::Certificate;
pub use error::{RegistryError, Result};
pub use holds::Hold;
pub use journal::OperationJournal;
pub use lease::{HeldLease, Holder, LeaseInfo};
pub use operations::{Operation, OperationDetail, OperationFilter, OperationStatus};
pub use process::Process;
pub use resources::{Resource, ResourceStatus};
pub use revisions::{NewRevision, Revision};
pub use tenants::{Facts, Tenant, TenantFilter, TenantStatus, TenantView};
pub use waivers::Waiver;

/// Connections at most: the journal's writer, the heartbeat, and two to spare.
const CONNECTIONS: u32 = 4;
/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// A setting that means nothing to the server: a session that has it was begun by the very packet labctl sent.
const MARK: &str = "labctl.session";

/// Encryption of the connection, as libpq names the modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tls {
    /// None: loopback only.
    Disable,
    /// If the server offers it.
    #[default]
    Prefer,
    /// Always, whoever the server says it is.
    Require,
    /// Always, and the server must prove its name.
    VerifyFull,
}

/// Where the registry is.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Host name, address, or the folder of a Unix socket.
    pub host: String,
    /// TCP port (or the socket's number).
    pub port: u16,
    /// Database.
    pub database: String,
    /// Login role.
    pub user: String,
    /// Its password, where one is needed.
    pub password: Option<SecretString>,
    /// Encryption.
    pub tls: Tls,
    /// Certificates to trust instead of the system's, for [`Tls::VerifyFull`].
    pub root_certificate: Option<PathBuf>,
}

/// A handle on the registry. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
    /// To whom lifecycle events go.
    receivers: Arc<[String]>,
}

struct Inner {
    pool: PgPool,
    options: PgConnectOptions,
    at: String,
    id: OnceCell<Uuid>,
    refused: Arc<Refused>,
}

/// When a server last refused to write. Sessions from before that are not used again: after a failover the name leads to another server,
/// and a session goes on with the old one.
#[derive(Default)]
struct Refused(Mutex<Option<Instant>>);

impl Refused {
    fn now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn since(&self, age: Duration) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|at| at.elapsed() < age)
    }
}

/// What `registry init` did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Initialised {
    /// The registry's identity.
    pub id: Uuid,
    /// Version before; 0 where there was none.
    pub from: i32,
    /// Version now.
    pub version: i32,
}

/// What `registry status` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// `host:port/database`.
    pub at: String,
    /// Whether there is a registry at all; if not, the rest is empty.
    pub initialised: bool,
    /// Its identity.
    pub id: Option<Uuid>,
    /// Version of its schema; 0 where there is none.
    pub version: i32,
    /// The version this labctl brings it to.
    pub latest: i32,
    /// Tenants on record, purged ones not counted.
    pub tenants: i64,
    /// Operations on record.
    pub operations: i64,
    /// Those that can be resumed.
    pub unfinished: i64,
    /// Leases held and not expired.
    pub leases: i64,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Registry({})", self.inner.at)
    }
}

impl Registry {
    /// A handle that connects when it is first asked something. Must be called within a Tokio runtime.
    pub fn open(settings: &Settings) -> Self {
        let mut options = PgConnectOptions::new_without_pgpass()
            .port(settings.port)
            .database(&settings.database)
            .username(&settings.user)
            .application_name("labctl")
            .ssl_mode(match settings.tls {
                Tls::Disable => PgSslMode::Disable,
                Tls::Prefer => PgSslMode::Prefer,
                Tls::Require => PgSslMode::Require,
                Tls::VerifyFull => PgSslMode::VerifyFull,
            })
            // A stuck neighbour must end in an error and not in silence. What a stopped process has begun is undone before its lease runs out.
            .options([("lock_timeout", "15s"), ("statement_timeout", "60s"), ("idle_in_transaction_session_timeout", "40s"), (MARK, "on")]);
        options = if settings.host.starts_with('/') { options.socket(&settings.host) } else { options.host(&settings.host) };
        if let Some(password) = &settings.password {
            options = options.password(password.expose_secret());
        }
        if let Some(path) = &settings.root_certificate {
            options = options.ssl_root_cert(path);
        }
        let refused = Arc::<Refused>::default();
        let seen = Arc::clone(&refused);
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(CONNECT)
            .idle_timeout(Duration::from_secs(300))
            .test_before_acquire(false)
            .before_acquire(move |conn, meta| {
                let outlived = seen.since(meta.age);
                Box::pin(async move {
                    if outlived {
                        return Ok(false);
                    }
                    // A connection in steady use need not prove itself at every turn; one that has rested may be dead.
                    if meta.idle_for > Duration::from_secs(1) {
                        conn.ping().await?;
                    }
                    Ok(true)
                })
            })
            .connect_lazy_with(options.clone());
        let at = format!("{}:{}/{}", settings.host, settings.port, settings.database);
        Self { inner: Arc::new(Inner { pool, options, at, id: OnceCell::new(), refused }), receivers: Arc::new([]) }
    }

    /// [`Registry::open`], and makes sure that it answers and is of our version.
    ///
    /// # Errors
    /// [`RegistryError::Unreachable`], [`RegistryError::NotInitialised`], [`RegistryError::Outdated`], [`RegistryError::TooNew`].
    pub async fn connect(settings: &Settings) -> Result<Self> {
        let registry = Self::open(settings);
        registry.id().await?;
        Ok(registry)
    }

    /// [`Registry::connect`], making or migrating the registry where that is what is missing.
    ///
    /// # Errors
    /// As [`Registry::connect`], but for the two it mends.
    pub async fn connect_or_init(settings: &Settings) -> Result<Self> {
        let registry = Self::open(settings);
        match registry.id().await {
            Err(RegistryError::NotInitialised { .. } | RegistryError::Outdated { .. }) => registry.init().await.map(drop)?,
            other => other.map(drop)?,
        }
        Ok(registry)
    }

    /// Makes the registry's schema, or brings it to this labctl's version. Twice is harmless, also at once.
    ///
    /// # Errors
    /// [`RegistryError::TooNew`], [`RegistryError::Foreign`], [`RegistryError::Unreachable`].
    pub async fn init(&self) -> Result<Initialised> {
        self.knock().await?;
        let mut tx = self.begin_unchecked().await?;
        let from = match schema::migrate(&mut tx, &self.inner.at).await {
            Ok(from) => from,
            Err(schema::Failed::Refused(e)) => return Err(e),
            Err(schema::Failed::Sql(e)) => return Err(self.sql(e)),
        };
        self.commit(tx).await?;
        Ok(Initialised { id: self.id().await?, from, version: schema::LATEST })
    }

    /// The registry's identity, used in ownership tags. The first call connects and checks the version.
    ///
    /// # Errors
    /// As [`Registry::connect`].
    pub async fn id(&self) -> Result<Uuid> {
        self.inner.id.get_or_try_init(|| self.look()).await.copied()
    }

    async fn look(&self) -> Result<Uuid> {
        self.knock().await?;
        let (id, version): (Uuid, i32) = sqlx::query_as("SELECT id, (SELECT max(version) FROM labctl.registry_migrations) FROM labctl.registry_meta")
            .fetch_one(&self.inner.pool)
            .await
            .map_err(|e| self.sql(e))?;
        let at = self.inner.at.clone();
        match version {
            v if v < schema::LATEST => Err(RegistryError::Outdated { at, version, latest: schema::LATEST }),
            v if v > schema::LATEST => Err(RegistryError::TooNew { at, version, latest: schema::LATEST }),
            _ => Ok(id),
        }
    }

    /// Asks for a first connection outside the pool's patience: the pool retries a refused connection until its time is up and then says
    /// only that it is up, while the operator wants to read "connection refused" at once. The session must be the server's own.
    async fn knock(&self) -> Result<()> {
        let Inner { pool, options, at, .. } = &*self.inner;
        let unreachable = |why: String| RegistryError::Unreachable { at: at.clone(), why };
        if pool.size() > 0 {
            return Ok(());
        }
        if options.get_socket().is_none() {
            match timeout(CONNECT, TcpStream::connect((options.get_host(), options.get_port()))).await {
                Ok(Ok(_)) => {}
                Ok(Err(e)) => return Err(unreachable(e.to_string())),
                Err(_) => return Err(unreachable(format!("no answer within {} s", CONNECT.as_secs()))),
            }
        }
        let mark = format!("SELECT coalesce(current_setting('{MARK}', true), '')");
        // Not prepared: what a pooler does to a prepared statement is another question.
        match sqlx::raw_sql(AssertSqlSafe(mark)).fetch_one(pool).await.and_then(|row| row.try_get::<String, _>(0)) {
            Ok(mark) if mark == "on" => Ok(()),
            Ok(_) => Err(RegistryError::Pooled { at: at.clone(), why: "the session's own settings do not reach the server".into() }),
            // The pool has waited for a server that starts, or is full, and does not say which.
            Err(sqlx::Error::PoolTimedOut) => match timeout(CONNECT, options.connect()).await {
                Ok(Err(e)) => Err(self.sql(e)),
                Ok(Ok(_)) | Err(_) => Err(unreachable(format!("no connection within {} s", CONNECT.as_secs()))),
            },
            Err(e) => Err(self.sql(e)),
        }
    }

    /// How it stands. Answers also where there is no registry yet, or one of another version.
    ///
    /// # Errors
    /// [`RegistryError::Unreachable`].
    pub async fn status(&self) -> Result<Status> {
        let empty = Status {
            at: self.inner.at.clone(),
            initialised: false,
            id: None,
            version: 0,
            latest: schema::LATEST,
            tenants: 0,
            operations: 0,
            unfinished: 0,
            leases: 0,
        };
        self.knock().await?;
        let row = sqlx::query_as::<_, (Uuid, i32, i64, i64, i64, i64)>(
            "SELECT id, (SELECT max(version) FROM labctl.registry_migrations),
                    (SELECT count(*) FROM labctl.tenants WHERE status <> 'purged'),
                    (SELECT count(*) FROM labctl.operations),
                    (SELECT count(*) FROM labctl.operations WHERE status NOT IN ('done', 'aborted')),
                    (SELECT count(*) FROM labctl.leases WHERE holder IS NOT NULL AND expires_at > clock_timestamp())
             FROM labctl.registry_meta",
        )
        .fetch_one(&self.inner.pool)
        .await
        .map_err(|e| self.sql(e));
        match row {
            Ok((id, version, tenants, operations, unfinished, leases)) => {
                Ok(Status { initialised: true, id: Some(id), version, tenants, operations, unfinished, leases, ..empty })
            }
            Err(RegistryError::NotInitialised { .. }) => Ok(empty),
            Err(e) => Err(e),
        }
    }

    /// The time by the database's clock, which all dates on record are of.
    ///
    /// # Errors
    /// Only those of reaching the registry.
    pub async fn now(&self) -> Result<DateTime<Utc>> {
        sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(self.pool().await?).await.map_err(|e| self.sql(e))
    }

    /// Closes all connections. Worth calling before the process ends: the server then need not find out by itself.
    pub async fn close(&self) {
        self.inner.pool.close().await;
    }

    /// That it has not answered within this time.
    pub(crate) fn silent(&self, within: std::time::Duration) -> RegistryError {
        RegistryError::Unreachable { at: self.inner.at.clone(), why: format!("no answer within {} s", within.as_secs()) }
    }

    fn sql(&self, error: sqlx::Error) -> RegistryError {
        let error = RegistryError::from_sql(&self.inner.at, &error);
        if matches!(error, RegistryError::ReadOnly { .. }) {
            self.inner.refused.now();
        }
        error
    }

    /// The pool, once it is known that a registry of our version is behind it.
    async fn pool(&self) -> Result<&PgPool> {
        self.id().await?;
        Ok(&self.inner.pool)
    }

    async fn begin(&self) -> Result<Transaction<'static, Postgres>> {
        self.id().await?;
        self.begin_unchecked().await
    }

    async fn begin_unchecked(&self) -> Result<Transaction<'static, Postgres>> {
        self.inner.pool.begin().await.map_err(|e| self.sql(e))
    }

    async fn commit(&self, tx: Transaction<'static, Postgres>) -> Result<()> {
        failpoint!("registry.before_commit");
        tx.commit().await.map_err(|e| self.sql(e))?;
        failpoint!("registry.committed");
        Ok(())
    }

    /// Begins a transaction in which the lease is known to be ours, and stays so until it ends: whoever wants to take it must wait.
    /// Such transactions of one tenant run one after the other, even where one process holds the lease twice: `ON CONFLICT (id)` alone
    /// would let the second of two creates stumble over another unique index, and blame a name.
    async fn begin_fenced(&self, lease: &HeldLease) -> Result<Transaction<'static, Postgres>> {
        let mut tx = self.begin().await?;
        let held: Option<i32> = sqlx::query_scalar("SELECT 1 FROM labctl.leases WHERE tenant = $1 AND epoch = $2 AND holder IS NOT NULL FOR NO KEY UPDATE")
            .bind(lease.tenant())
            .bind(lease.epoch())
            .fetch_optional(&mut *tx)
            .await
            .map_err(|e| self.sql(e))?;
        match held {
            Some(_) => Ok(tx),
            None => Err(RegistryError::Fenced { tenant: lease.tenant().to_owned(), epoch: lease.epoch() }),
        }
    }
}
