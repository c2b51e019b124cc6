//! The binary end to end, in a sandbox of its own: what an operator types, what other programs then find.

#[path = "e2e/bad_specs.rs"]
mod bad_specs;
#[path = "e2e/crash.rs"]
mod crash;
#[path = "e2e/create.rs"]
mod create;
#[path = "e2e/failure.rs"]
mod failure;
#[path = "e2e/fixture.rs"]
mod fixture;
#[path = "e2e/fleet.rs"]
mod fleet;
#[path = "e2e/formats.rs"]
mod formats;
#[path = "e2e/inventory.rs"]
mod inventory;
#[path = "e2e/isolation.rs"]
mod isolation;
#[path = "../../benches/migrations/plant.rs"]
mod plant;
#[path = "e2e/readme.rs"]
mod readme;
#[path = "e2e/secrets.rs"]
mod secrets;
#[path = "e2e/sweep.rs"]
mod sweep;
