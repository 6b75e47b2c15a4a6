//! A partition's task: one tenure after the other, each from reading the checkpoint to a conflict or the end.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    counting::Counting,
    decoding::{Ahead, DecodedBlock, SMALL_BYTES},
    fetcher::Subscription,
    measure, sameness,
    tenure::{Tenure, Verdict},
};
use crate::{
    catalog::plan::Topic,
    core::{backoff::Backoff, batch::Batch, worker::Worker},
    log::LogError,
    model::TopicPartition,
};

/// Blocks of one partition that are decoded before their turn, if there is room over all partitions.
const MAX_AHEAD: usize = 4;
/// A tenure that lasted so long began well: the next trouble is a new one.
const SETTLED_AFTER: Duration = Duration::from_secs(60);

/// Why a tenure is over.
pub(super) enum End {
    /// The member stops.
    Stopped,
    /// Begin again from what is stored.
    Again(String),
    /// Someone must mend something first; it is tried again all the same.
    Stuck(Stop),
}

/// Why a partition has stopped.
#[derive(Clone, Debug)]
pub struct Stop {
    /// The reason, and what to do.
    pub why: String,
    /// It goes on only when the store has taken a flush again, not when a tenure begins.
    pub until_flush: bool,
}

impl End {
    /// A tenure cannot begin, or the log has nothing for it.
    pub(super) fn stuck(why: impl ToString) -> Self {
        Self::Stuck(Stop { why: why.to_string(), until_flush: false })
    }

    /// The store refuses what the tenure brings.
    fn refused(why: String) -> Self {
        Self::Stuck(Stop { why, until_flush: true })
    }
}

/// The task of one partition.
pub(super) struct PartitionTask {
    pub counting: Arc<Counting>,
    pub topic: Arc<Topic>,
    pub partition: TopicPartition,
}

impl PartitionTask {
    /// Counts the partition until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut again = Backoff::store();
        let mut stuck = Backoff::person();
        loop {
            let began = Instant::now();
            let end = tokio::select! {
                biased;
                end = self.tenure(&stop) => end,
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

    async fn tenure(&self, stop: &CancellationToken) -> End {
        let start = match super::takeover::take_over(&self.counting, &self.topic, &self.partition).await {
            Ok(start) => start,
            Err(end) => return end,
        };
        let tenure = Arc::clone(&start.tenure);
        let mut worker = Worker::new(
            Arc::clone(&self.topic),
            self.partition.clone(),
            Arc::clone(&self.counting.secret),
            start.count_from,
            self.counting.options.batch_events,
        );
        self.counting.stopped.remove_if(&self.partition, |_, stop| !stop.until_flush);
        let mut blocks = self.counting.fetcher.subscribe(self.partition.clone(), start.fetch_from);
        let mut ahead = VecDeque::new();
        loop {
            let block = tokio::select! {
                biased;
                verdict = tenure.ended() => return ended(verdict),
                block = self.next_block(&worker, &mut blocks, &mut ahead) => block,
            };
            let block = match block {
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
            // A stop lets the block be finished: what was merged by then is in the last flush.
            if let Err(end) = self.count(&tenure, &mut worker, block, stop).await {
                return end;
            }
        }
    }

    /// The next block, decoded; those behind it that are there already are begun.
    async fn next_block(
        &self,
        worker: &Worker,
        blocks: &mut Subscription,
        ahead: &mut VecDeque<Ahead>,
    ) -> Option<Result<DecodedBlock, LogError>> {
        let (decoding, decoder, count_from) = (&self.counting.decoding, worker.decoder(), worker.count_from());
        let current = match ahead.pop_front() {
            Some(current) => Ok(current),
            None => match blocks.next().await? {
                Ok(held) => Err(held),
                Err(error) => return Some(Err(error)),
            },
        };
        while ahead.len() < MAX_AHEAD
            && let Some(room) = decoding.room_ahead()
            && let Some(held) = blocks.ready(SMALL_BYTES)
        {
            ahead.push_back(decoding.decode_ahead(room, decoder, count_from, held));
        }
        let decoded = match current {
            Ok(current) => current.decoded().await,
            Err(held) => decoding.decode(decoder, count_from, held).await,
        };
        match decoded {
            Ok(decoded) => Some(decoded.outcome.clone().map(|()| decoded)),
            // A defect ends this task too, and so the process, loudly; else the process is ending.
            Err(error) => error.try_into_panic().map_or(None, |panic| std::panic::resume_unwind(panic)),
        }
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
                committed = tenure.stored().map(|checkpoint| checkpoint.offset), events = tally.events,
                duplicates = tally.duplicates, dead_letters = tally.dead_letters, took_ms, "batch counted");
        }
        let lag = high_watermark - next_offset;
        let behind = if lag > 0 { age(newest_ms).as_secs_f64() } else { 0.0 };
        measure::lag(&self.partition, lag, behind);
        Ok(())
    }

    async fn merge(&self, tenure: &Arc<Tenure>, batch: Batch) -> Result<(), End> {
        let tally = batch.tally;
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

fn ended(verdict: Option<Verdict>) -> End {
    match verdict {
        Some(Verdict::Refused(why)) => End::refused(why),
        Some(Verdict::Conflict(why)) => End::Again(why),
        None => End::Stopped,
    }
}

/// How long ago an event time was; zero for the future.
fn age(time_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(chrono::Utc::now().timestamp_millis() - time_ms).unwrap_or(0))
}
