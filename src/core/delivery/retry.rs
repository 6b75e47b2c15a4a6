//! How often a delivery is tried, and how long to wait in between.

/// Share by which a wait may be shorter or longer, so that events that failed together do not come back together.
const JITTER: f64 = 0.1;

/// When an event that could not be delivered is tried again (SPEC 7).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retry {
    /// Attempts after the first. Default 3.
    pub max: u32,
    /// Wait before the second attempt, ms. Default 5000.
    pub initial_ms: u64,
    /// By which each further wait is longer. Default 2.
    pub factor: f64,
    /// Longest wait, ms. Default 300000.
    pub max_delay_ms: u64,
}

impl Default for Retry {
    fn default() -> Self {
        Self { max: 3, initial_ms: 5_000, factor: 2.0, max_delay_ms: 300_000 }
    }
}

impl Retry {
    /// The wait after this many attempts, ms. `dice` is any number that differs from event to event; the same gives the same.
    pub fn delay_ms(&self, attempts: u32, dice: u64) -> u64 {
        let exponent = i32::try_from(attempts.saturating_sub(1)).unwrap_or(i32::MAX);
        let longest = self.max_delay_ms as f64;
        let plain = (self.initial_ms as f64 * self.factor.powi(exponent)).min(longest);
        let spread = 1.0 - JITTER + 2.0 * JITTER * (dice % 1_001) as f64 / 1_000.0;
        (plain * spread).min(longest) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_by_the_factor_up_to_the_longest_give_or_take_a_tenth() {
        let retry = Retry { max_delay_ms: 15_000, ..Retry::default() };
        for (attempts, plain) in [(1, 5_000), (2, 10_000), (3, 15_000), (4, 15_000), (u32::MAX, 15_000)] {
            let delays = (0..2_000).map(|dice| retry.delay_ms(attempts, dice));
            let (least, most) = delays.fold((u64::MAX, 0), |(least, most), delay| (least.min(delay), most.max(delay)));
            assert_eq!(least, plain * 9 / 10, "{attempts}");
            assert_eq!(most, (plain * 11 / 10).min(15_000), "{attempts}");
        }
    }
}
