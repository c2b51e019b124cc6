//! The terminal: arguments, words, colours, progress, exit codes. The only place that knows clap, and the only one that prints.
//!
//! The folder tree is the command tree: `cli/profile/list.rs` is `labctl profile list`. A command's file is an `Args` struct, whose doc
//! comments are its help, and one `run(args, &cli)`. It reads its arguments, calls a verb of `ops`, and hands the result to
//! [`Cli::out`]. To add one: write its file, and its `mod` line, variant and arm in the group's `mod.rs`.
//!
//! * [`Cli`]: what a command has at hand: `out` (data), `say` (words), `ask` (questions), [`Cli::settings`], [`Cli::progress`].
//! * [`error`]: the one error, its kinds and their exit codes.

pub mod error;
pub mod help;
pub mod messages;
pub mod output;
pub mod progress;
pub mod prompt;

mod audit;
mod causes;
mod completions;
mod doctor;
mod drift_line;
mod early;
mod events;
mod fleet;
mod interrupts;
mod lock;
mod logging;
mod man;
mod operation;
mod place;
mod profile;
mod registry;
mod report;
mod sandbox;
mod signals;
mod spec;
mod tenant;
mod tier;

use std::cell::OnceCell;
use std::ffi::OsString;
use std::io::{IsTerminal, stderr, stdin, stdout};
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};
use console::Term;
use indicatif::ProgressDrawTarget;
use tokio::sync::watch;

use crate::config::{Environment, Flags, Settings};
use early::Early;
pub use error::CliError;
use error::Kind;
use interrupts::Interrupts;
use messages::Messages;
use output::{Format, Output};
use progress::Progress;
use prompt::Prompt;

/// Provision the tenants of multi-tenant products on AWS, and run their lives
#[derive(Debug, clap::Parser)]
#[command(name = "labctl", version, styles = help::STYLES, max_term_width = 100)]
struct Args {
    #[command(subcommand)]
    command: Command,

