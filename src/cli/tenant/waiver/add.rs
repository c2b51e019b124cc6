//! `labctl tenant waiver add`

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};

use crate::cli::help::examples;
use crate::cli::place::holder;
use crate::cli::{Cli, CliError};

/// The longest.
const DAYS: i64 = 366;

/// Allow a difference until then, for a year at most
///
/// `labctl tenant drift` and `labctl fleet drift` tell what is allowed apart, and do not count it. What is wanted does not change: `labctl
/// tenant apply` still puts it right, and shows so in its plan. Whose a resource is can not be waived.
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("One field, as `tenant drift` names it", "labctl tenant waiver add city-lab log_group/web --field retention_days --until 2026-12-31 --reason 'audit 2026'"),
    ("All of a resource, for two weeks", "labctl tenant waiver add city-lab ecs_service/beat --until 14d --reason 'vendor is looking into it'"),
]))]
pub struct Args {
    /// The tenant's id
    id: String,

    /// The resource, as `tenant drift` and `tenant show` name it
    #[arg(value_name = "KIND/NAME")]
    resource: String,

    /// Only this field; else all of the resource
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    field: Option<String>,

    /// How long: a time (2026-12-31T12:00:00Z), a day (2026-12-31, to its end in UTC), or so many days (14d)
    #[arg(long, value_name = "WHEN", value_parser = until)]
    until: DateTime<Utc>,

    /// Why
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    reason: String,
}

fn until(text: &str) -> Result<DateTime<Utc>, String> {
    let days = |n: i64| Utc::now().checked_add_signed(TimeDelta::try_days(n)?);
    let said = if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        Some(at.to_utc())
    } else if let Ok(day) = text.parse::<NaiveDate>() {
        day.succ_opt().map(|next| next.and_time(NaiveTime::MIN).and_utc())
    } else {
        text.strip_suffix('d').and_then(|n| n.parse::<u16>().ok()).and_then(|n| days(i64::from(n)))
    };
    let at = said.ok_or("it is neither a time, nor a day, nor a number of days such as 14d")?;
    if at <= Utc::now() {
        return Err("it has passed".to_owned());
    }
    if days(DAYS).is_some_and(|last| at > last) {
        return Err(format!("it is more than {DAYS} days away: a waiver is for a time"));
    }
    Ok(at)
}

/// Runs it.
///
/// # Errors
/// 1 when there is no such tenant, or it has no such resource.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    let registry = cli.registry().await?;
    registry.tenant(&args.id).await?;
    let resources = registry.resources(&args.id).await?;
    if !resources.iter().any(|r| format!("{}/{}", r.address.kind, r.address.name) == args.resource) {
        let none = CliError::failed("not_found", format!("tenant `{}` has no resource `{}`", args.id, args.resource));
        return Err(none.hint(format!("`labctl tenant show {}` lists what it has", args.id)));
    }
    let allowed = (args.resource.as_str(), args.field.as_deref());
    let (waiver, new) = registry.add_waiver(&holder(cli.settings()?), &args.id, allowed, args.until, &args.reason).await?;
    if !new {
        cli.say.status(format!("Tenant {} has that waiver already: no changes.", args.id));
    }
    cli.out.object(&waiver)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiver_ends_and_not_too_late() {
        let day = (Utc::now() + TimeDelta::days(3)).date_naive();
        assert_eq!(until(&day.to_string()).unwrap(), day.succ_opt().unwrap().and_time(NaiveTime::MIN).and_utc());
        let said = until("14d").unwrap() - Utc::now();
        assert!(said > TimeDelta::days(13) && said <= TimeDelta::days(14), "{said}");
        for (wrong, why) in
            [("2020-01-01", "passed"), ("0d", "passed"), ("367d", "more than 366 days"), ("soon", "neither"), ("-1d", "neither"), ("d", "neither")]
        {
            assert!(until(wrong).unwrap_err().contains(why), "{wrong}");
        }
    }
}
