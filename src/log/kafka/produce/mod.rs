//! Appending records: an idempotent producer (KIP-98, KIP-360) of our own.
//!
//! The journey of a call: [`Producing::append`] builds its records into batches, compressed once, and puts them behind
//! those of earlier calls into the partition's lane. The `lane`, a task, sends them to the leader, several at a time, and
//! resends them under the same sequence numbers until their outcome is known; the rules are in `queue`, what an answer means
//! in `outcome`. Each lane has a producer id of its own (`identity`), so that one partition's trouble never renews what
//! another has under way. One call is one delivery: trying again is done here and nowhere above, where a record would get
//! new sequence numbers and might be stored twice.

mod batch;
mod call;
mod identity;
mod lane;
mod outcome;
mod queue;
mod route;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::Instant,
};
use tokio_util::task::AbortOnDropHandle;

use self::{
    batch::{Terms, build, codec},
    call::{Answers, Call},
    lane::{Arrival, Built, Lane},
};
use super::wire::Wire;
use crate::{
    log::{LogError, OutRecord},
    model::TopicPartition,
};

/// Most bytes of records that all lanes hold, before compression; a call beyond is told so at once. What is held beside a
/// record is its compressed copy.
const MAX_HELD_BYTES: usize = 256 * 1024 * 1024;
/// Most calls that one lane holds.
const MAX_CALLS_PER_LANE: usize = 1024;
/// Most partitions with a lane. At this number one that has nothing to do makes room.
const MAX_LANES: usize = 10_000;
/// A lane without anything to do ends after this time; its next record gets a new producer id.
const IDLE: Duration = Duration::from_secs(600);
/// From this size on records are compressed away from the threads that serve connections.
const LARGE_BYTES: usize = 64 * 1024;

type Lanes = Mutex<HashMap<TopicPartition, LaneHandle>>;

/// The lanes of all partitions that are written to.
pub(super) struct Producing {
    wire: Arc<Wire>,
    /// A permit is a byte.
    room: Arc<Semaphore>,
    lanes: Arc<Lanes>,
    /// It was said that there is no idempotence.
    is_warned: Arc<AtomicBool>,
}

struct LaneHandle {
    arrivals: mpsc::UnboundedSender<Arrival>,
    /// One reference here, and one in every call.
    busy: Arc<()>,
    _task: AbortOnDropHandle<()>,
}

impl LaneHandle {
    fn is_busy(&self) -> bool {
        Arc::strong_count(&self.busy) > 1
    }
}

impl Producing {
    pub(super) fn new(wire: Arc<Wire>) -> Self {
        let room = Arc::new(Semaphore::new(MAX_HELD_BYTES));
        Self { wire, room, lanes: Arc::default(), is_warned: Arc::default() }
    }

    /// Appends records in order, behind those of calls that were polled first before this one was.
    ///
    /// An error [`LogError::TimedOut`] says that the record may have been stored, any other one that it was not.
    pub(super) async fn append(
        &self,
        partition: &TopicPartition,
        records: Vec<OutRecord>,
    ) -> Vec<Result<i64, LogError>> {
        let count = records.len();
        if count == 0 {
            return Vec::new();
        }
        match self.begin(partition, records) {
            Ok(answers) => answers.await.unwrap_or_else(|_| {
                let error = LogError::TimedOut { what: format!("producing to {partition}"), after_ms: 0 };
                vec![Err(error); count]
            }),
            Err(error) => vec![Err(error); count],
        }
    }

    /// Puts a call into its lane. Does not wait, so that calls keep their order.
    fn begin(
        &self,
        partition: &TopicPartition,
        records: Vec<OutRecord>,
    ) -> Result<oneshot::Receiver<Answers>, LogError> {
        let what: Arc<str> = format!("producing to {partition}").into();
        let full = |reason: &str| LogError::Unavailable { what: what.to_string(), reason: reason.to_owned() };
        let size_bytes = records.iter().map(OutRecord::size_bytes).sum::<usize>();
        let permits = u32::try_from(size_bytes.min(MAX_HELD_BYTES)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room)
            .try_acquire_many_owned(permits)
            .map_err(|_| full("too many bytes wait for the brokers already; try again later"))?;
        let (arrivals, busy) = self.lane(partition, &what).map_err(full)?;
        let (call, answers) = Call::new(records.len(), what, room, busy);
        let options = &self.wire.options;
        let began = Instant::now();
        let terms = Terms {
            compression: codec(options.compression_for(&partition.topic)),
            max_bytes: options.max_message_bytes,
            began,
            deadline: began + options.request_timeout,
            now_ms: chrono::Utc::now().timestamp_millis(),
        };
        let build = move || build(records, &call, &terms);
        let built = if size_bytes < LARGE_BYTES {
            Built::Now(build())
        } else {
            #[expect(clippy::disallowed_methods, reason = "bounded work on memory, which ends by itself")]
            Built::Later(tokio::task::spawn_blocking(build))
        };
        // It does not end while the call counts as one of its own.
        let _ = arrivals.send(Arrival { built });
        Ok(answers)
    }

    /// The way into a partition's lane, and a reference that counts a call.
    fn lane(
        &self,
        partition: &TopicPartition,
        what: &Arc<str>,
    ) -> Result<(mpsc::UnboundedSender<Arrival>, Arc<()>), &'static str> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if !lanes.contains_key(partition) && lanes.len() >= MAX_LANES {
            let idle = lanes.iter().find(|(_, lane)| !lane.is_busy()).map(|(partition, _)| partition.clone());
            lanes.remove(&idle.ok_or("too many partitions are written to at once; try again later")?);
        }
        let lane = lanes.entry(partition.clone()).or_insert_with(|| self.open(partition, what));
        if Arc::strong_count(&lane.busy) > MAX_CALLS_PER_LANE {
            return Err("too many calls wait for this partition already; try again later");
        }
        Ok((lane.arrivals.clone(), Arc::clone(&lane.busy)))
    }

    fn open(&self, partition: &TopicPartition, what: &Arc<str>) -> LaneHandle {
        let (arrivals, receiver) = mpsc::unbounded_channel();
        let lane = Lane::new(
            Arc::clone(&self.wire),
            partition.clone(),
            Arc::clone(what),
            receiver,
            Arc::clone(&self.is_warned),
            Arc::downgrade(&self.lanes),
        );
        LaneHandle { arrivals, busy: Arc::default(), _task: AbortOnDropHandle::new(tokio::spawn(lane.run())) }
    }
}
