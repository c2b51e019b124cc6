//! `labctl profile show`

use std::path::PathBuf;

use serde::Serialize;

use crate::cli::help::examples;
use crate::cli::output::{Sheet, View};
use crate::cli::{Cli, CliError};
use crate::config::{Events, Flags, Platform, Profile, Settings, Templates};

/// Show what a profile comes to, with all defaults; never a password
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("Where would commands act now?", "labctl profile show"),
    ("Check a profile of labctl.toml", "labctl profile show production -o yaml"),
]))]
pub struct Args {
    /// Which; without one, the profile in force
    name: Option<String>,
}

/// A profile and what goes with it.
#[derive(Debug, Serialize)]
struct Shown {
    name: String,
    file: Option<PathBuf>,
    templates: Option<PathBuf>,
    operator: String,
    sandbox_dir: Option<PathBuf>,
    tools_dir: Option<PathBuf>,
    platform: Option<Platform>,
    events: Events,
}

impl View for Shown {
    fn view(&self) -> Sheet {
        let path = |path: &PathBuf| path.display().to_string();
        let sheet = Sheet::new()
            .field("profile", &self.name)
            .field("file", self.file.as_ref().map_or("none".to_owned(), path))
            .field("templates", self.templates.as_ref().map_or("built in".to_owned(), path))
            .field("operator", &self.operator)
            .maybe("sandbox_dir", self.sandbox_dir.as_ref().map(path))
            .maybe("tools_dir", self.tools_dir.as_ref().map(path))
            .maybe("events", self.events.sns_topic_arn.as_ref());
        let sheet = self.events.webhooks.iter().fold(sheet, |sheet, webhook| sheet.field("events", format!("{} at {}", webhook.name, webhook.url)));
        let Some(platform) = &self.platform else { return sheet };
        let registry = &platform.registry;
        let sheet = sheet
            .field("environment", &platform.environment)
            .field("region", &platform.region)
            .maybe("account_id", platform.account_id.as_ref())
            .maybe("aws_profile", platform.aws_profile.as_ref())
            .maybe("endpoint_url", platform.endpoint_url.as_ref())
            .maybe("call_timeout_seconds", platform.call_timeout_seconds)
            .field("registry", format!("{}@{}:{}/{}", registry.user, registry.host, registry.port, registry.database))
            .field("password", format!("from {}", registry.password));
        let sheet = platform.platform.iter().fold(sheet, |sheet, (key, value)| fields(sheet, &format!("platform.{key}"), value));
        platform.tunnels.iter().fold(sheet, |sheet, (from, to)| sheet.field("tunnel", format!("{from} through {to}")))
    }
}

/// A value of the free table, as `${…}` names it.
fn fields(sheet: Sheet, path: &str, value: &serde_json::Value) -> Sheet {
    match value {
        serde_json::Value::Object(map) => map.iter().fold(sheet, |sheet, (key, value)| fields(sheet, &format!("{path}.{key}"), value)),
        serde_json::Value::String(text) => sheet.field(path, text),
        other => sheet.field(path, other),
    }
}

/// Runs it.
///
/// # Errors
/// When labctl.toml cannot be read or is wrong, or there is no such profile.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    let flags = Flags { profile: args.name.or_else(|| cli.flags().profile.clone()), config: cli.flags().config.clone() };
    let settings = Settings::resolve(&flags, cli.environment())?;
    let name = settings.profile.name().to_owned();
    let (sandbox_dir, tools_dir, platform) = match settings.profile {
        Profile::Sandbox => (Some(settings.sandbox_dir), Some(settings.tools_dir), None),
        Profile::Platform(platform) => (None, None, Some(*platform)),
    };
    let templates = match settings.templates {
        Templates::BuiltIn => None,
        Templates::Folder(folder) => Some(folder),
    };
    cli.out.object(&Shown {
        name,
        file: settings.file,
        templates,
        operator: settings.operator.to_string(),
        sandbox_dir,
        tools_dir,
        platform,
        events: settings.events,
    })
}
