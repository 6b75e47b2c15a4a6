//! One partition's queue and the task that empties it.

use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError},
};

use futures::{StreamExt, poll, stream::FuturesUnordered};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, oneshot},
    time::{Instant, sleep},
};

use super::{ProduceError, Shared};
use crate::{
    log::{LogError, OutRecord},
    model::TopicPartition,
};

/// Most records of a batch: more would not make it cheaper, but longer to answer.
pub(super) const MAX_BATCH_RECORDS: usize = 10_000;

/// Records of one call, and who waits for them.
pub(super) struct Run {
    pub(super) records: Vec<OutRecord>,
    pub(super) size_bytes: usize,
    /// One answer per record.
    pub(super) answer: oneshot::Sender<Vec<Result<i64, ProduceError>>>,
    /// Not sent after this.
    pub(super) expires_at: Instant,
    /// The records' share of the buffer, given back with their answer.
    pub(super) _room: OwnedSemaphorePermit,
}

/// What waits for one partition.
#[derive(Default)]
pub(super) struct Lane {
    queue: VecDeque<Run>,
    size_bytes: usize,
    /// There is a full batch.
    filled: Arc<Notify>,
}

impl Lane {
    pub(super) fn push(&mut self, run: Run, batch_bytes: usize) {
        self.size_bytes += run.size_bytes;
        self.queue.push_back(run);
        if self.size_bytes >= batch_bytes {
            self.filled.notify_one();
        }
    }

    /// The next batch: whole runs, at least one where there is one.
    fn take(&mut self, batch_bytes: usize) -> Vec<Run> {
        let (mut taken_bytes, mut records, mut count) = (0, 0, 0);
        for run in &self.queue {
            let is_full = taken_bytes + run.size_bytes > batch_bytes || records + run.records.len() > MAX_BATCH_RECORDS;
            if count > 0 && is_full {
                break;
            }
            taken_bytes += run.size_bytes;
            records += run.records.len();
            count += 1;
        }
        self.size_bytes -= taken_bytes;
        self.queue.drain(..count).collect()
    }
}

/// Sends what is in the lane until nothing is left, then removes it.
pub(super) async fn run(shared: Arc<Shared>, partition: TopicPartition) {
    let stop = shared.stop.clone();
    let stopped = stop.run_until_cancelled(send_all(&shared, &partition));
    if stopped.await.is_none() {
        // Dropping the senders answers the callers.
        shared.lanes.lock().unwrap_or_else(PoisonError::into_inner).remove(&partition);
    }
}

/// Sends batches one behind the other, several at a time: one that is not full waits until all before it are answered, and
/// gathers what comes meanwhile.
async fn send_all(shared: &Arc<Shared>, partition: &TopicPartition) {
    let mut under_way = FuturesUnordered::new();
    let filled = shared.look(partition, |lane| Arc::clone(&lane.filled)).unwrap_or_default();
    let is_full = |lane: &mut Lane| lane.size_bytes >= shared.options.batch_bytes;
    loop {
        let has_room = under_way.len() < shared.options.max_in_flight.max(1);
        if under_way.is_empty() || has_room && shared.look(partition, is_full) == Some(true) {
            let Some(batch) = next_batch(shared, partition).await else { return };
            let mut delivery = Box::pin(deliver(shared, partition, batch));
            // The log keeps the order in which calls are first polled.
            if poll!(&mut delivery).is_pending() {
                under_way.push(delivery);
            }
            continue;
        }
        tokio::select! {
            biased;
            _ = under_way.next() => {}
            () = filled.notified(), if has_room => {}
        }
    }
}

async fn next_batch(shared: &Shared, partition: &TopicPartition) -> Option<Vec<Run>> {
    let options = &shared.options;
    if !options.linger.is_zero() {
        let waiting_bytes = shared.look(partition, |lane| lane.size_bytes).unwrap_or(0);
        if waiting_bytes > 0 && waiting_bytes < options.batch_bytes && !shared.tasks.is_closed() {
            sleep(options.linger).await;
        }
    }
    let mut lanes = shared.lanes.lock().unwrap_or_else(PoisonError::into_inner);
    let batch = lanes.get_mut(partition)?.take(options.batch_bytes);
    if batch.is_empty() {
        // Under the lock: a record that comes now finds no lane and makes a new one.
        lanes.remove(partition);
        return None;
    }
    Some(batch)
}

/// Sends a batch. Not again: the log does that, under the same identity, and a record of unknown outcome that is sent anew
/// might be stored twice.
async fn deliver(shared: &Shared, partition: &TopicPartition, batch: Vec<Run>) {
    let mut batch = answer_expired(shared, partition, batch);
    let counts: Vec<usize> = batch.iter().map(|run| run.records.len()).collect();
    let records: Vec<OutRecord> = batch.iter_mut().flat_map(|run| std::mem::take(&mut run.records)).collect();
    if records.is_empty() {
        return;
    }
    let mut answers = shared.log.produce(partition, records).await.into_iter();
    for (run, count) in batch.into_iter().zip(counts) {
        // A log that answers for fewer records than it was given has not stored the others.
        let mut next = || answers.next().map_or(Err(ProduceError::Closed), |answer| answer.map_err(ProduceError::from));
        // The caller may have stopped waiting.
        drop(run.answer.send((0..count).map(|_| next()).collect()));
    }
}

/// Answers the runs that waited too long behind others, and returns the rest.
fn answer_expired(shared: &Shared, partition: &TopicPartition, batch: Vec<Run>) -> Vec<Run> {
    let now = Instant::now();
    let (expired, rest): (Vec<_>, Vec<_>) = batch.into_iter().partition(|run| run.expires_at <= now);
    for run in expired {
        let after_ms = u64::try_from(shared.options.delivery_timeout.as_millis()).unwrap_or(u64::MAX);
        let error = LogError::TimedOut { what: format!("waiting to be sent to {partition}"), after_ms };
        drop(run.answer.send(vec![Err(error.into()); run.records.len()]));
    }
    rest
}
