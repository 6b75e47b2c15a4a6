//! An exchange: results of some topics give way to those that another store has counted.

use std::fmt;

use super::{Checkpoint, Fingerprint, Gap, Kind, RulesMark, ShardId, TopicPartition};

/// What a shard notes before it gives up the first key, so that whoever comes next can bring it to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExchangePlan {
    /// Name of the shadow that the results come from.
    pub id: String,
    /// The topics whose results are exchanged. None of their sections is applied until it is done.
    pub topics: Vec<String>,
    /// Where their partitions stand afterwards. A partition that is not here has no checkpoint then.
    pub targets: Vec<Target>,
}

/// Where a partition stands after an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The partition.
    pub partition: TopicPartition,
    /// The checkpoint, of an incarnation that no member has seen.
    pub checkpoint: Checkpoint,
    /// What the log no longer held when it was recounted.
    pub gap: Option<Gap>,
}

impl Target {
    /// What the shadow has as its checkpoint: the same, as its first incarnation, under rules that never changed.
    pub fn in_shadow(&self) -> Checkpoint {
        Checkpoint { incarnation: 0, rules: RulesMark::default(), ..self.checkpoint }
    }

    /// What stands in place of the checkpoint meanwhile: no section expects it.
    pub fn mark(&self) -> Checkpoint {
        Checkpoint { fingerprint: Fingerprint::EXCHANGE, ..self.checkpoint }
    }
}

/// What an exchange does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It removes what the shadow does not have.
    Removing,
    /// It takes what the shadow has.
    Taking,
}

impl Phase {
    /// Its name in a store.
    pub fn name(self) -> &'static str {
        match self {
            Self::Removing => "removing",
            Self::Taking => "taking",
        }
    }

    /// The phase of a name.
    pub fn of(name: &str) -> Option<Self> {
        [Self::Removing, Self::Taking].into_iter().find(|phase| phase.name() == name)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How far an exchange is in a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExchangeState {
    /// What is exchanged.
    pub plan: ExchangePlan,
    /// What it does.
    pub phase: Phase,
    /// How many steps it has done. A step names the number that it expects, so none is done twice or left out, whoever does it.
    pub step: u64,
    /// The shadow is still there.
    pub has_shadow: bool,
}

/// A step of an exchange: with some names, what the phase says.
#[derive(Clone, Debug)]
pub struct ExchangeStep<'a> {
    /// The shard.
    pub shard: ShardId,
    /// The phase that it must be in.
    pub phase: Phase,
    /// The number of steps that must have been done.
    pub number: u64,
    /// The names; counters as any of their kinds.
    pub names: &'a [(Kind, String)],
    /// The phase is over with this step.
    pub is_last: bool,
}

/// Why an exchange does not begin; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotBegun {
    /// One is under way.
    #[error("another rebuild is under way in shard {shard} of the store")]
    UnderWay {
        /// The shard.
        shard: ShardId,
    },
    /// The shadow is not where it was left: the store fell back, or something removed it.
    #[error(
        "what was recounted of {0} is not in the store any more: it fell back meanwhile, or something else removed it"
    )]
    Shadow(String),
    /// The store has another checkpoint than the target follows from.
    #[error("the store has {stored} for {partition}, which was moved or fell back meanwhile")]
    Moved {
        /// The partition.
        partition: String,
        /// What is stored.
        stored: String,
    },
}
