//! Produce: each partition's batches are checked, placed and written before the answer goes out.

use bytes::Bytes;
use kafka_protocol::{
    ResponseError,
    messages::{
        ProduceRequest, ProduceResponse, TopicName,
        produce_response::{PartitionProduceResponse, TopicProduceResponse},
    },
    protocol::StrBytes,
};

use super::Serving;
use crate::log::broker::{batch::BatchError, partition::AppendError};

/// Appends and answers; `None` with acks=0, which has no answer.
///
/// acks=1 and acks=all mean the same here: there is one broker, and both are answered when the records are written.
pub fn answer(serving: &Serving, request: ProduceRequest) -> Option<ProduceResponse> {
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
        let mut partitions = Vec::with_capacity(topic.partition_data.len());
        for partition in topic.partition_data {
            let result = match &refused {
                Some((error, reason)) => Err((*error, (*reason).to_owned())),
                None => append(serving, &topic.name, partition.index, partition.records),
            };
            if let (Err((_, reason)), 0) = (&result, acks) {
                tracing::warn!(topic = topic.name.as_str(), partition = partition.index, %reason, "records sent with acks=0 were refused");
            }
            partitions.push(partition_response(partition.index, result));
        }
        responses.push(TopicProduceResponse::default().with_name(topic.name).with_partition_responses(partitions));
    }
    (acks != 0).then(|| ProduceResponse::default().with_responses(responses))
}

type Appended = Result<(i64, i64), (ResponseError, String)>;

fn append(serving: &Serving, topic: &TopicName, number: i32, records: Option<Bytes>) -> Appended {
    let Some(partition) = serving.topics.partition(topic.as_str(), number) else {
        return Err((
            ResponseError::UnknownTopicOrPartition,
            "no such topic or partition; create the topic first".into(),
        ));
    };
    match partition.append(&records.unwrap_or_default()) {
        Ok(base_offset) => {
            serving.syncs.push(&partition);
            Ok((base_offset, partition.start()))
        }
        Err(error) => {
            let code = match &error {
                AppendError::Batch(BatchError::Magic(_)) => ResponseError::UnsupportedForMessageFormat,
                AppendError::Batch(BatchError::TooLarge(_)) => ResponseError::MessageTooLarge,
                AppendError::Batch(BatchError::Crc | BatchError::Incomplete) => ResponseError::CorruptMessage,
                AppendError::Batch(BatchError::Invalid(_)) => ResponseError::InvalidRecord,
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
        Err((error, reason)) => response
            .with_error_code(error.code())
            .with_base_offset(-1)
            .with_error_message(Some(StrBytes::from_string(reason))),
    }
}
