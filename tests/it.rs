//! The integration tests: one binary, because linking the AWS SDK once is enough; one module per file in `tests/it/`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "it/audit.rs"]
mod audit;
#[path = "it/cli.rs"]
mod cli;
#[path = "it/contract.rs"]
mod contract;
#[path = "it/e2e.rs"]
mod e2e;
#[path = "it/engine.rs"]
mod engine;
#[path = "it/errata.rs"]
mod errata;
#[path = "it/faults.rs"]
mod faults;
#[path = "it/hostile.rs"]
mod hostile;
#[path = "it/house.rs"]
mod house;
#[path = "it/kinds_compute_database.rs"]
mod kinds_compute_database;
#[path = "it/kinds_identity_storage.rs"]
mod kinds_identity_storage;
#[path = "it/kinds_identity_storage_faults.rs"]
mod kinds_identity_storage_faults;
#[path = "it/plan.rs"]
mod plan;
#[path = "it/registry.rs"]
mod registry;
#[path = "it/sandbox.rs"]
mod sandbox;
#[path = "it/tenant_databases.rs"]
mod tenant_databases;
#[path = "it/verify.rs"]
mod verify;
#[path = "it/world.rs"]
mod world;
