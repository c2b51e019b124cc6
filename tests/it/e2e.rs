//! The binary end to end, in a sandbox of its own: what an operator types, what other programs then find.

#[path = "e2e/bad_specs.rs"]
mod bad_specs;
#[path = "e2e/crash.rs"]
mod crash;
#[path = "e2e/create.rs"]
mod create;
#[path = "e2e/deletion.rs"]
mod deletion;
#[path = "e2e/drift.rs"]
mod drift;
#[path = "e2e/events.rs"]
mod events;
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
#[path = "e2e/killed.rs"]
mod killed;
#[path = "e2e/kills.rs"]
mod kills;
#[path = "e2e/lifecycle.rs"]
mod lifecycle;
#[path = "e2e/plan_files.rs"]
mod plan_files;
#[path = "../../benches/migrations/plant.rs"]
mod plant;
#[path = "e2e/readme.rs"]
mod readme;
#[path = "e2e/records.rs"]
mod records;
#[path = "e2e/rename.rs"]
mod rename;
#[path = "e2e/scale_deploy.rs"]
mod scale_deploy;
#[path = "e2e/secrets.rs"]
mod secrets;
#[path = "e2e/suspend.rs"]
mod suspend;
#[path = "e2e/sweep.rs"]
mod sweep;
#[path = "e2e/verify.rs"]
mod verify;
#[path = "e2e/watch.rs"]
mod watch;
