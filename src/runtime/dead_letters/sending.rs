//! A replay at work: batch by batch, each claimed, sent and written down.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::join_all;
use tokio::time::Instant;
use uuid::Uuid;

use super::{DeadLetterError, DeadLetters, MAX_TRIES, ReplayOptions, Replayed, books::Read, walk::Walk};
use crate::{
    catalog::plan::Topic,
    core::{
        ledger::{Claim, Ledger, Target},
        letter::{Letter, Standing},
        partitioner::partition_for_key,
        replay,
    },
    log::{At, LogError, OutRecord},
    model::TopicPartition,
    runtime::measure,
};

/// Most dead letters of one claim.
const BATCH_LETTERS: usize = 100;
/// Most bytes of one claim, unless a single record has more.
const BATCH_BYTES: usize = 256 * 1024;
/// How long after its claim a batch may be handed to the log. Later it is given back unsent: who waits for the claim's time to be
/// over counts on that.
const SEND_WITHIN: Duration = Duration::from_secs(5);
/// Most refused dead letters that are named.
const MAX_REFUSED: usize = 20;

/// A call at work.
pub(super) struct Sending<'a> {
    pub letters: &'a DeadLetters,
    pub topic: &'a Topic,
    /// Of the topic that records go back to.
    pub partitions: i32,
    pub options: ReplayOptions,
    pub began: Instant,
    pub told: Replayed,
}

/// The earliest time that a replayed record may have. The topic's retention goes by the records' times, and could delete an older one
/// before anyone has read it; half of it leaves time for that.
fn oldest_kept(topic: &Topic, now_ms: i64) -> Option<i64> {
    (topic.retention_ms >= 0).then(|| now_ms.saturating_sub(topic.retention_ms / 2))
}

/// What became of a batch.
#[derive(Default)]
struct Sent {
    stored: Vec<i64>,
    unsure: Vec<i64>,
    refused: Vec<(i64, String)>,
    trouble: Option<LogError>,
}

