//! `labctl tenant`: one tenant's life.

mod apply;
mod certificate;
mod create;
mod credentials;
mod delete;
mod deploy;
mod drift;
mod evidence;
mod history;
mod hold;
mod list;
mod migrate;
mod outcome;
mod plan;
mod plan_file;
mod psql;
mod purge;
mod rename;
mod resume;
mod scale;
mod show;
mod sketch;
mod suspend;
mod undelete;
mod verify;
mod waiver;
mod wish;

use super::{Cli, CliError};

/// Create, change, suspend, delete and show tenants: every verb of their lives
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Create(create::Args),
    Plan(plan::Args),
    Apply(apply::Args),
    Scale(scale::Args),
    Deploy(deploy::Args),
    Suspend(suspend::Args),
    Resume(resume::Args),
    Drift(drift::Args),
    Waiver(waiver::Args),
    Rename(rename::Args),
    Migrate(migrate::Args),
    Show(show::Args),
    List(list::Args),
    Psql(psql::Args),
    Credentials(credentials::Args),
    Delete(delete::Args),
    Undelete(undelete::Args),
    Hold(hold::Args),
    Purge(purge::Args),
    Certificate(certificate::Args),
    History(history::Args),
    Verify(verify::Args),
    Evidence(evidence::Args),
}

/// Runs one of them.
///
/// # Errors
/// The command's.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    match args.command {
        Command::Create(args) => create::run(args, cli).await,
        Command::Plan(args) => plan::run(args, cli).await,
        Command::Apply(args) => apply::run(args, cli).await,
        Command::Scale(args) => scale::run(args, cli).await,
        Command::Deploy(args) => deploy::run(args, cli).await,
        Command::Suspend(args) => suspend::run(args, cli).await,
        Command::Resume(args) => resume::run(args, cli).await,
        Command::Drift(args) => drift::run(args, cli).await,
        Command::Waiver(args) => waiver::run(args, cli).await,
        Command::Rename(args) => rename::run(args, cli).await,
        Command::Migrate(args) => migrate::run(args, cli).await,
        Command::Show(args) => show::run(args, cli).await,
        Command::List(args) => list::run(args, cli).await,
        Command::Psql(args) => psql::run(args, cli).await,
        Command::Credentials(args) => credentials::run(args, cli).await,
        Command::Delete(args) => delete::run(args, cli).await,
        Command::Undelete(args) => undelete::run(args, cli).await,
        Command::Hold(args) => hold::run(args, cli).await,
        Command::Purge(args) => purge::run(args, cli).await,
        Command::Certificate(args) => certificate::run(args, cli).await,
        Command::History(args) => history::run(args, cli).await,
        Command::Verify(args) => verify::run(args, cli).await,
        Command::Evidence(args) => evidence::run(args, cli).await,
    }
}

pub(super) use outcome::{Choices, carry_out};
