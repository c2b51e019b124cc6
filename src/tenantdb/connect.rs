//! Connections: a few per server, database and role, kept for the next one who asks; renewed before they grow large.
//!
//! A connection goes back into the cache only when its last statement ended well and no transaction is open. Anything else (a fault, a
//! future dropped half-way) closes it, which makes the server roll back.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::TryStreamExt as _;
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgArguments, PgConnectOptions, PgDatabaseError, PgErrorPosition, PgRow, PgSslMode};
use sqlx::query::QueryAs;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection as _, Either, FromRow, PgConnection, Postgres, Row as _, ValueRef as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::fault::{MARK, connecting, fault};
use super::tunnel::{self, Tunnels};
use crate::engine::fault::Fault;

/// Connections at once per server, database and role: where schema creation stops getting faster (measured; it falls at 16).
const AT_ONCE: usize = 8;
/// A backend that has touched this many schemas has grown by tens of megabytes (85 KB each, measured): it is renewed.
const USES: u32 = 500;
/// How long an unused connection is kept.
const KEPT: Duration = Duration::from_secs(60);
/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long to wait for one of the [`AT_ONCE`] to be free.
const QUEUE: Duration = Duration::from_secs(60);

/// What every session of ours runs under, from the packet it begins with: `RESET ALL` brings it back. Only `pg_catalog` is searched, so that nobody's
/// function of the same name is ever called. Times in milliseconds.
const SESSION: [(&str, &str); 7] = [
    (MARK, "on"),
    ("search_path", "pg_catalog"),
    ("client_min_messages", "warning"),
    ("statement_timeout", "60000"),
    ("lock_timeout", "5000"),
    ("idle_in_transaction_session_timeout", "40000"),
    ("TimeZone", "UTC"),
];

/// What a session that may only look runs under besides: the server itself refuses whatever would write.
const READ_ONLY: (&str, &str) = ("default_transaction_read_only", "on");

/// How far a server's certificate is trusted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tls {
    /// Certificate and name. Through a tunnel, where the name cannot match, the certificate's authority alone.
    #[default]
    VerifyFull,
    /// The certificate's authority, whatever the name.
    VerifyCa,
    /// Encrypted, whoever the server says it is.
    Require,
    /// Encrypted if the server can: for a loopback sandbox only.
    Prefer,
    /// Never encrypted: for a loopback sandbox only.
    Off,
}

/// How a profile reaches its databases.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Endpoints that are reached elsewhere.
    pub tunnels: Tunnels,
    /// Trust in certificates.
    pub tls: Tls,
    /// File (PEM) with certificate authorities to trust beside the system's: for RDS, the region's bundle.
    pub root_cert: Option<PathBuf>,
}

/// Who logs in where.
#[derive(Debug, Clone)]
pub struct Login {
    /// `name:port`, before any tunnel.
    pub endpoint: String,
    /// Database.
    pub database: String,
    /// Role.
    pub username: String,
    /// Its password.
    pub password: SecretString,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    endpoint: String,
    database: String,
    username: String,
}

struct Idle {
    link: PgConnection,
    since: Instant,
    uses: u32,
    prepared: Vec<&'static str>,
}

struct Lane {
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Idle>>,
}

/// The databases of one profile.
pub struct Databases {
    settings: Settings,
    read_only: bool,
    lanes: Mutex<HashMap<Key, Arc<Lane>>>,
}

