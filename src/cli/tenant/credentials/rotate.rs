//! `labctl tenant credentials rotate`

use std::time::Duration;

use super::PartName;
use crate::cli::causes::incomplete;
use crate::cli::help::examples;
use crate::cli::interrupts::interrupted;
use crate::cli::tenant::outcome::agree;
use crate::cli::{Cli, CliError, signals};
use crate::engine::run::Stop;
use crate::ops::change::prepare;
use crate::ops::credentials;
use crate::ops::rotate::{Part, Rotate};
use crate::plan::rotation::Phase;

/// Rotate a tenant's database credentials without downtime
///
/// Each part has two logins that take turns. First the other login is made, with a new password; then the secret names it, and services
/// that read the secret are started anew; then, after the grace period, the login so far is closed. At no moment does the secret name a
/// login that cannot log in. Sessions that are open go on. Each of the three is an operation of its own: cut off anywhere, the same
/// command goes on, and begins no other rotation.
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("The application's", "labctl tenant credentials rotate city-lab"),
    ("All, with ten minutes for applications that keep what they read", "labctl tenant credentials rotate city-lab --role all --grace 600"),
]))]
pub struct Args {
    /// The tenant's id
    id: String,

    /// Whose: app, read-only, migrate or all
    #[arg(long, value_name = "ROLE", default_value = "app", hide_possible_values = true)]
    role: Which,

    /// Seconds from the switch to the close of the old login
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    grace: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    One(PartName),
    All,
}

impl clap::ValueEnum for Which {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::One(PartName::App), Self::One(PartName::ReadOnly), Self::One(PartName::Migrate), Self::All]
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        match self {
            Self::One(part) => part.to_possible_value(),
            Self::All => Some(clap::builder::PossibleValue::new("all").help("All three")),
        }
    }
}

/// Runs it.
///
/// # Errors
/// 3 when it stopped part-way, 130 when it was interrupted; the same command goes on.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    let parts = match args.role {
        Which::One(part) => vec![part.part()],
        Which::All => Part::ALL.to_vec(),
    };
    let site = cli.site().await?;
    let stop = signals::listen(cli);
    let mut rotate = Rotate { tenant: args.id.clone(), parts, begin: false };
    rotate.begin = !rotate.is_under_way(&site).await?;
    if !rotate.begin {
        cli.say.status(format!("Going on with the rotation of tenant {} that was begun before", args.id));
    }
    loop {
        let prepared = prepare(&site, &rotate, cli.command_line()).await?;
        let agreed = match *stop.borrow() {
            Stop::No => agree(cli, &prepared),
            _ => Err(interrupted().hint("the same command goes on")),
        };
        if let Err(refused) = agreed {
            prepared.abandon().await;
            return Err(refused);
        }
        let (life, before) = (prepared.state().life.clone(), prepared.continues().is_some());
        cli.say.status(match rotate.phase(&life) {
            _ if before => format!("Tenant {}: what was begun before is finished first", args.id),
            Some(Phase::Made) => format!("Tenant {}: making the other login", args.id),
            Some(Phase::Switched) => format!("Tenant {}: putting it in force, and starting what reads the secret anew", args.id),
            _ => format!("Tenant {}: closing the login so far", args.id),
        });
        let progress = cli.progress();
        let report = prepared.carry_out(&progress, stop.clone()).await;
        drop(progress);
        if let Some(error) = incomplete(&report?) {
            return Err(error.hint("the same command goes on, too"));
        }
        failpoint!("rotate.phase_done", args.id);
        // Something else's leftovers are no rotation; one that was begun is not begun again.
        rotate.begin = rotate.begin && before;
        if !rotate.begin && !rotate.under_way(&life) {
            break;
        }
        if rotate.next_phase(&life) == Some(Phase::Closed) {
            wait(cli, args.grace, stop.clone()).await?;
        }
    }
    cli.say.status(format!("Tenant {}: rotated", args.id));
    cli.out.list(&credentials::list(&site, &args.id).await?)
}

/// Lets the grace period pass.
async fn wait(cli: &Cli, seconds: u64, mut stop: tokio::sync::watch::Receiver<Stop>) -> Result<(), CliError> {
    if seconds > 0 {
        cli.say.status(format!("Waiting {seconds} s before the login so far is closed"));
    }
    tokio::select! {
        () = tokio::time::sleep(Duration::from_secs(seconds)) => Ok(()),
        Ok(_) = stop.wait_for(|s| *s != Stop::No) => {
            Err(interrupted().left("the new login is in force, and the old one can still log in").hint("the same command closes it"))
        }
    }
}
