//! Progress on a terminal: one live line per resource at work, in the order of the plan, and a bar for the whole.
//!
//! What is done moves up and out as printed lines, in plan order as long as the screen has room for what must wait for its turn.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use console::Style;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::words::{DRAINING, Outcome, Tally, column, label, short};
use crate::engine::event::Event;
use crate::engine::kind::Address;
use crate::engine::step::Action;

/// Of the spinners and clocks.
const TICK: Duration = Duration::from_millis(100);
/// Lines of the screen left to the bar and to what was there before.
const SPARE: usize = 3;

/// The live face.
pub(super) struct Live {
    screen: Arc<Mutex<Screen>>,
    /// Dropped, it stops the ticking.
    _alive: Sender<()>,
}

struct Screen {
    multi: MultiProgress,
    total: ProgressBar,
    steps: Vec<Step>,
    tally: Tally,
    column: usize,
    room: usize,
    colour: bool,
}

struct Step {
    address: Address,
    action: Action,
    bar: Option<ProgressBar>,
    /// The line it leaves behind; taken when it has been printed.
    line: Option<String>,
    ended: bool,
}

impl Live {
    pub(super) fn new(target: ProgressDrawTarget, height: u16, colour: bool) -> Self {
        let multi = MultiProgress::with_draw_target(target);
        let screen = Screen {
            multi,
            total: ProgressBar::hidden(),
            steps: Vec::new(),
            tally: Tally::default(),
            column: 0,
            room: usize::from(height).saturating_sub(SPARE).max(1),
            colour,
        };
        let screen = Arc::new(Mutex::new(screen));
        let (alive, gone) = channel();
        let ticked = Arc::clone(&screen);
        // One thread for all spinners; indicatif's own would be one for each.
        let _ = thread::Builder::new().name("progress".to_owned()).spawn(move || tick(&gone, &ticked));
        Self { screen, _alive: alive }
    }

    pub(super) fn hear(&mut self, event: &Event) {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner).hear(event);
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner).close();
    }
}

fn tick(gone: &Receiver<()>, screen: &Mutex<Screen>) {
    while gone.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
        let screen = screen.lock().unwrap_or_else(PoisonError::into_inner);
        screen.steps.iter().filter(|s| !s.ended).filter_map(|s| s.bar.as_ref()).for_each(ProgressBar::tick);
        screen.total.tick();
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants of this file; a wrong one shows as a bare bar.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style
        .with_key("time", |state: &ProgressState, w: &mut dyn std::fmt::Write| {
            let _ = w.write_str(&short(state.elapsed()));
        })
        .tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ ")
        .progress_chars("━━╌")
}

impl Screen {
    fn hear(&mut self, event: &Event) {
        self.tally.count(event);
        match event {
            Event::Started { steps } => self.open(steps),
            Event::StepStarted { address, .. } => self.begin(address),
            Event::StepWaiting { address, why, .. } => self.say(address, why),
            Event::StepRetried { address, fault, pause } => self.say(address, &format!("again in {}: {fault}", short(*pause))),
            Event::StepCreated { .. } => {}
            Event::Draining => self.print(DRAINING),
            Event::Finished { took } => {
                self.close();
                if !self.steps.is_empty() {
                    self.print(&self.tally.line(*took));
                }
            }
            Event::StepDone { .. } | Event::StepFailed { .. } | Event::StepSkipped { .. } => self.end(event),
        }
    }

    fn open(&mut self, steps: &[(Address, Action)]) {
        if steps.is_empty() {
            return;
        }
        self.column = column(steps);
        self.steps = steps.iter().map(|(address, action)| Step { address: address.clone(), action: *action, bar: None, line: None, ended: false }).collect();
        self.total = self.multi.add(ProgressBar::new(steps.len() as u64).with_style(style("{bar:24.cyan/dim} {pos}/{len}  {time:.dim}")));
        self.total.tick();
    }

    fn begin(&mut self, address: &Address) {
        let Some(at) = self.position(address) else { return };
        if self.shown() >= self.room {
            // Room is made as others end; until then the bar alone tells of it.
            self.make_room();
            if self.shown() >= self.room {
                return;
            }
        }
        let before = self.steps[..at].iter().filter(|s| s.bar.is_some()).count();
        let bar = self.multi.insert(before, ProgressBar::new_spinner().with_style(style("{spinner:.cyan} {prefix}  {time:>6.dim}  {wide_msg:.dim}")));
        let step = &self.steps[at];
        bar.set_prefix(format!("{} {:width$}", self.glyphs(step.action), label(&step.address), width = self.column));
        bar.tick();
        self.steps[at].bar = Some(bar);
    }

    fn glyphs(&self, action: Action) -> String {
        let style = match action {
            Action::Keep => Style::new(),
            Action::Create => Style::new().green(),
            Action::Update => Style::new().yellow(),
            Action::Replace => Style::new().magenta(),
            Action::Delete => Style::new().red(),
        };
        style.force_styling(self.colour).apply_to(action.glyph()).to_string()
    }

    fn say(&mut self, address: &Address, words: &str) {
        if let Some(bar) = self.position(address).and_then(|at| self.steps[at].bar.as_ref()) {
            bar.set_message(crate::cli::report::printable(words).replace('\n', " "));
        }
    }

    fn end(&mut self, event: &Event) {
        let Some(outcome) = Outcome::of(event, |address| self.position(address).map_or(Action::Keep, |at| self.steps[at].action)) else { return };
        let line = outcome.marked(self.column, self.colour);
        let Some(at) = self.position(outcome.address) else { return };
        let step = &mut self.steps[at];
        if let Some(bar) = &step.bar {
            bar.set_style(style("{msg}"));
            bar.set_message(line.clone());
        }
        step.line = (!self.tally.goes_without_saying(event)).then_some(line);
        step.ended = true;
        self.total.inc(1);
        // Those whose turn has come: every earlier one has ended.
        for at in 0..self.steps.len() {
            if !self.steps[at].ended {
                break;
            }
            self.settle(at);
        }
        if self.shown() > self.room {
            self.make_room();
        }
    }

    /// Prints the earliest ended step that still holds a line of the screen.
    fn make_room(&mut self) {
        if let Some(at) = self.steps.iter().position(|s| s.ended && s.bar.is_some()) {
            self.settle(at);
        }
    }

    /// Turns a step that has ended into a printed line, once.
    fn settle(&mut self, at: usize) {
        if let Some(bar) = self.steps[at].bar.take() {
            bar.finish_and_clear();
            self.multi.remove(&bar);
        }
        if let Some(line) = self.steps[at].line.take() {
            self.print(&line);
        }
    }

    /// Leaves the screen as plain text would: every line of what ended, nothing that moves.
    fn close(&mut self) {
        for at in 0..self.steps.len() {
            self.settle(at);
        }
        self.total.finish_and_clear();
    }

    fn shown(&self) -> usize {
        self.steps.iter().filter(|s| s.bar.is_some()).count()
    }

    fn position(&self, address: &Address) -> Option<usize> {
        self.steps.iter().position(|s| s.address == *address)
    }

    fn print(&self, line: &str) {
        // A closed stderr is no reason to stop a run.
        let _ = self.multi.println(line);
    }
}
