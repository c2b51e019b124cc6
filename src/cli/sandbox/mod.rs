//! `labctl sandbox`: the embedded world on loopback.

mod env;
mod reset;
mod start;
mod status;
mod stop;

use super::{Cli, CliError};

/// Run the embedded sandbox: a real PostgreSQL and an AWS emulator on loopback
///
/// Commands start it by themselves when it is the profile in force. It stays in the background until it is stopped.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Start(start::Args),
    Stop(stop::Args),
    Status(status::Args),
    Reset(reset::Args),
    Env(env::Args),
}

/// Runs one of them.
///
/// # Errors
/// The command's.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    match args.command {
        Command::Start(args) => start::run(args, cli).await,
        Command::Stop(args) => stop::run(args, cli).await,
        Command::Status(args) => status::run(args, cli).await,
        Command::Reset(args) => reset::run(args, cli).await,
        Command::Env(args) => env::run(args, cli).await,
    }
}
