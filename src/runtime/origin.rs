//! Origins: the first offset of a group on a partition, resolved once, kept for ever, never resolved again.
//!
//! With `latest` a group begins at the end of what is there when it comes. What is added to the topic later came after it, so
//! such a partition is counted from its start. Both look alike from one partition, so the origins of all partitions of a topic
//! are fixed together, the highest partition first: whoever finds a lower partition with an origin and its own without has a
//! partition that was added later.

use futures::{StreamExt, TryStreamExt, stream};

use super::{
    counting::Counting,
    partition::End,
    takeover::{ask, offset_at, until_stored},
};
use crate::{
    log::At,
    model::{StoredPosition, TopicPartition},
};

/// Which offset a group begins at on a partition without a checkpoint (`KAFKA_AUTO_OFFSET_RESET`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetReset {
    /// The log's start.
    Earliest,
    /// The log's end when the group first came.
    Latest,
}

/// Partitions whose end is asked for at once.
const ASKED_AT_ONCE: usize = 16;

/// The group's first offset on the partition.
pub(super) async fn origin(
    counting: &Counting,
    partition: &TopicPartition,
    known: Option<i64>,
    log_start: i64,
    log_end: i64,
) -> Result<i64, End> {
    if let Some(origin) = known {
        return Ok(origin);
    }
    let wanted = match counting.options.offset_reset {
        OffsetReset::Earliest => vec![(partition.clone(), log_start)],
        OffsetReset::Latest => {
            // The topic's partitions begin together: the first one does it for the others.
            let _turn = counting.fixing_origins.lock().await;
            match known_to_group(counting, partition).await {
                Known::Itself(origin) => return Ok(origin),
                Known::LowerPartition => vec![(partition.clone(), log_start)],
                Known::Nothing => ends(counting, partition, log_end).await?,
            }
        }
    };
    let fixed = until_stored(counting, || counting.store.fix_origins(&wanted)).await;
    let own = wanted.iter().position(|(wanted, _)| wanted == partition);
    Ok(own.and_then(|own| fixed.get(own).copied()).unwrap_or(log_start))
}

enum Known {
    /// The partition has an origin by now.
    Itself(i64),
    /// The group knows a lower partition of the topic, and not this one.
    LowerPartition,
    /// Neither.
    Nothing,
}

async fn known_to_group(counting: &Counting, partition: &TopicPartition) -> Known {
    let up_to = |number| TopicPartition { partition: number, ..partition.clone() };
    let partitions: Vec<TopicPartition> = (0..=partition.partition).map(up_to).collect();
    let positions = until_stored(counting, || counting.store.positions(&partitions)).await;
    let is_known = |position: &StoredPosition| position.origin.is_some() || position.checkpoint.is_some();
    let own = positions.last().and_then(|shards| shards.iter().find_map(|position| position.origin));
    match own {
        Some(origin) => Known::Itself(origin),
        None if positions.iter().flatten().any(is_known) => Known::LowerPartition,
        None => Known::Nothing,
    }
}

/// The ends of all partitions of the topic, the highest partition first. One without a leader is waited for: what is in it
/// cannot be told from what comes later.
async fn ends(counting: &Counting, partition: &TopicPartition, end: i64) -> Result<Vec<(TopicPartition, i64)>, End> {
    let topics = ask(counting, || counting.log.topics()).await.map_err(End::stuck)?;
    let count = topics.iter().find(|topic| topic.name == *partition.topic).map_or(0, |topic| topic.partitions);
    let numbers = (0..count.max(partition.partition + 1)).rev();
    let ends = stream::iter(numbers).map(|number| async move {
        let other = TopicPartition { partition: number, ..partition.clone() };
        let end = if number == partition.partition { end } else { offset_at(counting, &other, At::End).await? };
        Ok((other, end))
    });
    ends.buffered(ASKED_AT_ONCE).try_collect().await
}
