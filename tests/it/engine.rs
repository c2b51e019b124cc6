//! The loop and the protocol of one step, against a world in memory whose every fault is scripted.

#[path = "engine/chaos.rs"]
mod chaos;
#[path = "engine/clock.rs"]
mod clock;
#[path = "engine/crash.rs"]
mod crash;
#[path = "engine/faults.rs"]
mod faults;
#[path = "engine/order.rs"]
mod order;
#[path = "engine/signals.rs"]
mod signals;
#[path = "engine/stage.rs"]
pub mod stage;
#[path = "engine/world.rs"]
pub mod world;
