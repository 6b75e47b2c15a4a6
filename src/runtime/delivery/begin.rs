//! How a tenure begins: what the store has of the partition, or where the group begins, held against what the log has.

use std::sync::Arc;

use uuid::Uuid;

use super::{group::Group, tenure::Tenure};
use crate::{
    core::{
        backoff::Backoff,
        delivery::{Position, Queue},
    },
    log::{At, LogError},
    model::{LogIdentity, Swap, SwapOutcome, TopicPartition},
    runtime::{LOG_PART, OffsetReset, STORE_PART, health::Level, measure as counted},
    store::StoreError,
};

/// Why a tenure does not begin.
pub(super) enum Obstacle {
    /// Somebody else was faster: look again.
    Again(String),
    /// Somebody must mend something.
    Stuck(String),
}

/// The document that has the position.
pub(in crate::runtime) fn document(group: &str, partition: &TopicPartition) -> String {
    format!("delivery:{group}:{}:{}", partition.topic, partition.partition)
}

/// Begins a tenure.
pub(super) async fn begin(group: &Group, partition: &TopicPartition) -> Result<Arc<Tenure>, Obstacle> {
    let log = &group.shared.log;
    let identity = ask(group, || log.identity(partition)).await.unwrap_or_else(|_| LogIdentity::default());
    let log_start = offset_at(group, partition, At::Start).await?;
    let log_end = offset_at(group, partition, At::End).await?;
    let stored = match stored(group, partition).await {
        Some(stored) => stored,
        None => first(group, partition, log_start, log_end).await?,
    };
    let name = document(&group.name, partition);
    let position = Position::parse(&stored).ok_or_else(|| {
        Obstacle::Stuck(format!(
            "the store's document {name} is no position of a delivery: it was written by something else, or by a later version"
        ))
    })?;
    let found =
        Found { written_to: written_to(group, partition, &position, &identity).await?, identity, log_start, log_end };
    let mut position = held_against(group, partition, position, &found);
    position.tenure = Uuid::new_v4().as_u64_pair().0;
    let next = position.to_bytes();
    let swap = Swap { name: name.clone(), expect: Some(stored), next: Some(next.clone()), ttl_ms: None };
    match until_stored(group, std::slice::from_ref(&swap)).await.into_iter().next() {
        Some(SwapOutcome::Swapped) => {}
        // The answer was lost.
        Some(SwapOutcome::Differs(found)) if found == swap.next => {}
        _ => return Err(Obstacle::Again("another member began at the same moment".to_owned())),
    }
    let seed = xxhash_rust::xxh3::xxh3_64(name.as_bytes());
    let mut queue = Queue::new(&position, group.retry_of(&partition.topic), seed);
    queue.read_to(log_start.min(log_end));
    let place = (Arc::clone(&group.name), partition.clone(), name);
    Ok(Tenure::new(place, &position, queue, next, log_end.max(position.to)))
}

/// What the log is now.
struct Found {
    identity: LogIdentity,
    log_start: i64,
    log_end: i64,
    /// Where what was written up to the position's epoch ends, if that can be told.
    written_to: Option<i64>,
}

/// Where what was written up to the position's epoch ends, as the leader knows it; `None` where it cannot be told.
async fn written_to(
    group: &Group,
    partition: &TopicPartition,
    position: &Position,
    identity: &LogIdentity,
) -> Result<Option<i64>, Obstacle> {
    let Some(epoch) = position.epoch else { return Ok(None) };
    match ask(group, || group.shared.log.offset_at(partition, At::EpochEnd(epoch))).await {
        Ok(ended) if ended >= 0 => Ok(Some(ended)),
        // Epochs only grow: a leader that knows nothing of it has another log, unless the topic's id says otherwise.
        Ok(_) => Ok((position.topic_id.is_none() || identity.topic_id.is_none()).then_some(0)),
        Err(LogError::Unsupported { .. }) => Ok(None),
        Err(error) => Err(stuck(error)),
    }
}

/// The position as the log of now allows it.
fn held_against(group: &Group, partition: &TopicPartition, mut position: Position, found: &Found) -> Position {
    let Found { identity: LogIdentity { topic_id, .. }, log_start, log_end, written_to } = found;
    let (topic_id, log_start, log_end) = (*topic_id, *log_start, *log_end);
    // A new leader may have all of it and not show it yet, so its end tells only where epochs do not.
    let kept_to = written_to.unwrap_or(log_end).max(log_start);
    let (topic, number, name) = (&partition.topic, partition.partition, &group.name);
    if let (Some(before), Some(now)) = (position.topic_id, topic_id)
        && before != now
    {
        counted::log_changed(topic, "topic");
        tracing::error!(%topic, partition = number, group = %name,
            "the topic was deleted and made again: it is delivered from its start, offset {log_start}");
        position = Position { to: log_start, ..Position::default() };
    } else if position.to > kept_to && position.to > log_start {
        counted::log_changed(topic, "tail");
        tracing::error!(%topic, partition = number, group = %name, offset = kept_to,
            "of what this group has delivered, up to offset {}, the log holds what lies before {kept_to}: it has lost its tail; \
             what comes from there on is delivered", position.to);
        position.unfinished.retain(|(offset, _)| *offset < kept_to);
        position.to = kept_to;
        position.epoch = None;
    }
    if position.from() < log_start {
        let lost = log_start.min(position.to) - position.from();
        counted::gap(topic, log_start - position.from());
        tracing::error!(%topic, partition = number, group = %name, offset = position.from(),
            "gap: the broker no longer holds offsets {} to {log_start}; up to {lost} of them were begun and not delivered, the \
             rest not begun; raise the topic's retention", position.from());
        position.unfinished.retain(|(offset, _)| *offset >= log_start);
        position.to = position.to.max(log_start);
    }
    position.topic_id = topic_id.or(position.topic_id);
    // What lies before it was in the log of this epoch just now.
    position.epoch = position.epoch.max(found.identity.leader_epoch);
    position
}

