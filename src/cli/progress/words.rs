//! What the two faces of progress have in common: short durations, outcomes in one word, the look of a line.

use std::time::Duration;

use console::{Color, Style, pad_str};

use crate::cli::report::printable;
use crate::engine::event::Event;
use crate::engine::kind::Address;
use crate::engine::step::Action;

/// Widest column of addresses; longer ones push their own line out only.
const WIDEST: usize = 44;
/// The longest outcome, `unchanged`.
const OUTCOME: usize = 9;
/// The longest usual duration, `59m59s`.
const TIME: usize = 6;

/// `0.4s`, `12s`, `6m12s`, `1h02m`.
pub fn short(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 => format!("{:.1}s", time.as_secs_f64().min(9.9)),
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

/// `s3_bucket/data`: an address without its tenant, which the whole run is about.
pub(super) fn label(address: &Address) -> String {
    printable(&format!("{}/{}", address.kind, address.name))
}

/// Width of the column of addresses.
pub(super) fn column(steps: &[(Address, Action)]) -> usize {
    steps.iter().map(|(address, _)| label(address).chars().count()).max().unwrap_or(0).min(WIDEST)
}

/// How a step ended, as a line shows it.
pub(super) struct Outcome<'a> {
    pub(super) address: &'a Address,
    pub(super) glyph: char,
    pub(super) mark: char,
    pub(super) word: &'static str,
    pub(super) took: Option<Duration>,
    pub(super) detail: String,
    pub(super) colour: Color,
}

impl<'a> Outcome<'a> {
    /// The outcome an event tells of, if it tells of one. `planned` is the step's planned action.
    pub(super) fn of(event: &'a Event, planned: impl Fn(&Address) -> Action) -> Option<Self> {
        match event {
            Event::StepDone { address, action, took, .. } => Some(Self {
                address,
                glyph: planned(address).glyph(),
                mark: '✓',
                word: done(*action),
                took: Some(*took),
                detail: String::new(),
                colour: Color::Green,
            }),
            Event::StepFailed { address, fault, in_doubt, took } => Some(Self {
                address,
                glyph: if *in_doubt { '?' } else { '!' },
                mark: if *in_doubt { '?' } else { '✗' },
                word: if *in_doubt { "in doubt" } else { "failed" },
                took: Some(*took),
                detail: fault.to_string(),
                colour: Color::Red,
            }),
            Event::StepSkipped { address, because } => {
                Some(Self { address, glyph: planned(address).glyph(), mark: '·', word: "skipped", took: None, detail: because.clone(), colour: Color::Yellow })
            }
            _ => None,
        }
    }

    /// `+ s3_bucket/data  created  0.4s  detail`
    pub(super) fn line(&self, column: usize, colour: bool) -> String {
        line(self.glyph, self.address, self.word, self.took.map(short), &self.detail, column, Some((self.colour, colour)))
    }

    /// The mark before the line, `✓` or `✗`.
    pub(super) fn marked(&self, column: usize, colour: bool) -> String {
        let mark = Style::new().fg(self.colour).force_styling(colour).apply_to(self.mark);
        format!("{mark} {}", self.line(column, colour))
    }
}

/// One line of a step, in columns.
pub(super) fn line(glyph: char, address: &Address, word: &str, time: Option<String>, detail: &str, column: usize, tint: Option<(Color, bool)>) -> String {
    let word = pad_str(word, OUTCOME, console::Alignment::Left, None);
    let word = match tint {
        Some((colour, true)) => Style::new().fg(colour).force_styling(true).apply_to(word).to_string(),
        _ => word.into_owned(),
    };
    let label = label(address);
    let detail = printable(detail).replace('\n', " ");
    format!("{glyph} {label:column$}  {word}  {:>TIME$}  {detail}", time.unwrap_or_default()).trim_end().to_owned()
}

fn done(action: Action) -> &'static str {
    match action {
        Action::Keep => "unchanged",
        Action::Create => "created",
        Action::Update => "updated",
        Action::Replace => "replaced",
        Action::Delete => "deleted",
    }
}

/// What has become of a run's steps, for its last line.
#[derive(Default)]
pub(super) struct Tally {
    done: usize,
    failed: usize,
    in_doubt: usize,
    skipped: usize,
    draining: bool,
}

impl Tally {
    pub(super) fn count(&mut self, event: &Event) {
        match event {
            Event::StepDone { .. } => self.done += 1,
            Event::StepFailed { in_doubt: true, .. } => self.in_doubt += 1,
            Event::StepFailed { .. } => self.failed += 1,
            Event::StepSkipped { .. } => self.skipped += 1,
            Event::Draining => self.draining = true,
            _ => {}
        }
    }

    /// Whether the event is nothing but a consequence of the interrupt, of which the operator knows: a line for each step that was not
    /// begun would bury those that were.
    pub(super) fn goes_without_saying(&self, event: &Event) -> bool {
        self.draining && matches!(event, Event::StepSkipped { .. })
    }

    /// Steps that have come to an end, whichever.
    pub(super) fn ended(&self) -> usize {
        self.done + self.failed + self.in_doubt + self.skipped
    }

    /// `14 done, 1 failed, 2 skipped in 1m12s`
    pub(super) fn line(&self, took: Duration) -> String {
        let parts = [(self.done, "done"), (self.failed, "failed"), (self.in_doubt, "in doubt"), (self.skipped, "skipped")];
        let parts: Vec<_> = parts.iter().filter(|(n, word)| *n > 0 || *word == "done").map(|(n, word)| format!("{n} {word}")).collect();
        format!("{} in {}", parts.join(", "), short(took))
    }
}

/// Told when the first interrupt arrives.
pub(super) const DRAINING: &str = "interrupted: nothing new is begun, what is in flight is awaited; interrupt again to stop now";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        let told = [0, 449, 9_960, 12_400, 60_000, 372_000, 3_725_000].map(|ms| short(Duration::from_millis(ms)));
        assert_eq!(told, ["0.0s", "0.4s", "9.9s", "12s", "1m00s", "6m12s", "1h02m"]);
    }
}
