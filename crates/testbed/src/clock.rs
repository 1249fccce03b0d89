//! Time that stands still until a test moves it. Hours pass in microseconds, and no test waits for luck.

use std::time::{Duration, Instant};

/// A virtual clock.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
    now: Instant,
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock {
    /// A clock at zero.
    pub fn new() -> Self {
        let start = Instant::now();
        Self { start, now: start }
    }

    /// The virtual time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// What has passed since zero.
    pub fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// Lets time pass.
    pub fn advance(&mut self, by: Duration) {
        self.now += by;
    }

    /// Lets time pass until then; a moment that has passed changes nothing.
    pub fn advance_to(&mut self, then: Instant) {
        self.now = self.now.max(then);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_moves_only_forward_and_only_when_told() {
        let mut clock = Clock::new();
        let zero = clock.now();
        clock.advance(Duration::from_secs(3600));
        clock.advance_to(zero);
        assert_eq!(clock.elapsed(), Duration::from_secs(3600));
        assert_eq!(clock.now(), zero + Duration::from_secs(3600));
    }
}
