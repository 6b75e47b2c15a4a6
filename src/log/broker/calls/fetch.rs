//! Fetch: what is there at once, else what comes within the time that the client waits.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures::future::select_all;
use kafka_protocol::{
    ResponseError,
    messages::{
        FetchRequest, FetchResponse, TopicName,
        fetch_response::{FetchableTopicResponse, PartitionData},
    },
};
use tokio::{sync::watch, time::Instant};
use uuid::Uuid;

use super::Serving;
use crate::log::broker::{batch::LEADER_EPOCH, partition::Partition, reading::ReadError};

/// Longest that a fetch waits, whatever the client asks for.
pub const MAX_FETCH_WAIT: Duration = Duration::from_secs(60);
/// Most bytes of one answer, whatever the client asks for; one larger batch still comes whole.
pub const MAX_FETCH_BYTES: usize = 64 * 1024 * 1024;
/// From this version on topics are named by their ids.
const IDS_FROM: i16 = 13;

/// A partition of the request, and what was found of it.
struct Wanted {
    topic: TopicName,
    topic_id: Uuid,
    number: i32,
    max_bytes: usize,
    next_offset: i64,
    partition: Option<(Arc<Partition>, watch::Receiver<i64>)>,
    found: BytesMut,
    first: Bytes,
    error: Option<ResponseError>,
}

/// Reads until there are `min_bytes`, an error, or the time is up.
pub async fn answer(serving: &Serving, version: i16, request: FetchRequest) -> FetchResponse {
    // Sessions (KIP-227) are not kept: answering a new one with id 0 makes the client send whole requests.
    if request.session_id != 0 {
        return FetchResponse::default().with_error_code(ResponseError::FetchSessionIdNotFound.code());
    }
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)).min(MAX_FETCH_WAIT);
    let deadline = Instant::now() + wait;
    let max_bytes = usize::try_from(request.max_bytes).unwrap_or(0).min(MAX_FETCH_BYTES);
    let min_bytes = usize::try_from(request.min_bytes).unwrap_or(0).min(max_bytes);
    let is_committed_only = request.isolation_level == 1;
    let mut wanted = open(serving, version, request);
    let mut total_bytes = 0;
    loop {
        let before = total_bytes;
        for one in &mut wanted {
            one.read(&mut total_bytes, max_bytes);
        }
        let is_done = total_bytes >= min_bytes || wanted.iter().any(|one| one.error.is_some());
        if is_done || Instant::now() >= deadline {
            break;
        }
        // What came while this round was read is there already.
        if total_bytes == before && tokio::time::timeout_at(deadline, any_moved(&mut wanted)).await.is_err() {
            break;
        }
    }
    respond(wanted, is_committed_only)
}

fn open(serving: &Serving, version: i16, request: FetchRequest) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    for topic in request.topics {
        let is_by_id = version >= IDS_FROM;
        let found =
            if is_by_id { serving.topics.get_by_id(topic.topic_id) } else { serving.topics.get(topic.topic.as_str()) };
        for asked in topic.partitions {
            let partition = found.as_ref().and_then(|topic| topic.partition(asked.partition));
            let error = if partition.is_none() && found.is_none() && is_by_id {
                Some(ResponseError::UnknownTopicId)
            } else if partition.is_none() {
                Some(ResponseError::UnknownTopicOrPartition)
            } else if asked.current_leader_epoch > LEADER_EPOCH {
                Some(ResponseError::UnknownLeaderEpoch)
            } else {
                None
            };
            wanted.push(Wanted {
                topic: topic.topic.clone(),
                topic_id: topic.topic_id,
                number: asked.partition,
                max_bytes: usize::try_from(asked.partition_max_bytes).unwrap_or(0).min(MAX_FETCH_BYTES),
                next_offset: asked.fetch_offset,
                error,
                partition: partition.map(|partition| {
                    let watch = partition.watch();
                    (partition, watch)
                }),
                found: BytesMut::new(),
                first: Bytes::new(),
            });
        }
    }
    wanted
}

/// Waits until the high watermark of any partition moves past what was seen of it.
async fn any_moved(wanted: &mut [Wanted]) {
    let moved: Vec<_> = wanted
        .iter_mut()
        .filter_map(|one| one.partition.as_mut())
        .map(|(_, watch)| Box::pin(watch.changed()))
        .collect();
    if moved.is_empty() {
        return std::future::pending().await;
    }
    // An error means that the partition is gone; the next reading says so.
    let _ = select_all(moved).await;
}

impl Wanted {
    fn found_bytes(&self) -> usize {
        self.first.len() + self.found.len()
    }

    /// Reads on from where the last reading ended. The first batch of an answer comes whatever its size, so that a client with
    /// small limits is never stuck.
    fn read(&mut self, total_bytes: &mut usize, max_bytes: usize) {
        let Some((partition, watch)) = &mut self.partition else { return };
        watch.mark_unchanged();
        let left_bytes = (max_bytes.saturating_sub(*total_bytes))
            .min(self.max_bytes.saturating_sub(self.first.len() + self.found.len()));
        let is_first = *total_bytes == 0;
        if self.error.is_some() || (left_bytes == 0 && !is_first) {
            return;
        }
        match partition.read(self.next_offset, left_bytes, is_first) {
            Ok(chunk) => {
                *total_bytes += chunk.bytes.len();
                self.next_offset = chunk.next_offset;
                // One reading is the rule and is passed on as it is; only further ones are copied together.
                if self.first.is_empty() {
                    self.first = chunk.bytes;
                } else {
                    self.found.extend_from_slice(&chunk.bytes);
                }
            }
            Err(error) => {
                self.error = Some(match &error {
                    ReadError::OutOfRange => ResponseError::OffsetOutOfRange,
                    ReadError::Gone => ResponseError::UnknownTopicOrPartition,
                    ReadError::Corrupt { .. } => ResponseError::CorruptMessage,
                    ReadError::Storage(_) => ResponseError::KafkaStorageError,
                });
                if !matches!(error, ReadError::OutOfRange | ReadError::Gone) {
                    tracing::error!(%partition, offset = self.next_offset, %error, "the log cannot be read here");
                }
            }
        }
    }

    fn records(&mut self) -> Bytes {
        if self.found.is_empty() {
            return std::mem::take(&mut self.first);
        }
        let mut all = BytesMut::with_capacity(self.found_bytes());
        all.extend_from_slice(&self.first);
        all.extend_from_slice(&self.found);
        all.freeze()
    }
}

fn respond(wanted: Vec<Wanted>, is_committed_only: bool) -> FetchResponse {
    let mut topics: Vec<FetchableTopicResponse> = Vec::new();
    for mut one in wanted {
        let (watermark, start) =
            one.partition.as_ref().map_or((-1, -1), |(partition, _)| (partition.high_watermark(), partition.start()));
        let data = PartitionData::default()
            .with_partition_index(one.number)
            .with_error_code(one.error.map_or(0, |error| error.code()))
            .with_high_watermark(watermark)
            // There are no transactions, so nothing is undecided.
            .with_last_stable_offset(watermark)
            .with_log_start_offset(start)
            .with_aborted_transactions(is_committed_only.then(Vec::new))
            .with_records(Some(one.records()));
        match topics.last_mut() {
            Some(last) if (&last.topic, last.topic_id) == (&one.topic, one.topic_id) => last.partitions.push(data),
            _ => topics.push(
                FetchableTopicResponse::default()
                    .with_topic(one.topic)
                    .with_topic_id(one.topic_id)
                    .with_partitions(vec![data]),
            ),
        }
    }
    FetchResponse::default().with_responses(topics)
}
