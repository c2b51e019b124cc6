//! What all verbs have in common: prepare, agree, run, tell.

use std::path::PathBuf;

use serde::Serialize;

use super::plan_file;
use super::sketch::{Sketch, about, counted};
use crate::cli::causes::incomplete;
use crate::cli::error::Kind;
use crate::cli::interrupts::interrupted;
use crate::cli::output::{Format, Row, Sheet, View};
use crate::cli::progress::short;
use crate::cli::{Cli, CliError, signals};
use crate::engine::run::Stop;
use crate::kinds::KINDS;
use crate::ops::approved::PlanFile;
use crate::ops::change::{Prepared, Report, prepare, preview};
use crate::ops::edit::Edit;
use crate::ops::undo::OnFailure;
use crate::ops::{OpError, Site};
use crate::registry::tenants::ResourceLine;
use crate::registry::{TenantStatus, TenantView};

/// A tenant after a run: to programs as `tenant show` has it, to people in brief, a line for each kind.
#[derive(Serialize)]
#[serde(transparent)]
struct Brief<'a>(&'a TenantView);

/// What a tenant has of one kind.
#[derive(Serialize)]
struct OfKind<'a> {
    kind: &'a str,
    has: Vec<&'a ResourceLine>,
}

impl Row for OfKind<'_> {
    const COLUMNS: &'static [&'static str] = &["kind", "has"];

    fn cells(&self) -> Vec<String> {
        let name = |r: &ResourceLine| r.address.rsplit('/').next().unwrap_or_default().to_owned();
        let has = match self.has.as_slice() {
            [one] => one.id.clone().unwrap_or_else(|| name(one)),
            all => all.iter().map(|r| name(r)).collect::<Vec<_>>().join(", "),
        };
        vec![self.kind.to_owned(), has]
    }
}

impl View for Brief<'_> {
    fn view(&self) -> Sheet {
        let mut kinds: Vec<OfKind<'_>> = Vec::new();
        for resource in &self.0.resources {
            match kinds.iter_mut().find(|k| k.kind == resource.kind) {
                Some(of_kind) => of_kind.has.push(resource),
                None => kinds.push(OfKind { kind: &resource.kind, has: vec![resource] }),
            }
        }
        Sheet::new().rows(&self.0.display_name, &kinds)
    }
}

/// The choices every verb has: to be shown first, and what a failure shall leave.
#[derive(Debug, Clone, Default, clap::Args)]
pub(in crate::cli) struct Choices {
    /// Show what would be done, and change nothing
    #[arg(long)]
    pub(super) dry_run: bool,

    /// With --dry-run, exit with 2 when there is anything to do
    #[arg(long, requires = "dry_run")]
    pub(super) check: bool,

    /// With --dry-run, write the plan into this file, which must not exist, for `tenant apply --plan`
    #[arg(long, value_name = "FILE", requires = "dry_run")]
    pub(super) out: Option<PathBuf>,

    /// When a step fails, what becomes of what this run has made: `keep` it for going on, or `undo` it, but for what holds data
    #[arg(long, value_name = "WHAT", default_value = "keep", hide_possible_values = true)]
    pub(super) on_failure: Failing,
}

/// [`OnFailure`], as the command line has it.
#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
pub(in crate::cli) enum Failing {
    /// Keep it
    #[default]
    Keep,
    /// Undo it
    Undo,
}

impl Choices {
    async fn show(&self, cli: &Cli, site: &Site, edit: &dyn Edit) -> Result<(), CliError> {
        let found = preview(site, edit).await?;
        let (plan, changes) = (&found.surveyed.plan, !found.is_empty());
        cli.out.object(&Sketch::of(plan))?;
        if !plan.problems.is_empty() {
            return Err(OpError::Problems { tenant: edit.tenant().to_owned(), problems: plan.problems.clone() }.into());
        }
        if let Some(path) = &self.out {
            plan_file::write(cli, path, &PlanFile::of(site, edit, &found, cli.command_line())?)?;
        }
        if self.check && changes { Err(CliError::told(Kind::Changes)) } else { Ok(()) }
    }
}

