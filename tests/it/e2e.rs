//! The binary end to end, in a sandbox of its own: what an operator types, what other programs then find.

#[path = "e2e/auditor.rs"]
mod auditor;
#[path = "e2e/bad_specs.rs"]
mod bad_specs;
#[path = "e2e/call_faults.rs"]
mod call_faults;
#[path = "e2e/clinicx.rs"]
mod clinicx;
#[path = "e2e/clock.rs"]
mod clock;
#[path = "e2e/crash.rs"]
mod crash;
#[path = "e2e/create.rs"]
mod create;
#[path = "e2e/crowd.rs"]
mod crowd;
#[path = "e2e/deletion.rs"]
mod deletion;
#[path = "e2e/dice.rs"]
mod dice;
#[path = "e2e/doctor.rs"]
mod doctor;
#[path = "e2e/drift.rs"]
mod drift;
#[path = "e2e/events.rs"]
mod events;
#[path = "e2e/failure.rs"]
mod failure;
#[path = "e2e/fixture.rs"]
pub mod fixture;
#[path = "e2e/fleet.rs"]
mod fleet;
#[path = "e2e/fleet_faults.rs"]
mod fleet_faults;
#[path = "e2e/fleets.rs"]
mod fleets;
#[path = "e2e/formats.rs"]
mod formats;
#[path = "e2e/health.rs"]
mod health;
#[path = "e2e/inventory.rs"]
mod inventory;
#[path = "e2e/isolation.rs"]
pub mod isolation;
#[path = "e2e/killed.rs"]
mod killed;
#[path = "e2e/kills.rs"]
mod kills;
#[path = "e2e/lifecycle.rs"]
mod lifecycle;
#[path = "e2e/matrix.rs"]
mod matrix;
#[path = "e2e/operators.rs"]
mod operators;
#[path = "e2e/plan_files.rs"]
mod plan_files;
#[path = "../../benches/migrations/plant.rs"]
mod plant;
#[path = "e2e/pooler.rs"]
mod pooler;
#[path = "e2e/readme.rs"]
mod readme;
#[path = "e2e/records.rs"]
mod records;
#[path = "e2e/registry_lost.rs"]
mod registry_lost;
#[path = "e2e/rename.rs"]
mod rename;
#[path = "e2e/rows.rs"]
mod rows;
#[path = "e2e/scale_deploy.rs"]
mod scale_deploy;
#[path = "e2e/second_line.rs"]
mod second_line;
#[path = "e2e/secrets.rs"]
mod secrets;
#[path = "e2e/surroundings.rs"]
mod surroundings;
#[path = "e2e/suspend.rs"]
mod suspend;
#[path = "e2e/sweep.rs"]
mod sweep;
#[path = "e2e/verify.rs"]
mod verify;
#[path = "e2e/watch.rs"]
mod watch;
