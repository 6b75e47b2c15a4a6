//! What deliveries measure. Handles are kept: they are used for every event.

use std::time::Duration;

use metrics::{Counter, Histogram};

use super::shown::Shown;
use crate::{
    core::delivery::{Outcome, breaker},
    telemetry::metrics as table,
};

/// The metrics of one group.
pub(super) struct Metrics {
    processed: Counter,
    dropped: Counter,
    failed: Counter,
    retries: Counter,
    /// Dead letters.
    pub dead: Counter,
    /// Records that are no events.
    pub unreadable: Counter,
    duration: Histogram,
}

impl Metrics {
    pub fn new(group: &str) -> Self {
        let attempts = |outcome: Outcome| table::DELIVERY_ATTEMPTS.counter(&[group, outcome.name()]);
        Self {
            processed: attempts(Outcome::Processed),
            dropped: attempts(Outcome::Dropped),
            failed: attempts(Outcome::Failed { not_before_ms: None }),
            retries: table::DELIVERY_RETRIES.counter(&[group]),
            dead: table::DELIVERY_DEAD_LETTERS.counter(&[group]),
            unreadable: table::DELIVERY_UNREADABLE.counter(&[group]),
            duration: table::DELIVERY_DURATION.histogram(&[group]),
        }
    }

    pub fn attempted(&self, outcome: Outcome, number: u32) {
        match outcome {
            Outcome::Processed => self.processed.increment(1),
            Outcome::Dropped => self.dropped.increment(1),
            Outcome::Failed { .. } | Outcome::Refused => self.failed.increment(1),
        }
        if number > 1 {
            self.retries.increment(1);
        }
    }

    pub fn took(&self, duration: Duration) {
        self.duration.record(duration);
    }
}

/// Tells how a group is.
pub(super) fn shown(shown: &Shown) {
    let group = [shown.group.as_str()];
    let unfinished: usize = shown.partitions.iter().map(|partition| partition.unfinished).sum();
    let lag: i64 = shown.partitions.iter().map(|partition| partition.lag).sum();
    let waiting = shown.partitions.iter().filter(|partition| partition.is_waiting).count();
    table::DELIVERY_UNFINISHED.gauge(&group).set(unfinished as f64);
    table::DELIVERY_LAG_RECORDS.gauge(&group).set(lag as f64);
    table::DELIVERY_PARTITIONS_WAITING.gauge(&group).set(waiting as f64);
    table::DELIVERY_BREAKER.gauge(&group).set(match shown.breaker {
        breaker::Shown::Closed => 0.0,
        breaker::Shown::HalfOpen => 0.5,
        breaker::Shown::Open => 1.0,
    });
}
