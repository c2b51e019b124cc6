//! `labctl completions`

use clap_complete::Shell;

use super::help::examples;
use super::{Cli, CliError};

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("For bash, in every new shell", "labctl completions bash > ~/.local/share/bash-completion/completions/labctl"),
    ("For zsh, in a folder of $fpath", "labctl completions zsh > ~/.zfunc/_labctl"),
    ("For fish", "labctl completions fish > ~/.config/fish/completions/labctl.fish"),
]))]
pub struct Args {
    /// Which shell
    shell: Shell,
}

/// Runs it.
///
/// # Errors
/// When stdout cannot be written.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "labctl", &mut script);
    cli.out.text(script)
}
