//! A circuit breaker: after many failures in a row a target is left alone, and then asked by one event at a time until it
//! answers again.
//!
//! What counts as a failure is that nothing useful answers: a refused connection, a timeout, a 5xx. While it is open no
//! attempts are made, so an outage does not use up the attempts of every event that waits.

/// Failures in a row that open it.
pub const FAILURES: u32 = 10;
/// How long it is open first, ms; twice as long after each probe that fails.
pub const FIRST_OPEN_MS: i64 = 1_000;
/// How long it is open at most, ms.
pub const LONGEST_OPEN_MS: i64 = 30_000;

/// What a breaker shows to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Events go.
    Closed,
    /// None goes.
    Open,
    /// One goes, and shows whether the others may.
    HalfOpen,
}

impl Shown {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

/// Whether an attempt may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Go,
    /// Not before then, ms since 1970.
    NotBefore(i64),
    /// Not before the probe that is on its way has come back.
    AfterProbe,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed { failures: u32 },
    Open { until_ms: i64, open_ms: i64 },
    Probing { open_ms: i64 },
}

/// The breaker of one subscription.
#[derive(Clone, Copy, Debug)]
pub struct Breaker(State);

impl Default for Breaker {
    fn default() -> Self {
        Self(State::Closed { failures: 0 })
    }
}

impl Breaker {
    /// Asks for leave to make an attempt. Where it is given by a breaker that was open, that attempt is the probe: its outcome,
    /// or [`Breaker::withdrawn`], must be told.
    pub fn admit(&mut self, now_ms: i64) -> Admission {
        match self.0 {
            State::Closed { .. } => Admission::Go,
            State::Open { until_ms, .. } if now_ms < until_ms => Admission::NotBefore(until_ms),
            State::Open { open_ms, .. } => {
                self.0 = State::Probing { open_ms };
                Admission::Go
            }
            State::Probing { .. } => Admission::AfterProbe,
        }
    }

    /// The target has answered.
    pub fn answered(&mut self) {
        *self = Self::default();
    }

    /// The target has failed. `true` where that has opened it.
    pub fn failed(&mut self, now_ms: i64) -> bool {
        let open = |open_ms: i64| State::Open { until_ms: now_ms.saturating_add(open_ms), open_ms };
        match self.0 {
            State::Closed { failures } if failures + 1 < FAILURES => {
                self.0 = State::Closed { failures: failures + 1 };
                false
            }
            State::Closed { .. } => {
                self.0 = open(FIRST_OPEN_MS);
                true
            }
            State::Probing { open_ms } => {
                self.0 = open((open_ms * 2).min(LONGEST_OPEN_MS));
                false
            }
            // Attempts of before it was opened, coming back late.
            State::Open { .. } => false,
        }
    }

    /// The attempt that was to be the probe is not made after all.
    pub fn withdrawn(&mut self, now_ms: i64) {
        if let State::Probing { open_ms } = self.0 {
            self.0 = State::Open { until_ms: now_ms, open_ms };
        }
    }

    /// What it shows to people.
    pub fn shown(&self) -> Shown {
        match self.0 {
            State::Closed { .. } => Shown::Closed,
            State::Open { .. } => Shown::Open,
            State::Probing { .. } => Shown::HalfOpen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_failures_in_a_row_and_probes_with_one_attempt_at_a_time() {
        let mut breaker = Breaker::default();
        for _ in 0..3 {
            (1..FAILURES).for_each(|_| assert!(!breaker.failed(0)));
            breaker.answered();
        }
        (1..FAILURES).for_each(|_| assert!(!breaker.failed(0)));
        assert_eq!(breaker.admit(0), Admission::Go);
        assert!(breaker.failed(5));
        assert_eq!((breaker.shown(), breaker.admit(1_004)), (Shown::Open, Admission::NotBefore(1_005)));
        // What comes back late changes nothing.
        assert!(!breaker.failed(900));
        let (mut now, mut waits) = (1_005, Vec::new());
        for _ in 0..8 {
            assert_eq!((breaker.admit(now), breaker.admit(now)), (Admission::Go, Admission::AfterProbe));
            assert!(!breaker.failed(now));
            let Admission::NotBefore(next) = breaker.admit(now) else { panic!("it lets go") };
            waits.push(next - now);
            now = next;
        }
        assert_eq!(waits, [2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000, 30_000]);
        assert_eq!(breaker.admit(now), Admission::Go);
        breaker.withdrawn(now);
        assert_eq!((breaker.admit(now), breaker.shown()), (Admission::Go, Shown::HalfOpen));
        breaker.answered();
        assert_eq!((breaker.admit(now), breaker.admit(now)), (Admission::Go, Admission::Go));
    }
}
