//! `labctl fleet migrate`

use std::str::FromStr;
use std::time::Duration;

use super::outcome::{Told, left_behind, tell};
use crate::cli::error::Kind;
use crate::cli::help::examples;
use crate::cli::{Cli, CliError, signals};
use crate::ops::fleet::system::{Standing, SystemLine};
use crate::ops::fleet::waves::{Budget, Waves};
use crate::ops::fleet::{Options, migrate, sketch};
use crate::registry::fleet::FleetFilter;
use crate::spec::Tier;
use crate::stack::migrations::TENANT;

/// Bring many tenants' schemas to their stacks' newest version
///
/// Each schema is one transaction: the change, its own ledger and the database's central ledger. Who is behind is found with one query per
/// database, its central ledger; `--look` asks every schema. A filter that chooses nobody is refused. Tenants go in waves, trial tiers first; the canary goes before the first wave, and one failure in it stops the run. A tenant
/// that somebody else is at work on is skipped, and counts as behind. Tables that tenants share go before all of them; where those fail, nothing
/// else is begun. Ctrl-C pauses; `labctl fleet resume` goes on. The exit code is 0 only
/// when nobody is behind but whom `--skip-suspended` left out.
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("What would be done", "labctl fleet migrate --dry-run"),
    ("One tenant first, then in three waves with a minute between", "labctl fleet migrate --stack mate --canary 1 --waves 5%,25%,100% --soak 60s"),
    ("Go on though up to two fail", "labctl fleet migrate --max-failures 2"),
]))]
pub struct Args {
    /// Only tenants of this tier
    #[arg(long)]
    tier: Option<Tier>,

    /// Only tenants of this stack
    #[arg(long)]
    stack: Option<String>,

    /// Only tenants on this database host: its endpoint, with or without the port
    #[arg(long)]
    host: Option<String>,

    /// Only tenants with this tag in their spec; may be repeated
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = pair)]
    tags: Vec<(String, String)>,

    /// How far to go instead of to the newest: a version, or module=version; may be repeated
    #[arg(long, value_name = "VERSION")]
    to: Vec<To>,

    /// So many go first; if one of them fails, the run stops
    #[arg(long, value_name = "N", default_value_t = 0)]
    canary: usize,

    /// How much of the fleet is done after each wave [default: 100%]
    #[arg(long, value_name = "PERCENTAGES", default_value = "100%", hide_default_value = true)]
    waves: Waves,

    /// How many may fail before the run stops: a number, or a percentage
    #[arg(long, value_name = "N", default_value = "0")]
    max_failures: Budget,

    /// Schemas at once on each database host, at most 8
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=8))]
    parallel: u8,

    /// The wait between two waves (`60s`, `5m`)
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = seconds)]
    soak: Duration,

    /// How long a statement waits for a lock before it lets others pass and tries again later
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = time)]
    lock_timeout: Duration,

    /// How often a tenant whose locks are not to be had is tried
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    attempts: u32,

    /// Leave suspended tenants as they are: those who are behind are told of, and do not change the exit code
    #[arg(long)]
    skip_suspended: bool,

    /// Ask every schema's own ledger who is behind, not only the central one of its database: finds what was restored or changed by hand
    #[arg(long)]
    look: bool,

    /// Show who is behind and in which wave, and change nothing; exit with 2 when anybody is
    #[arg(long)]
    dry_run: bool,
}

/// A version to stop at: `4` (every tenant's folder), or `dental=1`.
#[derive(Debug, Clone)]
pub struct To {
    pub(in crate::cli) folder: String,
    pub(in crate::cli) version: u32,
}

impl FromStr for To {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (folder, version) = text.split_once('=').unwrap_or((TENANT, text));
        let version = version.strip_prefix('V').unwrap_or(version).parse().ok().filter(|v| *v > 0);
        version.map(|version| Self { folder: folder.to_owned(), version }).ok_or_else(|| format!("`{text}` is no version: say `4`, or `dental=1`"))
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    text.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned())).ok_or_else(|| format!("`{text}` is no tag: say `key=value`"))
}

/// `500ms`, `60s`, `5m`, `1h`.
fn time(text: &str) -> Result<Duration, String> {
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
    let read = units.iter().find_map(|(unit, millis)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(*millis).filter(|ms| *ms <= 86_400_000)
    });
    read.map(Duration::from_millis).ok_or_else(|| format!("`{text}` is no time up to a day: say `500ms`, `60s` or `5m`"))
}

/// A time of whole seconds: less is no wait between waves.
fn seconds(text: &str) -> Result<Duration, String> {
    let read = time(text)?;
    if read.subsec_nanos() == 0 { Ok(read) } else { Err(format!("`{text}` is not in whole seconds: say `0s`, `60s` or `5m`")) }
}

/// Runs it.
///
/// # Errors
/// 3 when anybody is behind afterwards, 130 when it was paused, 2 for a dry run with something to do.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    if args.lock_timeout.is_zero() {
        return Err(CliError::usage("--lock-timeout 0 would wait for ever, and everybody else behind it"));
    }
    let options = Options {
        filter: FleetFilter {
            tenant: None,
            stack: args.stack,
            tier: args.tier.map(|t| t.to_string()),
            host: args.host,
            tags: args.tags.into_iter().collect(),
            skip_suspended: args.skip_suspended,
        },
        look: args.look,
        canary: args.canary,
        waves: args.waves,
        max_failures: args.max_failures,
        parallel: usize::from(args.parallel),
        soak_seconds: args.soak.as_secs(),
        lock_timeout_millis: u64::try_from(args.lock_timeout.as_millis()).unwrap_or(u64::MAX),
        attempts: args.attempts,
    };
    let to = args.to.into_iter().map(|t| (t.folder, t.version)).collect();
    let site = cli.site().await?;
    if args.dry_run {
        let found = sketch(&site, &options, &to).await?;
        cli.out.object(&found)?;
        left_behind(cli, &found.skipped, &found.systems);
        let idle = |s: &SystemLine| matches!(s.status, Standing::Current | Standing::Skipped);
        return if found.todo.is_empty() && found.systems.iter().all(idle) { Ok(()) } else { Err(CliError::told(Kind::Changes)) };
    }
    let stop = signals::listen_without_progress(cli);
    let report = migrate(&site, &options, &to, cli.command_line(), &Told::new(cli), stop).await?;
    tell(cli, &report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_versions_are_read_as_people_write_them() {
        assert_eq!((time("60s"), time("5m"), time("500ms")), (Ok(Duration::from_secs(60)), Ok(Duration::from_secs(300)), Ok(Duration::from_millis(500))));
        for bad in ["", "60", "s", "-1s", "1d", "25h"] {
            time(bad).unwrap_err();
        }
        assert_eq!((seconds("0s"), seconds("2000ms"), seconds("5m")), (Ok(Duration::ZERO), Ok(Duration::from_secs(2)), Ok(Duration::from_secs(300))));
        for lost in ["500ms", "1500ms", "60"] {
            seconds(lost).unwrap_err();
        }
        let to: To = "4".parse().unwrap();
        assert_eq!((to.folder.as_str(), to.version), ("tenant", 4));
        let to: To = "dental=V2".parse().unwrap();
        assert_eq!((to.folder.as_str(), to.version), ("dental", 2));
        for bad in ["", "0", "x", "dental", "dental=0"] {
            bad.parse::<To>().unwrap_err();
        }
    }
}
