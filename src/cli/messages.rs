//! Words beside the data, on stderr: what goes on, what to beware of, what to do next. The only writer to stderr but for progress bars.

use std::io::Write;
use std::time::Duration;

use console::Style;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output::Sheet;
use super::report::printable;

/// How stderr is written to.
#[derive(Debug, Clone, Copy)]
pub struct Messages {
    pub(super) quiet: bool,
    pub(super) colour: bool,
    /// Whether a line may be written over: a terminal, at the default verbosity, outside CI.
    pub(super) live: bool,
}

impl Messages {
    /// Says what goes on. Left out with `--quiet`.
    pub fn status(&self, words: impl AsRef<str>) {
        if !self.quiet {
            stderr(&format!("{}\n", printable(words.as_ref())));
        }
    }

    /// Shows what is to be agreed to, as data would look. Never left out.
    pub fn sheet(&self, sheet: &Sheet) {
        stderr(&sheet.render(self.colour, None));
    }

    /// Warns. Never left out.
    pub fn warning(&self, words: impl AsRef<str>) {
        self.headed("warning:", Style::new().yellow().bold(), words.as_ref());
    }

    /// Says what to do next. Left out with `--quiet`.
    pub fn hint(&self, words: impl AsRef<str>) {
        if !self.quiet {
            self.headed("hint:", Style::new().cyan().bold(), words.as_ref());
        }
    }

    /// Says what takes a while, until the returned guard is dropped or told how it ended: a spinner on a terminal, else a plain line.
    pub fn busy(&self, words: impl Into<String>) -> Busy {
        let words = printable(&words.into());
        if self.quiet || !self.live {
            self.status(format!("{words} …"));
            return Busy { bar: None, messages: *self };
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{spinner:.cyan} {msg} {elapsed:.dim}") {
            bar.set_style(style);
        }
        bar.set_message(words);
        bar.enable_steady_tick(Duration::from_millis(100));
        Busy { bar: Some(bar), messages: *self }
    }

    fn headed(&self, word: &str, style: Style, words: &str) {
        stderr(&format!("{} {}\n", style.force_styling(self.colour).apply_to(word), printable(words)));
    }
}

/// Something that takes a while. Ends clean, also when it is dropped.
pub struct Busy {
    bar: Option<ProgressBar>,
    messages: Messages,
}

impl Busy {
    /// Goes on to the next thing.
    pub fn next(&self, words: impl Into<String>) {
        let words = printable(&words.into());
        match &self.bar {
            Some(bar) => bar.set_message(words),
            None => self.messages.status(format!("{words} …")),
        }
    }

    /// Ends with words that stay.
    pub fn done(mut self, words: impl AsRef<str>) {
        self.clear();
        self.messages.status(words);
    }

    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Writes to stderr. If that is closed there is nobody left to tell.
pub(super) fn stderr(text: &str) {
    let mut stream = std::io::stderr().lock();
    let _ = stream.write_all(text.as_bytes()).and_then(|()| stream.flush());
}
