//! How deliveries are, for the API and for metrics.

use crate::{core::delivery::breaker, model::TopicPartition};

/// One subscription on this member.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Its group.
    pub group: String,
    /// Its topics.
    pub topics: Vec<String>,
    /// Where it goes: scheme, host and port, or the handlers of this process.
    pub target: String,
    /// How its breaker is.
    pub breaker: breaker::Shown,
    /// Requests under way.
    pub in_flight: usize,
    /// How many its target gets at once now, over all subscriptions.
    pub target_limit: u32,
    /// The partitions that this member delivers.
    pub partitions: Vec<ShownPartition>,
}

/// A partition that this member delivers.
#[derive(Clone, Debug)]
pub struct ShownPartition {
    /// Which.
    pub partition: TopicPartition,
    /// The lowest offset that is not finished.
    pub offset: i64,
    /// Events that were read and are not finished.
    pub unfinished: usize,
    /// Records that were not read, and events that are not finished.
    pub lag: i64,
    /// It takes no more, since too much is unfinished.
    pub is_waiting: bool,
}
