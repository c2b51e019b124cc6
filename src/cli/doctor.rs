//! `labctl doctor`

use super::help::examples;
use super::output::Row;
use super::place::{holder, sandbox, stacks};
use super::{Cli, CliError};
use crate::config::{Profile, Settings};
use crate::ops::doctor::{Check, Finding, Report, Severity, examine};

/// Say whether everything is well, and what to do where it is not; change nothing
///
/// Looks at the surroundings (registry, AWS, clock, sandbox, programs), at what nobody is at any more (locks, operations, events), at the audit
/// trail, for passwords in the registry, and at what is on record against what is there, both ways. What could not be looked at is told too.
/// Settings that differ are `labctl tenant drift`'s matter. Exits with 1 when there are errors or warnings; notes alone are well.
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("Is everything well?", "labctl doctor"),
    ("With one tenant", "labctl doctor --tenant city-lab"),
    ("The commands to run next", "labctl doctor -o json | jq -r '.[] | .run // empty' | sort -u"),
]))]
pub struct Args {
    /// Only what concerns this tenant
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
}

impl Row for Finding {
    const COLUMNS: &'static [&'static str] = &["severity", "check", "what", "found", "run"];

    fn cells(&self) -> Vec<String> {
        let means = format!("{}: {}", self.found, self.means);
        vec![self.severity.to_string(), self.check.to_string(), self.what.clone(), means, self.run.clone().unwrap_or_else(|| "-".to_owned())]
    }
}

/// Runs it.
///
/// # Errors
/// 1 when there are errors or warnings.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    let settings = cli.settings()?;
    let busy = cli.say.busy("Looking at everything");
    let mut report = match stopped(settings).await? {
        Some(finding) => {
            let unseen = Finding::unseen("registry, AWS, tenants", "the sandbox does not run");
            Report { findings: vec![finding, unseen], ..Report::default() }
        }
        None => examine(cli.reachable(settings).await?, stacks(settings)?, holder(settings), args.tenant.as_deref()).await?,
    };
    drop(busy);
    report.findings.extend(tools(settings));
    let report = report.sorted();
    cli.out.list(&report.findings)?;
    let [errors, warnings, notes] = report.counts();
    let looked = format!("{} resources on record held against {} things in AWS and databases", report.resources, report.things);
    match (errors, warnings) {
        (0, 0) => {
            let notes = if notes > 0 { format!(" ({notes} to note)") } else { String::new() };
            cli.say.status(format!("All is well{notes}: {looked}"));
            Ok(())
        }
        _ => {
            cli.say.status(looked);
            let worst = report.findings.iter().find_map(|f| f.run.clone());
            let told = CliError::failed("findings", format!("not all is well: {errors} errors, {warnings} warnings, {notes} to note"));
            Err(told.hints(worst.map(|run| format!("begin with `{run}`"))))
        }
    }
}

/// The sandbox, where it is the place and does not run. It is not started: that would change what is looked at.
async fn stopped(settings: &Settings) -> Result<Option<Finding>, CliError> {
    if !matches!(settings.profile, Profile::Sandbox) {
        return Ok(None);
    }
    let status = sandbox(settings).status().await?;
    let found = match (&status.aws, &status.postgres) {
        (Some(_), Some(_)) => return Ok(None),
        (None, Some(_)) => "its AWS emulator does not run",
        (Some(_), None) => "its PostgreSQL does not run",
        (None, None) => "it does not run",
    };
    let means = "nothing of its tenants can be looked at; the next command starts it. What the emulator held is gone once it stops";
    Ok(Some(Finding::new(Severity::Warning, Check::Sandbox, "sandbox", found, means).run("labctl sandbox start")))
}

/// Programs that some commands need. Nothing else does.
fn tools(settings: &Settings) -> Vec<Finding> {
    let rows = [("psql", "`labctl tenant psql` needs it"), ("aws", "the runbooks in docs/ use it; labctl itself does not")];
    let missing = rows.into_iter().filter(|(program, _)| !settings.search_path.iter().any(|folder| folder.join(program).is_file()));
    missing.map(|(program, means)| Finding::new(Severity::Note, Check::Tools, program, "it is not on the PATH", means)).collect()
}
