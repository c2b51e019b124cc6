//! The paused clock of the engine's tests: time stands still while anything can run, and jumps when nothing can.

use std::fs;
use std::future::pending;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use labctl::engine::clock::{Instant, paused, sleep, timeout};
use tokio::task::{JoinSet, yield_now};

const LONG: Duration = Duration::from_secs(15 * 60);

#[test]
fn fifteen_minutes_pass_on_the_clock_and_not_for_us() {
    let really = std::time::Instant::now();
    let (slept, spawned) = paused(async {
        let begun = Instant::now();
        sleep(LONG).await;
        let slept = begun.elapsed();
        tokio::spawn(sleep(LONG)).await.unwrap();
        (slept, begun.elapsed())
    });
    assert_eq!((slept, spawned), (LONG, 2 * LONG));
    assert!(really.elapsed() < Duration::from_secs(1), "{:?}", really.elapsed());
    // Afterwards the thread has the real time again.
    let begun = Instant::now();
    std::thread::sleep(Duration::from_millis(2));
    assert!((Duration::from_millis(2)..LONG).contains(&begun.elapsed()));
}

#[test]
fn time_stands_still_while_anything_can_run() {
    paused(async {
        let begun = Instant::now();
        let soon = tokio::spawn(sleep(Duration::from_nanos(1)));
        // Three sorts of business: in a task, among many futures of one task, and in what is run itself, each many turns long.
        let mut tasks = JoinSet::new();
        let busy = move |turns: u32| async move {
            for _ in 0..turns {
                yield_now().await;
            }
            begun.elapsed()
        };
        let (say, mut said) = tokio::sync::mpsc::channel(1);
        tasks.spawn(busy(5000));
        tasks.spawn(async move {
            let mut many: FuturesUnordered<_> = (0..50).map(|n| busy(n * 10)).collect();
            let mut last = Duration::ZERO;
            while let Some(at) = many.next().await {
                last = at;
                say.send(at).await.unwrap();
            }
            last
        });
        assert_eq!(busy(3000).await, Duration::ZERO);
        for _ in 0..50 {
            assert_eq!(said.recv().await, Some(Duration::ZERO));
        }
        while let Some(at) = tasks.join_next().await {
            assert_eq!(at.unwrap(), Duration::ZERO);
        }
        assert!(!soon.is_finished());
        soon.await.unwrap();
        assert_eq!(begun.elapsed(), Duration::from_nanos(1));
    });
}

#[test]
fn waits_end_in_the_order_of_their_moments_and_time_that_is_given_need_not_be_used_up() {
    paused(async {
        let begun = Instant::now();
        let ended = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        for seconds in [7, 1, 60, 3, 3] {
            let ended = Arc::clone(&ended);
            tasks.spawn(async move {
                sleep(Duration::from_secs(seconds)).await;
                ended.lock().unwrap().push((seconds, begun.elapsed().as_secs()));
            });
        }
        assert!(timeout(LONG, async { while tasks.join_next().await.is_some() {} }).await.is_ok());
        assert_eq!(*ended.lock().unwrap(), [(1, 1), (3, 3), (3, 3), (7, 7), (60, 60)]);
        // The quarter of an hour that was given is not used up; one that nobody answers in is.
        assert_eq!(begun.elapsed().as_secs(), 60);
        assert!(timeout(LONG, pending::<()>()).await.is_err());
        assert_eq!(begun.elapsed(), LONG + Duration::from_secs(60));
    });
}

#[test]
#[should_panic(expected = "nobody waits for any time to pass")]
fn what_would_last_for_ever_is_told() {
    paused(async {
        tokio::spawn(pending::<()>());
        sleep(LONG).await;
        pending::<()>().await;
    });
}

#[test]
fn the_engine_tells_the_time_by_its_clock_only() {
    let mut files = 0;
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/engine")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        if path.file_name().is_some_and(|n| n == "clock.rs") {
            continue;
        }
        files += 1;
        for (n, line) in text.lines().enumerate().filter(|(_, l)| !l.trim_start().starts_with("//")) {
            let other = ["tokio::time", "time::Instant", "SystemTime", "chrono::", "thread::sleep"].iter().find(|other| line.contains(**other));
            let listed = line.contains("std::time::{") && line.contains("Instant");
            assert!(other.is_none() && !listed, "{}:{}: {line}", path.display(), n + 1);
        }
    }
    assert!(files > 10, "only {files} files were read");
}
