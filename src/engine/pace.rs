//! Rates, back-off and patience: how fast a run goes, and how long it waits.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::clock::{Instant, sleep};
use super::kind::Limit;
use super::lease::{HEARTBEAT, TTL};

/// How long a run waits between looks and tries.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// First pause between two looks at something that is not ready; it grows by half each time.
    pub poll_first: Duration,
    /// Longest pause between two looks.
    pub poll_longest: Duration,
    /// A waiting step is heard of at least this often.
    pub heartbeat: Duration,
    /// First pause after a throttled or unclear call; it doubles each time, with jitter.
    pub retry_first: Duration,
    /// Longest such pause.
    pub retry_longest: Duration,
    /// Throttled or unclear calls in a row before a step gives up.
    pub tries: u32,
    /// How long something just created may stay invisible (eventual consistency).
    pub invisible: Duration,
    /// How long a registry that cannot be written is tried again before the run stops. With the wait of the journal's own calls it
    /// must stay below the lease's life.
    pub journal: Duration,
    /// How often the lease is renewed.
    pub beat: Duration,
    /// How long the lease lives without that.
    pub lease: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            poll_first: Duration::from_millis(250),
            poll_longest: Duration::from_secs(15),
            heartbeat: Duration::from_secs(10),
            retry_first: Duration::from_millis(500),
            retry_longest: Duration::from_secs(20),
            tries: 8,
            invisible: Duration::from_secs(60),
            journal: Duration::from_secs(30),
            beat: HEARTBEAT,
            lease: TTL,
        }
    }
}

impl Patience {
    /// The pause before look number `n` (0 for the first).
    pub fn poll(&self, n: u32) -> Duration {
        self.poll_first.mul_f64(1.5_f64.powi(n.min(30) as i32)).min(self.poll_longest)
    }

    /// The pause before try number `n` (0 for the first repeat): exponential, with full jitter in its upper half so that many
    /// throttled steps do not come back together.
    pub fn retry(&self, n: u32) -> Duration {
        let ceiling = self.retry_first.mul_f64(2_f64.powi(n.min(30) as i32)).min(self.retry_longest);
        ceiling.mul_f64(0.5 + rand::random::<f64>() / 2.0)
    }
}

/// Paces writes by API: one bucket of tokens per [`Limit::api`], shared by all steps of a process.
#[derive(Debug, Default)]
pub struct Pacer(Mutex<HashMap<&'static str, Bucket>>);

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Pacer {
    /// Takes one token, waiting for it where the rate binds.
    pub async fn take(&self, limit: &Limit) {
        let pause = self.reserve(limit, Instant::now());
        if !pause.is_zero() {
            sleep(pause).await;
        }
    }

    /// Takes one token on credit; the debt is the pause.
    fn reserve(&self, limit: &Limit, now: Instant) -> Duration {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.entry(limit.api).or_insert(Bucket { tokens: f64::from(limit.burst), at: now });
        let refilled = bucket.tokens + now.duration_since(bucket.at).as_secs_f64() * limit.per_second;
        bucket.tokens = refilled.min(f64::from(limit.burst)) - 1.0;
        bucket.at = now;
        Duration::from_secs_f64((-bucket.tokens / limit.per_second).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_free_and_then_the_rate_binds() {
        let (pacer, now) = (Pacer::default(), Instant::now());
        let limit = Limit { api: "x", per_second: 2.0, burst: 3, concurrency: 1 };
        let pauses: Vec<_> = (0..5).map(|_| pacer.reserve(&limit, now).as_millis()).collect();
        assert_eq!(pauses, [0, 0, 0, 500, 1000]);
        assert_eq!(pacer.reserve(&limit, now + Duration::from_secs(10)), Duration::ZERO, "it refills");
    }

    #[test]
    fn pauses_grow_and_stop_growing() {
        let p = Patience::default();
        assert!(p.poll(0) < p.poll(3) && p.poll(30) == p.poll_longest);
        assert!(p.retry(40) <= p.retry_longest && p.retry(0) >= p.retry_first / 2);
    }
}
