//! The engine's clock: tokio's. A test may pause it, and then fifteen minutes of waiting cost nothing.
//!
//! All waits of the engine go through here. An operator's build has tokio's own time and nothing else. With the feature `failpoints`, which
//! only tests switch on (`docs/decisions/0017`), `paused` gives a thread a clock of its own: it stands still while anything can run, and
//! jumps to the next deadline when nothing can. Tokio's own paused clock is another feature of tokio, and with it another build of the SDK.

#[cfg(not(feature = "failpoints"))]
pub use tokio::time::{Instant, sleep, timeout, timeout_at};

#[cfg(feature = "failpoints")]
pub use pausable::{Instant, Late, paused, sleep, timeout, timeout_at};

#[cfg(feature = "failpoints")]
mod pausable {
    use std::cell::RefCell;
    use std::collections::BTreeMap;
    use std::future::poll_fn;
    use std::ops::Add;
    use std::pin::{Pin, pin};
    use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
    use std::task::{Context, Poll, Wake, Waker};
    use std::time::{Duration, Instant as Moment};

    thread_local! {
        static IN_FORCE: RefCell<Option<Arc<Clock>>> = const { RefCell::new(None) };
    }

    /// A moment by the thread's clock.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub struct Instant(Moment);

    impl Instant {
        /// This moment.
        pub fn now() -> Self {
            Self(in_force().map_or_else(Moment::now, |clock| clock.inside().now))
        }

        /// The time since.
        pub fn elapsed(&self) -> Duration {
            Self::now().duration_since(*self)
        }

        /// The time from an earlier moment to this one.
        pub fn duration_since(&self, earlier: Self) -> Duration {
            self.0.saturating_duration_since(earlier.0)
        }
    }

    impl Add<Duration> for Instant {
        type Output = Self;
        fn add(self, long: Duration) -> Self {
            Self(self.0 + long)
        }
    }

    /// It did not come in time.
    #[derive(Debug)]
    pub struct Late;

    /// Lets that much time pass.
    pub async fn sleep(long: Duration) {
        sleep_until(Instant::now() + long).await;
    }

    /// Awaits it for that long.
    ///
    /// # Errors
    /// [`Late`].
    pub async fn timeout<F: Future>(long: Duration, what: F) -> Result<F::Output, Late> {
        timeout_at(Instant::now() + long, what).await
    }

    /// Awaits it until that moment.
    ///
    /// # Errors
    /// [`Late`].
    pub async fn timeout_at<F: Future>(until: Instant, what: F) -> Result<F::Output, Late> {
        tokio::select! {
            biased;
            done = what => Ok(done),
            () = sleep_until(until) => Err(Late),
        }
    }

    async fn sleep_until(until: Instant) {
        match in_force() {
            Some(clock) => {
                let nth = clock.number();
                Wait { clock, until: (until.0, nth) }.await;
            }
            None => tokio::time::sleep_until(until.0.into()).await,
        }
    }

    fn in_force() -> Option<Arc<Clock>> {
        IN_FORCE.with_borrow(Clone::clone)
    }

    /// Runs this on this thread with a clock that jumps over all waiting, and gives back what came of it.
    ///
    /// The runtime is its own, of one thread: just before it would go to sleep nothing can run, and only then does time move. It has no
    /// timer, so that whatever waits past this clock panics. Nothing of the outside (a socket, another thread) can be waited for.
    ///
    /// # Panics
    /// Where nothing can run any more and nobody waits for time: that would last for ever.
    pub fn paused<F: Future>(what: F) -> F::Output {
        let inside = Inside { now: Moment::now(), waits: BTreeMap::new(), numbers: 0, stuck: false, woken: true, outer: None };
        let clock = Arc::new(Clock(Mutex::new(inside)));
        IN_FORCE.set(Some(Arc::clone(&clock)));
        let _reset = Reset;
        let idle = Arc::clone(&clock);
        let runtime = tokio::runtime::Builder::new_current_thread().on_thread_park(move || idle.jump()).build().expect("a runtime without drivers");
        let (mut what, waker) = (pin!(what), Waker::from(Arc::clone(&clock)));
        runtime.block_on(poll_fn(|cx| {
            let mut inside = clock.inside();
            (inside.woken, inside.outer) = (false, Some(cx.waker().clone()));
            let stuck = inside.stuck;
            drop(inside);
            assert!(!stuck, "nothing can run, and nobody waits for any time to pass");
            what.as_mut().poll(&mut Context::from_waker(&waker))
        }))
    }

    /// Takes the thread's clock away again, however its use has ended.
    struct Reset;

    impl Drop for Reset {
        fn drop(&mut self) {
            IN_FORCE.set(None);
        }
    }

    /// A paused clock. It is also the waker of what it runs, which the runtime need not count among its tasks.
    struct Clock(Mutex<Inside>);

    struct Inside {
        now: Moment,
        /// Who waits for which moment; the number tells those of one moment apart.
        waits: BTreeMap<(Moment, u64), Waker>,
        numbers: u64,
        stuck: bool,
        /// What is run has been woken since it was last polled.
        woken: bool,
        outer: Option<Waker>,
    }

    impl Clock {
        fn inside(&self) -> MutexGuard<'_, Inside> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }

        fn number(&self) -> u64 {
            let mut inside = self.inside();
            inside.numbers += 1;
            inside.numbers
        }

        /// Nothing can run: it is now the moment that somebody waits for next.
        fn jump(&self) {
            let mut inside = self.inside();
            if inside.woken {
                return;
            }
            let Some(((next, _), _)) = inside.waits.first_key_value() else {
                inside.stuck = true;
                let outer = inside.outer.clone();
                drop(inside);
                return outer.iter().for_each(Waker::wake_by_ref);
            };
            let next = *next;
            inside.now = next;
            let later = inside.waits.split_off(&(next, u64::MAX));
            let due = std::mem::replace(&mut inside.waits, later);
            drop(inside);
            due.into_values().for_each(Waker::wake);
        }
    }

    impl Wake for Clock {
        fn wake(self: Arc<Self>) {
            let mut inside = self.inside();
            inside.woken = true;
            let outer = inside.outer.clone();
            drop(inside);
            outer.iter().for_each(Waker::wake_by_ref);
        }
    }

    /// A wait for a moment. One that is dropped is no longer waited for.
    struct Wait {
        clock: Arc<Clock>,
        until: (Moment, u64),
    }

    impl Future for Wait {
        type Output = ();
        fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            let mut inside = self.clock.inside();
            if inside.now >= self.until.0 {
                return Poll::Ready(());
            }
            let before = inside.waits.insert(self.until, cx.waker().clone());
            drop(inside);
            drop(before);
            Poll::Pending
        }
    }

    impl Drop for Wait {
        fn drop(&mut self) {
            let waker = self.clock.inside().waits.remove(&self.until);
            // Not under the lock: with the waker may go what holds another wait.
            drop(waker);
        }
    }
}
