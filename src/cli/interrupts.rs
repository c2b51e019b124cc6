//! Interrupts: Ctrl-C, SIGTERM, SIGHUP. Counted in one place; a run of the engine takes them over, every other command just ends.
//!
//! Whoever takes them over is told of the first (begin nothing new, let what is in flight be recorded) and of the second (stop now). One
//! more than that, or a second one that nobody took over, ends the process on the spot: an operator can always get out.

use std::io;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::error::{CliError, Kind};

/// The interrupts so far.
#[derive(Debug, Clone)]
pub(super) struct Interrupts {
    count: watch::Receiver<u32>,
    taken: Arc<AtomicBool>,
    handed_on: Arc<AtomicBool>,
}

impl Interrupts {
    /// Begins to listen. Needs a runtime.
    pub(super) fn listen() -> io::Result<Self> {
        let (mut int, mut term, mut hup) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
        let (counter, count) = watch::channel(0);
        let taken = Arc::new(AtomicBool::new(false));
        let handed_on = Arc::new(AtomicBool::new(false));
        let (owned, others) = (Arc::clone(&taken), Arc::clone(&handed_on));
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = int.recv() => {}
                    _ = term.recv() => {}
                    _ = hup.recv() => {}
                }
                counter.send_modify(|n| *n += 1);
                let patience = if owned.load(Ordering::Relaxed) { 2 } else { 1 };
                if *counter.borrow() > patience && !others.load(Ordering::Relaxed) {
                    leave();
                }
            }
        });
        Ok(Self { count, taken, handed_on })
    }

    /// The count, for whoever minds it from now on.
    pub(super) fn take(&self) -> watch::Receiver<u32> {
        self.taken.store(true, Ordering::Relaxed);
        self.count.clone()
    }

    /// From now on they are those of a program that labctl has run, and waits for.
    pub(super) fn hand_on(&self) {
        self.taken.store(true, Ordering::Relaxed);
        self.handed_on.store(true, Ordering::Relaxed);
    }

    /// Returns at an interrupt that nobody took over.
    pub(super) async fn unminded(&self) -> CliError {
        let mut count = self.count.clone();
        let arrived = count.wait_for(|n| *n > 0).await.is_ok();
        if !arrived || self.taken.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        interrupted()
    }
}

/// The error of an interrupted command.
pub(super) fn interrupted() -> CliError {
    CliError::new(Kind::Interrupted, "interrupted", "interrupted")
}

#[expect(clippy::exit, reason = "the operator insists, and the main thread may be blocked")]
fn leave() {
    process::exit(i32::from(Kind::Interrupted.exit_code()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::{Signal, raise};

    /// A runtime of its own for each, since a signal reaches every listener of the process. (For the same reason this is one test.)
    fn with_listener(check: impl AsyncFnOnce(Interrupts)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { check(Interrupts::listen().unwrap()).await });
    }

    #[test]
    fn an_interrupt_ends_the_command_unless_it_is_minded() {
        with_listener(async |interrupts| {
            raise(Signal::SIGTERM).unwrap();
            assert_eq!(interrupts.unminded().await.kind, Kind::Interrupted);
        });
        with_listener(async |interrupts| {
            let mut count = interrupts.take();
            raise(Signal::SIGINT).unwrap();
            assert_eq!(*count.wait_for(|n| *n > 0).await.unwrap(), 1);
            let waited = tokio::time::timeout(std::time::Duration::from_millis(50), interrupts.unminded()).await;
            assert!(waited.is_err(), "the run was cut off though it minds interrupts itself");
        });
    }
}
