//! A partition's task: it waits for the lease ([`warm`]), then has one tenure after the other, each from reading the checkpoint
//! to a conflict or the end.

mod blocks;
mod end;
mod statuses;
mod warm;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::end::Stop;
pub(super) use self::{blocks::next_block, end::End};
use self::{end::ended, warm::Warmed};
use super::{
    counting::{Counting, CountingOptions},
    decoding::DecodedBlock,
    handover::Handover,
    measure, sameness,
    takeover::Start,
    tenure::Tenure,
};
use crate::{
    catalog::plan::Topic,
    core::{backoff::Backoff, batch::Batch, worker::Worker},
    log::LogError,
    model::TopicPartition,
};

/// A tenure that lasted so long began well: the next trouble is a new one.
const SETTLED_AFTER: Duration = Duration::from_secs(60);
/// Records between what was counted and the log's end from which on it lies far behind.
const FAR_BEHIND_RECORDS: i64 = 50_000;

/// The task of one partition.
pub(super) struct PartitionTask {
    pub counting: Arc<Counting>,
    pub topic: Arc<Topic>,
    pub partition: TopicPartition,
    pub handover: Arc<Handover>,
}

impl PartitionTask {
    /// Counts the partition once its lease is granted, until it is stopped, and says which partition that was. What was counted
    /// is flushed then: another member goes on behind it. When all is halted, the last flush does that for all partitions.
    pub async fn run(self, halt: CancellationToken) -> TopicPartition {
        let warmed = tokio::select! {
            biased;
            () = self.handover.stop.cancelled() => return self.partition,
            warmed = self.warm() => warmed,
        };
        self.count_on(warmed).await;
        tokio::select! {
            biased;
            // The process ends: the last flush is everybody's, and its last words tell of this tenure.
            () = halt.cancelled() => {}
            () = self.let_go() => {}
        }
        self.partition
    }

    async fn let_go(&self) {
        for tenure in self.counting.tenures.alive() {
            if tenure.partition == self.partition {
                self.counting.generations.flushed(&tenure).await;
                tenure.let_go();
                if let Some(last) = tenure.counted_to() {
                    tracing::info!(topic = %self.partition.topic, partition = self.partition.partition, offset = last,
                        "let go: counted from offset {} to {last}", tenure.begin);
                }
            }
        }
        self.counting.stopped.remove(&self.partition);
        measure::lag(&self.partition, 0, 0.0);
    }

