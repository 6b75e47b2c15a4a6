//! Taking over a partition: what is stored, what the log has, and where counting begins.

use std::sync::Arc;

use super::{
    LOG_PART, SHARD, STORE_PART, counting::Counting, health::Level, measure, origin, partition::End, sameness,
    tenure::Tenure,
};
use crate::{
    catalog::plan::Topic,
    core::backoff::Backoff,
    log::{At, LogError},
    model::{Checkpoint, Gap, LogIdentity, Outcome, Section, StoredPosition, Swap, SwapOutcome, TopicPartition},
    store::StoreError,
};

/// Where a tenure begins.
pub(super) struct Start {
    pub tenure: Arc<Tenure>,
    /// The first offset that counts.
    pub count_from: i64,
    /// The first offset to read: the duplicate window lies before `count_from`.
    pub fetch_from: i64,
}

pub(super) async fn take_over(
    counting: &Arc<Counting>,
    topic: &Arc<Topic>,
    partition: &TopicPartition,
) -> Result<Start, End> {
    // The checkpoint first: whoever else may still write it can only move it within the log that is looked at next.
    let position = stored_position(counting, partition).await;
    let counted_to = position.checkpoint.map(|checkpoint| checkpoint.offset);
    let found = sameness::check(counting, partition, &position.log_identity, counted_to).await?;
    let log_start = offset_at(counting, partition, At::Start).await?;
    let log_end = offset_at(counting, partition, At::End).await?;
    let stored = match position.checkpoint {
        Some(checkpoint) => Some(adopt_rules(counting, topic, partition, checkpoint).await?),
        None => None,
    };
    let begin = match stored {
        Some(checkpoint) => checkpoint.offset,
        None => origin::origin(counting, partition, position.origin, log_start, log_end).await?,
    };
    if begin > log_end {
        return Err(End::stuck(format!(
            "the store has counted up to offset {begin}, but the log ends at {log_end}: the topic was made again or has lost its \
             end. Bring the log back, or count it anew under another REDIS_KEY_PREFIX"
        )));
    }
    let count_from = begin.max(log_start);
    let tenure = Tenure::begin(partition.clone(), topic.fingerprint, stored, count_from);
    tenure.note_log(found);
    counting.tenures.add(&tenure);
    if begin < log_start {
        let gap = Gap { from: begin, to: log_start };
        tracing::error!(topic = %partition.topic, partition = partition.partition, offset = begin,
            "gap: the broker no longer holds offsets {begin} to {log_start}, so {} records are not counted; raise the topic's retention", log_start - begin);
        counting.generations.note_gap(&tenure, gap);
    }
    let window_from = window_from(topic, count_from);
    if window_from < log_start && log_start > 0 {
        tracing::info!(topic = %partition.topic, partition = partition.partition,
            "duplicate window shortened: it reaches back to offset {log_start} only, where the log begins");
    }
    tracing::debug!(topic = %partition.topic, partition = partition.partition, offset = count_from, log_end,
        "counting from offset {count_from}");
    Ok(Start { tenure, count_from, fetch_from: window_from.max(log_start) })
}

/// Where the duplicate window before an offset begins.
pub(super) fn window_from(topic: &Topic, count_from: i64) -> i64 {
    if topic.identity.is_empty() { count_from } else { count_from.saturating_sub(topic.dedupe.offsets) }
}

pub(super) async fn offset_at(counting: &Counting, partition: &TopicPartition, at: At) -> Result<i64, End> {
    ask(counting, || counting.log.offset_at(partition, at)).await.map_err(End::stuck)
}

/// Asks the log until it answers. An error that does not pass by itself is the answer.
pub(super) async fn ask<T, F: Future<Output = Result<T, LogError>>>(
    counting: &Counting,
    call: impl Fn() -> F,
) -> Result<T, LogError> {
    let mut backoff = Backoff::log();
    loop {
        match call().await {
            Ok(answer) => return Ok(answer),
            Err(error) if error.is_retriable() || matches!(error, LogError::Unknown { .. }) => {
                measure::log_failed(&error);
                counting.health.set(LOG_PART, Level::Degraded, error.to_string(), std::time::Instant::now());
                tokio::time::sleep(backoff.next()).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Tries a store call until it succeeds. An error that does not pass by itself is said loudly and tried again, more slowly:
/// a password may be mended while we wait.
pub(super) async fn until_stored<T, F: Future<Output = Result<T, StoreError>>>(
    counting: &Counting,
    call: impl Fn() -> F,
) -> T {
    let (mut passing, mut lasting) = (Backoff::store(), Backoff::person());
    loop {
        match call().await {
            Ok(value) => return value,
            Err(error) => {
                measure::store_failed();
                counting.health.set(STORE_PART, Level::Down, error.to_string(), std::time::Instant::now());
                let delay = if error.is_retriable() { passing.next() } else { lasting.next() };
                tokio::time::sleep(delay).await;
            }
        }
    }
}

pub(super) async fn stored_position(counting: &Counting, partition: &TopicPartition) -> StoredPosition {
    let partitions = std::slice::from_ref(partition);
    let positions = until_stored(counting, || counting.store.positions(partitions)).await;
    positions.into_iter().next().and_then(|shards| shards.into_iter().next()).unwrap_or_default()
}

/// Where the rules have changed since the checkpoint, they are put in force at the same offset by compare-and-set: with one
/// shard that is enough (EXACTLY_ONCE, "Catalogue").
async fn adopt_rules(
    counting: &Counting,
    topic: &Topic,
    partition: &TopicPartition,
    stored: Checkpoint,
) -> Result<Checkpoint, End> {
    if stored.fingerprint == topic.fingerprint {
        return Ok(stored);
    }
    keep_texts(counting, &[topic]).await;
    let next = Checkpoint { fingerprint: topic.fingerprint, ..stored };
    let section = Section {
        partition: partition.clone(),
        expect: Some(stored),
        next,
        gap: None,
        log_identity: LogIdentity::default(),
        deltas: Vec::new(),
    };
    let sections = [section];
    let outcomes = until_stored(counting, || counting.store.apply(SHARD, &sections)).await;
    match outcomes.into_iter().next() {
        Some(Outcome::Applied | Outcome::AlreadyApplied) => {
            tracing::warn!(topic = %partition.topic, partition = partition.partition, offset = next.offset,
                "the catalogue has changed: its rules are in force from offset {} on; what was counted before stays as it is", next.offset);
            Ok(next)
        }
        other => Err(End::Again(format!("putting changed rules in force met {other:?}"))),
    }
}

/// The rules' text is kept in the store under their fingerprint, for ever.
pub(super) async fn keep_texts(counting: &Counting, topics: &[&Topic]) {
    let swap = |topic: &&Topic| Swap {
        name: format!("catalog:{}", topic.fingerprint),
        expect: None,
        next: Some(topic.text.as_bytes().to_vec()),
        ttl_ms: None,
    };
    let swaps: Vec<Swap> = topics.iter().map(swap).collect();
    let kept = until_stored(counting, || counting.store.swap(&swaps)).await;
    for (topic, kept) in topics.iter().zip(kept) {
        if let SwapOutcome::Differs(Some(text)) = kept
            && text != topic.text.as_bytes()
        {
            tracing::error!(topic = %topic.name, "two texts of rules have the fingerprint {}: report this", topic.fingerprint);
        }
    }
}