impl Databases {
    /// Prepares. Connects to nothing yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings, read_only: false, lanes: Mutex::default() }
    }

    /// The same databases, in which nothing can be written.
    #[must_use]
    pub fn read_only(&self) -> Self {
        Self { read_only: true, ..Self::new(self.settings.clone()) }
    }

    /// How its databases are reached.
    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// A connection: one that is free, or a new one.
    ///
    /// # Errors
    /// Busy when the server cannot be reached or is full; refused when it does not take the login or its certificate is not trusted.
    /// Nothing was made in any case.
    pub async fn connect(&self, login: &Login) -> Result<Connection, Fault> {
        let key = Key { endpoint: login.endpoint.to_ascii_lowercase(), database: login.database.clone(), username: login.username.clone() };
        let lane = self.lane(key);
        let permit = tokio::time::timeout(QUEUE, lane.permits.clone().acquire_owned())
            .await
            .ok()
            .and_then(Result::ok)
            .ok_or_else(|| Fault::busy("postgres:connect", "queue", format!("all {AT_ONCE} connections to {} are in use", login.endpoint)))?;
        let mut kept = lane.take();
        while let Some(mut idle) = kept {
            // A quick question finds out a connection that a failover or a firewall has cut, before a statement's outcome hangs on it.
            if idle.since.elapsed() < Duration::from_secs(1) || matches!(tokio::time::timeout(CONNECT, idle.link.ping()).await, Ok(Ok(()))) {
                return Ok(Connection {
                    link: Some(idle.link),
                    uses: idle.uses + 1,
                    prepared: idle.prepared,
                    sound: true,
                    open: false,
                    user: login.username.clone(),
                    lane,
                    _permit: permit,
                });
            }
            kept = lane.take();
        }
        let link = self.dial_in_time(login).await?;
        Ok(Connection { link: Some(link), uses: 1, prepared: Vec::new(), sound: true, open: false, user: login.username.clone(), lane, _permit: permit })
    }

    /// A connection that was made for this login and is not kept: so it is known that the password is right today, and whatever becomes of
    /// the session is nobody else's.
    ///
    /// # Errors
    /// As [`Databases::connect`].
    pub async fn connect_alone(&self, login: &Login) -> Result<Connection, Fault> {
        let key = Key { endpoint: login.endpoint.to_ascii_lowercase(), database: login.database.clone(), username: login.username.clone() };
        let lane = self.lane(key);
        let closed = |_| Fault::busy("postgres:connect", "queue", format!("no connection to {} is free", login.endpoint));
        let permit = lane.permits.clone().acquire_owned().await.map_err(closed)?;
        let link = self.dial_in_time(login).await?;
        Ok(Connection { link: Some(link), uses: USES, prepared: Vec::new(), sound: true, open: false, user: login.username.clone(), lane, _permit: permit })
    }

    /// Closes the unused connections to a database: PostgreSQL drops none that somebody is connected to.
    pub fn forget(&self, endpoint: &str, database: &str) {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.retain(|key, _| !(key.endpoint.eq_ignore_ascii_case(endpoint) && key.database == database));
    }

    fn lane(&self, key: Key) -> Arc<Lane> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.entry(key).or_insert_with(|| Arc::new(Lane { permits: Arc::new(Semaphore::new(AT_ONCE)), idle: Mutex::default() })).clone()
    }

    async fn dial_in_time(&self, login: &Login) -> Result<PgConnection, Fault> {
        let late = |_| Fault::busy("postgres:connect", "unreachable", format!("{} did not answer within {} s", login.endpoint, CONNECT.as_secs()));
        tokio::time::timeout(CONNECT, self.dial(login)).await.map_err(late)?
    }

    async fn dial(&self, login: &Login) -> Result<PgConnection, Fault> {
        let through = self.settings.tunnels.through(&login.endpoint);
        let address = through.unwrap_or(&login.endpoint);
        let (host, port) = tunnel::split(address)
            .ok_or_else(|| Fault::refused("postgres:connect", "invalid_endpoint", format!("`{address}` is not an endpoint; an endpoint is host:port")))?;
        let mode = match self.settings.tls {
            // sqlx has one host for both connecting and checking the name, so through a tunnel the name cannot be checked.
            Tls::VerifyFull if through.is_none() => PgSslMode::VerifyFull,
            Tls::VerifyFull | Tls::VerifyCa => PgSslMode::VerifyCa,
            Tls::Require => PgSslMode::Require,
            Tls::Prefer => PgSslMode::Prefer,
            Tls::Off => PgSslMode::Disable,
        };
        let mut options = PgConnectOptions::new_without_pgpass()
            .host(host)
            .port(port)
            .database(&login.database)
            .username(&login.username)
            .password(login.password.expose_secret())
            .application_name("labctl")
            .options(SESSION.into_iter().chain(self.read_only.then_some(READ_ONLY)))
            .ssl_mode(mode)
            // Statements hold SCRAM verifiers: they stay out of the log.
            .disable_statement_logging();
        if let Some(file) = &self.settings.root_cert {
            options = options.ssl_root_cert(file);
        }
        let mut link = options.connect().await.map_err(|e| connecting("postgres:connect", e))?;
        // Where the mark is missing that is an error: the session is not ours.
        sqlx::raw_sql(AssertSqlSafe(format!("SELECT current_setting('{MARK}')"))).execute(&mut link).await.map_err(|e| connecting("postgres:SET", e))?;
        Ok(link)
    }
}

impl Lane {
    fn take(&self) -> Option<Idle> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|i| i.since.elapsed() < KEPT);
        idle.pop()
    }
}

/// What one statement answered with, every value as text.
pub type Rows = Vec<Vec<Option<String>>>;

fn texts(row: &PgRow) -> Result<Vec<Option<String>>, sqlx::Error> {
    let text = |n: usize| {
        let value = row.try_get_raw(n)?;
        if value.is_null() { Ok(None) } else { value.as_str().map(|t| Some(t.to_owned())).map_err(sqlx::Error::Decode) }
    };
    (0..row.len()).map(text).collect()
}

