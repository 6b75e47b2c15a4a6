//! Reading partitions: one fetch in flight for each, in the background.
//!
//! A call returns what has come first; the other fetches go on and are handed out when their place is asked for again. When
//! a block is handed out, the next one of its partition is fetched ahead, so that fetching and decoding (which rskafka does
//! in the task that fetches) run beside what the caller does with the block. Held at most: one block per partition asked for.
//!
//! What rskafka cannot say: offsets without a record (transaction markers, compacted records), so that `next_offset` is
//! the last record's plus one, and a tail of such offsets yields nothing; the log's start and the leader's epoch; whether
//! a topic's times are the broker's. Headers come as a sorted map: of two with one name the last is seen.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rskafka::record::RecordAndOffset;
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, sleep, timeout_at},
};
use tokio_util::task::AbortOnDropHandle;

use super::cluster::{Cluster, Connections};
use crate::{
    log::{Block, FetchLimits, FetchPosition, LogError, RecordRef, Records},
    model::TopicPartition,
};

/// How long a fetch that nobody asked for again is kept. Longer than a caller needs for a round of blocks.
const KEEP_UNASKED: Duration = Duration::from_secs(10);
/// Memory of a record beside its bytes: the struct and its allocations.
const RECORD_OVERHEAD_BYTES: usize = 160;

type Fetched = Result<Block, LogError>;
type Place = (TopicPartition, i64);

/// The fetches in flight.
pub(super) struct Fetcher {
    cluster: Arc<Cluster>,
    connections: Arc<Connections>,
    arrived: Arc<Notify>,
    state: Mutex<State>,
}

/// By place, not by partition, so that two readers of one partition do not undo each other's fetches.
#[derive(Default)]
struct State {
    slots: HashMap<Place, Slot>,
    /// Failures in a row, of partitions asked for by the last call.
    failures: HashMap<TopicPartition, u32>,
}

struct Slot {
    answer: oneshot::Receiver<Fetched>,
    /// Dropped with the slot, which ends the task and closes its connection.
    _task: AbortOnDropHandle<()>,
    asked_at: Instant,
    /// Until when a call may be waiting for it.
    wanted_until: Instant,
}

impl Fetcher {
    pub(super) fn new(cluster: Arc<Cluster>) -> Self {
        Self { cluster, connections: Arc::default(), arrived: Arc::default(), state: Mutex::default() }
    }

    /// See [`crate::log::Log::fetch`].
    pub(super) async fn fetch(
        &self,
        positions: &[FetchPosition],
        limits: FetchLimits,
    ) -> Vec<(TopicPartition, Fetched)> {
        let deadline = Instant::now() + limits.max_wait;
        self.forget_unasked(positions);
        loop {
            // Enrolled before looking, so that what arrives in between wakes us.
            let arrived = self.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            let ready = self.collect(positions, limits, deadline);
            if !ready.is_empty() || positions.is_empty() || timeout_at(deadline, arrived).await.is_err() {
                return ready;
            }
        }
    }

    /// Drops the fetches that no call waits for, where another place of the partition is asked for or nobody has come back.
    fn forget_unasked(&self, positions: &[FetchPosition]) {
        let asked: HashMap<&TopicPartition, i64> = positions.iter().map(|p| (&p.partition, p.offset)).collect();
        let now = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.slots.retain(|(partition, offset), slot| match asked.get(partition) {
            Some(wanted) if wanted == offset => true,
            Some(_) => now < slot.wanted_until,
            None => now < slot.wanted_until || now < slot.asked_at + KEEP_UNASKED,
        });
        let alive: HashSet<TopicPartition> = state.slots.keys().map(|(partition, _)| partition.clone()).collect();
        state.failures.retain(|partition, _| asked.contains_key(partition));
        self.connections.retain(|partition| asked.contains_key(partition) || alive.contains(partition));
    }

