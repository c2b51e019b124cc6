//! The `labctl` binary.

use std::process::ExitCode;

use labctl::{cli, config};

fn main() -> ExitCode {
    cli::main(config::arguments(), config::Environment::capture())
}
