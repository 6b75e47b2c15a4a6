//! The results of some topics given up for those of a shadow, shard by shard, while members count: for `counters rebuild`.
//! Counting never needs it.
//!
//! A store may hold millions of keys, and one call must not hold it up for seconds. So an exchange is a first atomic write that
//! stops the sections of its topics ([`Exchange::begin`]), any number of small steps ([`Exchange::step`]), and a last atomic
//! write that puts the new checkpoints in force ([`Exchange::finish`]). Between the first and the last, what the shard holds of
//! these topics is neither the old nor the new, and its checkpoints say so: nobody counts on from it. Whoever finds one
//! that was broken off can bring it to its end, since what is to be done stands in the shard itself.

use async_trait::async_trait;

use super::{KeyPage, StoreError};
use crate::model::{ExchangePlan, ExchangeState, ExchangeStep, Gap, NotBegun, Phase, ShardId, Target, TopicPartition};

/// A side of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// The store that is counted into.
    Live,
    /// The one that was recounted into, with as many shards.
    Shadow,
}

/// A store and its shadow. All calls but [`Exchange::names`] are atomic.
#[async_trait]
pub trait Exchange: Send + Sync {
    /// How many shards either has.
    fn shards(&self) -> ShardId;

    /// How far the exchange is that is under way in a shard, if one is.
    async fn state(&self, shard: ShardId) -> Result<Option<ExchangeState>, StoreError>;

    /// Notes what is to be done and puts a mark in place of the checkpoints of all partitions of the plan's topics. From then on
    /// every section of them conflicts, also one that expects no checkpoint. A plan of this name that has begun already is
    /// no error. `instead_of` is the name of one that was broken off and gives way to this one.
    ///
    /// # Errors
    /// The inner one says why it cannot begin; nothing was changed then.
    async fn begin(
        &self,
        shard: ShardId,
        plan: &ExchangePlan,
        instead_of: Option<&str>,
    ) -> Result<Result<(), NotBegun>, StoreError>;

    /// A page of about a thousand names of one half of a shard: counters as [`crate::model::Kind::Count`], what `last` compares
    /// by as [`crate::model::Kind::Last`], and all others by what they hold. What is there all the while is listed; a name may
    /// come twice. An empty `cursor` begins.
    async fn names(&self, shard: ShardId, half: Half, cursor: &str) -> Result<KeyPage, StoreError>;

    /// Removes names that the shadow does not have, or takes those that it has. `false` where the shard is at another step, and
    /// nothing was done: look at [`Exchange::state`] again.
    ///
    /// # Errors
    /// [`StoreError::Refused`] where the shadow is gone: nothing is removed for the lack of it.
    async fn step(&self, step: &ExchangeStep<'_>) -> Result<bool, StoreError>;

    /// Puts the checkpoints of the plan in force and ends the exchange, where the shard is at this step of taking; else `false`.
    async fn finish(&self, shard: ShardId, step: u64) -> Result<bool, StoreError>;
}

/// What the fields say in which a shard notes an exchange; `None` where they are not what one leaves.
pub(super) fn state_of(fields: Vec<(String, String)>, has_shadow: bool) -> Option<ExchangeState> {
    let (mut id, mut phase, mut step) = (None, None, None);
    let (mut topics, mut targets, mut gaps) = (Vec::new(), Vec::new(), Vec::new());
    for (field, value) in fields {
        match field.split_once(':') {
            None if field == "id" => id = Some(value),
            None if field == "phase" => phase = Phase::of(&value),
            None if field == "step" => step = value.parse().ok(),
            Some(("topic", topic)) => topics.push(topic.to_owned()),
            Some(("to", partition)) => {
                let (partition, checkpoint) = (TopicPartition::parse(partition)?, value.parse().ok()?);
                targets.push(Target { partition, checkpoint, gap: None });
            }
            Some(("gap", partition)) => {
                let (from, to) = value.split_once(':')?;
                gaps.push((TopicPartition::parse(partition)?, Gap { from: from.parse().ok()?, to: to.parse().ok()? }));
            }
            _ => {}
        }
    }
    topics.sort_unstable();
    targets.sort_unstable_by(|a: &Target, b: &Target| a.partition.cmp(&b.partition));
    for target in &mut targets {
        target.gap = gaps.iter().find(|(partition, _)| *partition == target.partition).map(|(_, gap)| *gap);
    }
    Some(ExchangeState { plan: ExchangePlan { id: id?, topics, targets }, phase: phase?, step: step?, has_shadow })
}
