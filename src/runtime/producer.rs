//! Publishing: records of many callers gathered into batches.
//!
//! A caller's records for one partition are a run: taken together, sent together, answered together. Each partition with
//! something to send has a lane: a queue of runs and a task that has a few batches under way, in the order in which their
//! records were sent; what arrives meanwhile makes the next batch, which leaves when it is full or nothing else is under
//! way. A lane that has nothing left ends. Trying again is the log's. All queues together hold at most
//! [`ProducerOptions::buffer_bytes`].

mod lane;
mod options;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, oneshot},
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use options::ProducerOptions;

use self::lane::{Lane, MAX_BATCH_RECORDS, Run};
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
        let room = self.shared.try_room(self.shared.options.permits_for(&record))?;
        self.shared.enqueue_one(&partition, record, room).one().await
    }

    /// Like [`Self::send`], but waits for room.
    ///
    /// # Errors
    /// See [`ProduceError`]; never [`ProduceError::Full`].
    pub async fn send_waiting(&self, partition: TopicPartition, record: OutRecord) -> Result<i64, ProduceError> {
        let room = self.shared.room(self.shared.options.permits_for(&record)).await?;
        self.shared.enqueue_one(&partition, record, room).one().await
    }

    /// Sends records and returns an answer for each, in order. Those of one partition keep their order. Where there is not
    /// room for all, each is taken or refused by itself.
    pub async fn send_all(&self, records: Vec<(TopicPartition, OutRecord)>) -> Vec<Result<i64, ProduceError>> {
        let shared = &self.shared;
        if let Some(room) = shared.room_for_all(&records) {
            return shared.enqueue_runs(records, room).collect().await;
        }
        let mut waiting = Answers::of(records.len());
        for (place, (partition, record)) in records.into_iter().enumerate() {
            match shared.try_room(shared.options.permits_for(&record)) {
                Ok(room) => waiting.add(vec![place], shared.enqueue_one(&partition, record, room)),
                Err(error) => waiting.answers[place] = Err(error),
            }
        }
        waiting.collect().await
    }

    /// Like [`Self::send_all`], but waits for room.
    pub async fn send_all_waiting(&self, records: Vec<(TopicPartition, OutRecord)>) -> Vec<Result<i64, ProduceError>> {
        let shared = &self.shared;
        if let Some(room) = shared.room_for_all(&records) {
            return shared.enqueue_runs(records, room).collect().await;
        }
        let mut waiting = Answers::of(records.len());
        for (place, (partition, record)) in records.into_iter().enumerate() {
            match shared.room(shared.options.permits_for(&record)).await {
                Ok(room) => waiting.add(vec![place], shared.enqueue_one(&partition, record, room)),
                Err(error) => waiting.answers[place] = Err(error),
            }
        }
        waiting.collect().await
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
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.shared.room.close();
        self.shared.stop.cancel();
    }
}

/// The answer to a run: one per record.
type Answer = oneshot::Receiver<Vec<Result<i64, ProduceError>>>;

/// A run that was taken.
struct Taken(Answer);

impl Taken {
    async fn one(self) -> Result<i64, ProduceError> {
        // A lane that ends early drops its senders.
        self.0.await.ok().and_then(|mut answers| answers.pop()).unwrap_or(Err(ProduceError::Closed))
    }
}

/// The answers to a call's records, and the runs that are still waited for with the places of their records.
struct Answers {
    answers: Vec<Result<i64, ProduceError>>,
    waiting: Vec<(Vec<usize>, Taken)>,
}

impl Answers {
    fn of(records: usize) -> Self {
        Self { answers: vec![Err(ProduceError::Closed); records], waiting: Vec::new() }
    }

    fn add(&mut self, places: Vec<usize>, run: Taken) {
        self.waiting.push((places, run));
    }

    async fn collect(mut self) -> Vec<Result<i64, ProduceError>> {
        for (places, Taken(answer)) in self.waiting {
            // What a lane did not answer before it ended stays closed.
            for (place, answer) in places.into_iter().zip(answer.await.unwrap_or_default()) {
                self.answers[place] = answer;
            }
        }
        self.answers
    }
}