impl Sending<'_> {
    /// Replays dead letters of one block. Returns the first that is left for the next call, if any is; also beside an error.
    pub(super) async fn block<'l>(
        &mut self,
        partition: &TopicPartition,
        wanted: &[&'l Letter],
        walk: &Walk<'_>,
    ) -> Result<Option<&'l Letter>, (&'l Letter, DeadLetterError)> {
        let mut batch: Vec<&'l Letter> = Vec::new();
        let mut size = 0;
        for letter in wanted {
            match letter.standing(self.letters.parts.max_replays) {
                Standing::Waiting => {}
                Standing::Parked => {
                    self.told.parked += 1;
                    continue;
                }
                Standing::Never(why) => {
                    *self.told.never.entry(why).or_default() += 1;
                    continue;
                }
            }
            let bytes = letter.value.as_ref().map_or(0, Vec::len);
            let is_full = batch.len() >= self.batch_letters() || size + bytes > BATCH_BYTES;
            if is_full && let Some(first) = batch.first().copied() {
                self.send(partition, &batch).await.map_err(|error| (first, error))?;
                (batch, size) = (Vec::new(), 0);
            }
            if walk.is_late() || self.is_all(batch.len()) {
                if let Some(first) = batch.first().copied() {
                    self.send(partition, &batch).await.map_err(|error| (first, error))?;
                }
                return Ok(Some(letter));
            }
            size += bytes;
            batch.push(letter);
        }
        if let Some(first) = batch.first().copied() {
            self.send(partition, &batch).await.map_err(|error| (first, error))?;
        }
        Ok(None)
    }

    /// A quarter of a second's worth at most, so that a rate is kept evenly.
    fn batch_letters(&self) -> usize {
        let share = |rate: u32| usize::try_from(rate / 4).unwrap_or(BATCH_LETTERS).max(1);
        self.options.rate.map_or(BATCH_LETTERS, share).min(BATCH_LETTERS)
    }

    fn is_all(&self, more: usize) -> bool {
        self.options.limit.is_some_and(|limit| self.told.replayed + more as u64 >= limit)
    }

    /// Replays a batch of one partition.
    async fn send(&mut self, partition: &TopicPartition, batch: &[&Letter]) -> Result<(), DeadLetterError> {
        if self.options.is_dry_run {
            self.told.replayed += batch.len() as u64;
            return Ok(());
        }
        if let Some(rate) = self.options.rate {
            let due = Duration::from_secs_f64(self.told.replayed as f64 / f64::from(rate.max(1)));
            tokio::time::sleep_until(self.began + due).await;
        }
        for _ in 0..MAX_TRIES {
            let read = self.letters.settled(partition).await?;
            // Another one may have replayed some since they were read.
            let batch: Vec<&Letter> =
                batch.iter().copied().filter(|letter| !read.ledger.done.contains(letter.offset)).collect();
            if batch.is_empty() {
                return Ok(());
            }
            let began = Instant::now();
            let records = self.addressed(&batch);
            let claim = self.claim(&batch, &records).await?;
            let next = Ledger { claim: Some(claim), ..read.ledger.clone() };
            let Some(claimed) = self.letters.books.write(partition, &read, next).await? else { continue };
            if began.elapsed() >= SEND_WITHIN {
                self.write_down(partition, &claimed, Sent::default()).await?;
                continue;
            }
            let sent = self.produce(records).await;
            return self.write_down(partition, &claimed, sent).await;
        }
        Err(DeadLetterError::Busy { partition: partition.clone(), left: Duration::ZERO })
    }

    /// The records by the partition that each goes to: its own, unless the topic has no such partition any more.
    fn addressed(&self, batch: &[&Letter]) -> BTreeMap<TopicPartition, Vec<(i64, OutRecord)>> {
        let oldest_ms = oldest_kept(self.topic, chrono::Utc::now().timestamp_millis());
        let mut records: BTreeMap<TopicPartition, Vec<(i64, OutRecord)>> = BTreeMap::new();
        for letter in batch {
            let own = letter.source.as_ref().map(|(_, partition, _)| *partition);
            let own = own.filter(|own| (0..self.partitions).contains(own));
            let by_key = || letter.key.as_deref().map_or(0, |key| partition_for_key(key, self.partitions.max(1)));
            let target = TopicPartition::new(Arc::clone(&self.topic.name), own.unwrap_or_else(by_key));
            let mut record = letter.replay().0;
            record.timestamp_ms =
                record.timestamp_ms.filter(|time_ms| oldest_ms.is_none_or(|oldest| *time_ms >= oldest));
            if own.is_none() {
                // What failed does not lie where the replay does.
                record.headers.retain(|(name, _)| name != replay::OF_HEADER);
            }
            records.entry(target).or_default().push((letter.offset, record));
        }
        records
    }

    async fn claim(
        &self,
        batch: &[&Letter],
        records: &BTreeMap<TopicPartition, Vec<(i64, OutRecord)>>,
    ) -> Result<Claim, DeadLetterError> {
        let parts = &self.letters.parts;
        let mut targets = Vec::with_capacity(records.len());
        for target in records.keys() {
            let from = parts.log.offset_at(target, At::End).await?;
            targets.push(Target { topic: target.topic.to_string(), partition: target.partition, from, to: None });
        }
        let held = SEND_WITHIN + parts.request_timeout;
        Ok(Claim {
            id: Uuid::new_v4(),
            held_ms: u64::try_from(held.as_millis()).unwrap_or(u64::MAX),
            letters: batch.iter().map(|letter| (letter.offset, letter.replay().1)).collect(),
            targets,
        })
    }

    async fn produce(&self, records: BTreeMap<TopicPartition, Vec<(i64, OutRecord)>>) -> Sent {
        let each = records.into_iter().map(|(target, records)| async move {
            let (offsets, records): (Vec<i64>, Vec<OutRecord>) = records.into_iter().unzip();
            let results = self.letters.parts.log.produce(&target, records).await;
            offsets.into_iter().zip(results).collect::<Vec<_>>()
        });
        let mut sent = Sent::default();
        for (offset, result) in join_all(each).await.into_iter().flatten() {
            match result {
                Ok(_) => sent.stored.push(offset),
                Err(error @ (LogError::TooLarge { .. } | LogError::Invalid { .. })) => {
                    sent.refused.push((offset, error.to_string()));
                }
                Err(error) => {
                    if matches!(error, LogError::TimedOut { .. }) {
                        sent.unsure.push(offset);
                    }
                    sent.trouble = Some(error);
                }
            }
        }
        sent
    }

    /// Notes what was stored, and gives the claim back; but for what may be stored or not: that stays claimed, and is searched for
    /// when its time is over.
    async fn write_down(
        &mut self,
        partition: &TopicPartition,
        claimed: &Read,
        sent: Sent,
    ) -> Result<(), DeadLetterError> {
        let mut ledger = claimed.ledger.clone();
        sent.stored.iter().for_each(|offset| ledger.done.add(*offset, offset + 1));
        match &mut ledger.claim {
            Some(claim) if !sent.unsure.is_empty() => claim.letters.retain(|(offset, _)| sent.unsure.contains(offset)),
            claim => *claim = None,
        }
        let written = self.letters.books.write(partition, claimed, ledger).await?;
        self.told.replayed += sent.stored.len() as u64;
        measure::replayed(&self.topic.name, sent.stored.len());
        self.told.refused += sent.refused.len() as u64;
        let room = MAX_REFUSED.saturating_sub(self.told.refusals.len());
        let named = sent.refused.into_iter().take(room).map(|(offset, why)| (format!("{partition}:{offset}"), why));
        self.told.refusals.extend(named);
        if written.is_none() {
            // Whoever settled it has found what was stored.
            tracing::warn!(topic = %partition.topic, partition = partition.partition,
                "a batch of a replay took so long that its claim was settled by another");
        }
        sent.trouble.map_or(Ok(()), |trouble| Err(trouble.into()))
    }
}
