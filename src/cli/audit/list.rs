//! `labctl audit list`

use chrono::{DateTime, NaiveDate, Utc};

use crate::cli::help::examples;
use crate::cli::output::Row;
use crate::cli::{Cli, CliError};
use crate::registry::audit::AuditRow;

/// List what was done, the newest first
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("The last fifty", "labctl audit list"),
    ("Of one tenant, since yesterday", "labctl audit list --tenant city-lab --since 24h"),
    ("Who has broken locks?", "labctl audit list --limit 0 -o json | jq '.[] | select(.action == \"lock.break\")'"),
]))]
pub struct Args {
    /// Only of this tenant
    #[arg(long)]
    tenant: Option<String>,

    /// Only since then: a time (2026-11-21T03:10:00Z), a day (2026-11-21), or so long ago (30m, 24h, 7d)
    #[arg(long, value_name = "WHEN", value_parser = since)]
    since: Option<DateTime<Utc>>,

    /// At most so many; 0 for all
    #[arg(long, default_value_t = 50)]
    limit: i64,
}

/// A time, the beginning of a day in UTC, or a span before now.
fn since(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Ok(at.to_utc());
    }
    if let Ok(day) = text.parse::<NaiveDate>() {
        return Ok(day.and_time(chrono::NaiveTime::MIN).and_utc());
    }
    let seconds = |unit: char| {
        Some(match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => return None,
        })
    };
    let span = text.char_indices().last().and_then(|(at, unit)| Some((text[..at].parse::<u32>().ok()?, seconds(unit)?)));
    let ago = span.and_then(|(n, unit)| Utc::now().checked_sub_signed(chrono::TimeDelta::seconds(i64::from(n) * unit)));
    ago.ok_or_else(|| "it is neither a time, nor a day, nor a span such as 24h".to_owned())
}

impl Row for AuditRow {
    const COLUMNS: &'static [&'static str] = &["row", "at", "who", "action", "tenant", "detail"];

    fn cells(&self) -> Vec<String> {
        let detail = self.detail.as_object().map(|fields| {
            let said = fields.iter().filter(|(_, value)| !value.is_null());
            said.map(|(name, value)| format!("{name}={}", value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned))).collect::<Vec<_>>().join(" ")
        });
        vec![
            self.seq.to_string(),
            self.at.format("%Y-%m-%d %H:%M:%S UTC").to_string(),
            format!("{}@{}", self.who, self.host),
            self.action.clone(),
            self.tenant.clone().unwrap_or_else(|| "-".to_owned()),
            detail.unwrap_or_else(|| self.detail.to_string()),
        ]
    }
}

/// Runs it.
///
/// # Errors
/// When the registry cannot be reached.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    cli.out.list(&cli.registry().await?.audit_since(args.tenant.as_deref(), args.since, args.limit).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_a_day_and_a_span_are_understood() {
        assert_eq!(since("2026-11-21T03:10:00+01:00").unwrap().to_rfc3339(), "2026-11-21T02:10:00+00:00");
        assert_eq!(since("2026-11-21").unwrap().to_rfc3339(), "2026-11-21T00:00:00+00:00");
        let age = Utc::now() - since("2h").unwrap();
        assert!((7199..7202).contains(&age.num_seconds()), "{age}");
        for wrong in ["", "h", "2 h", "-2h", "2y", "yesterday", "ü"] {
            assert!(since(wrong).is_err(), "{wrong}");
        }
    }
}
