//! Origins: the first offset of a group on a partition, resolved once, kept for ever, never resolved again.
//!
//! With `latest` a group begins at the end of what is there when it comes. What is added to the topic later came after it, so
//! such a partition is counted from its start. Both look alike from one partition, so the origins of all partitions of a topic
//! are fixed together, the highest partition first: whoever finds a lower partition with an origin and its own without has a
//! partition that was added later.
//!
//! An origin is noted outside of the store before the store has it, so that one that is emptied is given the same.

use futures::{StreamExt, TryStreamExt, stream};
use uuid::Uuid;

use super::{
    counting::Counting,
    outside,
    partition::End,
    takeover::{ask, offset_at, stored_positions, until_stored},
};
use crate::{
    core::register::{Note, Register},
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

/// The group's first offset on the partition, as each shard keeps it. Where a shard has neither a checkpoint nor an origin,
/// as one that was emptied, it is given the one that the others keep, else the one that is noted outside; where there is none,
/// one is resolved now.
///
/// Should two shards keep different ones, each is counted from its own: what a shard holds depends on nothing else
/// (invariant 0).
pub(super) async fn origins(
    counting: &Counting,
    (partition, topic_id): (&TopicPartition, Option<Uuid>),
    positions: &[StoredPosition],
    register: Option<&Register>,
    log_start: i64,
    log_end: i64,
) -> Result<Vec<i64>, End> {
    let lacks_one = |position: &StoredPosition| position.checkpoint.is_none() && position.origin.is_none();
    let mut origins: Vec<Option<i64>> = positions.iter().map(|position| position.origin).collect();
    let known = origins.iter().find_map(|origin| *origin);
    let noted = register.and_then(|register| register.noted(partition, topic_id).origin);
    if let (Some(known), None, true) = (known, noted, register.is_some()) {
        outside::note(counting, &[Note::Origin(partition.clone(), known)]).await?;
    }
    let mut own = known.unwrap_or(log_start);
    if positions.iter().any(lacks_one) {
        own = match known.or(noted) {
            Some(known) => fix(counting, partition, &[(partition.clone(), known)], known).await,
            None => resolve(counting, (partition, topic_id), register.is_some(), log_start, log_end).await?,
        };
        if positions.len() > 1 {
            let fixed = stored_positions(counting, partition).await;
            origins = fixed.into_iter().map(|position| position.origin).collect();
        }
    }
    Ok((0..positions.len()).map(|shard| origins.get(shard).copied().flatten().unwrap_or(own)).collect())
}

/// The group's first offset where nobody knows one. It is noted outside first, where that can be.
async fn resolve(
    counting: &Counting,
    (partition, topic_id): (&TopicPartition, Option<Uuid>),
    is_noted: bool,
    log_start: i64,
    log_end: i64,
) -> Result<i64, End> {
    let at_start = || vec![(partition.clone(), log_start)];
    // The topic's partitions begin together: the first one does it for the others.
    let mut turn = None;
    let mut wanted = match counting.options.offset_reset {
        OffsetReset::Earliest => at_start(),
        OffsetReset::Latest => {
            turn = Some(counting.fixing_origins.lock().await);
            match known_to_group(counting, partition).await {
                Known::Itself(origin) => vec![(partition.clone(), origin)],
                Known::LowerPartition => at_start(),
                Known::Nothing => ends(counting, partition, log_end).await?,
            }
        }
    };
    if is_noted {
        let notes: Vec<Note> =
            wanted.iter().map(|(partition, origin)| Note::Origin(partition.clone(), *origin)).collect();
        let register = outside::note(counting, &notes).await?;
        for (partition, origin) in &mut wanted {
            *origin = register.noted(partition, topic_id).origin.unwrap_or(*origin);
        }
    }
    let own = fix(counting, partition, &wanted, log_start).await;
    drop(turn);
    Ok(own)
}

/// Fixes origins in all shards and returns the partition's own.
async fn fix(counting: &Counting, partition: &TopicPartition, wanted: &[(TopicPartition, i64)], otherwise: i64) -> i64 {
    let fixed = until_stored(counting, || counting.store.fix_origins(wanted)).await;
    let own = wanted.iter().position(|(wanted, _)| wanted == partition);
    own.and_then(|own| fixed.get(own).copied()).unwrap_or(otherwise)
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