    #[command(flatten)]
    global: Global,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Tenant(Box<tenant::Args>),
    Fleet(fleet::Args),
    Operation(operation::Args),
    Lock(lock::Args),
    Audit(audit::Args),
    Events(events::Args),
    Spec(spec::Args),
    Tier(tier::Args),
    Profile(profile::Args),
    Sandbox(sandbox::Args),
    Registry(registry::Args),
    Doctor(doctor::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// Options every command has.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
struct Global {
    /// Where to act: `sandbox`, or a profile of labctl.toml [default: sandbox]
    #[arg(long, global = true, value_name = "NAME")]
    profile: Option<String>,

    /// Platform file [default: labctl.toml here or in a folder above]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,

    /// How to print data: table, json, jsonl, yaml or csv [default: table]
    #[arg(short, long, global = true, value_name = "FORMAT", default_value = "table", hide_default_value = true, hide_possible_values = true)]
    output: Format,

    /// Answer every yes-or-no question with yes
    #[arg(short, long, global = true)]
    yes: bool,

    /// Never ask; a missing answer is an error
    #[arg(long, global = true)]
    no_input: bool,

    /// Tell more on stderr; -vv and -vvv even more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,

    /// Print data, warnings and errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,

    /// When to use colours: auto, always or never [default: auto]
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", hide_default_value = true, hide_possible_values = true)]
    color: ColorWhen,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum ColorWhen {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl ColorWhen {
    fn on(self, terminal: bool, environment: &Environment) -> bool {
        match self {
            Self::Auto => terminal && !environment.refuses_colour(),
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// The whole command tree: what help, completions, man pages and tests iterate over.
pub fn command() -> clap::Command {
    help::dress(Args::command())
}

/// What a command has at hand.
pub struct Cli {
    /// Data, on stdout.
    pub out: Output,
    /// Words, on stderr.
    pub say: Messages,
    /// Questions.
    pub ask: Prompt,
    flags: Flags,
    environment: Environment,
    settings: OnceCell<Settings>,
    warned: OnceCell<()>,
    interrupts: OnceCell<Interrupts>,
    command_line: String,
}

impl Cli {
    fn new(global: Global, environment: Environment, command_line: String) -> Self {
        let (out, err) = (stdout().is_terminal(), stderr().is_terminal());
        let nobody = environment.is_ci() || global.no_input;
        let colour = global.color.on(err, &environment);
        // Only the libraries that draw on stderr go by these; labctl's own text is styled explicitly.
        console::set_colors_enabled(colour);
        console::set_colors_enabled_stderr(colour);
        logging::start(global.verbose, colour);
        let live = err && !environment.is_ci() && !environment.is_dumb() && global.verbose == 0;
        let width = out.then(|| Term::stdout().size_checked()).flatten().map(|(_, columns)| columns);
        Self {
            out: Output::stdout(global.output, global.color.on(out, &environment), width),
            say: Messages { quiet: global.quiet, colour, live },
            ask: Prompt { can_ask: !nobody && err && stdin().is_terminal(), yes: global.yes },
            flags: Flags { profile: global.profile, config: global.config },
            environment,
            settings: OnceCell::new(),
            warned: OnceCell::new(),
            interrupts: OnceCell::new(),
            command_line,
        }
    }

    /// The settings, resolved when first asked for: a broken labctl.toml does not disturb a command that needs none.
    ///
    /// # Errors
    /// Usage: what is wrong with them.
    pub fn settings(&self) -> Result<&Settings, CliError> {
        if let Some(settings) = self.settings.get() {
            return Ok(settings);
        }
        let settings = Settings::resolve(&self.flags, self.environment())?;
        Ok(self.settings.get_or_init(|| settings))
    }

    /// A reporter for one run of the engine. Drop it before printing anything else.
    pub fn progress(&self) -> Progress {
        match (self.say.quiet, self.out.format(), self.say.live) {
            (true, ..) => Progress::silent(),
            (_, Format::Jsonl, _) => Progress::events(stderr()),
            (_, _, true) => Progress::live(ProgressDrawTarget::stderr(), Term::stderr().size().0, self.say.colour),
            (_, _, false) => Progress::lines(stderr()),
        }
    }

    /// Takes over interrupts (Ctrl-C, SIGTERM, SIGHUP): from now on they no longer end the command, they only count. 1: begin nothing new;
    /// 2: stop now; the third ends the process on the spot.
    pub fn interrupts(&self) -> watch::Receiver<u32> {
        match self.interrupts.get() {
            Some(interrupts) => interrupts.take(),
            // Outside of a runtime nobody counts.
            None => watch::channel(0).1,
        }
    }

    /// Leaves interrupts to a program that is run for the operator: from now on they do not end the command.
    fn hand_interrupts_on(&self) {
        if let Some(interrupts) = self.interrupts.get() {
            interrupts.hand_on();
        }
    }

    /// The command as it was typed, for the record. No option of labctl's takes a secret.
    fn command_line(&self) -> &str {
        &self.command_line
    }

    pub(crate) fn flags(&self) -> &Flags {
        &self.flags
    }

    /// The environment; once, with a warning of variables that were meant for labctl and misspelt.
    pub(crate) fn environment(&self) -> &Environment {
        if self.warned.set(()).is_ok() {
            for (name, meant) in self.environment.misspelt() {
                let meant = meant.map(|m| format!("; did you mean {m}?")).unwrap_or_default();
                self.say.warning(format!("{name} is set, but means nothing to labctl{meant}"));
            }
        }
        &self.environment
    }
}

/// The program: parses, runs, tells, and says how it ended.
pub fn main(arguments: Vec<OsString>, environment: Environment) -> ExitCode {
    let early = Early::of(&arguments, &environment);
    early.watch_for_panics();
    let words: Vec<_> = arguments.iter().skip(1).map(|a| a.to_string_lossy()).collect();
    let command_line = format!("labctl {}", words.join(" "));
    let args = match command().try_get_matches_from(arguments).and_then(|matches| Args::from_arg_matches(&matches)) {
        Ok(args) => args,
        Err(error) => return early.unparsed(&error),
    };
    let early = Early::parsed(args.global.output, args.global.color, &environment);
    let command = args.command;
    #[cfg(feature = "failpoints")]
    if let (strike, log) = environment.failpoint()
        && let Err(why) = crate::failpoint::arm(strike, log.as_deref())
    {
        return early.told(&CliError::usage(why));
    }
    let cli = Cli::new(args.global, environment, command_line);
    let ended = std::panic::catch_unwind(AssertUnwindSafe(|| block_on(command, &cli)));
    match ended {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => early.told(&error),
        // The hook has told of it.
        Err(_) => ExitCode::from(Kind::Bug.exit_code()),
    }
}

fn block_on(command: Command, cli: &Cli) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|e| CliError::failed("no_threads", "cannot start threads").because(&e))?;
    let result = runtime.block_on(async {
        let interrupts = Interrupts::listen().map_err(|e| CliError::failed("no_signals", "cannot listen for interrupts").because(&e))?;
        let interrupts = cli.interrupts.get_or_init(|| interrupts);
        tokio::select! {
            ended = run(command, cli) => ended,
            interrupted = interrupts.unminded() => Err(interrupted),
        }
    });
    // What still blocks (a read of stdin) must not hold up the end.
    runtime.shutdown_background();
    result
}

async fn run(command: Command, cli: &Cli) -> Result<(), CliError> {
    match command {
        Command::Tenant(args) => tenant::run(*args, cli).await,
        Command::Fleet(args) => fleet::run(args, cli).await,
        Command::Operation(args) => operation::run(args, cli).await,
        Command::Lock(args) => lock::run(args, cli).await,
        Command::Audit(args) => audit::run(args, cli).await,
        Command::Events(args) => events::run(args, cli).await,
        Command::Spec(args) => spec::run(args, cli).await,
        Command::Tier(args) => tier::run(args, cli).await,
        Command::Profile(args) => profile::run(args, cli).await,
        Command::Sandbox(args) => sandbox::run(args, cli).await,
        Command::Registry(args) => registry::run(args, cli).await,
        Command::Doctor(args) => doctor::run(args, cli).await,
        Command::Completions(args) => completions::run(args, cli).await,
        Command::Man(args) => man::run(args, cli).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn every_command_and_option_has_its_help_and_every_leaf_an_example() {
        fn check(command: &clap::Command) {
            let name = command.get_name();
            assert!(command.get_about().is_some(), "{name} says nothing of itself");
            for arg in command.get_arguments() {
                assert!(arg.get_help().is_some(), "{name}: {} has no help", arg.get_id());
            }
            let leaf = !command.has_subcommands();
            let examples = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
            assert!(!leaf || examples.starts_with("Examples:"), "{name} shows no examples");
            command.get_subcommands().for_each(check);
        }
        check(&command());
    }
}
