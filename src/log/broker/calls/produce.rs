//! Produce: each partition's batches are checked, placed and written before the answer goes out. And InitProducerId.

use bytes::Bytes;
use kafka_protocol::{
    ResponseError,
    messages::{
        InitProducerIdRequest, InitProducerIdResponse, ProduceRequest, ProduceResponse,
        produce_response::{PartitionProduceResponse, TopicProduceResponse},
    },
};

use super::{Refusal, Serving, text};
use crate::log::broker::{batch::BatchError, partition::AppendError, producers::SequenceError, topics::Topic};

/// From this version on topics are named by their ids.
const IDS_FROM: i16 = 13;

/// Appends and answers; `None` with acks=0, which has no answer.
///
/// acks=1 and acks=all mean the same here: there is one broker, and both are answered when the records are written.
pub fn answer(serving: &Serving, version: i16, request: ProduceRequest) -> Option<ProduceResponse> {
    let acks = request.acks;
    let refused = if !matches!(acks, -1..=1) {
        Some((ResponseError::InvalidRequiredAcks, "acks must be 0, 1 or all"))
    } else if request.transactional_id.is_some() {
        Some((ResponseError::InvalidRequest, "transactions are not supported"))
    } else {
        None
    };
    let mut responses = Vec::with_capacity(request.topic_data.len());
    for topic in request.topic_data {
        let is_by_id = version >= IDS_FROM;
        let found =
            if is_by_id { serving.topics.get_by_id(topic.topic_id) } else { serving.topics.get(topic.name.as_str()) };
        let unknown = if is_by_id { ResponseError::UnknownTopicId } else { ResponseError::UnknownTopicOrPartition };
        let mut partitions = Vec::with_capacity(topic.partition_data.len());
        for partition in topic.partition_data {
            let result = match &refused {
                Some((error, reason)) => Err((*error, (*reason).to_owned())),
                None => append(serving, found.as_deref().ok_or(unknown), partition.index, partition.records),
            };
            if let (Err((_, reason)), 0) = (&result, acks) {
                tracing::warn!(topic = found.as_deref().map(|topic| &*topic.name), partition = partition.index, %reason, "records sent with acks=0 were refused");
            }
            partitions.push(partition_response(partition.index, result));
        }
        let response = TopicProduceResponse::default().with_partition_responses(partitions);
        let is_named = !is_by_id;
        responses.push(if is_named { response.with_name(topic.name) } else { response.with_topic_id(topic.topic_id) });
    }
    (acks != 0).then(|| ProduceResponse::default().with_responses(responses))
}

type Appended = Result<(i64, i64), Refusal>;

fn append(serving: &Serving, topic: Result<&Topic, ResponseError>, number: i32, records: Option<Bytes>) -> Appended {
    let partition = topic.and_then(|topic| topic.partition(number).ok_or(ResponseError::UnknownTopicOrPartition));
    let partition =
        partition.map_err(|error| (error, "no such topic or partition; create the topic first".to_owned()))?;
    match partition.append(&records.unwrap_or_default()) {
        Ok(base_offset) => {
            serving.syncs.push(&partition);
            Ok((base_offset, partition.start()))
        }
        Err(error) => {
            let code = match &error {
                AppendError::Batch(BatchError::Magic(_)) => ResponseError::UnsupportedForMessageFormat,
                AppendError::Batch(BatchError::TooLarge(_)) | AppendError::TooLarge { .. } => {
                    ResponseError::MessageTooLarge
                }
                AppendError::Batch(BatchError::Crc | BatchError::Incomplete) => ResponseError::CorruptMessage,
                AppendError::Batch(BatchError::Invalid(_)) => ResponseError::InvalidRecord,
                AppendError::Sequence(SequenceError::OutOfOrder { .. }) => ResponseError::OutOfOrderSequenceNumber,
                AppendError::Sequence(SequenceError::Epoch { .. }) => ResponseError::InvalidProducerEpoch,
                AppendError::Gone => ResponseError::UnknownTopicOrPartition,
                AppendError::Storage(_) | AppendError::Failed(_) => ResponseError::KafkaStorageError,
            };
            if code == ResponseError::KafkaStorageError {
                tracing::error!(%partition, %error, "records were not stored");
            }
            Err((code, error.to_string()))
        }
    }
}

fn partition_response(index: i32, result: Appended) -> PartitionProduceResponse {
    let response = PartitionProduceResponse::default().with_index(index);
    match result {
        Ok((base_offset, log_start)) => response.with_base_offset(base_offset).with_log_start_offset(log_start),
        Err((error, reason)) => {
            response.with_error_code(error.code()).with_base_offset(-1).with_error_message(Some(text(reason)))
        }
    }
}

/// Hands out an id for an idempotent producer. One that comes with an id, to begin a new epoch, gets a new id as well, as from
/// Kafka where there is no transactional id.
pub fn init_producer_id(serving: &Serving, request: &InitProducerIdRequest) -> InitProducerIdResponse {
    let refused = |error: ResponseError| {
        InitProducerIdResponse::default()
            .with_error_code(error.code())
            .with_producer_id((-1).into())
            .with_producer_epoch(-1)
    };
    if request.transactional_id.is_some() {
        tracing::warn!("refused a transactional producer: the embedded broker has no transactions");
        return refused(ResponseError::UnsupportedVersion);
    }
    match serving.topics.new_producer_id() {
        Ok(id) => InitProducerIdResponse::default().with_producer_id(id.into()).with_producer_epoch(0),
        Err(error) => {
            tracing::error!(%error, "no producer id can be handed out");
            refused(ResponseError::KafkaStorageError)
        }
    }
}
