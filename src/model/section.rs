//! What a flush carries, and what a store answers.

use std::{fmt, str::FromStr};

use super::{Checkpoint, CheckpointError, Delta, GroupStatus, Key, LogIdentity, Switches, TopicPartition};

/// Number of a shard of the store, from 0.
pub type ShardId = u16;

/// Records that the broker no longer held when the group wanted to read them: offsets `from..to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// First missing offset.
    pub from: i64,
    /// First offset that was there again.
    pub to: i64,
}

/// Everything that one partition tenure brings to one shard in one flush: applied whole, or not at all.
#[derive(Clone, Debug)]
pub struct Section {
    /// The partition.
    pub partition: TopicPartition,
    /// The checkpoint that must be stored for the section to be applied; `None` is "no checkpoint stored", never 0.
    pub expect: Option<Checkpoint>,
    /// The checkpoint that stands afterwards.
    pub next: Checkpoint,
    /// A gap to note with this section.
    pub gap: Option<Gap>,
    /// What the log says of itself, where known.
    pub log_identity: LogIdentity,
    /// The table of switches that stands beside the checkpoint afterwards, where it changes. The marks in `expect` and `next`
    /// are of the tables before and after, so the table is compared with the checkpoint.
    pub switches: Option<Switches>,
    /// At most one delta per key.
    pub deltas: Vec<(Key, Delta)>,
    /// What became of events of tracked topics, by their ids: of several of one event and group the last one stays.
    pub statuses: Vec<(Box<str>, GroupStatus)>,
}

/// What became of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Applied now.
    Applied,
    /// `next` is stored already: an earlier sending of this section was applied and its answer was lost.
    AlreadyApplied,
    /// Something else than `expect` is stored; nothing was written.
    Conflict {
        /// What is stored.
        stored: Option<Checkpoint>,
    },
    /// The store holds something that the section cannot be added to; nothing was written.
    Refused(Refusal),
}

/// Why a section was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("key {key:?} {reason}")]
pub struct Refusal {
    /// The key, without prefix.
    pub key: String,
    /// What is wrong with it.
    pub reason: RefusalReason,
}

/// What is wrong with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusalReason {
    /// The key holds another type of value: someone else writes to this store.
    #[error(
        "holds a value of another type: something else writes to it; move it away or choose another REDIS_KEY_PREFIX"
    )]
    WrongType,
    /// The counter's stored value is not a whole number of 64 bits.
    #[error(
        "holds something that is no whole number: something else writes to it; mend the value or choose another REDIS_KEY_PREFIX"
    )]
    NotANumber,
    /// The sum does not fit 64 bits.
    #[error("would overflow 64 bits; lower the rule's scale or reset the counter")]
    Overflow,
}

/// What a shard has stored for a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredPosition {
    /// The checkpoint, if a flush has happened.
    pub checkpoint: Option<Checkpoint>,
    /// The group's first offset on the partition, if it was fixed.
    pub origin: Option<i64>,
    /// What the log said of itself.
    pub log_identity: LogIdentity,
    /// The table of switches; `None` where the rules have never changed.
    pub switches: Option<Switches>,
    /// Totals that were restored and reach beyond the checkpoint.
    pub restored: Option<RestoredTotals>,
}

impl StoredPosition {
    /// The first offset that the totals lack, where that is behind the checkpoint: between the two everything else is counted
    /// again, and the totals are not.
    pub fn totals_from(&self) -> Option<i64> {
        let (restored, checkpoint) = (self.restored?, self.checkpoint?);
        (restored.incarnation == checkpoint.incarnation && restored.offset > checkpoint.offset)
            .then_some(restored.offset)
    }
}

/// How far a partition's totals reach since they were restored from the persistent tier. It means something only in the
/// incarnation that the restoration began: whoever moves the checkpoint later wants the totals counted as well.
///
/// Text form: `<offset>:<incarnation>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoredTotals {
    /// The first offset that they lack.
    pub offset: i64,
    /// The checkpoint's incarnation since then.
    pub incarnation: u32,
}

impl fmt::Display for RestoredTotals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.offset, self.incarnation)
    }
}

impl FromStr for RestoredTotals {
    type Err = CheckpointError;

    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        let parts = text.split_once(':').and_then(|(offset, incarnation)| {
            Some(Self { offset: offset.parse().ok()?, incarnation: incarnation.parse().ok()? })
        });
        parts.ok_or_else(|| CheckpointError(text.to_owned()))
    }
}

/// A compare-and-set of one named document (a catalogue's text; later leases and publish marks).
#[derive(Clone, Debug)]
pub struct Swap {
    /// The document's name.
    pub name: String,
    /// What must be stored; `None` means absent.
    pub expect: Option<Vec<u8>>,
    /// What is to be stored; `None` removes it.
    pub next: Option<Vec<u8>>,
    /// Time to live in milliseconds; `None` keeps it for ever.
    pub ttl_ms: Option<u64>,
}

/// What became of a [`Swap`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SwapOutcome {
    /// Done.
    Swapped,
    /// Not done: this is stored.
    Differs(Option<Vec<u8>>),
}
