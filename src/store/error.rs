//! What can go wrong with a store.

use crate::{
    core::roster::BeatError,
    model::{Beat, ShardId},
};

/// An error of a [`super::Store`] call as a whole. What is wrong with one section is an outcome, not an error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The store cannot be reached, is loading, or gave no answer in time; trying again can help.
    #[error("{doing}: {reason}")]
    Unavailable {
        /// What was being done.
        doing: String,
        /// Why it failed.
        reason: String,
    },
    /// A topic's results belong to another group.
    #[error(
        "topic {topic} is counted by group {owner:?} in this store, and its results can belong to one group only: \
         use KAFKA_CONSUMER_GROUP={owner}, or another REDIS_KEY_PREFIX"
    )]
    ClaimedByOther {
        /// The topic.
        topic: String,
        /// The group that has it.
        owner: String,
    },
    /// What is stored lies in another number of shards.
    #[error(
        "the results under this REDIS_KEY_PREFIX lie in {noted} shards and STORE_SHARDS is {asked}: what is counted cannot be \
         split anew in place. Set STORE_SHARDS={noted}, or count anew under another REDIS_KEY_PREFIX"
    )]
    OtherShards {
        /// The number that was noted when the store was first used.
        noted: String,
        /// The number that is asked for.
        asked: ShardId,
    },
    /// The store may drop keys when it is full, so counts could not be exact.
    #[error(
        "the store may evict keys (maxmemory-policy {policy}), so counts would not be exact: set maxmemory-policy \
         noeviction, or REDIS_ALLOW_EVICTION=true to accept inexact counters"
    )]
    MayEvict {
        /// Redis' maxmemory-policy.
        policy: String,
    },
    /// What is stored cannot be read by this version.
    #[error("{doing}: {reason}")]
    Corrupt {
        /// What was being read.
        doing: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A key holds a value of another kind than the one that was asked for: what another rule makes, or what is not ours.
    #[error("{doing}: {reason}")]
    OtherKind {
        /// What was being done.
        doing: String,
        /// What is there, and what to do.
        reason: String,
    },
    /// Whoever asked for a page gave a cursor that no page gave.
    #[error("{doing}: {cursor:?} is no cursor that an earlier page gave")]
    NoCursor {
        /// What was being listed.
        doing: String,
        /// The cursor.
        cursor: String,
    },
    /// Trying again will not help: wrong password, missing right, file locked.
    #[error("{doing}: {reason}")]
    Refused {
        /// What was being done.
        doing: String,
        /// The reason, and what to do.
        reason: String,
    },
}

impl StoreError {
    /// A heartbeat that is not taken in.
    pub fn refused_beat(beat: &Beat, error: BeatError) -> Self {
        Self::Refused { doing: format!("beating for group {:?}", beat.group), reason: error.to_string() }
    }

    /// What is no cursor of a page.
    pub(super) fn no_cursor(doing: &str, cursor: &str) -> Self {
        Self::NoCursor { doing: doing.to_owned(), cursor: cursor.to_owned() }
    }

    /// Whether the same call can succeed later without anyone changing anything.
    pub fn is_retriable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}
