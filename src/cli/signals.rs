//! Interrupts as the engine hears them: the first drains, the second stops now. Both end resumable.

use tokio::sync::watch;

use super::Cli;
use crate::engine::run::Stop;

/// Takes over interrupts from now on, telling the operator what each of them does. Of the first, progress tells; with `--quiet` there is none.
pub(super) fn listen(cli: &Cli) -> watch::Receiver<Stop> {
    hear(cli, cli.say.quiet)
}

/// The same for a command that shows no progress.
pub(super) fn listen_without_progress(cli: &Cli) -> watch::Receiver<Stop> {
    hear(cli, true)
}

fn hear(cli: &Cli, aloud: bool) -> watch::Receiver<Stop> {
    let (mut counted, say) = (cli.interrupts(), cli.say);
    let (tell, told) = watch::channel(Stop::No);
    tokio::spawn(async move {
        while counted.changed().await.is_ok() {
            let stop = if *counted.borrow_and_update() == 1 { Stop::Drain } else { Stop::Now };
            match stop {
                // Progress tells of it; a line written between its own would spoil both.
                Stop::Drain if !aloud => {}
                Stop::Drain => say.warning("interrupted: nothing new is begun, what is in flight is awaited; interrupt again to stop now"),
                _ => say.warning("stopping at once; what is in flight is on record as intended, and resuming looks for it"),
            }
            if tell.send(stop).is_err() {
                return;
            }
        }
    });
    told
}
