//! DeleteRecords, DescribeLogDirs and OffsetForLeaderEpoch: what concerns single partitions.

use std::collections::BTreeSet;

use kafka_protocol::{
    ResponseError,
    messages::{
        DeleteRecordsRequest, DeleteRecordsResponse, DescribeLogDirsRequest, DescribeLogDirsResponse,
        OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, TopicName,
        delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult},
        describe_log_dirs_response::{DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic},
        offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult},
    },
};

use super::{Serving, text};
use crate::log::broker::{batch::LEADER_EPOCH, partition::TrimError, topics::Topic};

/// Deletes what lies below an offset.
pub fn delete_records(serving: &Serving, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let result = DeleteRecordsPartitionResult::default().with_partition_index(asked.partition_index);
            let deleted = match serving.topics.partition(topic.name.as_str(), asked.partition_index) {
                Some(partition) => partition.delete_before(asked.offset).map_err(|error| match error {
                    TrimError::OutOfRange => ResponseError::OffsetOutOfRange,
                    TrimError::Gone => ResponseError::UnknownTopicOrPartition,
                    TrimError::Storage(error) => {
                        tracing::error!(%partition, %error, "records were not deleted");
                        ResponseError::KafkaStorageError
                    }
                }),
                None => Err(ResponseError::UnknownTopicOrPartition),
            };
            match deleted {
                Ok(start) => result.with_low_watermark(start),
                Err(error) => result.with_low_watermark(-1).with_error_code(error.code()),
            }
        });
        let partitions = partitions.collect();
        DeleteRecordsTopicResult::default().with_partitions(partitions).with_name(topic.name)
    });
    DeleteRecordsResponse::default().with_topics(topics.collect())
}

/// The bytes that partitions take. How large the disk is, is not told.
pub fn log_dirs(serving: &Serving, request: &DescribeLogDirsRequest) -> DescribeLogDirsResponse {
    let asked = request.topics.as_ref().map(|topics| {
        let each =
            topics.iter().flat_map(|topic| topic.partitions.iter().map(|number| (topic.topic.as_str(), *number)));
        each.collect::<BTreeSet<_>>()
    });
    let sizes = |topic: &Topic| {
        let numbered = (0..).zip(&topic.partitions);
        let is_asked = |number| asked.as_ref().is_none_or(|asked| asked.contains(&(&*topic.name, number)));
        let partitions = numbered.filter(|(number, _)| is_asked(*number)).map(|(number, partition)| {
            DescribeLogDirsPartition::default()
                .with_partition_index(number)
                .with_partition_size(partition.size_bytes() as i64)
        });
        partitions.collect::<Vec<_>>()
    };
    let topics = serving.topics.all();
    let topics = topics.iter().map(|topic| {
        DescribeLogDirsTopic::default().with_name(TopicName(text(&*topic.name))).with_partitions(sizes(topic))
    });
    let result = DescribeLogDirsResult::default()
        .with_log_dir(text(serving.topics.dir().display().to_string()))
        .with_topics(topics.filter(|topic| !topic.partitions.is_empty()).collect());
    DescribeLogDirsResponse::default().with_results(vec![result])
}

/// Where epochs end. There is one, and it ends where the readable log does.
pub fn epoch_ends(serving: &Serving, request: OffsetForLeaderEpochRequest) -> OffsetForLeaderEpochResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let end =
                EpochEndOffset::default().with_partition(asked.partition).with_leader_epoch(-1).with_end_offset(-1);
            match serving.topics.partition(topic.topic.as_str(), asked.partition) {
                None => end.with_error_code(ResponseError::UnknownTopicOrPartition.code()),
                Some(_) if asked.current_leader_epoch > LEADER_EPOCH => {
                    end.with_error_code(ResponseError::UnknownLeaderEpoch.code())
                }
                Some(partition) if asked.leader_epoch == LEADER_EPOCH => {
                    end.with_leader_epoch(LEADER_EPOCH).with_end_offset(partition.high_watermark())
                }
                // Of an epoch that there never was nothing is known, which is no error.
                Some(_) => end,
            }
        });
        let partitions = partitions.collect();
        OffsetForLeaderTopicResult::default().with_partitions(partitions).with_topic(topic.topic)
    });
    OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
}
