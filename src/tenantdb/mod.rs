//! SQL on tenant databases: connections, quoting, faults, roles, databases, schemas, grants, migrations.
//!
//! Knows PostgreSQL and nothing of AWS, plans or kinds. Everything here works for an administrator like RDS's master user
//! (`NOSUPERUSER CREATEDB CREATEROLE`), on PostgreSQL 15 and later.
//!
//! * [`Databases`]: cached connections by [`Login`], through the profile's [`Tunnels`].
//! * [`quote`]: identifiers and literals; the only way a name gets into a statement.
//! * [`fault`]: `sqlx::Error` → [`Fault`](crate::engine::fault::Fault), decided there and nowhere else.
//! * [`comment`]: ownership, as one line of JSON in an object's comment.
//! * [`roles`], [`databases`], [`schemas`], [`grants`]: what a tenant has on a server, and who may do what with it.
//! * [`adoption`]: a schema that was there before labctl is taken over.
//! * [`connect_group`]: the role by whose membership logins connect to a database that tenants share.
//! * [`libpq`]: how PostgreSQL's own programs reach a database as labctl does.
//! * [`census`]: everything on a server, with what its comment says of its owner.
//! * [`row_security`]: row security as a second line in a schema of a tenant's own.
//! * [`rls`]: row security for tables that tenants share; [`system`]: those tables, once per database, and who is admitted to them.
//! * [`slow`]: statements that take long, where pg_stat_statements is there.
//! * [`targets`] and [`Outcome`]: what a neighbour has by name, and statements that ought to be refused.
//! * [`migrations`]: numbered SQL files, and the ledger of those applied.
//! * [`transport`]: whether a server refuses logins without TLS.
//! * [`watch`]: what servers and databases report of themselves.
//!
//! # Who owns what
//! The *owner* role (never logs in) owns the schema, and the database where a tenant has one. The *migration* role may create in the
//! schema and owns the tables it makes: whoever steals its password can change tables, but cannot open the schema to another tenant,
//! because only the schema's owner grants `USAGE`. The *application* role reads and writes rows, the *read-only* role reads them.
//! `PUBLIC` has nothing. The administrator is a member of these roles only for the length of a transaction (`membership`): thousands of
//! standing memberships cost it a fifth of a second at every change (measured with 6,000 on PostgreSQL 15).

mod attempts;
mod connect;
mod membership;
mod tokens;
mod tunnel;

pub mod adoption;
pub mod census;
pub mod comment;
pub mod connect_group;
pub mod databases;
pub mod fault;
pub mod grants;
pub mod libpq;
pub mod migrations;
pub mod quote;
pub mod rls;
pub mod roles;
pub mod row_security;
pub mod schemas;
pub mod slow;
pub mod system;
pub mod targets;
pub mod transport;
pub mod watch;

use serde::{Deserialize, Serialize};

pub use attempts::Outcome;
pub use connect::{Connection, Databases, Login, Settings, Tls};
pub use tunnel::{BadTunnel, Tunnels};

/// The database every server has; roles and databases are made from there.
pub const MAINTENANCE: &str = "postgres";

/// A database server, as specs name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// `name:port`, before any tunnel.
    pub endpoint: String,
    /// ARN of the secret with the administrator's `{"username": …, "password": …}`.
    pub admin_secret_arn: String,
}
