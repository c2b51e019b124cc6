//! `labctl sandbox env`

use std::collections::BTreeMap;

use crate::cli::help::examples;
use crate::cli::output::Format;
use crate::cli::{Cli, CliError, place};

/// Print the settings by which aws and psql see the sandbox
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("For this shell", "eval \"$(labctl sandbox env)\""),
    ("Then", "aws s3 ls; psql -c '\\dn'"),
]))]
pub struct Args {}

/// Runs it.
///
/// # Errors
/// When the sandbox cannot be started.
pub async fn run(_: Args, cli: &Cli) -> Result<(), CliError> {
    let settings = cli.settings()?;
    cli.start_sandbox(settings).await?;
    let env = place::sandbox(settings).env();
    if cli.out.format() != Format::Table {
        return cli.out.value(&env.into_iter().collect::<BTreeMap<_, _>>());
    }
    let lines: String = env.iter().map(|(name, value)| format!("export {name}={}\n", quoted(value))).collect();
    cli.out.text(lines)
}

/// For a POSIX shell: whatever the value holds, it is one word and nothing in it is expanded.
fn quoted(value: &str) -> String {
    let plain = !value.is_empty() && value.chars().all(|c| c.is_ascii_alphanumeric() || "-_./:@%+,=".contains(c));
    if plain { value.to_owned() } else { format!("'{}'", value.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn no_value_can_break_out_of_its_quotes() {
        assert_eq!(quoted("http://127.0.0.1:5000"), "http://127.0.0.1:5000");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's $(x)"), r"'it'\''s $(x)'");
        assert_eq!(quoted(""), "''");
    }
}
