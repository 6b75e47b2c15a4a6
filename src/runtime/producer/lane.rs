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
pub(super) const MAX_BATCH_RECORDS: usize = 10_000;

/// Records of one call, and who waits for them.
pub(super) struct Run {
    records: Vec<OutRecord>,
    /// One per record, once it is known.
    answers: Vec<Option<Result<i64, ProduceError>>>,
    size_bytes: usize,
    answer: oneshot::Sender<Vec<Result<i64, ProduceError>>>,
    /// Not sent, or not sent again, after this.
    expires_at: Instant,
    /// The records' share of the buffer, given back with their answer.
    _room: OwnedSemaphorePermit,
}

impl Run {
    pub(super) fn new(
        records: Vec<OutRecord>,
        size_bytes: usize,
        answer: oneshot::Sender<Vec<Result<i64, ProduceError>>>,
        expires_at: Instant,
        room: OwnedSemaphorePermit,
    ) -> Self {
        let answers = vec![None; records.len()];
        Self { records, answers, size_bytes, answer, expires_at, _room: room }
    }

    /// The records that have no answer yet.
    fn unanswered(&self) -> impl Iterator<Item = &OutRecord> {
        self.records.iter().zip(&self.answers).filter(|(_, answer)| answer.is_none()).map(|(record, _)| record)
    }

    /// Answers if every record has its answer, else gives the run back.
    fn settle(self) -> Option<Self> {
        if self.answers.iter().any(Option::is_none) {
            return Some(self);
        }
        // The caller may have stopped waiting.
        let _ = self.answer.send(self.answers.into_iter().flatten().collect());
        None
    }

    fn fail(mut self, error: &ProduceError) {
        self.answers.fill(Some(Err(error.clone())));
        self.settle();
    }
}

/// What waits for one partition.
#[derive(Default)]
pub(super) struct Lane {
    queue: VecDeque<Run>,
    size_bytes: usize,
}

impl Lane {
    pub(super) fn push(&mut self, run: Run) {
        self.size_bytes += run.size_bytes;
        self.queue.push_back(run);
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

async fn next_batch(shared: &Shared, partition: &TopicPartition) -> Option<Vec<Run>> {
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
async fn deliver(shared: &Shared, partition: &TopicPartition, batch: Vec<Run>) {
    let mut batch = answer_expired(shared, partition, batch);
    let mut retry = 0;
    while !batch.is_empty() {
        let records = batch.iter().flat_map(Run::unanswered).cloned().collect();
        let mut answers = shared.log.produce(partition, records).await.into_iter();
        let next_try_at = Instant::now() + shared.options.pause_before(retry + 1);
        let (mut again, mut trouble) = (0_usize, None);
        for run in &mut batch {
            let try_again = retry < shared.options.retries && next_try_at < run.expires_at;
            for slot in run.answers.iter_mut().filter(|slot| slot.is_none()) {
                match answers.next() {
                    Some(Err(error)) if error.is_retriable() && try_again => {
                        again += 1;
                        trouble.get_or_insert(error);
                    }
                    Some(answer) => *slot = Some(answer.map_err(ProduceError::from)),
                    // A log that answers for fewer records than it was given has not stored the others.
                    None => *slot = Some(Err(ProduceError::Closed)),
                }
            }
        }
        batch = batch.into_iter().filter_map(Run::settle).collect();
        if let Some(error) = trouble {
            retry += 1;
            tracing::warn!(%partition, records = again, retry, %error, "sending again");
            sleep_until(next_try_at).await;
        }
    }
}

/// Answers the runs that waited too long behind others, and returns the rest.
fn answer_expired(shared: &Shared, partition: &TopicPartition, batch: Vec<Run>) -> Vec<Run> {
    let now = Instant::now();
    let (expired, rest): (Vec<_>, Vec<_>) = batch.into_iter().partition(|run| run.expires_at <= now);
    for run in expired {
        let after_ms = u64::try_from(shared.options.delivery_timeout.as_millis()).unwrap_or(u64::MAX);
        let error = LogError::TimedOut { what: format!("waiting to be sent to {partition}"), after_ms };
        run.fail(&error.into());
    }
    rest
}
