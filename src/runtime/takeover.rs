//! Taking over a partition: what is stored, what the log has, and where counting begins.

use std::{sync::Arc, time::Duration};

use super::{
    LOG_PART, STORE_PART,
    counting::Counting,
    health::Level,
    measure, origin,
    partition::End,
    recovery, sameness, switching,
    tenure::{Standing, Tenure},
};
use crate::{
    catalog::plan::Topic,
    core::{backoff::Backoff, register::Register, shards::Standings, switches::InForce},
    log::{At, LogError},
    model::{Gap, LogIdentity, StoredPosition, Swap, SwapOutcome, TopicPartition},
    store::StoreError,
};

/// Between two looks whether a partition's results are still being exchanged.
const EXCHANGE_LOOK: Duration = Duration::from_millis(100);
/// Looks until it is said loudly; it is looked at again all the same.
const EXCHANGE_LOOKS: u32 = 100;
/// Most steps that rules take to come into force before a partition is left and begun again: a few for each shard.
const MAX_STEPS: usize = 1_000;

/// Where a tenure begins.
pub(super) struct Start {
    pub tenure: Arc<Tenure>,
    /// The topic under the rules that are in force.
    pub topic: Arc<Topic>,
    /// The first offset that counts in any shard of the store.
    pub count_from: i64,
    /// The first offset that counts in each.
    pub count_on: Standings,
    /// The first offset to read: the duplicate window lies before `count_from`.
    pub fetch_from: i64,
    /// Where the rules began to count the partition.
    pub rules_from: i64,
    /// Where the rules end: nothing from here on is counted by them.
    pub end: Option<i64>,
}

/// What is found of a partition.
struct Found {
    positions: Vec<StoredPosition>,
    standings: Vec<Standing>,
    /// What is noted outside of the store; `None` where that cannot be known.
    register: Option<Arc<Register>>,
    identity: LogIdentity,
    log_start: i64,
    log_end: i64,
}

pub(super) async fn take_over(
    counting: &Arc<Counting>,
    topic: &Arc<Topic>,
    partition: &TopicPartition,
) -> Result<Start, End> {
    for _ in 0..MAX_STEPS {
        let found = look(counting, topic, partition).await?;
        let Found { positions, standings, register, identity, log_end, .. } = &found;
        let (register, topic_id) = (register.as_deref(), identity.topic_id);
        let shards = switching::Found { positions, standings, register, topic_id, log_end: *log_end };
        if let Some(rules) = switching::step(counting, topic, partition, &shards).await? {
            let topic = switching::rules(counting, topic, rules.fingerprint, register).await?;
            let noted = register.map(|register| register.noted(partition, topic_id).recounted).unwrap_or_default();
            let rules_from = rules.begin(noted);
            let start = start(counting, topic, partition, found, rules)?;
            return Ok(Start { rules_from, ..start });
        }
    }
    Err(End::Again(format!("the rules have not come into force within {MAX_STEPS} steps")))
}

async fn look(counting: &Counting, topic: &Topic, partition: &TopicPartition) -> Result<Found, End> {
    // The checkpoints first: whoever else may still write them can only move them within the log that is looked at next. Where
    // rules are announced, the log's end must be looked up behind that.
    let positions = positions_in_force(counting, partition).await?;
    let positions = recovery::recover(counting, topic, partition, positions).await?;
    // Before the leader is asked for its epoch: where the log begins may be all that a section tells of it, and that epoch must
    // have reached so far.
    let log_start = offset_at(counting, partition, At::Start).await?;
    let identity = sameness::check(counting, partition, &positions).await?;
    let register = switching::outside(counting, (partition, identity.topic_id), positions.len()).await?;
    let noted = register.as_ref().map(|register| register.noted(partition, identity.topic_id)).unwrap_or_default();
    counting.membership.note_rules(&partition.topic, &positions, &noted.switches());
    let log_end = offset_at(counting, partition, At::End).await?;
    let origins =
        origin::origins(counting, (partition, identity.topic_id), &positions, register.as_deref(), log_start, log_end)
            .await?;
    let standing = |(position, origin): (&StoredPosition, i64)| Standing {
        checkpoint: position.checkpoint,
        from: position.checkpoint.map_or(origin, |checkpoint| checkpoint.offset),
    };
    let standings: Vec<Standing> = positions.iter().zip(origins).map(standing).collect();
    let froms = || standings.iter().map(|standing| standing.from);
    let furthest = froms().max().unwrap_or(log_start);
    let totals = || positions.iter().map(StoredPosition::totals_from);
    let furthest = totals().flatten().fold(furthest, i64::max);
    if furthest > log_end {
        return Err(End::stuck(format!(
            "the store has counted up to offset {furthest}, but the log ends at {log_end}: the topic was made again or has lost its \
             end. Bring the log back, or count it anew under another REDIS_KEY_PREFIX"
        )));
    }
    Ok(Found { positions, standings, register, identity, log_start, log_end })
}

