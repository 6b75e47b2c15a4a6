//! Delays between tries: doubling and capped.

use std::time::Duration;

/// The delays of one run of tries.
#[derive(Clone, Debug)]
pub struct Backoff {
    next: Duration,
    cap: Duration,
}

impl Backoff {
    /// Doubles from `first` up to `cap`.
    pub fn new(first: Duration, cap: Duration) -> Self {
        Self { next: first.min(cap), cap }
    }

    /// For a store that does not answer: 50 ms to 2 s.
    pub fn store() -> Self {
        Self::new(Duration::from_millis(50), Duration::from_secs(2))
    }

    /// For a log that does not answer: 100 ms to 5 s.
    pub fn log() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(5))
    }

    /// For something that a person must mend: 1 s to 30 s.
    pub fn person() -> Self {
        Self::new(Duration::from_secs(1), Duration::from_secs(30))
    }

    /// The next delay.
    #[allow(clippy::should_implement_trait, reason = "delays never end, so an Option around each would say nothing")]
    pub fn next(&mut self) -> Duration {
        let delay = self.next;
        self.next = (delay * 2).min(self.cap);
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_cap() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(350));
        let delays: Vec<u128> = (0..4).map(|_| backoff.next().as_millis()).collect();
        assert_eq!(delays, [100, 200, 350, 350]);
    }
}
