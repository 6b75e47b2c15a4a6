//! A store that was emptied: noticed by what is known outside of it, given its totals back, and counted on from there, loudly.
//!
//! From inside it looks as one that a new group comes to. Outside stand the persistent tier, what is noted outside (its origin
//! with it), the offsets that were mirrored to the broker, and what this process has seen. Where any of these knows a partition
//! that the store does not, nothing is ever begun at `latest`.

use super::{
    counting::Counting,
    measure, outside,
    partition::End,
    persistent::{Known, Persistent},
    takeover::{ask, keep_texts, offset_at, stored_positions, until_stored},
};
use crate::{
    catalog::plan::Topic,
    core::{backoff::Backoff, recovery::begin_again},
    log::At,
    model::{ShardId, StoredPosition, TopicPartition},
    store::{Kept, PutBack, StoreError, Tier},
};

/// How often putting back is tried where the tier has something else each time.
const MAX_TRIES: u32 = 16;

/// What the shards have of a partition, after what was lost was put back. A partition that was begun before, and of which
/// nothing is left, is begun again where the group began, as far as that is known.
pub(super) async fn recover(
    counting: &Counting,
    topic: &Topic,
    partition: &TopicPartition,
    positions: Vec<StoredPosition>,
) -> Result<Vec<StoredPosition>, End> {
    let Some(persistent) = counting.persistent.get() else { return Ok(positions) };
    if !positions.iter().any(lacks) {
        persistent.note_begun(partition);
        return Ok(positions);
    }
    // The partitions of an emptied store come here together: the first one puts it back for all.
    let _turn = persistent.recovering.lock().await;
    let positions = stored_positions(counting, partition).await;
    let mut known = persistent.has_begun(partition);
    if let Some(tier) = &persistent.tier {
        for (shard, _) in (0..).zip(&positions).filter(|(_, position)| lacks(position)) {
            known = known.max(put_back(counting, persistent, tier.as_ref(), shard, partition).await);
        }
    }
    let positions = stored_positions(counting, partition).await;
    if !positions.iter().any(lacks) {
        open_again(counting, topic).await;
        persistent.note_begun(partition);
        return Ok(positions);
    }
    let register = outside::read(counting, positions.len()).await?;
    if let Some(register) = &register {
        known = known.max(Known::of(partition, register.begun()));
    }
    known = known.max(persistent.has_mirrored(&counting.options.group, partition).await);
    if known == Known::Nothing {
        return Ok(positions);
    }
    open_again(counting, topic).await;
    if positions.iter().all(lacks) {
        let topic_id = ask(counting, || counting.log.identity(partition)).await.map_err(End::stuck)?.topic_id;
        let origin = register.and_then(|register| register.noted(partition, topic_id).origin);
        recount(counting, persistent, partition, known, origin).await?;
    }
    persistent.note_begun(partition);
    Ok(stored_positions(counting, partition).await)
}

fn lacks(position: &StoredPosition) -> bool {
    position.checkpoint.is_none() && position.origin.is_none()
}

/// The claim and the rules' texts were lost with everything else.
async fn open_again(counting: &Counting, topic: &Topic) {
    let topics = [topic.name.to_string()];
    until_stored(counting, || counting.store.open(&counting.options.group, &topics)).await;
    keep_texts(counting, &[topic]).await;
}

/// Begins a partition where the group began, or at the log's start where that is not noted, whatever `KAFKA_AUTO_OFFSET_RESET`
/// says.
async fn recount(
    counting: &Counting,
    persistent: &Persistent,
    partition: &TopicPartition,
    known: Known,
    origin: Option<i64>,
) -> Result<(), End> {
    let (from, place) = match origin {
        Some(origin) => (origin, "where the group began"),
        None => (offset_at(counting, partition, At::Start).await?, "where the log begins"),
    };
    let origin = [(partition.clone(), from)];
    until_stored(counting, || counting.store.fix_origins(&origin)).await;
    if known == Known::Topic {
        return Ok(());
    }
    tracing::error!(topic = %partition.topic, partition = partition.partition, offset = from,
        "the store was emptied: it knows nothing of this partition, though it was counted before, and there is no copy of its \
         totals to restore. It is counted again from offset {from}, {place}; what the broker no longer holds, and totals that \
         were imported, are lost");
    measure::restored("log");
    persistent.tell(
        &counting.health,
        format!("the store was emptied and is counted again from {place}; what the broker no longer holds is lost"),
    );
    Ok(())
}

/// Puts the totals of a shard back, if the tier has them and the shard is not in use. Returns what the tier knows of the
/// partition. A tier that cannot be reached is waited for: what is begun now could not be put back later.
async fn put_back(
    counting: &Counting,
    persistent: &Persistent,
    tier: &dyn Tier,
    shard: ShardId,
    partition: &TopicPartition,
) -> Known {
    for _ in 0..MAX_TRIES {
        let kept = until_kept(counting, persistent, tier, || tier.kept(shard)).await;
        let Some(kept) = kept else { return Known::Nothing };
        let known = Known::of(partition, kept.positions.keys());
        if kept.positions.values().all(|position| position.checkpoint.is_none()) {
            return known;
        }
        let positions = begin_again(&kept.positions, |topic| persistent.has_more(topic));
        match until_kept(counting, persistent, tier, || tier.put_back(shard, &kept, &positions)).await {
            PutBack::Done => {
                tell_restored(counting, persistent, tier, shard, &kept);
                return known;
            }
            PutBack::InUse => return known,
            PutBack::Changed => {}
        }
    }
    Known::Nothing
}

fn tell_restored(counting: &Counting, persistent: &Persistent, tier: &dyn Tier, shard: ShardId, kept: &Kept) {
    let time = chrono::DateTime::from_timestamp_millis(kept.at_ms).map_or_else(String::new, |time| time.to_rfc3339());
    let counted = kept.positions.values().filter(|position| position.checkpoint.is_some()).count();
    let (name, totals) = (tier.name(), kept.totals);
    let more = if kept.positions.keys().any(|partition| persistent.has_more(&partition.topic)) {
        "; uniques, histories, rankings and sets are made again from what the broker holds"
    } else {
        ""
    };
    let what = format!(
        "the store was emptied (shard {shard}): {totals} totals of {counted} partitions were restored from {name}, as of \
         {time}, and are brought forward from the log{more}"
    );
    tracing::error!(shard, totals, "{what}");
    measure::restored("tier");
    persistent.tell(&counting.health, what);
}

/// Asks the tier until it answers.
async fn until_kept<T, F: Future<Output = Result<T, StoreError>>>(
    counting: &Counting,
    persistent: &Persistent,
    tier: &dyn Tier,
    call: impl Fn() -> F,
) -> T {
    let mut backoff = Backoff::store();
    loop {
        match call().await {
            Ok(value) => return value,
            Err(error) => {
                let delay = backoff.next();
                let what = format!(
                    "the store knows nothing of a partition, and {} cannot say whether it was counted before: {error}. The \
                     partition waits, since what is begun now could not be restored later",
                    tier.name()
                );
                tracing::warn!(retry_in_ms = delay.as_millis() as u64, "{what}");
                persistent.tell(&counting.health, what);
                tokio::time::sleep(delay).await;
            }
        }
    }
}
