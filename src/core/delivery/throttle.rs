//! How many requests one target (scheme, host and port) gets at once, over all subscriptions: fewer when it says or shows that
//! it is too much, one more at a time while it keeps up (additive increase, multiplicative decrease).

/// Most requests that one target gets at once.
pub const MAX_IN_FLIGHT: u32 = 256;
/// What is left of the limit when a target slows down.
const DECREASE: f64 = 0.5;

/// Requests to one target.
#[derive(Clone, Copy, Debug)]
pub struct Throttle {
    most: f64,
    limit: f64,
    in_flight: u32,
    /// When the limit was lowered: what began before says nothing new.
    lowered_ms: i64,
    paused_until_ms: i64,
}

impl Throttle {
    /// A target that gets at most so many requests at once, from 1 to [`MAX_IN_FLIGHT`].
    pub fn new(most: u32) -> Self {
        let most = f64::from(most.clamp(1, MAX_IN_FLIGHT));
        Self { most, limit: most, in_flight: 0, lowered_ms: i64::MIN, paused_until_ms: i64::MIN }
    }

    /// Asks for room for one more request.
    ///
    /// # Errors
    /// When there may be: the end of a pause, ms since 1970, or `None` when another one has come back.
    pub fn enter(&mut self, now_ms: i64) -> Result<(), Option<i64>> {
        if now_ms < self.paused_until_ms {
            return Err(Some(self.paused_until_ms));
        }
        if self.in_flight >= self.limit() {
            return Err(None);
        }
        self.in_flight += 1;
        Ok(())
    }

    /// A request has come back, or was not made.
    pub fn leave(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// The target keeps up.
    pub fn keeps_up(&mut self) {
        self.limit = (self.limit + 1.0 / self.limit).min(self.most);
    }

    /// The target was too slow for a request that began then, or said that it gets too many; it wants none before
    /// `not_before_ms`.
    pub fn slows(&mut self, began_ms: i64, not_before_ms: Option<i64>, now_ms: i64) {
        if began_ms > self.lowered_ms {
            self.limit = (self.limit * DECREASE).max(1.0);
            self.lowered_ms = now_ms;
        }
        self.paused_until_ms = self.paused_until_ms.max(not_before_ms.unwrap_or(i64::MIN));
    }

    /// How many requests it may get at once now.
    pub fn limit(&self) -> u32 {
        self.limit as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_slows_gets_half_and_comes_back_one_by_one() {
        let mut throttle = Throttle::new(16);
        (0..16).for_each(|_| assert_eq!(throttle.enter(10), Ok(())));
        assert_eq!(throttle.enter(10), Err(None));
        // One burst of refusals is one reason, not sixteen.
        for now in 20..36 {
            throttle.slows(10, Some(100), now);
            throttle.leave();
        }
        assert_eq!((throttle.limit(), throttle.enter(99)), (8, Err(Some(100))));
        assert_eq!(throttle.enter(100), Ok(()));
        for _ in 0..9 {
            throttle.keeps_up();
        }
        assert_eq!(throttle.limit(), 9);
        (0..1_000).for_each(|_| throttle.keeps_up());
        assert_eq!(throttle.limit(), 16);
        for now in 0..20 {
            throttle.slows(1_000 + now, None, 1_000 + now);
        }
        assert_eq!(throttle.limit(), 1);
    }
}
