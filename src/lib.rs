//! labctl: a control plane for multi-tenant SaaS on AWS. This is the map of the house, in the order of dependence: each module uses only
//! those before it, and not all of these (the table is in `docs/architecture.md`, and `tests/it/house.rs` holds the code to it).
//!
//! * [`spec`]: what an operator wants for one tenant. TOML or flags to [`spec::TenantSpec`], every mistake found at once and pointed at.
//!   Pure.
//! * [`config`]: where commands act. Flag, environment, `labctl.toml` and defaults, merged once into plain values. The only reader of
//!   the environment.
//! * [`engine`]: carries a plan out, durably: intents written ahead, faults classified, waiting by observing, signals. Holds the
//!   contract of a kind ([`engine::kind`]). Knows nothing of AWS or PostgreSQL.
//! * [`stack`]: what tiers mean. `templates/`, a spec and a platform make the resources of one tenant, and all their names. Pure.
//! * [`plan`]: desired against observed: what is to be done at each address, and why. Pure; the list of kinds is an argument.
//! * [`cloud`]: AWS clients, one classification of their faults, ownership tags, the count of calls.
//! * [`tenantdb`]: SQL on tenants' databases: connections, tunnels, roles, grants, schemas, migrations.
//! * [`kinds`]: one file per kind of resource, and [`kinds::KINDS`], the one list of them.
//! * [`registry`]: the database that remembers tenants, revisions, resources, operations, leases and the audit trail. Implements the
//!   engine's journal and lease.
//! * [`sandbox`]: the embedded default place: a real PostgreSQL, an AWS emulator, and what mends the latter.
//! * [`ops`]: the verbs, without a terminal, each told in the order in which it happens.
//! * [`cli`]: the terminal: arguments, words, colours, progress, exit codes. The only room that prints.
//!
//! Everywhere: [`failpoint`], marks at which tests end the process; nothing in a release.
//!
//! `labctl tenant create tenants/city-lab.toml` goes from `cli/tenant/create.rs` to `ops/apply.rs`, `plan/`, `engine/` and
//! `kinds/`, and never back.

#[macro_use]
pub mod failpoint;

pub mod cli;
pub mod cloud;
pub mod config;
pub mod engine;
pub mod kinds;
pub mod ops;
pub mod plan;
pub mod registry;
pub mod sandbox;
pub mod spec;
pub mod stack;
pub mod tenantdb;