    /// Takes what has come for these places and begins the fetches that are missing.
    fn collect(
        &self,
        positions: &[FetchPosition],
        limits: FetchLimits,
        deadline: Instant,
    ) -> Vec<(TopicPartition, Fetched)> {
        let mut ready = Vec::new();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { slots, failures } = &mut *state;
        for position in positions {
            let FetchPosition { partition, offset } = position;
            let place = (partition.clone(), *offset);
            let failed = failures.get(partition).copied().unwrap_or(0);
            let slot = slots.entry(place.clone()).or_insert_with(|| self.begin(partition, *offset, limits, failed));
            slot.asked_at = Instant::now();
            slot.wanted_until = slot.wanted_until.max(deadline);
            let answer = match slot.answer.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => continue,
                Ok(answer) => answer,
                Err(oneshot::error::TryRecvError::Closed) => Err(LogError::Unavailable {
                    what: format!("fetching {partition} at {offset}"),
                    reason: "the fetch ended without an answer".to_owned(),
                }),
            };
            match answer {
                Ok(block) if block.next_offset == *offset => {
                    failures.remove(partition);
                    *slot = self.begin(partition, *offset, limits, 0);
                    slot.wanted_until = deadline;
                }
                Ok(block) => {
                    failures.remove(partition);
                    slots.remove(&place);
                    let next = (partition.clone(), block.next_offset);
                    slots.entry(next).or_insert_with(|| self.begin(partition, block.next_offset, limits, 0));
                    ready.push((partition.clone(), Ok(block)));
                }
                Err(error) => {
                    // The next fetch of this partition begins after a pause, so that a caller may simply ask again.
                    failures.insert(partition.clone(), failed.saturating_add(1));
                    slots.remove(&place);
                    ready.push((partition.clone(), Err(error)));
                }
            }
        }
        ready
    }

    fn begin(&self, partition: &TopicPartition, offset: i64, limits: FetchLimits, failures: u32) -> Slot {
        let (sender, answer) = oneshot::channel();
        let pause = self.cluster.pause_after(failures);
        let cluster = Arc::clone(&self.cluster);
        let connections = Arc::clone(&self.connections);
        let arrived = Arc::clone(&self.arrived);
        let partition = partition.clone();
        let task = tokio::spawn(async move {
            sleep(pause).await;
            let fetched = fetch_once(&cluster, &connections, &partition, offset, limits).await;
            // Nobody waits any more where the slot was dropped meanwhile.
            let _ = sender.send(fetched);
            arrived.notify_waiters();
        });
        let now = Instant::now();
        Slot { answer, _task: AbortOnDropHandle::new(task), asked_at: now, wanted_until: now }
    }
}

async fn fetch_once(
    cluster: &Cluster,
    connections: &Connections,
    partition: &TopicPartition,
    offset: i64,
    limits: FetchLimits,
) -> Fetched {
    let what = format!("fetching {partition} at {offset}");
    let max_wait_ms = i32::try_from(limits.max_wait.as_millis()).unwrap_or(i32::MAX);
    // rskafka takes a half-open range of bytes.
    let bytes = limits.min_bytes..limits.max_partition_bytes.saturating_add(1);
    let call = cluster.ask(connections, partition, &what, |client| {
        Box::pin(client.fetch_records(offset, bytes.clone(), max_wait_ms))
    });
    let limit = limits.max_wait + cluster.options.request_timeout;
    let (records, high_watermark) = Cluster::within(limit, &what, call).await?;
    let size_bytes =
        records.iter().map(|RecordAndOffset { record, .. }| record.approximate_size() + RECORD_OVERHEAD_BYTES).sum();
    Ok(Block {
        next_offset: records.last().map_or(offset, |last| last.offset + 1),
        high_watermark,
        log_start: None,
        leader_epoch: None,
        size_bytes,
        records: Box::new(Decoded(records)),
    })
}

/// The records as rskafka decodes them; those below the offset asked for are left out already.
struct Decoded(Vec<RecordAndOffset>);

impl Records for Decoded {
    fn visit(&self, visitor: &mut dyn FnMut(RecordRef<'_>)) -> Result<(), LogError> {
        let mut headers = Vec::new();
        for RecordAndOffset { record, offset } in &self.0 {
            headers.clear();
            headers.extend(record.headers.iter().map(|(name, value)| (name.as_bytes(), Some(value.as_slice()))));
            visitor(RecordRef {
                offset: *offset,
                timestamp_ms: record.timestamp.timestamp_millis(),
                key: record.key.as_deref(),
                value: record.value.as_deref(),
                headers: &headers,
            });
        }
        Ok(())
    }
}