/// The first position of a group, fixed once: with `latest` for all partitions of the topic together, the highest first, so
/// that a partition that is added later is known by lower ones that have a position, and begins at its start.
async fn first(group: &Group, partition: &TopicPartition, log_start: i64, log_end: i64) -> Result<Vec<u8>, Obstacle> {
    let at = |offset: i64| Position { to: offset, ..Position::default() }.to_bytes();
    let mut wanted = vec![(partition.clone(), at(log_start))];
    let turn = group.fixing.lock().await;
    if group.start == OffsetReset::Latest {
        let lower: Vec<_> = (0..partition.partition).map(|number| other(partition, number)).collect();
        let reads: Vec<Swap> = lower.iter().map(|lower| read(group, lower)).collect();
        let is_known = |outcome: &SwapOutcome| matches!(outcome, SwapOutcome::Differs(Some(_)));
        if !until_stored(group, &reads).await.iter().any(is_known) {
            wanted.clear();
            let topics = ask(group, || group.shared.log.topics()).await.map_err(stuck)?;
            let count = topics.iter().find(|topic| topic.name == *partition.topic).map_or(0, |topic| topic.partitions);
            for number in (0..count.max(partition.partition + 1)).rev() {
                let other = other(partition, number);
                let end = match number == partition.partition {
                    true => log_end,
                    false => offset_at(group, &other, At::End).await?,
                };
                wanted.push((other, at(end)));
            }
        }
    }
    let swaps = wanted.iter().map(|(partition, next)| Swap { next: Some(next.clone()), ..read(group, partition) });
    until_stored(group, &swaps.collect::<Vec<_>>()).await;
    drop(turn);
    stored(group, partition).await.ok_or_else(|| Obstacle::Again("its first position is gone again".to_owned()))
}

fn other(partition: &TopicPartition, number: i32) -> TopicPartition {
    TopicPartition { partition: number, ..partition.clone() }
}

/// Reads a position.
fn read(group: &Group, partition: &TopicPartition) -> Swap {
    Swap { name: document(&group.name, partition), expect: None, next: None, ttl_ms: None }
}

async fn stored(group: &Group, partition: &TopicPartition) -> Option<Vec<u8>> {
    match until_stored(group, &[read(group, partition)]).await.into_iter().next() {
        Some(SwapOutcome::Differs(found)) => found,
        _ => None,
    }
}

fn stuck(error: LogError) -> Obstacle {
    Obstacle::Stuck(error.to_string())
}

async fn offset_at(group: &Group, partition: &TopicPartition, at: At) -> Result<i64, Obstacle> {
    ask(group, || group.shared.log.offset_at(partition, at)).await.map_err(stuck)
}

/// Asks the log until it answers. An error that does not pass by itself is the answer.
pub(super) async fn ask<T, F: Future<Output = Result<T, LogError>>>(
    group: &Group,
    call: impl Fn() -> F,
) -> Result<T, LogError> {
    let mut backoff = Backoff::log();
    loop {
        match call().await {
            Err(error) if error.is_retriable() || matches!(error, LogError::Unknown { .. }) => {
                counted::log_failed(&error);
                let now = std::time::Instant::now();
                group.shared.health.notice(LOG_PART, Level::Degraded, error.to_string(), now);
                tokio::time::sleep(backoff.next()).await;
            }
            answer => return answer,
        }
    }
}

/// Exchanges documents, however long the store takes to answer.
async fn until_stored(group: &Group, swaps: &[Swap]) -> Vec<SwapOutcome> {
    let (mut passing, mut lasting) = (Backoff::store(), Backoff::person());
    if swaps.is_empty() {
        return Vec::new();
    }
    loop {
        let error: StoreError = match group.shared.store.swap(swaps).await {
            Ok(outcomes) => return outcomes,
            Err(error) => error,
        };
        counted::store_failed();
        group.shared.health.set(STORE_PART, Level::Down, error.to_string(), std::time::Instant::now());
        let delay = if error.is_retriable() { passing.next() } else { lasting.next() };
        tokio::time::sleep(delay).await;
    }
}
