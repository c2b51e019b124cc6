//! `labctl tenant deploy`

use super::outcome::Choices;
use crate::cli::error::Kind;
use crate::cli::help::examples;
use crate::cli::{Cli, CliError};
use crate::engine::kind::Suspension;
use crate::ops::change::current;
use crate::ops::deploy::{Deploy, is_pinned};

/// Run another image, and wait until it does
///
/// Each service rolls over task by task. A rollout whose tasks do not come up is rolled back by ECS; this command then fails with ECS's
/// reason, and says what runs. What is set here stays when the spec is applied again; `--reset` gives it back to the spec.
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("One service", "labctl tenant deploy hospital-a --service django --image 123456789012.dkr.ecr.eu-central-1.amazonaws.com/mate@sha256:…"),
    ("All services", "labctl tenant deploy hospital-a --all-services --image 123456789012.dkr.ecr.eu-central-1.amazonaws.com/mate@sha256:…"),
    ("What the spec and the tier say again", "labctl tenant deploy hospital-a --all-services --reset"),
]))]
#[command(group = clap::ArgGroup::new("where").required(true).args(["service", "all_services"]))]
#[command(group = clap::ArgGroup::new("what").required(true).args(["image", "reset"]))]
pub struct Args {
    /// The tenant's id
    id: String,

    /// The service
    #[arg(long, value_name = "NAME")]
    service: Option<String>,

    /// Every service of the tenant
    #[arg(long)]
    all_services: bool,

    /// Registry and repository, with a digest (`@sha256:…`) or a tag
    #[arg(long)]
    image: Option<String>,

    /// Give the image back to the spec
    #[arg(long)]
    reset: bool,

    #[command(flatten)]
    only: Choices,
}

/// Runs it.
///
/// # Errors
/// 64 for a service there is not, or a text that names no image; 3 for a rollout that failed.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    let site = cli.site().await?;
    let suspension = current(&site, &args.id, None).await?.and_then(|c| c.state.suspension());
    let deploy = Deploy { tenant: args.id, service: args.service, image: args.image };
    if let Some(tag) = deploy.image.as_ref().filter(|image| !is_pinned(image)) {
        cli.say.warning(format!("{tag} is named by its tag, which may come to mean another image; `@sha256:…` never does"));
    }
    if suspension == Some(Suspension::Full) {
        cli.say.status(format!("Tenant {} is suspended: no task starts before `labctl tenant resume {}`", deploy.tenant, deploy.tenant));
    }
    super::carry_out(cli, &site, &deploy, &args.only).await.map_err(|error| match error.kind {
        Kind::Stopped => error.hint("this image stays the one that is wanted: another `tenant deploy` names another, `--reset` the one of the spec"),
        _ => error,
    })
}
