//! ListOffsets: where the log begins and ends, and where a time is.

use kafka_protocol::{
    ResponseError,
    messages::{
        ListOffsetsRequest, ListOffsetsResponse, TopicName,
        list_offsets_request::ListOffsetsPartition,
        list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse},
    },
};

use super::Serving;
use crate::log::broker::{batch::LEADER_EPOCH, reading::ReadError};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
/// The record with the greatest time (KIP-734).
const GREATEST_TIME: i64 = -3;
/// The first and the last record on this broker's own disk and elsewhere (KIP-405): all are here.
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;

/// Answers for each partition: a time with the first record that is not older, or with -1 where there is none.
pub fn answer(serving: &Serving, version: i16, request: ListOffsetsRequest) -> ListOffsetsResponse {
    // The field came with version 4, and the encoder refuses it before.
    let leader_epoch = if version >= 4 { LEADER_EPOCH } else { -1 };
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let response = ListOffsetsPartitionResponse::default().with_partition_index(asked.partition_index);
            match find(serving, &topic.name, asked) {
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

fn find(
    serving: &Serving,
    topic: &TopicName,
    asked: &ListOffsetsPartition,
) -> Result<Option<(i64, i64)>, ResponseError> {
    let partition = serving.topics.partition(topic.as_str(), asked.partition_index);
    let partition = partition.ok_or(ResponseError::UnknownTopicOrPartition)?;
    if asked.current_leader_epoch > LEADER_EPOCH {
        return Err(ResponseError::UnknownLeaderEpoch);
    }
    let failed = |error: ReadError| {
        tracing::error!(%partition, timestamp_ms = asked.timestamp, %error, "a time could not be looked up");
        ResponseError::KafkaStorageError
    };
    match asked.timestamp {
        LATEST => Ok(Some((partition.high_watermark(), -1))),
        EARLIEST | EARLIEST_LOCAL => Ok(Some((partition.start(), -1))),
        LATEST_TIERED => Ok(None),
        GREATEST_TIME => partition.offset_of_greatest_time().map_err(failed),
        0.. => partition.offset_at_time(asked.timestamp).map_err(failed),
        _ => Err(ResponseError::InvalidRequest),
    }
}
