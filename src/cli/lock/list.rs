//! `labctl lock list`

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::cli::help::examples;
use crate::cli::output::Row;
use crate::cli::progress::short;
use crate::cli::{Cli, CliError};
use crate::registry::LeaseInfo;

/// List locks: who works on which tenant, and whether they still do
///
/// A lock whose holder is dead, or has given no sign of life for a minute, is taken over by the next command: it need not be broken.
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("All of them", "labctl lock list"),
    ("Whose holder cannot be judged from here", "labctl lock list -o json | jq '.[] | select(.state == \"elsewhere\")'"),
]))]
pub struct Args {}

/// Whether a lock's holder still works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Holds {
    /// Its process lives, on this host.
    Alive,
    /// Its process has died, on this host.
    Dead,
    /// It has given no sign of life for too long.
    Expired,
    /// It gives signs of life, from another host.
    Elsewhere,
}

impl fmt::Display for Holds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Alive => "alive",
            Self::Dead => "dead",
            Self::Expired => "expired",
            Self::Elsewhere => "elsewhere",
        })
    }
}

/// What can be told from this host.
pub fn holds(lease: &LeaseInfo, host: &str) -> Holds {
    let local = lease.process.is_local(lease.host == host);
    match (local, lease.expired) {
        (true, _) if !lease.process.is_alive() => Holds::Dead,
        (_, true) => Holds::Expired,
        (true, false) => Holds::Alive,
        (false, false) => Holds::Elsewhere,
    }
}

/// A lock, for output.
#[derive(Debug, Serialize)]
pub(super) struct Lock {
    #[serde(flatten)]
    pub(super) lease: LeaseInfo,
    pub(super) state: Holds,
}

impl Row for Lock {
    const COLUMNS: &'static [&'static str] = &["tenant", "state", "holder", "pid", "command", "held", "heartbeat"];

    fn cells(&self) -> Vec<String> {
        let l = &self.lease;
        let age = |seconds: i64| short(Duration::from_secs(u64::try_from(seconds).unwrap_or_default()));
        vec![
            l.tenant.clone(),
            self.state.to_string(),
            format!("{}@{}", l.holder, l.host),
            l.process.pid.to_string(),
            l.what.clone(),
            age(l.held_seconds),
            format!("{} ago", age(l.heartbeat_seconds)),
        ]
    }
}

/// Runs it.
///
/// # Errors
/// When the registry cannot be reached.
pub async fn run(_: Args, cli: &Cli) -> Result<(), CliError> {
    let host = &cli.settings()?.operator.host;
    let leases = cli.registry().await?.leases().await?;
    let locks: Vec<Lock> = leases.into_iter().map(|lease| Lock { state: holds(&lease, host), lease }).collect();
    cli.out.list(&locks)
}
