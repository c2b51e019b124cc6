//! `labctl events deliver`

use crate::cli::help::examples;
use crate::cli::output::{Sheet, View};
use crate::cli::{Cli, CliError};
use crate::ops::deliver::{self, Delivered};

/// Deliver the lifecycle events that are due
///
/// Every operation delivers its own events, in two seconds at most; this is for those a receiver did not take then. Run it every few
/// minutes where events matter.
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("What is due", "labctl events deliver"),
    ("Everything, once a receiver is mended", "labctl events deliver --all"),
]))]
pub struct Args {
    /// Also what is not due yet, and what was given up
    #[arg(long)]
    all: bool,
}

impl View for Delivered {
    fn view(&self) -> Sheet {
        Sheet::new().field("delivered", self.delivered).field("failed", self.failed).field("dead", self.dead)
    }
}

/// Runs it.
///
/// # Errors
/// 1 when a receiver did not take an event.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    let site = cli.site().await?;
    if deliver::receivers(&site.events).is_empty() {
        cli.say.warning(format!("the profile `{}` names no receivers of events", site.profile));
    }
    let done = deliver::deliver(&site, args.all).await?;
    cli.out.object(&done)?;
    if done.faults.is_empty() {
        return Ok(());
    }
    let told = CliError::failed("undelivered", format!("{} events could not be delivered", done.failed + done.dead));
    let told = done.faults.iter().fold(told, |told, (receiver, fault)| told.cause(format!("{receiver}: {fault}")));
    Err(told.hint("`labctl events list --pending` lists what will be tried again, `labctl events list --dead` what was given up"))
}
