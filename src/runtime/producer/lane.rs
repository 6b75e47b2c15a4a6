//! One partition's queue and the task that empties it.

use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError},
};

use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::{Instant, sleep, sleep_until},
};

use super::{ProduceError, Shared};
use crate::{
    log::{LogError, OutRecord},
    model::TopicPartition,
};

/// Most records of a batch: more would not make it cheaper, but longer to answer.
const MAX_BATCH_RECORDS: usize = 10_000;

/// A record and who waits for it.
pub(super) struct Queued {
    pub(super) record: OutRecord,
    pub(super) size_bytes: usize,
    pub(super) answer: oneshot::Sender<Result<i64, ProduceError>>,
    /// Not sent, or not sent again, after this.
    pub(super) expires_at: Instant,
    /// The record's share of the buffer, given back with its answer.
    pub(super) _room: OwnedSemaphorePermit,
}

/// What waits for one partition.
#[derive(Default)]
pub(super) struct Lane {
    queue: VecDeque<Queued>,
    size_bytes: usize,
}

impl Lane {
    pub(super) fn push(&mut self, queued: Queued) {
        self.size_bytes += queued.size_bytes;
        self.queue.push_back(queued);
    }

    /// The next batch: at least one record where there is one.
    fn take(&mut self, batch_bytes: usize) -> Vec<Queued> {
        let mut taken_bytes = 0;
        let mut count = 0;
        for queued in self.queue.iter().take(MAX_BATCH_RECORDS) {
            if count > 0 && taken_bytes + queued.size_bytes > batch_bytes {
                break;
            }
            taken_bytes += queued.size_bytes;
            count += 1;
        }
        self.size_bytes -= taken_bytes;
        self.queue.drain(..count).collect()
    }
}

/// Sends what is in the lane until nothing is left, then removes it.
pub(super) async fn run(shared: Arc<Shared>, partition: TopicPartition) {
    let stop = shared.stop.clone();
    let stopped = stop.run_until_cancelled(async {
        while let Some(batch) = next_batch(&shared, &partition).await {
            deliver(&shared, &partition, batch).await;
        }
    });
    if stopped.await.is_none() {
        // Dropping the senders answers the callers.
        shared.lanes.lock().unwrap_or_else(PoisonError::into_inner).remove(&partition);
    }
}

async fn next_batch(shared: &Shared, partition: &TopicPartition) -> Option<Vec<Queued>> {
    let options = &shared.options;
    if !options.linger.is_zero() {
        let waiting_bytes = {
            let lanes = shared.lanes.lock().unwrap_or_else(PoisonError::into_inner);
            lanes.get(partition).map_or(0, |lane| lane.size_bytes)
        };
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

/// Sends a batch, again where that may help, until every record is answered.
async fn deliver(shared: &Shared, partition: &TopicPartition, batch: Vec<Queued>) {
    let mut batch = answer_expired(shared, partition, batch);
    let mut retry = 0;
    while !batch.is_empty() {
        let records = batch.iter().map(|queued| queued.record.clone()).collect();
        let answers = shared.log.produce(partition, records).await;
        let next_try_at = Instant::now() + shared.options.pause_before(retry + 1);
        let mut again = Vec::new();
        for (queued, answer) in batch.into_iter().zip(answers) {
            let try_again = retry < shared.options.retries && next_try_at < queued.expires_at;
            match answer {
                Err(error) if error.is_retriable() && try_again => again.push((queued, error)),
                // The caller may have stopped waiting.
                answer => drop(queued.answer.send(answer.map_err(ProduceError::from))),
            }
        }
        if let Some((_, error)) = again.first() {
            retry += 1;
            tracing::warn!(%partition, records = again.len(), retry, %error, "sending again");
            sleep_until(next_try_at).await;
        }
        batch = again.into_iter().map(|(queued, _)| queued).collect();
    }
}

/// Answers the records that waited too long behind others, and returns the rest.
fn answer_expired(shared: &Shared, partition: &TopicPartition, batch: Vec<Queued>) -> Vec<Queued> {
    let now = Instant::now();
    let (expired, rest): (Vec<_>, Vec<_>) = batch.into_iter().partition(|queued| queued.expires_at <= now);
    for queued in expired {
        let after_ms = u64::try_from(shared.options.delivery_timeout.as_millis()).unwrap_or(u64::MAX);
        let error = LogError::TimedOut { what: format!("waiting to be sent to {partition}"), after_ms };
        drop(queued.answer.send(Err(error.into())));
    }
    rest
}
