//! Topics: made, widened, emptied, deleted.

use std::ops::RangeInclusive;

use kafka_protocol::{
    error::ResponseError,
    messages::{
        CreatePartitionsRequest, CreateTopicsRequest, DeleteRecordsRequest, DeleteTopicsRequest, TopicName,
        create_partitions_request::CreatePartitionsTopic,
        create_topics_request::{CreatableTopic, CreatableTopicConfig},
        delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic},
        delete_topics_request::DeleteTopicState,
    },
    protocol::StrBytes,
};
use tokio::time::Instant;

use super::{
    Admin,
    answer::{explain, silent},
    left_ms,
};
use crate::{
    log::{LogError, TopicSpec},
    model::TopicPartition,
};

/// The replication factor that leaves the choice to the broker (KIP-464).
const REPLICATION_OF_THE_BROKER: i16 = -1;
/// Since Kafka 2.0.
const CREATE: RangeInclusive<i16> = 2..=7;
/// The first versions that let the broker choose the replication factor (Kafka 2.4).
const CREATE_BY_DEFAULTS: RangeInclusive<i16> = 4..=7;
const CREATE_PARTITIONS: RangeInclusive<i16> = 0..=3;
const DELETE: RangeInclusive<i16> = 1..=6;
/// The first version that names topics in structures of their own.
const DELETE_BY_STATE: i16 = 6;
const DELETE_RECORDS: RangeInclusive<i16> = 0..=2;

pub(super) fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

impl Admin {
    /// Creates a topic with its settings (KIP-4). `false` if it was there already, whatever its settings. With `dry_run` it is
    /// only checked whether that would succeed.
    ///
    /// Where the answer to a first try was lost, a topic that this call made is told as one that was there.
    ///
    /// # Errors
    /// The name, a number or a setting is not valid, with the broker's own reason; or nobody could be asked.
    pub async fn create_topic(&self, topic: &TopicSpec, dry_run: bool) -> Result<bool, LogError> {
        let mut tries = self.tries();
        loop {
            let answer = self.create_once(topic, dry_run, tries.deadline()).await;
            if let Some(settled) = tries.settle(answer).await {
                return settled;
            }
        }
    }

    async fn create_once(&self, topic: &TopicSpec, dry_run: bool, deadline: Instant) -> Result<bool, LogError> {
        let what = format!("creating topic {}", topic.name);
        let configs = topic.configs.iter().map(|(name, value)| {
            CreatableTopicConfig::default()
                .with_name(StrBytes::from_string(name.clone()))
                .with_value(Some(StrBytes::from_string(value.clone())))
        });
        let wanted = CreatableTopic::default()
            .with_name(topic_name(&topic.name))
            .with_num_partitions(topic.partitions)
            .with_replication_factor(topic.replication.unwrap_or(REPLICATION_OF_THE_BROKER))
            .with_configs(configs.collect());
        let request = |_| {
            CreateTopicsRequest::default()
                .with_topics(vec![wanted])
                .with_timeout_ms(left_ms(deadline))
                .with_validate_only(dry_run)
        };
        let versions = if topic.replication.is_some() { &CREATE } else { &CREATE_BY_DEFAULTS };
        let node = self.wire.controller().await?;
        let answer =
            self.ask(node, versions, deadline, request, |answer| answer.throttle_time_ms).await.map_err(|error| {
                match error {
                    LogError::Unsupported { reason, .. } if topic.replication.is_none() => LogError::Unsupported {
                        what: what.clone(),
                        reason: format!("{reason}; a broker older than Kafka 2.4 must be told the replication factor"),
                    },
                    error => error,
                }
            })?;
        let told = answer.topics.first().ok_or_else(|| silent(&what))?;
        if told.error_code == ResponseError::TopicAlreadyExists.code() {
            return Ok(false);
        }
        explain(told.error_code, told.error_message.as_ref(), &what, &topic.name)?;
        Ok(true)
    }

