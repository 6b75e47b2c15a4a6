//! Publishing: records of many callers gathered into batches.
//!
//! Each partition with something to send has a lane: a queue and a task that has a few batches under way, in the order in
//! which their records were sent; what arrives meanwhile makes the next batch, which leaves when it is full or nothing else
//! is under way. A lane that has nothing left ends. Trying again is the log's. All queues together hold at most [`ProducerOptions::buffer_bytes`].

mod lane;
mod options;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::future::join_all;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use options::ProducerOptions;

use self::lane::{Lane, Queued};
use crate::{
    log::{Log, LogError, OutRecord},
    model::TopicPartition,
};

/// Why a record is not on the broker, as far as we know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProduceError {
    /// Too much is waiting for the broker already. The record was not sent.
    #[error("{buffer_bytes} bytes are waiting for the broker already; try again later")]
    Full {
        /// The cap that was met.
        buffer_bytes: usize,
    },
    /// The process is ending. The record may have been sent, if it had been taken before.
    #[error("the producer is closed")]
    Closed,
    /// The log's answer, after the retries that made sense. After [`LogError::TimedOut`] the record may have been stored.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Sends records to a log.
///
/// Dropping it ends its tasks; [`Producer::drain`] lets them finish first.
pub struct Producer {
    shared: Arc<Shared>,
}

/// What lanes share with their producer.
struct Shared {
    log: Arc<dyn Log>,
    options: ProducerOptions,
    /// A permit is a byte.
    room: Arc<Semaphore>,
    lanes: Mutex<HashMap<TopicPartition, Lane>>,
    tasks: TaskTracker,
    /// Ends the lanes where they are.
    stop: CancellationToken,
}

impl Producer {
    /// A producer for this log.
    pub fn new(log: Arc<dyn Log>, options: ProducerOptions) -> Self {
        let room = Arc::new(Semaphore::new(options.buffer_permits()));
        let shared = Shared {
            log,
            options,
            room,
            lanes: Mutex::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Sends a record and returns its offset once the broker has it. Where there is no room for it, says so at once.
    ///
    /// A caller that stops waiting does not take the record back.
    ///
    /// # Errors
    /// See [`ProduceError`].
    pub async fn send(&self, partition: TopicPartition, record: OutRecord) -> Result<i64, ProduceError> {
        answer_of(self.offer(partition, record)).await
    }

    /// Like [`Self::send`], but waits for room.
    ///
    /// # Errors
    /// See [`ProduceError`]; never [`ProduceError::Full`].
    pub async fn send_waiting(&self, partition: TopicPartition, record: OutRecord) -> Result<i64, ProduceError> {
        answer_of(self.admit(partition, record).await).await
    }

    /// Sends records and returns an answer for each, in order. Those of one partition keep their order.
    pub async fn send_all(&self, records: Vec<(TopicPartition, OutRecord)>) -> Vec<Result<i64, ProduceError>> {
        let answers: Vec<_> = records.into_iter().map(|(partition, record)| self.offer(partition, record)).collect();
        join_all(answers.into_iter().map(answer_of)).await
    }

    /// Like [`Self::send_all`], but waits for room.
    pub async fn send_all_waiting(&self, records: Vec<(TopicPartition, OutRecord)>) -> Vec<Result<i64, ProduceError>> {
        let mut answers = Vec::with_capacity(records.len());
        for (partition, record) in records {
            answers.push(self.admit(partition, record).await);
        }
        join_all(answers.into_iter().map(answer_of)).await
    }

    /// Takes no more records, and waits until those taken are answered. What is left at the deadline is answered
    /// [`ProduceError::Closed`]. Returns whether nothing was left.
    pub async fn drain(&self, deadline: Duration) -> bool {
        self.shared.room.close();
        self.shared.tasks.close();
        let drained = timeout(deadline, self.shared.tasks.wait()).await.is_ok();
        self.shared.stop.cancel();
        self.shared.tasks.wait().await;
        drained
    }

    fn offer(&self, partition: TopicPartition, record: OutRecord) -> Result<Answer, ProduceError> {
        let shared = &self.shared;
        let permits = shared.options.permits_for(&record);
        match Arc::clone(&shared.room).try_acquire_many_owned(permits) {
            Ok(room) => Ok(shared.enqueue(partition, record, room)),
            Err(tokio::sync::TryAcquireError::NoPermits) => {
                Err(ProduceError::Full { buffer_bytes: shared.options.buffer_bytes })
            }
            Err(tokio::sync::TryAcquireError::Closed) => Err(ProduceError::Closed),
        }
    }

    async fn admit(&self, partition: TopicPartition, record: OutRecord) -> Result<Answer, ProduceError> {
        let permits = self.shared.options.permits_for(&record);
        let room = Arc::clone(&self.shared.room).acquire_many_owned(permits).await.map_err(|_| ProduceError::Closed)?;
        Ok(self.shared.enqueue(partition, record, room))
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.shared.room.close();
        self.shared.stop.cancel();
    }
}

type Answer = oneshot::Receiver<Result<i64, ProduceError>>;

async fn answer_of(taken: Result<Answer, ProduceError>) -> Result<i64, ProduceError> {
    // A lane that ends early drops its senders.
    taken?.await.unwrap_or(Err(ProduceError::Closed))
}

impl Shared {
    /// Looks at a partition's lane.
    fn look<T>(&self, partition: &TopicPartition, look: impl FnOnce(&mut Lane) -> T) -> Option<T> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).get_mut(partition).map(look)
    }

    fn enqueue(self: &Arc<Self>, partition: TopicPartition, record: OutRecord, room: OwnedSemaphorePermit) -> Answer {
        let (answer, receiver) = oneshot::channel();
        let expires_at = Instant::now() + self.options.delivery_timeout;
        let queued = Queued { size_bytes: record.size_bytes(), record, answer, expires_at, _room: room };
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get_mut(&partition) {
            lane.push(queued, self.options.batch_bytes);
        } else {
            let mut lane = Lane::default();
            lane.push(queued, self.options.batch_bytes);
            lanes.insert(partition.clone(), lane);
            self.tasks.spawn(lane::run(Arc::clone(self), partition));
        }
        receiver
    }
}