    async fn count_on(&self, mut warmed: Option<Warmed>) {
        let stop = &self.handover.stop;
        let mut again = Backoff::store();
        let mut stuck = Backoff::person();
        loop {
            let began = Instant::now();
            let end = tokio::select! {
                biased;
                end = self.tenure(stop, warmed.take()) => end,
                () = stop.cancelled() => End::Stopped,
            };
            if began.elapsed() >= SETTLED_AFTER {
                (again, stuck) = (Backoff::store(), Backoff::person());
            }
            let delay = match end {
                End::Stopped => return,
                End::Again(why) => {
                    tracing::info!(topic = %self.partition.topic, partition = self.partition.partition, "begins again: {why}");
                    again.next()
                }
                End::Reached(end) => {
                    tracing::info!(topic = %self.partition.topic, partition = self.partition.partition, offset = end,
                        "counted to where the rules change");
                    continue;
                }
                End::Stuck(Stop { why, until_flush }) => {
                    let delay = stuck.next();
                    tracing::error!(topic = %self.partition.topic, partition = self.partition.partition,
                        retry_in_ms = delay.as_millis() as u64, "counting of this partition has stopped: {why}");
                    self.counting.stopped.insert(self.partition.clone(), Stop { why, until_flush });
                    delay
                }
            };
            tokio::select! {
                biased;
                () = tokio::time::sleep(delay) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// What turns the partition's blocks into batches, from an offset on.
    fn worker(&self, topic: &Arc<Topic>, count_from: i64) -> Worker {
        let (topic, secret) = (Arc::clone(topic), Arc::clone(&self.counting.secret));
        let CountingOptions { group, batch_events, .. } = &self.counting.options;
        let partition = self.partition.clone();
        let worker = Worker::new(topic, partition, group.as_str().into(), secret, count_from, *batch_events);
        if self.topic.track { worker.track() } else { worker }
    }

    async fn tenure(&self, stop: &CancellationToken, warmed: Option<Warmed>) -> End {
        let start = match super::takeover::take_over(&self.counting, &self.topic, &self.partition).await {
            Ok(start) => start,
            Err(end) => return end,
        };
        let tenure = Arc::clone(&start.tenure);
        if start.end == Some(start.count_from) {
            return self.close(&tenure, End::Reached(start.count_from)).await;
        }
        // A window that was read ahead is of this member's own rules.
        let warmed = warmed.filter(|_| start.topic.fingerprint == self.topic.fingerprint);
        let is_warm = warmed.is_some();
        let (mut worker, fetch_from) = warmed
            .and_then(|warmed| warmed.begin(&start))
            .unwrap_or_else(|| (self.worker(&start.topic, start.count_from), start.fetch_from));
        worker.count_on(start.count_on.clone());
        worker.rules_begin_at(start.rules_from);
        self.counting.stopped.remove_if(&self.partition, |_, stop| !stop.until_flush);
        let mut blocks = self.counting.fetcher.subscribe(self.partition.clone(), fetch_from);
        let mut ahead = VecDeque::new();
        let mut granted_at = self.handover.granted_at();
        let mut read_to = fetch_from;
        loop {
            if read_to >= start.count_from
                && let Some(granted_at) = granted_at.take()
            {
                self.took_over(&start, granted_at, is_warm);
            }
            let block = tokio::select! {
                biased;
                verdict = tenure.ended() => return ended(verdict),
                block = self.next_block(&worker, &mut blocks, &mut ahead) => block,
            };
            let mut block = match block {
                None => return End::Stopped,
                Some(Ok(block)) => block,
                Some(Err(error)) => return self.lost(&tenure, error).await,
            };
            let same = tokio::select! {
                biased;
                verdict = tenure.ended() => return ended(verdict),
                same = sameness::follow(&self.counting, &tenure, block.next_offset, block.leader_epoch) => same,
            };
            if let Err(why) = same {
                return self.close(&tenure, End::Again(why)).await;
            }
            if let Some(end) = start.end.filter(|end| *end < block.next_offset) {
                block.decoded.cut(end);
                block.next_offset = end;
            }
            read_to = block.next_offset;
            if let Err(end) = self.count(&tenure, &mut worker, block, stop).await {
                return end;
            }
            if start.end == Some(read_to) {
                return self.close(&tenure, End::Reached(read_to)).await;
            }
        }
    }

    /// Tells how long the partition paused on this side: from its lease to having read the duplicate window.
    fn took_over(&self, start: &Start, granted_at: Instant, is_warm: bool) {
        let took = granted_at.elapsed();
        measure::took_over(&self.partition.topic, took);
        tracing::info!(topic = %self.partition.topic, partition = self.partition.partition, offset = start.count_from,
            took_ms = took.as_millis() as u64, is_warm, "taken over: counts from offset {} on", start.count_from);
    }

    /// Counts one block: effects acknowledged first, then merged (invariant 2).
    async fn count(
        &self,
        tenure: &Arc<Tenure>,
        worker: &mut Worker,
        mut block: DecodedBlock,
        stop: &CancellationToken,
    ) -> Result<(), End> {
        let began = Instant::now();
        let (next_offset, high_watermark) = (block.next_offset, block.high_watermark);
        let batches = worker.count(&mut block.decoded, next_offset);
        // Its memory is for the next block; the batches have all they need.
        drop(block);
        measure::processed(&self.partition.topic, began.elapsed());
        let took_ms = began.elapsed().as_millis() as u64;
        let mut newest_ms = 0;
        for mut batch in batches {
            newest_ms = newest_ms.max(batch.tally.newest_ms);
            batch.is_far_behind = high_watermark - batch.next_offset > FAR_BEHIND_RECORDS;
            let outgoing = std::mem::take(&mut batch.outgoing);
            if !outgoing.is_empty() {
                tokio::select! {
                    biased;
                    verdict = tenure.ended() => return Err(ended(verdict)),
                    () = self.counting.outbox.deliver(&self.partition, outgoing) => {}
                    () = stop.cancelled() => return Err(End::Stopped),
                }
            }
            let (tally, next_offset) = (batch.tally, batch.next_offset);
            self.merge(tenure, batch).await?;
            tracing::debug!(topic = %self.partition.topic, partition = self.partition.partition, offset = next_offset,
                committed = tenure.counted_to(), events = tally.events,
                duplicates = tally.duplicates, dead_letters = tally.dead_letters, took_ms, "batch counted");
        }
        let lag = high_watermark - next_offset;
        let behind = if lag > 0 { age(newest_ms).as_secs_f64() } else { 0.0 };
        measure::lag(&self.partition, lag, behind);
        Ok(())
    }

    async fn merge(&self, tenure: &Arc<Tenure>, mut batch: Batch) -> Result<(), End> {
        let tally = batch.tally;
        if !batch.tracked.is_empty() {
            batch.statuses =
                statuses::of(&self.counting.options.group, &self.partition, std::mem::take(&mut batch.tracked));
        }
        tokio::select! {
            biased;
            verdict = tenure.ended() => return Err(ended(verdict)),
            merged = self.counting.generations.merge(tenure, batch) => {
                merged.map_err(|overflow| End::refused(overflow.to_string()))?;
            }
        }
        // Before the records are told: who sees them counted must not see nothing pending.
        measure::pending(self.counting.generations.weight().max(1));
        self.counting.tally.add(&self.partition, &tally);
        Ok(())
    }

    /// The log does not have what this tenure wants next. What is counted is flushed before a new tenure looks where the
    /// log begins now, so that nothing counted is taken for a gap.
    async fn lost(&self, tenure: &Arc<Tenure>, error: LogError) -> End {
        let end = match error {
            LogError::OffsetOutOfRange { .. } => End::Again(error.to_string()),
            error @ LogError::Unknown { .. } => {
                self.counting.topics_stale.notify_one();
                End::stuck(error)
            }
            error => End::stuck(error),
        };
        self.close(tenure, end).await
    }

    /// Lets go of a tenure whose counts are good: they are flushed first.
    async fn close(&self, tenure: &Arc<Tenure>, end: End) -> End {
        self.counting.generations.flushed(tenure).await;
        tenure.let_go();
        end
    }
}

/// How long ago an event time was; zero for the future.
fn age(time_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(chrono::Utc::now().timestamp_millis() - time_ms).unwrap_or(0))
}