    /// Raises the number of a topic's partitions to `count` (KIP-195). Records keep their places; keys may get other ones.
    ///
    /// # Errors
    /// The topic does not exist, has as many partitions or more, or nobody could be asked.
    pub async fn create_partitions(&self, topic: &str, count: i32, dry_run: bool) -> Result<(), LogError> {
        let mut tries = self.tries();
        loop {
            let answer = self.create_partitions_once(topic, count, dry_run, tries.deadline()).await;
            if let Some(settled) = tries.settle(answer).await {
                return settled;
            }
        }
    }

    async fn create_partitions_once(
        &self,
        topic: &str,
        count: i32,
        dry_run: bool,
        deadline: Instant,
    ) -> Result<(), LogError> {
        let what = format!("raising topic {topic} to {count} partitions");
        let wanted =
            CreatePartitionsTopic::default().with_name(topic_name(topic)).with_count(count).with_assignments(None);
        let request = |_| {
            CreatePartitionsRequest::default()
                .with_topics(vec![wanted])
                .with_timeout_ms(left_ms(deadline))
                .with_validate_only(dry_run)
        };
        let node = self.wire.controller().await?;
        let answer = self.ask(node, &CREATE_PARTITIONS, deadline, request, |answer| answer.throttle_time_ms).await?;
        let told = answer.results.first().ok_or_else(|| silent(&what))?;
        explain(told.error_code, told.error_message.as_ref(), &what, topic)
    }

    /// Deletes a topic and all its records, by name.
    ///
    /// # Errors
    /// It does not exist, may not be deleted, or nobody could be asked. Where the answer to a first try was lost, a topic that
    /// this call deleted is told as one that does not exist.
    pub async fn delete_topic(&self, topic: &str) -> Result<(), LogError> {
        let mut tries = self.tries();
        loop {
            let answer = self.delete_once(topic, tries.deadline()).await;
            if let Some(settled) = tries.settle(answer).await {
                return settled;
            }
        }
    }

    async fn delete_once(&self, topic: &str, deadline: Instant) -> Result<(), LogError> {
        let what = format!("deleting topic {topic}");
        let request = |version| {
            let request = DeleteTopicsRequest::default().with_timeout_ms(left_ms(deadline));
            if version >= DELETE_BY_STATE {
                request.with_topics(vec![DeleteTopicState::default().with_name(Some(topic_name(topic)))])
            } else {
                request.with_topic_names(vec![topic_name(topic)])
            }
        };
        let node = self.wire.controller().await?;
        let answer = self.ask(node, &DELETE, deadline, request, |answer| answer.throttle_time_ms).await?;
        let told = answer.responses.first().ok_or_else(|| silent(&what))?;
        explain(told.error_code, told.error_message.as_ref(), &what, topic)
    }

    /// Deletes the records of a partition that lie before an offset (KIP-107), and returns where the log begins now.
    ///
    /// # Errors
    /// The partition does not exist, the offset lies beyond its end, or its leader could not be asked.
    pub async fn delete_records(&self, partition: &TopicPartition, before: i64) -> Result<i64, LogError> {
        let mut tries = self.tries();
        loop {
            let answer = self.delete_records_once(partition, before, tries.deadline()).await;
            if let Some(settled) = tries.settle(answer).await {
                return settled;
            }
        }
    }

    async fn delete_records_once(
        &self,
        partition: &TopicPartition,
        before: i64,
        deadline: Instant,
    ) -> Result<i64, LogError> {
        let what = format!("deleting the records of {partition} before offset {before}");
        let leader = self.wire.leader(partition).await?;
        let wanted = DeleteRecordsPartition::default().with_partition_index(partition.partition).with_offset(before);
        let topic = DeleteRecordsTopic::default().with_name(topic_name(&partition.topic)).with_partitions(vec![wanted]);
        let request = |_| DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(left_ms(deadline));
        let answer =
            self.ask(leader.node, &DELETE_RECORDS, deadline, request, |answer| answer.throttle_time_ms).await?;
        let told = answer.topics.first().and_then(|topic| topic.partitions.first()).ok_or_else(|| silent(&what))?;
        if told.error_code == ResponseError::OffsetOutOfRange.code() {
            return Err(LogError::OffsetOutOfRange { partition: partition.to_string(), offset: before });
        }
        explain(told.error_code, None, &what, &partition.to_string())?;
        Ok(told.low_watermark)
    }
}
