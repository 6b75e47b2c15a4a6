//! What can go wrong with a log.

/// An error of a [`super::Log`], told per call, partition or record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The topic or partition does not exist.
    #[error("{what} does not exist on the broker")]
    Unknown {
        /// The topic or partition.
        what: String,
    },
    /// The topic was deleted and made again while it was read: what comes next is another log, and its offsets mean other
    /// records. Told once for each partition; who asks again reads the new one.
    #[error(
        "topic {topic} was deleted and made again: its records are others now, and offsets of before mean nothing in it"
    )]
    Recreated {
        /// The topic.
        topic: String,
    },
    /// The offset asked for is not in the log any more, or not yet.
    #[error("offset {offset} of {partition} is outside the log")]
    OffsetOutOfRange {
        /// The partition.
        partition: String,
        /// The offset asked for.
        offset: i64,
    },
    /// The broker does not take a record of this size.
    #[error("{what}: the record is larger than the topic takes (its max.message.bytes)")]
    TooLarge {
        /// Where it should have gone.
        what: String,
    },
    /// The broker finds the record invalid.
    #[error("{what}: the broker refused the record: {reason}")]
    Invalid {
        /// Where it should have gone.
        what: String,
        /// The broker's reason.
        reason: String,
    },
    /// The broker cannot be reached or has no leader now; trying again can help.
    #[error("{what}: {reason}")]
    Unavailable {
        /// What was being done, to what.
        what: String,
        /// Why it failed.
        reason: String,
    },
    /// No answer within the deadline. What was produced may or may not have been stored.
    #[error("{what}: no answer within {after_ms} ms")]
    TimedOut {
        /// What was being done, to what.
        what: String,
        /// The deadline, milliseconds.
        after_ms: u64,
    },
    /// The log holds something that this version cannot read.
    #[error("{what}: {reason}")]
    Unsupported {
        /// What was being read.
        what: String,
        /// What is unsupported, and what to do.
        reason: String,
    },
    /// Trying again will not help: authorisation, configuration.
    #[error("{what}: {reason}")]
    Refused {
        /// What was being done, to what.
        what: String,
        /// The broker's reason, and what to do.
        reason: String,
    },
}

impl LogError {
    /// What kind of error it is, for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "unknown",
            Self::Recreated { .. } => "recreated",
            Self::OffsetOutOfRange { .. } => "offset_out_of_range",
            Self::TooLarge { .. } => "too_large",
            Self::Invalid { .. } => "invalid",
            Self::Unavailable { .. } => "unavailable",
            Self::TimedOut { .. } => "timed_out",
            Self::Unsupported { .. } => "unsupported",
            Self::Refused { .. } => "refused",
        }
    }

    /// Whether the same call can succeed later without anyone changing anything.
    pub fn is_retriable(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::TimedOut { .. })
    }
}
