//! The look of `--help`: colours, examples, and the root's list of commands in sections.

use std::fmt::Write as _;

use clap::builder::StyledStr;
use clap::builder::styling::{AnsiColor, Style, Styles};

use super::error::Kind;
use crate::config::VARIABLES;

/// Colours of help and of clap's own errors; clap leaves them out where they do not belong.
pub(super) const STYLES: Styles =
    Styles::styled().header(Style::new().bold()).usage(Style::new().bold()).literal(AnsiColor::Cyan.on_default()).placeholder(Style::new().dimmed());

/// Sections of the root's help, and the commands in them. A command named nowhere here stands under "Other".
const SECTIONS: &[(&str, &[&str])] =
    &[("Tenants", &["tenant", "fleet", "operation"]), ("Definitions", &["spec", "tier"]), ("Surroundings", &["profile", "sandbox", "registry"])];

/// `Examples:` for the end of a command's help: what it does, and the command that does it.
///
/// ```text
/// #[command(after_long_help = examples(&[("Show it as JSON", "labctl tenant show city-lab -o json")]))]
/// ```
pub fn examples(list: &[(&str, &str)]) -> StyledStr {
    let mut text = heading("Examples");
    for (what, command) in list {
        let literal = STYLES.get_literal();
        // Writing to a String cannot fail.
        let colon = if what.ends_with('?') { "" } else { ":" };
        let _ = write!(text, "\n  {what}{colon}\n    {literal}{command}{literal:#}");
    }
    StyledStr::from(text)
}

fn heading(words: &str) -> String {
    let header = STYLES.get_header();
    format!("{header}{words}:{header:#}")
}

/// The whole tree, with what only the root has: sections, variables, exit codes.
pub(super) fn dress(command: clap::Command) -> clap::Command {
    let mut list = String::new();
    let named: Vec<&str> = command.get_subcommands().filter(|c| !c.is_hide_set()).map(clap::Command::get_name).collect();
    let listed = |name: &str| SECTIONS.iter().any(|(_, names)| names.contains(&name));
    let others: Vec<&str> = named.iter().copied().filter(|name| !listed(name)).chain(["help"]).collect();
    let width = named.iter().map(|n| n.len()).max().unwrap_or(0) + 2;
    for (title, names) in SECTIONS.iter().map(|(t, n)| (*t, n.to_vec())).chain([("Other", others)]) {
        let present: Vec<_> = names.iter().filter(|n| named.contains(n) || **n == "help").collect();
        if present.is_empty() {
            continue;
        }
        let _ = writeln!(list, "{}", heading(title));
        for name in present {
            let about = command.find_subcommand(name).and_then(|c| c.get_about()).map_or_else(|| "Print help of a command".to_owned(), ToString::to_string);
            let literal = STYLES.get_literal();
            let _ = writeln!(list, "  {literal}{name:width$}{literal:#}{about}");
        }
        list.push('\n');
    }
    let usage = heading("Usage");
    command
        .help_template(StyledStr::from(format!("{{about-with-newline}}\n{usage} {{usage}}\n\n{list}{}\n{{options}}{{after-help}}", heading("Options"))))
        .after_long_help(closing())
        .mut_subcommands(plain_group)
}

/// `labctl help tenant create` is enough: groups need no `help` of their own.
fn plain_group(command: clap::Command) -> clap::Command {
    command.disable_help_subcommand(true).mut_subcommands(plain_group)
}

fn closing() -> StyledStr {
    let mut text = heading("Environment");
    for variable in VARIABLES.iter().filter(|v| !v.meaning.is_empty()) {
        let _ = write!(text, "\n  {:26}{}", variable.name, variable.meaning);
    }
    let _ = write!(text, "\n\n{}\n  {:<5}done", heading("Exit codes"), 0);
    for kind in Kind::ALL {
        let _ = write!(text, "\n  {:<5}{}", kind.exit_code(), kind.meaning());
    }
    StyledStr::from(text)
}
