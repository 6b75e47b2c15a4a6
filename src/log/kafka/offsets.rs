//! First and last offsets of partitions, and those of a time (ListOffsets).
//!
//! Over our own connections, of which there is one per broker: rskafka opens one per partition for these two numbers, one after
//! the other's metadata, so that a member with a thousand partitions began with a thousand connections.

use std::ops::RangeInclusive;

use kafka_protocol::{
    messages::{
        ListOffsetsRequest, TopicName,
        list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
    },
    protocol::StrBytes,
};
use tokio::time::Instant;

use super::{
    KafkaLog,
    admin::{Tries, explain},
};
use crate::{
    log::{At, LogError},
    model::TopicPartition,
};

/// Versions below 2 know nothing of transactions (KIP-98), those from 4 on compare the leader's epoch (KIP-320).
const LIST_OFFSETS: RangeInclusive<i16> = 2..=6;
const COMPARES_EPOCHS_FROM: i16 = 4;
/// What stands in place of a time for the ends of a log.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
/// Only what is committed is there: the last offset is the last stable one (KIP-98).
const READ_COMMITTED: i8 = 1;

impl KafkaLog {
    /// The offset of a place; the end where no record is as young as a time.
    pub(super) async fn listed_offset(&self, partition: &TopicPartition, at: At) -> Result<i64, LogError> {
        let wanted = match at {
            At::Start => EARLIEST,
            At::End => LATEST,
            At::EpochEnd(epoch) => return self.epoch_end(partition, epoch).await,
            // Years before any record.
            At::Time(ms) if ms < 0 => EARLIEST,
            At::Time(ms) => ms,
        };
        match self.listed(partition, wanted).await? {
            Some(offset) => Ok(offset),
            None => Ok(self.listed(partition, LATEST).await?.unwrap_or_default()),
        }
    }

    async fn listed(&self, partition: &TopicPartition, wanted: i64) -> Result<Option<i64>, LogError> {
        let mut tries = Tries::begin(&self.wire);
        loop {
            let answer = self.listed_once(partition, wanted, tries.deadline()).await;
            if let Some(settled) = tries.settle(answer).await {
                return settled;
            }
        }
    }

    async fn listed_once(
        &self,
        partition: &TopicPartition,
        wanted: i64,
        deadline: Instant,
    ) -> Result<Option<i64>, LogError> {
        let what = format!("asking for the offset of {partition}");
        let leader = self.wire.leader(partition).await?;
        let request = |version| {
            // The epoch that we know the leader by, so that one which was replaced and has not noticed refuses.
            let epoch = if version >= COMPARES_EPOCHS_FROM { leader.epoch } else { -1 };
            let asked = ListOffsetsPartition::default()
                .with_partition_index(partition.partition)
                .with_current_leader_epoch(epoch)
                .with_timestamp(wanted);
            let topic = ListOffsetsTopic::default()
                .with_name(TopicName(StrBytes::from_string(partition.topic.to_string())))
                .with_partitions(vec![asked]);
            ListOffsetsRequest::default()
                .with_replica_id((-1).into())
                .with_isolation_level(READ_COMMITTED)
                .with_topics(vec![topic])
        };
        let answer = self.wire.call(leader.node, &LIST_OFFSETS, deadline, request).await?;
        let told = answer.topics.first().and_then(|topic| topic.partitions.first()).ok_or_else(|| {
            LogError::Unavailable { what: what.clone(), reason: "the broker's answer leaves it out".to_owned() }
        })?;
        explain(told.error_code, None, &what, &partition.to_string())?;
        Ok(Some(told.offset).filter(|offset| *offset >= 0))
    }
}
