//! What a run shows while it goes on, on stderr. Listens to the engine's events and can stop nothing.

mod lines;
mod live;
mod words;

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use indicatif::ProgressDrawTarget;

use crate::engine::event::{Event, Listener};
use lines::Lines;
use live::Live;
pub use words::short;

/// The reporter of one run.
pub struct Progress(Mutex<Face>);

enum Face {
    /// `--quiet`.
    Silent,
    /// The events themselves, one JSON object a line: `-o jsonl`.
    Events(Box<dyn Write + Send>),
    Lines(Lines),
    Live(Live),
}

impl Progress {
    pub(super) fn silent() -> Self {
        Self(Mutex::new(Face::Silent))
    }

    pub(super) fn events(to: impl Write + Send + 'static) -> Self {
        Self(Mutex::new(Face::Events(Box::new(to))))
    }

    pub(super) fn lines(to: impl Write + Send + 'static) -> Self {
        Self(Mutex::new(Face::Lines(Lines::new(Box::new(to)))))
    }

    /// `height` is the terminal's, in lines.
    pub(super) fn live(target: ProgressDrawTarget, height: u16, colour: bool) -> Self {
        Self(Mutex::new(Face::Live(Live::new(target, height, colour))))
    }
}

impl Listener for Progress {
    fn hear(&self, event: &Event) {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Face::Silent => {}
            Face::Events(to) => {
                if let Ok(line) = serde_json::to_string(event) {
                    // A closed stderr is no reason to stop a run.
                    let _ = writeln!(to, "{line}");
                }
            }
            Face::Lines(lines) => lines.hear(event),
            Face::Live(live) => live.hear(event),
        }
    }
}

#[cfg(test)]
mod tests;
