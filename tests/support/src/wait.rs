//! Waiting for something to become true, and watching that it stays so.

use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(20);

/// Asks until there is an answer; panics with `what` when there is none in time. Limits are generous: they only end a
/// test that has failed.
pub fn eventually<T>(what: &str, within: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(began.elapsed() < within, "not within {within:?}: {what}");
        std::thread::sleep(PAUSE);
    }
}

/// Asks again and again for the whole time, and panics with `what` when the answer is ever no.
pub fn holds(what: &str, during: Duration, mut ask: impl FnMut() -> bool) {
    let began = Instant::now();
    while began.elapsed() < during {
        assert!(ask(), "after {:?}: {what}", began.elapsed());
        std::thread::sleep(PAUSE * 5);
    }
}
