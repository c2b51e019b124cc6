//! What must be known before the arguments are parsed: how to tell that they are wrong, and what to say when labctl itself is.

use std::ffi::OsString;
use std::io::{IsTerminal, stderr, stdout};
use std::process::ExitCode;

use clap::ValueEnum;
use clap::error::ErrorKind;
use console::Term;

use super::error::{CliError, Kind, REPORT};
use super::messages::stderr as print;
use super::output::{Format, Output};
use super::{ColorWhen, report};
use crate::config::Environment;

/// How to tell an error.
#[derive(Debug, Clone, Copy)]
pub(super) struct Early {
    json: bool,
    colour_out: bool,
    colour_err: bool,
}

impl Early {
    /// Looks through the arguments for `-o` and `--color`, as far as they can be understood.
    pub(super) fn of(arguments: &[OsString], environment: &Environment) -> Self {
        let mut words = arguments.iter().skip(1).map(|a| a.to_string_lossy().into_owned()).take_while(|a| a != "--");
        let (mut format, mut colour) = (Format::default(), ColorWhen::default());
        while let Some(word) = words.next() {
            let (flag, value) = match word.split_once('=') {
                Some((flag, value)) => (flag.to_owned(), Some(value.to_owned())),
                None if word.starts_with("-o") && word.len() > 2 => ("-o".to_owned(), Some(word[2..].to_owned())),
                None => (word, None),
            };
            let mut value = || value.clone().or_else(|| words.next()).unwrap_or_default();
            match flag.as_str() {
                "-o" | "--output" => format = Format::from_str(&value(), false).unwrap_or(format),
                "--color" => colour = ColorWhen::from_str(&value(), false).unwrap_or(colour),
                _ => {}
            }
        }
        Self::parsed(format, colour, environment)
    }

    /// What the arguments said for certain.
    pub(super) fn parsed(format: Format, colour: ColorWhen, environment: &Environment) -> Self {
        Self { json: format.is_json(), colour_out: colour.on(stdout().is_terminal(), environment), colour_err: colour.on(stderr().is_terminal(), environment) }
    }

    /// Arguments that are no command: help and version are asked for, the rest is wrong usage.
    pub(super) fn unparsed(self, error: &clap::Error) -> ExitCode {
        let text = |colour: bool| if colour { error.render().ansi().to_string() } else { error.render().to_string() };
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => match Output::stdout(Format::Table, false, None).text(text(self.colour_out)) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => self.told(&error),
            },
            _ if self.json => self.told(&CliError::from(error)),
            _ => {
                print(&text(self.colour_err));
                ExitCode::from(Kind::Usage.exit_code())
            }
        }
    }

    /// Tells an error; its exit code.
    pub(super) fn told(self, error: &CliError) -> ExitCode {
        if !error.is_told() {
            print(&match self.json {
                true => report::json(error) + "\n",
                false => report::human(error, self.colour_err, Term::stderr().size_checked().map(|(_, columns)| usize::from(columns))),
            });
        }
        ExitCode::from(error.kind.exit_code())
    }

    /// From now on a panic says that it is a bug, and where. Its text is left out of release builds when it was put together at run time:
    /// it may quote values.
    pub(super) fn watch_for_panics(self) {
        std::panic::set_hook(Box::new(move |panic| {
            let payload = panic.payload();
            let words =
                payload.downcast_ref::<&str>().copied().or_else(|| cfg!(debug_assertions).then(|| payload.downcast_ref::<String>())?.map(String::as_str));
            let place = panic.location().map_or_else(String::new, |l| format!(" at {}:{}", l.file(), l.line()));
            let mut error = CliError::new(Kind::Bug, "bug", format!("bug in labctl {}{place}", env!("CARGO_PKG_VERSION"))).hint(REPORT);
            error.causes.extend(words.map(str::to_owned));
            error.left.push("what was done so far is on record; `labctl operation list` shows it".to_owned());
            self.told(&error);
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(line: &str) -> bool {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        Early::of(&words, &Environment::fixed("/", &[])).json
    }

    #[test]
    fn the_format_is_known_however_it_is_written() {
        for line in ["labctl -o json x", "labctl x -ojson", "labctl --output=json", "labctl -o=jsonl", "labctl -o table -o json"] {
            assert!(json(line), "{line}");
        }
        for line in ["labctl x", "labctl -o", "labctl -o yaml", "labctl -- -o json", "labctl --profile json"] {
            assert!(!json(line), "{line}");
        }
    }
}
