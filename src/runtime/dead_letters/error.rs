//! Why dead letters cannot be looked at, replayed or purged.

use std::time::Duration;

use crate::{core::ledger::MAX_RANGES, log::LogError, model::TopicPartition, store::StoreError};

/// Why a call ended without an answer. What it had done before stands, and the same call again goes on behind it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeadLetterError {
    /// No catalogue has the topic.
    #[error("no catalogue has the topic {topic:?}{}", .nearest.as_ref().map(|near| format!("; did you mean {near}?")).unwrap_or_default())]
    UnknownTopic {
        /// What was asked for.
        topic: String,
        /// The known name most like it.
        nearest: Option<String>,
    },
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another replay has a batch under way, or was broken off amid one.
    #[error(
        "dead letters of {partition} are being replayed, or a replay was broken off amid a batch: what of it is stored is known in \
         {} s at most; try again then", .left.as_secs().max(1)
    )]
    Busy {
        /// The partition of the dead letter topic.
        partition: TopicPartition,
        /// How long it may take.
        left: Duration,
    },
    /// What was done with the dead letters of a partition has become too much to note.
    #[error(
        "what was replayed or purged of {partition} lies in more than {MAX_RANGES} pieces: replay or purge what lies between them, by \
         a wider filter"
    )]
    TooScattered {
        /// The partition of the dead letter topic.
        partition: TopicPartition,
    },
    /// What the store has of the dead letters of a partition is of another version, or not ours.
    #[error("what the store has of the dead letters of {partition} cannot be read: {why}")]
    Corrupt {
        /// The partition of the dead letter topic.
        partition: TopicPartition,
        /// Why.
        why: String,
    },
}

impl DeadLetterError {
    /// Whether the same call can succeed later without anyone changing anything.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Log(error) => error.is_retriable(),
            Self::Store(error) => error.is_retriable(),
            Self::Busy { .. } => true,
            Self::UnknownTopic { .. } | Self::TooScattered { .. } | Self::Corrupt { .. } => false,
        }
    }
}
