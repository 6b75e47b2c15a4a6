//! Which log this is: the cluster, the topic and the leader's epoch, and where an epoch ended (KIP-320, KIP-516).

use std::ops::RangeInclusive;

use kafka_protocol::{
    messages::{
        OffsetForLeaderEpochRequest, TopicName,
        offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic},
    },
    protocol::StrBytes,
};
use tokio::time::Instant;

use super::{
    KafkaLog,
    admin::{Tries, explain},
};
use crate::{
    log::LogError,
    model::{LogIdentity, TopicPartition},
};

/// Earlier versions are for brokers among themselves: they need a right that no client has (KIP-320).
const OFFSET_FOR_EPOCH: RangeInclusive<i16> = 3..=4;

impl KafkaLog {
    /// What the brokers say now, not what was known before.
    pub(super) async fn identity_now(&self, partition: &TopicPartition) -> Result<LogIdentity, LogError> {
        let mut tries = Tries::begin(&self.wire);
        loop {
            let answer = self.wire.leader_now(partition).await;
            if let Some(settled) = tries.settle(answer).await {
                let leader = settled?;
                return Ok(LogIdentity {
                    cluster_id: self.wire.cluster_id(),
                    topic_id: Some(leader.topic_id).filter(|id| !id.is_nil()),
                    leader_epoch: Some(leader.epoch).filter(|epoch| *epoch >= 0),
                });
            }
        }
    }

    /// The end offset of a leader epoch; -1 where the leader knows of no epoch that high.
    pub(super) async fn epoch_end(&self, partition: &TopicPartition, epoch: i32) -> Result<i64, LogError> {
        let mut tries = Tries::begin(&self.wire);
        loop {
            let answer = self.epoch_end_once(partition, epoch, tries.deadline()).await;
            if let Some(settled) = tries.settle(answer).await {
                return settled;
            }
        }
    }

    async fn epoch_end_once(&self, partition: &TopicPartition, epoch: i32, deadline: Instant) -> Result<i64, LogError> {
        let what = format!("asking where leader epoch {epoch} of {partition} ended");
        let leader = self.wire.leader(partition).await?;
        // The epoch that we know the leader by, so that one which was replaced and has not noticed refuses.
        let wanted = OffsetForLeaderPartition::default()
            .with_partition(partition.partition)
            .with_current_leader_epoch(leader.epoch)
            .with_leader_epoch(epoch);
        let topic = OffsetForLeaderTopic::default()
            .with_topic(TopicName(StrBytes::from_string(partition.topic.to_string())))
            .with_partitions(vec![wanted]);
        let request = |_| OffsetForLeaderEpochRequest::default().with_replica_id((-1).into()).with_topics(vec![topic]);
        let answer = self.wire.call(leader.node, &OFFSET_FOR_EPOCH, deadline, request).await?;
        let told = answer.topics.first().and_then(|topic| topic.partitions.first()).ok_or_else(|| {
            LogError::Unavailable { what: what.clone(), reason: "the broker's answer leaves it out".to_owned() }
        })?;
        explain(told.error_code, None, &what, &partition.to_string())?;
        Ok(told.end_offset)
    }
}