/// A fault of a script, and how far it had come.
pub(super) struct Told {
    pub(super) fault: Fault,
    /// How often the mark had been answered.
    pub(super) marks: usize,
    /// The character of the script that the server complains of, from 1.
    pub(super) at: Option<usize>,
}

fn place(error: &sqlx::Error) -> Option<usize> {
    match error.as_database_error()?.try_downcast_ref::<PgDatabaseError>()?.position()? {
        PgErrorPosition::Original(at) => Some(at),
        PgErrorPosition::Internal { .. } => None,
    }
}

/// One connection, for as long as it is held.
pub struct Connection {
    link: Option<PgConnection>,
    uses: u32,
    prepared: Vec<&'static str>,
    sound: bool,
    open: bool,
    user: String,
    lane: Arc<Lane>,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    /// Runs statements that answer with nothing. `sql` must be put together from fixed text and what [`quote`](super::quote) made.
    ///
    /// # Errors
    /// As [`fault`](super::fault::fault) classifies them.
    pub async fn execute(&mut self, call: &str, sql: String) -> Result<(), Fault> {
        let link = self.link(call)?;
        failpoint!("sql.before_statement", call);
        let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(link).await;
        failpoint!("sql.done", call);
        self.ended(call, done.map(drop))
    }

    /// Who is logged in.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The server's version, as `server_version_num` has it.
    pub fn version(&self) -> u32 {
        self.link.as_ref().and_then(PgConnection::server_version_num).unwrap_or(0)
    }

    /// Asks for rows with a text of the same making as [`Connection::execute`]'s, for tables whose name is not fixed.
    ///
    /// # Errors
    /// As [`fault`](super::fault::fault) classifies them.
    pub async fn select<O>(&mut self, call: &str, sql: String) -> Result<Vec<O>, Fault>
    where
        O: Send + Unpin + for<'r> FromRow<'r, PgRow>,
    {
        self.all(call, sqlx::query_as(AssertSqlSafe(sql))).await
    }

