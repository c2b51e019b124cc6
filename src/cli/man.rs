//! `labctl man`

use std::path::{Path, PathBuf};

use super::help::examples;
use super::{Cli, CliError};

/// Print the manual page of a command, or write all pages to a folder
#[derive(Debug, clap::Args)]
#[command(after_long_help = examples(&[
    ("Read the page of a command", "labctl man tenant create | man -l -"),
    ("Install all pages", "labctl man --dir ~/.local/share/man/man1"),
]))]
pub struct Args {
    /// The command, as it is typed; without one, labctl itself
    #[arg(conflicts_with = "dir")]
    command: Vec<String>,

    /// Folder to write every page to; made if it does not exist
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Runs it.
///
/// # Errors
/// When there is no such command, or a file cannot be written.
pub async fn run(args: Args, cli: &Cli) -> Result<(), CliError> {
    let mut root = super::command().disable_help_subcommand(true);
    root.build();
    if let Some(dir) = args.dir {
        std::fs::create_dir_all(&dir).map_err(|e| unwritable(&dir, &e))?;
        let count = write_all(&root, &dir)?;
        cli.say.status(format!("wrote {count} pages to {}", dir.display()));
        return Ok(());
    }
    let mut command = &root;
    for name in &args.command {
        command = command.find_subcommand(name).ok_or_else(|| {
            let known: Vec<_> = command.get_subcommands().map(clap::Command::get_name).collect();
            let hint = if known.is_empty() { "it has no commands of its own".to_owned() } else { format!("there are: {}", known.join(", ")) };
            CliError::usage(format!("`{}` has no command `{name}`", command.get_display_name().unwrap_or("labctl").replace('-', " "))).hint(hint)
        })?;
    }
    cli.out.text(page(command)?)
}

fn write_all(command: &clap::Command, dir: &Path) -> Result<usize, CliError> {
    let path = dir.join(clap_mangen::Man::new(command.clone()).get_filename());
    std::fs::write(&path, page(command)?).map_err(|e| unwritable(&path, &e))?;
    command.get_subcommands().filter(|c| !c.is_hide_set()).try_fold(1, |count, c| Ok(count + write_all(c, dir)?))
}

/// One page. Lines that are indented in the help (examples, lists) keep their shape.
fn page(command: &clap::Command) -> Result<Vec<u8>, CliError> {
    let man = clap_mangen::Man::new(command.clone()).source(concat!("labctl ", env!("CARGO_PKG_VERSION"))).manual("labctl");
    let mut page = Vec::new();
    let written = [
        clap_mangen::Man::render_title,
        clap_mangen::Man::render_name_section,
        clap_mangen::Man::render_synopsis_section,
        clap_mangen::Man::render_description_section,
        clap_mangen::Man::render_options_section,
        clap_mangen::Man::render_subcommands_section,
    ]
    .iter()
    .try_for_each(|section| section(&man, &mut page));
    written.map_err(|e| CliError::bug("a manual page cannot be made").because(&e))?;
    if let Some(after) = command.get_after_long_help() {
        for line in after.to_string().lines() {
            let line = line.replace('\\', "\\\\").replace('-', "\\-");
            let roff = match line.strip_suffix(':').filter(|l| !l.starts_with(' ')) {
                Some(title) => format!(".SH {}\n.nf\n", title.to_uppercase()),
                None if line.trim().is_empty() => ".fi\n".to_owned(),
                // The two characters at the front keep a line that begins with a dot or quote from being taken for a request.
                None => format!("\\&{line}\n"),
            };
            page.extend_from_slice(roff.as_bytes());
        }
        page.extend_from_slice(b".fi\n");
    }
    Ok(page)
}

fn unwritable(path: &Path, error: &std::io::Error) -> CliError {
    CliError::failed("unwritable", format!("cannot write {}", path.display())).because(error)
}