/// A call's records for one partition, up to the size of a batch.
#[derive(Default)]
struct Gathering {
    places: Vec<usize>,
    records: Vec<OutRecord>,
    size_bytes: usize,
    permits: u32,
}

impl Shared {
    /// Looks at a partition's lane.
    fn look<T>(&self, partition: &TopicPartition, look: impl FnOnce(&mut Lane) -> T) -> Option<T> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).get_mut(partition).map(look)
    }

    fn try_room(&self, permits: u32) -> Result<OwnedSemaphorePermit, ProduceError> {
        Arc::clone(&self.room).try_acquire_many_owned(permits).map_err(|error| match error {
            TryAcquireError::NoPermits => ProduceError::Full { buffer_bytes: self.options.buffer_bytes },
            TryAcquireError::Closed => ProduceError::Closed,
        })
    }

    async fn room(&self, permits: u32) -> Result<OwnedSemaphorePermit, ProduceError> {
        Arc::clone(&self.room).acquire_many_owned(permits).await.map_err(|_| ProduceError::Closed)
    }

    /// Room for all of these records, if there is so much now.
    fn room_for_all(&self, records: &[(TopicPartition, OutRecord)]) -> Option<OwnedSemaphorePermit> {
        let permits = records.iter().map(|(_, record)| u64::from(self.options.permits_for(record))).sum::<u64>();
        self.try_room(u32::try_from(permits).ok()?).ok()
    }

    /// Queues the records in runs, one per partition and batch. `room` is what [`Shared::room_for_all`] gave for them.
    fn enqueue_runs(
        self: &Arc<Self>,
        records: Vec<(TopicPartition, OutRecord)>,
        mut room: OwnedSemaphorePermit,
    ) -> Answers {
        let mut waiting = Answers::of(records.len());
        let mut by_partition: BTreeMap<TopicPartition, Gathering> = BTreeMap::new();
        let mut take = |partition: &TopicPartition, gathered: Gathering| {
            let Gathering { places, records, size_bytes, permits } = gathered;
            if let Some(room) = room.split(permits as usize) {
                waiting.add(places, self.enqueue(partition, records, size_bytes, room));
            }
        };
        for (place, (partition, record)) in records.into_iter().enumerate() {
            let (size_bytes, permits) = (record.size_bytes(), self.options.permits_for(&record));
            let run = by_partition.entry(partition.clone()).or_default();
            let is_full = run.size_bytes + size_bytes > self.options.batch_bytes;
            if (is_full && !run.records.is_empty()) || run.records.len() == MAX_BATCH_RECORDS {
                take(&partition, std::mem::take(run));
            }
            run.places.push(place);
            run.records.push(record);
            run.size_bytes += size_bytes;
            run.permits += permits;
        }
        for (partition, gathered) in by_partition {
            take(&partition, gathered);
        }
        waiting
    }

    fn enqueue_one(
        self: &Arc<Self>,
        partition: &TopicPartition,
        record: OutRecord,
        room: OwnedSemaphorePermit,
    ) -> Taken {
        let size_bytes = record.size_bytes();
        self.enqueue(partition, vec![record], size_bytes, room)
    }

    fn enqueue(
        self: &Arc<Self>,
        partition: &TopicPartition,
        records: Vec<OutRecord>,
        size_bytes: usize,
        room: OwnedSemaphorePermit,
    ) -> Taken {
        let (answer, receiver) = oneshot::channel();
        let expires_at = Instant::now() + self.options.delivery_timeout;
        let run = Run { records, size_bytes, answer, expires_at, _room: room };
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get_mut(partition) {
            lane.push(run, self.options.batch_bytes);
        } else {
            let mut lane = Lane::default();
            lane.push(run, self.options.batch_bytes);
            lanes.insert(partition.clone(), lane);
            self.tasks.spawn(lane::run(Arc::clone(self), partition.clone()));
        }
        Taken(receiver)
    }
}
