//! ListOffsets: where the log begins and ends, and where a time is.

use kafka_protocol::{
    ResponseError,
    messages::{
        ListOffsetsRequest, ListOffsetsResponse, TopicName,
        list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse},
    },
};

use super::Serving;
use crate::log::broker::batch::LEADER_EPOCH;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

/// Answers for each partition. A time is answered with the base offset of the first batch that reaches it and the greatest
/// time in that batch: never beyond the record in question, and at most a batch before it.
pub fn answer(serving: &Serving, version: i16, request: ListOffsetsRequest) -> ListOffsetsResponse {
    // The field came with version 4, and the encoder refuses it before.
    let leader_epoch = if version >= 4 { LEADER_EPOCH } else { -1 };
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let response = ListOffsetsPartitionResponse::default().with_partition_index(asked.partition_index);
            match find(serving, &topic.name, asked.partition_index, asked.timestamp) {
                Ok(Some((offset, timestamp))) => {
                    response.with_offset(offset).with_timestamp(timestamp).with_leader_epoch(leader_epoch)
                }
                Ok(None) => response.with_offset(-1).with_timestamp(-1),
                Err(error) => response.with_error_code(error.code()).with_offset(-1).with_timestamp(-1),
            }
        });
        let partitions = partitions.collect();
        ListOffsetsTopicResponse::default().with_partitions(partitions).with_name(topic.name)
    });
    ListOffsetsResponse::default().with_topics(topics.collect())
}

fn find(serving: &Serving, topic: &TopicName, number: i32, at: i64) -> Result<Option<(i64, i64)>, ResponseError> {
    let partition = serving.topics.partition(topic.as_str(), number).ok_or(ResponseError::UnknownTopicOrPartition)?;
    match at {
        LATEST => Ok(Some((partition.high_watermark(), -1))),
        EARLIEST => Ok(Some((partition.start(), -1))),
        0.. => partition.offset_at_time(at).map_err(|error| {
            tracing::error!(%partition, timestamp_ms = at, %error, "a time could not be looked up");
            ResponseError::KafkaStorageError
        }),
        _ => Err(ResponseError::InvalidRequest),
    }
}
