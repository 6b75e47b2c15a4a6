//! The persistent tier: a second place for the totals, from which a store that was emptied gets them back.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;

use super::StoreError;
use crate::model::{ShardId, StoredPosition, TopicPartition};

/// What a shard keeps of its partitions.
pub type Positions = BTreeMap<TopicPartition, StoredPosition>;

/// What a copying has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Totals that were written.
    pub totals: u64,
    /// Shards whose copy is whole now, and of this moment.
    pub shards: ShardId,
}

/// What the tier has of a shard: all its totals as they were at one moment, and the positions that they belong to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Number of the moment: it only grows, also through a store that was emptied.
    pub version: u64,
    /// When that was, milliseconds since 1970 by the store's clock.
    pub at_ms: i64,
    /// How many totals there are.
    pub totals: u64,
    /// What the shard kept of its partitions then.
    pub positions: Positions,
}

/// What became of putting totals back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutBack {
    /// The shard has them.
    Done,
    /// The shard has checkpoints: somebody else was first, or it is in use. Nothing was changed.
    InUse,
    /// The tier has something else by now, or nothing: look again. No checkpoint was changed.
    Changed,
}

/// Totals in a second place. Totals are what `counters:aggregated` holds: counters, highest and latest values, and what
/// members move; nothing else is kept.
///
/// What the tier has of a shard is always of one moment: totals and positions belong together, so a shard that is given both
/// is an older state of itself (invariant 0). While something newer is being written it may have nothing.
#[async_trait]
pub trait Tier: Send + Sync + 'static {
    /// What people know it by.
    fn name(&self) -> &'static str;

    /// Writes what has changed since the last time, shard by shard. Every member calls it once an `interval`, and they take
    /// turns by the store: where another one has done it lately, nothing is to be done.
    ///
    /// # Errors
    /// The store or the tier cannot be reached. Nothing is lost by it: the next call goes on, or begins again.
    async fn copy(&self, interval: Duration) -> Result<Copied, StoreError>;

    /// What the tier has of a shard; `None` where that is nothing, or not whole.
    ///
    /// # Errors
    /// The tier cannot be reached, so nothing can be said.
    async fn kept(&self, shard: ShardId) -> Result<Option<Kept>, StoreError>;

    /// Gives a shard that has no checkpoint all totals of `kept`, and these positions, in one atomic step after which it is in
    /// use. Until then it may have some of the totals and no position.
    ///
    /// # Errors
    /// The store or the tier cannot be reached. Doing the same again is right.
    async fn put_back(&self, shard: ShardId, kept: &Kept, positions: &Positions) -> Result<PutBack, StoreError>;
}

/// A total on its way between a store and a tier elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Total {
    /// Name of the counter.
    pub name: String,
    /// Its value.
    pub value: i64,
    /// What the store compares the next value of a `last` with, in the store's own form.
    pub head: Option<String>,
}

/// A step of taking totals from a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The shard has counted nothing.
    Nothing,
    /// Another one takes them.
    ByOther,
    /// Some, and there are more. What is taken is not of one moment yet.
    Part(Step),
    /// The last, and the moment that all which was taken belongs to.
    Whole(Step, Kept),
}

/// Totals that were taken together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// The totals.
    pub totals: Vec<Total>,
    /// Names of totals that have expired and are none any more.
    pub gone: Vec<String>,
    /// Number of this step among all that were ever taken of the shard: it only grows.
    pub version: u64,
    /// All totals are gone over, beginning with these: what is not met until it is whole is no total any more.
    pub begins_sweep: bool,
}

/// A store whose totals can be copied elsewhere and put back.
#[async_trait]
pub trait Totals: Send + Sync + 'static {
    /// The number of the store's shards.
    fn shards(&self) -> ShardId;

    /// Takes up to `most` totals that have changed since they were taken; a newcomer gets all, one step after the other. Where
    /// another one took some within `patience`, nothing is taken. Whoever loses what was taken goes on under another name.
    ///
    /// # Errors
    /// The store cannot be reached: what this step took is lost then.
    async fn take(&self, shard: ShardId, who: &str, most: usize, patience: Duration) -> Result<Taken, StoreError>;

    /// Gives totals to a shard that has no checkpoint.
    ///
    /// # Errors
    /// The store cannot be reached.
    async fn give(&self, shard: ShardId, totals: &[Total]) -> Result<PutBack, StoreError>;

    /// Gives positions to a shard that has no checkpoint and was given all totals: it is in use then.
    ///
    /// # Errors
    /// The store cannot be reached.
    async fn begin(&self, shard: ShardId, positions: &Positions) -> Result<PutBack, StoreError>;
}