    /// Asks for rows.
    ///
    /// # Errors
    /// As [`fault`](super::fault::fault) classifies them.
    pub async fn all<'q, O>(&mut self, call: &str, query: QueryAs<'q, Postgres, O, PgArguments>) -> Result<Vec<O>, Fault>
    where
        O: Send + Unpin + for<'r> FromRow<'r, PgRow>,
    {
        let link = self.link(call)?;
        let rows = query.fetch_all(link).await;
        self.ended(call, rows)
    }

    /// Asks for one row, or none.
    ///
    /// # Errors
    /// As [`fault`](super::fault::fault) classifies them.
    pub async fn optional<'q, O>(&mut self, call: &str, query: QueryAs<'q, Postgres, O, PgArguments>) -> Result<Option<O>, Fault>
    where
        O: Send + Unpin + for<'r> FromRow<'r, PgRow>,
    {
        let link = self.link(call)?;
        let row = query.fetch_optional(link).await;
        self.ended(call, row)
    }

    /// Runs several statements in one round trip, and answers with each statement's rows, every value as text. `sql` is of the same making
    /// as [`Connection::execute`]'s.
    ///
    /// # Errors
    /// As [`fault`](super::fault::fault) classifies them; what came before the failed statement of an open transaction is undone with it.
    pub async fn script(&mut self, call: &str, sql: String) -> Result<Vec<Rows>, Fault> {
        let (mut all, mut rows) = (Vec::new(), Vec::new());
        let read = |row: Option<&PgRow>| {
            match row {
                Some(row) => rows.push(texts(row)?),
                None => all.push(std::mem::take(&mut rows)),
            }
            Ok(())
        };
        let done = self.answers(call, sql, read).await;
        self.ended(call, done)?;
        Ok(all)
    }

    /// Runs statements whose answers are of no interest, but for how often one of them was `mark`, or NULL: also when a later one fails. Of an error that
    /// the server sees in the text itself, its place comes with it.
    pub(super) async fn counting(&mut self, call: &str, sql: String, mark: Option<&str>) -> Result<(), Told> {
        let mut marks = 0;
        let read = |row: Option<&PgRow>| {
            let Some(row) = row.filter(|row| row.len() == 1) else { return Ok(()) };
            marks += usize::from(texts(row)?.first().is_some_and(|value| value.as_deref() == mark));
            Ok(())
        };
        let done = self.answers(call, sql, read).await;
        let at = done.as_ref().err().and_then(place);
        self.ended(call, done).map_err(|fault| Told { fault, marks, at })
    }

    /// Runs several statements; each row is told, and `None` at the end of each statement.
    async fn answers(&mut self, call: &str, sql: String, mut each: impl FnMut(Option<&PgRow>) -> Result<(), sqlx::Error>) -> Result<(), sqlx::Error> {
        let Ok(link) = self.link(call) else { return Err(sqlx::Error::PoolClosed) };
        let read = async {
            let mut answers = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_many(link);
            while let Some(answer) = answers.try_next().await? {
                match answer {
                    Either::Left(_) => each(None)?,
                    Either::Right(row) => each(Some(&row))?,
                }
            }
            Ok(())
        };
        failpoint!("sql.before_statement", call);
        let done = read.await;
        failpoint!("sql.done", call);
        done
    }

    /// Prepares a statement (`(name, …) AS SELECT …`) under a name, once per connection, so that a [`Connection::script`] may `EXECUTE` it: the
    /// server plans it once, and it costs no round trip of its own.
    ///
    /// # Errors
    /// As [`fault`](super::fault::fault) classifies them.
    pub(super) async fn prepare(&mut self, name: &'static str, statement: &str) -> Result<(), Fault> {
        if !self.prepared.contains(&name) {
            self.execute("postgres:PREPARE", format!("PREPARE {name} {statement}")).await?;
            self.prepared.push(name);
        }
        Ok(())
    }

    /// The names of what was prepared so.
    pub(super) fn prepared(&self) -> &[&'static str] {
        &self.prepared
    }

    /// Undoes an open transaction, also a failed one: the connection is then as good as before.
    ///
    /// # Errors
    /// As [`fault`](super::fault::fault) classifies them.
    pub(super) async fn rollback(&mut self) -> Result<(), Fault> {
        self.execute("postgres:ROLLBACK", "ROLLBACK".to_owned()).await?;
        self.open = false;
        Ok(())
    }

    /// Undoes an open transaction, and makes the session as a new one's: nothing is left of it that anybody has set, prepared or locked.
    ///
    /// # Errors
    /// As [`fault`](super::fault::fault) classifies them.
    pub(super) async fn cleanse(&mut self) -> Result<(), Fault> {
        const CALL: &str = "postgres:DISCARD ALL";
        self.rollback().await?;
        let closed = self.link(CALL)?.clear_cached_statements().await;
        self.ended(CALL, closed)?;
        self.execute(CALL, "DISCARD ALL".to_owned()).await?;
        self.prepared.clear();
        Ok(())
    }

    /// Says that a transaction was opened or ended by a [`Connection::script`].
    pub(super) fn in_transaction(&mut self, open: bool) {
        self.open = open;
    }

    /// Counts as so many more uses: the session keeps something of what it has run.
    pub(super) fn wear(&mut self, uses: u32) {
        self.uses = self.uses.saturating_add(uses);
    }

    /// Closes it rather than keep it: its session is no longer as a new one's would be.
    pub(super) fn retire(&mut self) {
        self.uses = USES;
    }

    /// Closes it at once.
    pub(super) fn close(&mut self) {
        self.link = None;
    }

    /// Whether it is closed.
    pub(super) fn is_closed(&self) -> bool {
        self.link.is_none()
    }

    /// Opens a transaction. It ends with [`Connection::commit`]; dropping the connection before that rolls back.
    ///
    /// # Errors
    /// As [`fault`](super::fault::fault) classifies them.
    pub async fn begin(&mut self) -> Result<(), Fault> {
        self.execute("postgres:BEGIN", "BEGIN".to_owned()).await?;
        self.open = true;
        Ok(())
    }

    /// Commits.
    ///
    /// # Errors
    /// As [`fault`](super::fault::fault) classifies them; unknown when the connection broke before the answer.
    pub async fn commit(&mut self, call: &str) -> Result<(), Fault> {
        self.execute(call, "COMMIT".to_owned()).await?;
        self.open = false;
        Ok(())
    }

    /// Unsound from the moment a statement starts until it has ended well: a future dropped in between must not leave a connection
    /// with half an answer in the cache.
    pub(super) fn link(&mut self, call: &str) -> Result<&mut PgConnection, Fault> {
        self.sound = false;
        self.link.as_mut().ok_or_else(|| Fault::refused(call, "closed", "the connection is closed"))
    }

    pub(super) fn ended<T>(&mut self, call: &str, result: Result<T, sqlx::Error>) -> Result<T, Fault> {
        self.sound = result.is_ok();
        result.map_err(|e| fault(call, e))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(link) = self.link.take()
            && self.sound
            && !self.open
            && self.uses < USES
        {
            let mut idle = self.lane.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.push(Idle { link, since: Instant::now(), uses: self.uses, prepared: std::mem::take(&mut self.prepared) });
        }
    }
}
