//! Progress as plain lines: in a pipe, in CI, beside `-v`. No control characters; one line when something ends, and a sign of life while it does not.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use super::words::{DRAINING, Outcome, Tally, column, line, short};
use crate::engine::event::Event;
use crate::engine::kind::Address;
use crate::engine::step::Action;

/// Between two signs of life of one resource.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Shorter pauses before a retry are not worth a line.
const WORTH_TELLING: Duration = Duration::from_secs(1);

/// The plain face.
pub(super) struct Lines {
    to: Box<dyn Write + Send>,
    steps: BTreeMap<Address, Action>,
    column: usize,
    tally: Tally,
    /// How long each waiting step had run when it was last spoken of.
    told: BTreeMap<Address, Duration>,
}

impl Lines {
    pub(super) fn new(to: Box<dyn Write + Send>) -> Self {
        Self { to, steps: BTreeMap::new(), column: 0, tally: Tally::default(), told: BTreeMap::new() }
    }

    pub(super) fn hear(&mut self, event: &Event) {
        self.tally.count(event);
        match event {
            Event::Started { steps } => {
                self.column = column(steps);
                self.steps = steps.iter().cloned().collect();
            }
            Event::StepWaiting { address, why, elapsed } => {
                let last = self.told.get(address).copied().unwrap_or_default();
                if *elapsed >= last + HEARTBEAT {
                    self.told.insert(address.clone(), *elapsed);
                    self.step(address, "waiting", *elapsed, why);
                }
            }
            Event::StepRetried { address, fault, pause } if *pause >= WORTH_TELLING => self.step(address, "retrying", *pause, &fault.to_string()),
            Event::Draining => self.print(DRAINING),
            Event::Finished { took } if !self.steps.is_empty() => self.print(&self.tally.line(*took)),
            other if self.tally.goes_without_saying(other) => {}
            other => {
                if let Some(outcome) = Outcome::of(other, |address| self.planned(address)) {
                    let text = outcome.line(self.column, false);
                    self.counted(&text);
                }
            }
        }
    }

    fn planned(&self, address: &Address) -> Action {
        self.steps.get(address).copied().unwrap_or(Action::Keep)
    }

    fn step(&mut self, address: &Address, word: &str, time: Duration, detail: &str) {
        let text = line(self.planned(address).glyph(), address, word, Some(short(time)), detail, self.column, None);
        self.counted(&text);
    }

    fn counted(&mut self, text: &str) {
        let total = self.steps.len().to_string();
        let text = format!("[{:>width$}/{total}]  {text}", self.tally.ended(), width = total.len());
        self.print(&text);
    }

    /// A closed stderr is no reason to stop a run.
    fn print(&mut self, text: &str) {
        let _ = writeln!(self.to, "{text}");
    }
}
