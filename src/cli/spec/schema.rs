//! `labctl spec schema`

use crate::cli::help::examples;
use crate::cli::output::Format;
use crate::cli::{Cli, CliError};
use crate::spec;

/// Print the JSON Schema of specs, for editors
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("For an editor with TOML schema support", "labctl spec schema > tenants/.schema.json"),
]))]
pub struct Args {}

/// Runs it.
///
/// # Errors
/// When stdout cannot be written.
pub async fn run(_: Args, cli: &Cli) -> Result<(), CliError> {
    let schema = spec::schema();
    // A schema is JSON for whoever reads it; a table of it would help nobody.
    if cli.out.format() != Format::Table {
        return cli.out.value(&schema);
    }
    let text = serde_json::to_string_pretty(&schema).map_err(|e| CliError::bug("the schema cannot be written").because(&e))?;
    cli.out.text(text + "\n")
}