/// Carries an edit of a tenant's desired state out, showing progress, and prints the tenant; or shows the plan, if that is all that
/// was asked for.
///
/// # Errors
/// Those of preparing; 3, 4, 5 or 130 for a run that did not complete.
pub(in crate::cli) async fn carry_out(cli: &Cli, site: &Site, edit: &dyn Edit, choices: &Choices) -> Result<(), CliError> {
    if choices.dry_run {
        return choices.show(cli, site, edit).await;
    }
    let stop = signals::listen(cli);
    let mut prepared = prepare(site, edit, cli.command_line()).await?;
    if matches!(choices.on_failure, Failing::Undo) {
        prepared.on_failure = OnFailure::Undo;
    }
    let agreed = match *stop.borrow() {
        Stop::No => agree(cli, &prepared),
        _ => Err(interrupted().left("nothing: no operation was begun")),
    };
    if let Err(refused) = agreed {
        prepared.abandon().await;
        return Err(refused);
    }
    announce(cli, &prepared, edit.tenant());
    let progress = cli.progress();
    let report = prepared.carry_out(&progress, stop).await;
    drop(progress);
    let report = report?;
    if let Some(error) = incomplete(&report) {
        return Err(error);
    }
    tell(cli, &report)
}

/// What destroys is shown and agreed to; everything else goes on at once.
pub(super) fn agree(cli: &Cli, prepared: &Prepared<'_>) -> Result<(), CliError> {
    let counts = prepared.plan.counts();
    // Whoever asked for a purge has typed the tenant's name.
    if prepared.state().life.purged {
        return Ok(());
    }
    if counts.delete == 0 && counts.replace == 0 {
        return Ok(());
    }
    let _alive = prepared.keep_alive();
    cli.say.sheet(&Sketch::of(&prepared.plan).view());
    let data = if prepared.plan.deletes_data(KINDS) { ", data among it" } else { "" };
    cli.ask.confirm(&format!("This deletes or replaces {} resources{data}. Go on?", counts.delete + counts.replace))
}

fn announce(cli: &Cli, prepared: &Prepared<'_>, id: &str) {
    if prepared.is_empty() {
        return;
    }
    if let Some(number) = prepared.continues() {
        cli.say.status(format!("Going on with operation {number} of tenant {id}"));
    }
    let desired = prepared.desired();
    let (counts, (_, seconds)) = (prepared.plan.counts(), prepared.plan.critical_path());
    let on_aws = if site_is_sandbox(&desired.environment) { String::new() } else { format!(", {}", about(seconds)) };
    cli.say.status(format!("Tenant {id} ({}, {}, {}): {}{on_aws}", desired.stack, desired.tier, desired.isolation, counted(&counts)));
}

fn site_is_sandbox(environment: &str) -> bool {
    environment == crate::config::SANDBOX
}

/// `1 resource`, `2 resources`.
fn count(n: u64, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

fn tell(cli: &Cli, report: &Report) -> Result<(), CliError> {
    let tenant = &report.tenant;
    match &report.outcome {
        None if tenant.status == TenantStatus::Deleted => cli.say.status(format!("Tenant {} is deleted already: no changes.", tenant.id)),
        None => cli.say.status(format!("Tenant {} is as its spec says: no changes.", tenant.id)),
        Some(_) => {
            let calls: u64 = report.calls.values().sum();
            cli.say.status(format!(
                "Tenant {} is {} in {}: {} (operation {}, {}, {})",
                tenant.id,
                tenant.status,
                cli.settings()?.profile.name(),
                count(tenant.resources.len() as u64, "resource"),
                report.operation.unwrap_or_default(),
                count(calls, "AWS call"),
                short(report.took),
            ));
        }
    }
    let changed = report.outcome.is_some();
    // People are told what was made; what a tenant had before and still has is no news.
    let made = changed && report.plan.counts().create > 0;
    if made || cli.out.format() != Format::Table {
        cli.out.object(&Brief(tenant))?;
    }
    if changed {
        let how = format!("`labctl operation show {}`", report.operation.unwrap_or_default());
        cli.say.hint(match made {
            true => format!("`labctl tenant show {}` shows every id, {how} how it went", tenant.id),
            false => format!("{how} shows how it went"),
        });
        if tenant.status == TenantStatus::Purged {
            cli.say.hint(format!("`labctl tenant certificate {}` shows what was removed, and what remains until when", tenant.id));
        }
        if made && cli.settings()?.profile.name() == crate::config::SANDBOX {
            cli.say.hint("`eval \"$(labctl sandbox env)\"` lets aws and psql look at the same world");
        }
    }
    Ok(())
}