fn start(
    counting: &Arc<Counting>,
    topic: Arc<Topic>,
    partition: &TopicPartition,
    found: Found,
    rules: InForce,
) -> Result<Start, End> {
    let Found { positions, standings, identity, log_start, log_end, .. } = found;
    let end = rules.end;
    if let Some(end) = end.filter(|end| *end > log_end) {
        return Err(End::stuck(format!(
            "the rules change at offset {end}, but the log ends at {log_end}: the topic was made again or has lost its end. Bring \
             the log back, or count it anew under another REDIS_KEY_PREFIX"
        )));
    }
    // What the log no longer has behind the end is a gap under the next rules.
    let lost_to = end.map_or(log_start, |end| end.min(log_start));
    let froms = || standings.iter().map(|standing| standing.from);
    let (begin, furthest) = (froms().min().unwrap_or(log_start), froms().max().unwrap_or(log_start));
    let totals = || positions.iter().map(StoredPosition::totals_from);
    let furthest = totals().flatten().fold(furthest, i64::max);
    let count_on = Standings::new(froms().map(|from| from.max(lost_to))).with_totals(totals());
    let count_from = count_on.lowest();
    if totals().flatten().next().is_some() {
        tracing::warn!(topic = %partition.topic, partition = partition.partition, offset = count_from,
            "totals were restored up to offset {furthest}: before it everything else is made again, from offset {count_from} on");
    } else if begin < furthest {
        tracing::warn!(topic = %partition.topic, partition = partition.partition, offset = count_from,
            "the shards of the store differ: what some of them have up to offset {furthest} is counted again from {begin} on for \
             the others alone");
    }
    let tenure = Tenure::under(partition.clone(), rules, standings, count_from);
    tenure.note_log(identity);
    counting.tenures.add(&tenure);
    if let Some(persistent) = counting.persistent.get() {
        persistent.note_begun(partition);
    }
    if begin < lost_to {
        let gap = Gap { from: begin, to: lost_to };
        let lost = if count_on.sent_to() > begin { " (but for restored totals)" } else { "" };
        tracing::error!(topic = %partition.topic, partition = partition.partition, offset = begin,
            "gap: the broker no longer holds offsets {begin} to {lost_to}, so {} records are not counted{lost}; raise the topic's retention", lost_to - begin);
        counting.generations.note_gap(&tenure, gap);
    }
    let window_from = window_from(&topic, count_from);
    if window_from < log_start && log_start > 0 {
        tracing::info!(topic = %partition.topic, partition = partition.partition,
            "duplicate window shortened: it reaches back to offset {log_start} only, where the log begins");
    }
    tracing::debug!(topic = %partition.topic, partition = partition.partition, offset = count_from, log_end,
        "counting from offset {count_from}");
    Ok(Start { rules_from: 0, tenure, topic, count_from, count_on, fetch_from: window_from.max(log_start), end })
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

/// What each shard of the store has of a partition; at least one.
pub(super) async fn stored_positions(counting: &Counting, partition: &TopicPartition) -> Vec<StoredPosition> {
    let partitions = std::slice::from_ref(partition);
    let positions = until_stored(counting, || counting.store.positions(partitions)).await;
    let shards = positions.into_iter().next().unwrap_or_default();
    if shards.is_empty() { vec![StoredPosition::default()] } else { shards }
}

/// The same, once the partition's results are not being exchanged any more, which takes seconds.
async fn positions_in_force(counting: &Counting, partition: &TopicPartition) -> Result<Vec<StoredPosition>, End> {
    let is_exchanged =
        |position: &StoredPosition| position.checkpoint.is_some_and(|checkpoint| checkpoint.is_exchanged());
    for _ in 0..EXCHANGE_LOOKS {
        let positions = stored_positions(counting, partition).await;
        if !positions.iter().any(is_exchanged) {
            return Ok(positions);
        }
        tokio::time::sleep(EXCHANGE_LOOK).await;
    }
    Err(End::stuck(format!(
        "its results have been exchanged for rebuilt ones for {} s, and it waits for that: if no `streamgauge counters rebuild` \
         is at work any more, run it again, and it ends what was begun",
        (EXCHANGE_LOOK * EXCHANGE_LOOKS).as_secs()
    )))
}

/// How far every shard has counted a partition; 0 where one has not begun.
pub(super) fn counted_by_all(shards: &[StoredPosition]) -> i64 {
    let offset = |shard: &StoredPosition| shard.checkpoint.map_or(0, |checkpoint| checkpoint.offset);
    shards.iter().map(offset).min().unwrap_or(0)
}

/// The rules' text is kept in the store under their fingerprint, for ever.
pub(super) async fn keep_texts(counting: &Counting, topics: &[&Topic]) {
    let swaps: Vec<Swap> = topics.iter().map(|topic| topic.keep_text()).collect();
    let kept = until_stored(counting, || counting.store.swap(&swaps)).await;
    for (topic, kept) in topics.iter().zip(kept) {
        if let SwapOutcome::Differs(Some(text)) = kept
            && text != topic.text.as_bytes()
        {
            tracing::error!(topic = %topic.name, "two texts of rules have the fingerprint {}: report this", topic.fingerprint);
        }
    }
}
